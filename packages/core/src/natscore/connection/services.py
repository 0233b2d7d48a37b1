"""Requests that cross into another account, and the answers that come back.

The data plane hands a message over (`Stop.ASK`) when it matches the internal
subscription of a service import, or of awaited replies. Here it becomes what it
is in the other account, and is published there:

    request    a reply subject of our own, the exporter's subject, a header that says who asks
    answer     the subject that the requester asked for, and no such header

What is published may match another import, so requests pass through chains of
accounts. A request passes no export twice, and one message of a client leads to
a bounded number of others.

Samples of latency, and whatever else the server itself publishes in an account,
wait until the message that led to them is done. Long work (a fan-out to many, a
walk through many replies) goes on in later turns.

Sources: accounts.md sections 6 to 8; nats-server 2.14.5, server/client.go
processServiceImport, server/accounts.go.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from natscore.account.awaited import AwaitedResponses, Response
from natscore.account.settings import ResponseType
from natscore.connection.latency import Hop, Latency, info_of
from natscore.connection.session import Timer
from natscore.effects import Level
from natscore.facts import RepliesExpected
from natscore.identity import server_hash
from natscore.plan import compile_plan
from natscore.plane import SERVER, Stop
from natscore.turn import READY_COST, RECEIVERS_MAX, SERVICE_COST, STEP_COST
from natscore.wire.client_info import encoded, plain_info, text_of
from natscore.wire.headers import with_info, without_info
from natscore.wire.latency import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from natscore.account.awaited import ExportKey
    from natscore.account.imports import ImportedService
    from natscore.account.settings import ServiceExport
    from natscore.connection.context import Context
    from natscore.connection.session import Session
    from natscore.facts import Fact, SubscriptionsChanged
    from natscore.plane import Asked, Source
    from natscore.state import Account
    from natscore.wire.client_info import ClientInfo

__all__ = ["Services"]

_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = tuple(bytes((first, second)) for first in _DIGITS for second in _DIGITS)
_REPLY_PREFIX: Final = b"_R_."
_UNTOUCHED_REPLY: Final = b"$JS.ACK."
_DOCUMENTS_MAX: Final = 4_096  # what is said of requesters, remembered as bytes
_SLICE: Final = 256  # replies looked at in one step of a walk

Delivered: TypeAlias = "Generator[None, None, bool]"
"""Work that may take several turns, and answers whether anybody got the message."""


class _Op:
    """One message that somebody published, and how many others it may still lead to."""

    __slots__ = ("left", "session", "source")

    def __init__(self, source: Source, session: Session | None, left: int) -> None:
        self.source = source
        self.session = session  # None: the server itself
        self.left = left


class Services:
    """The service imports of a server at work."""

    def __init__(self, context: Context, settle: Callable[[Fact], None]) -> None:
        options = context.options
        self.responses: Final = AwaitedResponses(options.account_responses_max, options.export_responses_max)
        self.dropped = 0  # messages that would have been one too many for what led to them
        self._context = context
        self._settle = settle
        state = context.state
        self._own: Final = state.plane.source(
            SERVER, state.inbox, next(iter(state.accounts.values())).table, options.max_control_line, -1
        )
        self._latency: Final = Latency(context)
        self._documents: dict[tuple[str, int | None], tuple[ClientInfo, bytes]] = {}
        self._jobs: deque[Iterator[None]] = deque()
        self._is_publishing = False
        self._due: int | None = None

    # -- what the server calls ---------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether something is left over for another turn."""
        return bool(self._jobs)

    def go_on(self) -> None:
        """Take a step of each job that is left over."""
        for _ in range(len(self._jobs)):
            self._work(self._jobs.popleft())

    def perform(self, session: Session) -> Iterator[None]:
        """Do what the data plane asked for while it read from a connection; each step may end a turn."""
        source = session.connection.source
        asked = source.asked
        assert asked is not None
        source.asked = None
        op = _Op(source, session, self._context.options.internal_publishes_max)
        delivered = (yield from self._ask(op, asked, Hop())) or asked.delivered
        if not delivered and asked.reply and source.no_responders:
            self._context.state.plane.tell_no_responders(source, asked.subject, asked.reply)
        self.publish_samples()
        self._arm()

    def finish(self, session: Session) -> None:
        """The same for a connection that has ended: what it published before is for all or for none."""
        if session.connection.source.asked is not None:
            deque(self.perform(session), maxlen=0)

    def interest_lost(self, fact: SubscriptionsChanged) -> None:
        """Await no answers for those who do not want them any more (section 6.5)."""
        account = self._context.state.connections[fact.cid].account
        if fact.removed and self.responses.awaits_replies(account.name):
            for pattern in dict.fromkeys(one.subject for one in fact.removed):
                self._work(self._give_up(account, pattern))

    def expire(self) -> None:
        """The time of some responses may be over (section 6.6)."""
        self._due = None
        self._work(self._expire())

    def publish_samples(self) -> None:
        """Publish what waits."""
        if self._latency.samples and not self._is_publishing:
            self._is_publishing = True
            self._work(self._publish_all())

    # -- requests and answers ----------------------------------------------------------------------

    def _ask(self, op: _Op, asked: Asked, hop: Hop) -> Delivered:
        """Do everything that one message asks for. Whether anybody got it, who is not of its own account."""
        services = self._context.state.services
        delivered = False
        for sid in asked.sids:
            account, service = services[sid]
            if service is None:
                answered = yield from self._answer(op, account, asked, hop)
                delivered = delivered or answered
            else:
                requested = yield from self._request(op, account, service, asked, hop)
                delivered = delivered or requested
        return delivered

    def _request(
        self, op: _Op, account: Account, service: ImportedService, asked: Asked, hop: Hop
    ) -> Delivered:
        """Send a request to the account of a service (section 6.2)."""
        export = service.export
        key = (service.exporter, export.subject)
        subject = service.exporter_subject(asked.subject)
        if key in hop.passed or subject is None or not self._may_publish(op):
            return False
        following = self._following(op, account, service, key, hop)
        sampled, headers = self._latency.sampling(export, asked.headers)
        reply, response = asked.reply, None
        if reply and not reply.startswith(_UNTOUCHED_REPLY):
            response = self._await(service.exporter, account.name, reply, key, export, service.share, sampled)
            reply = response.subject
            if export.latency is not None:
                self._latency.measure(op.session, response, sampled, headers)
        elif not reply and sampled:
            self._latency.no_reply(op.session, service, headers, following)
        block = with_info(asked.headers, following.document)
        exporter = self._context.state.account(service.exporter)
        delivered = yield from self._publish(op, exporter, subject, reply, block, asked.payload, following)
        if not delivered and response is not None:
            self._end(response, Status.NO_DELIVERY, following)
        return delivered

    def _answer(self, op: _Op, account: Account, asked: Asked, hop: Hop) -> Delivered:
        """Send an answer to the requester (section 6.4). What nobody awaits any more is taken and dropped."""
        response = self.responses.find(account.name, asked.subject)
        if response is None or response.key in hop.passed or not self._may_publish(op):
            return True
        following = Hop((*hop.passed, response.key), share=response.share)
        self._latency.answered(op.session, response, following)
        # One answer is all that a singleton has, whatever comes of it. The last of several is empty.
        ends = response.is_singleton or not (asked.payload or asked.headers)
        if ends:
            self.responses.remove(response)
        requester = self._context.state.account(response.requester)
        reply = asked.reply
        back = None
        if reply and not reply.startswith(_UNTOUCHED_REPLY):
            back = self._await(
                response.requester, response.account, reply, response.key, response.export,
                response.share, sampled=False,
            )  # fmt: skip
            reply = back.subject
        delivered = yield from self._publish(
            op, requester, response.reply, reply, without_info(asked.headers), asked.payload, following
        )
        if not delivered:
            self.responses.remove(response)
            if back is not None:
                self.responses.remove(back)
        elif not ends:
            self.responses.refresh(response, self._context.at.monotonic_ns)
        return True

    def _publish(
        self,
        op: _Op,
        account: Account,
        subject: bytes,
        reply: bytes,
        headers: bytes,
        payload: bytes,
        hop: Hop,
    ) -> Delivered:
        """Publish in an account what came from another one, or from the server. Whether anybody got it."""
        plane = self._context.state.plane
        source = op.source
        while plane.post(source, account.table, subject, reply, headers, payload) is Stop.MISS:
            plan = compile_plan(source.missed, source.missed_subject)
            plane.install(account.table, source.missed, plan, source.missed_subject)
            source.missed = ()
            plane.spend(plan.cost)
        while source.unfinished is not None:
            plane.spend(READY_COST * RECEIVERS_MAX)
            yield
            plane.go_on(source)
        delivered = source.delivered
        asked = source.asked
        if asked is not None:
            source.asked = None
            passed_on = yield from self._ask(op, asked, hop)
            delivered = delivered or passed_on
        return delivered

    def _may_publish(self, op: _Op) -> bool:
        """Count a message that another one leads to."""
        self._context.state.plane.spend(SERVICE_COST)
        if op.left > 0:
            op.left -= 1
            return True
        self.dropped += 1
        self._note_count("service_publishes_exceeded", self.dropped)
        return False

    # -- who asks ----------------------------------------------------------------------------------

    def _following(
        self, op: _Op, account: Account, service: ImportedService, key: ExportKey, hop: Hop
    ) -> Hop:
        """The next hop of a request, with what the service is told of the requester (section 7)."""
        into_system = service.exporter == self._context.state.system_account
        if not (hop.passed or service.share or into_system or op.session is None):
            return Hop((key,), *self._plainly(op.session), service.share)
        if hop.info is None:
            share = hop.share if hop.passed else service.share
            info = info_of(self._context, op.session, account, share)
        else:
            share = hop.share
            info = {**hop.info, "svc": text_of(account.name)}
        if not share and (into_system or (service.share and hop.passed)):
            info["server"] = text_of(self._context.info.server_name)
        return Hop((*hop.passed, key), info, encoded(info), service.share)

    def _plainly(self, session: Session) -> tuple[ClientInfo, bytes]:
        """What is said of a requester that shares nothing, which is the same for many requests."""
        told = (session.connection.account.name, session.rtt_ns)
        known = self._documents.get(told)
        if known is None:
            if len(self._documents) >= _DOCUMENTS_MAX:
                self._documents.clear()
            info = plain_info(*told)
            known = self._documents[told] = (info, encoded(info))
        return known

    # -- what is awaited ---------------------------------------------------------------------------

    def _await(
        self, answering: str, requester: str, reply: bytes, key: ExportKey, export: ServiceExport,
        share: bool, sampled: bool,
    ) -> Response:  # fmt: skip
        """Make a reply subject in the answering account, and remember where its answer goes."""
        account = self._context.state.account(answering)
        if not account.replies:
            prefix = _REPLY_PREFIX + self._token() + b"."
            self._settle(RepliesExpected(answering, prefix))
        tracked = sampled and export.response_type is ResponseType.SINGLETON
        tail = b"." + server_hash(self._context.info.server_name) + b".T" if tracked else b""
        subject = account.replies + self._token() + tail
        while self.responses.find(answering, subject) is not None:
            subject = account.replies + self._token() + tail
        response = Response(
            subject, answering, reply, requester,
            key=key, export=export, share=share, now_ns=self._context.at.monotonic_ns,
        )  # fmt: skip
        for gone in self.responses.add(response):
            self._latency.forget(gone)
            self._note_count("responses_displaced", self.responses.displaced)
        return response

    def _token(self) -> bytes:
        """Six characters that nobody can guess."""
        number = int.from_bytes(self._context.entropy.new_id(8), "big")
        number, first = divmod(number, len(_PAIRS))
        number, second = divmod(number, len(_PAIRS))
        return _PAIRS[first] + _PAIRS[second] + _PAIRS[number % len(_PAIRS)]

    def _end(self, response: Response, status: Status, hop: Hop) -> None:
        """Await a response no longer, which nobody answered."""
        self.responses.remove(response)
        self._latency.ended(response, status, hop)

    def _give_up(self, account: Account, pattern: bytes) -> Iterator[None]:
        """Await nothing on the replies that a pattern covers and nobody in the account wants."""
        plane = self._context.state.plane
        if account.sublist.node(pattern) is not None:  # somebody else wants the same
            return
        for number, reply in enumerate(self.responses.replies(account.name, pattern), 1):
            plane.spend(STEP_COST)
            if reply is not None and not account.sublist.match(reply):
                for response in self.responses.of_reply(account.name, reply):
                    self._end(response, Status.INTEREST_LOST, Hop((response.key,)))
            if number % _SLICE == 0:
                yield
        self.publish_samples()

    def _expire(self) -> Iterator[None]:
        for number, response in enumerate(self.responses.expired(self._context.at.monotonic_ns), 1):
            self._latency.ended(response, Status.TIMED_OUT, Hop((response.key,)))
            if number % _SLICE == 0:
                yield
        self.publish_samples()
        self._arm()

    def _arm(self) -> None:
        """Be woken when the first response is due."""
        due = self.responses.next_due()
        if due is not None and (self._due is None or due < self._due):
            self._due = due
            self._context.deadlines.set((SERVER, Timer.RESPONSES), due)

    # -- long work ---------------------------------------------------------------------------------

    def _publish_all(self) -> Iterator[None]:
        most = self._context.options.internal_publishes_max
        samples = self._latency.samples
        while samples:
            sample, hop = samples.popleft()
            op = _Op(self._own, None, most)
            if self._may_publish(op):
                account = self._context.state.account(sample.account)
                yield from self._publish(op, account, sample.subject, b"", b"", sample.document, hop)
        self._is_publishing = False

    def _work(self, job: Iterator[None]) -> None:
        """Take one step of a job, and remember it if there may be another."""
        for _ in job:
            self._jobs.append(job)
            return

    def _note_count(self, name: str, count: int) -> None:
        """Say so when it begins, and each time that it has doubled."""
        if count & (count - 1) == 0:
            self._context.note(Level.WARNING, name, count=count)

"""Measuring services: which requests are sampled, and the samples that wait to be published.

A sample is published in the account of the service, by the server itself, when
the message that led to it is done (accounts.md section 8; nats-server 2.14.5,
server/accounts.go sendTrackingLatency).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from natscore.wire.client_info import detailed_info, plain_info
from natscore.wire.latency import Status, encode_sample, triggering_headers

if TYPE_CHECKING:
    from natscore.account.awaited import ExportKey, Response
    from natscore.account.imports import ImportedService
    from natscore.account.settings import ServiceExport
    from natscore.connection.context import Context
    from natscore.connection.session import Session
    from natscore.state import Account
    from natscore.wire.client_info import ClientInfo
    from natscore.wire.latency import Headers

__all__ = ["Hop", "Latency", "Sample", "info_of"]

_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH: Final = 22  # of a nuid
_SAMPLES_MAX: Final = 65_536  # samples that wait to be published
_UNKNOWN_RTT_AGE_NS: Final = 2_000_000_000  # a client that said nothing is not pinged before it is so old


class Hop:
    """How a message came to where it is: which exports it passed, and what is said of its requester."""

    __slots__ = ("document", "info", "passed", "share")

    def __init__(
        self,
        passed: tuple[ExportKey, ...] = (),
        info: ClientInfo | None = None,
        document: bytes = b"",
        share: bool = False,
    ) -> None:
        self.passed = passed
        self.info = info
        self.document = document  # the same, encoded
        self.share = share  # whether the import that it passed last shares details


def info_of(context: Context, session: Session | None, account: Account, share: bool) -> ClientInfo:
    """What is said of a client; None is the server itself, of which is said only in whose name it speaks."""
    if session is None:
        return plain_info(account.name, None)
    connection = session.connection
    if not share:
        return plain_info(connection.account.name, session.rtt_ns)
    return detailed_info(
        connection.account.name,
        session.rtt_ns,
        connection.options,
        cid=connection.cid,
        host=connection.remote.host,
        opened_wall_ns=context.at.wall_ns - (context.at.monotonic_ns - session.opened_ns),
        server=context.info.server_name,
    )


class _Tracked(NamedTuple):
    """A request whose latency is measured."""

    session: Session | None
    headers: Headers | None
    started_ns: int  # on the wall clock


class Sample(NamedTuple):
    """A document that waits to be published in an account."""

    account: str
    subject: bytes
    document: bytes


class Latency:
    """What is measured now, and the samples of what was."""

    def __init__(self, context: Context) -> None:
        self.samples: Final[deque[tuple[Sample, Hop]]] = deque()  # with the way of what led to each
        self.dropped = 0  # samples that were the oldest of too many
        self._context = context
        self._tracked: dict[Response, _Tracked] = {}

    def sampling(self, export: ServiceExport, block: bytes) -> tuple[bool, Headers | None]:
        """Whether a request with these headers is measured, and those of them that ask for it."""
        latency = export.latency
        if latency is None:
            return False, None
        if latency.sampling >= 100:
            return True, None
        if latency.sampling > 0 and self._context.entropy.jitter.pick(100) <= latency.sampling:
            return True, None
        headers = triggering_headers(block) if block else None
        return headers is not None, headers

    def measure(
        self, session: Session | None, response: Response, sampled: bool, headers: Headers | None
    ) -> None:
        """A request to a service that is measured goes out."""
        if session is not None and session.rtt_ns is None:
            self._ping(session)
        if sampled and response.is_singleton:
            self._tracked[response] = _Tracked(session, headers, self._context.at.wall_ns)

    def forget(self, response: Response) -> None:
        """Measure it no more."""
        self._tracked.pop(response, None)

    def no_reply(
        self, session: Session | None, service: ImportedService, headers: Headers | None, hop: Hop
    ) -> None:
        """A request says nowhere to answer to."""
        latency = service.export.latency
        assert latency is not None
        importer = self._context.state.account(service.importer)
        now = self._context.at.wall_ns
        document = encode_sample(
            Status.NO_REPLY,
            sample_id=self._sample_id(),
            now_wall_ns=now,
            start_wall_ns=now - _rtt(session),
            requestor=info_of(self._context, session, importer, service.share),
            headers=headers,
        )
        self._put(Sample(service.exporter, latency.subject, document), hop)

    def answered(self, responder: Session | None, response: Response, hop: Hop) -> None:
        """The first answer has come, from this connection."""
        tracked = self._tracked.pop(response, None)
        if tracked is None:
            return
        answering = self._context.state.account(response.account)
        elapsed = self._context.at.wall_ns - tracked.started_ns
        self._sample(
            response,
            tracked,
            Status.ANSWERED,
            hop,
            responder=info_of(self._context, responder, answering, share=True),
            service_ns=elapsed - _rtt(responder),
            total_ns=elapsed + _rtt(tracked.session),
        )

    def ended(self, response: Response, status: Status, hop: Hop) -> None:
        """There will be no answer."""
        tracked = self._tracked.pop(response, None)
        if tracked is not None:
            self._sample(response, tracked, status, hop)

    def _sample(
        self,
        response: Response,
        tracked: _Tracked,
        status: Status,
        hop: Hop,
        *,
        responder: ClientInfo | None = None,
        service_ns: int = 0,
        total_ns: int = 0,
    ) -> None:
        latency = response.export.latency
        assert latency is not None
        requester = self._context.state.account(response.requester)
        document = encode_sample(
            status,
            sample_id=self._sample_id(),
            now_wall_ns=self._context.at.wall_ns,
            start_wall_ns=tracked.started_ns - _rtt(tracked.session),
            requestor=info_of(self._context, tracked.session, requester, response.share),
            responder=responder,
            headers=tracked.headers,
            service_ns=service_ns,
            total_ns=total_ns,
        )
        self._put(Sample(response.account, latency.subject, document), hop)

    def _put(self, sample: Sample, hop: Hop) -> None:
        if len(self.samples) >= _SAMPLES_MAX:
            self.samples.popleft()
            self.dropped += 1
        self.samples.append((sample, hop))

    def _sample_id(self) -> str:
        number = int.from_bytes(self._context.entropy.new_id(17), "big")
        text = bytearray()
        for _ in range(_ID_LENGTH):
            number, digit = divmod(number, len(_DIGITS))
            text.append(_DIGITS[digit])
        return text.decode()

    def _ping(self, session: Session) -> None:
        """Find out how far away a client is, which has not said CONNECT."""
        now = self._context.at.monotonic_ns
        waited = session.pong_sent or now - session.opened_ns > _UNKNOWN_RTT_AGE_NS
        if waited and session.ping_sent_ns is None:
            session.pings_out += 1
            session.ping_sent_ns = now
            session.connection.outbox.write(b"PING\r\n")


def _rtt(session: Session | None) -> int:
    return 0 if session is None else session.rtt_ns or 0

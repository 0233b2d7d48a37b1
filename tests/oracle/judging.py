"""One server, many users with random rules, and every answer compared with the specification's.

A case is one subscription that somebody tries under rules of their own, together
with what it gets of everything that is published while it lasts. Connections are
used again: a second CONNECT brings other rules, and often another account, so
what the server remembers of the rules before is tested as well.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from natscore.account.permissions import Permissions, ResponsePermission, Rules, SubscribeRules
from natscore.authentication import Accept, Login, Verdict
from natscore.events import (
    Address,
    BytesReceived,
    ConnectionId,
    ConnectionKind,
    ConnectionOpened,
    Instant,
    ServerStarted,
    TurnGranted,
)
from natscore.options import Options
from natscore.server import Server
from tests.oracle.cases import PUBLISHED, a_reply, a_subscription, a_user, some_time
from tests.oracle.rules import Leave, User, covers, is_subscribable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from natscore.entropy import Xorshift64
    from natscore.plane import DataPlane

__all__ = ["Disagreement", "Judged", "judge"]

_MEMBERS: Final = 12
_ACCOUNTS: Final = ("A", "B")
_ROUNDS: Final = 20  # with one server
_PUBLISHERS: Final = 4  # in a round, after one in each account that may publish anything
_MESSAGES: Final = 10  # of each of them
_TURNS_MAX: Final = 1_000

_START_NS: Final = 1_700_000_000_000_000_000
_ANYTHING: Final = User(None, (), None, ())
_OUTPUT: Final = re.compile(
    rb"MSG (\S+) (\S+) (?:(\S+) )?\d+\r\n(\d+)\r\n|([-+][^\r\n]+)\r\n|(.+)", re.DOTALL
)


class Disagreement(AssertionError):
    """The server did not do what the specification says."""


@dataclass
class Judged:
    """How much was compared."""

    cases: int = 0
    messages: int = 0
    deliveries: int = 0
    responses: int = 0  # published against the rules


def judge(cases: int, data_plane: Callable[[Xorshift64], DataPlane], seed: int = 0) -> Judged:
    """Compare at least so many cases.

    Raises:
        Disagreement: names the seed, the round and the rules of the first difference.
    """
    judged = Judged()
    while judged.cases < cases:
        table = _Table(data_plane, Random(seed), judged)
        for number in range(_ROUNDS):
            try:
                table.play()
            except Disagreement as difference:
                done = f"{judged.cases} cases in all"
                raise Disagreement(f"seed {seed}, round {number}, {done}: {difference}") from None
        seed += 1
    return judged


class _Register:
    """Accepts whoever is expected next."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def __init__(self) -> None:
        self.next = Accept()

    def authenticate(self, login: Login) -> Verdict:
        return self.next


@dataclass(frozen=True)
class _Subscription:
    sid: bytes
    subject: bytes
    queue: bytes | None


@dataclass
class _Member:
    """One connection, and what its user may do just now."""

    cid: ConnectionId
    account: str = ""
    user: User = _ANYTHING
    verbose: bool = False
    subscriptions: dict[bytes, _Subscription] = field(default_factory=dict)
    leave: Leave = field(default_factory=Leave)
    answers: list[bytes] = field(default_factory=list)  # what is expected beside messages

    def expect_ok(self) -> None:
        if self.verbose:
            self.answers.append(b"+OK")


@dataclass(frozen=True)
class _Message:
    """Something that was published, or denied."""

    publisher: _Member
    subject: bytes
    reply: bytes
    now_ns: int

    def __str__(self) -> str:
        return f"{self.subject!r} with reply {self.reply!r} at {self.now_ns} by {self.publisher}"


class _Table:
    """A server and its clients."""

    def __init__(self, data_plane: Callable[[Xorshift64], DataPlane], random: Random, judged: Judged) -> None:
        self._random = random
        self._judged = judged
        self._register = _Register()
        self._now_ns = 0
        self._server = Server(Options(), data_plane=data_plane, authenticator=self._register)
        self._server.handle(
            ServerStarted(
                at=self._at, server_id="N" + "A" * 55, seed=random.getrandbits(64), runtime="oracle"
            )
        )
        self._sids = 0
        self._members = [self._open(4 + number) for number in range(_MEMBERS)]
        self._masters = [self._open(4 + _MEMBERS + number) for number in range(len(_ACCOUNTS))]
        for account, master in zip(_ACCOUNTS, self._masters, strict=True):
            self._send(master, self._login(master, account, _ANYTHING))

    def play(self) -> None:
        """Some users come anew and subscribe, some publish, and everybody's output is looked at."""
        random = self._random
        for member in self._members:
            if not member.account or random.random() < 0.7:
                said = self._login(member, random.choice(_ACCOUNTS), a_user(random))
                said += b"".join(self._subscribe(member) for _ in range(random.randrange(2, 6)))
                self._send(member, said)
        self._publish_and_compare(self._masters)
        self._publish_and_compare(random.sample(self._members, _PUBLISHERS))

    def _publish_and_compare(self, publishers: Sequence[_Member]) -> None:
        random = self._random
        messages: list[_Message] = []
        for publisher in publishers:
            self._now_ns += some_time(random)
            said = b""
            for subject in random.choices(PUBLISHED, k=_MESSAGES):
                asked = publisher.leave.replies
                answer = random.choice(asked) if asked and random.random() < 0.4 else subject
                said += self._publish(publisher, answer, messages)
            self._send(publisher, said)
        self._compare(messages)

    # -- what clients do, and what is to come of it ------------------------------------------------

    def _open(self, number: int) -> _Member:
        member = _Member(ConnectionId(number))
        self._server.handle(
            ConnectionOpened(
                at=self._at, cid=member.cid, kind=ConnectionKind.CLIENT, remote=Address("10.0.0.1", number)
            )
        )
        self._take(member)  # the INFO
        return member

    def _login(self, member: _Member, account: str, user: User) -> bytes:
        member.account, member.user, member.subscriptions, member.leave = account, user, {}, Leave()
        member.verbose = self._random.random() < 0.2
        self._register.next = Accept(
            account,
            Permissions(
                Rules(user.publish_allow, user.publish_deny),
                SubscribeRules(user.subscribe_allow, user.subscribe_deny),
                ResponsePermission(*user.responses) if user.responses is not None else None,
            ),
        )
        member.expect_ok()
        return b'CONNECT {"verbose":%s,"pedantic":false}\r\n' % (b"true" if member.verbose else b"false")

    def _subscribe(self, member: _Member) -> bytes:
        self._judged.cases += 1
        self._sids += 1
        sid = b"%d" % self._sids
        subject, queue = a_subscription(self._random)
        group = b' using queue "%s"' % queue if queue is not None else b""
        if not member.user.may_subscribe(subject, queue):
            denied = b"Permissions Violation for Subscription to"
            member.answers.append(b"-ERR '%s \"%s\"%s'" % (denied, subject, group))
        elif not is_subscribable(subject):
            member.answers.append(b"-ERR 'Invalid Subject'")
        else:
            member.subscriptions[sid] = _Subscription(sid, subject, queue)
            member.expect_ok()
        return b"SUB " + b" ".join(filter(None, (subject, queue, sid))) + b"\r\n"

    def _publish(self, member: _Member, subject: bytes, messages: list[_Message]) -> bytes:
        """What may be answered depends on who got what before: it is judged when all that is known."""
        number = b"%d" % len(messages)
        reply = a_reply(self._random)
        messages.append(_Message(member, subject, reply, self._now_ns))
        self._judged.messages += 1
        return b"PUB %s %s %d\r\n%s\r\n" % (subject, reply, len(number), number)

    # -- what the server did -----------------------------------------------------------------------

    def _compare(self, messages: list[_Message]) -> None:
        got: dict[int, list[tuple[_Member, _Subscription]]] = defaultdict(list)
        everybody = (*self._members, *self._masters)
        answered: list[list[bytes]] = []
        for member in everybody:
            answered.append([])
            for subject, sid, reply, number, answer, rest in _OUTPUT.findall(self._take(member)):
                if sid:
                    subscription = self._received(member, sid, subject, reply, messages[int(number)])
                    got[int(number)].append((member, subscription))
                else:
                    answered[-1].append(answer or rest)
        for number, message in enumerate(messages):
            self._judge(message, got[number])
        for member, answers in zip(everybody, answered, strict=True):
            if answers != member.answers:
                raise Disagreement(f"{member} was answered {answers}")
            member.answers = []

    def _received(
        self, member: _Member, sid: bytes, subject: bytes, reply: bytes, message: _Message
    ) -> _Subscription:
        """A delivery by itself: of a message that was published, to somebody who may have it."""
        subscription = member.subscriptions.get(sid)
        if subscription is None:
            raise Disagreement(f"{member} has no subscription {sid!r}, and got {subject!r}")
        if (message.publisher.account, message.subject, message.reply) != (member.account, subject, reply):
            raise Disagreement(f"{member} got {subject!r} with reply {reply!r}, which stands for {message}")
        if member.user.denies(subject, subscription.queue):
            raise Disagreement(f"{member} got {subject!r} in {subscription}, which is denied")
        self._judged.deliveries += 1
        return subscription

    def _judge(self, message: _Message, got: list[tuple[_Member, _Subscription]]) -> None:
        """Whether it may be published; then who got it, and may answer it."""
        publisher, subject = message.publisher, message.subject
        if publisher.user.may_publish(subject):
            publisher.expect_ok()
        elif publisher.leave.takes(publisher.user, subject, message.now_ns):
            publisher.expect_ok()
            self._judged.responses += 1
        else:
            publisher.answers.append(b"-ERR 'Permissions Violation for Publish to \"%s\"'" % subject)
            if got:
                raise Disagreement(f"{message} was denied, and went to {got}")
            return
        self._compare_receivers(message, got)
        for member, _ in got:
            if message.reply and not member.user.may_publish(message.reply):
                member.leave.note(message.reply, message.now_ns)

    def _compare_receivers(self, message: _Message, got: list[tuple[_Member, _Subscription]]) -> None:
        """All deliveries of one message: every plain subscription that may have it, one of each group."""
        plain: list[bytes] = []
        groups: dict[bytes, list[bytes]] = defaultdict(list)
        for member in self._members:
            if member.account != message.publisher.account:
                continue
            for one in member.subscriptions.values():
                if covers(one.subject, message.subject) and not member.user.denies(
                    message.subject, one.queue
                ):
                    (plain if one.queue is None else groups[one.queue]).append(one.sid)
        plain_got = sorted(one.sid for _, one in got if one.queue is None)
        if plain_got != sorted(plain):
            raise Disagreement(f"{message} went to {plain_got} instead of {plain}: {self._members}")
        groups_got = {one.queue: one.sid for _, one in got if one.queue is not None}
        if len(plain_got) + len(groups_got) != len(got) or groups_got.keys() != groups.keys():
            raise Disagreement(f"{message} went to the groups {got} instead of {groups}: {self._members}")
        for queue, members in groups.items():
            if groups_got[queue] not in members:
                raise Disagreement(f"{message} went to {groups_got[queue]!r} and not to one of {members}")

    # -- the wire ----------------------------------------------------------------------------------

    @property
    def _at(self) -> Instant:
        return Instant(self._now_ns, _START_NS + self._now_ns)

    def _send(self, member: _Member, data: bytes) -> None:
        self._server.handle(BytesReceived(at=self._at, cid=member.cid, data=data))
        for _ in range(_TURNS_MAX):
            if self._server.is_quiet:
                return
            self._server.handle(TurnGranted(at=self._at))
        raise Disagreement("the server does not come to rest")

    def _take(self, member: _Member) -> bytes:
        outbox = self._server.state.connections[member.cid].outbox
        data = b"".join(outbox.blocks(1 << 40))
        outbox.advance(len(data))
        return data

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

from natscore.account.permissions import Permissions, Rules, SubscribeRules
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
from tests.oracle.cases import PUBLISHED, a_subscription, a_user
from tests.oracle.rules import User, covers, is_subscribable

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.entropy import Xorshift64
    from natscore.plane import DataPlane

__all__ = ["Disagreement", "Judged", "judge"]

_MEMBERS: Final = 12
_ACCOUNTS: Final = ("A", "B")
_ROUNDS: Final = 20  # with one server
_PUBLISHERS: Final = 3  # in a round, beside one in each account that may publish anything
_MESSAGES: Final = 10  # of each of them
_TURNS_MAX: Final = 1_000

_AT: Final = Instant(0, 1_700_000_000_000_000_000)
_ANYTHING: Final = User(None, (), None, ())
_OUTPUT: Final = re.compile(rb"MSG (\S+) (\S+) \d+\r\n(\d+)\r\n|([-+][^\r\n]+)\r\n|(.+)", re.DOTALL)


class Disagreement(AssertionError):
    """The server did not do what the specification says."""


@dataclass
class Judged:
    """How much was compared."""

    cases: int = 0
    messages: int = 0
    deliveries: int = 0


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
    answers: list[bytes] = field(default_factory=list)  # what is expected beside messages


@dataclass(frozen=True)
class _Message:
    account: str
    subject: bytes


class _Table:
    """A server and its clients."""

    def __init__(self, data_plane: Callable[[Xorshift64], DataPlane], random: Random, judged: Judged) -> None:
        self._random = random
        self._judged = judged
        self._register = _Register()
        self._server = Server(Options(), data_plane=data_plane, authenticator=self._register)
        self._server.handle(
            ServerStarted(at=_AT, server_id="N" + "A" * 55, seed=random.getrandbits(64), runtime="oracle")
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
        messages: list[_Message] = []
        for publisher in (*random.sample(self._members, _PUBLISHERS), *self._masters):
            said = b""
            for subject in random.choices(PUBLISHED, k=_MESSAGES):
                said += self._publish(publisher, subject, messages)
            self._send(publisher, said)
        self._compare(messages)

    # -- what clients do, and what is to come of it ------------------------------------------------

    def _open(self, number: int) -> _Member:
        member = _Member(ConnectionId(number))
        self._server.handle(
            ConnectionOpened(
                at=_AT, cid=member.cid, kind=ConnectionKind.CLIENT, remote=Address("10.0.0.1", number)
            )
        )
        self._take(member)  # the INFO
        return member

    def _login(self, member: _Member, account: str, user: User) -> bytes:
        member.account, member.user, member.subscriptions = account, user, {}
        member.verbose = self._random.random() < 0.2
        self._register.next = Accept(
            account,
            Permissions(
                Rules(user.publish_allow, user.publish_deny),
                SubscribeRules(user.subscribe_allow, user.subscribe_deny),
            ),
        )
        self._expect_ok(member)
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
            self._expect_ok(member)
        return b"SUB " + b" ".join(filter(None, (subject, queue, sid))) + b"\r\n"

    def _publish(self, member: _Member, subject: bytes, messages: list[_Message]) -> bytes:
        number = b"%d" % len(messages)
        if member.user.may_publish(subject):
            messages.append(_Message(member.account, subject))
            self._expect_ok(member)
        else:
            number = b"0"  # must not be seen: no message has this number and this subject
            member.answers.append(b"-ERR 'Permissions Violation for Publish to \"%s\"'" % subject)
        self._judged.messages += 1
        return b"PUB %s %d\r\n%s\r\n" % (subject, len(number), number)

    def _expect_ok(self, member: _Member) -> None:
        if member.verbose:
            member.answers.append(b"+OK")

    # -- what the server did -----------------------------------------------------------------------

    def _compare(self, messages: list[_Message]) -> None:
        got: dict[int, list[tuple[_Member, _Subscription]]] = defaultdict(list)
        for member in (*self._members, *self._masters):
            answers: list[bytes] = []
            for subject, sid, number, answer, rest in _OUTPUT.findall(self._take(member)):
                if sid:
                    subscription = self._received(member, sid, subject, messages[int(number)])
                    got[int(number)].append((member, subscription))
                else:
                    answers.append(answer or rest)
            if answers != member.answers:
                raise Disagreement(f"{member} was answered {answers}")
            member.answers = []
        for number, message in enumerate(messages):
            self._compare_receivers(message, got[number])

    def _received(self, member: _Member, sid: bytes, subject: bytes, message: _Message) -> _Subscription:
        """A delivery by itself: of a message that was published, to somebody who may have it."""
        subscription = member.subscriptions.get(sid)
        if subscription is None:
            raise Disagreement(f"{member} has no subscription {sid!r}, and got {subject!r}")
        if message != _Message(member.account, subject):
            raise Disagreement(f"{member} got {subject!r}, which stands for {message}")
        if member.user.denies(subject, subscription.queue):
            raise Disagreement(f"{member} got {subject!r} in {subscription}, which is denied")
        self._judged.deliveries += 1
        return subscription

    def _compare_receivers(self, message: _Message, got: list[tuple[_Member, _Subscription]]) -> None:
        """All deliveries of one message: every plain subscription that may have it, one of each group."""
        plain: list[bytes] = []
        groups: dict[bytes, list[bytes]] = defaultdict(list)
        for member in self._members:
            if member.account != message.account:
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

    def _send(self, member: _Member, data: bytes) -> None:
        self._server.handle(BytesReceived(at=_AT, cid=member.cid, data=data))
        for _ in range(_TURNS_MAX):
            if self._server.is_quiet:
                return
            self._server.handle(TurnGranted(at=_AT))
        raise Disagreement("the server does not come to rest")

    def _take(self, member: _Member) -> bytes:
        outbox = self._server.state.connections[member.cid].outbox
        data = b"".join(outbox.blocks(1 << 40))
        outbox.advance(len(data))
        return data

"""One server, many users with random rules, and every answer compared with the specification's.

A case is one subscription that somebody tries under rules of their own, together
with what it gets of everything that is published while it lasts. Connections are
used again: a second CONNECT brings other rules, and often another account, so
what the server remembers of the rules before is tested as well.
"""

from __future__ import annotations

import enum
import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING, Final

from natscore.account.permissions import Permissions, ResponsePermission, Rules, SubscribeRules
from natscore.account.settings import AccountSettings, AccountsSettings, StreamExport, StreamImport
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
from tests.oracle.cases import PUBLISHED, a_reply, a_subscription, a_user, some_imports, some_time
from tests.oracle.rules import Import, Leave, User, is_subscribable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from natscore.entropy import Xorshift64
    from natscore.plane import DataPlane

__all__ = ["Disagreement", "Judged", "Path", "judge"]

_MEMBERS: Final = 16
_ACCOUNTS: Final = ("A", "B", "C")
_ROUNDS: Final = 20  # with one server
_PUBLISHERS: Final = 4  # in a round, after one in each account that may publish anything
_MESSAGES: Final = 10  # of each of them
_TURNS_MAX: Final = 1_000

_START_NS: Final = 1_700_000_000_000_000_000
_ANYTHING: Final = User(None, (), None, ())
_OUTPUT: Final = re.compile(
    rb"MSG (\S+) (\S+) (?:(\S+) )?\d+\r\n(\d+)\r\n|([-+][^\r\n]+)\r\n|(.+)", re.DOTALL
)


class Path(enum.Enum):
    """How messages reach subscriptions. What is published locally is delivered on every path."""

    LOCAL = "local"  # within an account
    IMPORT = "import"  # also from one account to the next, as streams


class Disagreement(AssertionError):
    """The server did not do what the specification says."""


@dataclass
class Judged:
    """How much was compared."""

    cases: int = 0
    messages: int = 0
    deliveries: int = 0
    imported: int = 0  # of the deliveries, those from another account
    responses: int = 0  # published against the rules


def judge(
    cases: int, data_plane: Callable[[Xorshift64], DataPlane], seed: int = 0, path: Path = Path.LOCAL
) -> Judged:
    """Compare at least so many cases on one path.

    Raises:
        Disagreement: names the seed, the round and the rules of the first difference.
    """
    judged = Judged()
    while judged.cases < cases:
        table = _Table(data_plane, Random(seed), judged, path)
        for number in range(_ROUNDS):
            try:
                table.play()
            except Disagreement as difference:
                done = f"{judged.cases} cases in all"
                where = f"path {path.value}, seed {seed}, round {number}, {done}"
                raise Disagreement(f"{where}: {difference}\n{table.imports}") from None
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


@dataclass(frozen=True)
class _Delivery:
    """One message that somebody got, or is to get."""

    member: _Member
    subscription: _Subscription
    subject: bytes
    reply: bytes

    @property
    def queue(self) -> bytes | None:
        return self.subscription.queue

    @property
    def words(self) -> tuple[bytes, bytes, bytes]:
        """What stands on the line; no two members use the same sid."""
        return self.subscription.sid, self.subject, self.reply


def _settings_of(imports: list[Import]) -> AccountsSettings:
    """The accounts: each exports everything as streams, and imports these."""
    return AccountsSettings(
        accounts=tuple(
            AccountSettings(
                name=name,
                exports=(StreamExport(subject=b">"),),
                imports=tuple(
                    StreamImport(account=one.exporter, subject=one.subject, to=one.to)
                    for one in imports
                    if one.importer == name
                ),
            )
            for name in _ACCOUNTS
        )
    )


class _Table:
    """A server and its clients."""

    def __init__(
        self, data_plane: Callable[[Xorshift64], DataPlane], random: Random, judged: Judged, path: Path
    ) -> None:
        self._random = random
        self._judged = judged
        self._register = _Register()
        self._now_ns = 0
        self.imports: list[Import] = []
        if path is Path.IMPORT:
            # always from an earlier account to a later one: nothing can go round in a cycle
            for exporter, importer in combinations(_ACCOUNTS, 2):
                self.imports += some_imports(random, importer, exporter)
        options = Options(accounts=_settings_of(self.imports))
        self._server = Server(options, data_plane=data_plane, authenticator=self._register)
        self._server.handle(
            ServerStarted(
                at=self._at, server_id="N" + "A" * 55, seed=random.getrandbits(64), runtime="oracle"
            )
        )
        self._sids = 0
        self._asked: list[bytes] = []  # where answers were asked for last, of whomever
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
                asked = publisher.leave.replies if random.random() < 0.6 else self._asked
                if asked and random.random() < 0.6:
                    subject = random.choice(asked)
                said += self._publish(publisher, subject, messages)
            self._send(publisher, said)
        self._compare(messages)
        self._asked = [one.reply for one in messages if one.reply]

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
        got: dict[int, list[_Delivery]] = defaultdict(list)
        everybody = (*self._members, *self._masters)
        answered: list[list[bytes]] = []
        for member in everybody:
            answered.append([])
            for subject, sid, reply, number, answer, rest in _OUTPUT.findall(self._take(member)):
                if not sid:
                    answered[-1].append(answer or rest)
                    continue
                subscription = member.subscriptions.get(sid)
                if subscription is None:
                    raise Disagreement(f"{member} has no subscription {sid!r}, and got {subject!r}")
                got[int(number)].append(_Delivery(member, subscription, subject, reply))
        for number, message in enumerate(messages):
            self._judge(message, got[number])
        for member, answers in zip(everybody, answered, strict=True):
            if answers != member.answers:
                raise Disagreement(f"{member} was answered {answers}")
            member.answers = []

    def _judge(self, message: _Message, got: list[_Delivery]) -> None:
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
                raise Disagreement(f"{message} was denied, and delivered: {got}")
            return
        self._compare_receivers(message, got)
        for one in got:
            self._judged.deliveries += 1
            self._judged.imported += one.member.account != publisher.account
            if message.reply and not one.member.user.may_publish(message.reply):
                one.member.leave.note(message.reply, message.now_ns)

    def _due(self, message: _Message) -> Iterator[_Delivery]:
        """All subscriptions that may have a message, under each name that it has in their account."""
        for member in self._members:
            if member.account == message.publisher.account:
                names = {message.subject}
            else:
                route = (member.account, message.publisher.account)
                streams = (one for one in self.imports if (one.importer, one.exporter) == route)
                names = {name for one in streams if (name := one.name(message.subject)) is not None}
            for one in member.subscriptions.values():
                for name in names:
                    if member.user.may_receive(one.subject, one.queue, name):
                        yield _Delivery(member, one, name, message.reply)

    def _compare_receivers(self, message: _Message, got: list[_Delivery]) -> None:
        """All deliveries of one message: every plain subscription that may have it, one of each group."""
        plain: list[_Delivery] = []
        groups: dict[bytes, list[_Delivery]] = defaultdict(list)
        for one in self._due(message):
            (plain if one.queue is None else groups[one.queue]).append(one)
        plain_got = [one for one in got if one.queue is None]
        if sorted(one.words for one in plain_got) != sorted(one.words for one in plain):
            raise Disagreement(f"{message} was delivered: {plain_got} instead of {plain}")
        groups_got = {one.queue: one for one in got if one.queue is not None}
        if len(plain_got) + len(groups_got) != len(got) or groups_got.keys() != groups.keys():
            raise Disagreement(f"{message} was delivered: {got} instead of one each of {dict(groups)}")
        for queue, due in groups.items():
            if groups_got[queue].words not in [one.words for one in due]:
                raise Disagreement(f"{message} was delivered: {groups_got[queue]} and not one of {due}")

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

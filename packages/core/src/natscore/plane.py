"""The border between control and data: `DataPlane`, and what the control plane sees of its cells.

A data plane and its cells are one family of classes: `natscore.dataplane` with
`natscore.cells` and `natscore.sublist` in pure Python is one, and there may be
others. Everything else in the core knows only the protocols of this module.
What they do not name (how an outbox keeps its blocks, a source its buffer, a
sublist its trie) is private to the family.

A plane takes back only cells that it made itself, and checks that: to give it
another's is a bug of the caller. Two planes agree on every byte, counter, reason
and order that can be seen through these protocols, in every turn: so a journal
that was recorded with one replays with the other
(`natscore.testing.PairedDataPlane` runs two at once, and compares).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from natscore.account.permissions import RESPONSES_MAX
from natscore.events import ConnectionId

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from natscore.account.mappings import Mapper
    from natscore.account.permissions import ResponsePermission
    from natscore.errors import Violation
    from natscore.plan import Plan
    from natscore.responses import Responses

__all__ = [
    "CLIENT_RESERVED",
    "HELD_MAX",
    "SERVER",
    "Asked",
    "DataPlane",
    "Filter",
    "Found",
    "Node",
    "Outbox",
    "Source",
    "Stop",
    "SubjectTable",
    "Sublist",
    "Subscription",
]

CLIENT_RESERVED: Final = (b"_GR_.", b"$NRG.")
"""Prefixes that a client must not publish to (client-protocol.md section 20)."""

SERVER: Final = ConnectionId(0)
"""The connection of the server itself: what its subscriptions match is asked of the control plane."""

HELD_MAX: Final = 16_384
"""Bytes that a shell may leave in an outbox from one read to the next; what holds more it offers (ADR 15)."""

T_co = TypeVar("T_co", covariant=True)
S_co = TypeVar("S_co", bound="Subscription", covariant=True)


class Stop(enum.Enum):
    """Why `run` returned."""

    NEED_DATA = enum.auto()  # everything complete is done
    OPS = enum.auto()  # source.ops holds protocol operations for the control plane
    MISS = enum.auto()  # source.missed holds nodes of which no plan was made
    ASK = enum.auto()  # source.asked holds a message that the server itself subscribes to
    DONE = (
        enum.auto()
    )  # of `post`: source.delivered, source.asked and source.unfinished say what became of it
    TURN_OVER = enum.auto()  # the turn's output is spent; the rest waits in the source
    STEPPED = enum.auto()  # one op is done, and the source is stepping
    EXHAUSTED = enum.auto()  # a subscription reached its max, which is settled before the next op
    VIOLATION = enum.auto()  # source.violation; what came before it has been done
    UNAUTHENTICATED = enum.auto()  # the first op is not CONNECT although a login is required


class Asked(NamedTuple):
    """A message that subscriptions of the server match, for the control plane to carry on."""

    sids: tuple[bytes, ...]  # of those subscriptions
    subject: bytes
    reply: bytes
    headers: bytes  # the block, or nothing
    payload: bytes
    delivered: bool  # whether anybody else got it


class Outbox(Protocol):
    """The bytes on their way to one connection, in the order of decision: the only way out of the core.

    A shell takes `blocks`, offers them to the kernel, and says with `advance` how
    much was taken. Where one block ends and the next begins is private to a
    plane; which bytes they hold is not.
    """

    open: bool  # false from the instant the connection is decided to end
    accepts: bool  # open, and not refusing messages because it is far behind
    ready: bool  # whether it stands in the plane's list of outboxes with something to write
    blocked: bool  # the kernel refused bytes and has not taken them all since
    headers: bool  # this connection takes HMSG

    @property
    def cid(self) -> ConnectionId: ...
    @property
    def size(self) -> int:
        """Bytes not yet taken by the kernel."""

    @property
    def appended(self) -> int:
        """Bytes ever appended, and not retracted."""

    @property
    def messages(self) -> int:
        """Messages delivered."""

    @property
    def volume(self) -> int:
        """Header and payload bytes delivered."""

    @property
    def responses(self) -> Responses | None:
        """Where this connection may answer what it gets; None: wherever its rules allow, and nowhere else."""

    def write(self, data: bytes) -> None:
        """Append bytes that the control plane decided on."""

    def blocks(self, limit: int) -> list[bytes | memoryview]:
        """The first blocks, as many as fit into `limit` bytes, and at least one if there is any.

        A block never moves or changes while a shell holds it.
        """

    def advance(self, count: int) -> None:
        """The kernel took the first `count` bytes."""

    def condense(self) -> None:
        """What waits for long shall not weigh several times its bytes."""

    def tail_blocks(self, count: int) -> list[bytes | memoryview]:
        """The last `count` bytes appended, of those still held, for checksums and traces."""

    def retract(self, count: int) -> None:
        """Take back the last `count` bytes appended; none of them has been offered to a shell."""

    def discard(self) -> None:
        """Drop everything: the connection is gone or will not be flushed."""


class Filter(Protocol):
    """What becomes of a message that a subscription matches: it is delivered under some subject, or not."""

    @property
    def depends_on_subject(self) -> bool:
        """Whether the answer is not simply the subject of each message."""

    @property
    def rules(self) -> int:
        """What the answer costs, in rules looked at."""

    def name(self, subject: bytes) -> bytes | None:
        """The subject under which a message published to `subject` is delivered; None: it is not."""


class Subscription(Protocol):
    """One subscription of one connection."""

    max: int  # auto-unsubscribe after this many; 0: never
    filter: Filter | None  # what becomes of what it matches, None: it gets it; of a member: see restrict

    @property
    def receiver(self) -> Subscription:
        """Who gets what it matches: itself, or for a shadow the subscription that it was made for."""

    @property
    def outbox(self) -> Outbox: ...
    @property
    def sid(self) -> bytes: ...
    @property
    def subject(self) -> bytes: ...
    @property
    def queue(self) -> bytes | None: ...
    @property
    def delivered(self) -> int: ...
    @property
    def live(self) -> bool:
        """False once max is reached or it is removed."""

    @property
    def node(self) -> object | None:
        """Where the sublist keeps it; None: nowhere."""


class Node(Protocol[S_co]):
    """All subscriptions of an account with the same subject, valid until the next call on their plane."""

    @property
    def subject(self) -> bytes: ...
    @property
    def plain(self) -> Collection[S_co]:
        """Those of no queue group, in the order of delivery."""

    @property
    def queues(self) -> Mapping[bytes, Collection[S_co]]:
        """The members of each queue group, in the order in which they came."""


class Sublist(Protocol):
    """The subscriptions of one account."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def steps(self) -> int:
        """Places that matches ever looked at; what one cost is the difference."""

    def node(self, subject: bytes) -> Node[Subscription] | None:
        """The subscriptions with exactly this subject."""

    def nodes(self) -> Iterator[Node[Subscription]]:
        """All nodes, in a fixed order."""

    def insert(self, subscription: Subscription) -> None:
        """Add a subscription whose subject is valid."""

    def remove(self, subscription: Subscription) -> None:
        """Take a member out again."""

    def restrict(self, subscription: Subscription, rule: Filter | None) -> None:
        """Give a member another filter. It keeps its place."""

    def match(self, subject: bytes) -> Sequence[Node[Subscription]]:
        """The nodes whose subscriptions get a message published to `subject`, in a fixed order."""


class SubjectTable(Protocol):
    """Answers of a sublist that are remembered, for connections with equal rights in one account."""

    def __len__(self) -> int:
        """How many lines it holds."""

    def remap(self, mapper: Mapper | None) -> None:
        """From now on, map by `mapper`. Everything is looked up anew."""


class Source(Protocol):
    """The reading side of one connection: bytes not yet parsed, and how to treat its messages.

    What `run` found besides messages is left in `ops`, `missed` or `violation`.
    """

    max_control_line: int
    max_payload: int  # far above what fits into memory: no limit
    awaiting_connect: bool  # a login is required and has not happened
    first_ping_due: bool  # the first PING after CONNECT goes to the control plane
    verbose: bool
    pedantic: bool
    echo: bool
    headers: bool  # HPUB is negotiated
    no_responders: bool
    stepping: bool  # one op a run, for tracing
    ops: list[tuple[bytes, list[bytes]]]  # what was said to the control plane; to be replaced when taken
    asked: Asked | None  # what the server itself shall do for a message; to be taken before the next op

    @property
    def cid(self) -> ConnectionId: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def have(self) -> int:
        """Bytes not yet parsed."""

    @property
    def has_work(self) -> bool:
        """Whether something can be done without more bytes, or may be."""

    @property
    def missed(self) -> tuple[Node[Subscription], ...]:
        """The nodes of a MISS."""

    @missed.setter
    def missed(self, nothing: tuple[()]) -> None: ...
    @property
    def missed_subject(self) -> bytes:
        """What was published when no plan was there."""

    @property
    def unfinished(self) -> object | None:
        """A fan-out to more receivers than a turn serves, of which something is left."""

    @property
    def delivered(self) -> bool:
        """Whether anybody got the message that was delivered last, by itself; the server does not count."""

    @property
    def violation(self) -> Violation | None: ...
    @property
    def stepped(self) -> bytes:
        """The op that the last run performed, when stepping."""

    @property
    def pings(self) -> int:
        """PINGs that the data plane answered."""

    @property
    def messages(self) -> int:
        """Messages published."""

    @property
    def volume(self) -> int:
        """Header and payload bytes published."""

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes off the wire; `DataPlane.run` parses them."""

    def keep(self) -> None:
        """Own what is unparsed: the chunk that was fed is its owner's again when the event was handled."""

    def peek(self, count: int) -> bytes:
        """The first `count` unparsed bytes, or all if they are fewer, for a log line."""

    def forget(self) -> None:
        """Drop unparsed bytes: the connection is ending."""


class Found(Protocol[T_co]):
    """What a plane found while it worked, in order; the control plane reads it, and then clears it."""

    def __iter__(self) -> Iterator[T_co]: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...


class DataPlane(Protocol):
    """Matches, parses, delivers. Implementations agree on every byte, counter and reason.

    A plane is made from the generator of queue choices: it draws from that one
    alone, and leaves its state in it after every call.
    """

    @property
    def ready(self) -> Found[Outbox]:
        """Outboxes with something to write, in the order of their first byte."""

    @property
    def exhausted(self) -> Found[Subscription]:
        """Reached their max; to be removed at the next settle."""

    @property
    def strained(self) -> Found[Outbox]:
        """Refused by the kernel, and appended to all the same; one may stand here more than once."""

    @property
    def denied(self) -> Found[tuple[ConnectionId, bytes, bytes]]:
        """Refused publishes: connection, subject, reply."""

    @property
    def left(self) -> int:
        """Output that this turn may still write; less than nothing when it wrote more."""

    def outbox(self, cid: ConnectionId) -> Outbox:
        """The writing side of a new connection."""

    def source(
        self, cid: ConnectionId, outbox: Outbox, table: SubjectTable, max_control_line: int, max_payload: int
    ) -> Source:
        """The reading side of a new connection."""

    def bind(
        self,
        source: Source,
        table: SubjectTable,
        responses: ResponsePermission | None = None,
        responses_max: int = RESPONSES_MAX,
    ) -> None:
        """From now on, look the subjects of `source` up in `table`.

        With `responses`, what its outbox gets may be answered, wherever the table refuses
        that; so many replies are remembered. What was delivered before may not. Plans know
        of it: an outbox in which something is subscribed is not bound with other leave.
        """

    def sublist(self) -> Sublist:
        """The subscriptions of a new account."""

    def table(
        self,
        sublist: Sublist,
        reserved: tuple[bytes, ...],
        allow: Sublist | None = None,
        deny: Sublist | None = None,
        mapper: Mapper | None = None,
    ) -> SubjectTable:
        """A look-up table over `sublist` for connections with equal rights.

        A subject is refused that begins with one of `reserved`, that nothing in
        `allow` matches, if it is given, or that something in `deny` matches.
        All of it is asked of the subject that `mapper` gives, where it gives one.
        """

    def retire(self, table: SubjectTable) -> None:
        """A table that nobody will look anything up in again."""

    def subscription(self, outbox: Outbox, sid: bytes, subject: bytes, queue: bytes | None) -> Subscription:
        """A new subscription, not yet in any sublist."""

    def shadow(self, receiver: Subscription, subject: bytes, renaming: Filter) -> Subscription:
        """A subscription in another account, not yet in any sublist, for one in the importer's.

        What it matches is delivered to `receiver`, and counted there, under the name that `renaming` gives.
        """

    def install(
        self,
        table: SubjectTable,
        nodes: tuple[Node[Subscription], ...],
        plan: Plan[Subscription],
        subject: bytes = b"",
    ) -> None:
        """Answer a MISS: from now on messages that match `nodes` are delivered by `plan`.

        Only those to `subject`, if one of the subscriptions has a filter.
        """

    def begin_turn(self, output_max: int, now_ns: int = 0) -> None:
        """Allow `output_max` bytes of output until `run` answers TURN_OVER. Leave to respond is as of now."""

    def spend(self, cost: int) -> bool:
        """Count work of the control plane as if it were `cost` bytes of output. Is anything left?"""

    def run(self, source: Source) -> Stop:
        """Parse and deliver until something needs the control plane. Never raises for what a peer sent."""

    def go_on(self, source: Source) -> bool:
        """Perform the next part of a fan-out. Is it done?"""

    def post(
        self,
        source: Source,
        table: SubjectTable,
        subject: bytes,
        reply: bytes,
        headers: bytes,
        payload: bytes,
    ) -> Stop:
        """Publish in the account of `table` what a message of `source` led to: DONE, or MISS.

        Nobody gets it through a stream import, and echo does not matter.
        """

    def tell_no_responders(self, source: Source, subject: bytes, reply: bytes) -> None:
        """Answer a request of `source` that nobody got, where it waits for the answer."""

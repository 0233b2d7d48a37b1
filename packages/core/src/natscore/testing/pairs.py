"""Cells of two data planes in pairs: written alike, read alike, or they disagree.

Every cell here has a `first` and a `second`. What the control plane writes goes
to both; what it reads is the first's, after a comparison with the second's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from natscore.testing.agreement import PlanesDisagree, ReadAlike, WrittenAlike, agree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from natscore.account.mappings import Mapper
    from natscore.errors import Violation
    from natscore.events import ConnectionId
    from natscore.plane import (
        Asked,
        Filter,
        Node,
        Outbox,
        Source,
        SubjectTable,
        Sublist,
        Subscription,
    )
    from natscore.responses import Responses

__all__ = [
    "PairedNode",
    "PairedOutbox",
    "PairedShadow",
    "PairedSource",
    "PairedSublist",
    "PairedSubscription",
    "PairedTable",
    "PlanesDisagree",
    "agree",
]

_PEEKED: Final = 80  # unparsed bytes that are compared

_LOOKS_MAX: Final = 64  # subscriptions of one outbox that are compared at once

T = TypeVar("T")
U = TypeVar("U")


class PairedOutbox:
    """Two outboxes of one connection."""

    __slots__ = ("__weakref__", "_compared", "_looked", "cid", "first", "second", "subscriptions")

    def __init__(self, first: Outbox, second: Outbox) -> None:
        self.first = first
        self.second = second
        self.cid: ConnectionId = agree("outbox", "cid", first.cid, second.cid)
        self.subscriptions: dict[Subscription, PairedSubscription] = {}  # those in a sublist, by the first
        self._compared = first.appended  # of the bytes ever appended, so many were compared
        self._looked = 0  # of the subscriptions, where to go on comparing

    open = WrittenAlike[bool]()
    accepts = WrittenAlike[bool]()
    ready = WrittenAlike[bool]()
    blocked = WrittenAlike[bool]()
    headers = WrittenAlike[bool]()
    size = ReadAlike[int]()
    appended = ReadAlike[int]()
    messages = ReadAlike[int]()
    volume = ReadAlike[int]()

    def __str__(self) -> str:
        return f"outbox of connection {self.cid}"

    @property
    def responses(self) -> Responses | None:
        """Where the first may answer what it gets; the second may there too."""
        return agree(self, "responses", self.first.responses, self.second.responses)

    def write(self, data: bytes) -> None:
        """Append to both."""
        self.first.write(data)
        self.second.write(data)

    def blocks(self, limit: int) -> list[bytes | memoryview]:
        """The first blocks of the first; the second's bytes are the same, but may be divided elsewhere."""
        blocks = self.first.blocks(limit)
        first, second = b"".join(blocks), b"".join(self.second.blocks(limit))
        length = min(len(first), len(second))
        agree(self, "bytes at the front", first[:length], second[:length])
        agree(self, "anything in front", bool(first), bool(second))
        return blocks

    def advance(self, count: int) -> None:
        """The kernel took the first `count` bytes."""
        self.compare()
        self.first.advance(count)
        self.second.advance(count)
        agree(self, "size", self.first.size, self.second.size)

    def condense(self) -> None:
        """Join small blocks in both."""
        self.first.condense()
        self.second.condense()

    def tail_blocks(self, count: int) -> list[bytes | memoryview]:
        """The last `count` bytes appended, of those still held."""
        blocks = self.first.tail_blocks(count)
        agree(self, "bytes at the end", b"".join(blocks), b"".join(self.second.tail_blocks(count)))
        return blocks

    def retract(self, count: int) -> None:
        """Take back the last `count` bytes appended."""
        self.compare()
        self.first.retract(count)
        self.second.retract(count)
        self._compared = agree(self, "appended", self.first.appended, self.second.appended)

    def discard(self) -> None:
        """Drop everything."""
        self.compare()
        self.first.discard()
        self.second.discard()

    def compare(self) -> None:
        """Compare counters, bytes that are new, and the next few subscriptions."""
        first, second = self.first, self.second
        counters = (first.appended, first.size, first.messages, first.volume, first.ready)
        others = (second.appended, second.size, second.messages, second.volume, second.ready)
        if counters != others:
            self._compare_new_bytes()
        agree(self, "appended, size, messages, volume, ready", counters, others)
        agree(self, "how many may be answered", _awaited(first), _awaited(second))
        if first.appended != self._compared:
            self._compare_new_bytes()
            self._compared = first.appended
            self._compare_subscriptions(_LOOKS_MAX)

    def compare_all(self) -> None:
        """Compare everything."""
        self.compare()
        agree(
            self, "open, accepts, blocked, headers",
            (self.first.open, self.first.accepts, self.first.blocked, self.first.headers),
            (self.second.open, self.second.accepts, self.second.blocked, self.second.headers),
        )  # fmt: skip
        agree(self, "responses", self.first.responses, self.second.responses)
        self.tail_blocks(self.first.size)
        self._compare_subscriptions(len(self.subscriptions))

    def _compare_new_bytes(self) -> None:
        first, second = (
            b"".join(one.tail_blocks(min(one.appended - self._compared, one.size)))
            for one in (self.first, self.second)
        )
        agree(self, "bytes appended", first, second)

    def _compare_subscriptions(self, most: int) -> None:
        subscriptions = list(self.subscriptions.values())
        for _ in range(min(most, len(subscriptions))):
            self._looked = (self._looked + 1) % len(subscriptions)
            subscriptions[self._looked].compare()


def _awaited(outbox: Outbox) -> tuple[int, int, int] | None:
    return outbox.responses.summary if outbox.responses is not None else None


class PairedSubscription:
    """Two subscriptions with one sid."""

    __slots__ = ("first", "outbox", "queue", "second", "sid", "subject")

    def __init__(self, outbox: PairedOutbox, first: Subscription, second: Subscription) -> None:
        self.outbox = outbox
        self.first = first
        self.second = second
        self.sid = agree(outbox, "sid of a subscription", first.sid, second.sid)
        self.subject = agree(outbox, "subject of a subscription", first.subject, second.subject)
        self.queue = agree(outbox, "queue of a subscription", first.queue, second.queue)

    max = WrittenAlike[int]()
    filter: WrittenAlike[Filter | None] = WrittenAlike()
    delivered = ReadAlike[int]()
    live = ReadAlike[bool]()

    def __str__(self) -> str:
        return f"subscription {self.sid!r} of connection {self.outbox.cid}"

    @property
    def receiver(self) -> PairedSubscription:
        """Who gets what it matches: itself, for a pair of no shadows."""
        own = self.first.receiver is self.first, self.second.receiver is self.second
        agree(self, "is its own receiver", *own)
        return self

    @property
    def node(self) -> object | None:
        """Where the first sublist keeps it; the second keeps it too, or neither does."""
        agree(self, "in a sublist", self.first.node is not None, self.second.node is not None)
        return self.first.node

    def compare(self) -> None:
        """Compare everything that a delivery changes."""
        first, second = self.first, self.second
        agree(
            self, "delivered, max, live",
            (first.delivered, first.max, first.live), (second.delivered, second.max, second.live),
        )  # fmt: skip


class PairedShadow(PairedSubscription):
    """Two shadows, for the two subscriptions of a pair."""

    __slots__ = ("_receiver",)

    def __init__(self, receiver: PairedSubscription, first: Subscription, second: Subscription) -> None:
        super().__init__(receiver.outbox, first, second)
        self._receiver = receiver

    @property
    def receiver(self) -> PairedSubscription:
        """The pair that gets what both match."""
        return self._receiver


class PairedNode:
    """Two nodes with the same members."""

    __slots__ = ("first", "plain", "queues", "second", "subject")

    def __init__(
        self,
        first: Node[Subscription],
        second: Node[Subscription],
        pairs: Callable[[Sequence[Subscription], Sequence[Subscription]], tuple[PairedSubscription, ...]],
    ) -> None:
        self.first = first
        self.second = second
        self.subject = agree("node", "subject", first.subject, second.subject)
        self.plain = pairs(list(first.plain), list(second.plain))
        agree(f"node {self.subject!r}", "queues", sorted(first.queues), sorted(second.queues))
        self.queues: Mapping[bytes, tuple[PairedSubscription, ...]] = {
            queue: pairs(list(members), list(second.queues[queue])) for queue, members in first.queues.items()
        }


class PairedSublist:
    """Two sublists with the same members."""

    __slots__ = ("_nodes", "first", "second")

    def __init__(
        self,
        first: Sublist,
        second: Sublist,
        nodes: Callable[[Sequence[Node[Subscription]], Sequence[Node[Subscription]]], tuple[PairedNode, ...]],
    ) -> None:
        self.first = first
        self.second = second
        self._nodes = nodes

    count = ReadAlike[int]()
    steps = ReadAlike[int]()

    def __str__(self) -> str:
        return "sublist"

    def node(self, subject: bytes) -> PairedNode | None:
        """The subscriptions with exactly this subject."""
        first, second = self.first.node(subject), self.second.node(subject)
        pairs = self._nodes([first] if first is not None else [], [second] if second is not None else [])
        return pairs[0] if pairs else None

    def nodes(self) -> Iterator[PairedNode]:
        """All nodes, in a fixed order."""
        return iter(self._nodes(list(self.first.nodes()), list(self.second.nodes())))

    def insert(self, subscription: Subscription) -> None:
        """Add a subscription to both."""
        assert isinstance(subscription, PairedSubscription)
        self.first.insert(subscription.first)
        self.second.insert(subscription.second)
        subscription.outbox.subscriptions[subscription.first] = subscription

    def remove(self, subscription: Subscription) -> None:
        """Take a member out of both."""
        assert isinstance(subscription, PairedSubscription)
        self.first.remove(subscription.first)
        self.second.remove(subscription.second)
        del subscription.outbox.subscriptions[subscription.first]
        subscription.compare()

    def restrict(self, subscription: Subscription, rule: Filter | None) -> None:
        """Give a member of both another filter."""
        assert isinstance(subscription, PairedSubscription)
        self.first.restrict(subscription.first, rule)
        self.second.restrict(subscription.second, rule)

    def match(self, subject: bytes) -> Sequence[PairedNode]:
        """The nodes whose subscriptions get a message published to `subject`."""
        return self._nodes(self.first.match(subject), self.second.match(subject))


class PairedTable:
    """Two tables that remember the same subjects."""

    __slots__ = ("first", "second")

    def __init__(self, first: SubjectTable, second: SubjectTable) -> None:
        self.first = first
        self.second = second

    def __len__(self) -> int:
        return agree("table", "lines", len(self.first), len(self.second))

    def remap(self, mapper: Mapper | None) -> None:
        """From now on, map by `mapper`."""
        self.first.remap(mapper)
        self.second.remap(mapper)


class PairedSource:
    """Two sources of one connection. `missed` is set by the plane that ran them."""

    __slots__ = ("_missed", "cid", "first", "outbox", "second")

    def __init__(self, outbox: PairedOutbox, first: Source, second: Source) -> None:
        self.outbox = outbox
        self.first = first
        self.second = second
        self.cid: ConnectionId = agree("source", "cid", first.cid, second.cid)
        self._missed: tuple[PairedNode, ...] = ()

    max_control_line = WrittenAlike[int]()
    max_payload = WrittenAlike[int]()
    awaiting_connect = WrittenAlike[bool]()
    first_ping_due = WrittenAlike[bool]()
    verbose = WrittenAlike[bool]()
    pedantic = WrittenAlike[bool]()
    echo = WrittenAlike[bool]()
    headers = WrittenAlike[bool]()
    no_responders = WrittenAlike[bool]()
    stepping = WrittenAlike[bool]()
    asked: WrittenAlike[Asked | None] = WrittenAlike()
    delivered = ReadAlike[bool]()
    have = ReadAlike[int]()
    has_work = ReadAlike[bool]()
    stepped = ReadAlike[bytes]()
    missed_subject = ReadAlike[bytes]()
    pings = ReadAlike[int]()
    messages = ReadAlike[int]()
    volume = ReadAlike[int]()

    def __str__(self) -> str:
        return f"source of connection {self.cid}"

    @property
    def ops(self) -> list[tuple[bytes, list[bytes]]]:
        """What was said to the control plane."""
        return agree(self, "ops", self.first.ops, self.second.ops)

    @ops.setter
    def ops(self, ops: list[tuple[bytes, list[bytes]]]) -> None:
        self.first.ops = ops
        self.second.ops = list(ops)

    @property
    def missed(self) -> tuple[PairedNode, ...]:
        """The nodes of a MISS."""
        return self._missed

    @missed.setter
    def missed(self, nodes: tuple[PairedNode, ...]) -> None:
        if not nodes:
            self.first.missed = ()
            self.second.missed = ()
        self._missed = nodes

    @property
    def unfinished(self) -> object | None:
        """What is left of a fan-out of the first; the second has something left too, or neither has."""
        first, second = self.first.unfinished, self.second.unfinished
        agree(self, "a fan-out that is unfinished", first is not None, second is not None)
        return first

    @property
    def violation(self) -> Violation | None:
        """How a peer broke the protocol."""
        first, second = self.first.violation, self.second.violation
        agree(self, "violation", _told(first), _told(second))
        return first

    def feed(self, data: bytes | memoryview) -> None:
        """Bytes for both."""
        self.first.feed(data)
        self.second.feed(data)

    def keep(self) -> None:
        """Both own what is unparsed."""
        self.first.keep()
        self.second.keep()

    def peek(self, count: int) -> bytes:
        """The first `count` unparsed bytes."""
        return agree(self, "unparsed bytes", self.first.peek(count), self.second.peek(count))

    def forget(self) -> None:
        """Drop unparsed bytes."""
        self.first.forget()
        self.second.forget()

    def compare(self) -> None:
        """Compare everything that a run changes, but for `missed`."""
        for what, first, second in zip(_RUN_CHANGES, _seen(self.first), _seen(self.second), strict=True):
            agree(self, what, first, second)


_RUN_CHANGES: Final = (
    "have", "pings", "messages", "volume", "stepped", "first_ping_due", "ops", "violation",
    "a fan-out that is unfinished", "unparsed bytes", "asked", "delivered",
)  # fmt: skip


def _seen(source: Source) -> tuple[object, ...]:
    return (
        source.have, source.pings, source.messages, source.volume, source.stepped, source.first_ping_due,
        source.ops, _told(source.violation), source.unfinished is not None, source.peek(_PEEKED),
        source.asked, source.delivered,
    )  # fmt: skip


def _told(violation: Violation | None) -> tuple[object, ...] | None:
    return None if violation is None else (violation.wire_text, violation.reason)

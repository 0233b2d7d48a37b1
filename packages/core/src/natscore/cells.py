"""Cells: the small live objects that plans point at and the data plane changes.

Plans are frozen; what may change between two messages (is the receiver still
there, how many messages it got, does it take headers) lives in cells. Cells
are traffic state: they are changed in place by the data plane, never by a
fact, and form no reference cycles. Hot path: attribute access on slots, no
methods where a message passes (guarded by `nox -s bench`, rows 1:1 and 1:10).

These are the cells of the pure data plane. What the control plane uses of them
stands in `natscore.plane`; all else is between them, `delivery`, `dataplane` and
`sublist`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.account.mappings import Mapper
    from natscore.errors import Violation
    from natscore.events import ConnectionId
    from natscore.plane import Asked, Filter
    from natscore.responses import Responses
    from natscore.sublist import Node, SubjectTable

__all__ = ["LARGE_PAYLOAD", "Outbox", "Shadow", "Source", "Subscription"]

_PIECE_MIN: Final = 512  # reads are joined up to this size, so that what is dribbled has no overhead

LARGE_PAYLOAD: Final = 4096
"""From this size on, a payload is one immutable block shared by all outboxes, never joined or copied."""


class Outbox:
    """The bytes on their way to one connection, in the order of decision.

    The only way out of the core. A shell takes `blocks`, offers them to the
    kernel, and says with `advance` how much was taken.
    """

    __slots__ = (
        "accepts",
        "appended",
        "blocked",
        "chunks",
        "cid",
        "headers",
        "messages",
        "open",
        "queue",
        "ready",
        "responses",
        "size",
        "volume",
    )

    def __init__(self, cid: ConnectionId, queue: list[Outbox]) -> None:
        self.cid = cid
        self.chunks: deque[bytes | memoryview] = deque()
        self.size = 0  # bytes not yet taken by the kernel
        self.appended = 0  # bytes ever appended
        self.open = True  # false from the instant the connection is decided to end
        self.accepts = True  # open, and not refusing messages because it is far behind
        self.ready = False  # whether it stands in `queue`
        self.queue = queue  # the data plane's list of outboxes with something to write
        self.blocked = False  # the kernel refused bytes and has not taken them all since
        self.headers = False  # this connection takes HMSG
        self.messages = 0  # messages delivered
        self.volume = 0  # header and payload bytes delivered
        self.responses: Responses | None = None  # where it may answer what it gets

    def write(self, data: bytes) -> None:
        """Append bytes that the control plane decided on."""
        self.chunks.append(data)
        size = len(data)
        self.size += size
        self.appended += size
        if not self.ready:
            self.ready = True
            self.queue.append(self)

    def blocks(self, limit: int) -> list[bytes | memoryview]:
        """The first blocks, as many as fit into `limit` bytes, and at least one if there is any.

        A block never moves or changes while a shell holds it.
        """
        blocks: list[bytes | memoryview] = []
        for chunk in self.chunks:
            limit -= len(chunk)
            if limit < 0 and blocks:
                break
            blocks.append(chunk)
        return blocks

    def advance(self, count: int) -> None:
        """The kernel took the first `count` bytes."""
        self.size -= count
        chunks = self.chunks
        if self.size == 0:
            chunks.clear()
            return
        while count:
            first = chunks[0]
            if len(first) <= count:
                count -= len(first)
                chunks.popleft()
            else:
                chunks[0] = memoryview(first)[count:]
                return

    def condense(self) -> None:
        """Join small blocks at the end: what waits for long shall not weigh several times its bytes."""
        chunks = self.chunks
        small: list[bytes | memoryview] = []
        while chunks and len(chunks[-1]) < LARGE_PAYLOAD:
            small.append(chunks.pop())
        small.reverse()
        chunks.extend([b"".join(small)] if len(small) > 1 else small)

    def tail_blocks(self, count: int) -> list[bytes | memoryview]:
        """The last `count` bytes appended, of those still held, for checksums and traces."""
        pieces: list[bytes | memoryview] = []
        for chunk in reversed(self.chunks):
            if count <= 0:
                break
            pieces.append(chunk if len(chunk) <= count else memoryview(chunk)[-count:])
            count -= len(chunk)
        pieces.reverse()
        return pieces

    def retract(self, count: int) -> None:
        """Take back the last `count` bytes appended; none of them has been offered to a shell."""
        self.appended -= count
        self.size -= count
        while count > 0:
            last = self.chunks.pop()
            if len(last) > count:
                self.chunks.append(memoryview(last)[: len(last) - count])
            count -= len(last)

    def discard(self) -> None:
        """Drop everything: the connection is gone or will not be flushed."""
        self.chunks.clear()
        self.size = 0


class Subscription:
    """One subscription of one connection, as plans see it."""

    __slots__ = ("delivered", "filter", "head", "live", "max", "node", "outbox", "queue", "sid", "subject")

    def __init__(self, outbox: Outbox, sid: bytes, subject: bytes, queue: bytes | None) -> None:
        self.outbox = outbox
        self.sid = sid
        self.subject = subject
        self.queue = queue
        self.head = b" " + sid + b" "  # stands between the subject and the rest of a MSG line
        self.delivered = 0
        self.max = 0  # auto-unsubscribe after this many; 0: never
        self.live = True  # false once max is reached or it is removed
        self.node: Node | None = None  # where the sublist keeps it
        self.filter: Filter | None = None  # what becomes of what it matches; set before it is inserted

    @property
    def receiver(self) -> Subscription:
        """Who gets what it matches."""
        return self


class Shadow(Subscription):
    """A subscription in another account, in whose place another one gets what it matches."""

    __slots__ = ("_receiver",)

    def __init__(self, receiver: Subscription, subject: bytes, renaming: Filter) -> None:
        super().__init__(receiver.outbox, receiver.sid, subject, receiver.queue)
        self._receiver = receiver
        self.filter = renaming

    @property
    def receiver(self) -> Subscription:
        """The subscription that it was made for."""
        return self._receiver


class Source:
    """The reading side of one connection: bytes not yet parsed, and how to treat its messages.

    What `run` found besides messages is left in `ops` (protocol operations for
    the control plane), `missed` (nodes without a plan) or `violation`.
    """

    __slots__ = (
        "asked",
        "awaiting_connect",
        "buffer",
        "cid",
        "delivered",
        "drawn",
        "echo",
        "first_ping_due",
        "have",
        "headers",
        "max_control_line",
        "max_payload",
        "messages",
        "missed",
        "missed_subject",
        "need",
        "no_responders",
        "ops",
        "outbox",
        "pedantic",
        "pieces",
        "pings",
        "position",
        "stepped",
        "stepping",
        "table",
        "unfinished",
        "verbose",
        "violation",
        "volume",
    )

    def __init__(
        self, cid: ConnectionId, outbox: Outbox, table: SubjectTable, max_control_line: int, max_payload: int
    ) -> None:
        self.cid = cid
        self.outbox = outbox
        self.table = table
        self.max_control_line = max_control_line
        self.max_payload = max_payload if max_payload >= 0 else 1 << 62
        self.buffer = b""
        self.position = 0  # of the next op in buffer
        self.pieces: list[bytes] = []  # arrived after buffer
        self.have = 0  # bytes in buffer from position on, and in pieces
        self.need = 1  # bytes without which the next op cannot be complete
        self.awaiting_connect = False  # a login is required and has not happened
        self.first_ping_due = False  # the first PING after CONNECT goes to the control plane
        self.verbose = True
        self.pedantic = True
        self.echo = True
        self.headers = False  # HPUB is negotiated
        self.no_responders = False
        self.stepping = False  # one op a run, for tracing
        self.stepped = b""  # the op that the last run performed, when stepping
        # what a mapping drew for the message in hand, when a plan had to be made for it first; and which
        self.drawn: tuple[bytes, Mapper | None] | None = None
        self.ops: list[tuple[bytes, list[bytes]]] = []
        self.asked: Asked | None = None  # what the server itself shall do for a message
        self.delivered = False  # whether anybody got the message that was delivered last, by itself
        self.missed: tuple[Node, ...] = ()
        self.missed_subject = b""  # what was published to them
        self.unfinished: Iterator[None] | None = None  # a fan-out to more receivers than a turn serves
        self.violation: Violation | None = None
        self.pings = 0  # PINGs that the data plane answered
        self.messages = 0  # messages published
        self.volume = 0  # header and payload bytes published

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes off the wire; `DataPlane.run` parses them."""
        if isinstance(data, memoryview):
            data = bytes(data)
        if self.have:
            pieces = self.pieces
            if pieces and len(pieces[-1]) < _PIECE_MIN:
                pieces[-1] += data
            else:
                pieces.append(data)
        else:
            self.buffer = data
            self.position = 0
        self.have += len(data)

    def load(self) -> tuple[bytes, int]:
        """All unparsed bytes in one buffer, and where the next op begins in it."""
        if self.pieces:
            rest = memoryview(self.buffer)[self.position :]
            self.buffer = b"".join([rest, *self.pieces])
            self.position = 0
            self.pieces = []
        return self.buffer, self.position

    def wait(self, need: int) -> None:
        """Nothing complete is left: let go of what is parsed, and wait until `need` bytes are there."""
        self.buffer = self.buffer[self.position :]
        self.position = 0
        self.need = need

    def rewrite(self, buffer: bytes) -> None:
        """Replace what is unparsed by an equivalent that is shorter; more is needed to go on."""
        self.buffer, self.position, self.have, self.need = buffer, 0, len(buffer), len(buffer) + 1

    def keep(self) -> None:
        """Own what is unparsed: it is owned from `feed` on."""

    def peek(self, count: int) -> bytes:
        """The first `count` unparsed bytes, or all if they are fewer, for a log line."""
        seen = self.buffer[self.position : self.position + count]
        for piece in self.pieces:
            if len(seen) >= count:
                break
            seen += piece[: count - len(seen)]
        return seen

    @property
    def has_work(self) -> bool:
        """Whether something can be done without more bytes, or may be."""
        return self.have > 0 or self.unfinished is not None

    def forget(self) -> None:
        """Drop unparsed bytes: the connection is ending."""
        self.buffer, self.position, self.pieces, self.have, self.need = b"", 0, [], 0, 1

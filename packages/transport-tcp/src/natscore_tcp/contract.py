"""What the runtime asks of a server, and what its parts ask of the runtime.

The runtime runs anything that answers like `natscore.Server`: the server itself,
or a recorder in front of it. Streams, listeners and performers see the runtime
only as a `Shell`, so that each of them can be read, and tested, alone.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from natscore.errors import ConfigError, NatsCoreError
from natscore.events import Instant
from natscore.options import SECOND

if TYPE_CHECKING:
    import socket

    from natscore.effects import Effect, Note
    from natscore.events import Address, AttemptId, ConnectionId, ConnectionKind, Event
    from natscore_tcp.backend import Backend

__all__ = [
    "READ_MAX",
    "Block",
    "Clock",
    "ListenError",
    "OutboxLike",
    "Performer",
    "ServerLike",
    "Shell",
    "TransportSettings",
    "now",
    "unheard",
]

READ_MAX: Final = 65_536
"""Bytes of one read, and so of one BytesReceived (its bound is part of the event's contract)."""

Block: TypeAlias = bytes | memoryview


class OutboxLike(Protocol):
    """Bytes on their way to one connection. `natscore.cells.Outbox` is one."""

    @property
    def cid(self) -> ConnectionId:
        """Whose bytes these are."""

    @property
    def size(self) -> int:
        """Bytes not yet taken by the kernel."""

    def blocks(self, limit: int, /) -> list[Block]:
        """The first blocks, up to about `limit` bytes; none moves or changes while it is held."""

    def advance(self, count: int, /) -> None:
        """The kernel took the first `count` bytes."""


class ServerLike(Protocol):
    """A state machine that the runtime can run. `natscore.Server` and `natscore.journal.Recorder` are."""

    @property
    def ready(self) -> Sequence[OutboxLike]:
        """Outboxes with something to write; valid until the next `handle`."""

    def handle(self, event: Event, /) -> Sequence[Effect]:
        """Let one thing have happened."""

    def next_deadline(self) -> int | None:
        """When to feed DeadlineReached, in monotonic nanoseconds."""


class Shell(Protocol):
    """The runtime, as its parts see it."""

    @property
    def backend(self) -> Backend:
        """Who tells when sockets are ready."""

    @property
    def settings(self) -> TransportSettings:
        """The deadlines of the transport."""

    @property
    def read_buffer(self) -> memoryview:
        """READ_MAX bytes that one read may use, until what was read has been fed."""

    def now(self) -> Instant:
        """This instant, on the runtime's clocks."""

    def feed(self, event: Event, /) -> None:
        """Let one event happen. While another is handled, it waits for its turn."""

    def offer_held(self) -> None:
        """Write what waits for other sockets to be read."""

    def passed_on(self, cid: ConnectionId) -> bool:
        """Whether the event handled last made output for another connection than this one."""

    def admit(
        self,
        connected: socket.socket,
        kind: ConnectionKind,
        remote: Address,
        attempt: AttemptId | None = None,
    ) -> None:
        """Take over a connected socket. With `attempt` it is the one that this Dial asked for."""

    def forget(self, cid: ConnectionId) -> None:
        """A connection is closed; it has fed its last event."""

    def note(self, note: Note, /) -> object:
        """Report something worth a log line."""

    def call_at(self, monotonic_ns: int, act: Callable[[], None]) -> None:
        """Call `act` once at that instant, and at no earlier one that it was set to."""

    def cancel_call(self, act: Callable[[], None]) -> None:
        """Do not call `act`. If nothing was set, this does nothing."""


Clock: TypeAlias = Callable[[], Instant]

Performer: TypeAlias = Callable[[Any, Shell], Awaitable[None]]
"""Performs one kind of effect, in a task of its own, and feeds the event that answers it.

It must feed exactly one answer, also when it is cancelled.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """How the transport behaves where the protocol does not say. Raises ConfigError for what cannot be."""

    flush_deadline_ns: int = 2 * SECOND  # how long a connection that is closed may take its last bytes
    # How long a closed connection is still read, so that unread input does not turn the end of the
    # stream into a reset, which would destroy a last -ERR on its way. A few round trips, and what a peer
    # that floods us may take to look at its input where processors are few.
    linger_ns: int = 1 * SECOND
    dial_timeout_ns: int = 1 * SECOND  # as nats-server, DEFAULT_ROUTE_DIAL
    backlog: int = 4096  # connections that wait for accept; the kernel lowers it to its own bound
    tune_gc: bool = False  # the process belongs to this server alone: see `collector`

    def __post_init__(self) -> None:
        for name in ("flush_deadline_ns", "linger_ns", "dial_timeout_ns", "backlog"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0")


class ListenError(NatsCoreError):
    """A listener cannot be opened. `error` is the reason, in the words that nats-server uses."""

    def __init__(self, address: Address, error: str) -> None:
        super().__init__(f"cannot listen on {address}: {error}")
        self.address: Final = address
        self.error: Final = error


def now() -> Instant:
    """This instant on the clocks of the machine."""
    return Instant(time.monotonic_ns(), time.time_ns())


def unheard(note: Note) -> None:
    """Take a note and do nothing with it."""

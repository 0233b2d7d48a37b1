"""Receivers that are behind, producers that are too fast, memory that is finite.

A client is slow for bytes the kernel *refused*: beyond `max_pending`, or older
than `write_deadline`. Bytes not yet offered never count. Above three quarters
of the bound a producing client is paused for a moment (client-protocol.md
section 15; nats-server 2.14.5, server/client.go queueOutbound, stalledWait).
Over all connections stands `memory_max`: the one that makes us hold most is cut
first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from natscore.connection.session import Phase, Timer
from natscore.effects import Level
from natscore.errors import CloseReason, UsageError
from natscore.facts import SlowConsumerDetected
from natscore.options import MILLISECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.connection.context import Context
    from natscore.connection.lifecycle import Lifecycle
    from natscore.connection.session import Session
    from natscore.events import WriteBlocked, WriteProgressed
    from natscore.facts import Fact

__all__ = ["STALL_NS", "Pressure"]

_CHUNK: Final = 65_536  # in which nats-server would hold what waits; how we hold it differs by data plane

STALL_NS: Final = 10 * MILLISECOND  # the longest pause of a producer for a receiver that is behind


class Pressure:
    """Keeps what connections make the server hold within bounds."""

    def __init__(self, context: Context, lifecycle: Lifecycle, settle: Callable[[Fact], None]) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self._settle = settle

    def blocked(self, event: WriteBlocked) -> None:
        """The kernel refused bytes: from now on they count, and they may wait only so long."""
        session = self._lifecycle.sessions.get(event.cid)
        if session is None or session.phase is Phase.CLOSING:
            return
        outbox = session.connection.outbox
        if outbox.size != event.refused:
            raise UsageError(f"{event.refused} bytes refused, but the outbox holds {outbox.size}")
        outbox.blocked = True
        session.write_mark = outbox.appended
        self._arm(session)
        self.weigh(session)

    def progressed(self, event: WriteProgressed) -> None:
        """The kernel took some of what it had refused."""
        session = self._lifecycle.sessions.get(event.cid)
        if session is None or session.phase is Phase.CLOSING:
            return
        outbox = session.connection.outbox
        if event.refused == 0:
            outbox.blocked = False
            self._context.deadlines.cancel((event.cid, Timer.WRITE))
        elif outbox.appended - outbox.size >= session.write_mark:  # what was refused then is written
            session.write_mark = outbox.appended
            self._arm(session)
        self.weigh(session)

    def expired(self, session: Session) -> None:
        """The write deadline came: bytes refused that long ago are still here."""
        outbox = session.connection.outbox
        if not outbox.blocked:
            return
        seconds = self._context.options.write_deadline_ns / 1e9
        chunks = -(-outbox.size // _CHUNK)
        detail = f"WriteDeadline of {seconds:g}s exceeded with {chunks} chunks of {outbox.size} total bytes."
        self._note_slow(session, detail)
        self._cut(session, CloseReason.SLOW_CONSUMER_DEADLINE)

    def stall_expired(self, session: Session) -> None:
        """A producer was paused long enough."""
        session.stalled = False
        if session.connection.source.has_work:
            self._lifecycle.queue(session)
        self._lifecycle.regulate(session)

    def weigh(self, receiver: Session, producer: Session | None = None) -> None:
        """Look at how far a receiver is behind: cut it off, hold its producer back, or let it be."""
        if receiver.phase is Phase.CLOSING:
            return
        options = self._context.options
        outbox = receiver.connection.outbox
        limit = options.max_pending
        if outbox.blocked and outbox.size > limit:
            self._note_slow(receiver, f"MaxPending of {limit} Exceeded")
            self._cut(receiver, CloseReason.SLOW_CONSUMER_PENDING)
            return
        behind = outbox.blocked and outbox.size > limit // 4 * 3
        if not options.fast_producer_stall:
            outbox.accepts = not behind
        elif behind and producer is not None and producer is not receiver and not producer.stalled:
            producer.stalled = True
            self._context.deadlines.set(
                (producer.connection.cid, Timer.STALL),
                self._context.at.monotonic_ns + STALL_NS,
            )
        self.hold(receiver)

    def hold(self, session: Session) -> None:
        """Keep count of what a connection makes us hold."""
        connection = session.connection
        outbox = connection.outbox
        refused = 0
        if outbox.blocked:
            outbox.condense()
            refused = outbox.size
        self._lifecycle.holdings.set(connection.cid, connection.source.have + refused)

    def relieve(self) -> None:
        """Keep what all connections make us hold within `memory_max`: once an event, when all are counted."""
        holdings = self._lifecycle.holdings
        limit = self._context.options.memory_max
        while holdings.total > limit:
            for cid in holdings.largest():
                session = self._lifecycle.sessions[cid]
                self._context.note_of(
                    session,
                    Level.WARNING,
                    "memory_limit_cut",
                    pending=holdings.of(cid),
                    total=holdings.total,
                    limit=limit,
                )
                if session.phase is Phase.CLOSING:  # its last words were not taken yet, and never will be
                    session.connection.outbox.discard()
                    holdings.set(cid, 0)
                else:
                    self._cut(session, CloseReason.MEMORY)
                if holdings.total <= limit:
                    break

    def _arm(self, session: Session) -> None:
        self._context.deadlines.set(
            (session.connection.cid, Timer.WRITE),
            self._context.at.monotonic_ns + self._context.options.write_deadline_ns,
        )

    def _note_slow(self, session: Session, detail: str) -> None:
        pending = session.connection.outbox.size
        self._context.note_of(session, Level.INFO, "slow_consumer", detail=detail, pending=pending)

    def _cut(self, session: Session, reason: CloseReason) -> None:
        """End a connection that makes us hold too much. Who did not log in is no consumer."""
        connection = session.connection
        if not connection.awaits_login:
            self._settle(SlowConsumerDetected(connection.cid, reason))
        self._lifecycle.end(session, reason)
        self._lifecycle.holdings.set(connection.cid, 0)

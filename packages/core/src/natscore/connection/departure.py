"""How a server goes away: at once, or in lame duck mode (operations.md sections 10 and 11).

    LameDuckRequested ─► told: INFO with `ldm`, once ─► grace period ─► closed one by one ─► ShutDown
    ShutdownRequested ─► every connection ends, whatever else was going on

In lame duck mode clients are told that they should look for another server, are left
alone for the grace period, and are then closed one after the other, so that the other
servers do not get all of them at one instant. With n clients, a grace period of G and
a duration of D the wait after each close is drawn between the half and the whole of
(D - G) / n, a second at most. Waits are counted from the instant at which the close
was due, not from when it was done: a late timer does not stretch the whole.

The shell closes the listeners before it feeds LameDuckRequested, and answers ShutDown
with ShutdownRequested.

Source: nats-server 2.14.5, server/server.go lameDuckMode, sendLDMToClients.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from natscore.connection.session import Phase, Timer
from natscore.effects import Level, ShutDown
from natscore.errors import CloseReason
from natscore.events import ConnectionId
from natscore.options import SECOND
from natscore.wire.info import encode_info

if TYPE_CHECKING:
    from natscore.connection.context import Context
    from natscore.connection.entrance import Entrance
    from natscore.connection.lifecycle import Lifecycle
    from natscore.connection.session import Session
    from natscore.events import LameDuckRequested, ShutdownRequested

__all__ = ["Departure"]

_TIMER: Final = (ConnectionId(0), Timer.LAME_DUCK)
_WAIT_MAX_NS: Final = 1 * SECOND  # between two clients: a server with few of them need not stay for long
_TOLD_MAX: Final = 1_024  # clients that are told in one turn


class Departure:
    """The end of a server, which happens once."""

    def __init__(self, context: Context, lifecycle: Lifecycle, entrance: Entrance) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self._entrance = entrance
        self._untold: deque[ConnectionId] = deque()
        self._staying: deque[ConnectionId] = deque()  # who is still to be closed, in the order of coming
        self._has_begun_to_close = False
        self._grace_ends_ns = 0
        self._due_ns = 0  # when the next close is, or was to be
        self._wait_ns = 0  # the longest between two

    def shut_down(self, event: ShutdownRequested) -> None:
        """End every connection now."""
        self._entrance.is_shut = True
        self._context.deadlines.cancel(_TIMER)
        for session in list(self._lifecycle.sessions.values()):
            self._lifecycle.end(session, CloseReason.SERVER_SHUTDOWN)

    def begin(self, event: LameDuckRequested) -> None:
        """Enter lame duck mode. A server that is going away already pays no attention."""
        if self._entrance.is_shut:
            return
        self._entrance.is_shut = True
        context = self._context
        context.note(Level.INFO, "lame_duck_entered")
        context.info = replace(context.info, lame_duck=True)
        here = [cid for cid in self._lifecycle.sessions if self._present(cid) is not None]
        if not here:
            context.effects.append(ShutDown())
            return
        options = context.options
        spread_ns = options.lame_duck_duration_ns - options.lame_duck_grace_period_ns
        self._untold, self._staying = deque(here), deque(here)
        self._wait_ns = min(max(spread_ns // len(here), 1), _WAIT_MAX_NS)
        self._grace_ends_ns = event.at.monotonic_ns + options.lame_duck_grace_period_ns
        self._tell()

    def expired(self) -> None:
        """The timer came due: there are clients to tell, or one to close."""
        if self._untold:
            self._tell()
        elif self._staying:
            self._close_next()

    def _tell(self) -> None:
        """Send INFO to those who understand it, and have been told whose connection it is."""
        context = self._context
        for _ in range(min(len(self._untold), _TOLD_MAX)):
            session = self._present(self._untold.popleft())
            # Who has not sent the first PING learns it from the INFO behind its PONG.
            if session is not None and session.pong_sent and session.connection.options.protocol >= 1:
                connection = session.connection
                connection.outbox.write(encode_info(context.info, connection.cid, connection.remote.host))
        if self._untold:  # later than now, so that it is another event
            context.deadlines.set(_TIMER, context.at.monotonic_ns + 1)
        else:
            self._due_ns = self._grace_ends_ns
            context.deadlines.set(_TIMER, self._due_ns)

    def _close_next(self) -> None:
        context = self._context
        if not self._has_begun_to_close:
            self._has_begun_to_close = True
            context.note(Level.INFO, "lame_duck_closing")
        session = self._next()
        if session is not None:
            self._staying.popleft()
            self._lifecycle.end(session, CloseReason.SERVER_SHUTDOWN)
        if self._next() is None:
            context.effects.append(ShutDown())
            return
        self._due_ns += max(context.entropy.jitter.pick(self._wait_ns), self._wait_ns // 2)
        context.deadlines.set(_TIMER, self._due_ns)

    def _next(self) -> Session | None:
        """Who is to be closed next; those who went by themselves are passed over."""
        while self._staying:
            session = self._present(self._staying[0])
            if session is not None:
                return session
            self._staying.popleft()
        return None

    def _present(self, cid: ConnectionId) -> Session | None:
        session = self._lifecycle.sessions.get(cid)
        return session if session is not None and session.phase is not Phase.CLOSING else None

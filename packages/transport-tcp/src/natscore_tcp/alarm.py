"""One timer for everything that is due: the server's deadline, and the transport's own.

The timer is only ever moved forward. A deadline that moves back, as those of
busy connections do all the time, costs nothing then and is found when the timer
fires: nothing is due, and it is set anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscore.deadlines import Deadlines
from natscore.events import DeadlineReached
from natscore.options import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.events import Event
    from natscore_tcp.backend import Backend
    from natscore_tcp.contract import Clock, ServerLike

__all__ = ["Alarm"]


class Alarm:
    """Feeds DeadlineReached when the server asked for it, and calls what the transport set."""

    def __init__(self, server: ServerLike, feed: Callable[[Event], None], now: Clock) -> None:
        self._server = server
        self._feed = feed
        self._now = now
        self._calls: Deadlines[Callable[[], None]] = Deadlines()
        self.backend: Backend | None = None  # known once the event loop is
        self.armed_ns: int | None = None  # when the backend wakes us

    def call_at(self, monotonic_ns: int, act: Callable[[], None]) -> None:
        """Call `act` once at that instant, and at no earlier one that it was set to."""
        self._calls.set(act, monotonic_ns)
        self.arm(monotonic_ns)

    def cancel_call(self, act: Callable[[], None]) -> None:
        """Do not call `act`. If nothing was set, this does nothing."""
        self._calls.cancel(act)

    def arm(self, due_ns: int | None) -> None:
        """See to it that we are woken when `due_ns` has come, if not earlier."""
        if due_ns is not None and (self.armed_ns is None or due_ns < self.armed_ns):
            assert self.backend is not None
            self.armed_ns = due_ns
            self.backend.wake_in(max(0, due_ns - self._now().monotonic_ns) / SECOND)

    def wake(self) -> None:
        """The backend's timer fired: do what is due."""
        self.armed_ns = None
        at = self._now()
        while (act := self._calls.due(at.monotonic_ns)) is not None:
            act()
        deadline = self._server.next_deadline()
        if deadline is not None and deadline <= at.monotonic_ns:
            self._feed(DeadlineReached(at=at))
        self.arm(self._server.next_deadline())
        self.arm(self._calls.next())

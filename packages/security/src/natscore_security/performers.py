"""Who compares passwords with hashes for a running server: the performer of VerifyPassword.

A comparison costs tens of milliseconds of a processor and anybody may ask for
one, so three bounds stand between strangers and the machine: so many at once, so many
waiting, and none that waited longer than a login may take. Beyond a bound the
answer is that the password does not match, at no cost.

    Runtime(server, performers={VerifyPassword: PasswordPerformer()})
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Protocol

import anyio
from anyio import to_thread

from natscore.effects import Level, Note
from natscore.errors import ConfigError
from natscore.events import PasswordVerified
from natscore.options import SECOND
from natscore_security import passwords

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.effects import VerifyPassword
    from natscore.events import Event, Instant

__all__ = ["Asker", "PasswordPerformer"]

AT_ONCE_MAX: Final = 4
"""No more at once by default, however many processors there are: the server needs some."""

WAITING_MAX: Final = 256
"""By default. At cost 10, four at once, this is about four seconds of work."""

PATIENCE_NS: Final = 2 * SECOND
"""By default, as the time that a login may take."""


class Asker(Protocol):
    """Of a runtime, what is needed to answer it. `natscore_tcp.Shell` is one."""

    def now(self) -> Instant:
        """This instant."""

    def feed(self, event: Event, /) -> None:
        """Let one event happen."""

    def note(self, note: Note, /) -> object:
        """Report something worth a log line."""


class PasswordPerformer:
    """Compares passwords in threads. One belongs to one runtime.

    Args:
        at_once: comparisons at a time; by default half the processors, one at least, four at most.
        waiting_max: how many may wait for their turn.
        patience_ns: how long one may wait; whoever asked is gone by then.
        matches: compares a password with a hash, in a thread.

    Raises:
        ConfigError: a bound is below what can be.
    """

    def __init__(
        self,
        *,
        at_once: int | None = None,
        waiting_max: int = WAITING_MAX,
        patience_ns: int = PATIENCE_NS,
        matches: Callable[[bytes, bytes], bool] = passwords.matches,
    ) -> None:
        if at_once is None:
            at_once = max(1, min(AT_ONCE_MAX, (os.cpu_count() or 1) // 2))
        for name, given, least in (
            ("at_once", at_once, 1),
            ("waiting_max", waiting_max, 0),
            ("patience_ns", patience_ns, 1),
        ):
            if given < least:
                raise ConfigError(f"{name} is {given}; it must be at least {least}")
        self.turned_away = 0  # not compared, because too many waited or one waited too long
        self._waiting_max = waiting_max
        self.patience_ns = patience_ns  # may be changed at any time
        self._matches = matches
        self._turns = anyio.Semaphore(at_once)
        self._threads = at_once
        self._limiter: anyio.CapacityLimiter | None = None
        self._waiting = 0
        self._overloaded = False  # noted, and nobody has found a free turn since

    async def __call__(self, effect: VerifyPassword, asker: Asker) -> None:
        """Compare, and feed the one answer; when cancelled, that it does not match."""
        matches = False
        try:
            if await self._take_turn():
                try:
                    matches = await self._compare(effect)
                finally:
                    self._turns.release()
            else:
                self._turn_away(asker)
        finally:
            asker.feed(
                PasswordVerified(at=asker.now(), attempt=effect.attempt, cid=effect.cid, matches=matches)
            )

    async def _take_turn(self) -> bool:
        """Wait for a turn. False: too many wait already, or it took too long."""
        try:
            self._turns.acquire_nowait()
        except anyio.WouldBlock:
            pass
        else:
            self._overloaded = False
            return True
        if self._waiting >= self._waiting_max:
            return False
        self._waiting += 1
        try:
            with anyio.move_on_after(self.patience_ns / SECOND):
                await self._turns.acquire()
                return True
            return False
        finally:
            self._waiting -= 1

    async def _compare(self, effect: VerifyPassword) -> bool:
        if self._limiter is None:  # the threads are counted by the turns; this keeps others' limit out of it
            self._limiter = anyio.CapacityLimiter(self._threads)
        return await to_thread.run_sync(
            self._matches, effect.password, effect.hashed, abandon_on_cancel=True, limiter=self._limiter
        )

    def _turn_away(self, asker: Asker) -> None:
        self.turned_away += 1
        if not self._overloaded:
            self._overloaded = True
            asker.note(Note(Level.WARNING, "password_checks_overloaded", {"waiting": self._waiting}))

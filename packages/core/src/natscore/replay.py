"""Replaying a journal: the same events must have the same effects and bytes.

The replayer plays the shell as the core understands it: what an outbox holds
after an event has been written, unless a WriteBlocked that follows says how much was
refused. The last HELD_MAX bytes may have been held instead, and refused later: they are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from natscore.authentication import authenticator_for
from natscore.dataplane import PureDataPlane
from natscore.errors import ReplayDivergence, UsageError
from natscore.events import WriteBlocked, WriteProgressed
from natscore.journal import Checksums, read_journal
from natscore.plane import HELD_MAX
from natscore.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.authentication import Authenticator
    from natscore.entropy import Xorshift64
    from natscore.events import Event
    from natscore.facts import Fact
    from natscore.options import Options
    from natscore.plane import DataPlane, Outbox

__all__ = ["Replayed", "ReplayedKernel", "replay"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """A journal replayed to its end without a difference."""

    server: Server
    events: int


class ReplayedKernel:
    """Takes from outboxes what the kernel took when a journal was recorded."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._unwritten: list[Outbox] = []

    def offer(self, ready: list[Outbox]) -> None:
        """What an event left to be written. A blocked outbox waits for its WriteProgressed."""
        self._unwritten += (outbox for outbox in ready if not outbox.blocked and outbox.size > HELD_MAX)

    def write_before(self, event: Event) -> None:
        """Let be written what was written by the time of `event`, or may have been."""
        if isinstance(event, WriteBlocked | WriteProgressed):
            connection = self._server.state.connections.get(event.cid)
            if connection is not None and connection.ended is None:
                connection.outbox.advance(max(0, connection.outbox.size - event.refused))
        if isinstance(event, WriteBlocked):  # others that refuse too may follow
            self._unwritten = [outbox for outbox in self._unwritten if outbox.cid != event.cid]
            return
        for outbox in self._unwritten:
            outbox.advance(max(0, outbox.size - HELD_MAX))
        self._unwritten.clear()


def replay(
    read: Callable[[int], bytes],
    *,
    data_plane: Callable[[Xorshift64], DataPlane] = PureDataPlane,
    authenticator: Authenticator | None = None,
    authenticators: Callable[[Options], Authenticator] = authenticator_for,
    observe: Callable[[Server, Fact], None] | None = None,
) -> Replayed:
    """Re-execute a journal and compare every step.

    `authenticator` and the next are those of `Server`; `observe` is called with every fact, after it
    was folded.

    Raises:
        JournalError: it is not a journal, or damaged.
        ReplayDivergence: an event had other effects or bytes than recorded.
    """
    options, records = read_journal(read)
    server = Server(
        options,
        data_plane=data_plane,
        authenticator=authenticator,
        authenticators=authenticators,
        facts=None if observe is None else lambda fact: observe(server, fact),
    )
    checksums = Checksums()
    kernel = ReplayedKernel(server)
    number = 0
    for event, expected in records:
        number += 1
        kernel.write_before(event)
        try:
            effects = server.handle(event)
        except UsageError as error:
            if expected:
                raise ReplayDivergence(number, f"{expected:08x}", f"a UsageError: {error}") from error
            continue  # it was refused when it was recorded, too
        actual = checksums.of(event, effects, server.ready)
        if actual != expected:
            raise ReplayDivergence(number, f"{expected:08x}", f"{actual:08x} after {type(event).__name__}")
        kernel.offer(server.ready)
    return Replayed(server, number)

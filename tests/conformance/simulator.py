"""The driver without sockets: vectors against the core alone, on a virtual clock.

A world is made for each vector and nothing in it waits, so all vectors run in
a moment and always the same way.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from natscore.options import Options
from natscore_security import passwords
from tests.conformance.configurations import reason_for_later, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.testing import ScriptedClient, SimulatedServer, World
    from tests.conformance.runner import Enough, Subject
    from tests.conformance.sockets import ServerPool

__all__ = ["SimulationDriver", "simulations"]

SEED: Final = 20250601  # any; a vector that needs luck must fail for some seed
MILLISECOND_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class SimulationDriver:
    """Our core in `natscore.testing.World`; with `cuts`, what clients send arrives in pieces."""

    name: str
    cuts: bool = False

    def reason_to_leave_out(self, config: str | None) -> str | None:
        """The settings of the core say some configurations."""
        return reason_for_later(config)

    @contextmanager
    def session(self, pool: ServerPool, *, config: str | None, fresh: bool) -> Iterator[Subject]:
        """A world of its own, whose invariants must hold at the end; the pool of processes is not used."""
        from natscore.testing import World

        world = World(SEED, cuts=self.cuts)
        settings = settings_of(config)
        options = {field.name: getattr(settings.options, field.name) for field in fields(Options)}
        server = world.server(authenticator=settings.logins.authenticator(), **options)
        server.verify = passwords.matches
        yield SimulatedSubject(world, server)
        world.check()


def simulations() -> list[SimulationDriver]:
    """Both ways to simulate."""
    return [SimulationDriver("ours-simulated"), SimulationDriver("ours-simulated-in-pieces", cuts=True)]


class SimulatedSubject:
    """One simulated server for one vector."""

    speaks_214: Final = True

    def __init__(self, world: World, server: SimulatedServer) -> None:
        self._world = world
        self._server = server

    def connect(self) -> SimulatedConnection:
        """Open a connection and take its INFO line."""
        return SimulatedConnection(self._world, self._server.connect())

    def pause(self, milliseconds: int) -> None:
        """Advance the virtual clock."""
        self._world.advance(milliseconds * MILLISECOND_NS)


class SimulatedConnection:
    """A connection of a vector, without a socket."""

    def __init__(self, world: World, client: ScriptedClient) -> None:
        self._world = world
        self._client = client
        self.info = client.info
        self._taken = len(client.info)

    @property
    def closed(self) -> bool:
        """Whether the server has ended the connection."""
        return not self._client.is_open

    def send(self, data: bytes) -> None:
        """Hand over all of `data`; what a closed server does not read is lost."""
        self._client.send(data)

    def receive(self, enough: Enough, timeout_ms: int) -> bytes:
        """Take what arrived since the previous read, moving the clock while it is not enough."""
        for _ in range(timeout_ms):
            if enough(self._unread(), closed=self.closed):
                break
            self._world.advance(MILLISECOND_NS)
        return self._take()

    def finish(self) -> bytes:
        """Send a last PING and take everything: all that follows from a send has happened when it returns."""
        self.send(b"PING\r\n")
        self._client.close()
        return self._take()

    def close_reason(self) -> str | None:
        """Why the server closed the connection."""
        reason = self._client.close_reason
        return None if reason is None else reason.value

    def _unread(self) -> bytes:
        return bytes(self._client.received[self._taken :])

    def _take(self) -> bytes:
        unread = self._unread()
        self._taken += len(unread)
        return unread

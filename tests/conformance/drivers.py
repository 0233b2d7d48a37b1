"""The subjects of a conformance run: Go servers, our command on sockets, our core in a simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tests.conformance.configurations import reason_for_later
from tests.conformance.simulator import simulations
from tests.support.servers import programs

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.conformance.runner import Subject
    from tests.conformance.sockets import ServerPool, SocketSession
    from tests.support.servers import ServerProgram

__all__ = ["Driver", "SocketDriver", "drivers"]


class Driver(Protocol):
    """A kind of subject, which can be had in many configurations."""

    @property
    def name(self) -> str:
        """What the printed counts call it."""
        ...

    def reason_to_leave_out(self, config: str | None) -> str | None:
        """Why it cannot be given this configuration yet; None when it can."""
        ...

    def session(
        self, pool: ServerPool, *, config: str | None, fresh: bool
    ) -> AbstractContextManager[Subject]:
        """A subject with this configuration, for one vector."""
        ...


@dataclass(frozen=True, slots=True)
class SocketDriver:
    """A server program, spoken to over TCP."""

    program: ServerProgram

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    def reason_to_leave_out(self, config: str | None) -> str | None:
        """A Go server obeys every configuration, ours some."""
        return reason_for_later(config) if self.program.kind == "ours" else None

    def session(self, pool: ServerPool, *, config: str | None, fresh: bool) -> SocketSession:
        """A session with a server of the pool."""
        return pool.session(self.program, config=config, fresh=fresh)


def drivers() -> list[Driver]:
    """All drivers of this machine."""
    return [*simulations(), *(SocketDriver(program) for program in programs())]

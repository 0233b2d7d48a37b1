"""Every test of the runtime runs on each event loop; all sockets are on this machine's loopback."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from natscore_tcp import Runtime, backend_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from natscore.effects import Note
    from natscore.events import Address
    from tests.unit.transport_tcp.machine import Machine

BACKENDS = [
    pytest.param(("asyncio", backend_options("asyncio", uvloop=False)), id="asyncio"),
    pytest.param(("asyncio", backend_options("asyncio", uvloop=True)), id="uvloop"),
    pytest.param(("trio", backend_options("trio")), id="trio"),
]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The event loops, for the anyio plugin."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend


class Running:
    """A runtime in its block, where it listens, and what it noted."""

    def __init__(self, runtime: Runtime, address: Address, notes: list[Note]) -> None:
        self.runtime = runtime
        self.address = address
        self.notes = notes


@asynccontextmanager
async def running(machine: Machine, **arguments: Any) -> AsyncIterator[Running]:
    """Run a machine behind one listener on a free port of 127.0.0.1."""
    notes: list[Note] = []
    runtime = Runtime(machine, **{"note": notes.append, **arguments})
    async with runtime.running():
        yield Running(runtime, await runtime.listen("127.0.0.1", -1), notes)

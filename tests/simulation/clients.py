"""Clients for simulated scenarios: quiet ones that say CONNECT as client libraries do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient, SimulatedServer

__all__ = ["QUIET", "QUIET_WITH_HEADERS", "filled", "quiet_client"]

QUIET: Final = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
QUIET_WITH_HEADERS: Final = (
    b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'
)

_READ_MAX: Final = 65_536


def quiet_client(
    server: SimulatedServer, *, hello: bytes = QUIET, window: int | None = None, host: str = "127.0.0.1"
) -> ScriptedClient:
    """A client that has said CONNECT and is told nothing but what it asks for."""
    client = server.connect(host=host, window=window)
    client.send(hello)
    return client


def filled(op: bytes, size: int = _READ_MAX) -> bytes:
    """As many repetitions of `op` as fit into one read."""
    return op * (size // len(op))

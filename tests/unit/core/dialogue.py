"""How the tests of the core open clients, in a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from natscore.testing import World

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient, SimulatedServer

__all__ = ["HEADERS", "NO_ECHO", "PEDANTIC", "QUIET", "REQUESTER", "VERBOSE", "client_of", "open_client"]

QUIET: Final = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
VERBOSE: Final = b'CONNECT {"verbose":true,"pedantic":false}\r\n'
PEDANTIC: Final = b'CONNECT {"verbose":false,"pedantic":true}\r\n'
NO_ECHO: Final = b'CONNECT {"verbose":false,"pedantic":false,"echo":false}\r\n'
HEADERS: Final = b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n'
REQUESTER: Final = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'


def open_client(connect: bytes = QUIET, **options: Any) -> ScriptedClient:
    """The only client of a server with these options; what its CONNECT led to is taken."""
    return client_of(World().server(**options), connect)


def client_of(
    server: SimulatedServer, connect: bytes = QUIET, *, window: int | None = None
) -> ScriptedClient:
    """One more client of a server."""
    client = server.connect(window=window)
    client.send(connect)
    client.take()
    return client

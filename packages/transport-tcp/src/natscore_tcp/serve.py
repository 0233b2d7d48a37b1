"""A server on a free port, for the tests of programs that talk to one.

    async with serve() as running:        # asyncio or trio, whichever runs this
        client = await nats.connect(running.url)

    with serve_in_thread() as running:    # no event loop needed
        ...

When the block is left the server is gone: connections are flushed and closed,
tasks and the thread have ended. Both take the compiled data plane where it is
installed (`executor.py`).
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal

from natscore.errors import ConfigError
from natscore.events import Address, ConnectionKind
from natscore.server import Server
from natscore_tcp.backend import backend_options
from natscore_tcp.contract import unheard
from natscore_tcp.executor import choose_executor
from natscore_tcp.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from natscore.authentication import Authenticator
    from natscore.effects import Note
    from natscore.options import Options
    from natscore_tcp.backend import BackendName
    from natscore_tcp.contract import Performer, TransportSettings
    from natscore_tcp.tls import TlsAcceptor

__all__ = ["Running", "serve", "serve_in_thread"]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that accepts clients.

    `server` is the live state machine: look, but feed it nothing. Of a server in
    a thread, look at what does not change.
    """

    host: str
    port: int
    server: Server
    runtime: Runtime

    @property
    def url(self) -> str:
        """Where clients connect, as `nats://host:port`, or `tls://host:port` where that is required."""
        tls = self.server.options.tls
        scheme = "tls" if tls is not None and tls.is_required else "nats"
        return f"{scheme}://{Address(self.host, self.port)}"


@asynccontextmanager
async def serve(
    options: Options | None = None,
    *,
    authenticator: Authenticator | None = None,
    host: str = "127.0.0.1",
    port: int = -1,
    performers: Mapping[type[Any], Performer] | None = None,
    note: Callable[[Note], object] = unheard,
    settings: TransportSettings | None = None,
    tls: TlsAcceptor | None = None,
) -> AsyncIterator[Running]:
    """Run a server while the block runs, on the event loop that runs the block.

    Args:
        options: its settings; `host` and `port` of them are not used.
        authenticator: who may log in; by default what the options describe.
        host: where it listens; by default this machine only.
        port: -1 is any free one.
        performers: as of `Runtime`.
        note: takes what the server has to say; by default nobody does.
        settings: deadlines of the transport.
        tls: the certificate and what else TLS needs, where `options` have it.

    Raises:
        ListenError: the address cannot be bound.
        ConfigError: one of `options` and `tls` has TLS, and the other has not.
    """
    if (tls is None) != (options is None or options.tls is None):
        raise ConfigError("TLS needs both: Options(tls=TlsOptions(...)) and a TlsAcceptor")
    executor = choose_executor()
    note(executor.note)
    server = Server(options, data_plane=executor.make, authenticator=authenticator)
    acceptors = {ConnectionKind.CLIENT: tls} if tls is not None else None
    runtime = Runtime(server, performers=performers, note=note, settings=settings, tls=acceptors)
    async with runtime.running():
        address = await runtime.listen(host, port)
        yield Running(address.host, address.port, server, runtime)


@contextmanager
def serve_in_thread(
    options: Options | None = None,
    *,
    backend: BackendName = "asyncio",
    uvloop: bool = False,
    authenticator: Authenticator | None = None,
    host: str = "127.0.0.1",
    port: int = -1,
    performers: Mapping[type[Any], Performer] | None = None,
    note: Callable[[Note], object] = unheard,
    settings: TransportSettings | None = None,
    tls: TlsAcceptor | None = None,
) -> Iterator[Running]:
    """The same, in a thread with an event loop of its own, for callers that have none.

    `note` and `performers` are called in that thread.
    """
    with start_blocking_portal(backend, backend_options(backend, uvloop)) as portal:
        serving = serve(
            options,
            authenticator=authenticator,
            host=host,
            port=port,
            performers=performers,
            note=note,
            settings=settings,
            tls=tls,
        )
        with portal.wrap_async_context_manager(serving) as running:
            yield running

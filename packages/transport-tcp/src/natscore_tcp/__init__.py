"""natscore_tcp: runs a natscore server on real sockets, on asyncio, uvloop or trio.

`Runtime` performs the effects of a server. `serve` and `serve_in_thread` start
one on a free port for a test.
"""

from natscore_tcp.backend import BackendName, backend_options
from natscore_tcp.contract import (
    ListenError,
    OutboxLike,
    Performer,
    ServerLike,
    Shell,
    TransportSettings,
)
from natscore_tcp.executor import Executor, choose_executor
from natscore_tcp.runtime import Runtime
from natscore_tcp.serve import Running, serve, serve_in_thread
from natscore_tcp.tls import TlsAcceptor, TlsSettings

__all__ = [
    "BackendName",
    "Executor",
    "ListenError",
    "OutboxLike",
    "Performer",
    "Running",
    "Runtime",
    "ServerLike",
    "Shell",
    "TlsAcceptor",
    "TlsSettings",
    "TransportSettings",
    "backend_options",
    "choose_executor",
    "serve",
    "serve_in_thread",
]

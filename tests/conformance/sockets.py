"""The socket driver: vectors against a server process, ours or Go's.

One process serves all vectors with the same configuration. A vector must not
meet what the previous one left behind, so a session ends only when the server has
forgotten its connections: a subscription that lingers would answer for
nobody.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from contextlib import ExitStack, nullcontext, suppress
from typing import TYPE_CHECKING, Final, Self

from tests.conformance.configurations import without_port
from tests.support.servers import start
from tests.support.wire import RawClient, WireTimeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.conformance.runner import Enough
    from tests.support.servers import RunningServer, ServerProgram

__all__ = ["ServerPool", "SocketSession", "logged_close_reason", "wait_for_close_reason"]

SETTLE_SECONDS_MAX: Final = 10.0
POLL_SECONDS: Final = 0.001


class ServerPool:
    """Running servers by program and configuration; a context manager that stops them all."""

    def __init__(self) -> None:
        self._servers: dict[tuple[ServerProgram, tuple[str, ...], str | None], RunningServer] = {}
        self._running = ExitStack()

    def session(
        self, program: ServerProgram, *, flags: tuple[str, ...] = (), config: str | None = None,
        fresh: bool = False,
    ) -> SocketSession:  # fmt: skip
        """A session with the server of that configuration, which is started when first asked for.

        A fresh server belongs to the session alone and stops with it.
        """
        # Close reasons are read from the debug log; Go also says on its monitoring port what is subscribed.
        flags = ("-D", *flags) if program.kind == "ours" else ("-D", "-m", "-1", *flags)
        text = None if config is None else without_port(config)
        if fresh:
            return SocketSession(start(program, *flags, config=text), owns_server=True)
        key = (program, flags, config)
        if key not in self._servers:
            self._servers[key] = self._running.enter_context(start(program, *flags, config=text))
        return SocketSession(self._servers[key])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.close()


class SocketSession:
    """A subject: the connections of one vector to one server process.

    A context manager; leaving it closes what is open and waits until the server
    has forgotten all of it.
    """

    def __init__(self, server: RunningServer, *, owns_server: bool = False) -> None:
        self.server = server
        self._owns_server = owns_server
        self._connections: list[SocketConnection] = []

    @property
    def speaks_214(self) -> bool:
        """Ours is built as 2.14; a Go server behaves as its own line."""
        version = self.server.program.version
        return version is None or not version.startswith("2.9.")

    def connect(self) -> SocketConnection:
        """Open a connection and take its INFO line."""
        connection = SocketConnection(self.server)
        self._connections.append(connection)
        return connection

    def pause(self, milliseconds: int) -> None:
        """Let real time pass."""
        time.sleep(milliseconds / 1000)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for connection in self._connections:
            connection.close()
        if self._owns_server:
            self.server.stop()
        else:
            # After a failure the server may be in any state; that it does not settle is not the news then.
            with suppress(WireTimeout) if exc_type else nullcontext():
                self._wait_until_forgotten()

    def _wait_until_forgotten(self) -> None:
        cids = {connection.cid for connection in self._connections}
        if self.server.program.kind == "ours":
            # Our core says so in the turn in which it forgets the few subscriptions of a vector.
            _wait_for(lambda: None not in {logged_close_reason(self.server, cid) for cid in cids})
        else:
            # Go logs the close first and removes the subscriptions afterwards.
            _wait_for(lambda: cids.isdisjoint(_subscribed_cids(self.server)))


class SocketConnection:
    """A connection of a vector, over TCP."""

    def __init__(self, server: RunningServer) -> None:
        """Connect and take the INFO line."""
        self._server = server
        self._client = RawClient(server.host, server.port)
        try:
            self.info = self._client.read_info()
        except BaseException:
            self._client.close()
            raise
        self.cid: int = json.loads(self.info.removeprefix(b"INFO "))["client_id"]

    @property
    def closed(self) -> bool:
        """Whether the server has ended the connection."""
        return self._client.ended

    def send(self, data: bytes) -> None:
        """Write all of `data`."""
        self._client.send(data)

    def receive(self, enough: Enough, timeout_ms: int) -> bytes:
        """Take what arrived since the previous read: once it is enough, or when the time is over."""
        deadline = time.monotonic() + timeout_ms / 1000
        while not enough(bytes(self._client.unread), closed=self._client.ended):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._client.wait_for_input(left)
        return self._client.take(len(self._client.unread))

    def finish(self) -> bytes:
        """Send a last PING, half-close, and take everything up to the end."""
        self._client.send(b"PING\r\n")
        if not self._client.ended:
            self._client.half_close()
        return self._client.read_all_until_closed()

    def close(self) -> None:
        """Close the socket."""
        self._client.close()

    def close_reason(self) -> str | None:
        """The reason in the server's debug log, which is waited for; None when it does not come."""
        return wait_for_close_reason(self._server, self.cid)


def logged_close_reason(server: RunningServer, cid: int) -> str | None:
    """Why a connection was closed, as the debug log of a server says; None while it does not."""
    line = re.search(rf"cid:{cid} - .*Client connection closed: (.*)$", server.log_text(), re.MULTILINE)
    return None if line is None else line[1]


def wait_for_close_reason(server: RunningServer, cid: int) -> str | None:
    """The same, waited for; None when it does not come in time."""
    with suppress(WireTimeout):
        _wait_for(lambda: logged_close_reason(server, cid) is not None)
    return logged_close_reason(server, cid)


def _subscribed_cids(server: RunningServer) -> set[int]:
    """The connections that still have a subscription, as a Go server's monitoring port says."""
    with urllib.request.urlopen(
        f"{server.monitoring_url}/subsz?subs=1", timeout=SETTLE_SECONDS_MAX
    ) as answer:
        return {int(row["cid"]) for row in json.load(answer).get("subscriptions_list") or ()}


def _wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while not happened():
        if time.monotonic() > deadline:
            raise WireTimeout("the server did not settle in time")
        time.sleep(POLL_SECONDS)

"""A shell without sockets that measures: how long each event takes, and how much stands in outboxes then.

Its kernel takes all output at once, and its turns are granted at once, so that
nothing but `Server.handle` is measured.
"""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from natscore.effects import Close, Continue
from natscore.events import (
    Address,
    BytesReceived,
    ConnectionClosed,
    ConnectionId,
    ConnectionKind,
    ConnectionOpened,
    Instant,
    PeerClosing,
    ServerStarted,
    ShutdownRequested,
    TurnGranted,
)
from natscore.options import Options
from natscore.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.authentication import Authenticator
    from natscore.effects import Effect
    from natscore.events import Event

__all__ = ["QUIET", "Handled", "MeasuringShell", "without_collector"]

QUIET: Final = b'CONNECT {"verbose":false,"pedantic":false}\r\n'

_READ_MAX: Final = 65_536
_AT: Final = Instant(1, 1_700_000_000_000_000_000)


class Handled(NamedTuple):
    """What one event took."""

    seconds: float  # of processor time: others on the machine do not count
    event: str
    output: int  # bytes appended to outboxes


class MeasuringShell:
    """Runs one server and remembers what each event took."""

    def __init__(self, authenticator: Authenticator | None = None, **options: int) -> None:
        self.server = Server(Options(**options), authenticator=authenticator)  # type: ignore[arg-type]  # numbers only, here
        self.handled: list[Handled] = []
        self.effects = 0
        self.turns = 0
        self._cid = 4
        self._turn_asked = False
        self.server.handle(ServerStarted(at=_AT, server_id="N" + "A" * 55, seed=1, runtime="measured"))

    def connect(self, hello: bytes = QUIET) -> ConnectionId:
        """Open a client connection and send `hello` over it."""
        self._cid += 1
        cid = ConnectionId(self._cid)
        remote = Address("127.0.0.1", 40_000 + self._cid % 20_000)
        self._feed(ConnectionOpened(at=_AT, cid=cid, kind=ConnectionKind.CLIENT, remote=remote))
        if hello:
            self.receive(cid, hello)
        return cid

    def receive(self, cid: ConnectionId, data: bytes) -> None:
        """Let bytes arrive from a client, in full reads, and grant all turns that are asked for."""
        for start in range(0, len(data), _READ_MAX):
            self._feed(BytesReceived(at=_AT, cid=cid, data=data[start : start + _READ_MAX]))
            self._grant_turns()

    def hang_up(self, cid: ConnectionId) -> None:
        """Let a client go away, and grant all turns that are asked for."""
        self._feed(ConnectionClosed(at=_AT, cid=cid, why=PeerClosing.END_OF_STREAM))
        self._grant_turns()

    def shut_down(self) -> None:
        """Ask the server to close everything, and grant all turns that are asked for."""
        self._feed(ShutdownRequested(at=_AT))
        self._grant_turns()

    def forget(self) -> None:
        """Begin to measure anew."""
        self.handled = []
        self.effects = self.turns = 0

    @property
    def longest(self) -> Handled:
        """The event that took most time."""
        return max(self.handled)

    @property
    def output_max(self) -> int:
        """The most that any event appended, which is all that was held at that time."""
        return max(one.output for one in self.handled)

    def _grant_turns(self) -> None:
        while self._turn_asked:
            self._turn_asked = False
            self.turns += 1
            self._feed(TurnGranted(at=_AT))

    def _feed(self, event: Event) -> None:
        began = time.process_time()
        effects = self.server.handle(event)
        seconds = time.process_time() - began
        output = 0
        for outbox in self.server.ready:
            output += outbox.size
            outbox.advance(outbox.size)
        self.handled.append(Handled(seconds, type(event).__name__, output))
        self._perform(effects)

    def _perform(self, effects: list[Effect]) -> None:
        self.effects += len(effects)
        for effect in effects:
            if isinstance(effect, Continue):
                self._turn_asked = True
            elif isinstance(effect, Close):
                self._feed(ConnectionClosed(at=_AT, cid=effect.cid, why=PeerClosing.FINISHED))


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the cyclic collector out of a measurement, as the runtime keeps it out of turns."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

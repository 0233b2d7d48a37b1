"""One program on servers with different data planes: what can be seen of each, event by event."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from natscore.testing import World
from tests.properties.programs import Chunk, HangUp, Passes, Reads, pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from natscore.effects import Effect
    from natscore.entropy import Xorshift64
    from natscore.events import Event
    from natscore.plane import DataPlane
    from natscore.state import Connection
    from natscore.testing import SimulatedServer
    from tests.properties.programs import Happening

__all__ = ["Seen", "first_difference", "perform", "watched"]

_SHOWN: Final = 40  # bytes around a difference
_HELD: Final = 8  # rows of blocks that a shell holds on to at once


@dataclass
class Seen:
    """What came of a program: after each event, and in the end."""

    events: list[object] = field(default_factory=list)
    facts: list[object] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    journal: bytes = b""


class _Watch:
    """Writes down what can be seen of a server after each event, and holds blocks as a shell may."""

    def __init__(self, server: SimulatedServer, seen: Seen) -> None:
        self._server = server
        self._seen = seen
        self._held: deque[tuple[list[bytes | memoryview], bytes]] = deque(maxlen=_HELD)

    def __call__(self, event: Event, effects: list[Effect]) -> None:
        for blocks, content in self._held:
            assert b"".join(blocks) == content, "a block changed while it was held"
        server = self._server
        ready = []
        for outbox in server.server.ready:
            blocks = outbox.blocks(1 << 40)
            content = b"".join(blocks)
            assert len(content) == outbox.size
            self._held.append((blocks, content))
            ready.append((outbox.cid, content))
        state = server.state
        self._seen.events.append(
            (
                type(event).__name__, list(effects), ready, state.plane.left,
                server.server.next_deadline(), server.server.held_bytes, server.server.is_quiet,
                [(account.sublist.steps, account.sublist.count, len(account.table))
                 for account in state.accounts.values()],
                [_counters(connection) for connection in state.connections.values()],
            )
        )  # fmt: skip


def _counters(connection: Connection) -> tuple[object, ...]:
    source, outbox = connection.source, connection.outbox
    return (
        (source.have, source.messages, source.volume, source.pings, source.has_work, source.peek(40)),
        (outbox.size, outbox.appended, outbox.messages, outbox.volume, outbox.accepts, outbox.blocked),
        repr(outbox.responses),
        [(one.sid, one.max, one.delivered, one.live) for one in connection.subscriptions.values()],
    )


def watched(server: SimulatedServer) -> Seen:
    """From now on, write down what can be seen of a server."""
    seen = Seen()
    server.on_event = _Watch(server, seen)
    return seen


def perform(
    program: Sequence[Happening],
    data_plane: Callable[[Xorshift64], DataPlane],
    *,
    seed: int = 0,
    lending: bool = False,
    windows: Sequence[int | None] = (None,) * 4,
    **options: Any,
) -> Seen:
    """Run a program on a server with this data plane."""
    world = World(seed, data_plane=data_plane, lending=lending)
    server = world.server(**options)
    seen = watched(server)
    clients = [server.connect(window=window) for window in windows]
    for step in program:
        match step:
            case Chunk():
                for piece in pieces(step.data, step.cuts):
                    clients[step.connection].send(piece)
            case HangUp():
                clients[step.connection].close()
            case Reads():
                if clients[step.connection].window is not None:
                    clients[step.connection].read(step.room)
            case Passes():
                world.advance(step.duration_ns)
    world.check()
    seen.facts += server.facts
    seen.received += [bytes(client.received) for client in clients]
    seen.journal = server.journal.getvalue()
    return seen


def first_difference(one: object, two: object, place: str = "") -> str | None:
    """Where two results differ first, and how; None: nowhere."""
    if one == two:
        return None
    if isinstance(one, bytes) and isinstance(two, bytes):
        equal = min(len(one), len(two))
        at = next((n for n in range(equal) if one[n] != two[n]), equal)
        part = slice(max(0, at - _SHOWN), at + _SHOWN)
        return f"at {place} from byte {at} on: {one[part]!r} and {two[part]!r}"
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        for number, (a, b) in enumerate(zip(one, two, strict=False)):
            difference = first_difference(a, b, f"{place}[{number}]")
            if difference is not None:
                return difference
        at = min(len(one), len(two))
        longer, which = (one, "first") if len(one) > at else (two, "second")
        return f"at {place}[{at}]: only the {which} has {longer[at]!r}"
    return f"at {place}: {one!r} and {two!r}"

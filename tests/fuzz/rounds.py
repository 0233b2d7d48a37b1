"""One round: a few connections of one server send hostile inputs, on one data plane or on two.

Whatever arrives, these hold: the process survives, no exception reaches the server's
guards, the world comes to rest, and its invariants hold at the end. Of two planes every
byte, end and counter is the same after each input.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from natscore.options import MILLISECOND
from natscore.testing import World
from tests.fuzz.inputs import Author

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from natscore.dataplane import DataPlane
    from natscore.entropy import Xorshift64
    from natscore.testing import ScriptedClient

    MakePlane = Callable[[Xorshift64], DataPlane]

__all__ = ["INPUTS", "Finding", "Round"]

INPUTS: Final = 250
"""Inputs of a round. A crash is repeated by repeating its round."""

CONNECTIONS: Final = 5
_BUGS: Final = ("connection_failed", "reactor_failed")
_LIMITS: Final = (  # of a payload, and of what the kernel refused
    *((64, 2_000), (64, 60_000), (5_000, 5_000), (5_000, 60_000)),
    *((1_048_576, 1_048_576), (1_048_576, 67_108_864), (1_048_576, 67_108_864)),
)


class Finding(Exception):
    """Something that must not happen; the text says what."""


class Round:
    """The round of a seed. `run` may be called once."""

    def __init__(self, seed: int, planes: Sequence[MakePlane]) -> None:
        self.seed: Final = seed
        self.inputs = 0
        self.octets = 0
        self.last: bytes = b""  # the last input, for a report
        draw = random.Random(seed)
        options = self._options(draw)
        self._author: Final = Author(draw, options["max_payload"], headers=options["headers"])
        self._worlds: Final = [World(seed, data_plane=plane, recording=False) for plane in planes]
        self._servers: Final = [world.server(**options) for world in self._worlds]
        self._clients: list[list[ScriptedClient]] = []  # of each connection, one in each world

    def run(self, inputs: int = INPUTS) -> None:
        """Send so many inputs. Raises Finding."""
        draw = self._author.draw
        for _ in range(CONNECTIONS):
            self._clients.append(self._connect())
        while self.inputs < inputs:
            place = int(draw.random() * CONNECTIONS)
            clients = self._clients[place]
            if not clients[0].is_open:
                clients = self._clients[place] = self._connect()
            kind = draw.random()
            if kind < 0.92:
                self._send(clients, self._author.input())
                self.inputs += 1
            elif kind < 0.94:
                reset = draw.random() < 0.5
                for client in clients:
                    client.reset() if reset else client.close()
            elif kind < 0.98:
                room = int(draw.random() * 30_000)
                for client in clients:
                    if client.window is not None:
                        client.read(room)
            else:
                duration = int(draw.random() * 600) * MILLISECOND
                for world in self._worlds:
                    world.advance(duration)
            self._compare()
        for server in self._servers:
            server.shutdown()
        for world in self._worlds:
            world.advance(100 * MILLISECOND)
            world.check()
        self._compare()

    @staticmethod
    def _options(draw: random.Random) -> dict[str, Any]:
        max_payload, max_pending = draw.choice(_LIMITS)
        return {
            "max_payload": max_payload,
            "max_pending": max_pending,
            "max_control_line": draw.choice((160, 4_096, 4_096, 4_096)),
            "max_subscriptions": draw.choice((0, 0, 0, 4)),
            "turn_output_max": draw.choice((1, 500, 20_000, 2_097_152, 2_097_152)),
            "memory_max": draw.choice((200_000, 2_147_483_648)),
            "headers": draw.random() < 0.9,
            "fast_producer_stall": draw.random() < 0.5,
            "trace": draw.random() < 0.03,
            "ping_interval_ns": 400 * MILLISECOND,
            "write_deadline_ns": 900 * MILLISECOND,
        }

    def _connect(self) -> list[ScriptedClient]:
        draw = self._author.draw
        window = None if draw.random() < 0.8 else int(draw.random() * 20_000)
        clients = [server.connect(window=window) for server in self._servers]
        self._send(clients, self._author.hello())
        return clients

    def _send(self, clients: list[ScriptedClient], data: bytes) -> None:
        self.last = data
        self.octets += len(data)
        for piece in self._author.pieces(data):
            for client in clients:
                client.send(piece)

    def _compare(self) -> None:
        """Raise Finding unless all worlds look the same; then forget what was received."""
        for server in self._servers:
            for note in server.notes:
                if note.name in _BUGS:
                    raise Finding(f"{note.name}: {note.fields}")
            server.notes.clear()
        for one, *others in self._clients:
            for other in others:
                if (mine := self._seen(one)) != (yours := self._seen(other)):
                    raise Finding(f"the planes disagree about connection {one.cid}:\n{mine}\n{yours}")
        for clients in self._clients:
            for client in clients:
                client.received.clear()

    @staticmethod
    def _seen(client: ScriptedClient) -> tuple[object, ...]:
        """What can be seen of a connection."""
        state = client.server.state.connections.get(client.cid)
        counters: tuple[object, ...] = ()
        if state is not None:
            outbox, source = state.outbox, state.source
            counters = (
                *(outbox.size, outbox.appended, outbox.messages, outbox.volume, outbox.blocked, outbox.open),
                *(source.messages, source.volume, source.pings, source.have),
            )
        return bytes(client.received), client.is_open, client.close_reason, counters, client.server.events

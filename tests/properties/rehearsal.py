"""A seeded day in the life of a server, recorded: the same bytes in every process.

`python -m tests.properties.rehearsal 7` records day 7, replays the recording,
and prints the digests of the journal and of what each client received.
"""

from __future__ import annotations

import hashlib
import io
import sys
from typing import TYPE_CHECKING, Final

from natscore.entropy import Xorshift64
from natscore.options import MILLISECOND
from natscore.replay import replay
from natscore.testing import World

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient

__all__ = ["Day", "record"]

STEPS: Final = 120
SUBJECTS: Final = [b"a", b"b", b"a.b", b"a.*", b"*", b">", b"c.>"]
PUBLISHED: Final = [b"a", b"b", b"a.b", b"c.d.e", b"nobody"]
QUEUES: Final = [b"", b"", b"q ", b"r ", b"s "]


class Day:
    """One server, clients that come and go, some of which read slowly, and time that passes."""

    def __init__(self, seed: int) -> None:
        self.draws = Xorshift64(seed + 1_000)
        self.world = World(seed, cuts=True)
        self.server = self.world.server(
            max_pending=60_000,
            max_payload=50_000,
            memory_max=100_000,
            turn_output_max=20_000,
            ping_interval_ns=400 * MILLISECOND,
            write_deadline_ns=900 * MILLISECOND,
            trace=seed % 5 == 0,
            fast_producer_stall=seed % 3 != 0,
        )
        self.clients: list[ScriptedClient] = []
        self.everybody: list[ScriptedClient] = []
        for _ in range(STEPS):
            self.step()
        self.server.shutdown()
        self.world.advance(100 * MILLISECOND)
        self.world.check()

    def one_of(self, things: list[bytes]) -> bytes:
        return things[self.draws.pick(len(things))]

    def step(self) -> None:
        self.clients = [client for client in self.clients if client.is_open]
        if not self.clients or self.draws.pick(8) == 0:
            self.join()
            return
        client = self.clients[self.draws.pick(len(self.clients))]
        match self.draws.pick(10):
            case 0:
                self.world.advance(self.draws.pick(600 * MILLISECOND))
            case 1:
                client.reset() if self.draws.pick(2) else client.close()
            case 2 if client.window is not None:
                client.read(self.draws.pick(30_000))
            case 3:
                client.send(b"PONG\r\nPING\r\n")
            case 4 | 5:
                client.send(b"UNSUB %d %d\r\n" % (self.draws.pick(9), self.draws.pick(4)))
            case _:
                self.publish(client)

    def join(self) -> None:
        window = None if self.draws.pick(3) else 500 + self.draws.pick(20_000)
        client = self.server.connect(window=window)
        self.clients.append(client)
        self.everybody.append(client)
        quiet = [b"true", b"false", b"false"]
        client.send(
            b'CONNECT {"verbose":%s,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}\r\n'
            b"PING\r\n" % self.one_of(quiet)
        )
        for sid in range(self.draws.pick(9)):
            client.send(b"SUB %s %s%d\r\n" % (self.one_of(SUBJECTS), self.one_of(QUEUES), sid))

    def publish(self, client: ScriptedClient) -> None:
        data = b""
        for _ in range(1 + self.draws.pick(6)):
            size = self.draws.pick(9_000) if self.draws.pick(5) == 0 else self.draws.pick(20)
            reply = self.one_of([b"", b"", b"a.b "])
            message = b"PUB %s %s%d\r\n" % (self.one_of(PUBLISHED), reply, size) + b"x" * size + b"\r\n"
            data += message * (1 + self.draws.pick(4))
        client.send(data)


def record(seed: int) -> tuple[bytes, bytes]:
    """The journal of a day, and a digest of everything that its clients received."""
    day = Day(seed)
    digest = hashlib.sha256()
    for client in day.everybody:
        digest.update(b"%d %d " % (client.cid, len(client.received)))
        digest.update(client.received)
    return day.server.journal.getvalue(), digest.digest()


if __name__ == "__main__":
    recorded, heard = record(int(sys.argv[1]))
    replayed = replay(io.BytesIO(recorded).read)
    print(hashlib.sha256(recorded).hexdigest(), heard.hex(), replayed.events)

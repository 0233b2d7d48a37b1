"""Connections that come and go leave nothing behind, however many."""

from __future__ import annotations

import gc
import os
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from natscore.options import SECOND
from natscore.testing import World
from tests.simulation.clients import quiet_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.testing import ScriptedClient, SimulatedServer

CYCLES: Final = 100_000
WARM_UP: Final = 5_000
GROWTH_MAX: Final = 0.02


def resident_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def objects() -> Counter[str]:
    """How many objects of each type are alive."""
    gc.collect()
    return Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())


def ours(name: str) -> bool:
    """Whether a type is one of natscore's."""
    return name.startswith("natscore.")


@contextmanager
def only_new_objects_collected() -> Iterator[None]:
    """Keep everything that other tests left out of the counts, and out of the collector's way."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def cycle(server: SimulatedServer, number: int, peer: ScriptedClient) -> None:
    """One connection, of one of the ways to come and go."""
    client = server.connect(host=f"10.0.0.{number % 200}", window=300 if number % 16 == 7 else None)
    match number % 8:
        case 0:  # only looks
            client.close()
            return
        case 1:  # sends nonsense
            client.send(b"GET / HTTP/1.1\r\n")
            return
        case 2:  # goes in the middle of a payload
            client.send(b"PUB a 100\r\nhalf")
            client.reset()
            return
    client.send(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
    client.send(b"SUB _INBOX.%d 1\r\nSUB a.* q 2\r\nUNSUB 1 1\r\n" % (number % 1_000))
    peer.send(b"PUB _INBOX.%d 2\r\nhi\r\nPUB a.b 2\r\nhi\r\n" % (number % 1_000))
    client.close()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_hundred_thousand_connections_leave_objects_and_memory_as_they_were() -> None:
    world = World(recording=False)
    server = world.server()
    peer = quiet_client(server)
    kept = quiet_client(server)
    kept.send(b"SUB a.* q 1\r\nSUB > 2\r\n")
    inner = server.server

    def run(numbers: range) -> None:
        for number in numbers:
            cycle(server, number, peer)
            if number % 100 == 99:
                world.advance(SECOND // 100)
                server.notes.clear()
                for client in (peer, kept):
                    client.received.clear()
                    client.take()

    with only_new_objects_collected():
        run(range(WARM_UP))
        objects()
        before, resident, deadlines = objects(), resident_bytes(), len(inner._deadlines)
        run(range(WARM_UP, CYCLES))
        after, resident_after = objects(), resident_bytes()

    assert {name: count for name, count in after.items() if ours(name)} == {
        name: count for name, count in before.items() if ours(name)
    }
    assert (
        after.total() - before.total() < CYCLES // 1_000
    )  # of any type; some module may be loaded meanwhile
    assert resident_after <= resident * (1 + GROWTH_MAX)
    assert len(inner._deadlines) <= deadlines
    assert len(inner._deadlines._heap) <= 64 + 2 * len(inner._deadlines)
    assert set(inner._lifecycle.sessions) == set(server.state.connections) == {peer.cid, kept.cid}
    assert not inner._lifecycle.turns
    assert not inner._lifecycle._anonymous
    assert len(inner._lifecycle.holdings) == 0
    assert inner.held_bytes == 0
    assert server.state.open_connections == server.state.accounts["$G"].clients == 2
    assert server.state.accounts["$G"].subscriptions == 2
    assert len(server.state.accounts["$G"].table) <= 1_100
    assert not server.paused
    world.check()

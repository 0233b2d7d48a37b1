"""One greedy client beside many modest ones: nobody waits for more than a chunk of each of the others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.attack.watch import ATTEMPTS, Drain, Pinger, connected, start

if TYPE_CHECKING:
    from tests.attack.watch import Waits
    from tests.support.servers import RunningServer, ServerProgram

MODEST: Final = 100
RECEIVERS: Final = 10
P99_MAX: Final = 0.025
SECONDS: Final = 1.5
MESSAGE: Final = b"PUB foo 16\r\n0123456789abcdef\r\n"
DELIVERY: Final = b"MSG foo 1 16\r\n0123456789abcdef\r\n"
BATCH: Final = 10_000  # messages published before the clock is looked at


def publish_as_fast_as_it_goes(server: RunningServer) -> int:
    """Be greedy for a while; how many messages were sent, all of which were dealt with."""
    sent = 0
    ends = time.monotonic() + SECONDS
    with connected(server) as greedy:
        while time.monotonic() < ends:
            greedy.send(MESSAGE * BATCH, timeout=30)
            sent += BATCH
        greedy.send(b"PING\r\n", timeout=30)
        greedy.read_until(rb"PONG\r\n", 30)
    return sent


def waits_beside_greed(server: RunningServer) -> Waits:
    """How long the modest waited while everything that the greedy client published reached its receivers."""
    with Drain(server, RECEIVERS) as drain, Pinger(server, clients=MODEST) as modest:
        sent = publish_as_fast_as_it_goes(server)
        waits = modest.waits()
        drain.finish(DELIVERY, sent)
    return waits


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_of_a_hundred_modest_clients_99_in_100_pings_are_answered_at_once_beside_a_greedy_one(
    program: ServerProgram,
) -> None:
    """The best of three attempts counts, because the machine may be busy with something else; what the
    scheduler takes from server and clients is taken off besides (`pinging.py`)."""
    with start(program) as server:
        for attempt in range(1, ATTEMPTS + 1):
            waits = waits_beside_greed(server)
            if waits.p99 < P99_MAX:
                break
            assert attempt < ATTEMPTS, f"p99 of {waits.p99 * 1000:.1f} ms: {waits}"

    assert waits.answers > MODEST

"""A thousand clients, and a server that goes away gently."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING

import pytest

from natscore.errors import CloseReason
from natscore.options import SECOND
from natscore.replay import replay
from natscore.testing import World

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient

ASKS = b'CONNECT {"verbose":false,"protocol":1}\r\nPING\r\n'
DURATION = 40 * SECOND
GRACE = 10 * SECOND


@pytest.mark.spec("operations 10")
def test_a_thousand_clients_leave_evenly_and_lose_nothing() -> None:
    world = World(seed=7)
    server = world.server(lame_duck_duration_ns=DURATION, lame_duck_grace_period_ns=GRACE)
    clients = [server.connect() for _ in range(1_000)]
    for number, client in enumerate(clients):
        client.send(ASKS + b"SUB one.%d 1\r\n" % number)
        client.take()
    server.enter_lame_duck_mode()
    assert all(b'"ldm":true' in client.take() for client in clients)

    world.advance(GRACE - 1)
    assert all(client.is_open for client in clients)
    assert all(client.take() == b"PING\r\n" for client in clients)
    open_by_second: list[int] = []
    while not server.is_over:
        world.advance(1 if not open_by_second else SECOND)
        open_by_second.append(sum(client.is_open for client in clients))
        for number, client in enumerate(clients):
            still_answers(client, number)

    assert [client.close_reason for client in clients] == [CloseReason.SERVER_SHUTDOWN] * 1_000
    # A wait is 15 to 30 ms: at most 67 clients in a second, and at least 33.
    closed_by_second = [before - after for before, after in itertools.pairwise(open_by_second)]
    assert open_by_second[0] == 999
    assert all(33 <= closed <= 67 for closed in closed_by_second[:-1])
    assert world.now_ns < DURATION
    assert not server.state.connections
    world.check()


@pytest.mark.spec("operations 10")
def test_who_is_closed_when_is_the_same_in_a_replay_and_another_with_another_seed() -> None:
    journals = []
    for seed in (1, 2):
        world = World(seed=seed)
        server = world.server(lame_duck_duration_ns=DURATION, lame_duck_grace_period_ns=GRACE)
        for _ in range(20):
            server.connect().send(ASKS)
        server.enter_lame_duck_mode()
        world.advance(DURATION)
        assert server.is_over
        journals.append((world.now_ns, server.events, server.journal.getvalue()))

    for _, events, journal in journals:
        assert replay(io.BytesIO(journal).read).events == events
    assert journals[0][2] != journals[1][2]


def still_answers(client: ScriptedClient, number: int) -> None:
    """Whoever is not closed yet is served as ever."""
    client.send(b"PUB one.%d 2\r\nhi\r\nPING\r\n" % number)
    expected = b"MSG one.%d 1 2\r\nhi\r\nPONG\r\n" % number if client.is_open else b""
    assert client.take() == expected

"""Lame duck mode: who is told, who is closed when, and what ends it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from natscore.effects import Close, ShutDown
from natscore.errors import CloseReason, ConfigError
from natscore.events import ConnectionId, LameDuckRequested
from natscore.options import MILLISECOND, SECOND, Options
from natscore.testing import World
from tests.unit.core.bare import BareServer, of_type
from tests.unit.core.dialogue import client_of

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient, SimulatedServer

ASKS = b'CONNECT {"verbose":false,"protocol":1}\r\nPING\r\n'
ASKS_NOT = b'CONNECT {"verbose":false,"protocol":0}\r\nPING\r\n'

SHORT: dict[str, Any] = {
    "lame_duck_duration_ns": 30 * SECOND,
    "lame_duck_grace_period_ns": 2 * SECOND,
    "ping_interval_ns": 3600 * SECOND,
}


def told(client: ScriptedClient) -> dict[str, Any]:
    (line,) = client.lines()
    assert line.startswith(b"INFO {")
    document: dict[str, Any] = orjson.loads(line[5:])
    return document


def names(server: SimulatedServer) -> list[str]:
    return [note.name for note in server.notes if note.name.startswith("lame_duck")]


@pytest.mark.spec("operations 10", "client-protocol 19.3")
def test_clients_that_take_info_at_any_time_are_told_once() -> None:
    server = World().server(**SHORT)
    client = client_of(server, ASKS)

    server.enter_lame_duck_mode()
    document = told(client)
    server.enter_lame_duck_mode()
    server.world.advance(1 * SECOND)

    assert document["ldm"] is True
    assert document["client_id"] == client.cid
    assert "connect_info" not in document
    assert client.take() == b""
    assert names(server) == ["lame_duck_entered"]


@pytest.mark.spec("operations 10", "client-protocol 19.3")
def test_a_client_of_protocol_0_is_told_nothing() -> None:
    server = World().server(**SHORT)
    client = client_of(server, ASKS_NOT)

    server.enter_lame_duck_mode()

    assert client.take() == b""
    assert client.is_open


@pytest.mark.spec("operations 10")
def test_a_client_whose_first_ping_comes_late_is_told_behind_its_pong() -> None:
    server = World().server(**SHORT)
    client = server.connect()
    server.enter_lame_duck_mode()

    client.send(ASKS)

    pong, info = client.lines()
    assert pong == b"PONG"
    assert orjson.loads(info[5:])["ldm"] is True
    assert "ldm" not in orjson.loads(client.info[5:])


@pytest.mark.spec("operations 10")
def test_clients_go_on_during_the_grace_period() -> None:
    world = World()
    server = world.server(**SHORT)
    client = client_of(server, ASKS)
    server.enter_lame_duck_mode()
    client.take()

    world.advance(2 * SECOND - 1)
    client.send(b"SUB foo 1\r\nPUB foo 2\r\nhi\r\nPING\r\n")
    assert client.take() == b"MSG foo 1 2\r\nhi\r\nPONG\r\n"
    assert names(server) == ["lame_duck_entered"]

    world.advance(1)
    assert client.close_reason is CloseReason.SERVER_SHUTDOWN
    assert client.take() == b""
    assert names(server) == ["lame_duck_entered", "lame_duck_closing"]


@pytest.mark.spec("operations 10", "client-protocol 13:Server Shutdown")
def test_four_clients_are_closed_a_half_to_a_whole_second_apart() -> None:
    world = World()
    server = world.server(**SHORT)
    clients = [client_of(server, ASKS) for _ in range(4)]
    server.enter_lame_duck_mode()
    world.advance(2 * SECOND - MILLISECOND)

    instants = []
    while not server.is_over:
        left = sum(client.is_open for client in clients)
        world.advance(MILLISECOND)
        instants += [world.now_ns] * (left - sum(client.is_open for client in clients))

    assert instants[0] == 2 * SECOND
    gaps = [after - before for before, after in itertools.pairwise(instants)]
    assert len(gaps) == 3
    assert all(500 * MILLISECOND <= gap <= 1001 * MILLISECOND for gap in gaps)
    assert len(set(gaps)) > 1
    assert [client.close_reason for client in clients] == [CloseReason.SERVER_SHUTDOWN] * 4


@pytest.mark.spec("operations 10")
def test_without_clients_lame_duck_mode_is_over_at_once() -> None:
    server = World().server(**SHORT)
    client = client_of(server)
    client.close()

    server.enter_lame_duck_mode()

    assert server.is_over
    assert names(server) == ["lame_duck_entered"]


@pytest.mark.spec("operations 10")
def test_who_goes_by_itself_is_not_waited_for() -> None:
    world = World()
    server = world.server(**SHORT)
    clients = [client_of(server, ASKS) for _ in range(100)]
    server.enter_lame_duck_mode()
    for client in clients[1:]:
        client.close()

    world.advance(2 * SECOND)

    assert server.is_over


@pytest.mark.spec("operations 10")
def test_when_all_have_gone_the_grace_period_ends_it() -> None:
    world = World()
    server = world.server(**SHORT)
    client = client_of(server, ASKS)
    server.enter_lame_duck_mode()
    client.close()

    world.advance(2 * SECOND - 1)
    assert not server.is_over
    world.advance(1)
    assert server.is_over


@pytest.mark.spec("operations 10")
def test_a_client_that_comes_too_late_is_greeted_and_closed() -> None:
    server = World().server(**SHORT)
    client_of(server, ASKS)
    server.enter_lame_duck_mode()

    late = server.connect()

    assert late.close_reason is CloseReason.SERVER_SHUTDOWN


@pytest.mark.spec("operations 10")
def test_a_shutdown_in_lame_duck_mode_ends_it_at_once() -> None:
    world = World()
    server = world.server(**SHORT)
    clients = [client_of(server, ASKS) for _ in range(3)]
    server.enter_lame_duck_mode()

    server.shutdown()

    assert not any(client.is_open for client in clients)
    world.advance(60 * SECOND)
    assert not server.is_over
    assert names(server) == ["lame_duck_entered"]


def test_a_server_that_is_shut_down_does_not_enter_lame_duck_mode() -> None:
    server = World().server(**SHORT)
    server.shutdown()

    server.enter_lame_duck_mode()

    assert names(server) == []
    assert not server.is_over


def test_many_are_told_in_several_turns() -> None:
    bare = BareServer(**SHORT)
    for cid in range(5, 5 + 2_500):
        bare.open(cid)
        bare.receive(cid, ASKS)
        bare.written(cid)

    bare.server.handle(LameDuckRequested(at=bare.at))
    reached = [sum(bare.written(cid) != b"" for cid in range(5, 2_505))]
    for _ in range(2):
        assert bare.server.next_deadline() == bare.now_ns + 1
        bare.advance(1)
        reached.append(sum(bare.written(cid) != b"" for cid in range(5, 2_505)))

    assert reached == [1_024, 1_024, 452]
    assert bare.server.next_deadline() == 2 * SECOND


@pytest.mark.spec("operations 10")
def test_a_timer_that_is_late_does_not_stretch_the_whole() -> None:
    bare = BareServer(**SHORT)
    for cid in range(5, 105):
        bare.open(cid)
    bare.server.handle(LameDuckRequested(at=bare.at))

    effects = bare.advance(30 * SECOND)

    assert [close.cid for close in of_type(effects, Close)] == [ConnectionId(cid) for cid in range(5, 105)]
    assert of_type(effects, ShutDown) == [ShutDown()]


@pytest.mark.spec("operations 10")
@pytest.mark.parametrize(("grace", "duration"), [(30, 30), (31, 30), (-1, 30)])
def test_a_grace_period_that_is_not_within_the_duration_is_refused(grace: int, duration: int) -> None:
    with pytest.raises(ConfigError, match="lame duck grace period"):
        Options(lame_duck_duration_ns=duration * SECOND, lame_duck_grace_period_ns=grace * SECOND)

"""A message to more receivers than a turn serves goes out in parts, and reaches all of them in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from natscore.testing import World
from natscore.turn import PART_MAX, RECEIVERS_MAX

if TYPE_CHECKING:
    from natscore.effects import Effect
    from natscore.events import Event
    from natscore.testing import ScriptedClient, SimulatedServer

QUIET = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'
MANY = 3 * RECEIVERS_MAX + 7


@pytest.fixture
def world() -> World:
    return World(recording=False)


def receivers(server: SimulatedServer, subscribe: bytes = b"SUB foo 1\r\n") -> list[ScriptedClient]:
    clients = [server.connect() for _ in range(MANY)]
    for number, client in enumerate(clients):
        client.send(QUIET + subscribe.replace(b"#", b"%d" % number))
    return clients


def record_fanouts(server: SimulatedServer) -> list[int]:
    """How many outboxes each event from now on leaves to be written."""
    counts: list[int] = []

    def count(event: Event, effects: list[Effect]) -> None:
        counts.append(len(server.server.ready))

    server.on_event = count
    return counts


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"PUB foo 2\r\nhi\r\n", b"MSG foo 1 2\r\nhi\r\n"),
        (b"PUB foo r 2\r\nhi\r\n", b"MSG foo 1 r 2\r\nhi\r\n"),
        (b"pub foo  2\r\nhi\r\n", b"MSG foo 1 2\r\nhi\r\n"),
        (b"HPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", b"HMSG foo 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
        (b"PUB foo 5000\r\n" + b"x" * 5000 + b"\r\n", b"MSG foo 1 5000\r\n" + b"x" * 5000 + b"\r\n"),
    ],
    ids=["in a run", "alone", "loose", "with headers", "large"],
)
def test_no_turn_serves_more_receivers_than_its_bound_and_all_are_served(
    world: World, message: bytes, expected: bytes
) -> None:
    server = world.server()
    clients = receivers(server)
    publisher = server.connect()
    publisher.send(QUIET)
    counts = record_fanouts(server)

    publisher.send(message * 2 + b"PING\r\n")

    assert all(client.take() == expected * 2 for client in clients)
    assert publisher.take() == b"PONG\r\n"
    assert max(counts) <= 2 * RECEIVERS_MAX  # the last part of one message and the first of the next
    world.check()


def test_a_large_message_goes_out_in_parts_to_a_few_receivers_each(world: World) -> None:
    server = world.server()
    clients = [server.connect() for _ in range(30)]
    for client in clients:
        client.send(QUIET + b"SUB foo 1\r\n")
    publisher = server.connect()
    publisher.send(QUIET)
    counts = record_fanouts(server)

    publisher.send(b"PUB foo 1000000\r\n" + b"x" * 1_000_000 + b"\r\nPING\r\n")

    assert all(len(client.take()) == len(b"MSG foo 1 1000000\r\n") + 1_000_002 for client in clients)
    assert publisher.take() == b"PONG\r\n"
    assert max(counts) <= PART_MAX // 1_000_000 + 1  # and the publisher
    world.check()


def test_other_clients_are_served_between_the_parts(world: World) -> None:
    server = world.server()
    clients = receivers(server)
    publisher, other = server.connect(), server.connect()
    for client in (publisher, other):
        client.send(QUIET)
    served = []

    def ask(event: Event, effects: list[Effect]) -> None:
        if server.server.is_quiet or other.take():
            return
        served.append(sum(client.take() != b"" for client in clients))
        server.send(other, b"PING\r\n")  # read when this event is done, before the next turn

    server.on_event = ask
    publisher.send(b"PUB foo 2\r\nhi\r\n")

    assert len(served) >= 2
    assert other.received.endswith(b"PONG\r\n")


def test_publisher_that_leaves_at_once_is_still_heard_by_all(world: World) -> None:
    server = world.server()
    clients = receivers(server)
    publisher = server.connect()
    publisher.send(QUIET)
    left = False

    def leave(event: Event, effects: list[Effect]) -> None:
        nonlocal left
        if not server.server.is_quiet and not left:
            left = True
            publisher.reset()

    server.on_event = leave
    publisher.send(b"PUB foo 2\r\nhi\r\n")

    assert left
    assert all(client.take() == b"MSG foo 1 2\r\nhi\r\n" for client in clients)
    assert server.server.session(publisher.cid) is None
    world.check()


def test_each_of_many_groups_gets_one(world: World) -> None:
    server = world.server()
    clients = receivers(server, b"SUB foo q# 1\r\n")
    publisher = server.connect()
    publisher.send(QUIET)
    counts = record_fanouts(server)

    publisher.send(b"PUB foo 2\r\nhi\r\n" * 2 + b"PUB foo r 2\r\nho\r\n")

    expected = b"MSG foo 1 2\r\nhi\r\n" * 2 + b"MSG foo 1 r 2\r\nho\r\n"
    assert all(client.take() == expected for client in clients)
    assert max(counts) <= 2 * RECEIVERS_MAX


def test_requester_hears_of_missing_responders_only_when_none_of_many_took_it(world: World) -> None:
    server = world.server()
    requester = server.connect()
    requester.send(QUIET + b"SUB r 1\r\n")
    requester.send(QUIET.replace(b"}", b',"echo":false}') + b"SUB r 1\r\n")
    requester.send(b"".join(b"SUB foo %d\r\n" % sid for sid in range(2, MANY)))

    requester.send(b"PUB foo r 0\r\n\r\n")
    assert requester.take().startswith(b"HMSG r 1 ")

    late = server.connect()
    late.send(QUIET + b"SUB foo 1\r\n")
    requester.send(b"PUB foo r 0\r\n\r\n")
    assert requester.take() == b""
    assert late.take() == b"MSG foo 1 r 0\r\n\r\n"


def test_violation_behind_a_message_to_many_is_answered_when_all_have_it(world: World) -> None:
    server = world.server()
    clients = receivers(server)
    publisher = server.connect()
    publisher.send(QUIET)

    publisher.send(b"PUB foo 2\r\nhi\r\nNONSENSE\r\n")

    assert publisher.take() == b"-ERR 'Unknown Protocol Operation'\r\n"
    assert not publisher.is_open
    assert all(client.take() == b"MSG foo 1 2\r\nhi\r\n" for client in clients)

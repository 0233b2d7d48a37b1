"""Clients that do not read: cut within the bounds, their producers held back, everybody else undisturbed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import pytest

from natscore.effects import PauseReading
from natscore.errors import CloseReason
from natscore.events import BytesReceived, ConnectionClosed
from natscore.options import MILLISECOND, SECOND
from natscore.testing import World
from tests.simulation.clients import QUIET_WITH_HEADERS, filled, quiet_client
from tests.simulation.watching import requests

if TYPE_CHECKING:
    from natscore.effects import Effect
    from natscore.events import Event

PENDING_MAX: Final = 1_048_576
MESSAGE: Final = b"PUB a 1000\r\n" + b"x" * 1_000 + b"\r\n"


@pytest.mark.spec("client-protocol 15.2:pending bytes after an append > max_pending (CLIENT only)")
def test_client_that_never_reads_is_cut_at_max_pending_while_its_producer_is_held_back() -> None:
    world = World()
    server = world.server(max_pending=PENDING_MAX, max_payload=65_536)
    stuck = quiet_client(server, window=1_000)
    stuck.send(b"SUB a 1\r\n")
    reader = quiet_client(server)
    reader.send(b"SUB a 1\r\nSUB b 2\r\n")
    producer, other = quiet_client(server), quiet_client(server)
    outbox = server.state.connections[stuck.cid].outbox
    reading = requests(server)
    sent = stalls = most = 0

    while stuck.is_open and sent < 4_000:
        producer.send(MESSAGE * 20)
        sent += 20
        most = max(most, outbox.size)
        other.send(b"PUB b 2\r\nhi\r\n")
        if producer.cid in server.paused:
            stalls += 1
            world.advance(10 * MILLISECOND)
            assert producer.cid not in server.paused

    assert stuck.close_reason is CloseReason.SLOW_CONSUMER_PENDING
    assert stalls > 5
    assert PENDING_MAX * 3 // 4 < most <= PENDING_MAX + 65_536
    assert reading.count(PauseReading(producer.cid)) == stalls
    assert PauseReading(other.cid) not in reading
    received = reader.take()
    assert received.count(b"MSG a 1 1000\r\n") == sent
    assert received.count(b"MSG b 2 2\r\nhi\r\n") == sent // 20
    assert server.server.held_bytes == 0
    assert server.state.slow_consumers == 1
    world.check()


@pytest.mark.spec("client-protocol 15.2:write exceeds write_deadline")
def test_client_that_stops_reading_is_cut_at_the_write_deadline() -> None:
    world = World()
    server = world.server(write_deadline_ns=2 * SECOND)
    stuck = quiet_client(server, window=1_000)
    stuck.send(b"SUB a 1\r\n")
    producer = quiet_client(server)

    producer.send(MESSAGE)
    world.advance(2 * SECOND - 1)
    assert stuck.is_open
    world.advance(1)

    assert stuck.close_reason is CloseReason.SLOW_CONSUMER_DEADLINE
    assert server.server.held_bytes == 0
    world.check()


@pytest.mark.spec("client-protocol 15.2:write exceeds write_deadline")
def test_client_that_reads_what_was_refused_within_the_deadline_stays_though_more_is_refused() -> None:
    world = World()
    server = world.server(write_deadline_ns=2 * SECOND)
    slow = quiet_client(server, window=1_000)
    slow.send(b"SUB a 1\r\n")
    producer = quiet_client(server)
    producer.send(MESSAGE)

    for _ in range(20):
        world.advance(SECOND)
        producer.send(MESSAGE)
        slow.read(1_000)
        assert server.state.connections[slow.cid].outbox.blocked

    assert slow.is_open
    world.check()


@pytest.mark.spec("client-protocol 15.2:write exceeds write_deadline")
def test_client_that_reads_less_than_was_refused_is_cut_at_the_deadline_all_the_same() -> None:
    world = World()
    server = world.server(write_deadline_ns=2 * SECOND)
    slow = quiet_client(server, window=1_000)
    slow.send(b"SUB a 1\r\n")
    producer = quiet_client(server)
    producer.send(MESSAGE * 50)

    for _ in range(40):
        world.advance(SECOND // 10)
        slow.read(10)
        if not slow.is_open:
            break

    assert slow.close_reason is CloseReason.SLOW_CONSUMER_DEADLINE
    assert world.now_ns <= 2 * SECOND + SECOND // 10


@pytest.mark.parametrize(
    ("op", "hello"),
    [
        (b"PING\r\n", b"CONNECT {}\r\n"),
        (b"SUB a. 1\r\n", b'CONNECT {"verbose":false}\r\n'),
        (b"UNSUB 9\r\n", b"CONNECT {}\r\n"),
        (b"PUB a 0\r\n\r\n", b"CONNECT {}\r\n"),
        (b"PUB $NRG.a 0\r\n\r\n", b'CONNECT {"verbose":false}\r\n'),
        (b"CONNECT {}\r\n", b"CONNECT {}\r\n"),
    ],
)
def test_client_that_does_not_read_the_answers_to_its_own_flood_is_cut_at_max_pending(
    op: bytes, hello: bytes
) -> None:
    world = World(recording=False)
    server = world.server(max_pending=131_072, max_payload=65_536)
    stuck = quiet_client(server, hello=hello, window=2_000)
    outbox = server.state.connections[stuck.cid].outbox
    most = sent = 0

    while stuck.is_open and sent < 20:
        stuck.send(filled(op))
        sent += 1
        most = max(most, outbox.size)

    assert stuck.close_reason is CloseReason.SLOW_CONSUMER_PENDING
    assert most <= 131_072
    assert server.server.held_bytes == 0


def test_requester_that_does_not_read_that_nobody_answers_is_cut_at_max_pending() -> None:
    world = World(recording=False)
    server = world.server(max_pending=PENDING_MAX, max_payload=65_536)
    stuck = quiet_client(server, hello=QUIET_WITH_HEADERS, window=2_000)
    stuck.send(b"SUB r 1\r\n")
    sent = 0

    while stuck.is_open and sent < 100:
        stuck.send(filled(b"PUB a r 0\r\n\r\n"))
        sent += 1

    assert stuck.close_reason is CloseReason.SLOW_CONSUMER_PENDING


def test_client_cut_by_its_own_messages_performs_nothing_that_stands_behind_them() -> None:
    world = World()
    server = world.server(max_pending=200_000, max_payload=65_536)
    stuck = quiet_client(server, window=1_000)
    stuck.send(b"SUB a 1\r\n")
    stuck.send(b"PUB a 2000\r\n" + b"x" * 2_000 + b"\r\n")

    stuck.send(b"PUB a 60000\r\n" + b"x" * 60_000 + b"\r\n")
    stuck.send(b"PUB a 60000\r\n" + b"x" * 60_000 + b"\r\n")
    stuck.send(b"PUB a 60000\r\n" + b"x" * 60_000 + b"\r\n")
    stuck.send(b"PUB a 60000\r\n" + b"x" * 60_000 + b"\r\nPONG\r\nSUB b 2\r\n")

    assert stuck.close_reason is CloseReason.SLOW_CONSUMER_PENDING
    assert not [note for note in server.notes if note.name == "client_violation"]
    assert not server.state.connections
    world.check()


def test_small_blocks_that_wait_do_not_weigh_several_times_their_bytes() -> None:
    world = World(recording=False)
    server = world.server()
    stuck = quiet_client(server, window=1_000)
    stuck.send(b"SUB * 1\r\n")
    outbox = server.state.connections[stuck.cid].outbox
    producer = quiet_client(server, hello=b"CONNECT {}\r\n")

    for _ in range(5):
        producer.send(b"".join(b"PUB %d 0\r\n\r\n" % (n % 10) for n in range(5_000)))

    blocks = outbox.blocks(1 << 40)
    held = sum(map(sys.getsizeof, blocks)) + sys.getsizeof(blocks)
    assert outbox.size > 300_000
    assert held < 1.2 * outbox.size
    stuck.read(10_000_000)
    assert stuck.take().count(b"MSG ") == 25_000


def test_stuck_clients_above_the_memory_bound_are_cut_largest_first_and_others_go_on() -> None:
    world = World()
    server = world.server(memory_max=3_000_000, fast_producer_stall=False)
    stuck = [quiet_client(server, window=1_000) for _ in range(10)]
    for number, client in enumerate(stuck):
        client.send(b"".join(b"SUB %d %d\r\n" % (subject, subject) for subject in range(number + 1)))
    reader = quiet_client(server)
    reader.send(b"SUB 0 x\r\n")
    producer = quiet_client(server)

    for _ in range(10):
        for subject in range(10):
            producer.send(b"PUB %d 10000\r\n" % subject + b"x" * 10_000 + b"\r\n")

    cut = [note.fields["cid"] for note in server.notes if note.name == "memory_limit_cut"]
    reasons = {client.close_reason for client in stuck if not client.is_open}
    assert cut[0] == stuck[-1].cid
    assert reasons == {CloseReason.MEMORY}
    assert 3 <= len(cut) < 10
    assert {number for number, client in enumerate(stuck) if not client.is_open} == set(
        range(10 - len(cut), 10)
    )
    assert server.server.held_bytes <= 3_000_000
    assert reader.take().count(b"MSG 0 x 10000\r\n") == 10
    world.check()


def test_last_words_that_are_not_read_count_for_memory_and_are_dropped_above_the_bound() -> None:
    """A connection that closes may still hold much, until its transport is gone."""
    world = World()
    server = world.server(memory_max=100_000)
    stuck = quiet_client(server, window=1_000)
    stuck.send(b"SUB a 1\r\n")
    outbox = server.state.connections[stuck.cid].outbox
    producer = quiet_client(server)
    producer.send(b"PUB a 60000\r\n" + b"x" * 60_000 + b"\r\n")
    steps: list[tuple[bool, int, int]] = []

    def watch(event: Event, effects: list[Effect]) -> None:
        if not steps:  # it is closing, and its transport is still there when more comes in
            server.feed(BytesReceived(at=world.at, cid=producer.cid, data=b"PUB b 60000\r\n" + b"x" * 50_000))
        steps.append((isinstance(event, ConnectionClosed), outbox.size, server.server.held_bytes))

    server.on_event = watch
    stuck.send(b"NONSENSE\r\n")

    assert [closed for closed, _, _ in steps] == [False, False, True]
    assert steps[0][1] > 59_000
    assert steps[0][2] == steps[0][1]
    assert steps[1][1:] == (0, 50_013)
    assert stuck.close_reason is CloseReason.PROTOCOL_VIOLATION
    assert producer.is_open
    world.check()


@pytest.mark.every_plane
def test_producer_goes_on_with_a_new_subject_after_its_receiver_was_cut() -> None:
    """What a new subject matches is found before the receiver is gone, and is not to be relied on after."""
    world = World()
    server = world.server(max_pending=10_000, max_payload=10_000)
    stuck = quiet_client(server, window=100)
    stuck.send(b"SUB > 1\r\n")
    reader = quiet_client(server)
    reader.send(b"SUB b.* 1\r\n")
    producer = quiet_client(server)
    producer.send(b"PUB a 500\r\n" + b"x" * 500 + b"\r\n")  # from here on, the kernel refuses

    producer.send(
        b"".join(b"PUB a 100\r\n" + b"x" * 100 + b"\r\n" for _ in range(200)) + b"PUB b.c 2\r\nhi\r\n"
    )

    assert stuck.close_reason is CloseReason.SLOW_CONSUMER_PENDING
    assert producer.is_open
    assert reader.take() == b"MSG b.c 1 2\r\nhi\r\n"

"""Receivers that are behind, producers that are too fast, memory that is finite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from natscore.connection.pressure import STALL_NS
from natscore.effects import Close, PauseReading, ResumeReading
from natscore.errors import CloseReason, UsageError
from natscore.events import ConnectionId, WriteBlocked, WriteProgressed
from natscore.facts import SlowConsumerDetected
from natscore.options import MILLISECOND, SECOND
from natscore.testing import World
from tests.unit.core.bare import BareServer, of_type
from tests.unit.core.dialogue import NO_ECHO, QUIET, client_of

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient, SimulatedServer

MESSAGE = b"PUB foo 100\r\n" + b"x" * 100 + b"\r\n"
DELIVERED = b"MSG foo 1 100\r\n" + b"x" * 100 + b"\r\n"


def reader(server: SimulatedServer, window: int, wish: bytes = b"SUB foo 1\r\n") -> ScriptedClient:
    """A client that subscribed, and whose kernel takes `window` more bytes."""
    client = client_of(server)
    client.send(wish)
    client.window = window
    return client


def details(server: SimulatedServer) -> list[object]:
    return [note.fields["detail"] for note in server.notes if note.name == "slow_consumer"]


# -- too much --------------------------------------------------------------------------------------


@pytest.mark.spec(
    "client-protocol 15.2",
    "client-protocol 15.2:pending bytes after an append > max_pending (CLIENT only)",
    "client-protocol 11:max_pending",
    "client-protocol 13:Slow Consumer (Pending Bytes)",
)
def test_a_client_that_leaves_more_than_the_bound_unread_is_cut_off_without_a_word() -> None:
    server = World().server(max_pending=1000, max_payload=500)
    slow = reader(server, window=50)
    publisher = client_of(server)

    publisher.send(MESSAGE * 6)
    assert slow.is_open
    publisher.send(b"PUB foo 400\r\n" + b"x" * 400 + b"\r\n")

    assert slow.close_reason is CloseReason.SLOW_CONSUMER_PENDING
    assert slow.take() == DELIVERED[:50]
    assert details(server) == ["MaxPending of 1000 Exceeded"]
    assert server.state.slow_consumers == 1


@pytest.mark.spec("client-protocol 15.1", "client-protocol 15.2")
def test_bytes_that_the_kernel_takes_at_once_never_count() -> None:
    server = World().server(max_pending=1000, max_payload=500)
    quick = client_of(server)
    quick.send(b"SUB foo 1\r\n")

    client_of(server).send(MESSAGE * 500)

    assert quick.take() == DELIVERED * 500


@pytest.mark.spec("client-protocol 15.2")
def test_exactly_the_bound_may_wait() -> None:
    server = World().server(max_pending=len(DELIVERED) * 4, max_payload=400)
    slow = reader(server, window=0)
    publisher = client_of(server)

    publisher.send(MESSAGE * 4)
    assert slow.is_open
    publisher.send(b"PUB foo 0\r\n\r\n")

    assert slow.close_reason is CloseReason.SLOW_CONSUMER_PENDING


@pytest.mark.spec("client-protocol 15.2")
@pytest.mark.parametrize("data", [b"PING\r\n", b"SUB foo.. 1\r\n", b"PUB _GR_.a 0\r\n\r\n"])
def test_answers_to_what_a_client_says_itself_count_too(data: bytes) -> None:
    server = World().server(max_pending=1000, max_payload=500)
    slow = client_of(server, window=0)
    slow.window = 0

    for _ in range(300):
        slow.send(data)

    assert slow.close_reason is CloseReason.SLOW_CONSUMER_PENDING


@pytest.mark.spec("client-protocol 15.2")
def test_one_slow_receiver_does_not_hurt_the_others() -> None:
    server = World().server(max_pending=1000, max_payload=500)
    slow, quick = reader(server, window=0), reader(server, window=1 << 30)

    client_of(server).send(MESSAGE * 100)

    assert not slow.is_open
    assert quick.take() == DELIVERED * 100


# -- too long --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "chunks"), [(65_536 - 20, 1), (65_536 - 19, 2), (300_000, 5)])
def test_what_waits_is_told_in_chunks_of_64_kib_however_it_is_held(size: int, chunks: int) -> None:
    world = World()
    server = world.server(write_deadline_ns=MILLISECOND)
    reader(server, window=0)
    client_of(server).send(b"PUB foo %06d\r\n" % size + b"x" * size + b"\r\n")

    world.advance(MILLISECOND)

    total = size + 20
    assert details(server) == [
        f"WriteDeadline of 0.001s exceeded with {chunks} chunks of {total} total bytes."
    ]


@pytest.mark.spec(
    "client-protocol 15.2",
    "client-protocol 15.2:write exceeds write_deadline",
    "client-protocol 11:write_deadline",
    "client-protocol 13:Slow Consumer (Write Deadline)",
)
def test_a_client_that_leaves_bytes_unread_for_too_long_is_cut_off_without_a_word() -> None:
    world = World()
    server = world.server(write_deadline_ns=1500 * MILLISECOND)
    slow = reader(server, window=50)
    client_of(server).send(MESSAGE)

    world.advance(1500 * MILLISECOND - 1)
    assert slow.is_open
    world.advance(1)

    assert slow.close_reason is CloseReason.SLOW_CONSUMER_DEADLINE
    assert slow.take() == DELIVERED[:50]
    assert details(server) == ["WriteDeadline of 1.5s exceeded with 1 chunks of 67 total bytes."]
    assert server.state.slow_consumers == 1
    world.check()


@pytest.mark.spec("client-protocol 15.2")
@pytest.mark.parametrize(("read", "alive"), [(0, False), (66, False), (67, True), (1000, True)])
def test_what_was_refused_must_be_taken_in_time_and_not_a_part_of_it(read: int, alive: bool) -> None:
    world = World()
    server = world.server(write_deadline_ns=SECOND)
    slow, publisher = reader(server, window=50), client_of(server)
    publisher.send(MESSAGE)
    world.advance(900 * MILLISECOND)
    publisher.send(MESSAGE)

    slow.read(read)
    world.advance(200 * MILLISECOND)

    assert slow.is_open is alive


@pytest.mark.spec("client-protocol 15.2")
def test_a_client_that_keeps_reading_is_not_slow_however_long_it_is_behind() -> None:
    world = World()
    server = world.server(write_deadline_ns=SECOND)
    slow, publisher = reader(server, window=0), client_of(server)
    publisher.send(MESSAGE * 3)

    for _ in range(20):
        world.advance(900 * MILLISECOND)
        slow.read(3 * len(DELIVERED))
        slow.window = 0
        publisher.send(MESSAGE * 3)

    assert slow.is_open


@pytest.mark.spec("client-protocol 15.2")
def test_who_has_read_everything_has_no_deadline() -> None:
    world = World()
    server = world.server(write_deadline_ns=SECOND)
    slow = reader(server, window=50)
    client_of(server).send(MESSAGE)

    slow.read(1000)
    world.advance(5 * SECOND)

    assert slow.is_open
    assert not server.state.connections[slow.cid].outbox.blocked


@pytest.mark.spec("client-protocol 15.2")
def test_who_never_logged_in_is_cut_off_and_is_no_consumer() -> None:
    world = World()
    server = world.server(token="t", write_deadline_ns=SECOND)
    stranger = server.connect(window=10)

    world.advance(SECOND)

    assert stranger.close_reason is CloseReason.SLOW_CONSUMER_DEADLINE
    assert server.state.slow_consumers == 0
    assert not any(isinstance(fact, SlowConsumerDetected) for fact in server.facts)


# -- too fast --------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 15.3", "client-protocol 23")
def test_a_producer_is_paused_for_10_ms_when_its_receiver_is_far_behind() -> None:
    world = World()
    server = world.server(max_pending=1000, max_payload=500)
    slow, publisher = reader(server, window=0), client_of(server)

    publisher.send(MESSAGE * 6)
    assert publisher.cid not in server.paused
    publisher.send(MESSAGE)
    assert publisher.cid in server.paused
    publisher.send(b"PUB bar 0\r\n\r\nPING\r\n")

    world.advance(STALL_NS - 1)
    assert publisher.take() == b""
    world.advance(1)
    assert publisher.take() == b"PONG\r\n"
    assert publisher.cid not in server.paused
    assert slow.is_open
    assert STALL_NS == 10 * MILLISECOND


@pytest.mark.spec("client-protocol 15.3")
def test_a_paused_producer_goes_on_even_if_its_receiver_does_not_read() -> None:
    world = World()
    server = world.server(max_pending=1000, max_payload=500)
    slow, publisher = reader(server, window=0), client_of(server)

    publisher.send(MESSAGE * 7)
    for _ in range(3):
        publisher.send(b"PUB foo 0\r\n\r\n")
        world.advance(STALL_NS)
    slow.read(10_000)

    assert slow.take() == DELIVERED * 7 + b"MSG foo 1 0\r\n\r\n" * 3


@pytest.mark.spec("client-protocol 15.3")
def test_what_a_paused_producer_had_sent_already_waits_with_it() -> None:
    bare = BareServer(max_pending=1000, max_payload=500, turn_output_max=800)
    for cid in (5, 6):
        bare.open(cid)
        bare.receive(cid, QUIET)
        bare.rest()
        bare.written(cid)
    bare.receive(5, b"SUB foo 1\r\n")
    bare.receive(6, MESSAGE)
    bare.rest()
    bare.server.handle(WriteBlocked(at=bare.at, cid=ConnectionId(5), refused=len(DELIVERED)))

    paused = bare.receive(6, MESSAGE * 6 + b"PING\r\n") + bare.rest()
    assert of_type(paused, PauseReading) == [PauseReading(ConnectionId(6))]
    assert bare.written(6) == b""

    resumed = bare.advance(STALL_NS) + bare.rest()
    assert of_type(resumed, ResumeReading) == [ResumeReading(ConnectionId(6))]
    assert bare.written(6) == b"PONG\r\n"


@pytest.mark.spec("client-protocol 15.3")
def test_a_client_is_not_paused_for_itself() -> None:
    server = World().server(max_pending=1000, max_payload=500)
    own = reader(server, window=0)

    own.send(MESSAGE * 7)

    assert own.is_open
    assert own.cid not in server.paused


@pytest.mark.spec("client-protocol 15.3")
def test_without_the_stall_a_receiver_that_is_far_behind_is_skipped_until_it_has_read() -> None:
    server = World().server(max_pending=1000, max_payload=500, fast_producer_stall=False)
    slow, publisher = reader(server, window=0), client_of(server)

    for _ in range(50):
        publisher.send(MESSAGE)
    assert slow.is_open
    assert publisher.cid not in server.paused
    slow.read(10_000)
    assert slow.take() == DELIVERED * 7
    publisher.send(MESSAGE)

    assert slow.take() == DELIVERED


@pytest.mark.spec("client-protocol 15.3", "client-protocol 9")
def test_without_the_stall_the_other_members_of_a_group_get_what_a_slow_one_cannot() -> None:
    server = World().server(max_pending=1000, max_payload=500, fast_producer_stall=False)
    slow, quick = reader(server, 0, b"SUB foo q 1\r\n"), reader(server, 1 << 30, b"SUB foo q 1\r\n")
    publisher = client_of(server)

    for _ in range(100):
        publisher.send(MESSAGE)
    slow.read(10_000)

    assert slow.take() == DELIVERED * 7
    assert quick.take() == DELIVERED * 93


@pytest.mark.spec("client-protocol 15.3", "client-protocol 10.4")
def test_a_receiver_that_is_skipped_is_no_responder() -> None:
    server = World().server(max_pending=1000, max_payload=500, fast_producer_stall=False)
    reader(server, window=0)
    requester = client_of(
        server,
        b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\nSUB r 1\r\n',
    )
    for _ in range(8):
        requester.send(MESSAGE)

    requester.send(b"PUB foo r 0\r\n\r\n")

    assert requester.take().startswith(b"HMSG r 1 35 35\r\nNATS/1.0 503\r\n")


# -- too much in all -------------------------------------------------------------------------------


def test_over_the_bound_of_memory_the_largest_goes_first() -> None:
    server = World().server(max_pending=20_000, max_payload=10_000, memory_max=10_000)
    small, large = reader(server, 0, b"SUB small 1\r\n"), reader(server, 0, b"SUB large 1\r\n")
    publisher = client_of(server, NO_ECHO)

    publisher.send(b"PUB small 3000\r\n" + b"x" * 3000 + b"\r\n")
    publisher.send(b"PUB large 6000\r\n" + b"x" * 6000 + b"\r\n")
    assert small.is_open
    assert large.is_open
    publisher.send(b"PUB small 2000\r\n" + b"x" * 2000 + b"\r\n")

    assert large.close_reason is CloseReason.MEMORY
    assert small.is_open
    assert large.take() == b""
    assert server.server.held_bytes < 6000
    assert [note.name for note in server.notes].count("memory_limit_cut") == 1
    assert server.state.slow_consumers == 1


def test_half_received_messages_count_as_memory() -> None:
    server = World().server(max_payload=10_000, max_pending=20_000, memory_max=10_000)
    clients = [client_of(server) for _ in range(4)]

    for size, client in zip((3000, 4000, 2500, 1000), clients, strict=True):
        client.send(b"PUB foo 9000\r\n" + b"x" * size)

    assert [client.close_reason for client in clients] == [None, CloseReason.MEMORY, None, None]
    assert server.server.held_bytes == 3000 + 2500 + 1000 + 3 * len(b"PUB foo 9000\r\n")


def test_as_many_go_as_must() -> None:
    server = World().server(max_payload=10_000, max_pending=20_000, memory_max=10_000)
    readers = [reader(server, 0) for _ in range(5)]

    client_of(server).send(b"PUB foo 4000\r\n" + b"x" * 4000 + b"\r\n")

    assert sum(one.is_open for one in readers) == 2
    assert server.server.held_bytes <= 10_000


def test_very_many_go_if_they_must() -> None:
    server = World().server(max_payload=10_000, max_pending=20_000, memory_max=20_000)
    readers = [reader(server, 0) for _ in range(100)]

    client_of(server).send(b"PUB foo 1000\r\n" + b"x" * 1000 + b"\r\n")

    assert sum(one.is_open for one in readers) == 19
    assert server.server.held_bytes <= 20_000


def test_a_connection_that_ends_gives_back_what_it_held() -> None:
    server = World().server()
    client = reader(server, 0)
    client.send(b"PUB foo 9000\r\n" + b"x" * 500)
    client_of(server).send(MESSAGE)
    assert server.server.held_bytes == 500 + len(b"PUB foo 9000\r\n") + len(DELIVERED)

    client.close()

    assert server.server.held_bytes == 0


def test_last_words_that_nobody_takes_are_dropped_when_memory_is_short() -> None:
    bare = BareServer(max_payload=1000, max_pending=20_000, memory_max=3000)
    for cid in (5, 6):
        bare.open(cid)
        bare.receive(cid, QUIET)
        bare.written(cid)
    bare.receive(5, b"SUB foo 1\r\n")
    bare.receive(6, b"PUB foo 1000\r\n" + b"x" * 1000 + b"\r\n")
    outbox = bare.server.state.connections[ConnectionId(5)].outbox
    bare.server.handle(WriteBlocked(at=bare.at, cid=ConnectionId(5), refused=outbox.size))
    bare.receive(6, b"PUB foo 1000\r\n" + b"x" * 1000 + b"\r\n")
    (close,) = of_type(bare.receive(5, b"BAD\r\n"), Close)
    assert close.flush
    assert outbox.size > 2000

    bare.receive(6, b"PUB bar 1000\r\n" + b"x" * 999)

    assert outbox.size == 0
    assert bare.server.held_bytes == 999 + len(b"PUB bar 1000\r\n")


# -- the contract of a shell -----------------------------------------------------------------------


def test_a_refusal_that_is_not_what_the_outbox_holds_breaks_the_contract() -> None:
    bare = BareServer()
    bare.open(5)

    with pytest.raises(UsageError, match="7 bytes refused, but the outbox holds"):
        bare.server.handle(WriteBlocked(at=bare.at, cid=ConnectionId(5), refused=7))


@pytest.mark.parametrize("event", [WriteBlocked, WriteProgressed])
def test_news_of_a_connection_that_is_gone_is_dropped(event: type[WriteBlocked]) -> None:
    bare = BareServer()

    assert bare.server.handle(event(at=bare.at, cid=ConnectionId(9), refused=7)) == []
    bare.open(5)
    bare.receive(5, b"BAD\r\n")
    assert bare.server.handle(event(at=bare.at, cid=ConnectionId(5), refused=7)) == []

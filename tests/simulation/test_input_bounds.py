"""What a client may make the server keep of input that is not complete: lines, blanks, payloads."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import pytest

from natscore.effects import Level, PauseReading
from natscore.errors import CloseReason
from natscore.events import BytesReceived
from natscore.options import SECOND
from natscore.testing import World
from tests.simulation.clients import quiet_client
from tests.support.pure import pure_source, pure_sublist

if TYPE_CHECKING:
    from natscore import cells
    from natscore.effects import Effect
    from natscore.events import Event
    from natscore.plane import Source
    from natscore.testing import ScriptedClient, SimulatedServer

CONTROL_LINE_MAX: Final = 4_096
READ_MAX: Final = 65_536


def source_of(server: SimulatedServer, client: ScriptedClient) -> Source:
    return server.state.connections[client.cid].source


def kept(source: cells.Source) -> int:
    """Bytes of memory that a source holds, overhead included."""
    return sys.getsizeof(source.buffer) + sum(map(sys.getsizeof, source.pieces)) + 8 * len(source.pieces)


# -- lines that do not end -------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 2.2")
@pytest.mark.parametrize("start", [b"PUB ", b"HPUB ", b"SUB ", b"UNSUB ", b"CONNECT ", b"INFO ", b"pub\t"])
@pytest.mark.parametrize("step", [1, 100, READ_MAX])
def test_line_that_never_ends_is_cut_at_the_limit_however_it_arrives(start: bytes, step: int) -> None:
    world = World(recording=False)
    server = world.server()
    client = quiet_client(server, hello=b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n')
    client.send(start)
    sent = most = 0

    while client.is_open and sent < 2 * READ_MAX:
        client.send(b"x" * step)
        sent += step
        if client.is_open:
            most = max(most, source_of(server, client).have)

    assert client.close_reason is CloseReason.MAX_CONTROL_LINE
    assert client.take() == b"-ERR 'maximum control line exceeded'\r\n"
    assert sent <= CONTROL_LINE_MAX + 1 or step == READ_MAX or sent - CONTROL_LINE_MAX <= step
    assert most <= CONTROL_LINE_MAX + len(start)
    assert server.server.held_bytes == 0


@pytest.mark.parametrize("start", [b"PUB", b"SUB", b"UNSUB", b"CONNECT", b"INFO", b"-ERR"])
@pytest.mark.parametrize("step", [1, 1_000, READ_MAX])
def test_endless_blanks_before_an_argument_are_not_kept(start: bytes, step: int) -> None:
    world = World(recording=False)
    server = world.server()
    client = quiet_client(server)
    client.send(start)

    for _ in range(200):
        client.send((b" \t" * step)[:step])
        assert source_of(server, client).have <= 128
        assert server.server.held_bytes <= 128

    assert client.is_open


@pytest.mark.parametrize("start", [b"PING", b"PONG", b"+OK", b"ping "])
@pytest.mark.parametrize("step", [1, 1_000, READ_MAX])
def test_endless_rest_of_a_line_that_does_not_matter_is_not_kept(start: bytes, step: int) -> None:
    """Only the ping timer ends such a client: it says nothing that counts."""
    world = World(recording=False)
    server = world.server(ping_interval_ns=SECOND)
    client = quiet_client(server)
    client.send(start)

    for _ in range(200):
        client.send(b"x" * step)
        assert source_of(server, client).have <= 128
        world.advance(SECOND // 50)
        if not client.is_open:
            break

    assert client.close_reason is CloseReason.STALE_CONNECTION
    assert client.take().endswith(b"PING\r\nPING\r\n-ERR 'Stale Connection'\r\n")


@pytest.mark.spec("client-protocol 1", "client-protocol 16")
@pytest.mark.parametrize("data", [b"C", b"CONNECT {", b"CONNECT" + b" " * 60, b"c o"])
def test_client_that_dribbles_instead_of_logging_in_is_cut_at_the_timeout(data: bytes) -> None:
    world = World(recording=False)
    server = world.server(token="secret")
    client = server.connect()

    for start in range(len(data)):
        if not client.is_open:
            break
        client.send(data[start : start + 1])
        world.advance(SECOND // 10)
    world.advance(2 * SECOND)

    assert client.close_reason in (CloseReason.AUTHENTICATION_TIMEOUT, CloseReason.PROTOCOL_VIOLATION)
    assert not client.is_open
    assert server.server.held_bytes == 0


# -- payloads --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.pure_plane
@pytest.mark.parametrize("step", [1, 2, 3, 600])
def test_payload_that_is_dribbled_is_held_once_and_copied_a_bounded_number_of_times(step: int) -> None:
    world = World(recording=False)
    server = world.server()
    client = quiet_client(server)
    client.send(b"SUB a 1\r\n")
    size = 1_048_576 if step > 3 else 65_536
    client.send(b"PUB a %d\r\n" % size)
    source = pure_source(source_of(server, client))
    joined = 0  # bytes that were moved from many blocks into one
    before = source.buffer

    for start in range(0, size, step):
        client.send(b"x" * min(step, size - start))
        if source.buffer is not before:
            joined += len(source.buffer)
            before = source.buffer
    overhead = kept(source) - source.have
    client.send(b"\r\n")

    assert joined <= 2 * size
    assert overhead <= size // 5 + 1_024
    assert client.take() == b"MSG a 1 %d\r\n" % size + b"x" * size + b"\r\n"
    assert source.have == 0


def test_payload_larger_than_announced_ends_the_connection_and_nobody_gets_any_of_it() -> None:
    world = World()
    server = world.server()
    listener = quiet_client(server)
    listener.send(b"SUB > 1\r\n")
    client = quiet_client(server)

    client.send(b"PUB a 2\r\nhi\r\nPUB a 2\r\n" + b"x" * 100_000)

    assert client.close_reason is CloseReason.PROTOCOL_VIOLATION
    assert client.take() == b"-ERR 'Unknown Protocol Operation'\r\n"
    assert listener.take() == b"MSG a 1 2\r\nhi\r\n"
    assert server.server.held_bytes == 0
    world.check()


def test_half_received_payloads_above_the_memory_bound_cut_the_largest_first() -> None:
    world = World()
    server = world.server(memory_max=1_000_000)
    publisher, listener = quiet_client(server), quiet_client(server)
    listener.send(b"SUB a 1\r\n")
    sizes = [300_000, 200_000, 250_000, 100_000, 160_000, 300_000]  # over the bound with the last two
    clients = [quiet_client(server) for _ in sizes]

    for client, size in zip(clients, sizes, strict=True):
        client.send(b"PUB a 500000\r\n" + b"x" * size)
        publisher.send(b"PUB a 6\r\n%d\r\n" % size)

    notes = [note for note in server.notes if note.name == "memory_limit_cut"]
    assert [note.fields["cid"] for note in notes] == [clients[0].cid, clients[5].cid]
    assert {note.level for note in notes} == {Level.WARNING}
    assert all(note.fields["limit"] == 1_000_000 for note in notes)
    assert [client.close_reason for client in clients] == [
        CloseReason.MEMORY, None, None, None, None, CloseReason.MEMORY,
    ]  # fmt: skip
    assert server.server.held_bytes <= 1_000_000
    assert listener.take() == b"".join(b"MSG a 1 6\r\n%d\r\n" % size for size in sizes)
    world.check()


def test_client_cut_for_memory_is_told_nothing_and_gives_its_memory_back() -> None:
    world = World()
    server = world.server(memory_max=100_000)
    client = quiet_client(server)

    client.send(b"PUB a 500000\r\n" + b"x" * 120_000)

    assert client.close_reason is CloseReason.MEMORY
    assert client.take() == b""
    assert server.server.held_bytes == 0
    assert not server.state.connections
    assert server.state.slow_consumers == 1
    world.check()


def test_client_that_did_not_log_in_and_is_cut_for_memory_is_no_slow_consumer() -> None:
    world = World()
    server = world.server(memory_max=1_000, token="secret")
    client = server.connect()

    client.send(b'CONNECT {"name":"' + b"x" * 1_500)

    assert client.close_reason is CloseReason.MEMORY
    assert server.state.slow_consumers == 0
    world.check()


def test_peer_that_sends_while_its_reading_is_paused_is_bounded_by_memory() -> None:
    """A shell that goes on reading hurts nobody but that peer."""
    world = World()
    server = world.server(memory_max=500_000, turn_output_max=100)
    listener = quiet_client(server)
    listener.send(b"SUB b 1\r\n")
    client = quiet_client(server)
    paused = False

    def go_on_reading(event: Event, effects: list[Effect]) -> None:
        nonlocal paused
        paused = paused or PauseReading(client.cid) in effects
        if paused and client.is_open:
            server.feed(BytesReceived(at=world.at, cid=client.cid, data=b"PUB a 0\r\n\r\n" * 5_000))

    server.on_event = go_on_reading
    client.send(b"PUB a 0\r\n\r\n" * 100)

    assert paused
    assert client.close_reason is CloseReason.MEMORY
    assert server.server.held_bytes == 0
    quiet_client(server).send(b"PUB b 2\r\nhi\r\n")
    assert listener.take() == b"MSG b 1 2\r\nhi\r\n"
    world.check()


# -- subjects and subscriptions --------------------------------------------------------------------


def test_subscription_of_thousands_of_tokens_comes_and_goes_without_recursion() -> None:
    world = World(recording=False)
    server = world.server()
    client = quiet_client(server)
    deep = b"*." * 2_040 + b"x"
    subject = b"a." * 2_040 + b"x"

    for _ in range(20):
        client.send(b"SUB " + deep + b" 1\r\nPUB " + subject + b" 2\r\nhi\r\nUNSUB 1\r\n")

    assert client.take() == (b"MSG " + subject + b" 1 2\r\nhi\r\n") * 20
    assert all(node.subject.startswith(b"$SYS.") for node in server.state.accounts["$G"].sublist.nodes())
    client.send(b"SUB " + deep + b"*. 2\r\n")
    assert client.take() == b"-ERR 'Invalid Subject'\r\n"
    client.send(b"SUB " + deep + b"." + deep + b" 3\r\n")
    assert client.close_reason is CloseReason.MAX_CONTROL_LINE


@pytest.mark.pure_plane
def test_deep_trie_of_a_client_that_left_is_taken_down() -> None:
    world = World(recording=False)
    server = world.server()
    client = quiet_client(server)
    client.send(b"".join(b"SUB %d." % n + b"*.a." * 1_000 + b"> %d\r\n" % n for n in range(50)))
    sublist = server.state.accounts["$G"].sublist
    assert server.state.accounts["$G"].subscriptions == 50

    client.reset()

    assert server.state.accounts["$G"].subscriptions == 0
    assert sublist.match(b"1." + b"b.a." * 1_000 + b"c") == []
    assert pure_sublist(sublist)._root.is_empty

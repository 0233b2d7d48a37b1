"""A real server on real sockets, as users of the package start it for their tests."""

from __future__ import annotations

import gc
import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import anyio
import pytest

from natscore.events import Address
from natscore.options import Options
from natscore_tcp import ListenError, Running, TransportSettings, serve, serve_in_thread
from tests.support.wire import RawClient
from tests.unit.transport_tcp.peer import SMALL_BUFFER, Peer, connected

if TYPE_CHECKING:
    from natscore.effects import Note
    from natscore_tcp import BackendName

HELLO = b'CONNECT {"verbose":false,"protocol":1}\r\n'


async def line(peer: Peer) -> bytes:
    """One line, its end included."""
    received = b""
    while not received.endswith(b"\n"):
        received += await peer.receive(1)
    return received


def at(running: Running) -> Address:
    """Where it listens."""
    return Address(running.host, running.port)


@pytest.mark.anyio
async def test_message_goes_from_publisher_to_subscriber() -> None:
    async with serve() as running:
        with connected(at(running)) as subscriber, connected(at(running)) as publisher:
            assert (await line(subscriber)).startswith(b'INFO {"server_id":"N')
            await subscriber.send(HELLO + b"SUB greet.* 9\r\nSUB other 10\r\n")
            await line(publisher)
            await publisher.send(HELLO + b"PUB greet.joe 5\r\nhello\r\n")
            assert await line(subscriber) == b"MSG greet.joe 9 5\r\n"
            assert await line(subscriber) == b"hello\r\n"


@pytest.mark.anyio
async def test_request_is_answered() -> None:
    async with serve() as running:
        with connected(at(running)) as service, connected(at(running)) as requester:
            await line(service)
            await service.send(HELLO + b"SUB add q 1\r\nPING\r\n")
            assert await line(service) == b"PONG\r\n"
            await line(service)  # INFO after the first PONG
            await line(requester)
            await requester.send(HELLO + b"SUB in 1\r\nPUB add in 3\r\n1+1\r\n")
            assert await line(service) == b"MSG add 1 in 3\r\n"
            assert await line(service) == b"1+1\r\n"
            await service.send(b"PUB in 1\r\n2\r\n")
            assert await line(requester) == b"MSG in 1 1\r\n"
            assert await line(requester) == b"2\r\n"


@pytest.mark.anyio
async def test_large_messages_reach_slow_and_fast_subscribers_whole() -> None:
    payload = bytes(range(256)) * 4096
    message = b"MSG big 1 1048576\r\n" + payload + b"\r\n"
    async with serve() as running:
        with (
            connected(at(running), receive_buffer=SMALL_BUFFER) as slow,
            connected(at(running)) as fast,
            connected(at(running)) as publisher,
        ):
            for peer in (slow, fast, publisher):
                await line(peer)
                await peer.send(HELLO)
            for peer in (slow, fast):
                await peer.send(b"SUB big 1\r\nPING\r\n")
                assert await line(peer) == b"PONG\r\n"
                await line(peer)
            for _ in range(8):
                await publisher.send(b"PUB big 1048576\r\n" + payload + b"\r\n")
                assert await fast.receive(len(message)) == message
            for _ in range(8):
                assert await slow.receive(len(message)) == message


@pytest.mark.anyio
@pytest.mark.spec("client-protocol 15.2")
async def test_slow_consumer_is_cut_off_without_a_word() -> None:
    notes: list[Note] = []
    options = Options(max_payload=1 << 20, max_pending=4 << 20)
    message = b"PUB big 1048576\r\n" + bytes(1 << 20) + b"\r\n"
    async with serve(options, note=notes.append) as running:
        with (
            connected(at(running), receive_buffer=SMALL_BUFFER) as slow,
            connected(at(running)) as publisher,
        ):
            await line(slow)
            await slow.send(HELLO + b"SUB big 1\r\nPING\r\n")
            assert await line(slow) == b"PONG\r\n"
            await line(publisher)
            await publisher.send(HELLO)
            with anyio.fail_after(10):
                while not any(note.name == "slow_consumer" for note in notes):
                    await publisher.send(message)
            await publisher.send(b"PING\r\n")
            assert await line(publisher) == b"PONG\r\n"
            with pytest.raises(ConnectionResetError):
                await slow.receive_all()


@pytest.mark.anyio
@pytest.mark.spec("client-protocol 12")
async def test_violation_is_the_last_thing_a_client_hears() -> None:
    async with serve() as running:
        with connected(at(running)) as peer:
            await line(peer)
            await peer.send(HELLO + b"NONSENSE\r\n" + b"PUB a 5\r\nhello\r\n" * 10_000)
            assert await peer.receive_all() == b"-ERR 'Unknown Protocol Operation'\r\n"


@pytest.mark.anyio
@pytest.mark.spec("operations 11")
async def test_clients_see_the_end_of_the_stream_when_the_server_ends() -> None:
    with ExitStack() as clients:
        async with serve() as running:
            peers = [clients.enter_context(connected(at(running))) for _ in range(20)]
            for peer in peers:
                assert (await line(peer)).startswith(b"INFO ")

        assert [await peer.receive_all() for peer in peers] == [b""] * 20


@pytest.mark.anyio
async def test_port_and_host_can_be_chosen() -> None:
    async with serve() as first, serve(host="localhost") as second:
        assert (first.host, second.host) == ("127.0.0.1", "localhost")
        assert first.url == f"nats://127.0.0.1:{first.port}"
        with pytest.raises(ListenError):
            async with serve(port=first.port):
                pass


@pytest.mark.anyio
async def test_failure_of_a_users_test_is_seen_as_it_is() -> None:
    with pytest.raises(AssertionError, match="not what I expected"):
        async with serve():
            raise AssertionError("not what I expected")


@pytest.mark.anyio
async def test_tuned_collector_ends_with_the_server() -> None:
    before = gc.get_threshold()
    async with serve(settings=TransportSettings(tune_gc=True)):
        within = gc.get_threshold()
    assert within[2] > 1_000_000
    assert gc.get_threshold() == before


@pytest.mark.parametrize(
    ("backend", "uvloop"), [("asyncio", False), ("asyncio", True), ("trio", False)], ids=str
)
def test_server_in_a_thread_serves_and_leaves_nothing_behind(backend: BackendName, uvloop: bool) -> None:
    threads = set(threading.enumerate())

    with serve_in_thread(Options(server_name="mine"), backend=backend, uvloop=uvloop) as running:
        client, info = RawClient.connect(running.host, running.port)
        with client:
            client.send(HELLO + b"SUB a 1\r\nPUB a 2\r\nhi\r\n")
            client.read_until(rb"MSG a 1 2\r\nhi\r\n")

    assert info["server_name"] == "mine"
    assert set(threading.enumerate()) == threads
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((running.host, running.port))


def test_exception_in_the_block_of_a_threaded_server_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"), serve_in_thread():
        raise KeyError("mine")


def test_notes_of_a_threaded_server_are_heard() -> None:
    notes: list[Note] = []

    with serve_in_thread(note=notes.append) as running, RawClient(running.host, running.port) as client:
        client.read_info()

    assert [note.name for note in notes[:2]] == ["data_plane", "client_connection_created"]

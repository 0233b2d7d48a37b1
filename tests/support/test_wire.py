"""The raw client against a socket of our own: what it takes, and that each wait ends."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final, TypeAlias

import pytest

from tests.support.wire import ConnectionEnded, RawClient, WireTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON: Final = 0.05  # for waits that must fail
Pair: TypeAlias = tuple[RawClient, socket.socket]
BIG: Final = bytes(8 * 1_048_576)  # more than two socket buffers hold


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listening:
        yield listening


@pytest.fixture
def pair(listener: socket.socket) -> Iterator[Pair]:
    """A client and the socket at its other end."""
    host, port, *_ = listener.getsockname()
    with RawClient(host, port) as client:
        accepted, _ = listener.accept()
        with accepted:
            yield client, accepted


def test_connecting_takes_the_info_line_and_leaves_the_rest(listener: socket.socket) -> None:
    host, port, *_ = listener.getsockname()
    with RawClient(host, port) as client:
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(b'INFO {"proto":1} \r\n-ERR')

            assert client.read_info() == b'INFO {"proto":1} \r\n'
            assert client.read_until(rb"-ERR") == b"-ERR"


def test_reading_takes_everything_up_to_the_end_of_the_match(pair: Pair) -> None:
    client, server = pair
    server.sendall(b"+OK\r\nMSG foo 1 2\r\nhi\r\nPONG\r\nPING\r\n")

    assert client.read_until(rb"MSG.*?PONG\r\n") == b"+OK\r\nMSG foo 1 2\r\nhi\r\nPONG\r\n"
    assert client.read_until(rb"\n") == b"PING\r\n"


def test_reading_what_never_comes_ends_and_takes_nothing(pair: Pair) -> None:
    client, server = pair
    server.sendall(b"PONG\r\n")

    with pytest.raises(WireTimeout, match=r"received b'PONG"):
        client.read_until(rb"MSG", SOON)

    assert client.read_until(rb"PONG\r\n") == b"PONG\r\n"


def test_reading_from_a_peer_that_closed_says_what_had_come(pair: Pair) -> None:
    client, server = pair
    server.sendall(b"-ERR 'x'\r\n")
    server.close()

    with pytest.raises(ConnectionEnded, match="-ERR 'x'"):
        client.read_until(rb"PONG")

    assert client.read_all_until_closed() == b"-ERR 'x'\r\n"


def test_peer_that_does_not_close_is_waited_for_only_so_long(pair: Pair) -> None:
    client, _ = pair

    with pytest.raises(WireTimeout, match="waiting for the server to close"):
        client.read_all_until_closed(SOON)


def test_reset_by_the_peer_counts_as_a_close(pair: Pair) -> None:
    client, server = pair
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()

    assert client.read_all_until_closed() == b""
    client.send(b"PING\r\n")  # what a closed server does not read is no error


def test_half_close_lets_the_peer_read_the_end_and_answer(pair: Pair) -> None:
    client, server = pair
    client.send(b"PING\r\n")
    client.half_close()

    assert server.recv(100) == b"PING\r\n"
    assert server.recv(100) == b""
    server.sendall(b"PONG\r\n")
    assert client.read_until(rb"\n") == b"PONG\r\n"


def test_reset_reaches_the_peer_as_an_error(pair: Pair) -> None:
    client, server = pair
    client.reset()

    with pytest.raises(ConnectionResetError):
        server.recv(100)


def test_sending_to_a_peer_that_does_not_read_ends(pair: Pair) -> None:
    client, _ = pair

    with pytest.raises(WireTimeout, match="still to be sent"):
        client.send(BIG, timeout=SOON)


def test_sending_reads_meanwhile_what_the_peer_says(pair: Pair) -> None:
    client, server = pair
    server.setblocking(False)
    said = server.send(BIG)

    with pytest.raises(WireTimeout):
        client.send(BIG, timeout=SOON)

    assert len(client.unread) > said // 2

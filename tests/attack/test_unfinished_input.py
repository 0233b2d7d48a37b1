"""Clients that begin something and do not finish it: they are cut in time, and hold little memory."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.attack.watch import (
    ASYNCIO,
    WAIT_MAX,
    Pinger,
    complaints,
    connected,
    memory,
    memory_at_most,
    nobody_waits,
    start,
    wait_until,
)
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from tests.support.servers import RunningServer, ServerProgram

MEGABYTE = 1_000_000


@pytest.mark.slow
@pytest.mark.spec("client-protocol 1:AWAIT_CONNECT", "client-protocol 11:authorization.timeout")
def test_a_thousand_logins_that_are_dribbled_are_cut_at_the_timeout_and_nobody_else_waits(
    program: ServerProgram,
) -> None:
    flags = ("--user", "u", "--pass", "pw", "--auth_timeout", "1s")
    with start(program, *flags) as server, Pinger(server, ',"user":"u","pass":"pw"') as pinger:
        before = memory(server)
        clients = [RawClient("127.0.0.1", server.port) for _ in range(1_000)]
        started = time.monotonic()
        for client in clients:
            client.send(b'CONNECT {"user":"u","pass":"' + b"x" * 4_000)
        while time.monotonic() - started < 0.8:
            for client in clients:
                client.send(b"x")
        said = {client.read_all_until_closed().partition(b"\r\n")[2] for client in clients}
        elapsed = time.monotonic() - started
        waits = pinger.waits()
        for client in clients:
            client.close()

        assert said == {b"-ERR 'Authentication Timeout'\r\n"}
        assert elapsed < 5.0
        assert memory_at_most(server) - before < 60 * MEGABYTE
        assert waits.p99 < WAIT_MAX
        assert len([line for line in complaints(server) if "Authentication Timeout" in line]) <= 3


def pour(server: RunningServer, first: bytes, block: bytes, seconds: float = 0.3) -> bytes:
    """Send at full speed until the server closes or the time is over; what it said after INFO."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        deadline = time.monotonic() + seconds
        with contextlib.suppress(ConnectionError):
            client.sendall(first)
            while time.monotonic() < deadline:
                client.sendall(block)
        client.setblocking(False)
        received = b""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while data := client.recv(65_536):
                received += data
    return re.sub(rb"INFO [^\n]*\n", b"", received)


@pytest.mark.spec("client-protocol 2.2", "client-protocol 2.3")
@pytest.mark.parametrize(
    ("first", "byte", "answer"),
    [
        (b"PUB ", b"a", b"-ERR 'maximum control line exceeded'\r\n"),
        (b"SUB ", b"a", b"-ERR 'maximum control line exceeded'\r\n"),
        (b"CONNECT {", b"a", b"-ERR 'maximum control line exceeded'\r\n"),
        (b"", b"\x00", b"-ERR 'Unknown Protocol Operation'\r\n"),
        (b"PUB ", b" ", b""),  # blanks before an argument, and what stands behind PING, count for nothing
        (b"PING ", b"a", b""),
    ],
    ids=["PUB", "SUB", "CONNECT", "no op", "blanks", "PING"],
)
def test_a_line_without_end_at_full_speed_holds_no_memory(first: bytes, byte: bytes, answer: bytes) -> None:
    with start(ASYNCIO) as server:
        connected(server).close()
        before = memory(server)

        waits = nobody_waits(server, lambda: pour(server, first, byte * 65_536))
        said = pour(server, first, byte * 65_536)

        assert said in (answer, b"")  # the end may come as a reset, which takes the last bytes with it
        assert memory_at_most(server) - before < 8 * MEGABYTE
        assert waits.answers > 1


@pytest.mark.spec("client-protocol 11:max_payload")
def test_a_payload_over_the_limit_is_refused_before_any_of_it_came(program: ServerProgram) -> None:
    with start(program, "--max_payload", "1000") as server, RawClient("127.0.0.1", server.port) as client:
        client.read_info()
        client.send(b"PUB foo 999999999\r\n")

        assert client.read_all_until_closed() == b"-ERR 'Maximum Payload Violation'\r\n"


def test_payloads_that_never_end_are_bounded_over_all_connections(program: ServerProgram) -> None:
    with start(program, "--memory_max", "20000000") as server:
        before = memory(server)
        clients = [RawClient("127.0.0.1", server.port) for _ in range(60)]
        for client in clients:
            client.send(b"PUB foo 1000000\r\n" + b"x" * 900_000)
        held = 20_000_000 // 900_020
        wait_until(lambda: sum(not is_closed(client) for client in clients) <= held, "more is held")
        stayed = sum(not is_closed(client) for client in clients)
        for client in clients:
            client.close()

        assert stayed > held // 2  # no more were cut than had to be, however their bytes came in between
        assert memory_at_most(server) - before < 60 * MEGABYTE
        assert any(
            re.search(r"Closed for holding \d+ bytes, the most of all", line) for line in complaints(server)
        )


def is_closed(client: RawClient) -> bool:
    """Whether the server has closed it. Reads what there is to read, without waiting."""
    while not client.ended and client.wait_for_input(0):
        pass
    return client.ended

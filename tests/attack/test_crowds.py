"""Crowds: storms of connections, clients that crash, and subscriptions by the hundred thousand."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.attack.watch import (
    ASYNCIO,
    QUIET,
    complaints,
    connected,
    descriptors,
    memory,
    memory_at_most,
    nobody_waits,
    start,
    wait_until,
)
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.servers import RunningServer, ServerProgram

MEGABYTE = 1_000_000


def crowd(server: RunningServer, count: int) -> None:
    """Clients that come, say something, and end in every way that TCP knows."""
    sayings = (
        b"",
        b"PING\r\n" * 100,
        QUIET + b"SUB a 1\r\nPUB a 3\r\nab",
        QUIET + b"SUB a 1\r\n" + b"PUB a 5\r\nhello\r\n" * 100,
        b"\x00" * 10_000,
        b"CONN",
    )
    endings: tuple[Callable[[RawClient], None], ...] = (
        RawClient.close,
        RawClient.reset,
        RawClient.half_close,
    )
    open_halves = []
    for _, saying, ending in zip(
        range(count), itertools.cycle(sayings), itertools.cycle(endings * 5 + endings[:1]), strict=False
    ):
        client = RawClient("127.0.0.1", server.port)
        client.send(saying)
        try:
            ending(client)
        except OSError:  # the server was quicker
            client.close()
        if not client.ended:
            open_halves.append(client)
    for client in open_halves:
        client.close()


def test_a_storm_of_connections_leaves_nothing_behind_and_nobody_waits(program: ServerProgram) -> None:
    with start(program) as server:
        crowd(server, 300)
        with connected(server):
            idle = descriptors(server) - 1
        wait_until(lambda: descriptors(server) <= idle, "connections are still open")
        before = memory(server)

        nobody_waits(server, lambda: crowd(server, 2_000))
        wait_until(lambda: descriptors(server) <= idle, "connections are still open")

        assert memory(server) - before < 3 * MEGABYTE
        assert all("Unknown Protocol Operation" in line for line in complaints(server))


CRASHING = """
import socket, sys, time
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client.sendall(b'CONNECT {"verbose":false}\\r\\nSUB foo 1\\r\\nPUB foo 1000000\\r\\n' + b"a" * 500_000)
print("sent", flush=True)
time.sleep(60)
"""


def test_clients_that_are_killed_in_the_middle_of_a_message_are_forgotten(program: ServerProgram) -> None:
    with start(program, "-D") as server:
        idle = descriptors(server)
        crashing = [
            subprocess.Popen(
                [sys.executable, "-S", "-c", CRASHING, str(server.port)], stdout=subprocess.PIPE, text=True
            )
            for _ in range(5)
        ]
        for process in crashing:
            assert process.stdout is not None
            assert process.stdout.readline() == "sent\n"
        for process in crashing:
            process.send_signal(signal.SIGKILL)
            process.communicate()

        wait_until(lambda: descriptors(server) == idle, "a killed client is still connected")
        with connected(server, b"SUB foo 1\r\nPUB foo 2\r\nhi\r\n"):
            pass
        assert server.log_text().count("Client connection closed: ") >= 5
        assert complaints(server) == []


# -- subscriptions ---------------------------------------------------------------------------------


def subscriptions(count: int) -> bytes:
    return b"".join(
        b"SUB orders.%d.new %d\r\n" % (n, n) if n % 2 else b"SUB orders.%d.* %d\r\n" % (n, n)
        for n in range(count)
    )


@pytest.mark.slow
def test_a_client_that_comes_and_leaves_with_many_subscriptions_keeps_nobody_waiting(
    program: ServerProgram,
) -> None:
    lines = subscriptions(100_000)
    with start(program, "-D") as server:

        def come_and_leave() -> None:
            with connected(server) as client:
                client.send(lines + b"PING\r\n", timeout=30)
                client.read_until(rb"PONG\r\n", 30)
            # whoever comes behind waits for a turn behind those of the withdrawal
            for _ in range(100_000 // 2_048):
                connected(server).close()

        nobody_waits(server, come_and_leave)

        assert complaints(server) == []


def test_subjects_that_match_a_thousand_patterns_each_fill_no_memory_and_stall_nobody() -> None:
    """Every subject matches all of {a,*}^9 and a subscription of its own: no two share a plan."""
    bits = 9
    patterns = [
        b".".join(b"*" if number >> bit & 1 else b"a" for bit in range(bits)) + b".>"
        for number in range(1 << bits)
    ]
    stem = b"a." * bits
    with start(ASYNCIO) as server:
        crowd = connected(server, b"".join(b"SUB %s %d\r\n" % (p, n) for n, p in enumerate(patterns)))
        crowd.send(b"".join(b"SUB %s%d x%d\r\n" % (stem, n, n) for n in range(1_000)) + b"PING\r\n")
        crowd.read_until(rb"PONG\r\n")
        publisher = connected(server, b'CONNECT {"echo":false}\r\n')
        before = memory(server)
        for first in range(0, 1_000, 50):
            publisher.send(
                b"".join(b"PUB %s%d 0\r\n\r\n" % (stem, n) for n in range(first, first + 50)) + b"PING\r\n"
            )
            publisher.read_until(rb"PONG\r\n", 30)
            crowd.send(b"PING\r\n")
            crowd.read_until(rb"PONG\r\n", 30)
        grown = memory_at_most(server) - before

        # one more subscription to a pattern of all of them voids every plan there is
        nobody_waits(server, lambda: connected(server, b"SUB %s 1\r\n" % patterns[5]).close())
        for client in (crowd, publisher):
            client.close()

        assert grown < 60 * MEGABYTE

"""Receivers that do not read, and messages that have very many of them."""

from __future__ import annotations

import re
import resource
from typing import TYPE_CHECKING

import pytest

from tests.attack.watch import Drain, complaints, connected, memory, memory_at_most, nobody_waits, start

if TYPE_CHECKING:
    from tests.support.servers import RunningServer, ServerProgram

MEGABYTE = 1_000_000
READ_MAX = 65_536


@pytest.mark.spec("client-protocol 15.2", "client-protocol 11:max_pending")
def test_a_client_that_never_reads_is_cut_once_and_costs_only_its_bound(program: ServerProgram) -> None:
    message = b"PUB foo.x 10000\r\n" + b"x" * 10_000 + b"\r\n"
    with start(program, "--max_pending", "8000000") as server:
        stuck = connected(server, b"SUB foo.* 1\r\n")
        reader = connected(server, b"SUB foo.x 2\r\n")
        publisher = connected(server)
        before = memory(server)

        def publish() -> None:
            for _ in range(20):
                publisher.send(message * 100 + b"PING\r\n")
                publisher.read_until(rb"PONG\r\n")
                reader.read_until(rb"(?:MSG foo.x 2 10000\r\nx{10000}\r\n){100}")

        nobody_waits(server, publish)
        log = server.log_text()
        for client in (stuck, reader, publisher):
            client.close()

        assert len(re.findall("Slow Consumer", log)) == 1
        assert f"MaxPending of {8_000_000} Exceeded" in log
        assert memory_at_most(server) - before < 24 * MEGABYTE


def test_over_the_bound_of_the_process_who_holds_most_is_cut_and_the_log_says_why(
    program: ServerProgram,
) -> None:
    with start(program, "--memory_max", "12000000") as server:
        stuck = [connected(server, b"SUB foo.%d 1\r\n" % number) for number in range(4)]
        publisher = connected(server)
        for _ in range(80):
            publisher.send(
                b"".join(
                    (b"PUB foo.%d 100000\r\n" % number + b"x" * 100_000 + b"\r\n") * (number + 1)
                    for number in range(4)
                )
                + b"PING\r\n"
            )
            publisher.read_until(rb"PONG\r\n")
        cut = [
            re.search(r"cid:(\d+) - .*Closed for holding (\d+) bytes", line) for line in complaints(server)
        ]
        for client in (*stuck, publisher):
            client.close()

        cids = [int(found[1]) for found in cut if found is not None]
        assert cids == sorted(cids, reverse=True)  # the fourth got four times what the first got
        assert 2 <= len(cids) <= 4
        assert all("memory_max 12000000" in line for line in complaints(server))


# -- very many of them -----------------------------------------------------------------------------


def publish(server: RunningServer, message: bytes, times: int) -> None:
    with connected(server) as publisher:
        publisher.send(message * times + b"PING\r\n", timeout=30)
        publisher.read_until(rb"PONG\r\n", 30)


def test_a_mebibyte_to_two_hundred_subscribers_holds_one_copy_and_nobody_waits(
    program: ServerProgram,
) -> None:
    size = 1_048_576
    with start(program) as server, Drain(server, 200) as drain:
        before = memory(server)
        attempts: list[None] = []

        def act() -> None:
            attempts.append(None)
            publish(server, b"PUB foo %d\r\n" % size + b"x" * size + b"\r\n", 3)

        nobody_waits(server, act)
        drain.finish(b"MSG foo 1 %d\r\n" % size + b"x" * size + b"\r\n", 3 * len(attempts))

        assert memory_at_most(server) - before < 40 * MEGABYTE


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_full_read_of_small_messages_to_five_thousand_subscribers_lets_others_be_served(
    program: ServerProgram,
) -> None:
    message = b"PUB foo 16\r\n0123456789abcdef\r\n"
    times = READ_MAX // len(message)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(5_000, most - 500)
    with start(program) as server, Drain(server, count) as drain:
        before = memory(server)
        attempts: list[None] = []

        def act() -> None:
            attempts.append(None)
            publish(server, message, times)

        waits = nobody_waits(server, act)
        drain.finish(b"MSG foo 1 16\r\n0123456789abcdef\r\n", times * len(attempts))

        assert waits.answers > 10
        assert memory_at_most(server) - before < 64 * MEGABYTE

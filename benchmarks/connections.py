"""Connections that come and go: how many a second, and how long until all are back after a restart."""

from __future__ import annotations

import errno
import select
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.children import BUILD_SECONDS_MAX, Child, ProcessorTime, answer
from benchmarks.client import CONNECT_LINE, SILENCE_SECONDS, Address, RunFailure, allow_open_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.children import Pipe

__all__ = ["ConnectionTimes", "Returning", "returning", "run_connections"]

HELLO: Final = CONNECT_LINE + b"PING\r\n"
READ_BYTES: Final = 16_384
SPARE_FILES: Final = 100
ALL_SECONDS_MAX: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionTimes:
    """How many connections were served, and how long that took."""

    connections: int
    seconds: float
    cpu_seconds: float
    load_cpu_seconds: float
    others_cpu_share: float


def run_connections(
    address: Address,
    passes: list[int],
    in_flight: int,
    *,
    cpu_clock: Callable[[], float] = time.process_time,
    silence_seconds: float = SILENCE_SECONDS,
) -> list[ConnectionTimes]:
    """Connect, read INFO, send CONNECT and PING, read PONG, close: so often in each of `passes`.

    `in_flight` connections are open at any time. Raises RunFailure.
    """
    with Child(_come_and_go, in_flight, address, silence_seconds) as child:
        answer(child, BUILD_SECONDS_MAX, [child])
        results = []
        for connections in passes:
            before = ProcessorTime.read(cpu_clock, [child])
            child.order(connections)
            seconds: float = answer(child, ALL_SECONDS_MAX, [child])
            after = ProcessorTime.read(cpu_clock, [child])
            results.append(
                ConnectionTimes(
                    connections=connections,
                    seconds=seconds,
                    cpu_seconds=after.server - before.server,
                    load_cpu_seconds=after.load - before.load,
                    others_cpu_share=after.others_share_since(before),
                )
            )
        return results


class Returning:
    """Clients in another process that are connected, and will come back."""

    def __init__(self, child: Child) -> None:
        """`child` is connected."""
        self._child = child

    def come_back(self) -> float:
        """All connect at once; the seconds until the last one has its PONG."""
        self._child.order("come back")
        seconds: float = answer(self._child, ALL_SECONDS_MAX, [self._child])
        return seconds


@contextmanager
def returning(count: int, address: Address, silence_seconds: float = SILENCE_SECONDS) -> Iterator[Returning]:
    """A process with `count` clients that are logged in."""
    with Child(_stay_and_come_back, count, address, silence_seconds) as child:
        answer(child, BUILD_SECONDS_MAX, [child])
        yield Returning(child)


def _come_and_go(in_flight: int, address: Address, silence_seconds: float, pipe: Pipe) -> None:
    """The process of clients that do not stay."""
    pipe.send("ready")
    while True:
        count: int = pipe.recv()
        began = time.perf_counter()
        _log_in(count, in_flight, address, silence_seconds, keep=False)
        pipe.send(time.perf_counter() - began)


def _stay_and_come_back(count: int, address: Address, silence_seconds: float, pipe: Pipe) -> None:
    """The process of clients that see their server restart."""
    allow_open_files(count + SPARE_FILES)
    old = _log_in(count, 50, address, silence_seconds, keep=True)
    pipe.send("ready")
    while True:
        pipe.recv()
        for connection in old:
            _expect_end(connection)
        began = time.perf_counter()
        old = _log_in(count, count, address, silence_seconds, keep=True)
        pipe.send(time.perf_counter() - began)


def _expect_end(connection: socket.socket) -> None:
    """The server that has stopped has closed this connection."""
    with connection:
        try:
            while connection.recv(READ_BYTES):
                pass
        except BlockingIOError:
            raise RunFailure("a connection of a server that has ended is open") from None
        except OSError:
            pass  # reset


def _log_in(
    count: int, in_flight: int, address: Address, silence_seconds: float, *, keep: bool
) -> list[socket.socket]:
    """Log `count` connections in, `in_flight` of them at the same time; those that stay open."""
    kept: list[socket.socket] = []
    greeted: set[int] = set()
    flying: dict[int, socket.socket] = {}
    partial: dict[int, bytes] = {}
    left = count
    with select.epoll(in_flight) as poller:

        def start() -> None:
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            descriptor = connection.fileno()
            flying[descriptor] = connection
            if (code := connection.connect_ex(address)) not in (0, errno.EINPROGRESS):
                raise RunFailure(f"no connection: {errno.errorcode.get(code, code)}")
            poller.register(descriptor, select.EPOLLIN)

        for _ in range(min(in_flight, left)):
            start()
            left -= 1
        while flying:
            ready = poller.poll(silence_seconds)
            if not ready:
                raise RunFailure(f"{len(flying)} of {count} connections got nothing for {silence_seconds} s")
            for descriptor, _ in ready:
                connection = flying[descriptor]
                data = partial.pop(descriptor, b"") + _received(connection)
                if descriptor not in greeted:
                    if not data.endswith(b"\r\n"):
                        partial[descriptor] = data
                        continue
                    if not data.startswith(b"INFO "):
                        raise RunFailure(f"INFO expected, {data[:80]!r} received")
                    greeted.add(descriptor)
                    connection.send(HELLO)
                    continue
                # Later servers say INFO once more behind the first PONG.
                if not data.startswith(b"PONG\r\n"):
                    if b"-ERR" in data:
                        raise RunFailure(f"the server says {data.decode(errors='replace').strip()}")
                    partial[descriptor] = data
                    continue
                greeted.discard(descriptor)
                del flying[descriptor]
                if keep:
                    poller.unregister(descriptor)
                    kept.append(connection)
                else:
                    connection.close()
                if left:
                    start()
                    left -= 1
    return kept


def _received(connection: socket.socket) -> bytes:
    try:
        data = connection.recv(READ_BYTES)
    except OSError as error:
        raise RunFailure(f"connection closed before its PONG: {error}") from error
    if not data:
        raise RunFailure("connection closed before its PONG")
    return data

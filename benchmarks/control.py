"""What events cost that carry next to nothing: connections, subscriptions, one small message at a time.

    python -m benchmarks.control [--rows event,login,...] [--servers ours,asyncio,go] [--profile ROW]

Rows in this process, through `Server.handle` alone (the best of a few batches):

    event          a chunk with one message of 16 B, from one client to another
    login          a connection: opened, CONNECT and PING, closed by the peer
    subscriptions  a line SUB or UNSUB, in chunks of 64 KiB

Rows on sockets, against a server process of its own (our command with uvloop when that is
installed, our runtime on plain asyncio, or the Go server that is found first):

    relay          one message of 16 B from one client to another, one at a time
    connections    connect, INFO, CONNECT and PING, PONG, close; 64 at a time
    reconnect      5,000 clients that connect at once, and stay until all have their PONG

The client of the last two is one process of Python and takes part of the time that is shown;
`cpu` is the server's own. Everything is bounded in count: a row takes a few seconds.
`--profile` prints where one of the first three rows spends its time, under cProfile.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import pstats
import resource
import select
import socket
import sys
import time
from typing import TYPE_CHECKING, Final

from tests.support.servers import ServerProgram, programs, start

from benchmarks.process import cpu_seconds
from natscore.events import (
    Address,
    BytesReceived,
    ConnectionClosed,
    ConnectionId,
    ConnectionKind,
    ConnectionOpened,
    PeerClosing,
    ServerStarted,
    TurnGranted,
)
from natscore.server import Server
from natscore_tcp.contract import now

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

CONNECT: Final = (
    b'CONNECT {"verbose":false,"pedantic":false,"lang":"py","version":"1","protocol":1}\r\nPING\r\n'
)
REMOTE: Final = Address("127.0.0.1", 40_000)
BATCHES: Final = 5
EVENTS: Final = 20_000
LOGINS: Final = 3_000
SUBSCRIPTION_CHUNKS: Final = 10
CHUNK_BYTES: Final = 65_536
RELAYED: Final = 20_000
CONNECTIONS: Final = 5_000
IN_FLIGHT: Final = 64
SECONDS_MAX: Final = 60.0
PATIENCE: Final = 5.0  # seconds without any answer


# -- in this process -------------------------------------------------------------------------------


class Alone:
    """A server without sockets: events in, outboxes emptied."""

    def __init__(self) -> None:
        self.server = Server()
        self.server.handle(ServerStarted(at=now(), server_id="N" + "A" * 55, seed=7, runtime="python3.11.0"))
        self._last_cid = 4

    def open(self) -> ConnectionId:
        """One more connection."""
        self._last_cid += 1
        cid = ConnectionId(self._last_cid)
        self.server.handle(ConnectionOpened(at=now(), cid=cid, kind=ConnectionKind.CLIENT, remote=REMOTE))
        self.drain()
        return cid

    def receive(self, cid: ConnectionId, data: bytes) -> None:
        """Bytes of one connection; what they cause is written at once."""
        self.server.handle(BytesReceived(at=now(), cid=cid, data=data))
        self.drain()
        while not self.server.is_quiet:
            self.server.handle(TurnGranted(at=now()))
            self.drain()

    def close(self, cid: ConnectionId) -> None:
        """The peer closes its side."""
        self.server.handle(ConnectionClosed(at=now(), cid=cid, why=PeerClosing.END_OF_STREAM))
        self.drain()

    def drain(self) -> None:
        """Take everything that is ready."""
        for outbox in self.server.ready:
            outbox.advance(outbox.size)
        self.server.next_deadline()


def event_row() -> tuple[Callable[[], None], int]:
    """One small message a chunk."""
    alone = Alone()
    publisher, subscriber = alone.open(), alone.open()
    alone.receive(publisher, CONNECT)
    alone.receive(subscriber, CONNECT + b"SUB a.subject 1\r\n")

    def act() -> None:
        for _ in range(EVENTS):
            alone.receive(publisher, b"PUB a.subject 16\r\n0123456789abcdef\r\n")

    return act, EVENTS


def login_row() -> tuple[Callable[[], None], int]:
    """Whole connections."""
    alone = Alone()

    def act() -> None:
        for _ in range(LOGINS):
            cid = alone.open()
            alone.receive(cid, CONNECT)
            alone.close(cid)

    return act, LOGINS


def subscriptions_row() -> tuple[Callable[[], None], int]:
    """Subscriptions that come and go beside two that stay."""
    alone = Alone()
    cid = alone.open()
    alone.receive(cid, CONNECT + b"SUB a.subject 1\r\nSUB another.subject 2\r\n")
    lines: list[bytes] = []
    size = number = 0
    while size < CHUNK_BYTES - 100:
        number += 1
        lines += [
            b"SUB _INBOX.abcdefghijk.%d %d\r\n" % (number, number + 10),
            b"UNSUB %d\r\n" % (number + 10),
        ]
        size += len(lines[-1]) + len(lines[-2])
    chunk = b"".join(lines)

    def act() -> None:
        for _ in range(SUBSCRIPTION_CHUNKS):
            alone.receive(cid, chunk)

    return act, SUBSCRIPTION_CHUNKS * len(lines)


ALONE: Final[dict[str, Callable[[], tuple[Callable[[], None], int]]]] = {
    "event": event_row,
    "login": login_row,
    "subscriptions": subscriptions_row,
}


def measure_alone(name: str) -> str:
    """The best batch, in microseconds of this process for one unit."""
    act, count = ALONE[name]()
    best = float("inf")
    for _ in range(BATCHES):
        before = time.process_time_ns()
        act()
        best = min(best, (time.process_time_ns() - before) / count / 1_000)
    return f"{best:8.2f} us"


def profile(name: str) -> None:
    """Print the most expensive functions of one row."""
    act, _ = ALONE[name]()
    profiler = cProfile.Profile()
    profiler.runcall(act)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


# -- on sockets ------------------------------------------------------------------------------------


def relay(address: tuple[str, int]) -> tuple[int, float]:
    """How many messages went from one client to another, one at a time, in how many seconds."""
    with socket.create_connection(address) as publisher, socket.create_connection(address) as subscriber:
        for sock in (publisher, subscriber):
            sock.settimeout(PATIENCE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        subscriber.sendall(CONNECT + b"SUB a.subject 1\r\nPING\r\n")
        publisher.sendall(CONNECT)
        _until(subscriber, b"PONG\r\n", 2)
        _until(publisher, b"PONG\r\n", 1)
        time.sleep(0.1)  # INFO behind the first PONG has arrived; not part of what is measured
        for sock in (publisher, subscriber):
            with contextlib.suppress(BlockingIOError):
                sock.recv(CHUNK_BYTES, socket.MSG_DONTWAIT)
        begun = time.perf_counter()
        for _ in range(RELAYED):
            publisher.send(b"PUB a.subject 16\r\n0123456789abcdef\r\n")
            if not subscriber.recv(CHUNK_BYTES):
                raise SystemExit("the server has closed a connection")
        return RELAYED, time.perf_counter() - begun


def _until(sock: socket.socket, word: bytes, times: int) -> None:
    heard = b""
    while heard.count(word) < times:
        heard += sock.recv(CHUNK_BYTES)


def connections(address: tuple[str, int]) -> tuple[int, float]:
    """Connections that log in and close at once."""
    return _connect(address, in_flight=IN_FLIGHT, stay=False)


def reconnect(address: tuple[str, int]) -> tuple[int, float]:
    """Connections that come all at once, and stay."""
    return _connect(address, in_flight=CONNECTIONS, stay=True)


def _connect(address: tuple[str, int], *, in_flight: int, stay: bool) -> tuple[int, float]:
    poll = select.epoll()
    by_descriptor: dict[int, tuple[socket.socket, list[bytes]]] = {}
    staying: list[socket.socket] = []
    started = finished = 0
    begun = time.perf_counter()
    while finished < CONNECTIONS:
        while started < CONNECTIONS and len(by_descriptor) < in_flight:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect_ex(address)
            poll.register(sock, select.EPOLLIN)
            by_descriptor[sock.fileno()] = sock, []
            started += 1
        ready = poll.poll(PATIENCE)
        if not ready or time.perf_counter() - begun > SECONDS_MAX:
            raise SystemExit(f"after {finished} of {CONNECTIONS} connections nothing came any more")
        for descriptor, _ in ready:
            sock, heard = by_descriptor[descriptor]
            data = sock.recv(CHUNK_BYTES)
            if not data:
                raise SystemExit("the server has closed a connection")
            if not heard:
                sock.send(CONNECT)
            heard.append(data)
            if b"PONG\r\n" in b"".join(heard):
                finished += 1
                poll.unregister(descriptor)
                del by_descriptor[descriptor]
                if stay:
                    staying.append(sock)
                else:
                    sock.close()
    took = time.perf_counter() - begun
    for sock in staying:
        sock.close()
    poll.close()
    return CONNECTIONS, took


ON_SOCKETS: Final[dict[str, Callable[[tuple[str, int]], tuple[int, float]]]] = {
    "relay": relay,
    "connections": connections,
    "reconnect": reconnect,
}


def measure_on_sockets(name: str, program: ServerProgram) -> str:
    """Units a second, and the server's processor time for one."""
    with start(program) as server:
        cpu = cpu_seconds(server.pid)
        count, took = ON_SOCKETS[name]((server.host, server.port))
        time.sleep(0.05)  # what the server does for connections that have just closed is its work too
        cpu = cpu_seconds(server.pid) - cpu
    return f"{count / took:8,.0f} /s   {took / count * 1e6:7.1f} us each   cpu {cpu / count * 1e6:6.1f} us"


def program_named(name: str) -> ServerProgram:
    """The server of one column."""
    if name == "asyncio":
        command = (sys.executable, "-m", "natscore_cli", "--uvloop=false")
        return ServerProgram("asyncio", command, "ours", None)
    return next(one for one in programs() if one.kind == name)


def main() -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.control", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rows", default=",".join((*ALONE, *ON_SOCKETS)))
    parser.add_argument("--servers", default="ours,go")
    parser.add_argument("--profile", choices=tuple(ALONE))
    options = parser.parse_args()
    if options.profile:
        profile(options.profile)
        return 0
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for row in options.rows.split(","):
        if row in ALONE:
            print(f"{row:14} {'':8} {measure_alone(row)}", flush=True)
            continue
        for server in options.servers.split(","):
            print(f"{row:14} {server:8} {measure_on_sockets(row, program_named(server))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

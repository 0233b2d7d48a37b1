"""Load generators: processes with raw sockets that send and check prebuilt blocks.

Publishers share one process and subscribers another; each is a loop over
non-blocking sockets that moves blocks of 64 KiB and more, so that a generator does a
few system calls and one comparison where a server does thousands of messages.
`benchmarks/ceilings.py` measures how fast they are without a server.

A measurement is a series of passes over the same connections (the first ones warm
the server up):

    coordinator             publishers               subscribers
    pass ───────────────────► blocks until time is over
                            PING, PONG: all was taken
         ◄──── counts ──────
         ───── counts ───────────────────────────────► PING, PONG: all was delivered
         ◄──── end of the last message, or what is wrong ──

The PONG of a subscriber comes behind everything the server has for it, so a missing
message is known without waiting for it. A closed connection, silence and an -ERR end
a measurement with RunFailure at once.
"""

from __future__ import annotations

import json
import multiprocessing
import secrets
import selectors
import socket
import struct
import time
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, cast

from benchmarks.process import cpu_seconds, machine_cpu_seconds
from benchmarks.streams import (
    CHUNK_BYTES_MAX,
    CONTROL_LINE,
    Receiver,
    StreamFault,
    Traffic,
    delivered_ring,
    published_ring,
    receiver,
    subscriptions,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

__all__ = [
    "Address",
    "RequestTimes",
    "RunFailure",
    "TrafficTimes",
    "connect",
    "run_requests",
    "run_traffic",
]

Address: TypeAlias = tuple[str, int]

SILENCE_SECONDS: Final = 5.0
"""How long a server may do nothing while something is expected of it."""

BUILD_SECONDS_MAX: Final = 60.0  # start an interpreter, build the rings, connect
VERIFY_SECONDS_MAX: Final = 60.0  # take apart what was kept

STEP_BYTES: Final = 65_536
"""A publisher looks at the clock after about so many bytes."""

REQUESTS_MAX: Final = 100_000
REPLY_DIGITS: Final = 8
INBOX_HEX_BYTES: Final = 11  # 22 characters, as client libraries write
SERVICE: Final = b"bench.service"

CONNECT: Final = {
    "verbose": False,
    "pedantic": False,
    "echo": True,
    "headers": True,
    "no_responders": False,
    "protocol": 1,
    "lang": "raw",
    "version": "1",
    "name": "benchmark",
}


class RunFailure(Exception):
    """The run does not count: a message is missing, a connection was closed, a server is silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficTimes:
    """One pass: how much, and how long from the first byte sent to the last one received."""

    messages: int  # delivered; published if nobody subscribes
    seconds: float
    cpu_seconds: float  # of the server
    load_cpu_seconds: float  # of publishers and subscribers
    others_cpu_share: float  # processors that were busy with neither: with other work on this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTimes:
    """One pass of requests, one at a time."""

    seconds: list[float]  # of each request, in order
    cpu_seconds: float
    others_cpu_share: float


def run_traffic(
    traffic: Traffic,
    address: Address,
    passes: Sequence[float],
    *,
    cpu_clock: Callable[[], float] = time.process_time,
    silence_seconds: float = SILENCE_SECONDS,
) -> list[TrafficTimes]:
    """Put `traffic` on the server at `address`, for each of `passes` that many seconds.

    `cpu_clock` reads the processor time of the server. Raises RunFailure.
    """
    with ExitStack() as stack:
        receiving = (
            stack.enter_context(_Child(_receive, traffic, address, silence_seconds))
            if traffic.subscribers
            else None
        )
        publishing = stack.enter_context(_Child(_publish, traffic, address, silence_seconds))
        children = [child for child in (receiving, publishing) if child]
        for child in children:
            _answer(child, BUILD_SECONDS_MAX, children)
        results = []
        for seconds in passes:
            pass_seconds_max = 20 * (seconds + silence_seconds)
            before = _ProcessorTime.read(cpu_clock, children)
            for child in children:
                child.order(seconds)
            published: _Published = _answer(publishing, pass_seconds_max, children)
            ended_ns = published.ended_ns
            messages = sum(published.counts)
            if receiving:
                receiving.order(published.counts)
                ended_ns = _answer(receiving, pass_seconds_max, children)
                messages *= traffic.deliveries_per_message
            after = _ProcessorTime.read(cpu_clock, children)
            if receiving:
                _answer(receiving, VERIFY_SECONDS_MAX, children)
            results.append(
                TrafficTimes(
                    messages=messages,
                    seconds=(ended_ns - published.began_ns) / 1e9,
                    cpu_seconds=after.server - before.server,
                    load_cpu_seconds=after.load - before.load,
                    others_cpu_share=after.others_share_since(before),
                )
            )
        return results


def run_requests(
    payload_bytes: int,
    address: Address,
    passes: Sequence[float],
    *,
    cpu_clock: Callable[[], float] = time.process_time,
    silence_seconds: float = SILENCE_SECONDS,
) -> list[RequestTimes]:
    """Send requests one after the other to one responder, for each of `passes` that many seconds.

    Every request has a reply subject that was never used, below the one wildcard
    inbox of the requester. Raises RunFailure.
    """
    with (
        _Child(_respond, payload_bytes, address, silence_seconds) as responding,
        _Child(_request, payload_bytes, address, silence_seconds) as requesting,
    ):
        children = [responding, requesting]
        for child in children:
            _answer(child, BUILD_SECONDS_MAX, children)
        results = []
        for seconds in passes:
            before = _ProcessorTime.read(cpu_clock, children)
            requesting.order(seconds)
            times: list[float] = _answer(requesting, 20 * (seconds + silence_seconds), children)
            after = _ProcessorTime.read(cpu_clock, children)
            results.append(
                RequestTimes(
                    seconds=times,
                    cpu_seconds=after.server - before.server,
                    others_cpu_share=after.others_share_since(before),
                )
            )
        return results


def connect(
    address: Address, *subscribed: tuple[bytes, ...], timeout: float = SILENCE_SECONDS
) -> socket.socket:
    """A blocking socket that is logged in and subscribed; its server has answered a PING.

    `subscribed` are the arguments of SUB lines.
    """
    try:
        connection = socket.create_connection(address, timeout)
    except OSError as error:
        raise RunFailure(f"no connection: {error}") from error
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _read_line(connection, b"INFO ")
        lines = [b"CONNECT " + json.dumps(CONNECT).encode(), *(b"SUB " + b" ".join(s) for s in subscribed)]
        connection.sendall(b"".join(line + b"\r\n" for line in [*lines, b"PING"]))
        _read_line(connection, b"PONG")
        # A deadline of the kernel costs nothing per call; that of Python is one more system call.
        connection.settimeout(None)
        deadline = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, deadline)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, deadline)
    except OSError as error:
        connection.close()
        raise RunFailure(f"the connection ended before the first PONG: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _read_line(connection: socket.socket, wanted: bytes) -> None:
    """Read up to the end of a line that starts with `wanted`; INFO lines behind it are dropped."""
    received = b""
    while not received.endswith(b"\r\n") or not any(
        line.startswith(wanted) for line in received.split(b"\r\n")
    ):
        if b"-ERR" in received:
            raise RunFailure(f"the server says {received.decode(errors='replace').strip()}")
        data = connection.recv(65_536)
        if not data:
            raise RunFailure(f"closed before {wanted.decode()} was received")
        received += data


# Between the processes


@dataclass(frozen=True, slots=True)
class _Failed:
    """What ends the measurement, as a child tells it."""

    text: str


@dataclass(frozen=True, slots=True)
class _Published:
    counts: list[int]  # by publisher
    began_ns: int  # of the monotonic clock, which all processes share
    ended_ns: int


if TYPE_CHECKING:
    Pipe: TypeAlias = Connection[Any, Any]


class _Child:
    """A load process: orders go to it, answers come from it in the order they were sent."""

    def __init__(self, work: Callable[..., None], *arguments: object) -> None:
        """Start a process that runs `work(*arguments, pipe)`."""
        context = multiprocessing.get_context("spawn")  # fork would copy what the coordinator holds
        self.name = work.__name__.strip("_")
        self.pipe: Pipe
        self.pipe, theirs = context.Pipe()
        self.answers: deque[Any] = deque()
        self._process = context.Process(
            target=_run_child, args=(work, arguments, theirs), name=self.name, daemon=True
        )
        self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def order(self, order: object) -> None:
        """Say what to do next; the failure of a process that has ended is raised."""
        try:
            self.pipe.send(order)
        except OSError:
            while True:
                self.receive()

    def receive(self) -> None:
        """Take an answer out of the pipe; a failure is raised."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            raise RunFailure(f"the process that should {self.name} has ended") from None
        if isinstance(answer, _Failed):
            raise RunFailure(answer.text)
        self.answers.append(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        self._process.terminate()  # it holds nothing but sockets
        self._process.join()
        self._process.close()


@dataclass(frozen=True, slots=True)
class _ProcessorTime:
    """Seconds of processor time up to now, by who has used them."""

    at: float
    server: float
    load: float
    machine: float

    @classmethod
    def read(cls, cpu_clock: Callable[[], float], children: list[_Child]) -> Self:
        """Read all clocks."""
        load = sum(cpu_seconds(child.pid) for child in children)
        return cls(time.monotonic(), cpu_clock(), load, machine_cpu_seconds())

    def others_share_since(self, before: _ProcessorTime) -> float:
        """How many processors were busy with other work than ours."""
        own = self.server - before.server + self.load - before.load
        return max(self.machine - before.machine - own, 0.0) / (self.at - before.at)


def _answer(child: _Child, seconds: float, children: list[_Child]) -> Any:
    """The next answer of `child`. A failure of any of `children` is one of the run."""
    by_pipe = {one.pipe: one for one in children}
    deadline = time.monotonic() + seconds
    while not child.answers:
        ready = wait(list(by_pipe), max(deadline - time.monotonic(), 0.0))
        if not ready:
            raise RunFailure(f"{child.name}: not finished within {seconds:.0f} s")
        for pipe in ready:
            by_pipe[cast("Pipe", pipe)].receive()
    return child.answers.popleft()


def _run_child(work: Callable[..., None], arguments: tuple[object, ...], pipe: Pipe) -> None:
    try:
        work(*arguments, pipe)
    except (RunFailure, StreamFault) as failure:
        pipe.send(_Failed(str(failure)))
    except OSError as error:
        with suppress(OSError):  # it may be the pipe that has failed
            pipe.send(_Failed(f"a connection failed: {error}"))
    except (EOFError, KeyboardInterrupt):
        pass  # the coordinator has ended, or is about to


# Publishing


class _Publisher:
    """One publishing connection: where it is in its ring, and whether the server took everything."""

    def __init__(self, traffic: Traffic, number: int, address: Address, silence_seconds: float) -> None:
        """Build the ring and connect."""
        ring = published_ring(traffic, number)
        per_message = len(ring) // traffic.ring_messages
        step_messages = max(STEP_BYTES // per_message, 1)
        view = memoryview(ring)
        self._steps = [
            view[start : start + step_messages * per_message]
            for start in range(0, len(ring), step_messages * per_message)
        ]
        self._counts = [len(step) // per_message for step in self._steps]
        self._messages_max = traffic.messages_max
        self._step = 0
        self._rest = memoryview(b"")
        self._unread = b""
        self.published = 0
        self.finishing = False
        self.done = True
        self.connection = connect(address, timeout=silence_seconds)
        self.connection.setblocking(False)

    def begin(self) -> None:
        """Start a pass, with message number 0."""
        self._step = self.published = 0
        self._rest = memoryview(b"")
        self.finishing = self.done = False

    def send(self, is_over: Callable[[], bool]) -> bool:
        """Send until the kernel has enough; False when there is nothing more to send in this pass."""
        while True:
            if not self._rest:
                if self.finishing:
                    return False
                self._next_step(is_over())
            try:
                sent = self.connection.send(self._rest)
            except BlockingIOError:
                return True
            except OSError as error:
                raise self._closed(str(error)) from error
            if sent < len(self._rest):
                self._rest = self._rest[sent:]
                return True
            self._rest = memoryview(b"")

    def _next_step(self, is_over: bool) -> None:
        if is_over or self.published >= self._messages_max:
            self.finishing = True
            self._rest = memoryview(b"PING\r\n")
            return
        self._rest = self._steps[self._step]
        self.published += self._counts[self._step]
        self._step = (self._step + 1) % len(self._steps)

    def receive(self) -> None:
        """Take what the server says: a PONG when it took everything."""
        try:
            data = self.connection.recv(65_536)
        except OSError as error:
            raise self._closed(str(error)) from error
        if not data:
            raise self._closed(self._unread.decode(errors="replace").strip() or "nothing was said")
        *lines, self._unread = (self._unread + data).split(b"\r\n")
        for line in lines:
            if line.startswith(b"-ERR"):
                raise RunFailure(f"the server says {line.decode(errors='replace')}")
            # A PING of the server needs no answer here: passes last seconds, its patience minutes.
            if line == b"PONG":
                self.done = True

    def _closed(self, why: str) -> RunFailure:
        return RunFailure(f"publishing connection closed after {self.published} messages: {why}")


def _publish(traffic: Traffic, address: Address, silence_seconds: float, pipe: Pipe) -> None:
    """The process of all publishers."""
    publishers = [_Publisher(traffic, n, address, silence_seconds) for n in range(traffic.publishers)]
    pipe.send("ready")
    while True:
        seconds: float = pipe.recv()
        pipe.send(_publish_pass(publishers, seconds, silence_seconds))


def _publish_pass(publishers: list[_Publisher], seconds: float, silence_seconds: float) -> _Published:
    both: Final = selectors.EVENT_READ | selectors.EVENT_WRITE
    with selectors.DefaultSelector() as selector:
        for one in publishers:
            one.begin()
            selector.register(one.connection, both, one)
        began_ns = time.monotonic_ns()
        until_ns = began_ns + int(seconds * 1e9)

        def is_over() -> bool:
            return time.monotonic_ns() >= until_ns

        while not all(one.done for one in publishers):
            ready = selector.select(silence_seconds)
            if not ready:
                raise RunFailure(f"the server took and said nothing for {silence_seconds} s")
            for key, events in ready:
                one = key.data
                if events & selectors.EVENT_READ:
                    one.receive()
                if events & selectors.EVENT_WRITE and not one.send(is_over):
                    selector.modify(one.connection, selectors.EVENT_READ, one)
        ended_ns = time.monotonic_ns()
    counts = [one.published for one in publishers]
    return _Published(counts, began_ns, ended_ns)


# Receiving


def _receive(traffic: Traffic, address: Address, silence_seconds: float, pipe: Pipe) -> None:
    """The process of all subscribers."""
    rings = _rings(traffic)
    queue = (b"workers",) if traffic.queue_group else ()
    asked = [
        [(subject, *queue, sid) for subject, sid in subscriptions(traffic, number)]
        for number in range(traffic.subscribers)
    ]
    connections = [connect(address, *lines, timeout=silence_seconds) for lines in asked]
    for one in connections:
        one.setblocking(False)
    pipe.send("ready")
    while True:
        pipe.recv()
        receivers = [receiver(traffic, ring) for ring in rings]
        published, ended_ns = _receive_pass(
            list(zip(connections, receivers, strict=True)), silence_seconds, pipe
        )
        pipe.send(ended_ns)
        verify(traffic, receivers, published)
        pipe.send("verified")


def _rings(traffic: Traffic) -> list[bytes]:
    """What each subscriber must receive, one object for all where it is the same."""
    if traffic.keeps_received:
        return [b""] * traffic.subscribers
    if traffic.sids_differ:
        return [delivered_ring(traffic, 0, number) for number in range(traffic.subscribers)]
    return [delivered_ring(traffic, 0)] * traffic.subscribers


def _receive_pass(
    pairs: list[tuple[socket.socket, Receiver]], silence_seconds: float, pipe: Pipe
) -> tuple[list[int], int]:
    """Feed the receivers until each has the PONG behind its messages.

    Returns what was published, and when the last byte of a message came.
    """
    buffer = bytearray(CHUNK_BYTES_MAX)
    view = memoryview(buffer)
    published: list[int] = []
    ended_ns = 0
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        for pair in pairs:
            selector.register(pair[0], selectors.EVENT_READ, pair)
        while not all(one.quiet for _, one in pairs):
            ready = selector.select(silence_seconds)
            if not ready:
                received = [one.message_bytes for _, one in pairs]
                raise RunFailure(f"nothing received for {silence_seconds} s, after {received} bytes")
            for key, _ in ready:
                if key.data is None:
                    published = pipe.recv()
                    for connection, _ in pairs:
                        connection.send(b"PING\r\n")
                    continue
                connection, one = key.data
                before = one.message_bytes
                one.feed(view[: _received(connection, view, before)])
                if one.message_bytes > before:
                    ended_ns = time.monotonic_ns()
    for connection, one in pairs:
        connection.send(b"PONG\r\n" * one.pings_unanswered)
    return published, ended_ns


def _received(connection: socket.socket, into: memoryview, before: int) -> int:
    try:
        count = connection.recv_into(into)
    except OSError as error:
        raise RunFailure(
            f"subscribing connection closed after {before} bytes of messages: {error}"
        ) from error
    if not count:
        raise RunFailure(f"subscribing connection closed after {before} bytes of messages")
    return count


# Requests and replies


class _Conversation:
    """A blocking connection that is asked for one message at a time."""

    def __init__(self, address: Address, subject: bytes, silence_seconds: float) -> None:
        """Connect and subscribe to `subject`."""
        self.connection = connect(address, (subject, b"1"), timeout=silence_seconds)
        self._unread = b""

    def next_message(self, size: int) -> bytes:
        """The next `size` bytes that are not control lines. Raises BlockingIOError when silence lasts."""
        data = self._unread + self.connection.recv(CHUNK_BYTES_MAX)
        while len(data) != size or not data.startswith(b"M"):
            if line := CONTROL_LINE.match(data):
                if line[1].startswith(b"-ERR"):
                    raise RunFailure(f"the server says {line[1].decode(errors='replace')}")
                if line[1] == b"PING":
                    self.connection.send(b"PONG\r\n")
                data = data[line.end() :]
            elif len(data) > size:
                break
            elif more := self.connection.recv(CHUNK_BYTES_MAX):
                data += more
            else:
                raise RunFailure("connection closed while a message was expected")
        self._unread = data[size:]
        return data[:size]


def _request(payload_bytes: int, address: Address, silence_seconds: float, pipe: Pipe) -> None:
    """The process of the requester."""
    inbox = b"_INBOX." + secrets.token_hex(INBOX_HEX_BYTES).encode()
    body = b"." * payload_bytes
    pairs = [
        (
            b"PUB %s %s.%0*d %d\r\n%s\r\n" % (SERVICE, inbox, REPLY_DIGITS, n, payload_bytes, body),
            b"MSG %s.%0*d 1 %d\r\n%s\r\n" % (inbox, REPLY_DIGITS, n, payload_bytes, body),
        )
        for n in range(REQUESTS_MAX)
    ]
    unused = iter(pairs)  # never started anew: no reply subject is used twice
    conversation = _Conversation(address, inbox + b".*", silence_seconds)
    pipe.send("ready")
    while True:
        seconds: float = pipe.recv()
        pipe.send(_request_pass(conversation, unused, seconds))


def _request_pass(
    conversation: _Conversation, pairs: Iterator[tuple[bytes, bytes]], seconds: float
) -> list[float]:
    times: list[float] = []
    clock = time.perf_counter
    over = clock() + seconds
    for request, expected in pairs:
        began = clock()
        conversation.connection.send(request)
        try:
            reply = conversation.next_message(len(expected))
        except OSError as error:
            raise RunFailure(f"no reply to request {len(times)}: {error}") from error
        ended = clock()
        if reply != expected:
            raise RunFailure(f"reply {expected[:80]!r} expected, {reply[:80]!r} received")
        times.append(ended - began)
        if ended > over:
            break
    if not times:
        raise RunFailure(f"all {REQUESTS_MAX} prebuilt requests were used up")
    return times


def _respond(payload_bytes: int, address: Address, silence_seconds: float, pipe: Pipe) -> None:
    """The process of the responder: it answers each request with the body of the request."""
    conversation = _Conversation(address, SERVICE, silence_seconds)
    head = b"MSG %s 1 _INBOX." % SERVICE
    # All requests have one length, so the reply subject and the rest stand at fixed places.
    reply_at = len(head) - len(b"_INBOX.")
    size = (
        len(head)
        + 2 * INBOX_HEX_BYTES
        + 1
        + REPLY_DIGITS
        + len(b" %d\r\n" % payload_bytes)
        + payload_bytes
        + 2
    )
    pipe.send("ready")
    while True:
        try:
            request = conversation.next_message(size)
        except BlockingIOError:
            continue  # between two passes; the requester notices silence
        if not request.startswith(head):
            raise RunFailure(f"request below {head!r} expected, {request[:80]!r} received")
        conversation.connection.send(b"PUB " + request[reply_at:])

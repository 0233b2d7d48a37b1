"""Traffic: processes with raw sockets that send and check prebuilt blocks.

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

In passes with company a third process does something else to the server
(`beside.py`): it starts before the pass and is asked for its report after it.
"""

from __future__ import annotations

import select
import selectors
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.beside import Beside, keep_company
from benchmarks.children import BUILD_SECONDS_MAX, Child, ProcessorTime, answer, answers
from benchmarks.client import SILENCE_SECONDS, Address, RunFailure, allow_open_files, connect
from benchmarks.streams import (
    CHUNK_BYTES_MAX,
    Expected,
    Receiver,
    Traffic,
    expected_stream,
    published_ring,
    receiver,
    subscriptions,
    verify,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from benchmarks.children import Pipe

__all__ = ["Pass", "TrafficTimes", "run_traffic"]

VERIFY_SECONDS_MAX: Final = 60.0  # take apart what was kept

STEP_BYTES: Final = 65_536
"""A publisher looks at the clock after about so many bytes."""

SPARE_FILES: Final = 100
"""Files a load process has open beside its connections."""


@dataclass(frozen=True, slots=True)
class Pass:
    """How long to publish, and whether in company."""

    seconds: float
    in_company: bool = False
    messages_max: int | None = None
    """Where each publisher stops before its time is over; None: where the traffic says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficTimes:
    """One pass: how much, and how long from the first byte sent to the last one received."""

    messages: int  # delivered; published if nobody subscribes
    seconds: float
    cpu_seconds: float  # of the server
    load_cpu_seconds: float  # of the load processes
    others_cpu_share: float  # processors that were busy with neither: with other work on this machine
    company: dict[str, float] = field(default_factory=dict)  # what the process beside did

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


def run_traffic(
    traffic: Traffic,
    address: Address,
    passes: Sequence[Pass],
    *,
    beside: Beside | None = None,
    cpu_clock: Callable[[], float] = time.process_time,
    silence_seconds: float = SILENCE_SECONDS,
    build_seconds: float = BUILD_SECONDS_MAX,
    tls: bool = False,
    publisher: str = "",
    subscriber: str = "",
) -> list[TrafficTimes]:
    """Put `traffic` on the server at `address` in `passes`, in some of them with `beside` as company.

    With `tls` the connections of the traffic are encrypted, and those of the company are not.
    `publisher` and `subscriber` are whom they log in as, with the name for a password.
    `cpu_clock` reads the processor time of the server. `build_seconds` bounds the time until
    all are connected and subscribed. Raises RunFailure.
    """
    with ExitStack() as stack:
        start = stack.enter_context
        load = (traffic, address, silence_seconds, tls)
        receiving = start(Child(_receive, *load, subscriber)) if traffic.subscribers else None
        publishing = start(Child(_publish, *load, publisher))
        company = start(Child(keep_company, beside, address, silence_seconds)) if beside else None
        children = [child for child in (receiving, publishing, company) if child]
        answers(children, build_seconds)
        results = []
        for one in passes:
            pass_seconds_max = 20 * (one.seconds + silence_seconds)
            before = ProcessorTime.read(cpu_clock, children)
            if company and one.in_company:
                company.order("begin")
            for child in (receiving, publishing):
                if child:
                    child.order(one)
            published: _Published = answer(publishing, pass_seconds_max, children)
            ended_ns = published.ended_ns
            messages = sum(published.counts)
            if receiving:
                receiving.order(published.counts)
                ended_ns = answer(receiving, pass_seconds_max, children)
                messages *= traffic.deliveries_per_message
            report: dict[str, float] = {}
            if company and one.in_company:
                company.order("end")
                report = answer(company, pass_seconds_max, children)
            after = ProcessorTime.read(cpu_clock, children)
            if receiving:
                answer(receiving, VERIFY_SECONDS_MAX, children)
            results.append(
                TrafficTimes(
                    messages=messages,
                    seconds=(ended_ns - published.began_ns) / 1e9,
                    cpu_seconds=after.server - before.server,
                    load_cpu_seconds=after.load - before.load,
                    others_cpu_share=after.others_share_since(before),
                    company=report,
                )
            )
        return results


@dataclass(frozen=True, slots=True)
class _Published:
    counts: list[int]  # by publisher
    began_ns: int  # of the monotonic clock, which all processes share
    ended_ns: int


# Publishing


class _Publisher:
    """One publishing connection: where it is in its ring, and whether the server took everything."""

    def __init__(
        self, traffic: Traffic, number: int, address: Address, silence_seconds: float, tls: bool, user: str
    ) -> None:
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
        self._per_message = per_message
        self._messages_max = traffic.messages_max
        self._left = 0
        self._step = 0
        self._rest = memoryview(b"")
        self._unread = b""
        self.published = 0
        self.finishing = False
        self.done = True
        self.connection = connect(address, timeout=silence_seconds, tls=tls, user=user)
        self.connection.setblocking(False)

    def begin(self, messages_max: int | None) -> None:
        """Start a pass, with message number 0."""
        self._step = self.published = 0
        self._left = self._messages_max if messages_max is None else messages_max
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
        if is_over or not self._left:
            self.finishing = True
            self._rest = memoryview(b"PING\r\n")
            return
        count = min(self._counts[self._step], self._left)
        self._rest = self._steps[self._step][: count * self._per_message]
        self._left -= count
        self.published += count
        self._step = (self._step + 1) % len(self._steps)

    def receive(self) -> None:
        """Take what the server says: a PONG when it took everything."""
        try:
            data = self.connection.recv(65_536)
        except BlockingIOError:  # of a record of TLS only a part is here
            return
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


def _publish(
    traffic: Traffic, address: Address, silence_seconds: float, tls: bool, user: str, pipe: Pipe
) -> None:
    """The process of all publishers."""
    publishers = [
        _Publisher(traffic, n, address, silence_seconds, tls, user) for n in range(traffic.publishers)
    ]
    pipe.send("ready")
    while True:
        pipe.send(_publish_pass(publishers, pipe.recv(), silence_seconds))


def _publish_pass(publishers: list[_Publisher], order: Pass, silence_seconds: float) -> _Published:
    both: Final = selectors.EVENT_READ | selectors.EVENT_WRITE
    with selectors.DefaultSelector() as selector:
        for one in publishers:
            one.begin(order.messages_max)
            selector.register(one.connection, both, one)
        began_ns = time.monotonic_ns()
        until_ns = began_ns + int(order.seconds * 1e9)

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


def _receive(
    traffic: Traffic, address: Address, silence_seconds: float, tls: bool, user: str, pipe: Pipe
) -> None:
    """The process of all subscribers."""
    allow_open_files(traffic.subscribers + SPARE_FILES)
    expected = _expected(traffic)
    queue = (b"workers",) if traffic.queue_group else ()
    connections = []
    for number in range(traffic.subscribers):
        asked = [(subject, *queue, sid) for subject, sid in subscriptions(traffic, number)]
        connections.append(connect(address, *asked, timeout=silence_seconds, tls=tls, user=user))
        connections[-1].setblocking(False)
    pipe.send("ready")
    while True:
        pipe.recv()
        receivers = [receiver(one) for one in expected]
        published, ended_ns = _receive_pass(
            list(zip(connections, receivers, strict=True)), silence_seconds, pipe
        )
        pipe.send(ended_ns)
        verify(traffic, receivers, published)
        pipe.send("verified")


def _expected(traffic: Traffic) -> list[Expected] | list[None]:
    """What each subscriber must receive, one object for all where it is the same; None if it is kept."""
    if traffic.keeps_received:
        return [None] * traffic.subscribers
    if traffic.sids_differ:
        return [expected_stream(traffic, number) for number in range(traffic.subscribers)]
    return [expected_stream(traffic)] * traffic.subscribers


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
    waiting = len(pairs)
    by_descriptor = {pair[0].fileno(): pair for pair in pairs}
    # Not a selector: of thousands of sockets it would cost more than what is done with them.
    with select.epoll(len(pairs) + 1) as poller:
        poller.register(pipe.fileno(), select.EPOLLIN)
        for descriptor in by_descriptor:
            poller.register(descriptor, select.EPOLLIN)
        while waiting:
            ready = poller.poll(silence_seconds)
            if not ready:
                received = sum(one.message_bytes for _, one in pairs)
                raise RunFailure(f"nothing received for {silence_seconds} s, after {received} bytes")
            for descriptor, _ in ready:
                if descriptor not in by_descriptor:
                    published = pipe.recv()
                    for connection, _ in pairs:
                        connection.send(b"PING\r\n")
                    continue
                connection, one = by_descriptor[descriptor]
                before = one.message_bytes
                was_quiet = one.quiet
                one.feed(view[: _received(connection, view, before)])
                if one.message_bytes > before:
                    ended_ns = time.monotonic_ns()
                if one.quiet and not was_quiet:
                    waiting -= 1
    for connection, one in pairs:
        connection.send(b"PONG\r\n" * one.pings_unanswered)
    return published, ended_ns


def _received(connection: socket.socket, into: memoryview, before: int) -> int:
    try:
        count = connection.recv_into(into)
    except BlockingIOError:  # of a record of TLS only a part is here
        return 0
    except OSError as error:
        raise RunFailure(
            f"subscribing connection closed after {before} bytes of messages: {error}"
        ) from error
    if not count:
        raise RunFailure(f"subscribing connection closed after {before} bytes of messages")
    return count

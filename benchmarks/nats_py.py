"""The same loads with nats-py in place of raw sockets: what a Python program sees of a server.

One process publishes or asks, another receives or answers. The client library is most
of the time here, so two servers differ by less than in the other rows.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nats.aio.client import Client
from nats.errors import Error

from benchmarks.children import BUILD_SECONDS_MAX, Child, ProcessorTime, answer, answers
from benchmarks.client import Address, RunFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.children import Pipe

__all__ = ["LibraryRequests", "LibraryTraffic", "run_library_requests", "run_library_traffic"]

SUBJECT: Final = "bench.library"
PASS_SECONDS_MAX: Final = 60.0
SILENCE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryTraffic:
    """One pass of messages."""

    messages: int
    seconds: float  # from the first call of publish to the last message at its callback
    cpu_seconds: float  # of the server
    load_cpu_seconds: float
    others_cpu_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryRequests:
    """One pass of requests, one at a time."""

    seconds: list[float]
    others_cpu_share: float


def run_library_traffic(
    address: Address, payload_bytes: int, passes: list[int], *, cpu_clock: Callable[[], float]
) -> list[LibraryTraffic]:
    """Publish so many messages in each of `passes`, to one subscriber. Raises RunFailure."""
    with (
        Child(_receive, address, payload_bytes, passes) as receiving,
        Child(_publish, address, payload_bytes) as publishing,
    ):
        children = [receiving, publishing]
        answers(children, BUILD_SECONDS_MAX)
        results = []
        for count in passes:
            before = ProcessorTime.read(cpu_clock, children)
            publishing.order(count)
            began_ns: int = answer(publishing, PASS_SECONDS_MAX, children)
            ended_ns: int = answer(receiving, PASS_SECONDS_MAX, children)
            after = ProcessorTime.read(cpu_clock, children)
            results.append(
                LibraryTraffic(
                    messages=count,
                    seconds=(ended_ns - began_ns) / 1e9,
                    cpu_seconds=after.server - before.server,
                    load_cpu_seconds=after.load - before.load,
                    others_cpu_share=after.others_share_since(before),
                )
            )
        return results


def run_library_requests(
    address: Address, payload_bytes: int, passes: list[int], *, cpu_clock: Callable[[], float]
) -> list[LibraryRequests]:
    """Send so many requests in each of `passes`, one after the other. Raises RunFailure."""
    with Child(_respond, address) as responding, Child(_request, address, payload_bytes) as requesting:
        children = [responding, requesting]
        answers(children, BUILD_SECONDS_MAX)
        results = []
        for count in passes:
            before = ProcessorTime.read(cpu_clock, children)
            requesting.order(count)
            seconds: list[float] = answer(requesting, PASS_SECONDS_MAX, children)
            after = ProcessorTime.read(cpu_clock, children)
            results.append(
                LibraryRequests(seconds=seconds, others_cpu_share=after.others_share_since(before))
            )
        return results


class _Client:
    """A connected client whose errors are those of the run."""

    def __init__(self) -> None:
        """Not connected yet."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.connection = Client()

    async def connect(self, address: Address) -> None:
        """Connect; there is no second attempt."""
        host, port = address
        await self.connection.connect(
            f"nats://{host}:{port}", allow_reconnect=False, error_cb=self._error, closed_cb=self._closed
        )

    async def until(self, event: asyncio.Event) -> None:
        """Wait for `event`. Raises RunFailure if an error or silence comes first."""
        waiting = asyncio.ensure_future(event.wait())
        either: list[asyncio.Future[Any]] = [waiting, self.failed]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.failed.done():
            self.failed.result()

    async def _error(self, error: Exception) -> None:
        self._fail(f"nats-py says {error!r}")

    async def _closed(self) -> None:
        self._fail("nats-py has closed the connection")

    def _fail(self, text: str) -> None:
        if not self.failed.done():
            self.failed.set_exception(RunFailure(text))


def _body(number: int, payload_bytes: int) -> bytes:
    return (b"%011d" % number).ljust(payload_bytes, b".")


def _publish(address: Address, payload_bytes: int, pipe: Pipe) -> None:
    """The process of the publisher."""
    asyncio.run(_publishing(address, payload_bytes, pipe))


async def _publishing(address: Address, payload_bytes: int, pipe: Pipe) -> None:
    client = _Client()
    await client.connect(address)
    pipe.send("ready")
    while True:
        count: int = await asyncio.to_thread(pipe.recv)
        bodies = [_body(number, payload_bytes) for number in range(count)]
        publish = client.connection.publish
        began_ns = time.monotonic_ns()
        for body in bodies:
            await publish(SUBJECT, body)
        await client.connection.flush()
        if client.failed.done():
            client.failed.result()
        pipe.send(began_ns)


def _receive(address: Address, payload_bytes: int, passes: list[int], pipe: Pipe) -> None:
    """The process of the subscriber."""
    asyncio.run(_receiving(address, payload_bytes, passes, pipe))


async def _receiving(address: Address, payload_bytes: int, passes: list[int], pipe: Pipe) -> None:
    client = _Client()
    await client.connect(address)
    complete = asyncio.Event()
    received: list[bytes] = []
    wanted = 0
    ended_ns = 0

    async def take(message: Any) -> None:
        nonlocal ended_ns
        received.append(message.data)
        if len(received) == wanted:
            ended_ns = time.monotonic_ns()
            complete.set()

    await client.connection.subscribe(SUBJECT, cb=take)
    await client.connection.flush()
    wanted = passes[0]
    pipe.send("ready")
    for number, count in enumerate(passes):
        await client.until(complete)
        expected = [_body(n, payload_bytes) for n in range(count)]
        if len(received) != count:
            raise RunFailure(f"{len(received)} messages received by nats-py of {count} published")
        for body, got in zip(expected, received, strict=True):
            if got != body:
                raise RunFailure(f"{body!r} expected by nats-py, {got[:80]!r} received")
        received.clear()
        complete.clear()
        wanted = passes[number + 1] if number + 1 < len(passes) else 0
        pipe.send(ended_ns)
    await asyncio.to_thread(pipe.recv)  # until the coordinator closes it


def _request(address: Address, payload_bytes: int, pipe: Pipe) -> None:
    """The process of the requester."""
    asyncio.run(_requesting(address, payload_bytes, pipe))


async def _requesting(address: Address, payload_bytes: int, pipe: Pipe) -> None:
    client = _Client()
    await client.connect(address)
    pipe.send("ready")
    while True:
        count: int = await asyncio.to_thread(pipe.recv)
        times = []
        for number in range(count):
            body = _body(number, payload_bytes)
            began = time.perf_counter()
            try:
                reply = await client.connection.request(SUBJECT, body, timeout=SILENCE_SECONDS)
            except Error as error:
                raise RunFailure(f"no reply to request {number} of nats-py: {error!r}") from error
            times.append(time.perf_counter() - began)
            if reply.data != body:
                raise RunFailure(f"reply {body!r} expected by nats-py, {reply.data[:80]!r} received")
        pipe.send(times)


def _respond(address: Address, pipe: Pipe) -> None:
    """The process of the responder."""
    asyncio.run(_responding(address, pipe))


async def _responding(address: Address, pipe: Pipe) -> None:
    client = _Client()
    await client.connect(address)

    async def reply(message: Any) -> None:
        await message.respond(message.data)

    await client.connection.subscribe(SUBJECT, cb=reply)
    await client.connection.flush()
    pipe.send("ready")
    await client.until(asyncio.Event())

"""What is done for each chunk and not for each message: events, effects, turns, calls, callbacks, tasks.

1,000 and 100,000 messages come in equal chunks, through the core alone and
through real sockets on both event loops. Everything outside the data plane must
be done so many times a chunk, whatever the number of messages.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.abc import Instrument

import natscore
import natscore_tcp
from natscore.server import Server
from natscore_tcp import Runtime
from tests.robustness.shells import QUIET, MeasuringShell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

DATA_PLANE: Final = frozenset({"dataplane.py", "delivery.py", "cells.py", "sublist.py", "plan.py"})
PACKAGES: Final = tuple(
    str(Path(package.__file__).parent) for package in (natscore, natscore_tcp) if package.__file__
)
FEW: Final = 1_000
MANY: Final = 100_000
IN_CHUNK: Final = 100
MESSAGE: Final = b"PUB a 16\r\n0123456789abcdef\r\n"
DELIVERY: Final = b"MSG a 1 16\r\n0123456789abcdef\r\n"
SECONDS_MAX: Final = 30.0


@dataclass
class Counts:
    """What was done."""

    calls: int = 0  # Python functions of ours, outside the data plane
    by_function: Counter[str] = field(default_factory=Counter)
    callbacks: int = 0  # of asyncio, or steps of tasks in trio
    tasks: int = 0
    events: int = 0

    def profile(self, frame: FrameType, what: str, _: object) -> None:
        """Count a call, for `sys.setprofile`."""
        if what == "call":
            code = frame.f_code
            if code.co_filename.startswith(PACKAGES) and Path(code.co_filename).name not in DATA_PLANE:
                self.calls += 1
                self.by_function[code.co_qualname] += 1


@contextmanager
def profiled(counts: Counts) -> Iterator[None]:
    """Count calls of this thread."""
    sys.setprofile(counts.profile)
    try:
        yield
    finally:
        sys.setprofile(None)


# -- the core alone --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Traffic:
    """A way to publish, and what it says to get there."""

    name: str
    hello: bytes
    message: bytes
    many: int = 100_000


TRAFFIC: Final = (
    Traffic("one subject", QUIET, MESSAGE),
    Traffic("with a reply", QUIET, b"PUB a reply.to 16\r\n0123456789abcdef\r\n"),
    Traffic(
        "with headers",
        b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n',
        b"HPUB a 12 28\r\nNATS/1.0\r\n\r\n0123456789abcdef\r\n",
        20_000,
    ),
    Traffic("pedantic and verbose", b"CONNECT {}\r\n", MESSAGE, 10_000),
    Traffic("subjects by turns", QUIET, b"PUB b 1\r\nx\r\nPUB a 1\r\nx\r\nPUB c.d 1\r\nx\r\n", 10_000),
    Traffic("a queue group", QUIET, b"PUB q 1\r\nx\r\n"),
)


def run_core(traffic: Traffic, messages: int, in_chunk: int) -> tuple[int, int, int, int]:
    """Events, effects, turns and calls for so many messages."""
    shell = MeasuringShell()
    for number in range(3):
        shell.receive(shell.connect(), b"SUB a %d\r\nSUB b.> 2\r\nSUB c.* 3\r\nSUB q g 4\r\n" % number)
    publisher = shell.connect(traffic.hello)
    chunk = traffic.message * in_chunk
    shell.receive(publisher, chunk)  # its plans are made
    shell.forget()
    counts = Counts()
    with profiled(counts):
        for _ in range(messages // in_chunk):
            shell.receive(publisher, chunk)
    assert shell.server.state.connections[publisher].source.messages >= messages
    return len(shell.handled), shell.effects, shell.turns, counts.calls


@pytest.mark.slow
@pytest.mark.parametrize("traffic", TRAFFIC, ids=lambda traffic: traffic.name)
def test_core_does_the_same_for_each_chunk_of_many_messages_as_of_few(traffic: Traffic) -> None:
    few = run_core(traffic, FEW, IN_CHUNK)
    many = run_core(traffic, traffic.many, IN_CHUNK)

    assert few[0] == FEW // IN_CHUNK
    assert few[3] > few[0]
    assert many == tuple(count * traffic.many // FEW for count in few)


def test_core_does_the_same_for_a_hundred_thousand_messages_as_for_a_thousand_in_larger_chunks() -> None:
    few = run_core(TRAFFIC[0], FEW, 10)
    many = run_core(TRAFFIC[0], MANY, 1_000)

    assert many == few  # the same number of chunks, of a hundred times as many messages


# -- the runtime on sockets ------------------------------------------------------------------------


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that counts the callbacks it is given and the tasks it starts."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        super().__init__()
        self.set_task_factory(self._start)

    def _start(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        self._counts.tasks += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    def call_soon(self, *args: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
        self._counts.callbacks += 1
        return super().call_soon(*args, **options)

    def call_at(self, *args: Any, **options: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        self._counts.callbacks += 1
        return super().call_at(*args, **options)

    def _add_callback(self, handle: asyncio.Handle) -> None:  # where readiness of sockets arrives
        self._counts.callbacks += 1
        super()._add_callback(handle)  # type: ignore[misc]


class CountingInstrument(Instrument):
    """Counts the tasks of a trio run, and their steps."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self._counts.tasks += 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._counts.callbacks += 1


class Served:
    """A runtime in a thread, whose work is counted."""

    def __init__(self, backend: str) -> None:
        self.counts = Counts()
        self.port = 0
        self._backend = backend
        self._ready = threading.Event()
        self._end: Callable[[], object]
        self.events: Callable[[], int]
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._ready.wait(SECONDS_MAX)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._thread.join(SECONDS_MAX)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with profiled(self.counts):
            if self._backend == "trio":
                trio.run(self._serve_on_trio, instruments=[CountingInstrument(self.counts)])
                return
            loop = CountingLoop(self.counts)
            try:
                loop.run_until_complete(self._serve_on_asyncio())
            finally:
                loop.close()

    async def _serve_on_trio(self) -> None:
        end, token = trio.Event(), trio.lowlevel.current_trio_token()
        self._end = lambda: token.run_sync_soon(end.set)
        await self._serve(end)

    async def _serve_on_asyncio(self) -> None:
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        self._end = lambda: loop.call_soon_threadsafe(end.set)
        await self._serve(end)

    async def _serve(self, end: asyncio.Event | trio.Event) -> None:
        runtime = Runtime(Server())
        self.events = lambda: runtime.events_handled
        async with runtime.running():
            self.port = (await runtime.listen("127.0.0.1", -1)).port
            self._ready.set()
            await end.wait()


def connect(port: int, hello: bytes) -> socket.socket:
    """A client whose `hello`, which ends in PING, was answered."""
    client = socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(hello)
    received = b""
    while not received.endswith(b"PONG\r\n"):
        received += client.recv(65_536)
    return client


def exchange(publisher: socket.socket, listener: socket.socket, chunks: int, in_chunk: int) -> None:
    """Publish chunk by chunk, each when the one before has been received."""
    chunk, answer = MESSAGE * in_chunk, len(DELIVERY) * in_chunk
    for _ in range(chunks):
        publisher.sendall(chunk)
        left = answer
        while left:
            left -= len(listener.recv(left))


def done_since(served: Served, act: Callable[[], None]) -> tuple[int, int, int, int]:
    """Callbacks, tasks, events and calls that `act` led to."""
    counts = served.counts
    before = counts.callbacks, counts.tasks, served.events(), counts.calls
    act()
    after = counts.callbacks, counts.tasks, served.events(), counts.calls
    return tuple(b - a for a, b in zip(before, after, strict=True))  # type: ignore[return-value]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_runtime_does_for_each_chunk_a_fixed_number_of_things_and_starts_no_task(backend: str) -> None:
    with Served(backend) as served:
        listener = connect(served.port, QUIET + b"SUB a 1\r\nPING\r\n")
        publisher = connect(served.port, QUIET + b"PING\r\n")
        with listener, publisher:
            exchange(publisher, listener, 10, IN_CHUNK)
            few = done_since(served, lambda: exchange(publisher, listener, FEW // IN_CHUNK, IN_CHUNK))
            many = done_since(served, lambda: exchange(publisher, listener, MANY // IN_CHUNK, IN_CHUNK))
            large = done_since(served, lambda: exchange(publisher, listener, FEW // IN_CHUNK, 20 * IN_CHUNK))

    chunks = MANY // IN_CHUNK
    callbacks, tasks, events, calls = many
    # Exactly one each on an idle machine. The kernel may cut a chunk in two, and a timer may fire.
    assert events <= 1.05 * chunks + 5
    assert callbacks <= 1.1 * chunks + 20
    assert tasks <= 2
    assert calls <= 1.05 * chunks * few[3] / (FEW // IN_CHUNK) + 500
    # ... of as many messages as one likes
    assert large[0] <= few[0] + 20
    assert large[2] <= few[2] + 10
    assert large[3] <= 2 * few[3]

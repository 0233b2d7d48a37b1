"""Readiness, on each event loop, with a pair of connected sockets."""

from __future__ import annotations

import contextlib
import importlib.util
import select
import socket
import time
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from natscore.errors import ConfigError
from natscore_tcp.backend import (
    AsyncioBackend,
    Backend,
    EpollBackend,
    Served,
    TrioBackend,
    backend_options,
    current_backend,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.anyio

ROUNDS = 20  # turns of the event loop after which something that has not happened will not


@pytest.fixture(autouse=True, params=["as it is", "without epoll"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, anyio_backend_name: str) -> None:
    """What the system offers us on asyncio: other systems than Linux have no epoll."""
    if request.param == "without epoll" and anyio_backend_name == "asyncio":
        monkeypatch.delattr(select, "epoll", raising=False)


class Counting:
    """Counts calls, and lets a test wait for the next one; may say what a socket turned out to have."""

    def __init__(self, served: Served | None = None) -> None:
        self.calls = 0
        self._served = served
        self._called = anyio.Event()

    def __call__(self) -> Served | None:
        self.calls += 1
        self._called.set()
        self._called = anyio.Event()
        return self._served

    async def until(self, calls: int) -> None:
        """Wait for so many calls in all."""
        with anyio.fail_after(10):
            while self.calls < calls:
                await self._called.wait()


class Loop:
    """A backend on the running event loop, and what it reported."""

    def __init__(self, group: anyio.abc.TaskGroup, round_over: Callable[[], None]) -> None:
        self.woken = Counting()
        self.failures: list[Exception] = []
        self.backend: Backend = current_backend(group, self.woken, self.failures.append, round_over)


@asynccontextmanager
async def on_this_loop(round_over: Callable[[], None] = lambda: None) -> AsyncIterator[Loop]:
    async with anyio.create_task_group() as group:
        loop = Loop(group, round_over)
        yield loop
        loop.backend.close()
        group.cancel_scope.cancel()


@contextmanager
def pair(backend: Backend) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets; the backend watches the first, which does not block."""
    watched, other = socket.socketpair()
    with watched, other:
        watched.setblocking(False)
        yield watched, other
        backend.release(watched)


async def rounds() -> None:
    """Let the event loop turn."""
    for _ in range(ROUNDS):
        await anyio.lowlevel.checkpoint()


def fill(sock: socket.socket) -> None:
    """Write until the kernel refuses."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(bytes(65_536))


def empty(sock: socket.socket) -> None:
    """Read until there is nothing left."""
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.recv(1 << 20)


async def test_backend_is_that_of_the_running_loop(anyio_backend_name: str) -> None:
    async with on_this_loop() as loop:
        on_asyncio = EpollBackend if hasattr(select, "epoll") else AsyncioBackend
        expected = {"asyncio": on_asyncio, "trio": TrioBackend}[anyio_backend_name]
        assert type(loop.backend) is expected


async def test_reader_is_called_as_long_as_there_is_something_to_read() -> None:
    async with on_this_loop() as loop:
        ready = Counting()
        with pair(loop.backend) as (watched, other):
            loop.backend.start_reading(watched, ready)
            await rounds()
            assert ready.calls == 0
            other.send(b"x")
            await ready.until(3)  # nobody reads it
            watched.recv(1)
            before = ready.calls
            await rounds()
            assert ready.calls <= before + 1  # one may have been decided on already


async def test_stopped_reader_is_not_called_and_can_be_started_again() -> None:
    async with on_this_loop() as loop:
        ready, again = Counting(), Counting()
        with pair(loop.backend) as (watched, other):
            loop.backend.start_reading(watched, ready)
            await rounds()
            loop.backend.stop_reading(watched)
            other.send(b"x")
            await rounds()
            assert ready.calls == 0
            loop.backend.start_reading(watched, again)
            await again.until(2)
            assert ready.calls == 0


async def test_reader_that_stops_itself_is_called_once() -> None:
    async with on_this_loop() as loop:
        ready = Counting()
        with pair(loop.backend) as (watched, other):

            def once() -> None:
                ready()
                loop.backend.stop_reading(watched)

            other.send(b"x")
            loop.backend.start_reading(watched, once)
            await ready.until(1)
            await rounds()
            assert ready.calls == 1


async def test_writer_is_called_when_there_is_room_again() -> None:
    async with on_this_loop() as loop:
        ready = Counting()
        with pair(loop.backend) as (watched, other):
            for _ in range(2):  # a second refusal finds the writer of the first
                fill(watched)
                loop.backend.start_writing(watched, ready)
                await rounds()
                assert ready.calls == 0
                empty(other)
                await ready.until(1)
                loop.backend.stop_writing(watched)
                await rounds()  # one more call may have been decided on
                ready.calls = 0


async def test_reading_and_writing_are_watched_apart() -> None:
    async with on_this_loop() as loop:
        readable, writable = Counting(), Counting()
        with pair(loop.backend) as (watched, other):
            loop.backend.start_reading(watched, readable)
            loop.backend.start_writing(watched, writable)
            await writable.until(1)
            loop.backend.stop_writing(watched)
            assert readable.calls == 0
            other.send(b"x")
            await readable.until(1)


async def test_released_socket_calls_nobody() -> None:
    async with on_this_loop() as loop:
        ready = Counting()
        with pair(loop.backend) as (watched, other):
            loop.backend.start_reading(watched, ready)
            loop.backend.start_writing(watched, ready)
            await rounds()
            loop.backend.stop_writing(watched)
            loop.backend.stop_reading(watched)
            await rounds()
            before = ready.calls
            loop.backend.start_reading(watched, ready)
            loop.backend.release(watched)
            other.send(b"x")
            await rounds()
            assert ready.calls == before


async def test_socket_released_by_the_callback_of_another_is_not_called() -> None:
    async with on_this_loop() as loop:
        calls: list[str] = []
        with pair(loop.backend) as (one, at_one), pair(loop.backend) as (two, at_two):

            def release_both(name: str) -> None:
                calls.append(name)
                loop.backend.release(one)
                loop.backend.release(two)

            at_one.send(b"x")
            at_two.send(b"x")
            loop.backend.start_reading(one, lambda: release_both("one"))
            loop.backend.start_reading(two, lambda: release_both("two"))
            await rounds()

    assert len(calls) == 1


async def test_what_a_peer_sent_before_it_reset_is_read_and_so_is_its_end() -> None:
    async with on_this_loop() as loop:
        received: list[bytes] = []
        ended = anyio.Event()

        def read() -> None:
            try:
                data = watched.recv(1)
            except ConnectionResetError:
                data = b""
            received.append(data)
            if not data:
                loop.backend.stop_reading(watched)
                ended.set()

        with pair(loop.backend) as (watched, other):
            watched.send(b"never read")
            other.send(b"abc")
            other.close()  # a reset, because something was not read
            loop.backend.start_reading(watched, read)
            with anyio.fail_after(10):
                await ended.wait()

    assert received == [b"a", b"b", b"c", b""]


async def test_others_have_their_chance_before_what_comes_after_them() -> None:
    async with on_this_loop() as loop:
        order: list[str] = []
        done = anyio.Event()

        def turn() -> None:
            order.append("turn")
            if order.count("turn") < 5:
                loop.backend.after_others(turn)
            else:
                done.set()

        def read() -> None:
            watched.recv(1)
            order.append("read")

        with pair(loop.backend) as (watched, other):
            loop.backend.start_reading(watched, read)
            await rounds()
            other.send(b"xxx")
            loop.backend.after_others(turn)
            await done.wait()

    assert order.count("read") >= 2
    assert all(order[at : at + 3] != ["turn"] * 3 for at in range(3))


async def test_wake_comes_once_and_in_time() -> None:
    async with on_this_loop() as loop:
        before = anyio.current_time()
        loop.backend.wake_in(3600)
        loop.backend.wake_in(0.02)
        await loop.woken.until(1)
        assert anyio.current_time() - before >= 0.02
        await rounds()
        assert loop.woken.calls == 1
        loop.backend.wake_in(0)
        await loop.woken.until(2)


async def test_closed_backend_does_not_wake() -> None:
    async with on_this_loop() as loop:
        loop.backend.wake_in(0)
        loop.backend.close()

    assert loop.woken.calls == 0


async def test_exception_of_a_callback_is_reported_and_not_lost() -> None:
    def fail() -> None:
        loop.backend.stop_reading(watched)
        raise LookupError("wrong")

    async with on_this_loop() as loop:
        with pair(loop.backend) as (watched, other):
            loop.backend.start_reading(watched, fail)
            other.send(b"x")
            loop.backend.after_others(fail)
            await rounds()

    assert [str(failure) for failure in loop.failures] == ["wrong"] * len(loop.failures)
    assert 1 <= len(loop.failures) <= 2


def test_uvloop_is_taken_where_it_is_installed_unless_told_otherwise() -> None:
    installed = importlib.util.find_spec("uvloop") is not None

    assert backend_options("asyncio") == {"use_uvloop": installed}
    assert backend_options("asyncio", uvloop=False) == {"use_uvloop": False}
    assert backend_options("trio") == {}


def test_uvloop_for_trio_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot run trio"):
        backend_options("trio", uvloop=True)


def test_uvloop_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(ConfigError, match="not installed"):
        backend_options("asyncio", uvloop=True)


# -- rounds ----------------------------------------------------------------------------------------


async def test_a_round_of_several_sockets_is_told_when_it_is_over() -> None:
    order: list[tuple[str, bool]] = []
    async with on_this_loop(lambda: order.append(("over", loop.backend.in_round))) as loop:
        with pair(loop.backend) as (one, from_one), pair(loop.backend) as (two, from_two):

            def read(name: str, sock: socket.socket) -> None:
                sock.recv(1)
                order.append((name, loop.backend.in_round))

            loop.backend.start_reading(one, partial(read, "one", one))
            loop.backend.start_reading(two, partial(read, "two", two))
            await rounds()
            from_one.send(b"x")
            from_two.send(b"x")
            await rounds()
            from_one.send(b"x")
            await rounds()

    if isinstance(loop.backend, EpollBackend):
        assert order == [("one", True), ("two", True), ("over", False), ("one", False)]
    else:  # these loops do not tell
        assert sorted(order) == [("one", False), ("one", False), ("two", False)]


# -- the urgent before the bulk --------------------------------------------------------------------


@contextmanager
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[int]]]:
    """What would have been heard while the backend made way, for each time it did; nothing is waited for."""
    heard: list[list[int]] = []

    def look(readable: list[select.epoll], _: list[int], __: list[int], seconds: float) -> None:
        assert 0 < seconds < 0.001
        heard.append([descriptor for descriptor, _ in readable[0].poll(0)])

    with monkeypatch.context() as patch:
        patch.setattr(select, "select", look)
        yield heard


async def serve_both(loop: Loop, bulk: Served | None, other: Served | None) -> tuple[int, int]:
    """Let two sockets be readable for some rounds; their descriptors."""
    first, second = Counting(bulk), Counting(other)
    with pair(loop.backend) as (one, from_one), pair(loop.backend) as (two, from_two):
        from_one.send(b"x")
        from_two.send(b"x")
        loop.backend.start_reading(one, first)
        loop.backend.start_reading(two, second)
        await first.until(5)
        await second.until(5)
        return one.fileno(), two.fileno()


async def test_bulk_is_not_read_for_a_moment_after_something_urgent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with on_this_loop() as loop:
        with waits(monkeypatch) as heard:
            bulk, urgent = await serve_both(loop, Served.BULK, Served.URGENT)

    if isinstance(loop.backend, EpollBackend):
        assert len(heard) >= 4
        assert all(urgent in descriptors and bulk not in descriptors for descriptors in heard)
    else:  # these loops cannot wait for so short a time
        assert heard == []


@pytest.mark.parametrize("other", [Served.BULK, None])
async def test_bulk_makes_way_for_nothing_that_is_not_urgent(
    other: Served | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_this_loop() as loop:
        with waits(monkeypatch) as heard:
            await serve_both(loop, Served.BULK, other)

    assert heard == []


async def test_bulk_does_not_make_way_for_ever_after_something_urgent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with on_this_loop() as loop:
        with waits(monkeypatch) as heard:
            await serve_both(loop, None, Served.URGENT)
            monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
            await serve_both(loop, Served.BULK, None)

    assert heard == []

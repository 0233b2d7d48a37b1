"""When is a socket ready? The two event loops, behind one small protocol.

Bytes never pass through the streams of an async library: per message an await, a
task or a queue would cost more than the message (ADR 0006). All that is asked of
a backend is to call a plain function when a socket can be read or written, once
in a while at an instant, and after other sockets had their chance.

asyncio (and uvloop)  on Linux one epoll of ours, which the loop watches; elsewhere one
                      `add_reader` for the life of a socket, and `add_writer` only while
                      the kernel refuses bytes
trio                  one task per socket that waits for readability; one more for each
                      socket whose bytes the kernel ever refused

What a callback raises is a bug of ours; it goes to `failed`, never to the loop's
logger, because a server that goes on after it cannot be trusted.
"""

from __future__ import annotations

import asyncio
import enum
import importlib.util
import select
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from natscore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from anyio.abc import TaskGroup

    Callback: TypeAlias = Callable[[], "Served | None"]

__all__ = [
    "AsyncioBackend",
    "Backend",
    "BackendName",
    "EpollBackend",
    "Served",
    "TrioBackend",
    "backend_options",
    "current_backend",
]

BackendName: TypeAlias = Literal["asyncio", "trio"]

_TIMER_SLACK: Final = 0.001  # seconds; uvloop counts in milliseconds and would wake a little early


_SELECT_MAX: Final = 1_024  # descriptors from here on, select(2) cannot wait for
_MAKE_WAY_SECONDS: Final = 0.000_05  # the kernel makes about twice as much of it
_URGENT_SECONDS: Final = 0.02  # so long after something urgent there may be more


class Served(enum.Enum):
    """What a socket turned out to have, for a backend that lets the urgent go before the bulk."""

    BULK = enum.auto()  # as much as a read takes: there is more, and it can wait a little
    URGENT = enum.auto()  # little, and somebody else got something for it: a request, or its reply


class Backend(Protocol):
    """Calls plain functions at the right time, on the thread of the event loop."""

    in_round: bool  # more than one socket is ready; all are called, and then `round_over` is

    def start_reading(self, sock: socket.socket, ready: Callback) -> None:
        """Call `ready` whenever there is something to read, until `stop_reading`."""

    def stop_reading(self, sock: socket.socket) -> None:
        """Do not call any more. May be started again."""

    def start_writing(self, sock: socket.socket, ready: Callback) -> None:
        """Call `ready` whenever there is room to write, until `stop_writing`."""

    def stop_writing(self, sock: socket.socket) -> None:
        """Do not call any more. May be started again."""

    def release(self, sock: socket.socket) -> None:
        """Let go of a socket, which is about to be closed."""

    def after_others(self, act: Callback) -> None:
        """Call `act` once, when the other sockets that are ready have been served."""

    def wake_in(self, delay: float) -> None:
        """Call `wake` in so many seconds, or a little later. A second call replaces the first."""

    def close(self) -> None:
        """Call nothing any more. Every socket has been released."""


class AsyncioBackend:
    """Readiness by the callbacks of the running asyncio loop, uvloop included."""

    in_round = False  # the loop does not tell how many are ready

    def __init__(self, wake: Callback, failed: Callable[[Exception], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_libuv = type(self._loop).__module__.partition(".")[0] == "uvloop"
        self._watched: set[socket.socket] = set()  # read from, on libuv; its remove_reader does not tell
        self._written: set[socket.socket] = set()  # few: most sockets are closed without one refusal
        self._wake = wake
        self._failed = failed
        self._timer: asyncio.TimerHandle | None = None

    def start_reading(self, sock: socket.socket, ready: Callback) -> None:
        if self._on_libuv:
            self._watched.add(sock)
            self._loop.add_reader(sock, self._call_on_libuv, sock, ready)
        else:
            self._loop.add_reader(sock, self._call, ready)

    def stop_reading(self, sock: socket.socket) -> None:
        self._watched.discard(sock)
        self._loop.remove_reader(sock)

    def start_writing(self, sock: socket.socket, ready: Callback) -> None:
        self._written.add(sock)
        self._loop.add_writer(sock, self._call, ready)

    def stop_writing(self, sock: socket.socket) -> None:
        self._written.discard(sock)
        self._loop.remove_writer(sock)

    def release(self, sock: socket.socket) -> None:
        self.stop_reading(sock)
        if sock in self._written:
            self.stop_writing(sock)

    def after_others(self, act: Callback) -> None:
        # Callbacks run in rounds, and each round begins with a select: whatever is ready now is in
        # the round before `act` or in that of `act`, once each.
        self._loop.call_soon(self._call, act)

    def wake_in(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay + _TIMER_SLACK, self._call, self._wake)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _call_on_libuv(self, sock: socket.socket, ready: Callback) -> None:
        """As `_call`. libuv watches a socket no more once it has an error, though there may be much to read.

        A client that sends and then resets would stay connected: its bytes were read, its end never is.
        """
        try:
            ready()
        except Exception as bug:
            self._failed(bug)
        if sock in self._watched and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._loop.remove_reader(sock)
            self._loop.add_reader(sock, self._call_on_libuv, sock, ready)

    def _call(self, act: Callback) -> Served | None:
        try:
            return act()
        except Exception as bug:
            self._failed(bug)
            return None


class EpollBackend(AsyncioBackend):
    """The same on Linux: the loop watches one epoll, which watches all sockets.

    A loop that watches a socket itself makes handles for it, and libuv four system calls where one will
    do. Nor does an epoll lose sight of a socket that has an error, as libuv does.
    """

    def __init__(self, wake: Callback, failed: Callable[[Exception], None], round_over: Callback) -> None:
        super().__init__(wake, failed)
        self._round_over = round_over
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}  # by descriptor; who is in neither is not in the epoll
        self._writers: dict[int, Callback] = {}
        self._urgent_until = 0.0
        self._loop.add_reader(self._epoll.fileno(), self._serve_ready)

    def start_reading(self, sock: socket.socket, ready: Callback) -> None:
        self._change(sock, self._readers, ready)

    def stop_reading(self, sock: socket.socket) -> None:
        self._change(sock, self._readers, None)

    def start_writing(self, sock: socket.socket, ready: Callback) -> None:
        self._change(sock, self._writers, ready)

    def stop_writing(self, sock: socket.socket) -> None:
        self._change(sock, self._writers, None)

    def release(self, sock: socket.socket) -> None:
        descriptor = sock.fileno()
        reading, writing = self._readers.pop(descriptor, None), self._writers.pop(descriptor, None)
        if reading is not None or writing is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        super().close()
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _change(self, sock: socket.socket, callbacks: dict[int, Callback], ready: Callback | None) -> None:
        descriptor = sock.fileno()
        before = self._mask(descriptor)
        if ready is None:
            callbacks.pop(descriptor, None)
        else:
            callbacks[descriptor] = ready
        wanted = self._mask(descriptor)
        if wanted == before:
            return
        if not before:
            self._epoll.register(descriptor, wanted)
        elif wanted:
            self._epoll.modify(descriptor, wanted)
        else:  # with an empty mask it would still tell of errors, again and again
            self._epoll.unregister(descriptor)

    def _mask(self, descriptor: int) -> int:
        reading = select.EPOLLIN if descriptor in self._readers else 0
        return reading | select.EPOLLOUT if descriptor in self._writers else reading

    def _serve_ready(self) -> None:
        """Call each socket that is ready once; what becomes ready meanwhile has its turn in the next round.

        An error is told to whoever is there: reading, or writing, finds out what it is. A descriptor that
        was closed and opened anew since the epoll was asked is called for nothing, which does no harm.
        """
        readers, writers = self._readers, self._writers
        bulk: list[int] = []
        urgent = False
        found = self._epoll.poll(0)
        self.in_round = len(found) > 1
        for descriptor, events in found:
            if events != select.EPOLLOUT and (ready := readers.get(descriptor)) is not None:
                served = self._call(ready)
                if served is Served.BULK:
                    bulk.append(descriptor)
                elif served is Served.URGENT:
                    urgent = True
            if events != select.EPOLLIN and (ready := writers.get(descriptor)) is not None:
                self._call(ready)
        if self.in_round:
            self.in_round = False
            self._call(self._round_over)
        if urgent:
            self._urgent_until = time.monotonic() + _URGENT_SECONDS
        if bulk and self._urgent_until and not self._make_way(bulk):
            self._urgent_until = 0.0

    def _make_way(self, bulk: list[int]) -> bool:
        """Wait a moment for anything but `bulk`, if something urgent came lately. Did it?

        Who publishes as fast as we read never sleeps, and neither do we: where processors are few, a
        requester then waits for one of them for a slice of the scheduler, which is milliseconds.
        """
        if time.monotonic() > self._urgent_until or self._epoll.fileno() >= _SELECT_MAX:
            return False
        waiting = [descriptor for descriptor in bulk if descriptor in self._readers]
        for descriptor in waiting:
            self._epoll.modify(descriptor, 0)
        select.select([self._epoll], [], [], _MAKE_WAY_SECONDS)
        for descriptor in waiting:
            self._epoll.modify(descriptor, self._mask(descriptor))
        return True


class TrioBackend:
    """Readiness by tasks, children of the runtime's task group, that wait in trio."""

    in_round = False  # trio does not tell how many are ready

    def __init__(self, group: TaskGroup, wake: Callback, failed: Callable[[Exception], None]) -> None:
        import trio

        self._trio: Final = trio
        self._group = group
        self._wake = wake
        self._failed = failed
        self._readers: dict[socket.socket, _Watch] = {}
        self._writers: dict[socket.socket, _Watch] = {}
        self._wake_at = float("inf")
        self._sleeping: trio.CancelScope | None = None
        group.start_soon(self._keep_time, name="natscore timer")

    def start_reading(self, sock: socket.socket, ready: Callback) -> None:
        self._start(self._readers, self._trio.lowlevel.wait_readable, sock, ready)

    def stop_reading(self, sock: socket.socket) -> None:
        self._stop(self._readers, sock)

    def start_writing(self, sock: socket.socket, ready: Callback) -> None:
        self._start(self._writers, self._trio.lowlevel.wait_writable, sock, ready)

    def stop_writing(self, sock: socket.socket) -> None:
        self._stop(self._writers, sock)

    def release(self, sock: socket.socket) -> None:
        for watches in (self._readers, self._writers):
            watch = watches.pop(sock, None)
            if watch is not None:
                watch.ended = True
                watch.ready = None
                if watch.parked is not None:
                    watch.parked.set()
        self._trio.lowlevel.notify_closing(sock)

    def after_others(self, act: Callback) -> None:
        # A new task runs in the next batch, and each batch begins by asking the kernel what is ready.
        self._group.start_soon(self._call_soon, act, name="natscore turn")

    def wake_in(self, delay: float) -> None:
        self._wake_at = self._trio.current_time() + delay
        if self._sleeping is not None:
            self._sleeping.deadline = self._wake_at

    def close(self) -> None:
        """The tasks end with their group."""

    def _start(
        self,
        watches: dict[socket.socket, _Watch],
        wait: Callable[[socket.socket], Awaitable[None]],
        sock: socket.socket,
        ready: Callback,
    ) -> None:
        watch = watches.get(sock)
        if watch is None:
            watch = watches[sock] = _Watch(ready)
            name = f"natscore {wait.__name__} {sock.fileno()}"
            self._group.start_soon(self._watch, watch, wait, sock, name=name)
            return
        watch.ready = ready
        if watch.parked is not None:
            watch.parked.set()

    @staticmethod
    def _stop(watches: dict[socket.socket, _Watch], sock: socket.socket) -> None:
        # The task is not woken for this: when the socket is ready it finds nobody to call, and parks.
        watch = watches.get(sock)
        if watch is not None:
            watch.ready = None

    async def _watch(
        self, watch: _Watch, wait: Callable[[socket.socket], Awaitable[None]], sock: socket.socket
    ) -> None:
        while not watch.ended:
            if watch.ready is None:
                watch.parked = self._trio.Event()
                await watch.parked.wait()
                watch.parked = None
                continue
            try:
                await wait(sock)
            except self._trio.ClosedResourceError:  # released
                return
            if watch.ready is not None:
                self._call(watch.ready)

    async def _keep_time(self) -> None:
        while True:
            with self._trio.CancelScope(deadline=self._wake_at) as self._sleeping:
                await self._trio.sleep_forever()
            self._wake_at = float("inf")
            self._call(self._wake)

    async def _call_soon(self, act: Callback) -> None:
        self._call(act)

    def _call(self, act: Callback) -> None:
        try:
            act()
        except Exception as bug:
            self._failed(bug)


class _Watch:
    """One direction of one socket: whom to call, and how its task is found when it waits for nothing."""

    __slots__ = ("ended", "parked", "ready")

    def __init__(self, ready: Callback) -> None:
        self.ready: Callback | None = ready
        self.parked: Any = None  # a trio.Event while nobody wants to be called
        self.ended = False


def current_backend(
    group: TaskGroup, wake: Callback, failed: Callable[[Exception], None], round_over: Callback
) -> Backend:
    """The backend of the event loop that runs this. Its tasks are children of `group`."""
    if _is_trio():
        return TrioBackend(group, wake, failed)
    if hasattr(select, "epoll"):
        return EpollBackend(wake, failed, round_over)
    return AsyncioBackend(wake, failed)


def _is_trio() -> bool:
    # Not the other way round: trio's guest mode runs inside a loop of asyncio.
    trio: ModuleType | None = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def backend_options(backend: BackendName, uvloop: bool | None = None) -> dict[str, Any]:
    """The `backend_options` for `anyio.run` and its like.

    With `uvloop` None it is taken where it is installed; True insists, and
    raises ConfigError where that cannot be.
    """
    if backend == "trio":
        if uvloop:
            raise ConfigError("uvloop is a loop for asyncio; it cannot run trio")
        return {}
    installed = importlib.util.find_spec("uvloop") is not None
    if uvloop and not installed:
        raise ConfigError("uvloop is not installed; install natscore-transport-tcp[uvloop]")
    return {"use_uvloop": installed if uvloop is None else uvloop}

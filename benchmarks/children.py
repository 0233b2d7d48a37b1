"""The processes of the load: how they are started, ordered, answered for and timed."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, cast

from benchmarks.client import RunFailure
from benchmarks.process import cpu_seconds, machine_cpu_seconds
from benchmarks.streams import StreamFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    Pipe: TypeAlias = Connection[Any, Any]

__all__ = ["BUILD_SECONDS_MAX", "Child", "ProcessorTime", "answer", "answers"]

BUILD_SECONDS_MAX: Final = 60.0
"""Start an interpreter, build what will be sent, connect."""


@dataclass(frozen=True, slots=True)
class Failed:
    """What ends the measurement, as a child tells it."""

    text: str


class Child:
    """A load process: orders go to it, answers come from it in the order they were sent."""

    def __init__(self, work: Callable[..., None], *arguments: object) -> None:
        """Start a process that runs `work(*arguments, pipe)`."""
        context = multiprocessing.get_context("spawn")  # fork would copy what the coordinator holds
        self.name = work.__name__.strip("_")
        self.pipe: Pipe
        self.pipe, theirs = context.Pipe()
        self.answers: deque[Any] = deque()
        self._process = context.Process(
            target=run_child, args=(work, arguments, theirs), name=self.name, daemon=True
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
        if isinstance(answer, Failed):
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
class ProcessorTime:
    """Seconds of processor time up to now, by who has used them."""

    at: float
    server: float
    load: float
    machine: float

    @classmethod
    def read(cls, cpu_clock: Callable[[], float], children: Sequence[Child]) -> Self:
        """Read all clocks."""
        load = sum(cpu_seconds(child.pid) for child in children)
        return cls(time.monotonic(), cpu_clock(), load, machine_cpu_seconds())

    def others_share_since(self, before: ProcessorTime) -> float:
        """How many processors were busy with other work than ours."""
        own = self.server - before.server + self.load - before.load
        return max(self.machine - before.machine - own, 0.0) / (self.at - before.at)


def answers(children: Sequence[Child], seconds: float) -> list[Any]:
    """The next answer of each of `children`."""
    return [answer(child, seconds, children) for child in children]


def answer(child: Child, seconds: float, children: Sequence[Child]) -> Any:
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


def run_child(work: Callable[..., None], arguments: tuple[object, ...], pipe: Pipe) -> None:
    try:
        work(*arguments, pipe)
    except (RunFailure, StreamFault) as failure:
        pipe.send(Failed(str(failure)))
    except OSError as error:
        with suppress(OSError):  # it may be the pipe that has failed
            pipe.send(Failed(f"a connection failed: {error}"))
    except (EOFError, KeyboardInterrupt):
        pass  # the coordinator has ended, or is about to

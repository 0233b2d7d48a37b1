"""What is watched while a server is attacked: its memory, its descriptors, its log, and how others fare."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from tests.support.servers import programs, start
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.support.servers import RunningServer, ServerProgram

__all__ = [
    "ASYNCIO", "ATTEMPTS", "OURS", "QUIET", "WAIT_MAX", "Drain", "Pinger", "Waits", "complaints",
    "connected", "descriptors", "memory", "memory_at_most", "nobody_waits", "start", "wait_until",
]  # fmt: skip

OURS: Final = [program for program in programs() if program.kind == "ours"]
ASYNCIO: Final[ServerProgram] = next(program for program in OURS if program.name == "ours-asyncio")

QUIET: Final = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
WAIT_MAX: Final = 0.050  # seconds that no other client may wait: the project's promise
ATTEMPTS: Final = 3
END_SECONDS_MAX: Final = 30.0


class Waits(NamedTuple):
    """How long the answers took to a client that pinged all the while, in seconds."""

    answers: int
    longest: float
    p99: float


class _Companion:
    """A script of this folder that runs beside a test until it is told to stop. A context manager."""

    script = ""

    def __init__(self, *words: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", str(Path(__file__).with_name(self.script)), *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def result(self, *words: object) -> Any:
        """Tell it to stop, and return what it measured."""
        report, _ = self._process.communicate(" ".join(map(str, words)), timeout=END_SECONDS_MAX)
        return json.loads(report)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


class Pinger(_Companion):
    """Another client, or several by turns: a ping every millisecond. `fields` go into its CONNECT."""

    script = "pinging.py"

    def __init__(self, server: RunningServer, fields: str = "", clients: int = 1) -> None:
        super().__init__(server.port, server.pid, fields, clients)

    def waits(self) -> Waits:
        """How long its PINGs waited so far; it stops."""
        return Waits(**self.result())


class Drain(_Companion):
    """Many subscribers to `foo`, sid 1, that read what comes."""

    script = "draining.py"

    def __init__(self, server: RunningServer, count: int) -> None:
        super().__init__(server.port, count)

    def finish(self, message: bytes, times: int) -> None:
        """Wait until each got `message`, which is a whole MSG, so many times."""
        received, expected = self.result(len(message) * times), len(message) * times
        assert received == expected, f"each was to get {expected} bytes; one got {received}"


def nobody_waits(server: RunningServer, act: Callable[[], object], fields: str = "") -> Waits:
    """Attack, at most three times, until nobody else waited for long; fails if somebody did each time.

    More than once, because a machine that others use too makes any server slow now and then.
    """
    for attempt in range(1, ATTEMPTS + 1):
        with Pinger(server, fields) as pinger:
            act()
            waits = pinger.waits()
        if waits.longest < WAIT_MAX:
            break
        assert attempt < ATTEMPTS, f"another client waited for {waits.longest * 1000:.0f} ms: {waits}"
    return waits


def connected(server: RunningServer, data: bytes = b"") -> RawClient:
    """A quiet client that sent `data` and knows that it was dealt with."""
    client = RawClient(server.host, server.port)
    client.send(QUIET + data + b"PING\r\n")
    client.read_until(rb"PONG\r\n")
    return client


def memory(server: RunningServer) -> int:
    """Bytes of the server's memory that are in use (Linux)."""
    return int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory_at_most(server: RunningServer) -> int:
    """The most that it ever was."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def descriptors(server: RunningServer) -> int:
    """How many descriptors it has open."""
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def complaints(server: RunningServer) -> list[str]:
    """Its warnings and errors, without process id and time, but for what the machine lets a process open."""
    lines = (re.sub(r"^\[\d+\] \S+ \S+ ", "", line) for line in server.log_text().splitlines())
    found = [line for line in lines if re.match(r"\[(WRN|ERR|FTL)\]|Traceback", line)]
    return [line for line in found if not line.startswith("[WRN] This process may open ")]


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Return when something has happened that the server tells nobody; it must happen in time."""
    deadline = time.monotonic() + END_SECONDS_MAX
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)

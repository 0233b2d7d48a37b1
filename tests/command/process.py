"""One process of `nats-server-py`, driven and watched by a test. Every wait has a bound."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["COMMAND", "Process", "run"]

COMMAND: Final = (sys.executable, "-m", "natscore_cli")
SECONDS_MAX: Final = 20.0  # an interpreter on a loaded machine


def run(*flags: str, command: tuple[str, ...] = COMMAND) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, which it must reach by itself."""
    return subprocess.run(
        [*command, *flags], capture_output=True, text=True, timeout=SECONDS_MAX, stdin=subprocess.DEVNULL
    )


class Process:
    """A running command whose standard error is read line by line. A context manager that kills it."""

    def __init__(
        self,
        *flags: str,
        command: tuple[str, ...] = COMMAND,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.started_at = time.perf_counter()
        self._process = subprocess.Popen(
            [*command, *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=before,
        )
        assert self._process.stderr is not None
        self._stderr = self._process.stderr
        os.set_blocking(self._stderr.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stderr, selectors.EVENT_READ)
        self.text = ""  # everything written to standard error so far

    @classmethod
    def ready(cls, *flags: str, before: Callable[[], None] | None = None) -> Self:
        """A server on a free port of the loopback address that has said it is ready."""
        process = cls("-a", "127.0.0.1", "-p", "-1", *flags, before=before)
        process.wait_for("Server is ready|server_ready")
        return process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def port(self) -> int:
        """The port of the log line that names it."""
        found = re.search(r"(?:Listening for client connections on |\"address\": \")\S+:(\d+)", self.text)
        assert found is not None, self.text
        return int(found[1])

    @property
    def messages(self) -> list[str]:
        """Log lines without pid and time: `[INF] Server is ready`."""
        return [re.sub(r"^\[\d+\] \S+ \S+ ", "", line) for line in self.text.splitlines()]

    def wait_for(self, pattern: str) -> str:
        """Read until a line matches, and return the match."""
        deadline = time.monotonic() + SECONDS_MAX
        while not (found := re.search(pattern, self.text)):
            assert self._read(deadline), f"{pattern!r} was not written; standard error:\n{self.text}"
        return found[0]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Read to the end of standard error, and return the exit code; negative for a signal."""
        deadline = time.monotonic() + SECONDS_MAX
        while self._read(deadline):
            pass
        return self._process.wait(SECONDS_MAX)

    def stop(self) -> int:
        """Interrupt, and return the exit code."""
        self.send(signal.SIGINT)
        return self.wait()

    def wait_until_it_catches(self, number: signal.Signals) -> None:
        """Return once the process has a handler of its own for a signal (Linux)."""
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            with open(f"/proc/{self.pid}/status") as status:
                caught = next(line for line in status if line.startswith("SigCgt:"))
            if int(caught.split()[1], 16) & 1 << number - 1:
                return
            time.sleep(0.0005)
        raise AssertionError(f"no handler for {number!r}")

    def seconds_kept_waiting(self) -> float:
        """How long it was ready to run while the processor worked for others; 0 where that is not known."""
        try:
            with open(f"/proc/{self.pid}/schedstat") as statistics:
                return int(statistics.read().split()[1]) / 1e9
        except OSError:
            return 0.0

    def _read(self, deadline: float) -> bool:
        """Take what was written; False at the end of the stream or of the time."""
        if not self._selector.select(max(deadline - time.monotonic(), 0.0)):
            return False
        data = os.read(self._stderr.fileno(), 65_536)
        self.text += data.decode(errors="backslashreplace")
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(SECONDS_MAX)
        self._selector.close()
        self._stderr.close()

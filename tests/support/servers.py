"""Real server processes: which ones this machine has, and how one is started and stopped.

The same four programs serve conformance tests, interoperation tests and
benchmarks: our command on both async backends, and the two Go releases that the
specification was written from. Everything listens on loopback, on a port that the
kernel picks, and every wait has a bound.

Go servers are found through `NATS_SERVER_2_9` and `NATS_SERVER_2_14`, then on the
`PATH`, then in `.peers/` of this repository.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["RunningServer", "ServerFailure", "ServerProgram", "missing_programs", "programs", "start"]

REPOSITORY: Final = Path(__file__).resolve().parents[2]

START_SECONDS_MAX: Final = 20.0  # an interpreter on a loaded machine; a Go server needs 50 ms
STOP_SECONDS_MAX: Final = 10.0
POLL_SECONDS: Final = 0.005

BACKENDS: Final = ("asyncio", "trio")
GO_LINES: Final = ("2.9", "2.14")
"""The Go releases we compare with, by major and minor version."""


class ServerFailure(Exception):
    """A server did not start, did not stop, or is missing where it must not be."""


@dataclass(frozen=True, slots=True)
class ServerProgram:
    """A server that can be started: `command` plus flags."""

    name: str
    command: tuple[str, ...]
    kind: Literal["ours", "go"]
    version: str | None  # of a Go server, as it says itself; None for ours

    def __str__(self) -> str:
        return self.name


def programs() -> list[ServerProgram]:
    """Every server of this machine, ours first; a missing one is left out.

    With `CI=true` a missing one is a ServerFailure: there nothing may be skipped.
    """
    if os.environ.get("CI") == "true" and (names := missing_programs()):
        raise ServerFailure(f"missing servers: {', '.join(names)}")
    return _found_programs()


def missing_programs() -> list[str]:
    """What `programs` leaves out on this machine."""
    wanted = [*(f"ours-{backend}" for backend in BACKENDS), *(f"go-{line}" for line in GO_LINES)]
    found = [program.name for program in _found_programs()]
    return [name for name in wanted if not any(f"{other}.".startswith(f"{name}.") for other in found)]


def _found_programs() -> list[ServerProgram]:
    return [*_our_programs(), *_go_programs()]


def _our_programs() -> list[ServerProgram]:
    if importlib.util.find_spec("natscore_cli.__main__") is None:
        return []
    return [
        ServerProgram(
            f"ours-{backend}", (sys.executable, "-m", "natscore_cli", "--backend", backend), "ours", None
        )
        for backend in BACKENDS
    ]


@functools.cache
def _go_programs() -> tuple[ServerProgram, ...]:
    found = []
    for line in GO_LINES:
        for path in _go_candidates(line):
            version = _go_version(path)
            if version is not None and version.startswith(f"{line}."):
                found.append(ServerProgram(f"go-{version}", (path,), "go", version))
                break
    return tuple(found)


def _go_candidates(line: str) -> Iterator[str]:
    configured = os.environ.get("NATS_SERVER_" + line.replace(".", "_"))
    if configured:
        yield configured
    # Debian puts servers where the PATH of an ordinary user does not look.
    search_path = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"
    installed = shutil.which("nats-server", path=search_path)
    if installed:
        yield installed
    built = REPOSITORY / ".peers" / "nats-server"
    if built.exists():
        yield str(built)


def _go_version(path: str) -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=START_SECONDS_MAX)
        if match := re.search(r"v(\d+\.\d+\.\d+)", answer.stdout + answer.stderr):
            return match[1]
    return None


class RunningServer:
    """A server process that accepts connections; a context manager that stops it.

    `host` and `port` are where clients connect. The log (standard output and
    error) is one file over all restarts. A process that is left behind, because a
    test forgot it or the interpreter exits, is killed.
    """

    process: subprocess.Popen[bytes]
    port = 0  # not listening yet

    def __init__(
        self, program: ServerProgram, flags: tuple[str, ...], host: str, directory: Path, *, keeps: bool
    ) -> None:
        """Start the process and wait until it listens. Use `start`."""
        self.program = program
        self.host = host
        self.directory = directory
        self._flags = flags
        self._log_path = directory / "server.log"
        self._keeps = keeps
        self._launch(port=-1)

    @property
    def url(self) -> str:
        """Where clients connect, as `nats://host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"nats://{host}:{self.port}"

    @property
    def monitoring_url(self) -> str:
        """Where the monitoring port answers, as `http://host:port`; the server needs `-m -1` for one."""
        url: str = json.loads(self._ports_file().read_text())["monitoring"][0]
        return url

    @property
    def pid(self) -> int:
        """The process id of the latest start."""
        return self.process.pid

    def log_text(self) -> str:
        """Everything the server has logged so far."""
        return self._log_path.read_text(errors="replace")

    def stop(self) -> int:
        """Interrupt the server, wait until it has exited, and return its exit code.

        A server that does not exit in time is killed, and that is a ServerFailure.
        Stopping twice returns the same code.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailure(
                f"{self.program} did not exit within {STOP_SECONDS_MAX} s of SIGINT; "
                f"its log:\n{self.log_text()}"
            ) from None

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self.process.kill()
        self.process.wait(STOP_SECONDS_MAX)

    def restart(self) -> None:
        """Stop the server if it runs and start it again with the same flags on the same port."""
        self.stop()
        self._discard.detach()
        self._launch(port=self.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.process.poll() is None else "stopped"
        return f"<{self.program} {state} at {self.url}, pid {self.pid}>"

    def _launch(self, *, port: int) -> None:
        command = [
            *self.program.command,
            *("-a", self.host, "-p", str(port), "--ports_file_dir", str(self.directory)),
            *self._flags,
        ]
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory
            )
        self._discard = weakref.finalize(self, _discard, self.process, self.directory, self._keeps)
        try:
            self.port = self._wait_for_port()
        except BaseException:
            self.kill()
            raise

    def _ports_file(self) -> Path:
        return self.directory / f"nats-server_{self.pid}.ports"

    def _wait_for_port(self) -> int:
        """The port of the ports file, which is written once the listener is bound.

        From then on the kernel accepts. No probe connection is made: it would take
        a cid and, for a while, a place of `max_connections`.
        """
        ports_file = self._ports_file()
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            # Absent, or half written: look again.
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                if urls := json.loads(ports_file.read_text()).get("nats"):
                    return int(urls[0].rpartition(":")[2])
            if self.process.poll() is not None:
                raise ServerFailure(
                    f"{self.program} exited with {self.process.returncode} at its start; "
                    f"command: {self.process.args!r}; its log:\n{self.log_text()}"
                )
            time.sleep(POLL_SECONDS)
        raise ServerFailure(
            f"{self.program} did not listen within {START_SECONDS_MAX} s; "
            f"command: {self.process.args!r}; its log:\n{self.log_text()}"
        )


def start(
    program: ServerProgram,
    *flags: str,
    config: str | None = None,
    host: str = "127.0.0.1",
    directory: Path | None = None,
) -> RunningServer:
    """Start `program` and return it once it accepts connections.

    It listens on `host` at a port the kernel picks; `flags` follow, and `config`
    is the text of a configuration file. Its files go into `directory`, or into a
    temporary one that lives as long as the returned object.

    Raises ServerFailure, with the log, when the server exits or stays silent.
    """
    home = Path(tempfile.mkdtemp(prefix="natscore-")) if directory is None else directory
    if config is not None:
        config_path = home / "server.conf"
        config_path.write_text(config)
        flags = ("-c", str(config_path), *flags)
    return RunningServer(program, flags, host, home, keeps=directory is not None)


def _discard(process: subprocess.Popen[bytes], directory: Path, keeps: bool) -> None:
    """Leave nothing behind: no process, and no directory of our own."""
    if process.poll() is None:
        process.kill()
        process.wait(STOP_SECONDS_MAX)
    if not keeps:
        shutil.rmtree(directory, ignore_errors=True)

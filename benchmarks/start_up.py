"""How long a server process needs for its first INFO and for its version."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.client import RunFailure
from benchmarks.process import machine_cpu_seconds

if TYPE_CHECKING:
    from tests.support.servers import ServerProgram

__all__ = ["StartUpTimes", "run_start_up"]

HOST: Final = "127.0.0.1"
PROCESS_SECONDS_MAX: Final = 20.0
CONNECT_POLL_SECONDS: Final = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUpTimes:
    """Medians of a few starts."""

    to_info: float
    of_version: float
    others_cpu_share: float


def run_start_up(program: ServerProgram, repetitions: int) -> StartUpTimes:
    """Start `program` so often for each figure. Raises RunFailure."""
    repeated = range(repetitions)
    before, own_before, began = machine_cpu_seconds(), _own_cpu_seconds(), time.perf_counter()
    to_info = statistics.median(_seconds_to_info(program) for _ in repeated)
    of_version = statistics.median(_seconds_of_version(program) for _ in repeated)
    others = machine_cpu_seconds() - before - (_own_cpu_seconds() - own_before)
    share = max(others, 0.0) / (time.perf_counter() - began)
    return StartUpTimes(to_info=to_info, of_version=of_version, others_cpu_share=share)


def _own_cpu_seconds() -> float:
    """Processor time of this process and of those it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _seconds_to_info(program: ServerProgram) -> float:
    """From starting the process to the first line of the first accepted connection.

    The port is chosen here, because reading it from a ports file would be measured too.
    """
    with socket.create_server((HOST, 0)) as reserved:
        port: int = reserved.getsockname()[1]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*program.command, "-a", HOST, "-p", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with _connect_when_open(process, port, began + PROCESS_SECONDS_MAX) as connection:
            received = b""
            while not received.endswith(b"\r\n"):
                data = connection.recv(65_536)
                if not data:
                    raise RunFailure(f"closed before INFO; received {received[:80]!r}")
                received += data
        seconds = time.perf_counter() - began
    finally:
        process.terminate()
        try:
            process.wait(PROCESS_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if not received.startswith(b"INFO "):
        raise RunFailure(f"INFO expected, {received[:80]!r} received")
    return seconds


def _connect_when_open(process: subprocess.Popen[bytes], port: int, deadline: float) -> socket.socket:
    while time.perf_counter() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection((HOST, port), PROCESS_SECONDS_MAX)
        if (code := process.poll()) is not None:
            raise RunFailure(f"the server exited with {code} at its start")
        time.sleep(CONNECT_POLL_SECONDS)
    raise RunFailure(f"no connection accepted within {PROCESS_SECONDS_MAX} s")


def _seconds_of_version(program: ServerProgram) -> float:
    began = time.perf_counter()
    try:
        answer = subprocess.run(
            [*program.command, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROCESS_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailure(f"--version took over {PROCESS_SECONDS_MAX} s") from error
    seconds = time.perf_counter() - began
    if answer.returncode != 0:
        raise RunFailure(f"--version exited with {answer.returncode}")
    return seconds

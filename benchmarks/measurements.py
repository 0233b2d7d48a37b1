"""One run of one scenario on one server, which is started for it and stopped after it."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.servers import RunningServer, ServerProgram, start

from benchmarks.load import RunFailure, connect, run_requests, run_traffic
from benchmarks.process import cpu_seconds, machine_cpu_seconds, resident_bytes
from benchmarks.scenarios import IdleConnections, RequestReply, Scenario, StartUp, TrafficScenario

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Figure", "measure"]

HOST: Final = "127.0.0.1"
PROCESS_SECONDS_MAX: Final = 20.0
CONNECT_POLL_SECONDS: Final = 0.0005


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, in the unit of its row."""

    value: float
    per_cpu_second: float | None = None  # of rates: messages for each second of processor time of the server
    load_cpu_share: float | None = None  # of rates: processors that the generators kept busy
    others_cpu_share: float = 0.0  # processors that were busy with other work on the machine


def measure(scenario: Scenario, program: ServerProgram) -> dict[str, Figure]:
    """The figures of one run, by name of row. Raises RunFailure or ServerFailure."""
    match scenario:
        case TrafficScenario():
            return _measure_traffic(scenario, program)
        case RequestReply():
            return _measure_requests(scenario, program)
        case IdleConnections():
            return _measure_idle_connections(scenario, program)
        case StartUp():
            return _measure_start_up(scenario, program)


def _measure_traffic(scenario: TrafficScenario, program: ServerProgram) -> dict[str, Figure]:
    with _running(program, journal=scenario.journal) as server:
        *_, times = run_traffic(
            scenario.traffic,
            (server.host, server.port),
            (scenario.warm_up_seconds, scenario.seconds),
            cpu_clock=partial(cpu_seconds, server.pid),
        )
    figure = Figure(
        times.messages / times.seconds,
        # A clock that counts 10 ms can show none in a very short run.
        times.messages / times.cpu_seconds if times.cpu_seconds else None,
        times.load_cpu_seconds / times.seconds,
        times.others_cpu_share,
    )
    return {scenario.name: figure}


def _measure_requests(scenario: RequestReply, program: ServerProgram) -> dict[str, Figure]:
    with _running(program) as server:
        *_, times = run_requests(
            scenario.payload_bytes,
            (server.host, server.port),
            (scenario.warm_up_seconds, scenario.seconds),
            cpu_clock=partial(cpu_seconds, server.pid),
        )
    if len(times.seconds) < 2:
        raise RunFailure(f"{len(times.seconds)} requests are too few for quantiles")
    percentiles = statistics.quantiles(times.seconds, n=100, method="inclusive")
    return {
        f"{scenario.name}-{name}": Figure(value, others_cpu_share=times.others_cpu_share)
        for name, value in (("p50", percentiles[49]), ("p99", percentiles[98]))
    }


def _measure_idle_connections(scenario: IdleConnections, program: ServerProgram) -> dict[str, Figure]:
    with _running(program) as server, contextlib.ExitStack() as connections:
        address = (server.host, server.port)
        for _ in range(scenario.warm_up_connections):
            connections.enter_context(connect(address))
        before = resident_bytes(server.pid)
        for _ in range(scenario.connections):
            connections.enter_context(connect(address))
        after = resident_bytes(server.pid)
    return {scenario.name: Figure((after - before) / scenario.connections)}


def _measure_start_up(scenario: StartUp, program: ServerProgram) -> dict[str, Figure]:
    repeated = range(scenario.repetitions)
    before, own_before, began = machine_cpu_seconds(), _own_cpu_seconds(), time.perf_counter()
    to_info = statistics.median(_seconds_to_info(program) for _ in repeated)
    of_version = statistics.median(_seconds_of_version(program) for _ in repeated)
    others = machine_cpu_seconds() - before - (_own_cpu_seconds() - own_before)
    share = max(others, 0.0) / (time.perf_counter() - began)
    return {
        scenario.name: Figure(to_info, others_cpu_share=share),
        f"{scenario.name}-version": Figure(of_version, others_cpu_share=share),
    }


def _own_cpu_seconds() -> float:
    """Processor time of this process and of those it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@contextlib.contextmanager
def _running(program: ServerProgram, *, journal: bool = False) -> Iterator[RunningServer]:
    """The server, and a check that it still runs at the end."""
    with tempfile.TemporaryDirectory(prefix="natscore-bench-") as directory:
        flags = ("--journal", str(Path(directory, "journal"))) if journal and program.kind == "ours" else ()
        with start(program, *flags, directory=Path(directory)) as server:
            yield server
            if (code := server.process.poll()) is not None:
                raise RunFailure(f"the server exited with {code} during the run")


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

"""One run of one scenario on one server, which is started for it and stopped after it."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.certificates import Authority
from tests.support.servers import RunningServer, ServerProgram, start

from benchmarks.client import RunFailure, allow_open_files, connect
from benchmarks.connections import returning, run_connections
from benchmarks.load import Pass, TrafficTimes, run_traffic
from benchmarks.nats_py import run_library_requests, run_library_traffic
from benchmarks.process import cpu_seconds, resident_bytes
from benchmarks.requests import ACCOUNTS, run_requests, run_requests_in_flight
from benchmarks.scenarios import (
    ConnectionRate,
    IdleConnections,
    LibraryLoad,
    MatchCost,
    Reconnection,
    RequestReply,
    RequestsInFlight,
    Scenario,
    StandingSubscriptions,
    StartUp,
    TrafficScenario,
)
from benchmarks.start_up import run_start_up
from benchmarks.streams import Traffic
from benchmarks.subscriptions import holding, probing, watch_idle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.client import Address

__all__ = ["Figure", "measure"]

SPARE_FILES: Final = 200
"""Files a server has open beside its clients."""

LOAD_SECONDS_MAX: Final = 180.0  # until all subscriptions of a match scenario stand
PROBE_SECONDS: Final = 0.2  # around each event that a probe is there for


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, in the unit of its row."""

    value: float
    per_cpu_second: float | None = None  # of rates: how many for each second of processor time of the server
    load_cpu_share: float | None = None  # of rates: processors that the generators kept busy
    others_cpu_share: float = 0.0  # processors that were busy with other work on the machine
    of_own: float | None = None  # divided by the figure of the same server under the other condition
    notes: dict[str, float] = field(default_factory=dict)  # what else was counted, for the JSON file


def measure(scenario: Scenario, program: ServerProgram) -> dict[str, Figure]:
    """The figures of one run, by name of row. Raises RunFailure or ServerFailure."""
    match scenario:
        case TrafficScenario():
            return {scenario.name: _measure_traffic(scenario, program)}
        case RequestReply():
            return _measure_requests(scenario, program)
        case RequestsInFlight():
            return {scenario.name: _measure_requests_in_flight(scenario, program)}
        case ConnectionRate():
            return {scenario.name: _measure_connections(scenario, program)}
        case Reconnection():
            return {scenario.name: _measure_reconnection(scenario, program)}
        case StandingSubscriptions():
            return _measure_subscriptions(scenario, program)
        case MatchCost():
            return _measure_match(scenario, program)
        case LibraryLoad():
            return _measure_library(scenario, program)
        case IdleConnections():
            return {scenario.name: _measure_idle_connections(scenario, program)}
        case StartUp():
            times = run_start_up(program, scenario.repetitions)
            return {
                scenario.name: Figure(times.to_info, others_cpu_share=times.others_cpu_share),
                f"{scenario.name}-version": Figure(times.of_version, others_cpu_share=times.others_cpu_share),
            }


def _measure_traffic(scenario: TrafficScenario, program: ServerProgram) -> Figure:
    warm_up = Pass(scenario.warm_up_seconds, messages_max=scenario.warm_up_messages)
    passes = [warm_up, Pass(scenario.seconds)]
    if scenario.beside:
        passes += [Pass(scenario.seconds, in_company=True), Pass(scenario.seconds)]
    clients = scenario.traffic.publishers + scenario.traffic.subscribers
    logins = scenario.logins
    config = logins.config if logins else None
    with _running(
        program, journal=scenario.journal, tls=scenario.tls, clients=clients, config=config
    ) as server:
        run = partial(
            run_traffic,
            scenario.traffic,
            _address(server),
            passes,
            beside=scenario.beside,
            cpu_clock=partial(cpu_seconds, server.pid),
            silence_seconds=scenario.silence_seconds,
            tls=scenario.tls,
            subscriber=logins.subscriber if logins else "",
        )
        publishers = (logins.unrestricted, logins.publisher, logins.unrestricted) if logins else ("",)
        if logins and not logins.unrestricted:
            publishers = (logins.publisher,)
        measured = [one for publisher in publishers for one in run(publisher=publisher)[1:]]
    if len(measured) == 1:
        return _rate(measured[0])
    before, beside, after = measured
    without = (before.rate + after.rate) / 2
    return _rate(
        beside,
        of_own=beside.rate / without,
        notes={**beside.company, "without_before": before.rate, "without_after": after.rate},
    )


def _rate(times: TrafficTimes, of_own: float | None = None, notes: dict[str, float] | None = None) -> Figure:
    return Figure(
        times.rate,
        _per_cpu_second(times.messages, times.cpu_seconds),
        times.load_cpu_seconds / times.seconds,
        times.others_cpu_share,
        of_own,
        notes or {},
    )


def _per_cpu_second(count: int, seconds: float) -> float | None:
    # A clock that counts 10 ms can show none in a very short run.
    return count / seconds if seconds else None


def _measure_requests(scenario: RequestReply, program: ServerProgram) -> dict[str, Figure]:
    with _running(program, config=ACCOUNTS if scenario.imported else None) as server:
        *_, times = run_requests(
            scenario.payload_bytes,
            _address(server),
            (scenario.warm_up_seconds, scenario.seconds),
            imported=scenario.imported,
            beside=scenario.beside,
            cpu_clock=partial(cpu_seconds, server.pid),
        )
    return _quantiles(scenario.name, times.seconds, times.others_cpu_share, times.company)


def _quantiles(
    name: str, seconds: list[float], others_cpu_share: float, notes: dict[str, float]
) -> dict[str, Figure]:
    if len(seconds) < 2:
        raise RunFailure(f"{len(seconds)} requests are too few for quantiles")
    percentiles = statistics.quantiles(seconds, n=100, method="inclusive")
    notes = {**notes, "requests": float(len(seconds))}
    return {
        f"{name}-{quantile}": Figure(value, others_cpu_share=others_cpu_share, notes=notes)
        for quantile, value in (("p50", percentiles[49]), ("p99", percentiles[98]))
    }


def _measure_requests_in_flight(scenario: RequestsInFlight, program: ServerProgram) -> Figure:
    with _running(program) as server:
        *_, times = run_requests_in_flight(
            scenario.payload_bytes,
            scenario.clients,
            _address(server),
            (scenario.warm_up_seconds, scenario.seconds),
            cpu_clock=partial(cpu_seconds, server.pid),
        )
    return Figure(
        times.requests / times.seconds,
        _per_cpu_second(times.requests, times.cpu_seconds),
        times.load_cpu_seconds / times.seconds,
        times.others_cpu_share,
    )


def _measure_connections(scenario: ConnectionRate, program: ServerProgram) -> Figure:
    with _running(program) as server:
        *_, times = run_connections(
            _address(server),
            [scenario.warm_up_connections, scenario.connections],
            scenario.in_flight,
            cpu_clock=partial(cpu_seconds, server.pid),
        )
    return Figure(
        times.connections / times.seconds,
        _per_cpu_second(times.connections, times.cpu_seconds),
        times.load_cpu_seconds / times.seconds,
        times.others_cpu_share,
    )


def _measure_reconnection(scenario: Reconnection, program: ServerProgram) -> Figure:
    with (
        _running(program, clients=scenario.connections) as server,
        returning(scenario.connections, _address(server)) as clients,
    ):
        server.restart()
        before = cpu_seconds(server.pid)
        seconds = clients.come_back()
        used = cpu_seconds(server.pid) - before
    return Figure(
        scenario.connections / seconds,
        _per_cpu_second(scenario.connections, used),
        notes={"seconds": seconds},
    )


def _measure_subscriptions(scenario: StandingSubscriptions, program: ServerProgram) -> dict[str, Figure]:
    name, count = scenario.name, scenario.subscriptions
    with (
        _running(program, clients=scenario.connections) as server,
        holding(scenario.subjects, count, scenario.connections, _address(server)) as held,
    ):
        before = resident_bytes(server.pid)
        load_seconds = held.load()
        loaded = resident_bytes(server.pid)
        idle = watch_idle(server.pid, _address(server), scenario.idle_seconds)
        after = resident_bytes(server.pid)
        memory = Figure((after - before) / count, notes={"right_after_loading": (loaded - before) / count})
        if not scenario.stalls:
            return {name: memory}
        with probing(_address(server)) as busy:
            traffic, *_ = run_traffic(Traffic(), _address(server), [Pass(scenario.traffic_seconds)])
        with probing(_address(server)) as closing:
            for _ in range(scenario.closing):
                time.sleep(PROBE_SECONDS)
                held.close_one()
            time.sleep(PROBE_SECONDS)
    notes = {f"idle_{key}": value for key, value in idle.items()}
    notes |= {f"beside_traffic_{key}": value for key, value in busy.report.items()}
    return {
        name: memory,
        f"{name}-load": Figure(load_seconds),
        f"{name}-stall": Figure(
            max(idle["longest_seconds"], busy.report["longest_seconds"]),
            others_cpu_share=traffic.others_cpu_share,
            notes={**notes, "traffic_messages_per_second": traffic.rate},
        ),
        f"{name}-close": Figure(closing.report["longest_seconds"], notes=closing.report),
    }


def _measure_match(scenario: MatchCost, program: ServerProgram) -> dict[str, Figure]:
    """Each part has a server of its own: a table that was large once may stay so."""
    of_few = _uncached(scenario, program, patterns=scenario.few, matched=scenario.few)
    of_many = _uncached(scenario, program, patterns=scenario.many, matched=scenario.few)
    of_each = _uncached(scenario, program, patterns=scenario.many, matched=scenario.many)
    if not (of_few.cpu_seconds and of_many.cpu_seconds and of_each.cpu_seconds):
        raise RunFailure("the server used less processor time than can be measured")
    cost_of_few = of_few.cpu_seconds / of_few.messages

    def figure(times: TrafficTimes) -> Figure:
        cost = times.cpu_seconds / times.messages
        return Figure(
            cost,
            times.messages / times.cpu_seconds,
            times.load_cpu_seconds / times.seconds,
            max(times.others_cpu_share, of_few.others_cpu_share),
            cost / cost_of_few,
            {
                "with_few_seconds": cost_of_few,
                "with_few_messages_per_second": of_few.rate,
                "messages_per_second": times.rate,
            },
        )

    return {scenario.name: figure(of_many), f"{scenario.name}-each": figure(of_each)}


def _uncached(scenario: MatchCost, program: ServerProgram, *, patterns: int, matched: int) -> TrafficTimes:
    traffic = Traffic(
        subjects=patterns,
        shuffled=True,
        published_subjects=matched,
        last_tokens_fresh=True,
        messages_max=scenario.messages_max,
    )
    with _running(program) as server:
        # No warm-up: it would publish to the subjects.
        (times,) = run_traffic(
            traffic,
            _address(server),
            [Pass(scenario.seconds)],
            cpu_clock=partial(cpu_seconds, server.pid),
            build_seconds=LOAD_SECONDS_MAX,
        )
    return times


def _measure_library(scenario: LibraryLoad, program: ServerProgram) -> dict[str, Figure]:
    with _running(program) as server:
        clock = partial(cpu_seconds, server.pid)
        *_, traffic = run_library_traffic(
            _address(server),
            scenario.payload_bytes,
            [scenario.warm_up_messages, scenario.messages],
            cpu_clock=clock,
        )
        *_, requests = run_library_requests(
            _address(server),
            scenario.payload_bytes,
            [scenario.warm_up_requests, scenario.requests],
            cpu_clock=clock,
        )
    rate = Figure(
        traffic.messages / traffic.seconds,
        _per_cpu_second(traffic.messages, traffic.cpu_seconds),
        traffic.load_cpu_seconds / traffic.seconds,
        traffic.others_cpu_share,
    )
    return {
        scenario.name: rate,
        **_quantiles(scenario.name, requests.seconds, requests.others_cpu_share, {}),
    }


def _measure_idle_connections(scenario: IdleConnections, program: ServerProgram) -> Figure:
    clients = scenario.warm_up_connections + scenario.connections
    with _running(program, clients=clients) as server, contextlib.ExitStack() as connections:
        for _ in range(scenario.warm_up_connections):
            connections.enter_context(connect(_address(server)))
        before = resident_bytes(server.pid)
        for _ in range(scenario.connections):
            connections.enter_context(connect(_address(server)))
        after = resident_bytes(server.pid)
    return Figure((after - before) / scenario.connections)


def _address(server: RunningServer) -> Address:
    return (server.host, server.port)


@contextlib.contextmanager
def _running(
    program: ServerProgram,
    *,
    journal: bool = False,
    tls: bool = False,
    clients: int = 0,
    config: str | None = None,
) -> Iterator[RunningServer]:
    """The server, allowed to have so many clients, and a check that it still runs at the end."""
    allow_open_files(clients + SPARE_FILES)
    with tempfile.TemporaryDirectory(prefix="natscore-bench-") as directory:
        flags: tuple[str, ...] = ()
        if journal and program.kind == "ours":
            flags = ("--journal", str(Path(directory, "journal")))
        if tls:
            pair = Authority(Path(directory)).issue()
            flags += ("--tlscert", pair.cert_file, "--tlskey", pair.key_file)
        with start(program, *flags, config=config, directory=Path(directory)) as server:
            yield server
            if (code := server.process.poll()) is not None:
                raise RunFailure(f"the server exited with {code} during the run")

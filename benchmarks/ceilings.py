"""How fast the load generators are when no server slows them down; prints a Markdown table.

    python -m benchmarks.ceilings

The peer is `relay.py`, in a process of its own as a server would be. A row of the
benchmark is about the server as long as it stays well below its ceiling.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import statistics
import sys
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from benchmarks.catalogue import SCENARIOS
from benchmarks.client import allow_open_files
from benchmarks.connections import run_connections
from benchmarks.load import Pass, run_traffic
from benchmarks.relay import ConcurrentRequestRelay, Relay, RequestRelay
from benchmarks.report import aligned
from benchmarks.requests import run_requests, run_requests_in_flight
from benchmarks.scenarios import (
    ConnectionRate,
    RequestReply,
    RequestsInFlight,
    Scenario,
    TrafficScenario,
    quick,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from benchmarks.client import Address
    from benchmarks.streams import Traffic

    Pipe: TypeAlias = Connection[Any, Any]

__all__ = ["ceiling", "main"]

START_SECONDS_MAX: Final = 60.0  # the relay builds its rings first
SPARE_FILES: Final = 100


def main() -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ceilings", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="short runs: does everything work?")
    names = [one.name for one in SCENARIOS if _has_ceiling(one)]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    options = parser.parse_args()
    loads = [one for one in SCENARIOS if _has_ceiling(one) and (not options.only or one.name in options.only)]
    header = ["", "ceiling", "payload per second", "processors busy with load"]
    lines = [[one.title.strip(","), *ceiling(quick(one) if options.quick else one)] for one in loads]
    print(aligned([header, *lines], markdown=True))
    return 0


def _has_ceiling(scenario: Scenario) -> bool:
    """Whether a relay can stand for the server, and no other row has the same load."""
    match scenario:
        case TrafficScenario(traffic=traffic):
            return not (scenario.journal or scenario.beside or traffic.sids_differ or scenario.tls)
        case RequestReply():
            return scenario.beside is None
        case RequestsInFlight() | ConnectionRate():
            return True
        case _:
            return False


def ceiling(scenario: Scenario) -> list[str]:
    """The rate or the time that the generators of `scenario` reach, and what they cost."""
    match scenario:
        case TrafficScenario(traffic=traffic):
            passes = [
                Pass(scenario.warm_up_seconds, messages_max=scenario.warm_up_messages),
                Pass(scenario.seconds),
            ]
            with _relay(Relay, traffic, clients=traffic.publishers + traffic.subscribers) as address:
                *_, times = run_traffic(traffic, address, passes, silence_seconds=scenario.silence_seconds)
            return [
                f"{times.rate:,.0f} msg/s",
                f"{times.rate * (traffic.payload_bytes + traffic.header_bytes) / 1e6:,.0f} MB",
                f"{times.load_cpu_seconds / times.seconds:.2f}",
            ]
        case RequestReply():
            with _relay(RequestRelay) as address:
                *_, requests = run_requests(
                    scenario.payload_bytes, address, (scenario.warm_up_seconds, scenario.seconds)
                )
            return [f"{statistics.median(requests.seconds) * 1e6:.1f} µs p50", "", ""]
        case RequestsInFlight():
            with _relay(ConcurrentRequestRelay) as address:
                *_, flights = run_requests_in_flight(
                    scenario.payload_bytes,
                    scenario.clients,
                    address,
                    (scenario.warm_up_seconds, scenario.seconds),
                )
            rate = flights.requests / flights.seconds
            return [f"{rate:,.0f} req/s", "", f"{flights.load_cpu_seconds / flights.seconds:.2f}"]
        case ConnectionRate():
            with _relay(RequestRelay) as address:
                passed = [scenario.warm_up_connections, scenario.connections]
                *_, come = run_connections(address, passed, scenario.in_flight)
            rate = come.connections / come.seconds
            return [f"{rate:,.0f} conn/s", "", f"{come.load_cpu_seconds / come.seconds:.2f}"]
        case _:
            raise ValueError(f"{scenario.name} has no load")


@contextlib.contextmanager
def _relay(kind: Callable[..., Relay], *traffic: Traffic, clients: int = 0) -> Iterator[Address]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(kind, traffic, clients, theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(START_SECONDS_MAX):
            raise TimeoutError(f"the relay did not start within {START_SECONDS_MAX} s")
        address: Address = ours.recv()
        yield address
    finally:
        process.terminate()
        process.join()


def _serve(kind: Callable[..., Relay], traffic: tuple[Traffic, ...], clients: int, pipe: Pipe) -> None:
    allow_open_files(clients + SPARE_FILES)
    relay = kind(*traffic)
    pipe.send(relay.address)
    relay.serve()


if __name__ == "__main__":
    sys.exit(main())

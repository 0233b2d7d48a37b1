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
from benchmarks.client import Address, allow_open_files
from benchmarks.connections import run_connections
from benchmarks.load import Pass, run_traffic
from benchmarks.relay import Relay, RequestRelay, RequestsInFlightRelay
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
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from benchmarks.streams import Traffic

    Pipe: TypeAlias = Connection[Any, Any]

__all__ = ["ceiling", "main"]

START_SECONDS_MAX: Final = 60.0  # the relay builds its rings first


def main() -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ceilings", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="short runs: does everything work?")
    options = parser.parse_args()
    loads = [one for one in SCENARIOS if isinstance(one, TrafficScenario | RequestReply)]
    header = ["", "ceiling", "payload per second", "processors busy with load"]
    lines = [
        [one.title.strip(","), *ceiling(quick(one) if options.quick else one)]
        for one in loads
        # These two are the same load as another.
        if not (isinstance(one, TrafficScenario) and (one.journal or one.traffic.sids_differ))
    ]
    print(aligned([header, *lines], markdown=True))
    return 0


def ceiling(scenario: Scenario) -> list[str]:
    """The rate or the time that the generators of `scenario` reach, and what they cost."""
    match scenario:
        case TrafficScenario(traffic=traffic):
            with _relay(traffic) as address:
                *_, times = run_traffic(traffic, address, (scenario.warm_up_seconds, scenario.seconds))
            rate = times.messages / times.seconds
            return [
                f"{rate:,.0f} msg/s",
                f"{rate * traffic.payload_bytes / 1e6:,.0f} MB",
                f"{times.load_cpu_seconds / times.seconds:.2f}",
            ]
        case RequestReply():
            with _relay(None) as address:
                *_, requests = run_requests(
                    scenario.payload_bytes, address, (scenario.warm_up_seconds, scenario.seconds)
                )
            return [f"{statistics.median(requests.seconds) * 1e6:.1f} µs p50", "", ""]
        case _:
            raise ValueError(f"{scenario.name} has no load")


@contextlib.contextmanager
def _relay(traffic: Traffic | None) -> Iterator[Address]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(traffic, theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(START_SECONDS_MAX):
            raise TimeoutError(f"the relay did not start within {START_SECONDS_MAX} s")
        address: Address = ours.recv()
        yield address
    finally:
        process.terminate()
        process.join()


def _serve(traffic: Traffic | None, pipe: Pipe) -> None:
    relay = RequestRelay() if traffic is None else Relay(traffic)
    pipe.send(relay.address)
    relay.serve()


if __name__ == "__main__":
    sys.exit(main())

"""Measures this server and, side by side in the same run, the Go server; prints one table.

    python -m benchmarks.run                          everything, 5 runs, reference go-2.9
    python -m benchmarks.run --only one-to-one --check
    python -m benchmarks.run --also go-2.14 --json results.json

Exits with 1 when a run failed, or, with --check, when a figure is outside its floor.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.servers import ServerFailure, ServerProgram, programs

from benchmarks.catalogue import SCENARIOS
from benchmarks.client import RunFailure
from benchmarks.floors import Floors
from benchmarks.measurements import measure
from benchmarks.report import Comparison, Series, disturbances, document, failures, shortfalls, table
from benchmarks.scenarios import Scenario, quick

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "order_of_round", "run_scenario"]

FLOORS_FILE: Final = Path(__file__).with_name("floors.toml")
RUNS_DEFAULT: Final = 5
RUNS_MAX: Final = 100

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    options = _parser().parse_args(arguments)
    available = programs()
    floors = Floors.parse(FLOORS_FILE.read_text(), [row for one in SCENARIOS for row in one.rows])
    measured = _find(available, options.server or f"ours-{options.backend}")
    if measured is None:
        print(f"no such server; there are {', '.join(map(str, available)) or 'none'}", file=sys.stderr)
        return EXIT_USAGE
    reference = _find(available, options.reference)
    if reference == measured:  # how far apart are two measurements of one server?
        reference = replace(measured, name=f"{measured.name} again")
    also = [_find(available, name) for name in options.also]
    peers = [peer for peer in (reference, *also) if peer]
    if absent := [
        n for n, p in zip((options.reference, *options.also), (reference, *also), strict=True) if not p
    ]:
        print(f"not installed, left out: {', '.join(absent)}", file=sys.stderr)
    if options.check and reference is None:
        print("nothing to check: the reference is not installed", file=sys.stderr)
        return EXIT_USAGE

    scenarios = [one for one in SCENARIOS if not options.only or one.name in options.only]
    runs = options.runs or (1 if options.quick else RUNS_DEFAULT)
    comparisons: list[Comparison] = []
    for scenario in scenarios:
        chosen = quick(scenario) if options.quick else scenario
        comparisons += run_scenario(chosen, [measured, *peers], min(runs, scenario.runs_max))

    names = [peer.name for peer in peers]
    failed = failures(comparisons)
    missed = shortfalls(comparisons, measured.name, reference.name, floors) if reference else []
    print(_heading(measured, runs, quick=options.quick))
    print()
    print(table(comparisons, measured.name, names, floors, markdown=options.markdown))
    for text in failed:
        print(f"\nFAILED: {text}")
    for text in disturbances(comparisons):
        print(f"\nDISTURBED, measure again on a quiet machine: {text}")
    if options.check:
        for text in missed:
            print(f"\nOUTSIDE ITS FLOOR: {text}")
    if options.json:
        content = {
            "machine": _machine(),
            "runs": runs,
            "quick": options.quick,
            "measured": measured.name,
            "rows": document(comparisons, measured.name, names),
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return EXIT_FAILED if failed or (options.check and missed) else 0


def run_scenario(scenario: Scenario, servers: Sequence[ServerProgram], runs: int) -> list[Comparison]:
    """Measure `scenario` on all `servers`, `runs` times; one comparison for each of its rows."""
    comparisons = [Comparison(row, {server.name: Series() for server in servers}) for row in scenario.rows]
    for number in range(runs):
        for server in order_of_round(servers, number):
            print(f"{scenario.name}: run {number + 1} of {runs}, {server}", file=sys.stderr, flush=True)
            try:
                figures = measure(scenario, server)
            except (RunFailure, ServerFailure) as failure:
                for comparison in comparisons:
                    comparison.series[server.name].runs.append(str(failure))
            else:
                for comparison in comparisons:
                    comparison.series[server.name].runs.append(figures[comparison.row.name])
    return comparisons


def order_of_round(servers: Sequence[ServerProgram], number: int) -> list[ServerProgram]:
    """Every second round runs backwards, so that a machine that slows down slows all alike."""
    return list(servers) if number % 2 == 0 else list(reversed(servers))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = [one.name for one in SCENARIOS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument(
        "--runs",
        type=_run_count,
        help=f"rounds of each scenario (default {RUNS_DEFAULT}; long ones have a maximum)",
    )
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help="of our server")
    parser.add_argument("--server", metavar="NAME", help="measure this server in place of ours")
    parser.add_argument("--reference", metavar="NAME", default="go-2.9", help="the peer of the floors")
    parser.add_argument("--also", metavar="NAME", action="append", default=[], help="a further peer: go-2.14")
    parser.add_argument("--check", action="store_true", help="fail when a figure is outside its floor")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run to this file")
    parser.add_argument("--quick", action="store_true", help="one short run of each: does everything work?")
    return parser


def _run_count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= RUNS_MAX:
        raise argparse.ArgumentTypeError(f"{count} runs; 1 to {RUNS_MAX} are possible")
    return count


def _find(available: Sequence[ServerProgram], start_of_name: str) -> ServerProgram | None:
    return next((program for program in available if program.name.startswith(start_of_name)), None)


def _heading(measured: ServerProgram, runs: int, *, quick: bool) -> str:
    machine = _machine()
    kind = "one short run, not a measurement" if quick else f"median of {runs} runs (long rows: fewer)"
    return (
        f"{measured}: {kind}; Python {machine['python']}, uvloop {machine['uvloop'] or 'not installed'}, "
        f"{machine['processors']} processors ({machine['processor']}), {machine['system']}."
    )


def _machine() -> dict[str, str | int | None]:
    return {
        "python": platform.python_version(),
        "uvloop": _version("uvloop"),
        "processors": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())

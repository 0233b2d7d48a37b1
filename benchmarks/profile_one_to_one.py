"""Profiles our server during the 1:1 16 B run; prints its most expensive functions as Markdown.

    python -m benchmarks.profile_one_to_one [--backend trio] [--journal] [--functions 25]

The server is an ordinary process under cProfile, so the figures include its start, and
the cost of each call that the profiler adds: they show where time goes, and `run.py`
says how much there is. Compare rows with each other, not with a clock. The clock of
the profiler runs while the server waits: the function that runs the event loop has the
waiting, and on a machine with other work every function has its part of that.
"""

from __future__ import annotations

import argparse
import pstats
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.support.servers import ServerProgram, start

from benchmarks.load import Pass, TrafficTimes, run_traffic
from benchmarks.process import cpu_seconds
from benchmarks.report import aligned
from benchmarks.streams import Traffic

__all__ = ["main"]

SECONDS: Final = 2.0
FUNCTIONS_DEFAULT: Final = 25


@dataclass(frozen=True, slots=True)
class Cost:
    """One function of the profile."""

    name: str
    calls: int
    own_seconds: float
    all_seconds: float


def main() -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile_one_to_one", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    parser.add_argument("--journal", action="store_true", help="record, as with --journal of the server")
    parser.add_argument("--functions", type=int, default=FUNCTIONS_DEFAULT, help="how many rows to print")
    options = parser.parse_args()
    times, costs = profile(options.backend, journal=options.journal)
    print(_report(times, costs, options.functions))
    return 0


def profile(backend: str, *, journal: bool) -> tuple[TrafficTimes, list[Cost]]:
    """One run under the profiler, and its functions, the most expensive first."""
    with tempfile.TemporaryDirectory(prefix="natscore-profile-") as directory:
        output = Path(directory, "profile")
        command = (sys.executable, "-m", "cProfile", "-o", str(output), "-m", "natscore_cli")
        program = ServerProgram("ours-profiled", (*command, "--backend", backend), "ours", None)
        flags = ("--journal", str(Path(directory, "journal"))) if journal else ()
        with start(program, *flags, directory=Path(directory)) as server:
            [times] = run_traffic(
                Traffic(),
                (server.host, server.port),
                [Pass(SECONDS)],
                cpu_clock=partial(cpu_seconds, server.pid),
            )
        # cProfile writes when the program has ended.
        return times, _costs(pstats.Stats(str(output)))


def _costs(stats: pstats.Stats) -> list[Cost]:
    # The documented view, `get_stats_profile`, merges functions of one name.
    functions: dict[tuple[str, int, str], tuple[int, int, float, float, object]]
    functions = stats.stats  # type: ignore[attr-defined]
    costs = [
        Cost(_name(*function), calls, own_seconds, all_seconds)
        for function, (_, calls, own_seconds, all_seconds, _) in functions.items()
    ]
    return sorted(costs, key=lambda cost: cost.own_seconds, reverse=True)


def _name(file_name: str, line: int, function: str) -> str:
    """The function as a reader of the source finds it: no directory outside of the packages."""
    if file_name == "~":
        return function.strip("<>")
    parts = Path(file_name).parts
    for root in ("site-packages", "src", "lib"):
        if root in parts:
            parts = parts[len(parts) - parts[::-1].index(root) :]
            break
    else:
        parts = parts[-2:]
    return f"{'/'.join(parts)}:{line} {function}"


def _report(times: TrafficTimes, costs: list[Cost], count: int) -> str:
    total = sum(cost.own_seconds for cost in costs)
    lines = [["function", "calls", "calls per message", "own", "own share", "with callees"]]
    lines += [
        [
            f"`{cost.name}`",
            f"{cost.calls:,}",
            f"{cost.calls / times.messages:.4f}",
            f"{cost.own_seconds:.3f} s",
            f"{cost.own_seconds / total:.1%}",
            f"{cost.all_seconds:.3f} s",
        ]
        for cost in costs[:count]
    ]
    heading = (
        f"1:1, 16 B, under cProfile: {times.messages:,} messages in {times.seconds:.2f} s, "
        f"{times.cpu_seconds:.2f} s of processor time of the server, {total:.2f} s in functions."
    )
    return f"{heading}\n\n{aligned(lines, markdown=True)}"


if __name__ == "__main__":
    sys.exit(main())

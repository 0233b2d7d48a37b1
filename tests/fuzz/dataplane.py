"""Feeds generated, hostile inputs to the compiled data plane, in a whole server in one process.

    python -m tests.fuzz.dataplane                        1,000,000 inputs
    python -m tests.fuzz.dataplane --minutes 5 --paired   ... each on the pure data plane too; they must agree
    python -m tests.fuzz.dataplane --seed 4711 --inputs 1 the round 4711 again

Inputs come in rounds, and each round is a function of its seed. They run in a process of
their own, whose end is watched: after a crash, a hang or a finding, the seed of the round and
the command that repeats it are printed, and the exit code is 1. `nox -s sanitize`
runs this on an extension that was compiled with sanitizers.
"""

from __future__ import annotations

import argparse
import datetime
import faulthandler
import os
import platform
import selectors
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

import natscore_accel
from natscore.dataplane import PureDataPlane
from tests.fuzz.rounds import INPUTS, Finding, Round

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fuzz.rounds import MakePlane

__all__ = ["main"]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
INPUTS_DEFAULT: Final = 1_000_000
ROUND_SECONDS_MAX: Final = 120.0  # a round takes a fraction of a second, with sanitizers a few
OUTPUT_TAIL: Final = 16_384

EXIT_FOUND: Final = 1
EXIT_NOT_COMPILED: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    options = _parser().parse_args(arguments)
    planes: list[MakePlane] = [PureDataPlane] if options.pure else [natscore_accel.CompiledDataPlane]
    if not options.pure and not natscore_accel.available:
        print(f"there is no compiled data plane: {natscore_accel.why_not}", file=sys.stderr)
        return EXIT_NOT_COMPILED
    if options.paired:
        planes.append(PureDataPlane)
    if options.worker:
        return _work(options, planes)
    return _watch(options, list(sys.argv[1:] if arguments is None else arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.dataplane",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--inputs", type=int, default=INPUTS_DEFAULT, metavar="N",
        help=f"stop after the round of the Nth input; a round has {INPUTS} (default {INPUTS_DEFAULT:,})",
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, metavar="M", help="... or after so many minutes")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first round (default 0)")
    parser.add_argument("--paired", action="store_true", help="run the pure data plane beside, and compare")
    parser.add_argument(
        "--pure", action="store_true", help="run the pure data plane in place of the compiled"
    )
    parser.add_argument(
        "--build", default="", metavar="TEXT", help="how the extension was compiled, for the result"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


def _work(options: argparse.Namespace, planes: Sequence[MakePlane]) -> int:
    """Run rounds and say on standard output where we are: `round SEED`, and `done INPUTS OCTETS`."""
    faulthandler.enable()
    end = time.monotonic() + options.minutes * 60 if options.minutes is not None else float("inf")
    inputs = octets = 0
    seed = options.seed
    while inputs < options.inputs and (inputs == 0 or time.monotonic() < end):
        print("round", seed, flush=True)
        one = Round(seed, planes)
        try:
            one.run()
        except Exception as error:
            what = str(error) if isinstance(error, Finding) else traceback.format_exc()
            print(f"{what}\nafter input {one.inputs} of its round: {one.last!r}", file=sys.stderr)
            return EXIT_FOUND
        inputs += one.inputs
        octets += one.octets
        seed += 1
    print("done", inputs, octets, flush=True)
    return 0


def _watch(options: argparse.Namespace, arguments: list[str]) -> int:
    """Run the worker to its end; report."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.dataplane", *arguments, "--worker"]
    worker = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    try:
        said, hung = _listen(worker)
        code = worker.wait()
    finally:
        worker.kill()
        worker.wait()
    rounds = [line.split()[1] for line in said if line.startswith("round ")]
    results = [line.split()[1:] for line in said if line.startswith("done ")]
    if code != 0 or not results:
        seed = rounds[-1] if rounds else options.seed
        how = f"did not end within {ROUND_SECONDS_MAX:g} s" if hung else f"ended with {code}"
        more = "".join(f" --{name}" for name in ("paired", "pure") if getattr(options, name))
        print(
            f"the round of seed {seed} {how}; again: "
            f"python -m tests.fuzz.dataplane --seed {seed} --inputs 1{more}",
            flush=True,
        )
        return EXIT_FOUND
    (inputs, octets) = map(int, results[0])
    print(_result(options, inputs, octets, time.monotonic() - began), flush=True)
    return 0


def _listen(worker: subprocess.Popen[bytes]) -> tuple[list[str], bool]:
    """The last of what the worker said, and whether it was killed because it said nothing for too long."""
    assert worker.stdout is not None
    tail = b""
    with selectors.DefaultSelector() as selector:
        selector.register(worker.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(ROUND_SECONDS_MAX):
                worker.kill()
                return tail.decode().splitlines(), True
            chunk = os.read(worker.stdout.fileno(), 65_536)
            if not chunk:
                return tail.decode().splitlines(), False
            tail = (tail + chunk)[-OUTPUT_TAIL:]


def _result(options: argparse.Namespace, inputs: int, octets: int, seconds: float) -> str:
    """One line for the page that says what was proven."""
    plane = "pure Python" if options.pure else f"compiled (natscore-accel {natscore_accel.VERSION})"
    first, last = options.seed, options.seed + inputs // INPUTS - 1
    return "; ".join(
        part
        for part in (
            f"{inputs:,} inputs, {octets / 1e6:,.0f} MB, in {seconds:.0f} s ({inputs / seconds:,.0f}/s)",
            plane + (", paired with pure Python" if options.paired else ""),
            options.build,
            f"Python {platform.python_version()}",
            f"seeds {first} to {last}",
            datetime.date.today().isoformat(),
            f"commit {_commit()}",
        )
        if part
    )


def _commit() -> str:
    """The commit of this repository, with a + when something has changed since."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=30)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())

"""The fuzz driver: rounds repeat, findings are found and reported, and the two data planes agree on a few."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import natscore_accel
from natscore.dataplane import PureDataPlane
from tests.fuzz.rounds import Finding, Round

if TYPE_CHECKING:
    from natscore.dataplane import Stop
    from natscore.entropy import Xorshift64
    from tests.fuzz.rounds import MakePlane

REPOSITORY: Final = Path(__file__).resolve().parents[2]
COMPILED: Final = pytest.mark.skipif(
    not natscore_accel.available, reason=f"natscore-accel: {natscore_accel.why_not}"
)


def driver(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the driver to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.dataplane", *arguments],
        cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True, timeout=50,
    )  # fmt: skip


def run_ten_rounds(*planes: MakePlane) -> None:
    """Ten rounds on these planes."""
    for seed in range(10):
        Round(seed, planes).run()


def test_round_is_a_function_of_its_seed() -> None:
    one, again, other = Round(3, [PureDataPlane]), Round(3, [PureDataPlane]), Round(4, [PureDataPlane])

    for each in (one, again, other):
        each.run(100)

    assert (one.octets, one.last) == (again.octets, again.last)
    assert one.octets != other.octets


def test_planes_that_deliver_different_bytes_are_found() -> None:
    class Forgetful(PureDataPlane):
        """Answers no second PING of a chunk."""

        def run(self, source: object) -> Stop:
            stop = super().run(source)  # type: ignore[arg-type]  # a source of this very plane
            self.ready[:] = [outbox for outbox in self.ready if outbox.chunks.count(b"PONG\r\n") < 2]
            return stop

    with pytest.raises(Finding, match="the planes disagree about connection"):
        run_ten_rounds(PureDataPlane, Forgetful)


def test_exception_in_a_data_plane_is_found_though_the_server_survives_it() -> None:
    def broken(choices: Xorshift64) -> PureDataPlane:
        plane = PureDataPlane(choices)
        plane.publish = None  # type: ignore[method-assign, assignment]  # the bug
        return plane

    with pytest.raises(Finding, match=r"connection_failed: .*TypeError"):
        run_ten_rounds(broken)


@COMPILED
@pytest.mark.parametrize("seed", range(4))
def test_compiled_and_pure_data_plane_agree_on_hostile_inputs(seed: int) -> None:
    Round(seed, [natscore_accel.CompiledDataPlane, PureDataPlane]).run()


def test_result_is_one_line_with_inputs_plane_seeds_and_commit() -> None:
    done = driver("--pure", "--inputs", "300", "--seed", "5", "--build", "gcc 12")

    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith("500 inputs, ")
    assert "; pure Python; gcc 12; Python 3." in line
    assert "; seeds 5 to 6; 20" in line


def test_crash_is_reported_with_the_seed_of_its_round(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if '--worker' in sys.orig_argv:\n"
        "    print('round 41\\nround 42', flush=True)\n"
        "    os.abort()\n"
    )

    done = driver("--pure", "--paired", PYTHONPATH=str(tmp_path))

    assert done.returncode == 1
    assert done.stdout == (
        "the round of seed 42 ended with -6; again: "
        "python -m tests.fuzz.dataplane --seed 42 --inputs 1 --paired --pure\n"
    )

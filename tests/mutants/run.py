"""Plants bugs and requires the tests to notice: `nox -s mutants`.

Each bug of `mutants.toml` is a change of one text in one file, with the test that
must fail for it. The packages are copied, the copy is changed, and that test alone
runs against the copy. Before that the same test has to pass against an unchanged
copy, so that it fails for the bug and for nothing else.

A bug in Python is looked for on the pure data plane, one in Cython on the compiled
one, whose extension is then compiled within the copy, without optimisation. That
takes a compiler, the headers of Python, and Cython in this environment.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Mutant", "MutantError", "Outcome", "load", "main"]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
TABLE: Final = "tests/mutants/mutants.toml"

PROCESSES: Final = 2
TEST_SECONDS_MAX: Final = 30  # a bug may hang its test, and pytest then fails it
RUN_SECONDS_MAX: Final = 120.0  # of a whole process; only a hang outside the test takes so long
ALL_SECONDS_MAX: Final = 300.0  # of a process with all tests of a data plane
OUTPUT_LINES_SHOWN: Final = 30

CRASHES: Final = frozenset(
    -number for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE)
)
CYTHON_SUFFIXES: Final = (".pyx", ".pxi")
ACCEL: Final = "packages/accel/src/natscore_accel"
EXTENSION: Final = "natscore_accel._dataplane"
PRODUCT: Final = f"_dataplane{sysconfig.get_config_var('EXT_SUFFIX')}"

CAUGHT: Final = "caught"
SURVIVED: Final = "SURVIVED"
BROKEN: Final = "BROKEN"


class MutantError(Exception):
    """The table of mutants does not fit the code: a bug cannot be planted as it says."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug: `old` becomes `new` in `file`, and `test` has to fail."""

    name: str
    file: str
    old: str
    new: str
    test: str
    reason: str

    @property
    def is_compiled(self) -> bool:
        """Whether it stands in the compiled data plane."""
        return self.file.endswith(CYTHON_SUFFIXES)

    def changed_text(self, root: Path) -> str:
        """The file below `root` with the bug; the old text must stand there exactly once."""
        path = root / self.file
        if not path.is_file():
            raise MutantError(f"{self.name}: there is no {self.file}")
        text = path.read_text()
        if (count := text.count(self.old)) != 1:
            raise MutantError(f"{self.name}: the old text stands {count} times in {self.file}, not once")
        if self.old == self.new:
            raise MutantError(f"{self.name}: the new text is the old one")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a test ended against a copy of the packages."""

    code: int | None  # of pytest; None when it did not end
    output: str
    seconds: float

    @property
    def verdict(self) -> str:
        """What it says about a planted bug: its test failed or crashed, passed, or could not be run."""
        if self.code == pytest.ExitCode.TESTS_FAILED or self.code in CRASHES:
            return CAUGHT
        return SURVIVED if self.code == pytest.ExitCode.OK else BROKEN


def load(root: Path) -> list[Mutant]:
    """The mutants of the table; raises MutantError when one is incomplete or named twice."""
    mutants = []
    for number, row in enumerate(tomllib.loads((root / TABLE).read_text()).get("mutant", []), start=1):
        try:
            mutants.append(Mutant(**row))
        except TypeError as error:
            raise MutantError(f"mutant {number}, {row.get('name')!r}: {error}") from error
    names = [mutant.name for mutant in mutants]
    if twice := {name for name in names if names.count(name) > 1}:
        raise MutantError(f"named twice: {', '.join(sorted(twice))}")
    return mutants


def run_tests(
    root: Path, tests: Sequence[str], mutant: Mutant | None, *, compiled: bool, extension: Path | None = None
) -> Outcome:
    """Run tests of `root` against a copy of its packages, with the bug planted if there is one.

    The compiled data plane is compiled, or is an `extension` that was compiled before.

    Raises MutantError when Python would not import the copy.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        copy = Path(directory)
        shutil.copytree(
            root / "packages",
            copy / "packages",
            # bytecode goes along: it is known to be stale by the time of its source
            ignore=shutil.ignore_patterns("newsfragments", "*.so", "build"),
        )
        if mutant is not None:
            (copy / mutant.file).write_text(mutant.changed_text(copy))
        sources = sorted((copy / "packages").glob("*/src"))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, sources)),
            # a test shall fail for what it says, not because two planes differ
            "NATSCORE_PURE": "0" if compiled else "1",
            "NATSCORE_PLANE": "compiled" if compiled else "pure",
            # A property that fails must not be remembered for runs without the bug.
            "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / "hypothesis"),
        }
        if compiled and extension is not None:
            shutil.copy2(extension, copy / ACCEL)
        elif compiled:
            built = _build(copy / ACCEL, copy / ACCEL, environment)
            if built.code != 0:
                return Outcome(None, built.output, built.seconds)
        _require_copy_is_imported(sources, environment, root, compiled=compiled)
        return _run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
                *(f"--timeout={TEST_SECONDS_MAX}", *tests),
            ],
            environment, root, RUN_SECONDS_MAX if len(tests) == 1 else ALL_SECONDS_MAX,
        )  # fmt: skip


def _build(package: Path, into: Path, environment: dict[str, str]) -> Outcome:
    """Compile the data plane of a package, in two to three seconds, and leave nothing elsewhere."""
    generated = into / "_dataplane.c"
    built = _run(
        [sys.executable, "-m", "cython", "-3", "_dataplane.pyx", "-o", str(generated)], environment, package
    )
    if built.code != 0:
        return built
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    include = sysconfig.get_path("include")
    return _run(
        [
            *(*compiler, "-O0", "-w", "-shared", "-fPIC", f"-I{include}"),
            *(str(generated), "-o", str(into / PRODUCT)),
        ],
        environment, package,
    )  # fmt: skip


@contextmanager
def _extension(root: Path, mutants: Sequence[Mutant]) -> Iterator[Path | None]:
    """The data plane without any bug, compiled, if some mutant needs it."""
    if not any(mutant.is_compiled for mutant in mutants):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        built = _build(root / ACCEL, Path(directory), dict(os.environ))
        if built.code != 0:
            raise MutantError(f"the data plane cannot be compiled:\n{_shown(built)}")
        yield Path(directory) / PRODUCT


def _require_copy_is_imported(
    sources: Sequence[Path], environment: dict[str, str], root: Path, *, compiled: bool
) -> None:
    names = [package.parent.name for source in sources for package in source.glob("*/__init__.py")]
    if compiled:
        names.append(EXTENSION)
    find = (
        "import importlib.util, sys\nfor name in sys.argv[1:]: print(importlib.util.find_spec(name).origin)"
    )
    found = _run([sys.executable, "-c", find, *names], environment, root)
    origins = found.output.splitlines()
    if found.code != 0 or not all(
        any(Path(origin).is_relative_to(source) for source in sources) for origin in origins
    ):
        raise MutantError(f"Python does not import the copy of the packages but {found.output}")


def _run(
    command: Sequence[str], environment: dict[str, str], directory: Path, seconds_max: float = RUN_SECONDS_MAX
) -> Outcome:
    begin = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=directory, env=environment, timeout=seconds_max,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        return Outcome(None, f"no end after {error.timeout} s", time.monotonic() - begin)
    return Outcome(done.returncode, done.stdout, time.monotonic() - begin)


def _shown(outcome: Outcome) -> str:
    return "\n".join(f"    {line}" for line in outcome.output.splitlines()[-OUTPUT_LINES_SHOWN:])


def main(arguments: Sequence[str] | None = None, root: Path = REPOSITORY) -> int:
    """Plant the named mutants, or all; print a table. The exit status is 0 when each is caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help="plant these only")
    wanted = parser.parse_args(arguments).names
    try:
        mutants = load(root)
        if unknown := set(wanted) - {mutant.name for mutant in mutants}:
            raise MutantError(f"no such mutant: {', '.join(sorted(unknown))}")
        mutants = [mutant for mutant in mutants if not wanted or mutant.name in wanted]
        if not mutants:
            raise MutantError(f"{TABLE} plants nothing, so nothing is proven")
        return _report(mutants, root)
    except MutantError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2


def _run_without_bugs(
    root: Path, tests: Sequence[tuple[str, bool]], extension: Path | None, pool: ThreadPoolExecutor
) -> list[tuple[str, Outcome]]:
    """All tests of a data plane in one process, which saves a minute; each alone if one does not pass."""

    def run(some: Sequence[str], compiled: bool) -> Outcome:
        return run_tests(root, some, None, compiled=compiled, extension=extension)

    def run_all(compiled: bool) -> list[tuple[str, Outcome]]:
        some = [test for test, needs_compiled in tests if needs_compiled is compiled]
        together = run(some, compiled) if some else None
        if together is None or together.code == pytest.ExitCode.OK:
            return [(test, together) for test in some if together is not None]
        return [(test, run([test], compiled)) for test in some]

    return [pair for pairs in pool.map(run_all, (False, True)) for pair in pairs]


def _report(mutants: Sequence[Mutant], root: Path) -> int:
    for mutant in mutants:
        mutant.changed_text(root)  # one that does not fit is said before anything runs
    tests = list(dict.fromkeys((mutant.test, mutant.is_compiled) for mutant in mutants))
    with _extension(root, mutants) as extension, ThreadPoolExecutor(PROCESSES) as pool:
        healthy = _run_without_bugs(root, tests, extension, pool)
        outcomes = list(
            pool.map(lambda one: run_tests(root, [one.test], one, compiled=one.is_compiled), mutants)
        )

    failed = False
    for test, outcome in healthy:
        if outcome.code != pytest.ExitCode.OK:
            failed = True
            print(f"{test} does not pass without any bug (exit {outcome.code}):\n{_shown(outcome)}")
    width = max(len(mutant.name) for mutant in mutants)
    caught = 0
    for mutant, outcome in zip(mutants, outcomes, strict=True):
        print(f"{mutant.name:{width}}  {outcome.verdict:8}  {outcome.seconds:5.1f} s  {mutant.test}")
        if outcome.verdict == CAUGHT:
            caught += 1
        else:
            print(f"    {mutant.reason}\n{_shown(outcome)}")
    print(f"{len(mutants)} planted, {caught} caught")
    return 1 if failed or caught < len(mutants) else 0


if __name__ == "__main__":
    sys.exit(main())

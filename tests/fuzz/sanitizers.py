"""Compiles the data plane with sanitizers, then tests and fuzzes it: `nox -s sanitize`.

AddressSanitizer ends the process at the first byte read or written where it must not be,
UndefinedBehaviorSanitizer at the first overflow, bad shift or misaligned access. Both live
in the extension only; the interpreter is an ordinary one into which their runtime is
loaded first, and whose objects come from malloc, so that each is watched by itself.

Words on the command line go to the fuzz driver.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

REPOSITORY: Final = Path(__file__).resolve().parents[2]

TESTS: Final = (
    *("tests/unit/accel", "tests/unit/core/test_dataplane.py", "tests/unit/core/test_delivery.py"),
    *("tests/properties/test_dataplane.py", "tests/properties/test_parsing.py", "tests/fuzz"),
    "tests/simulation",
)
"""The tests that run a data plane in their own process. Not the slow ones, which count and measure."""

PYTEST: Final = ("-q", "-p", "no:cacheprovider", "--capture=sys", "--timeout=600", "-m", "not slow")
"""Standard error is not captured: a sanitizer writes its report there, and ends the process."""

FLAGS: Final = (
    *("-O1", "-g", "-fno-omit-frame-pointer"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
)

VARIABLES: Final = {
    "PYTHONMALLOC": "malloc",
    # an interpreter that ends leaves much behind, so leaks are not looked for
    "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:abort_on_error=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}


class Compiler(NamedTuple):
    """A compiler with sanitizers, its further flags, and the runtime to be loaded first."""

    command: str
    flags: tuple[str, ...]
    runtime: str

    @property
    def version(self) -> str:
        """As it says itself, in its first line."""
        return output(self.command, "--version").splitlines()[0]


def main(arguments: Sequence[str]) -> int:
    """Compile, test, fuzz; the exit status."""
    compiler = next(filter(None, (clang(), gcc())), None)
    if compiler is None:
        print("neither clang nor gcc with AddressSanitizer is installed", file=sys.stderr)
        return 2
    flags = " ".join((*FLAGS, *compiler.flags))
    build = {
        "CC": compiler.command,
        "NATSCORE_ACCEL_REQUIRED": "1",
        "NATSCORE_ACCEL_CFLAGS": flags,
        "NATSCORE_ACCEL_LDFLAGS": " ".join(("-fsanitize=address,undefined", *compiler.flags)),
    }
    # not an editable install: its extension would stand in the source, where other environments find it
    install = ("-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", "packages/accel")
    watched = {**VARIABLES, "LD_PRELOAD": compiler.runtime}
    text = f"{compiler.version} with address and undefined behaviour sanitizers"
    print(f"{text}: {flags}", flush=True)
    steps: tuple[tuple[dict[str, str], tuple[str, ...]], ...] = (
        (build, install),
        (watched, ("-c", IS_WATCHED)),
        (
            watched | {"NATSCORE_PLANE": "compiled"},
            ("-m", "pytest", *PYTEST, *TESTS),
        ),
        (watched, ("-m", "tests.fuzz.dataplane", "--build", text, *arguments)),
    )
    for variables, words in steps:
        code = subprocess.run(
            [sys.executable, *words], cwd=REPOSITORY, env={**os.environ, **variables}
        ).returncode
        if code != 0:
            return code
    return 0


IS_WATCHED: Final = """
import natscore_accel
assert natscore_accel.available, natscore_accel.why_not
from natscore_accel import _dataplane
text = open(_dataplane.__file__, "rb").read()
assert b"__asan_report_" in text and b"__ubsan_handle_" in text, "the extension has no sanitizers"
assert any("asan" in line for line in open("/proc/self/maps")), "their runtime is not loaded"
"""
"""Fails unless what runs is what was compiled: without this, an ordinary extension would pass everything."""


def gcc() -> Compiler | None:
    """GCC, if it has the runtime."""
    command = shutil.which("gcc")
    runtime = output(command, "-print-file-name=libasan.so").strip() if command else ""
    return Compiler(str(command), (), loadable(runtime)) if os.path.isabs(runtime) else None


def clang() -> Compiler | None:
    """Clang, if it has the runtime as a shared library."""
    command = shutil.which("clang")
    if command is None:
        return None
    for name in (f"libclang_rt.asan-{os.uname().machine}.so", "libclang_rt.asan.so"):
        runtime = output(command, f"-print-file-name={name}").strip()
        if os.path.isabs(runtime):
            # calls through pointers of another type are how every C extension is called
            return Compiler(command, ("-shared-libasan", "-fno-sanitize=function"), loadable(runtime))
    return None


def loadable(path: str) -> str:
    """The library itself: what a compiler names may be a link, or a text for the linker."""
    return str(Path(path).resolve())


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Finds the Python versions that the workspace supports: `python -m tests.packaging.interpreters 3.12`.

Prints the path and exits with 0, or says that it is missing: with exit 3 where it
may be, and with 1 where not. It may be missing, except with CI=true, where
tests/allowed-skips.toml has to list it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["find", "may_be_missing", "supported_versions"]

REPOSITORY: Final = Path(__file__).resolve().parents[2]

EXIT_MISSING: Final = 1
EXIT_LEFT_OUT: Final = 3

_SECONDS_MAX: Final = 30.0  # of an interpreter that says its version


def supported_versions() -> list[str]:
    """The versions of `pyproject.toml`, as `3.12`."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    versions: list[str] = settings["tool"]["natscore"]["pythons"]
    return versions


def find(version: str) -> Path | None:
    """An interpreter of this version: the one that runs this, one on the PATH, or one of pyenv."""
    return next((path for path in _candidates(version) if _runs(path, version)), None)


def may_be_missing(version: str) -> bool:
    """Whether a run may go on without this version."""
    if os.environ.get("CI") != "true":
        return True
    table = tomllib.loads((REPOSITORY / "tests" / "allowed-skips.toml").read_text())
    return any(row["version"] == version and row["reason"] for row in table.get("interpreter", []))


def _candidates(version: str) -> Iterator[Path]:
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        yield Path(sys.executable)
    if on_path := shutil.which(f"python{version}"):
        yield Path(on_path)
    # those of pyenv need not be on the PATH, and what is there may be a shim that runs nothing
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(root.glob(f"versions/{version}.*/bin/python{version}"))


def _runs(path: Path, version: str) -> bool:
    """Whether it is what its name says."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [path, "-I", "-c", program], capture_output=True, text=True, timeout=_SECONDS_MAX
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def main(version: str) -> int:
    """Print where a version is."""
    if (path := find(version)) is not None:
        print(path)
        return 0
    if may_be_missing(version):
        print(f"there is no python{version}: left out", file=sys.stderr)
        return EXIT_LEFT_OUT
    print(f"there is no python{version}, and tests/allowed-skips.toml does not list it", file=sys.stderr)
    return EXIT_MISSING


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""Builds what is published, and installs it where there is no compiler: `nox -s build`.

- a wheel of each package; of natscore-accel one for each Python, made from its source
  archive and repaired for other Linux systems (manylinux);
- each wheel alone in an empty environment, imported;
- `natscore[tcp]` from the wheels, on each Python: the server must run compiled;
- `natscore[tcp,security]` from the wheels, imported;
- `natscore[tcp]` with natscore-accel from its source: it must install, and the server run
  in pure Python and say so.

The last four have no compiler. The packages of the workspace are not published,
and never asked of an index: a constraint that is an address says where each is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.packaging import interpreters

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["main"]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
ACCEL: Final = "natscore-accel"
PACKAGES: Final = {
    "natscore": ("packages/core", "natscore"),
    "natscore-security": ("packages/security", "natscore_security"),
    "natscore-transport-tcp": ("packages/transport-tcp", "natscore_tcp"),
    ACCEL: ("packages/accel", "natscore_accel"),
    "natscore-cli": ("packages/cli", "natscore_cli"),
}
"""Distribution: its folder, and the name it is imported by."""

OWN_VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
COMPILERS: Final = 2  # at a time
COMMAND_SECONDS_MAX: Final = 300.0

REQUIRED: Final = {"NATSCORE_ACCEL_REQUIRED": "1"}


def main(directory: Path) -> int:
    """Do all of it below `directory`, which is emptied. Returns the exit code."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    wheels = directory / "wheels"
    pythons = {version: interpreters.find(version) for version in interpreters.supported_versions()}
    for name, (folder, _) in PACKAGES.items():
        if name != ACCEL:
            run([sys.executable, "-m", "build", "--wheel", "--outdir", wheels, folder])
    source = unpacked_source(directory)
    found = {version: path for version, path in pythons.items() if path is not None}
    with ThreadPoolExecutor(COMPILERS) as pool:
        made = pool.map(lambda item: compiled_wheel(directory, source, *item), found.items())
        compiled = dict(zip(found, made, strict=True))

    pure_wheels = {one.name.split("-")[0].replace("_", "-"): one for one in wheels.glob("*-py3-none-any.whl")}
    at_home = {**pure_wheels, ACCEL: compiled[OWN_VERSION]}
    for name, (_, module) in PACKAGES.items():
        environment = Environment(directory / "alone" / name, Path(sys.executable))
        environment.install(name, at_home)
        environment.check(module)
    for version, python in found.items():
        environment = Environment(directory / "tcp" / version, python)
        environment.install("natscore[tcp]", {**pure_wheels, ACCEL: compiled[version]})
        environment.check("natscore_cli", "--serve=compiled")
    environment = Environment(directory / "security", Path(sys.executable))
    environment.install("natscore[tcp,security]", at_home)
    environment.check("natscore_security")
    environment = Environment(directory / "pure", Path(sys.executable))
    environment.install("natscore[tcp]", {**pure_wheels, ACCEL: source})
    environment.check("natscore_cli", "--serve=pure")

    for wheel in sorted([*pure_wheels.values(), *compiled.values()]):
        print(f"{wheel.stat().st_size:>10,} bytes  {wheel.name}")
    absent = pythons.keys() - found.keys()
    for version in sorted(absent):
        may = interpreters.may_be_missing(version)
        reason = "left out" if may else "and tests/allowed-skips.toml does not list it"
        print(f"there is no python{version}, so no wheel of {ACCEL} for it: {reason}")
    return int(not all(map(interpreters.may_be_missing, absent)))


def unpacked_source(directory: Path) -> Path:
    """The source archive of natscore-accel, unpacked: what a build from source has, and not more."""
    archives = directory / "source"
    run([sys.executable, "-m", "build", "--sdist", "--outdir", archives, PACKAGES[ACCEL][0]])
    (archive,) = archives.iterdir()
    with tarfile.open(archive) as opened:
        opened.extractall(directory / "unpacked", filter="data")
    (folder,) = (directory / "unpacked").iterdir()
    generated = [*folder.rglob("*.c"), *folder.rglob("*.so")]
    if generated:
        raise SystemExit(f"the source archive holds what is made of it: {generated}")
    return folder


def compiled_wheel(directory: Path, source: Path, version: str, python: Path) -> Path:
    """A wheel of natscore-accel for one Python, which runs on other machines of this kind."""
    began = time.monotonic()
    place = directory / "compiled" / version
    shutil.copytree(source, place / "source")
    builder = Environment(place / "builder", python)
    builder.pip("wheel", "--no-deps", "-w", place / "local", place / "source", compiler=True)
    (wheel,) = (place / "local").iterdir()
    if sys.platform == "linux":
        # strips what is not needed to run, and takes from the wheel's symbols how old a Linux may be
        run([sys.executable, "-m", "auditwheel", "repair", "--strip", "-w", place / "repaired", wheel])
        (wheel,) = (place / "repaired").iterdir()
        if "-linux_" in wheel.name:
            raise SystemExit(f"{wheel.name} is for this machine only")
    tag = version.replace(".", "")
    if f"-cp{tag}-cp{tag}-" not in wheel.name:
        raise SystemExit(f"{wheel.name} is not for python{version}")
    print(f"{wheel.name}: compiled in {time.monotonic() - began:.0f} s", flush=True)
    return wheel


class Environment:
    """An environment of nothing but pip, where no compiler is found."""

    def __init__(self, directory: Path, python: Path) -> None:
        self._directory = directory
        self._python = directory / "bin" / "python"
        run([python, "-m", "venv", directory])

    def install(self, requirement: str, addresses: Mapping[str, Path]) -> None:
        """Install one of our packages; it and what it needs of us come from these addresses."""
        name, bracket, extra = requirement.partition("[")
        constraints = self._directory / "constraints.txt"
        constraints.write_text("".join(f"{one} @ {path.as_uri()}\n" for one, path in addresses.items()))
        self.pip("install", "-c", constraints, f"{name}{bracket}{extra} @ {addresses[name].as_uri()}")

    def pip(self, *arguments: str | Path, compiler: bool = False) -> None:
        """Run pip in it."""
        command = [self._python, "-m", "pip", *arguments[:1], "-q", *arguments[1:]]
        run(command, {**os.environ, **REQUIRED} if compiler else self.variables())

    def check(self, module: str, *options: str) -> None:
        """Run installation.py in it."""
        script = REPOSITORY / "tests" / "packaging" / "installation.py"
        run([self._python, "-I", script, module, *options], self.variables())

    def variables(self) -> dict[str, str]:
        """The variables of this process, without any way to a compiler or to another data plane."""
        nothing = "/nonexistent"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("NATSCORE_")}
        return {**ours, "PATH": str(self._python.parent), "CC": nothing, "CXX": nothing}


def run(command: list[str | Path], environment: Mapping[str, str] = os.environ) -> None:
    """Run a command; its output is shown, and a failure ends everything."""
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, timeout=COMMAND_SECONDS_MAX)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))

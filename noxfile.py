"""The sessions of the workspace. `nox -l` lists them; words behind `--` go to the tool of the session.

Python versions and dependency groups are those of `pyproject.toml`. The packages of
the workspace are not published, and are never asked of an index: they are installed
from their folders, or from the wheels made of them, in one resolution.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "lint", "types"]

WORKSPACE: Final = nox.project.load_toml("pyproject.toml")
PYTHONS: Final[list[str]] = WORKSPACE["tool"]["natscore"]["pythons"]

PACKAGES: Final = {
    "natscore": ("packages/core", "natscore"),
    "natscore-transport-tcp": ("packages/transport-tcp", "natscore_tcp"),
    "natscore-accel": ("packages/accel", "natscore_accel"),
    "natscore-cli": ("packages/cli", "natscore_cli"),
}
"""Distribution: its folder, and the name it is imported by."""

SOURCES: Final = (
    *("-e", "packages/core", "-e", "packages/transport-tcp[trio,uvloop]"),
    *("-e", "packages/accel", "-e", "packages/cli"),
)


def install(session: nox.Session, *groups: str) -> None:
    """Install the packages from their folders, and what the dependency groups list."""
    requirements = nox.project.dependency_groups(WORKSPACE, *groups) if groups else ()
    session.install(*SOURCES, *requirements)


def run_tests(session: nox.Session) -> None:
    """Run the tests: `nox -s tests -- tests/unit -k subject`."""
    install(session, "test")
    session.run("pytest", *session.posargs)


nox.session(name="tests")(run_tests)
for version in PYTHONS:
    nox.session(name=f"tests-{version}", python=version, default=False)(run_tests)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install(*nox.project.dependency_groups(WORKSPACE, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of everything `[tool.mypy]` lists."""
    install(session, "test", "types")
    session.run("mypy", *session.posargs)


@nox.session(default=False)
def simulate(session: nox.Session) -> None:
    """Run simulations and properties for longer: more seeds, more examples."""
    install(session, "test")
    session.run(
        *("pytest", "tests/simulation", "tests/properties"),
        *("--hypothesis-profile=deep", "--seeds=500", "--timeout=1200"),
        *session.posargs,
    )


@nox.session(default=False)
def interop(session: nox.Session) -> None:
    """Run real clients and the conformance vectors, against this server and the Go servers."""
    install(session, "test")
    session.run("pytest", "tests/interop", "tests/conformance", *session.posargs)


@nox.session(default=False)
def spec(session: nox.Session) -> None:
    """List the clauses of the specification that no test proves; fail if one has no excuse."""
    install(session, "test")
    session.run("python", "-m", "tests.specification.check", *session.posargs)


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Plant each bug of tests/mutants/mutants.toml and require its test to fail."""
    install(session, "test")
    session.run("python", "-m", "tests.mutants.run", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure this server beside the Go server: `nox -s bench -- --only one-to-one --check`."""
    install(session, "test")
    session.run("python", "-m", "benchmarks.run", *session.posargs)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Run the programs of the pages."""
    install(session, "test")
    session.run("pytest", "tests/docs", *session.posargs)


@nox.session(default=False, reuse_venv=True)
def serve(session: nox.Session) -> None:
    """Run the server: `nox -s serve -- -p 4222 -DV`."""
    install(session)
    session.run("nats-server-py", *session.posargs)


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build the wheels, install each into an empty environment, and run the server from them."""
    directory = Path(session.create_tmp()).resolve()
    for left_over in directory.iterdir():
        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
    builder = empty_environment(session, directory / "builder")
    addresses = {}
    for name, (folder, _) in PACKAGES.items():
        wheels = directory / "wheels" / name
        session.run(
            builder, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheels), folder, external=True
        )
        (wheel,) = wheels.iterdir()
        addresses[name] = wheel.as_uri()
    # A constraint that is an address says where a name comes from when another package requires it.
    constraints = directory / "constraints.txt"
    constraints.write_text("".join(f"{name} @ {address}\n" for name, address in addresses.items()))
    installations = [(name, module, ()) for name, (_, module) in PACKAGES.items()]
    for name, module, options in [*installations, ("natscore[tcp]", "natscore_cli", ("--serve",))]:
        python = empty_environment(session, directory / name)
        requirement = f"{name} @ {addresses[name.partition('[')[0]]}"
        session.run(python, "-m", "pip", "install", "-q", "-c", str(constraints), requirement, external=True)
        session.run(python, "-I", "tests/packaging/installation.py", module, *options, external=True)


def empty_environment(session: nox.Session, directory: Path) -> str:
    """Make an environment of nothing but pip; the path of its interpreter."""
    session.run("python", "-m", "venv", str(directory))
    return str(directory / "bin" / "python")

"""The sessions of the workspace. `nox -l` lists them; words behind `--` go to the tool of the session.

Python versions and dependency groups are those of `pyproject.toml`. The packages of
the workspace are not published, and are never asked of an index: they are installed
from their folders, or from the wheels made of them, in one resolution.
"""

from __future__ import annotations

from typing import Final

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "lint", "types"]

WORKSPACE: Final = nox.project.load_toml("pyproject.toml")
PYTHONS: Final[list[str]] = WORKSPACE["tool"]["natscore"]["pythons"]

SOURCES: Final = (
    *("-e", "packages/core", "-e", "packages/security"),
    *("-e", "packages/transport-tcp[trio,uvloop]", "-e", "packages/cli"),
)
ACCEL: Final = "packages/accel"

PURE_TESTS: Final = (
    *("tests/unit/transport_tcp", "tests/conformance", "tests/command", "tests/robustness"),
    "tests/interop/test_nats_py.py",
)
"""Runs on the compiled plane alone where there is one. The rest runs on both (tests/support/planes.py)."""


def install(session: nox.Session, *groups: str) -> None:
    """Install the packages from their folders, and what the dependency groups list."""
    requirements = nox.project.dependency_groups(WORKSPACE, *groups) if groups else ()
    session.install(*SOURCES, "-e", ACCEL, *requirements)


def run_tests(session: nox.Session) -> None:
    """Run the tests: `nox -s tests -- tests/unit -k subject`."""
    install(session, "test")
    session.run("pytest", *session.posargs)


nox.session(name="tests")(run_tests)
for version in PYTHONS:
    nox.session(name=f"tests-{version}", python=version, default=False)(run_tests)


@nox.session(default=False)
def pure(session: nox.Session) -> None:
    """Run again, on the data plane in pure Python, what `tests` runs on the compiled one alone."""
    install(session, "test")
    paths = session.posargs or (*PURE_TESTS, "-k", "not go-2")
    session.run("pytest", *paths, env={"NATSCORE_PURE": "1", "NATSCORE_PLANE": "pure"})


@nox.session(default=False)
def accel(session: nox.Session) -> None:
    """Compile the data plane into its place; fail, with what the compiler says, if it cannot be."""
    session.install("-e", "packages/core", "-e", ACCEL, env={"NATSCORE_ACCEL_REQUIRED": "1"})
    session.run("python", "-c", "import natscore_accel as a; print(a.available, a.why_not)")


@nox.session(default=False)
def sanitize(session: nox.Session) -> None:
    """Test and fuzz the data plane, compiled with sanitizers: `nox -s sanitize -- --minutes 3 --paired`."""
    session.install("pip", *SOURCES, *nox.project.dependency_groups(WORKSPACE, "test"))
    session.run("python", "-m", "tests.fuzz.sanitizers", *session.posargs)


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
    install(session, "test", "mutants")
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
    """Build the wheels, install them where there is no compiler, and run the server from them."""
    session.install(*nox.project.dependency_groups(WORKSPACE, "build"))
    session.run("python", "-m", "tests.packaging.build", session.create_tmp(), *session.posargs)

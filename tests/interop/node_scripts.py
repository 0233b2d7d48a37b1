"""Node.js client libraries as scripts: one process per scenario, one JSON line as its outcome.

The libraries are pinned in `node/package-lock.json` and installed by `npm ci` when
`node/node_modules` is missing or was made from another lock file. A machine without
Node.js skips these tests and says why; with `CI=true` that is a failure, because
there nothing may be skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

__all__ = ["LIBRARIES", "Node", "NodeLibrary", "RunningScript", "ScriptFailure", "installed_node"]

SCRIPTS: Final = Path(__file__).resolve().parent / "node"

NODE_MAJOR_MIN: Final = 18  # `engines` in node/package.json
INSTALL_SECONDS_MAX: Final = 50.0  # below the time limit of a test, which includes its fixtures
SCRIPT_SECONDS_MAX: Final = 10.0  # above the bound that a script puts on itself
PATIENCE_MS: Final = 300  # how long a library that hears nothing of missing responders waits for an answer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeLibrary:
    """A client library, by the script in `node/` that drives it."""

    name: str
    script: str
    has_headers: bool  # and with them status messages, such as 503

    def __str__(self) -> str:
        return self.name


LIBRARIES: Final = (
    NodeLibrary("transport-node", "transport_node.mjs", has_headers=True),
    NodeLibrary("nats-2", "nats2.mjs", has_headers=True),
    NodeLibrary("nats-1", "nats1.mjs", has_headers=False),
)


class ScriptFailure(AssertionError):
    """A script did not say what it must, in time, with exit code 0."""


class RunningScript:
    """One scenario under way. Made by `Node.running`, which also ends it."""

    def __init__(self, process: asyncio.subprocess.Process, title: str) -> None:
        self._process = process
        self._title = title

    async def wait_until_ready(self) -> None:
        """Return when the script says that it is the test's turn."""
        assert self._process.stdout is not None
        line = await self._bounded(self._process.stdout.readline(), "READY")
        if line != b"READY\n":
            raise ScriptFailure(f"{self._title} said {line!r} where READY was expected")

    async def details(self) -> Any:
        """What the scenario found, after the script has exited with success."""
        output, errors = await self._bounded(self._process.communicate(), "outcome")
        # The outcome is the last line; READY may stand before it.
        try:
            outcome = json.loads(output.splitlines()[-1])
        except (IndexError, ValueError):
            outcome = {"ok": False}
        if self._process.returncode != 0 or not outcome["ok"]:
            raise ScriptFailure(
                f"{self._title} exited with {self._process.returncode}: {outcome.get('error')}\n"
                f"{output.decode(errors='replace')}\n{errors.decode(errors='replace')}"
            )
        return outcome["details"]

    async def _bounded(self, awaitable: Awaitable[T], what: str) -> T:
        try:
            return await asyncio.wait_for(awaitable, SCRIPT_SECONDS_MAX)
        except TimeoutError:
            raise ScriptFailure(f"{self._title} gave no {what} within {SCRIPT_SECONDS_MAX} s") from None


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js with the pinned libraries."""

    executable: str

    @contextlib.asynccontextmanager
    async def running(
        self, library: NodeLibrary, scenario: str, url: str, **settings: object
    ) -> AsyncIterator[RunningScript]:
        """Start `scenario`; the process is gone when the block ends."""
        process = await asyncio.create_subprocess_exec(
            self.executable,
            library.script,
            url,
            scenario,
            json.dumps({"patience_ms": PATIENCE_MS, **settings}),
            cwd=SCRIPTS,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield RunningScript(process, f"{scenario} with {library}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    def run(self, library: NodeLibrary, scenario: str, url: str, **settings: object) -> Any:
        """The details of a scenario that needs nothing but a server."""

        async def details() -> Any:
            async with self.running(library, scenario, url, **settings) as script:
                return await script.details()

        return asyncio.run(details())


def installed_node() -> Node:
    """Node.js with the libraries of the lock file; without it the test is skipped, or fails in CI."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _unavailable("the Node.js client libraries need `node` and `npm` on the PATH")
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=SCRIPT_SECONDS_MAX)
    version = answer.stdout.strip()  # v20.20.2
    if int(version.removeprefix("v").partition(".")[0]) < NODE_MAJOR_MIN:
        _unavailable(f"Node.js is {version}; the client libraries need {NODE_MAJOR_MIN} or later")
    _install(npm, SCRIPTS)
    return Node(node)


def _install(npm: str, directory: Path) -> None:
    """Make `node_modules` what the lock file says, if it is not already."""
    stamp = directory / "node_modules" / ".installed-from"
    wanted = hashlib.sha256((directory / "package-lock.json").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    try:
        # `npm ci` begins by removing node_modules, and so a stamp of something else.
        subprocess.run(
            [npm, "ci", "--prefer-offline"],
            cwd=directory,
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        _unavailable(f"`npm ci` did not end within {INSTALL_SECONDS_MAX} s")
    except subprocess.CalledProcessError as error:
        _unavailable(f"`npm ci` failed: {error.stderr.strip()}")
    stamp.write_text(wanted)


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; with CI=true nothing is skipped", pytrace=False)
    pytest.skip(reason)

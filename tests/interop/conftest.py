"""A server of each kind, kept for the whole run, and Node.js with the pinned libraries."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import pytest

from tests.interop.node_scripts import Node, installed_node
from tests.support.servers import RunningServer, ServerProgram, programs, start

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIXES: Final = (f"interop.{number}" for number in itertools.count(1))


@pytest.fixture(scope="session", params=programs(), ids=str)
def program(request: pytest.FixtureRequest) -> ServerProgram:
    """Each server program of this machine in turn."""
    found: ServerProgram = request.param
    return found


@pytest.fixture(scope="session")
def _kept_server(program: ServerProgram) -> Iterator[RunningServer]:
    with start(program) as running:
        yield running


@pytest.fixture
def server(_kept_server: RunningServer) -> Iterator[RunningServer]:
    """An open server with default options, shared with other tests. It must survive each of them."""
    if _kept_server.process.poll() is not None:
        _kept_server.restart()
    yield _kept_server
    exit_code = _kept_server.process.poll()
    assert exit_code is None, f"the server exited with {exit_code}; its log:\n{_kept_server.log_text()}"


@pytest.fixture
def prefix() -> str:
    """Where the subjects of one test begin, so that tests that share a server do not meet."""
    return next(_PREFIXES)


@pytest.fixture
def speaks_2_12(program: ServerProgram) -> bool:
    """Whether the server behaves as nats-server 2.12 and later, as ours does."""
    return program.version is None or tuple(map(int, program.version.split("."))) >= (2, 12)


@pytest.fixture(scope="session")
def node() -> Node:
    """Node.js with the client libraries of `node/package-lock.json`."""
    return installed_node()

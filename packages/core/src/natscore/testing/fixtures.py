"""Servers for the tests of programs that talk to one, as pytest fixtures.

In a `conftest.py`:

    pytest_plugins = ["natscore.testing.fixtures"]

A test then asks for `nats_server` and connects to `nats_server.url`. The server
runs in a thread of its own, on a free port of this machine, so plain tests and
tests of any async plugin can use it. It needs `natscore[tcp]`.

This module alone imports pytest, and it is the one place in the core that
reaches for a transport: by name and only when a fixture is used.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from natscore.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscore.server import Server

__all__ = ["RunningServer", "nats_options", "nats_server", "start_nats_server"]


class RunningServer(Protocol):
    """A server that accepts clients."""

    @property
    def host(self) -> str:
        """Where it listens."""

    @property
    def port(self) -> int:
        """... and the port the kernel picked."""

    @property
    def url(self) -> str:
        """Where clients connect, as `nats://host:port`."""

    @property
    def server(self) -> Server:
        """The live state machine, in the thread that runs it: look, but feed it nothing."""


@pytest.fixture
def nats_options() -> Options:
    """The settings of `nats_server`. Override this fixture to have others."""
    return Options()


@pytest.fixture
def nats_server(
    nats_options: Options, start_nats_server: Callable[[Options], RunningServer]
) -> RunningServer:
    """A server of this test's own."""
    return start_nats_server(nats_options)


@pytest.fixture
def start_nats_server() -> Iterator[Callable[[Options], RunningServer]]:
    """Starts a server with the options given, each time it is called. All end with the test."""
    transport = _transport()
    with ExitStack() as running:

        def start(options: Options) -> RunningServer:
            server: RunningServer = running.enter_context(transport.serve_in_thread(options))
            return server

        yield start


def _transport() -> Any:
    try:
        return pytest.importorskip("natscore_tcp")
    except pytest.skip.Exception:  # a test that cannot run must not look as if it need not
        pytest.fail("a NATS server needs a transport: pip install 'natscore[tcp]'", pytrace=False)

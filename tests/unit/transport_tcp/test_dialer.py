"""Dialling on loopback: one answer for each Dial, whatever happens."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import anyio
import pytest

from natscore.effects import Dial
from natscore.events import (
    Address,
    AttemptId,
    BytesReceived,
    ConnectionKind,
    ConnectionOpened,
    DialFailed,
    TurnGranted,
)
from natscore.options import MILLISECOND, SECOND
from natscore_tcp import TransportSettings
from tests.unit.transport_tcp.conftest import running
from tests.unit.transport_tcp.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from natscore.effects import Effect

pytestmark = pytest.mark.anyio


def dialling(*targets: Address) -> Machine:
    """A machine that dials these as routes when it is granted a turn."""

    def dial(machine: Machine, _: TurnGranted) -> Sequence[Effect]:
        return [
            Dial(AttemptId(number), ConnectionKind.ROUTE, target) for number, target in enumerate(targets, 1)
        ]

    return Machine({TurnGranted: dial})


async def test_dial_that_connects_is_answered_by_a_solicited_connection() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        target = Address(*listening.getsockname())
        machine = dialling(target)
        async with running(machine) as server:
            server.runtime.feed(TurnGranted(at=server.runtime.now()))
            opened = await machine.until_seen(ConnectionOpened)
            accepted, _ = listening.accept()
            with closing(accepted):
                accepted.sendall(b"hello")
                await machine.until_seen(BytesReceived)
                assert accepted.recv(5) == b"hello"

    assert opened.attempt == 1
    assert opened.solicited
    assert opened.kind is ConnectionKind.ROUTE
    assert opened.remote == target
    assert machine.seen(DialFailed) == []


async def test_dial_by_name_connects() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        target = Address("localhost", listening.getsockname()[1])
        machine = dialling(target)
        async with running(machine) as server:
            server.runtime.feed(TurnGranted(at=server.runtime.now()))
            opened = await machine.until_seen(ConnectionOpened)

    assert opened.remote == target


@pytest.mark.spec("operations 11.1")
async def test_dial_that_is_refused_says_so_in_the_words_of_the_reference() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        target = Address(*listening.getsockname())
    machine = dialling(target)
    async with running(machine) as server:
        server.runtime.feed(TurnGranted(at=server.runtime.now()))
        failed = await machine.until_seen(DialFailed)

    assert failed.attempt == 1
    assert failed.error == f"dial tcp {target}: connect: connection refused"


async def test_dial_of_an_unknown_name_fails() -> None:
    machine = dialling(Address("nowhere.invalid", 4222))
    settings = TransportSettings(dial_timeout_ns=10 * SECOND)
    async with running(machine, settings=settings) as server:
        server.runtime.feed(TurnGranted(at=server.runtime.now()))
        failed = await machine.until_seen(DialFailed)

    assert failed.error.startswith("dial tcp nowhere.invalid:4222: ")


async def test_dial_that_nobody_answers_times_out() -> None:
    with ExitStack() as sockets:
        target = deaf_listener(sockets)
        machine = dialling(target)
        settings = TransportSettings(dial_timeout_ns=50 * MILLISECOND)
        async with running(machine, settings=settings) as server:
            server.runtime.feed(TurnGranted(at=server.runtime.now()))
            failed = await machine.until_seen(DialFailed)

    assert failed.error == f"dial tcp {target}: i/o timeout"


async def test_dial_under_way_when_the_server_ends_is_answered_too() -> None:
    with ExitStack() as sockets:
        machine = dialling(deaf_listener(sockets))
        settings = TransportSettings(dial_timeout_ns=3600 * SECOND)
        async with running(machine, settings=settings) as server:
            server.runtime.feed(TurnGranted(at=server.runtime.now()))
            await anyio.wait_all_tasks_blocked()

    assert [event.error for event in machine.seen(DialFailed)] == ["operation was canceled"]


def deaf_listener(sockets: ExitStack) -> Address:
    """An address that takes no more connections: its backlog is full."""
    listening = sockets.enter_context(closing(socket.socket()))
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    for _ in range(8):
        waiting = sockets.enter_context(closing(socket.socket()))
        waiting.setblocking(False)
        waiting.connect_ex(listening.getsockname())
    return Address(*listening.getsockname())

"""Events one at a time, effects performed, time kept, and an end that leaves nothing behind."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from natscore.effects import Continue, Level, Note, VerifyPassword
from natscore.errors import ConfigError
from natscore.events import (
    AttemptId,
    BytesReceived,
    ConnectionClosed,
    ConnectionKind,
    ConnectionOpened,
    DeadlineReached,
    Instant,
    ListenerOpened,
    PasswordVerified,
    PeerClosing,
    ServerStarted,
    ShutdownRequested,
    TurnGranted,
    WriteBlocked,
)
from natscore.journal import Recorder
from natscore.options import MILLISECOND, Options
from natscore.replay import replay
from natscore.server import Server
from natscore_tcp import Runtime, Shell, TransportSettings
from natscore_tcp.contract import now
from tests.unit.transport_tcp.conftest import running
from tests.unit.transport_tcp.machine import Machine
from tests.unit.transport_tcp.peer import SMALL_BUFFER, connected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from natscore.effects import Effect

pytestmark = pytest.mark.anyio


class Bug(Exception):
    """What a faulty part raises."""


def raise_bug(*_: object) -> Any:
    """A faulty part."""
    raise Bug("wrong")


# -- events ----------------------------------------------------------------------------------------


async def test_first_events_name_the_server_and_where_it_listens() -> None:
    machine = Machine()
    async with running(machine) as server:
        first, second = machine.events

    assert isinstance(first, ServerStarted)
    assert first.server_id.startswith("N")
    assert len(first.server_id) == 56
    assert 0 <= first.seed < 1 << 64
    assert first.runtime.startswith("python3.")
    assert isinstance(second, ListenerOpened)
    assert (second.kind, second.address) == (ConnectionKind.CLIENT, server.address)
    assert server.address.host == "127.0.0.1"
    assert server.address.port > 0


async def test_connections_have_small_numbers_of_their_own_and_fresh_nonces() -> None:
    machine = Machine()
    async with running(machine) as server:
        with connected(server.address) as one, connected(server.address) as other:
            await machine.until_seen(ConnectionOpened, 2)
            local = {peer.socket.getsockname() for peer in (one, other)}

    first, second = machine.seen(ConnectionOpened)
    assert 0 < first.cid < second.cid < 100
    assert {(event.remote.host, event.remote.port) for event in (first, second)} == local
    assert len(first.nonce) == len(second.nonce) == 11
    assert first.nonce != second.nonce
    assert not first.solicited
    assert first.attempt is None


async def test_events_carry_the_instant_of_the_given_clock() -> None:
    machine = Machine()
    at = Instant(7, 8)
    async with running(machine, clock=lambda: at):
        pass

    assert {event.at for event in machine.events} == {at}


async def test_event_fed_while_another_is_handled_waits_for_its_turn() -> None:
    def nested(machine: Machine, event: BytesReceived) -> Sequence[Effect]:
        server.runtime.feed(TurnGranted(at=event.at))  # the machine asserts that it is not entered
        machine.outboxes[event.cid].write(bytes(event.data))
        return []

    machine = Machine({BytesReceived: nested})
    async with running(machine) as server:
        with connected(server.address) as peer:
            await peer.send(b"x")
            assert await peer.receive(1) == b"x"

    kinds = [type(event) for event in machine.events]
    assert kinds.index(TurnGranted) == kinds.index(BytesReceived) + 1


async def test_bytes_fed_while_an_event_is_handled_are_those_of_that_moment() -> None:
    buffer = bytearray(b"first")

    def nested(machine: Machine, event: TurnGranted) -> Sequence[Effect]:
        server.runtime.feed(BytesReceived(at=event.at, cid=cid, data=memoryview(buffer)))
        buffer[:] = b"later"  # another connection is read
        return []

    machine = Machine({TurnGranted: nested})
    async with running(machine) as server:
        with connected(server.address) as peer:
            cid = (await machine.until_seen(ConnectionOpened)).cid
            server.runtime.feed(TurnGranted(at=server.runtime.now()))
            assert await peer.receive(5) == b"first"


async def test_effects_are_performed_in_order() -> None:
    notes = [Note(Level.INFO, name, {}) for name in ("first", "second", "third")]
    machine = Machine({TurnGranted: lambda *_: notes})
    async with running(machine) as server:
        server.runtime.feed(TurnGranted(at=server.runtime.now()))

        assert server.notes == notes


async def test_recorder_runs_in_place_of_the_server_and_its_journal_replays() -> None:
    journal = io.BytesIO()
    recorder = Recorder(Server(Options()), journal.write, 1 << 30)
    runtime = Runtime(recorder)
    payload = bytes(1 << 20)
    async with runtime.running():
        address = await runtime.listen("127.0.0.1", -1)
        with (
            connected(address, receive_buffer=SMALL_BUFFER) as slow,
            connected(address) as publisher,
        ):
            await slow.send(b'CONNECT {"verbose":false}\r\nSUB a 1\r\nPING\r\n')
            await publisher.send(b'CONNECT {"verbose":false}\r\nPING\r\n')
            for _ in range(16):
                await publisher.send(b"PUB a 1048576\r\n" + payload + b"\r\n")
            received = await slow.receive(16 << 20)
    journal.seek(0)

    replayed = replay(journal.read)

    assert len(received) == 16 << 20
    assert replayed.events == recorder.server.events_handled
    assert WriteBlocked.__name__.encode() in journal.getvalue()


# -- turns and time --------------------------------------------------------------------------------


async def test_other_connections_are_read_between_two_turns() -> None:
    def go_on(machine: Machine, event: TurnGranted | BytesReceived) -> Sequence[Effect]:
        return [] if machine.received_from_all().count(b"!") == 2 else [Continue()]

    machine = Machine({BytesReceived: go_on, TurnGranted: go_on})
    async with running(machine) as server:
        with connected(server.address) as busy, connected(server.address) as other:
            await machine.until_seen(ConnectionOpened, 2)
            await busy.send(b"!")
            await machine.until_seen(TurnGranted, 100)
            await other.send(b"!")
            await machine.until_seen(BytesReceived, 2)
            turns = len(machine.seen(TurnGranted))
            await anyio.wait_all_tasks_blocked()

    assert len(machine.seen(TurnGranted)) <= turns + 1


async def test_deadline_is_fed_when_it_has_come_and_not_before() -> None:
    def set_deadline(machine: Machine, event: TurnGranted) -> Sequence[Effect]:
        machine.deadline = event.at.monotonic_ns + 20 * MILLISECOND
        return []

    def clear(machine: Machine, _: DeadlineReached) -> Sequence[Effect]:
        machine.deadline = None
        return []

    machine = Machine({TurnGranted: set_deadline, DeadlineReached: clear})
    async with running(machine) as server:
        asked = TurnGranted(at=server.runtime.now())
        server.runtime.feed(asked)
        reached = await machine.until_seen(DeadlineReached)

    assert reached.at.monotonic_ns >= asked.at.monotonic_ns + 20 * MILLISECOND
    assert len(machine.seen(DeadlineReached)) == 1


async def test_deadline_that_moves_forward_is_met_and_one_that_moves_back_is_not_fed_early() -> None:
    delays = iter([3_600_000, 10, 40])  # milliseconds

    def move(machine: Machine, event: TurnGranted) -> Sequence[Effect]:
        machine.deadline = event.at.monotonic_ns + next(delays) * MILLISECOND
        return []

    def clear(machine: Machine, _: DeadlineReached) -> Sequence[Effect]:
        machine.deadline = None
        return []

    machine = Machine({TurnGranted: move, DeadlineReached: clear})
    async with running(machine) as server:
        for _ in range(3):
            server.runtime.feed(TurnGranted(at=server.runtime.now()))
        due = machine.deadline
        reached = await machine.until_seen(DeadlineReached)

    assert due is not None
    assert reached.at.monotonic_ns >= due


# -- performers ------------------------------------------------------------------------------------

VERIFY = VerifyPassword(AttemptId(1), cid=5, password=b"pw", hashed=b"hash")  # type: ignore[arg-type]


async def test_performer_answers_its_effect() -> None:
    async def verify(effect: VerifyPassword, shell: Shell) -> None:
        await anyio.lowlevel.checkpoint()
        matches = effect.hashed == b"hash"
        shell.feed(PasswordVerified(at=shell.now(), attempt=effect.attempt, cid=effect.cid, matches=matches))

    machine = Machine({TurnGranted: lambda *_: [VERIFY]})
    async with running(machine, performers={VerifyPassword: verify}) as server:
        server.runtime.feed(TurnGranted(at=server.runtime.now()))
        answer = await machine.until_seen(PasswordVerified)

    assert (answer.attempt, answer.cid, answer.matches) == (VERIFY.attempt, VERIFY.cid, True)


async def test_performer_that_fails_is_noted_and_the_server_goes_on() -> None:
    noted = anyio.Event()
    notes: list[Note] = []

    def note(note: Note) -> None:
        notes.append(note)
        noted.set()

    async def fail(effect: VerifyPassword, shell: Shell) -> None:
        raise_bug()

    machine = Machine({TurnGranted: lambda *_: [VERIFY]})
    async with running(machine, performers={VerifyPassword: fail}, note=note) as server:
        server.runtime.feed(TurnGranted(at=server.runtime.now()))
        await noted.wait()
        with connected(server.address) as peer:
            await peer.send(b"x")
            assert await peer.receive(1) == b"x"

    assert [(note.level, note.name) for note in notes] == [(Level.ERROR, "performer_failed")]


async def test_effect_that_nobody_performs_is_noted() -> None:
    machine = Machine({TurnGranted: lambda *_: [VERIFY]})
    async with running(machine) as server:
        server.runtime.feed(TurnGranted(at=server.runtime.now()))

    assert [(note.level, note.name, note.fields) for note in server.notes] == [
        (Level.ERROR, "effect_without_performer", {"effect": "VerifyPassword"})
    ]


# -- failures and the end --------------------------------------------------------------------------


async def test_exception_in_handle_is_said_and_ends_the_server_with_it() -> None:
    machine = Machine({BytesReceived: raise_bug})
    notes: list[Note] = []
    runtime = Runtime(machine, note=notes.append)
    ended_by_cancellation = False

    async def use_it() -> None:
        nonlocal ended_by_cancellation
        async with runtime.running():
            with connected(await runtime.listen("127.0.0.1", -1)) as peer:
                await peer.send(b"x")
                try:
                    await anyio.sleep(10)
                except anyio.get_cancelled_exc_class():
                    ended_by_cancellation = True
                    raise

    with pytest.raises(Bug, match="wrong"):
        await use_it()

    assert ended_by_cancellation
    assert [(note.level, note.name) for note in notes] == [(Level.FATAL, "server_failed")]
    assert isinstance(runtime.failure, Bug)
    assert runtime.connections == 0


async def test_server_that_cannot_start_raises_before_its_block_is_entered() -> None:
    runtime = Runtime(Machine({ServerStarted: raise_bug}))
    with pytest.raises(Bug):
        async with runtime.running():
            pytest.fail("the block was entered")


async def feed_turns(machine: Machine, times: int, **arguments: Any) -> None:
    """Run a machine, feed it so many turns, and wait to be cancelled."""
    async with running(machine, **arguments) as server:
        for _ in range(times):
            server.runtime.feed(TurnGranted(at=server.runtime.now()))
        await anyio.sleep(10)


async def test_exception_while_an_effect_is_performed_ends_the_server_too() -> None:
    def note(note: Note) -> None:
        if note.name == "say":
            raise_bug()

    machine = Machine({TurnGranted: lambda *_: [Note(Level.INFO, "say", {})]})

    with pytest.raises(Bug):
        await feed_turns(machine, 1, note=note)


async def test_exception_in_a_callback_of_the_event_loop_ends_the_server_too() -> None:
    async def arm() -> None:
        async with running(Machine()) as server:
            server.runtime.call_at(0, raise_bug)
            await anyio.sleep(10)

    with pytest.raises(Bug):
        await arm()


async def test_failed_server_is_fed_no_more() -> None:
    machine = Machine({TurnGranted: raise_bug})

    with pytest.raises(Bug):
        await feed_turns(machine, 2)

    assert len(machine.seen(TurnGranted)) == 1
    assert machine.seen(ShutdownRequested) == []


async def test_exception_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(Bug, match="wrong"):
        async with running(Machine()):
            raise_bug()


async def test_stop_closes_listeners_first_and_then_the_connections() -> None:
    machine = Machine()
    async with running(machine) as server:
        with connected(server.address) as peer, connected(server.address) as with_input:
            await machine.until_seen(ConnectionOpened, 2)
            await server.runtime.stop()
            with pytest.raises(ConnectionRefusedError), connected(server.address):
                pass
            assert await peer.receive_all() == b""
            assert await with_input.receive_all() == b""

    assert [event.why for event in machine.seen(ConnectionClosed)] == [PeerClosing.FINISHED] * 2
    assert len(machine.seen(ShutdownRequested)) == 1
    assert server.runtime.connections == 0


async def test_stop_flushes_what_was_refused() -> None:
    much = bytes(16 << 20)

    def write(machine: Machine, event: ConnectionOpened) -> Sequence[Effect]:
        machine.outboxes[event.cid].write(much)
        return []

    machine = Machine({ConnectionOpened: write})
    async with anyio.create_task_group() as group, running(machine) as server:
        with connected(server.address, receive_buffer=SMALL_BUFFER) as peer:
            await machine.until_seen(WriteBlocked)
            group.start_soon(server.runtime.stop)
            received = await peer.receive_all()

    assert received == much


async def test_stop_does_not_wait_for_ever_for_a_peer_that_does_not_read() -> None:
    def write(machine: Machine, event: ConnectionOpened) -> Sequence[Effect]:
        machine.outboxes[event.cid].write(bytes(16 << 20))
        return []

    machine = Machine({ConnectionOpened: write})
    settings = TransportSettings(flush_deadline_ns=100 * MILLISECOND)
    with anyio.fail_after(5):
        async with running(machine, settings=settings) as server:
            with connected(server.address, receive_buffer=SMALL_BUFFER):
                await machine.until_seen(WriteBlocked)
                await server.runtime.stop()

    assert [event.why for event in machine.seen(ConnectionClosed)] == [PeerClosing.FINISHED]


async def test_stop_with_peers_that_keep_their_side_open_does_not_linger() -> None:
    machine = Machine()
    settings = TransportSettings(linger_ns=3_600_000 * MILLISECOND)
    async with running(machine, settings=settings) as server:
        with connected(server.address):
            await machine.until_seen(ConnectionOpened)
            with anyio.fail_after(5):
                await server.runtime.stop()

    assert len(machine.seen(ConnectionClosed)) == 1


async def test_peer_that_goes_on_sending_while_a_server_stops_hears_its_end_and_is_not_reset() -> None:
    machine = Machine()
    settings = TransportSettings(linger_ns=3_600_000 * MILLISECOND)
    async with running(machine, settings=settings) as server, anyio.create_task_group() as group:
        with connected(server.address) as peer:
            await machine.until_seen(ConnectionOpened)
            group.start_soon(server.runtime.stop)
            assert await peer.receive(1) == b""  # all that it sent, which is nothing, has been read

            await peer.send(b"x")
            await peer.send(b"y")  # a reset would have come by now

            assert await peer.receive_all() == b""


async def test_cancelled_block_ends_the_server_at_once() -> None:
    machine = Machine()
    with anyio.CancelScope() as scope:
        async with running(machine) as server:
            with connected(server.address):
                await machine.until_seen(ConnectionOpened)
                scope.cancel()
                await anyio.sleep(10)

    assert scope.cancelled_caught
    assert server.runtime.connections == 0
    assert machine.seen(ShutdownRequested) == []


def test_deadline_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="linger_ns is 0; it must be above 0"):
        TransportSettings(linger_ns=0)


def test_clock_of_the_machine_is_both_clocks() -> None:
    before = time.monotonic_ns(), time.time_ns()
    at = now()

    assert before[0] <= at.monotonic_ns <= time.monotonic_ns()
    assert before[1] <= at.wall_ns <= time.time_ns()


@pytest.mark.spec("operations 10")
async def test_retiring_closes_the_listener_of_clients_and_ends_when_the_server_has_parted_from_all() -> None:
    options = Options(lame_duck_grace_period_ns=100 * MILLISECOND, lame_duck_duration_ns=200 * MILLISECOND)
    runtime = Runtime(Server(options))
    async with runtime.running(), anyio.create_task_group() as group:
        address = await runtime.listen("127.0.0.1", -1)
        routes = await runtime.listen("127.0.0.1", -1, ConnectionKind.ROUTE)
        with connected(address) as peer, connected(routes):
            assert await peer.receive(5) == b"INFO "
            group.start_soon(runtime.retire)
            await anyio.wait_all_tasks_blocked()

            with pytest.raises(ConnectionRefusedError), connected(address):
                pass
            with connected(routes):
                pass
            await runtime.retire()
            assert (await peer.receive_all()).count(b"\r\n") == 1  # the end of its INFO


@pytest.mark.spec("operations 10")
async def test_retiring_without_clients_is_over_at_once() -> None:
    runtime = Runtime(Server())
    async with runtime.running():
        await runtime.listen("127.0.0.1", -1)
        with anyio.fail_after(5):
            await runtime.retire()
            await runtime.retire()


@pytest.mark.spec("operations 10")
async def test_stopping_while_retiring_ends_the_connections_at_once() -> None:
    runtime = Runtime(Server())
    async with anyio.create_task_group() as group, runtime.running():
        address = await runtime.listen("127.0.0.1", -1)
        with connected(address) as peer:
            assert await peer.receive(5) == b"INFO "
            group.start_soon(runtime.retire)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(5):
                await runtime.stop()
                assert (await peer.receive_all()).count(b"\r\n") == 1
        group.cancel_scope.cancel()

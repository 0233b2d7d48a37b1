"""Reading, writing and closing one connection, over real sockets on loopback."""

from __future__ import annotations

import socket
import tracemalloc
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscore.effects import Close, PauseReading, ResumeReading
from natscore.errors import CloseReason
from natscore.events import (
    Address,
    BytesReceived,
    ConnectionClosed,
    ConnectionKind,
    ConnectionOpened,
    PeerClosing,
    TurnGranted,
    WriteBlocked,
    WriteProgressed,
)
from natscore.options import MILLISECOND, SECOND
from natscore_tcp import TransportSettings
from natscore_tcp.backend import Served
from natscore_tcp.stream import LARGE_BLOCK, URGENT_MAX, gathered
from tests.unit.transport_tcp.conftest import running
from tests.unit.transport_tcp.machine import Machine, echo, ignore
from tests.unit.transport_tcp.peer import SMALL_BUFFER, connected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from natscore.effects import Effect
    from natscore.events import ConnectionId

    Script: TypeAlias = Callable[[Machine, ConnectionOpened | BytesReceived], Sequence[Effect]]

pytestmark = pytest.mark.anyio

MUCH = bytes(range(256)) * (16 << 12)  # 16 MiB, more than the kernel buffers for one connection
MIB = 1 << 20
SOON = TransportSettings(flush_deadline_ns=100 * MILLISECOND, linger_ns=100 * MILLISECOND)
LATE = TransportSettings(flush_deadline_ns=3600 * SECOND, linger_ns=3600 * SECOND)


def writes(*blocks: bytes) -> Script:
    """Write these."""

    def act(machine: Machine, event: ConnectionOpened | BytesReceived) -> Sequence[Effect]:
        for block in blocks:
            machine.outboxes[event.cid].write(block)
        return []

    return act


def writes_and_closes(
    *blocks: bytes, flush: bool = True, reason: CloseReason = CloseReason.PROTOCOL_VIOLATION
) -> Script:
    """Write these, and close the connection."""

    def act(machine: Machine, event: ConnectionOpened | BytesReceived) -> Sequence[Effect]:
        writes(*blocks)(machine, event)
        return [Close(event.cid, reason, flush)]

    return act


# -- reading ---------------------------------------------------------------------------------------


async def test_bytes_are_fed_in_order_and_at_most_64_kib_at_a_time() -> None:
    machine = Machine({BytesReceived: ignore})
    data = MUCH[:MIB]
    async with running(machine) as server:
        with connected(server.address) as peer:
            await peer.send(data)
            await machine.until(lambda: sum(len(e.data) for e in machine.seen(BytesReceived)) == len(data))

    assert b"".join(event.data for event in machine.seen(BytesReceived)) == data
    assert all(1 <= len(event.data) <= 65_536 for event in machine.seen(BytesReceived))


def pass_on(machine: Machine, event: BytesReceived) -> Sequence[Effect]:
    """Write what one connection sent to the other one."""
    first, second = (opened.cid for opened in machine.seen(ConnectionOpened))
    machine.outboxes[second if event.cid == first else first].write(b"x")
    return []


@pytest.mark.parametrize(
    ("act", "sizes", "served"),
    [
        (pass_on, [100], [Served.URGENT]),
        (pass_on, [URGENT_MAX, URGENT_MAX], [Served.URGENT, Served.URGENT]),
        (pass_on, [URGENT_MAX + 1], [None]),
        (pass_on, [65_536, 100, 100], [Served.BULK, None, Served.URGENT]),  # the rest of a row is no request
        (pass_on, [30_000, 100], [None, None]),
        (ignore, [100, 65_536, 100], [None, Served.BULK, None]),
        (echo, [100], [None]),  # an answer to itself: nobody else waits
    ],
)
async def test_little_that_is_passed_on_is_urgent(
    act: Script, sizes: list[int], served: list[Served | None]
) -> None:
    machine = Machine({BytesReceived: act})
    async with running(machine) as server:
        with connected(server.address) as peer, connected(server.address):
            await machine.until_seen(ConnectionOpened, 2)
            stream = server.runtime._streams[machine.seen(ConnectionOpened)[0].cid]
            stream.pause()
            found = []
            for size in sizes:
                await peer.send(bytes(size))
                found.append(stream._readable())

    assert found == served


async def test_connection_is_not_read_while_reading_is_paused() -> None:
    def obey(machine: Machine, event: BytesReceived) -> Sequence[Effect]:
        machine.outboxes[event.cid].write(bytes(event.data))
        first = machine.seen(ConnectionOpened)[0].cid
        effects: dict[bytes, list[Effect]] = {
            b"pause": [PauseReading(first)],
            b"resume": [ResumeReading(first)],
        }
        return effects.get(bytes(event.data), [])

    machine = Machine({BytesReceived: obey})
    async with running(machine) as server:
        with connected(server.address) as paused, connected(server.address) as other:
            await machine.until_seen(ConnectionOpened, 2)
            await paused.send(b"pause")
            assert await paused.receive(5) == b"pause"
            await paused.send(b"held back")
            for _ in range(3):
                await other.send(b"turns")
                assert await other.receive(5) == b"turns"
            while_paused = machine.received(machine.seen(ConnectionOpened)[0].cid)
            await other.send(b"resume")
            assert await paused.receive(9) == b"held back"

    assert while_paused == b"pause"


async def test_connection_paused_and_resumed_in_one_turn_is_read_on() -> None:
    def obey(machine: Machine, event: BytesReceived) -> Sequence[Effect]:
        machine.outboxes[event.cid].write(bytes(event.data))
        return [PauseReading(event.cid), ResumeReading(event.cid), ResumeReading(event.cid)]

    async with running(Machine({BytesReceived: obey})) as server:
        with connected(server.address) as peer:
            for word in (b"one", b"two"):
                await peer.send(word)
                assert await peer.receive(3) == word


# -- writing ---------------------------------------------------------------------------------------


async def test_outbox_that_the_kernel_takes_whole_is_no_event() -> None:
    machine = Machine()
    async with running(machine) as server:
        with connected(server.address) as peer:
            await peer.send(b"hello")
            assert await peer.receive(5) == b"hello"

    assert machine.refusals() == []


async def test_peer_that_does_not_read_is_reported_with_exact_figures() -> None:
    machine = Machine({ConnectionOpened: writes(MUCH[:MIB], *[MUCH[:1000]] * 2000, MUCH)})
    expected = MUCH[:MIB] + MUCH[:1000] * 2000 + MUCH
    async with running(machine) as server:
        with connected(server.address, receive_buffer=SMALL_BUFFER) as peer:
            blocked = await machine.until_seen(WriteBlocked)
            assert 0 < blocked.refused < len(expected)
            received = await peer.receive(len(expected))
            await machine.until(lambda: machine.refusals()[-1] == 0)

    refusals = machine.refusals()
    told = [
        (type(event), held)
        for event, held in zip(machine.events, machine.held, strict=True)
        if isinstance(event, WriteBlocked | WriteProgressed)
    ]
    assert received == expected
    assert [n for _, n in told] == refusals  # each figure is what the outbox held at that instant
    assert all(earlier > later for earlier, later in pairwise(refusals))
    assert [kind for kind, _ in told] == [WriteBlocked] + [WriteProgressed] * (len(told) - 1)


async def test_refusal_is_handled_before_any_other_event() -> None:
    def write_and_queue_another(machine: Machine, event: ConnectionOpened) -> Sequence[Effect]:
        server.runtime.feed(TurnGranted(at=server.runtime.now()))
        return writes(MUCH)(machine, event)

    machine = Machine({ConnectionOpened: write_and_queue_another})
    async with running(machine) as server:
        with connected(server.address):
            await machine.until_seen(TurnGranted)

    kinds = [type(event) for event in machine.events]
    opened = kinds.index(ConnectionOpened)
    assert kinds[opened : opened + 3] == [ConnectionOpened, WriteBlocked, TurnGranted]


async def test_refusals_of_one_turn_tell_what_is_refused_when_each_is_handled() -> None:
    def fan_out(machine: Machine, _: TurnGranted) -> Sequence[Effect]:
        for outbox in machine.outboxes.values():
            outbox.write(MUCH)
        return []

    def add_to_the_others(machine: Machine, event: WriteBlocked) -> Sequence[Effect]:
        told = {one.cid for one in machine.seen(WriteBlocked)}
        closing = [cid for cid in machine.outboxes if cid not in told][1:]
        for cid, outbox in machine.outboxes.items():
            if cid != event.cid:
                outbox.write(b"one more")
        return [Close(cid, CloseReason.MEMORY, flush=False) for cid in closing]

    machine = Machine({TurnGranted: fan_out, WriteBlocked: add_to_the_others})
    async with running(machine) as server:
        with ExitStack() as open_peers:
            for _ in range(4):
                open_peers.enter_context(connected(server.address, receive_buffer=SMALL_BUFFER))
            await machine.until_seen(ConnectionOpened, 4)
            server.runtime.feed(TurnGranted(at=server.runtime.now()))

    told = [
        (event.cid, event.refused, held)
        for event, held in zip(machine.events, machine.held, strict=True)
        if isinstance(event, WriteBlocked)
    ]
    first, second, *closed = (event.cid for event in machine.seen(ConnectionOpened))
    assert [cid for cid, _, _ in told] == [first, second]
    assert all(refused == held for _, refused, held in told)
    assert [event.cid for event in machine.seen(ConnectionClosed)][:2] == closed


async def test_blocked_outbox_that_grows_is_written_in_order_when_the_peer_reads() -> None:
    machine = Machine({ConnectionOpened: writes(MUCH)})
    async with running(machine) as server:
        with connected(server.address, receive_buffer=SMALL_BUFFER) as peer:
            refused = (await machine.until_seen(WriteBlocked)).refused
            await peer.send(b"behind ")
            await machine.until_seen(BytesReceived)
            await peer.send(b"it, in order")
            await machine.until_seen(BytesReceived, 2)
            held = machine.outboxes[peer_cid(machine)].size
            received = await peer.receive(len(MUCH) + 19)
            await machine.until(lambda: machine.refusals()[-1] == 0)
            await peer.send(b"and on")
            assert await peer.receive(6) == b"and on"

    assert held == refused + 19
    assert received == MUCH + b"behind it, in order"
    assert machine.refusals().count(0) == 1
    assert len(machine.seen(WriteBlocked)) == 1


async def test_large_block_for_many_blocked_peers_is_held_once() -> None:
    shared = MUCH
    machine = Machine({ConnectionOpened: ignore, BytesReceived: ignore})

    def fan_out(machine: Machine, _: TurnGranted) -> Sequence[Effect]:
        for outbox in machine.outboxes.values():
            outbox.write(b"MSG a 1 16777216\r\n")
            outbox.write(shared)
        return []

    machine.on[TurnGranted] = fan_out
    async with running(machine) as server:
        with ExitStack() as open_peers:
            for _ in range(20):
                open_peers.enter_context(connected(server.address, receive_buffer=SMALL_BUFFER))
            await machine.until_seen(ConnectionOpened, 20)
            tracemalloc.start()
            try:
                server.runtime.feed(TurnGranted(at=server.runtime.now()))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            refused = machine.refusals()

    assert len(refused) == 20
    assert peak < MIB // 4


@given(
    st.lists(
        st.sampled_from([0, 1, 100, LARGE_BLOCK - 1, LARGE_BLOCK, LARGE_BLOCK + 1]).map(
            lambda size: b"x" * size
        ),
        max_size=12,
    )
)
def test_gathered_blocks_are_the_same_bytes_with_small_neighbours_joined(blocks: list[bytes]) -> None:
    result = gathered(list(blocks))

    large = [block for block in blocks if len(block) >= LARGE_BLOCK]
    assert b"".join(result) == b"".join(blocks)
    assert all(any(block is kept for kept in result) for block in large)
    assert len(result) <= 2 * len(large) + 1


class Reluctant(socket.socket):
    """A socket that was reported ready too early, once in each direction, as kernels may."""

    recv_refused = send_refused = False

    def recv(self, *arguments: int) -> bytes:
        if not self.recv_refused:
            self.recv_refused = True
            raise BlockingIOError
        return super().recv(*arguments)

    def send(self, *arguments: Any) -> int:
        if not self.send_refused:
            self.send_refused = True
            raise BlockingIOError
        return super().send(*arguments)


async def test_readiness_without_bytes_or_room_is_no_event() -> None:
    machine = Machine()
    async with running(machine) as server:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            reluctant = Reluctant(fileno=ours.detach())
            server.runtime.admit(reluctant, ConnectionKind.CLIENT, Address("pair", 1))
            theirs.send(b"hello")
            await machine.until(lambda: machine.refusals() == [5, 0])
            assert theirs.recv(5) == b"hello"

    assert machine.received(machine.seen(ConnectionOpened)[0].cid) == b"hello"
    assert reluctant.recv_refused


async def test_stream_says_who_it_is_and_how_it_fares() -> None:
    machine = Machine({ConnectionOpened: writes(MUCH)})
    async with running(machine) as server:
        with connected(server.address):
            await machine.until_seen(WriteBlocked)
            (stream,) = server.runtime._streams.values()
            shown = repr(stream)

    assert shown == f"<Stream {stream.cid} OPEN blocked>"


# -- the peer ends ---------------------------------------------------------------------------------


async def test_end_of_stream_is_reported_once() -> None:
    machine = Machine()
    async with running(machine) as server:
        with connected(server.address) as peer:
            await peer.send(b"last words")
            assert await peer.receive(10) == b"last words"
            peer.close()
            await machine.until_seen(ConnectionClosed)

    assert [event.why for event in machine.seen(ConnectionClosed)] == [PeerClosing.END_OF_STREAM]
    assert server.runtime.connections == 0


async def test_reset_is_reported_as_a_read_error() -> None:
    machine = Machine()
    async with running(machine) as server:
        with connected(server.address) as peer:
            await machine.until_seen(ConnectionOpened)
            peer.reset()
            closed = await machine.until_seen(ConnectionClosed)

    assert closed.why is PeerClosing.READ_ERROR


async def test_failing_write_is_reported_as_a_write_error_and_once() -> None:
    machine = Machine(
        {
            ConnectionOpened: lambda _, event: [PauseReading(event.cid)],
            TurnGranted: lambda machine, _: writes(b"too late")(machine, machine.seen(ConnectionOpened)[0]),
        }
    )
    async with running(machine) as server:
        with connected(server.address) as peer:
            await machine.until_seen(ConnectionOpened)
            peer.reset()
            server.runtime.feed(TurnGranted(at=server.runtime.now()))
            closed = await machine.until_seen(ConnectionClosed)

    assert closed.why is PeerClosing.WRITE_ERROR
    assert len(machine.seen(ConnectionClosed)) == 1


async def test_peer_that_ended_its_side_still_gets_what_was_refused() -> None:
    machine = Machine({BytesReceived: writes(MUCH)})
    async with running(machine, settings=LATE) as server:
        with connected(server.address, receive_buffer=SMALL_BUFFER) as peer:
            await peer.send(b"go")
            peer.end_stream()
            await machine.until_seen(WriteBlocked)
            received = await peer.receive_all()
            closed = await machine.until_seen(ConnectionClosed)

    assert received == MUCH
    assert closed.why is PeerClosing.END_OF_STREAM
    assert machine.refusals()[-1] == 0


async def test_peer_that_ended_its_side_and_does_not_read_is_given_up() -> None:
    machine = Machine({BytesReceived: writes(MUCH)})
    async with running(machine, settings=SOON) as server:
        with connected(server.address, receive_buffer=SMALL_BUFFER) as peer:
            await peer.send(b"go")
            peer.end_stream()
            closed = await machine.until_seen(ConnectionClosed)

    assert closed.why is PeerClosing.END_OF_STREAM
    assert machine.refusals()[-1] > 0


# -- the server ends -------------------------------------------------------------------------------


async def test_close_with_flush_delivers_everything_before_the_end_of_the_stream() -> None:
    machine = Machine({BytesReceived: writes_and_closes(MUCH, b"-ERR 'x'\r\n")})
    async with running(machine, settings=LATE) as server:
        with connected(server.address, receive_buffer=SMALL_BUFFER) as peer:
            await peer.send(b"go")
            received = await peer.receive_all()
            peer.close()
            closed = await machine.until_seen(ConnectionClosed)
            after = machine.events[machine.events.index(machine.seen(BytesReceived)[0]) + 1 :]

    assert received == MUCH + b"-ERR 'x'\r\n"
    assert closed.why is PeerClosing.FINISHED
    assert after == [closed]


async def test_outbox_that_was_blocked_before_the_close_is_flushed_too() -> None:
    machine = Machine({ConnectionOpened: writes(MUCH), BytesReceived: writes_and_closes(b"last")})
    async with running(machine, settings=LATE) as server:
        with connected(server.address, receive_buffer=SMALL_BUFFER) as peer:
            await machine.until_seen(WriteBlocked)
            await peer.send(b"go")
            await machine.until_seen(BytesReceived)
            received = await peer.receive_all()
            peer.close()
            await machine.until_seen(ConnectionClosed)

    assert received == MUCH + b"last"
    assert machine.seen(WriteProgressed) == []


async def test_connection_closed_in_the_turn_that_opened_it_gets_its_last_words() -> None:
    machine = Machine({ConnectionOpened: writes_and_closes(b"INFO {}\r\n-ERR 'full'\r\n")})
    async with running(machine) as server:
        with connected(server.address) as peer:
            assert await peer.receive_all() == b"INFO {}\r\n-ERR 'full'\r\n"
            peer.close()
            closed = await machine.until_seen(ConnectionClosed)

    assert closed.why is PeerClosing.FINISHED


async def test_last_words_survive_input_that_nobody_reads() -> None:
    machine = Machine({BytesReceived: writes_and_closes(b"-ERR 'x'\r\n")})
    async with running(machine) as server:
        with connected(server.address) as peer:
            await peer.send(MUCH[: 4 * MIB])
            assert await peer.receive_all() == b"-ERR 'x'\r\n"  # an end of stream, not a reset
            peer.close()
            await machine.until_seen(ConnectionClosed)

    assert len(machine.seen(BytesReceived)) == 1


async def test_closed_connection_whose_peer_does_not_read_is_given_up() -> None:
    machine = Machine({BytesReceived: writes_and_closes(MUCH)})
    async with running(machine, settings=SOON) as server:
        with connected(server.address, receive_buffer=SMALL_BUFFER) as peer:
            await peer.send(b"go")
            closed = await machine.until_seen(ConnectionClosed)

    assert closed.why is PeerClosing.FINISHED
    assert machine.refusals() == []


async def test_closed_connection_whose_peer_stays_is_given_up() -> None:
    machine = Machine({BytesReceived: writes_and_closes(b"bye")})
    async with running(machine, settings=SOON) as server:
        with connected(server.address) as peer:
            await peer.send(b"go")
            assert await peer.receive_all() == b"bye"
            closed = await machine.until_seen(ConnectionClosed)

    assert closed.why is PeerClosing.FINISHED


async def test_peer_that_resets_while_it_is_flushed_ends_the_close() -> None:
    machine = Machine({BytesReceived: writes_and_closes(MUCH)})
    async with running(machine, settings=LATE) as server:
        with connected(server.address, receive_buffer=SMALL_BUFFER) as peer:
            await peer.send(b"go")
            await machine.until_seen(BytesReceived)
            peer.reset()
            closed = await machine.until_seen(ConnectionClosed)

    assert closed.why is PeerClosing.FINISHED


async def test_close_without_flush_resets_the_peer_at_once() -> None:
    machine = Machine(
        {
            ConnectionOpened: writes(MUCH),
            BytesReceived: writes_and_closes(flush=False, reason=CloseReason.SLOW_CONSUMER_PENDING),
        }
    )
    async with running(machine, settings=LATE) as server:
        with connected(server.address, receive_buffer=SMALL_BUFFER) as peer:
            await machine.until_seen(WriteBlocked)
            await peer.send(b"go")
            closed = await machine.until_seen(ConnectionClosed)
            with pytest.raises(ConnectionResetError):
                await peer.receive_all()

    assert closed.why is PeerClosing.FINISHED
    assert len(machine.seen(ConnectionClosed)) == 1


async def test_close_of_a_connection_that_is_gone_already_is_no_second_event() -> None:
    machine = Machine(
        {ConnectionClosed: lambda _, event: [Close(event.cid, CloseReason.CLIENT_CLOSED, flush=True)]}
    )
    async with running(machine) as server:
        with connected(server.address) as peer:
            await machine.until_seen(ConnectionOpened)
            peer.close()
            await machine.until_seen(ConnectionClosed)
        with connected(server.address) as peer:
            await peer.send(b"still there?")
            assert await peer.receive(12) == b"still there?"

            first, second = (event.cid for event in machine.seen(ConnectionOpened))

    assert [event.cid for event in machine.seen(ConnectionClosed)] == [first, second]


def peer_cid(machine: Machine) -> ConnectionId:
    """The only connection."""
    (cid,) = machine.outboxes
    return cid

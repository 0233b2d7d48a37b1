"""What little several ready sockets make for others is written when all of them were read (ADR 15).

The sockets of a test become ready while its event loop does not run, and so in one round.
"""

from __future__ import annotations

import io
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import anyio.lowlevel
import pytest

from natscore.effects import Level, Note
from natscore.events import Address, BytesReceived, ConnectionClosed, ConnectionKind, WriteBlocked
from natscore.journal import Recorder
from natscore.options import Options
from natscore.plane import HELD_MAX
from natscore.replay import replay
from natscore.server import Server
from natscore_tcp import Runtime
from natscore_tcp.backend import EpollBackend
from natscore_tcp.runtime import HELD_EVENTS_MAX, HELD_FAN_OUT_MAX, HELD_READ_MAX
from tests.unit.transport_tcp.conftest import running
from tests.unit.transport_tcp.machine import TIMEOUT_SECONDS, Machine
from tests.unit.transport_tcp.peer import SMALL_BUFFER, Peer, connected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from natscore.effects import Effect
    from tests.unit.transport_tcp.conftest import Running

pytestmark = pytest.mark.anyio

RECEIVER: Final = 0


async def rounds() -> None:
    """Let the event loop turn."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


class Relay(Machine):
    """Passes what all others send on to the connection that was opened first."""

    def __init__(self, *, factor: int = 1, copies: int = 1, effects: Sequence[Effect] = ()) -> None:
        super().__init__({BytesReceived: lambda _, event: self.relay(event)})
        self.factor = factor
        self.copies = copies  # ... and to those after it
        self.effects = effects
        self.waiting: list[int] = []  # what the outbox of the receiver held at each read

    def relay(self, event: BytesReceived) -> Sequence[Effect]:
        receivers = list(self.outboxes.values())[: self.copies]
        self.waiting.append(receivers[RECEIVER].size)
        for outbox in receivers:
            outbox.write(bytes(event.data) * self.factor)
        return list(self.effects)


@contextmanager
def admitted(server: Running, number: int) -> Iterator[list[Peer]]:
    """So many connections by socket pairs: what is sent is there to be read when `send` returns."""
    with ExitStack() as stack:
        peers = []
        for _ in range(number):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.settimeout(TIMEOUT_SECONDS)
            server.runtime.admit(ours, ConnectionKind.CLIENT, Address("pair", 1))
            peers.append(Peer(stack.enter_context(theirs)))
        yield peers


async def heard(machine: Relay, data: bytes, senders: int) -> tuple[Sequence[int], bool]:
    """What waited at each read when that many connections were ready at once, and whether any might."""
    async with running(machine) as server:
        with admitted(server, machine.copies + senders) as peers:
            await rounds()
            for sender in peers[machine.copies :]:
                sender.socket.sendall(data)
            whole = data * senders * machine.factor
            for receiver in peers[: machine.copies]:
                assert await receiver.receive(len(whole)) == whole
            return machine.waiting, isinstance(server.runtime.backend, EpollBackend)


async def test_what_sockets_of_one_round_make_for_another_is_written_at_once() -> None:
    waiting, holds = await heard(Relay(), b"request!", 4)

    assert waiting == ([0, 8, 16, 24] if holds else [0, 0, 0, 0])


async def test_nothing_waits_for_more_than_a_few_reads() -> None:
    waiting, holds = await heard(Relay(), b"x", HELD_EVENTS_MAX + 3)

    assert max(waiting) == (HELD_EVENTS_MAX if holds else 0)
    assert waiting[-1] <= 2


async def test_no_more_waits_than_a_replay_may_keep() -> None:
    waiting, holds = await heard(Relay(factor=5_000), b"x", 9)

    assert max(waiting) == (15_000 if holds else 0)
    assert max(waiting) <= HELD_MAX


async def test_nothing_waits_for_a_read_that_is_large() -> None:
    waiting, _ = await heard(Relay(), b"x" * (HELD_READ_MAX + 1), 3)

    assert waiting == [0, 0, 0]


async def test_nothing_waits_behind_an_effect() -> None:
    waiting, _ = await heard(Relay(effects=[Note(Level.DEBUG, "seen", {})]), b"x", 3)

    assert waiting == [0, 0, 0]


async def test_a_fan_out_does_not_wait() -> None:
    waiting, _ = await heard(Relay(copies=HELD_FAN_OUT_MAX + 1), b"x", 3)

    assert waiting == [0, 0, 0]


async def test_receiver_that_has_said_everything_gets_what_waited_before_it_is_closed() -> None:
    machine = Relay()
    async with running(machine) as server:
        with admitted(server, 2) as (receiver, sender):
            await rounds()
            sender.socket.sendall(b"last words")
            receiver.end_stream()
            await machine.until_seen(ConnectionClosed)

            received = await receiver.receive_all()
            in_order = isinstance(server.runtime.backend, EpollBackend)

    assert received == b"last words" or (received == b"" and not in_order)  # trio reads in any order


async def test_journal_of_outboxes_that_waited_and_were_refused_replays() -> None:
    journal = io.BytesIO()
    recorder = Recorder(Server(Options()), journal.write, 1 << 30)
    runtime = Runtime(recorder)
    message = b"PUB a 4000\r\n" + bytes(4000) + b"\r\n"
    times, senders = 300, 8
    async with runtime.running():
        address = await runtime.listen("127.0.0.1", -1)
        with ExitStack() as stack:
            slow = stack.enter_context(connected(address, receive_buffer=SMALL_BUFFER))
            await slow.send(b'CONNECT {"verbose":false}\r\nSUB a 1\r\nPING\r\n')
            peers = [stack.enter_context(connected(address)) for _ in range(senders)]
            for peer in peers:
                await peer.send(b'CONNECT {"verbose":false}\r\nPING\r\n')
                await peer.receive(1)
            for _ in range(times):
                for peer in peers:
                    peer.socket.sendall(message)
                await peers[0].send(b"PING\r\n")
            received = await slow.receive(times * senders * 4_000)

    replayed = replay(io.BytesIO(journal.getvalue()).read)

    assert len(received) == times * senders * 4_000
    assert replayed.events == recorder.server.events_handled
    assert WriteBlocked.__name__.encode() in journal.getvalue()

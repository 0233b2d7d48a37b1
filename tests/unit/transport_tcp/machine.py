"""A state machine small enough to read, to run in place of a server.

It echoes what a connection sends, with real outboxes, and closes every connection
when it is asked to end. It writes down each event, with what the outbox of its
connection held at that instant. A test scripts the rest: for a type of event, a
function that may write and returns effects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from natscore.cells import Outbox
from natscore.effects import Close
from natscore.errors import CloseReason
from natscore.events import (
    BytesReceived,
    ConnectionClosed,
    ConnectionOpened,
    ShutdownRequested,
    WriteBlocked,
    WriteProgressed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from natscore.effects import Effect
    from natscore.events import ConnectionId, Event

TIMEOUT_SECONDS = 10.0  # never reached unless something is broken

Script = dict[type[Any], "Callable[[Machine, Any], Sequence[Effect]]"]


class Machine:
    """Echoes, records, and does as it is scripted."""

    def __init__(self, on: Script | None = None) -> None:
        self.on: Script = {BytesReceived: echo, ShutdownRequested: end_connections, **(on or {})}
        self.events: list[Event] = []
        self.held: list[int] = []  # what the outbox of each event's connection held when it came
        self.outboxes: dict[ConnectionId, Outbox] = {}
        self.deadline: int | None = None
        self.ready: list[Outbox] = []
        self.depth = 0  # of calls of `handle`
        self._queue: list[Outbox] = []
        self._happened = anyio.Event()

    def handle(self, event: Event) -> Sequence[Effect]:
        self.depth += 1
        assert self.depth == 1, "an event was fed while another was handled"
        if isinstance(event, BytesReceived):  # whose memory is the shell's again when this returns
            event = BytesReceived(at=event.at, cid=event.cid, data=bytes(event.data))
        self.events.append(event)
        if isinstance(event, ConnectionOpened):
            self.outboxes[event.cid] = Outbox(event.cid, self._queue)
        cid = getattr(event, "cid", None)
        self.held.append(self.outboxes[cid].size if cid in self.outboxes else 0)
        script = self.on.get(type(event))
        effects = script(self, event) if script is not None else []
        if isinstance(event, ConnectionClosed):
            del self.outboxes[event.cid]
        self.ready = list(self._queue)
        self._queue.clear()
        for outbox in self.ready:
            outbox.ready = False
        self._happened.set()
        self._happened = anyio.Event()
        self.depth -= 1
        return effects

    def next_deadline(self) -> int | None:
        return self.deadline

    def seen(self, kind: type[Any]) -> list[Any]:
        """The events of one type so far."""
        return [event for event in self.events if type(event) is kind]

    def received(self, cid: ConnectionId) -> bytes:
        """All bytes that came from one connection."""
        return b"".join(event.data for event in self.seen(BytesReceived) if event.cid == cid)

    def received_from_all(self) -> bytes:
        """All bytes that came, in the order of coming."""
        return b"".join(event.data for event in self.seen(BytesReceived))

    def refusals(self) -> list[int]:
        """What WriteBlocked and WriteProgressed said, in order."""
        return [event.refused for event in self.events if isinstance(event, WriteBlocked | WriteProgressed)]

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds, which is looked at after each event."""
        with anyio.fail_after(TIMEOUT_SECONDS):
            while not holds():
                await self._happened.wait()

    async def until_seen(self, kind: type[Any], times: int = 1) -> Any:
        """Wait for the `times`-th event of a type, and return it."""
        await self.until(lambda: len(self.seen(kind)) >= times)
        return self.seen(kind)[times - 1]


def echo(machine: Machine, event: BytesReceived) -> Sequence[Effect]:
    """What an unscripted machine does with bytes."""
    machine.outboxes[event.cid].write(bytes(event.data))
    return []


def end_connections(machine: Machine, _: ShutdownRequested) -> Sequence[Effect]:
    """What an unscripted machine does when it is asked to end, as a server must."""
    return [Close(cid, CloseReason.SERVER_SHUTDOWN, flush=True) for cid in machine.outboxes]


def ignore(machine: Machine, event: Event) -> Sequence[Effect]:
    """Do nothing with an event."""
    return []

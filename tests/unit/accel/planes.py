"""The compiled data plane by itself, for tests of its cells."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import natscore_accel
from natscore.entropy import Xorshift64
from natscore.events import ConnectionId
from natscore.plan import compile_plan
from natscore.plane import Stop

if TYPE_CHECKING:
    from natscore_accel._dataplane import (
        CompiledDataPlane,
        CompiledPlan,
        Outbox,
        Source,
        SubjectTable,
        Sublist,
        Subscription,
    )

__all__ = ["COMPILED", "Account", "content", "memory"]

COMPILED: Final = pytest.mark.skipif(
    not natscore_accel.available, reason=f"natscore-accel: {natscore_accel.why_not}"
)
MAX_PAYLOAD: Final = 1 << 20
CONTROL_LINE: Final = 4_096


class Account:
    """A data plane with one account, and no control plane but for the making of plans."""

    def __init__(self, reserved: tuple[bytes, ...] = ()) -> None:
        self.choices = Xorshift64(1)
        self.plane: CompiledDataPlane = natscore_accel.CompiledDataPlane(self.choices)
        self.sublist: Sublist = self.plane.sublist()
        self.table: SubjectTable = self.plane.table(self.sublist, reserved)
        self._cid = 4

    def outbox(self) -> Outbox:
        """The writing side of a new connection."""
        self._cid += 1
        return self.plane.outbox(ConnectionId(self._cid))

    def source(self, outbox: Outbox | None = None) -> Source:
        """The reading side of a new connection, which publishes and hears nothing of it."""
        if outbox is None:
            outbox = self.outbox()
        made = self.plane.source(outbox.cid, outbox, self.table, CONTROL_LINE, MAX_PAYLOAD)
        made.verbose = made.pedantic = made.echo = False
        return made

    def subscribe(
        self, outbox: Outbox, subject: bytes, sid: bytes = b"1", queue: bytes | None = None
    ) -> Subscription:
        """One more subscription."""
        made = self.plane.subscription(outbox, sid, subject, queue)
        self.sublist.insert(made)
        return made

    def run(self, source: Source, data: bytes | memoryview) -> Stop:
        """Feed bytes and go on until they are used up or something is wrong; plans are made on the way."""
        source.feed(data)
        while True:
            self.plane.begin_turn(1 << 40)
            stop = self.plane.run(source)
            if stop is Stop.MISS:
                self.plane.install(self.table, source.missed, compile_plan(source.missed))
            elif stop is not Stop.TURN_OVER:
                source.keep()
                return stop

    def look_up(self, subject: bytes) -> CompiledPlan:
        """The plan of a subject, made if there was none."""
        found = self.table.look_up(subject)
        if isinstance(found, tuple):
            self.plane.install(self.table, found, compile_plan(found))
            found = self.table.look_up(subject)
        assert not isinstance(found, tuple)
        return found


def content(outbox: Outbox) -> bytes:
    """All that is held."""
    return b"".join(outbox.blocks(1 << 40))


def memory() -> int:
    """Bytes of this process that are in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

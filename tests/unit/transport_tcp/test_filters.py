"""What stands between an outbox and its socket: order, bounds, and what a refusal leaves where."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscore.cells import Outbox
from natscore.events import ConnectionId, TlsEstablished, TlsFailed
from natscore_tcp.filters import FILTER_MAX, FilteredSocket, FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.events import Event, Instant
    from natscore_tcp.contract import Block

CID = ConnectionId(5)
MIB = 1 << 20


class Doubling:
    """A filter whose wire bytes are the plain ones, each twice."""

    is_open = True
    has_ended = False

    def __init__(self) -> None:
        self.made = bytearray()
        self.taken = 0  # plain bytes so far

    def receive(self, wire: memoryview) -> Iterator[memoryview]:
        yield memoryview(bytes(wire[::2]))

    def send(self, plain: Block) -> None:
        if not self.is_open:
            raise FilterError("closed")
        self.taken += len(plain)
        self.made += doubled(plain)

    def take(self) -> bytes:
        made = bytes(self.made)
        self.made.clear()
        return made

    def finish(self) -> None:
        if self.is_open:
            self.made += b"!"
        self.is_open = False

    def opened(self, at: Instant, cid: ConnectionId) -> Event:
        return TlsEstablished(at=at, cid=cid, version="", cipher="")

    def failed(self, at: Instant, cid: ConnectionId, error: str) -> Event:
        return TlsFailed(at=at, cid=cid, error=error)


def doubled(plain: Block) -> bytes:
    result = bytearray(2 * len(plain))
    result[::2] = result[1::2] = plain
    return bytes(result)


class Wire:
    """A filtered socket and the peer that reads what comes of it."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.filter = Doubling()
        self.filtered = FilteredSocket(self.filter)
        self.outbox = Outbox(CID, [])
        self.received = bytearray()

    def write(self) -> bool:
        return self.filtered.write(self.ours, self.outbox)

    def read(self, size: int = MIB) -> None:
        """Take what the kernel has, up to about `size` bytes."""
        end = len(self.received) + size
        while len(self.received) < end:
            try:
                data = self.theirs.recv(min(size, 65_536))
            except BlockingIOError:
                return
            if not data:
                return
            self.received += data

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@given(st.lists(st.binary(min_size=1, max_size=40_000), max_size=30), st.integers(1_000, 300_000))
def test_a_peer_gets_the_wire_bytes_of_an_outbox_in_order_however_it_reads(
    blocks: list[bytes], read: int
) -> None:
    with closing(Wire()) as wire:
        for block in blocks:
            wire.outbox.write(block)

        while not wire.write():
            wire.read(read)
        wire.read()

        assert bytes(wire.received) == doubled(b"".join(blocks))
        assert wire.outbox.size == 0


def test_what_the_kernel_refused_is_still_in_the_outbox() -> None:
    with closing(Wire()) as wire:
        plain = bytes(range(256)) * 4096 * 16
        wire.outbox.write(plain)

        everything = wire.write()
        refused = wire.outbox.size
        wire.read(64 * MIB)

        assert not everything
        # a piece of which the kernel took a part has not left the outbox
        assert 0 <= len(wire.received) // 2 - (len(plain) - refused) < 16_384


def test_a_filter_takes_no_more_than_its_bound_ahead_of_the_kernel() -> None:
    with closing(Wire()) as wire:
        wire.outbox.write(bytes(16 * MIB))

        for _ in range(20):
            wire.write()
            ahead = wire.filter.taken - (16 * MIB - wire.outbox.size)
            assert 0 < ahead <= FILTER_MAX
            wire.read(100_000)


def test_what_a_filter_answers_by_itself_goes_before_the_outbox() -> None:
    with closing(Wire()) as wire:
        wire.filter.made += b"answer"
        wire.outbox.write(b"ab")

        wire.write()
        wire.read()

        assert wire.received == b"answeraabb"


def test_last_words_that_were_discarded_meanwhile_do_no_harm() -> None:
    with closing(Wire()) as wire:
        wire.outbox.write(bytes(16 * MIB))
        wire.write()
        wire.outbox.discard()

        while not wire.write():
            wire.read()

        assert wire.outbox.size == 0


def test_the_end_is_said_behind_everything_else_and_once() -> None:
    with closing(Wire()) as wire:
        wire.outbox.write(b"ab")
        wire.write()

        first, second = wire.filtered.finish(wire.ours), wire.filtered.finish(wire.ours)
        wire.read()

        assert (first, second) == (True, True)
        assert wire.received == b"aabb!"


def test_nothing_is_sent_after_the_end() -> None:
    with closing(Wire()) as wire:
        wire.filtered.finish(wire.ours)
        wire.outbox.write(b"ab")

        with pytest.raises(FilterError):
            wire.write()

"""What may stand between an outbox and its socket: TLS, later the frames of WebSocket.

    outbox ──► Filter.send ──► wire bytes ──► kernel ──► peer
    events ◄── Filter.receive ◄────────────── kernel ◄── peer

A filter does no I/O: bytes go in and bytes come out, so it can be tested, and
stacked on another one, without a socket. `FilteredSocket` gives it one. It takes
from an outbox at most FILTER_MAX bytes at a time, and nothing while the kernel
has not taken what was made of the last ones: what waits for a slow peer waits in
the outbox, where it is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from natscore.errors import NatsCoreError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from natscore.events import ConnectionId, Event, Instant
    from natscore_tcp.contract import Block, OutboxLike

__all__ = ["FILTER_MAX", "Filter", "FilterError", "FilteredSocket"]

FILTER_MAX: Final = 262_144
"""Plain bytes that a filter may have taken from an outbox before the kernel took what became of them."""


class FilterError(NatsCoreError):
    """The peer did not keep to the protocol of a filter. The text names no secret."""


class Filter(Protocol):
    """One layer of a connection, from its handshake to its end. Raises FilterError where it says so."""

    @property
    def is_open(self) -> bool:
        """Whether its handshake is done, and plain bytes pass."""

    @property
    def has_ended(self) -> bool:
        """Whether the peer said, in the way of this layer, that it sends no more."""

    def receive(self, wire: memoryview) -> Iterator[memoryview]:
        """Take all of `wire`, and give the plain bytes it contains, in parts of at most READ_MAX.

        A part is valid until the next one is asked for. Raises FilterError.
        """

    def send(self, plain: Block) -> None:
        """Take plain bytes; `take` has what becomes of them. Only while open. Raises FilterError."""

    def take(self) -> bytes:
        """The wire bytes made since the last call: of `send`, of a handshake, or of answers to the peer."""

    def finish(self) -> None:
        """Say to the peer that no more is sent; nothing is sent after it. Finishing twice is finishing."""

    def opened(self, at: Instant, cid: ConnectionId) -> Event:
        """What to feed when it has become open."""

    def failed(self, at: Instant, cid: ConnectionId, error: str) -> Event:
        """What to feed when its handshake failed."""


class FilteredSocket:
    """A filter, and what became wire bytes and was not yet taken by the kernel."""

    __slots__ = ("_rest", "filter")

    def __init__(self, first: Filter) -> None:
        self.filter: Final = first
        self._rest: list[Block] = []

    def write(self, sock: socket.socket, outbox: OutboxLike | None = None) -> bool:
        """Write until nothing is left (True) or the kernel refuses (False).

        Without an outbox, only what the filter has made. Raises OSError, FilterError.
        """
        rest = self._rest
        try:
            while True:
                while rest:
                    self._advance(sock.send(rest[0]) if len(rest) == 1 else sock.sendmsg(rest))
                if outbox is not None and outbox.size:
                    self._fill(outbox)
                elif wire := self.filter.take():
                    rest.append(wire)
                else:
                    return True
        except (BlockingIOError, InterruptedError):
            return False

    def finish(self, sock: socket.socket) -> bool:
        """Say that no more is sent. True: the kernel took everything. Raises OSError, FilterError."""
        self.filter.finish()
        return self.write(sock)

    def _fill(self, outbox: OutboxLike) -> None:
        """Take the next blocks of an outbox, in pieces that a filter digests at once."""
        blocks = outbox.blocks(FILTER_MAX)
        plain: Block = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        size = min(len(plain), FILTER_MAX)
        filter_ = self.filter
        if size <= _PIECE:
            filter_.send(plain)
            self._rest.append(filter_.take())
        else:
            view = memoryview(plain)
            for start in range(0, size, _PIECE):
                filter_.send(view[start : min(start + _PIECE, size)])
                self._rest.append(filter_.take())
        outbox.advance(size)

    def _advance(self, taken: int) -> None:
        rest = self._rest
        done = 0
        for block in rest:
            if taken < len(block):
                break
            taken -= len(block)
            done += 1
        del rest[:done]
        if taken:
            rest[0] = memoryview(rest[0])[taken:]


_PIECE: Final = 16_384
"""One record of TLS. Larger pieces are no faster (2.7 GB/s from here on), and OpenSSL keeps for the life of
a connection a buffer as large as the largest piece."""

"""What may stand between an outbox and its socket: TLS, later the frames of WebSocket.

    outbox ──► Filter.send ──► wire bytes ──► kernel ──► peer
    events ◄── Filter.receive ◄────────────── kernel ◄── peer

A filter does no I/O: bytes go in and bytes come out, so it can be tested, and
stacked on another one, without a socket. `FilteredSocket` gives it one. It makes
wire bytes of at most FILTER_MAX bytes of an outbox at a time, and of no others
until the kernel has taken those: what waits for a slow peer waits in the outbox,
where it is counted.
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
"""Plain bytes of an outbox that may be wire bytes already, and not with the kernel."""


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

    __slots__ = ("_meant", "_rest", "filter")

    def __init__(self, first: Filter) -> None:
        self.filter: Final = first
        self._rest: list[Block] = []  # wire bytes
        self._meant: list[int] = []  # and of which count of plain bytes each of them was made

    def write(self, sock: socket.socket, outbox: OutboxLike | None = None) -> bool:
        """Write until nothing is left (True) or the kernel refuses (False).

        Plain bytes leave the outbox when the kernel took what became of them, so what it still has is what
        was refused. Without an outbox only what the filter has made is written. Raises OSError, FilterError.
        """
        rest = self._rest
        try:
            while True:
                while rest:
                    taken = sock.send(rest[0]) if len(rest) == 1 else sock.sendmsg(rest)
                    plain = self._advance(taken)
                    if plain and outbox is not None:
                        # A server under memory pressure discards the last words of who does not take them.
                        outbox.advance(min(plain, outbox.size))
                if wire := self.filter.take():  # answers to the peer go first
                    self._append(wire, 0)
                elif outbox is not None and outbox.size:
                    self._fill(outbox)
                else:
                    return True
        except (BlockingIOError, InterruptedError):
            return False

    def finish(self, sock: socket.socket) -> bool:
        """Say that no more is sent. True: the kernel took everything. Raises OSError, FilterError."""
        self.filter.finish()
        return self.write(sock)

    def _fill(self, outbox: OutboxLike) -> None:
        """Make wire bytes of the first blocks of an outbox, in pieces that a filter digests at once."""
        blocks = outbox.blocks(FILTER_MAX)
        plain: Block = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        size = min(len(plain), FILTER_MAX)
        filter_ = self.filter
        if size <= _PIECE:
            filter_.send(plain)
            self._append(filter_.take(), size)
            return
        view = memoryview(plain)
        for start in range(0, size, _PIECE):
            piece = view[start : min(start + _PIECE, size)]
            filter_.send(piece)
            self._append(filter_.take(), len(piece))

    def _append(self, wire: bytes, meant: int) -> None:
        self._rest.append(wire)
        self._meant.append(meant)

    def _advance(self, taken: int) -> int:
        """The kernel took so many wire bytes. Returns the plain bytes of the blocks that are gone by that."""
        rest = self._rest
        done = 0
        for block in rest:
            if taken < len(block):
                break
            taken -= len(block)
            done += 1
        plain = sum(self._meant[:done])
        del rest[:done], self._meant[:done]
        if taken:
            rest[0] = memoryview(rest[0])[taken:]
        return plain


_PIECE: Final = 16_384
"""One record of TLS. Larger pieces are no faster (2.7 GB/s from here on), and OpenSSL keeps for the life of
a connection a buffer as large as the largest piece."""

"""The other end of a connection: a plain socket, so that a test decides when it is read.

Calls that wait do so in a worker thread; every wait is bounded.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync

from tests.unit.transport_tcp.machine import TIMEOUT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.events import Address

SMALL_BUFFER = 65_536


class Peer:
    """A connected socket, as a client would hold it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        await run_sync(self.socket.sendall, data)

    async def receive(self, size: int) -> bytes:
        """Exactly `size` bytes, or what came before the end of the stream."""
        return await run_sync(self._receive, size)

    async def receive_all(self) -> bytes:
        """Everything up to the end of the stream. Raises ConnectionResetError if it ends otherwise."""
        return await run_sync(self._receive, 1 << 62)

    def end_stream(self) -> None:
        """Send no more, and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close in an orderly way, if everything received was read."""
        self.socket.close()

    def reset(self) -> None:
        """Break the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _receive(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size and (data := self.socket.recv(min(size - len(received), 1 << 20))):
            received += data
        return bytes(received)


@contextmanager
def connected(address: Address, *, receive_buffer: int | None = None) -> Iterator[Peer]:
    """Connect to a listener; the socket is closed at the end.

    The kernel completes the connection without the server, so this does not wait.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as sock:
        sock.settimeout(TIMEOUT_SECONDS)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect((address.host, address.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Peer(sock)

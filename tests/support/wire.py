"""A client that is only a socket: tests send literal bytes and read literal bytes.

Every wait is bounded by a timeout in seconds, and a wait that fails says what had
been received by then.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ConnectionEnded", "RawClient", "WireTimeout"]

TIMEOUT_SECONDS: Final = 10.0  # never reached by a healthy server, even on a loaded machine
READ_BYTES: Final = 262_144


class WireTimeout(AssertionError):
    """What was waited for did not come in time."""


class ConnectionEnded(AssertionError):
    """The server ended the connection while something was still expected of it."""


class RawClient:
    """One TCP connection to a server, over IPv4 or IPv6.

    Received bytes wait in `unread` until a read takes them. A context manager
    that closes the socket. A reset by the server counts as a close, because a
    server that closes with unread input resets.
    """

    def __init__(self, host: str, port: int, *, timeout: float = TIMEOUT_SECONDS) -> None:
        """Connect; nothing is read yet."""
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._readable = selectors.DefaultSelector()
        self._readable.register(self.socket, selectors.EVENT_READ)
        self.unread = bytearray()
        self.ended = False

    @classmethod
    def connect(
        cls, host: str, port: int, *, timeout: float = TIMEOUT_SECONDS
    ) -> tuple[Self, dict[str, Any]]:
        """Connect and take the INFO line; the client and the document of that line."""
        client = cls(host, port, timeout=timeout)
        try:
            return client, json.loads(client.read_info(timeout)[len(b"INFO ") :])
        except BaseException:
            client.close()
            raise

    def read_info(self, timeout: float = TIMEOUT_SECONDS) -> bytes:
        """Take the INFO line that a server opens with, its line end included."""
        return self.read_until(rb"INFO [^\n]*\r\n", timeout)

    def send(self, data: bytes, *, timeout: float = TIMEOUT_SECONDS) -> None:
        """Write all of `data`, reading meanwhile so that neither side waits for the other for ever.

        A server that has closed is not an error here: what it said is still to be read.
        """
        deadline = time.monotonic() + timeout
        rest = memoryview(data)
        with selectors.DefaultSelector() as both:
            both.register(self.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while rest and not self.ended:
                for _, ready in both.select(self._left(deadline, f"{len(rest)} bytes were still to be sent")):
                    if ready & selectors.EVENT_READ:
                        self._receive()
                    if ready & selectors.EVENT_WRITE:
                        try:
                            rest = rest[self.socket.send(rest) :]
                        except BlockingIOError:
                            continue
                        except (BrokenPipeError, ConnectionResetError):
                            return

    def read_until(self, pattern: bytes | re.Pattern[bytes], timeout: float = TIMEOUT_SECONDS) -> bytes:
        """Take everything up to the end of the first match of `pattern`.

        Raises ConnectionEnded when the server closes first, WireTimeout when the
        time is over; nothing is taken then.
        """
        expression = re.compile(pattern, re.DOTALL)
        deadline = time.monotonic() + timeout
        while not (match := expression.search(self.unread)):
            if self.ended:
                raise ConnectionEnded(
                    f"closed before {expression.pattern!r}; received {bytes(self.unread)!r}"
                )
            self.wait_for_input(self._left(deadline, f"waiting for {expression.pattern!r}"))
        return self.take(match.end())

    def read_all_until_closed(self, timeout: float = TIMEOUT_SECONDS) -> bytes:
        """Take everything until the server closes, which it must do in time."""
        deadline = time.monotonic() + timeout
        while not self.ended:
            self.wait_for_input(self._left(deadline, "waiting for the server to close"))
        return self.take(len(self.unread))

    def take(self, count: int) -> bytes:
        """Take the first `count` bytes that were received."""
        taken = bytes(self.unread[:count])
        del self.unread[:count]
        return taken

    def wait_for_input(self, seconds: float) -> bool:
        """Wait until more bytes or the close arrived; whether they did."""
        if not self.ended and self._readable.select(max(seconds, 0.0)):
            self._receive()
            return True
        return self.ended

    def half_close(self) -> None:
        """Say that nothing more will be sent; reading goes on."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with a TCP reset, as a crashed client's kernel does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close the socket; closing twice is fine."""
        self.ended = True
        self._readable.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _receive(self) -> None:
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self.unread += data
        self.ended = not data

    def _left(self, deadline: float, what: str) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise WireTimeout(f"time is over, {what}; received {bytes(self.unread)!r}")
        return left

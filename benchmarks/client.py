"""Client connections of the load: raw sockets that are logged in, and how a run fails."""

from __future__ import annotations

import json
import resource
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CONNECT_LINE",
    "SILENCE_SECONDS",
    "Address",
    "Lines",
    "RunFailure",
    "allow_open_files",
    "connect",
    "receive_some",
]

Address: TypeAlias = tuple[str, int]

T = TypeVar("T")

SILENCE_SECONDS: Final = 5.0
"""How long a server may do nothing while something is expected of it."""

READ_BYTES: Final = 65_536

SUBSCRIBED_AT_ONCE: Final = 10_000
"""So many SUB lines are sent before the server is asked whether it is still there."""

CONNECT: Final = {
    "verbose": False,
    "pedantic": False,
    "echo": True,
    "headers": True,
    "no_responders": False,
    "protocol": 1,
    "lang": "raw",
    "version": "1",
    "name": "benchmark",
}

CONNECT_LINE: Final = b"CONNECT " + json.dumps(CONNECT).encode() + b"\r\n"


class RunFailure(Exception):
    """The run does not count: a message is missing, a connection was closed, a server is silent."""


def connect(
    address: Address,
    *subscribed: tuple[bytes, ...],
    timeout: float = SILENCE_SECONDS,
    tls: bool = False,
    user: str = "",
    headers: bool = True,
) -> socket.socket:
    """A blocking socket that is logged in and subscribed; its server has answered a PING.

    `subscribed` are the arguments of SUB lines. A `user` logs in with his name for a password. With
    `tls` it is a socket of Python's ssl that, when it is told not to block, refuses as a plain one does.
    """
    try:
        connection = socket.create_connection(address, timeout)
    except OSError as error:
        raise RunFailure(f"no connection: {error}") from error
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _read_line(connection, b"INFO ")
        if tls:
            connection = _load_context().wrap_socket(connection)
        login: dict[str, object] = {"user": user, "pass": user} if user else {}
        if not headers:
            login |= {"headers": False, "no_responders": False}
        connection.sendall(b"CONNECT " + json.dumps({**CONNECT, **login}).encode() + b"\r\n")
        for start in range(0, max(len(subscribed), 1), SUBSCRIBED_AT_ONCE):
            some = subscribed[start : start + SUBSCRIBED_AT_ONCE]
            lines = b"".join(b"SUB " + b" ".join(arguments) + b"\r\n" for arguments in some)
            connection.sendall(lines + b"PING\r\n")
            _read_line(connection, b"PONG")
        # A deadline of the kernel costs nothing per call; that of Python is one more system call.
        connection.settimeout(None)
        deadline = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, deadline)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, deadline)
    except OSError as error:
        connection.close()
        raise RunFailure(f"the connection ended before the first PONG: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _load_context() -> ssl.SSLContext:
    """Verifies nothing: what is measured is what the server does, and that is the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = _LoadSocket
    return context


class _LoadSocket(ssl.SSLSocket):
    """A TLS socket that raises BlockingIOError where a plain one would.

    It reads one record of 16 KiB at most, and leaves the others to the kernel, so readiness means
    what it means for a plain one as long as what is read into has room for a record.
    """

    def send(self, *arguments: Any) -> int:
        return _or_blocking(super().send, *arguments)

    def recv(self, *arguments: Any) -> bytes:
        return _or_blocking(super().recv, *arguments)

    def recv_into(self, *arguments: Any) -> int:
        return _or_blocking(super().recv_into, *arguments)


def _or_blocking(act: Callable[..., T], *arguments: Any) -> T:
    try:
        return act(*arguments)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
        raise BlockingIOError from error


def _read_line(connection: socket.socket, wanted: bytes) -> None:
    """Read up to the end of a line that starts with `wanted`; INFO lines behind it are dropped."""
    received = b""
    while not received.endswith(b"\r\n") or not any(
        line.startswith(wanted) for line in received.split(b"\r\n")
    ):
        if b"-ERR" in received:
            raise RunFailure(f"the server says {received.decode(errors='replace').strip()}")
        data = connection.recv(READ_BYTES)
        if not data:
            raise RunFailure(f"closed before {wanted.decode()} was received")
        received += data


def receive_some(connection: socket.socket, what: str) -> bytes:
    """The next bytes. A closed connection fails the run, which `what` was for."""
    try:
        data = connection.recv(READ_BYTES)
    except BlockingIOError:
        raise RunFailure(f"{what}: nothing received in time") from None
    except OSError as error:
        raise RunFailure(f"{what}: connection closed: {error}") from error
    if not data:
        raise RunFailure(f"{what}: connection closed")
    return data


class Lines:
    """What a connection receives, as lines: for connections that receive little."""

    def __init__(self) -> None:
        """Nothing is received yet."""
        self._unread = b""
        self.pongs = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The complete lines but for control lines. PONGs are counted; an -ERR fails the run."""
        *lines, self._unread = (self._unread + data).split(b"\r\n")
        others = []
        for line in lines:
            if line == b"PONG":
                self.pongs += 1
            elif line.startswith(b"-ERR"):
                raise RunFailure(f"the server says {line.decode(errors='replace')}")
            elif line != b"PING" and not line.startswith(b"INFO "):
                # A PING of the server needs no answer here: a run lasts seconds, its patience minutes.
                others.append(line)
        return others


def allow_open_files(count: int) -> None:
    """Let this process, and those it starts, open `count` files. Raises RunFailure."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))
        except (ValueError, OSError) as error:
            raise RunFailure(f"{count} open files are needed, {hard} are allowed: {error}") from error

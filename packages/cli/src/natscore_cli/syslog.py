"""The system's log as a destination, of this machine or of another (operations.md section 6.4).

    <29>Jan  2 15:04:05 nats-server-py[123]: Server is ready                    this machine
    <5>2026-01-02T15:04:05Z host nats-server-py[123]: Server is ready           another

A text has neither pid, time nor label of its own, and the level becomes the severity.
Lines are never waited for: what a socket does not take at once is lost and counted,
like lines to a full pipe. A connection that broke is made again with the next line, once
a second at most; only the first one is waited for, because a start should fail where
nobody listens.

Source: Go, log/syslog; nats-server 2.14.5, logger/syslog.go.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Final

from natscore.effects import Level
from natscore_cli.flags import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Syslog", "SyslogRefused", "local_syslog", "remote_syslog"]

_SEVERITIES: Final = {
    Level.TRACE: 5,
    Level.DEBUG: 7,
    Level.INFO: 5,
    Level.WARNING: 4,
    Level.ERROR: 3,
    Level.FATAL: 2,
}
_DAEMON: Final = 3 << 3  # the facility of this machine's; another one is told none
_PATHS: Final = ("/dev/log", "/var/run/syslog", "/var/run/log")
_TEXT_MAX: Final = 60_000  # bytes; a datagram holds a little more
_UNSENT_MAX: Final = 65_536  # bytes of a stream that wait for the socket
_CONNECT_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0


class SyslogRefused(Exception):
    """There is no such log; the text is that of nats-server."""


class _Peer:
    """Who is logged to: a socket can be made for it at any time, without asking anybody for its address."""

    def __init__(self, family: int, kind: int, address: str | tuple[object, ...]) -> None:
        self._family = family
        self._kind = kind
        self._address = address
        self.is_stream = kind == socket.SOCK_STREAM

    def connect(self, seconds: float) -> socket.socket:
        """A connected socket that never waits. With 0 seconds the connection may still be under way."""
        sock = socket.socket(self._family, self._kind)
        try:
            sock.settimeout(seconds)
            with contextlib.suppress(BlockingIOError):
                sock.connect(self._address)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        return sock


class Syslog:
    """Lines to a syslog. Raises OSError when it cannot be connected to at first.

    Args:
        peer: where it is.
        is_local: on this machine, which knows its own name.
        facility: what kind of program this is, shifted by three bits.
        clock: the time of lines, in seconds.
        monotonic: the time that a new attempt to connect waits for.
    """

    def __init__(
        self,
        peer: _Peer,
        *,
        is_local: bool,
        facility: int = 0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._peer = peer
        self._is_local = is_local
        self._facility = facility
        self._clock = clock
        self._monotonic = monotonic
        self._host = "" if is_local else socket.gethostname() or "localhost"
        self._tag = f"{_tag()}[{os.getpid()}]"
        self._socket: socket.socket | None = peer.connect(_CONNECT_SECONDS)
        self._retry_at = 0.0
        self._unsent = b""  # of a stream: the rest of a line that was begun, and what follows it
        self.lost = 0
        self._error = ""

    def write(self, line: str, level: Level = Level.INFO) -> None:
        """Send one line. Never raises."""
        data = self._framed(line, level)
        try:
            if self._socket is None:
                self._connect_again()
            if self._peer.is_stream:
                self._send_on(data)
            else:
                self._send_datagram(data)
        except OSError as error:
            self.lost += 1
            self._error = error.strerror or type(error).__name__

    def take_lost(self) -> tuple[int, str]:
        """How many lines were lost since the last call, and why the last of them was."""
        lost, self.lost = self.lost, 0
        return lost, self._error

    def close(self) -> None:
        """Let go of the socket, and of what it does not take now."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._flush()
        self._disconnect()

    def _framed(self, line: str, level: Level) -> bytes:
        text = line.encode("utf-8", "backslashreplace")[:_TEXT_MAX]
        priority = self._facility | _SEVERITIES[level]
        now = time.localtime(self._clock())
        if self._is_local:
            head = f"<{priority}>{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {time.strftime('%H:%M:%S', now)}"
        else:
            head = f"<{priority}>{time.strftime('%Y-%m-%dT%H:%M:%S', now)}{_zone(now)} {self._host}"
        return f"{head} {self._tag}: ".encode("utf-8", "backslashreplace") + text + b"\n"

    def _send_datagram(self, data: bytes) -> None:
        assert self._socket is not None
        try:
            self._socket.send(data)
        except BlockingIOError:
            raise
        except OSError:
            # Of UDP this tells of an earlier datagram; a daemon that was restarted has a new socket.
            self._disconnect()
            self._socket = self._peer.connect(0)
            self._socket.send(data)

    def _send_on(self, data: bytes) -> None:
        assert self._socket is not None
        if len(self._unsent) + len(data) > _UNSENT_MAX:
            self._flush()
            if len(self._unsent) + len(data) > _UNSENT_MAX:
                raise BlockingIOError(errno.EAGAIN, "nobody reads them")
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        """Send what the socket takes."""
        assert self._socket is not None
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._disconnect()
            raise

    def _connect_again(self) -> None:
        now = self._monotonic()
        if now < self._retry_at:
            raise OSError(errno.ENOTCONN, "not connected")
        self._retry_at = now + _RETRY_SECONDS
        self._socket = self._peer.connect(0)

    def _disconnect(self) -> None:
        self._unsent = b""  # the rest of a line means nothing to the next connection
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def local_syslog() -> Syslog:
    """The log of this machine. Raises SyslogRefused."""
    for path in _PATHS:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with contextlib.suppress(OSError):
                return Syslog(_Peer(socket.AF_UNIX, kind, path), is_local=True, facility=_DAEMON)
    raise SyslogRefused('error connecting to syslog: "Unix syslog delivery error"')


def remote_syslog(url: str) -> Syslog:
    """The log that `udp://host:port`, `tcp://host:port` or `unix:///path` names. Raises SyslogRefused."""
    network, separator, rest = url.partition("://")
    if network not in ("udp", "tcp", "unix"):
        raise SyslogRefused(f'error invalid network type: "{network if separator else ""}"')
    try:
        if network == "unix":
            peers = [_Peer(socket.AF_UNIX, socket.SOCK_STREAM, rest)]
        else:
            peers = _resolved(network, rest.partition("/")[0])
        failure: OSError = OSError(errno.EADDRNOTAVAIL, "no address")
        for peer in peers:
            try:
                return Syslog(peer, is_local=network == "unix")
            except OSError as error:
                failure = error
        raise failure
    except OSError as error:
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        what = f"dial {network} {rest}: connect: {reason}"
        raise SyslogRefused(f'error connecting to syslog: "{what}"') from error


def _resolved(network: str, address: str) -> list[_Peer]:
    host, colon, port = address.rpartition(":")
    if not colon or host.count("[") != host.count("]") or not port.isdecimal() or int(port) > 65_535:
        what = f"dial {network}: address {address}: missing port in address"
        raise SyslogRefused(f'error connecting to syslog: "{what}"')
    kind = socket.SOCK_DGRAM if network == "udp" else socket.SOCK_STREAM
    found = socket.getaddrinfo(host.strip("[]") or "localhost", int(port), type=kind)
    return [_Peer(family, kind, target) for family, _, _, _, target in found]


_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _zone(when: time.struct_time) -> str:
    """`Z`, or `+01:00`."""
    offset = when.tm_gmtoff // 60
    return f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}:{abs(offset) % 60:02}" if offset else "Z"


def _tag() -> str:
    """What the program is called, if it is called by a name of its own."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    return PROGRAM if not name or name == "__main__.py" or name.startswith("-") else name

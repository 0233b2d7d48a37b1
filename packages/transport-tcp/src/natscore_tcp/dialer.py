"""Connecting to others: the performer of Dial.

Each attempt is a task with a deadline and ends in exactly one event:
ConnectionOpened, or DialFailed with the reason in the words of nats-server.
When to try again is the server's decision.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import anyio

from natscore.events import DialFailed
from natscore.options import SECOND
from natscore_tcp.listener import reason

if TYPE_CHECKING:
    from natscore.effects import Dial
    from natscore.events import Address
    from natscore_tcp.contract import Shell

__all__ = ["dial"]


async def dial(effect: Dial, shell: Shell) -> None:
    """Connect to the first address that answers, and feed ConnectionOpened, or DialFailed."""
    connected: socket.socket | None = None
    error = "operation was canceled"  # the server is going away
    try:
        with anyio.move_on_after(shell.settings.dial_timeout_ns / SECOND) as scope:
            connected = await _connect(effect.address, shell)
        if scope.cancelled_caught:
            error = f"dial tcp {effect.address}: i/o timeout"
    except OSError as failure:
        error = f"dial tcp {effect.address}: connect: {reason(failure)}"
    finally:
        if connected is None:
            shell.feed(DialFailed(at=shell.now(), attempt=effect.attempt, error=error))
    if connected is not None:
        shell.admit(connected, effect.kind, effect.address, effect.attempt)


async def _connect(target: Address, shell: Shell) -> socket.socket:
    """A non-blocking socket, connected. Raises OSError: the last reason, if there were several addresses."""
    last = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, _, _, _, address in await anyio.getaddrinfo(
        target.host, target.port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await _finish_connect(sock, address, shell)
        except OSError as failure:
            last = failure
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last


async def _finish_connect(sock: socket.socket, address: tuple[str | int, ...], shell: Shell) -> None:
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        answered = anyio.Event()
        shell.backend.start_writing(sock, answered.set)
        try:
            await answered.wait()
        finally:
            shell.backend.release(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code != 0:
        raise OSError(code, os.strerror(code))

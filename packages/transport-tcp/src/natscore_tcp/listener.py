"""Listening sockets: bind them, and accept from them without ever falling over.

When the process runs out of descriptors or memory the listener rests, 10 ms at
first and up to 1 s, and tries again; connections that exist notice nothing
(operations.md section 11.1).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Final

import anyio

from natscore.effects import Level, Note
from natscore.events import Address
from natscore.options import MILLISECOND, SECOND
from natscore_tcp.contract import ListenError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from natscore.events import ConnectionKind
    from natscore_tcp.contract import Shell

__all__ = ["Listener", "bind", "peer_address", "reason"]

ACCEPT_MAX: Final = 64  # connections taken per readiness, so that a rush of them leaves time for the others

_REST_FIRST_NS: Final = 10 * MILLISECOND
_REST_MAX_NS: Final = 1 * SECOND

_ONE_CONNECTION: Final = frozenset({
    errno.ECONNABORTED, errno.ECONNRESET, errno.EPERM, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH,
})  # fmt: skip
"""Errors of the connection that was to be accepted, not of the listener (Linux, accept(2))."""

_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})
_PORT_ATTEMPTS: Final = 16  # a free port of one address may be taken on another


class Listener:
    """Accepts connections of one kind from one listening socket."""

    __slots__ = ("_rest_ns", "_shell", "_socket", "kind")

    def __init__(self, shell: Shell, kind: ConnectionKind, listening: socket.socket) -> None:
        self._shell = shell
        self.kind = kind
        self._socket = listening
        self._rest_ns = 0  # how long it rests, or 0
        shell.backend.start_reading(listening, self._acceptable)

    def close(self) -> None:
        """Accept no more. Connections that wait in the backlog are reset by the kernel."""
        self._shell.cancel_call(self._retry)
        self._shell.backend.release(self._socket)
        self._socket.close()

    def _acceptable(self) -> None:
        for _ in range(ACCEPT_MAX):
            try:
                accepted, address = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _ONE_CONNECTION:
                    continue
                self._rest(error)
                return
            self._rest_ns = 0
            try:
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:  # reset between arriving and being accepted, as some systems report it
                accepted.close()
                continue
            self._shell.admit(accepted, self.kind, peer_address(address))

    def _rest(self, error: OSError) -> None:
        """Out of descriptors, or of memory: the socket stays readable, so stop looking at it for a while."""
        self._rest_ns = min(2 * self._rest_ns, _REST_MAX_NS) or _REST_FIRST_NS
        shell = self._shell
        shell.backend.stop_reading(self._socket)
        shell.call_at(shell.now().monotonic_ns + self._rest_ns, self._retry)
        fields: dict[str, object] = {
            "kind": self.kind,
            "error": reason(error),
            "sleep_ms": self._rest_ns // MILLISECOND,
        }
        shell.note(Note(Level.ERROR, "accept_failed", fields))

    def _retry(self) -> None:
        self._shell.backend.start_reading(self._socket, self._acceptable)


async def bind(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Sockets that listen on every address of `host`, all on one port. A port of -1 is any free one.

    "", "0.0.0.0" and "::" each mean every address of this machine, IPv4 and
    IPv6, as they do for nats-server. A name is every address it resolves to.

    Raises:
        ListenError: an address cannot be bound.
    """
    host = host.strip("[]")
    any_free = port <= 0
    wanted = Address(host, max(port, 0))
    if host in _EVERYWHERE:
        return [_listening_everywhere(wanted, backlog)]
    try:
        found = await anyio.getaddrinfo(host, wanted.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(wanted, f"listen tcp: lookup {host}: {reason(error)}") from error
    targets = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    attempts = _PORT_ATTEMPTS if any_free and len(targets) > 1 else 1
    while True:
        attempts -= 1
        try:
            return _listening(targets, wanted.port, backlog)
        except OSError as error:
            if attempts == 0 or error.errno != errno.EADDRINUSE:
                raise _refused(wanted, error) from error


def _listening(
    targets: Sequence[tuple[socket.AddressFamily, tuple[str | int, ...]]], port: int, backlog: int
) -> list[socket.socket]:
    """Listen on all targets that this machine has, on `port`, or if that is 0 on whichever the first gets."""
    sockets: list[socket.socket] = []
    try:
        for family, (host, _, *scope) in targets:
            sock = _stream_socket(family)
            sockets.append(sock)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind((host, port, *scope))
            except OSError as error:
                # a name may have addresses of a protocol that is switched off here
                if error.errno != errno.EADDRNOTAVAIL or len(targets) == 1:
                    raise
                sockets.pop().close()
                continue
            sock.listen(backlog)
            port = sock.getsockname()[1]
        if not sockets:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listening_everywhere(wanted: Address, backlog: int) -> socket.socket:
    """One socket for all addresses of both protocols; for those of IPv4 where there is no IPv6."""
    try:
        with contextlib.ExitStack() as on_failure:
            if socket.has_dualstack_ipv6():
                sock = on_failure.enter_context(_stream_socket(socket.AF_INET6))
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                sock.bind(("::", wanted.port))
            else:
                sock = on_failure.enter_context(_stream_socket(socket.AF_INET))
                sock.bind(("0.0.0.0", wanted.port))
            sock.listen(backlog)
            on_failure.pop_all()
            return sock
    except OSError as error:
        raise _refused(wanted, error) from error


def _stream_socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def _refused(wanted: Address, error: OSError) -> ListenError:
    return ListenError(wanted, f"listen tcp {wanted}: bind: {reason(error)}")


def peer_address(address: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """Where a peer is. An IPv4 peer of a socket for both protocols is shown as IPv4."""
    host, port = address[0], address[1]
    if host.startswith("::ffff:") and "." in host:
        host = host[len("::ffff:") :]
    return Address(host, port)


def reason(error: OSError) -> str:
    """What went wrong, in the words of the system, in lower case as Go programs write it."""
    return (error.strerror or str(error) or type(error).__name__).lower()

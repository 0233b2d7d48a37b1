"""The files that a server writes beside its log: pid, ports, journal (operations.md section 7).

All of them are written by the process that was started, for others to read: a
supervisor finds the server by its pid file, a test suite finds its port in the
ports file, and nobody but the owner may read a journal, which holds secrets.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from natscore.events import Address

__all__ = [
    "JournalRefused",
    "open_journal",
    "os_error_text",
    "ports_document",
    "ports_file_path",
    "write_pid_file",
    "write_ports_file",
]

PID_FILE_MODE: Final = 0o600
JOURNAL_MODE: Final = 0o600
_JOURNAL_BEGINS: Final = b"natscore journal "  # of every version; see natscore.journal.BANNER
PORTS_FILE_MODE: Final = 0o666  # less the umask: ports are no secret


def os_error_text(action: str, path: str, error: OSError) -> str:
    """`open /x/y: no such file or directory`, as nats-server words what the system refused."""
    reason = error.strerror or str(error)
    return f"{action} {path}: {reason[:1].lower()}{reason[1:]}"


def write_pid_file(path: str) -> None:
    """The pid in digits without a line end, over what was there. Stays after the end. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PID_FILE_MODE)
    with open(descriptor, "wb") as file:
        file.write(str(os.getpid()).encode())


def ports_file_path(directory: str) -> str:
    """Where launchers look: `nats-server_<pid>.ports`, whatever the program is called."""
    return os.path.join(directory, f"nats-server_{os.getpid()}.ports")


def write_ports_file(path: str, clients: Iterable[Address], scheme: str = "nats") -> None:
    """Write `path` so that whoever sees it sees all of it. Raises OSError."""
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PORTS_FILE_MODE)
    try:
        with open(descriptor, "wb") as file:
            file.write(ports_document(clients, scheme).encode())
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def ports_document(clients: Iterable[Address], scheme: str = "nats") -> str:
    """One JSON object in one line: for each kind of listener, the URLs it can be reached at.

    A listener on all interfaces is listed once for each address of the machine.
    """
    import json

    urls = [
        f"{scheme}://[{host}]:{address.port}" if ":" in host else f"{scheme}://{host}:{address.port}"
        for address in clients
        for host in _reachable_hosts(address.host)
    ]
    return json.dumps({"nats": urls}, separators=(",", ":"))


def _reachable_hosts(host: str) -> list[str]:
    from natscore_cli.machine import interface_addresses

    if host in ("", "0.0.0.0", "::"):  # each is all of IPv4 and IPv6, as for nats-server
        return interface_addresses(socket.AF_INET) + interface_addresses(socket.AF_INET6)
    return [host]


class JournalRefused(Exception):
    """A journal is not written over this file; the text says why."""


def open_journal(path: str) -> int:
    """A descriptor to an empty file that only its owner can read. Raises JournalRefused.

    A file that exists is written over if it is a regular file of ours, empty or
    begun as a journal: a mistyped name must not cost anybody's work, a link planted
    in a shared directory must not turn the journal on something else, and somebody
    else's file would let its owner read what clients send.
    """
    # O_NONBLOCK: opening a pipe that nobody reads would wait for ever; regular files do not know it
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, JOURNAL_MODE)
    except OSError as error:
        if os.path.islink(path):
            raise JournalRefused(f"{path} is a symbolic link; name the file itself") from error
        raise JournalRefused(os_error_text("open", path, error)) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise JournalRefused(f"{path} is not a regular file")
        if found.st_uid != os.geteuid():
            raise JournalRefused(f"{path} belongs to another user")
        # A second start by mistake must not empty the journal of the server that is running.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A disk that was full may have cut even the first line short.
        if not _JOURNAL_BEGINS.startswith(os.pread(descriptor, len(_JOURNAL_BEGINS), 0)):
            raise JournalRefused(
                f"{path} holds something else than a journal; remove it, or name another file"
            )
        os.fchmod(descriptor, JOURNAL_MODE)  # one that exists may be open to others
        os.ftruncate(descriptor, 0)
    except JournalRefused:
        os.close(descriptor)
        raise
    except BlockingIOError as error:
        os.close(descriptor)
        raise JournalRefused(f"{path} is being written by another process") from error
    except OSError as error:
        os.close(descriptor)
        raise JournalRefused(os_error_text("open", path, error)) from error
    return descriptor

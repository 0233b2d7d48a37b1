"""What this machine has: memory, addresses, descriptors.

Everything here has a fallback, because a server must start on a system that does
not answer a question about itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Final

__all__ = ["descriptor_limit", "interface_addresses", "memory_bytes", "raise_descriptor_limit"]

_MEMORY_UNKNOWN: Final = 4 << 30  # a machine that cannot say: taken for a small one
_CGROUP_LIMITS: Final = (
    "/sys/fs/cgroup/memory.max",  # version 2; inside a container this is the container's own
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",  # version 1; "no limit" is a number near 2^63
)


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or the container's if that is less."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # absent, or the word "max"
            found.append(int(Path(path).read_text()))
    return min((size for size in found if size > 0), default=_MEMORY_UNKNOWN)


def raise_descriptor_limit() -> None:
    """Take as many file descriptors as the administrator allows, as Go programs do.

    The soft limit is often 1024 for the sake of programs that use select().
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # macOS calls its limit infinite and means less
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit() -> int:
    """How many files and sockets this process may have open."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def interface_addresses(family: socket.AddressFamily) -> list[str]:
    """Every address of `family` (AF_INET or AF_INET6) on this machine's interfaces.

    The standard library has no call for it, so this asks the C library's
    getifaddrs. Where that fails, the loopback address is all that is known.
    """
    found: list[str] = []
    with contextlib.suppress(OSError, AttributeError, ImportError):
        found = _getifaddrs(family)
    return found or ["127.0.0.1" if family == socket.AF_INET else "::1"]


_ADDRESS_OF: Final = {socket.AF_INET: (4, 4), socket.AF_INET6: (8, 16)}  # offset and size in the sockaddr


def _getifaddrs(family: socket.AddressFamily) -> list[str]:
    import ctypes

    class Entry(ctypes.Structure):
        pass

    Entry._fields_ = [  # the same on Linux, macOS and the BSDs
        ("next", ctypes.POINTER(Entry)),
        ("name", ctypes.c_char_p),
        ("flags", ctypes.c_uint),
        ("address", ctypes.c_void_p),
        ("netmask", ctypes.c_void_p),
        ("destination", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
    ]
    library = ctypes.CDLL(None, use_errno=True)
    library.freeifaddrs.argtypes = [ctypes.POINTER(Entry)]
    library.freeifaddrs.restype = None
    first = ctypes.POINTER(Entry)()
    if library.getifaddrs(ctypes.byref(first)) != 0:
        raise OSError(ctypes.get_errno(), "getifaddrs failed")
    offset, size = _ADDRESS_OF[family]
    addresses: dict[str, None] = {}  # in order, each once
    try:
        entry = first
        while bool(entry):  # false for NULL
            address = entry.contents.address
            if address and _family_of(ctypes.string_at(address, 2)) == family:
                raw = ctypes.string_at(address + offset, size)
                addresses[socket.inet_ntop(family, raw)] = None
            entry = entry.contents.next
    finally:
        library.freeifaddrs(first)
    return list(addresses)


def _family_of(first_two: bytes) -> int:
    """The family field of a sockaddr: 16 bits on Linux, a byte after the length on the BSDs."""
    has_length = sys.platform.startswith(("darwin", "freebsd", "netbsd", "openbsd"))
    return first_two[1] if has_length else int.from_bytes(first_two, sys.byteorder)

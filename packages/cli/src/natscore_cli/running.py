"""What a running server is configured by, for `--reload-dry-run` to find (docs/adr/0016).

A server keeps it in a file without a name, which only memory holds: `memfd_create`. Who
may read the memory of the process, its own user and root, can open it below
`/proc/<pid>/fd`; it holds passwords, and is gone with the process. Where a system has
no such files, there is nothing to find.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from natscore.documents import document_of, value_of
from natscore.errors import ConfigError
from natscore_cli.arguments import Given
from natscore_cli.changes import Profile

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PublishedConfiguration", "RunningServer", "servers_started_with"]

_NAME: Final = "natscore-configuration"
_PROCESSES: Final = "/proc"
_SIZE_MAX: Final = 64 * 1024 * 1024  # whoever may be read here may still be somebody else's program


class RunningServer(NamedTuple):
    """One that was found."""

    pid: int
    given: Given  # its command line
    profile: Profile
    port: int
    memory_bytes: int


class PublishedConfiguration:
    """The file of one server. Does nothing where the system has none."""

    def __init__(self) -> None:
        self._file: int | None = None
        if hasattr(os, "memfd_create"):
            with contextlib.suppress(OSError):
                self._file = os.memfd_create(_NAME, os.MFD_CLOEXEC)

    def write(self, given: Given, profile: Profile, port: int, memory_bytes: int) -> None:
        """Say by what the server runs from now on."""
        if self._file is None:
            return
        document = {
            "path": os.path.realpath(str(given.values.get("config", ""))),
            "flags": {name: document_of(value) for name, value in given.values.items()},
            "profile": profile.document(),
            "port": port,
            "memory_bytes": memory_bytes,
        }
        data = json.dumps(document).encode()
        with contextlib.suppress(OSError):  # without memory for this the server goes on
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, data, 0)

    def close(self) -> None:
        """Let go of it."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def servers_started_with(path: str) -> list[RunningServer]:
    """The servers whose configuration file is `path`, of those that may be asked, by their pid."""
    wanted = os.path.realpath(path)
    return [server for pid in _pids() for server in _servers_of(pid, wanted)]


def _pids() -> list[int]:
    try:
        names = os.listdir(_PROCESSES)
    except OSError:
        return []
    return sorted(int(name) for name in names if name.isdecimal())


def _servers_of(pid: int, path: str) -> Iterator[RunningServer]:
    folder = f"{_PROCESSES}/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:  # it is somebody else's, or gone
        return
    for name in names:
        with contextlib.suppress(OSError, ConfigError, KeyError, TypeError, ValueError, AttributeError):
            if not os.readlink(f"{folder}/{name}").startswith(f"/memfd:{_NAME} "):
                continue
            with open(f"{folder}/{name}", "rb") as file:
                document = json.loads(file.read(_SIZE_MAX))
            if document["path"] != path:
                continue
            flags = {one: value_of(value) for one, value in document["flags"].items()}
            yield RunningServer(
                pid,
                Given(flags, [], [], None, frozenset()),
                Profile.read(document["profile"]),
                int(document["port"]),
                int(document["memory_bytes"]),
            )

"""Where lines go when they leave the log: a descriptor that is written to, and never waited for."""

from __future__ import annotations

import errno
import os
import select
import stat
from typing import Final

from natscore.effects import Level

__all__ = ["Sink", "is_character_device"]

_PIPE_PAGE: Final = 4096  # a pipe that has room at all takes this much


class Sink:
    """Lines to a file descriptor, one write each, without ever raising.

    It does not wait for a reader either. The descriptor stays a blocking one, because others may share
    it (a terminal, the shell that started us); instead it is asked for room, which for a pipe means a page.
    """

    def __init__(self, descriptor: int, *, owned: bool = False) -> None:
        self._descriptor = descriptor
        self._room: select.poll | None = None  # of what may have a reader
        if _may_block(descriptor):
            self._room = select.poll()
            self._room.register(descriptor, select.POLLOUT)
        self._owned = owned
        self.lost = 0  # lines that could not be written
        self._error = ""

    def write(self, line: str, level: Level = Level.INFO) -> int:
        """Write one line, and return how many bytes it came to.

        What the system refuses is counted, not retried: the server does not wait.
        """
        data = memoryview(line.encode("utf-8", "backslashreplace") + b"\n")
        rest = data
        try:
            while rest:  # once, but for long lines and a disk that is nearly full
                if self._room is None:
                    written = os.write(self._descriptor, rest)
                elif self._room.poll(0):
                    written = os.write(self._descriptor, rest[:_PIPE_PAGE])
                else:
                    raise BlockingIOError(errno.EAGAIN, "nobody reads them")
                rest = rest[written:]
        except OSError as error:
            self.lose(1, error.strerror or type(error).__name__)
        return len(data) - len(rest)

    def lose(self, count: int, error: str) -> None:
        """Take note of lines that could not be written."""
        self.lost += count
        self._error = error

    def take_lost(self) -> tuple[int, str]:
        """How many lines were lost since the last call, and why the last of them was."""
        lost, self.lost = self.lost, 0
        return lost, self._error

    def size(self) -> int | None:
        """How large the file is; None: it is no file, or cannot be asked."""
        try:
            found = os.fstat(self._descriptor)
        except OSError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def close(self) -> None:
        """Close the descriptor if it is ours."""
        if self._owned:
            self._owned = False
            os.close(self._descriptor)


def _may_block(descriptor: int) -> bool:
    """Whether a write may wait for somebody: true of anything but a file."""
    try:
        return not stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def is_character_device(descriptor: int) -> bool:
    """Whether a terminal may be at the other end; only then are lines coloured."""
    try:
        return stat.S_ISCHR(os.fstat(descriptor).st_mode)
    except OSError:
        return False

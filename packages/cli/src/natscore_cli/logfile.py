"""The log file: opened, reopened when somebody has moved it, and begun anew when it is full.

    server.log                                    is written
    server.log.2026.01.02.15.04.05.123456789      was, until it passed the size limit

An error keeps the file that is open: a log that cannot be rotated grows, and is told
so. What is no regular file (`/dev/stdout`, a pipe) is neither measured nor renamed.

Source: operations.md section 6.5; nats-server 2.14.5, logger/log.go.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import TYPE_CHECKING, Final

from natscore.effects import Level, Note
from natscore_cli.files import os_error_text
from natscore_cli.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LogFile"]

LOG_FILE_MODE: Final = 0o640  # as nats-server since 2.10.22; the umask takes more away
_BACKUP: Final = re.compile(r"\.\d{4}(?:\.\d\d){5}\.\d{9}")


class LogFile:
    """A file that lines are appended to. Raises OSError when it cannot be opened.

    Args:
        path: created for owner and group if it is not there.
        size_limit: bytes above which it is full; 0: never.
        files_max: how many files there may be, this one included; 0: any number.
    """

    def __init__(self, path: str, size_limit: int = 0, files_max: int = 0) -> None:
        self._path = path
        self._size_limit = self._next_limit = size_limit
        self._files_max = files_max
        self._sink, self._size = _open(path)

    @property
    def lost(self) -> int:
        """Lines that could not be written since they were last asked about."""
        return self._sink.lost

    def take_lost(self) -> tuple[int, str]:
        """As `Sink.take_lost`."""
        return self._sink.take_lost()

    def write(self, line: str, level: Level = Level.INFO) -> None:
        """Write one line. Never raises."""
        written = self._sink.write(line, level)
        if self._size is not None:
            self._size += written

    def close(self) -> None:
        """Close the file."""
        self._sink.close()

    @property
    def is_full(self) -> bool:
        """Whether `rotate` is to be called: the file is larger than its limit."""
        if not self._next_limit or self._size is None or self._size <= self._next_limit:
            return False
        self._size = self._sink.size()  # others may have cut it short meanwhile
        return self._size is not None and self._size > self._next_limit

    def reopen(self) -> None:
        """Write to the file that has the path now. Raises OSError, and then goes on with the old one."""
        opened, size = _open(self._path)
        opened.lose(*self._sink.take_lost())
        self._sink.close()
        self._sink, self._size = opened, size

    def rotate(self, now_ns: int) -> Iterator[Note]:
        """Rename the file, begin another, and remove backups that are too many.

        Yields what is to be written to the log about it, each at once.
        """
        date = time.strftime("%Y.%m.%d.%H.%M.%S", time.localtime(now_ns // 1_000_000_000))
        backup = f"{self._path}.{date}.{now_ns % 1_000_000_000:09d}"
        try:
            os.rename(self._path, backup)
            try:
                self.reopen()
            except OSError:
                with contextlib.suppress(OSError):
                    os.rename(backup, self._path)
                raise
        except OSError as error:
            self._next_limit *= 2
            yield Note(
                Level.ERROR,
                "log_rotation_failed",
                {"error": os_error_text("rename", self._path, error), "size": self._next_limit},
            )
            return
        self._next_limit = self._size_limit
        yield Note(Level.INFO, "log_rotated", {"backup": backup})
        if self._files_max:
            yield from self._purge()

    def _purge(self) -> Iterator[Note]:
        directory, base = os.path.split(self._path)
        try:
            names = os.listdir(directory or ".")
        except OSError as error:
            text = os_error_text("open", directory or ".", error)
            yield Note(Level.ERROR, "log_purge_failed", {"name": base, "error": text})
            return
        prefix = len(base)
        backups = sorted(name for name in names if name.startswith(base) and _BACKUP.fullmatch(name, prefix))
        for name in backups[: max(len(backups) - (self._files_max - 1), 0)]:
            path = os.path.join(directory, name)
            try:
                os.unlink(path)
            except OSError as error:
                text = os_error_text("remove", path, error)
                yield Note(Level.ERROR, "log_purge_failed", {"name": name, "error": text})
                return
            yield Note(Level.INFO, "log_purged", {"name": name})


def _open(path: str) -> tuple[Sink, int | None]:
    """A sink that appends to `path`, and its size if it can be full."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    sink = Sink(os.open(path, flags, LOG_FILE_MODE), owned=True)
    return sink, sink.size()

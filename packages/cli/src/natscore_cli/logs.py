"""The log of the command: notes in, lines out.

    [PID] YYYY/MM/DD HH:MM:SS.uuuuuu [LVL] message      --log-format text
    {"time": ..., "level": ..., "event": ..., ...}      --log-format json

Text is the shape of nats-server, which scripts read (operations.md section 6.1).
JSON goes through structlog, which is imported only then: with everything it pulls
in it costs more than a fifth of the time a start may take.

A log must not be a way to hurt the server. What comes from peers is escaped and
redacted (`redaction.py`); a warning that repeats is written once per second and
then counted; and a log that cannot be written, because the disk is full or the
reader of the pipe is gone, or is there and does not read, loses lines and nothing
else.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from natscore.effects import Level, Note
from natscore_cli.texts import message, plain_fields, prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscore_cli.settings import LogSettings

__all__ = ["Log", "Sink", "is_character_device", "open_log_file"]

_PIPE_PAGE: Final = 4096  # a pipe that has room at all takes this much
LOG_FILE_MODE: Final = 0o640  # as nats-server since 2.10.22; the umask takes more away

_LABELS: Final = {
    Level.TRACE: ("TRC", "33"),
    Level.DEBUG: ("DBG", "36"),
    Level.INFO: ("INF", "32"),
    Level.WARNING: ("WRN", "0;93"),
    Level.ERROR: ("ERR", "31"),
    Level.FATAL: ("FTL", "31"),
}
"""Label and colour of each level (operations.md section 6.1)."""

Render: TypeAlias = "Callable[[Note, int, int], str]"
"""A note, the wall nanoseconds, and how often it was held back, to a line without its end."""


class Log:
    """Writes notes of the chosen levels. `clock` is wall time in nanoseconds."""

    def __init__(
        self,
        settings: LogSettings,
        sink: Sink,
        *,
        coloured: bool = False,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._levels = {Level.INFO, Level.WARNING, Level.ERROR, Level.FATAL}
        if settings.debug:
            self._levels.add(Level.DEBUG)
        if settings.trace:
            self._levels.add(Level.TRACE)
        self._repeats = _Repeats()
        self._render = (
            _json_lines(settings) if settings.format == "json" else _text_lines(settings, coloured=coloured)
        )

    def __call__(self, note: Note) -> None:
        """Write `note`, unless its level is not wanted or it only repeats a warning."""
        now_ns = self._clock()
        for held_back, times in self._repeats.overdue(now_ns):
            self._write(held_back, now_ns, times)
        if note.level not in self._levels:
            return
        if note.level not in (Level.WARNING, Level.ERROR) or self._repeats.admits(note, now_ns):
            self._write(note, now_ns, 0)

    def close(self) -> None:
        """Say what was held back, and let go of the file."""
        now_ns = self._clock()
        for held_back, times in self._repeats.all():
            self._write(held_back, now_ns, times)
        self._sink.close()

    def _write(self, note: Note, now_ns: int, times: int) -> None:
        if self._sink.lost:
            lost, error = self._sink.take_lost()
            report = Note(Level.ERROR, "log_lines_lost", {"count": lost, "error": error})
            self._sink.write(self._render(report, now_ns, 0))
        self._sink.write(self._render(note, now_ns, times))


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

    def write(self, line: str) -> None:
        """Write one line. What the system refuses is counted, not retried: the server does not wait."""
        rest = memoryview(line.encode("utf-8", "backslashreplace") + b"\n")
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
            self.lost += 1
            self._error = error.strerror or type(error).__name__

    def take_lost(self) -> tuple[int, str]:
        """How many lines were lost since the last call, and why the last of them was."""
        lost, self.lost = self.lost, 0
        return lost, self._error

    def close(self) -> None:
        """Close the descriptor if it is ours."""
        if self._owned:
            self._owned = False
            os.close(self._descriptor)


def open_log_file(path: str) -> Sink:
    """A sink that appends to `path`, created for owner and group. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    return Sink(os.open(path, flags, LOG_FILE_MODE), owned=True)


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


def _text_lines(settings: LogSettings, *, coloured: bool) -> Render:
    pid = f"[{os.getpid()}] "
    labels = {
        level: f"[\x1b[{colour}m{label}\x1b[0m] " if coloured else f"[{label}] "
        for level, (label, colour) in _LABELS.items()
    }
    broken_down = time.gmtime if settings.utc else time.localtime
    second = -1
    date = ""

    def render(note: Note, now_ns: int, times: int) -> str:
        nonlocal second, date
        when = ""
        if settings.time:
            if now_ns // 1_000_000_000 != second:  # dates are costly, and lines come in bursts
                second = now_ns // 1_000_000_000
                date = time.strftime("%Y/%m/%d %H:%M:%S", broken_down(second))
            when = f"{date}.{now_ns // 1000 % 1_000_000:06d} "
        repeated = f" (repeated {times} times)" if times else ""
        return f"{pid}{when}{labels[note.level]}{prefix(note)}{message(note)}{repeated}"

    return render


def _json_lines(settings: LogSettings) -> Render:
    import structlog

    class Lines:
        """The innermost logger: structlog hands it the finished line, and returns what it returns."""

        def msg(self, line: str) -> str:
            return line

    logger = structlog.wrap_logger(
        Lines(),
        processors=[structlog.processors.JSONRenderer()],  # ASCII only, so no control character survives
        wrapper_class=structlog.BoundLogger,
    ).bind(pid=os.getpid())

    def render(note: Note, now_ns: int, times: int) -> str:
        head: dict[str, object] = {}
        if settings.time:
            date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ns // 1_000_000_000))
            head["time"] = f"{date}.{now_ns // 1000 % 1_000_000:06d}Z"
        head["level"] = note.level.name.lower()
        fields = plain_fields(note) | ({"repeated": times} if times else {})
        named = {f"{name}_" if name in _JSON_HEAD else name: value for name, value in fields.items()}
        line: str = logger.msg(note.name, **head, **named)
        return line

    return render


_JSON_HEAD: Final = frozenset({"pid", "time", "level", "event"})


class _Repeat(NamedTuple):
    """A warning that was written at `since_ns`, and since then came again `times` times."""

    since_ns: int
    times: int
    latest: Note


class _Repeats:
    """Which warnings have been written within the last second.

    Two are the same when level and sentence are; the connection does not count,
    for a flood comes from many of them. Bounded: at the bound the oldest warning
    is forgotten, and its count is written.
    """

    SECOND_NS: Final = 1_000_000_000
    COUNT_MAX: Final = 1024

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[Level, str], _Repeat] = OrderedDict()  # by since_ns

    def admits(self, note: Note, now_ns: int) -> bool:
        """Whether `note` is to be written now; if not, it is counted."""
        key = (note.level, message(note))
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = _Repeat(now_ns, 0, note)
            return True
        self._seen[key] = _Repeat(seen.since_ns, seen.times + 1, note)
        return False

    def overdue(self, now_ns: int) -> Iterator[tuple[Note, int]]:
        """Forget what is older than a second, and yield each with a count to be told."""
        while self._seen:
            key, seen = next(iter(self._seen.items()))
            # a clock that was set back must not silence a warning for hours
            if 0 <= now_ns - seen.since_ns < self.SECOND_NS and len(self._seen) <= self.COUNT_MAX:
                return
            del self._seen[key]
            if seen.times:
                yield seen.latest, seen.times

    def all(self) -> Iterator[tuple[Note, int]]:
        """Forget everything, and yield each with a count to be told."""
        while self._seen:
            _, seen = self._seen.popitem(last=False)
            if seen.times:
                yield seen.latest, seen.times

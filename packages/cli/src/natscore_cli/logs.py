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

import os
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from natscore.effects import Level, Note
from natscore_cli.logfile import LogFile
from natscore_cli.syslog import Syslog
from natscore_cli.texts import message, plain_fields, prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscore_cli.settings import LogSettings

__all__ = ["Destination", "Log"]

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


class Destination(Protocol):
    """Where lines go. Nothing here waits, or raises."""

    @property
    def lost(self) -> int:
        """Lines that could not be written since they were last asked about."""

    def take_lost(self) -> tuple[int, str]:
        """How many, since the last call, and why the last of them."""

    def write(self, line: str, level: Level = ..., /) -> object:
        """Write one line, without its end."""

    def close(self) -> None:
        """Write no more."""


class Log:
    """Writes notes of the chosen levels. `clock` is wall time in nanoseconds."""

    def __init__(
        self,
        settings: LogSettings,
        destination: Destination,
        *,
        coloured: bool = False,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._clock = clock
        self._repeats = _Repeats()
        self._destination = destination
        self._take(settings, destination, coloured)

    def change(self, settings: LogSettings, destination: Destination | None, *, coloured: bool) -> None:
        """Write by other settings from now on, and to `destination` if there is one, else where it did."""
        if destination is not None:
            self.close()
        self._take(settings, destination or self._destination, coloured)

    def _take(self, settings: LogSettings, destination: Destination, coloured: bool) -> None:
        self._destination = destination
        self._file = destination if isinstance(destination, LogFile) else None
        self._levels = {Level.INFO, Level.WARNING, Level.ERROR, Level.FATAL}
        if settings.debug:
            self._levels.add(Level.DEBUG)
        if settings.trace:
            self._levels.add(Level.TRACE)
        self._render: Render
        if settings.format == "json":
            self._render = _json_lines(settings)
        elif isinstance(destination, Syslog):
            self._render = _bare_lines
        else:
            self._render = _text_lines(settings, coloured=coloured)
        if self._file is not None and self._file.is_full:
            self(Note(Level.INFO, "log_full", {}))

    def __call__(self, note: Note) -> None:
        """Write `note`, unless its level is not wanted or it only repeats a warning."""
        now_ns = self._clock()
        for held_back, times in self._repeats.overdue(now_ns):
            self._write(held_back, now_ns, times)
        if note.level not in self._levels:
            return
        if note.level not in (Level.WARNING, Level.ERROR) or self._repeats.admits(note, now_ns):
            self._write(note, now_ns, 0)

    def reopen(self) -> bool:
        """Write to the file that now has the path of the log; False: the log is no file.

        Raises OSError; the file that was open then goes on.
        """
        if self._file is None:
            return False
        self._file.reopen()
        return True

    def close(self) -> None:
        """Say what was held back, and let go of the file."""
        now_ns = self._clock()
        for held_back, times in self._repeats.all():
            self._write(held_back, now_ns, times)
        self._destination.close()

    def _write(self, note: Note, now_ns: int, times: int) -> None:
        destination, render = self._destination, self._render
        if destination.lost:
            lost, error = destination.take_lost()
            report = Note(Level.ERROR, "log_lines_lost", {"count": lost, "error": error})
            destination.write(render(report, now_ns, 0), Level.ERROR)
        destination.write(render(note, now_ns, times), note.level)
        if self._file is not None and self._file.is_full:
            for said in self._file.rotate(now_ns):
                self._file.write(render(said, now_ns, 0))


def _bare_lines(note: Note, now_ns: int, times: int) -> str:
    """What is logged, for those who know the rest: a syslog."""
    return f"{prefix(note)}{message(note)}{_repeated(times)}"


def _repeated(times: int) -> str:
    return f" (repeated {times} times)" if times else ""


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
        return f"{pid}{when}{labels[note.level]}{prefix(note)}{message(note)}{_repeated(times)}"

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

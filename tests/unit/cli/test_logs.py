"""Lines of the log: shape, levels, repetition, and what happens when they cannot be written."""

from __future__ import annotations

import json
import os
import re
import stat
from typing import TYPE_CHECKING

import pytest

from natscore.effects import Level, Note
from natscore.events import Address, ConnectionKind
from natscore_cli.logfile import LogFile
from natscore_cli.logs import Log
from natscore_cli.settings import LogSettings
from natscore_cli.sink import Sink, is_character_device

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECOND = 1_000_000_000
NOON = 1_767_355_445 * SECOND + 123_456_789  # 2026-01-02 12:04:05.123456789 UTC


class Clock:
    """Wall time that a test moves."""

    def __init__(self) -> None:
        self.now_ns = NOON

    def __call__(self) -> int:
        return self.now_ns


class Written:
    """A log on a pipe of this process, and what came out of it."""

    def __init__(self, settings: LogSettings, *, coloured: bool = False) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.clock = Clock()
        self.log = Log(settings, Sink(writer, owned=True), coloured=coloured, clock=self.clock)

    def lines(self) -> list[str]:
        try:
            return os.read(self._reader, 1 << 20).decode().splitlines()
        except BlockingIOError:
            return []

    def close(self) -> None:
        self.log.close()
        os.close(self._reader)


@pytest.fixture
def written() -> Iterator[Written]:
    found = Written(LogSettings(utc=True))
    yield found
    found.close()


@pytest.fixture
def written_json() -> Iterator[Written]:
    found = Written(LogSettings(format="json", debug=True, trace=True))
    yield found
    found.close()


def ready() -> Note:
    return Note(Level.INFO, "server_ready", {})


def refused(user: str = "a", cid: int = 4) -> Note:
    fields = {"cid": cid, "kind": ConnectionKind.CLIENT, "remote": Address("::1", 5), "user": user}
    return Note(Level.ERROR, "authentication_failed", fields)


@pytest.mark.spec("operations 6.1")
def test_a_line_has_pid_time_level_and_message(written: Written) -> None:
    written.log(ready())

    assert written.lines() == [f"[{os.getpid()}] 2026/01/02 12:04:05.123456 [INF] Server is ready"]


@pytest.mark.spec("operations 6.1")
def test_the_time_of_each_line_is_its_own(written: Written) -> None:
    written.log(ready())
    written.clock.now_ns += 1_000
    written.log(ready())
    written.clock.now_ns += SECOND
    written.log(ready())

    assert [line.split()[2] for line in written.lines()] == [
        "12:04:05.123456",
        "12:04:05.123457",
        "12:04:06.123457",
    ]


@pytest.mark.spec("operations 6.1")
def test_the_time_can_be_left_out() -> None:
    written = Written(LogSettings(time=False))

    written.log(ready())

    assert written.lines() == [f"[{os.getpid()}] [INF] Server is ready"]
    written.close()


@pytest.mark.spec("operations 6.1")
def test_the_time_is_local_unless_utc_is_asked_for() -> None:
    written = Written(LogSettings())

    written.log(ready())

    assert re.fullmatch(
        rf"\[{os.getpid()}\] \d{{4}}/\d\d/\d\d \d\d:\d\d:05\.123456 \[INF\] Server is ready",
        written.lines()[0],
    )
    written.close()


@pytest.mark.spec("operations 6.1")
@pytest.mark.parametrize(
    ("level", "label", "colour"),
    [
        (Level.INFO, "INF", "32"),
        (Level.WARNING, "WRN", "0;93"),
        (Level.ERROR, "ERR", "31"),
        (Level.FATAL, "FTL", "31"),
        (Level.DEBUG, "DBG", "36"),
        (Level.TRACE, "TRC", "33"),
    ],
)
def test_each_level_has_its_label_and_on_a_terminal_its_colour(level: Level, label: str, colour: str) -> None:
    settings = LogSettings(time=False, debug=True, trace=True)
    plain, coloured = Written(settings), Written(settings, coloured=True)

    plain.log(Note(level, "server_ready", {}))
    coloured.log(Note(level, "server_ready", {}))

    assert plain.lines() == [f"[{os.getpid()}] [{label}] Server is ready"]
    assert coloured.lines() == [f"[{os.getpid()}] [\x1b[{colour}m{label}\x1b[0m] Server is ready"]
    plain.close()
    coloured.close()


@pytest.mark.spec("operations 6.1")
@pytest.mark.parametrize(("debug", "trace"), [(False, False), (True, False), (False, True), (True, True)])
def test_debug_and_trace_are_written_only_when_asked_for(debug: bool, trace: bool) -> None:
    written = Written(LogSettings(time=False, debug=debug, trace=trace))

    for level in Level:
        written.log(Note(level, "server_ready", {}))

    labels = ["TRC"] * trace + ["DBG"] * debug + ["INF", "WRN", "ERR", "FTL"]
    assert [line.split()[1] for line in written.lines()] == [f"[{label}]" for label in labels]
    written.close()


@pytest.mark.spec("operations 6.2")
def test_a_repeated_warning_is_written_once_per_second_and_then_counted(written: Written) -> None:
    for cid in range(4, 104):
        written.log(refused(cid=cid))
    first = written.lines()
    written.clock.now_ns += SECOND
    written.log(ready())

    assert [line.partition("[ERR] ")[2] for line in first] == [
        '[::1]:5 - cid:4 - authentication error - User "a"'
    ]
    assert [line.split(" ", 3)[3] for line in written.lines()] == [
        '[ERR] [::1]:5 - cid:103 - authentication error - User "a" (repeated 99 times)',
        "[INF] Server is ready",
    ]


@pytest.mark.spec("operations 6.2")
def test_a_warning_that_comes_again_after_a_second_is_written_again(written: Written) -> None:
    written.log(refused())
    written.clock.now_ns += SECOND
    written.log(refused())

    assert len(written.lines()) == 2


def test_different_warnings_do_not_hold_each_other_back(written: Written) -> None:
    written.log(refused("a"))
    written.log(refused("b"))

    assert len(written.lines()) == 2


def test_what_is_no_warning_is_never_held_back(written: Written) -> None:
    for _ in range(3):
        written.log(ready())
        written.log(Note(Level.FATAL, "server_failed", {"event": 1, "error": "x"}))

    assert len(written.lines()) == 6


def test_a_count_is_told_at_the_end_at_the_latest(written: Written) -> None:
    for _ in range(3):
        written.log(refused())
    written.lines()
    written.log.close()

    assert [line.endswith('User "a" (repeated 2 times)') for line in written.lines()] == [True]


def test_a_clock_that_is_set_back_does_not_silence_warnings(written: Written) -> None:
    written.log(refused())
    written.clock.now_ns -= 3600 * SECOND
    written.log(refused())

    assert len(written.lines()) == 2


def test_warnings_that_all_differ_do_not_fill_the_memory(written: Written) -> None:
    written.log(refused("first"))
    written.log(refused("first"))
    for number in range(1023):
        written.log(refused(str(number)))
        written.lines()
    written.log(refused("one more"))
    written.lines()
    written.log(refused("and another"))

    assert [line.partition("error - ")[2] for line in written.lines()] == [
        'User "first" (repeated 1 times)',
        'User "and another"',
    ]


def test_json_has_one_object_per_line_with_time_level_event_and_fields(written_json: Written) -> None:
    written_json.log(refused())
    written_json.log(Note(Level.TRACE, "trace_in", {"line": b'CONNECT {"pass":"s3cret"}'}))

    assert [json.loads(line) for line in written_json.lines()] == [
        {
            "pid": os.getpid(),
            "time": "2026-01-02T12:04:05.123456Z",
            "level": "error",
            "event": "authentication_failed",
            "cid": 4,
            "kind": "cid",
            "remote": "[::1]:5",
            "user": "a",
        },
        {
            "pid": os.getpid(),
            "time": "2026-01-02T12:04:05.123456Z",
            "level": "trace",
            "event": "trace_in",
            "line": 'CONNECT {"pass":"[REDACTED]"}',
        },
    ]


def test_json_counts_repeated_warnings_in_a_field(written_json: Written) -> None:
    for _ in range(3):
        written_json.log(refused())
    written_json.log.close()

    assert [json.loads(line).get("repeated") for line in written_json.lines()] == [None, 2]


def test_json_holds_no_control_character_and_no_line_break(written_json: Written) -> None:
    written_json.log(refused("\x1b[2J\n\x7f\x9b\u2028\u202e"))

    (line,) = written_json.lines()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["user"] == "\x1b[2J\n\x7f\x9b\u2028\u202e"


def test_json_keeps_fields_that_are_named_like_its_own(written_json: Written) -> None:
    written_json.log(Note(Level.INFO, "x", {"event": 1, "level": 2, "time": 3, "pid": 4}))

    found = json.loads(written_json.lines()[0])
    assert (found["event"], found["level"]) == ("x", "info")
    assert [found[f"{name}_"] for name in ("event", "level", "time", "pid")] == [1, 2, 3, 4]


def test_json_without_time_has_no_time() -> None:
    written = Written(LogSettings(format="json", time=False))

    written.log(ready())

    assert json.loads(written.lines()[0]) == {"pid": os.getpid(), "level": "info", "event": "server_ready"}
    written.close()


def test_a_log_whose_reader_is_gone_loses_lines_and_nothing_else() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink = Sink(writer, owned=True)
    log = Log(LogSettings(), sink)

    log(ready())
    log(ready())

    assert sink.lost > 0
    log.close()


def test_lost_lines_are_counted_and_told_when_the_log_can_be_written_again(tmp_path: Path) -> None:
    reader, writer = os.pipe()  # a blocking one: whoever waits for its reader waits for ever
    os.set_blocking(reader, False)
    log = Log(LogSettings(time=False), Sink(writer, owned=True))
    os.write(writer, b"x" * 65_536)  # it is full

    log(ready())
    log(ready())
    os.read(reader, 65_536)
    log(ready())

    assert os.read(reader, 65_536).decode().splitlines() == [
        f"[{os.getpid()}] [ERR] 2 log lines could not be written: nobody reads them",
        f"[{os.getpid()}] [INF] Server is ready",
    ]
    log.close()
    os.close(reader)


def test_a_line_longer_than_the_room_in_a_pipe_is_cut_and_nobody_waits() -> None:
    reader, writer = os.pipe()
    log = Log(LogSettings(time=False), Sink(writer, owned=True))
    os.write(writer, b"x" * 57_344)  # all but two pages of 16

    log(Note(Level.INFO, "server_name", {"name": "n" * 100_000}))

    assert len(os.read(reader, 100_000)) == 65_536
    log.close()
    os.close(reader)


@pytest.mark.spec("operations 6.5", "operations 15")
def test_a_log_file_is_for_owner_and_group_and_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    before = os.umask(0)
    try:
        for _ in range(2):
            log = Log(LogSettings(time=False), LogFile(str(path)))
            log(ready())
            log.close()
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_text() == f"[{os.getpid()}] [INF] Server is ready\n" * 2


def test_only_a_character_device_is_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w") as file, open(os.devnull, "w") as device:
        assert not is_character_device(file.fileno())
        assert is_character_device(device.fileno())
        closed = os.dup(file.fileno())
    os.close(closed)
    assert not is_character_device(closed)

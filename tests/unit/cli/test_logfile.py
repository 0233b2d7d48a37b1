"""The log file: its size, its backups, and what others do to it."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Any

import pytest

from natscore.effects import Level, Note
from natscore_cli.logfile import LogFile
from natscore_cli.logs import Log
from natscore_cli.settings import LogSettings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.spec("operations 6.5")

SECOND = 1_000_000_000
NOON = 1_767_355_445 * SECOND + 123_456_789
BACKUP = r"server\.log\.\d{4}\.\d\d\.\d\d\.\d\d\.\d\d\.\d\d\.\d{9}"


class Logging:
    """A log in a folder, whose clock goes on by a second with each look."""

    def __init__(self, folder: Path, size_limit: int = 0, files_max: int = 0, **settings: Any) -> None:
        self.folder = folder
        self.path = folder / "server.log"
        self.now_ns = NOON
        self.log = Log(
            LogSettings(time=False, **settings),
            LogFile(str(self.path), size_limit, files_max),
            clock=self._clock,
        )

    def _clock(self) -> int:
        self.now_ns += SECOND
        return self.now_ns

    def say(self, text: str) -> None:
        self.log(Note(Level.INFO, "traceback", {"text": text}))

    @property
    def backups(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path != self.path)

    def lines(self, path: Path | None = None) -> list[str]:
        text = (path or self.path).read_text()
        assert text.endswith("\n")
        return [line.removeprefix(f"[{os.getpid()}] [INF] ") for line in text[:-1].split("\n")]


def test_a_file_above_its_limit_becomes_a_backup_and_another_is_begun(tmp_path: Path) -> None:
    logging = Logging(tmp_path, size_limit=2_000)

    for number in range(3):
        logging.say(f"line {number} " + "x" * 1_000)

    (backup,) = logging.backups
    assert re.fullmatch(BACKUP, backup.name)
    assert backup.name.endswith(".123456789")
    assert [line[:6] for line in logging.lines(backup)] == ["line 0", "line 1"]
    first, *rest = logging.lines()
    assert first == f'Rotated log, backup saved as "{backup}"'
    assert [line[:6] for line in rest] == ["line 2"]
    logging.log.close()


def test_no_line_is_lost_or_doubled_by_rotation(tmp_path: Path) -> None:
    logging = Logging(tmp_path, size_limit=1_000)

    for number in range(500):
        logging.say(f"line {number}")
    logging.log.close()

    said = [line for path in (*logging.backups, logging.path) for line in logging.lines(path)]
    assert [line for line in said if line.startswith("line")] == [f"line {number}" for number in range(500)]
    assert all(path.stat().st_size <= 1_100 for path in logging.backups)


def test_without_a_limit_a_file_only_grows(tmp_path: Path) -> None:
    logging = Logging(tmp_path)

    for _ in range(100):
        logging.say("x" * 1_000)

    assert logging.backups == []
    logging.log.close()


def test_a_file_that_is_full_at_the_start_is_rotated_at_once(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("x" * 200 + "\n")

    logging = Logging(tmp_path, size_limit=100)

    (backup,) = logging.backups
    assert logging.lines(backup) == ["x" * 200, "Rotating logfile..."]
    assert logging.lines() == [f'Rotated log, backup saved as "{backup}"']
    logging.log.close()


def test_a_file_that_is_not_full_yet_is_appended_to_and_counted(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("x" * 90 + "\n")
    logging = Logging(tmp_path, size_limit=100)

    assert logging.backups == []
    logging.say("more than is left")

    assert len(logging.backups) == 1
    logging.log.close()


def test_backups_that_are_too_many_are_removed_the_oldest_first(tmp_path: Path) -> None:
    others = ["server.log.txt", "server.log.2026.01.02", "other.log.2000.01.01.00.00.00.000000000"]
    for name in others:
        (tmp_path / name).write_text("kept")
    logging = Logging(tmp_path, size_limit=300, files_max=3)

    for number in range(12):
        logging.say(f"{number:02}" + "x" * 300)

    backups = [path for path in logging.backups if re.fullmatch(BACKUP, path.name)]
    assert [logging.lines(path)[-1][:2] for path in backups] == ["10", "11"]
    assert all((tmp_path / name).read_text() == "kept" for name in others)
    rotated, purged = logging.lines()
    assert rotated.startswith("Rotated log")
    assert re.fullmatch(f'Purged log file "{BACKUP}"', purged)
    logging.log.close()


def test_with_one_file_at_most_no_backup_stays(tmp_path: Path) -> None:
    logging = Logging(tmp_path, size_limit=300, files_max=1)

    for _ in range(3):
        logging.say("x" * 300)

    assert logging.backups == []
    logging.log.close()


def test_a_file_that_cannot_be_rotated_goes_on_and_is_tried_again_at_twice_the_size(tmp_path: Path) -> None:
    logging = Logging(tmp_path, size_limit=300)
    logging.path.unlink()  # so that there is nothing to rename

    logging.say("x" * 290)
    logging.path.write_text("")
    logging.say("y" * 300)

    assert logging.backups == [tmp_path / name for name in os.listdir(tmp_path) if name != "server.log"]
    assert len(logging.backups) == 1
    assert logging.lines()[0].startswith("Rotated log")
    logging.log.close()


def test_a_failed_rotation_is_said_in_the_log_itself(tmp_path: Path) -> None:
    logging = Logging(tmp_path, size_limit=1_000)
    elsewhere = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(elsewhere)

    logging.say("x" * 1_000)
    logging.say("and on")
    logging.log.close()

    text = (elsewhere / "server.log").read_text()
    assert (
        f"[ERR] Unable to rotate the log file (rename {logging.path}: no such file or directory),"
        " will attempt next rotation at size 2000\n"
    ) in text
    assert text.endswith("[INF] and on\n")


def test_a_file_that_others_cut_short_is_not_full(tmp_path: Path) -> None:
    logging = Logging(tmp_path, size_limit=300)
    logging.say("x" * 200)
    os.truncate(logging.path, 0)

    logging.say("y" * 200)

    assert logging.backups == []
    logging.log.close()


def test_the_backup_of_a_json_log_is_announced_in_json(tmp_path: Path) -> None:
    logging = Logging(tmp_path, size_limit=100, format="json")

    logging.say("x" * 100)

    assert '"event": "log_rotated"' in logging.path.read_text()
    logging.log.close()


def test_what_is_no_file_is_not_rotated() -> None:
    log = Log(LogSettings(), LogFile("/dev/null", 1, 1))

    log(Note(Level.INFO, "server_ready", {}))
    log.close()

    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_log_that_was_moved_is_reopened_under_its_path(tmp_path: Path) -> None:
    logging = Logging(tmp_path)
    logging.say("before")
    moved = tmp_path / "moved"
    logging.path.rename(moved)
    logging.say("still there")

    assert logging.log.reopen()
    logging.say("after")

    assert logging.lines(moved) == ["before", "still there"]
    assert logging.lines() == ["after"]
    assert stat.S_IMODE(logging.path.stat().st_mode) & ~0o640 == 0
    logging.log.close()


def test_a_log_that_cannot_be_reopened_goes_on_in_the_old_file(tmp_path: Path) -> None:
    logging = Logging(tmp_path)
    moved = tmp_path / "moved"
    logging.path.rename(moved)
    logging.path.mkdir()

    with pytest.raises(IsADirectoryError):
        logging.log.reopen()
    logging.say("after")

    assert logging.lines(moved) == ["after"]
    logging.log.close()


def test_a_log_that_is_no_file_is_not_reopened(tmp_path: Path) -> None:
    from natscore_cli.sink import Sink

    log = Log(LogSettings(), Sink(os.open(os.devnull, os.O_WRONLY), owned=True))

    assert not log.reopen()
    log.close()


def test_lines_that_were_lost_are_told_after_reopening_too() -> None:
    file = LogFile("/dev/full")
    file.write("lost")

    file.reopen()

    assert file.lost == 1
    assert file.take_lost() == (1, "No space left on device")
    file.close()

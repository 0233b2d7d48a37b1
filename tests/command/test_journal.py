"""A journal of a real server: it is closed to others, bounded, and replays."""

from __future__ import annotations

import resource
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.command.process import Process, run
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = ("-c", "import sys; from natscore_cli.tools import main; sys.exit(main())")


def natscore(*words: str) -> tuple[int, str]:
    done = run(*TOOLS, *words, command=(sys.executable,))
    return done.returncode, done.stdout + done.stderr


def publish(server: Process, count: int, size: int) -> None:
    with RawClient("127.0.0.1", server.port) as client:
        client.send(b'CONNECT {"verbose":false,"user":"joe","pass":"s3cret"}\r\nSUB foo 1\r\n')
        client.send((b"PUB foo %d\r\n" % size + b"private"[:1] * size + b"\r\n") * count + b"PING\r\n")
        client.read_until(rb"PONG\r\n")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_journal_is_secret_says_so_and_replays(backend: str, tmp_path: Path) -> None:
    path, copy = tmp_path / "journal", tmp_path / "copy"
    flags = ("--user", "joe", "--pass", "s3cret", "--backend", backend, "--journal", str(path))
    with Process.ready(*flags) as server:
        publish(server, 100, 1000)
        assert server.stop() == 0

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first_line = path.read_bytes().partition(b"\n")[0]
    assert b"credentials" in first_line
    assert b"payloads" in first_line
    code, report = natscore("replay", str(path))
    assert (code, "messages: 100 published (100000 bytes), 100 delivered" in report) == (0, True)
    assert natscore("journal", "export", str(path), "-o", str(copy))[0] == 0
    assert b"s3cret" not in copy.read_bytes()
    assert natscore("replay", str(copy)) == (code, report)


def test_a_tool_whose_reader_leaves_ends_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Process.ready("--journal", str(path)) as server:
        assert server.stop() == 0
    with subprocess.Popen(
        [sys.executable, *TOOLS, "replay", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as tool:
        assert tool.stdout is not None
        assert tool.stderr is not None
        tool.stdout.close()
        errors = tool.stderr.read()

        assert tool.wait(30) == 1
        assert errors == b""


def test_at_its_size_bound_a_journal_stops_once_and_the_server_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Process.ready("--journal", str(path), "--journal_size_max", "20000") as server:
        for _ in range(3):
            publish(server, 100, 1000)
        assert server.stop() == 0

        stopped = [line for line in server.messages if "journal stopped" in line]
        assert stopped == [
            "[WRN] Recording to the journal stopped, the server goes on: the size bound is reached"
        ]
        assert path.stat().st_size <= 20_000


def test_a_full_disk_stops_a_journal_once_and_the_server_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal"

    def allow_20_000_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    with Process.ready("--journal", str(path), before=allow_20_000_bytes) as server:
        for _ in range(3):
            publish(server, 100, 1000)
        assert server.stop() == 0

        stopped = [line for line in server.messages if "journal stopped" in line]
        assert stopped == [
            "[WRN] Recording to the journal stopped, the server goes on: writing failed: File too large"
        ]


def test_a_bound_too_small_for_anything_is_said_at_the_start(tmp_path: Path) -> None:
    with Process.ready("--journal", str(tmp_path / "journal"), "--journal_size_max", "10") as server:
        publish(server, 1, 1)
        assert server.stop() == 0

        assert len([line for line in server.messages if "journal stopped" in line]) == 1

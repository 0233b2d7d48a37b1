"""The `natscore` command: its tools, their output and their exit codes."""

from __future__ import annotations

import errno
import io
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, cast

import pytest

from natscore import Options
from natscore.facts import SubscriptionsChanged
from natscore.journal import read_journal
from natscore.replay import replay
from natscore.server import StateCorruptedError
from natscore.state import State
from natscore.testing import World
from natscore_cli.tools import main
from natscore_cli.tools.export import export
from natscore_tcp.executor import PURE_VARIABLE, choose_executor

if TYPE_CHECKING:
    from pathlib import Path

    from natscore.facts import Fact
    from natscore.testing import SimulatedServer


def conversation() -> SimulatedServer:
    """A server that two clients talked to; one of them has left."""
    server = World(7).server(user="joe", password="s3cret")
    reader = server.connect()
    reader.send(b'CONNECT {"verbose":false,"user":"joe","pass":"s3cret","name":"reader"}\r\n')
    reader.send(b"SUB foo 1\r\nSUB bar 2\r\n")
    writer = server.connect()
    writer.send(b'CONNECT {"verbose":false,"user":"joe","pass":"s3cret"}\r\n')
    writer.send(b"PUB foo 7\r\nprivate\r\nPUB baz 2\r\nno\r\n")
    writer.close()
    return server


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal"
    path.write_bytes(conversation().journal.getvalue())
    return path


def test_replay_reports_the_final_state(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(journal)]) == 0

    head, *rest = capsys.readouterr().out.splitlines()
    assert head.endswith(" events replayed without a difference")
    assert rest == [
        f"data plane: {'compiled' if choose_executor().compiled else 'pure Python'}",
        "connections: 1 open of 2",
        "subscriptions: 2",
        "messages: 2 published (9 bytes), 1 delivered (7 bytes)",
        "slow consumers: 0",
        "authentication failures: 0",
        '  127.0.0.1:40005 - cid:5 "reader": 2 subscriptions, 0 published, 1 delivered',
    ]


def test_replay_runs_in_pure_python_where_that_is_asked_for(
    journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["replay", str(journal)]) == 0
    by_default = capsys.readouterr().out.splitlines()

    assert main(["replay", "--pure", str(journal)]) == 0
    by_flag = capsys.readouterr().out.splitlines()
    monkeypatch.setenv(PURE_VARIABLE, "1")
    assert main(["replay", str(journal)]) == 0
    by_variable = capsys.readouterr().out.splitlines()

    assert by_flag[1] == "data plane: pure Python"
    assert by_variable == by_flag
    assert by_default[2:] == by_flag[2:]


def test_replay_reports_the_first_event_that_differs(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = journal.read_bytes()
    journal.write_bytes(recorded.replace(b"PUB foo 7", b"PUB fox 7"))

    assert main(["replay", str(journal)]) == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"natscore: {journal}: the replay differs at event " in printed.err
    assert "s3cret" not in printed.err


def test_replay_of_a_journal_that_ends_early_reports_what_there_is(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.write_bytes(journal.read_bytes()[:-3])

    assert main(["replay", str(journal)]) == 0

    assert "events replayed without a difference" in capsys.readouterr().out


@pytest.mark.parametrize("tool", [["replay"], ["journal", "export", "-o", "output"]])
def test_a_file_that_is_no_journal_is_refused(
    tool: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file\x1b[2J"
    path.write_text("nothing of the kind")

    assert main([*tool, str(path)]) == 1

    err = capsys.readouterr().err
    assert "this is not a natscore journal" in err
    assert "\x1b" not in err
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("tool", [["replay"], ["journal", "export", "-o", "output"]])
def test_a_file_that_does_not_exist_is_said_so(
    tool: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "absent"

    assert main([*tool, str(path)]) == 1

    assert capsys.readouterr().err == f"natscore: open {path}: no such file or directory\n"


def test_an_exported_journal_holds_no_secret_and_replays_to_the_same_state(
    journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "exported"

    assert main(["journal", "export", str(journal), "-o", str(output)]) == 0
    assert "events exported without payloads and credentials" in capsys.readouterr().out

    exported = output.read_bytes()
    assert all(secret in journal.read_bytes() for secret in (b"s3cret", b"joe", b"private"))
    assert not any(secret in exported for secret in (b"s3cret", b"joe", b"private"))
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    main(["replay", str(journal)])
    before = capsys.readouterr()
    assert main(["replay", str(output)]) == 0
    assert capsys.readouterr() == before


def test_an_export_does_not_overwrite(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", "export", str(journal), "-o", str(journal)]) == 1

    assert capsys.readouterr().err == f"natscore: open {journal}: file exists\n"
    assert b"s3cret" in journal.read_bytes()


def test_an_exported_journal_keeps_a_wrong_password_wrong(tmp_path: Path) -> None:
    server = World(3).server(user="joe", password="s3cret")
    wrong = server.connect()
    wrong.send(b'CONNECT {"user":"joe","pass":"s3creT"}\r\n')
    right = server.connect()
    right.send(b'CONNECT {"user":"joe","pass":"s3cret"}\r\n')
    copy = io.BytesIO()

    export(io.BytesIO(server.journal.getvalue()).read, copy.write)

    state = replay(io.BytesIO(copy.getvalue()).read).server.state
    assert state.authentication_failures == 1
    assert state.open_connections == 1
    options, _ = read_journal(io.BytesIO(copy.getvalue()).read)
    assert options == Options(user="aaa", password="aaaaaa")


@pytest.mark.parametrize("seed", range(5))
def test_an_exported_journal_goes_the_same_way_wherever_the_bytes_were_cut(seed: int) -> None:
    world = World(seed, cuts=True)
    server = world.server(user="joe", password="s3cret", max_payload=1000, max_pending=2000)
    slow = server.connect(window=3000)
    slow.send(b'CONNECT {"verbose":true,"pass":"s3cret","user":"joe"}\r\nSUB > 1\r\nPING\r\n')
    for number in range(20):
        client = server.connect()
        client.send(b'CONNECT {"verbose":false,"user":"joe", "pass" :\t"s3cret","headers":true}\r\n')
        client.send(b"SUB s.* %d\r\n" % number)
        client.send(b"PUB s.%d 300\r\n" % number + b"private" * 42 + b"privat\r\n")
        client.send(b"HPUB s.1 reply 12 19\r\nNATS/1.0\r\n\r\nprivate\r\nPING private\r\n")
        if number % 3 == 0:
            client.send(b"PUB s.1 3\r\nprivate\r\n")
        if number % 3 == 1:
            client.send(b"PUB s.1 2000\r\nprivate")
            client.close()
    slow.read(500)
    dangling = server.connect()
    dangling.send(b'CONNECT {"user":"joe","pass":"s3cret')
    copy = io.BytesIO()

    export(io.BytesIO(server.journal.getvalue()).read, copy.write)

    exported = copy.getvalue()
    assert not any(secret in exported for secret in (b"s3cret", b"joe", b"priva"))
    assert len(exported) == len(server.journal.getvalue())
    assert outline(replay(io.BytesIO(exported).read).server.state) == outline(server.state)


def test_an_exported_journal_knows_what_the_kernel_refused_and_took() -> None:
    server = World(1).server()
    slow = server.connect(window=1000)
    slow.send(b'CONNECT {"verbose":false}\r\nSUB foo 1\r\n')
    writer = server.connect()
    writer.send(b'CONNECT {"verbose":false}\r\nPUB foo 2000\r\n' + b"p" * 2000 + b"\r\n")
    slow.read(500)
    slow.read(5000)
    writer.send(b"PUB foo 2\r\nhi\r\n")
    copy = io.BytesIO()

    export(io.BytesIO(server.journal.getvalue()).read, copy.write)

    state = replay(io.BytesIO(copy.getvalue()).read).server.state
    assert outline(state) == outline(server.state)
    assert [c.outbox.appended for c in state.connections.values()] == [
        c.outbox.appended for c in server.state.connections.values()
    ]


def test_an_export_that_cannot_be_written_fails(journal: Path) -> None:
    def full(data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with journal.open("rb") as file, pytest.raises(OSError, match="No space left"):
        export(file.read, full)


def test_an_export_does_not_wait_for_the_end_of_a_line_for_ever(
    monkeypatch: pytest.MonkeyPatch, journal: Path
) -> None:
    monkeypatch.setattr("natscore_cli.tools.export.HELD_EVENTS_MAX", 10)
    server = World(2).server()
    dangling = server.connect()
    dangling.send(b'CONNECT {"pass":"s3cret')
    for _ in range(20):
        server.connect().send(b"PING\r\n")
    copy = io.BytesIO()

    export(io.BytesIO(server.journal.getvalue()).read, copy.write)

    assert b"s3cret" not in copy.getvalue()
    assert outline(replay(io.BytesIO(copy.getvalue()).read).server.state) == outline(server.state)


def test_the_journal_of_a_server_that_failed_shows_the_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = World(4).server()
    client = server.connect()
    fold = State.fold

    def broken(state: State, fact: Fact) -> None:
        if isinstance(fact, SubscriptionsChanged):
            raise KeyError("deliberate")
        fold(state, fact)

    monkeypatch.setattr(State, "fold", broken)
    with pytest.raises(StateCorruptedError):
        client.send(b"SUB foo 1\r\n")
    path, output = tmp_path / "journal", tmp_path / "output"
    path.write_bytes(server.journal.getvalue())

    assert main(["journal", "export", str(path), "-o", str(output)]) == 0
    assert main(["replay", str(output)]) == 1
    assert "the replay ended in StateCorruptedError: event 4" in capsys.readouterr().err


def outline(state: State) -> object:
    """Everything about a state but what clients said in CONNECT."""
    summary = state.summary()
    for connection in cast("dict[int, dict[str, object]]", summary["connections"]).values():
        del connection["options"]
    return summary


def test_a_wrong_command_line_gives_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["journal"], ["replay"], ["nonsense"], ["journal", "export", "x"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2
    capsys.readouterr()


def test_the_version_is_printed_without_importing_the_server() -> None:
    program = (
        "import sys; from natscore_cli.tools import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: print(sorted({'natscore', 'anyio', 'structlog', 'asyncio'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)

    assert done.stdout.splitlines() == ["natscore: v0.1.0", "[]"]


def test_the_reference_of_the_configuration_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "reference"]) == 0

    printed = capsys.readouterr().out
    assert printed.startswith("# Configuration file\n")
    assert "| `max_connections`, `max_conn` | integer | 65536 | yes | obeyed |" in printed

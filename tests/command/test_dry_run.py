"""`--reload-dry-run` says what a reload would do, and does nothing."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.command.process import Process, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks servers through /proc")

USERS = "authorization { users: [ {user: a, password: planted1}, {user: b, password: planted2} ] }\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "server.conf"


def test_what_would_change_and_be_closed_is_printed_and_nothing_happens(file: Path) -> None:
    file.write_text(USERS)
    with Process.ready("-c", str(file), "--ping_max", "7") as server:
        file.write_text(
            "authorization { users: [ {user: a, password: planted3} ] }\nmax_connections: 10\nping_max: 4\n"
        )

        found = run("-c", str(file), "--reload-dry-run")

        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.splitlines() == [
            f"server {server.pid}, port {server.port}:",
            "  would change:",
            "    authorization users",
            "    max_connections = 10",
            "  would close:",
            '    connections of user "a" that do not know its new password',
            '    connections of user "b": it is gone',
            "    the newest connections above 10, if there are more",
        ]
        assert "Reloaded" not in server.text


def test_what_needs_a_restart_is_named_and_the_exit_code_is_1(file: Path) -> None:
    file.write_text("max_payload: 1000")
    with Process.ready("-c", str(file)) as server:
        file.write_text("max_payload: 2000, server_name: other, max_pending: 5mb")

        found = run("-c", str(file), "--reload-dry-run")

        assert found.returncode == 1
        assert found.stdout.splitlines() == [
            f"server {server.pid}, port {server.port}:",
            "  needs a restart; a reload would be refused, and nothing would change:",
            "    config reload not supported for ServerName: old=, new=other",
            "    config reload not supported for MaxPending: old=67108864, new=5242880",
            "  a restart would change, beside that:",
            "    max_payload = 2000",
        ]


def test_after_a_reload_the_server_is_compared_by_what_it_runs_now(file: Path) -> None:
    file.write_text("max_payload: 1000")
    with Process.ready("-c", str(file)) as server:
        file.write_text("max_payload: 2000")
        server.send(signal.SIGHUP)
        server.wait_for("Reloaded server configuration")

        found = run("-c", str(file), "--reload-dry-run")

        assert found.returncode == 0
        assert found.stdout.splitlines()[1:] == ["  nothing would change"]


def test_a_file_that_cannot_be_used_would_be_refused(file: Path) -> None:
    file.write_text("max_payload: 1000")
    with Process.ready("-c", str(file)):
        file.write_text("max_payloda: 1000")

        found = run("-c", str(file), "--reload-dry-run")

        assert found.returncode == 1
        assert "  would be refused, and nothing would change: " in found.stdout
        assert 'did you mean "max_payload"' in found.stdout


def test_without_a_server_or_a_file_that_is_said(file: Path) -> None:
    file.write_text("max_payload: 1000")

    nobody, nothing = run("-c", str(file), "--reload-dry-run"), run("--reload-dry-run")

    assert (nobody.returncode, nothing.returncode) == (1, 1)
    assert nobody.stderr.startswith(f"nats-server-py: no running server was started with {file}")
    assert nothing.stderr == (
        "nats-server-py: must specify [-c, --config] option to see what a reload would do\n"
    )


def test_nobody_else_can_read_what_a_server_runs_by(file: Path) -> None:
    """The file has no name, and is reached only as the memory of the process is."""
    file.write_text(USERS)
    with Process.ready("-c", str(file)):
        found = run("-c", str(file), "--reload-dry-run")

        assert "planted" not in found.stdout + found.stderr
        assert [path.name for path in file.parent.iterdir()] == ["server.conf"]

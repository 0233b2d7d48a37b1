"""Real processes: they start on a port of their own, and nothing of them stays behind."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest

from tests.support.servers import ServerFailure, ServerProgram, missing_programs, programs, start
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.interop

on_every_program = pytest.mark.parametrize("program", [pytest.param(p, id=p.name) for p in programs()])


def answers(host: str, port: int) -> bool:
    """Whether a server there answers a PING."""
    client, _ = RawClient.connect(host, port)
    with client:
        client.send(b"PING\r\n")
        return client.read_until(rb"\n") == b"PONG\r\n"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@on_every_program
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_server_answers_from_its_start_to_its_stop(program: ServerProgram, host: str) -> None:
    with start(program, host=host) as server:
        assert answers(host, server.port)
        pid = server.pid

    assert not is_alive(pid)
    assert server.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        RawClient(host, server.port)


@on_every_program
def test_restarted_server_is_another_process_on_the_same_port(program: ServerProgram) -> None:
    with start(program) as server:
        before = (server.pid, server.port)

        server.restart()

        assert server.port == before[1]
        assert server.pid != before[0]
        assert answers(server.host, server.port)


@on_every_program
def test_killed_server_can_be_restarted_on_its_port(program: ServerProgram) -> None:
    with start(program) as server:
        port = server.port
        server.kill()
        assert not is_alive(server.pid)

        server.restart()

        assert server.port == port
        assert answers(server.host, port)


@on_every_program
def test_log_holds_what_the_server_said(program: ServerProgram) -> None:
    with start(program, "-DV") as server:
        assert answers(server.host, server.port)

    assert "<<- [PING]" in server.log_text()


@on_every_program
def test_server_that_does_not_start_shows_its_log(program: ServerProgram, tmp_path: Path) -> None:
    with pytest.raises(ServerFailure, match="no-such-flag"):
        start(program, "--no-such-flag", directory=tmp_path)

    assert "no-such-flag" in (tmp_path / "server.log").read_text()


@on_every_program
def test_forgotten_server_is_killed_and_leaves_no_directory(program: ServerProgram) -> None:
    server = start(program)
    pid, directory = server.pid, server.directory
    assert directory.exists()

    del server
    gc.collect()

    assert not is_alive(pid)
    assert not directory.exists()


@pytest.mark.parametrize("program", [pytest.param(p, id=p.name) for p in programs() if p.kind == "go"])
def test_go_server_reads_its_configuration(program: ServerProgram) -> None:
    with start(program, config="max_payload: 77\n") as server:
        client, info = RawClient.connect(server.host, server.port)
        client.close()

    assert info["max_payload"] == 77
    assert info["version"] == program.version


def test_missing_server_is_an_error_where_nothing_may_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    missing = missing_programs()

    if missing:
        with pytest.raises(ServerFailure, match=missing[0]):
            programs()
    else:
        assert [program.kind for program in programs()] == ["ours", "ours", "go", "go"]

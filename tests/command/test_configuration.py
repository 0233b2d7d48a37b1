"""A server that is started from a file, and the check of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.command.process import Process, run
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS_MAX = 0.400
CHECK_SECONDS_MAX = 0.300
DIGEST_OF_PORT_4222 = "sha256:797533ebd0dfba7d34a0f9337ecf147e442871f48ddfd07ed751575a5737267e"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.spec("operations 5.1", "operations 1.3", "configuration 2.12", "configuration 1")
def test_a_server_obeys_its_file_and_names_it_in_the_log(folder: Path) -> None:
    (folder / "c.conf").write_text(
        "listen: 127.0.0.1:-1\nserver_name: east\nmax_payload: 1kb\nPASSWORD: s3cret\n"
        "authorization { user: ann, password: $PASSWORD, timeout: 5 }\nserver_tags: [a]\n"
        'log_format: text\nports_file_dir: "."\npid_file: "pid"\n'
    )

    with Process("-c", "c.conf", "-n", "west") as server:
        server.wait_for("Server is ready")
        client = RawClient("127.0.0.1", server.port)
        info = json.loads(client.read_info().removeprefix(b"INFO "))
        assert (info["server_name"], info["max_payload"], info["auth_required"]) == ("west", 1024, True)
        client.close()
        digest = next(line for line in server.messages if "Using configuration file" in line)
        assert digest.startswith("[INF] Using configuration file: c.conf (sha256:")
        assert "[WRN] server_tags has no effect: monitoring is not built yet" in server.messages
        assert (folder / "pid").read_text() == str(server.pid)
        assert (folder / f"nats-server_{server.pid}.ports").exists()
        assert "s3cret" not in server.text
        assert server.stop() == 0


@pytest.mark.spec("configuration 2.11")
def test_warnings_of_a_file_are_printed_and_the_server_starts(folder: Path) -> None:
    (folder / "c.conf").write_text("ping_interval: 10")

    with Process.ready("-c", "c.conf") as server:
        assert server.text.splitlines()[0] == (
            'c.conf:1:0: invalid use of field "ping_interval": '
            "ping_interval should be converted to a duration"
        )


@pytest.mark.spec("operations 2", "operations 1.5", "configuration 2.12")
def test_a_valid_file_gives_its_digest_and_0(folder: Path) -> None:
    (folder / "c.conf").write_text("port: 4222\n")

    done = run("-t", "-c", "c.conf")

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"nats-server-py: configuration file c.conf is valid ({DIGEST_OF_PORT_4222})\n"


@pytest.mark.spec("operations 2", "operations 1.5", "configuration 2.11", "configuration 2.10")
@pytest.mark.parametrize("check", [["-t"], []], ids=["-t", "start"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a 1 b", "Parse error on line 1: 'Expected a top-level value to end with a new line, "
                  "comment or EOF, but got 'b' instead.'\n"),
        ("foo: 1\nprot: 1", 'c.conf:1:0: unknown field "foo"\n'
                            'c.conf:2:1: unknown field "prot"; did you mean "port"?\n\n'),
        ("max_payload: 100MB", "max_payload (104857600) cannot be higher than max_pending (67108864)\n"),
        ("gateway { name: a }", 'gateway "a" has no port specified (select -1 for random port)\n'),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_and_nothing_starts(
    text: str, said: str, check: list[str], folder: Path
) -> None:
    (folder / "c.conf").write_text(text)

    done = run(*check, "-c", "c.conf", "-P", "pid", "-l", "log")

    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"nats-server-py: {said}")
    assert [path.name for path in folder.iterdir()] == ["c.conf"]


@pytest.mark.spec("operations 2")
def test_the_check_of_a_file_with_warnings_gives_1(folder: Path) -> None:
    (folder / "c.conf").write_text("")

    done = run("-t", "-c", "c.conf")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "nats-server-py: c.conf: config has no values or is empty\n\n"


def test_what_is_not_built_is_named_by_the_check_and_refuses_the_start(folder: Path) -> None:
    (folder / "c.conf").write_text("cluster { port: 6222 }")
    said = "nats-server-py: c.conf:1:0: cluster is not built yet, and the server would not obey it\n"

    checked, started = run("-t", "-c", "c.conf"), run("-c", "c.conf")

    assert (checked.returncode, checked.stderr.startswith(said)) == (0, True)
    assert (started.returncode, started.stderr) == (1, said)


@pytest.mark.spec("configuration 2.7")
def test_variables_come_from_the_environment_of_the_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME_OF_THE_TEST", "east")
    (folder / "c.conf").write_text("listen: 127.0.0.1:-1\nserver_name: $NAME_OF_THE_TEST")

    with Process.ready("-c", "c.conf") as server:
        assert "[INF]   Name:     east" in server.messages


@pytest.mark.spec("configuration 7.3")
def test_a_busy_port_of_the_file_gives_one_fatal_line(folder: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (folder / "c.conf").write_text(f"listen: 127.0.0.1:{port}")

        done = run("-c", "c.conf")

    assert done.returncode == 1
    assert f"[FTL] Error listening on port: 127.0.0.1:{port}, " in done.stderr.splitlines()[-1]


def test_nothing_of_the_configuration_is_imported_without_a_file() -> None:
    program = (
        "import sys\n"
        "from natscore_cli.arguments import parse\n"
        "from natscore_cli.main import main\n"
        "from natscore_cli.serve import serve\n"
        "from natscore_cli.settings import resolve\n"
        "resolve(parse([]), memory_bytes=1)\n"
        "main(['-v'])\n"
        "print([name for name in sys.modules if name == 'lark' or name.startswith('natscore_cli.conf')])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.spec("operations 14")
def test_a_server_with_a_file_is_ready_within_400_ms(folder: Path) -> None:
    (folder / "c.conf").write_text(
        "listen: 127.0.0.1:-1\nauthorization { user: a, password: b }\nmax_payload: 1mb\n"
    )

    seconds = []
    for _ in range(5):
        with Process("-c", "c.conf") as server:
            server.wait_for("Server is ready")
            elapsed = time.perf_counter() - server.started_at
            seconds.append(elapsed - server.seconds_kept_waiting())

    assert min(seconds) < START_SECONDS_MAX


@pytest.mark.slow
@pytest.mark.spec("operations 14")
def test_a_file_is_checked_within_300_ms(folder: Path) -> None:
    (folder / "c.conf").write_text("port: 4222")

    seconds = []
    for _ in range(5):
        began, before = time.perf_counter(), os.times()
        assert run("-t", "-c", "c.conf").returncode == 0
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        seconds.append(min(time.perf_counter() - began, used))

    assert min(seconds) < CHECK_SECONDS_MAX

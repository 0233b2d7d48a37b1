"""Whom `--signal` means, and what it says when it means nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from natscore_cli.arguments import StartRefused
from natscore_cli.sender import is_server, meant, send, server_processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.spec("operations 3")


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits to be ended by a signal."""
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield process
    process.kill()
    process.wait(10)


def refusal(text: str) -> str:
    with pytest.raises(StartRefused) as caught:
        send(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("target", "running", "expected"),
    [
        ("", [12], [12]),
        ("12", [], [12]),
        ("012", [], [12]),
        ("12*", [12, 34, 123], [12, 123]),
        ("*", [12, 34], [12, 34]),
    ],
)
def test_a_target_means_processes(target: str, running: list[int], expected: list[int]) -> None:
    assert meant(target, lambda: running) == expected


@pytest.mark.parametrize(
    ("target", "running", "said"),
    [
        ("", [], "no nats-server-py processes running"),
        ("*", [], "no nats-server-py processes running"),
        ("9*", [12], "no nats-server-py processes running"),
        ("", [12, 34], "multiple nats-server-py processes running:\n12\n34"),
        ("x", [12], "invalid pid: x"),
        ("x*", [12], "invalid pid: x"),
        ("-1", [12], "invalid pid: -1"),
        ("0", [12], "invalid pid: 0"),
        ("1 2", [12], "invalid pid: 1 2"),
        ("\x1b[2J", [12], r"invalid pid: \x1b[2J"),
    ],
)
def test_a_target_that_means_nobody_is_refused(target: str, running: list[int], said: str) -> None:
    with pytest.raises(StartRefused) as caught:
        meant(target, lambda: running)

    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dance=1", 'unknown signal "dance"'),
        ("dance=x", "invalid pid: x"),  # the target is looked at first
        ("=1", 'unknown signal ""'),
        ("stop=1=2", "invalid signal parameters: [2]"),
        ("stop=1=2=3", "invalid signal parameters: [2 3]"),
        ("stop=9999999999", '\nsignal "stop" 9999999999: no such process'),
    ],
)
def test_what_cannot_be_sent_is_said(text: str, said: str) -> None:
    assert refusal(text) == said


def test_a_process_that_is_gone_is_said_with_its_id(bystander: subprocess.Popen[bytes]) -> None:
    bystander.kill()
    bystander.wait(10)

    assert refusal(f"quit={bystander.pid}") == f'\nsignal "quit" {bystander.pid}: no such process'


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("stop", signal.SIGKILL),
        ("quit", signal.SIGINT),
        ("term", signal.SIGTERM),
        ("reopen", signal.SIGUSR1),
        ("reload", signal.SIGHUP),
        ("ldm", signal.SIGUSR2),
    ],
)
def test_each_command_sends_its_signal(
    command: str, number: signal.Signals, bystander: subprocess.Popen[bytes]
) -> None:
    send(f"{command}={bystander.pid}")

    # Python ends by KeyboardInterrupt on SIGINT, with the signal's status.
    assert bystander.wait(10) == -number


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_may_hold_the_process_id_with_or_without_a_line_end(
    end: str, tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "server.pid"
    path.write_text(f"{bystander.pid}{end}", newline="")

    send(f"term={path}")

    assert bystander.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize(("content", "said"), [("", "invalid pid: "), ("abc\n", "invalid pid: abc")])
def test_a_file_that_holds_no_process_id_is_refused(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "server.pid"
    path.write_text(content)

    assert refusal(f"quit={path}") == said


def test_a_target_that_is_a_pipe_or_folder_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert refusal(f"quit={tmp_path / 'pipe'}") == f"invalid pid: {tmp_path / 'pipe'}"
    assert refusal(f"quit={tmp_path}") == f"invalid pid: {tmp_path}"


@pytest.mark.parametrize(
    "line",
    [
        "nats-server-py",
        "/usr/bin/nats-server-py -c x.conf",
        "/usr/bin/python3 /usr/bin/nats-server-py -p 4222",
        "python3.13t -X dev -P -W error /usr/bin/nats-server-py",
        "pypy3 -m natscore_cli -p -1",
        "python -u -m natscore_cli",
    ],
)
def test_a_server_is_known_by_its_command_line(line: str) -> None:
    assert is_server(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nats-server -c x.conf",
        "vim nats-server-py",
        "python3 other.py nats-server-py",
        "python3 -m other nats-server-py",
        "python3 -m",
        "python3 -c import\tnatscore_cli nats-server-py",
        "bash /usr/bin/nats-server-py",
        "nats-server-py --signal quit",
        "python3 /usr/bin/nats-server-py -sl=quit=1",
    ],
)
def test_what_is_not_a_server_is_not_taken_for_one(line: str) -> None:
    assert not is_server(line.split(" "))


def test_this_process_is_never_among_the_servers() -> None:
    assert os.getpid() not in server_processes()

"""What a running server does when it is told something, and how it is told."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import orjson
import pytest

from natscore_cli.sender import server_processes
from tests.command.process import Process, run
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from pathlib import Path

BACKENDS = ["asyncio", "trio"]
ASKS = b'CONNECT {"verbose":false,"protocol":1}\r\nPING\r\n'
LAME_DUCK = 'lame_duck_grace_period: "500ms"\nlame_duck_duration: "30s"\n'


@pytest.fixture
def short(tmp_path: Path) -> tuple[str, str]:
    """Flags of a server with a short grace period."""
    path = tmp_path / "short.conf"
    path.write_text(LAME_DUCK)
    return "-c", str(path)


def client_of(server: Process) -> RawClient:
    client = RawClient("127.0.0.1", server.port)
    client.read_info()
    client.send(ASKS)
    client.read_until(rb"PONG\r\nINFO .*\r\n")
    return client


# -- lame duck mode --------------------------------------------------------------------------------


@pytest.mark.spec("operations 4", "operations 10", "operations 1.5", "operations 15b")
@pytest.mark.parametrize("backend", BACKENDS)
def test_sigusr2_parts_from_the_clients_and_ends_with_0(backend: str, short: tuple[str, str]) -> None:
    with Process.ready("--backend", backend, *short) as server:
        client = client_of(server)
        started = len(server.messages)
        before = time.perf_counter()

        server.send(signal.SIGUSR2)

        told = client.read_until(rb"INFO .*\r\n")
        assert orjson.loads(told[5:])["ldm"] is True
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), 10)
        client.send(b"PING\r\n")
        assert client.read_until(rb"PONG\r\n") == b"PONG\r\n"
        assert client.read_all_until_closed() == b""
        assert time.perf_counter() - before >= 0.5
        assert server.wait() == 0
        assert server.messages[started:] == [
            '[INF] Trapped "user defined signal 2" signal',
            "[INF] Entering lame duck mode, stop accepting new clients",
            "[INF] Closing existing clients",
            "[INF] Initiating Shutdown...",
            "[INF] Server Exiting..",
        ]
        client.close()


@pytest.mark.spec("operations 10")
@pytest.mark.parametrize("backend", BACKENDS)
def test_without_clients_lame_duck_mode_ends_the_server_at_once(backend: str) -> None:
    with Process.ready("--backend", backend) as server:  # a grace period of 10 s
        server.send(signal.SIGUSR2)

        assert server.wait() == 0
        assert server.messages[-3:] == [
            "[INF] Entering lame duck mode, stop accepting new clients",
            "[INF] Initiating Shutdown...",
            "[INF] Server Exiting..",
        ]


@pytest.mark.spec("operations 4", "operations 10")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGUSR2, "user defined signal 2"), (signal.SIGTERM, "terminated")],
    ids=str,
)
def test_lame_duck_mode_is_not_disturbed_by_another_sigusr2_or_a_sigterm(
    backend: str, number: signal.Signals, name: str, short: tuple[str, str]
) -> None:
    with Process.ready("--backend", backend, *short) as server:
        client = client_of(server)
        server.send(signal.SIGUSR2)
        client.read_until(rb"INFO .*\r\n")

        server.send(number)
        server.wait_for(f'Entering lame duck mode(.|\n)*Trapped "{name}" signal')
        client.send(b"PING\r\n")

        assert client.read_until(rb"PONG\r\n") == b"PONG\r\n"
        assert client.read_all_until_closed() == b""
        assert server.wait() == 0
        assert server.messages[-3:] == [
            "[INF] Closing existing clients",
            "[INF] Initiating Shutdown...",
            "[INF] Server Exiting..",
        ]
        assert sum("Entering lame duck mode" in line for line in server.messages) == 1
        client.close()


@pytest.mark.spec("operations 10")
@pytest.mark.parametrize("backend", BACKENDS)
def test_sigint_in_lame_duck_mode_ends_the_server_at_once(backend: str) -> None:
    with Process.ready("--backend", backend) as server:
        client = client_of(server)
        server.send(signal.SIGUSR2)
        client.read_until(rb"INFO .*\r\n")

        server.send(signal.SIGINT)

        assert client.read_all_until_closed() == b""
        assert server.wait() == 0
        assert "[INF] Closing existing clients" not in server.messages
        assert server.messages[-2:] == ["[INF] Initiating Shutdown...", "[INF] Server Exiting.."]
        client.close()


@pytest.mark.spec("operations 7", "operations 10")
def test_the_ports_file_goes_at_the_end_of_lame_duck_mode_and_the_pid_file_stays(tmp_path: Path) -> None:
    ports, pid = tmp_path / "ports", tmp_path / "pid"
    ports.mkdir()
    with Process.ready("--ports_file_dir", str(ports), "-P", str(pid)) as server:
        server.send(signal.SIGUSR2)

        assert server.wait() == 0
        assert list(ports.iterdir()) == []
        assert pid.read_text() == str(server.pid)


# -- the log file ----------------------------------------------------------------------------------


def wait_for_text(path: Path, text: str) -> str:
    """What a log holds once it holds `text`; nothing else tells when a server has written it."""
    deadline = time.monotonic() + 20
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, path.read_text() if path.exists() else "no log"
        time.sleep(0.005)
    return path.read_text()


@pytest.mark.spec("operations 4", "operations 6.5")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_log_that_was_moved_away_is_begun_anew_on_sigusr1(backend: str, tmp_path: Path) -> None:
    path, moved = tmp_path / "server.log", tmp_path / "moved"
    flags = ("-a", "127.0.0.1", "-p", "-1", "-l", str(path), "--backend", backend)
    with Process(*flags) as server:
        wait_for_text(path, "Server is ready")
        path.rename(moved)

        server.send(signal.SIGUSR1)

        text = wait_for_text(path, "re-opened")
        assert text.endswith("[INF] File log re-opened\n")
        assert text.count("\n") == 1
        assert moved.read_text().endswith('[INF] Trapped "user defined signal 1" signal\n')
        assert server.stop() == 0
        assert path.read_text().endswith("[INF] Server Exiting..\n")


@pytest.mark.spec("operations 6.5")
def test_a_log_that_cannot_be_reopened_goes_on_and_says_so(tmp_path: Path) -> None:
    path, moved = tmp_path / "server.log", tmp_path / "moved"
    with Process("-a", "127.0.0.1", "-p", "-1", "-l", str(path)) as server:
        wait_for_text(path, "Server is ready")
        path.rename(moved)
        path.mkdir()

        server.send(signal.SIGUSR1)

        wait_for_text(
            moved, f"[ERR] File log re-open failed, the old file goes on: open {path}: is a directory\n"
        )
        assert server.stop() == 0
        assert moved.read_text().endswith("[INF] Server Exiting..\n")


@pytest.mark.spec("operations 6.5", "operations 1.2")
def test_a_server_begins_another_log_file_above_the_limit(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "server.log"
    (tmp_path / "c.conf").write_text("logfile_max_num: 2")
    flags = ("-l", str(path), "-V", "--log_size_limit", "2000", "-c", str(tmp_path / "c.conf"))
    with Process("-a", "127.0.0.1", "-p", "-1", *flags) as server:
        text = wait_for_text(path, "Server is ready")
        port = int(text.split("client connections on 127.0.0.1:")[1].split()[0])
        with RawClient("127.0.0.1", port) as client:
            client.read_info()
            for _ in range(50):  # what is answered has been logged
                client.send(b"PING\r\n")
                client.read_until(rb"PONG\r\n")
        assert server.stop() == 0

    current, backup = sorted(folder.iterdir())
    assert current == path
    assert path.read_text().count("\n") < 30
    assert f'[INF] Rotated log, backup saved as "{backup}"' in path.read_text()
    assert 2000 < backup.stat().st_size < 2200


@pytest.mark.spec("operations 6.4")
def test_a_server_logs_to_another_machine() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(20)
        url = f"udp://127.0.0.1:{udp.getsockname()[1]}"
        with Process("-a", "127.0.0.1", "-p", "-1", "-s", "-r", url) as server:
            lines = [udp.recv(1000)]
            while b"Server is ready" not in lines[-1]:
                lines.append(udp.recv(1000))

            assert server.stop() == 0
            assert server.text == ""

    assert lines[0].startswith(b"<5>")
    assert lines[0].endswith(f" nats-server-py[{server.pid}]: Starting nats-server-py\n".encode())


@pytest.mark.spec("operations 6.4")
def test_a_log_file_goes_before_a_syslog(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    flags = ("-l", str(path), "-s", "-r", "tcp://127.0.0.1:1")  # where nobody listens
    with Process("-a", "127.0.0.1", "-p", "-1", *flags) as server:
        wait_for_text(path, "Server is ready")

        assert server.stop() == 0


@pytest.mark.spec("operations 5.2")
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("foo://h:1", 'error invalid network type: "foo"'),
        (
            "unix:///absent",
            'error connecting to syslog: "dial unix /absent: connect: no such file or directory"',
        ),
    ],
)
def test_a_syslog_that_cannot_be_opened_gives_a_line_without_prefix_and_1(url: str, said: str) -> None:
    done = run("-a", "127.0.0.1", "-p", "-1", "-r", url)

    assert done.returncode == 1
    date, clock, text = done.stderr.split(" ", 2)
    time.strptime(f"{date} {clock}", "%Y/%m/%d %H:%M:%S")
    assert text == f"{said}\n"


# -- telling it ------------------------------------------------------------------------------------


@pytest.mark.spec("operations 3", "operations 1.5")
@pytest.mark.parametrize("flag", ["--signal", "-sl"])
def test_a_delivered_signal_says_nothing_and_gives_0(flag: str, tmp_path: Path) -> None:
    pid = tmp_path / "server.pid"
    with Process.ready("-P", str(pid)) as server:
        told = run(flag, f"reopen={pid}")
        server.wait_for("re-open ignored")

        done = run(flag, f"quit={server.pid}")

        assert [(found.returncode, found.stdout, found.stderr) for found in (told, done)] == [(0, "", "")] * 2
        assert server.wait() == 0


@pytest.mark.spec("operations 3", "operations 1.1")
def test_a_signal_is_sent_before_the_file_is_read_and_after_the_version_is_printed() -> None:
    with Process.ready() as server:
        assert run("--signal", f"stop={server.pid}", "-v").stdout.startswith("nats-server-py: v")
        server.send(signal.SIGUSR1)
        server.wait_for("re-open ignored")

        assert run("-c", "absent.conf", "--signal", f"stop={server.pid}").returncode == 0
        assert server.wait() == -signal.SIGKILL


@pytest.mark.spec("operations 3", "operations 1.5")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stop=x", "invalid pid: x"),
        ("dance=1", 'unknown signal "dance"'),
        ("quit=9999999999", '\nsignal "quit" 9999999999: no such process'),
        ("quit=1=2", "invalid signal parameters: [2]"),
    ],
)
def test_a_signal_that_is_not_delivered_gives_a_line_and_1(text: str, said: str) -> None:
    done = run("--signal", text)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"nats-server-py: {said}\n")


@pytest.mark.spec("operations 3")
def test_a_running_server_is_found_by_its_command_line() -> None:
    with Process.ready() as server:
        found = server_processes()

        assert server.pid in found
        assert os.getpid() not in found


@pytest.mark.spec("operations 4", "operations 1.5")
@pytest.mark.parametrize(
    "backend", [("asyncio", "--uvloop=false"), ("asyncio", "--uvloop"), ("trio",)], ids=str
)
def test_sigquit_dumps_the_stacks_and_gives_2(backend: tuple[str, ...]) -> None:
    with Process.ready("--backend", *backend) as server:
        server.send(signal.SIGQUIT)

        assert server.wait() == 2
        assert "Current thread 0x" in server.text
        assert "serve.py" in server.text


@pytest.mark.spec("operations 4")
def test_sigpipe_is_ignored() -> None:
    with Process.ready() as server:
        server.send(signal.SIGPIPE)
        server.send(signal.SIGUSR1)
        server.wait_for("re-open ignored")

        assert server.stop() == 0

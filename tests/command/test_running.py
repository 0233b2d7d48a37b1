"""A running server: start-up lines, files, signals, shutdown."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import stat
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.command.process import Process
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from pathlib import Path

_, DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)  # a server takes all that it may have
START_SECONDS_MAX = 0.400
BACKENDS = ["asyncio", "trio"]
FEW = ("--max_connections", "100")  # fewer than any machine allows descriptors, else the log says so


@pytest.mark.spec("operations 5.1", "operations 6.1")
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_lines_of_a_start_stand_in_nats_servers_order(backend: str) -> None:
    with Process.ready("-n", "east", "-D", "--backend", backend, *FEW) as server:
        port = server.port
        wanted = [
            r"\[INF\] Starting nats-server-py",
            r"\[INF\]   Version:  0\.1\.0",
            r"\[INF\]   Git:      \[.+\]",
            rf"\[DBG\]   Python:   .*{sys.version_info[0]}\.{sys.version_info[1]}.*{backend}.*",
            r"\[INF\]   Name:     east",
            r"\[INF\]   ID:       N[A-Z2-7]{55}",
            r"\[INF\] Data plane: (compiled|pure Python) \(.+\)",
            rf"\[INF\] Listening for client connections on 127\.0\.0\.1:{port}",
            r"\[INF\] Server is ready",
        ]

        for line, pattern in zip(server.messages, wanted, strict=True):
            assert re.fullmatch(pattern, line), (line, pattern)
        assert all(line.startswith(f"[{server.pid}] ") for line in server.text.splitlines())


@pytest.mark.spec("operations 5.1")
def test_a_server_without_a_name_is_named_by_its_id() -> None:
    with Process.ready() as server:
        found = dict(re.findall(r"  (Name|ID):\s+(N[A-Z2-7]{55})", server.text))

        assert found["Name"] == found["ID"]


@pytest.mark.spec("operations 5.1")
def test_what_an_operator_should_know_is_said_at_the_start() -> None:
    flags = ("--user", "a", "--pass", "s3cret", "--max_payload", "9000000", "--store_dir", "/data")
    with Process.ready(*flags, "--max_connections", str(1 << 40)) as server:
        warnings = [line for line in server.messages if line.startswith("[WRN]")]

        assert warnings == [
            "[WRN] --store_dir is ignored: JetStream is not supported",
            "[WRN] Plaintext passwords detected, use nkeys or bcrypt",
            f"[WRN] This process may open {DESCRIPTORS} files and sockets, max_connections is {1 << 40}",
            "[WRN] Maximum payloads over 8.00 MB are generally discouraged"
            " and could lead to poor performance",
        ]
        assert "s3cret" not in server.text


@pytest.mark.slow
@pytest.mark.spec("operations 15b", "operations 14", "operations 15")
def test_a_server_is_ready_within_400_ms() -> None:
    seconds = []
    for _ in range(5):
        with Process.ready() as server:
            elapsed = time.perf_counter() - server.started_at
            seconds.append(elapsed - server.seconds_kept_waiting())

    # The best of five, for what is measured is the program and not who else uses the machine.
    assert min(seconds) < START_SECONDS_MAX


@pytest.mark.spec("operations 15b", "operations 4", "operations 11")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "interrupt"), (signal.SIGTERM, "terminated")], ids=str
)
def test_a_stopping_signal_ends_a_server_in_order(backend: str, number: signal.Signals, name: str) -> None:
    with Process.ready("--backend", backend) as server:
        client, _ = RawClient.connect("127.0.0.1", server.port)
        started = len(server.messages)

        server.send(number)

        assert client.read_all_until_closed() == b""
        assert server.wait() == 0
        assert server.messages[started:] == [
            f'[INF] Trapped "{name}" signal',
            "[INF] Initiating Shutdown...",
            "[INF] Server Exiting..",
        ]
        client.close()


@pytest.mark.spec("operations 4")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("number", "name", "answer"),
    [
        (signal.SIGUSR1, "user defined signal 1", "[INF] File log re-open ignored, not a file logger"),
    ],
    ids=str,
)
def test_a_signal_that_is_not_for_this_server_is_answered_and_survived(
    backend: str, number: signal.Signals, name: str, answer: str
) -> None:
    with Process.ready("--backend", backend) as server:
        server.send(number)
        server.wait_for(re.escape(answer))

        assert server.messages[-2:] == [f'[INF] Trapped "{name}" signal', answer]
        with RawClient("127.0.0.1", server.port) as client:
            client.read_info()
            client.send(b"PING\r\n")
            assert client.read_until(rb"PONG\r\n") == b"PONG\r\n"
        assert server.stop() == 0


def test_a_signal_before_the_server_runs_is_not_lost() -> None:
    with Process("-a", "127.0.0.1", "-p", "-1") as server:
        server.wait_until_it_catches(signal.SIGUSR2)
        server.send(signal.SIGUSR2)
        server.wait_for("Server is ready")

        assert server.wait() == 0
        assert "[INF] Entering lame duck mode, stop accepting new clients" in server.messages


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_an_interrupt_while_starting_ends_the_start_without_a_traceback(number: signal.Signals) -> None:
    with Process("-a", "127.0.0.1", "-p", "-1") as server:
        server.wait_until_it_catches(signal.SIGTERM)
        server.send(number)

        assert server.wait() == 0
        assert "Traceback" not in server.text


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_signal_ends_a_shutdown_that_waits_for_a_client(backend: str, tmp_path: Path) -> None:
    with Process.ready("--backend", backend, "--ports_file_dir", str(tmp_path)) as server:
        slow = RawClient("127.0.0.1", server.port)
        slow.send(b'CONNECT {"verbose":false}\r\nSUB foo 1\r\nPING\r\n')
        slow.read_until(rb"PONG\r\n")
        with RawClient("127.0.0.1", server.port) as client:
            client.send(b'CONNECT {"verbose":false}\r\n')
            message = b"PUB foo 1000000\r\n" + b"x" * 1_000_000 + b"\r\n"
            client.send(message * 20 + b"PING\r\n")
            client.read_until(rb"PONG\r\n")
        server.send(signal.SIGINT)
        server.wait_for("Initiating Shutdown")
        before = time.perf_counter()
        server.send(signal.SIGINT)

        assert server.wait() == 1
        assert time.perf_counter() - before < 0.5
        assert "Traceback" not in server.text
        assert list(tmp_path.iterdir()) == []
        slow.close()


@pytest.mark.spec("operations 15b", "operations 7", "operations 15")
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_ports_file_tells_the_port_while_the_server_runs(backend: str, tmp_path: Path) -> None:
    with Process.ready("--backend", backend, "--ports_file_dir", str(tmp_path)) as server:
        (path,) = tmp_path.iterdir()

        assert path.name == f"nats-server_{server.pid}.ports"
        assert path.read_text() == f'{{"nats":["nats://127.0.0.1:{server.port}"]}}'
        assert server.stop() == 0
        assert list(tmp_path.iterdir()) == []


@pytest.mark.spec("operations 7")
def test_a_ports_file_that_cannot_be_written_is_an_error_and_the_server_goes_on(tmp_path: Path) -> None:
    directory = tmp_path / "absent"
    with Process.ready("--ports_file_dir", str(directory)) as server:
        path = directory / f"nats-server_{server.pid}.ports"

        assert server.messages[-2:] == [
            f"[ERR] Error writing ports file ({path}): open {path}.new: no such file or directory",
            "[INF] Server is ready",
        ]
        assert server.stop() == 0


@pytest.mark.spec("operations 7")
def test_a_ports_file_that_is_gone_at_the_end_is_said_so(tmp_path: Path) -> None:
    with Process.ready("--ports_file_dir", str(tmp_path)) as server:
        (path,) = tmp_path.iterdir()
        path.unlink()

        assert server.stop() == 0
        assert server.messages[-2:] == [
            f"[ERR] Error cleaning up ports file {path}: remove {path}: no such file or directory",
            "[INF] Server Exiting..",
        ]


@pytest.mark.spec("operations 7")
def test_the_pid_file_is_there_before_the_listener_and_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "server.pid"
    with Process("-a", "127.0.0.1", "-p", "-1", "-P", str(path)) as server:
        server.wait_for("Listening")

        assert path.read_bytes() == str(server.pid).encode()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        server.wait_for("Server is ready")
        assert server.stop() == 0
        assert path.exists()


@pytest.mark.spec("operations 6.5")
def test_with_a_log_file_nothing_goes_to_standard_error(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    with Process("-a", "127.0.0.1", "-p", "-1", "-l", str(path), "-P", str(tmp_path / "pid")) as server:
        deadline = time.monotonic() + 20
        while not (path.exists() and "Server is ready" in path.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.005)

        assert server.stop() == 0
        assert server.text == ""
        assert stat.S_IMODE(path.stat().st_mode) & ~0o640 == 0
        assert path.read_text().splitlines()[-1].endswith("[INF] Server Exiting..")


def test_a_server_without_standard_error_does_not_log_into_a_socket() -> None:
    with Process("-a", "127.0.0.1", "-p", "-1", "-l", "", before=lambda: os.close(2)) as server:
        # Nothing can be read from it; the kernel knows what it listens on.
        deadline = time.monotonic() + 20
        while (port := listening_port(server.pid)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        with RawClient("127.0.0.1", port) as client:
            assert client.read_info().startswith(b"INFO {")
            client.send(b"nonsense\r\n")
            assert client.read_all_until_closed() == b"-ERR 'Unknown Protocol Operation'\r\n"
        assert server.stop() == 0


def listening_port(pid: int) -> int | None:
    """The TCP port that a process listens on (Linux)."""
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return None
    inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    with open("/proc/net/tcp") as table:
        for row in table:
            fields = row.split()
            if fields[3] == "0A" and fields[9] in inodes:
                return int(fields[1].rpartition(":")[2], 16)
    return None


@pytest.mark.parametrize("flags", [(), ("--uvloop=false",), ("--uvloop",), ("--backend", "trio")], ids=str)
def test_a_server_serves_on_every_event_loop(flags: tuple[str, ...]) -> None:
    with Process.ready("-D", *flags) as server:
        runtime = server.wait_for(r"Python:   .*")
        with RawClient("127.0.0.1", server.port) as client:
            client.send(b'CONNECT {"verbose":false}\r\nSUB foo 1\r\nPUB foo 2\r\nhi\r\nPING\r\n')
            assert client.read_until(rb"PONG\r\n").endswith(b"MSG foo 1 2\r\nhi\r\nPONG\r\n")

        assert ("uvloop" in runtime) == (flags in [(), ("--uvloop",)])
        assert server.stop() == 0


def test_a_json_log_has_one_object_in_each_line() -> None:
    with Process.ready("--log-format", "json", "-DV", *FEW) as server:
        found = [json.loads(line) for line in server.text.splitlines()]

        assert [entry["event"] for entry in found] == [
            "server_starting",
            "server_version",
            "server_git",
            "server_runtime",
            "server_name",
            "server_id",
            "data_plane",
            "listening_for_clients",
            "server_ready",
        ]
        assert {entry["level"] for entry in found} == {"info", "debug"}
        assert server.stop() == 0


def test_a_bug_that_corrupts_the_state_ends_the_server_and_says_where(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from natscore import facts, server\n"
        "from natscore.state import State\n"
        "fold = State.fold\n"
        "def broken(state, fact):\n"
        "    if isinstance(fact, facts.SubscriptionsChanged): raise KeyError('deliberate')\n"
        "    fold(state, fact)\n"
        "State.fold = broken\n"
        "from natscore_cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = (sys.executable, "-c", program)
    flags = ("-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(tmp_path))
    with Process(*flags, command=command) as server:
        server.wait_for("Server is ready")
        with RawClient("127.0.0.1", server.port) as client:
            client.read_info()
            client.send(b"SUB foo 1\r\n")
            assert client.read_all_until_closed() in (b"", b"+OK\r\n")

        assert server.wait() == 1
        fatal = [line for line in server.messages if line.startswith("[FTL]")]
        assert len(fatal) == 1
        assert "the server cannot go on" in fatal[0]
        assert any("KeyError: 'deliberate'" in line for line in server.messages)
        assert all(line.startswith(f"[{server.pid}] ") for line in server.text.splitlines())
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
@pytest.mark.spec("operations 5.1", "operations 7")
def test_an_ipv6_listener_is_written_in_brackets(tmp_path: Path) -> None:
    with Process("-a", "::1", "-p", "-1", "--ports_file_dir", str(tmp_path)) as server:
        server.wait_for("Server is ready")
        (path,) = tmp_path.iterdir()

        assert f"[INF] Listening for client connections on [::1]:{server.port}" in server.messages
        assert json.loads(path.read_text()) == {"nats": [f"nats://[::1]:{server.port}"]}
        with RawClient("::1", server.port) as client:
            assert client.read_info().startswith(b"INFO {")


@pytest.mark.spec("operations 11.1")
@pytest.mark.parametrize("backend", BACKENDS)
def test_without_descriptors_accepting_rests_and_clients_notice_nothing(backend: str) -> None:
    def allow_few_descriptors() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    with Process.ready("--backend", backend, before=allow_few_descriptors) as server:
        first, _ = RawClient.connect("127.0.0.1", server.port)
        others = [RawClient("127.0.0.1", server.port) for _ in range(60)]

        server.wait_for(r"\[ERR\] Temporary Client Accept Error\(too many open files\), sleeping 10ms")
        first.send(b"PING\r\n")
        assert first.read_until(rb"PONG\r\n") == b"PONG\r\n"
        for client in others[:50]:
            client.close()
        assert others[-1].read_info().startswith(b"INFO {")
        assert server.stop() == 0
        for client in (first, *others):
            client.close()

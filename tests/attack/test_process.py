"""The process under attack: signals, clocks, a log that nobody reads."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import pytest

from natscore.replay import replay
from tests.attack.watch import QUIET, complaints, connected, start
from tests.command.process import Process
from tests.support.servers import ServerProgram
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from pathlib import Path

FLOODING: Final = """
import select, socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30)
client.sendall(b'CONNECT {"verbose":false,"pedantic":false}\\r\\nSUB foo 1\\r\\nPING\\r\\n')
received = b""
while b"PONG\\r\\n" not in received:
    received += client.recv(65536)
print("ready", flush=True)
client.setblocking(False)
block = b"PUB foo 100\\r\\n" + b"a" * 100 + b"\\r\\n"
block *= 300
rest = memoryview(block)
end = ""
while not end:
    readable, writable, _ = select.select([client], [client], [], 30)
    try:
        if readable and not client.recv(1 << 20):
            end = "end of stream"
        elif writable:
            rest = rest[client.send(rest):] or memoryview(block)
    except BlockingIOError:
        pass
    except ConnectionError as error:
        end = type(error).__name__
print(end)
"""


@pytest.mark.spec("operations 4", "operations 11")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_under_load_ends_the_server_in_order(program: ServerProgram, number: signal.Signals) -> None:
    with start(program) as server:
        flooding = [
            subprocess.Popen(
                [sys.executable, "-S", "-c", FLOODING, str(server.port)], stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        for client in flooding:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        connected(server).close()

        server.process.send_signal(number)
        code = server.process.wait(10)
        ends = [client.communicate(timeout=30)[0].strip() for client in flooding]

        assert code == 0
        assert set(ends) <= {"end of stream", "BrokenPipeError"}  # not ConnectionResetError
        assert complaints(server) == []
        assert server.log_text().rstrip().endswith("[INF] Server Exiting..")


WRONG_CLOCK: Final = """
import itertools, sys, time
right = time.time_ns
jumps = itertools.cycle((0, 86_400, -31_536_000))
time.time_ns = lambda: right() + next(jumps) * 1_000_000_000
from natscore_cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.spec("client-protocol 14", "client-protocol 11:authorization.timeout")
def test_a_wall_clock_that_jumps_by_years_moves_no_deadline(tmp_path: Path) -> None:
    program = ServerProgram("wrong clock", (sys.executable, "-c", WRONG_CLOCK), "ours", None)
    flags = ("--user", "u", "--pass", "pw", "--auth_timeout", "300ms", "--ping_interval", "200ms", "-DV")
    journal = tmp_path / "journal"
    with start(program, *flags, "--journal", str(journal)) as server:
        started = time.monotonic()
        with RawClient("127.0.0.1", server.port) as client:
            client.read_info()
            assert client.read_all_until_closed().endswith(b"-ERR 'Authentication Timeout'\r\n")
        assert 0.3 <= time.monotonic() - started < 5.0
        with RawClient("127.0.0.1", server.port) as client:
            client.send(b'CONNECT {"verbose":false,"user":"u","pass":"pw"}\r\n')
            for _ in range(3):
                client.read_until(rb"PING\r\n")
                client.send(b"PONG\r\n")
        assert time.monotonic() - started >= 0.3 + 3 * 0.2
        assert server.stop() == 0

    with journal.open("rb") as recorded:
        assert replay(recorded.read).events > 10


def test_clients_survive_a_server_that_was_suspended(program: ServerProgram) -> None:
    with start(program, "--ping_interval", "100ms", "--ping_max", "2") as server:
        clients = [connected(server, b"SUB foo.%d 1\r\n" % number) for number in range(10)]
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(1.0)
        server.process.send_signal(signal.SIGCONT)
        for number, client in enumerate(clients):
            client.send(b"PONG\r\nPUB foo.%d 2\r\nhi\r\n" % number)
            client.read_until(rb"MSG foo.\d 1 2\r\nhi\r\n")

        assert not any(client.ended for client in clients)
        for client in clients:
            client.close()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_log_that_nobody_reads_keeps_no_client_waiting(backend: str) -> None:
    with Process.ready("--backend", backend, "-DV") as server:
        port = server.port
        with RawClient("127.0.0.1", port) as client:
            client.send(QUIET)
            for _ in range(40):  # each is traced twice, the log is a pipe of 64 KiB, and nobody empties it
                client.send(b"PUB foo 2000\r\n" + b"x" * 2_000 + b"\r\nPING\r\n")
                client.read_until(rb"PONG\r\n")

        assert server.stop() == 0
        assert "log lines could not be written: nobody reads them" in server.text

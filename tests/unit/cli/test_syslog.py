"""Lines to a syslog: their shape on the wire, and a syslog that is not there."""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from natscore.effects import Level, Note
from natscore_cli import syslog
from natscore_cli.logs import Log
from natscore_cli.settings import LogSettings
from natscore_cli.syslog import Syslog, SyslogRefused, local_syslog, remote_syslog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.spec("operations 6.4")

READY = Note(Level.INFO, "server_ready", {})


def datagram_socket(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.settimeout(10)
    return sock


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        yield sock


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        sock.settimeout(10)
        yield sock


def url(network: str, sock: socket.socket) -> str:
    return f"{network}://127.0.0.1:{sock.getsockname()[1]}"


def test_a_line_to_another_machine_has_priority_time_host_tag_and_text(
    udp: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/nats-one", "-r", "x"])
    log = Log(LogSettings(), remote_syslog(url("udp", udp)))

    log(READY)

    host = re.escape(socket.gethostname())
    found = re.fullmatch(
        rf"<5>(\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d)(Z|[+-]\d\d:\d\d) {host} nats-one\[{os.getpid()}\]:"
        r" Server is ready\n",
        udp.recv(1000).decode(),
    )
    assert found is not None
    assert abs(time.time() - time.mktime(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S"))) < 60
    log.close()


@pytest.mark.parametrize(("zone", "shown"), [("UTC0", "Z"), ("ABC-5:30", "+05:30"), ("ABC3", "-03:00")])
def test_the_time_names_its_zone(
    zone: str, shown: str, udp: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with closing(remote_syslog(url("udp", udp))) as destination:
            destination.write("x")
    finally:
        monkeypatch.undo()
        time.tzset()

    when, *_ = udp.recv(1000).decode().split(" ")
    assert re.fullmatch(rf"<5>[\d-]+T\d\d:\d\d:\d\d{re.escape(shown)}", when)


@pytest.mark.parametrize(
    ("level", "severity"),
    [
        (Level.TRACE, 5),
        (Level.DEBUG, 7),
        (Level.INFO, 5),
        (Level.WARNING, 4),
        (Level.ERROR, 3),
        (Level.FATAL, 2),
    ],
)
def test_the_level_becomes_the_severity(level: Level, severity: int, udp: socket.socket) -> None:
    log = Log(LogSettings(debug=True, trace=True), remote_syslog(url("udp", udp)))

    log(Note(level, "server_ready", {}))

    line = udp.recv(1000).decode()
    assert line.startswith(f"<{severity}>")
    assert line.endswith(": Server is ready\n")
    log.close()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_log_of_this_machine_is_told_as_a_daemon(
    kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    monkeypatch.setattr(syslog, "_PATHS", (str(tmp_path / "absent"), str(path)))
    with closing(socket.socket(socket.AF_UNIX, kind)) as listening:
        listening.bind(str(path))
        listening.settimeout(10)
        if kind == socket.SOCK_STREAM:
            listening.listen()
        log = Log(LogSettings(), local_syslog())
        log(READY)
        log.close()
        received = listening if kind == socket.SOCK_DGRAM else listening.accept()[0]
        line = received.recv(1000).decode()
        received.close()

    assert re.fullmatch(
        rf"<29>[A-Z][a-z][a-z] [ \d]\d \d\d:\d\d:\d\d \S+\[{os.getpid()}\]: Server is ready\n", line
    )


def test_a_stream_has_a_line_for_each_text(tcp: socket.socket) -> None:
    with closing(remote_syslog(url("tcp", tcp))) as destination:
        destination.write("one")
        destination.write("two")
    connected, _ = tcp.accept()
    with closing(connected):
        lines = connected.makefile().read().splitlines()

    assert [line.rpartition(": ")[2] for line in lines] == ["one", "two"]


def test_a_socket_of_a_path_is_a_stream_with_the_shape_of_this_machine(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listening:
        listening.bind(str(tmp_path / "log"))
        listening.listen()
        with closing(remote_syslog(f"unix://{tmp_path / 'log'}")) as destination:
            destination.write("x")
        connected, _ = listening.accept()
        with closing(connected):
            assert re.match(rb"<5>[A-Z][a-z][a-z] [ \d]\d ", connected.recv(1000))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo://h:1", 'error invalid network type: "foo"'),
        ("h:1", 'error invalid network type: ""'),
        (
            "udp://localhost",
            'error connecting to syslog: "dial udp: address localhost: missing port in address"',
        ),
        (
            "unix:///absent/log",
            'error connecting to syslog: "dial unix /absent/log: connect: no such file or directory"',
        ),
    ],
)
@pytest.mark.spec("operations 5.2")
def test_a_syslog_that_cannot_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(SyslogRefused) as caught:
        remote_syslog(text)

    assert str(caught.value) == said


@pytest.mark.spec("operations 5.2")
def test_a_stream_that_nobody_listens_on_is_refused(tcp: socket.socket) -> None:
    address = url("tcp", tcp)
    tcp.close()

    with pytest.raises(SyslogRefused, match=r"dial tcp 127\.0\.0\.1:\d+: connect: connection refused"):
        remote_syslog(address)


@pytest.mark.spec("operations 5.2")
def test_a_machine_without_a_syslog_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syslog, "_PATHS", ("/absent/log",))

    with pytest.raises(SyslogRefused, match="error connecting to syslog: "):
        local_syslog()


def test_lines_go_on_when_the_syslog_was_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    monkeypatch.setattr(syslog, "_PATHS", (str(path),))
    first = datagram_socket(path)
    with closing(local_syslog()) as destination:
        destination.write("one")
        assert first.recv(1000).endswith(b": one\n")
        first.close()
        path.unlink()
        second = datagram_socket(path)

        destination.write("two")

        assert second.recv(1000).endswith(b": two\n")
        assert destination.lost == 0
        second.close()


def test_lines_for_a_syslog_that_is_gone_are_lost_counted_and_nobody_waits(
    tcp: socket.socket,
) -> None:
    now = [0.0]
    (peer,) = syslog._resolved("tcp", url("tcp", tcp).removeprefix("tcp://"))
    with closing(Syslog(peer, is_local=False, monotonic=lambda: now[0])) as destination:
        reset(tcp)
        destination.write("into a reset")
        destination.write("at once")
        reset(tcp)
        destination.write("into another")
        destination.write("too early")
        assert destination.lost == 3

        now[0] += 1.0
        destination.write("again")
        connected, _ = tcp.accept()
        destination.write("and on")
        connected.settimeout(10)
        received = b""
        while b"and on" not in received:
            received += connected.recv(1000)
        connected.close()

    assert [line.rpartition(b": ")[2] for line in received.splitlines()] == [b"again", b"and on"]


def reset(listening: socket.socket) -> None:
    """Take a connection, and break it."""
    connected, _ = listening.accept()
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connected.close()


def test_a_stream_that_is_not_read_costs_lines_and_no_memory(tcp: socket.socket) -> None:
    with closing(remote_syslog(url("tcp", tcp))) as destination:
        connected, _ = tcp.accept()
        for _ in range(2_000):
            destination.write("x" * 10_000)

        assert destination.lost > 0
        assert len(destination._unsent) <= 65_536
        assert destination.take_lost()[1] == "nobody reads them"
        assert destination.lost == 0
        connected.close()


def test_a_text_that_no_datagram_could_hold_is_cut(udp: socket.socket) -> None:
    with closing(remote_syslog(url("udp", udp))) as destination:
        destination.write("x" * 100_000)

        assert destination.lost == 0
    assert 60_000 < len(udp.recv(100_000)) < 60_200


def test_json_goes_to_a_syslog_as_it_is(udp: socket.socket) -> None:
    log = Log(LogSettings(format="json"), remote_syslog(url("udp", udp)))

    log(READY)

    assert '"event": "server_ready"}\n' in udp.recv(1000).decode()
    log.close()


def test_a_program_without_a_name_of_its_own_is_called_by_ours(
    udp: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/x/natscore_cli/__main__.py"])

    with closing(remote_syslog(url("udp", udp))) as destination:
        destination.write("x")

    assert b" nats-server-py[" in udp.recv(1000)

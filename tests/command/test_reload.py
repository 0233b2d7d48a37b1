"""A running server reads its file again: every row of operations.md 9.2, with twenty live clients."""

from __future__ import annotations

import os
import re
import signal
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import bcrypt
import pytest

from tests.command.crowd import CLIENTS, Crowd
from tests.command.process import Process
from tests.support.certificates import Authority
from tests.support.wire import RawClient

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

LISTEN: Final = "listen: 127.0.0.1:-1\n"
DENIED: Final = b"-ERR 'Authorization Violation'\r\n"
HASHED: Final = bcrypt.hashpw(b"p", bcrypt.gensalt(4)).decode()
OTHER: Final = bcrypt.hashpw(b"q", bcrypt.gensalt(4)).decode()
KEY: Final = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Row(NamedTuple):
    """A change that disturbs no client, and what the log says of it."""

    after: str
    said: tuple[str, ...]
    before: str = ""
    info: dict[str, object] = {}
    logins: tuple[dict[str, object], ...] = ({},)


UNDISTURBING: Final = {
    "debug": Row("debug: true", ("debug = true",)),
    "trace": Row("trace: true", ("trace = true",)),
    "logtime": Row("logtime: false", ("logtime = false",)),
    "logtime_utc": Row("logtime_utc: true", ("logtime_utc = true",)),
    "log_file": Row("log_file: other.log", ("log_file = other.log",)),
    "max_connections": Row("max_connections: 20", ("max_connections = 20",)),
    "max_control_line": Row("max_control_line: 100", ("max_control_line = 100",)),
    "max_payload": Row("max_payload: 10", ("max_payload = 10",), info={"max_payload": 10}),
    "ping_interval": Row('ping_interval: "1m"', ("ping_interval = 1m0s",)),
    "ping_max": Row("ping_max: 5", ("ping_max = 5",)),
    "write_deadline": Row('write_deadline: "2s"', ("write_deadline = 2s",)),
    "client_advertise": Row(
        'client_advertise: "me:5"', ("client_advertise = me:5",), info={"host": "me", "port": 5}
    ),
    "max_traced_msg_len": Row("max_traced_msg_len: 5", ("max_traced_msg_len = 5",)),
    "no_fast_producer_stall": Row("no_fast_producer_stall: true", ("no_fast_producer_stall = true",)),
    "pid_file": Row("pid_file: other.pid", ("pid_file = other.pid",)),
    "ports_file_dir": Row('ports_file_dir: "."', ("ports_file_dir = .",)),
    "authorization timeout": Row("authorization { timeout: 7 }", ("authorization timeout = 7",)),
    "authorization users": Row(
        "authorization { users: [ {user: b, password: p}, {user: a, password: p}, {user: c, password: p} ] }",
        ("authorization users",),
        before="authorization { users: [ {user: a, password: p}, {user: b, password: p} ] }",
        logins=({"user": "a", "pass": "p"}, {"user": "b", "pass": "p"}),
    ),
    "a password that becomes a hash": Row(
        f'authorization {{ users: [ {{user: a, password: "{HASHED}"}} ] }}',
        ("authorization users",),
        before="authorization { users: [ {user: a, password: p} ] }",
        logins=({"user": "a", "pass": "p"},),
    ),
    "authorization nkey users": Row(
        f"authorization {{ users: [ {{user: a, password: p}}, {{nkey: {KEY}}} ] }}",
        ("authorization nkey users",),
        before="authorization { users: [ {user: a, password: p} ] }",
        logins=({"user": "a", "pass": "p"},),
    ),
    "accounts": Row(
        "accounts { A: { users: [ {user: a, password: p} ], exports: [ {stream: s} ] }, B: {} }",
        ("accounts",),
        before="accounts { A: { users: [ {user: a, password: p} ] } }",
        logins=({"user": "a", "pass": "p"},),
    ),
    "nothing": Row("# a comment", ()),
}


@pytest.mark.spec("operations 9.2")
@pytest.mark.parametrize("row", UNDISTURBING.values(), ids=UNDISTURBING.keys())
def test_an_option_changes_and_no_client_notices(row: Row, folder: Path) -> None:
    with Crowd(folder, LISTEN + row.before, logins=row.logins) as crowd:
        said = crowd.reload(LISTEN + row.after, _answer(row.after))

        crowd.assert_undisturbed()
        wanted = [f"[INF] Reload{'' if what.startswith('client') else 'ed'}: {what}" for what in row.said]
        assert [line for line in said if "Reload" in line][: len(wanted)] == wanted
        assert crowd.info().items() >= row.info.items()


def _answer(text: str) -> str:
    """What to wait for: in another log, or without a date, the last line is looked for elsewhere."""
    return "Reloaded: log_file" if "log_file" in text else "Reloaded server configuration"


@pytest.mark.spec("operations 9.2")
def test_later_lines_go_to_the_new_log_and_the_files_are_there(folder: Path) -> None:
    with Crowd(folder, LISTEN) as crowd:
        crowd.reload(LISTEN + 'log_file: b.log, pid_file: b.pid, ports_file_dir: "."', "log_file = b.log")
        crowd.assert_undisturbed()
        pid = crowd.server.pid

        assert (folder / "b.pid").read_text() == str(pid)
        assert str(crowd.server.port) in (folder / f"nats-server_{pid}.ports").read_text()
        assert "Reloaded server configuration (sha256:" in (folder / "b.log").read_text()
        assert "Reloaded server configuration" not in crowd.server.text


@pytest.mark.spec("operations 9.2")
def test_the_log_goes_to_another_socket(folder: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, Crowd(folder, LISTEN) as crowd:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        url = f"udp://127.0.0.1:{receiver.getsockname()[1]}"

        crowd.reload(LISTEN + f'remote_syslog: "{url}"', "remote_syslog = ")

        crowd.assert_undisturbed()
        assert b"Reloaded server configuration" in receiver.recv(65_536)


@pytest.mark.spec("operations 9.2", "operations 9.3")
def test_a_lower_max_connections_closes_the_newest_and_the_others_notice_nothing(folder: Path) -> None:
    with Crowd(folder, LISTEN) as crowd:
        said = crowd.reload(LISTEN + "max_connections: 15")

        crowd.assert_undisturbed(*range(15))
        for client in crowd.clients[15:]:
            assert client.read_all_until_closed().endswith(b"-ERR 'maximum connections exceeded'\r\n")
        lines = [line for line in said if "max_connections" in line]
        assert lines == [
            "[INF] Closed 5 connections to fall within max_connections",
            "[INF] Reloaded: max_connections = 15",
        ]


class Losing(NamedTuple):
    """A change by which the clients with the second login lose their right."""

    before: str
    after: str
    told: bytes
    logins: tuple[dict[str, Any], dict[str, Any]] = ({"user": "a", "pass": "p"}, {"user": "b", "pass": "p"})


TWO: Final = "authorization { users: [ {user: a, password: p}, {user: b, password: p} ] }"
LOSING: Final = {
    "user gone": Losing(TWO, "authorization { users: [ {user: a, password: p} ] }", b""),
    "password changed": Losing(
        TWO, "authorization { users: [ {user: a, password: p}, {user: b, password: q} ] }", DENIED
    ),
    "moved to another account": Losing(
        TWO, "authorization { users: [ {user: a, password: p} ] }\n"
        "accounts { B: { users: [ {user: b, password: p} ] } }", b"",
    ),
    "hash changed": Losing(
        TWO,
        f'authorization {{ users: [ {{user: a, password: "{HASHED}"}}, {{user: b, password: "{OTHER}"}} ] }}',
        DENIED,
    ),
    "authentication switched on": Losing(
        "", "authorization { users: [ {user: a, password: p} ] }", DENIED,
        logins=({"user": "a", "pass": "p"}, {}),
    ),
    "token": Losing(
        "", "authorization { token: t }", DENIED, logins=({"auth_token": "t"}, {"auth_token": "u"})
    ),
    "single user": Losing(
        "", "authorization { user: a, password: p }", b"",
        logins=({"user": "a", "pass": "p"}, {"user": "b", "pass": "p"}),
    ),
}  # fmt: skip


@pytest.mark.spec("operations 9.2", "operations 9.3")
@pytest.mark.parametrize("row", LOSING.values(), ids=LOSING.keys())
def test_who_lost_the_right_is_closed_and_the_others_notice_nothing(row: Losing, folder: Path) -> None:
    with Crowd(folder, LISTEN + row.before, logins=row.logins) as crowd:
        crowd.reload(LISTEN + row.after)

        crowd.assert_undisturbed(*range(0, CLIENTS, 2))
        for number in range(1, CLIENTS, 2):
            text = crowd.clients[number].read_all_until_closed()
            assert re.sub(rb"MSG numbers \d+ 4\r\n\d{4}\r\n", b"", text) == row.told


@pytest.mark.spec("operations 9.2", "operations 9.3")
def test_a_subscription_that_is_denied_is_removed_and_the_client_stays(folder: Path) -> None:
    logins: Any = ({"user": "a", "pass": "p"}, {"user": "b", "pass": "p"})
    with Crowd(folder, LISTEN + TWO, logins=logins) as crowd:
        for client in crowd.clients:
            client.send(b"SUB secret s\r\n")
        denied = "permissions: { subscribe: { deny: secret } }"

        said = crowd.reload(
            LISTEN
            + f"authorization {{ users: [ {{user: a, password: p}}, {{user: b, password: p, {denied}}} ] }}"
        )

        violation = b'-ERR \'Permissions Violation for Subscription to "secret" (sid "s")\'\r\n'
        crowd.assert_undisturbed(*range(0, CLIENTS, 2))
        for client in crowd.clients[1::2]:
            client.send(b"PING\r\n")
            assert violation in client.read_until(b"PONG\r\n")
        assert (
            sum('Removed sub "secret" (sid "s") for User "b" - not authorized' in line for line in said) == 10
        )


# -- TLS -------------------------------------------------------------------------------------------


def _tls(pair: Any, more: str = "") -> str:
    return f'tls {{ cert_file: "{pair.cert_file}", key_file: "{pair.key_file}", {more} }}\n'


@pytest.mark.spec("operations 9.2", "operations 9.3")
def test_tls_begins_and_ends_for_new_connections_and_those_there_stay(folder: Path) -> None:
    pair = Authority(folder).issue()
    with Crowd(folder, LISTEN) as crowd:
        began = crowd.reload(LISTEN + _tls(pair))
        encrypted = crowd.info()
        ended = crowd.reload(LISTEN + "# plain")
        plain = crowd.info()

        crowd.assert_undisturbed()
        assert "[INF] Reloaded: tls = enabled" in began
        assert encrypted["tls_required"] is True
        assert "[INF] Reloaded: tls = disabled" in ended
        assert "tls_required" not in plain


def _certificate_seen(authority: Authority, port: int) -> bytes:
    """The certificate that a server shows to a new client."""
    with RawClient("127.0.0.1", port) as client:
        client.read_info()
        client.socket.setblocking(True)
        with authority.client_context().wrap_socket(
            client.socket.dup(), server_hostname="localhost"
        ) as secured:
            shown = secured.getpeercert(binary_form=True)
    assert shown is not None
    return shown


@pytest.mark.spec("operations 9.2")
def test_a_certificate_renewed_in_its_file_is_shown_after_a_reload(folder: Path) -> None:
    authority = Authority(folder)
    pair = authority.issue()
    with Process.ready("-c", _written(folder, LISTEN + _tls(pair))) as server:
        first = _certificate_seen(authority, server.port)
        authority.issue()

        server.send(signal.SIGHUP)
        server.wait_for("Reloaded server configuration")

        assert _certificate_seen(authority, server.port) != first
        assert "[INF] Reloaded: tls = enabled" in server.messages


@pytest.mark.spec("operations 9.2")
def test_tls_timeouts_handshake_first_and_pins_change(folder: Path) -> None:
    authority = Authority(folder)
    pair = authority.issue()
    verify = f'verify: true, ca_file: "{authority.ca_file}"'
    with Process.ready("-c", _written(folder, LISTEN + _tls(pair, verify))) as server:
        _written(
            folder,
            LISTEN + _tls(pair, f'{verify}, timeout: 5, handshake_first: "1s", pinned_certs: ["{"a" * 64}"]'),
        )

        server.send(signal.SIGHUP)
        server.wait_for("Reloaded server configuration")

        assert [line for line in server.messages if "Reloaded: " in line] == [
            "[INF] Reloaded: tls = enabled",
            "[INF] Reloaded: tls timeout = 5",
            "[INF] Reloaded: 1 pinned_certs",
            "[INF] Reloaded: Client TLS handshake first: true",
            "[INF] Reloaded: Client TLS handshake first fallback delay: 1s",
            "[INF] Reloaded: authorization timeout = 6",
        ]


@pytest.mark.spec("operations 9.2")
def test_a_connection_with_a_key_that_is_not_pinned_any_more_is_closed(folder: Path) -> None:
    authority = Authority(folder)
    pair, known, other = authority.issue(), authority.issue("known"), authority.issue("other")
    verify = f'verify: true, ca_file: "{authority.ca_file}"'
    with Process.ready("-c", _written(folder, LISTEN + _tls(pair, verify))) as server:
        clients = [_secured(authority.client_context(one), server.port) for one in (known, other)]
        _written(folder, LISTEN + _tls(pair, f'{verify}, pinned_certs: ["{known.key_sha256}"]'))

        server.send(signal.SIGHUP)
        server.wait_for("Reloaded server configuration")

        clients[0].sendall(b"PING\r\n")
        assert clients[0].recv(100) == b"PONG\r\n"
        assert clients[1].recv(100) == b""
        assert "[INF] Disconnect 1 clients due to pinned certs reload" in server.messages
        for client in clients:
            client.close()


def _secured(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    """A client under TLS that has been answered."""
    plain = socket.create_connection(("127.0.0.1", port), 20)
    while not plain.recv(4096).endswith(b"\r\n"):
        pass
    secured = context.wrap_socket(plain, server_hostname="localhost")
    secured.sendall(b'CONNECT {"verbose":false,"protocol":0}\r\nPING\r\n')
    assert secured.recv(100) == b"PONG\r\n"
    return secured


# -- what is refused -------------------------------------------------------------------------------


REFUSED: Final = {
    "Host": ("listen: 127.0.0.2:-1", "old=127.0.0.1, new=127.0.0.2"),
    "ServerName": (f"{LISTEN}server_name: b", "old=, new=b"),
    "MaxPending": (f"{LISTEN}max_pending: 5mb", "old=67108864, new=5242880"),
    "MaxSubs": (f"{LISTEN}max_subscriptions: 5", "old=0, new=5"),
    "MaxSubTokens": (f"{LISTEN}max_subscription_tokens: 5", "old=0, new=5"),
    "LameDuckDuration": (f'{LISTEN}lame_duck_duration: "3m"', "old=2m0s, new=3m0s"),
    "LameDuckGracePeriod": (f'{LISTEN}lame_duck_grace_period: "3s"', "old=10s, new=3s"),
    "LogSizeLimit": (f"{LISTEN}logfile_size_limit: 5mb", "old=0, new=5242880"),
    "NoHeaderSupport": (f"{LISTEN}no_header_support: true", "old=false, new=true"),
    "NoSystemAccount": (f"{LISTEN}no_system_account: true", "old=false, new=true"),
    "SystemAccount": (f"{LISTEN}accounts {{ S: {{}} }}, system_account: S", "old=, new=S"),
}


@pytest.mark.spec("operations 9.1", "operations 9.2")
@pytest.mark.parametrize(("name", "change"), REFUSED.items(), ids=REFUSED.keys())
def test_a_change_that_needs_a_restart_is_refused_whole(
    name: str, change: tuple[str, str], folder: Path
) -> None:
    text, values = change
    with Crowd(folder, LISTEN) as crowd:
        said = crowd.reload(f"{text}\nmax_payload: 10", "Failed to reload server configuration")

        crowd.assert_undisturbed()
        assert said[-1] == (
            f"[ERR] Failed to reload server configuration: config reload not supported for {name}: {values}"
        )
        assert crowd.info()["max_payload"] == 1_048_576


@pytest.mark.spec("operations 9.1")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("listen: 127.0.0.1:-1\nmax_payload: {", "Parse error on line"),
        ("listen: 127.0.0.1:-1\nmax_payloda: 5", 'did you mean "max_payload"'),
        (
            "listen: 127.0.0.1:-1\nmax_payload: 100MB",
            "max_payload (104857600) cannot be higher than max_pending",
        ),
        ("listen: 127.0.0.1:-1\ninclude 'nowhere.conf'", "nowhere.conf"),
        (f"{LISTEN}log_file: /nowhere/x.log", "error opening file: open /nowhere/x.log: no such file"),
        (f"{LISTEN}tls {{ cert_file: no.pem, key_file: no.pem }}", "open no.pem: no such file or directory"),
        (f"{LISTEN}authorization {{ users: [ {{user: a}}, {{user: a}} ] }}", "Duplicate user"),
    ],
)
def test_a_file_that_cannot_be_is_refused_and_the_old_one_stays_in_force(
    text: str, reason: str, folder: Path
) -> None:
    with Crowd(folder, LISTEN + "max_connections: 21") as crowd:
        said = crowd.reload(text, "Failed to reload server configuration")

        assert said[-1].startswith("[ERR] Failed to reload server configuration: ")
        assert reason in said[-1]
        again = crowd.reload(LISTEN + "max_connections: 22")
        assert "[INF] Reloaded: max_connections = 22" in again
        crowd.assert_undisturbed()


@pytest.mark.spec("operations 9.1")
def test_a_file_that_vanished_is_refused_and_an_include_that_changed_is_read(folder: Path) -> None:
    (folder / "limits.conf").write_text("max_payload: 1000")
    path = _written(folder, LISTEN + "include 'limits.conf'")
    with Process.ready("-c", path) as server:
        (folder / "limits.conf").write_text("max_payload: 2000")
        server.send(signal.SIGHUP)
        server.wait_for("Reloaded server configuration")
        os.unlink(path)
        server.send(signal.SIGHUP)
        server.wait_for("Failed to reload")

        assert "[INF] Reloaded: max_payload = 2000" in server.messages
        assert "no such file or directory" in server.messages[-1]
        info = _info(server)
        assert info["max_payload"] == 2000


@pytest.mark.spec("operations 9.1")
def test_without_a_file_there_is_nothing_to_reload() -> None:
    with Process.ready() as server:
        server.send(signal.SIGHUP)
        server.wait_for("Failed to reload")

        assert server.messages[-1] == (
            "[ERR] Failed to reload server configuration: "
            "can only reload config when a file is provided using -c or --config"
        )


@pytest.mark.spec("operations 1.3")
def test_all_flags_are_applied_again_on_reload(folder: Path) -> None:
    pair = Authority(folder).issue()
    flags = (
        *("-n", "west", "--user", "a", "--pass", "p", "--max_traced_msg_len", "7", "-D", "--ping_max", "9"),
        *("--tls", "--tlscert", pair.cert_file, "--tlskey", pair.key_file, "--max_payload", "2000"),
    )
    path = _written(folder, LISTEN + "max_payload: 5, debug: false")
    with Process.ready("-c", path, *flags) as server:
        _written(folder, LISTEN + "max_payload: 10, debug: false, write_deadline: '3s'")

        server.send(signal.SIGHUP)
        server.wait_for("Reloaded server configuration")

        assert [line for line in server.messages if "Reloaded: " in line] == [
            "[INF] Reloaded: write_deadline = 3s"
        ]
        info = _info(server)
        assert (info["server_name"], info["max_payload"], info["auth_required"]) == ("west", 2000, True)
        assert info["tls_required"] is True


def _info(server: Process) -> dict[str, Any]:
    """What a new client is told."""
    client, info = RawClient.connect("127.0.0.1", server.port)
    client.close()
    return info


def _written(folder: Path, text: str) -> str:
    (folder / "server.conf").write_text(text)
    return str(folder / "server.conf")

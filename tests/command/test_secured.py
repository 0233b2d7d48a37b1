"""Users, accounts and TLS of a file in a running server: what its log says, and what it lets in."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.command.process import Process, run
from tests.support.certificates import Authority
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.certificates import Pair

SECONDS_MAX: Final = 10.0
FEW: Final = "max_connections: 100\n"  # fewer than any machine allows descriptors, else the log says so


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pair(folder: Path) -> Pair:
    return Authority(folder).issue()


def tls(pair: Pair, text: str = "") -> str:
    return f'{FEW}tls {{ cert_file: "{pair.cert_file}", key_file: "{pair.key_file}", {text} }}\n'


def about_tls(server: Process) -> list[str]:
    """The lines of the log about TLS, between listening and being ready."""
    lines = server.messages
    start = next(at for at, line in enumerate(lines) if "Listening for client connections" in line)
    return lines[start + 1 : lines.index("[INF] Server is ready")]


@pytest.mark.spec("operations 5.1", "client-protocol 17.1")
@pytest.mark.parametrize(
    ("text", "more", "said", "info"),
    [
        ("", "", ["[INF] TLS required for client connections"], {"tls_required": True}),
        ("", "allow_non_tls: true", ["[INF] TLS available for client connections"], {"tls_available": True}),
        ("handshake_first: auto", "", ["[INF] TLS required for client connections"], None),
        (
            "handshake_first: true",
            "allow_non_tls: true",
            [
                "[INF] TLS required for client connections",
                '[WRN] Clients that are not using "TLS Handshake First" option will fail to connect',
            ],
            None,
        ),
    ],
)
def test_tls_of_a_file_is_said_in_the_log_and_in_info(
    text: str, more: str, said: list[str], info: dict[str, bool] | None, folder: Path, pair: Pair
) -> None:
    (folder / "c.conf").write_text(tls(pair, text) + more)

    with Process.ready("-c", "c.conf") as server:
        assert about_tls(server) == said
        if info is not None:
            with RawClient("127.0.0.1", server.port) as client:
                found = json.loads(client.read_info().removeprefix(b"INFO "))
            assert {key: found[key] for key in found if key.startswith("tls_")} == info


@pytest.mark.spec("client-protocol 17.1", "configuration 5.6")
@pytest.mark.parametrize("by", ["file", "flags"])
def test_tls_is_the_same_by_file_and_by_flags(by: str, folder: Path, pair: Pair) -> None:
    authority = Authority(folder, "clients")
    (folder / "c.conf").write_text(tls(pair, f'ca_file: "{authority.ca_file}", verify: true'))
    flags = ["--tlscert", pair.cert_file, "--tlskey", pair.key_file, "--tlscacert", authority.ca_file]
    context = authority.client_context(authority.issue("client"))
    context.load_verify_locations(folder / "authority.pem")

    with (
        Process.ready(*(["-c", "c.conf"] if by == "file" else [*flags, "--tlsverify"])) as server,
        contextlib.closing(socket.create_connection(("127.0.0.1", server.port), SECONDS_MAX)) as plain,
    ):
        while plain.recv(1) != b"\n":
            pass
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(b"PING\r\n")
            assert (client.recv(6), client.version()) == (b"PONG\r\n", "TLSv1.3")
            assert client.cipher() == ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)


@pytest.mark.spec("configuration 7.1", "operations 2")
@pytest.mark.parametrize("check", [["-t"], []], ids=["-t", "start"])
def test_a_certificate_that_cannot_be_used_is_said_with_its_place(
    check: list[str], folder: Path, pair: Pair
) -> None:
    (folder / "empty.pem").touch()
    (folder / "c.conf").write_text(f'\ntls {{ cert_file: "empty.pem", key_file: "{pair.key_file}" }}')

    done = run(*check, "-c", "c.conf")

    assert done.returncode == 1
    assert done.stderr.startswith("nats-server-py: c.conf:2:1: error parsing X509 certificate/key pair: ")


@pytest.mark.spec("operations 5.1")
def test_what_a_server_warns_of_is_said_before_it_listens(folder: Path, pair: Pair) -> None:
    (folder / "c.conf").write_text(
        tls(pair, "curve_preferences: [CurveP256, CurveP384]")
        + "no_auth_user: a\nauthorization { users: [ {user: a, password: s3cret} ] }"
    )

    with Process.ready("-c", "c.conf") as server:
        assert [line for line in server.messages if line.startswith("[WRN]")] == [
            "[WRN] Plaintext passwords detected, use nkeys or bcrypt",
            '[WRN] Clients that do not log in are user "a" of account "$G", who may use every subject',
            "[WRN] TLS: of several curve_preferences none is left out: "
            "Python can choose one curve or all of them",
        ]
        assert "s3cret" not in server.text


@pytest.mark.spec("client-protocol 12:Authorization Violation", "client-protocol 13:Authentication Failure")
def test_a_login_that_fails_is_logged_without_what_was_said(folder: Path) -> None:
    (folder / "c.conf").write_text("accounts { A { users: [ {user: ann, password: s3cret} ] } }")

    with Process.ready("-c", "c.conf", "-DV") as server:
        with RawClient("127.0.0.1", server.port) as client:
            client.read_info()
            client.send(b'CONNECT {"user":"ann","pass":"gu3ss","auth_token":"t0ken","sig":"s1g"}\r\n')
            assert client.read_all_until_closed() == b"-ERR 'Authorization Violation'\r\n"
        server.wait_for("Client connection closed: Authentication Failure")

        assert "[ERR] 127.0.0.1:" in server.text
        assert 'authentication error - User "ann"' in server.text
        assert not re.search("s3cret|gu3ss|t0ken|s1g", server.text)


WITHOUT: Final = """
import sys
sys.modules["bcrypt"] = None
from natscore_cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("authorization { users: [ {user: a, password: b} ] }", "a list of users"),
        (f'authorization {{ token: "$2a$04${"x" * 53}" }}', "a hashed token"),
    ],
)
@pytest.mark.parametrize("check", [["-t"], []], ids=["-t", "start"])
def test_where_the_security_package_is_missing_it_is_said_what_to_install(
    text: str, what: str, check: list[str], folder: Path
) -> None:
    (folder / "c.conf").write_text(text)

    done = run(*check, "-c", "c.conf", command=(sys.executable, "-c", WITHOUT))

    assert (done.returncode, done.stderr) == (
        1,
        f"nats-server-py: {what} needs the package natscore-security, and bcrypt is not installed: "
        "pip install natscore[security]\n",
    )


def test_one_plain_user_needs_no_security_package(folder: Path) -> None:
    (folder / "c.conf").write_text("authorization { user: a, password: b }")

    done = run("-t", "-c", "c.conf", command=(sys.executable, "-c", WITHOUT))

    assert done.returncode == 0

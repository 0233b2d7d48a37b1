"""What hostile clients can put into the log of a real server: no secret, no control character."""

from __future__ import annotations

import json
import unicodedata

import pytest

from tests.command.process import Process
from tests.support.wire import RawClient

SECRETS = {key: f"s3cret-{key[0]}" for key in ("pass", "auth_token", "jwt", "sig", "nkey")}
HOSTILE = "\x1b[2J\x07\x7f\x9b31m\u2028\u202e\u200f[1] 2026/01/02 [INF] forged"


def connect_line(**fields: object) -> bytes:
    return b"CONNECT " + json.dumps(fields).encode() + b"\r\n"


def talk(server: Process, *parts: bytes) -> bytes:
    """Send, and read until the server closes or answers a PING."""
    with RawClient("127.0.0.1", server.port) as client:
        client.read_info()
        client.send(b"".join(parts))
        return client.read_until(rb"PONG\r\n") if parts[-1] == b"PING\r\n" else client.read_all_until_closed()


@pytest.fixture(params=["text", "json"])
def traced(request: pytest.FixtureRequest) -> str:
    """The log of a server with -DV that was told secrets and control characters in every way."""
    flags = ("-DV", "--user", "joe", "--pass", "s3cret-p", "--log-format", request.param)
    with Process("-a", "127.0.0.1", "-p", "-1", *flags) as server:
        server.wait_for("Server is ready|server_ready")
        good = connect_line(verbose=False, user="joe", name=HOSTILE, lang="py", version="1", **SECRETS)
        subject = b"foo\x1b[2J\xc2\x9b"
        talk(server, good, b"SUB %b 1\r\nPUB %b 4\r\n\x1b[2J\r\n" % (subject, subject), b"PING\r\n")
        talk(server, connect_line(verbose=False, user=HOSTILE, **SECRETS))
        nested = {"deep": [SECRETS]}
        talk(server, connect_line(verbose=False, user="joe", nested=nested, **SECRETS), b"PING\r\n")
        talk(server, good.replace(b'"pass"', b'"pass":"s3cret-x","PASS"'), b"PING\r\n")
        talk(server, good[:-3] + b"\r\n")
        talk(server, good.replace(b"CONNECT", b"CONECT"))
        talk(server, b'CONNECT {"pass":"s3cret-p", \x1b[2J}\r\n')
        talk(server, good.replace(b"CONNECT ", b"connect\t"), b"SUB > _sys_ 2\r\n", b"PING\r\n")
        talk(server, good, b"PUB $NRG.\x1b 0\r\n\r\n", b"PING\r\n")
        talk(server, good, b"\x1b]0;title\x07\r\n")
        talk(server, b"\x00\x1b[31m\n")
        assert server.stop() == 0
        return server.text


@pytest.mark.spec("operations 6.3", "client-protocol 22")
def test_tracing_prints_no_secret(traced: str) -> None:
    assert "s3cret" not in traced
    assert "[REDACTED]" in traced


def test_no_control_character_of_a_client_reaches_the_log(traced: str) -> None:
    bad = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

    assert sorted({char for char in traced if unicodedata.category(char) in bad} - {"\n"}) == []


def test_no_client_can_forge_a_line(traced: str) -> None:
    assert [line for line in traced.splitlines() if line.startswith("[1] ")] == []
    assert "forged" in traced

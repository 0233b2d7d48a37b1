"""Each -ERR text and each closing reason of the catalogue, produced on the wire.

Client libraries match these texts, and operators read these reasons, so each row
of client-protocol.md sections 12 and 13 has at least one scenario here, written as
a vector and run against every subject. Rows whose feature comes with a later issue
are listed with it; together the two tables are the whole catalogue.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from natscore.errors import CloseReason
from natscore.events import ConnectionClosed, PeerClosing
from natscore.testing import World
from tests.conformance.drivers import SocketDriver, drivers
from tests.conformance.runner import run_vector
from tests.conformance.sockets import logged_close_reason, wait_for_close_reason
from tests.conformance.vectors import Step, Vector
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

    from tests.conformance.drivers import Driver
    from tests.conformance.sockets import ServerPool

QUIET: Final = b'CONNECT {"verbose":false,"pedantic":false}\r\n'
HEADERS: Final = b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n'
TOKEN: Final = 'authorization: { token: "s3cret", timeout: 0.5 }'
USER: Final = 'authorization: { user: "u", password: "pw", timeout: 0.5 }'


@dataclass(frozen=True, slots=True)
class Row:
    """One way to a row of the catalogue: of the texts, of the reasons, or of both."""

    when: str
    vector: Vector
    text: str | None = None
    reason: str | None = None


def step(
    send: bytes,
    expect: bytes,
    *,
    on: str = "a",
    expect_214: bytes | None = None,
    reason: str | None = None,
    timeout_ms: int = 3000,
) -> Step:
    """A step with literal expectations; one with a reason closes."""
    return Step(
        connection=on,
        parts=(send,),
        expect=re.compile(re.escape(expect)),
        expect_214=None if expect_214 is None else re.compile(re.escape(expect_214)),
        closes=reason is not None,
        close_reason=reason,
        timeout_ms=timeout_ms,
    )


def vector(name: str, *steps: Step, config: str | None, fresh: bool = False) -> Vector:
    """A scenario of this module; the numbers of vectors belong to the data file."""
    return Vector(number=0, group="catalogue", name=name, steps=steps, config=config, fresh_server=fresh)


def closes(
    text: str | None, reason: str, when: str, send: bytes, *, before: bytes = b"", config: str | None = None
) -> Row:
    """`send` is answered by `before` and the error, then by the close."""
    error = b"" if text is None else b"-ERR '" + text.encode() + b"'\r\n"
    return Row(when, vector(when, step(send, before + error, reason=reason), config=config), text, reason)


def stays(text: str, when: str, send: bytes, said: str, *, config: str | None = None) -> Row:
    """`send` and a PING are answered by the error and a PONG: the connection stays open."""
    answer = b"-ERR '" + said.encode() + b"'\r\nPONG\r\n"
    return Row(when, vector(when, step(QUIET + send + b"PING\r\n", answer), config=config), text)


ROWS: Final = (
    closes("Unknown Protocol Operation", "Protocol Violation", "an unknown operation", QUIET + b"FOO\r\n"),
    closes(
        "Unknown Protocol Operation", "Protocol Violation", "a payload longer than its size",
        QUIET + b"PUB foo 2\r\nhiX\r\n",
    ),
    closes(
        "Unknown Protocol Operation", "Protocol Violation", "an operation of servers",
        QUIET + b"RS+ $G foo\r\n",
    ),
    closes(
        "Authorization Violation", "Authentication Failure", "a wrong token",
        b'CONNECT {"verbose":false,"auth_token":"nope"}\r\n', config=TOKEN,
    ),
    closes(
        "Authorization Violation", "Authentication Failure", "a user in place of the token",
        b'CONNECT {"verbose":false,"user":"s3cret","pass":"s3cret"}\r\n', config=TOKEN,
    ),
    closes(
        "Authorization Violation", "Authentication Failure", "no credentials", QUIET, config=USER,
    ),
    closes(
        "Authorization Violation", "Authentication Failure", "a wrong password",
        b'CONNECT {"verbose":false,"user":"u","pass":"pw2"}\r\n', config=USER,
    ),
    closes(
        "Authorization Violation", "Authentication Failure", "a wrong user",
        b'CONNECT {"verbose":false,"user":"v","pass":"pw"}\r\n', config=USER,
    ),
    closes(
        "Authorization Violation", "Authentication Failure", "a first operation that is not CONNECT",
        b"SUB foo 1\r\n", config=USER,
    ),
    closes(
        "Authorization Violation", "Authentication Failure", "wrong credentials in a second CONNECT",
        b'CONNECT {"verbose":false,"user":"u","pass":"pw"}\r\nPING\r\n'
        b'CONNECT {"verbose":false,"user":"u","pass":"no"}\r\n',
        before=b"PONG\r\n", config=USER,
    ),
    closes(
        "Authorization Violation", "Authentication Failure", "a designated account",
        b'CONNECT {"verbose":false,"account":"A"}\r\n',
    ),
    closes(
        "Authentication Timeout", "Authentication Timeout", "silence where a token is required", b"",
        config=TOKEN,
    ),
    closes(
        "Authentication Timeout", "Authentication Timeout", "an unfinished CONNECT", b"CONNECT {",
        config=USER,
    ),
    closes(
        "invalid client protocol", "Bad Client Protocol Version", "protocol 2",
        b'CONNECT {"verbose":false,"protocol":2}\r\n',
    ),
    closes(
        "no responders requires headers support", "No Responders Requires Headers",
        "no_responders without headers", b'CONNECT {"verbose":false,"no_responders":true}\r\n',
    ),
    Row(
        "a third connection of two",
        vector(
            "a third connection of two",
            step(QUIET + b"PING\r\n", b"PONG\r\n", on="a"),
            step(QUIET + b"PING\r\n", b"PONG\r\n", on="b"),
            step(
                b"", b"-ERR 'maximum connections exceeded'\r\n",
                on="c", reason="Maximum Connections Exceeded",
            ),
            config="max_connections: 2", fresh=True,
        ),
        "maximum connections exceeded", "Maximum Connections Exceeded",
    ),
    stays(
        "maximum subscriptions exceeded", "a third subscription of two",
        b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n", "maximum subscriptions exceeded", config="max_subscriptions: 2",
    ),
    stays(
        "maximum subscriptions exceeded", "a known sid at the limit",
        b"SUB a 1\r\nSUB b 2\r\nSUB b 2\r\n", "maximum subscriptions exceeded", config="max_subscriptions: 2",
    ),
    closes(
        "Maximum Payload Violation", "Maximum Message Payload Exceeded", "PUB of one byte too many",
        QUIET + b"PUB foo 11\r\n", config="max_payload: 10",
    ),
    closes(
        "Maximum Payload Violation", "Maximum Message Payload Exceeded", "HPUB of one byte too many",
        HEADERS + b"HPUB foo 0 11\r\n", config="max_payload: 10",
    ),
    closes(
        "maximum control line exceeded", "Maximum Control Line Exceeded", "4097 bytes of arguments",
        QUIET + b"SUB " + b"a" * 4095 + b" 1\r\n",
    ),
    stays("Invalid Subject", "SUB of an empty token", b"SUB foo..bar 1\r\n", "Invalid Subject"),
    stays("Invalid Subject", "SUB of a full wildcard that is not last", b"SUB >.a 1\r\n", "Invalid Subject"),
    stays(
        "Invalid Publish Subject", "a pedantic PUB of an empty token",
        b'CONNECT {"pedantic":true}\r\nPUB foo..bar 0\r\n\r\n', "Invalid Publish Subject",
    ),
    stays(
        "Invalid Publish Subject", "a pedantic HPUB of a wildcard",
        b'CONNECT {"pedantic":true,"headers":true}\r\nHPUB foo.* 12 12\r\nNATS/1.0\r\n\r\n\r\n',
        "Invalid Publish Subject",
    ),
    stays(
        'Permissions Violation for Publish to "S"', "a gateway reply as subject",
        b"PUB _GR_.x 0\r\n\r\n", 'Permissions Violation for Publish to "_GR_.x"',
    ),
    Row(
        "a Raft subject",
        vector(
            "a Raft subject",
            step(
                QUIET + b"PUB $NRG.x 0\r\n\r\nPING\r\n", b"PONG\r\n",
                expect_214=b"-ERR 'Permissions Violation for Publish to \"$NRG.x\"'\r\nPONG\r\n",
            ),
            config=None,
        ),
        'Permissions Violation for Publish to "S"',
    ),
    stays(
        'Permissions Violation for Publish with Reply of "R"', "a service reply as reply",
        b"PUB foo _R_.x 0\r\n\r\n", 'Permissions Violation for Publish with Reply of "_R_.x"',
    ),
    stays(
        'Permissions Violation for Publish with Reply of "R"', "an acknowledgement as reply, quoted",
        b'PUB foo $JS.ACK."\\\x01\xff\xc3\xbc 0\r\n\r\n',
        'Permissions Violation for Publish with Reply of "$JS.ACK.\\"\\\\\\x01\\xff\u00fc"',
    ),
    stays(
        'Permissions Violation for Subscription to "S" using queue "Q"', "the queue group of the system",
        b"SUB foo _sys_ 1\r\n", 'Permissions Violation for Subscription to "foo" using queue "_sys_"',
    ),
    stays(
        'Permissions Violation for Subscription to "S", too many tokens', "four tokens of three",
        b"SUB a.b.c.d 1\r\n", 'Permissions Violation for Subscription to "a.b.c.d", too many tokens',
        config="max_sub_tokens: 3",
    ),
    closes(
        "Stale Connection", "Stale Connection", "two unanswered PINGs", QUIET + b"PING\r\n",
        before=b"PONG\r\nPING\r\nPING\r\n", config='ping_interval: "200ms"\nping_max: 2',
    ),
    closes(None, "Protocol Violation", "SUB without a sid", QUIET + b"SUB foo\r\n"),
    closes(None, "Protocol Violation", "CONNECT that is not JSON", b"CONNECT {bad\r\n"),
    closes(None, "Protocol Violation", "HPUB without headers", QUIET + b"HPUB foo 12 12\r\n"),
    closes(None, "Parse Error", "an error from the client", QUIET + b"-ERR 'x'\r\n"),
)  # fmt: skip

TEXTS_FOR_LATER: Final = {
    "User Authentication Expired": "user tokens come with the security package",
    "Account Authentication Expired": "account tokens come with the security package",
    "User Authentication Revoked": "revocations come with the security package",
    "Failed Account Registration": "accounts are a later issue",
    "maximum account active connections exceeded": "limits of accounts are a later issue",
    'Permissions Violation for Subscription to "S"': "permissions are a later issue",
    'Permissions Violation for Subscription to "S" (sid "N")': "reload and permissions are later issues",
    "Secure Connection - TLS Required": "nobody ever sees it (tests/unit/core/connection/test_entrance.py)",
    "Connection throttling is active. Please try again later.": "needs certificates (.../test_entrance.py)",
    "attempted to connect to route port": "routes are a later issue",
    "attempted to connect to leaf node port": "leaf nodes are a later issue",
    "attempted to connect to gateway port": "gateways are a later issue",
}

REASONS_FOR_LATER: Final = {
    "TLS Handshake Failure": "needs certificates (test_tls.py, beside this)",
    "Incorrect Port": "there is one listener only, until routes, gateways and leaf nodes come",
    "Maximum Account Connections Exceeded": "limits of accounts are a later issue",
    "Maximum Subscriptions Exceeded": "limits that change under a connection come with reload",
    "Authentication Expired": "user tokens come with the security package",
    "Missing Account": "accounts are a later issue",
    "Credentials Revoked": "revocations come with the security package",
    "Kicked": "requests to the system account are a later issue",
    "Proxy Not Trusted": "the PROXY protocol is a later issue",
    "Proxy Required": "the PROXY protocol is a later issue",
}

REASONS_OF_SOCKETS: Final = {
    "Client Closed",
    "Read Error",
    "Server Shutdown",
    "Slow Consumer (Pending Bytes)",
    "Slow Consumer (Write Deadline)",
}
"""Produced below, by what happens to a socket rather than by what is said on it."""

REASONS_OF_THE_CORE: Final = {
    "Write Error": "a reset breaks the write and the read; which of them a real server sees first is chance",
}
"""Produced below by telling the core what happened to a socket."""

TEXTS_IN_CATALOGUE: Final = 28  # section 12; one row there holds three texts
REASONS_IN_CATALOGUE: Final = 26  # section 13, without its last row, which clients of TCP never see


def cases() -> list[ParameterSet]:
    """Driver by driver, every row that its subject can be configured for."""
    return [
        pytest.param(
            driver, row, id=f"{driver.name}-{row.text or row.reason}-{row.when}", marks=marks(driver, row)
        )
        for driver in drivers()
        for row in ROWS
        if driver.reason_to_leave_out(row.vector.config) is None
    ]  # fmt: skip


def marks(driver: Driver, row: Row) -> list[pytest.MarkDecorator]:
    """The sections that a row proves, and whether it needs a socket."""
    return [
        *([pytest.mark.spec(f"client-protocol 12:{row.text}")] if row.text is not None else []),
        *([pytest.mark.spec(f"client-protocol 13:{row.reason}")] if row.reason is not None else []),
        *([pytest.mark.interop] if isinstance(driver, SocketDriver) else []),
    ]


@pytest.mark.parametrize(("driver", "row"), cases())
def test_client_is_told_the_text_and_closed_for_the_reason(
    driver: Driver, row: Row, pool: ServerPool
) -> None:
    with driver.session(pool, config=row.vector.config, fresh=row.vector.fresh_server) as subject:
        run_vector(row.vector, subject)


on_every_socket = pytest.mark.parametrize(
    "driver", [pytest.param(d, id=d.name) for d in drivers() if isinstance(d, SocketDriver)]
)


@pytest.mark.interop
@pytest.mark.spec("client-protocol 13:Client Closed")
@on_every_socket
def test_client_that_ends_its_stream_is_closed_as_client_closed(
    driver: SocketDriver, pool: ServerPool
) -> None:
    server = driver.session(pool, config=None, fresh=False).server
    client, info = RawClient.connect(server.host, server.port)
    with client:
        client.half_close()

        assert client.read_all_until_closed() == b""
        assert wait_for_close_reason(server, info["client_id"]) == "Client Closed"


@pytest.mark.interop
@pytest.mark.spec("client-protocol 13:Read Error")
@on_every_socket
def test_client_whose_connection_is_reset_is_closed_for_a_read_error(
    driver: SocketDriver, pool: ServerPool
) -> None:
    server = driver.session(pool, config=None, fresh=False).server
    client, info = RawClient.connect(server.host, server.port)

    client.reset()

    assert wait_for_close_reason(server, info["client_id"]) == "Read Error"


@pytest.mark.interop
@pytest.mark.spec("client-protocol 13:Server Shutdown")
@on_every_socket
def test_server_that_stops_closes_its_clients_without_a_word(driver: SocketDriver, pool: ServerPool) -> None:
    with driver.session(pool, config=None, fresh=True) as session:
        server = session.server
        client, info = RawClient.connect(server.host, server.port)
        with client:
            server.stop()

            assert client.read_all_until_closed() == b""
            logged = logged_close_reason(server, info["client_id"])
            # the reference may have exited before it wrote the line
            assert logged == "Server Shutdown" or (logged is None and driver.program.kind == "go")


FLOOD_MESSAGE: Final = b"PUB flood 262144\r\n" + bytes(262_144) + b"\r\n"
FLOOD_MESSAGES_MAX: Final = 160  # 40 MiB: more than two socket buffers and max_pending hold


@pytest.mark.interop
@pytest.mark.parametrize(
    ("config", "messages", "reason"),
    [
        # Of the pending bytes a flood can be stopped; a deadline needs output that waits, not much of it.
        pytest.param(
            "max_pending: 1048576", FLOOD_MESSAGES_MAX, "Slow Consumer (Pending Bytes)", id="pending"
        ),
        pytest.param('write_deadline: "300ms"', 64, "Slow Consumer (Write Deadline)", id="deadline"),
    ],
)
@pytest.mark.spec(
    "client-protocol 13:Slow Consumer (Pending Bytes)",
    "client-protocol 13:Slow Consumer (Write Deadline)",
    "client-protocol 15.2:pending bytes after an append > max_pending (CLIENT only)",
    "client-protocol 15.2:write exceeds write_deadline",
)
@on_every_socket
def test_client_that_does_not_read_is_cut_without_an_error_text(
    driver: SocketDriver, config: str, messages: int, reason: str, pool: ServerPool
) -> None:
    with driver.session(pool, config=config, fresh=True) as session:
        server = session.server
        sleeper, info = RawClient.connect(server.host, server.port)
        publisher, _ = RawClient.connect(server.host, server.port)
        with sleeper, publisher:
            sleeper.send(QUIET + b"SUB flood 1\r\nPING\r\n")
            sleeper.read_until(rb"PONG\r\n")

            publisher.send(QUIET)
            for _ in range(messages):
                publisher.send(FLOOD_MESSAGE)
                if logged_close_reason(server, info["client_id"]) is not None:
                    break

            assert wait_for_close_reason(server, info["client_id"]) == reason
            assert b"-ERR" not in sleeper.read_all_until_closed()
            publisher.send(b"PING\r\n")
            assert publisher.read_until(rb"\r\n") == b"PONG\r\n"


@pytest.mark.spec("client-protocol 13:Write Error")
@pytest.mark.parametrize(
    ("why", "reason"),
    [
        (PeerClosing.END_OF_STREAM, "Client Closed"),
        (PeerClosing.READ_ERROR, "Read Error"),
        (PeerClosing.WRITE_ERROR, "Write Error"),
    ],
)
def test_core_that_is_told_how_a_connection_ended_names_the_reason(why: PeerClosing, reason: str) -> None:
    world = World()
    server = world.server()
    client = server.connect()

    server.feed(ConnectionClosed(at=world.at, cid=client.cid, why=why))

    [closed] = [note for note in server.notes if note.name == "client_connection_closed"]
    assert closed.fields["cid"] == client.cid
    assert closed.fields["reason"] == CloseReason(reason)


def test_tables_hold_each_text_of_the_catalogue_once() -> None:
    produced = {row.text for row in ROWS if row.text is not None}

    assert produced.isdisjoint(TEXTS_FOR_LATER)
    assert len(produced) + len(TEXTS_FOR_LATER) == TEXTS_IN_CATALOGUE


def test_tables_hold_each_reason_of_the_catalogue_once() -> None:
    produced = {row.reason for row in ROWS if row.reason is not None}
    tables = [produced, REASONS_OF_SOCKETS, REASONS_OF_THE_CORE.keys(), REASONS_FOR_LATER.keys()]

    assert len(set().union(*tables)) == sum(map(len, tables)) == REASONS_IN_CATALOGUE

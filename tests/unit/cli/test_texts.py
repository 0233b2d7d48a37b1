"""Notes become the sentences of nats-server, and nothing that was noted is lost."""

from __future__ import annotations

import pytest

from natscore.effects import Level, Note
from natscore.errors import CloseReason
from natscore.events import Address, ConnectionKind
from natscore_cli.texts import message, plain_fields, prefix


def note(name: str, /, **fields: object) -> Note:
    return Note(Level.INFO, name, fields)


def client_note(name: str, /, *, label: str = "", **fields: object) -> Note:
    return note(
        name, cid=4, kind=ConnectionKind.CLIENT, remote=Address("127.0.0.1", 47588), label=label, **fields
    )


@pytest.mark.spec("operations 6.2")
def test_a_note_about_a_client_begins_with_its_address_and_number() -> None:
    assert prefix(client_note("ping_timer")) == "127.0.0.1:47588 - cid:4 - "


@pytest.mark.spec("operations 6.2")
def test_a_client_that_said_who_it_is_is_named() -> None:
    assert prefix(client_note("ping_timer", label="v1.0:py:myapp")) == (
        '127.0.0.1:47588 - cid:4 - "v1.0:py:myapp" - '
    )


@pytest.mark.spec("operations 6.2")
def test_a_client_that_logged_in_is_shown_with_its_account() -> None:
    found = client_note("ping_timer", label="v1.0:py:myapp", login='$G/user:j"oe')

    assert prefix(found) == '127.0.0.1:47588 - cid:4 - "v1.0:py:myapp" - "$G/user:j\\"oe" - '
    assert message(client_note("comet_seen", login="$G/token")) == "comet_seen"


@pytest.mark.spec("operations 6.2")
def test_an_address_of_version_6_stands_in_brackets() -> None:
    found = note("ping_timer", cid=5, kind=ConnectionKind.ROUTE, remote=Address("::1", 6222))

    assert prefix(found) == "[::1]:6222 - rid:5 - "


def test_a_client_cannot_forge_the_rest_of_the_line_by_its_name() -> None:
    label = 'py:x" - Client connection closed\r\n[1] [INF] \x1b[2J\u202e'

    assert prefix(client_note("ping_timer", label=label)) == (
        '127.0.0.1:47588 - cid:4 - "py:x\\" - Client connection closed\\r\\n[1] [INF] \\x1b[2J\\u202e" - '
    )


def test_a_note_about_no_connection_has_no_prefix() -> None:
    assert prefix(note("server_ready")) == ""


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (note("server_starting", program="nats-server-py"), "Starting nats-server-py"),
        (note("server_version", version="1.2.3"), "  Version:  1.2.3"),
        (note("server_git", git="not set"), "  Git:      [not set]"),
        (note("server_name", name="east"), "  Name:     east"),
        (note("server_id", server_id="NABC"), "  ID:       NABC"),
        (
            note("listening_for_clients", address=Address("0.0.0.0", 4222)),
            "Listening for client connections on 0.0.0.0:4222",
        ),
        (
            note("listening_for_clients", address=Address("::", 4222)),
            "Listening for client connections on [::]:4222",
        ),
        (note("server_ready"), "Server is ready"),
        (
            note("max_payload_discouraged"),
            "Maximum payloads over 8.00 MB are generally discouraged and could lead to poor performance",
        ),
        (
            note("listen_failed", address=Address("127.0.0.1", 1), error="in use"),
            'Error listening on port: 127.0.0.1:1, "in use"',
        ),
        (note("pid_file_failed", error="open /x: denied"), "Could not write pidfile: open /x: denied"),
        (note("ports_file_failed", path="/x", error="no"), "Error writing ports file (/x): no"),
        (note("ports_file_cleanup_failed", path="/x", error="no"), "Error cleaning up ports file /x: no"),
        (note("signal_trapped", signal="interrupt"), 'Trapped "interrupt" signal'),
        (note("shutdown_initiated"), "Initiating Shutdown..."),
        (note("server_exiting"), "Server Exiting.."),
        (client_note("client_connection_created"), "Client connection created"),
        (
            client_note("client_connection_closed", reason=CloseReason.SLOW_CONSUMER_PENDING),
            "Client connection closed: Slow Consumer (Pending Bytes)",
        ),
        (client_note("authentication_failed", user="a"), 'authentication error - User "a"'),
        (client_note("authentication_failed", user=""), "authentication error"),
        (client_note("authentication_timeout"), "Authentication Timeout"),
        (
            client_note(
                "client_violation",
                reason=CloseReason.PROTOCOL_VIOLATION,
                text=b"Unknown Protocol Operation",
                snippet=b"GET / HTTP/1.1\r\n",
            ),
            "Client parser ERROR, Unknown Protocol Operation: proto='\"GET / HTTP/1.1\\r\\n\"...'",
        ),
        (
            client_note("client_violation", reason=CloseReason.PARSE_ERROR, text=b"", snippet=b"CONECT {"),
            "Client parser ERROR: proto='\"CONECT [REDACTED]\"...'",
        ),
        (
            client_note("client_violation", reason=CloseReason.PROTOCOL_VIOLATION, text=b"", snippet=b""),
            "Client parser ERROR",
        ),
        (
            client_note(
                "client_violation",
                reason=CloseReason.MAX_CONNECTIONS,
                text=b"maximum connections exceeded",
                snippet=b"",
            ),
            "maximum connections exceeded",
        ),
        (
            client_note(
                "client_violation",
                reason=CloseReason.STALE_CONNECTION,
                text=b"Stale Connection",
                snippet=b"",
            ),
            "Stale Connection",
        ),
        (
            client_note("slow_consumer", detail="MaxPending of 5 Exceeded", pending=6),
            "Slow Consumer Detected: MaxPending of 5 Exceeded",
        ),
        (
            client_note("memory_limit_cut", pending=6, total=20, limit=10),
            "Closed for holding 6 bytes, the most of all; together they held 20 (memory_max 10)",
        ),
        (
            client_note("connection_failed", event=12, error="KeyError(1)"),
            "Closed after an internal error at event 12: KeyError(1)",
        ),
        (
            client_note("publish_violation", user="a", subject=b"y", reply=b"$JS.ACK.x"),
            'Publish Violation - User "a", Reply "$JS.ACK.x"',
        ),
        (
            client_note("publish_violation", user="a", subject=b"y"),
            'Publish Violation - User "a", Subject "y"',
        ),
        (
            client_note("publish_violation", user="", subject=b"y"),
            'Publish Violation - Subject "y"',
        ),
        (
            client_note("subscription_violation", user="a", subject=b"y", queue=None, sid=b"1"),
            'Subscription Violation - User "a", Subject "y", SID 1',
        ),
        (
            client_note("subscription_violation", user="a", subject=b"y", queue=b"q", sid=b"1"),
            'Subscription Violation - User "a", Subject "y", Queue: "q", SID 1',
        ),
        (client_note("ping_timer"), "Client Ping Timer"),
        (
            note("accept_failed", error="too many open files", sleep_ms=10),
            "Temporary Client Accept Error(too many open files), sleeping 10ms",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Note) else "",
)
@pytest.mark.spec("operations 5.1", "operations 6.2", "operations 7", "operations 11")
def test_the_sentence_of_a_note_is_that_of_nats_server(found: Note, text: str) -> None:
    assert message(found) == text


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (client_note("trace_in", line=b"SUB x.b q 2"), "<<- [SUB x.b q 2]"),
        (client_note("trace_out", line=b"MSG x.a 1 r 5"), "->> [MSG x.a 1 r 5]"),
        (client_note("trace_internal", line=b"DELSUB 2"), "<-> [DELSUB 2]"),
        (client_note("trace_payload_in", payload=b"hello"), '<<- MSG_PAYLOAD: ["hello"]'),
        (
            client_note("trace_payload_out", payload=b'NATS/1.0\r\n\r\na"\x00\xff'),
            r'->> MSG_PAYLOAD: ["NATS/1.0\r\n\r\na\"\x00\xff"]',
        ),
        (client_note("trace_payload_in", payload=b"ABCD", cut=True), '<<- MSG_PAYLOAD: ["ABCD..."]'),
        (
            client_note("trace_out", line=b"-ERR 'Permissions Violation for Publish to \"y\"'"),
            '->> [-ERR Permissions Violation for Publish to "y"]',
        ),
        (
            client_note("trace_in", line=b'CONNECT {"user":"a","pass":"s3cret"}'),
            '<<- [CONNECT {"user":"a","pass":"[REDACTED]"}]',
        ),
        (client_note("trace_in", line=b"SUB a\x1b[2J\xff 1"), r"<<- [SUB a\x1b[2J\xff 1]"),
    ],
    ids=lambda value: value.name if isinstance(value, Note) else "",
)
@pytest.mark.spec("operations 6.3", "client-protocol 22")
def test_the_trace_shows_protocol_lines_in_brackets_and_payloads_quoted(found: Note, text: str) -> None:
    assert message(found) == text


def test_a_note_without_a_row_is_written_with_its_fields() -> None:
    kind = ConnectionKind.CLIENT
    found = note("comet_seen", distance=5, by="two words", raw=b"a\x1b", nothing="", kind=kind)

    assert message(found) == r'comet_seen distance=5 by="two words" raw=a\x1b nothing="" kind=cid'


def test_a_note_about_a_connection_without_a_row_does_not_repeat_its_prefix() -> None:
    assert message(client_note("comet_seen", distance=5)) == "comet_seen distance=5"


def test_a_note_that_lacks_what_its_row_wants_is_written_with_its_fields() -> None:
    assert message(note("accept_failed", error="x")) == "accept_failed error=x"
    assert message(client_note("publish_violation", user="a")) == "publish_violation user=a"


@pytest.mark.parametrize("name", ["pass", "password", "auth_token", "jwt", "sig", "nkey", "token"])
def test_a_field_that_is_named_like_a_secret_is_withheld_everywhere(name: str) -> None:
    found = note("comet_seen", **{name: "s3cret"})

    assert message(found) == f"comet_seen {name}=[REDACTED]"
    assert plain_fields(found) == {name: "[REDACTED]"}


def test_fields_for_json_are_plain_and_redacted() -> None:
    found = client_note(
        "anything",
        line=b'CONNECT {"jwt":"s3cret"}',
        snippet=b'CONECT {"jwt":"s3cret"}',
        reason=CloseReason.PARSE_ERROR,
        level=Level.ERROR,
        raw=b"\xff",
        many=(b"a", 1),
        ratio=0.5,
        absent=None,
        path="\udcff",
    )

    assert plain_fields(found) == {
        "cid": 4,
        "kind": "cid",
        "remote": "127.0.0.1:47588",
        "label": "",
        "line": 'CONNECT {"jwt":"[REDACTED]"}',
        "snippet": "CONECT [REDACTED]",
        "reason": "Parse Error",
        "level": 50,
        "raw": "\\xff",
        "many": ["a", 1],
        "ratio": 0.5,
        "absent": None,
        "path": "\\udcff",
    }

"""The texts that clients parse and the reasons that operators read."""

from __future__ import annotations

import pytest

from natscore import errors
from natscore.errors import CloseReason, ReplayDivergence, Violation, quoted

# what Go's strconv.Quote makes of them
QUOTED_BY_GO = [
    (b"", '""'),
    (b"foo", '"foo"'),
    (b'a"b\\c', '"a\\"b\\\\c"'),
    (b"\a\b\f\n\r\t\v", '"\\a\\b\\f\\n\\r\\t\\v"'),
    (b"\x00\x01\x1f\x7f", '"\\x00\\x01\\x1f\\x7f"'),
    (b"\xff", '"\\xff"'),
    ("ü".encode(), '"ü"'),
    (b"\xc2\x80", '"\\u0080"'),
    (b"\xc2\xa0", '"\\u00a0"'),
    (b"\xc2\xad", '"\\u00ad"'),
    (b"\xe2\x80\xa8", '"\\u2028"'),
    (b"\xe2\x80\x8b", '"\\u200b"'),
    (b"\xe2\x80\xae", '"\\u202e"'),
    (b"\xe3\x80\x80", '"\\u3000"'),
    (b"\xef\xbb\xbf", '"\\ufeff"'),
    (b"\xee\x80\x80", '"\\ue000"'),
    (b"\xef\xbf\xbd", '"\ufffd"'),
    (b"\xcd\xb8", '"\\u0378"'),
    (b"\xed\xa0\x80", '"\\xed\\xa0\\x80"'),
    (b"\xe2\x82", '"\\xe2\\x82"'),
    (b"\xe2\x82A", '"\\xe2\\x82A"'),
    (b"\xc0\xaf", '"\\xc0\\xaf"'),
    (b"\xf4\x90\x80\x80", '"\\xf4\\x90\\x80\\x80"'),
    (b"\xf3\xa0\x80\x81", '"\\U000e0001"'),
    (b"\xf3\xb0\x80\x80", '"\\U000f0000"'),
    ("😀𐀀".encode(), '"😀𐀀"'),
    (b"' ` <>&", '"\' ` <>&"'),
]


@pytest.mark.spec("client-protocol 12.1")
@pytest.mark.parametrize(("raw", "text"), QUOTED_BY_GO)
def test_a_subject_is_quoted_as_go_quotes_it(raw: bytes, text: str) -> None:
    assert quoted(raw) == text.encode()


def test_quoted_text_holds_no_control_byte_whatever_was_quoted() -> None:
    text = quoted(bytes(range(256)))

    assert all(byte >= 0x20 and byte != 0x7F for byte in text)


@pytest.mark.spec("client-protocol 12")
@pytest.mark.parametrize(
    ("violation", "text", "reason"),
    [
        (errors.unknown_operation(), b"Unknown Protocol Operation", CloseReason.PROTOCOL_VIOLATION),
        (errors.authorization_violation(), b"Authorization Violation", CloseReason.AUTHENTICATION_FAILURE),
        (errors.authentication_timeout(), b"Authentication Timeout", CloseReason.AUTHENTICATION_TIMEOUT),
        (errors.invalid_client_protocol(), b"invalid client protocol", CloseReason.BAD_PROTOCOL_VERSION),
        (
            errors.no_responders_needs_headers(),
            b"no responders requires headers support",
            CloseReason.NO_RESPONDERS_NEEDS_HEADERS,
        ),
        (errors.connections_exceeded(), b"maximum connections exceeded", CloseReason.MAX_CONNECTIONS),
        (errors.subscriptions_exceeded(), b"maximum subscriptions exceeded", None),
        (errors.payload_exceeded(), b"Maximum Payload Violation", CloseReason.MAX_PAYLOAD),
        (errors.control_line_exceeded(), b"maximum control line exceeded", CloseReason.MAX_CONTROL_LINE),
        (errors.invalid_subject(), b"Invalid Subject", None),
        (errors.invalid_publish_subject(), b"Invalid Publish Subject", None),
        (errors.publish_denied(b"S"), b'Permissions Violation for Publish to "S"', None),
        (errors.reply_denied(b"R"), b'Permissions Violation for Publish with Reply of "R"', None),
        (errors.subscription_denied(b"S"), b'Permissions Violation for Subscription to "S"', None),
        (
            errors.subscription_denied(b"S", b"Q"),
            b'Permissions Violation for Subscription to "S" using queue "Q"',
            None,
        ),
        (
            errors.too_many_tokens(b"S"),
            b'Permissions Violation for Subscription to "S", too many tokens',
            None,
        ),
        (errors.stale_connection(), b"Stale Connection", CloseReason.STALE_CONNECTION),
        (errors.malformed(), None, CloseReason.PROTOCOL_VIOLATION),
        (errors.error_from_client(), None, CloseReason.PARSE_ERROR),
    ],
)
def test_a_violation_has_the_text_and_the_reason_of_the_catalogue(
    violation: Violation, text: bytes | None, reason: CloseReason | None
) -> None:
    assert violation.wire_text == text
    assert violation.reason is reason


@pytest.mark.spec("client-protocol 13")
def test_reasons_are_spelled_as_monitoring_shows_them() -> None:
    assert {reason.value for reason in CloseReason} == {
        "Client Closed", "Authentication Timeout", "Authentication Failure", "Slow Consumer (Pending Bytes)",
        "Slow Consumer (Write Deadline)", "Write Error", "Read Error", "Parse Error", "Stale Connection",
        "Protocol Violation", "Bad Client Protocol Version", "Maximum Connections Exceeded",
        "Maximum Message Payload Exceeded", "Maximum Control Line Exceeded", "Server Shutdown",
        "No Responders Requires Headers", "TLS Handshake Failure",
        # ours
        "Internal Error", "Slow Consumer (Memory)", "Maximum Unauthenticated Connections Exceeded",
    }  # fmt: skip


@pytest.mark.spec("client-protocol 13")
def test_only_slow_and_broken_connections_are_closed_without_a_flush() -> None:
    assert {reason for reason in CloseReason if not reason.flushes} == {
        CloseReason.SLOW_CONSUMER_PENDING,
        CloseReason.SLOW_CONSUMER_DEADLINE,
        CloseReason.WRITE_ERROR,
        CloseReason.READ_ERROR,
        CloseReason.TLS_HANDSHAKE,
        CloseReason.MEMORY,
    }


def test_the_close_after_a_failed_handshake_is_no_reset_though_nothing_is_flushed() -> None:
    assert not CloseReason.TLS_HANDSHAKE.flushes
    assert {reason for reason in CloseReason if reason.resets} == {
        reason for reason in CloseReason if not reason.flushes and reason is not CloseReason.TLS_HANDSHAKE
    }


def test_a_divergence_names_the_event_and_both_outcomes() -> None:
    divergence = ReplayDivergence(7, "0badc0de", "00000000 after BytesReceived")

    assert divergence.event_number == 7
    assert str(divergence) == "event 7: recorded 0badc0de, replayed 00000000 after BytesReceived"

"""What can go wrong: violations with their exact wire text, reasons, usage errors.

The tables here are what a client library parses and what an operator reads, so
they are byte-exact. They mirror nats-server 2.14.5 (`server/errors.go`,
`server/client.go ClosedState`, `server/monitor.go ClosedState.String`) and are
kept together so that they can be compared at a glance.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = [
    "CloseReason",
    "ConfigError",
    "NatsCoreError",
    "ReplayDivergence",
    "StateCorruptedError",
    "UsageError",
    "Violation",
    "quoted",
    "where_raised",
]


class CloseReason(enum.Enum):
    """Why the server, or the peer, ended a connection (client-protocol.md section 13).

    The value is what monitoring, advisories and logs show.
    """

    CLIENT_CLOSED = "Client Closed"
    AUTHENTICATION_TIMEOUT = "Authentication Timeout"
    AUTHENTICATION_FAILURE = "Authentication Failure"
    SLOW_CONSUMER_PENDING = "Slow Consumer (Pending Bytes)"
    SLOW_CONSUMER_DEADLINE = "Slow Consumer (Write Deadline)"
    WRITE_ERROR = "Write Error"
    READ_ERROR = "Read Error"
    TLS_HANDSHAKE = "TLS Handshake Failure"
    PARSE_ERROR = "Parse Error"
    STALE_CONNECTION = "Stale Connection"
    PROTOCOL_VIOLATION = "Protocol Violation"
    BAD_PROTOCOL_VERSION = "Bad Client Protocol Version"
    MAX_CONNECTIONS = "Maximum Connections Exceeded"
    MAX_PAYLOAD = "Maximum Message Payload Exceeded"
    MAX_CONTROL_LINE = "Maximum Control Line Exceeded"
    SERVER_SHUTDOWN = "Server Shutdown"
    NO_RESPONDERS_NEEDS_HEADERS = "No Responders Requires Headers"
    INTERNAL_ERROR = "Internal Error"  # ours: an exception in our own code
    MEMORY = "Slow Consumer (Memory)"  # ours: the process-wide bound, largest connection first
    ADDRESS_LIMIT = "Maximum Unauthenticated Connections Exceeded"  # ours

    @property
    def flushes(self) -> bool:
        """Whether queued output is offered to the peer before the close."""
        return self not in _UNFLUSHED

    @property
    def resets(self) -> bool:
        """Whether the close is abrupt. After a handshake that failed it is not: a TLS alert tells why."""
        return self in _UNFLUSHED and self is not CloseReason.TLS_HANDSHAKE


_UNFLUSHED: Final = frozenset(
    {
        CloseReason.SLOW_CONSUMER_PENDING,
        CloseReason.SLOW_CONSUMER_DEADLINE,
        CloseReason.WRITE_ERROR,
        CloseReason.READ_ERROR,
        CloseReason.TLS_HANDSHAKE,
        CloseReason.MEMORY,
    }
)


class NatsCoreError(Exception):
    """The root of everything natscore raises on purpose."""


class UsageError(NatsCoreError):
    """The embedder broke the contract, for example by feeding an unknown connection."""


class StateCorruptedError(NatsCoreError):
    """A fact could not be folded: the interest graph is not trusted any more, and the server must stop."""


class ConfigError(NatsCoreError):
    """A setting that cannot be; the text says which and what would be accepted."""


class ReplayDivergence(NatsCoreError):
    """A journal did not replay to what it recorded."""

    def __init__(self, event_number: int, expected: str, actual: str) -> None:
        super().__init__(f"event {event_number}: recorded {expected}, replayed {actual}")
        self.event_number = event_number
        self.expected = expected
        self.actual = actual


class Violation(NatsCoreError):
    """A peer broke the protocol. Caught in one place, in the server.

    `wire_text` goes to the peer as `-ERR 'wire_text'` (None: nothing is said),
    `reason` closes the connection (None: it stays open).
    """

    __slots__ = ("reason", "wire_text")

    def __init__(self, wire_text: str | bytes | None, reason: CloseReason | None) -> None:
        super().__init__(wire_text, reason)
        self.wire_text: Final = wire_text.encode() if isinstance(wire_text, str) else wire_text
        self.reason: Final = reason


# One function or constant for each row of the catalogue (client-protocol.md section 12), so that a
# text is written once. Permission texts quote the subject as Go's %q does.


def unknown_operation() -> Violation:
    return Violation("Unknown Protocol Operation", CloseReason.PROTOCOL_VIOLATION)


def malformed() -> Violation:
    """Wrong argument count, bad size, bad JSON: nothing is said (section 2.3)."""
    return Violation(None, CloseReason.PROTOCOL_VIOLATION)


def error_from_client() -> Violation:
    """`-ERR ...` from a client (section 2.3)."""
    return Violation(None, CloseReason.PARSE_ERROR)


def control_line_exceeded() -> Violation:
    return Violation("maximum control line exceeded", CloseReason.MAX_CONTROL_LINE)


def payload_exceeded() -> Violation:
    return Violation("Maximum Payload Violation", CloseReason.MAX_PAYLOAD)


def authorization_violation() -> Violation:
    return Violation("Authorization Violation", CloseReason.AUTHENTICATION_FAILURE)


def authentication_timeout() -> Violation:
    return Violation("Authentication Timeout", CloseReason.AUTHENTICATION_TIMEOUT)


def invalid_client_protocol() -> Violation:
    return Violation("invalid client protocol", CloseReason.BAD_PROTOCOL_VERSION)


def no_responders_needs_headers() -> Violation:
    return Violation("no responders requires headers support", CloseReason.NO_RESPONDERS_NEEDS_HEADERS)


def connections_exceeded() -> Violation:
    return Violation("maximum connections exceeded", CloseReason.MAX_CONNECTIONS)


def unauthenticated_exceeded() -> Violation:
    """Ours: too many connections of one address that did not log in."""
    return Violation("maximum unauthenticated connections exceeded", CloseReason.ADDRESS_LIMIT)


def tls_required() -> Violation:
    """The TLS handshake took too long. Its reason flushes nothing, so the peer sees the end of the stream."""
    return Violation("Secure Connection - TLS Required", CloseReason.TLS_HANDSHAKE)


def throttled() -> Violation:
    """Too many TLS handshakes in a second."""
    return Violation("Connection throttling is active. Please try again later.", CloseReason.MAX_CONNECTIONS)


def stale_connection() -> Violation:
    return Violation("Stale Connection", CloseReason.STALE_CONNECTION)


def subscriptions_exceeded() -> Violation:
    return Violation("maximum subscriptions exceeded", None)


def invalid_subject() -> Violation:
    return Violation("Invalid Subject", None)


def invalid_publish_subject() -> Violation:
    return Violation("Invalid Publish Subject", None)


def publish_denied(subject: bytes) -> Violation:
    return Violation(b"Permissions Violation for Publish to " + quoted(subject), None)


def reply_denied(reply: bytes) -> Violation:
    return Violation(b"Permissions Violation for Publish with Reply of " + quoted(reply), None)


def subscription_denied(subject: bytes, queue: bytes | None = None) -> Violation:
    text = b"Permissions Violation for Subscription to " + quoted(subject)
    if queue is not None:
        text += b" using queue " + quoted(queue)
    return Violation(text, None)


def subscription_removed(subject: bytes, queue: bytes | None, sid: bytes) -> Violation:
    """A reload took the right to a subscription that is there (operations.md section 9.3)."""
    denied = subscription_denied(subject, queue).wire_text
    assert denied is not None
    return Violation(denied + b" (sid " + quoted(sid) + b")", None)


def too_many_tokens(subject: bytes) -> Violation:
    return Violation(
        b"Permissions Violation for Subscription to " + quoted(subject) + b", too many tokens", None
    )


_SHORT_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    '"': '\\"', "\\": "\\\\",
}  # fmt: skip


def quoted(raw: bytes) -> bytes:
    r"""`raw` between double quotes, escaped as Go's `%q` escapes a string (section 12.1).

    Bytes that are not UTF-8 and control bytes become `\xNN`, printable runes
    stay, other runes become `\uNNNN` or `\UNNNNNNNN`.
    """
    out = ['"']
    for char in raw.decode("utf-8", "surrogateescape"):
        code = ord(char)
        if char in _SHORT_ESCAPES:
            out.append(_SHORT_ESCAPES[char])
        elif 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
            out.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x20 or code == 0x7F:
            out.append(f"\\x{code:02x}")
        elif char == " " or char.isprintable():
            out.append(char)
        elif code <= 0xFFFF:
            out.append(f"\\u{code:04x}")
        else:
            out.append(f"\\U{code:08x}")
    out.append('"')
    return "".join(out).encode()


def where_raised(bug: Exception) -> str:
    """What was raised and where. Not its text, which may hold what a client sent in confidence."""
    at = bug.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    place = f" in {at.tb_frame.f_code.co_qualname}, line {at.tb_lineno}" if at is not None else ""
    return f"{type(bug).__name__}{place}"

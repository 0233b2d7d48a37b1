"""The text of log lines: one row for each note, in the words of nats-server (operations.md 5 and 6).

The core and the transport say what happened as a `Note`: a name and fields. Here
names become the sentences that operators and scripts know. A note without a row,
or without the fields its row wants, is written out as `name key=value`, so that
nothing that was said is lost.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, TypeAlias

from natscore.errors import CloseReason, quoted
from natscore_cli.redaction import REDACTED, escaped, is_secret, redacted_line, redacted_snippet

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.effects import Note

__all__ = ["message", "plain_fields", "prefix"]

Fields: TypeAlias = "dict[str, object]"


def prefix(note: Note) -> str:
    """`127.0.0.1:47588 - cid:4 - "v1.0:py:cli" - "$G/user:joe" - ` about a connection, else nothing.

    The quoted parts are there once they are known: what the client said of itself,
    and as whom it logged in.
    """
    fields = note.fields
    if "cid" not in fields or "remote" not in fields:
        return ""
    kind = _plain(fields.get("kind", "cid"))
    known = (fields.get("label"), fields.get("login"))
    spoken = "".join(f"{_quoted(part)} - " for part in known if part)
    return escaped(f"{fields['remote']} - {kind}:{fields['cid']} - {spoken}")


def message(note: Note) -> str:
    """The sentence of a note, on one line, without time, level and prefix."""
    row = _ROWS.get(note.name)
    if row is None:
        return _generic(note)
    try:
        text = row.format_map(_shown_fields(note.fields)) if isinstance(row, str) else row(note.fields)
    except (KeyError, TypeError, ValueError):
        return _generic(note)
    return escaped(text)


def plain_fields(note: Note) -> Fields:
    """The fields of a note as JSON knows values, redacted like the text is."""
    return {name: _plain(value) for name, value in _redacted(note.fields).items()}


_CONNECTION_FIELDS: Final = frozenset({"cid", "kind", "remote", "label", "login"})  # they stand in the prefix


def _generic(note: Note) -> str:
    about = _CONNECTION_FIELDS if prefix(note) else frozenset[str]()
    pairs = [f"{name}={_shown(value)}" for name, value in _redacted(note.fields).items() if name not in about]
    return escaped(" ".join([note.name, *pairs]))


def _redacted(fields: Fields) -> Fields:
    return {name: _redacted_value(name, value) for name, value in fields.items()}


def _redacted_value(name: str, value: object) -> object:
    if is_secret(name):
        return REDACTED
    if isinstance(value, bytes):
        if name == "line":
            return redacted_line(value)
        if name == "snippet":
            return redacted_snippet(value)
    return value


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return int(value) if isinstance(value, enum.IntEnum) else value
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    # lone surrogates, which stand for bytes of a file name, are no Unicode text
    return str(value).encode("utf-8", "backslashreplace").decode()


def _shown(value: object) -> str:
    """A value in a sentence; one with blanks in quotes, so that it is seen where it ends."""
    text = str(_plain(value))
    return _quoted(text) if not text or " " in text else text


def _shown_fields(fields: Fields) -> dict[str, str]:
    return {name: str(_plain(value)) for name, value in _redacted(fields).items()}


def _quoted(value: object) -> str:
    return quoted(_raw(value)).decode()


def _raw(value: object) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return str(value).encode("utf-8", "surrogatepass")


def _who(fields: Fields) -> str:
    """As whom the client logged in; since nats-server 2.12 that stands in the prefix instead."""
    user = fields.get("user")
    return f"User {_quoted(user)}, " if user else ""


def _authentication_failed(fields: Fields) -> str:
    user = fields.get("user")
    return f"authentication error - User {_quoted(user)}" if user else "authentication error"


_NOT_UNDERSTOOD: Final = frozenset({
    CloseReason.PARSE_ERROR,
    CloseReason.PROTOCOL_VIOLATION,
    CloseReason.MAX_CONTROL_LINE,
})  # fmt: skip


def _client_violation(fields: Fields) -> str:
    if fields["reason"] in _NOT_UNDERSTOOD:
        said = _plain(fields["text"])
        snippet = redacted_snippet(_raw(fields["snippet"]))
        found = f": proto='{_quoted(snippet)}...'" if snippet else ""
        return f"Client parser ERROR{f', {said}' if said else ''}{found}"
    if fields["reason"] is CloseReason.MAX_CONNECTIONS:
        return "maximum connections exceeded"
    return str(_plain(fields["text"]))


def _publish_violation(fields: Fields) -> str:
    if reply := fields.get("reply"):
        return f"Publish Violation - {_who(fields)}Reply {_quoted(reply)}"
    return f"Publish Violation - {_who(fields)}Subject {_quoted(fields['subject'])}"


def _subscription_violation(fields: Fields) -> str:
    queue = fields.get("queue")
    middle = f", Queue: {_quoted(queue)}" if queue else ""
    sid = _plain(fields["sid"])
    return f"Subscription Violation - {_who(fields)}Subject {_quoted(fields['subject'])}{middle}, SID {sid}"


def _subscription_removed(fields: Fields) -> str:
    queue = f" using queue {_quoted(fields['queue'])}" if fields["queue"] is not None else ""
    what = f"{_quoted(fields['subject'])}{queue} (sid {_quoted(fields['sid'])})"
    return f"Removed sub {what} for {_who(fields).removesuffix(', ') or 'a client'} - not authorized"


def _option_reloaded(fields: Fields) -> str:
    what = str(_plain(fields["what"]))
    return f"Reload{'' if what.startswith('client_advertise') else 'ed'}: {what}"


def _traced_line(arrow: str) -> Callable[[Fields], str]:
    def text(fields: Fields) -> str:
        line = redacted_line(_raw(fields["line"]))
        if line.startswith(b"-ERR '"):  # nats-server shows the text without its quotes
            line = b"-ERR " + line[6:].removesuffix(b"'")
        return f"{arrow} [{_plain(line)}]"

    return text


def _traced_payload(arrow: str) -> Callable[[Fields], str]:
    def text(fields: Fields) -> str:
        text = _quoted(fields["payload"])
        shown = f'{text[:-1]}..."' if fields.get("cut") else text
        return f"{arrow} MSG_PAYLOAD: [{shown}]"

    return text


_ROWS: Final[dict[str, str | Callable[[Fields], str]]] = {
    # start
    "server_starting": "Starting {program}",
    "server_version": "  Version:  {version}",
    "server_git": "  Git:      [{git}]",
    "server_runtime": "  Python:   {runtime}",  # in the place of nats-server's "  Go build: "
    "server_name": "  Name:     {name}",
    "server_id": "  ID:       {server_id}",
    "data_plane": "Data plane: {data_plane}",
    "plaintext_passwords_detected": "Plaintext passwords detected, use nkeys or bcrypt",
    "no_auth_user_wide": (
        'Clients that do not log in are user "{user}" of account "{account}", who may use every subject'
    ),
    "cluster_without_login": "Cluster port listens on {host} without a login: anybody may join the cluster",
    "tls_insecure": "{block} does not verify certificates (insecure): anybody may pose as the peer",
    "tls_warning": "TLS: {text}",
    "descriptor_limit_low": (
        "This process may open {descriptors} files and sockets, max_connections is {max_connections}"
    ),
    "max_payload_discouraged": (
        "Maximum payloads over 8.00 MB are generally discouraged and could lead to poor performance"
    ),
    "flag_ignored": "{flag} is ignored: JetStream is not supported",
    "configuration_file": "Using configuration file: {path} ({digest})",
    "option_ignored": "{option} has no effect: {reason}",
    "journal_started": "Recording every event, credentials and payloads included, to {path}",
    "listening_for_clients": "Listening for client connections on {address}",
    "tls_required_for_clients": "TLS required for client connections",
    "tls_available_for_clients": "TLS available for client connections",
    "tls_handshake_first": 'Clients that are not using "TLS Handshake First" option will fail to connect',
    "server_ready": "Server is ready",
    # what ends a start
    "listen_failed": 'Error listening on port: {address}, "{error}"',
    "pid_file_failed": "Could not write pidfile: {error}",
    "server_failed": "Internal error at event {event}, the server cannot go on: {error}",
    "traceback": "{text}",
    # files
    "ports_file_failed": "Error writing ports file ({path}): {error}",
    "ports_file_cleanup_failed": "Error cleaning up ports file {path}: {error}",
    "journal_stopped": "Recording to the journal stopped, the server goes on: {reason}",
    "log_full": "Rotating logfile...",
    "log_rotated": 'Rotated log, backup saved as "{backup}"',
    "log_rotation_failed": (
        "Unable to rotate the log file ({error}), will attempt next rotation at size {size}"
    ),
    "log_purged": 'Purged log file "{name}"',
    "log_purge_failed": ('Unable to remove backup log file "{name}" ({error}), will attempt next rotation'),
    "log_lines_lost": "{count} log lines could not be written: {error}",
    # signals and the end
    "signal_trapped": 'Trapped "{signal}" signal',
    "option_reloaded": _option_reloaded,
    "configuration_reloaded": "Reloaded server configuration ({digest})",
    "reload_refused": "Failed to reload server configuration: {reason}",
    "connections_closed_by_limit": "Closed {closed} connections to fall within max_connections",
    "connections_closed_by_pins": "Disconnect {closed} clients due to pinned certs reload",
    "subscription_removed": _subscription_removed,
    "log_reopened": "File log re-opened",
    "log_reopen_ignored": "File log re-open ignored, not a file logger",
    "log_reopen_failed": "File log re-open failed, the old file goes on: {error}",
    "lame_duck_entered": "Entering lame duck mode, stop accepting new clients",
    "lame_duck_closing": "Closing existing clients",
    "shutdown_initiated": "Initiating Shutdown...",
    "server_exiting": "Server Exiting..",
    # connections
    "client_connection_created": "Client connection created",
    "client_connection_closed": "Client connection closed: {reason}",
    "authentication_failed": _authentication_failed,
    "authentication_timeout": "Authentication Timeout",
    "client_violation": _client_violation,
    "publish_violation": _publish_violation,
    "subscription_violation": _subscription_violation,
    "subscription_refused": "Subscription refused: {text}",
    "slow_consumer": "Slow Consumer Detected: {detail}",
    "tls_established": "TLS handshake complete, TLS version {version}, cipher suite {cipher}",
    "tls_handshake_failed": "TLS handshake error: {error}",
    "tls_handshake_timeout": "TLS handshake timeout",
    "tls_rate_limited": "Rejected {rejected} connections due to TLS rate limiting",
    "ping_timer": "Client Ping Timer",
    "memory_limit_cut": (
        "Closed for holding {pending} bytes, the most of all; together they held {total} (memory_max {limit})"
    ),
    "connection_failed": "Closed after an internal error at event {event}: {error}",
    "reactor_failed": "Internal error of {reactor} at event {event}: {error}",
    "accept_failed": "Temporary Client Accept Error({error}), sleeping {sleep_ms}ms",
    # trace
    "trace_in": _traced_line("<<-"),
    "trace_out": _traced_line("->>"),
    "trace_internal": _traced_line("<->"),
    "trace_payload_in": _traced_payload("<<-"),
    "trace_payload_out": _traced_payload("->>"),
}

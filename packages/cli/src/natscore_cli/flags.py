"""The flags of `nats-server-py`, as data.

One row for each flag: the names it answers to, what its value is, where the
value goes and what the help says. The parser (`arguments.py`) and the help text
are loops over these rows. Every flag of nats-server has a row, also those whose
feature is not built: a flag that restricts who may connect, and is then silently
not obeyed, is worse than a server that does not start.

This module is imported for `--version`, so it imports next to nothing.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

__all__ = ["GROUPS", "PROGRAM", "UNLISTED", "Flag", "Kind", "Support", "find", "help_text", "spelled"]

PROGRAM: Final = "nats-server-py"


class Kind(enum.Enum):
    """What the value of a flag is; the parser has one reader for each."""

    SWITCH = "a boolean, which takes a value only with ="
    INTEGER = "a 64-bit integer, in any base that Go writes"
    COUNT = "an integer that is not negative"
    TEXT = "any text; empty is as good as not given"
    CREDENTIAL = "a text that must not be empty and is not shown"
    DURATION = "a duration above zero as Go writes it, for example 1m30s"
    BACKEND = "asyncio or trio"
    LOG_FORMAT = "text or json"


class Support(enum.Enum):
    """What becomes of a flag that was given."""

    OBEYED = "its value reaches the server"
    REFUSED = "the server does not start, unless the value switches the feature off"
    IGNORED = "a warning is logged and the server starts"


class Flag(NamedTuple):
    """One row. `destination` is a field of `arguments.Arguments` or of `natscore.options.Options`."""

    names: tuple[str, ...]
    kind: Kind
    destination: str = ""
    placeholder: str = ""  # in the help, after the names
    help: str = ""
    support: Support = Support.OBEYED


def _refused(kind: Kind, *names: str) -> Flag:
    return Flag(names, kind, support=Support.REFUSED)


_DEFAULT_UNLIMITED: Final = "(default: unlimited)"

GROUPS: Final = {
    "Server Options": (
        Flag(("c", "config"), Kind.TEXT, "config", "<file>", "Read settings from this file; flags beat it"),
        Flag(("t",), Kind.SWITCH, "check", help="Check the file and exit"),
        Flag(
            ("reload-dry-run",), Kind.SWITCH, "reload_dry_run",
            help="Say what a reload of the file would do, and exit",
        ),
        Flag(("a", "addr", "net"), Kind.TEXT, "host", "<host>", "Listen on this host (default: 0.0.0.0)"),
        Flag(
            ("p", "port"), Kind.INTEGER, "port", "<port>",
            "Listen on this port, -1 for a free one (default: 4222)",
        ),
        Flag(
            ("n", "name", "server_name"), Kind.TEXT, "server_name", "<name>",
            "Name of the server (default: its id)",
        ),
        Flag(("P", "pid"), Kind.TEXT, "pid_file", "<file>", "Write the process id to this file"),
        Flag(
            ("sl", "signal"), Kind.TEXT, "signal", "<command>[=<pid>]",
            "Tell a running server: stop, quit, term, reopen, reload, ldm",
        ),
        Flag(
            ("client_advertise",), Kind.TEXT, "client_advertise", "<host[:port]>",
            "Address to tell clients in place of the listener's",
        ),
        Flag(
            ("ports_file_dir",), Kind.TEXT, "ports_file_dir", "<dir>",
            "Write the open ports to <dir>/nats-server_<pid>.ports",
        ),
        Flag(
            ("backend",), Kind.BACKEND, "backend", "<asyncio|trio>",
            "Event loop to run on (default: asyncio)",
        ),
        Flag(
            ("uvloop",), Kind.SWITCH, "uvloop",
            help="Run asyncio on uvloop (default: where it is installed)",
        ),
        Flag(
            ("journal",), Kind.TEXT, "journal_file", "<file>",
            "Record every event; holds credentials and payloads",
        ),
        Flag(
            ("journal_size_max",), Kind.COUNT, "journal_size_max", "<bytes>",
            "Stop recording at this size (default: 1073741824)",
        ),
    ),
    # Ours: nats-server has these in its configuration file only, or not at all.
    "Limit Options": (
        Flag(
            ("max_payload",), Kind.INTEGER, "max_payload", "<bytes>",
            "Largest message, -1 for no limit (default: 1048576)",
        ),
        Flag(
            ("max_pending",), Kind.INTEGER, "max_pending", "<bytes>",
            "Unread output that cuts a client (default: 67108864)",
        ),
        Flag(
            ("max_connections",), Kind.COUNT, "max_connections", "<number>",
            "Clients at one time (default: 65536)",
        ),
        Flag(
            ("max_subscriptions",), Kind.INTEGER, "max_subscriptions", "<number>",
            f"Subscriptions of one client {_DEFAULT_UNLIMITED}",
        ),
        Flag(
            ("max_sub_tokens",), Kind.INTEGER, "max_subject_tokens", "<number>",
            f"Tokens of a subscribed subject {_DEFAULT_UNLIMITED}",
        ),
        Flag(
            ("max_control_line",), Kind.INTEGER, "max_control_line", "<bytes>",
            "Longest protocol line (default: 4096)",
        ),
        Flag(
            ("ping_interval",), Kind.DURATION, "ping_interval_ns", "<duration>",
            "Silence after which a client is pinged (default: 2m)",
        ),
        Flag(
            ("ping_max",), Kind.COUNT, "ping_max", "<number>",
            "Unanswered pings before a client is cut (default: 2)",
        ),
        Flag(
            ("write_deadline",), Kind.DURATION, "write_deadline_ns", "<duration>",
            "Longest wait of output for a client (default: 10s)",
        ),
        Flag(
            ("auth_timeout",), Kind.DURATION, "auth_timeout_ns", "<duration>",
            "Time a client has to log in (default: 2s)",
        ),
        Flag(
            ("memory_max",), Kind.COUNT, "memory_max", "<bytes>",
            "Bytes held for all clients (default: half of the memory)",
        ),
        Flag(
            ("unauthenticated_per_address_max",), Kind.COUNT, "unauthenticated_per_address_max", "<number>",
            "Clients of one address not yet logged in (default: unlimited)",
        ),
        Flag(
            ("no_fast_producer_stall",), Kind.SWITCH, "no_fast_producer_stall",
            help="Do not slow producers down for slow consumers",
        ),
        Flag(
            ("no_header_support",), Kind.SWITCH, "no_header_support",
            help="Do not offer message headers",
        ),
    ),
    "Logging Options": (
        Flag(
            ("l", "log"), Kind.TEXT, "log_file", "<file>",
            "Append the log to this file (default: standard error)",
        ),
        Flag(
            ("T", "logtime"), Kind.SWITCH, "log_time",
            help="Begin log lines with the time (default: true)",
        ),
        Flag(("logtime_utc",), Kind.SWITCH, "log_utc", help="... in UTC rather than local time"),
        Flag(
            ("s", "syslog"), Kind.SWITCH, "syslog",
            help="Log to the system's log",
        ),
        Flag(
            ("r", "remote_syslog"), Kind.TEXT, "remote_syslog", "<url>",
            "Log to this system's log: udp://, tcp://, unix://",
        ),
        Flag(
            ("log_size_limit",), Kind.INTEGER, "log_size_limit", "<bytes>",
            "Begin a new log file above this size (default: never)",
        ),
        Flag(
            ("log-format",), Kind.LOG_FORMAT, "log_format", "<text|json>",
            "Shape of log lines (default: text)",
        ),
        Flag(("D", "debug"), Kind.SWITCH, "debug", help="Log debug lines"),
        Flag(
            ("V", "trace"), Kind.SWITCH, "trace",
            help="Log the protocol; secrets of CONNECT are left out",
        ),
        Flag(("VV",), Kind.SWITCH, "trace_verbose", help="Like -V, with the system account"),
        Flag(("DV",), Kind.SWITCH, "debug_trace", help="-D and -V"),
        Flag(("DVV",), Kind.SWITCH, "debug_trace_verbose", help="-D and -VV"),
        Flag(
            ("max_traced_msg_len",), Kind.INTEGER, "max_traced_msg_len", "<bytes>",
            f"Longest payload in the log {_DEFAULT_UNLIMITED}",
        ),
    ),
    "JetStream Options": (
        Flag(
            ("sd", "store_dir"), Kind.TEXT, placeholder="<dir>",
            help="Accepted and ignored: JetStream is not supported",
            support=Support.IGNORED,
        ),
    ),
    "Authorization Options": (
        Flag(("user",), Kind.CREDENTIAL, "user", "<user>", "Name that clients must log in with"),
        Flag(("pass",), Kind.CREDENTIAL, "password", "<password>", "Password that clients must log in with"),
        Flag(("auth",), Kind.CREDENTIAL, "token", "<token>", "Token that clients must log in with"),
    ),
    "TLS Options": (
        Flag(
            ("tls",), Kind.SWITCH, "tls",
            help="Require TLS; the other flags of TLS do too",
        ),
        Flag(("tlscert",), Kind.TEXT, "tls_cert_file", "<file>", "Certificate of the server"),
        Flag(("tlskey",), Kind.TEXT, "tls_key_file", "<file>", "Private key of the certificate"),
        Flag(("tlsverify",), Kind.SWITCH, "tls_verify", help="Require certificates of clients"),
        Flag(
            ("tlscacert",), Kind.TEXT, "tls_ca_file", "<file>",
            "Authorities of clients (default: those of the system)",
        ),
    ),
    "Common Options": (
        Flag(("h", "help"), Kind.SWITCH, "help", help="Show this text"),
        Flag(("v", "version"), Kind.SWITCH, "version", help="Show the version"),
        Flag(("help_tls",), Kind.SWITCH, "help_tls", help="Show how TLS is configured"),
    ),
}  # fmt: skip
"""The flags that do something, by the groups of the help and in its order."""

UNLISTED: Final = (
    _refused(Kind.INTEGER, "m", "http_port"),
    _refused(Kind.INTEGER, "ms", "https_port"),
    _refused(Kind.SWITCH, "js", "jetstream"),
    _refused(Kind.TEXT, "routes"),
    _refused(Kind.TEXT, "cluster", "cluster_listen"),
    _refused(Kind.TEXT, "cluster_name"),
    _refused(Kind.TEXT, "cluster_advertise"),
    _refused(Kind.SWITCH, "no_advertise"),
    _refused(Kind.INTEGER, "connect_retries"),
    _refused(Kind.INTEGER, "profile"),
)
"""What nats-server has and this release does not: known by name, refused, not in the help."""

_BY_NAME: Final = {
    name: flag for group in (*GROUPS.values(), UNLISTED) for flag in group for name in flag.names
}


def find(name: str) -> Flag | None:
    """The flag that answers to `name`, which stands without dashes."""
    return _BY_NAME.get(name)


_SHORT_OF_SEVERAL_LETTERS: Final = frozenset({"VV", "DV", "DVV", "js", "ms", "sd", "sl"})


def spelled(name: str) -> str:
    """`name` with the dashes that people write: `-p`, `-DV`, `--port`."""
    return f"-{name}" if len(name) == 1 or name in _SHORT_OF_SEVERAL_LETTERS else f"--{name}"


_COLUMN: Final = 37  # where descriptions begin; longer names put theirs on the next line


def help_text() -> str:
    """What `--help` prints, in the shape of nats-server's: an empty line, usage, groups."""
    lines = ["", f"Usage: {PROGRAM} [options]", ""]
    for title, flags in GROUPS.items():
        lines += [f"{title}:", *(_help_row(flag) for flag in flags), ""]
    return "\n".join(lines)


def _help_row(flag: Flag) -> str:
    names = [spelled(name) for name in flag.names]
    indent = " " * (8 if names[0].startswith("--") else 4)  # long names stand below one another
    left = f"{indent}{', '.join(names)} {flag.placeholder}".rstrip()
    if len(left) >= _COLUMN:
        left += "\n"
        return f"{left}{' ' * _COLUMN}{flag.help}"
    return f"{left.ljust(_COLUMN)}{flag.help}"

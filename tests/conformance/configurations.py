"""Which configurations our server can be given today.

The scenarios hold configuration files. Our command reads them; a simulated server is
given the settings that they come to. Every file that asks for something that is not
built stands in `LATER` with its reason: nothing is left out of a run except through
this table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LATER", "OURS", "reason_for_later"]

MILLISECOND_NS: Final = 1_000_000


OURS: Final[Mapping[str | None, Mapping[str, Any]]] = {
    None: {},
    "max_payload: 10": {"max_payload": 10},
    "no_header_support: true": {"headers": False},
    "max_control_line: 64": {"max_control_line": 64},
    "max_subscriptions: 2": {"max_subscriptions": 2},
    "max_connections: 2": {"max_connections": 2},
    "max_sub_tokens: 3": {"max_subject_tokens": 3},
    'ping_interval: "200ms"\nping_max: 2': {"ping_interval_ns": 200 * MILLISECOND_NS, "ping_max": 2},
    'ping_interval: "200ms"\nping_max: 1': {"ping_interval_ns": 200 * MILLISECOND_NS, "ping_max": 1},
    'authorization: { token: "s3cret", timeout: 0.5 }': {
        "token": "s3cret",
        "auth_timeout_ns": 500 * MILLISECOND_NS,
    },
    'authorization: { user: "u", password: "pw", timeout: 0.5 }': {
        "user": "u",
        "password": "pw",
        "auth_timeout_ns": 500 * MILLISECOND_NS,
    },
    "max_pending: 1048576": {"max_pending": 1_048_576},
    'write_deadline: "300ms"': {"write_deadline_ns": 300 * MILLISECOND_NS},
}
"""The settings of natscore.Options, by the text of the configuration file; None is the server as it comes."""

_BCRYPT: Final = "bcrypt passwords come with the security package"
_USERS: Final = "user lists and nkeys come with accounts and the security package"
_ACCOUNTS: Final = "accounts are a later issue"
_PERMISSIONS: Final = "permissions are a later issue"
_MAPPINGS: Final = "subject mappings are a later issue"

LATER: Final[Mapping[str, str]] = {
    'authorization: { user: "u", password: "$2a$': _BCRYPT,
    "authorization: { users: [ {user: a, password: p}, {nkey: ": _USERS,
    "no_auth_user: a\n": _USERS,
    "accounts: ": _ACCOUNTS,
    "authorization: { users: [ {user: u, password: p, permissions: ": _PERMISSIONS,
    "mappings: ": _MAPPINGS,
}
"""By how the configuration file begins: why ours cannot be given it yet."""


def reason_for_later(config: str | None) -> str | None:
    """Why ours cannot be given `config` yet; None when it can.

    Raises LookupError for a configuration that neither table knows.
    """
    if config in OURS:
        return None
    for beginning, reason in LATER.items():
        if config is not None and config.startswith(beginning):
            return reason
    raise LookupError(f"nobody decided whether ours can be given {config!r}")

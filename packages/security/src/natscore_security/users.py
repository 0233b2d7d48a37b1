"""Configured users as values: who there is, in which account, by which secret.

What a configuration file says in `authorization` and `accounts` becomes these.
Texts of errors are those of nats-server, for the file's own position to be put before.
Sources: configuration.md sections 5.1, 5.2 and 7; accounts.md section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from natscore_security.errors import UsersError
from natscore_security.strkey import Kind, is_public

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CONNECTION_TYPES", "ConfiguredUser", "NkeyUser", "User", "sorted_users"]

GLOBAL_ACCOUNT: Final = "$G"

CONNECTION_TYPES: Final = frozenset(
    {"STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS"}
)
"""The words of `allowed_connection_types`."""


@dataclass(frozen=True, slots=True)
class User:
    """A user with a name. Raises UsersError for what cannot be.

    `password` is plain, or a bcrypt hash; empty, it is matched by an empty one.
    """

    name: str
    password: str = field(default="", repr=False)
    account: str = field(default=GLOBAL_ACCOUNT, kw_only=True)
    permissions: object | None = field(default=None, kw_only=True)  # carried as it is
    connection_types: frozenset[str] | None = field(default=None, kw_only=True)  # None: every type

    def __post_init__(self) -> None:
        if not self.name:
            raise UsersError("User entry requires a user")
        _check_types(self.connection_types)


@dataclass(frozen=True, slots=True)
class NkeyUser:
    """A user who signs with an NKey. Raises UsersError for what cannot be."""

    nkey: str
    account: str = field(default=GLOBAL_ACCOUNT, kw_only=True)
    permissions: object | None = field(default=None, kw_only=True)
    connection_types: frozenset[str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not is_public(self.nkey, Kind.USER):
            raise UsersError("Not a valid public nkey for a user")  # it may be a seed: not shown
        _check_types(self.connection_types)


ConfiguredUser: TypeAlias = User | NkeyUser

T = TypeVar("T")


def sorted_users(users: Iterable[ConfiguredUser]) -> tuple[dict[str, User], dict[str, NkeyUser]]:
    """Users by name and by key. Raises UsersError if one of either is there twice, in any account."""
    named: dict[str, User] = {}
    keyed: dict[str, NkeyUser] = {}
    for user in users:
        if isinstance(user, NkeyUser):
            _add(keyed, "nkey", user.nkey, user)
        else:
            _add(named, "user", user.name, user)
    return named, keyed


def _add(there: dict[str, T], what: str, key: str, user: T) -> None:
    if key in there:
        raise UsersError(f'Duplicate {what} "{key}" detected')
    there[key] = user


def _check_types(types: frozenset[str] | None) -> None:
    if types is not None and (unknown := types - CONNECTION_TYPES):
        raise UsersError("invalid connection types [" + " ".join(f'"{one}"' for one in sorted(unknown)) + "]")

"""Users and what they may, from the settings of a file to values (configuration.md 5.1 to 5.3).

A user is here what the file says of it. `natscore_cli.logins` makes an authenticator
of all of them; that needs the security package, which reading a file does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from natscore.account.permissions import Permissions, ResponsePermission, Rules, SubscribeRules
from natscore.account.settings import GLOBAL_ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.account.permissions import Entry
    from natscore_cli.conf.options import Setting, Settings
    from natscore_cli.conf.tree import Place

__all__ = ["FileUser", "file_users", "permissions_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUser:
    """One user of a file: with a name and a password, or with a key."""

    name: str = ""
    password: str = field(default="", repr=False)
    nkey: str = ""
    account: str = GLOBAL_ACCOUNT
    permissions: Permissions | None = None  # None: everything
    connection_types: frozenset[str] | None = None  # None: all
    place: Place | None = field(default=None, compare=False)

    @property
    def identity(self) -> str:
        """What `no_auth_user` names it by."""
        return self.nkey or self.name


def file_users(settings: Settings) -> tuple[FileUser, ...]:
    """The users of all accounts, in the order of the file; those of `authorization` are in `$G`."""
    found: list[FileUser] = []
    for name, setting in settings.items():
        if name == "authorization" and isinstance(setting.value, dict):
            found += _users_of(setting.value, GLOBAL_ACCOUNT)
        elif name == "accounts" and isinstance(setting.value, dict):
            for account, block in setting.value.items():
                found += _users_of(block, account)
    return tuple(found)


def _users_of(block: Settings, account: str) -> Iterator[FileUser]:
    default = _permissions_in(block, "default_permissions")
    users = block["users"].value if "users" in block else []
    for user in users if isinstance(users, list) else []:
        types = user["allowed_connection_types"].value if "allowed_connection_types" in user else None
        yield FileUser(
            name=_text(user, "user"),
            password=_text(user, "password"),
            nkey=_text(user, "nkey"),
            account=account,
            permissions=_permissions_in(user, "permissions") if "permissions" in user else default,
            connection_types=frozenset(types) if isinstance(types, list) and types else None,
            place=next(iter(user.values())).place,
        )


def _text(block: Settings, name: str) -> str:
    return str(block[name].value) if name in block else ""


def _permissions_in(block: Settings, name: str) -> Permissions | None:
    setting = block.get(name)
    return permissions_of(setting.value) if setting is not None and isinstance(setting.value, dict) else None


_Sides: TypeAlias = "tuple[list[str] | None, list[str]]"


def permissions_of(block: Settings) -> Permissions:
    """The permissions of a `permissions` block.

    An empty list of what is allowed allows everything, as in nats-server.
    """
    allow, deny = _sides(block.get("publish"))
    entries, denied = _sides(block.get("subscribe"))
    return Permissions(
        Rules(None if allow is None else tuple(map(_raw, allow)), tuple(map(_raw, deny))),
        SubscribeRules(None if entries is None else tuple(map(_entry, entries)), tuple(map(_entry, denied))),
        _responses(block.get("allow_responses")),
    )


def _responses(setting: Setting | None) -> ResponsePermission | None:
    value = None if setting is None else setting.value
    if not isinstance(value, dict):
        return ResponsePermission() if value else None
    found, expires = (value[name].value if name in value else 0 for name in ("max", "expires"))
    return ResponsePermission(found, expires)


def _sides(setting: Setting | None) -> _Sides:
    """What is allowed, None where that is everything, and what is denied."""
    value = None if setting is None else setting.value
    if isinstance(value, dict):
        allow = value["allow"].value if "allow" in value else None
        deny = value["deny"].value if "deny" in value else []
    else:
        allow, deny = value, []
    return allow or None, deny or []


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _entry(text: str) -> Entry:
    subject, *queue = text.split()
    return _raw(subject), _raw(queue[0]) if queue else None

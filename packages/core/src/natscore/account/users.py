"""Configured users as values: what a configuration says of who may log in.

The options of a server hold them, so that a reload replaces them with the rest and a
journal has what a replay needs. What decides about logins is an authenticator, which
is made of the options (`natscore_security.authenticators`). Sources:
configuration.md sections 5.1 and 5.2; accounts.md section 3.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from natscore.account.settings import GLOBAL_ACCOUNT
from natscore.values import keyword_value

if TYPE_CHECKING:
    from natscore.account.permissions import Permissions

__all__ = ["UserSettings", "UsersSettings"]


@keyword_value
class UserSettings:
    """One user: with a name and a password, plain or a bcrypt hash, or with a key."""

    name: str = ""
    password: str = field(default="", repr=False)
    nkey: str = ""
    account: str = GLOBAL_ACCOUNT
    permissions: Permissions | None = None  # None: everything
    connection_types: tuple[str, ...] | None = None  # None: all


@keyword_value
class UsersSettings:
    """All users, of all accounts, and what becomes of who names none of them."""

    users: tuple[UserSettings, ...] = ()
    no_auth_user: str = ""  # a name or a key: whom a client becomes that names nobody
    invents_user: bool = False  # such a client is in the global account (accounts.md section 3.3)
    maps_certificates: bool = False  # a certificate says which user a client is

"""The authenticator that the options of a server describe, lists of users included.

    Server(options, authenticators=authenticator_of)

At each reload the server makes the next one of the new options, and a replay makes
the same ones of those in the journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscore.authentication import authenticator_for
from natscore.errors import ConfigError
from natscore_security import passwords
from natscore_security.authenticator import ConfiguredUsers
from natscore_security.errors import UsersError
from natscore_security.users import NkeyUser, User

if TYPE_CHECKING:
    from natscore.account.users import UserSettings
    from natscore.authentication import Authenticator
    from natscore.options import Options
    from natscore_security.users import ConfiguredUser

__all__ = ["authenticator_of"]


def authenticator_of(options: Options) -> Authenticator:
    """Who decides about logins by these options. Raises ConfigError for users that cannot be."""
    settings = options.users
    secrets = (options.password.encode(errors="replace"), options.token.encode(errors="replace"))
    if not (settings.users or any(map(passwords.is_hash, secrets))):
        return authenticator_for(options)
    try:
        users = [_configured(one) for one in settings.users]
        if options.user:
            users.append(User(options.user, options.password))
        return ConfiguredUsers(
            users,
            token=options.token,
            no_auth_user=settings.no_auth_user,
            invents_user=settings.invents_user,
            maps_certificates=settings.maps_certificates,
        )
    except UsersError as error:
        raise ConfigError(str(error)) from error


def _configured(user: UserSettings) -> ConfiguredUser:
    types = frozenset(user.connection_types) if user.connection_types is not None else None
    if user.nkey:
        return NkeyUser(user.nkey, account=user.account, permissions=user.permissions, connection_types=types)
    return User(
        user.name,
        user.password,
        account=user.account,
        permissions=user.permissions,
        connection_types=types,
    )

"""What becomes of a client that does not say who it is: one pure function over what is configured.

Source: accounts.md section 3; nats-server 2.14.5, server/auth.go.
"""

from __future__ import annotations

import enum

from natscore.account.settings import DEFAULT_SYSTEM_ACCOUNT
from natscore.values import keyword_value

__all__ = ["Anonymous", "LoginSettings", "anonymous"]


class Anonymous(enum.Enum):
    """What becomes of a client that does not say who it is (section 3)."""

    IN_GLOBAL_ACCOUNT = "nobody has to log in"
    AS_NO_AUTH_USER = "it is the user that no_auth_user names"
    AS_INVENTED_USER = "it is a user of the global account that the server invents"
    REFUSED = "it has to log in"


@keyword_value
class LoginSettings:
    """What of a configuration says who may log in."""

    authorization: bool = False  # an `authorization` block, even an empty one, or a flag that means one
    accounts: tuple[str, ...] = ()  # all that are declared
    accounts_with_users: tuple[str, ...] = ()
    system_account: str | None = DEFAULT_SYSTEM_ACCOUNT
    no_auth_user: bool = False
    operators: bool = False


def anonymous(settings: LoginSettings) -> Anonymous:
    """What becomes of a client without credentials, whatever else is configured.

    A server of which only the system account has users goes on to serve the
    global account as if it had none (section 3.3). That holds only while
    nothing else says who may log in: the reference once invented that user
    beside an `authorization` block, which opened the server (CVE-2023-47090).
    """
    if settings.operators:
        return Anonymous.REFUSED
    if settings.no_auth_user:
        return Anonymous.AS_NO_AUTH_USER
    if settings.authorization:
        return Anonymous.REFUSED
    if not settings.accounts_with_users:
        return Anonymous.IN_GLOBAL_ACCOUNT
    system = settings.system_account
    if all(name == system for name in (*settings.accounts, *settings.accounts_with_users)):
        return Anonymous.AS_INVENTED_USER
    return Anonymous.REFUSED

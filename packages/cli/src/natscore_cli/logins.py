"""Who may log in, and what says so to the server.

`Logins` is what file and flags come to. A plain single user, a plain token and an
open server need nothing but the core, which makes its authenticator from the
options. Lists of users, NKeys and hashed passwords need the security package: it
is imported here, when a configuration asks for it, and named where it is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from natscore.account.anonymous import Anonymous, LoginSettings, anonymous
from natscore.account.users import UserSettings, UsersSettings
from natscore.authentication import authenticator_for
from natscore.errors import ConfigError
from natscore.options import Options
from natscore_cli.arguments import StartRefused
from natscore_cli.redaction import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.authentication import Authenticator
    from natscore.effects import VerifyPassword
    from natscore_cli.conf.users import FileUser
    from natscore_security.performers import PasswordPerformer
    from natscore_tcp.contract import Performer, Shell

__all__ = ["Logins", "authenticators", "is_hash", "password_performer"]

_BCRYPT: Final = re.compile(r"\$2[abxy]\$\d{2}\$")


def is_hash(secret: str) -> bool:
    """Whether a configured password or token is a bcrypt hash (client-protocol.md section 16.2)."""
    return _BCRYPT.match(secret) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """Who may log in. `users` exclude a single user and a token."""

    users: tuple[FileUser, ...] = ()
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    no_auth_user: str = ""
    maps_certificates: bool = False
    settings: LoginSettings = field(default_factory=LoginSettings)

    @property
    def anonymous(self) -> Anonymous:
        """What becomes of a client that does not say who it is."""
        if not (self.users or self.user or self.token):
            return Anonymous.IN_GLOBAL_ACCOUNT
        return anonymous(self.settings)

    @property
    def needs_security(self) -> str:
        """What cannot be done without the security package; empty: nothing."""
        if self.users:
            return "a list of users"
        hashed = [name for name, secret in (("password", self.password), ("token", self.token))
                  if is_hash(secret)]  # fmt: skip
        return f"a hashed {hashed[0]}" if hashed else ""

    @property
    def configured(self) -> UsersSettings:
        """The users, as the options of a server have them."""
        return UsersSettings(
            users=tuple(
                UserSettings(
                    name=one.name,
                    password=one.password,
                    nkey=one.nkey,
                    account=one.account,
                    permissions=one.permissions,
                    connection_types=(
                        None if one.connection_types is None else tuple(sorted(one.connection_types))
                    ),
                )
                for one in self.users
            ),
            no_auth_user=self.no_auth_user,
            invents_user=self.anonymous is Anonymous.AS_INVENTED_USER,
            maps_certificates=self.maps_certificates,
        )

    @property
    def plain_passwords(self) -> bool:
        """Whether a password or token stands readable in the configuration."""
        secrets = (self.password, self.token, *(user.password for user in self.users))
        return any(secret and not is_hash(secret) for secret in secrets)

    def authenticator(self) -> Authenticator | None:
        """Who decides about logins; None: the core, by its options. Raises StartRefused."""
        if not self.needs_security:
            return None
        try:
            return authenticators(
                Options(user=self.user, password=self.password, token=self.token, users=self.configured)
            )
        except ConfigError as error:
            raise StartRefused(escaped(str(error))) from error


def authenticators(options: Options) -> Authenticator:
    """Who decides about logins by these options: what a server is given for its start and for reloads.

    Raises ConfigError for users that cannot be, or where the security package is missing.
    """
    single = Logins(user=options.user, password=options.password, token=options.token)
    wanted = "a list of users" if options.users.users else single.needs_security
    if not wanted:
        return authenticator_for(options)
    try:
        from natscore_security.authenticators import authenticator_of
    except ImportError as error:
        raise ConfigError(
            f"{wanted} needs the package natscore-security, and {error.name} is not installed: "
            "pip install natscore[security]"
        ) from error
    return authenticator_of(options)


def password_performer(patience_ns: Callable[[], int]) -> Performer:
    """Compares passwords with hashes for a runtime; `patience_ns` is the time that a login may take now.

    What it needs is loaded when the first one is to be compared: only an authenticator of the
    security package asks.
    """
    made: PasswordPerformer | None = None

    async def perform(effect: VerifyPassword, shell: Shell) -> None:
        nonlocal made
        if made is None:
            from natscore_security.performers import PasswordPerformer

            made = PasswordPerformer()
        made.patience_ns = patience_ns()
        await made(effect, shell)

    return perform

"""Who may log in: the protocol between the core and whoever knows the users.

An authenticator is pure: it is given what the client said and answers at once,
with `Accept`, `Refuse`, or `Wait` when the answer needs work off the loop.
The security package brings users, nkeys and tokens; here stands what a server
needs to run by itself: everybody, one user, one token.
"""

from __future__ import annotations

import base64
import enum
import hmac
from dataclasses import field
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from natscore.account.permissions import EVERYTHING
from natscore.account.settings import GLOBAL_ACCOUNT
from natscore.errors import ConfigError
from natscore.values import value

if TYPE_CHECKING:
    from natscore.account.permissions import Permissions
    from natscore.events import Address, Certificate, Instant
    from natscore.options import Options
    from natscore.wire.connect import ConnectOptions

__all__ = [
    "Accept",
    "Authenticator",
    "ConnectionType",
    "Everybody",
    "Login",
    "Refuse",
    "SingleToken",
    "SingleUser",
    "Verdict",
    "Wait",
    "authenticator_for",
    "nonce_text",
]


class ConnectionType(enum.Enum):
    """How a client is connected. The value is the word of configuration files and user tokens."""

    STANDARD = "STANDARD"
    WEBSOCKET = "WEBSOCKET"
    LEAFNODE = "LEAFNODE"
    LEAFNODE_WS = "LEAFNODE_WS"
    MQTT = "MQTT"
    MQTT_WS = "MQTT_WS"
    IN_PROCESS = "IN_PROCESS"


def nonce_text(nonce: bytes) -> str:
    """The nonce as INFO shows it. These characters are what a client signs, not the bytes (section 16.4)."""
    return base64.urlsafe_b64encode(nonce).rstrip(b"=").decode()


@value
class Login:
    """What an authenticator may judge by."""

    at: Instant
    remote: Address
    said: ConnectOptions
    nonce: bytes = field(repr=False)
    connection_type: ConnectionType = ConnectionType.STANDARD
    certificate: Certificate | None = None  # that the client showed, verified; None: none, or no TLS


@value
class Accept:
    """The client is who it says; it belongs to this account, and may do what its permissions allow.

    `user` is its name where something else than CONNECT said it, a certificate.
    """

    account: str = GLOBAL_ACCOUNT
    permissions: Permissions = EVERYTHING
    user: str = ""


@value
class Refuse:
    """It is not.

    `is_unknown`: nobody is configured by the name or key that it gave. That is said to no client; a
    reload closes whose user is gone without a word.
    """

    is_unknown: bool = field(default=False, compare=False)


@value
class Wait:
    """The answer is `then` if this password has this hash, and a refusal otherwise.

    Where `then` is a refusal the comparison only takes its time, so that a
    name which nobody has is answered no sooner than a wrong password.
    """

    password: bytes = field(repr=False)
    hashed: bytes = field(repr=False)
    then: Accept | Refuse = Accept()


Verdict: TypeAlias = Accept | Refuse | Wait


_INTO_THE_GLOBAL_ACCOUNT: Final = Accept()


class Authenticator(Protocol):
    """Decides about logins. Must not raise, whatever a client said."""

    @property
    def requires_login(self) -> bool:
        """Whether a client must send a CONNECT that is accepted before anything else."""
        ...

    @property
    def checks_signatures(self) -> bool:
        """Whether a login may sign the nonce of INFO; without it no nonce is sent."""
        ...

    @property
    def admits_anonymous(self) -> bool:
        """Whether a client that names nobody becomes some user, also without CONNECT (16.1)."""
        ...

    @property
    def announces_login(self) -> bool:
        """Whether INFO says that a login is required."""
        ...

    def authenticate(self, login: Login) -> Verdict: ...


class Everybody:
    """Accepts any client; credentials are ignored (client-protocol.md section 6)."""

    requires_login = False
    checks_signatures = False
    admits_anonymous = False
    announces_login = False

    def authenticate(self, login: Login) -> Verdict:
        return _INTO_THE_GLOBAL_ACCOUNT


class SingleUser:
    """One user name and one password (section 16.1 step 6)."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def __init__(self, user: str, password: str) -> None:
        self._user = user.encode("utf-8", "surrogateescape")
        self._password = password.encode("utf-8", "surrogateescape")

    def authenticate(self, login: Login) -> Verdict:
        # both are compared, so that the time says nothing about which was wrong
        user = hmac.compare_digest(login.said.user.encode(), self._user)
        password = hmac.compare_digest(login.said.password.encode(), self._password)
        return Accept() if user and password else Refuse(is_unknown=_names_somebody(login.said) and not user)


class SingleToken:
    """One token for everybody."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def __init__(self, token: str) -> None:
        self._token = token.encode("utf-8", "surrogateescape")

    def authenticate(self, login: Login) -> Verdict:
        if hmac.compare_digest(login.said.auth_token.encode(), self._token):
            return Accept()
        return Refuse(is_unknown=_names_somebody(login.said))


def _names_somebody(said: ConnectOptions) -> bool:
    return bool(said.user or said.nkey)


def authenticator_for(options: Options) -> Authenticator:
    """The authenticator that the options describe, where they name no users. Raises ConfigError."""
    if options.users.users:
        raise ConfigError("a list of users needs the authenticator of natscore-security")
    if options.user:
        return SingleUser(options.user, options.password)
    if options.token:
        return SingleToken(options.token)
    return Everybody()

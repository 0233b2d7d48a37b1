"""The authenticator of configured users: passwords, tokens, NKeys, and the user of those who name nobody.

It is pure: a bcrypt hash is not computed here but asked for, by `Wait`. Whoever is
refused learns nothing of why, neither by text nor by time:

- where any hash is configured, no wrong name, password or token is refused at once: what would be
  is compared with a hash of nobody's, at the highest cost that is configured;
- plain secrets are compared whole, and for an unknown name too;
- a signature is verified with the key that the client names, before that key is looked up.

Source: client-protocol.md sections 16.1 to 16.5; nats-server 2.14.5, server/auth.go
processClientOrLeafAuthentication.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from natscore.account.permissions import EVERYTHING, Permissions
from natscore.authentication import Accept, Refuse, Wait, nonce_text
from natscore_security import passwords
from natscore_security.certificates import CertificateUsers
from natscore_security.errors import KeyFormatError, UsersError
from natscore_security.nkeys import decode_signature, verify
from natscore_security.users import NkeyUser, sorted_users

if TYPE_CHECKING:
    from collections.abc import Iterable

    from natscore.authentication import Login, Verdict
    from natscore_security.users import ConfiguredUser

__all__ = ["ConfiguredUsers"]

_NOBODYS_PASSWORD: Final = b"\0 nobody"


class ConfiguredUsers:
    """An `Authenticator` of users, or of one token.

    Args:
        users: with names and with keys, of all accounts.
        token: the one token that everybody says, plain or a bcrypt hash; rules out users.
        no_auth_user: whom a client becomes that names nobody: a name or a key of `users`.
        invents_user: a client that names nobody is in the global account, although others log in
            (accounts.md section 3.3).
        maps_certificates: the certificate of a client says which user it is, and CONNECT does not
            (section 17.3).

    Raises:
        UsersError: there is nobody who could log in, somebody twice, a token beside users, or a
            `no_auth_user` who is not there.
    """

    requires_login: Final = True

    def __init__(
        self,
        users: Iterable[ConfiguredUser] = (),
        *,
        token: str = "",
        no_auth_user: str = "",
        invents_user: bool = False,
        maps_certificates: bool = False,
    ) -> None:
        self._users, self._nkeys = sorted_users(users)
        everybody: tuple[ConfiguredUser, ...] = (*self._users.values(), *self._nkeys.values())
        for user in everybody:
            if not isinstance(user.permissions, Permissions | None):
                raise UsersError("permissions of a user are those of natscore.account.permissions, or None")
        if token and (self._users or self._nkeys):
            raise UsersError("Can not have a token and a users array")
        if not (token or self._users or self._nkeys):
            raise UsersError("nobody can log in: configure a user or a token")
        self._no_auth_user = self._find_no_auth_user(no_auth_user)
        self._invents_user = invents_user
        self._certificates = CertificateUsers(self._users) if maps_certificates and self._users else None
        self._secrets = {name: _configured(user.password) for name, user in self._users.items()}
        self._token = _configured(token)
        hashes = [one for one in (*self._secrets.values(), self._token) if passwords.is_hash(one)]
        cost = max(map(passwords.cost_of, hashes), default=0)
        self._dummy = passwords.dummy_hash(cost) if cost else None

    @property
    def checks_signatures(self) -> bool:
        """Whether somebody logs in by signing the nonce of INFO."""
        return bool(self._nkeys)

    @property
    def admits_anonymous(self) -> bool:
        """Whether a client that names nobody becomes some user."""
        return self._no_auth_user is not None or self._invents_user

    @property
    def announces_login(self) -> bool:
        """Whether INFO asks for a login; not where `no_auth_user` says who goes without."""
        return self._no_auth_user is None

    def authenticate(self, login: Login) -> Verdict:
        """Decide about one login, in the order of section 16.1. Never raises."""
        said = login.said
        if self._nkeys and said.nkey:
            return self._by_signature(login)
        anonymous = self._no_auth_user
        says_nobody = not (said.user or said.password or said.auth_token)
        if self._certificates is not None and not (says_nobody and isinstance(anonymous, NkeyUser)):
            return self._by_certificate(login, self._certificates)
        if says_nobody and anonymous is not None:
            return _accept(anonymous) if _may_connect(anonymous, login) else Refuse()
        if says_nobody and self._invents_user:
            return Accept()
        if self._token:
            refusal = Refuse(is_unknown=bool(said.user or said.nkey))
            return self._by_secret(_said(said.auth_token), self._token, Accept(), refusal)
        user = self._users.get(said.user)
        password = _said(said.password)
        if user is None:
            refusal = Refuse(is_unknown=bool(said.user or said.nkey))
            return self._by_secret(password, self._dummy or _NOBODYS_PASSWORD, refusal)
        then = _accept(user) if _may_connect(user, login) else Refuse()
        return self._by_secret(password, self._secrets[user.name], then)

    def _by_secret(
        self, said: bytes, configured: bytes, then: Accept | Refuse, refusal: Refuse | None = None
    ) -> Verdict:
        if passwords.is_hash(configured):
            return Wait(said, configured, then)
        if passwords.equal(said, configured) and isinstance(then, Accept):
            return then
        refusal = refusal or (then if isinstance(then, Refuse) else Refuse())
        return refusal if self._dummy is None else Wait(said, self._dummy, refusal)

    def _by_certificate(self, login: Login, certificates: CertificateUsers) -> Verdict:
        """The first user of the certificate who may connect so; what CONNECT names does not matter."""
        for name in certificates.candidates(login.certificate) if login.certificate is not None else ():
            user = self._users[name]
            if _may_connect(user, login):
                accept = _accept(user)
                then = Accept(accept.account, accept.permissions, user=name)
                return self._by_secret(_said(login.said.password), self._secrets[name], then)
        return Refuse()

    def _by_signature(self, login: Login) -> Verdict:
        said = login.said
        signature = decode_signature(said.signature)
        if signature is None or not login.nonce:
            return Refuse()
        try:
            signed = verify(said.nkey, nonce_text(login.nonce).encode(), signature)
        except KeyFormatError:
            return Refuse()
        user = self._nkeys.get(said.nkey)
        if user is None:
            return Refuse(is_unknown=True)
        return _accept(user) if signed and _may_connect(user, login) else Refuse()

    def _find_no_auth_user(self, name: str) -> ConfiguredUser | None:
        if not name:
            return None
        if not (self._users or self._nkeys):
            raise UsersError(f'no_auth_user: "{name}" present, but users/nkeys are not defined')
        user = self._nkeys.get(name) or self._users.get(name)
        if user is None:
            raise UsersError(
                f'no_auth_user: "{name}" not present as user or nkey in authorization block or account '
                "configuration"
            )
        return user


def _accept(user: ConfiguredUser) -> Accept:
    permissions = user.permissions
    return Accept(user.account, permissions if isinstance(permissions, Permissions) else EVERYTHING)


def _may_connect(user: ConfiguredUser, login: Login) -> bool:
    types = user.connection_types
    return types is None or login.connection_type.value in types


def _configured(secret: str) -> bytes:
    """The bytes of a configured secret; what was not UTF-8 in a file or an argument is as it was."""
    return secret.encode("utf-8", "surrogateescape")


def _said(secret: str) -> bytes:
    """The bytes of what a client said. JSON may hold halves of characters, which no secret has."""
    return secret.encode("utf-8", "surrogatepass")

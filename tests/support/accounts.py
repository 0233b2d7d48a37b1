"""Servers whose clients log in by the name of their account, for tests of what passes between accounts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from natscore.account.permissions import EVERYTHING, Permissions
from natscore.account.settings import AccountSettings, AccountsSettings, StreamExport, StreamImport
from natscore.authentication import Accept, Login, Verdict
from natscore.testing import World

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient, SimulatedServer

__all__ = ["ByAccount", "client_of", "exporting", "importing", "server_of"]

_EVERYTHING: Final = b">"


class ByAccount:
    """Lets everybody in: `A` into the account A with all rights, `limited@A` with those of `limited`."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def __init__(self, **permissions: Permissions) -> None:
        self._permissions = permissions

    def authenticate(self, login: Login) -> Verdict:
        name, _, account = login.said.user.rpartition("@")
        return Accept(account, self._permissions[name] if name else EVERYTHING)


def exporting(name: str, *subjects: bytes, imports: tuple[StreamImport, ...] = ()) -> AccountSettings:
    """An account that exports these streams to everybody, all of its own if none is named."""
    exports = tuple(StreamExport(subject=one) for one in subjects or (_EVERYTHING,))
    return AccountSettings(name=name, exports=exports, imports=imports)


def importing(
    name: str, exporter: str, subject: bytes, *, to: bytes | None = None, prefix: bytes | None = None
) -> AccountSettings:
    """An account that imports one stream."""
    imports = (StreamImport(account=exporter, subject=subject, to=to, prefix=prefix),)
    return AccountSettings(name=name, imports=imports)


def server_of(
    *accounts: AccountSettings,
    permissions: dict[str, Permissions] | None = None,
    world: World | None = None,
    **options: Any,
) -> SimulatedServer:
    """A server with these accounts."""
    return (world or World()).server(
        authenticator=ByAccount(**(permissions or {})),
        accounts=AccountsSettings(accounts=accounts),
        **options,
    )


def client_of(server: SimulatedServer, account: str, **said: object) -> ScriptedClient:
    """A client in this account, of which nothing is left to be read."""
    client = server.connect()
    words = {"verbose": False, "pedantic": False, "user": account, "pass": "any", **said}
    client.send(b"CONNECT " + json.dumps(words).encode() + b"\r\n")
    client.take()
    return client

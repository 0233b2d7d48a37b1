"""Logins of configured users against whole servers in the simulated world."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import bcrypt
import pytest

from natscore.effects import VerifyPassword
from natscore.errors import CloseReason
from natscore.testing import World
from natscore_security import passwords
from natscore_security.authenticator import ConfiguredUsers
from natscore_security.nkeys import KeyPair, encode_signature
from natscore_security.strkey import Kind
from natscore_security.users import NkeyUser, User

if TYPE_CHECKING:
    from natscore.effects import Effect
    from natscore.events import Event
    from natscore.testing import ScriptedClient, SimulatedServer

DENIED: Final = b"-ERR 'Authorization Violation'\r\n"
PAIR: Final = KeyPair(Kind.USER, bytes(32))
STRANGER: Final = KeyPair(Kind.USER, b"\1" * 32)
HASHED: Final = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
USERS: Final = (
    User("plain", "p", account="A"),
    User("hashed", HASHED, account="B"),
    User("websocket", "p", connection_types=frozenset({"WEBSOCKET"})),
    NkeyUser(PAIR.public_key, account="C"),
)


class Logins:
    """A server with these users, and how many comparisons of passwords it asked for."""

    def __init__(self, *, cuts: bool = False, **arguments: Any) -> None:
        self.world = World(cuts=cuts)
        self.server: SimulatedServer = self.world.server(authenticator=ConfiguredUsers(**arguments))
        self.server.verify = passwords.matches
        self.server.on_event = self._count
        self.comparisons = 0

    def _count(self, event: Event, effects: list[Effect]) -> None:
        self.comparisons += sum(isinstance(effect, VerifyPassword) for effect in effects)

    def say(self, **said: Any) -> ScriptedClient:
        """A new client that sends this CONNECT and a PING."""
        client = self.server.connect()
        document = json.dumps({"verbose": False, **said})
        client.send(f"CONNECT {document}\r\nPING\r\n".encode())
        return client

    def sign(self, pair: KeyPair, **said: Any) -> ScriptedClient:
        """A new client that answers the nonce of its INFO."""
        client = self.server.connect()
        nonce: str = json.loads(client.info[5:])["nonce"]
        said = {"nkey": pair.public_key, "sig": encode_signature(pair.sign(nonce.encode())), **said}
        client.send(f"CONNECT {json.dumps({'verbose': False, **said})}\r\nPING\r\n".encode())
        return client


def account_of(client: ScriptedClient) -> str:
    return client.server.state.connections[client.cid].account.name


def assert_refused(client: ScriptedClient) -> None:
    assert client.take() == DENIED
    assert client.close_reason is CloseReason.AUTHENTICATION_FAILURE


@pytest.mark.spec("client-protocol 16.1", "client-protocol 16.2", "client-protocol 16.5")
@pytest.mark.parametrize("cuts", [False, True], ids=["whole", "cut"])
def test_user_of_each_kind_comes_into_its_account(cuts: bool) -> None:
    logins = Logins(cuts=cuts, users=USERS)

    clients = {
        "A": logins.say(user="plain", **{"pass": "p"}),
        "B": logins.say(user="hashed", **{"pass": "pw"}),
        "C": logins.sign(PAIR),
    }

    assert {name: client.take() for name, client in clients.items()} == dict.fromkeys("ABC", b"PONG\r\n")
    assert [account_of(client) for client in clients.values()] == ["A", "B", "C"]
    assert logins.server.state.authentication_failures == 0
    logins.world.check()


@pytest.mark.spec("client-protocol 16.5")
def test_users_of_different_accounts_do_not_hear_each_other() -> None:
    logins = Logins(users=[User("a", "p", account="A"), User("b", "p", account="B")])
    first, second = (logins.say(user=name, **{"pass": "p"}) for name in "ab")
    for client in (first, second):
        client.send(b"SUB > 1\r\n")
        client.take()

    second.send(b"PUB x 2\r\nhi\r\nPING\r\n")

    assert second.take() == b"MSG x 1 2\r\nhi\r\nPONG\r\n"
    assert first.take() == b""


@pytest.mark.spec(
    "client-protocol 12:Authorization Violation", "client-protocol 16.1", "client-protocol 16.4"
)
def test_whoever_is_refused_is_told_the_same_closed_and_counted() -> None:
    logins = Logins(users=USERS)

    refused = [
        logins.say(user="plain", **{"pass": "x"}),
        logins.say(user="hashed", **{"pass": "x"}),
        logins.say(user="hashed", **{"pass": HASHED}),
        logins.say(user="websocket", **{"pass": "p"}),
        logins.say(user="nobody", **{"pass": "p"}),
        logins.say(auth_token="p"),
        logins.say(),
        logins.sign(STRANGER),
        logins.sign(STRANGER, nkey=PAIR.public_key),
        logins.sign(PAIR, sig=""),
        logins.sign(PAIR, sig="A" * 86),
        logins.sign(PAIR, nkey=PAIR.seed),
        logins.sign(PAIR, account="C"),
    ]

    for client in refused:
        assert_refused(client)
    assert logins.server.state.authentication_failures == len(refused)
    secrets = ("pw", HASHED, PAIR.seed)
    assert not any(secret in repr(note) for note in logins.server.notes for secret in secrets)
    logins.world.check()


def test_signature_of_another_connection_is_refused() -> None:
    logins = Logins(users=USERS)
    nonce: str = json.loads(logins.server.connect().info[5:])["nonce"]

    assert_refused(logins.sign(PAIR, sig=encode_signature(PAIR.sign(nonce.encode()))))


@pytest.mark.parametrize("token", ["t", HASHED], ids=["plain", "hashed"])
def test_token_opens_and_anything_else_does_not(token: str) -> None:
    logins = Logins(token=token)

    assert logins.say(auth_token="t" if token == "t" else "pw").take() == b"PONG\r\n"
    assert_refused(logins.say(auth_token="x"))
    assert_refused(logins.say(user="t", **{"pass": "t"}))


def test_unknown_user_costs_as_many_comparisons_as_a_wrong_password() -> None:
    def comparisons(**said: Any) -> int:
        logins = Logins(users=USERS)
        assert_refused(logins.say(**said))
        return logins.comparisons

    assert comparisons(user="hashed", **{"pass": "x"}) == 1
    assert comparisons(user="nobody", **{"pass": "x"}) == 1
    assert comparisons(user="plain", **{"pass": "x"}) == 1
    assert comparisons() == 1


@pytest.mark.spec("client-protocol 1.1", "client-protocol 16.1")
def test_client_that_names_nobody_becomes_the_no_auth_user_with_connect_or_without() -> None:
    logins = Logins(users=USERS, no_auth_user="plain")
    silent = logins.server.connect()

    silent.send(b"PING\r\n")
    polite = logins.say()

    assert "auth_required" not in json.loads(silent.info[5:])
    assert (silent.take(), polite.take()) == (b"PONG\r\n", b"PONG\r\n")
    assert account_of(silent) == account_of(polite) == "A"
    assert_refused(logins.say(user="hashed", **{"pass": "x"}))
    assert_refused(logins.say(**{"pass": "x"}))


def test_client_without_connect_is_refused_where_the_no_auth_user_may_not_connect_like_this() -> None:
    logins = Logins(users=USERS, no_auth_user="websocket")
    client = logins.server.connect()

    client.send(b"PING\r\n")

    assert_refused(client)

"""From the users of a file and the flags to who decides about logins."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import bcrypt
import pytest

from natscore.account.anonymous import Anonymous, LoginSettings
from natscore.account.permissions import Permissions, Rules
from natscore.authentication import Accept, Authenticator, ConnectionType, Login, Refuse, Wait
from natscore.effects import VerifyPassword
from natscore.events import Address, AttemptId, ConnectionId, Instant, PasswordVerified
from natscore.wire.connect import ConnectOptions
from natscore_cli.arguments import StartRefused
from natscore_cli.conf.users import FileUser
from natscore_cli.logins import Logins, is_hash, password_performer

if TYPE_CHECKING:
    from natscore.effects import Note
    from natscore.events import Event

HASHED: Final = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
KEY: Final = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK"
ONLY_A: Final = Permissions(Rules(allow=(b"a",)))


def login(kind: ConnectionType = ConnectionType.STANDARD, **said: Any) -> Login:
    return Login(Instant(0, 0), Address("10.0.0.1", 1), ConnectOptions(**said), b"nonce", kind)


def made(logins: Logins) -> Authenticator:
    found = logins.authenticator()
    assert found is not None
    return found


@pytest.mark.parametrize("logins", [Logins(), Logins(user="a", password="p"), Logins(token="t")])
def test_an_open_server_one_user_and_one_token_are_left_to_the_core(logins: Logins) -> None:
    assert logins.authenticator() is None
    assert logins.needs_security == ""


@pytest.mark.spec("client-protocol 16.1", "client-protocol 16.3", "accounts 3")
def test_users_log_in_with_what_the_file_says_of_them() -> None:
    users = (
        FileUser(name="a", password="p", account="A", permissions=ONLY_A),
        FileUser(name="ws", connection_types=frozenset({"WEBSOCKET"})),
        FileUser(nkey=KEY),
    )

    found = made(Logins(users=users))

    assert found.authenticate(login(user="a", password="p")) == Accept("A", ONLY_A)
    assert found.authenticate(login(user="a", password="q")) == Refuse()
    assert found.authenticate(login(user="ws")) == Refuse()
    assert found.authenticate(login(ConnectionType.WEBSOCKET, user="ws")) == Accept()
    assert found.checks_signatures


@pytest.mark.spec("client-protocol 16.2")
def test_one_user_and_one_token_may_be_hashed() -> None:
    user, token = made(Logins(user="a", password=HASHED)), made(Logins(token=HASHED))

    assert user.authenticate(login(user="a", password="pw")) == Wait(b"pw", HASHED.encode(), Accept())
    assert token.authenticate(login(auth_token="pw")) == Wait(b"pw", HASHED.encode(), Accept())


@pytest.mark.spec("accounts 3")
def test_where_only_the_system_account_has_users_nobody_else_needs_one() -> None:
    settings = LoginSettings(accounts=("SYS",), accounts_with_users=("SYS",), system_account="SYS")

    logins = Logins(users=(FileUser(name="s", password="p", account="SYS"),), settings=settings)

    assert logins.anonymous is Anonymous.AS_INVENTED_USER
    assert made(logins).authenticate(login()) == Accept("$G")
    assert made(logins).announces_login


def test_who_has_no_users_lets_everybody_in_whatever_block_there_is() -> None:
    assert Logins(settings=LoginSettings(authorization=True)).anonymous is Anonymous.IN_GLOBAL_ACCOUNT


@pytest.mark.parametrize(
    ("logins", "what"),
    [
        (Logins(users=(FileUser(name="a"),)), "a list of users"),
        (Logins(user="a", password=HASHED), "a hashed password"),
        (Logins(token=HASHED), "a hashed token"),
    ],
)
def test_what_to_install_is_said_where_the_security_package_is_missing(
    logins: Logins, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "natscore_security.authenticators", None)

    with pytest.raises(StartRefused) as caught:
        logins.authenticator()

    assert str(caught.value).startswith(f"{what} needs the package natscore-security, and ")
    assert str(caught.value).endswith(" is not installed: pip install natscore[security]")


def test_users_that_cannot_be_refuse_the_start() -> None:
    with pytest.raises(StartRefused, match=r'^no_auth_user: "b" not present as user or nkey'):
        Logins(users=(FileUser(name="a"),), no_auth_user="b").authenticator()


@pytest.mark.parametrize(
    ("logins", "plain"),
    [
        (Logins(), False),
        (Logins(user="a", password=HASHED), False),
        (Logins(user="a", password="p"), True),
        (Logins(token="t"), True),
        (Logins(users=(FileUser(nkey=KEY), FileUser(name="a"), FileUser(name="b", password=HASHED))), False),
        (Logins(users=(FileUser(nkey=KEY), FileUser(name="b", password="p"))), True),
    ],
)
def test_readable_passwords_are_seen(logins: Logins, plain: bool) -> None:
    assert logins.plain_passwords is plain


def test_a_hash_is_known_by_how_it_begins() -> None:
    assert [is_hash(f"$2{one}$11$x") for one in "abxyc"] == [True] * 4 + [False]
    assert not is_hash("x$2a$11$")


class Shell:
    """Takes what a performer answers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def now(self) -> Instant:
        return Instant(5, 6)

    def feed(self, event: Event) -> None:
        self.events.append(event)

    def note(self, note: Note) -> None:
        raise AssertionError(note)


@pytest.mark.anyio
@pytest.mark.spec("client-protocol 16.2")
@pytest.mark.parametrize(("password", "matches"), [(b"pw", True), (b"x", False)])
async def test_passwords_are_compared_by_the_security_package(password: bytes, matches: bool) -> None:
    shell: Any = Shell()
    perform = password_performer(lambda: 10**9)

    await perform(VerifyPassword(AttemptId(1), ConnectionId(5), password, HASHED.encode()), shell)

    assert shell.events == [
        PasswordVerified(at=Instant(5, 6), attempt=AttemptId(1), cid=ConnectionId(5), matches=matches)
    ]


def test_what_is_shown_of_logins_holds_no_secret() -> None:
    logins = Logins(
        users=(FileUser(name="a", password="planted"),), user="a", password="planted", token="planted"
    )

    assert "planted" not in repr(logins)

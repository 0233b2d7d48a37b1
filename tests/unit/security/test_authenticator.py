"""Who gets in, and that whoever does not learns nothing of why."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscore.account.permissions import Permissions, Rules
from natscore.authentication import (
    Accept,
    Authenticator,
    ConnectionType,
    Login,
    Refuse,
    Verdict,
    Wait,
    nonce_text,
)
from natscore.events import Address, Certificate, Instant
from natscore.wire.connect import ConnectOptions
from natscore_security import passwords
from natscore_security.authenticator import ConfiguredUsers
from natscore_security.errors import UsersError
from natscore_security.nkeys import KeyPair, encode_signature
from natscore_security.strkey import Kind
from natscore_security.users import NkeyUser, User

if TYPE_CHECKING:
    from collections.abc import Iterator

NONCE: Final = bytes(range(200, 211))
PAIR: Final = KeyPair(Kind.USER, bytes(32))
STRANGER: Final = KeyPair(Kind.USER, b"\1" * 32)
HASHED: Final = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
COSTLY: Final = HASHED.replace("$04$", "$06$")  # of another password, and four times the work
PERMISSIONS: Final = Permissions(publish=Rules(deny=(b"secret",)))


def login(nonce: bytes = NONCE, kind: ConnectionType = ConnectionType.STANDARD, /, **said: Any) -> Login:
    return Login(Instant(0, 0), Address("10.0.0.1", 40_000), ConnectOptions(**said), nonce, kind)


def signed(pair: KeyPair = PAIR, nonce: bytes = NONCE, **said: Any) -> dict[str, Any]:
    signature = pair.sign(nonce_text(nonce).encode())
    return {"nkey": pair.public_key, "signature": encode_signature(signature), **said}


def settled(verdict: Verdict) -> Accept | Refuse:
    """The verdict when the comparison that it waits for is done."""
    if isinstance(verdict, Wait):
        return verdict.then if passwords.matches(verdict.password, verdict.hashed) else Refuse()
    return verdict


EVERY_KIND: Final = ConfiguredUsers(
    [
        User("plain", "p", account="A", permissions=PERMISSIONS),
        User("hashed", HASHED, account="B"),
        User("open"),
        User("ws", "p", connection_types=frozenset({"WEBSOCKET"})),
        User("hashed-ws", HASHED, connection_types=frozenset({"WEBSOCKET"})),
        NkeyUser(PAIR.public_key, account="C", permissions=PERMISSIONS),
    ]
)


def authenticators() -> Iterator[ConfiguredUsers]:
    yield EVERY_KIND
    yield ConfiguredUsers([User("a", "p")], no_auth_user="a")
    yield ConfiguredUsers([NkeyUser(PAIR.public_key)])
    yield ConfiguredUsers(token="t")
    yield ConfiguredUsers(token=HASHED)


# -- who gets in -------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 16.1", "client-protocol 16.2", "client-protocol 16.5")
@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ({"user": "plain", "password": "p"}, Accept("A", PERMISSIONS)),
        ({"user": "plain", "password": "P"}, Refuse()),
        ({"user": "plain"}, Refuse()),
        ({"user": "hashed", "password": "pw"}, Accept("B")),
        ({"user": "hashed", "password": "pW"}, Refuse()),
        ({"user": "hashed", "password": HASHED}, Refuse()),
        ({"user": "hashed"}, Refuse()),
        ({"user": "open"}, Accept()),
        ({"user": "open", "password": "x"}, Refuse()),
        ({"user": "nobody", "password": "p"}, Refuse()),
        ({"user": "nobody", "password": "\0 nobody"}, Refuse()),
        ({"password": "p"}, Refuse()),
        ({"auth_token": "p"}, Refuse()),
        ({"user": "plain", "auth_token": "p"}, Refuse()),
        ({}, Refuse()),
        ({"user": "ws", "password": "p"}, Refuse()),
        ({"user": "hashed-ws", "password": "pw"}, Refuse()),
    ],
    ids=str,
)
def test_user_logs_in_with_its_own_password_only(said: dict[str, Any], verdict: Verdict) -> None:
    assert settled(EVERY_KIND.authenticate(login(**said))) == verdict


@pytest.mark.spec("client-protocol 16.1")
@pytest.mark.parametrize("said", [{"user": "ws", "password": "p"}, {"user": "hashed-ws", "password": "pw"}])
def test_user_logs_in_over_a_connection_of_an_allowed_type(said: dict[str, Any]) -> None:
    allowed = login(NONCE, ConnectionType.WEBSOCKET, **said)

    assert settled(EVERY_KIND.authenticate(allowed)) == Accept()


@pytest.mark.spec("client-protocol 16.1")
@pytest.mark.parametrize("token", ["s3cret", HASHED], ids=["plain", "hashed"])
def test_one_token_opens(token: str) -> None:
    authenticator = ConfiguredUsers(token=token)
    right = "pw" if token is HASHED else token

    assert settled(authenticator.authenticate(login(auth_token=right))) == Accept()
    for wrong in ({"auth_token": "x"}, {"auth_token": HASHED}, {}, {"user": right}, {"password": right}):
        assert settled(authenticator.authenticate(login(**wrong))) == Refuse()


@pytest.mark.spec("client-protocol 16.4")
@pytest.mark.parametrize("standard", [False, True], ids=["url-safe", "standard"])
def test_user_with_a_key_logs_in_by_signing_the_nonce(standard: bool) -> None:
    said = signed()
    if standard:
        signature = PAIR.sign(nonce_text(NONCE).encode())
        said["signature"] = base64.b64encode(signature).decode()

    assert EVERY_KIND.authenticate(login(**said)) == Accept("C", PERMISSIONS)


@pytest.mark.spec("client-protocol 16.4")
@pytest.mark.parametrize(
    "said",
    [
        signed(signature=""),
        signed(nonce=b"another one"),
        signed(STRANGER),
        signed(STRANGER, nkey=PAIR.public_key),
        signed(nkey=STRANGER.public_key),
        signed(nkey=PAIR.public_key.lower()),
        signed(nkey=PAIR.public_key + "="),
        signed(nkey=PAIR.seed),
        signed(nkey="U"),
        signed(signature=encode_signature(PAIR.sign(NONCE))),  # the bytes in place of the characters
        signed(signature=encode_signature(PAIR.sign(nonce_text(NONCE).encode())) + "=="),
        signed(signature=encode_signature(bytes(64))),
        signed(nkey=STRANGER.public_key, user="plain", password="p"),  # a key, and then nothing else counts
    ],
    ids=lambda said: f"{said['nkey'][:9]}-{said['signature'][:9]}",
)
def test_user_with_a_key_is_refused_for_any_other_signature(said: dict[str, Any]) -> None:
    assert EVERY_KIND.authenticate(login(**said)) == Refuse()


def test_signature_where_no_nonce_was_sent_is_refused() -> None:
    assert EVERY_KIND.authenticate(login(b"", **signed(nonce=b""))) == Refuse()


def test_user_with_a_key_is_refused_over_a_connection_of_another_type() -> None:
    authenticator = ConfiguredUsers([NkeyUser(PAIR.public_key, connection_types=frozenset({"MQTT"}))])

    assert authenticator.authenticate(login(**signed())) == Refuse()
    assert authenticator.authenticate(login(NONCE, ConnectionType.MQTT, **signed())) == Accept()


@pytest.mark.spec("client-protocol 16.1")
def test_key_is_ignored_where_none_is_configured() -> None:
    authenticator = ConfiguredUsers([User("a", "p")])

    assert authenticator.authenticate(login(**signed(user="a", password="p"))) == Accept()
    assert authenticator.authenticate(login(**signed())) == Refuse()


# -- certificates --------------------------------------------------------------------------------------


def certificate(*emails: str, dns_names: tuple[str, ...] = ()) -> Certificate:
    return Certificate(
        subject=((("CN", "cn"),),), emails=emails, dns_names=dns_names, uris=(), key_sha256="", sha256=""
    )


def shown(peer: Certificate | None, **said: Any) -> Login:
    """A login by a certificate, besides what CONNECT says."""
    return replace(login(**said), certificate=peer)


MAPPED: Final = ConfiguredUsers(
    [
        User("bob@acme", account="A", permissions=PERMISSIONS),
        User("locked", "p"),
        User("ws", connection_types=frozenset({"WEBSOCKET"})),
        User("by-name", "p"),
        NkeyUser(PAIR.public_key, account="C"),
    ],
    no_auth_user="by-name",
    maps_certificates=True,
)


@pytest.mark.spec("client-protocol 17.3")
def test_certificate_says_who_a_client_is_whatever_it_says() -> None:
    bob = Accept("A", PERMISSIONS, user="bob@acme")

    assert MAPPED.authenticate(shown(certificate("bob@acme"))) == bob
    assert MAPPED.authenticate(shown(certificate("bob@acme"), user="by-name", auth_token="t")) == bob
    assert MAPPED.authenticate(shown(certificate("ws", "bob@acme"))) == bob  # who may not connect like this


@pytest.mark.spec("client-protocol 17.3", "client-protocol 12:Authorization Violation")
@pytest.mark.parametrize(
    ("peer", "said"),
    [
        (None, {}),
        (None, {"user": "by-name", "password": "p"}),
        (certificate("nobody"), {}),
        (certificate("nobody"), {"user": "by-name", "password": "p"}),
        (certificate("ws"), {}),
        (certificate("bob@acme"), {"password": "x"}),
        (certificate("locked"), {}),
    ],
)
def test_client_whose_certificate_is_no_user_is_refused(
    peer: Certificate | None, said: dict[str, str]
) -> None:
    assert MAPPED.authenticate(shown(peer, **said)) == Refuse()


@pytest.mark.spec("client-protocol 17.3")
def test_password_of_the_user_of_a_certificate_must_be_said() -> None:
    assert MAPPED.authenticate(shown(certificate("locked"), password="p")) == Accept(user="locked")


@pytest.mark.spec("client-protocol 16.1")
def test_client_that_signs_needs_no_user_of_its_certificate() -> None:
    assert MAPPED.authenticate(shown(certificate("nobody"), **signed())) == Accept("C")


@pytest.mark.spec("client-protocol 16.1")
def test_only_an_nkey_user_is_nobody_where_certificates_are_mapped() -> None:
    nkey = ConfiguredUsers(
        [User("a"), NkeyUser(PAIR.public_key, account="C")],
        no_auth_user=PAIR.public_key,
        maps_certificates=True,
    )

    assert nkey.authenticate(shown(certificate("a"))) == Accept("C")


# -- the invented user -----------------------------------------------------------------------------------


@pytest.mark.spec("accounts 3", "client-protocol 16.5")
def test_where_a_user_is_invented_a_client_that_names_nobody_is_in_the_global_account() -> None:
    users = ConfiguredUsers([User("sys", "p", account="$SYS")], invents_user=True)

    assert users.authenticate(login()) == Accept("$G")
    assert users.authenticate(login(user="sys", password="p")) == Accept("$SYS")
    assert users.authenticate(login(user="sys")) == Refuse()
    assert (users.admits_anonymous, users.announces_login) == (True, True)


# -- who names nobody --------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 16.1")
@pytest.mark.parametrize("password", ["p", HASHED], ids=["plain", "hashed"])
def test_client_that_names_nobody_becomes_the_no_auth_user(password: str) -> None:
    users = [User("a", password, account="A", permissions=PERMISSIONS), User("b", "q")]
    authenticator = ConfiguredUsers(users, no_auth_user="a")

    assert authenticator.admits_anonymous
    assert authenticator.authenticate(login()) == Accept("A", PERMISSIONS)
    assert authenticator.authenticate(login(jwt="ey", **signed())) == Accept("A", PERMISSIONS)  # ignored
    for wrong in ({"user": "b", "password": "zzz"}, {"password": "zzz"}, {"auth_token": "t"}, {"user": "a"}):
        assert settled(authenticator.authenticate(login(**wrong))) == Refuse()


@pytest.mark.spec("client-protocol 16.1")
def test_no_auth_user_with_a_key_need_not_sign() -> None:
    authenticator = ConfiguredUsers(
        [NkeyUser(PAIR.public_key, account="A"), User("a", "p")], no_auth_user=PAIR.public_key
    )

    assert authenticator.authenticate(login()) == Accept("A")
    assert authenticator.authenticate(login(nkey=PAIR.public_key)) == Refuse()


def test_no_auth_user_is_nobody_over_a_connection_of_another_type() -> None:
    authenticator = ConfiguredUsers([User("a", connection_types=frozenset({"WEBSOCKET"}))], no_auth_user="a")

    assert authenticator.authenticate(login()) == Refuse()
    assert authenticator.authenticate(login(NONCE, ConnectionType.WEBSOCKET)) == Accept()


# -- what a stranger learns --------------------------------------------------------------------------


def test_whoever_is_refused_waits_for_a_comparison_of_the_highest_cost_that_is_configured() -> None:
    authenticator = ConfiguredUsers([User("plain", "p"), User("cheap", HASHED), User("costly", COSTLY)])

    for said in ({"user": "nobody", "password": "pw"}, {"user": "plain", "password": "x"}, {}):
        verdict = authenticator.authenticate(login(**said))
        assert isinstance(verdict, Wait)
        assert verdict.then == Refuse()
        assert passwords.cost_of(verdict.hashed) == 6
    wrong = authenticator.authenticate(login(user="costly", password="x"))
    assert isinstance(wrong, Wait)
    assert passwords.cost_of(wrong.hashed) == 6


def test_right_plain_password_does_not_wait() -> None:
    assert EVERY_KIND.authenticate(login(user="plain", password="p")) == Accept("A", PERMISSIONS)


def test_nobody_waits_where_no_hash_is_configured() -> None:
    authenticator = ConfiguredUsers([User("a", "p")])

    for said in ({"user": "a", "password": "x"}, {"user": "nobody"}, {}):
        assert authenticator.authenticate(login(**said)) == Refuse()


def test_user_whose_hash_is_malformed_cannot_log_in() -> None:
    authenticator = ConfiguredUsers([User("a", "$2a$10$broken")])

    for password in ("", "$2a$10$broken", "x"):
        assert settled(authenticator.authenticate(login(user="a", password=password))) == Refuse()


texts = st.text() | st.sampled_from(
    ["plain", "hashed", "open", "a", PAIR.public_key, "\ud800", "\udce9", "é"]
)


@given(
    st.fixed_dictionaries(
        dict.fromkeys(("user", "password", "auth_token", "nkey", "signature", "jwt"), texts)
    ),
    st.binary(max_size=12),
)
def test_whatever_a_client_says_nothing_raises(said: dict[str, str], nonce: bytes) -> None:
    for authenticator in authenticators():
        verdict = authenticator.authenticate(login(nonce, **said))
        assert isinstance(verdict, Accept | Refuse | Wait)


def test_secret_that_is_not_utf_8_can_be_configured() -> None:
    secret = b"caf\xe9".decode("utf-8", "surrogateescape")
    authenticator = ConfiguredUsers([User("a", secret)])

    assert authenticator.authenticate(login(user="a", password="café")) == Refuse()


# -- what cannot be ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "nobody can log in: configure a user or a token"),
        ({"users": [User("a")], "token": "t"}, "Can not have a token and a users array"),
        ({"users": [User("a"), User("a")]}, 'Duplicate user "a" detected'),
        ({"token": "t", "no_auth_user": "a"}, 'no_auth_user: "a" present, but users/nkeys are not defined'),
        (
            {"users": [User("a")], "no_auth_user": "b"},
            'no_auth_user: "b" not present as user or nkey in authorization block or account configuration',
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_users_that_cannot_be_are_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(UsersError) as refused:
        ConfiguredUsers(**arguments)

    assert str(refused.value) == text


def test_nonce_is_sent_only_where_somebody_signs() -> None:
    found: list[Authenticator] = [*authenticators()]

    assert [one.checks_signatures for one in found] == [True, False, True, False, False]
    assert [one.admits_anonymous for one in found] == [False, True, False, False, False]
    assert [one.announces_login for one in found] == [True, False, True, True, True]
    assert all(one.requires_login for one in found)


def test_authenticator_shows_no_secret() -> None:
    assert "planted" not in repr(ConfiguredUsers([User("a", "planted")]))


def test_permissions_that_are_none_of_ours_are_refused() -> None:
    with pytest.raises(UsersError, match="permissions of a user"):
        ConfiguredUsers([User("a", "b", permissions="everything")])

"""Authenticators that need nobody else: everybody, one user, one token."""

from __future__ import annotations

import pytest

from natscore.authentication import (
    Accept,
    Authenticator,
    Everybody,
    Login,
    Refuse,
    SingleToken,
    SingleUser,
    Wait,
    authenticator_for,
    nonce_text,
)
from natscore.events import Address, Instant
from natscore.options import Options
from natscore.wire.connect import ConnectOptions


def login(said: ConnectOptions) -> Login:
    return Login(Instant(0, 0), Address("10.0.0.1", 40_000), said, b"planted nonce")


@pytest.mark.spec("client-protocol 16", "client-protocol 16.1")
@pytest.mark.parametrize(
    "said", [ConnectOptions(), ConnectOptions(user="u", password="p", auth_token="t", nkey="k", jwt="j")]
)
def test_an_open_server_accepts_any_credentials(said: ConnectOptions) -> None:
    assert Everybody().authenticate(login(said)) == Accept("$G")


@pytest.mark.spec("client-protocol 16.1", "client-protocol 16.2")
@pytest.mark.parametrize(
    ("user", "password", "accepted"),
    [
        ("u", "p", True),
        ("u", "", False),
        ("", "p", False),
        ("u", "P", False),
        ("u", "p ", False),
        ("up", "", False),
        ("ü", "p", False),
        ("", "", False),
    ],
)
def test_one_user_must_say_its_name_and_its_password(user: str, password: str, accepted: bool) -> None:
    verdict = SingleUser("u", "p").authenticate(login(ConnectOptions(user=user, password=password)))

    assert verdict == (Accept() if accepted else Refuse())


@pytest.mark.spec("client-protocol 16.2")
def test_a_user_without_a_password_accepts_an_empty_one() -> None:
    assert SingleUser("u", "").authenticate(login(ConnectOptions(user="u"))) == Accept()
    assert SingleUser("u", "").authenticate(login(ConnectOptions(user="u", password="x"))) == Refuse()


@pytest.mark.spec("client-protocol 16.1")
@pytest.mark.parametrize(
    ("token", "accepted"), [("s3cret", True), ("", False), ("s3cre", False), ("s3crets", False)]
)
def test_one_token_opens(token: str, accepted: bool) -> None:
    verdict = SingleToken("s3cret").authenticate(login(ConnectOptions(auth_token=token, user="u")))

    assert verdict == (Accept() if accepted else Refuse())


def test_a_secret_from_a_command_line_that_is_not_utf_8_can_be_configured() -> None:
    secret = b"caf\xe9".decode("utf-8", "surrogateescape")

    assert SingleToken(secret).authenticate(login(ConnectOptions(auth_token="café"))) == Refuse()
    assert SingleUser(secret, secret).authenticate(login(ConnectOptions(user="café"))) == Refuse()


@pytest.mark.spec("client-protocol 16")
@pytest.mark.parametrize(
    ("options", "kind", "required"),
    [
        (Options(), Everybody, False),
        (Options(user="u", password="p"), SingleUser, True),
        (Options(token="t"), SingleToken, True),
    ],
)
def test_the_options_say_who_may_log_in(options: Options, kind: type[Authenticator], required: bool) -> None:
    authenticator = authenticator_for(options)

    assert type(authenticator) is kind
    assert authenticator.requires_login is required
    assert authenticator.checks_signatures is False
    assert authenticator.admits_anonymous is False


def test_what_a_login_shows_holds_no_secret() -> None:
    attempt = login(ConnectOptions(user="u", password="planted", auth_token="planted"))

    assert "planted" not in repr(attempt)
    assert "planted" not in repr(Wait(b"planted", b"planted"))


@pytest.mark.spec("client-protocol 16.4")
def test_a_nonce_is_shown_in_15_url_safe_characters() -> None:
    assert nonce_text(b"\xfb\xff\xfe" + bytes(8)) == "-__-AAAAAAAAAAA"

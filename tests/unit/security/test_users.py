"""Configured users as values: what cannot be is refused in nats-server's words, and shows no secret."""

from __future__ import annotations

import pytest

from natscore.authentication import ConnectionType
from natscore_security.errors import UsersError
from natscore_security.nkeys import KeyPair
from natscore_security.strkey import Kind
from natscore_security.users import CONNECTION_TYPES, NkeyUser, User, sorted_users

PAIR = KeyPair(Kind.USER, bytes(32))
ACCOUNT = KeyPair(Kind.ACCOUNT, bytes(32))


def test_user_belongs_to_the_global_account_unless_another_is_named() -> None:
    assert User("a").account == NkeyUser(PAIR.public_key).account == "$G"


@pytest.mark.parametrize("key", ["", "U", PAIR.seed, ACCOUNT.public_key, PAIR.public_key.lower()])
def test_user_with_a_key_that_is_no_public_user_key_is_refused(key: str) -> None:
    with pytest.raises(UsersError) as refused:
        NkeyUser(key)

    assert str(refused.value) == "Not a valid public nkey for a user"


def test_user_without_a_name_is_refused() -> None:
    with pytest.raises(UsersError, match="User entry requires a user"):
        User("")


@pytest.mark.parametrize("entry", [("name",), (PAIR.public_key,)])
def test_unknown_connection_type_is_refused(entry: tuple[str]) -> None:
    kind = NkeyUser if entry[0] == PAIR.public_key else User
    with pytest.raises(UsersError) as refused:
        kind(*entry, connection_types=frozenset({"STANDARD", "FOO", "standard"}))

    assert str(refused.value) == 'invalid connection types ["FOO" "standard"]'


def test_connection_types_are_those_of_the_core() -> None:
    assert {one.value for one in ConnectionType} == CONNECTION_TYPES


def test_users_are_sorted_by_name_and_by_key() -> None:
    ann, key = User("ann", "p"), NkeyUser(PAIR.public_key, account="A")

    assert sorted_users([key, ann]) == ({"ann": ann}, {PAIR.public_key: key})


def test_user_that_is_there_twice_is_refused_also_in_two_accounts() -> None:
    with pytest.raises(UsersError, match='Duplicate user "ann" detected'):
        sorted_users([User("ann", account="A"), User("ann", account="B")])
    with pytest.raises(UsersError, match=f'Duplicate nkey "{PAIR.public_key}" detected'):
        sorted_users([NkeyUser(PAIR.public_key, account="A"), NkeyUser(PAIR.public_key, account="B")])


def test_user_shows_no_password() -> None:
    assert "planted" not in repr(User("ann", "planted"))

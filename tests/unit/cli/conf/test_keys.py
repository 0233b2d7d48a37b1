"""Keys are told from words by their kind and their checksum."""

from __future__ import annotations

import pytest

from natscore_cli.conf.table.keys import ACCOUNT, OPERATOR, USER, USER_SEED, is_public_key, is_seed, is_token

# Of nobody: 32 bytes that count upwards.
KEY_OF_AN_ACCOUNT = "AAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB776S"
KEY_OF_A_USER = "UAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB63NN"
SEED_OF_A_USER = "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y"


def test_a_key_is_of_one_kind() -> None:
    assert is_public_key(KEY_OF_AN_ACCOUNT, ACCOUNT)
    assert is_public_key(KEY_OF_A_USER, USER)
    assert not is_public_key(KEY_OF_A_USER, ACCOUNT)
    assert not is_public_key(KEY_OF_AN_ACCOUNT, OPERATOR)


@pytest.mark.parametrize(
    "text", ["", "abc", KEY_OF_A_USER[:-1] + "A", KEY_OF_A_USER.lower(), KEY_OF_A_USER + "A"]
)
def test_what_was_mistyped_is_no_key(text: str) -> None:
    assert not is_public_key(text, USER)


def test_a_seed_is_no_public_key() -> None:
    assert is_seed(SEED_OF_A_USER, USER_SEED)
    assert not is_seed(SEED_OF_A_USER, ACCOUNT)
    assert not is_seed(SEED_OF_A_USER[:-1] + "A", USER_SEED)
    assert not is_seed(KEY_OF_A_USER, USER_SEED)


@pytest.mark.parametrize(
    ("text", "expected"), [("eyJ0.e30.c2ln", True), ("eyJ0.e30", False), ("a.b.c", False)]
)
def test_a_token_has_three_parts(text: str, expected: bool) -> None:
    assert is_token(text) is expected

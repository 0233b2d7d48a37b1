"""Passwords are compared as nats-server compares them."""

from __future__ import annotations

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natscore_security.passwords import cost_of, dummy_hash, equal, is_hash, matches

# client-protocol.md section 24, vector 149; the password is "pw"
KNOWN = b"$2a$04$abcdefghijklmnopqrstuuyvPXIbu7xe6/CED2DzX8z6Si09MlzlW"


def hashed(password: bytes) -> bytes:
    return bcrypt.hashpw(password, bcrypt.gensalt(4))


@pytest.mark.spec("client-protocol 16.2")
@pytest.mark.parametrize("version", [b"a", b"b", b"x", b"y"])
def test_hash_of_each_version_is_recognised_and_has_its_password(version: bytes) -> None:
    known = KNOWN.replace(b"$2a$", b"$2%s$" % version)

    assert is_hash(known)
    assert cost_of(known) == 4
    assert matches(b"pw", known)
    assert not matches(b"pW", known)
    assert not matches(known, known)


@pytest.mark.parametrize(
    "plain", [b"", b"pw", b"$2", b"$2$10$", b"$2c$10$x", b"$2a$1$x", b"$2a$xx$", b" $2a$10$", b"$1$10$x"]
)
def test_other_text_is_a_plain_password(plain: bytes) -> None:
    assert not is_hash(plain)
    assert equal(plain, plain)
    assert not equal(plain + b"x", plain)


@pytest.mark.parametrize(
    "malformed",
    [
        b"$2a$10$",
        b"$2a$04$short",
        KNOWN[:-1],
        KNOWN + b"W",
        KNOWN + b"\n",
        KNOWN.replace(b"$04$", b"$03$"),
        KNOWN.replace(b"$04$", b"$32$"),
        KNOWN.replace(b"$04$", b"$99$"),
        KNOWN.replace(b"abc", b"a!c"),
        KNOWN.replace(b"abc", b"a\0c"),
    ],
)
def test_what_only_begins_like_a_hash_has_no_password(malformed: bytes) -> None:
    assert is_hash(malformed)

    assert not matches(b"pw", malformed)
    assert not matches(malformed, malformed)
    assert cost_of(malformed) == 0


def test_passwords_are_compared_by_their_first_72_bytes_as_go_does() -> None:
    known = hashed(b"x" * 72)

    assert matches(b"x" * 72, known)
    assert matches(b"x" * 73 + b"y" * 4000, known)
    assert not matches(b"x" * 71, known)


def test_nul_does_not_end_a_password() -> None:
    known = hashed(b"a\0b")

    assert matches(b"a\0b", known)
    assert not matches(b"a\0c", known)
    assert not matches(b"a", known)


def test_salt_with_left_over_bits_is_read_as_go_does() -> None:
    assert KNOWN[28:29] == b"u"
    with pytest.raises(ValueError, match="salt"):
        bcrypt.checkpw(b"pw", KNOWN[:28] + b"v" + KNOWN[29:])

    assert matches(b"pw", KNOWN[:28] + b"v" + KNOWN[29:])
    assert not matches(b"pw", KNOWN[:28] + b"e" + KNOWN[29:])


@given(st.binary(max_size=80), st.binary(max_size=70) | st.binary(max_size=60).map(lambda b: KNOWN[:7] + b))
def test_no_bytes_raise(password: bytes, text: bytes) -> None:
    assert not matches(password, text)
    assert is_hash(text) in (True, False)


@settings(max_examples=20)
@given(st.binary(max_size=72))
def test_hash_has_the_password_that_it_was_made_of(password: bytes) -> None:
    assert matches(password, hashed(password))


@pytest.mark.parametrize("cost", [4, 10, 31])
def test_dummy_hash_costs_what_is_asked(cost: int) -> None:
    assert is_hash(dummy_hash(cost))
    assert cost_of(dummy_hash(cost)) == cost


def test_dummy_hash_is_one_that_is_computed() -> None:
    salt = dummy_hash(4)[:29]

    assert bcrypt.hashpw(b"anything", salt).startswith(salt)
    assert not matches(b"anything", dummy_hash(4))


@pytest.mark.parametrize("cost", [0, 3, 32])
def test_dummy_hash_of_a_cost_that_cannot_be_is_refused(cost: int) -> None:
    with pytest.raises(ValueError, match="from 4 to 31"):
        dummy_hash(cost)

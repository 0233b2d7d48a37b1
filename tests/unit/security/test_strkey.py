"""Keys as text: one text for each key, and nothing else is a key."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscore_security.errors import KeyFormatError
from natscore_security.strkey import (
    Kind,
    crc16,
    decode_private,
    decode_public,
    decode_seed,
    encode_private,
    encode_public,
    encode_seed,
    is_public,
)

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
RAW = bytes(range(32))

keys = st.binary(min_size=32, max_size=32)
kinds = st.sampled_from(Kind)
near_misses = st.text(alphabet=ALPHABET + "a1=\n ", min_size=50, max_size=70)


def with_checksum(payload: bytes) -> str:
    return base64.b32encode(payload + crc16(payload).to_bytes(2, "little")).decode().rstrip("=")


@pytest.mark.parametrize(
    ("kind", "letter"),
    [
        (Kind.OPERATOR, "O"),
        (Kind.ACCOUNT, "A"),
        (Kind.USER, "U"),
        (Kind.SERVER, "N"),
        (Kind.CLUSTER, "C"),
        (Kind.CURVE, "X"),
    ],
)
@pytest.mark.parametrize("raw", [bytes(32), b"\xff" * 32, RAW])
def test_first_character_says_the_kind(kind: Kind, letter: str, raw: bytes) -> None:
    public, seed = encode_public(kind, raw), encode_seed(kind, raw)

    assert (public[0], seed[:2]) == (letter, f"S{letter}")
    assert (len(public), len(seed)) == (56, 58)
    assert kind.letter == letter


@pytest.mark.spec("security 1", "security 1.1")
@given(kinds, keys)
def test_what_is_encoded_is_decoded_to_the_same(kind: Kind, key: bytes) -> None:
    assert decode_public(encode_public(kind, key)) == (kind, key)
    assert decode_seed(encode_seed(kind, key)) == (kind, key)
    assert decode_private(encode_private(key)) == key
    assert decode_private(encode_private(key + key)) == key + key


@given(st.text() | near_misses)
def test_any_text_is_decoded_to_what_encodes_to_it_or_refused(text: str) -> None:
    for decode, encode in ((decode_public, encode_public), (decode_seed, encode_seed)):
        try:
            kind, key = decode(text)
        except KeyFormatError:
            continue
        assert encode(kind, key) == text
    with contextlib.suppress(KeyFormatError):
        assert encode_private(decode_private(text)) == text


@given(st.binary(min_size=33, max_size=66))
def test_payload_with_a_good_checksum_is_decoded_only_with_a_known_prefix_and_length(payload: bytes) -> None:
    text = with_checksum(payload)

    if is_public(text):
        assert len(payload) == 33
        assert payload[0] in {kind.value for kind in Kind}


@pytest.mark.spec("security 1.2")
@pytest.mark.parametrize("kind", Kind)
def test_every_change_of_one_character_of_a_key_is_refused(kind: Kind) -> None:
    for text, decode in (
        (encode_public(kind, RAW), decode_public),
        (encode_seed(kind, RAW), decode_seed),
        (encode_private(RAW), decode_private),
        (encode_private(RAW + RAW), decode_private),
    ):
        accepted = []
        for position, right in enumerate(text):
            for wrong in ALPHABET + ALPHABET.lower() + "0189= \n\0é":
                if wrong != right:
                    changed = text[:position] + wrong + text[position + 1 :]
                    try:
                        decode(changed)
                    except KeyFormatError:
                        continue
                    accepted.append(changed)

        assert accepted == []


@pytest.mark.parametrize("change", ["{}=", "{}======", "{}\n", "{}\r\n", " {}", "{}A", "{}AA", "\ufeff{}"])
def test_text_around_a_key_is_refused(change: str) -> None:
    for decode, text in (
        (decode_public, encode_public(Kind.USER, RAW)),
        (decode_seed, encode_seed(Kind.USER, RAW)),
    ):
        with pytest.raises(KeyFormatError, match="nkeys: invalid encoded key"):
            decode(change.format(text))


@pytest.mark.parametrize("cut", [0, 1, 2, 8, 55])
def test_part_of_a_key_is_refused(cut: int) -> None:
    text = encode_public(Kind.USER, RAW)

    assert not is_public(text[:cut])
    assert not is_public(text[cut + 1 :])


def test_seed_is_no_public_key_and_the_reverse() -> None:
    with pytest.raises(KeyFormatError):
        decode_public(encode_seed(Kind.USER, RAW))
    with pytest.raises(KeyFormatError):
        decode_seed(encode_public(Kind.USER, RAW))
    with pytest.raises(KeyFormatError, match="prefix"):
        decode_public(encode_private(RAW))  # as long as a public key
    with pytest.raises(KeyFormatError, match="prefix"):
        decode_private(encode_public(Kind.USER, RAW))


def test_key_of_another_kind_is_refused() -> None:
    account, user = encode_public(Kind.ACCOUNT, RAW), encode_public(Kind.USER, RAW)

    assert is_public(account, Kind.ACCOUNT, Kind.OPERATOR)
    assert is_public(user)
    assert not is_public(user, Kind.ACCOUNT, Kind.OPERATOR)
    with pytest.raises(KeyFormatError, match="nkeys: invalid public key"):
        decode_public(account, Kind.USER)
    with pytest.raises(KeyFormatError, match="nkeys: invalid seed"):
        decode_seed(encode_seed(Kind.ACCOUNT, RAW), Kind.USER)


@pytest.mark.parametrize(
    "header",
    [
        b"\x90\x08",  # a kind that does not exist
        b"\x92\x81",  # a bit below the kind
        b"\x8a\x80",  # not a seed
        b"\xff\xff",
    ],
)
def test_seed_with_a_wrong_header_is_refused(header: bytes) -> None:
    assert decode_seed(with_checksum(b"\x95\x00" + RAW)) == (Kind.USER, RAW)

    with pytest.raises(KeyFormatError):
        decode_seed(with_checksum(header + RAW))


@pytest.mark.parametrize("size", [0, 31, 33, 63, 65])
def test_key_of_another_size_is_not_encoded(size: int) -> None:
    for encode in (encode_public, encode_seed):
        with pytest.raises(ValueError, match="32 bytes"):
            encode(Kind.USER, bytes(size))
    with pytest.raises(ValueError, match="64 bytes"):
        encode_private(bytes(size))


def test_error_does_not_show_the_secret() -> None:
    seed = encode_seed(Kind.USER, RAW)

    with pytest.raises(KeyFormatError) as refused:
        decode_seed(seed[:-1] + "A")

    assert seed[4:20] not in str(refused.value)

"""Key pairs sign and seal; whatever strangers send is refused in an orderly way."""

from __future__ import annotations

import base64
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscore_security.errors import KeyFormatError, SealBroken
from natscore_security.nkeys import CurveKeyPair, KeyPair, decode_signature, encode_signature, verify
from natscore_security.strkey import Kind, encode_public, encode_seed

RAW = bytes(range(32))
SIGNING = [kind for kind in Kind if kind is not Kind.CURVE]

pair = KeyPair(Kind.USER, RAW)
alice, bob = CurveKeyPair(RAW), CurveKeyPair(RAW[::-1])


@pytest.mark.parametrize("kind", SIGNING)
def test_signature_is_verified_by_the_public_key(kind: Kind) -> None:
    signer = KeyPair.create(kind)

    signature = signer.sign(b"message")

    assert len(signature) == 64
    assert verify(signer.public_key, b"message", signature)
    assert not verify(signer.public_key, b"massage", signature)
    assert not verify(KeyPair.create(kind).public_key, b"message", signature)


@given(st.integers(0, 511))
def test_signature_with_one_bit_changed_is_refused(bit: int) -> None:
    signature = bytearray(pair.sign(b"message"))
    signature[bit >> 3] ^= 1 << (bit & 7)

    assert not verify(pair.public_key, b"message", bytes(signature))


@given(st.binary(max_size=130))
def test_no_bytes_are_a_signature_by_chance_and_none_raise(signature: bytes) -> None:
    assert not verify(pair.public_key, b"message", signature)


@given(st.text(max_size=120), st.binary(max_size=70))
def test_verifying_raises_nothing_but_that_a_key_is_malformed(key: str, signature: bytes) -> None:
    with pytest.raises(KeyFormatError):
        verify(key, b"message", signature)


@given(st.sampled_from(SIGNING), st.binary(min_size=32, max_size=32))
def test_any_bytes_as_a_public_key_verify_nothing(kind: Kind, key: bytes) -> None:
    assert not verify(encode_public(kind, key), b"message", pair.sign(b"message"))


@pytest.mark.parametrize(
    "key", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"\xec" + b"\xff" * 30 + b"\x7f"]
)
def test_public_key_that_anybody_can_sign_for_verifies_nothing(key: bytes) -> None:
    assert not verify(encode_public(Kind.USER, key), b"message", key + bytes(32))
    assert not verify(encode_public(Kind.USER, key), b"message", bytes(64))


def test_curve_keys_do_not_sign() -> None:
    with pytest.raises(KeyFormatError):
        KeyPair(Kind.CURVE, RAW)
    with pytest.raises(KeyFormatError):
        KeyPair.from_seed(alice.seed)
    with pytest.raises(KeyFormatError):
        verify(alice.public_key, b"message", bytes(64))


def test_pair_is_made_again_from_its_seed() -> None:
    again = KeyPair.from_seed(pair.seed)

    assert (again.kind, again.public_key, again.private_key) == (Kind.USER, pair.public_key, pair.private_key)
    assert CurveKeyPair.from_seed(alice.seed).public_key == alice.public_key


def test_seed_of_a_kind_that_is_not_wanted_is_refused() -> None:
    assert KeyPair.from_seed(pair.seed, Kind.USER).public_key == pair.public_key
    with pytest.raises(KeyFormatError):
        KeyPair.from_seed(pair.seed, Kind.ACCOUNT)
    with pytest.raises(KeyFormatError):
        CurveKeyPair.from_seed(pair.seed)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_raw_seed_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(KeyFormatError, match="seed length"):
        KeyPair(Kind.USER, bytes(size))
    with pytest.raises(KeyFormatError, match="seed length"):
        CurveKeyPair(bytes(size))


@pytest.mark.parametrize("secret", [pair, alice])
def test_pair_shows_its_public_key_and_no_secret(secret: KeyPair | CurveKeyPair) -> None:
    shown = f"{secret!r} {secret}"

    assert secret.public_key in shown
    for hidden in (secret.seed, secret.private_key, RAW.hex(), repr(RAW)):
        assert hidden not in shown
    with pytest.raises(TypeError, match="holds a secret"):
        pickle.dumps(secret)


def test_two_created_pairs_differ() -> None:
    assert KeyPair.create(Kind.USER).seed != KeyPair.create(Kind.USER).seed
    assert CurveKeyPair.create().seed != CurveKeyPair.create().seed


# -- sealing -----------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_receiver_opens_what_the_sender_sealed(plaintext: bytes) -> None:
    sealed = alice.seal(plaintext, bob.public_key)

    assert sealed.startswith(b"xkv1")
    assert bob.open(sealed, alice.public_key) == plaintext


def test_two_seals_of_one_text_differ() -> None:
    assert alice.seal(b"text", bob.public_key) != alice.seal(b"text", bob.public_key)


def test_seal_is_opened_by_nobody_else_and_of_nobody_else() -> None:
    eve = CurveKeyPair.create()
    sealed = alice.seal(b"text", bob.public_key)

    with pytest.raises(SealBroken):
        eve.open(sealed, alice.public_key)
    with pytest.raises(SealBroken):
        bob.open(sealed, eve.public_key)


@given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda rest: b"xkv1" + rest))
def test_opening_any_bytes_raises_nothing_but_that_they_are_no_seal(sealed: bytes) -> None:
    with pytest.raises(SealBroken):
        bob.open(sealed, alice.public_key)


def test_every_changed_byte_of_a_seal_is_noticed() -> None:
    sealed = alice.seal(b"text", bob.public_key)

    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 0x80
        with pytest.raises(SealBroken):
            bob.open(bytes(changed), alice.public_key)


@pytest.mark.parametrize("key", ["", "X", pair.public_key, alice.seed])
def test_sealing_and_opening_want_a_public_curve_key(key: str) -> None:
    with pytest.raises(KeyFormatError):
        alice.seal(b"text", key)
    with pytest.raises(KeyFormatError):
        alice.open(b"xkv1" + bytes(60), key)


def test_curve_key_with_which_no_secret_is_shared_is_refused() -> None:
    nobody = encode_public(Kind.CURVE, bytes(32))

    with pytest.raises(KeyFormatError, match="nkeys: invalid public key"):
        alice.seal(b"text", nobody)
    with pytest.raises(SealBroken):
        alice.open(b"xkv1" + bytes(60), nobody)


def test_nonce_of_another_size_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="24 bytes"):
        alice.seal(b"text", bob.public_key, nonce=bytes(23))


# -- signatures as text ------------------------------------------------------------------------------


@given(st.binary(min_size=64, max_size=64))
def test_signature_is_read_in_url_safe_base64_without_padding_and_in_standard_base64_with(raw: bytes) -> None:
    assert decode_signature(encode_signature(raw)) == raw
    assert decode_signature(base64.b64encode(raw).decode()) == raw


@given(st.text(max_size=100) | st.text(alphabet="AQgw_-+/=", min_size=84, max_size=90))
def test_any_text_is_read_as_64_bytes_or_not_at_all(text: str) -> None:
    raw = decode_signature(text)

    assert raw is None or len(raw) == 64


SIGNED = b"\xfb\xef\xbe" * 21 + b"\xf0"  # full of - and _
URL_SAFE = encode_signature(SIGNED)


@pytest.mark.parametrize(
    "text",
    [
        "",
        URL_SAFE + "==",  # url safe with padding
        URL_SAFE.translate({45: "+", 95: "/"}),  # standard without
        URL_SAFE[:-1] + "+",  # the two mixed
        URL_SAFE[:-1] + "B",  # left-over bits
        URL_SAFE[:-1],
        URL_SAFE + "A",
        URL_SAFE + "\n",
        URL_SAFE[:40] + "\n" + URL_SAFE[40:],
        URL_SAFE[:40] + "!" + URL_SAFE[40:],
        encode_signature(SIGNED[:-1]),
        encode_signature(SIGNED + b"x"),
        URL_SAFE[:-1] + "é",
    ],
)
def test_signature_in_another_form_is_refused(text: str) -> None:
    assert decode_signature(URL_SAFE) == SIGNED

    assert decode_signature(text) is None


def test_seed_is_encoded_as_its_kind() -> None:
    assert pair.seed == encode_seed(Kind.USER, RAW)

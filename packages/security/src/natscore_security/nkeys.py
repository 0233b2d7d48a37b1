"""NKeys: Ed25519 identities that sign, and curve keys that seal.

A seed is the secret; everything else follows from it. A key pair shows its
public key and nothing more: no seed in a `repr`, an error or a pickle.

    pair = KeyPair.from_seed("SU...")
    verify(pair.public_key, b"message", pair.sign(b"message"))  # True

Whatever a stranger sends, `verify` answers False and parsing raises KeyFormatError.
Sources: security.md sections 1.3 and 1.4; nkeys 0.4.16, keypair.go, public.go, xkeys.go.
"""

from __future__ import annotations

import base64
import re
from typing import Final, NoReturn

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey
from nacl.utils import random

from natscore_security.errors import KeyFormatError, SealBroken
from natscore_security.strkey import (
    KEY_BYTES,
    Kind,
    decode_public,
    decode_seed,
    encode_private,
    encode_public,
    encode_seed,
)

__all__ = ["CurveKeyPair", "KeyPair", "decode_signature", "encode_signature", "verify"]

SIGNATURE_BYTES: Final = 64
SEAL_VERSION: Final = b"xkv1"
SEAL_NONCE_BYTES: Final = 24

_SIGNING: Final = tuple(kind for kind in Kind if kind is not Kind.CURVE)
_URL_SAFE: Final = re.compile(r"[A-Za-z0-9_-]{86}", re.ASCII).fullmatch
_STANDARD: Final = re.compile(r"[A-Za-z0-9+/]{86}==", re.ASCII).fullmatch


class _Secret:
    """A pair of keys, made of 32 secret bytes."""

    __slots__ = ("_raw", "kind", "public_key")

    def __init__(self, kind: Kind, raw: bytes, public: bytes) -> None:
        self.kind: Final = kind
        self.public_key: Final = encode_public(kind, public)
        self._raw = raw

    @property
    def seed(self) -> str:
        """The secret as text. Never show it."""
        return encode_seed(self.kind, self._raw)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.public_key}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is not pickled, for it holds a secret; store its seed")


class KeyPair(_Secret):
    """An Ed25519 key pair of any kind but curve. It signs."""

    __slots__ = ("_key",)

    def __init__(self, kind: Kind, raw: bytes) -> None:
        if kind is Kind.CURVE:
            raise KeyFormatError("nkeys: invalid prefix byte")
        if len(raw) != KEY_BYTES:
            raise KeyFormatError("nkeys: invalid seed length")
        self._key = SigningKey(raw)
        super().__init__(kind, raw, bytes(self._key.verify_key))

    @classmethod
    def create(cls, kind: Kind) -> KeyPair:
        """A new pair, drawn from the randomness of the operating system."""
        return cls(kind, random(KEY_BYTES))

    @classmethod
    def from_seed(cls, seed: str, *kinds: Kind) -> KeyPair:
        """The pair of a seed; with `kinds`, only of one of these. Raises KeyFormatError."""
        return cls(*decode_seed(seed, *(kinds or _SIGNING)))

    @property
    def private_key(self) -> str:
        """Seed and public key in one text. As secret as the seed."""
        return encode_private(self._raw + bytes(self._key.verify_key))

    def sign(self, message: bytes) -> bytes:
        """64 bytes that only the owner of the seed can make."""
        return self._key.sign(message).signature


class CurveKeyPair(_Secret):
    """An X25519 key pair. It seals for one receiver and opens what one sender sealed; it does not sign."""

    __slots__ = ()

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise KeyFormatError("nkeys: invalid seed length")
        super().__init__(Kind.CURVE, raw, bindings.crypto_scalarmult_base(raw))

    @classmethod
    def create(cls) -> CurveKeyPair:
        """A new pair, drawn from the randomness of the operating system."""
        return cls(random(KEY_BYTES))

    @classmethod
    def from_seed(cls, seed: str) -> CurveKeyPair:
        """The pair of a curve seed. Raises KeyFormatError."""
        return cls(decode_seed(seed, Kind.CURVE)[1])

    @property
    def private_key(self) -> str:
        """The secret as text without its kind. As secret as the seed."""
        return encode_private(self._raw)

    def seal(self, plaintext: bytes, recipient: str, *, nonce: bytes | None = None) -> bytes:
        """What only the owner of the public key `recipient` can open, and know to be from us.

        A nonce is drawn unless one of 24 bytes is given; one nonce must never seal two texts.

        Raises:
            KeyFormatError: the recipient is no public curve key, or one with which no secret can be shared.
        """
        nonce = random(SEAL_NONCE_BYTES) if nonce is None else nonce
        if len(nonce) != SEAL_NONCE_BYTES:
            raise ValueError(f"a nonce has {SEAL_NONCE_BYTES} bytes, not {len(nonce)}")
        key = decode_public(recipient, Kind.CURVE)[1]
        try:
            return SEAL_VERSION + nonce + bindings.crypto_box(plaintext, nonce, key, self._raw)
        except CryptoError as error:  # a point of small order
            raise KeyFormatError("nkeys: invalid public key") from error

    def open(self, sealed: bytes, sender: str) -> bytes:
        """The plaintext that the owner of the public key `sender` sealed for us.

        Raises:
            KeyFormatError: the sender is no public curve key.
            SealBroken: it cannot be opened.
        """
        key = decode_public(sender, Kind.CURVE)[1]
        start = len(SEAL_VERSION) + SEAL_NONCE_BYTES
        if len(sealed) <= start or not sealed.startswith(SEAL_VERSION):
            raise SealBroken("nkeys: encrypted input is not valid")
        try:
            return bindings.crypto_box_open(sealed[start:], sealed[len(SEAL_VERSION) : start], key, self._raw)
        except CryptoError as error:
            raise SealBroken("nkeys: could not decrypt input") from error


def verify(public_key: str, message: bytes, signature: bytes) -> bool:
    """Whether the owner of `public_key` signed `message`.

    False for a signature of another length. A public key that is none, or of a
    kind that cannot sign, raises KeyFormatError.
    """
    key = decode_public(public_key, *_SIGNING)[1]
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        VerifyKey(key).verify(message, signature)
    except CryptoError:
        return False
    return True


def encode_signature(signature: bytes) -> str:
    """A signature as CONNECT carries it: base64url without padding."""
    return base64.urlsafe_b64encode(signature).rstrip(b"=").decode()


def decode_signature(text: str) -> bytes | None:
    """The 64 bytes of a signature in base64url without padding, or in standard base64 with it.

    None for anything else: another length, other characters, the two mixed,
    left-over bits that are not zero (security.md section 1.3).
    """
    if _URL_SAFE(text):
        signature = base64.urlsafe_b64decode(text + "==")
        return signature if encode_signature(signature) == text else None
    if _STANDARD(text):
        signature = base64.b64decode(text, validate=True)
        return signature if base64.b64encode(signature).decode() == text else None
    return None

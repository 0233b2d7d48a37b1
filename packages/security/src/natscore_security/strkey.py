"""Keys as text: a prefix, the key, a checksum, in base32.

    U DIW6OBO...VJ4N4   56 characters: prefix byte, 32 bytes of public key, CRC-16
    SU AOUEJSA...P7HQ   58 characters: two header bytes, 32 bytes of raw seed, CRC-16

The prefix is chosen so that the first character (of a seed: the second) is the
letter of its kind. Decoding is strict where the Go library is not: the exact
length, the alphabet `A-Z2-7` without padding, left-over bits of zero, the checksum, the
whole prefix byte. So a key has one text, and no other text is a key.

Nothing here computes with keys; that is `nkeys`. Sources: security.md sections 1.1
and 1.2; nkeys 0.4.16, strkey.go.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from typing import Final

from natscore_security.errors import KeyFormatError

__all__ = [
    "Kind",
    "crc16",
    "decode_private",
    "decode_public",
    "decode_seed",
    "encode_private",
    "encode_public",
    "encode_seed",
    "is_public",
]

KEY_BYTES: Final = 32
EXPANDED_KEY_BYTES: Final = 64  # raw seed and public key, as Ed25519 libraries keep a private key

_PREFIX_SEED: Final = 18 << 3
_PREFIX_PRIVATE: Final = 15 << 3
_CRC_BYTES: Final = 2
_ALPHABET: Final = re.compile(r"[A-Z2-7]+", re.ASCII).fullmatch


class Kind(enum.Enum):
    """What a key is for. The value is the prefix byte of its text."""

    OPERATOR = 14 << 3
    ACCOUNT = 0
    USER = 20 << 3
    SERVER = 13 << 3
    CLUSTER = 2 << 3
    CURVE = 23 << 3

    @property
    def letter(self) -> str:
        """The character that a public key of this kind begins with."""
        return _LETTERS[self.value >> 3]


_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_KINDS: Final = {kind.value: kind for kind in Kind}


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM: polynomial 0x1021, begun at 0, nothing reflected."""
    return binascii.crc_hqx(data, 0)


def encode_public(kind: Kind, key: bytes) -> str:
    """The text of 32 bytes of public key."""
    return _encode(bytes([kind.value]) + _sized(key))


def encode_seed(kind: Kind, raw: bytes) -> str:
    """The text of 32 bytes of raw seed."""
    header = bytes([_PREFIX_SEED | kind.value >> 5, (kind.value & 0x1F) << 3])
    return _encode(header + _sized(raw))


def encode_private(key: bytes) -> str:
    """The text of a private key: 64 bytes (raw seed and public key), or 32 of a curve key."""
    if len(key) not in (KEY_BYTES, EXPANDED_KEY_BYTES):
        raise ValueError(f"a private key has 64 bytes, or 32 of a curve key, not {len(key)}")
    return _encode(bytes([_PREFIX_PRIVATE]) + key)


def decode_public(text: str, *kinds: Kind) -> tuple[Kind, bytes]:
    """The kind of a public key and its 32 bytes; with `kinds`, only of one of these.

    Raises:
        KeyFormatError: it is anything else, a seed among others.
    """
    raw = _decode(text, 1 + KEY_BYTES)
    kind = _KINDS.get(raw[0])
    if kind is None:
        raise KeyFormatError("nkeys: invalid prefix byte")
    if kinds and kind not in kinds:
        raise KeyFormatError("nkeys: invalid public key")
    return kind, raw[1:]


def decode_seed(text: str, *kinds: Kind) -> tuple[Kind, bytes]:
    """The kind of a seed and its 32 raw bytes; with `kinds`, only of one of these.

    Raises:
        KeyFormatError: it is anything else, a public key among others.
    """
    raw = _decode(text, 2 + KEY_BYTES)
    if raw[0] & 0xF8 != _PREFIX_SEED or raw[1] & 0x07:
        raise KeyFormatError("nkeys: invalid seed")
    kind = _KINDS.get((raw[0] & 0x07) << 5 | raw[1] >> 3)
    if kind is None:
        raise KeyFormatError("nkeys: invalid prefix byte")
    if kinds and kind not in kinds:
        raise KeyFormatError("nkeys: invalid seed")
    return kind, raw[2:]


def decode_private(text: str) -> bytes:
    """The bytes of a private key: 64 (raw seed and public key), or 32 of a curve key.

    Raises:
        KeyFormatError: it is anything else.
    """
    size = KEY_BYTES if len(text) == _characters(1 + KEY_BYTES) else EXPANDED_KEY_BYTES
    raw = _decode(text, 1 + size)
    if raw[0] != _PREFIX_PRIVATE:
        raise KeyFormatError("nkeys: invalid prefix byte")
    return raw[1:]


def is_public(text: str, *kinds: Kind) -> bool:
    """Whether this is a public key, of one of the kinds if any is given."""
    try:
        decode_public(text, *kinds)
    except KeyFormatError:
        return False
    return True


def _sized(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    return key


def _characters(payload_bytes: int) -> int:
    """How long the text of so many bytes and their checksum is."""
    return -((payload_bytes + _CRC_BYTES) * 8 // -5)


def _encode(payload: bytes) -> str:
    raw = payload + crc16(payload).to_bytes(_CRC_BYTES, "little")
    return base64.b32encode(raw).decode().rstrip("=")


def _decode(text: str, payload_bytes: int) -> bytes:
    """What stands before the checksum. The text is looked at only if it has the right length."""
    if len(text) != _characters(payload_bytes) or not _ALPHABET(text):
        raise KeyFormatError("nkeys: invalid encoded key")
    raw = base64.b32decode(text + "=" * (-len(text) % 8))
    payload, checksum = raw[:-_CRC_BYTES], raw[-_CRC_BYTES:]
    if crc16(payload) != int.from_bytes(checksum, "little"):
        raise KeyFormatError("nkeys: invalid checksum")
    if _encode(payload) != text:  # bits that no byte holds, and that Go overlooks
        raise KeyFormatError("nkeys: invalid encoded key")
    return payload

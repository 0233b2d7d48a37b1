"""Keys and tokens that stand in a configuration: whether they are what they must be.

What they mean, and who signed them, is not looked at here.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

__all__ = [
    "ACCOUNT",
    "CURVE",
    "OPERATOR",
    "SERVER",
    "USER",
    "USER_SEED",
    "is_public_key",
    "is_seed",
    "is_token",
]

OPERATOR: Final = 14 << 3
ACCOUNT: Final = 0
USER: Final = 20 << 3
CURVE: Final = 23 << 3
SERVER: Final = 13 << 3
USER_SEED: Final = USER
_SEED: Final = 18 << 3

_PUBLIC: Final = re.compile("[A-Z2-7]{56}")
_SEED_TEXT: Final = re.compile("[A-Z2-7]{58}")
_TOKEN: Final = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]+")


def is_public_key(text: str, prefix: int) -> bool:
    """Whether `text` is a public key of that kind, with a checksum that fits."""
    return _PUBLIC.fullmatch(text) is not None and _decoded(text)[:1] == bytes([prefix])


def is_seed(text: str, prefix: int) -> bool:
    """Whether `text` is the seed of a key of that kind."""
    if _SEED_TEXT.fullmatch(text) is None:
        return False
    data = _decoded(f"{text}======")
    return len(data) > 1 and data[0] & 0xF8 == _SEED and (data[0] & 7) << 5 | data[1] >> 3 == prefix


def is_token(text: str) -> bool:
    """Whether `text` has the shape of a JWT."""
    return _TOKEN.fullmatch(text) is not None


def _decoded(text: str) -> bytes:
    """What `text` says, or nothing where its checksum does not fit."""
    try:
        data = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error:
        return b""
    body, checksum = data[:-2], data[-2:]
    return body if binascii.crc_hqx(body, 0) == int.from_bytes(checksum, "little") else b""

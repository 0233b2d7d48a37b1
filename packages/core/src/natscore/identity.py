"""The name of a server: a public nkey of kind server.

Only the encoding lives here, because a server must have an id even where
nothing is signed; key pairs and signatures are the security package's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

__all__ = ["server_hash", "server_id"]

_DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PREFIX_SERVER = 13 << 3  # makes the first base32 character an N


def server_id(key: bytes) -> str:
    """`N` and 55 base32 characters for 32 bytes of public key.

    Prefix byte, key and CRC-16/XMODEM in little endian, in base32 without
    padding (security.md, nkeys; nkeys strkey.go Encode).
    """
    if len(key) != 32:
        raise ValueError(f"a public key has 32 bytes, not {len(key)}")
    raw = bytes([_PREFIX_SERVER]) + key
    checksum = binascii.crc_hqx(raw, 0)
    return base64.b32encode(raw + checksum.to_bytes(2, "little")).decode().rstrip("=")


def server_hash(name: str) -> bytes:
    """Eight characters that stand for a server in subjects (accounts.md section 6.3)."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return bytes(_DIGITS[byte % 62] for byte in digest[:8])

"""The name of a server is a public nkey of kind server."""

from __future__ import annotations

import base64

import pytest

from natscore.identity import server_hash, server_id


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM, bit by bit."""
    register = 0
    for byte in data:
        register ^= byte << 8
        for _ in range(8):
            register = (register << 1 ^ 0x1021 if register & 0x8000 else register << 1) & 0xFFFF
    return register


@pytest.mark.spec("client-protocol 5")
@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 32, bytes(range(32))])
def test_an_id_is_the_prefix_the_key_and_its_checksum_in_base32(key: bytes) -> None:
    text = server_id(key)

    assert len(text) == 56
    assert text[0] == "N"
    raw = base64.b32decode(text)
    assert raw[0] == 13 << 3
    assert raw[1:33] == key
    assert raw[33:] == crc16(raw[:33]).to_bytes(2, "little")


def test_the_checksum_is_the_one_everybody_knows() -> None:
    assert crc16(b"123456789") == 0x31C3


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"a public key has 32 bytes, not {size}"):
        server_id(bytes(size))


@pytest.mark.spec("accounts 6.3")
@pytest.mark.parametrize(("name", "short"), [("S0", b"0x4EEN9y"), ("S1", b"sQnRv29R"), ("S2", b"n2ha8Va6")])
def test_a_server_has_a_short_name_in_subjects(name: str, short: bytes) -> None:
    assert server_hash(name) == short

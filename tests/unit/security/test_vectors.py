"""The vectors of security.md section 19 that are about keys, as known answers.

The sections that need claims, a trust chain or a resolver wait for those.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import pytest

from natscore_security.errors import KeyFormatError
from natscore_security.nkeys import CurveKeyPair, KeyPair, decode_signature, encode_signature, verify
from natscore_security.strkey import Kind, crc16, decode_private, decode_public, decode_seed, is_public

ROOT: Final = Path(__file__).resolve().parents[3]
VECTORS: Final[dict[str, Any]] = json.loads(
    (ROOT / "tests" / "conformance" / "vectors" / "security.json").read_text()
)

HERE: Final = {"nkeys", "xkeys", "keys"}
LATER: Final = {
    "creds": "credentials files hold tokens, which issue 5 brings",
    "tokens": "claims come with issue 5",
    "jti": "claims come with issue 5",
    "activation_hash_id": "claims come with issue 5",
    "resolver_hash": "resolvers come with issue 5",
    "server_name_hash": "resolvers come with issue 5",
    "exporter_user": "claims come with issue 5",
    "scenarios": "the trust chain comes with issue 5",
}
TEXT_ABOUT_THE_FILE: Final = {"format", "about", "conventions"}

PAIRS: Final[list[dict[str, Any]]] = VECTORS["nkeys"]["pairs"]
SIGNING_PAIRS: Final = [row for row in PAIRS if "signature_base64url" in row]


def kind_of(letter: str) -> Kind:
    (kind,) = (kind for kind in Kind if kind.letter == letter)
    return kind


def test_every_section_is_run_or_waits_for_a_reason() -> None:
    assert VECTORS.keys() == HERE | LATER.keys() | TEXT_ABOUT_THE_FILE
    assert VECTORS["nkeys"].keys() == {"crc16", "pairs", "public_user_key_validity", "nonce_signature"}


@pytest.mark.parametrize("row", VECTORS["nkeys"]["crc16"], ids=str)
def test_checksum(row: dict[str, str]) -> None:
    data = row["data_ascii"].encode() if "data_ascii" in row else bytes.fromhex(row["data_hex"])

    assert crc16(data) == int(row["crc_hex"], 16)


def test_there_is_a_pair_of_each_kind() -> None:
    assert {kind_of(row["kind"]) for row in PAIRS} == set(Kind)
    assert len(SIGNING_PAIRS) == len(PAIRS) - 1


@pytest.mark.spec("security 1.1")
@pytest.mark.parametrize("row", PAIRS, ids=lambda row: row["kind"])
def test_pair_in_all_its_forms(row: dict[str, Any]) -> None:
    kind = kind_of(row["kind"])
    raw = bytes.fromhex(row["raw_seed_hex"])
    pair = CurveKeyPair(raw) if kind is Kind.CURVE else KeyPair(kind, raw)

    assert (pair.seed, pair.public_key, pair.private_key) == (
        row["seed"],
        row["public_key"],
        row["private_key"],
    )
    assert decode_seed(row["seed"]) == (kind, raw)
    assert decode_public(row["public_key"]) == (kind, bytes.fromhex(row["raw_public_hex"]))
    assert decode_private(row["private_key"]).startswith(raw)


@pytest.mark.spec("security 1.3")
@pytest.mark.parametrize("row", SIGNING_PAIRS, ids=lambda row: row["kind"])
def test_signature_of_each_kind(row: dict[str, Any]) -> None:
    message = row["message_utf8"].encode()

    assert encode_signature(KeyPair.from_seed(row["seed"]).sign(message)) == row["signature_base64url"]
    signature = decode_signature(row["signature_base64url"])
    assert signature is not None
    assert verify(row["public_key"], message, signature)


@pytest.mark.spec("security 1.2")
@pytest.mark.parametrize("row", VECTORS["nkeys"]["public_user_key_validity"], ids=lambda row: row["name"])
def test_validity_of_a_public_user_key(row: dict[str, Any]) -> None:
    assert is_public(row["key"], Kind.USER) is row["valid_user_public_key"]


@pytest.mark.spec("client-protocol 16.4")
def test_signature_of_a_nonce() -> None:
    row = VECTORS["nkeys"]["nonce_signature"]

    assert (
        encode_signature(KeyPair.from_seed(row["seed"]).sign(row["nonce"].encode())) == row["sig_base64url"]
    )


@pytest.mark.spec("security 1.4")
@pytest.mark.parametrize("row", VECTORS["xkeys"])
def test_seal(row: dict[str, str]) -> None:
    sender, recipient = (
        CurveKeyPair.from_seed(row["sender_seed"]),
        CurveKeyPair.from_seed(row["recipient_seed"]),
    )
    sealed = base64.urlsafe_b64decode(row["sealed_base64url"] + "==")
    plaintext = row["plaintext_utf8"].encode()

    assert (sender.public_key, recipient.public_key) == (row["sender_public"], row["recipient_public"])
    nonce = bytes.fromhex(row["nonce_hex"])
    assert sender.seal(plaintext, recipient.public_key, nonce=nonce) == sealed
    assert recipient.open(sealed, sender.public_key) == plaintext


@pytest.mark.parametrize("label", VECTORS["keys"])
def test_key_of_a_label(label: str) -> None:
    row = VECTORS["keys"][label]
    kind = kind_of(row["public"][0])

    pair = KeyPair(kind, hashlib.sha256(f"natscore-vector/{label}".encode()).digest())

    assert (pair.seed, pair.public_key) == (row["seed"], row["public"])


@pytest.mark.parametrize("row", VECTORS["nkeys"]["public_user_key_validity"], ids=lambda row: row["name"])
def test_key_that_is_not_valid_verifies_nothing(row: dict[str, Any]) -> None:
    if is_public(row["key"]):
        assert not verify(row["key"], b"", bytes(64))
    else:
        with pytest.raises(KeyFormatError):
            verify(row["key"], b"", bytes(64))

"""The conformance vectors as typed values: what is sent, and what must come back.

The data is `vectors/client.json`, in the format of client-protocol.md section 24.
A field that this module does not know is an error, so that no expectation is
ever dropped silently.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

__all__ = ["NkeyConnect", "Step", "Vector", "load"]

CLIENT_VECTORS: Final = Path(__file__).with_name("vectors") / "client.json"

TIMEOUT_MS_DEFAULT: Final = 3000
VECTOR_FIELDS: Final = frozenset({
    "id", "group", "name", "note", "config", "fresh_server", "quirk", "connections",
})  # fmt: skip
STEP_FIELDS: Final = frozenset({
    "conn", "expect_info_regex", "after_ms", "send", "expect_regex", "expect_regex_214",
    "closes", "close_reason", "timeout_ms",
})  # fmt: skip

NKEY_USER_PREFIX: Final = 20 << 3  # makes the text of a public user key begin with U
NKEY_SEED_HEAD_BYTES: Final = 2  # "seed" and the kind of key
NKEY_CHECKSUM_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class NkeyConnect:
    """A CONNECT line whose signature answers the nonce of the connection's INFO."""

    seed: str
    options: dict[str, Any]

    def line(self, info: bytes) -> bytes:
        """The CONNECT line for a connection that was greeted with `info`."""
        # Only vectors with a configuration sign, so a plain run needs no cryptography.
        from nacl.signing import SigningKey

        seed = base64.b32decode(self.seed + "=" * (-len(self.seed) % 8))
        key = SigningKey(seed[NKEY_SEED_HEAD_BYTES:-NKEY_CHECKSUM_BYTES])
        nonce: str = json.loads(info.removeprefix(b"INFO "))["nonce"]
        signature = key.sign(nonce.encode()).signature
        document = {
            **self.options,
            "nkey": _public_user_key(bytes(key.verify_key)),
            "sig": base64.urlsafe_b64encode(signature).rstrip(b"=").decode(),
        }
        return b"CONNECT " + json.dumps(document).encode() + b"\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One exchange on one connection."""

    connection: str  # its first step opens it
    parts: tuple[bytes | NkeyConnect, ...] = ()
    expect: re.Pattern[bytes]  # of everything received since the connection's previous step
    expect_214: re.Pattern[bytes] | None = None  # where 2.14 differs
    expect_info: re.Pattern[bytes] | None = None
    after_ms: int = 0
    timeout_ms: int = TIMEOUT_MS_DEFAULT
    closes: bool = False
    close_reason: str | None = None

    def bytes_to_send(self, info: bytes) -> bytes:
        """What the step sends on a connection that was greeted with `info`."""
        return b"".join(part.line(info) if isinstance(part, NkeyConnect) else part for part in self.parts)

    def expected(self, *, of_214: bool) -> re.Pattern[bytes]:
        """What a server of the 2.14 line, or an older one, must answer."""
        return self.expect_214 if of_214 and self.expect_214 is not None else self.expect


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One scenario: the steps of its connections, from left to right."""

    number: int
    group: str
    name: str
    steps: tuple[Step, ...]
    config: str | None = None  # the text of a configuration file
    fresh_server: bool = False
    quirk: bool = False  # documents a quirk of the reference; a deliberate deviation is acceptable
    note: str = ""

    def __str__(self) -> str:
        return f"{self.number}-{self.name}"


@cache
def load(path: Path = CLIENT_VECTORS) -> tuple[Vector, ...]:
    """All vectors of a file, in its order. Raises ValueError for what the format does not have."""
    vectors = tuple(vector_of(row) for row in json.loads(path.read_text()))
    if len({vector.number for vector in vectors}) != len(vectors):
        raise ValueError(f"{path.name}: two vectors have the same id")
    return vectors


def vector_of(row: dict[str, Any]) -> Vector:
    """One vector from its JSON object."""
    if unknown := row.keys() - VECTOR_FIELDS:
        raise ValueError(f"vector {row.get('id')}: unknown fields {sorted(unknown)}")
    return Vector(
        number=row["id"],
        group=row["group"],
        name=row["name"],
        steps=tuple(_step_of(step) for step in row["connections"]),
        config=row.get("config"),
        fresh_server=row.get("fresh_server", False),
        quirk=row.get("quirk", False),
        note=row.get("note", ""),
    )


def _step_of(row: dict[str, Any]) -> Step:
    if unknown := row.keys() - STEP_FIELDS:
        raise ValueError(f"step of connection {row.get('conn')}: unknown fields {sorted(unknown)}")
    return Step(
        connection=row["conn"],
        parts=_parts_of(row.get("send", "")),
        expect=_pattern_of(row["expect_regex"]),
        expect_214=_pattern_of(row["expect_regex_214"]) if "expect_regex_214" in row else None,
        expect_info=_pattern_of(row["expect_info_regex"]) if "expect_info_regex" in row else None,
        after_ms=row.get("after_ms", 0),
        timeout_ms=row.get("timeout_ms", TIMEOUT_MS_DEFAULT),
        closes=row.get("closes", False),
        close_reason=row.get("close_reason"),
    )


def _pattern_of(text: str) -> re.Pattern[bytes]:
    return re.compile(text.encode("latin-1"), re.DOTALL)


def _parts_of(send: str | list[Any]) -> tuple[bytes | NkeyConnect, ...]:
    return tuple(_part_of(part) for part in ([send] if isinstance(send, str) else send))


def _part_of(part: str | dict[str, Any]) -> bytes | NkeyConnect:
    match part:
        case str():
            return part.encode("latin-1")  # one character is one byte
        case {"repeat": str(text), "count": int(count)} if len(part) == 2:
            return text.encode("latin-1") * count
        case {"nkey_connect": {"seed": str(seed), "options": dict(options)}} if len(part) == 1:
            return NkeyConnect(seed, options)
        case _:
            raise ValueError(f"cannot send {part!r}")


def _public_user_key(key: bytes) -> str:
    body = bytes([NKEY_USER_PREFIX]) + key
    checksum = binascii.crc_hqx(body, 0).to_bytes(NKEY_CHECKSUM_BYTES, "little")
    return base64.b32encode(body + checksum).decode().rstrip("=")

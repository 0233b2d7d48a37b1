"""Header blocks of HPUB and HMSG: what the server writes into them, and the little that it reads.

A header block is `NATS/1.0`, an optional status, lines `Name: value`, and a
blank line (client-protocol.md section 10.5, ADR-4). What clients send is
forwarded untouched, except that a request that goes to another account says who
asks, in a header that nobody else may write (accounts.md section 7).
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["REQUEST_INFO", "header_values", "no_responders", "strip_headers", "with_info", "without_info"]

REQUEST_INFO: Final = b"Nats-Request-Info"
"""The header that says who asks. Only a server writes it."""

_EMPTY: Final = b"NATS/1.0\r\n"
_FOLDED: Final = rb"(?:[ \t][^\r\n]*(?:\r\n|\r|\n|\Z))*"
_FORGED: Final = re.compile(
    rb"(?:\A|(?<=[\r\n]))[ \t]*" + REQUEST_INFO + rb"[ \t]*:[^\r\n]*(?:\r\n|\r|\n|\Z)" + _FOLDED,
    re.IGNORECASE,
)
"""What any reader of headers might take for that header: in any case, folded, and after any end of a line."""


def no_responders(subject: bytes) -> bytes:
    """The block that tells a requester that nobody listens on `subject` (section 10.4, 2.12 and later)."""
    return b"NATS/1.0 503\r\nNats-Subject: " + subject + b"\r\n\r\n"


def strip_headers(tail: bytes) -> bytes:
    """Turn `[reply ]hdr total CRLF header body CRLF` into `[reply ]size CRLF body CRLF`.

    `tail` is well-formed: the parser checked the sizes against the bytes.
    """
    line, _, rest = tail.partition(b"\r\n")
    *reply, header_size, total_size = line.split(b" ")
    size = int(total_size) - int(header_size)
    prefix = reply[0] + b" " if reply else b""
    return b"%s%d\r\n%s" % (prefix, size, rest[int(header_size) :])


def without_info(block: bytes) -> bytes:
    """A header block without a word of who asks. Empty when nothing but that was in it."""
    if not block or REQUEST_INFO.lower() not in block.lower():
        return block
    rest = _FORGED.sub(b"", block)
    if rest.strip(b"\r\n") in (b"", b"NATS/1.0"):
        return b""
    return rest if rest.endswith(b"\r\n\r\n") else rest.rstrip(b"\r\n") + b"\r\n\r\n"


def with_info(block: bytes, document: bytes) -> bytes:
    """A header block that says who asks, in its last line, and nowhere else."""
    line = REQUEST_INFO + b": " + document + b"\r\n\r\n"
    if not block:
        return _EMPTY + line
    rest = without_info(block)
    if not rest:
        return _EMPTY + line
    if rest.endswith(b"\r\n\r\n"):
        return rest[:-2] + line
    return rest.rstrip(b"\r\n") + b"\r\n" + line


def header_values(block: bytes) -> dict[str, list[str]]:
    """The headers of a block by their canonical names, as Go's net/textproto reads them.

    A block that it would not read has none.
    """
    values: dict[str, list[str]] = {}
    for line in block.split(b"\r\n")[1:]:
        if not line:
            break
        name, colon, given = line.partition(b":")
        if not colon or not _TOKEN(name):
            return {}
        canonical = b"-".join(part.capitalize() for part in name.split(b"-")).decode()
        values.setdefault(canonical, []).append(given.strip(b" \t").decode(errors="replace"))
    return values


_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch

"""Header blocks of HPUB and HMSG: the few that the server itself writes.

A header block is `NATS/1.0`, an optional status, lines `Name: value`, and a
blank line (client-protocol.md section 10.5, ADR-4). The server forwards what
clients send untouched; it never parses it on the way.
"""

from __future__ import annotations

__all__ = ["no_responders", "strip_headers"]


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

"""Lines of clients in canonical form, as patterns for the pure data plane (client-protocol.md section 2).

Nearly all lines come so: upper case, single blanks, sizes of one to nine digits,
CR and LF, no reply subject that is reserved. Whatever does not match goes the
general way, which is slower and means the same. Hot path, with the data plane.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["BLANKS", "BLANKS_AND_CR", "DIGITS", "HPUB", "PUB", "SUBSCRIPTION"]

_RESERVED_REPLY: Final = rb"(?!_R_\.|_GR_\.|\$JS\.ACK\.)"
_WORD: Final = rb"[^ \t\r\n]++"

PUB: Final = re.compile(
    rb"PUB (" + _WORD + rb") ((" + _RESERVED_REPLY + _WORD + rb" )?+([0-9]{1,9}))\r\n"
).match
"""Subject, tail up to CRLF, reply with its blank, size."""

HPUB: Final = re.compile(
    rb"HPUB ("
    + _WORD
    + rb") (("
    + _RESERVED_REPLY
    + _WORD
    + rb" (?=[0-9]+ ))?+([0-9]{1,9}) ([0-9]{1,9}))\r\n"
).match
"""Subject, tail up to CRLF, reply with its blank, header size, total size."""

SUBSCRIPTION: Final = re.compile(rb"(SUB|UNSUB) ([^\r\n]+)\r\n").match
"""`SUB foo 1` and `UNSUB 1` as they come in long rows."""

BLANKS: Final = re.compile(rb"[ \t]+")
BLANKS_AND_CR: Final = re.compile(rb"[ \t\r]+")
DIGITS: Final = re.compile(rb"[0-9]{1,9}").fullmatch

"""Passwords and tokens: plain ones in constant time, bcrypt hashes as nats-server reads them.

Go's bcrypt and the library here differ in two things, and Go's way is kept, because
a hash that works there must work here:

- a password longer than 72 bytes is compared by its first 72, where the library raises
  (bcrypt itself never looks further);
- the last character of a salt may have bits that no byte holds, where the library refuses the hash.

`matches` takes tens of milliseconds and more, by design: it belongs off the loop.
Sources: client-protocol.md section 16.2; nats-server 2.14.5, server/auth.go
comparePasswords; golang.org/x/crypto/bcrypt.
"""

from __future__ import annotations

import hmac
import re
from typing import Final

import bcrypt

__all__ = ["cost_of", "dummy_hash", "equal", "is_hash", "matches"]

PASSWORD_BYTES_MAX: Final = 72

_LOOKS_HASHED: Final = re.compile(rb"\$2[abxy]\$[0-9]{2}\$").match
_HASH: Final = re.compile(rb"(\$2[abxy]\$)([0-9]{2})\$([./A-Za-z0-9]{22})([./A-Za-z0-9]{31})").fullmatch
_ALPHABET: Final = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_SALT_LAST: Final = 0x30  # of the six bits of its last character, those that belong to a byte
_COSTS: Final = range(4, 32)
_COST_OF_GO: Final = 10  # bcrypt.DefaultCost
_NOBODYS_SALT_AND_CHECKSUM: Final = b"natscoreDummySaltXXXXe" + b"natscoreDummyChecksumXXXXXXXXXX"


def is_hash(configured: bytes) -> bool:
    """Whether a configured password or token is to be read as a bcrypt hash."""
    return _LOOKS_HASHED(configured) is not None


def cost_of(hashed: bytes) -> int:
    """The cost of a bcrypt hash; 0 for a text that only begins like one, which nothing matches."""
    found = _HASH(hashed)
    cost = int(found[2]) if found is not None else 0
    return cost if cost in _COSTS else 0


def equal(said: bytes, configured: bytes) -> bool:
    """Whether two plain passwords are the same, in a time that depends on their lengths only."""
    return hmac.compare_digest(said, configured)


def matches(password: bytes, hashed: bytes) -> bool:
    """Whether a password has this bcrypt hash. Never raises; a hash that is malformed has no password.

    Cost: 2^cost rounds, some 60 ms at cost 10. The interpreter lock is released meanwhile.
    """
    found = _HASH(hashed)
    if found is None or int(found[2]) not in _COSTS:
        return False
    version, cost, salt, checksum = found.groups()
    last = _ALPHABET[_ALPHABET.index(salt[-1]) & _SALT_LAST]
    setting = version + cost + b"$" + salt[:-1] + bytes([last])
    made = bcrypt.hashpw(password[:PASSWORD_BYTES_MAX], setting)
    return hmac.compare_digest(made[-len(checksum) :], checksum)


def dummy_hash(cost: int = _COST_OF_GO) -> bytes:
    """A hash of nobody's password that takes as long as one of this cost.

    It is public, so a password for it could be searched; whoever has it compared
    must refuse whatever the answer.
    """
    if cost not in _COSTS:
        raise ValueError(f"a cost is from {_COSTS[0]} to {_COSTS[-1]}, not {cost}")
    return b"$2a$%02d$" % cost + _NOBODYS_SALT_AND_CHECKSUM

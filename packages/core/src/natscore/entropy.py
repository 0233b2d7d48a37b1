"""The choices of a server, seeded and kept in state, so that a journal replays.

Three streams, so that none disturbs another (architecture, idea three): queue
choices in the data plane use `Xorshift64`; ids are keyed BLAKE2b over a
counter; jitter of timers has a generator of its own. All three derive from the
one seed in `ServerStarted`. Nothing here is a secret: secrets are drawn by the
shell and arrive in events.
"""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["Entropy", "Xorshift64"]

_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF


class Xorshift64:
    """Marsaglia's xorshift with the shifts 13, 7, 17; never zero."""

    __slots__ = ("state",)

    def __init__(self, seed: int) -> None:
        self.state = seed & _MASK or 0x9E37_79B9_7F4A_7C15

    def draw(self) -> int:
        """The next 64 bits."""
        x = self.state
        x ^= x << 13 & _MASK
        x ^= x >> 7
        x ^= x << 17 & _MASK
        self.state = x
        return x

    def pick(self, n: int) -> int:
        """A number from 0 to n - 1, from the upper half of the next draw. `n` is at most 2^32."""
        return (self.draw() >> 32) * n >> 32


class Entropy:
    """The streams of one server."""

    __slots__ = ("_counter", "_key", "choices", "jitter")

    def __init__(self, seed: int) -> None:
        key = seed.to_bytes(8, "big")
        self._key = hashlib.blake2b(key, person=b"natscore-ids", digest_size=32).digest()
        self._counter = 0
        self.choices = Xorshift64(seed)
        self.jitter = Xorshift64(
            int.from_bytes(hashlib.blake2b(key, person=b"natscore-jitter", digest_size=8).digest(), "big")
        )

    def new_id(self, size: int = 16) -> bytes:
        """`size` bytes (at most 64) that no other call returned."""
        self._counter += 1
        return hashlib.blake2b(self._counter.to_bytes(8, "big"), key=self._key, digest_size=size).digest()

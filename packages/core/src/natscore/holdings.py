"""What each connection makes the server hold: output the kernel refused, and input not yet parsed."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from natscore.events import ConnectionId

__all__ = ["Holdings"]

_AT_ONCE: Final = 64  # found in one look at all connections


class Holdings:
    """Bytes by connection, and their sum."""

    __slots__ = ("_bytes", "total")

    def __init__(self) -> None:
        self._bytes: dict[ConnectionId, int] = {}
        self.total = 0

    def __len__(self) -> int:
        return len(self._bytes)

    def set(self, cid: ConnectionId, count: int) -> None:
        """A connection makes us hold `count` bytes now."""
        self.total += count - self._bytes.pop(cid, 0)
        if count:
            self._bytes[cid] = count

    def of(self, cid: ConnectionId) -> int:
        """How much one connection makes us hold."""
        return self._bytes.get(cid, 0)

    def largest(self) -> list[ConnectionId]:
        """Some who make us hold most, in falling order; of equals, who did first."""
        return heapq.nlargest(_AT_ONCE, self._bytes, key=self._bytes.__getitem__)

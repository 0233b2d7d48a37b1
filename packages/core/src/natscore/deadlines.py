"""Named timers in one heap; the shell arms only the earliest.

A deadline is keyed by what it is for. Setting it again replaces it, and
cancelling is forgetting the key: the heap entry stays until it surfaces or
until stale entries are the majority, so the heap never holds more than about
twice the live deadlines.
"""

from __future__ import annotations

import heapq
from typing import Final, Generic, TypeVar

__all__ = ["Deadlines"]

Key = TypeVar("Key")

_COMPACT_ABOVE: Final = 64  # below this many entries a rebuild is not worth its call


class Deadlines(Generic[Key]):
    """When which key is due, in monotonic nanoseconds. Equal instants keep the order of setting."""

    __slots__ = ("_heap", "_keys", "_live", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []  # instant and order number
        self._live: dict[Key, int] = {}  # key to the order number of its newest entry
        self._keys: dict[int, Key] = {}  # and back, so that looking at the earliest hashes no key
        self._order = 0

    def __len__(self) -> int:
        return len(self._live)

    def set(self, key: Key, at_ns: int) -> None:
        """Make `key` due at `at_ns`, and not at any earlier setting."""
        self._order = order = self._order + 1
        before = self._live.get(key)
        if before is not None:
            del self._keys[before]
        self._live[key] = order
        self._keys[order] = key
        heapq.heappush(self._heap, (at_ns, order))
        self._compact()

    def cancel(self, key: Key) -> None:
        """Forget `key`. Cancelling what was not set does nothing."""
        order = self._live.pop(key, None)
        if order is not None:
            del self._keys[order]
            self._compact()

    def next(self) -> int | None:
        """The earliest instant anything is due, or None."""
        heap, keys = self._heap, self._keys
        while heap:
            at, order = heap[0]
            if order in keys:
                return at
            heapq.heappop(heap)
        return None

    def due(self, now_ns: int) -> Key | None:
        """Take out and return one key that is due, earliest first; None when nothing is."""
        at = self.next()
        if at is None or at > now_ns:
            return None
        key = self._keys.pop(heapq.heappop(self._heap)[1])
        del self._live[key]
        return key

    def _compact(self) -> None:
        if len(self._heap) > _COMPACT_ABOVE and len(self._heap) > 2 * len(self._live):
            keys = self._keys
            self._heap = [entry for entry in self._heap if entry[1] in keys]
            heapq.heapify(self._heap)

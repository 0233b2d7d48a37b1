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

    __slots__ = ("_heap", "_live", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Key]] = []
        self._live: dict[Key, int] = {}  # key to the order number of its newest entry
        self._order = 0

    def __len__(self) -> int:
        return len(self._live)

    def set(self, key: Key, at_ns: int) -> None:
        """Make `key` due at `at_ns`, and not at any earlier setting."""
        self._order += 1
        self._live[key] = self._order
        heapq.heappush(self._heap, (at_ns, self._order, key))
        self._compact()

    def cancel(self, key: Key) -> None:
        """Forget `key`. Cancelling what was not set does nothing."""
        if self._live.pop(key, None) is not None:
            self._compact()

    def next(self) -> int | None:
        """The earliest instant anything is due, or None."""
        heap, live = self._heap, self._live
        while heap and live.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now_ns: int) -> Key | None:
        """Take out and return one key that is due, earliest first; None when nothing is."""
        at = self.next()
        if at is None or at > now_ns:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._live[key]
        return key

    def _compact(self) -> None:
        if len(self._heap) > _COMPACT_ABOVE and len(self._heap) > 2 * len(self._live):
            live = self._live
            self._heap = [entry for entry in self._heap if live.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

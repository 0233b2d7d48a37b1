"""Named timers as a list: the twin of `natscore.deadlines`."""

from __future__ import annotations

__all__ = ["DeadlineList"]


class DeadlineList:
    """Every deadline with its instant, in the order in which they were last set."""

    def __init__(self) -> None:
        self._all: list[tuple[str, int]] = []

    def set(self, key: str, at_ns: int) -> None:
        self.cancel(key)
        self._all.append((key, at_ns))

    def cancel(self, key: str) -> None:
        self._all = [one for one in self._all if one[0] != key]

    def next(self) -> int | None:
        return min((at for _, at in self._all), default=None)

    def due(self, now_ns: int) -> str | None:
        """Take out the earliest that is due; of equal ones the first that was set."""
        earliest = self.next()
        if earliest is None or earliest > now_ns:
            return None
        key = next(key for key, at in self._all if at == earliest)
        self.cancel(key)
        return key

    def __len__(self) -> int:
        return len(self._all)

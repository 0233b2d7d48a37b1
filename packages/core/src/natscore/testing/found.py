"""What two data planes found, compared when it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from natscore.testing.pairs import agree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscore.plane import Found

__all__ = ["PairedFound"]

T = TypeVar("T")
U = TypeVar("U")


class PairedFound(Generic[T, U]):
    """Two lists of what was found, as one of pairs."""

    __slots__ = ("_key", "_name", "_pair", "first", "second")

    def __init__(
        self,
        name: str,
        first: Found[T],
        second: Found[T],
        key: Callable[[T], object],
        pair: Callable[[T, T], U],
    ) -> None:
        self.first = first
        self.second = second
        self._name = name
        self._key = key
        self._pair = pair

    def __str__(self) -> str:
        return self._name

    def __iter__(self) -> Iterator[U]:
        first, second = list(self.first), list(self.second)
        agree(self, "in order", [*map(self._key, first)], [*map(self._key, second)])
        return map(self._pair, first, second)

    def __len__(self) -> int:
        return agree(self, "how many", len(self.first), len(self.second))

    def clear(self) -> None:
        """Forget both."""
        self.first.clear()
        self.second.clear()

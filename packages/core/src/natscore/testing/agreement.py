"""What two data planes say alike, or `PlanesDisagree`."""

from __future__ import annotations

from typing import Final, Generic, Protocol, TypeVar

__all__ = ["PlanesDisagree", "ReadAlike", "WrittenAlike", "agree"]

_SHOWN_MAX: Final = 80  # bytes shown on either side of the first difference

T = TypeVar("T")


class PlanesDisagree(BaseException):
    """Two data planes came to different ends; the text shows both.

    It is no Exception, because the server takes an Exception for the failure of
    one connection, closes that, and goes on. Nothing may go on from here.
    `natscore.testing.World` raises it anew as InvariantBroken, with its seed.
    """

    def __init__(self, what: str, first: object, second: object) -> None:
        if isinstance(first, bytes) and isinstance(second, bytes):
            what, first, second = _narrowed(what, first, second)
        super().__init__(f"{what}:\n  first:  {first!r}\n  second: {second!r}")


def _narrowed(what: str, first: bytes, second: bytes) -> tuple[str, bytes, bytes]:
    """The surroundings of the first byte that differs."""
    equal = min(len(first), len(second))
    at = next((n for n in range(equal) if first[n] != second[n]), equal)
    part = slice(max(0, at - _SHOWN_MAX), at + _SHOWN_MAX)
    lengths = f"{len(first)} and {len(second)} bytes that differ from byte {at} on"
    return f"{what}, {lengths}, from byte {part.start}", first[part], second[part]


def agree(owner: object, what: str, first: T, second: T) -> T:
    """What both say; raises PlanesDisagree if they say different things."""
    if first != second:
        raise PlanesDisagree(f"{owner}: {what}", first, second)
    return first


class _Pair(Protocol):
    @property
    def first(self) -> object: ...
    @property
    def second(self) -> object: ...


class ReadAlike(Generic[T]):
    """An attribute of both cells, which is compared when it is read."""

    def __set_name__(self, owner: type[object], name: str) -> None:
        self._name = name

    def __get__(self, pair: _Pair, kind: type[object] | None = None) -> T:
        first: T = getattr(pair.first, self._name)
        second: T = getattr(pair.second, self._name)
        return agree(pair, self._name, first, second)


class WrittenAlike(ReadAlike[T]):
    """... and which the control plane writes."""

    def __set__(self, pair: _Pair, value: T) -> None:
        setattr(pair.first, self._name, value)
        setattr(pair.second, self._name, value)

"""Values: dataclasses that nobody changes, at the price of dataclasses that somebody may.

`frozen=True` sets each field through `object.__setattr__`, which makes an event
three times as dear as its fields are worth; there is one for every read of a
socket. `value` promises the same to a type checker, which refuses an assignment,
and costs nothing when the program runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

__all__ = ["keyword_value", "value"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """A slotted, hashable dataclass. Assigning to a field is an error of types, and of types only."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def keyword_value(cls: type[T]) -> type[T]:
    """The same, made with keyword arguments only."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)

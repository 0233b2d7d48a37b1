"""A configuration as a tree of values, each with the place in the file that it belongs to."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

from natscore.errors import ConfigError

__all__ = ["DEPTH_MAX", "LanguageError", "Map", "Node", "Place", "Plain", "Scalar", "Source", "plain"]

DEPTH_MAX: Final = 100  # maps and arrays within one another; files that people write have about ten

Scalar: TypeAlias = bool | int | float | str | datetime
Plain: TypeAlias = "Scalar | list[Plain] | dict[str, Plain]"
Map: TypeAlias = "dict[str, Node]"


class LanguageError(ConfigError):
    """The file is not written in the configuration language, or names what is not there."""


class Place(NamedTuple):
    """Where a value belongs: that of its key, or its own in an array (configuration.md section 2.1).

    Lines begin at 1. Columns count bytes, from 0 in the first line and from 1 in
    every other, as nats-server counts them.
    """

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(slots=True)
class Node:
    """One value. `used` marks a key that a variable referred to, which may have any name."""

    value: Scalar | list[Node] | Map
    place: Place
    used: bool = False
    size: int = 1  # nodes in it, itself included
    depth: int = 0  # maps and arrays on the way to the deepest value in it


class Source:
    """The text of one file, which knows its places."""

    def __init__(self, name: str, text: str) -> None:
        self.name: Final = name
        self.text: Final = text
        self._lines = [0]
        at = text.find("\n")
        while at >= 0:
            self._lines.append(at + 1)
            at = text.find("\n", at + 1)

    def line(self, offset: int) -> int:
        """The number of the line that holds the character at `offset`."""
        return bisect_right(self._lines, offset)

    def place(self, offset: int) -> Place:
        """The place of the character at `offset`."""
        line = self.line(offset)
        before = self.text[self._lines[line - 1] : offset]
        column = len(before.encode("utf-8", "surrogateescape"))
        return Place(self.name, line, column if line == 1 else column + 1)


def plain(node: Node) -> Plain:
    """The tree without places."""
    value = node.value
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [plain(member) for member in value]
    return value

"""Why a text is not a configuration, in the words of nats-server (configuration.md section 2.10).

The parser says where it stopped and which terminals it would have taken. From the
terminals follows which construct was incomplete, and from the text what is wrong
with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from natscore_cli.conf.tree import LanguageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lark import Token

    from natscore_cli.conf.tree import Source

__all__ = ["Stop", "misplaced", "on_line"]


class Stop(NamedTuple):
    """Where the parser stopped, and what it would have taken there."""

    offset: int
    expected: frozenset[str]  # names of terminals
    last: Token | None  # the last terminal, unless a rule was completed since
    key: Token | None  # the innermost key that has no value yet


def on_line(line: int, text: str) -> LanguageError:
    """The error in nats-server's frame."""
    return LanguageError(f"Parse error on line {line}: '{text}'")


def misplaced(source: Source, stop: Stop) -> LanguageError:
    """The error for what stands where the parser stopped."""
    text, expected = source.text, stop.expected
    if expected & {"BARE", "BARE_MEMBER"}:
        if stop.offset >= len(text) and stop.key is not None and _is_at_file_level(stop):
            # A last key without a value (2.9.22).
            behind_quote = stop.key.type == "QUOTED_KEY"
            return LanguageError(
                f"config is invalid ({source.place((stop.key.start_pos or 0) + behind_quote)})"
            )
        offset, said = stop.offset, _bad_value(text, stop)
    elif "INCLUDED" in expected:
        offset, said = stop.offset, _bad_path(text[stop.offset : stop.offset + 1])
    elif key := expected & _BAD_KEYS.keys():
        offset, said = stop.offset, _BAD_KEYS[min(key)](text, stop.offset)
    elif key := expected & {"_TOP_GAP", "_MAP_GAP"}:
        # only the end of the text stands behind a bare key where no gap can be
        in_map = "_MAP_GAP" in key
        offset, said = stop.offset, f"Unexpected EOF{' processing map key' if in_map else ''}."
    else:
        offset = _NOT_BLANK.match(text, stop.offset).end()  # type: ignore[union-attr]  # matches always
        place = next(iter(sorted(expected & _TERMINATORS.keys())), "_TOP_END")
        said = _not_ended(place, text, offset)
    line = source.line(min(offset, len(text)))
    return on_line(line + said.endswith("found new line"), said)  # nats-server has read it by then


_NOT_BLANK: Final = re.compile(r"[ \t]*")

_TERMINATORS: Final = {
    "_TOP_END": "a top-level value to end with a new line, comment or EOF",
    "_BLOCK_CLOSE": "a block-level value to end with a new line, comment or EOF",
    "_MAP_CLOSE": 'a map value terminator "," or a map terminator "}"',
    "_ARRAY_CLOSE": 'an array value terminator "," or an array terminator "]"',
}
"""By a terminal that ends a value in one place only."""


def _not_ended(place: str, text: str, offset: int) -> str:
    return f"Expected {_TERMINATORS[place]}, but got '{_shown(text, offset)}' instead."


def _is_at_file_level(stop: Stop) -> bool:
    return stop.last is not None and stop.last.type in ("_TOP_GAP", "QUOTED_KEY")


def _shown(text: str, offset: int) -> str:
    """The character there, as nats-server shows it."""
    char = text[offset : offset + 1]
    return {"": "\x00", "\n": "\\n"}.get(char, char)


def _bad_key(text: str, offset: int, *, in_map: bool) -> str:
    char = text[offset : offset + 1]
    if char in ("=", ":") and char:
        return f"Unexpected key separator '{char}'" + ("." if in_map else "")
    if char == '"':
        return "Unexpected EOF processing double quoted map key."
    if char == "'":
        return "Unexpected EOF processing quoted map key."
    if in_map and char == "]":
        return "Unexpected array end ']' processing map."
    return "Unexpected EOF processing map." if in_map else "Unexpected EOF."


def _bad_block_key(text: str, offset: int) -> str:
    return "Unexpected EOF processing block." if offset >= len(text) else _bad_key(text, offset, in_map=False)


_BAD_KEYS: Final[dict[str, Callable[[str, int], str]]] = {
    "BLOCK_KEY": _bad_block_key,
    "MAP_KEY": lambda text, offset: _bad_key(text, offset, in_map=True),
    "TOP_KEY": lambda text, offset: _bad_key(text, offset, in_map=False),
}


def _bad_path(char: str) -> str:
    kinds = {"[": "start of an array", "{": "a map", "(": "a block", "\\": "escape sequence",
             "\n": "new line", "\r": "new line"}  # fmt: skip
    if char == '"':
        return "Unexpected EOF in double quoted include"
    if char == "'":
        return "Unexpected EOF in quoted include"
    if char == "-" or ("0" <= char <= "9" and char):
        return "Expected include value but found start of a number"
    return f"Expected include value but found {kinds.get(char, 'new line')}"


_DIGITS: Final = re.compile(r"-?[0-9]*")
_DIGIT_BEHIND_SUFFIX: Final = re.compile("[kmgtpeKMGTPE][biBI]*[0-9]")
_DATE: Final = "dddd-dd-ddTdd:dd:ddZ"


def _bad_value(text: str, stop: Stop) -> str:
    char = text[stop.offset : stop.offset + 1]
    in_array = "_ARRAY_CLOSE" in stop.expected
    if char in ("\n", "\r") and char:
        return "Expected value but found new line"
    if char and char in "\"'(":
        return "Unexpected EOF."  # it is not closed anywhere
    if char == ".":
        return "Floats must start with a digit"
    if char == "-" or char.isdecimal():
        return _bad_number(text, stop.offset)
    if in_array:
        if char and char in ",/":
            return "Unexpected array value terminator ','."
        return _not_ended("_ARRAY_CLOSE", text, stop.offset)
    if char == "," and not _is_at_file_level(stop):
        return 'Unexpected map value terminator ",".'
    if not char:
        return "Unexpected EOF processing map."
    return f"Expected a value, but got '{_shown(text, stop.offset)}' instead."


def _bad_number(text: str, offset: int) -> str:
    digits = _DIGITS.match(text, offset)
    assert digits is not None
    behind = digits.end()
    char = text[behind : behind + 1]
    if digits[0] == "-":
        if char == ".":
            return "Floats must start with a digit, not '.'."
        return f"Expected a digit but got '{_shown(text, behind)}'."
    if char == ".":
        behind += 1
        return f"Floats must have a digit after the '.', but got '{_shown(text, behind)}' instead."
    if char == "-" and behind - offset == 4:
        return _bad_date(text, offset)
    if char == "-":
        return "All ISO8601 dates must be in full Zulu form."
    if suffix := _DIGIT_BEHIND_SUFFIX.match(text, behind):
        return f"Expected the end of a number, but got '{_shown(text, suffix.end() - 1)}' instead."
    return f"Expected a value, but got '{_shown(text, offset)}' instead."


def _bad_date(text: str, offset: int) -> str:
    for at, wanted in enumerate(_DATE, start=offset):
        found = text[at : at + 1]
        if wanted == "d" and not ("0" <= found <= "9" and found):
            return f"Expected digit in ISO8601 datetime, but found '{_shown(text, at)}' instead."
        if wanted != "d" and found != wanted:
            return f"Expected '{wanted}' in ISO8601 datetime, but found '{_shown(text, at)}' instead."
    return "All ISO8601 dates must be in full Zulu form."

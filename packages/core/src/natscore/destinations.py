"""The language of destinations: what a token of a destination asks for.

    $2, {{wildcard(2)}}, {{ Wildcard( 2 ) }}    the second wildcard of the source
    {{partition(10,1,2)}}                       a bucket from 0 to 9 for the first two wildcards
    {{splitFromLeft(1,3)}}                      a function of one wildcard and a number
    {{split(1,-)}}                              the first wildcard, split at each -
    {{random(5)}}                               a number from 0 to 4
    $x, foo, {{}}                               itself

A function fills a whole token. In its name the initial of each word may be
upper or lower case. What is written is read here, with the exact texts for
what is wrong; what it means is in `natscore.transform` (accounts.md section 9.1;
nats-server 2.14.5, `server/subject_transform.go indexPlaceHolders`).
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Final

from natscore.errors import ConfigError

__all__ = [
    "BLANKS",
    "Call",
    "TransformError",
    "bad_destination",
    "bad_subject",
    "integer",
    "looks_like_function",
    "name_of",
    "parsed",
]

BLANKS: Final = frozenset(b"\t\n\f\r ")
"""The bytes that no subject of a configuration may hold."""

_WORDS: Final = {
    name.replace(" ", ""): name.split()
    for name in (
        *("wildcard", "partition", "random", "split", "left", "right"),
        *("split from left", "split from right", "slice from left", "slice from right"),
    )
}
_NAMES: Final = {
    "".join(spelling).encode(): name
    for name, words in _WORDS.items()
    for spelling in itertools.product(*((word, word.capitalize()) for word in words))
}
"""Each accepted spelling of each function."""

_FUNCTION: Final = re.compile(rb"\{\{[\t\n\f\r ]*([A-Za-z]+)[\t\n\f\r ]*\((.*)\)[\t\n\f\r ]*\}\}")
_COMMA: Final = re.compile(rb",[\t\n\f\r ]*")
_INTEGER: Final = re.compile(rb"([+-]?)0*([0-9]{1,19})")


class TransformError(ConfigError):
    """A source or destination that cannot be; the text is that of the reference."""


def bad_destination(what: str, where: bytes = b"") -> TransformError:
    """The error for a destination, with the token that is wrong; bytes that are not UTF-8 are escaped."""
    shown = f" in {where.decode(errors='backslashreplace')}" if where else ""
    return TransformError(f"invalid mapping destination: {what}{shown}")


def bad_subject() -> TransformError:
    return TransformError("invalid subject")


@dataclass(frozen=True, slots=True)
class Call:
    """A function as it is written: its name, the wildcards it names, and its other argument."""

    name: str
    wildcards: tuple[int, ...] = ()
    number: int = 0
    text: bytes = b""


def looks_like_function(token: bytes) -> bool:
    return len(token) > 4 and token.startswith(b"{{") and token.endswith(b"}}")


def name_of(token: bytes) -> str | None:
    """The name of the function that a token is, None when there is no such function."""
    shape = _FUNCTION.fullmatch(token)
    return _NAMES.get(shape[1]) if shape else None


def parsed(token: bytes) -> Call | None:
    """The function that a token of a destination stands for, None if it is literal. Raises TransformError."""
    if token.startswith(b"$"):
        number = integer(token[1:])
        return None if number is None else Call("wildcard", (number,))
    if not looks_like_function(token):
        return None
    shape = _FUNCTION.fullmatch(token)
    name = _NAMES.get(shape[1]) if shape else None
    if shape is None or name is None:
        raise bad_destination("unknown function", token)
    arguments = _COMMA.split(shape[2])
    match name:
        case "wildcard":
            if arguments == [b""]:
                raise _not_enough(token)
            if len(arguments) > 1:
                raise _too_many(token)
            return Call(name, (_number(arguments[0], token),))
        case "partition":
            buckets, *wildcards = [_number(argument, token) for argument in arguments]
            return Call(name, tuple(wildcards), _int32(buckets, token) & 0xFFFF_FFFF)
        case "random":
            if len(arguments) > 1:
                raise _not_enough(token)  # the text of the reference
            return Call(name, (), abs(_int32(_number(arguments[0], token), token)))
    if len(arguments) < 2:
        raise _not_enough(token)
    if len(arguments) > 2:
        raise _too_many(token)
    wildcard = _number(arguments[0], token)
    if name == "split":
        if b" " in arguments[1]:
            raise _invalid_argument(token)
        return Call(name, (wildcard,), 0, arguments[1])
    number = _number(arguments[1], token)
    if not -0x8000_0000 <= number <= 0x7FFF_FFFF:
        raise _invalid_argument(token)
    return Call(name, (wildcard,), number)


def _not_enough(token: bytes) -> TransformError:
    return bad_destination("not enough arguments passed to the function", token)


def _too_many(token: bytes) -> TransformError:
    return bad_destination("too many arguments passed to the function", token)


def _invalid_argument(token: bytes) -> TransformError:
    return bad_destination("function argument is invalid or in the wrong format", token)


def _number(argument: bytes, token: bytes) -> int:
    """An argument that must be a number."""
    number = integer(argument.strip(b" "))
    if number is None:
        raise _invalid_argument(token)
    return number


def _int32(number: int, token: bytes) -> int:
    """A count as the reference keeps it: too large is refused, too small wraps around."""
    if number > 0x7FFF_FFFF:
        raise _invalid_argument(token)
    return (number + 0x8000_0000) % 0x1_0000_0000 - 0x8000_0000


def integer(text: bytes) -> int | None:
    """A number of 64 bits as Go's `strconv.Atoi` reads it, None when it is none."""
    shape = _INTEGER.fullmatch(text)
    if shape is None:
        return None
    number = -int(shape[2]) if shape[1] == b"-" else int(shape[2])
    return number if -0x8000_0000_0000_0000 <= number <= 0x7FFF_FFFF_FFFF_FFFF else None

"""Transforms and mappings by enumeration: the twins of `natscore.transform` and `natscore.account.mappings`.

A destination is a row of pieces here and never a text, so that nothing of its language is shared with the
modules under test.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Piece", "captured", "covers", "drawn", "find", "fnv1a", "literals", "renamed"]

Piece = tuple[str, tuple[int, ...], bytes | int]
"""A function, the wildcards it names, and its other argument; of "text" and "rest", that is the token."""


def literals(alphabet: Sequence[bytes], length_max: int) -> Iterator[bytes]:
    """Every literal subject over a few tokens."""
    for length in range(1, length_max + 1):
        for tokens in product(alphabet, repeat=length):
            yield b".".join(tokens)


def covers(pattern: bytes, subject: bytes) -> bool:
    """Whether every literal subject that `subject` matches is matched by `pattern`."""
    return captured(pattern, subject) is not None


def captured(pattern: bytes, subject: bytes) -> tuple[list[bytes], list[bytes]] | None:
    """What each `*` of a pattern stands for, and what its `>`; None when it does not cover the subject."""
    if b"" in subject.split(b"."):
        return None
    stars: list[bytes] = []
    given = subject.split(b".")
    for want in pattern.split(b"."):
        if not given:
            return None
        if want == b">":
            return stars, given
        have = given.pop(0)
        if want == b"*" and have != b">":
            stars.append(have)
        elif want != have or have in (b"*", b">"):
            return None
    return None if given else (stars, [])


def fnv1a(key: bytes) -> int:
    """FNV-1a as it is defined: multiply and reduce."""
    value = 2166136261
    for byte in key:
        value = (value ^ byte) * 16777619 % 2**32
    return value


def renamed(source: bytes, pieces: Sequence[Piece], subject: bytes, draws: Sequence[int]) -> bytes | None:
    """The result of a destination for a subject that the source covers; one draw for each "random"."""
    found = captured(source, subject)
    assert found is not None
    stars, rest = found
    results: list[bytes] = []
    numbers = iter(draws)
    for function, wildcards, argument in pieces:
        tokens = [stars[number - 1] for number in wildcards]
        if function == "rest":
            results += rest
        elif function == "text":
            assert isinstance(argument, bytes)
            results.append(argument)
        elif function == "random":
            results.append(str(next(numbers)).encode())
        elif function == "partition":
            assert isinstance(argument, int)
            key = b"".join(tokens) if tokens else subject
            results.append(str(fnv1a(key) % argument).encode())
        elif function == "split":
            assert isinstance(argument, bytes)
            results.append(_split(tokens[0], argument))
        else:
            assert isinstance(argument, int)
            results.append(_cut(function, tokens[0], argument))
    result = b".".join(results)
    return None if b"" in result.split(b".") else result


def _split(token: bytes, delimiter: bytes) -> bytes:
    """Walk the token; a dot is owed wherever a delimiter separates two pieces."""
    result, owed, at = b"", False, 0
    while at < len(token):
        if token.startswith(delimiter, at):
            owed, at = True, at + len(delimiter)
            continue
        if owed and result:
            result += b"."
        owed = False
        result += token[at : at + 1]
        at += 1
    return result


def _cut(function: str, token: bytes, size: int) -> bytes:
    """One byte after the other, with a dot where the function cuts; kept whole when it would cut nothing."""
    length = len(token)
    if function == "wildcard" or size <= 0 or size >= length:
        return token
    kept = range(length)
    cuts: set[int] = set()
    match function:
        case "splitfromleft":
            cuts = {size}
        case "splitfromright":
            cuts = {length - size}
        case "slicefromleft":
            cuts = {at for at in range(1, length) if at % size == 0}
        case "slicefromright":
            cuts = {at for at in range(1, length) if (length - at) % size == 0}
        case "left":
            kept = range(size)
        case "right":
            kept = range(length - size, length)
        case _:
            raise AssertionError(function)
    return b"".join((b"." if at in cuts else b"") + token[at : at + 1] for at in kept)


def find(sources: Sequence[bytes], subject: bytes) -> bytes | None:
    """The source that a mapping is looked up by: the subject itself, else the first that covers it."""
    for source in sources:
        if source == subject and not {b"*", b">"} & set(source.split(b".")):
            return source
    return next((source for source in sources if covers(source, subject)), None)


def drawn(shares: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
    """Which destination each of the numbers 0 to 99 means, for weights and destinations."""
    hundred: list[bytes | None] = []
    for weight, destination in sorted(shares, key=lambda share: share[0]):
        hundred += [destination] * weight
    return hundred + [None] * (100 - len(hundred))

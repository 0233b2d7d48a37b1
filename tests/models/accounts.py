"""Slow, obvious twins of exports and imports: they list every literal subject over a small alphabet.

Nothing here compares patterns with patterns. Whether an export covers an import
is asked of each subject that the import has; where a message of an import goes is
computed token by token, and looked up the other way round.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["LITERALS", "loops", "renamed", "selects", "subjects_of"]

ALPHABET: Final = (b"a", b"b", b"c")
TOKENS_MAX: Final = 4

LITERALS: Final = tuple(
    b".".join(tokens)
    for length in range(1, TOKENS_MAX + 1)
    for tokens in itertools.product(ALPHABET, repeat=length)
)
"""Every literal subject there is in these models."""


def selects(pattern: bytes, subject: bytes) -> bool:
    """Whether a subscription to `pattern` gets what is published to the literal `subject`."""
    wanted, given = pattern.split(b"."), subject.split(b".")
    if wanted[-1] == b">":
        wanted = wanted[:-1] + [b"*"] * (len(given) - len(wanted) + 1)
        if len(wanted) < len(pattern.split(b".")):
            return False
    return len(wanted) == len(given) and all(
        token in (b"*", name) for token, name in zip(wanted, given, strict=True)
    )


def subjects_of(pattern: bytes) -> set[bytes]:
    """All literal subjects of a pattern."""
    return {subject for subject in LITERALS if selects(pattern, subject)}


def renamed(subject: bytes, source: bytes, destination: bytes) -> bytes:
    """The literal `subject` of the pattern `source`, in the words of `destination`: `$n` for its stars."""
    given, wanted = subject.split(b"."), source.split(b".")
    stars = [token for token, name in zip(given, wanted, strict=False) if name == b"*"]
    result: list[bytes] = []
    for token in destination.split(b"."):
        if token == b">":
            result += given[len(wanted) - 1 :]
        elif token.startswith(b"$"):
            result.append(stars[int(token[1:]) - 1])
        else:
            result.append(token)
    return b".".join(result)


def loops(hops: Mapping[str, Sequence[tuple[str, bytes, bytes, bytes]]]) -> bool:
    """Whether a message can come back to an import that it has passed, having been in another account.

    A hop of an account: the account that it leads to, the pattern it takes,
    source and destination of its renaming.
    """
    starts = [(account, index) for account, row in hops.items() for index in range(len(row))]
    return any(
        _comes_back(hops, account, index, subject)
        for account, index in starts
        for subject in LITERALS
        if selects(hops[account][index][1], subject)
    )


def _comes_back(
    hops: Mapping[str, Sequence[tuple[str, bytes, bytes, bytes]]], account: str, index: int, subject: bytes
) -> bool:
    seen: set[tuple[str, bytes, bool]] = set()
    waiting = list(_after(hops, account, index, subject, False))
    while waiting:
        state = waiting.pop()
        if state in seen:
            continue
        seen.add(state)
        at, name, has_left = state
        for number, (_, pattern, _, _) in enumerate(hops[at]):
            if selects(pattern, name):
                if (at, number) == (account, index) and has_left:
                    return True
                waiting += _after(hops, at, number, name, has_left)
    return False


def _after(
    hops: Mapping[str, Sequence[tuple[str, bytes, bytes, bytes]]],
    account: str,
    index: int,
    subject: bytes,
    has_left: bool,
) -> Iterator[tuple[str, bytes, bool]]:
    end, _, source, destination = hops[account][index]
    name = renamed(subject, source, destination)
    if name.count(b".") < TOKENS_MAX + 2:  # renaming may lengthen a subject for ever
        yield end, name, has_left or end != account

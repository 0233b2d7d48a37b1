"""The interest table as a list, searched from end to end for every message.

The twin of `natscore.sublist`. What a subscription gets is decided by comparing
tokens, one by one. The order of what is found is part of the promise, because
it reaches the wire and decides which member of a queue group a draw means:

- first the subscriptions to exactly this subject, then patterns that end in
  `>`, those that end earlier first, then the others;
- of two patterns of equal length the one that has the literal token where the
  other has `*` comes first;
- subscriptions with the same subject keep the order in which they were made;
- queue groups come by name.

Source: client-protocol.md sections 7.1, 9 and 21.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Interest", "InterestTable", "Matched", "covers"]

NO_QUEUE: Final = b""


@dataclass(eq=False)
class Interest:
    """One subscription of one connection; only it is equal to itself."""

    subject: bytes
    queue: bytes  # empty: none
    sid: bytes
    connection: object
    delivered: int = 0
    max: int = 0  # 0: none


@dataclass
class Matched:
    """Who gets a message: every plain subscription, and one of each group."""

    plain: list[Interest]
    groups: list[tuple[bytes, list[Interest]]]

    @property
    def is_empty(self) -> bool:
        return not self.plain and not self.groups


def covers(pattern: bytes, subject: bytes) -> bool:
    """Whether a subscription to `pattern` gets what is published to `subject`."""
    wanted = pattern.split(b".")
    given = subject.split(b".")
    if b"" in given:
        return False
    if wanted[-1] == b">":
        wanted = wanted[:-1]
        if len(given) <= len(wanted):
            return False
        given = given[: len(wanted)]
    if len(wanted) != len(given):
        return False
    return all(want in (b"*", have) for want, have in zip(wanted, given, strict=True))


class InterestTable:
    """The subscriptions of one account, in the order in which they were made."""

    def __init__(self) -> None:
        self.all: list[Interest] = []

    def add(self, interest: Interest) -> None:
        self.all.append(interest)

    def remove(self, interest: Interest) -> None:
        self.all.remove(interest)

    def match(self, subject: bytes) -> Matched:
        found = [interest for interest in self.all if covers(interest.subject, subject)]
        found.sort(key=lambda interest: _rank(interest.subject))
        queues = sorted({interest.queue for interest in found} - {NO_QUEUE})
        return Matched(
            [interest for interest in found if interest.queue == NO_QUEUE],
            [(queue, [interest for interest in found if interest.queue == queue]) for queue in queues],
        )


def _rank(pattern: bytes) -> tuple[int, int, list[bool]]:
    """Where a pattern stands among those that cover the same subject."""
    tokens = pattern.split(b".")
    stars = [token == b"*" for token in tokens]
    if tokens[-1] == b">":
        return 1, len(tokens) - 1, stars[:-1]
    if not any(stars):
        return 0, 0, []
    return 2, len(tokens), stars

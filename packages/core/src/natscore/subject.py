"""Subjects and their tokens: what is valid, what is a pattern, what matches.

A subject is a row of tokens separated by dots. A token that is exactly `*`
stands for any one token; a last token that is exactly `>` stands for one or
more. Inside a longer token both are ordinary bytes:

    pattern    matches             does not match
    foo.*      foo.bar             foo, foo.bar.baz
    foo.>      foo.bar, foo.a.b    foo
    foo*       foo*                foox

Subjects are opaque bytes, case-sensitive, without space, tab, CR or LF
(client-protocol.md section 7; nats-server 2.14.5, server/sublist.go
IsValidSubject, IsValidLiteralSubject).
"""

from __future__ import annotations

from typing import Final

__all__ = ["covers", "has_wildcard", "is_valid", "is_valid_literal", "matches", "overlap"]

STAR: Final = b"*"
REST: Final = b">"


def is_valid(subject: bytes) -> bool:
    """Whether a subscription may name this subject: no empty token, and `>` only as the last."""
    if not subject or subject[0] == 0x2E or subject[-1] == 0x2E or b".." in subject:
        return False
    return b">." not in subject or REST not in subject.split(b".")[:-1]


def is_valid_literal(subject: bytes) -> bool:
    """Whether a pedantic server takes this as the subject of a publish: valid, and no pattern."""
    return is_valid(subject) and not has_wildcard(subject)


def has_wildcard(subject: bytes) -> bool:
    """Whether some token is exactly `*` or `>`."""
    if STAR not in subject and REST not in subject:
        return False
    tokens = subject.split(b".")
    return STAR in tokens or REST in tokens


def matches(pattern: bytes, subject: bytes) -> bool:
    """Whether a subscription to `pattern` gets a message published to `subject`.

    Wildcards in `subject` are plain tokens, as in the interest table: `foo.*`
    is matched by `*.*` and not by `foo.bar`; and a subject with an empty token
    is not matched by anything. The sublist answers the same question for many
    patterns at once.
    """
    wanted, given = pattern.split(b"."), subject.split(b".")
    if b"" in given:
        return False
    for index, token in enumerate(wanted):
        if token == REST and index == len(wanted) - 1:
            return len(given) > index
        if index >= len(given) or (token not in (STAR, given[index])):
            return False
    return len(wanted) == len(given)


def covers(pattern: bytes, other: bytes) -> bool:
    """Whether `pattern` matches every subject that the pattern `other` matches.

    `s.>` covers `s.*` and `s.a.>`; `s.*` does not cover `s.>`.
    """
    wanted, given = pattern.split(b"."), other.split(b".")
    for index, token in enumerate(wanted):
        if token == REST and index == len(wanted) - 1:
            return len(given) > index
        if index >= len(given) or (given[index] == REST and index == len(given) - 1):
            return False
        if token not in (STAR, given[index]):
            return False
    return len(wanted) == len(given)


def overlap(one: bytes, other: bytes) -> bool:
    """Whether some subject is matched by both patterns."""
    first, second = one.split(b"."), other.split(b".")
    for index in range(max(len(first), len(second))):
        ends_first, ends_second = index >= len(first), index >= len(second)
        if ends_first or ends_second:
            return False
        if (first[index] == REST and index == len(first) - 1) or (
            second[index] == REST and index == len(second) - 1
        ):
            return True
        if STAR not in (first[index], second[index]) and first[index] != second[index]:
            return False
    return True

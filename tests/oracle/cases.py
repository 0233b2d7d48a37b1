"""Random users, subscriptions and messages over a small alphabet, where rules meet often."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

from tests.oracle.rules import Import, User, is_subscribable

if TYPE_CHECKING:
    from random import Random

    from tests.oracle.rules import Entry

__all__ = ["PUBLISHED", "a_reply", "a_subscription", "a_user", "some_imports", "some_time"]

_LETTERS: Final = (b"a", b"b")
_TOKENS_MAX: Final = 3


def _subjects(tokens: tuple[bytes, ...]) -> list[bytes]:
    lengths = range(1, _TOKENS_MAX + 1)
    return [b".".join(row) for length in lengths for row in product(tokens, repeat=length)]


_LITERALS: Final = _subjects(_LETTERS)
_ALL: Final = _subjects((*_LETTERS, b"*", b">"))
_PATTERNS: Final = [subject for subject in _ALL if is_subscribable(subject)]
_BROKEN: Final = [b"a..b", b".a", b"b.", b"*..", *(one for one in _ALL if not is_subscribable(one))]

PUBLISHED: Final = (*_LITERALS, *_LITERALS, *_ALL, b"a..b", b".a", b"b.")
"""What messages are published to. Literals are drawn more often than wildcards, which are plain tokens."""

_SECOND: Final = 1_000_000_000
_MOST: Final = (0, 1, 1, 2, 3, -1)
_EXPIRES: Final = (0, 1, _SECOND, 2 * _SECOND, -1)

_QUEUES: Final = (b"x", b"y", b"x.y", b"x.*", b"x.>", b"x.", b"x..y")
_QUEUE_RULES: Final = (b"x", b"y", b"x.y", b"x.*", b"*", b">", b"x.>", b"*.y", b"*.*")


def _a_pattern(random: Random) -> bytes:
    return random.choice(_LITERALS if random.random() < 0.4 else _PATTERNS)


def _an_entry(random: Random) -> Entry:
    return _a_pattern(random), random.choice(_QUEUE_RULES) if random.random() < 0.4 else None


def _a_broad_entry(random: Random) -> Entry:
    """Allow lists would refuse nearly everything if they were as narrow as denials."""
    broad = random.choice((b">", b"*.*", b"*.>", b"a.>", b"*", b"a.*"))
    return broad, random.choice(_QUEUE_RULES) if random.random() < 0.3 else None


def a_user(random: Random) -> User:
    """Somebody with up to three entries in each list, or without a list."""
    publish_allow: tuple[bytes, ...] | None = None
    subscribe_allow: tuple[Entry, ...] | None = None
    if random.random() < 0.4:
        publish_allow = tuple(_a_pattern(random) for _ in range(random.randrange(4)))
    if random.random() < 0.5:
        entries = [_a_broad_entry(random) for _ in range(random.randrange(3))]
        entries += [_an_entry(random) for _ in range(random.randrange(3))]
        subscribe_allow = tuple(entries)
    publish_deny = tuple(_a_pattern(random) for _ in range(random.choice((0, 0, 1, 2))))
    subscribe_deny = tuple(_an_entry(random) for _ in range(random.randrange(4)))
    responses = None
    if random.random() < 0.4:
        responses = (random.choice(_MOST), random.choice(_EXPIRES))
    return User(publish_allow, publish_deny, subscribe_allow, subscribe_deny, responses)


def a_reply(random: Random) -> bytes:
    """Where an answer is asked for, or nowhere. Others publish to the same subjects."""
    return random.choice(PUBLISHED) if random.random() < 0.4 else b""


def some_imports(random: Random, importer: str, exporter: str) -> list[Import]:
    """Up to three streams, each with the subjects it has at the exporter, or with others."""
    made = {}
    for _ in range(random.choice((1, 2, 3))):
        subject = random.choice((b">", b"a.>", b"*.*", b"*", b"b.*")) if random.random() < 0.5 else (
            _a_pattern(random)
        )  # fmt: skip
        made[subject] = Import(importer, exporter, subject, _a_name(random, subject))
    return list(made.values())


def _a_name(random: Random, subject: bytes) -> bytes:
    """What the importer calls a stream: the same, with a prefix, or with its wildcards elsewhere."""
    stars = [b"$%d" % (number + 1) for number in range(subject.split(b".").count(b"*"))]
    kept = list(subject.split(b"."))
    for star in stars:
        kept[kept.index(b"*")] = star
    kind = random.randrange(4)
    if kind == 0:
        return b".".join(kept)
    if kind == 1:
        return b".".join([random.choice(_LETTERS), *kept])
    random.shuffle(stars)
    if kind == 2 and len(stars) == 1:
        stars *= 2
    tokens = [*stars, *random.choices(_LETTERS, k=random.randrange(not stars, 2 + (not stars)))]
    random.shuffle(tokens)
    return b".".join([*tokens, b">"] if kept[-1] == b">" else tokens)


def some_time(random: Random) -> int:
    """Nanoseconds that pass: none, exactly as long as somebody may answer, a little more, or very long."""
    return random.choice((0, 0, 0, 1, _SECOND, _SECOND + 1, 120 * _SECOND + 1))


def a_subscription(random: Random) -> tuple[bytes, bytes | None]:
    """A subject and a queue group, or none."""
    subject = random.choice(_BROKEN) if random.random() < 0.03 else random.choice(_PATTERNS)
    return subject, random.choice(_QUEUES) if random.random() < 0.5 else None

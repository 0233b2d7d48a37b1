"""What the specification says of permissions, the slow way (client-protocol.md sections 18.1 to 18.4).

And of streams that pass from one account to another (accounts.md section 5), for denials hold there too.

Nothing here is fast or shared with the server: a pattern is compared with a
subject token by token, and the rules are the sentences of the text, in their
order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

__all__ = ["Entry", "Import", "Leave", "User", "covers", "is_about", "is_subscribable"]

Entry: TypeAlias = tuple[bytes, bytes | None]
"""A subject, and a queue if the entry is about one."""


@cache
def covers(pattern: bytes, subject: bytes) -> bool:
    """Whether `pattern` matches `subject`, whose wildcards are plain tokens. Empty tokens are not matched."""
    tokens = subject.split(b".")
    return b"" not in tokens and _covers(pattern.split(b"."), tokens)


def _covers(pattern: list[bytes], subject: list[bytes]) -> bool:
    if not pattern or not subject:
        return not pattern and not subject
    if pattern == [b">"]:
        return True
    return pattern[0] in (b"*", subject[0]) and _covers(pattern[1:], subject[1:])


@cache
def is_subscribable(subject: bytes) -> bool:
    """Whether a subscription may name it: no empty token, and `>` only at the end."""
    tokens = subject.split(b".")
    return b"" not in tokens and b">" not in tokens[:-1]


@cache
def is_about(name: bytes, queue: bytes) -> bool:
    """Whether the queue of an entry is this one, or a pattern that all of this one is within (section 21)."""
    return name == queue or _is_within(queue.split(b"."), name.split(b"."))


def _is_within(queue: list[bytes], name: list[bytes]) -> bool:
    if not queue or not name:
        return not queue and not name
    if name[0] == b">":
        return True
    if queue[0] in (b">", b""):
        return False
    return (name[0] == b"*" or queue[0] == name[0]) and _is_within(queue[1:], name[1:])


@dataclass(frozen=True)
class Import:
    """A stream of another account. `to` has `$1` for the first `*` of `subject`, and ends as it does."""

    importer: str
    exporter: str
    subject: bytes
    to: bytes

    def name(self, published: bytes) -> bytes | None:
        """What the importer calls a message of the exporter; None: it is not of this stream."""
        if not covers(self.subject, published):
            return None
        pattern, tokens = self.subject.split(b"."), published.split(b".")
        stars = [token for one, token in zip(pattern, tokens, strict=False) if one == b"*"]
        rest = tokens[len(pattern) - 1 :]
        name: list[bytes] = []
        for token in self.to.split(b"."):
            if token == b">":
                name += rest
            else:
                name.append(stars[int(token[1:]) - 1] if token.startswith(b"$") else token)
        return b".".join(name)


class Leave:
    """The replies that one connection may answer, as section 18.4 tells it. It is told of every request."""

    def __init__(self) -> None:
        self._requests: dict[bytes, tuple[int, int]] = {}  # when it came last, answers since

    def note(self, reply: bytes, now_ns: int) -> None:
        """A message that asks for an answer was delivered: an older record of the same reply is replaced."""
        self._requests[reply] = (now_ns, 0)

    @property
    def replies(self) -> list[bytes]:
        """All that were ever asked for."""
        return [*self._requests]

    def takes(self, user: User, subject: bytes, now_ns: int) -> bool:
        """Whether a publish that the rules refuse is an answer; it counts as one then."""
        if user.responses is None or subject not in self._requests:
            return False
        most, expires_ns = user.responses
        came, answers = self._requests[subject]
        answers += 1
        self._requests[subject] = (came, answers)
        in_time = expires_ns < 0 or now_ns - came <= (expires_ns or 120_000_000_000)
        return in_time and (most < 0 or answers <= (most or 1))


@dataclass(frozen=True)
class User:
    """The rules of one user, as an administrator writes them. None: no allow list."""

    publish_allow: tuple[bytes, ...] | None
    publish_deny: tuple[bytes, ...]
    subscribe_allow: tuple[Entry, ...] | None
    subscribe_deny: tuple[Entry, ...]
    responses: tuple[int, int] | None = None  # max and nanoseconds; 0: the default, below 0: no limit

    def may_publish(self, subject: bytes) -> bool:
        """Section 18.2: no allow list or some allow entry matches, and no deny entry matches.

        Without an allow list who may respond may publish nothing else (section 18.1).
        """
        if self.publish_allow is None:
            allowed = self.responses is None
        else:
            allowed = any(covers(one, subject) for one in self.publish_allow)
        return allowed and not any(covers(one, subject) for one in self.publish_deny)

    def may_subscribe(self, subject: bytes, queue: bytes | None) -> bool:
        """Section 18.3."""
        if self.subscribe_allow is None:
            allowed = True
        else:
            matching = [name for one, name in self.subscribe_allow if covers(one, subject)]
            names = [name for name in matching if name is not None]
            allowed = None in matching
            if queue is not None and names:
                allowed = any(is_about(name, queue) for name in names)
        return allowed and not self.denies(subject, queue)

    def denies(self, subject: bytes, queue: bytes | None) -> bool:
        """Whether a deny entry is about this subject, for a subscription in `queue` or in none."""
        return any(
            covers(one, subject) and (name is None or (queue is not None and is_about(name, queue)))
            for one, name in self.subscribe_deny
        )

    def may_receive(self, pattern: bytes, queue: bytes | None, subject: bytes) -> bool:
        """Whether a permitted subscription gets a message to `subject`: it matches and is not denied."""
        return covers(pattern, subject) and not self.denies(subject, queue)

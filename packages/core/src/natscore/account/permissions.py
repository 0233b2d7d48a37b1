"""What a user may publish and subscribe to.

Rules are values; what is asked often is answered elsewhere. A publish is judged
by the look-up table of its connection, where the verdict on a subject is an
entry like any other; connections with equal rules share one table. A
subscription is judged once, here, when it is made. One that is broader than a
denial is allowed, and gets a `DeliveryFilter`: the plans that it is in are made
for one subject each, and leave it out where the filter denies.

Matching is that of the interest table, on the tokens as they stand: `*` in a
published or subscribed subject is a plain token to these rules.

Source: client-protocol.md section 18; nats-server 2.14.5, server/client.go
setPermissions, canSubscribe, checkDenySub, queueMatches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from natscore.account.settings import UNLIMITED
from natscore.subject import REST, STAR, matches, overlap
from natscore.values import value

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "EVERYTHING",
    "RESPONSES_MAX",
    "DeliveryFilter",
    "Entry",
    "Permissions",
    "ResponsePermission",
    "Rules",
    "SubscribeRules",
]

Entry: TypeAlias = tuple[bytes, bytes | None]
"""A subject, and the queue group that a subscribe rule is about; None: subscriptions without a group."""


@value
class Rules:
    """Subjects that may be published to, and those that may not. `allow` None: all that are not denied."""

    allow: tuple[bytes, ...] | None = None
    deny: tuple[bytes, ...] = ()

    def permit(self, subject: bytes) -> bool:
        """Whether a message may be published to `subject`. The tables of a data plane answer the same."""
        allowed = self.allow is None or any(matches(pattern, subject) for pattern in self.allow)
        return allowed and not any(matches(pattern, subject) for pattern in self.deny)


@value
class SubscribeRules:
    """The same for subscriptions, where an entry may be about one queue group, or several by a pattern."""

    allow: tuple[Entry, ...] | None = None
    deny: tuple[Entry, ...] = ()

    def permit(self, subject: bytes, queue: bytes | None) -> bool:
        """Whether somebody may subscribe to `subject`, in `queue` or in none (section 18.3)."""
        allowed = True
        if self.allow is not None:
            plain, queues = _matching(self.allow, subject)
            allowed = plain
            if queue is not None and queues:
                allowed = _names(queues, queue)
        plain, queues = _matching(self.deny, subject)
        return allowed and not plain and not (queue is not None and _names(queues, queue))

    def filter_for(self, subject: bytes, queue: bytes | None) -> DeliveryFilter | None:
        """What a permitted subscription must not get all the same; None: it cannot come to that."""
        entries = tuple(
            entry
            for entry in self.deny
            if overlap(entry[0], subject)
            and (entry[1] is None or (queue is not None and _names([entry[1]], queue)))
        )
        return DeliveryFilter(tuple(entry[0] for entry in entries)) if entries else None


@value
class DeliveryFilter:
    """Subjects that one subscription does not get, although it matches them."""

    deny: tuple[bytes, ...]

    @property
    def depends_on_subject(self) -> bool:
        """Always: that is what it is for."""
        return True

    @property
    def rules(self) -> int:
        """How many denials are looked at."""
        return len(self.deny)

    def admits(self, subject: bytes) -> bool:
        """Whether a message published to `subject` may be delivered."""
        return not any(matches(pattern, subject) for pattern in self.deny)

    def name(self, subject: bytes) -> bytes | None:
        """The subject under which it is delivered, which is its own; None: it is not."""
        return subject if self.admits(subject) else None


RESPONSES_MAX: Final = 65_536
"""Replies that a connection may still answer: some 15 MiB, and more requests than wait for one service."""

_RESPONSES_DEFAULT: Final = 1
_EXPIRES_DEFAULT_NS: Final = 120 * 1_000_000_000


@value
class ResponsePermission:
    """Leave to publish to the reply subject of what one received: so many messages, for so long.

    0 stands for the default of either, and below 0 for no limit, as in a
    configuration and in claims; what is kept is the default, or `UNLIMITED`.
    """

    max: int = _RESPONSES_DEFAULT
    expires_ns: int = _EXPIRES_DEFAULT_NS

    def __post_init__(self) -> None:
        object.__setattr__(self, "max", max(self.max or _RESPONSES_DEFAULT, UNLIMITED))
        object.__setattr__(self, "expires_ns", max(self.expires_ns or _EXPIRES_DEFAULT_NS, UNLIMITED))


@value
class Permissions:
    """All that a user may do. Equal permissions are equal values.

    With `responses` and nothing that is allowed by name, responses are all that
    may be published: `publish.allow` is then empty instead of None.
    """

    publish: Rules = Rules()
    subscribe: SubscribeRules = SubscribeRules()
    responses: ResponsePermission | None = None

    def __post_init__(self) -> None:
        if self.responses is not None and self.publish.allow is None:
            object.__setattr__(self, "publish", Rules((), self.publish.deny))


EVERYTHING: Final = Permissions()
"""Whoever has no permissions is not restricted."""


def _matching(entries: Iterable[Entry], subject: bytes) -> tuple[bool, list[bytes]]:
    """Whether an entry without a queue matches, and the queues of those that have one."""
    plain = False
    queues = []
    for pattern, queue in entries:
        if matches(pattern, subject):
            if queue is None:
                plain = True
            else:
                queues.append(queue)
    return plain, queues


def _names(patterns: Iterable[bytes], queue: bytes) -> bool:
    """Whether one of these names of queue groups, which may be patterns, is about `queue`."""
    return any(pattern == queue or _includes(pattern, queue) for pattern in patterns)


def _includes(pattern: bytes, queue: bytes) -> bool:
    """Whether `pattern` matches all that `queue` would match as a pattern (section 21, subset test).

    Not `matches`: `v.*` is not about a group named `v.>`, and `>` is about `v..x`.
    """
    wanted, given = pattern.split(b"."), queue.split(b".")
    for token, named in zip(wanted, given, strict=False):
        if token == REST:
            return True
        if named in (b"", REST) or token not in (STAR, named):
            return False
    return len(wanted) == len(given)

"""Replies that one connection may publish to, although its rules do not say so, because it was asked there.

A message with a reply subject that is delivered to a connection with such leave
is noted here: so many responses, until such an instant. A publish that the rules
refuse is looked for here before it is refused. What is already publishable is
not noted.

Traffic state: bounded, changed by the data plane, never a fact. Both data planes
use this one class, for what it is asked about goes by itself anyway. At the bound
the oldest goes, and is counted. All records of a connection last equally long, so
the oldest is also the first to expire.

Source: client-protocol.md section 18.4; nats-server 2.14.5, server/client.go
deliverMsg, responseAllowed, pruneReplyPerms. There, a delivery whose reply is
noted already uses up one response and keeps the older instant; here it renews the
record, as in 2.9 (`docs/differences.md`).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from natscore.account.permissions import ResponsePermission
    from natscore.plane import Sublist

__all__ = ["PLACE_BYTES", "Responses"]

PLACE_BYTES: Final = 64  # of a reply subject; an inbox takes one place, what is longer takes more
_EXPIRED_MAX: Final = 2  # forgotten for one that is noted: the record shrinks, and no step is long
_EVER: Final = 1 << 62


class Responses:
    """What may be answered: reply subject to how often and until when. Each call takes a few steps."""

    __slots__ = ("_allow", "_awaited", "_deny", "_places", "_places_max", "dropped", "expires_ns", "max")

    def __init__(
        self, permission: ResponsePermission, places_max: int, allow: Sublist | None, deny: Sublist | None
    ) -> None:
        self.max: Final = permission.max if permission.max > 0 else _EVER
        self.expires_ns: Final = permission.expires_ns if permission.expires_ns > 0 else _EVER
        self.dropped = 0  # records that went to make room, although they held
        self._allow = allow
        self._deny = deny
        self._places_max = places_max
        self._places = 0
        self._awaited: OrderedDict[bytes, tuple[int, int]] = OrderedDict()  # responses left, last instant

    def __len__(self) -> int:
        return len(self._awaited)

    def __eq__(self, other: object) -> bool:
        """Whether everything that can be seen from outside is equal, and the order too."""
        if not isinstance(other, Responses):
            return NotImplemented
        return self.summary == other.summary and self._awaited == other._awaited

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Responses({dict(self._awaited)}, dropped {self.dropped})"

    @property
    def summary(self) -> tuple[int, int, int]:
        """How many replies may be answered, what they weigh, and how many were dropped."""
        return len(self._awaited), self._places, self.dropped

    def note(self, reply: bytes, now_ns: int) -> None:
        """A message that asks for answers at `reply` was delivered."""
        if self._is_publishable(reply):
            return
        awaited = self._awaited
        if reply in awaited:
            self._forget(reply)
        awaited[reply] = (self.max, now_ns + self.expires_ns)
        self._places += _places(reply)
        for _ in range(_EXPIRED_MAX):
            oldest = next(iter(awaited))
            if now_ns <= awaited[oldest][1]:
                break
            self._forget(oldest)
        while self._places > self._places_max and len(awaited) > 1:
            oldest = next(iter(awaited))
            self.dropped += now_ns <= awaited[oldest][1]
            self._forget(oldest)

    def permit(self, subject: bytes, now_ns: int) -> bool:
        """Whether one more response may be published there. It is not counted yet: see `use`."""
        awaited = self._awaited.get(subject)
        if awaited is None:
            return False
        if now_ns > awaited[1]:
            self._forget(subject)
            return False
        return True

    def use(self, subject: bytes) -> None:
        """A response that was permitted is published."""
        left, until_ns = self._awaited[subject]
        if left > 1:
            self._awaited[subject] = (left - 1, until_ns)
        else:
            self._forget(subject)

    def _is_publishable(self, reply: bytes) -> bool:
        return (self._allow is None or bool(self._allow.match(reply))) and not (
            self._deny is not None and self._deny.match(reply)
        )

    def _forget(self, reply: bytes) -> None:
        del self._awaited[reply]
        self._places -= _places(reply)


def _places(reply: bytes) -> int:
    """What a record weighs."""
    return 1 + len(reply) // PLACE_BYTES

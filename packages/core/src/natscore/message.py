"""Messages on their way, one by one or in runs, in the pure data plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscore.wire.headers import strip_headers

if TYPE_CHECKING:
    from natscore.cells import Outbox, Subscription

__all__ = ["Division", "Message"]


class Division:
    """A run of messages being divided among a queue group."""

    __slots__ = ("members", "n", "shares", "tries")

    def __init__(self, members: tuple[Subscription, ...]) -> None:
        self.members: tuple[Subscription, ...] | list[Subscription] = members
        self.n = self.tries = len(members)  # who may be drawn, and how many are asked then
        self.shares: dict[Subscription, list[bytes]] = {}

    def leave(self, at: int) -> None:
        """One candidate has got all that it wanted."""
        members = self.members
        if isinstance(members, tuple):
            self.members = members = list(members)
        del members[at]
        self.n = self.tries = len(members)


class Message:
    """One message on its way to receivers that may not all take its headers."""

    __slots__ = ("_bare", "body", "header_size", "is_posted", "line", "own", "reply", "with_headers")

    def __init__(
        self, line: bytes, body: bytes, header_size: int, own: Outbox | None, *, is_posted: bool = False
    ) -> None:
        self.reply = b""  # if it is to be noted
        self.line = line
        self.body = body
        self.header_size = header_size
        self.with_headers = header_size > 0
        self.own = own  # who does not get it; None: everybody may
        self.is_posted = is_posted  # by the control plane, in any account
        self._bare: tuple[bytes, bytes] | None = None

    def bare(self) -> tuple[bytes, bytes]:
        """Line and body without headers, made once, so that receivers share a large payload."""
        if self._bare is None:
            size, _, rest = strip_headers(self.line + self.body).partition(b"\r\n")
            self._bare = (size + b"\r\n", rest)
        return self._bare

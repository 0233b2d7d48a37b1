"""Everything that can change who is here, may what, and wants what. Past tense.

Facts are what an event came to mean. Folding them is the only way that part of
the state changes, and reactors see nothing else. They are plural (a run of SUB
lines is one fact) and carry values, never cells: folded into a fresh state they
give an equal one. Not frozen, because that costs five times as much; nobody
changes a fact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from natscore.account.permissions import EVERYTHING

if TYPE_CHECKING:
    from natscore.account.permissions import Permissions
    from natscore.errors import CloseReason
    from natscore.events import Address, ConnectionId, ConnectionKind, Instant
    from natscore.options import Options
    from natscore.wire.connect import ConnectOptions

__all__ = [
    "AuthenticationFailed",
    "ClientConnected",
    "ConnectionAccepted",
    "ConnectionEnded",
    "ConnectionForgotten",
    "Fact",
    "LinkEstablished",
    "OptionsChanged",
    "PermissionsChanged",
    "RepliesExpected",
    "SlowConsumerDetected",
    "SubscriptionsChanged",
    "Wanted",
]


@dataclass(slots=True)
class ConnectionAccepted:
    """A transport connection is there; whoever it is has not logged in where that is required."""

    cid: ConnectionId
    kind: ConnectionKind
    remote: Address
    awaits_login: bool


@dataclass(slots=True)
class ClientConnected:
    """A CONNECT was accepted: the client is bound to an account, with these options."""

    cid: ConnectionId
    account: str
    options: ConnectOptions
    permissions: Permissions = EVERYTHING


@dataclass(slots=True)
class Wanted:
    """One subscription as a value."""

    sid: bytes
    subject: bytes
    queue: bytes | None


@dataclass(slots=True)
class SubscriptionsChanged:
    """Subscriptions of one connection came, went, or got a maximum. No sid appears twice."""

    cid: ConnectionId
    added: tuple[Wanted, ...] = ()
    removed: tuple[Wanted, ...] = ()
    limited: tuple[tuple[bytes, int], ...] = ()  # sid and the delivery count at which it ends
    judged: tuple[bytes, ...] = ()  # sids that the permissions of now allow, after others


@dataclass(slots=True)
class OptionsChanged:
    """The server has other settings. What each connection may have by them follows in other facts."""

    at: Instant
    options: Options


@dataclass(slots=True)
class PermissionsChanged:
    """A client that is logged in may do other things than before. Its subscriptions are judged after."""

    cid: ConnectionId
    permissions: Permissions


@dataclass(slots=True)
class AuthenticationFailed:
    """A login was refused."""

    cid: ConnectionId
    user: str


@dataclass(slots=True)
class SlowConsumerDetected:
    """A client did not read fast enough and is cut off."""

    cid: ConnectionId
    reason: CloseReason


@dataclass(slots=True)
class LinkEstablished:
    """Another server is at the other end and must hear of all interest."""

    cid: ConnectionId


@dataclass(slots=True)
class RepliesExpected:
    """A service of an account is asked for the first time: answers come to subjects with this prefix."""

    account: str
    prefix: bytes


@dataclass(slots=True)
class ConnectionEnded:
    """It was decided that a connection ends; from here on it gets nothing. Its interest goes in slices."""

    cid: ConnectionId
    reason: CloseReason


@dataclass(slots=True)
class ConnectionForgotten:
    """The transport is gone and so is the interest."""

    cid: ConnectionId


Fact: TypeAlias = (
    ConnectionAccepted
    | ClientConnected
    | SubscriptionsChanged
    | OptionsChanged
    | PermissionsChanged
    | AuthenticationFailed
    | SlowConsumerDetected
    | LinkEstablished
    | RepliesExpected
    | ConnectionEnded
    | ConnectionForgotten
)

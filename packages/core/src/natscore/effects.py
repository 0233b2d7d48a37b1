"""Everything a server can ask for that bytes cannot say.

Bytes leave through outboxes (`Server.ready`), never through effects: two ways
out would reorder interest and messages. What is slow (a dial, a password
hash) is an effect answered later by exactly one event that carries the same
attempt.

Effects are public API, like events.
"""

from __future__ import annotations

import enum
from dataclasses import field
from typing import TYPE_CHECKING, TypeAlias

from natscore.values import value

if TYPE_CHECKING:
    from natscore.errors import CloseReason
    from natscore.events import Address, AttemptId, ConnectionId, ConnectionKind

__all__ = [
    "Close",
    "Continue",
    "Dial",
    "Effect",
    "Level",
    "Note",
    "PauseReading",
    "ResumeReading",
    "ShutDown",
    "StartTls",
    "VerifyPassword",
]


class Level(enum.IntEnum):
    """How much a Note matters (style: error is our bug or lost service)."""

    TRACE = 10
    DEBUG = 20
    INFO = 30
    WARNING = 40
    ERROR = 50
    FATAL = 60


@value
class Dial:
    """Connect to `address`. Answered by ConnectionOpened or DialFailed, exactly once."""

    attempt: AttemptId
    kind: ConnectionKind
    address: Address


@value
class Close:
    """End this connection, then report ConnectionClosed.

    With `flush`, what the outbox holds is offered to the peer first, within a
    deadline that is the shell's. Bytes that still arrive are not fed.
    """

    cid: ConnectionId
    reason: CloseReason
    flush: bool


@value
class PauseReading:
    """Do not read from this connection until ResumeReading."""

    cid: ConnectionId


@value
class ResumeReading:
    """Read again."""

    cid: ConnectionId


@value
class StartTls:
    """Be the server of a TLS handshake. Answered by TlsEstablished or TlsFailed, unless the connection ends.

    What the outbox holds when this is returned goes in plain before it; nothing
    is added to it until the answer.
    """

    cid: ConnectionId
    received: bytes = field(default=b"", repr=False)  # of the handshake, and fed as BytesReceived before


@value
class VerifyPassword:
    """Compare a password with a hash, off the loop. Answered by PasswordVerified."""

    attempt: AttemptId
    cid: ConnectionId
    password: bytes = field(repr=False)
    hashed: bytes = field(repr=False)


@value
class Continue:
    """Work is left over: read other sockets once, then feed TurnGranted."""


@value
class ShutDown:
    """Lame duck mode is over: stop the server, and feed ShutdownRequested."""


@value
class Note:
    """Something worth a log line: a snake_case fact, and its fields."""

    level: Level
    name: str
    fields: dict[str, object]


Effect: TypeAlias = (
    Dial | Close | PauseReading | ResumeReading | StartTls | VerifyPassword | Continue | ShutDown | Note
)

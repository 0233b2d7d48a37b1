"""natscore: a NATS server as a deterministic state machine.

`Server` takes events and answers with effects and outboxes; it does no I/O and
has no clock. `natscore.testing` drives it in a simulated world, the package
`natscore_tcp` on real sockets.
"""

from natscore.effects import (
    Close,
    Continue,
    Dial,
    Effect,
    Level,
    Note,
    PauseReading,
    ResumeReading,
    VerifyPassword,
)
from natscore.errors import (
    CloseReason,
    ConfigError,
    NatsCoreError,
    ReplayDivergence,
    UsageError,
    Violation,
)
from natscore.events import (
    Address,
    AttemptId,
    BytesReceived,
    ConnectionClosed,
    ConnectionId,
    ConnectionKind,
    ConnectionOpened,
    DeadlineReached,
    DialFailed,
    Event,
    Instant,
    ListenerOpened,
    PasswordVerified,
    PeerClosing,
    ServerStarted,
    ShutdownRequested,
    TurnGranted,
    WriteBlocked,
    WriteProgressed,
)
from natscore.options import Options
from natscore.server import Server

__all__ = [
    "Address",
    "AttemptId",
    "BytesReceived",
    "Close",
    "CloseReason",
    "ConfigError",
    "ConnectionClosed",
    "ConnectionId",
    "ConnectionKind",
    "ConnectionOpened",
    "Continue",
    "DeadlineReached",
    "Dial",
    "DialFailed",
    "Effect",
    "Event",
    "Instant",
    "Level",
    "ListenerOpened",
    "NatsCoreError",
    "Note",
    "Options",
    "PasswordVerified",
    "PauseReading",
    "PeerClosing",
    "ReplayDivergence",
    "ResumeReading",
    "Server",
    "ServerStarted",
    "ShutdownRequested",
    "TurnGranted",
    "UsageError",
    "VerifyPassword",
    "Violation",
    "WriteBlocked",
    "WriteProgressed",
]

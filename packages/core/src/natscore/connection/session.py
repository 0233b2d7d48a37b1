"""The handshake and lifetime of one connection: its own table, seen by no reactor."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.authentication import Wait
    from natscore.events import AttemptId, ConnectionId, Instant, TlsEstablished
    from natscore.facts import Fact
    from natscore.options import TlsOptions
    from natscore.state import Connection
    from natscore.wire.connect import ConnectOptions

__all__ = ["TIMERS", "Phase", "Session", "Timer", "TimerKey"]


class Phase(enum.Enum):
    """Where a connection stands (client-protocol.md section 1)."""

    AWAITING_HELLO = "waiting for a TLS handshake that comes before INFO"
    CHOOSING = "waiting for the first byte, which says whether to begin TLS"
    HANDSHAKING = "waiting for the TLS handshake"
    AWAITING_CONNECT = "awaiting CONNECT"
    VERIFYING = "waiting for the authenticator"
    ESTABLISHED = "established"
    CLOSING = "closing"


_STANDING_STILL: Final = (Phase.VERIFYING, Phase.CLOSING)


class Timer(enum.IntEnum):
    """What a deadline of a connection is for. Whole numbers, whose hash costs nothing."""

    LOGIN = enum.auto()
    PING = enum.auto()
    WRITE = enum.auto()
    STALL = enum.auto()
    TLS = enum.auto()
    TLS_RATE = enum.auto()  # this and the next: of the server, not of a connection
    LAME_DUCK = enum.auto()
    RESPONSES = enum.auto()


TimerKey: TypeAlias = "tuple[ConnectionId, Timer]"
"""A deadline's name."""

_OF_THE_SERVER: Final = (Timer.TLS_RATE, Timer.LAME_DUCK, Timer.RESPONSES)
TIMERS: Final = tuple(timer for timer in Timer if timer not in _OF_THE_SERVER)
"""Those of one connection."""


class Session:
    """What a connection remembers of its dialogue."""

    __slots__ = (
        "attempt",
        "connection",
        "gone",
        "has_connected",
        "heard_ns",
        "job",
        "nonce",
        "opened_ns",
        "paused",
        "phase",
        "ping_sent_ns",
        "pings_out",
        "pong_sent",
        "reloads",
        "rtt_at_ns",
        "rtt_ns",
        "stalled",
        "tls",
        "tls_options",
        "traced",
        "verdict",
        "verified",
        "waiting_turn",
        "write_mark",
    )

    def __init__(self, connection: Connection, phase: Phase, at: Instant, nonce: bytes) -> None:
        self.connection = connection
        self.phase = phase
        self.nonce = nonce
        self.opened_ns = at.monotonic_ns
        self.heard_ns = at.monotonic_ns  # last inbound bytes
        self.pings_out = 0  # PINGs without a PONG
        self.ping_sent_ns: int | None = None
        self.rtt_ns: int | None = None  # measured by a PING of ours, or estimated from accept to CONNECT
        self.rtt_at_ns: int | None = None  # when a PING of ours last measured it
        self.has_connected = False  # a CONNECT was accepted
        self.pong_sent = False  # the first PING after CONNECT has been answered
        self.attempt: AttemptId | None = None  # the login that is being verified
        self.verdict: tuple[Wait, ConnectOptions] | None = None  # what it leads to
        self.verified: bytes | None = None  # the hash that the password of the login was compared with
        self.reloads = 0  # of those of the server, the last by which it was judged
        self.job: Iterator[Fact | None] | None = None  # the rest of an op that is too long for one turn
        self.waiting_turn = False  # parsed in a later turn: output was spent
        self.stalled = False  # a receiver is far behind: reading is paused for a moment
        self.paused = False  # the shell was told not to read
        self.write_mark = 0  # what the kernel must have taken before the write deadline
        self.traced = 0  # bytes of the outbox that the trace has shown
        self.gone = False  # the transport is closed
        self.tls: TlsEstablished | None = None  # None: plain
        self.tls_options: TlsOptions | None = None  # of the instant when it was accepted

    @property
    def halted(self) -> bool:
        """Whether nothing may be parsed now."""
        return self.stalled or self.job is not None or self.phase in _STANDING_STILL

"""How a client connection is let in, and under TLS when it begins that.

    INFO first, TLS required     INFO ─► HANDSHAKING
    INFO first, TLS available    INFO ─► CHOOSING ─┬─ begins as TLS does ─► HANDSHAKING
                                                   └─ else, or silent ────► plain
    handshake first              HANDSHAKING ─► INFO
    handshake first, or INFO     AWAITING_HELLO ─┬─ bytes came ─► HANDSHAKING ─► INFO
                                                 └─ silent ─────► as with INFO first

The handshake itself is the shell's. Here are its deadline, and how many of them
may begin in a second. A journal holds what the shell decrypted, so a replay
needs no TLS.

Sources: client-protocol.md sections 1, 11 and 17.1; nats-server 2.14.5,
server/server.go createClientEx and tlsTimeout, server/rate_counter.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from natscore import errors
from natscore.connection import client
from natscore.connection.session import Phase, Timer
from natscore.effects import Level, StartTls
from natscore.errors import CloseReason, UsageError
from natscore.events import ConnectionId, TlsEstablished
from natscore.options import SECOND

if TYPE_CHECKING:
    from natscore.connection.context import Context
    from natscore.connection.lifecycle import Lifecycle
    from natscore.connection.session import Session
    from natscore.events import TlsFailed
    from natscore.options import TlsOptions

__all__ = ["Entrance"]

_HANDSHAKE_RECORD: Final = 0x16
"""The first byte of a client that begins TLS (RFC 8446, section 5.1). No op begins so."""

_RATE_TIMER: Final = (ConnectionId(0), Timer.TLS_RATE)


class Entrance:
    """Lets client connections of a server in: greeted, and where that is so, under TLS."""

    def __init__(self, context: Context, lifecycle: Lifecycle) -> None:
        self.is_shut = False  # the server is going away
        self._context = context
        self._lifecycle = lifecycle
        self._second_ends_ns = 0
        self._begun = 0  # handshakes, in this second
        self._rejected = 0

    def admit(self, session: Session) -> None:
        """A connection was accepted: greet it, refuse it, or let it begin. Raises Violation."""
        context = self._context
        tls = session.tls_options
        if tls is None or tls.first_ns is None:
            client.greet(context, session)
        if self.is_shut:
            self._lifecycle.end(session, CloseReason.SERVER_SHUTDOWN)
            return
        client.admit(context, session, self._lifecycle.anonymous(session))
        if tls is None:
            client.begin(context, session)
        elif tls.first_ns:
            self._wait(session, Phase.AWAITING_HELLO, tls.first_ns)
        else:
            self._require_or_choose(session, tls)

    def passes(self, session: Session, data: bytes | memoryview) -> bool:
        """Whether bytes are for the parser: not those of a TLS handshake, nor those that come too late.

        Raises UsageError: TLS is not established yet.
        """
        phase = session.phase
        if phase is Phase.CLOSING:
            return False
        if phase is Phase.HANDSHAKING:
            raise UsageError(f"connection {session.connection.cid} received bytes before TlsEstablished")
        if phase is Phase.AWAITING_HELLO or (phase is Phase.CHOOSING and data[0] == _HANDSHAKE_RECORD):
            self._start_tls(session, _tls_of(session), bytes(data))
            return False
        if phase is Phase.CHOOSING:
            self._context.deadlines.cancel((session.connection.cid, Timer.TLS))
            client.begin(self._context, session)
        return True

    def answered(self, event: TlsEstablished | TlsFailed) -> None:
        """A handshake ended, unless its connection has ended before."""
        session = self._lifecycle.sessions.get(event.cid)
        if session is None or session.phase is not Phase.HANDSHAKING:
            return
        if isinstance(event, TlsEstablished):
            self._begin_encrypted(session, event)
        else:
            self._context.note_of(session, Level.ERROR, "tls_handshake_failed", error=event.error)
            self._lifecycle.end(session, CloseReason.TLS_HANDSHAKE)

    def _begin_encrypted(self, session: Session, event: TlsEstablished) -> None:
        """Greet the client, if it was not greeted before, and read what it sends."""
        context = self._context
        context.deadlines.cancel((event.cid, Timer.TLS))
        session.tls = event
        context.note_of(session, Level.DEBUG, "tls_established", version=event.version, cipher=event.cipher)
        client.begin(context, session)
        if not session.connection.outbox.appended:
            client.greet(context, session)

    def expired(self, session: Session) -> None:
        """A client that was waited for is silent, or its handshake takes too long. Raises Violation."""
        if session.phase is Phase.AWAITING_HELLO:
            client.greet(self._context, session)
            self._require_or_choose(session, _tls_of(session))
        elif session.phase is Phase.CHOOSING:
            client.begin(self._context, session)
        elif session.phase is Phase.HANDSHAKING:
            self._context.note_of(session, Level.ERROR, "tls_handshake_timeout")
            raise errors.tls_required()

    def report_rejected(self) -> None:
        """A second with handshakes beyond the limit is over: say how many."""
        self._context.note(Level.WARNING, "tls_rate_limited", rejected=self._rejected)
        self._rejected = 0

    def _require_or_choose(self, session: Session, tls: TlsOptions) -> None:
        if tls.is_required:
            self._start_tls(session, tls)
        else:
            self._wait(session, Phase.CHOOSING, tls.timeout_ns)

    def _wait(self, session: Session, phase: Phase, duration_ns: int) -> None:
        session.phase = phase
        self._arm(session, duration_ns)

    def _start_tls(self, session: Session, tls: TlsOptions, received: bytes = b"") -> None:
        connection = session.connection
        if not self._allows_another(tls.handshakes_per_second_max):
            text = errors.throttled().wire_text
            assert text is not None
            connection.outbox.write(b"-ERR '" + text + b"'\r\n")
            self._lifecycle.end(session, CloseReason.MAX_CONNECTIONS)  # noted once a second, for all of them
            return
        session.phase = Phase.HANDSHAKING
        self._context.effects.append(StartTls(connection.cid, received))
        self._arm(session, tls.timeout_ns)

    def _arm(self, session: Session, duration_ns: int) -> None:
        due = self._context.at.monotonic_ns + duration_ns
        self._context.deadlines.set((session.connection.cid, Timer.TLS), due)

    def _allows_another(self, most: int) -> bool:
        """Count a handshake. A second begins with the first one after the last second."""
        if not most:
            return True
        now = self._context.at.monotonic_ns
        if now >= self._second_ends_ns:
            self._second_ends_ns = now + SECOND
            self._begun = 0
        if self._begun < most:
            self._begun += 1
            return True
        if not self._rejected:
            self._context.deadlines.set(_RATE_TIMER, self._second_ends_ns)
        self._rejected += 1
        return False


def _tls_of(session: Session) -> TlsOptions:
    """What TLS was when the connection was accepted; a reload may have ended it meanwhile."""
    tls = session.tls_options
    assert tls is not None, "a connection waits for TLS, and there is none"
    return tls

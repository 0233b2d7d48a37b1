"""When a client connection begins TLS, and what comes of it.

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
from natscore.errors import CloseReason
from natscore.events import ConnectionId
from natscore.options import SECOND

if TYPE_CHECKING:
    from natscore.connection.context import Context
    from natscore.connection.lifecycle import Lifecycle
    from natscore.connection.session import Session
    from natscore.events import TlsEstablished, TlsFailed
    from natscore.options import TlsOptions

__all__ = ["TlsGate"]

_HANDSHAKE_RECORD: Final = 0x16
"""The first byte of a client that begins TLS (RFC 8446, section 5.1). No op begins so."""

_RATE_TIMER: Final = (ConnectionId(0), Timer.TLS_RATE)


class TlsGate:
    """Decides for each client connection of a server whether it begins TLS, and when."""

    def __init__(self, context: Context, lifecycle: Lifecycle) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self._second_ends_ns = 0
        self._begun = 0  # handshakes, in this second
        self._rejected = 0

    def admit(self, session: Session, tls: TlsOptions) -> None:
        """A client was admitted; its INFO is written, unless the handshake may come first."""
        if tls.first_ns:
            self._wait(session, Phase.AWAITING_HELLO, tls.first_ns)
        elif tls.is_required:
            self._begin(session, tls)
        else:
            self._wait(session, Phase.CHOOSING, tls.timeout_ns)

    def received(self, session: Session, data: bytes | memoryview) -> None:
        """The first bytes of a client that was waited for. Those of no handshake are left to the parser."""
        self._context.deadlines.cancel((session.connection.cid, Timer.TLS))
        if session.phase is Phase.AWAITING_HELLO or data[0] == _HANDSHAKE_RECORD:
            self._begin(session, self._options, bytes(data))
        else:
            client.begin(self._context, session)

    def established(self, session: Session, event: TlsEstablished) -> None:
        """The handshake succeeded: the client is greeted, if it was not before, and may begin."""
        context = self._context
        context.deadlines.cancel((event.cid, Timer.TLS))
        session.tls = event
        context.note_of(session, Level.DEBUG, "tls_established", version=event.version, cipher=event.cipher)
        client.begin(context, session)
        if not session.connection.outbox.appended:
            client.greet(context, session)

    def failed(self, session: Session, event: TlsFailed) -> None:
        """It did not."""
        self._context.note_of(session, Level.ERROR, "tls_handshake_failed", error=event.error)
        self._lifecycle.end(session, CloseReason.TLS_HANDSHAKE)

    def expired(self, session: Session) -> None:
        """A client that was waited for is silent, or its handshake takes too long."""
        tls = self._options
        if session.phase is Phase.AWAITING_HELLO:
            client.greet(self._context, session)
            if tls.is_required:
                self._begin(session, tls)
            else:
                self._wait(session, Phase.CHOOSING, tls.timeout_ns)
        elif session.phase is Phase.CHOOSING:
            client.begin(self._context, session)
        elif session.phase is Phase.HANDSHAKING:
            self._context.note_of(session, Level.ERROR, "tls_handshake_timeout")
            raise errors.tls_required()

    def report_rejected(self) -> None:
        """A second with handshakes beyond the limit is over: say how many."""
        self._context.note(Level.WARNING, "tls_rate_limited", rejected=self._rejected)
        self._rejected = 0

    @property
    def _options(self) -> TlsOptions:
        tls = self._context.options.tls
        assert tls is not None, "a connection waits for TLS, and there is none"
        return tls

    def _wait(self, session: Session, phase: Phase, duration_ns: int) -> None:
        session.phase = phase
        self._arm(session, duration_ns)

    def _begin(self, session: Session, tls: TlsOptions, received: bytes = b"") -> None:
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

"""How connections begin, take turns, and end. The same for every kind.

A connection ends once, for the first reason. From that instant nothing reaches
it; what it wanted is withdrawn in slices, a turn each; it is forgotten when its
interest and its transport are both gone.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from natscore.connection.client import as_wanted
from natscore.connection.session import TIMERS, Phase, Session
from natscore.effects import Close, Level, PauseReading, ResumeReading
from natscore.errors import CloseReason
from natscore.events import PeerClosing
from natscore.facts import (
    ConnectionAccepted,
    ConnectionEnded,
    ConnectionForgotten,
    SubscriptionsChanged,
)
from natscore.holdings import Holdings
from natscore.turn import OP_COST, RECEIVERS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.connection.context import Context
    from natscore.events import ConnectionId, ConnectionOpened
    from natscore.facts import Fact

__all__ = ["Lifecycle"]


_CLOSED_BY_PEER: Final = {
    PeerClosing.END_OF_STREAM: CloseReason.CLIENT_CLOSED,
    PeerClosing.FINISHED: CloseReason.CLIENT_CLOSED,
    PeerClosing.READ_ERROR: CloseReason.READ_ERROR,
    PeerClosing.WRITE_ERROR: CloseReason.WRITE_ERROR,
}


class Lifecycle:
    """All sessions of a server, and the turns that they wait for."""

    def __init__(self, context: Context, settle: Callable[[Fact], None]) -> None:
        self.sessions: dict[ConnectionId, Session] = {}
        self.turns: deque[Session] = deque()
        self.holdings: Final = Holdings()
        self._context = context
        self._settle = settle
        self._anonymous: dict[str, int] = {}  # address to connections that did not log in

    def open(self, event: ConnectionOpened, awaits_login: bool) -> Session:
        """A transport connection is there."""
        self._settle(ConnectionAccepted(event.cid, event.kind, event.remote, awaits_login))
        session = self.sessions[event.cid] = Session(
            self._context.state.connections[event.cid],
            Phase.AWAITING_CONNECT if awaits_login else Phase.ESTABLISHED,
            event.at,
            event.nonce,
        )
        session.reloads = self._context.reloads
        session.tls_options = self._context.options.tls
        if awaits_login:
            address = event.remote.host
            self._anonymous[address] = self._anonymous.get(address, 0) + 1
        return session

    def anonymous(self, session: Session) -> int:
        """How many connections from the same address did not log in."""
        return self._anonymous.get(session.connection.remote.host, 0)

    def logged_in(self, session: Session) -> None:
        """A connection that awaited a login does so no more."""
        address = session.connection.remote.host
        left = self._anonymous[address] - 1
        if left:
            self._anonymous[address] = left
        else:
            del self._anonymous[address]

    def queue(self, session: Session) -> None:
        """Let a connection go on in another turn, after those that wait already."""
        if not session.waiting_turn:
            session.waiting_turn = True
            self.turns.append(session)

    def regulate(self, session: Session) -> None:
        """Tell the shell whether to read from a connection, when that has changed."""
        pause = session.waiting_turn or session.halted
        if pause != session.paused and session.phase is not Phase.CLOSING:
            session.paused = pause
            cid = session.connection.cid
            self._context.effects.append(PauseReading(cid) if pause else ResumeReading(cid))

    def end(self, session: Session, reason: CloseReason) -> None:
        """Decide that a connection ends. The first reason wins; nothing reaches it after."""
        if session.phase is Phase.CLOSING:
            return
        context = self._context
        connection = session.connection
        if connection.awaits_login:
            self.logged_in(session)
        session.phase = Phase.CLOSING
        connection.source.forget()
        for timer in TIMERS:
            context.deadlines.cancel((connection.cid, timer))
        self._settle(ConnectionEnded(connection.cid, reason))
        context.note_of(session, Level.DEBUG, "client_connection_closed", reason=reason)
        if not reason.flushes:
            connection.outbox.discard()
        if not session.gone:
            context.effects.append(Close(connection.cid, reason, flush=not reason.resets))
        self.holdings.set(connection.cid, connection.outbox.size if connection.outbox.blocked else 0)
        session.job = None
        if session.waiting_turn or not _leaves_work(session):
            return
        if context.state.plane.spend(0) and connection.source.unfinished is None:
            self.withdraw(session)
        else:  # many may end in one event, each with much to withdraw
            self.queue(session)

    def lose(self, session: Session, why: PeerClosing) -> None:
        """The transport of a connection is closed; its outbox has nowhere to go."""
        session.gone = True
        unfinished = session.phase is Phase.HANDSHAKING
        self.end(session, CloseReason.TLS_HANDSHAKE if unfinished else _CLOSED_BY_PEER[why])
        session.connection.outbox.discard()
        self.holdings.set(session.connection.cid, 0)
        if not _leaves_work(session):
            self._forget(session)

    def withdraw(self, session: Session) -> None:
        """Remove a slice of what an ended connection wanted; the rest waits for another turn."""
        connection = session.connection
        try:
            if connection.source.unfinished is not None:  # what it published before is for all or for none
                plane = self._context.state.plane
                plane.spend(OP_COST * RECEIVERS_MAX)
                plane.go_on(connection.source)
            elif connection.subscriptions:
                removed = tuple(as_wanted(one) for one in connection.some_subscriptions())
                self._context.state.plane.spend(OP_COST * len(removed))
                self._settle(SubscriptionsChanged(connection.cid, removed=removed))
        finally:  # an ended connection is forgotten in the end, whatever went wrong on the way
            if _leaves_work(session):
                self.queue(session)
            elif session.gone:
                self._forget(session)

    def _forget(self, session: Session) -> None:
        cid = session.connection.cid
        if self.sessions.pop(cid, None) is not None:
            self._settle(ConnectionForgotten(cid))


def _leaves_work(session: Session) -> bool:
    """Whether an ended connection still has something to deliver or to withdraw."""
    connection = session.connection
    return bool(connection.subscriptions) or connection.source.unfinished is not None

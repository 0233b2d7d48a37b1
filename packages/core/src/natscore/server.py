"""A NATS server as a state machine: one event in, effects and ready outboxes out.

`Server.handle` is the whole life of a server: the data plane or a connection
handler decides what an event means, its facts are folded, reactors answer them.
It never waits, never calls back, and draws nothing: the clock, the network and
every secret arrive in events.

    effects = server.handle(event)
    for outbox in server.ready: ...   # bytes to write, in order
    for effect in effects: ...        # what else to do
    server.next_deadline()            # the only timer to arm

Three rules hold. The facts of one op are settled before the next op of the same
chunk is read. A turn is bounded: the rest waits, first in first out by
connection, and `Continue` asks for another. And an exception has three homes: in
a handler it closes that connection, in a reactor it discards what the reactor
said and closes the links it serves, in the fold it stops the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from natscore import errors
from natscore.account.accounts import resolved
from natscore.authentication import authenticator_for
from natscore.connection import client
from natscore.connection.context import Context
from natscore.connection.departure import Departure
from natscore.connection.entrance import Entrance
from natscore.connection.lifecycle import Lifecycle
from natscore.connection.pressure import Pressure
from natscore.connection.reloading import Reloading
from natscore.connection.services import Services
from natscore.connection.session import Phase, Session, Timer
from natscore.connection.states import CLIENT_LIFETIME
from natscore.connection.trace import trace_ops, trace_outputs, trace_publish, trace_removals
from natscore.connection.traffic import Traffic
from natscore.dataplane import PureDataPlane
from natscore.deadlines import Deadlines
from natscore.effects import Close, Continue, Level
from natscore.entropy import Entropy, Xorshift64
from natscore.errors import CloseReason, StateCorruptedError, UsageError, Violation
from natscore.events import (
    BytesReceived,
    ConnectionClosed,
    ConnectionKind,
    ConnectionOpened,
    DeadlineReached,
    DialFailed,
    LameDuckRequested,
    ListenerOpened,
    OptionsReloaded,
    PasswordVerified,
    ServerStarted,
    ShutdownRequested,
    TlsEstablished,
    TlsFailed,
    TurnGranted,
    WriteBlocked,
    WriteProgressed,
)
from natscore.facts import SubscriptionsChanged
from natscore.options import Options
from natscore.plan import compile_plan
from natscore.plane import Stop
from natscore.state import State
from natscore.topology.links import tell_links
from natscore.turn import OP_COST
from natscore.wire.info import ServerInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscore.authentication import Authenticator
    from natscore.effects import Effect
    from natscore.events import ConnectionId, Event
    from natscore.facts import Fact
    from natscore.plane import DataPlane, Outbox

__all__ = ["REACTORS", "Server", "StateCorruptedError"]

REACTORS: Final[tuple[Callable[[State, Fact], None], ...]] = (tell_links,)
"""Who answers facts, in order: links, discovery, system. Plans are dropped by the fold itself (ADR 0004)."""

_DEADLINES_MAX: Final = 1_024  # timers handled in one event; what is left is due at once


class Server:
    """One NATS server without I/O.

    Args:
        options: the settings.
        data_plane: makes the data plane from the generator of queue choices; pure Python by default.
        authenticator: who may log in, whatever the options say.
        authenticators: otherwise makes one of the options, at each reload too. Raises ConfigError.
        facts: called with every fact after it was folded; for tests and projections.

    Raises:
        ConfigError: the accounts of the options cannot be; the text names every problem.
    """

    def __init__(
        self,
        options: Options | None = None,
        *,
        data_plane: Callable[[Xorshift64], DataPlane] = PureDataPlane,
        authenticator: Authenticator | None = None,
        authenticators: Callable[[Options], Authenticator] = authenticator_for,
        facts: Callable[[Fact], None] | None = None,
    ) -> None:
        self.options = options if options is not None else Options()
        self._accounts = resolved(self.options.accounts)
        self.ready: list[Outbox] = []
        self._make_plane = data_plane
        self._authenticators = authenticators if authenticator is None else lambda _: authenticator
        self._authenticator = self._authenticators(self.options)  # of the start
        self._facts = facts
        self._events = 0
        self._has_started = False
        self._context: Context  # this and the next five: from ServerStarted on
        self._plane: DataPlane
        self._lifecycle: Lifecycle
        self._pressure: Pressure
        self._entrance: Entrance
        self._services: Services
        self._traffic: Traffic
        self._reloading: Reloading
        self._departure: Departure
        self._refused: set[ConnectionId] = set()  # of a kind that this server does not take
        self._deadlines: Deadlines[tuple[ConnectionId, Timer]] = Deadlines()
        self._continue_asked = False
        self._dispatch: dict[type[object], Callable[..., None]] = {
            ListenerOpened: self._listener_opened,
            ConnectionOpened: self._connection_opened,
            BytesReceived: self._bytes_received,
            ConnectionClosed: self._connection_closed,
            WriteBlocked: lambda event: self._pressure.blocked(event),
            WriteProgressed: lambda event: self._pressure.progressed(event),
            DeadlineReached: self._deadline_reached,
            TurnGranted: self._turn_granted,
            DialFailed: self._dial_failed,
            PasswordVerified: self._password_verified,
            **dict.fromkeys((TlsEstablished, TlsFailed), lambda event: self._entrance.answered(event)),
            OptionsReloaded: self._options_reloaded,
            LameDuckRequested: lambda event: self._departure.begin(event),
            ShutdownRequested: lambda event: self._departure.shut_down(event),
        }
        self._expired: dict[Timer, Callable[[Session], None]] = {
            Timer.LOGIN: lambda session: client.login_timer(self._context, session),
            Timer.PING: lambda session: client.ping_timer(self._context, session),
            Timer.WRITE: lambda session: self._pressure.expired(session),
            Timer.STALL: lambda session: self._pressure.stall_expired(session),
            Timer.TLS: lambda session: self._entrance.expired(session),
        }

    # -- what a shell calls ------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Effect]:
        """Let one thing have happened. Returns what is to be done; `ready` lists what is to be written.

        Raises:
            UsageError: the event breaks the contract (the first one is not ServerStarted, the
                connection is unknown). Nothing has changed.
            StateCorruptedError: a bug; the server must not be used any more.
        """
        self._events += 1
        if not self._has_started:
            if not isinstance(event, ServerStarted):
                raise UsageError("the first event of a server is ServerStarted")
            self._start(event)
            return []
        act = self._dispatch.get(type(event))
        if act is None:
            raise UsageError(f"{type(event).__name__} happens once, and first")
        context = self._context
        context.at, context.effects = event.at, []
        self._plane.begin_turn(self.options.turn_output_max, event.at.monotonic_ns)
        act(event)
        return self._finish(context)

    def next_deadline(self) -> int | None:
        """When to feed DeadlineReached, on the monotonic clock in nanoseconds; None: no need."""
        return self._deadlines.next()

    @property
    def state(self) -> State:
        """Who is here and what they want."""
        self._require_start()
        return self._context.state

    @property
    def info(self) -> ServerInfo:
        """What INFO says of this server."""
        self._require_start()
        return self._context.info

    def reload_problems(self, options: Options) -> list[str]:
        """Why OptionsReloaded with these options would be refused; empty: it would not be."""
        self._require_start()
        return self._reloading.problems(options)

    @property
    def events_handled(self) -> int:
        """How many events there were; the number that a log line names."""
        return self._events

    def session(self, cid: ConnectionId) -> Session | None:
        """The handshake side of a connection, for monitoring."""
        return self._lifecycle.sessions.get(cid)

    @property
    def is_quiet(self) -> bool:
        """Whether no work is left over for another turn."""
        return not (self._lifecycle.turns or self._reloading.is_walking or self._services.has_work)

    @property
    def held_bytes(self) -> int:
        """Refused output and half-received input of all connections, as bounded by `memory_max`."""
        return self._lifecycle.holdings.total

    # -- events ------------------------------------------------------------------------------------

    def _start(self, event: ServerStarted) -> None:
        options = self.options
        entropy = Entropy(event.seed)
        self._plane = self._make_plane(entropy.choices)
        state = State(options, self._plane, self._accounts)
        info = ServerInfo.of(options, event, auth_required=self._authenticator.announces_login)
        self._context = Context(options, state, self._authenticator, self._deadlines, entropy, info, event.at)
        self._lifecycle = Lifecycle(self._context, self._settle)
        self._pressure = Pressure(self._context, self._lifecycle, self._settle)
        self._entrance = Entrance(self._context, self._lifecycle)
        self._services = Services(self._context, self._settle)
        self._traffic = Traffic(self._context, self._lifecycle, self._pressure, self._settle)
        self._reloading = Reloading(
            self._context, self._lifecycle, self._settle, self._settle_all, self._authenticators
        )
        self._departure = Departure(self._context, self._lifecycle, self._entrance)
        self._has_started = True

    def _listener_opened(self, event: ListenerOpened) -> None:
        if event.kind is ConnectionKind.CLIENT:
            self._reloading.listen(event.address)

    def _connection_opened(self, event: ConnectionOpened) -> None:
        context = self._context
        if event.cid in self._lifecycle.sessions:
            raise UsageError(f"connection {event.cid} is open already")
        if event.kind is not ConnectionKind.CLIENT:
            context.note(Level.ERROR, "connection_kind_unsupported", cid=event.cid, kind=event.kind)
            context.effects.append(Close(event.cid, CloseReason.PROTOCOL_VIOLATION, flush=False))
            self._refused.add(event.cid)
            return
        session = self._lifecycle.open(event, self._context.authenticator.requires_login)
        context.note_of(session, Level.DEBUG, "client_connection_created")
        self._guard(session, self._entrance.admit)

    def _bytes_received(self, event: BytesReceived) -> None:
        session = self._known(event.cid)
        if session is None:
            return
        if session.phase is not Phase.ESTABLISHED and not self._entrance.passes(session, event.data):
            return
        source = session.connection.source
        source.feed(event.data)
        try:
            if session.waiting_turn:
                self._pressure.hold(session)
            else:
                self._guard(session, self._parse)
        finally:
            self._guard(session, lambda session: session.connection.source.keep())  # there may be no memory

    def _connection_closed(self, event: ConnectionClosed) -> None:
        session = self._known(event.cid)
        if session is None:
            self._refused.discard(event.cid)
            return
        self._lifecycle.lose(session, event.why)

    def _deadline_reached(self, event: DeadlineReached) -> None:
        for _ in range(_DEADLINES_MAX):
            key = self._deadlines.due(event.at.monotonic_ns)
            if key is None:
                return
            cid, timer = key
            if timer is Timer.TLS_RATE:
                self._entrance.report_rejected()
            elif timer is Timer.RESPONSES:
                self._services.expire()
            elif timer is Timer.LAME_DUCK:
                self._departure.expired()
            elif (session := self._lifecycle.sessions.get(cid)) is not None:
                self._guard(session, self._expired[timer])

    def _turn_granted(self, event: TurnGranted) -> None:
        self._continue_asked = False
        self._services.go_on()
        self._reloading.walk(self._guard)
        turns = self._lifecycle.turns
        while turns and self._plane.spend(0):
            session = turns.popleft()
            session.waiting_turn = False
            if session.phase is not Phase.CLOSING:
                self._guard(session, self._go_on)
                return
            self._guard(session, self._lifecycle.withdraw)
            self._guard(session, self._services.finish)

    def _dial_failed(self, event: DialFailed) -> None:
        self._context.note(Level.ERROR, "dial_failed", attempt=event.attempt, error=event.error)

    def _password_verified(self, event: PasswordVerified) -> None:
        finish = self._reloading.finish if self._reloading.owns(event) else client.finish_login
        session = self._lifecycle.sessions.get(event.cid)
        if session is None or session.attempt != event.attempt or session.phase is not Phase.VERIFYING:
            return  # the connection is gone, or asked again

        def go_on(session: Session) -> None:
            self._settle_all(session, finish(self._context, session, event.matches))
            self._parse(session)

        self._guard(session, go_on)

    def _options_reloaded(self, event: OptionsReloaded) -> None:
        self.options = self._reloading.begin(event)
        self._reloading.walk(self._guard)

    # -- reading -----------------------------------------------------------------------------------

    def _parse(self, session: Session) -> None:
        """Run the source of a connection until it needs data, its turn is over, or it must wait."""
        plane = self._plane
        source = session.connection.source
        if self._reloading.is_stale(session):
            self._reloading.judge(session)
        heard = source.messages + source.pings
        while not (session.halted or session.waiting_turn):
            stop = plane.run(source)
            if stop is Stop.STEPPED:
                trace_publish(self._context, session, source.stepped)
            if plane.exhausted or plane.strained or plane.denied:
                self._traffic.settle(session)
                if session.phase is Phase.CLOSING:  # what it sent itself was too much for it
                    return
                if stop is Stop.MISS:  # of nodes that may be gone: it is looked for again
                    continue
            if stop is Stop.NEED_DATA:
                break
            if stop is Stop.OPS:
                ops, source.ops = source.ops, []
                if ops[0][0] != b"PONG":
                    heard = -1
                self._perform(session, ops)
                if self.options.trace:
                    trace_outputs(self._context, self._lifecycle.sessions)
                if not plane.spend(OP_COST * len(ops)) and source.have:
                    self._lifecycle.queue(session)
            elif stop is Stop.ASK:
                self._settle_all(session, self._services.perform(session))
                if not plane.spend(0) and source.have:
                    self._lifecycle.queue(session)
            elif stop is Stop.MISS:
                plan = compile_plan(source.missed, source.missed_subject)
                plane.install(session.connection.table, source.missed, plan, source.missed_subject)
                source.missed = ()
                plane.spend(plan.cost)
            elif stop is Stop.TURN_OVER:
                self._lifecycle.queue(session)
            elif stop is Stop.EXHAUSTED:
                continue  # settled above
            elif stop is Stop.STEPPED:
                trace_outputs(self._context, self._lifecycle.sessions)
                if not plane.spend(0):
                    self._lifecycle.queue(session)
            elif stop is Stop.VIOLATION:
                assert source.violation is not None
                raise source.violation
            else:
                self._settle_all(session, client.admit_anonymous(self._context, session))
        if heard != source.messages + source.pings:
            session.heard_ns = self._context.at.monotonic_ns
        if source.have or session.connection.outbox.blocked or self._lifecycle.holdings.total:
            self._pressure.weigh(session)  # its own answers count too
        self._lifecycle.regulate(session)

    def _go_on(self, session: Session) -> None:
        """Take up in a new turn what did not fit into the last."""
        if session.job is not None:
            self._settle_all(session, session.job)
        self._parse(session)

    def _perform(self, session: Session, ops: list[tuple[bytes, list[bytes]]]) -> None:
        context = self._context
        if self.options.trace:
            trace_ops(context, session, ops)
        handler = CLIENT_LIFETIME[session.phase].get(ops[0][0])
        if handler is None:
            raise errors.unknown_operation()
        self._settle_all(session, handler(context, session, ops))

    def _settle_all(self, session: Session, facts: Iterator[Fact | None]) -> None:
        """Settle the facts of one op, each before the handler goes on; if they are many, in several turns."""
        session.job = None
        connection, settle, spend = session.connection, self._settle, self._plane.spend
        awaited = connection.awaits_login
        for fact in facts:
            if fact is not None:
                settle(fact)
            if awaited and not connection.awaits_login:
                awaited = False
                self._lifecycle.logged_in(session)
            if isinstance(fact, SubscriptionsChanged | None):
                if spend(OP_COST * len(fact.removed) if fact is not None else 0):
                    continue
                session.job = facts
                self._lifecycle.queue(session)
                return

    # -- ending ------------------------------------------------------------------------------------

    def _guard(self, session: Session, act: Callable[[Session], None]) -> None:
        """The one place where a violation, or a bug of ours, ends what one connection asked for."""
        try:
            act(session)
        except Violation as violation:
            outbox = session.connection.outbox
            if violation.wire_text is not None:
                outbox.write(b"-ERR '" + violation.wire_text + b"'\r\n")
            if violation.reason is not None:
                self._context.note_violation(session, violation)
                self._lifecycle.end(session, violation.reason)
        except StateCorruptedError:
            raise
        except Exception as bug:
            self._context.note_of(
                session, Level.ERROR, "connection_failed", event=self._events, error=errors.where_raised(bug)
            )
            self._lifecycle.end(session, CloseReason.INTERNAL_ERROR)

    # -- settling ----------------------------------------------------------------------------------

    def _settle(self, fact: Fact) -> None:
        """Fold a fact and let every reactor answer it, before anything else is looked at."""
        state = self._context.state
        try:
            state.fold(fact)
        except Exception as bug:
            raise StateCorruptedError(f"event {self._events}: {fact!r} cannot be folded") from bug
        if self._facts is not None:
            self._facts(fact)
        if isinstance(fact, SubscriptionsChanged):
            if self.options.trace:
                trace_removals(self._context, self._lifecycle.sessions[fact.cid], fact)
            self._services.interest_lost(fact)
        for reactor in REACTORS:
            marks = [(link, link.appended) for link in state.link_outboxes()] if state.audiences else ()
            try:
                reactor(state, fact)
            except Exception as bug:
                self._context.note(
                    Level.ERROR, "reactor_failed",
                    reactor=reactor.__name__, event=self._events, error=errors.where_raised(bug),
                )  # fmt: skip
                for outbox, mark in marks:
                    outbox.retract(outbox.appended - mark)
                    self._lifecycle.end(self._lifecycle.sessions[outbox.cid], CloseReason.INTERNAL_ERROR)

    def _finish(self, context: Context) -> list[Effect]:
        plane = self._plane
        if plane.exhausted or plane.strained or plane.denied:
            self._traffic.settle(None)  # delivered for a publisher that has ended, and reads no more
        self._pressure.relieve()
        if self.options.trace:
            trace_outputs(context, self._lifecycle.sessions)
        self.ready = ready = list(plane.ready)
        plane.ready.clear()
        for outbox in ready:
            outbox.ready = False
        if not (self.is_quiet or self._continue_asked):
            self._continue_asked = True
            context.effects.append(Continue())
        return context.effects

    def _require_start(self) -> None:
        if not self._has_started:
            raise UsageError("the server has not started")

    def _known(self, cid: ConnectionId) -> Session | None:
        session = self._lifecycle.sessions.get(cid)
        if session is None and cid not in self._refused:
            raise UsageError(f"connection {cid} is not open")
        return session

"""The runtime: one server, and the only place where its effects are performed.

    socket ready ─► stream reads ─► feed(event) ─► server.handle
                                        ▲              │
                    timers, performers ─┘              ├─► effects performed, in order
                                                       └─► ready outboxes written, directly

`feed` is synchronous and handles one event at a time. Performing an effect never
calls `handle`: what it causes is queued. So there is no await, task, queue or
callback per message, and per chunk there is one of each.

Silence means written: an outbox that the kernel took whole is no event. What it
refused is one, WriteBlocked, and that is handled before anything else. Where several
sockets are ready at once, what little they make for others is written when all
were read: 32 requests to one service are one write.

Everything runs in the task tree of `Runtime.running`; when its block is left,
sockets are closed and tasks have ended.
"""

from __future__ import annotations

import platform
import secrets
from collections import deque
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import create_task_group

from natscore.effects import (
    Close,
    Continue,
    Dial,
    Level,
    Note,
    PauseReading,
    ResumeReading,
    ShutDown,
    StartTls,
)
from natscore.errors import CloseReason
from natscore.events import (
    Address,
    BytesReceived,
    ConnectionId,
    ConnectionKind,
    ConnectionOpened,
    LameDuckRequested,
    ListenerOpened,
    ServerStarted,
    ShutdownRequested,
    TlsFailed,
    TurnGranted,
    WriteBlocked,
)
from natscore.identity import server_id
from natscore.options import SECOND
from natscore.plane import HELD_MAX
from natscore_tcp.alarm import Alarm
from natscore_tcp.backend import current_backend
from natscore_tcp.collector import collect_when_idle, tuned_collector
from natscore_tcp.contract import READ_MAX, TransportSettings, now, unheard
from natscore_tcp.dialer import dial
from natscore_tcp.listener import Listener, bind
from natscore_tcp.stream import State, Stream

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

    from anyio.abc import TaskGroup

    from natscore.effects import Effect
    from natscore.events import AttemptId, Event
    from natscore_tcp.backend import Backend
    from natscore_tcp.contract import Clock, OutboxLike, Performer, ServerLike
    from natscore_tcp.tls import TlsAcceptor

__all__ = ["Runtime"]

FIRST_CID: Final = 5  # as nats-server, whose own clients come before
NONCE_BYTES: Final = 11  # client-protocol.md section 16; server/const.go nonceRawLen
HELD_READ_MAX: Final = 8_192  # what waits in an outbox does not wait for more than this to be handled
HELD_EVENTS_MAX: Final = 64  # ... and for no more reads than these, which take less than a millisecond
HELD_FAN_OUT_MAX: Final = 4  # of an event that has more receivers, nothing waits
_STOP_SLACK_NS: Final = 1 * SECOND  # what a stop may take longer than its connections' deadlines


class Runtime:
    """Runs one server on real sockets, once.

    Args:
        server: the state machine; it must not have started.
        performers: who performs an effect that the runtime does not know, by its type. Dial is
            performed over TCP unless named here.
        note: takes every Note, of the server and of the transport.
        clock: tells the instant of each event.
        settings: the deadlines of the transport.
        tls: who performs StartTls, by the kind of connection. It may be changed at any time: connections
            that are there keep what they have.
    """

    def __init__(
        self,
        server: ServerLike,
        *,
        performers: Mapping[type[Any], Performer] | None = None,
        note: Callable[[Note], object] = unheard,
        clock: Clock = now,
        settings: TransportSettings | None = None,
        tls: Mapping[ConnectionKind, TlsAcceptor] | None = None,
    ) -> None:
        self.server: Final = server
        self.settings: Final = settings if settings is not None else TransportSettings()
        self.now: Final = clock
        self.note: Final = note
        self.tls: Final = dict(tls or {})
        self.failure: Exception | None = None  # why the server stopped by itself
        self.events_handled = 0
        self._performers: dict[type[object], Performer] = {Dial: dial, **(performers or {})}
        self._perform: dict[type[object], Callable[[Any], object]] = {
            Close: self._close,
            Continue: self._continue,
            Note: note,
            PauseReading: self._pause_reading,
            ResumeReading: self._resume_reading,
            ShutDown: self._shut_down,
            StartTls: self._start_tls,
            **dict.fromkeys(self._performers, self._start_performer),
        }
        self._streams: dict[ConnectionId, Stream] = {}
        self._listeners: list[Listener] = []
        self._cids = count(FIRST_CID)
        # One buffer for the reads of all connections: what is in it has been handled before the next read.
        self.read_buffer: Final = memoryview(bytearray(READ_MAX))
        self._events: deque[Event] = deque()
        self._refused: deque[OutboxLike] = deque()  # the kernel refused some, and the server was not told yet
        self._held: dict[ConnectionId, OutboxLike] = {}  # offered when others that are ready were read
        self._held_events = 0
        self._feeding = False
        self._ended = False  # nothing is fed any more
        self._after_writing: list[Callable[[], None]] = []  # what waits for the outboxes of this turn
        self._alarm = Alarm(server, self.feed, clock)
        self._emptied: anyio.Event | None = None  # while stopping: the last connection is gone
        self._parted: anyio.Event | None = None  # in lame duck mode: the server is to be stopped
        self._group: TaskGroup
        self._backend: Backend

    # -- the life of a server ----------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Runtime]:
        """Start the server; in the block it runs, and at the end of the block it is stopped.

        A block that ends by an exception, or is cancelled, ends the server at
        once, without flushing. If the server fails, the block is cancelled.

        Raises:
            Exception: whatever made the server fail; then it must not be used any more.
        """
        with ExitStack() as after, _unwrapped():
            if self.settings.tune_gc:
                after.enter_context(tuned_collector())
            async with create_task_group() as group:
                self._group = group
                self._backend = current_backend(group, self._alarm.wake, self._fail, self.offer_held)
                self._alarm.backend = self._backend
                after.callback(self._end)  # when the group has ended
                try:
                    self._start()
                    if self.failure is None:
                        yield self
                        await self.stop()
                finally:
                    self._drop_sockets()
                    group.cancel_scope.cancel()
        if self.failure is not None:
            raise self.failure

    async def listen(self, host: str, port: int, kind: ConnectionKind = ConnectionKind.CLIENT) -> Address:
        """Accept connections of one kind, from now on; see `bind` for what `host` may be.

        Returns where that is: `host` as given, and the port that a port of -1 has become.

        Raises:
            ListenError: the address cannot be bound.
        """
        sockets = await bind(host, port, self.settings.backlog)
        address = Address(host.strip("[]") or "0.0.0.0", sockets[0].getsockname()[1])
        self.feed(ListenerOpened(at=self.now(), kind=kind, address=address))
        self._listeners += [Listener(self, kind, listening) for listening in sockets]
        return address

    async def retire(self) -> None:
        """Enter lame duck mode: accept no more clients, and wait until the server has parted from all.

        Then it is to be stopped. Who calls this twice waits twice. Other kinds of connections are still
        accepted meanwhile. Cancelling ends the waiting, not the lame duck mode.
        """
        if self._parted is None:
            self._parted = anyio.Event()
            self._close_listeners(ConnectionKind.CLIENT)
            self.feed(LameDuckRequested(at=self.now()))
        await self._parted.wait()

    async def stop(self) -> None:
        """Close the listeners, ask the server to end its connections, and wait until they are closed.

        Each gets a flush, within its deadline. Stopping twice is stopping.
        """
        if self._emptied is None:
            self._emptied = anyio.Event()
            self._close_listeners()
            self.feed(ShutdownRequested(at=self.now()))
            if not self._streams:
                self._emptied.set()
        settings = self.settings
        longest_ns = settings.flush_deadline_ns + settings.linger_ns + _STOP_SLACK_NS
        with anyio.move_on_after(longest_ns / SECOND):
            await self._emptied.wait()

    @property
    def connections(self) -> int:
        """How many sockets are connected, those that are being closed included."""
        return len(self._streams)

    # -- events ------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Let one event happen, and what follows from it; while another is handled, queue it.

        Must be called on the event loop's thread. After a failure nothing happens any more.
        """
        if self._feeding:
            if isinstance(event, BytesReceived):  # whose memory may be somebody's again by then
                event = BytesReceived(at=event.at, cid=event.cid, data=bytes(event.data))
            self._events.append(event)
            return
        if self._ended:
            return
        if self._held and not (isinstance(event, BytesReceived) and len(event.data) <= HELD_READ_MAX):
            self.offer_held()
        self._feeding = True
        server, backend, perform = self.server, self._backend, self._perform
        following: Event | None = event
        try:
            while following is not None:
                self.events_handled += 1
                effects = server.handle(following)
                for effect in effects:
                    (perform.get(type(effect)) or self._not_performed)(effect)
                if backend.in_round and not effects and self._hold(server.ready):
                    break
                self._offer(server.ready)
                if self._after_writing:
                    self._act_after_writing()
                following = self._next_event() if self._refused or self._events else None
        except Exception as bug:
            self._fail(bug)
            return
        finally:
            self._feeding = False
        deadline, alarm = server.next_deadline(), self._alarm
        if deadline is not None and (alarm.armed_ns is None or deadline < alarm.armed_ns):
            alarm.arm(deadline)

    def _offer(self, ready: Iterable[OutboxLike]) -> None:
        """Write what outboxes hold, and what was held before."""
        if self._held:
            held, self._held = self._held, {}
            self._held_events = 0
            ready = (held | {outbox.cid: outbox for outbox in ready}).values()
        streams = self._streams
        for outbox in ready:
            stream = streams.get(outbox.cid)
            if stream is not None and not stream.blocked and not stream.offer(outbox):
                self._refused.append(outbox)

    def _hold(self, ready: Sequence[OutboxLike]) -> bool:
        """Let what a few outboxes hold wait for others that are ready, who may add to it (ADR 15).

        False: it must not wait.
        """
        if self._events or self._refused:
            return False
        if self._held_events == HELD_EVENTS_MAX or len(ready) > HELD_FAN_OUT_MAX:
            return False
        for outbox in ready:
            if outbox.size > HELD_MAX:
                return False
        for outbox in ready:
            self._held[outbox.cid] = outbox
        self._held_events += 1
        return True

    def offer_held(self) -> None:
        """Write what waited for others to be read."""
        if not self._held or self._feeding:
            return
        self._offer(())
        refusal = self._next_event() if self._refused else None
        if refusal is not None:
            self.feed(refusal)

    def _next_event(self) -> Event | None:
        """What to handle next: refusals first. Their figure is that of this instant, for the refusals of
        one turn are handled one by one, and each may add to the outbox of another."""
        while self._refused:
            outbox = self._refused.popleft()
            stream = self._streams.get(outbox.cid)
            if stream is not None and stream.blocked and stream.state is not State.FLUSHING:
                return WriteBlocked(at=self.now(), cid=outbox.cid, refused=outbox.size)
        return self._events.popleft() if self._events else None

    def passed_on(self, cid: ConnectionId) -> bool:
        """Whether the event handled last made output for another connection than this one."""
        ready = self.server.ready
        return len(ready) > 1 or (len(ready) == 1 and ready[0].cid != cid)

    def admit(
        self,
        connected: socket.socket,
        kind: ConnectionKind,
        remote: Address,
        attempt: AttemptId | None = None,
    ) -> None:
        """Take over a connected, non-blocking socket, by `attempt` the one that this Dial asked for."""
        cid = ConnectionId(next(self._cids))
        stream = self._streams[cid] = Stream(self, connected, cid, kind)
        stream.resume()
        self.feed(
            ConnectionOpened(
                at=self.now(),
                cid=cid,
                kind=kind,
                remote=remote,
                solicited=attempt is not None,
                nonce=secrets.token_bytes(NONCE_BYTES),
                attempt=attempt,
            )
        )

    def forget(self, cid: ConnectionId) -> None:
        """A stream is closed."""
        del self._streams[cid]
        if self._emptied is not None and not self._streams:
            self._emptied.set()

    # -- effects -----------------------------------------------------------------------------------

    def _close(self, effect: Close) -> None:
        stream = self._streams.get(effect.cid)
        if stream is None:  # it has just been lost, and the event that says so is queued
            return
        if effect.flush:
            stream.begin_flush(hurried=effect.reason is CloseReason.SERVER_SHUTDOWN)
            self._after_writing.append(stream.finish_flush)
        else:
            stream.abort()

    def _start_tls(self, effect: StartTls) -> None:
        stream = self._streams.get(effect.cid)
        if stream is None:
            return
        acceptor = self.tls.get(stream.kind)
        if acceptor is None:
            self.feed(TlsFailed(at=self.now(), cid=effect.cid, error="the transport has no certificate"))
            return
        self._after_writing.append(partial(stream.start_filter, acceptor.filter(), effect.received))

    def _shut_down(self, _: ShutDown) -> None:
        assert self._parted is not None, "the server asks to be stopped, and nobody asked it to go away"
        self._parted.set()

    def _act_after_writing(self) -> None:
        acts, self._after_writing = self._after_writing, []
        for act in acts:
            act()

    def _pause_reading(self, effect: PauseReading) -> None:
        if (stream := self._streams.get(effect.cid)) is not None:
            stream.pause()

    def _resume_reading(self, effect: ResumeReading) -> None:
        if (stream := self._streams.get(effect.cid)) is not None:
            stream.resume()

    def _continue(self, _: Continue) -> None:
        self._backend.after_others(self._grant_turn)

    def _grant_turn(self) -> None:
        self.feed(TurnGranted(at=self.now()))

    def _start_performer(self, effect: Effect) -> None:
        self._group.start_soon(self._run_performer, effect, name=f"natscore {type(effect).__name__}")

    async def _run_performer(self, effect: Effect) -> None:
        try:
            await self._performers[type(effect)](effect, self)
        except Exception as bug:
            self.note(_error("performer_failed", effect=type(effect).__name__, error=repr(bug)))

    def _not_performed(self, effect: object) -> None:
        # Not answered, so whatever was asked for (a login, say) runs into its deadline and is refused.
        self.note(_error("effect_without_performer", effect=type(effect).__name__))

    # -- time --------------------------------------------------------------------------------------

    def call_at(self, monotonic_ns: int, act: Callable[[], None]) -> None:
        """Call `act` once at that instant, and at no earlier one that it was set to."""
        self._alarm.call_at(monotonic_ns, act)

    def cancel_call(self, act: Callable[[], None]) -> None:
        """Do not call `act`."""
        self._alarm.cancel_call(act)

    # -- beginning and end -------------------------------------------------------------------------

    @property
    def backend(self) -> Backend:
        """Who tells when sockets are ready."""
        return self._backend

    def _start(self) -> None:
        self.feed(
            ServerStarted(
                at=self.now(),
                server_id=server_id(secrets.token_bytes(32)),
                seed=secrets.randbits(64),
                runtime=f"python{platform.python_version()}",
            )
        )
        if self.settings.tune_gc:
            self._group.start_soon(
                collect_when_idle, lambda: self.events_handled, name="natscore garbage collection"
            )

    def _fail(self, bug: Exception) -> None:
        """The server is not to be trusted any more: say so, and end the task tree."""
        if self.failure is None:
            self.failure = bug
            self._ended = True
            self._group.cancel_scope.cancel()
            self.note(Note(Level.FATAL, "server_failed", {"error": repr(bug), "event": self.events_handled}))

    def _close_listeners(self, *kinds: ConnectionKind) -> None:
        closed = [listener for listener in self._listeners if not kinds or listener.kind in kinds]
        for listener in closed:
            listener.close()
            self._listeners.remove(listener)

    def _drop_sockets(self) -> None:
        self._close_listeners()
        for stream in self._streams.values():
            stream.drop()
        self._streams.clear()

    def _end(self) -> None:
        """The task tree has ended, its last answers have been fed."""
        self._ended = True
        self._backend.close()


def _error(name: str, **fields: object) -> Note:
    return Note(Level.ERROR, name, fields)


@contextmanager
def _unwrapped() -> Iterator[None]:
    """Let an exception of the block out as it is, not as the only member of its task group's exception.

    No other task of the group raises, so there is never more than one.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) != 1:
            raise
        (inner,) = group.exceptions
        context = inner.__context__
        try:
            raise inner
        finally:
            inner.__context__ = context  # not the group, which says nothing

"""The simulated world: a virtual clock, servers, and the connections to them.

The world is the shell of every server in it, with the same contract as a real
one: events one at a time, ready outboxes written after each, refusals told at
once. After every step it checks what must always hold; when it is at rest, that
the recorded facts alone, folded into a fresh state, equal the live one.

With `cuts`, bytes on their way to a server are cut at seeded places. A failure
names the seed, and `journal` holds the recording of each server.
"""

from __future__ import annotations

import heapq
import io
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from natscore.authentication import authenticator_for
from natscore.dataplane import PureDataPlane
from natscore.effects import (
    Close,
    Continue,
    Dial,
    Note,
    PauseReading,
    ResumeReading,
    ShutDown,
    StartTls,
    VerifyPassword,
)
from natscore.entropy import Entropy, Xorshift64
from natscore.events import (
    Address,
    BytesReceived,
    ConnectionClosed,
    ConnectionId,
    ConnectionKind,
    ConnectionOpened,
    DeadlineReached,
    DialFailed,
    Instant,
    LameDuckRequested,
    ListenerOpened,
    OptionsReloaded,
    PasswordVerified,
    PeerClosing,
    ServerStarted,
    ShutdownRequested,
    TlsEstablished,
    TlsFailed,
    TurnGranted,
    WriteBlocked,
    WriteProgressed,
)
from natscore.identity import server_id
from natscore.journal import Recorder
from natscore.options import Options
from natscore.plane import HELD_MAX
from natscore.server import Server
from natscore.state import State
from natscore.testing.client import ScriptedClient
from natscore.testing.paired import PairedDataPlane
from natscore.testing.pairs import PlanesDisagree

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.authentication import Authenticator
    from natscore.effects import Effect
    from natscore.events import Certificate, Event
    from natscore.facts import Fact
    from natscore.plane import DataPlane

__all__ = ["InvariantBroken", "SimulatedServer", "World"]

_EPOCH_NS = 1_700_000_000_000_000_000  # the wall clock of a world begins here
_STEPS_MAX = 10_000_000  # a world that does not come to rest within so many steps is broken
_JOURNAL_MAX = 1 << 30
_READ_MAX = 65_536
_OVERWRITTEN = b"\n" * _READ_MAX


class InvariantBroken(AssertionError):
    """Something that must always hold does not; the text says what, and the seed."""


class World:
    """A place for servers where time passes only when told to.

    Args:
        seed: of everything that is drawn in this world.
        data_plane: makes the data plane of each server.
        cuts: cut what clients send at random places.
        lending: lend what clients send, in one memory that is overwritten when each event was handled.
        holding: let outboxes wait now and then while several reads are handled, as a shell may.
        recording: keep the facts and a journal of each server, and check them.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        data_plane: Callable[[Xorshift64], DataPlane] = PureDataPlane,
        cuts: bool = False,
        lending: bool = False,
        holding: bool = True,
        recording: bool = True,
    ) -> None:
        self.seed = seed
        self.data_plane = data_plane
        self.cuts = cuts
        self.lending = lending
        self.holding = holding
        self.recording = recording
        self.draws = Xorshift64(seed + 1)
        self.entropy = Entropy(seed + 2)
        self.held_draws = Xorshift64(seed + 3)
        self.now_ns = 0
        self.servers: list[SimulatedServer] = []
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0

    @property
    def at(self) -> Instant:
        """The instant on both clocks."""
        return Instant(self.now_ns, _EPOCH_NS + self.now_ns)

    def server(
        self,
        *,
        authenticator: Authenticator | None = None,
        authenticators: Callable[[Options], Authenticator] = authenticator_for,
        **options: Any,
    ) -> SimulatedServer:
        """Start a server with these options."""
        server = SimulatedServer(self, Options(**options), authenticator, authenticators)
        self.servers.append(server)
        return server

    def after(self, delay_ns: int, act: Callable[[], None]) -> None:
        """Do something when that much time has passed."""
        self._order += 1
        heapq.heappush(self._timers, (self.now_ns + delay_ns, self._order, act))

    def advance(self, duration_ns: int) -> None:
        """Let time pass, stopping at each deadline on the way."""
        end = self.now_ns + duration_ns
        while True:
            due = [server.next_deadline() for server in self.servers]
            due.append(self._timers[0][0] if self._timers else None)
            earliest = min((at for at in due if at is not None and at <= end), default=None)
            if earliest is None:
                break
            self.now_ns = max(self.now_ns, earliest)
            while self._timers and self._timers[0][0] <= self.now_ns:
                heapq.heappop(self._timers)[2]()
            for server in self.servers:
                at = server.next_deadline()
                if at is not None and at <= self.now_ns:
                    server.feed(DeadlineReached(at=self.at))
        self.now_ns = end

    def check(self) -> None:
        """Raise InvariantBroken unless everything that must hold at rest holds."""
        for server in self.servers:
            server.check()


class SimulatedServer:
    """A server and its shell in a world."""

    def __init__(
        self,
        world: World,
        options: Options,
        authenticator: Authenticator | None,
        authenticators: Callable[[Options], Authenticator],
    ) -> None:
        self.world = world
        self._first_options = options
        self.facts: list[Fact] = []
        self.notes: list[Note] = []
        self.clients: dict[ConnectionId, ScriptedClient] = {}
        self.paused: set[ConnectionId] = set()
        self.is_over = False  # the server asked to be shut down, and was
        self.events = 0
        self.effects = 0
        self.on_event: Callable[[Event, list[Effect]], None] | None = None
        self.verify: Callable[[bytes, bytes], bool] = lambda password, hashed: hashed == b"hash:" + password
        self._queue: deque[Event] = deque()
        self._turns: deque[Event] = deque()
        self._busy = False
        self._unread: dict[ConnectionId, deque[bytes]] = {}
        self._held: dict[ConnectionId, None] = {}  # whose outboxes have not been offered
        self._next_cid = 4
        self._memory = bytearray(_OVERWRITTEN)
        self.server = Server(
            options,
            data_plane=world.data_plane,
            authenticator=authenticator,
            authenticators=authenticators,
            facts=self.facts.append if world.recording else None,
        )
        self.journal = io.BytesIO()
        self._shell = (
            Recorder(self.server, self.journal.write, _JOURNAL_MAX) if world.recording else self.server
        )
        key = world.entropy.new_id(32)
        self.feed(
            ServerStarted(
                at=world.at, server_id=server_id(key), seed=world.draws.draw(), runtime="simulation"
            )
        )
        self.feed(
            ListenerOpened(
                at=world.at,
                kind=ConnectionKind.CLIENT,
                address=Address("127.0.0.1", options.port if options.port > 0 else 4222),
            )
        )

    @property
    def state(self) -> State:
        """The live state."""
        return self.server.state

    def connect(self, *, host: str = "127.0.0.1", window: int | None = None) -> ScriptedClient:
        """Open a client connection; its INFO is in `client.info` and already taken."""
        self._next_cid += 1
        cid = ConnectionId(self._next_cid)
        client = self.clients[cid] = ScriptedClient(self, cid, window)
        self.feed(
            ConnectionOpened(
                at=self.world.at,
                cid=cid,
                kind=ConnectionKind.CLIENT,
                remote=Address(host, 40_000 + cid % 20_000),
                nonce=self.world.entropy.new_id(11),
            )
        )
        line, found, _ = bytes(client.received).partition(b"\r\n")
        client.info = line + found
        client._taken = len(client.info)
        return client

    def next_deadline(self) -> int | None:
        """When the server wants to be woken."""
        return self._shell.next_deadline()

    def send(self, client: ScriptedClient, data: bytes) -> None:
        """Bytes from a client arrive, in reads of at most 64 KiB."""
        if not client.is_open:
            return
        reads = self._unread.setdefault(client.cid, deque())
        while data:
            most = min(len(data), _READ_MAX)
            size = 1 + self.world.draws.pick(most) if self.world.cuts else most
            reads.append(data[:size])
            data = data[size:]
        self._run()

    def made_room(self, client: ScriptedClient) -> None:
        """A client read: the kernel takes more of a blocked outbox."""
        connection = self.state.connections.get(client.cid)
        if connection is not None and connection.outbox.blocked and client.is_open:
            self._offer(client)
            self._queue.append(
                WriteProgressed(at=self.world.at, cid=client.cid, refused=connection.outbox.size)
            )
        self._run()

    def hang_up(self, client: ScriptedClient, *, reset: bool) -> None:
        """A client goes away."""
        if client.is_open:
            client.is_open = False
            self._unread.pop(client.cid, None)
            why = PeerClosing.READ_ERROR if reset else PeerClosing.END_OF_STREAM
            self._gone(client, why)
            self._run()

    def finish_tls(self, client: ScriptedClient, peer: Certificate | None, error: str) -> None:
        """The handshake of a client succeeds, or fails with `error`."""
        client.handshake = None
        at, cid = self.world.at, client.cid
        self.feed(
            TlsFailed(at=at, cid=cid, error=error)
            if error
            else TlsEstablished(at=at, cid=cid, version="1.3", cipher="TLS_AES_128_GCM_SHA256", peer=peer)
        )

    def reload(self, **options: Any) -> None:
        """Replace some of the options. Raises UsageError for what cannot be."""
        self.feed(OptionsReloaded(at=self.world.at, options=replace(self.server.options, **options)))

    def shutdown(self) -> None:
        """Ask the server to end."""
        self.feed(ShutdownRequested(at=self.world.at))

    def enter_lame_duck_mode(self) -> None:
        """Ask the server to part from its clients; `is_over` is true when it has."""
        self.feed(LameDuckRequested(at=self.world.at))

    def feed(self, event: Event) -> None:
        """Let one event happen, and everything that follows from it."""
        self._queue.append(event)
        self._run()

    def check(self) -> None:
        """Raise InvariantBroken unless facts, told interest and counters agree with the state."""
        state = self.state
        if isinstance(state.plane, PairedDataPlane):
            try:
                state.plane.check()
            except PlanesDisagree as difference:
                raise self._broken(f"two data planes disagree: {difference}") from difference
        if self.world.recording:
            fresh = State(self._first_options, self.world.data_plane(Xorshift64(1)))
            for fact in self.facts:
                fresh.fold(fact)
            self._require(fresh.summary() == state.summary(), "facts folded afresh give another state")
        for audience in state.audiences.values():
            wanted = {key: state.weight(key) for key in state.interest_keys()}
            told = audience.told if audience.members else wanted
            self._require(told == wanted, "links were told something else than is wanted")
        held = sum(
            len(c.subscriptions) + sum(map(len, c.shadows.values())) for c in state.connections.values()
        )
        counted = sum(a.subscriptions for a in state.accounts.values())
        self._require(held == counted, "connections and sublists disagree about subscriptions")
        self._require(self.server.is_quiet, "a turn was asked for and never granted")

    # -- the shell ---------------------------------------------------------------------------------

    def _run(self) -> None:
        """Work until nothing is left to do: events, then reads in turn, then turns."""
        if self._busy:
            return
        self._busy = True
        try:
            for _ in range(_STEPS_MAX):
                event = self._next_event()
                if event is None:
                    return
                self._handle(event)
            raise InvariantBroken(f"the world does not come to rest (seed {self.world.seed})")
        finally:
            self._busy = False

    def _next_event(self) -> Event | None:
        if self._held and (self._queue or not self._reads_follow() or self.world.held_draws.pick(4) == 0):
            held, self._held = self._held, {}
            self._offer_all(held)
        if self._queue:
            return self._queue.popleft()
        for cid, reads in self._unread.items():
            if reads and cid not in self.paused:
                data = reads.popleft()
                self._unread[cid] = self._unread.pop(cid)  # the next connection is read first
                return BytesReceived(at=self.world.at, cid=cid, data=data)
        return self._turns.popleft() if self._turns else None

    def _handle(self, event: Event) -> None:
        at = self.world.at
        try:
            effects = self._shell.handle(self._lent(replace(event, at=at)))
        except PlanesDisagree as difference:
            raise self._broken(f"two data planes disagree: {difference}") from difference
        finally:
            if self.world.lending:
                self._memory[:] = _OVERWRITTEN
        self.events += 1
        self.effects += len(effects)
        if self.on_event is not None:
            self.on_event(event, effects)
        ready = self._shell.ready
        if (
            self.world.holding
            and not effects
            and isinstance(event, BytesReceived)
            and all(outbox.size <= HELD_MAX for outbox in ready)
        ):
            self._held.update((outbox.cid, None) for outbox in ready)
            return
        held, self._held = self._held, {}
        self._offer_all(held | dict.fromkeys(outbox.cid for outbox in ready))
        for effect in effects:
            self._perform(effect)

    def _offer_all(self, cids: dict[ConnectionId, None]) -> None:
        """Write outboxes, and tell of what the kernel refused before anything else happens."""
        refused: list[Event] = []
        for cid in cids:
            client, connection = self.clients.get(cid), self.state.connections.get(cid)
            if client is None or connection is None or connection.outbox.blocked:
                continue
            self._offer(client)
            if size := connection.outbox.size:
                refused.append(WriteBlocked(at=self.world.at, cid=cid, refused=size))
        self._queue.extendleft(reversed(refused))

    def _reads_follow(self) -> bool:
        return any(reads and cid not in self.paused for cid, reads in self._unread.items())

    def _lent(self, event: Event) -> Event:
        if not self.world.lending or not isinstance(event, BytesReceived):
            return event
        size = len(event.data)
        self._memory[:size] = event.data
        return replace(event, data=memoryview(self._memory)[:size])

    def _offer(self, client: ScriptedClient) -> None:
        """The kernel takes what fits into the client's window."""
        outbox = self.state.connections[client.cid].outbox
        room = outbox.size if client.window is None else min(client.window, outbox.size)
        if client.window is not None:
            client.window -= room
        while room:  # blocks come as far as they fit whole, and the first in any case
            taken = 0
            for block in outbox.blocks(room):
                client.received += block[: room - taken]
                taken += min(room - taken, len(block))
            outbox.advance(taken)
            room -= taken

    def _perform(self, effect: Effect) -> None:
        at = self.world.at
        if isinstance(effect, Note):
            self.notes.append(effect)
        elif isinstance(effect, Close):
            client = self.clients[effect.cid]
            client.close_reason = effect.reason
            client.is_open = False
            self._unread.pop(effect.cid, None)
            if effect.flush:
                self._offer(client)
            self._gone(client, PeerClosing.FINISHED)
        elif isinstance(effect, PauseReading):
            self.paused.add(effect.cid)
        elif isinstance(effect, ResumeReading):
            self.paused.discard(effect.cid)
        elif isinstance(effect, Continue):
            self._turns.append(TurnGranted(at=at))
        elif isinstance(effect, VerifyPassword):
            self._queue.append(
                PasswordVerified(
                    at=at,
                    attempt=effect.attempt,
                    cid=effect.cid,
                    matches=self.verify(effect.password, effect.hashed),
                )
            )
        elif isinstance(effect, ShutDown):
            self.is_over = True
            self._queue.append(ShutdownRequested(at=at))
        elif isinstance(effect, StartTls):
            client = self.clients[effect.cid]
            client.handshake = effect.received
        elif isinstance(effect, Dial):
            self._queue.append(DialFailed(at=at, attempt=effect.attempt, error="nobody is there"))

    def _gone(self, client: ScriptedClient, why: PeerClosing) -> None:
        self._queue.append(ConnectionClosed(at=self.world.at, cid=client.cid, why=why))
        self.clients.pop(client.cid, None)
        self.paused.discard(client.cid)

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise self._broken(what)

    def _broken(self, what: str) -> InvariantBroken:
        return InvariantBroken(f"{what} (seed {self.world.seed}, event {self.events})")

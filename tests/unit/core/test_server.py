"""The contract of a server with its shell, and the three homes of an exception."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from natscore import delivery
from natscore import server as server_module
from natscore.account.settings import AccountSettings, AccountsSettings, StreamImport
from natscore.connection import client as client_module
from natscore.connection.session import Phase
from natscore.connection.states import CLIENT_LIFETIME
from natscore.dataplane import PureDataPlane
from natscore.effects import Close, Effect, Level, Note
from natscore.errors import CloseReason, ConfigError, UsageError
from natscore.events import (
    Address,
    AttemptId,
    BytesReceived,
    ConnectionClosed,
    ConnectionId,
    ConnectionKind,
    DialFailed,
    Instant,
    ListenerOpened,
    PeerClosing,
    ServerStarted,
)
from natscore.facts import ConnectionEnded, Fact, LinkEstablished, SubscriptionsChanged
from natscore.options import SECOND, Options
from natscore.server import REACTORS, Server, StateCorruptedError
from natscore.testing import World
from tests.support.borrowing import BorrowingPlane, BorrowingSource
from tests.unit.core.bare import SERVER_ID, BareServer, of_type
from tests.unit.core.dialogue import QUIET, client_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.authentication import Login, Verdict
    from natscore.cells import Source
    from natscore.dataplane import Stop
    from natscore.state import State
    from natscore.testing import ScriptedClient, SimulatedServer

# -- the contract ----------------------------------------------------------------------------------


def test_a_server_starts_once_and_first() -> None:
    bare = BareServer(start=False)

    with pytest.raises(UsageError, match="the first event of a server is ServerStarted"):
        bare.open(5)
    with pytest.raises(UsageError, match="the server has not started"):
        _ = bare.server.state
    with pytest.raises(UsageError, match="the server has not started"):
        _ = bare.server.info
    assert bare.start() == []
    with pytest.raises(UsageError, match="ServerStarted happens once, and first"):
        bare.start()


def test_accounts_that_cannot_be_are_refused_before_anything_starts_and_all_is_said_at_once() -> None:
    imports = (StreamImport(account="NOBODY", subject=b"a"), StreamImport(account="B", subject=b"b"))
    accounts = (AccountSettings(name="A", imports=imports), AccountSettings(name="B"))

    with pytest.raises(ConfigError) as refusal:
        Server(Options(accounts=AccountsSettings(accounts=accounts)))

    assert str(refusal.value) == (
        'accounts.A.imports.0: "NOBODY" account not defined for stream import; accounts.A.imports.1:'
        ' Error adding stream import "b": stream import not authorized'
    )


def test_notes_below_the_level_are_not_made_and_the_others_are() -> None:
    everything, errors_only = BareServer(), BareServer(note_level=Level.ERROR)

    assert [note.level for note in of_type(everything.open(5), Note)] == [Level.DEBUG]
    assert of_type(errors_only.open(5), Note) == []
    assert [note.level for note in of_type(everything.receive(5, b"HUH\r\n"), Note)] == [
        Level.ERROR,
        Level.DEBUG,
    ]
    assert [note.level for note in of_type(errors_only.receive(5, b"HUH\r\n"), Note)] == [Level.ERROR]


def test_an_event_of_an_unknown_connection_breaks_the_contract_and_changes_nothing() -> None:
    bare = BareServer()
    before = bare.server.state.summary()

    for event in (
        BytesReceived(at=bare.at, cid=ConnectionId(5), data=b"PING\r\n"),
        ConnectionClosed(at=bare.at, cid=ConnectionId(5), why=PeerClosing.FINISHED),
    ):
        with pytest.raises(UsageError, match="connection 5 is not open"):
            bare.server.handle(event)

    assert bare.server.state.summary() == before


def test_a_connection_cannot_open_twice() -> None:
    bare = BareServer()
    bare.open(5)

    with pytest.raises(UsageError, match="connection 5 is open already"):
        bare.open(5)


def test_the_number_of_a_connection_that_is_forgotten_may_come_again() -> None:
    bare = BareServer()
    bare.open(5)
    bare.close(5)

    bare.open(5)

    assert bare.written(5).startswith(b"INFO {")


@pytest.mark.parametrize("kind", [ConnectionKind.ROUTE, ConnectionKind.GATEWAY, ConnectionKind.LEAF])
def test_a_connection_of_a_kind_that_is_not_served_is_closed(kind: ConnectionKind) -> None:
    bare = BareServer()

    (close,) = of_type(bare.open(5, kind), Close)

    assert close == Close(ConnectionId(5), CloseReason.PROTOCOL_VIOLATION, flush=False)
    assert bare.receive(5, b"INFO {}\r\n") == []
    assert bare.close(5) == []
    with pytest.raises(UsageError, match="connection 5 is not open"):
        bare.close(5)


def test_listeners_of_other_kinds_do_not_change_what_clients_are_told() -> None:
    bare = BareServer()
    bare.server.handle(
        ListenerOpened(at=bare.at, kind=ConnectionKind.CLIENT, address=Address("127.0.0.1", 4333))
    )

    bare.server.handle(
        ListenerOpened(at=bare.at, kind=ConnectionKind.ROUTE, address=Address("10.0.0.1", 6222))
    )

    assert (bare.server.info.host, bare.server.info.port) == ("127.0.0.1", 4333)


def test_a_failed_dial_is_noted() -> None:
    bare = BareServer()

    (note,) = of_type(bare.server.handle(DialFailed(at=bare.at, attempt=AttemptId(3), error="refused")), Note)

    assert (note.level, note.name, note.fields) == (
        Level.ERROR, "dial_failed", {"attempt": 3, "error": "refused"},
    )  # fmt: skip


def test_ready_lists_an_outbox_once_in_the_order_of_its_first_byte() -> None:
    bare = BareServer()
    for cid in (5, 6, 7):
        bare.open(cid)
        bare.receive(cid, QUIET)
        bare.written(cid)
    bare.receive(7, b"SUB foo 1\r\n")
    bare.receive(5, b"SUB foo 1\r\n")

    bare.receive(6, b"PING\r\nPUB foo 0\r\n\r\nPING\r\nPUB foo 0\r\n\r\n")

    assert [outbox.cid for outbox in bare.server.ready] == [6, 7, 5]
    bare.receive(5, b"PING\r\n")
    assert [outbox.cid for outbox in bare.server.ready] == [5]


def test_the_earliest_deadline_is_the_only_one_to_arm() -> None:
    bare = BareServer(token="t", ping_interval_ns=60 * SECOND)
    assert bare.server.next_deadline() is None

    bare.open(5)

    assert bare.server.next_deadline() == 2 * SECOND


def test_deadlines_reached_early_or_late_do_no_harm() -> None:
    bare = BareServer(ping_interval_ns=SECOND, ping_max=2)
    bare.open(5)
    bare.written(5)

    bare.advance(SECOND - 1)
    assert bare.written(5) == b""
    bare.advance(10 * SECOND)

    assert bare.written(5) == b"PING\r\n"


def test_very_many_deadlines_are_handled_in_more_than_one_event() -> None:
    bare = BareServer(ping_interval_ns=SECOND)
    for cid in range(5, 1505):
        bare.open(cid)
        bare.written(cid)

    bare.advance(SECOND)
    assert 0 < len(bare.server.ready) < 1500
    assert bare.server.next_deadline() == SECOND
    bare.advance(0)

    assert bare.server.next_deadline() == 2 * SECOND
    assert all(bare.written(cid) == b"PING\r\n" for cid in range(5, 1505))


def test_events_are_numbered() -> None:
    bare = BareServer()

    bare.open(5)
    bare.close(5)

    assert bare.server.events_handled == 3


def test_two_servers_given_the_same_events_say_the_same() -> None:
    def life() -> list[bytes]:
        bare = BareServer()
        for cid in range(5, 10):
            bare.open(cid)
            bare.receive(cid, QUIET + b"SUB foo q 1\r\n")
        bare.receive(5, b"PUB foo 0\r\n\r\n" * 50)
        return [bare.written(cid) for cid in range(5, 10)]

    assert life() == life()


def test_another_seed_makes_other_choices() -> None:
    def shares(seed: int) -> list[int]:
        server = Server()
        at = Instant(0, 0)
        server.handle(ServerStarted(at=at, server_id=SERVER_ID, seed=seed, runtime="test"))
        bare = BareServer(start=False)
        bare.server = server
        for cid in (5, 6):
            bare.open(cid)
            bare.receive(cid, QUIET + b"SUB foo q 1\r\n")
        bare.receive(5, b"PUB foo 0\r\n\r\n" * 50)
        return [server.state.connections[ConnectionId(cid)].outbox.messages for cid in (5, 6)]

    assert len({tuple(shares(seed)) for seed in range(1, 9)}) > 1


@pytest.mark.spec("client-protocol 2.3")
def test_a_violation_is_noted_with_its_text_its_reason_and_what_was_there() -> None:
    bare = BareServer()
    bare.open(5)

    effects = bare.receive(5, b"PING\r\nGET / HTTP/1.1\r\nHost: somewhere\r\n\r\n")

    (note,) = [one for one in of_type(effects, Note) if one.name == "client_violation"]

    assert note.level is Level.ERROR
    assert note.fields["text"] == b"Unknown Protocol Operation"
    assert note.fields["reason"] is CloseReason.PROTOCOL_VIOLATION
    assert note.fields["snippet"] == b"GET / HTTP/1.1\r\nHost: somewhere\r\n"[:32]


@pytest.mark.parametrize(
    "data",
    [b"PING\r\n", b"PUB foo 5\r\nhe", b"PUB foo 0\r\n\r\n" * 50, b"FOO\r\n", b"SUB foo 1\r\nSUB bar 2\r\n"],
)
def test_a_source_is_told_to_keep_what_is_left_after_each_read(data: bytes) -> None:
    server = World(data_plane=BorrowingPlane).server(turn_output_max=1)
    client = client_of(server)
    source = server.state.connections[client.cid].source
    assert isinstance(source, BorrowingSource)
    fed = source.kept

    client.send(data)

    assert (source.borrowed, source.kept) == (0, fed + 1)


def test_a_source_is_told_to_keep_what_is_left_even_when_the_server_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = World(data_plane=BorrowingPlane).server()
    client = client_of(server)
    source = server.state.connections[client.cid].source
    assert isinstance(source, BorrowingSource)
    monkeypatch.setattr(server.state, "fold", fail)

    with pytest.raises(StateCorruptedError):
        client.send(b"SUB foo 1\r\n")

    assert source.borrowed == 0


def test_what_a_read_left_is_not_changed_by_the_next_one_in_the_same_memory() -> None:
    bare = BareServer()
    bare.open(5)
    memory = bytearray(64)

    for data in (QUIET[:9], QUIET[9:], b"SUB foo 1\r\nPUB ", b"foo 5\r\nhel", b"lo\r\nPING\r\n"):
        memory[: len(data)] = data
        bare.receive(5, memoryview(memory)[: len(data)])
        memory[:] = b"\n" * 64

    assert bare.written(5).partition(b"\r\n")[2] == b"MSG foo 1 5\r\nhello\r\nPONG\r\n"


# -- first home: a handler -------------------------------------------------------------------------


def notes_of(server: SimulatedServer, name: str) -> list[Note]:
    return [note for note in server.notes if note.name == name]


def fail(*arguments: Any) -> Any:
    raise RuntimeError("planted")


def fail_after_a_fact(context: Any, session: Any, ops: Any) -> Iterator[Fact]:
    yield from client_handlers[b"SUB"](context, session, ops)
    raise RuntimeError("planted")


client_handlers = dict(CLIENT_LIFETIME[Phase.ESTABLISHED])


def still_serves(server: SimulatedServer, other: ScriptedClient) -> None:
    """Everybody else is served as before, and everything adds up."""
    other.send(b"SUB bar 9\r\nPUB bar 0\r\n\r\nPUB foo 0\r\n\r\nPING\r\n")
    assert other.take().endswith(b"MSG bar 9 0\r\n\r\nMSG foo 1 0\r\n\r\nPONG\r\n")
    server.check()


@pytest.mark.parametrize("handler", [fail, fail_after_a_fact])
@pytest.mark.parametrize("op", sorted(client_handlers))
def test_an_exception_in_a_handler_closes_that_connection_only(
    op: bytes, handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if handler is fail_after_a_fact and op not in (b"SUB", b"UNSUB"):
        handler = fail
    server = World().server()
    victim, other = client_of(server, b'CONNECT {"verbose":false,"protocol":1}\r\n'), client_of(server)
    victim.send(b"SUB foo 3\r\n")
    other.send(b"SUB foo 1\r\n")
    lines = {
        b"CONNECT": b"CONNECT {}\r\n",
        b"SUB": b"SUB x 1\r\n",
        b"UNSUB": b"UNSUB 3\r\n",
        b"INFO": b"INFO {}\r\n",
    }

    with monkeypatch.context() as planted:
        planted.setitem(CLIENT_LIFETIME[Phase.ESTABLISHED], op, handler)
        victim.send(lines.get(op, op + b"\r\n") + b"PING\r\n")

    assert victim.close_reason is CloseReason.INTERNAL_ERROR
    assert victim.take() == b""
    (note,) = notes_of(server, "connection_failed")
    assert note.level is Level.ERROR
    assert note.fields["event"] == server.events - 1
    assert note.fields["cid"] == victim.cid
    still_serves(server, other)


@pytest.mark.pure_plane
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_exception_in_the_data_plane_closes_that_connection_only(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = World().server()
    victim, other = client_of(server), client_of(server)
    other.send(b"SUB foo 1\r\n")
    victim.send(b"SUB foo 1\r\nSUB foo 2\r\nPUB foo 0\r\n\r\nUNSUB 1 2\r\n")  # the next is its last
    run = PureDataPlane.run

    def broken(plane: PureDataPlane, source: Source) -> Stop:
        if when == "after":
            run(plane, source)
        raise RuntimeError("planted")

    with monkeypatch.context() as planted:
        planted.setattr(PureDataPlane, "run", broken)
        victim.send(b"PUB foo 0\r\n\r\n")

    assert victim.close_reason is CloseReason.INTERNAL_ERROR
    other.take()
    still_serves(server, other)


@pytest.mark.pure_plane
def test_an_exception_while_the_last_words_of_a_publisher_go_out_hurts_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "RECEIVERS_MAX", 2)
    bare = BareServer()
    for cid in range(1, 6):
        bare.open(cid)
        bare.receive(cid, QUIET + b"SUB foo 1\r\n")
    bare.open(9)
    bare.receive(9, QUIET + b"SUB bar 1\r\nPUB foo 0\r\n\r\n")

    with monkeypatch.context() as planted:
        planted.setattr(delivery.Delivery, "_hand_run", fail)
        effects = bare.close(9) + bare.rest()

    assert [note.name for note in of_type(effects, Note) if note.level is Level.ERROR] == [
        "connection_failed"
    ]
    assert ConnectionId(9) not in bare.server.state.connections
    assert bare.server.state.accounts["$G"].subscriptions == 5


def test_an_exception_on_a_deadline_closes_that_connection_only(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    server = world.server(ping_interval_ns=SECOND)
    victim, other = server.connect(), client_of(server)
    other.send(b"SUB foo 1\r\n")
    ping_timer = client_module.ping_timer

    def broken(context: Any, session: Any) -> None:
        if session.connection.cid == victim.cid:
            raise RuntimeError("planted")
        ping_timer(context, session)

    monkeypatch.setattr(client_module, "ping_timer", broken)
    world.advance(SECOND)

    assert victim.close_reason is CloseReason.INTERNAL_ERROR
    still_serves(server, other)


def test_an_exception_while_greeting_closes_that_connection_only(monkeypatch: pytest.MonkeyPatch) -> None:
    server = World().server()
    other = client_of(server)
    other.send(b"SUB foo 1\r\n")

    with monkeypatch.context() as planted:
        planted.setattr(client_module, "greet", fail)
        victim = server.connect()

    assert victim.close_reason is CloseReason.INTERNAL_ERROR
    still_serves(server, other)


class Moody:
    """An authenticator that breaks its promise never to raise."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def authenticate(self, login: Login) -> Verdict:
        raise ValueError("planted")


def test_an_authenticator_that_raises_lets_nobody_in() -> None:
    server = World().server(authenticator=Moody())
    client = server.connect()

    client.send(b"CONNECT {}\r\nPING\r\n")

    assert client.take() == b""
    assert client.close_reason is CloseReason.INTERNAL_ERROR
    server.check()


# -- second home: a reactor ------------------------------------------------------------------------


class Wired:
    """A server to which two clients and two links are connected. What a link is told stays in its outbox.

    There are no links yet, so connections are made into some as facts will do it.
    """

    def __init__(self) -> None:
        self.bare = BareServer()
        self.state: State = self.bare.server.state
        for cid in (5, 6, 7, 8):
            self.bare.open(cid)
            self.bare.receive(cid, QUIET)
            self.bare.written(cid)
        for cid in (7, 8):
            self.establish(cid)

    def establish(self, cid: int) -> None:
        self.state.connections[ConnectionId(cid)].kind = ConnectionKind.ROUTE
        self.bare.server._settle(LinkEstablished(ConnectionId(cid)))

    def told(self) -> dict[Any, int]:
        return self.state.audiences[ConnectionKind.ROUTE].told

    def wanted(self) -> dict[Any, int]:
        return {key: self.state.weight(key) for key in self.state.interest_keys()}


@pytest.fixture
def wired() -> Wired:
    return Wired()


def breaking(reactor: Any, kind: type[Fact], *, before: bool) -> Any:
    """`reactor`, which raises once, at the first fact of a kind, before or after it has done its work."""
    failed: list[Fact] = []

    def broken(state: State, fact: Fact) -> None:
        if isinstance(fact, kind) and not failed:
            failed.append(fact)
            if not before:
                reactor(state, fact)
            raise RuntimeError("planted")
        reactor(state, fact)

    broken.__name__ = reactor.__name__
    return broken


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("index", range(len(REACTORS)))
def test_a_reactor_that_raises_loses_its_words_and_the_links_it_serves(
    index: int, before: bool, wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = wired.bare
    bare.receive(5, b"SUB known 1\r\n")
    assert bare.written(7) == bare.written(8) == b"RS+ $G known\r\n"
    broken = list(REACTORS)
    broken[index] = breaking(REACTORS[index], SubscriptionsChanged, before=before)
    monkeypatch.setattr(server_module, "REACTORS", tuple(broken))

    effects: list[Effect] = bare.receive(5, b"SUB foo 2\r\nPUB foo 0\r\n\r\n")

    (note,) = [one for one in of_type(effects, Note) if one.name == "reactor_failed"]
    assert (note.level, note.fields["reactor"]) == (Level.ERROR, REACTORS[index].__name__)
    assert [(close.cid, close.reason) for close in of_type(effects, Close)] == [
        (7, CloseReason.INTERNAL_ERROR),
        (8, CloseReason.INTERNAL_ERROR),
    ]
    assert bare.written(7) == bare.written(8) == b""
    assert bare.written(5) == b"MSG foo 2 0\r\n\r\n"
    assert wired.told() == {}
    wired.bare.open(9)
    bare.written(9)
    wired.establish(9)
    assert bare.written(9) == b"RS+ $G known\r\nRS+ $G foo\r\n"
    assert wired.told() == wired.wanted()


@pytest.mark.parametrize("before", [True, False])
def test_a_reactor_that_raises_while_a_link_joins_closes_it(
    before: bool, wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = wired.bare
    bare.receive(5, b"SUB known 1\r\n")
    bare.open(9)
    bare.written(9)
    monkeypatch.setattr(server_module, "REACTORS", (breaking(REACTORS[0], LinkEstablished, before=before),))

    wired.establish(9)

    assert bare.written(9) == b""
    ended = [fact.cid for fact in bare.facts if isinstance(fact, ConnectionEnded)]
    assert sorted(ended) == [7, 8, 9]
    assert not wired.state.audiences[ConnectionKind.ROUTE].joining


def test_a_reactor_that_always_raises_ends_every_link_and_nothing_else(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "REACTORS", (fail_as_a_reactor, *REACTORS))
    bare = wired.bare

    effects = bare.receive(5, b"SUB foo 1\r\nPUB foo 0\r\n\r\n")

    assert sorted(close.cid for close in of_type(effects, Close)) == [7, 8]
    assert bare.written(5) == b"MSG foo 1 0\r\n\r\n"
    assert wired.told() == {}


def fail_as_a_reactor(state: State, fact: Fact) -> None:
    raise RuntimeError("planted")


def test_words_written_before_a_reactor_failed_reach_the_links(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what the failing reactor wrote for that one fact is taken back."""
    seen: list[Fact] = []

    def broken(state: State, fact: Fact) -> None:
        REACTORS[0](state, fact)
        if isinstance(fact, SubscriptionsChanged):
            seen.append(fact)
            if len(seen) == 2:
                raise RuntimeError("planted")

    monkeypatch.setattr(server_module, "REACTORS", (broken,))

    wired.bare.receive(5, b"SUB foo 1\r\nUNSUB 1\r\n")

    assert wired.bare.written(7) == wired.bare.written(8) == b"RS+ $G foo\r\n"


# -- third home: the fold --------------------------------------------------------------------------


def test_a_fact_that_cannot_be_folded_stops_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    server = World().server()
    client = client_of(server)
    monkeypatch.setitem(server.state._folds, SubscriptionsChanged, fail)

    with pytest.raises(StateCorruptedError, match=r"event \d+: SubscriptionsChanged\(.*\) cannot be folded"):
        client.send(b"SUB foo 1\r\n")


def test_a_fold_that_fails_inside_a_reactors_repair_stops_the_server_too(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "REACTORS", (fail_as_a_reactor,))
    monkeypatch.setitem(wired.state._folds, ConnectionEnded, fail)

    with pytest.raises(StateCorruptedError):
        wired.bare.receive(5, b"SUB foo 1\r\n")

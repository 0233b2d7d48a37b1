"""The simulated world keeps the contract of a shell, and notices when something is wrong."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from natscore.connection.session import Phase
from natscore.connection.states import CLIENT_LIFETIME
from natscore.effects import Close, Dial, Effect, Note
from natscore.errors import CloseReason
from natscore.events import (
    Address,
    AttemptId,
    BytesReceived,
    ConnectionId,
    ConnectionKind,
    DeadlineReached,
    Event,
)
from natscore.facts import AuthenticationFailed
from natscore.journal import read_journal
from natscore.options import SECOND
from natscore.state import Audience
from natscore.testing import InvariantBroken, World
from natscore.testing import world as world_module
from tests.support.borrowing import BorrowingPlane, BorrowingSource
from tests.unit.core.dialogue import QUIET, client_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.connection.context import Context
    from natscore.connection.session import Session
    from natscore.facts import Fact
    from natscore.testing import SimulatedServer


def events_of(server: SimulatedServer) -> list[Event]:
    return [event for event, _ in read_journal(io.BytesIO(server.journal.getvalue()).read)[1]]


def test_time_passes_only_when_told_to() -> None:
    world = World()
    server = world.server(ping_interval_ns=SECOND)
    client = server.connect()

    client.send(b"SUB foo 1\r\n")
    assert world.now_ns == 0
    world.advance(SECOND)

    assert world.now_ns == SECOND
    assert world.at.wall_ns - World().at.wall_ns == SECOND
    assert client.take() == b"+OK\r\nPING\r\n"


def test_time_stops_at_each_deadline_on_its_way() -> None:
    world = World()
    server = world.server(ping_interval_ns=SECOND)
    server.connect()

    world.advance(2 * SECOND + 1)

    instants = [event.at.monotonic_ns for event in events_of(server) if isinstance(event, DeadlineReached)]
    assert instants == [SECOND, 2 * SECOND]


def test_what_is_planned_happens_at_its_time_and_in_order() -> None:
    world = World()
    happened: list[tuple[str, int]] = []
    world.after(20, lambda: happened.append(("second", world.now_ns)))
    world.after(10, lambda: happened.append(("first", world.now_ns)))
    world.after(20, lambda: happened.append(("third", world.now_ns)))

    world.advance(15)
    assert happened == [("first", 10)]
    world.advance(15)

    assert happened == [("first", 10), ("second", 20), ("third", 20)]


def test_equal_seeds_make_equal_worlds() -> None:
    def journal(seed: int) -> bytes:
        server = World(seed, cuts=True).server()
        client_of(server).send(b"SUB foo 1\r\n" * 50)
        return server.journal.getvalue()

    assert journal(1) == journal(1) != journal(2)


def test_bytes_arrive_in_reads_of_at_most_64_kib() -> None:
    server = World().server()
    client_of(server).send(b"PUB foo 200000\r\n" + b"x" * 200_000 + b"\r\n")

    sizes = [len(event.data) for event in events_of(server) if isinstance(event, BytesReceived)]

    assert sizes[1:] == [65_536, 65_536, 65_536, 200_018 - 3 * 65_536]


def test_with_cuts_bytes_arrive_in_pieces() -> None:
    server = World(5, cuts=True).server()
    client_of(server).send(b"PUB foo 20000\r\n" + b"x" * 20_000 + b"\r\n")

    pieces = [event.data for event in events_of(server) if isinstance(event, BytesReceived)]

    assert len(pieces) > 4
    assert b"".join(pieces) == QUIET + b"PUB foo 20000\r\n" + b"x" * 20_000 + b"\r\n"


def test_a_client_with_a_window_gets_as_much_as_fits() -> None:
    server = World().server()
    client = client_of(server)
    client.send(b"SUB foo 1\r\n")
    client.window = 5

    client_of(server).send(b"PUB foo 4\r\nabcd\r\nPUB foo 5000\r\n" + b"x" * 5000 + b"\r\n")
    assert client.take() == b"MSG f"
    client.read(20)
    assert client.take() == b"oo 1 4\r\nabcd\r\nMSG fo"
    client.read(10_000)

    assert client.take() == b"o 1 5000\r\n" + b"x" * 5000 + b"\r\n"


def test_what_a_closing_server_flushes_still_has_to_fit() -> None:
    client = client_of(World().server(), window=1 << 20)
    client.window = 10

    client.send(b"BAD\r\n")

    assert client.take() == b"-ERR 'Unkn"


def test_a_client_that_is_closed_sends_nothing_more() -> None:
    server = World().server()
    client = client_of(server)
    client.close()
    before = server.events

    client.send(b"PING\r\n")
    client.close()
    client.reset()

    assert server.events == before


@pytest.mark.parametrize(
    ("leave", "reason"), [("close", CloseReason.CLIENT_CLOSED), ("reset", CloseReason.READ_ERROR)]
)
def test_a_client_may_leave_politely_or_not(leave: str, reason: CloseReason) -> None:
    server = World().server()
    client = client_of(server)

    getattr(client, leave)()

    (note,) = [note for note in server.notes if note.name == "client_connection_closed"]
    assert note.fields["reason"] is reason
    assert client.close_reason is None


def test_every_event_can_be_watched() -> None:
    server = World().server()
    seen: list[tuple[Event, list[Effect]]] = []
    server.on_event = lambda event, effects: seen.append((event, effects))
    client = client_of(server)

    client.send(b"BAD\r\n")

    event, effects = seen[-2]
    assert isinstance(event, BytesReceived)
    assert [type(effect) for effect in effects] == [Note, Note, Close]


def test_a_world_without_recording_keeps_nothing() -> None:
    server = World(recording=False).server()

    client_of(server).send(b"SUB foo 1\r\nPUB foo 0\r\n\r\n")

    assert server.facts == []
    assert server.journal.getvalue() == b""
    server.check()


# -- what it notices -------------------------------------------------------------------------------


def test_facts_that_do_not_lead_to_the_state_are_noticed() -> None:
    world = World(41)
    server = world.server()
    client_of(server)
    world.check()

    server.facts.append(AuthenticationFailed(ConnectionId(5), "nobody"))

    with pytest.raises(
        InvariantBroken, match=r"facts folded afresh give another state \(seed 41, event \d+\)"
    ):
        world.check()


def test_a_subscription_that_is_in_no_sublist_is_noticed() -> None:
    server = World(recording=False).server()
    client = client_of(server)
    client.send(b"SUB foo 1\r\n")
    connection = server.state.connections[client.cid]
    connection.account.sublist.remove(connection.subscriptions[b"1"])

    with pytest.raises(InvariantBroken, match="connections and sublists disagree"):
        server.check()


def test_links_that_were_told_something_else_are_noticed() -> None:
    server = World(recording=False).server()
    client = client_of(server)
    client.send(b"SUB foo 1\r\n")
    audience = server.state.audiences[ConnectionKind.ROUTE] = Audience(ConnectionKind.ROUTE)
    server.check()

    audience.members[client.cid] = server.state.connections[client.cid].outbox

    with pytest.raises(InvariantBroken, match="links were told something else than is wanted"):
        server.check()
    audience.told[("$G", b"foo", None)] = 1
    server.check()


def test_a_world_that_does_not_come_to_rest_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(World(7).server(turn_output_max=1))
    monkeypatch.setattr(world_module, "_STEPS_MAX", 5)

    with pytest.raises(InvariantBroken, match=r"the world does not come to rest \(seed 7\)"):
        client.send(b"PING\r\n" * 50)


def test_what_happens_because_of_an_event_happens_after_it() -> None:
    server = World().server()
    first, second = client_of(server), client_of(server)

    def answer(event: Event, effects: list[Effect]) -> None:
        if isinstance(event, BytesReceived) and event.data == b"SUB foo 1\r\n":
            second.send(b"PING\r\n")

    server.on_event = answer
    first.send(b"SUB foo 1\r\nPUB foo 0\r\n\r\n")
    assert second.take() == b""
    first.send(b"SUB foo 1\r\n")

    assert second.take() == b"PONG\r\n"


def test_nobody_is_there_to_be_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    def dial(context: Context, session: Session, ops: object) -> Iterator[Fact]:
        context.effects.append(Dial(AttemptId(3), ConnectionKind.ROUTE, Address("10.0.0.9", 6222)))
        yield from ()

    server = World().server()
    monkeypatch.setitem(CLIENT_LIFETIME[Phase.ESTABLISHED], b"INFO", dial)

    client_of(server).send(b"INFO {}\r\n")

    (note,) = [note for note in server.notes if note.name == "dial_failed"]
    assert note.fields == {"attempt": 3, "error": "nobody is there"}


def test_a_turn_that_was_never_granted_is_noticed() -> None:
    server = World().server(turn_output_max=1)
    client = client_of(server)
    event = BytesReceived(at=server.world.at, cid=client.cid, data=b"PING\r\nPING\r\n")
    server.server.handle(event)

    with pytest.raises(InvariantBroken, match="a turn was asked for and never granted"):
        server.check()


def test_a_world_that_lends_takes_back_what_it_lent_and_records_what_was_sent() -> None:
    server = World(data_plane=BorrowingPlane, lending=True).server()
    client = client_of(server)
    source = server.state.connections[client.cid].source
    assert isinstance(source, BorrowingSource)

    client.send(b"SUB foo 1\r\nPUB foo 5\r\nhe")
    assert isinstance(source.lent, memoryview)
    assert set(bytes(source.lent)) == set(b"\n")
    client.send(b"llo\r\n")

    assert client.take() == b"MSG foo 1 5\r\nhello\r\n"
    assert b"PUB foo 5\r\nhe" in server.journal.getvalue()


def test_a_world_lends_nothing_unless_it_is_told_to() -> None:
    server = World(data_plane=BorrowingPlane).server()
    client = client_of(server)
    source = server.state.connections[client.cid].source
    assert isinstance(source, BorrowingSource)

    client.send(b"PING\r\n")

    assert source.lent == b"PING\r\n"

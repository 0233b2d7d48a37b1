"""How connections begin, take turns, and end."""

from __future__ import annotations

import pytest

from natscore.connection.session import Phase
from natscore.effects import Close, Continue, Level, PauseReading, ResumeReading
from natscore.errors import CloseReason
from natscore.events import ConnectionId, PeerClosing
from natscore.facts import ConnectionEnded, ConnectionForgotten, SubscriptionsChanged
from natscore.testing import World
from natscore.turn import WITHDRAW_MAX
from tests.unit.core.bare import BareServer, of_type
from tests.unit.core.dialogue import QUIET, client_of

# -- beginning -------------------------------------------------------------------------------------


@pytest.mark.spec(
    "client-protocol 1:CHECK_MAX",
    "client-protocol 11:max_connections",
    "client-protocol 12:maximum connections exceeded",
    "client-protocol 13:Maximum Connections Exceeded",
)
def test_a_connection_over_the_limit_is_greeted_told_and_closed() -> None:
    server = World().server(max_connections=2)
    first, second = client_of(server), client_of(server)

    third = server.connect()

    assert third.info.startswith(b"INFO {")
    assert third.take() == b"-ERR 'maximum connections exceeded'\r\n"
    assert third.close_reason is CloseReason.MAX_CONNECTIONS
    first.send(b"PING\r\n")
    assert first.take() == b"PONG\r\n"
    second.close()
    assert client_of(server).is_open


@pytest.mark.spec("client-protocol 11:max_connections")
@pytest.mark.parametrize("most", [0, -1])
def test_a_limit_of_no_connections_refuses_all(most: int) -> None:
    client = World().server(max_connections=most).connect()

    assert client.close_reason is CloseReason.MAX_CONNECTIONS


def test_connections_of_one_address_that_did_not_log_in_are_limited() -> None:
    server = World().server(token="t", unauthenticated_per_address_max=2)
    login = b'CONNECT {"verbose":false,"auth_token":"t"}\r\n'
    first, second = server.connect(host="10.0.0.1"), server.connect(host="10.0.0.1")

    third = server.connect(host="10.0.0.1")
    assert third.take() == b"-ERR 'maximum unauthenticated connections exceeded'\r\n"
    assert third.close_reason is CloseReason.ADDRESS_LIMIT
    assert server.connect(host="10.0.0.2").is_open

    first.send(login)
    assert server.connect(host="10.0.0.1").is_open
    assert not server.connect(host="10.0.0.1").is_open
    second.close()
    assert server.connect(host="10.0.0.1").is_open


@pytest.mark.parametrize(
    "connect",
    [
        b'CONNECT {"auth_token":"t","protocol":2}\r\n',
        b'CONNECT {"auth_token":"t","no_responders":true}\r\n',
        b'CONNECT {"auth_token":"t","account":"A"}\r\n',
        b'CONNECT {"auth_token":"wrong"}\r\n',
        b"PING\r\n",
        b"CONNECT {bad\r\n",
        b'CONNECT {"auth_token":"t"}\r\nBAD\r\n',
    ],
)
def test_however_a_login_ends_its_address_is_counted_down_once(connect: bytes) -> None:
    server = World().server(token="t", unauthenticated_per_address_max=1)

    for _ in range(5):
        client = server.connect()
        assert client.is_open
        client.send(connect)
        assert not client.is_open

    assert server.connect().is_open
    assert not server.connect().is_open


# -- turns -----------------------------------------------------------------------------------------


def test_a_turn_writes_about_its_bound_and_the_rest_comes_in_further_turns() -> None:
    bare = BareServer(turn_output_max=10_000)
    for cid in (5, 6):
        bare.open(cid)
        bare.receive(cid, QUIET)
    bare.receive(5, b"SUB foo 1\r\n")
    bare.rest()
    bare.written(5)
    bare.written(6)
    message = b"PUB foo 1000\r\n" + b"x" * 1000 + b"\r\n"

    effects = bare.receive(6, message * 30 + b"PING\r\n")
    written = [len(bare.written(5))]
    assert effects == [PauseReading(ConnectionId(6)), Continue()]
    while not bare.server.is_quiet:
        assert bare.written(6) == b""
        effects = bare.grant()
        written.append(len(bare.written(5)))

    assert effects == [ResumeReading(ConnectionId(6))]
    assert sum(written) == 30 * len(b"MSG foo 1 1000\r\n" + b"x" * 1000 + b"\r\n")
    assert all(size <= 11_100 for size in written)
    assert len(written) >= 3
    assert bare.written(6) == b"PONG\r\n"


def test_connections_that_wait_for_a_turn_get_one_each_in_the_order_they_came() -> None:
    bare = BareServer(turn_output_max=500)
    for cid in (5, 6, 7):
        bare.open(cid)
        bare.receive(cid, b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
        bare.rest()
        bare.written(cid)

    for cid in (6, 5, 7):
        bare.receive(cid, b"PING\r\n" * 10)
    assert all(0 < len(bare.written(cid)) < 60 for cid in (5, 6, 7))
    order = []
    while not bare.server.is_quiet:
        bare.grant()
        order += [cid for cid in (5, 6, 7) if bare.written(cid)]

    assert order[:6] == [6, 5, 7, 6, 5, 7]


def test_bytes_that_come_while_a_connection_waits_for_its_turn_are_parsed_behind_the_others() -> None:
    bare = BareServer(turn_output_max=500)
    bare.open(5)
    bare.receive(5, QUIET)
    bare.rest()
    bare.written(5)
    bare.receive(5, b"SUB foo 1\r\n" + b"PUB foo 1\r\n1\r\n" * 20 + b"PUB foo 1\r\n")

    bare.receive(5, b"2\r\nPING\r\n")
    assert b"PONG" not in bare.written(5)
    bare.rest()

    assert bare.written(5).endswith(b"MSG foo 1 1\r\n2\r\nPONG\r\n")


def test_only_one_turn_is_asked_for_at_a_time() -> None:
    bare = BareServer(turn_output_max=100)
    for cid in (5, 6):
        bare.open(cid)
    bare.rest()

    effects = bare.receive(5, b"PING\r\n" * 5) + bare.receive(6, b"PING\r\n" * 5)

    assert of_type(effects, Continue) == [Continue()]


def test_a_turn_that_nobody_waits_for_does_nothing() -> None:
    bare = BareServer()

    assert bare.grant() == []


# -- ending ----------------------------------------------------------------------------------------


@pytest.mark.spec(
    "client-protocol 1:CLOSING", "client-protocol 13:Client Closed", "client-protocol 13:Read Error",
    "client-protocol 13:Write Error",
)  # fmt: skip
@pytest.mark.parametrize(
    ("why", "reason"),
    [
        (PeerClosing.END_OF_STREAM, CloseReason.CLIENT_CLOSED),
        (PeerClosing.FINISHED, CloseReason.CLIENT_CLOSED),
        (PeerClosing.READ_ERROR, CloseReason.READ_ERROR),
        (PeerClosing.WRITE_ERROR, CloseReason.WRITE_ERROR),
    ],
)
def test_a_transport_that_goes_away_ends_the_connection(why: PeerClosing, reason: CloseReason) -> None:
    bare = BareServer()
    bare.open(5)
    bare.receive(5, b"SUB foo 1\r\n")

    effects = bare.close(5, why)

    assert of_type(effects, Close) == []
    (note,) = [effect for effect in effects if getattr(effect, "name", "") == "client_connection_closed"]
    assert note.fields["reason"] is reason  # type: ignore[union-attr]
    assert not bare.server.state.connections
    assert bare.server.state.accounts["$G"].subscriptions == 0
    assert bare.server.state.open_connections == 0
    assert bare.server.next_deadline() is None


@pytest.mark.spec("client-protocol 1:CLOSING", "client-protocol 13")
def test_the_first_reason_wins() -> None:
    world = World()
    server = world.server()
    client = client_of(server)

    client.send(b"-ERR 'x'\r\nBAD\r\n")
    world.advance(3600 * 10**9)

    assert [fact.reason for fact in server.facts if isinstance(fact, ConnectionEnded)] == [
        CloseReason.PARSE_ERROR
    ]
    assert client.take() == b""


@pytest.mark.spec("client-protocol 1:CLOSING")
def test_an_ended_connection_is_closed_once_and_heard_no_more() -> None:
    bare = BareServer()
    bare.open(5)
    bare.receive(5, QUIET)
    bare.written(5)

    assert of_type(bare.receive(5, b"BAD\r\nPING\r\n"), Close) == [
        Close(ConnectionId(5), CloseReason.PROTOCOL_VIOLATION, flush=True)
    ]
    assert bare.receive(5, b"PING\r\n") == []
    assert bare.written(5) == b"-ERR 'Unknown Protocol Operation'\r\n"
    assert bare.close(5, PeerClosing.FINISHED) == []
    assert not bare.server.state.connections


@pytest.mark.spec("client-protocol 1:CLOSING", "client-protocol 10.1")
def test_a_connection_that_wants_much_is_withdrawn_in_slices_and_gets_nothing_meanwhile() -> None:
    bare = BareServer()
    for cid in (5, 6):
        bare.open(cid)
        bare.receive(cid, QUIET)
    wanted = 2 * WITHDRAW_MAX + 1
    bare.receive(5, b"".join(b"SUB foo.%d %d\r\n" % (n, n) for n in range(wanted)))
    bare.rest()
    bare.written(5)
    bare.facts.clear()

    effects = bare.close(5)
    account = bare.server.state.accounts["$G"]
    assert account.subscriptions == wanted - WITHDRAW_MAX
    assert of_type(effects, Continue) == [Continue()]
    assert not any(isinstance(fact, ConnectionForgotten) for fact in bare.facts)
    bare.receive(6, b"PUB foo.%d 0\r\n\r\n" % (wanted - 1))
    assert bare.server.state.connections[ConnectionId(5)].outbox.size == 0
    bare.rest()

    assert account.subscriptions == 0
    removed = [len(fact.removed) for fact in bare.facts if isinstance(fact, SubscriptionsChanged)]
    assert removed == [WITHDRAW_MAX, WITHDRAW_MAX, 1]
    assert isinstance(bare.facts[-1], ConnectionForgotten)


def test_a_connection_may_end_while_it_waits_for_its_turn() -> None:
    bare = BareServer(turn_output_max=500)
    bare.open(5)
    bare.receive(5, b"SUB foo 1\r\n" + b"PING\r\n" * 100)
    assert not bare.server.is_quiet

    bare.close(5)
    bare.rest()

    assert not bare.server.state.connections


@pytest.mark.spec("client-protocol 13:Server Shutdown", "client-protocol 1")
def test_a_shutdown_closes_every_connection_without_a_word_and_the_late_ones_too() -> None:
    server = World().server()
    clients = [client_of(server) for _ in range(3)]
    clients[0].send(b"SUB foo 1\r\n")

    server.shutdown()
    late = server.connect()

    for client in clients:
        assert (client.take(), client.close_reason) == (b"", CloseReason.SERVER_SHUTDOWN)
    assert late.close_reason is CloseReason.SERVER_SHUTDOWN
    assert not server.state.connections
    server.check()


def test_the_coming_and_going_of_a_client_is_noted() -> None:
    server = World().server()
    client = client_of(server, b'CONNECT {"name":"app","lang":"py","version":"1.0"}\r\n')

    client.close()

    created, closed = (note for note in server.notes if note.level is Level.DEBUG)
    assert (created.name, closed.name) == ("client_connection_created", "client_connection_closed")
    assert created.fields["cid"] == closed.fields["cid"] == client.cid
    assert (created.fields["label"], closed.fields["label"]) == ("", "v1.0:py:app")
    assert closed.fields["reason"] is CloseReason.CLIENT_CLOSED


def test_a_session_can_be_seen_while_it_lasts() -> None:
    server = World().server(token="t")
    client = server.connect()
    session = server.server.session(client.cid)
    assert session is not None
    phases = [session.phase]

    client.send(b'CONNECT {"auth_token":"t"}\r\n')
    phases.append(session.phase)
    client.close()
    phases.append(session.phase)

    assert phases == [Phase.AWAITING_CONNECT, Phase.ESTABLISHED, Phase.CLOSING]
    assert server.server.session(client.cid) is None

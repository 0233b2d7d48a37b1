"""Connections that end at any moment: nothing raises, nothing is left of them, late answers are dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from natscore.authentication import Accept, Login, Refuse, Verdict, Wait
from natscore.effects import Close, Continue, VerifyPassword
from natscore.errors import CloseReason, UsageError
from natscore.events import (
    AttemptId,
    BytesReceived,
    ConnectionClosed,
    ConnectionId,
    DeadlineReached,
    PasswordVerified,
    PeerClosing,
    TurnGranted,
    WriteBlocked,
    WriteProgressed,
)
from natscore.options import SECOND
from natscore.testing import World
from tests.simulation.clients import QUIET, filled, quiet_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.effects import Effect
    from natscore.events import Event
    from natscore.testing import ScriptedClient, SimulatedServer


class Slow:
    """Takes its time about everybody who names a user; refuses `mallory` at once."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def authenticate(self, login: Login) -> Verdict:
        if login.said.user == "mallory":
            return Refuse()
        if login.said.user:
            return Wait(b"secret", b"hash:secret", Accept())
        return Accept()


LOGIN = b'CONNECT {"verbose":false,"pedantic":false,"user":"alice"}\r\n'


def nobody(password: bytes, hashed: bytes) -> bool:
    return False


def nothing_is_left(server: SimulatedServer) -> bool:
    """Whether every trace of connections is gone."""
    inner = server.server
    account = server.state.accounts["$G"]
    return (
        not inner._lifecycle.sessions
        and not inner._lifecycle.turns
        and not inner._lifecycle._anonymous
        and not len(inner._lifecycle.holdings)
        and not len(inner._deadlines)
        and inner.held_bytes == 0
        and inner.next_deadline() is None
        and not server.state.connections
        and server.state.open_connections == 0
        and server.state.accounts["$G"].clients == 0
        and account.subscriptions == 0
        and all(node.subject.startswith(b"$SYS.") for node in account.sublist.nodes())
    )


# -- a client goes away in each phase --------------------------------------------------------------


def before_login(server: SimulatedServer) -> ScriptedClient:
    client = server.connect()
    client.send(b"CONNECT {")
    return client


def verifying(server: SimulatedServer) -> ScriptedClient:
    """The answer of the authenticator comes when the client has gone."""
    client = server.connect()

    def leave(event: Event, effects: list[Effect]) -> None:
        if any(isinstance(effect, VerifyPassword) for effect in effects):
            server.on_event = None
            client.reset()

    server.on_event = leave
    client.send(LOGIN + b"SUB a 1\r\n")
    return client


def established(server: SimulatedServer) -> ScriptedClient:
    client = quiet_client(server, hello=LOGIN)
    client.send(b"SUB a 1\r\nSUB a.* 2\r\nSUB a q 3\r\nPUB a 5\r\nhal")
    return client


def waiting_for_a_turn(server: SimulatedServer) -> ScriptedClient:
    client = quiet_client(server, hello=LOGIN)
    client.send(b"SUB a 1\r\n")

    def leave(event: Event, effects: list[Effect]) -> None:
        if Continue() in effects:
            server.on_event = None
            client.reset()

    server.on_event = leave
    client.send(filled(b"SUB b 2\r\nUNSUB 2\r\n"))
    return client


def stalled(server: SimulatedServer) -> ScriptedClient:
    stuck = quiet_client(server, hello=LOGIN, window=1_000)
    stuck.send(b"SUB a 1\r\n")
    client = quiet_client(server, hello=LOGIN)
    while client.cid not in server.paused:
        client.send(b"PUB a 10000\r\n" + b"x" * 10_000 + b"\r\n")
    client.send(b"PUB a 1\r\nx\r\n")
    stuck.reset()
    return client


def blocked(server: SimulatedServer) -> ScriptedClient:
    client = quiet_client(server, hello=LOGIN, window=1_000)
    client.send(b"SUB a 1\r\nPUB a 10000\r\n" + b"x" * 10_000 + b"\r\n")
    assert server.state.connections[client.cid].outbox.blocked
    return client


def closing_with_much_to_withdraw(server: SimulatedServer) -> ScriptedClient:
    client = quiet_client(server, hello=LOGIN)
    client.send(b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(7_000)))

    def leave(event: Event, effects: list[Effect]) -> None:
        server.on_event = None
        assert Continue() in effects

    server.on_event = leave
    client.send(b"NONSENSE\r\n")
    return client


def refused(server: SimulatedServer) -> ScriptedClient:
    client = server.connect()
    client.send(b'CONNECT {"user":"mallory"}\r\n')
    return client


def of_a_protocol_we_do_not_know(server: SimulatedServer) -> ScriptedClient:
    client = server.connect()
    client.send(b'CONNECT {"user":"alice","protocol":7}\r\n')
    return client


def without_headers_for_no_responders(server: SimulatedServer) -> ScriptedClient:
    client = server.connect()
    client.send(b'CONNECT {"no_responders":true}\r\n')
    return client


@pytest.mark.parametrize(
    "phase",
    [
        before_login,
        verifying,
        established,
        waiting_for_a_turn,
        stalled,
        blocked,
        closing_with_much_to_withdraw,
        refused,
        of_a_protocol_we_do_not_know,
        without_headers_for_no_responders,
    ],
)
@pytest.mark.parametrize("reset", [False, True])
def test_client_that_goes_away_in_any_phase_leaves_nothing(
    phase: Callable[[SimulatedServer], ScriptedClient], reset: bool
) -> None:
    world = World()
    server = world.server(
        authenticator=Slow(),
        max_pending=100_000,
        max_payload=65_536,
        turn_output_max=65_536,
        unauthenticated_per_address_max=100,
    )
    client = phase(server)
    cid = client.cid

    if reset:
        client.reset()
    else:
        client.close()
    for event in late_events(world, cid):
        server.feed(event)
    world.advance(300 * SECOND)

    assert nothing_is_left(server)
    assert not [note for note in server.notes if note.name == "connection_failed"]
    world.check()


def late_events(world: World, cid: ConnectionId) -> list[Event]:
    """What a shell may still say of a connection that it has reported as closed."""
    return [
        WriteProgressed(at=world.at, cid=cid, refused=0),
        WriteBlocked(at=world.at, cid=cid, refused=17),
        PasswordVerified(at=world.at, attempt=AttemptId(1), cid=cid, matches=True),
        DeadlineReached(at=world.at),
        TurnGranted(at=world.at),
    ]


def test_event_of_a_connection_that_was_never_there_is_a_mistake_of_the_shell_and_changes_nothing() -> None:
    world = World()
    server = world.server()
    before = server.state.summary()
    cid = ConnectionId(99)

    with pytest.raises(UsageError, match="connection 99 is not open"):
        server.server.handle(BytesReceived(at=world.at, cid=cid, data=b"PING\r\n"))
    with pytest.raises(UsageError, match="connection 99 is not open"):
        server.server.handle(ConnectionClosed(at=world.at, cid=cid, why=PeerClosing.END_OF_STREAM))

    assert server.state.summary() == before


def test_bytes_that_arrive_after_the_decision_to_close_are_not_looked_at() -> None:
    world = World()
    server = world.server()
    listener = quiet_client(server)
    listener.send(b"SUB a 1\r\n")
    client = quiet_client(server)

    def send_more(event: Event, effects: list[Effect]) -> None:
        if any(isinstance(effect, Close) for effect in effects):
            server.on_event = None
            server.feed(BytesReceived(at=world.at, cid=client.cid, data=b"PUB a 2\r\nno\r\n"))

    server.on_event = send_more
    client.send(b"NONSENSE\r\nPUB a 2\r\nno\r\n")

    assert client.close_reason is CloseReason.PROTOCOL_VIOLATION
    assert listener.take() == b""
    world.check()


def test_login_that_ends_in_a_violation_is_not_counted_as_anonymous_any_more() -> None:
    world = World()
    server = world.server(authenticator=Slow(), unauthenticated_per_address_max=2)

    for _ in range(5):
        of_a_protocol_we_do_not_know(server)
        without_headers_for_no_responders(server)

    assert server.connect().is_open
    world.check()


def test_verdict_on_an_earlier_connect_does_not_count_for_a_later_one() -> None:
    world = World()
    server = world.server(authenticator=Slow())
    client = server.connect()
    answers: list[PasswordVerified] = []

    def keep(event: Event, effects: list[Effect]) -> None:
        if isinstance(event, PasswordVerified):
            answers.append(event)

    server.on_event = keep
    client.send(LOGIN)
    assert [answer.matches for answer in answers] == [True]
    server.on_event = None
    server.verify = nobody
    client.send(LOGIN)

    assert client.close_reason is CloseReason.AUTHENTICATION_FAILURE
    server.feed(answers[0])
    assert nothing_is_left(server)
    world.check()


def test_connection_that_is_verified_too_late_is_cut_at_the_authentication_timeout() -> None:
    world = World()
    server = world.server(authenticator=Slow(), auth_timeout_ns=SECOND)
    client = server.connect()
    late: list[Event] = []

    def delay(event: Event, effects: list[Effect]) -> None:
        for index, effect in enumerate(effects):
            if isinstance(effect, VerifyPassword):
                late.append(
                    PasswordVerified(at=world.at, attempt=effect.attempt, cid=effect.cid, matches=True)
                )
                del effects[index]  # the shell is still at it

    server.on_event = delay
    client.send(LOGIN)
    world.advance(SECOND)
    server.feed(late[0])

    assert client.close_reason is CloseReason.AUTHENTICATION_TIMEOUT
    assert nothing_is_left(server)
    world.check()


# -- shutdown --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_shutdown_closes_ten_thousand_connections_and_forgets_them() -> None:
    world = World(recording=False)
    server = world.server()
    clients = [server.connect() for _ in range(10_000)]
    for number, client in enumerate(clients):
        if number % 2:
            client.send(QUIET + b"SUB a 1\r\nSUB b.* 2\r\nSUB c q 3\r\n")

    server.shutdown()

    assert {client.close_reason for client in clients} == {CloseReason.SERVER_SHUTDOWN}
    assert nothing_is_left(server)
    late = server.connect()
    assert late.close_reason is CloseReason.SERVER_SHUTDOWN
    assert late.info.startswith(b"INFO {")
    world.check()


def test_shutdown_in_the_middle_of_turns_ends_them() -> None:
    world = World()
    server = world.server(turn_output_max=1_000)
    listener = quiet_client(server)
    listener.send(b"SUB a 1\r\n")
    producer = quiet_client(server)

    def shut_down(event: Event, effects: list[Effect]) -> None:
        if isinstance(event, TurnGranted):
            server.on_event = None
            server.shutdown()

    server.on_event = shut_down
    producer.send(b"PUB a 2\r\nhi\r\n" * 5_000)

    assert listener.close_reason is producer.close_reason is CloseReason.SERVER_SHUTDOWN
    received = listener.take()
    assert 0 < received.count(b"MSG a 1 2\r\nhi\r\n") < 5_000
    assert received.replace(b"MSG a 1 2\r\nhi\r\n", b"") == b""
    assert nothing_is_left(server)
    world.check()


def test_many_deadlines_that_are_due_together_are_spread_over_events() -> None:
    world = World(recording=False)
    server = world.server()
    clients = [server.connect() for _ in range(3_000)]
    pinged: list[int] = []

    def count(event: Event, effects: list[Effect]) -> None:
        if isinstance(event, DeadlineReached):
            pinged.append(len(server.server.ready))

    server.on_event = count
    world.advance(120 * SECOND)

    assert sum(pinged) == 3_000
    assert max(pinged) <= 1_024
    assert {client.take() for client in clients} == {b"PING\r\n"}

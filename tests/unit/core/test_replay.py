"""A journal is re-executed, and the first difference is named."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import pytest

from natscore.authentication import Accept, Login, Refuse, Verdict
from natscore.errors import ReplayDivergence, UsageError
from natscore.events import (
    Address,
    BytesReceived,
    ConnectionClosed,
    ConnectionId,
    ConnectionKind,
    ConnectionOpened,
    Event,
    Instant,
    PeerClosing,
    ServerStarted,
    WriteBlocked,
    WriteProgressed,
)
from natscore.journal import Recorder, encode_event
from natscore.options import SECOND
from natscore.replay import Replayed, replay
from natscore.server import Server
from natscore.testing import World
from tests.unit.core.dialogue import client_of

if TYPE_CHECKING:
    from natscore.testing import SimulatedServer


AT: Final = Instant(5, 1_700_000_000_000_000_005)
CID: Final = ConnectionId(5)
STARTED: Final = ServerStarted(at=AT, server_id="N" + "A" * 55, seed=1, runtime="test")
OPENED: Final = ConnectionOpened(at=AT, cid=CID, kind=ConnectionKind.CLIENT, remote=Address("10.0.0.1", 4))
PING: Final = BytesReceived(at=AT, cid=CID, data=b"PING\r\n")


def again(server: SimulatedServer, **arguments: Any) -> Replayed:
    return replay(io.BytesIO(server.journal.getvalue()).read, **arguments)


def conversation(**options: Any) -> SimulatedServer:
    """Two clients, one of which reads in small pieces."""
    world = World(7)
    server = world.server(**options)
    slow, publisher = client_of(server), client_of(server)
    slow.send(b"SUB foo 1\r\nSUB foo q 2\r\n")
    slow.window = 100
    publisher.send(b"PUB foo 50\r\n" + b"x" * 50 + b"\r\n" + b"PUB foo 3\r\nabc\r\n" * 3)
    slow.read(30)
    slow.read(1000)
    publisher.send(b"PUB foo 3\r\nabc\r\nBAD\r\n")
    world.advance(3 * SECOND)
    slow.reset()
    return server


def test_a_conversation_replays_to_the_same_state_and_bytes() -> None:
    server = conversation()

    replayed = again(server)

    assert replayed.events == server.events
    assert replayed.server.state.summary() == server.state.summary()
    assert replayed.server.events_handled == server.server.events_handled


def test_a_server_that_cuts_off_a_slow_client_replays() -> None:
    server = conversation(max_pending=120, max_payload=100)

    assert again(server).events == server.events
    assert server.state.slow_consumers == 1


@pytest.mark.parametrize("number", [3, 8, 12])
def test_the_first_event_that_came_out_differently_is_named(number: int) -> None:
    server = conversation()
    journal = bytearray(server.journal.getvalue())
    at = journal.index(b"\n", journal.index(b"\n") + 1) + 1
    for _ in range(number):
        length = int.from_bytes(journal[at + 1 : at + 5], "big")
        at += 5 + length + 4
    journal[at - 1] ^= 1

    with pytest.raises(ReplayDivergence) as diverged:
        replay(io.BytesIO(bytes(journal)).read)

    assert diverged.value.event_number == number
    assert f"event {number}: recorded" in str(diverged.value)


def test_an_event_that_was_refused_is_refused_again_and_the_replay_goes_on() -> None:
    written = io.BytesIO()
    shell = Recorder(Server(), written.write, 1 << 20)
    shell.handle(STARTED)
    with pytest.raises(UsageError):
        shell.handle(PING)
    shell.handle(OPENED)
    shell.handle(PING)

    assert replay(io.BytesIO(written.getvalue()).read).events == 4


@pytest.mark.parametrize("gone", [True, False])
def test_news_of_the_kernel_that_come_too_late_are_replayed(gone: bool) -> None:
    written = io.BytesIO()
    shell = Recorder(Server(), written.write, 1 << 20)
    events: list[Event] = [
        STARTED,
        OPENED,
        BytesReceived(at=AT, cid=CID, data=b"BAD\r\n"),
        WriteBlocked(at=AT, cid=CID, refused=3),
        WriteProgressed(at=AT, cid=CID, refused=2),
    ]
    if gone:
        events.insert(3, ConnectionClosed(at=AT, cid=CID, why=PeerClosing.FINISHED))
    for event in events:
        shell.handle(event)

    assert replay(io.BytesIO(written.getvalue()).read).events == len(events)


def test_what_a_shell_held_over_several_reads_may_be_refused_whole() -> None:
    written = io.BytesIO()
    shell = Recorder(Server(), written.write, 1 << 20)
    shell.handle(STARTED)
    shell.handle(OPENED)
    outbox = shell.ready[0]
    for data in (b'CONNECT {"verbose":false}\r\nSUB foo 1\r\nPING\r\n', b"PUB foo 2\r\nhi\r\n", b"PING\r\n"):
        shell.handle(BytesReceived(at=AT, cid=CID, data=data))
    outbox.advance(10)
    shell.handle(WriteBlocked(at=AT, cid=CID, refused=outbox.size))
    shell.handle(PING)
    outbox.advance(outbox.size)
    shell.handle(WriteProgressed(at=AT, cid=CID, refused=0))
    shell.handle(PING)

    assert replay(io.BytesIO(written.getvalue()).read).events == 9


def test_an_event_that_is_refused_only_now_diverges() -> None:
    written = io.BytesIO()
    shell = Recorder(Server(), written.write, 1 << 20)
    for event in (STARTED, OPENED, PING):
        shell.handle(event)
    journal = written.getvalue()
    opened = journal.index(encode_event(OPENED))
    behind = opened + len(encode_event(OPENED)) + 4

    with pytest.raises(ReplayDivergence, match=r"event 2: recorded \w+, replayed a UsageError: connection 5"):
        replay(io.BytesIO(journal[:opened] + journal[behind:]).read)


def test_other_options_diverge() -> None:
    server = conversation()
    journal = server.journal.getvalue().replace(b'"max_payload":1048576', b'"max_payload":1048577')

    with pytest.raises(ReplayDivergence):
        replay(io.BytesIO(journal).read)


class Only:
    """Lets in the client of one name, and no other."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def __init__(self, name: str) -> None:
        self.name = name

    def authenticate(self, login: Login) -> Verdict:
        return Accept() if login.said.name == self.name else Refuse()


def test_a_server_with_an_authenticator_of_its_own_is_replayed_with_it() -> None:
    server = World().server(authenticator=Only("alice"))
    server.connect().send(b'CONNECT {"name":"alice"}\r\n')
    server.connect().send(b'CONNECT {"name":"bob"}\r\n')

    assert again(server, authenticator=Only("alice")).events == server.events
    with pytest.raises(ReplayDivergence):
        again(server, authenticator=Only("bob"))

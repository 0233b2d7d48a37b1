"""Users who may answer what they are asked, and hardly anything else, seen from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from natscore.account.permissions import Permissions, ResponsePermission, Rules
from natscore.options import MILLISECOND, SECOND
from natscore.testing import World
from natscore.turn import RECEIVERS_MAX
from tests.simulation.test_permissions import Users, client_of, connect_as, server_of, subjects

if TYPE_CHECKING:
    from natscore.responses import Responses
    from natscore.testing import ScriptedClient, SimulatedServer

pytestmark = pytest.mark.every_plane

DENIED: Final = b"-ERR 'Permissions Violation for Publish to \"%s\"'"
ONCE: Final = ResponsePermission()


def responder_of(server: SimulatedServer, user: str = "u", **said: object) -> ScriptedClient:
    """Somebody who answers on `svc`."""
    client = client_of(server, user, **said)
    client.send(b"SUB svc 1\r\n")
    client.take()
    return client


def asked(reply: bytes = b"r", times: int = 1) -> bytes:
    return b"PUB svc %s 0\r\n\r\n" % reply * times


def published(subject: bytes = b"r", times: int = 1) -> bytes:
    return b"PUB %s 0\r\n\r\n" % subject * times


def answers(client: ScriptedClient, data: bytes) -> list[bytes]:
    """What a client is told, messages aside, when it sends something."""
    client.take()
    client.send(data)
    return [line for line in client.lines() if line.startswith((b"-ERR", b"+OK"))]


def memory_of(client: ScriptedClient) -> Responses:
    """What the server remembers that this client may answer."""
    responses = client.server.state.connections[client.cid].outbox.responses
    assert responses is not None
    return responses


# -- how often -------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 18.1", "client-protocol 18.4")
def test_a_responder_may_publish_once_where_it_was_asked_and_nowhere_else() -> None:
    server = server_of(Permissions(responses=ONCE))
    requester, responder = client_of(server), responder_of(server)
    requester.send(b"SUB r 9\r\n" + asked())

    said = answers(responder, published() + published(b"other") + published() + b"PUB r.x 0\r\n\r\n")

    assert said == [DENIED % b"other", DENIED % b"r", DENIED % b"r.x"]
    assert requester.lines() == [b"MSG r 9 0", b""]
    assert responder.is_open


@pytest.mark.spec("client-protocol 18.4")
def test_two_responses_are_two_and_not_three() -> None:
    server = server_of(Permissions(responses=ResponsePermission(2)))
    requester, responder = client_of(server), responder_of(server)
    requester.send(b"SUB r 1\r\n" + asked())

    said = answers(responder, published(times=3))

    assert said == [DENIED % b"r"]
    assert subjects(requester.take()) == [b"r", b"r"]


@pytest.mark.spec("client-protocol 18.4")
def test_a_responder_without_a_limit_answers_as_often_as_it_likes() -> None:
    unlimited = Permissions(responses=ResponsePermission(-1, -1))
    server = server_of(unlimited, ping_interval_ns=10**7 * SECOND)
    requester, responder = client_of(server), responder_of(server)
    requester.send(b"SUB r 1\r\n" + asked())
    server.world.advance(10**6 * SECOND)

    said = answers(responder, published(times=500))

    assert said == []
    assert len(subjects(requester.take())) == 500


@pytest.mark.spec("client-protocol 18.4")
def test_a_new_request_renews_the_leave_whether_it_was_used_up_or_not() -> None:
    server = server_of(Permissions(responses=ResponsePermission(2)))
    requester, responder = client_of(server), responder_of(server)
    requester.send(asked())
    assert answers(responder, published(times=3)) == [DENIED % b"r"]

    requester.send(asked())
    assert answers(responder, published()) == []
    requester.send(asked())
    said = answers(responder, published(times=3))

    assert said == [DENIED % b"r"]


@pytest.mark.spec("client-protocol 18.4")
def test_a_request_that_comes_twice_does_not_use_up_the_response_to_it() -> None:
    """In nats-server 2.14.5 it does: `docs/differences.md`."""
    server = server_of(Permissions(responses=ONCE))
    requester, responder = client_of(server), responder_of(server)
    responder.send(b"SUB > 2\r\n")

    requester.send(b"SUB r 1\r\n" + asked())

    assert answers(responder, published(times=2)) == [DENIED % b"r"]
    assert subjects(requester.take()) == [b"r"]


@pytest.mark.spec("client-protocol 18.4")
def test_a_response_that_is_denied_for_its_own_reply_counts() -> None:
    server = server_of(Permissions(responses=ResponsePermission(2)))
    requester, responder = client_of(server), responder_of(server)
    requester.send(asked())

    said = answers(responder, b"PUB r _R_.x 0\r\n\r\n" + published(times=2))

    reserved = b"-ERR 'Permissions Violation for Publish with Reply of \"_R_.x\"'"
    assert said == [reserved, DENIED % b"r"]


# -- how long --------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 18.4")
def test_a_response_that_comes_too_late_is_denied() -> None:
    server = server_of(Permissions(responses=ResponsePermission(5, 200 * MILLISECOND)))
    requester, responder = client_of(server), responder_of(server)
    requester.send(asked())

    server.world.advance(200 * MILLISECOND)
    assert answers(responder, published()) == []
    server.world.advance(1)

    assert answers(responder, published()) == [DENIED % b"r"]
    assert len(memory_of(responder)) == 0


@pytest.mark.spec("client-protocol 18.4")
def test_time_runs_from_the_last_request() -> None:
    """In nats-server 2.14.5 from the first that was not answered: `docs/differences.md`."""
    server = server_of(Permissions(responses=ResponsePermission(1, 200 * MILLISECOND)))
    requester, responder = client_of(server), responder_of(server)
    requester.send(asked())
    server.world.advance(150 * MILLISECOND)
    requester.send(asked())
    server.world.advance(150 * MILLISECOND)

    assert answers(responder, published()) == []


# -- against the rules -----------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 18.1", "client-protocol 18.4")
def test_a_response_may_go_where_publishing_is_denied_by_name() -> None:
    server = server_of(Permissions(Rules((b"x",), (b"r.>",)), responses=ONCE))
    requester, responder = client_of(server), responder_of(server)
    requester.send(b"SUB > 1\r\n" + asked(b"r.a"))
    requester.take()

    said = answers(responder, published(b"r.a", 2) + published(b"x", 3) + published(b"y"))

    assert said == [DENIED % b"r.a", DENIED % b"y"]
    assert subjects(requester.take()) == [b"r.a", b"x", b"x", b"x"]


@pytest.mark.spec("client-protocol 18.4")
def test_what_may_be_published_anyway_uses_up_nothing_and_is_not_remembered() -> None:
    server = server_of(Permissions(Rules((b"x.>",), (b"x.no",)), responses=ONCE))
    requester, responder = client_of(server), responder_of(server)

    requester.send(asked(b"x.a") + asked(b"x.no") + asked(b"y"))

    assert answers(responder, published(b"x.a", 5)) == []
    assert len(memory_of(responder)) == 2
    assert answers(responder, published(b"x.no", 2) + published(b"y", 2)) == [DENIED % b"x.no", DENIED % b"y"]


@pytest.mark.spec("client-protocol 18.4", "client-protocol 20")
def test_a_reserved_subject_is_no_place_for_a_response() -> None:
    server = server_of(Permissions(responses=ONCE))
    requester, responder = client_of(server), responder_of(server)

    requester.send(b"SUB > 1\r\n" + asked(b"$NRG.x"))

    assert answers(responder, published(b"$NRG.x")) == [DENIED % b"$NRG.x"]


@pytest.mark.spec("client-protocol 18.4")
def test_a_reply_with_wildcards_stands_for_itself_alone() -> None:
    server = server_of(Permissions(responses=ONCE))
    requester, responder = client_of(server), responder_of(server)

    requester.send(asked(b"r.*"))

    assert answers(responder, published(b"r.a") + published(b"r.*", 2)) == [DENIED % b"r.a", DENIED % b"r.*"]


@pytest.mark.spec("client-protocol 18.4", "client-protocol 18.5")
def test_a_response_is_acknowledged_and_one_too_many_is_not() -> None:
    server = server_of(Permissions(responses=ONCE))
    requester, responder = client_of(server), responder_of(server, verbose=True)

    requester.send(asked())

    assert answers(responder, published(times=2)) == [b"+OK", DENIED % b"r"]


# -- every way of a message ------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize(
    "request_",
    [
        b"PUB svc r 0\r\n\r\n",
        b"pub\tsvc  r\t0\r\n\r\n",
        b"PUB svc r 5000\r\n" + b"x" * 5_000 + b"\r\n",
        b"HPUB svc r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        b"HPUB svc r 0 2\r\nhi\r\n",
    ],
)
@pytest.mark.spec("client-protocol 18.4")
def test_a_request_of_any_form_may_be_answered(request_: bytes, headers: bool) -> None:
    server = server_of(Permissions(responses=ONCE))
    requester = client_of(server, headers=True, no_responders=headers)
    responder = responder_of(server, headers=headers)

    requester.send(request_)

    assert answers(responder, published(times=2)) == [DENIED % b"r"]


@pytest.mark.parametrize(
    "response",
    [
        b"PUB r 0\r\n\r\n",
        b"pub r  0\n\r\n",
        b"PUB r 5000\r\n" + b"x" * 5_000 + b"\r\n",
        b"HPUB r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    ],
)
@pytest.mark.spec("client-protocol 18.4")
def test_a_response_may_have_any_form(response: bytes) -> None:
    server = server_of(Permissions(responses=ONCE))
    requester, responder = client_of(server, headers=True), responder_of(server, headers=True)
    requester.send(b"SUB r 1\r\n" + asked())

    assert answers(responder, response * 2) == [DENIED % b"r"]
    assert subjects(requester.take()) == [b"r"]


@pytest.mark.spec("client-protocol 18.4")
def test_a_run_of_requests_may_be_answered_each_at_its_own_reply() -> None:
    server = server_of(Permissions(responses=ONCE))
    requester, responder = client_of(server), responder_of(server)
    replies = [b"r.%d" % number for number in range(300)]
    requester.send(b"SUB r.> 1\r\n" + b"".join(b"PUB svc 0\r\n\r\n" + asked(reply) for reply in replies))

    said = answers(responder, b"".join(published(reply) for reply in replies) + published(b"r.1"))

    assert said == [DENIED % b"r.1"]
    assert subjects(requester.take()) == replies


@pytest.mark.spec("client-protocol 18.4")
def test_only_the_member_of_a_queue_group_that_was_asked_may_answer() -> None:
    server = server_of(Permissions(responses=ONCE))
    requester = client_of(server)
    members = [client_of(server, "u") for _ in range(5)]
    for member in members:
        member.send(b"SUB svc q 1\r\n")

    requester.send(asked())

    was_asked = [member.take() != b"" for member in members]
    may_answer = [answers(member, published()) == [] for member in members]
    assert was_asked.count(True) == 1
    assert may_answer == was_asked


@pytest.mark.spec("client-protocol 18.4")
def test_everybody_of_a_crowd_may_answer_what_it_was_asked() -> None:
    server = server_of(Permissions(responses=ONCE))
    requester = client_of(server)
    crowd = [responder_of(server) for _ in range(RECEIVERS_MAX + 10)]
    requester.send(asked())

    for responder in (crowd[0], crowd[-1]):
        assert answers(responder, published(times=2)) == [DENIED % b"r"]


@pytest.mark.spec("client-protocol 18.4", "client-protocol 10.4")
def test_a_responder_that_asks_where_it_may_hears_of_nobody() -> None:
    server = server_of(Permissions(responses=ResponsePermission(2)))
    requester = client_of(server)
    responder = responder_of(server, headers=True, no_responders=True)
    responder.send(b"SUB in.* 2\r\n")
    requester.send(asked(b"nobody"))
    responder.take()

    responder.send(b"PUB nobody in.1 0\r\n\r\n" + published(b"in.1"))

    assert responder.lines()[:2] == [b"HMSG in.1 2 38 38", b"NATS/1.0 503"]
    assert answers(responder, published(b"in.1")) == [DENIED % b"in.1"]  # that was no request


@pytest.mark.spec("client-protocol 18.4", "client-protocol 10")
def test_a_client_may_answer_itself() -> None:
    server = server_of(Permissions(Rules((b"svc",)), responses=ONCE))
    client = responder_of(server)

    assert answers(client, asked() + published(times=2)) == [DENIED % b"r"]


@pytest.mark.spec("client-protocol 18.4")
def test_the_last_message_before_a_limit_may_be_answered_and_what_is_not_delivered_may_not() -> None:
    server = server_of(Permissions(responses=ONCE))
    requester, responder = client_of(server), responder_of(server)
    responder.send(b"UNSUB 1 1\r\n")

    requester.send(asked(b"r.1") + asked(b"r.2"))

    assert answers(responder, published(b"r.1") + published(b"r.2")) == [DENIED % b"r.2"]


# -- whose leave it is -----------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 18.4")
def test_leave_is_that_of_one_connection() -> None:
    server = server_of(Permissions(responses=ONCE))
    requester, responder, other = client_of(server), responder_of(server), client_of(server, "u")

    requester.send(asked())

    assert answers(other, published()) == [DENIED % b"r"]
    assert answers(responder, published()) == []


@pytest.mark.spec("client-protocol 18.4")
def test_a_second_connect_takes_the_leave_of_the_first() -> None:
    server = server_of(Permissions(responses=ONCE))
    requester, responder = client_of(server), responder_of(server)
    requester.send(asked())

    said = answers(responder, connect_as("u") + published())

    assert said == [DENIED % b"r"]


@pytest.mark.spec("client-protocol 18.2", "client-protocol 18.4")
def test_who_has_no_leave_to_respond_has_none_although_it_is_asked() -> None:
    server = server_of(Permissions(Rules(())))
    requester, responder = client_of(server), responder_of(server)

    requester.send(asked())

    assert answers(responder, published()) == [DENIED % b"r"]


@pytest.mark.spec("client-protocol 18.4")
def test_a_denied_response_is_noted_in_the_log() -> None:
    server = server_of(Permissions(responses=ONCE))
    responder = responder_of(server)

    responder.send(published())

    assert [note.fields["subject"] for note in server.notes if note.name == "publish_violation"] == [b"r"]


# -- bounds ----------------------------------------------------------------------------------------


def test_at_the_bound_the_oldest_reply_goes_and_is_counted() -> None:
    server = server_of(Permissions(responses=ResponsePermission(2)), responses_max=10)
    requester, responder = client_of(server), responder_of(server)
    requester.send(b"".join(asked(b"r.%d" % number) for number in range(11)))

    said = answers(responder, published(b"r.0") + published(b"r.1") + published(b"r.10"))

    assert said == [DENIED % b"r.0"]
    assert (len(memory_of(responder)), memory_of(responder).dropped) == (10, 1)


def test_a_turn_ends_although_every_response_is_looked_up_by_itself() -> None:
    world = World()
    server = world.server(
        authenticator=Users(u=Permissions(responses=ResponsePermission(-1))), turn_output_max=100_000
    )
    requester, responder = client_of(server), responder_of(server)
    requester.send(asked())
    before = server.server.events_handled

    assert answers(responder, published(times=1_000)) == []

    assert server.server.events_handled - before > 5

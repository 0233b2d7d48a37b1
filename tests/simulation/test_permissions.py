"""Users with permissions, seen from outside: what they are told, and what reaches whom."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from natscore.account.permissions import EVERYTHING, Permissions, Rules, SubscribeRules
from natscore.authentication import Accept, Login, Refuse, Verdict
from natscore.testing import World

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient, SimulatedServer

pytestmark = pytest.mark.every_plane

MESSAGES: Final = 200


class Users:
    """Users by name, all in one account unless their name says another: `name@account`."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def __init__(self, **users: Permissions) -> None:
        self._users = {"anybody": EVERYTHING, **users}

    def authenticate(self, login: Login) -> Verdict:
        name, _, account = login.said.user.partition("@")
        known = self._users.get(name)
        return Accept(account or "A", known) if known is not None else Refuse()


def connect_as(user: str, **said: object) -> bytes:
    words = {"verbose": False, "pedantic": False, "user": user, "pass": "any", **said}
    return b"CONNECT " + json.dumps(words).encode() + b"\r\n"


def client_of(server: SimulatedServer, user: str = "anybody", **said: object) -> ScriptedClient:
    client = server.connect()
    client.send(connect_as(user, **said))
    client.take()
    return client


def server_of(permissions: Permissions, **options: Any) -> SimulatedServer:
    """A server with the user `u`, who has these permissions, and `anybody`, who may do all."""
    return World().server(authenticator=Users(u=permissions), **options)


def publishing(allow: tuple[bytes, ...] | None = None, deny: tuple[bytes, ...] = ()) -> Permissions:
    return Permissions(publish=Rules(allow, deny))


def subscribing_without(*deny: tuple[bytes, bytes | None]) -> Permissions:
    return Permissions(subscribe=SubscribeRules(deny=deny))


def subjects(received: bytes) -> list[bytes]:
    return re.findall(rb"MSG (\S+) ", received)


# -- publishing ------------------------------------------------------------------------------------


@pytest.mark.spec(
    "client-protocol 18.2",
    "client-protocol 18.5",
    'client-protocol 12:Permissions Violation for Publish to "S"',
)
def test_a_denied_publish_is_told_of_is_not_delivered_and_leaves_the_connection_open() -> None:
    server = server_of(publishing((b"a.*",), (b"a.no",)))
    listener = client_of(server)
    listener.send(b"SUB > 1\r\n")
    publisher = client_of(server, "u")

    publisher.send(b"PUB b 1\r\nx\r\nPUB a.no 1\r\nx\r\nPUB a.yes 1\r\nx\r\nPUB b 1\r\nx\r\nPING\r\n")

    assert publisher.lines() == [
        b"-ERR 'Permissions Violation for Publish to \"b\"'",
        b"-ERR 'Permissions Violation for Publish to \"a.no\"'",
        b"-ERR 'Permissions Violation for Publish to \"b\"'",
        b"PONG",
    ]
    assert subjects(listener.take()) == [b"a.yes"]
    assert publisher.is_open


@pytest.mark.spec("client-protocol 18.5", "client-protocol 12.1")
def test_a_violation_gets_no_ok_and_quotes_what_it_names() -> None:
    server = server_of(Permissions(Rules(()), SubscribeRules(())))
    client = client_of(server, "u", verbose=True)

    client.send(b'PUB a"b 0\r\n\r\nSUB \xff 1\r\nSUB foo q\\ 1\r\nUNSUB 1\r\n')

    assert client.lines() == [
        b'-ERR \'Permissions Violation for Publish to "a\\"b"\'',
        b"-ERR 'Permissions Violation for Subscription to \"\\xff\"'",
        b'-ERR \'Permissions Violation for Subscription to "foo" using queue "q\\\\"\'',
        b"+OK",
    ]


@pytest.mark.spec("client-protocol 10", "client-protocol 18.2")
def test_a_publish_is_judged_before_its_reply() -> None:
    client = client_of(server_of(publishing((b"a",))), "u")

    client.send(b"PUB b _R_.x 0\r\n\r\nPUB a _R_.x 0\r\n\r\nPUB a b 0\r\n\r\nPING\r\n")

    assert client.lines() == [
        b"-ERR 'Permissions Violation for Publish to \"b\"'",
        b"-ERR 'Permissions Violation for Publish with Reply of \"_R_.x\"'",
        b"PONG",  # the reply itself needs no permission
    ]


@pytest.mark.spec("client-protocol 10", "client-protocol 7.3")
def test_a_pedantic_complaint_stands_before_the_violation() -> None:
    client = client_of(server_of(publishing(())), "u", pedantic=True)

    client.send(b"PUB a.* 0\r\n\r\n")

    assert client.lines() == [
        b"-ERR 'Invalid Publish Subject'",
        b"-ERR 'Permissions Violation for Publish to \"a.*\"'",
    ]


@pytest.mark.spec("client-protocol 10", "client-protocol 10.4", "client-protocol 18.2")
def test_a_denied_request_is_no_request_without_responders() -> None:
    client = client_of(server_of(publishing((b"a",))), "u", headers=True, no_responders=True)
    client.send(b"SUB reply 1\r\n")

    client.send(b"PUB b reply 0\r\n\r\n")

    assert client.lines() == [b"-ERR 'Permissions Violation for Publish to \"b\"'"]


@pytest.mark.spec("client-protocol 18.2", "client-protocol 18.5")
def test_a_denial_with_headers_is_the_same() -> None:
    client = client_of(server_of(publishing(deny=(b"a.>",))), "u", headers=True)
    client.send(b"SUB > 1\r\n")

    client.send(b"HPUB a.b 12 13\r\nNATS/1.0\r\n\r\nx\r\nHPUB b 12 13\r\nNATS/1.0\r\n\r\nx\r\n")

    assert client.take() == (
        b"-ERR 'Permissions Violation for Publish to \"a.b\"'\r\nHMSG b 1 12 13\r\nNATS/1.0\r\n\r\nx\r\n"
    )


@pytest.mark.spec("client-protocol 18.2")
def test_a_denial_stays_when_interest_comes_and_goes() -> None:
    server = server_of(publishing(deny=(b"a.b",)))
    publisher, listener = client_of(server, "u"), client_of(server)
    denied = b"-ERR 'Permissions Violation for Publish to \"a.b\"'\r\n"

    for interest in (
        b"PING\r\n",
        b"SUB a.b 1\r\n",
        b"SUB a.* 2\r\n",
        b"SUB > 3\r\n",
        b"UNSUB 1\r\nUNSUB 2\r\n",
    ):
        listener.send(interest)
        publisher.send(b"PUB a.b 0\r\n\r\n" * 3 + b"PUB c 0\r\n\r\n")

        assert publisher.take() == denied * 3

    assert set(subjects(listener.take())) == {b"c"}


@pytest.mark.spec("client-protocol 18.2", "client-protocol 18.5")
def test_refusals_of_one_account_do_not_silence_those_of_another() -> None:
    server = server_of(publishing(()))
    one, other = client_of(server, "u@A"), client_of(server, "u@B")
    listener = client_of(server, "anybody@B")
    denied = b"-ERR 'Permissions Violation for Publish to \"a.b\"'\r\n"

    for number in range(5):
        listener.send(b"SUB a.*.%d %d\r\n" % (number, number))  # one account is told of patterns, one is not
        one.send(b"PUB a.b 0\r\n\r\n")
        other.send(b"PUB a.b 0\r\n\r\n")

        assert (one.take(), other.take()) == (denied, denied)


def test_users_with_different_rules_do_not_get_the_verdicts_of_each_other() -> None:
    users = Users(one=publishing((b"a",)), other=publishing((b"b",)))
    server = World().server(authenticator=users)
    listener = client_of(server)
    listener.send(b"SUB * 1\r\n")
    clients = [client_of(server, name) for name in ("one", "other", "anybody")]

    for _ in range(3):
        for client in clients:
            client.send(b"PUB a 0\r\n\r\nPUB b 0\r\n\r\n")

    assert [client.take().count(b"-ERR") for client in clients] == [3, 3, 0]
    assert subjects(listener.take()) == [b"a", b"b", b"a", b"b"] * 3


# -- subscribing -----------------------------------------------------------------------------------


@pytest.mark.spec(
    "client-protocol 18.3",
    "client-protocol 18.5",
    'client-protocol 12:Permissions Violation for Subscription to "S"',
    'client-protocol 12:Permissions Violation for Subscription to "S" using queue "Q"',
)
def test_a_denied_subscription_is_told_of_and_is_not_made() -> None:
    server = server_of(Permissions(subscribe=SubscribeRules(((b"a.*", None),), ((b"a.b", b"q"),))))
    client = client_of(server, "u")

    client.send(b"SUB b 1\r\nSUB b q 2\r\nSUB a.b q 3\r\nSUB a.b 4\r\nSUB a.b r 5\r\nPING\r\n")

    assert client.lines() == [
        b"-ERR 'Permissions Violation for Subscription to \"b\"'",
        b'-ERR \'Permissions Violation for Subscription to "b" using queue "q"\'',
        b'-ERR \'Permissions Violation for Subscription to "a.b" using queue "q"\'',
        b"PONG",
    ]
    assert client.is_open
    client_of(server).send(b"PUB b 0\r\n\r\nPUB a.b 0\r\n\r\n")
    assert client.lines() == [b"MSG a.b 4 0", b"", b"MSG a.b 5 0", b""]


@pytest.mark.spec("client-protocol 8.1")
def test_permission_comes_before_everything_else_that_may_be_wrong_with_a_subscription() -> None:
    server = server_of(
        Permissions(subscribe=SubscribeRules(((b"a.>", None), (b"a", None)))), max_subscriptions=1,
        max_subject_tokens=3,
    )  # fmt: skip
    client = client_of(server, "u")
    client.send(b"SUB a 1\r\n")

    client.send(b"SUB b.b.b.b 1\r\nSUB b..b 1\r\nSUB a.b.c.d 1\r\nSUB a 1\r\nSUB a.>.b 1\r\n")

    assert client.lines() == [
        b"-ERR 'Permissions Violation for Subscription to \"b.b.b.b\"'",
        b"-ERR 'Permissions Violation for Subscription to \"b..b\"'",
        b"-ERR 'Permissions Violation for Subscription to \"a.b.c.d\", too many tokens'",
        b"-ERR 'maximum subscriptions exceeded'",
        b"-ERR 'maximum subscriptions exceeded'",
    ]


@pytest.mark.spec("client-protocol 8.1", "client-protocol 18.3", "client-protocol 21")
def test_an_empty_token_is_an_invalid_subject_unless_only_some_are_allowed() -> None:
    users = Users(
        allowed=Permissions(subscribe=SubscribeRules(((b">", None),))),
        denied=subscribing_without((b"*.>", None)),
    )
    server = World().server(authenticator=users)
    allowed, denied = client_of(server, "allowed"), client_of(server, "denied")

    for client in (allowed, denied):
        client.send(b"SUB a..b 1\r\n")

    assert allowed.lines() == [b"-ERR 'Permissions Violation for Subscription to \"a..b\"'"]
    assert denied.lines() == [b"-ERR 'Invalid Subject'"]


# -- filtered deliveries ---------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 18.3", "client-protocol 10.1")
@pytest.mark.parametrize("queue", [b"", b"q "])
@pytest.mark.parametrize(
    ("denied", "subscribed", "other"),
    [
        (b"foo.bar", b"foo.*", b"foo.other"),
        (b"foo.bar", b">", b"foo.other"),
        (b"foo.*", b"*.*", b"other.bar"),
        (b"foo.>", b"*.bar", b"other.bar"),
        (b"*.bar", b"foo.>", b"foo.other"),
    ],
)
def test_a_subscription_broader_than_a_denial_never_yields_what_is_denied(
    denied: bytes, subscribed: bytes, other: bytes, queue: bytes
) -> None:
    server = server_of(subscribing_without((denied, None)))
    client, publisher = client_of(server, "u"), client_of(server)
    client.send(b"SUB " + subscribed + b" " + queue + b"1\r\n")

    for _ in range(3):
        publisher.send(b"PUB foo.bar 0\r\n\r\nPUB %b 0\r\n\r\nPUB foo.bar 0\r\n\r\n" % other)

    assert subjects(client.take()) == [other] * 3


@pytest.mark.spec("client-protocol 18.3")
def test_a_denial_of_one_group_filters_its_members_and_nobody_else() -> None:
    server = server_of(subscribing_without((b"a.b", b"q.*")))
    client, publisher = client_of(server, "u"), client_of(server)
    client.send(b"SUB a.* q.x in-q\r\nSUB a.* r in-r\r\nSUB a.* plain\r\n")

    publisher.send(b"PUB a.b 0\r\n\r\n")
    denied = client.take()
    publisher.send(b"PUB a.c 0\r\n\r\n")

    assert re.findall(rb"MSG a.b (\S+) ", denied) == [b"plain", b"in-r"]
    assert re.findall(rb"MSG a.c (\S+) ", client.take()) == [b"plain", b"in-q", b"in-r"]


@pytest.mark.spec("client-protocol 18.3", "client-protocol 9")
def test_a_message_that_one_member_may_not_have_goes_to_another_of_its_group() -> None:
    server = server_of(subscribing_without((b"a.b", None)))
    denied, member, publisher = client_of(server, "u"), client_of(server), client_of(server)
    denied.send(b"SUB a.* q 1\r\n")
    member.send(b"SUB a.b q 1\r\nSUB a.c q 2\r\n")

    publisher.send(b"PUB a.b 0\r\n\r\n" * MESSAGES)
    assert (len(subjects(denied.take())), len(subjects(member.take()))) == (0, MESSAGES)

    publisher.send(b"PUB a.c 0\r\n\r\n" * MESSAGES)
    shares = (len(subjects(denied.take())), len(subjects(member.take())))
    assert sum(shares) == MESSAGES
    assert min(shares) > MESSAGES // 4


@pytest.mark.spec("client-protocol 18.3", "client-protocol 10.4")
def test_a_message_that_nobody_may_have_has_no_responders() -> None:
    server = server_of(subscribing_without((b"a.b", None)))
    client_of(server, "u").send(b"SUB a.* 1\r\nSUB a.* q 2\r\n")
    requester = client_of(server, headers=True, no_responders=True)
    requester.send(b"SUB reply 1\r\n")

    requester.send(b"PUB a.b reply 0\r\n\r\nPUB a.c reply 0\r\n\r\n")

    assert requester.take().count(b"NATS/1.0 503\r\n") == 1


@pytest.mark.spec("client-protocol 18.3", "client-protocol 8.3")
def test_what_is_filtered_does_not_count_toward_a_maximum() -> None:
    server = server_of(subscribing_without((b"a.b", None)))
    client, publisher = client_of(server, "u"), client_of(server)
    client.send(b"SUB a.* 1\r\nUNSUB 1 2\r\n")

    publisher.send(
        b"PUB a.b 0\r\n\r\n" * 5 + b"PUB a.c 0\r\n\r\nPUB a.b 0\r\n\r\n" + b"PUB a.c 0\r\n\r\n" * 3
    )

    assert subjects(client.take()) == [b"a.c", b"a.c"]


@pytest.mark.spec("client-protocol 18.3")
def test_a_filter_goes_with_its_subscription() -> None:
    server = server_of(subscribing_without((b"a.b", None)))
    filtered, free, publisher = client_of(server, "u"), client_of(server), client_of(server)

    for _ in range(3):
        filtered.send(b"SUB a.* 1\r\n")
        free.send(b"SUB a.* 1\r\n")
        publisher.send(b"PUB a.b 0\r\n\r\nPUB a.c 0\r\n\r\n")
        assert (subjects(filtered.take()), subjects(free.take())) == ([b"a.c"], [b"a.b", b"a.c"])
        filtered.send(b"UNSUB 1\r\n")
        publisher.send(b"PUB a.b 0\r\n\r\nPUB a.c 0\r\n\r\n")
        assert (subjects(filtered.take()), subjects(free.take())) == ([], [b"a.b", b"a.c"])
        free.send(b"UNSUB 1\r\n")


# -- other permissions -----------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 18.2", "client-protocol 18.3")
def test_a_second_connect_brings_other_permissions_and_takes_the_subscriptions_of_the_first() -> None:
    server = server_of(Permissions(Rules((b"a",)), SubscribeRules(((b"a", None),))))
    client, publisher = client_of(server), client_of(server)
    client.send(b"SUB b 1\r\nPUB b 0\r\n\r\n")
    assert client.lines() == [b"MSG b 1 0", b""]

    client.send(connect_as("u") + b"SUB b 2\r\nSUB a 3\r\nPUB b 0\r\n\r\nPUB a 0\r\n\r\n")
    publisher.send(b"PUB b 0\r\n\r\n")

    assert client.lines() == [
        b"-ERR 'Permissions Violation for Subscription to \"b\"'",
        b"-ERR 'Permissions Violation for Publish to \"b\"'",
        b"MSG a 3 0",
        b"",
    ]
    client.send(connect_as("anybody") + b"SUB b 4\r\nPUB b 0\r\n\r\n")
    assert client.lines() == [b"MSG b 4 0", b""]

"""Why a message goes where it goes."""

from __future__ import annotations

import pytest

from natscore.events import ConnectionId
from natscore.explain import Line, explain
from natscore.testing import World
from tests.support.accounts import client_of as account_client
from tests.support.accounts import exporting, importing, server_of
from tests.support.pure import pure_subscription
from tests.unit.core.dialogue import NO_ECHO, client_of


def test_each_receiver_is_named_with_the_subscription_that_brought_it() -> None:
    server = World().server()
    first, second = client_of(server), client_of(server)
    first.send(b"SUB foo 1\r\nSUB foo q 2\r\n")
    second.send(b"SUB *.x 7\r\nSUB > 8\r\nSUB foo q 9\r\n")

    assert explain(server.state, "$G", b"foo") == (
        Line(True, "subscribed to foo", first.cid, b"1"),
        Line(True, "subscribed to >", second.cid, b"8"),
        Line(True, "subscribed to foo; one member of the group is drawn", first.cid, b"2", b"q"),
        Line(True, "subscribed to foo; one member of the group is drawn", second.cid, b"9", b"q"),
    )


def test_who_imports_a_stream_is_named_with_its_account_and_its_name_of_the_subject() -> None:
    server = server_of(exporting("A"), importing("B", "A", b"s.>", prefix=b"p"), importing("C", "A", b"s.x"))
    own, renaming, keeping = (account_client(server, name) for name in ("A", "B", "C"))
    own.send(b"SUB s.* q 1\r\n")
    renaming.send(b"SUB p.> 2\r\nSUB p.s.x q 3\r\n")
    keeping.send(b"SUB > 4\r\n")

    assert explain(server.state, "A", b"s.x") == (
        Line(True, "subscribed to > in account C, which imports it", keeping.cid, b"4"),
        Line(True, "subscribed to p.> in account B, which imports it as p.s.x", renaming.cid, b"2"),
        Line(
            True,
            "subscribed to p.s.x in account B, which imports it as p.s.x; one member of the group is drawn",
            renaming.cid, b"3", b"q",
        ),
        Line(True, "subscribed to s.*; one member of the group is drawn", own.cid, b"1", b"q"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("account", "subject"), [("$G", b"nobody"), ("$G", b"foo..bar"), ("other account", b"foo")]
)
def test_nobody_is_a_reason_too(account: str, subject: bytes) -> None:
    server = World().server()
    client_of(server).send(b"SUB foo 1\r\n")

    assert explain(server.state, account, subject) == (Line(False, "nobody: no subscription matches"),)


@pytest.mark.spec("client-protocol 20")
@pytest.mark.parametrize(("subject", "prefix"), [(b"_GR_.a", "_GR_."), (b"$NRG.a", "$NRG.")])
def test_a_reserved_subject_is_refused(subject: bytes, prefix: str) -> None:
    server = World().server()

    assert explain(server.state, "$G", subject) == (
        Line(False, f"refused: clients must not publish to {prefix}>"),
    )


def test_a_receiver_that_gets_nothing_is_named_with_the_reason() -> None:
    server = World().server(max_pending=1000, max_payload=1000, fast_producer_stall=False)
    silent, slow = client_of(server, NO_ECHO), client_of(server)
    silent.send(b"SUB foo 1\r\n")
    slow.send(b"SUB foo 2\r\n")
    slow.window = 0
    silent.send(b"PUB foo 800\r\n" + b"x" * 800 + b"\r\n")

    own, behind = explain(server.state, "$G", b"foo", silent.cid)

    assert own == Line(
        False, "subscribed to foo, but it is the publisher's own, and echo is off", silent.cid, b"1"
    )
    assert behind == Line(False, "subscribed to foo, but the connection is too far behind", slow.cid, b"2")
    assert explain(server.state, "$G", b"foo", slow.cid)[0].delivers
    assert explain(server.state, "$G", b"foo", ConnectionId(999))[0].delivers


@pytest.mark.pure_plane
def test_a_connection_that_is_ending_and_a_maximum_that_is_reached_are_reasons() -> None:
    server = World().server()
    client = client_of(server)
    client.send(b"SUB foo 1\r\nSUB foo 2\r\n")
    connection = server.state.connections[client.cid]
    pure_subscription(connection.subscriptions[b"2"]).live = False

    assert explain(server.state, "$G", b"foo")[1].reason == "subscribed to foo, but its maximum is reached"
    connection.outbox.open = False

    assert {line.reason for line in explain(server.state, "$G", b"foo")} == {
        "subscribed to foo, but the connection is ending"
    }


def test_explaining_changes_nothing() -> None:
    server = World().server()
    client_of(server).send(b"SUB foo.* 1\r\n")
    table = server.state.accounts["$G"].table

    explain(server.state, "$G", b"foo.bar")

    assert len(table) == 0

"""Mappings of an account, seen from outside: what a published subject becomes, for whom, and how often."""

from __future__ import annotations

import io
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from natscore.account.mappings import Destination, Mapping
from natscore.account.permissions import Permissions, Rules
from natscore.account.settings import AccountSettings, AccountsSettings, StreamExport
from natscore.replay import replay
from natscore.testing import World
from tests.support.accounts import ByAccount, client_of, importing, server_of

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient, SimulatedServer

pytestmark = pytest.mark.every_plane

FORMS: Final = {
    "canonical": b"PUB %b 1\r\nx\r\n",
    "with reply": b"PUB %b re.ply 1\r\nx\r\n",
    "loose": b"pub %b  1\r\nx\r\n",
}
DRAWS: Final = 10_000
CHI_SQUARE_MAX: Final = (
    13.8  # of two degrees of freedom; more happens once in a thousand, and the seed is fixed
)


def mapping(source: bytes, *destinations: tuple[bytes, int] | bytes | Destination) -> Mapping:
    made = [
        one if isinstance(one, Destination) else Destination(*(one if isinstance(one, tuple) else (one, 100)))
        for one in destinations
    ]
    return Mapping(source, made)


def server_with(*mappings: Mapping, **permissions: Permissions) -> SimulatedServer:
    return server_of(AccountSettings(name="A", mappings=mappings), permissions=permissions)


def subjects_heard(client: ScriptedClient) -> list[bytes]:
    return re.findall(rb"^H?MSG (\S+)", client.take(), re.MULTILINE)


@pytest.mark.spec("accounts 9", "accounts 17:15")
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    ("source", "destination", "published", "heard"),
    [
        (b"foo", b"bar", b"foo", b"bar"),
        (b"foo", b"bar", b"foo.x", b"foo.x"),
        (b"foo.*.*", b"bar.$2.$1", b"foo.a.b", b"bar.b.a"),
        (b"foo.>", b"bar.x.>", b"foo.a.b", b"bar.x.a.b"),
        (b"p.*", b"q.{{partition(10,1)}}.$1", b"p.abc", b"q.1.abc"),
        (b"s.*", b"t.{{SplitFromLeft(1,3)}}", b"s.abcdef", b"t.abc.def"),
        (b"s.*", b"t.{{SplitFromRight(1,3)}}", b"s.abcdefg", b"t.abcd.efg"),
        (b"s.*", b"t.{{SliceFromLeft(1,3)}}", b"s.abcdefgh", b"t.abc.def.gh"),
        (b"s.*", b"t.{{SliceFromRight(1,3)}}", b"s.abcdefgh", b"t.ab.cde.fgh"),
        (b"s.*", b"t.{{split(1,-)}}", b"s.-a--b", b"t.a.b"),
        (b"s.*", b"t.{{random(1)}}", b"s.a", b"t.0"),
    ],
)
def test_a_message_is_delivered_under_its_new_subject(
    source: bytes, destination: bytes, published: bytes, heard: bytes, form: bytes
) -> None:
    server = server_with(mapping(source, destination))
    publisher, listener = client_of(server, "A"), client_of(server, "A")
    listener.send(b"SUB > 1\r\n")

    publisher.send(form % published * 3)

    assert subjects_heard(listener) == [heard] * 3


@pytest.mark.spec("accounts 9")
def test_a_mapping_is_applied_once_and_not_to_the_reply() -> None:
    server = server_with(mapping(b"a", b"b"), mapping(b"b", b"c"), mapping(b"c", b"a"))
    client = client_of(server, "A")
    client.send(b"SUB * 1\r\n")

    client.send(b"PUB a b 0\r\n\r\nPUB b c 0\r\n\r\nPUB c 0\r\n\r\nPUB a 0\r\n\r\n")

    assert client.lines() == [
        b"MSG b 1 b 0", b"", b"MSG c 1 c 0", b"", b"MSG a 1 0", b"", b"MSG b 1 0", b"",
    ]  # fmt: skip


@pytest.mark.spec("accounts 9")
def test_a_literal_source_comes_before_one_that_covers_it() -> None:
    server = server_with(mapping(b"a.*", b"wide.$1"), mapping(b"a.>", b"wider.>"), mapping(b"a.x", b"exact"))
    client = client_of(server, "A")
    client.send(b"SUB > 1\r\n")

    client.send(b"PUB a.x 0\r\n\r\nPUB a.y 0\r\n\r\nPUB a.y.z 0\r\n\r\n")

    assert subjects_heard(client) == [b"exact", b"wide.y", b"wider.y.z"]


@pytest.mark.spec("accounts 9")
def test_who_subscribes_to_the_source_hears_what_nobody_renames() -> None:
    server = server_with(mapping(b"foo", b"bar"))
    publisher, listener = client_of(server, "A"), client_of(server, "A")
    listener.send(b"SUB foo 1\r\n")
    publisher.send(b"PUB foo 0\r\n\r\nPUB foo.x 0\r\n\r\n")

    listener.send(b"SUB bar 2\r\n")  # a literal that is new, behind a subject that was published in vain
    publisher.send(b"PUB foo 0\r\n\r\n")
    listener.send(b"UNSUB 2\r\nSUB bar.* 3\r\n")
    publisher.send(b"PUB foo 0\r\n\r\n")

    assert listener.lines() == [b"MSG bar 2 0", b""]


@pytest.mark.spec("accounts 1", "accounts 9")
def test_mappings_of_one_account_and_of_the_global_one_stay_with_it() -> None:
    world = World()
    server = world.server(
        authenticator=ByAccount(),
        accounts=AccountsSettings(
            accounts=(
                AccountSettings(name="A", mappings=(mapping(b"foo", b"a"),)),
                AccountSettings(name="B"),
            ),
            global_mappings=(mapping(b"foo", b"g"),),
        ),
    )
    clients = [client_of(server, name) for name in ("$G", "A", "B")]
    for client in clients:
        client.send(b"SUB > 1\r\nPUB foo 0\r\n\r\n")

    assert [subjects_heard(client) for client in clients] == [[b"g"], [b"a"], [b"foo"]]


# -- permissions -------------------------------------------------------------------------------------


@pytest.mark.spec("accounts 9", "accounts 17:15")
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_verdict_is_on_the_subject_that_a_message_gets(form: bytes) -> None:
    server = server_with(
        mapping(b"foo", b"bar"),
        source=Permissions(publish=Rules(allow=(b"foo",))),
        destination=Permissions(publish=Rules(allow=(b"bar",))),
        denied=Permissions(publish=Rules(deny=(b"bar",))),
    )
    listener = client_of(server, "A")
    listener.send(b"SUB > 1\r\n")
    refused = b"-ERR 'Permissions Violation for Publish to \"bar\"'\r\n"

    answers = []
    for user in ("source@A", "destination@A", "denied@A"):
        client = client_of(server, user)
        client.send(form % b"foo" * 2)
        answers.append(client.take())

    assert answers == [refused * 2, b"", refused * 2]
    assert subjects_heard(listener) == [b"bar"] * 2


def test_a_reserved_subject_is_reserved_whatever_leads_there() -> None:
    server = server_with(mapping(b"foo", b"_GR_.x"), mapping(b"_GR_.y", b"fine"))
    client = client_of(server, "A")
    client.send(b"SUB > 1\r\n")

    client.send(b"PUB foo 0\r\n\r\nPUB _GR_.y 0\r\n\r\n")

    assert client.lines() == [b"-ERR 'Permissions Violation for Publish to \"_GR_.x\"'", b"MSG fine 1 0", b""]


def test_a_pedantic_client_is_told_of_the_subject_that_it_wrote() -> None:
    server = server_with(mapping(b"foo.*", b"bar"), mapping(b"fine", b"a.{{random(1)}}"))
    client = client_of(server, "A", pedantic=True)
    client.send(b"SUB > 1\r\n")

    client.send(b"PUB foo.* 0\r\n\r\npub foo.* 0\r\n\r\nPUB foo.x 0\r\n\r\nPUB fine 0\r\n\r\n")

    complaint = b"-ERR 'Invalid Publish Subject'"
    message = [b"MSG bar 1 0", b""]
    assert client.lines() == [complaint, *message, complaint, *message, *message, b"MSG a.0 1 0", b""]


def test_a_request_without_responders_names_the_subject_that_it_got() -> None:
    server = server_with(mapping(b"foo", b"bar"))
    client = client_of(server, "A", headers=True, no_responders=True)
    client.send(b"SUB in.box 1\r\n")

    client.send(b"PUB foo in.box 0\r\n\r\n")

    assert client.take() == (b"HMSG in.box 1 35 35\r\nNATS/1.0 503\r\nNats-Subject: bar\r\n\r\n\r\n")


# -- weights -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.spec("accounts 9", "accounts 17:15", "accounts 18:14")
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_draws_follow_the_weights(form: bytes) -> None:
    server = server_with(mapping(b"m", (b"m.v1", 50), (b"m.v2", 30)))
    publisher, listener = client_of(server, "A"), client_of(server, "A")
    listener.send(b"SUB > 1\r\n")

    for _ in range(10):
        publisher.send(form % b"m" * (DRAWS // 10))

    counted = Counter(subjects_heard(listener))
    expected = {b"m.v1": DRAWS * 0.5, b"m.v2": DRAWS * 0.3, b"m": DRAWS * 0.2}
    assert counted.keys() == expected.keys()
    assert sum((counted[one] - much) ** 2 / much for one, much in expected.items()) < CHI_SQUARE_MAX


@pytest.mark.spec("accounts 9", "accounts 17:15", "accounts 18:14")
def test_what_weights_leave_is_lost_where_the_source_is_named() -> None:
    server = server_with(mapping(b"all", (b"m", 0), (b"all", 0)), mapping(b"half", (b"m", 50), (b"half", 0)))
    publisher = client_of(server, "A", headers=True, no_responders=True)
    listener = client_of(server, "A")
    listener.send(b"SUB > 1\r\n")
    publisher.send(b"SUB in.box 1\r\n")

    publisher.send(b"PUB all in.box 0\r\n\r\n" * 10 + b"PUB half 0\r\n\r\n" * 100)

    heard = subjects_heard(listener)
    assert set(heard) == {b"m"}
    assert 30 < len(heard) < 70
    assert publisher.take().count(b"NATS/1.0 503\r\nNats-Subject: all\r\n") == 10


def test_a_message_that_is_lost_is_no_violation() -> None:
    server = server_with(
        mapping(b"all", (b"m", 0), (b"all", 0)), limited=Permissions(publish=Rules(allow=(b"m",)))
    )
    client = client_of(server, "limited@A")

    client.send(b"PUB all 0\r\n\r\n" * 3 + b"PING\r\n")

    assert client.take() == b"PONG\r\n"


def test_a_destination_that_no_subscription_can_have_loses_the_message() -> None:
    server = server_with(mapping(b"s.*", b"t.{{split(1,-)}}"))
    client = client_of(server, "A")
    client.send(b"SUB > 1\r\n")

    client.send(b"PUB s.-- 0\r\n\r\nPUB s.a-b 0\r\n\r\n")

    assert subjects_heard(client) == [b"t.a.b"]


@pytest.mark.spec("accounts 9", "accounts 17:15", "accounts 18:14")
def test_destinations_of_a_named_cluster_are_not_those_of_a_server_without_a_name() -> None:
    elsewhere = Destination(b"east", 100, "east")
    server = server_with(mapping(b"m", elsewhere), mapping(b"n", elsewhere, Destination(b"here", 100)))
    client = client_of(server, "A")
    client.send(b"SUB > 1\r\n")

    client.send(b"PUB m 0\r\n\r\nPUB n 0\r\n\r\n")

    assert subjects_heard(client) == [b"m", b"here"]


def test_each_message_is_drawn_for_once_however_many_plans_have_to_be_made() -> None:
    """A destination that was never seen costs a plan, and the message keeps what was drawn for it."""

    def heard(cuts: bool) -> list[bytes]:
        world = World(5, cuts=cuts)
        server = server_of(
            AccountSettings(name="A", mappings=(mapping(b"m", b"t.{{random(1000000)}}"),)), world=world
        )
        publisher, listener = client_of(server, "A"), client_of(server, "A")
        listener.send(b"SUB > 1\r\nSUB t.* q 2\r\nSUB t.* q 3\r\n")
        publisher.send(b"PUB m 0\r\n\r\npub m 0\r\n\r\n" * 50)
        return re.findall(rb"MSG (.*)", listener.take())

    once, in_pieces = heard(False), heard(True)

    assert len(once) == 200
    assert len({one.split()[0] for one in once}) == 100
    assert in_pieces == once


def test_a_source_that_may_publish_elsewhere_after_a_new_login_draws_anew() -> None:
    server = server_of(
        AccountSettings(name="A", mappings=(mapping(b"m", b"t.{{random(2)}}"),)), AccountSettings(name="B")
    )
    client, other = client_of(server, "A"), client_of(server, "B")
    other.send(b"SUB > 1\r\n")

    client.send(b"PUB m 0\r\n\r\n" + b'CONNECT {"verbose":false,"user":"B"}\r\nPUB m 0\r\n\r\n')

    assert subjects_heard(other) == [b"m"]


# -- what it costs -----------------------------------------------------------------------------------


def test_a_mapped_subject_is_remembered_and_a_long_one_is_not() -> None:
    server = server_with(mapping(b"foo.*", b"bar.$1"))
    client = client_of(server, "A")
    client.send(b"SUB bar.> 1\r\n")
    long = b"foo." + b"x" * 600
    client.send(b"PUB foo.a 0\r\n\r\nPUB " + long + b" 0\r\n\r\n")
    account = server.state.accounts["A"]
    lines, steps = len(account.table), account.sublist.steps

    client.send(b"PUB foo.a 0\r\n\r\nPUB foo.b 0\r\n\r\n" + b"PUB foo.a 0\r\n\r\n" * 3)
    again = account.sublist.steps
    client.send(b"PUB foo.a 0\r\n\r\nPUB foo.b 0\r\n\r\nPUB " + long + b" 0\r\n\r\n")

    assert lines == 2  # of foo.a, and of bar.a
    assert len(account.table) == 4
    assert steps < again
    assert len(subjects_heard(client)) == 10


def test_mappings_into_a_stream_that_is_exported_feed_it() -> None:
    exporter = AccountSettings(
        name="A", exports=(StreamExport(subject=b"s.>"),), mappings=(mapping(b"in.*", b"s.$1"),)
    )
    importer = importing("B", "A", b"s.>", prefix=b"p")
    server = server_of(exporter, importer)
    publisher, listener = client_of(server, "A"), client_of(server, "B")
    listener.send(b"SUB > 1\r\n")

    publisher.send(b"PUB in.x 0\r\n\r\n")

    assert subjects_heard(listener) == [b"p.s.x"]


@pytest.mark.spec("accounts 5.2")
def test_mappings_of_an_importer_do_not_touch_what_it_imports() -> None:
    importer = AccountSettings(
        name="B", imports=importing("B", "A", b"s.>").imports, mappings=(mapping(b"s.x", b"t"),)
    )
    server = server_of(AccountSettings(name="A", exports=(StreamExport(subject=b"s.>"),)), importer)
    publisher, listener = client_of(server, "A"), client_of(server, "B")
    listener.send(b"SUB > 1\r\n")

    publisher.send(b"PUB s.x 0\r\n\r\n")

    assert subjects_heard(listener) == [b"s.x"]


def test_draws_of_mappings_and_of_groups_replay() -> None:
    world = World(11)
    weighted = AccountSettings(name="A", mappings=(mapping(b"m", (b"m.v1", 50), (b"m.v2", 30)),))
    server = server_of(weighted, world=world)
    publisher, listener = client_of(server, "A"), client_of(server, "A")
    listener.send(b"SUB m.> q 1\r\nSUB m.* q 2\r\nSUB m q 3\r\n")
    publisher.send(b"PUB m 0\r\n\r\n" * 100)

    again = replay(io.BytesIO(server.journal.getvalue()).read, authenticator=ByAccount())

    assert again.server.state.summary() == server.state.summary()
    assert len(subjects_heard(listener)) == 100

"""Streams that accounts import, seen from outside: who gets which message, and under which subject."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

import pytest

from natscore.account.permissions import Permissions, Rules, SubscribeRules
from natscore.account.settings import AccountSettings, AccountsSettings, StreamExport, StreamImport
from natscore.testing import World
from tests.support.accounts import client_of, exporting, importing, server_of

pytestmark = pytest.mark.every_plane

MESSAGES: Final = 1_000
MANY: Final = 2_500  # more receivers than one turn serves


def numbers_of(received: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb"\r\n(\d+)\r\n", received)]


@pytest.mark.spec("accounts 1", "accounts 5")
def test_nothing_crosses_without_an_import_and_an_import_is_one_way() -> None:
    server = server_of(exporting("A", b"s.>"), importing("B", "A", b"s.>"), AccountSettings(name="C"))
    exporter, importer, stranger = (client_of(server, name) for name in ("A", "B", "C"))
    for one in (exporter, importer, stranger):
        one.send(b"SUB > 1\r\n")

    exporter.send(b"PUB s.x 1\r\na\r\nPUB other 1\r\no\r\n")
    importer.send(b"PUB s.x 1\r\nb\r\n")
    stranger.send(b"PUB s.x 1\r\nc\r\n")

    assert exporter.take() == b"MSG s.x 1 1\r\na\r\nMSG other 1 1\r\no\r\n"
    assert importer.take() == b"MSG s.x 1 1\r\na\r\nMSG s.x 1 1\r\nb\r\n"
    assert stranger.take() == b"MSG s.x 1 1\r\nc\r\n"


@pytest.mark.spec("accounts 5.1", "accounts 17:4", "accounts 17:5")
@pytest.mark.parametrize(
    ("subscribed", "local"),
    [
        (b"from.a.s.>", b"from.a.s.x.z"),  # the same
        (b"from.a.s.x.z", b"from.a.s.x.z"),  # narrower
        (b"from.>", b"from.a.s.x.z"),  # wider
        (b">", b"from.a.s.x.z"),
        (b"from.*.s.*.z", b"from.a.s.x.z"),  # overlaps
        (b"s.x.z", None),
        (b"from.a.s.y.>", None),
        (b"from.b.>", None),
    ],
)
def test_a_subscription_gets_what_of_an_import_it_matches(subscribed: bytes, local: bytes | None) -> None:
    server = server_of(exporting("A", b"s.>"), importing("B", "A", b"s.>", prefix=b"from.a"))
    exporter, importer = client_of(server, "A"), client_of(server, "B")
    importer.send(b"SUB " + subscribed + b" 7\r\n")

    exporter.send(b"PUB s.x.z 2\r\nhi\r\n")

    assert importer.take() == (b"" if local is None else b"MSG " + local + b" 7 2\r\nhi\r\n")


@pytest.mark.spec("accounts 5.1", "accounts 5.2")
def test_tokens_are_put_where_the_import_wants_them() -> None:
    server = server_of(exporting("A", b"s.*.*"), importing("B", "A", b"s.*.*", to=b"loc.$2.$1"))
    exporter, importer = client_of(server, "A"), client_of(server, "B")
    importer.send(b"SUB loc.*.one 1\r\nSUB loc.two.* 2\r\nSUB loc.one.two 3\r\n")

    exporter.send(b"".join(b"PUB s.one.%b 0\r\n\r\n" % name for name in (b"two", b"three", b"four")))

    assert Counter(importer.lines()) == Counter(
        {
            b"MSG loc.two.one 1 0": 1,
            b"MSG loc.two.one 2 0": 1,
            b"MSG loc.three.one 1 0": 1,
            b"MSG loc.four.one 1 0": 1,
            b"": 4,
        }
    )


@pytest.mark.spec("accounts 5.2")
def test_reply_and_headers_cross_as_they_are() -> None:
    server = server_of(exporting("A"), importing("B", "A", b"s", to=b"t"))
    exporter = client_of(server, "A", headers=True)
    importer, bare = client_of(server, "B", headers=True), client_of(server, "B", headers=False)
    for one in (importer, bare):
        one.send(b"SUB t 1\r\n")

    exporter.send(b"HPUB s in.box 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPUB s in.box 1\r\nx\r\n")

    assert importer.take() == (b"HMSG t 1 in.box 12 14\r\nNATS/1.0\r\n\r\nhi\r\nMSG t 1 in.box 1\r\nx\r\n")
    assert bare.take() == b"MSG t 1 in.box 2\r\nhi\r\nMSG t 1 in.box 1\r\nx\r\n"


@pytest.mark.spec("accounts 5.1", "accounts 5.2")
def test_one_subscription_hears_its_own_account_and_the_import() -> None:
    server = server_of(exporting("A"), importing("B", "A", b"s.>"))
    exporter, importer, neighbour = client_of(server, "A"), client_of(server, "B"), client_of(server, "B")
    importer.send(b"SUB s.x 1\r\n")

    exporter.send(b"PUB s.x 1\r\na\r\n")
    neighbour.send(b"PUB s.x 1\r\nb\r\n")

    assert importer.take() == b"MSG s.x 1 1\r\na\r\nMSG s.x 1 1\r\nb\r\n"


@pytest.mark.spec("accounts 5.2")
def test_an_account_between_two_others_passes_nothing_on() -> None:
    middle = AccountSettings(
        name="B",
        exports=(StreamExport(subject=b"s.>"),),
        imports=(StreamImport(account="A", subject=b"s.>"),),
    )
    server = server_of(exporting("A", b"s.>"), middle, importing("C", "B", b"s.>"))
    first, second, third = (client_of(server, name) for name in ("A", "B", "C"))
    third.send(b"SUB > 1\r\n")

    first.send(b"PUB s.x 1\r\na\r\n")
    second.send(b"PUB s.x 1\r\nb\r\n")

    assert third.take() == b"MSG s.x 1 1\r\nb\r\n"


@pytest.mark.spec("accounts 5.2")
def test_imports_that_overlap_bring_a_message_once_for_each_name() -> None:
    imports = (
        StreamImport(account="A", subject=b"s.>"),
        StreamImport(account="A", subject=b"s.x"),
        StreamImport(account="A", subject=b"s.*", to=b"t.$1"),
    )
    server = server_of(exporting("A"), AccountSettings(name="B", imports=imports))
    exporter, importer = client_of(server, "A"), client_of(server, "B")
    importer.send(b"SUB > 1\r\nSUB s.x 2\r\n")

    exporter.send(b"PUB s.x 0\r\n\r\n")

    assert Counter(importer.lines()) == Counter(
        {b"MSG s.x 1 0": 1, b"MSG t.x 1 0": 1, b"MSG s.x 2 0": 1, b"": 3}
    )


def test_an_account_that_imports_from_itself_hears_both_names() -> None:
    own = exporting("A", b"s", imports=(StreamImport(account="A", subject=b"s", to=b"t"),))
    client = client_of(server_of(own), "A")
    client.send(b"SUB * 1\r\n")

    client.send(b"PUB s 1\r\nx\r\nPUB t 1\r\ny\r\n")

    assert client.take() == b"MSG s 1 1\r\nx\r\nMSG t 1 1\r\nx\r\nMSG t 1 1\r\ny\r\n"


@pytest.mark.spec("accounts 5.1")
def test_who_unsubscribes_or_leaves_gets_nothing_more_and_leaves_nothing() -> None:
    server = server_of(exporting("A"), importing("B", "A", b"s.>", prefix=b"p"))
    exporter, staying, leaving = client_of(server, "A"), client_of(server, "B"), client_of(server, "B")
    staying.send(b"SUB p.> 1\r\nSUB p.s.x q 2\r\n")
    leaving.send(b"SUB p.> 1\r\nSUB p.s.x q 2\r\n")

    staying.send(b"UNSUB 1\r\nUNSUB 2\r\n")
    leaving.close()
    exporter.send(b"PUB s.x 0\r\n\r\n")

    assert staying.take() == b""
    assert [account.subscriptions for account in server.state.accounts.values()] == [0, 0, 0, 0]


def test_who_logs_in_again_elsewhere_leaves_its_imports_behind() -> None:
    server = server_of(exporting("A"), importing("B", "A", b"s"), AccountSettings(name="C"))
    exporter, moving = client_of(server, "A"), client_of(server, "B")
    moving.send(b"SUB s 1\r\n")

    moving.send(b'CONNECT {"verbose":false,"user":"C"}\r\nSUB s 1\r\n')
    exporter.send(b"PUB s 0\r\n\r\n")

    assert moving.take() == b""
    assert server.state.accounts["A"].subscriptions == 0


@pytest.mark.spec("accounts 5.2")
def test_a_maximum_counts_what_comes_through_imports_too() -> None:
    server = server_of(exporting("A"), importing("B", "A", b"s.>"))
    exporter, importer, neighbour = client_of(server, "A"), client_of(server, "B"), client_of(server, "B")
    importer.send(b"SUB s.> 1\r\nUNSUB 1 3\r\n")

    exporter.send(b"PUB s.x 1\r\n1\r\n")
    neighbour.send(b"PUB s.x 1\r\n2\r\n")
    exporter.send(b"PUB s.x 1\r\n3\r\nPUB s.x 1\r\n4\r\n")
    neighbour.send(b"PUB s.x 1\r\n5\r\n")

    assert numbers_of(importer.take()) == [1, 2, 3]
    assert server.state.accounts["A"].subscriptions == 0


@pytest.mark.parametrize("form", [b"PUB s.x 1\r\n%d\r\n", b"pub s.x 1\r\n%d\r\n"], ids=["run", "single"])
def test_a_maximum_is_reached_in_the_middle_of_a_run(form: bytes) -> None:
    server = server_of(exporting("A"), importing("B", "A", b"s.>", prefix=b"p"))
    exporter, importer, other = client_of(server, "A"), client_of(server, "B"), client_of(server, "B")
    importer.send(b"SUB p.s.x 1\r\nSUB p.> 2\r\nUNSUB 1 3\r\n")
    other.send(b"SUB p.s.* 1\r\nUNSUB 1 2\r\n")

    exporter.send(b"".join(form % number for number in range(6)))

    assert importer.take().count(b" 1 1\r\n") == 3
    assert numbers_of(other.take()) == [0, 1]


@pytest.mark.spec("accounts 5.2", "accounts 17:5", "accounts 18:6")
def test_members_of_a_group_in_both_accounts_are_one_group() -> None:
    server = server_of(exporting("A"), importing("B", "A", b"s.>", prefix=b"p"))
    exporter = client_of(server, "A")
    members = [client_of(server, name) for name in ("A", "B", "B")]
    members[0].send(b"SUB s.* q 1\r\n")
    for one in members[1:]:
        one.send(b"SUB p.s.x q 1\r\n")

    exporter.send(b"".join(b"PUB s.x %d\r\n%d\r\n" % (len(b"%d" % n), n) for n in range(MESSAGES)))

    received = [one.take() for one in members]
    assert sorted(number for one in received for number in numbers_of(one)) == [*range(MESSAGES)]
    assert all(MESSAGES // 5 < len(numbers_of(one)) < MESSAGES // 2 for one in received)
    assert [set(re.findall(rb"MSG (\S+)", one)) for one in received] == [{b"s.x"}, {b"p.s.x"}, {b"p.s.x"}]


@pytest.mark.spec("accounts 5.2")
def test_a_member_that_takes_the_place_of_another_knows_the_message_by_its_own_subject() -> None:
    server = server_of(exporting("A"), importing("B", "A", b"s.>", prefix=b"p"))
    publisher, importer = client_of(server, "A", echo=False), client_of(server, "B")
    publisher.send(b"SUB s.x q 1\r\n")  # without echo it is drawn as often, and takes nothing
    importer.send(b"SUB p.s.x q 1\r\n")

    publisher.send(b"pub s.x 0\r\n\r\n" * 50 + b"PUB s.x 0\r\n\r\n" * 50)

    assert importer.take() == b"MSG p.s.x 1 0\r\n\r\n" * 100


@pytest.mark.spec("accounts 5.2")
def test_permissions_judge_the_subject_of_the_own_account() -> None:
    permissions = {
        "some": Permissions(subscribe=SubscribeRules(allow=((b"p.>", None),), deny=((b"p.s.no", None),))),
        "groups": Permissions(subscribe=SubscribeRules(deny=((b"p.s.no", None),))),
        "speaker": Permissions(publish=Rules(allow=(b"s.>",))),
    }
    server = server_of(exporting("A"), importing("B", "A", b"s.>", prefix=b"p"), permissions=permissions)
    exporter = client_of(server, "speaker@A")
    importer, member = client_of(server, "some@B"), client_of(server, "groups@B")

    importer.send(b"SUB s.> 1\r\nSUB p.> 2\r\nSUB p.s.no 3\r\n")
    member.send(b"SUB p.> q 1\r\n")
    exporter.send(b"PUB s.no 0\r\n\r\nPUB s.yes 0\r\n\r\nPUB p.s.x 0\r\n\r\n")

    assert importer.lines() == [
        b"-ERR 'Permissions Violation for Subscription to \"s.>\"'",
        b"-ERR 'Permissions Violation for Subscription to \"p.s.no\"'",
        b"MSG p.s.yes 2 0",
        b"",
    ]
    assert member.lines() == [b"MSG p.s.yes 1 0", b""]
    assert exporter.lines() == [b"-ERR 'Permissions Violation for Publish to \"p.s.x\"'"]


def test_a_request_that_only_an_importer_hears_is_not_without_responders() -> None:
    server = server_of(exporting("A"), importing("B", "A", b"s.>", prefix=b"p"))
    exporter, importer = client_of(server, "A", headers=True, no_responders=True), client_of(server, "B")
    exporter.send(b"SUB in.box 1\r\n")
    importer.send(b"SUB p.s.x 1\r\n")

    exporter.send(b"PUB s.x in.box 0\r\n\r\nPUB s.y in.box 0\r\n\r\n")

    assert importer.take() == b"MSG p.s.x 1 in.box 0\r\n\r\n"
    assert exporter.take().startswith(b"HMSG in.box 1 ")
    assert exporter.take() == b""


def test_a_503_does_not_go_to_what_a_requester_imports_from_itself() -> None:
    own = exporting("A", b"in.*", imports=(StreamImport(account="A", subject=b"in.*", to=b"local.$1"),))
    client = client_of(server_of(own), "A", headers=True, no_responders=True)
    client.send(b"SUB local.box 1\r\n")

    client.send(b"PUB nobody in.box 0\r\n\r\n")

    assert client.take() == b""


@pytest.mark.parametrize("size", [1, 5_000])
@pytest.mark.parametrize("queue", [b"", b" q%d"])
def test_very_many_importers_get_each_message_once_in_order(size: int, queue: bytes) -> None:
    server = server_of(exporting("A"), importing("B", "A", b"s.>", prefix=b"p"), importing("C", "A", b"s.>"))
    exporter = client_of(server, "A")
    importers = [client_of(server, name) for name in ("B", "C")]
    for one, subject in zip(importers, (b"p.s.x", b"s.x"), strict=True):
        for sid in range(MANY // 2):
            one.send(b"SUB " + subject + (queue % sid if queue else b"") + b" %d\r\n" % sid)

    payload = b"x" * size
    exporter.send(b"PUB s.x %d\r\n%b\r\n" % (size, payload) * 2)

    received = [one.take() for one in importers]
    if not queue:
        assert [one.count(payload + b"\r\n") for one in received] == [MANY, MANY]
    assert sum(one.count(payload + b"\r\n") for one in received) == (MANY if queue else 2 * MANY)
    assert received[0].count(b"MSG p.s.x ") == received[0].count(payload + b"\r\n")


def test_many_clients_of_an_import_are_served_in_parts() -> None:
    server = server_of(exporting("A"), importing("B", "A", b"s.>", prefix=b"p"))
    exporter = client_of(server, "A")
    importers = [client_of(server, "B") for _ in range(1_100)]
    locals_ = [client_of(server, "A") for _ in range(30)]
    for one in importers:
        one.send(b"SUB p.s.x 1\r\n")
    for one in locals_:
        one.send(b"SUB s.x 1\r\n")

    exporter.send(b"PUB s.x 1\r\n1\r\nPUB s.x 1\r\n2\r\n")

    assert {one.take() for one in importers} == {b"MSG p.s.x 1 1\r\n1\r\nMSG p.s.x 1 1\r\n2\r\n"}
    assert {one.take() for one in locals_} == {b"MSG s.x 1 1\r\n1\r\nMSG s.x 1 1\r\n2\r\n"}


@pytest.mark.slow
def test_an_account_with_very_many_imports_subscribes_in_bounded_turns() -> None:
    count = 3_000
    imports = tuple(StreamImport(account="A", subject=b"s%d.>" % n) for n in range(count))
    server = server_of(exporting("A"), AccountSettings(name="B", imports=imports), turn_output_max=1 << 20)
    exporter, importer = client_of(server, "A"), client_of(server, "B")

    importer.send(b"".join(b"SUB > %d\r\n" % sid for sid in range(3)))
    exporter.send(b"PUB s2999.x 0\r\n\r\n")

    assert importer.take() == b"".join(b"MSG s2999.x %d 0\r\n\r\n" % sid for sid in range(3))
    assert server.state.accounts["A"].subscriptions == 3 * count

    importer.close()

    assert server.state.accounts["A"].subscriptions == 0


def test_a_subject_that_is_imported_is_remembered_like_any_other() -> None:
    """Once its plan is made, a message through an import costs no match."""
    server = server_of(exporting("A"), importing("B", "A", b"s.>", prefix=b"p"))
    exporter, importer = client_of(server, "A"), client_of(server, "B")
    importer.send(b"SUB p.> 1\r\n")
    exporter.send(b"PUB s.x 0\r\n\r\n")
    steps = server.state.accounts["A"].sublist.steps

    exporter.send(b"PUB s.x 0\r\n\r\n" * 100)

    assert server.state.accounts["A"].sublist.steps == steps
    assert importer.take() == b"MSG p.s.x 1 0\r\n\r\n" * 101


def test_a_run_with_imports_replays() -> None:
    from io import BytesIO

    from natscore.replay import replay
    from tests.support.accounts import ByAccount

    world = World(3)
    server = world.server(
        authenticator=ByAccount(),
        accounts=AccountsSettings(accounts=(exporting("A"), importing("B", "A", b"s.*.*", to=b"t.$2.$1"))),
    )
    exporter, importer = client_of(server, "A"), client_of(server, "B")
    importer.send(b"SUB t.> q 1\r\nSUB t.b.* q 2\r\n")
    exporter.send(b"PUB s.a.b 0\r\n\r\n" * 20)

    again = replay(BytesIO(server.journal.getvalue()).read, authenticator=ByAccount())

    assert again.server.state.summary() == server.state.summary()

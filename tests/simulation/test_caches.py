"""What the server remembers of subjects and plans stays within its bounds, and lets go of what has gone."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final

import pytest

from natscore.cells import Outbox, Subscription
from natscore.plan import Plan
from natscore.sublist import Entry
from natscore.testing import World
from tests.simulation.clients import QUIET_WITH_HEADERS, quiet_client
from tests.support.pure import pure_sublist

if TYPE_CHECKING:
    from natscore.state import Account
    from natscore.testing import SimulatedServer

GENERATION_MAX: Final = 32_768
PLANS_MAX: Final = 8_192


def account_of(server: SimulatedServer) -> Account:
    return server.state.accounts["$G"]


def publishes(prefix: bytes, numbers: range) -> bytes:
    return b"".join(b"PUB %s%d 0\r\n\r\n" % (prefix, number) for number in numbers)


def living(kind: type[object]) -> int:
    """How many objects of a type are alive."""
    gc.collect()
    return sum(1 for thing in gc.get_objects() if type(thing) is kind)


# -- the table of subjects -------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [b"", b"SUB s.* 1\r\n", b"SUB s.* 1\r\nSUB *.* 2\r\n"])
def test_hundred_thousand_distinct_subjects_stay_within_two_generations(pattern: bytes) -> None:
    world = World(recording=False)
    server = world.server()
    listener = quiet_client(server)
    listener.send(pattern)
    producer = quiet_client(server)
    table = account_of(server).table
    most = 0

    for start in range(0, 100_000, 1_000):
        producer.send(publishes(b"s.", range(start, start + 1_000)))
        most = max(most, len(table))

    assert GENERATION_MAX <= most <= 2 * GENERATION_MAX
    assert listener.take().count(b"MSG s.") == 100_000 * pattern.count(b"SUB")


def test_subject_that_is_used_again_survives_the_change_of_generations() -> None:
    world = World(recording=False)
    server = world.server()
    listener = quiet_client(server)
    listener.send(b"SUB > 1\r\n")
    producer = quiet_client(server)
    sublist = account_of(server).sublist
    steps = []

    for start in range(0, 100_000, 10_000):
        producer.send(publishes(b"s.", range(start, start + 10_000)))
        before = sublist.steps
        producer.send(b"PUB often.used 0\r\n\r\n")
        steps.append(sublist.steps - before)

    assert steps[0] > 0
    assert steps[1:] == [0] * (len(steps) - 1)


def test_long_subjects_are_delivered_and_not_remembered() -> None:
    """Otherwise the table would hold 256 MiB of subjects for one hostile client."""
    world = World(recording=False)
    server = world.server()
    listener = quiet_client(server)
    listener.send(b"SUB > 1\r\n")
    producer = quiet_client(server)
    subjects = [b"%d." % n + b"x" * 4_000 for n in range(50)]

    for subject in subjects * 2:
        producer.send(b"PUB " + subject + b" 2\r\nhi\r\n")

    assert listener.take() == b"".join(b"MSG " + subject + b" 1 2\r\nhi\r\n" for subject in subjects * 2)
    assert len(account_of(server).table) == 0


def test_subject_that_nobody_wanted_reaches_the_first_who_does() -> None:
    world = World()
    server = world.server()
    producer = quiet_client(server)
    listener = quiet_client(server)

    for line in (b"SUB a.b 1\r\n", b"SUB a.* 2\r\n", b"SUB a.> 3\r\n", b"SUB *.b 4\r\n", b"SUB > 5\r\n"):
        producer.send(b"PUB a.b 0\r\n\r\n")
        assert listener.take() == b""
        listener.send(line)
        producer.send(b"PUB a.b 2\r\nhi\r\n")
        sid = line.split()[-1]
        assert listener.take() == b"MSG a.b " + sid + b" 2\r\nhi\r\n"
        listener.send(b"UNSUB " + sid + b"\r\n")

    producer.send(b"PUB a.b 0\r\n\r\n")
    assert listener.take() == b""
    world.check()


def test_new_pattern_beside_a_remembered_subject_is_heard_at_once() -> None:
    world = World()
    server = world.server()
    producer, listener = quiet_client(server), quiet_client(server)
    listener.send(b"SUB a.b 0\r\n")
    expected = [b"0"]

    for sid, pattern in enumerate((b"a.*", b"a.>", b"*.b", b"*.*", b"*.>", b">"), 1):
        producer.send(b"PUB a.b 0\r\n\r\n")
        listener.take()
        listener.send(b"SUB " + pattern + b" %d\r\n" % sid)
        expected.append(b"%d" % sid)
        producer.send(b"PUB a.b 0\r\n\r\n")
        assert sorted(line.split()[2] for line in listener.lines() if line) == expected

    world.check()


# -- plans -----------------------------------------------------------------------------------------


@pytest.mark.pure_plane
def test_plans_of_several_subscriptions_are_remembered_up_to_a_bound() -> None:
    world = World(recording=False)
    server = world.server()
    listener = quiet_client(server)
    listener.send(b"SUB a.* all\r\n")
    for start in range(0, 10_000, 1_000):
        listener.send(b"".join(b"SUB *.%d %d\r\n" % (n, n) for n in range(start, start + 1_000)))
    producer = quiet_client(server)
    sublist = pure_sublist(account_of(server).sublist)

    for _ in range(2):
        for start in range(0, 10_000, 1_000):
            producer.send(publishes(b"a.", range(start, start + 1_000)))
            assert len(sublist._plans) <= PLANS_MAX

    assert len(sublist._plans) == PLANS_MAX
    assert listener.take().count(b"MSG ") == 2 * 2 * 10_000


@pytest.mark.pure_plane
def test_line_of_the_table_does_not_keep_alive_what_has_gone() -> None:
    world = World(recording=False)
    server = world.server()
    producer = quiet_client(server)
    before = {kind: living(kind) for kind in (Plan, Outbox, Subscription)}

    for number in range(50):
        client = quiet_client(server)
        client.send(b"SUB > 1\r\nSUB s.%d 2\r\n" % number)
        producer.send(b"PUB s.%d 0\r\n\r\n" % number)
        client.close()

    assert len(account_of(server).table) == 50
    assert {kind: living(kind) for kind in before} == before


@pytest.mark.pure_plane
def test_churn_beside_traffic_leaves_a_bounded_number_of_plans() -> None:
    """Each change of a `>` subscriber makes all plans anew; the old ones must go, and not only be marked."""
    world = World(recording=False)
    server = world.server()
    crowd = quiet_client(server)
    crowd.send(b"".join(b"SUB > %d\r\n" % n for n in range(100)))
    producer, visitor = quiet_client(server), quiet_client(server)
    plans_before = living(Plan)

    for number in range(300):
        visitor.send(b"SUB > x\r\n")
        producer.send(b"PUB s.%d 0\r\n\r\n" % number)
        visitor.send(b"UNSUB x\r\n")
        producer.send(b"PUB t.%d 0\r\n\r\n" % number)

    assert living(Plan) <= plans_before + 2
    assert len(account_of(server).table) <= 2 * GENERATION_MAX


@pytest.mark.pure_plane
def test_visitors_that_want_everything_cost_what_they_void_and_traffic_is_delivered() -> None:
    """1,000 come and go beside traffic on 1,000 subjects."""
    world = World(recording=False)
    server = world.server()
    listener = quiet_client(server)
    listener.send(b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(1_000)))
    producer, visitor = quiet_client(server), quiet_client(server)
    traffic, some = publishes(b"s.", range(1_000)), publishes(b"s.", range(40))
    producer.send(traffic)
    listener.take()

    for number in range(1_000):
        visitor.send(b"SUB > 1\r\n")
        producer.send(some)
        visitor.send(b"UNSUB 1\r\n")
        if number % 100 == 0:
            producer.send(traffic)

    assert listener.take().count(b"MSG s.") == 1_000 * 40 + 10 * 1_000
    assert visitor.take().count(b"MSG s.") == 1_000 * 40
    assert len(pure_sublist(account_of(server).sublist)._plans) <= PLANS_MAX


@pytest.mark.pure_plane
def test_pattern_churn_leaves_nothing_behind() -> None:
    world = World(recording=False)
    server = world.server()
    client = quiet_client(server)
    sublist = pure_sublist(account_of(server).sublist)

    for start in range(0, 20_000, 500):
        numbers = range(start, start + 500)
        client.send(b"".join(b"SUB s.%d.*.x.> %d\r\n" % (n, n) for n in numbers))
        client.send(b"".join(b"PUB s.%d.y.x.z 0\r\n\r\n" % n for n in numbers))
        client.send(b"".join(b"UNSUB %d\r\n" % n for n in numbers))

    assert client.take().count(b"MSG ") == 20_000
    assert account_of(server).subscriptions == 0
    assert not sublist.patterns
    assert not sublist._plans
    assert sublist._root.is_empty


@pytest.mark.pure_plane
def test_lines_share_entries_of_their_plan() -> None:
    world = World(recording=False)
    server = world.server()
    listener = quiet_client(server)
    listener.send(b"SUB s.> 1\r\n")
    producer = quiet_client(server)
    before = living(Entry)

    producer.send(publishes(b"s.", range(4_000)))

    assert living(Entry) <= before + 1


# -- groups ----------------------------------------------------------------------------------------


def test_group_of_ten_thousand_gets_each_message_once() -> None:
    world = World(recording=False)
    server = world.server()
    crowd = [quiet_client(server) for _ in range(100)]
    for client in crowd:
        client.send(b"".join(b"SUB a q %d\r\n" % n for n in range(100)))
    producer = quiet_client(server)

    for number in range(100):
        producer.send(b"PUB a 2\r\n%02d\r\n" % number * 10)
        if number % 10 == 0:  # members come and go
            crowd[number].close()

    received = [client.take() for client in crowd]
    assert sum(data.count(b"MSG a ") for data in received) == 1_000
    assert sum(1 for data in received if data) > 90
    for number in range(100):
        assert sum(data.count(b" 2\r\n%02d\r\n" % number) for data in received) == 10


def test_requests_without_responders_are_answered_beside_a_crowd_on_the_reply_subject() -> None:
    world = World(recording=False)
    server = world.server()
    crowd = quiet_client(server)
    crowd.send(b"".join(b"SUB r %d\r\n" % n for n in range(2_000)))
    requester = quiet_client(server, hello=QUIET_WITH_HEADERS)
    requester.send(b"SUB r mine\r\n")

    requester.send(b"PUB nobody r 0\r\n\r\n" * 50)

    block = b"NATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n"
    size = b"%d %d" % (len(block), len(block))
    assert requester.take() == (b"HMSG r mine " + size + b"\r\n" + block + b"\r\n") * 50
    assert crowd.take() == b""

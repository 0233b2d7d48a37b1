"""What a plan is made of, and how it becomes void."""

from __future__ import annotations

import pytest

from natscore.account.permissions import DeliveryFilter
from natscore.cells import Outbox, Subscription
from natscore.events import ConnectionId
from natscore.plan import Plan, compile_plan, refusal
from natscore.sublist import Epoch, Node
from natscore.turn import DELIVERY_COST, DRAW_COST, FILTER_COST, OP_COST, RULE_COST, RUN_COST

ANYWHERE = Epoch(256)


def subscription(cid: int, sid: bytes, queue: bytes | None = None) -> Subscription:
    return Subscription(Outbox(ConnectionId(cid), []), sid, b"foo", queue)


def node_of(*subscriptions: Subscription) -> Node:
    node = Node(b"foo")
    for one in subscriptions:
        members = node.plain if one.queue is None else node.queues.setdefault(one.queue, {})
        members[one] = None
    return node


@pytest.mark.spec("client-protocol 9", "client-protocol 10.1")
def test_plain_subscriptions_keep_their_order_and_groups_come_by_name() -> None:
    a, b, c = subscription(1, b"a"), subscription(2, b"b"), subscription(3, b"c")
    z, q, also_q = subscription(4, b"z", b"z"), subscription(5, b"q", b"q"), subscription(6, b"q2", b"q")

    plan = compile_plan((node_of(a, z, b), node_of(q, c, also_q)))

    assert plan.local == (a, b, c)
    assert [(group.queue, group.members) for group in plan.groups] == [(b"q", (q, also_q)), (b"z", (z,))]
    assert plan.fanout == 5
    assert plan.receivers == 6


@pytest.mark.spec("client-protocol 9")
def test_a_group_is_merged_over_all_nodes() -> None:
    first, second = subscription(1, b"1", b"q"), subscription(2, b"2", b"q")

    (group,) = compile_plan((node_of(first), node_of(second))).groups

    assert group.members == (first, second)


@pytest.mark.parametrize(
    ("wishes", "distinct"),
    [
        ([(1, None), (2, None)], True),
        ([(1, None), (1, None)], False),
        ([(1, None), (1, b"q")], False),
        ([(1, b"q"), (1, b"q")], False),
        ([(1, b"q"), (1, b"r")], False),
        ([(1, b"q"), (2, b"q"), (3, None)], True),
        ([], True),
    ],
)
def test_a_plan_knows_whether_two_receivers_share_an_outbox(
    wishes: list[tuple[int, bytes | None]], distinct: bool
) -> None:
    plan = compile_plan((node_of(*(subscription(cid, b"%d" % n, q) for n, (cid, q) in enumerate(wishes))),))

    assert plan.distinct is distinct


def test_what_a_message_weighs_beside_its_bytes_is_steps_draws_and_sids() -> None:
    plan = compile_plan(
        (node_of(subscription(1, b"12"), subscription(2, b"1", b"q"), subscription(3, b"1234", b"q")),)
    )

    assert plan.overhead == 2 * RUN_COST + DRAW_COST + len(b" 12 ") + len(b" 1234 ")


def test_subjects_of_one_epoch_share_a_line() -> None:
    plan: Plan[Subscription] = compile_plan(())
    epoch, other = Epoch(1), Epoch(2)

    assert plan.entry(epoch, ANYWHERE) is plan.entry(epoch, ANYWHERE)
    assert plan.entry(other, ANYWHERE) is not plan.entry(epoch, ANYWHERE)
    assert plan.entry(epoch, ANYWHERE).plan is plan


def test_a_plan_met_under_many_first_tokens_has_few_lines() -> None:
    plan, anywhere = compile_plan((node_of(subscription(1, b"1")),)), Epoch(256)

    lines = {
        id(plan.entry(Epoch(index), anywhere)): plan.entry(Epoch(index), anywhere) for index in range(200)
    }

    assert len(lines) <= 9
    assert plan.entry(Epoch(199), anywhere).epoch is anywhere
    anywhere.value += 1
    assert plan.entry(Epoch(199), anywhere).value == anywhere.value


def test_the_plan_of_no_receivers_has_a_line_for_each_epoch() -> None:
    plan: Plan[Subscription] = compile_plan(())

    assert len({id(plan.entry(epoch, ANYWHERE)) for epoch in [Epoch(index) for index in range(200)]}) == 200


def test_an_epoch_that_moved_gets_a_new_line_and_the_old_one_lets_go_of_the_plan() -> None:
    plan, epoch = compile_plan((node_of(subscription(1, b"1")),)), Epoch(1)
    before = plan.entry(epoch, ANYWHERE)

    epoch.value += 1
    after = plan.entry(epoch, ANYWHERE)

    assert after.value == epoch.value != before.value
    assert after.plan is plan
    assert before.plan is not plan


def test_the_lines_of_a_void_plan_miss_and_let_go_of_it() -> None:
    plan, epoch = compile_plan((node_of(subscription(1, b"1")),)), Epoch(1)
    line = plan.entry(epoch, ANYWHERE)

    plan.void()

    assert line.value != epoch.value
    assert isinstance(line.plan, Plan)
    assert line.plan.local == ()
    assert plan.entry(epoch, ANYWHERE) is not line


def test_a_refusal_delivers_to_nobody() -> None:
    plan = refusal()

    assert plan.refuses
    assert (plan.local, plan.groups, plan.fanout) == ((), (), 0)
    assert not compile_plan(()).refuses


def filtered(cid: int, deny: tuple[bytes, ...], queue: bytes | None = None) -> Subscription:
    one = subscription(cid, b"1", queue)
    one.filter = DeliveryFilter(deny)
    return one


@pytest.mark.spec("client-protocol 10.1", "client-protocol 9")
def test_who_must_not_have_the_subject_is_no_receiver() -> None:
    plain, denied = subscription(1, b"1"), filtered(2, (b"foo",))
    member, denied_member, alone = (
        subscription(3, b"1", b"q"),
        filtered(4, (b"foo",), b"q"),
        filtered(5, (b"f", b"foo"), b"r"),
    )

    plan = compile_plan((node_of(plain, denied, denied_member, member, alone),), b"foo")

    assert plan.local == (plain,)
    assert [(group.queue, group.members) for group in plan.groups] == [(b"q", (member,))]
    assert plan.receivers == 2


def test_making_a_plan_costs_for_all_who_are_looked_at_and_for_each_rule_once() -> None:
    rules = (b"foo", b"bar")
    node = node_of(
        subscription(1, b"1"), filtered(2, rules), filtered(3, rules, b"q"), filtered(4, (b"foo",), b"q")
    )

    plan = compile_plan((node,), b"foo")

    assert plan.receivers == 1
    assert plan.cost == OP_COST + 4 * DELIVERY_COST + 3 * FILTER_COST + 3 * RULE_COST

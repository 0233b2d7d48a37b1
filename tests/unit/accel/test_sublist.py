"""The compiled sublist and its tables: many come and go, and what is found is what the model finds."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest

from natscore.plan import compile_plan
from tests.models.interest import Interest, InterestTable
from tests.unit.accel.planes import COMPILED, Account, content

if TYPE_CHECKING:
    from natscore_accel._dataplane import Subscription

pytestmark = COMPILED

SUBJECTS: Final = (
    *(b"a", b"b", b"a.b", b"a.c", b"b.b", b"a.b.c", b"b.a.c"),
    *(b">", b"*", b"a.>", b"a.*", b"*.b", b"*.*", b"*.>", b"a.*.c", b"*.b.*", b"*.*.>", b"a.b.>"),
)
PUBLISHED: Final = (b"a", b"b", b"c", b"a.b", b"a.c", b"b.b", b"a.b.c", b"b.a.c", b"a.b.c.d", b"*", b"a.>")
QUEUES: Final = (b"", b"", b"", b"q", b"r")
GENERATION: Final = 32_768
LONGEST_KEPT: Final = 512


@pytest.mark.parametrize("seed", range(5))
def test_what_is_found_is_what_the_model_finds_while_crowds_come_and_go(seed: int) -> None:
    """Crowds on few subjects, so that their members are full of holes, and are closed up, again and again."""
    choose = random.Random(seed)
    account, model = Account(), InterestTable()
    outboxes = [account.outbox() for _ in range(10)]
    there: dict[Interest, Subscription] = {}

    for step in range(3_000):
        growing = step // 500 % 2 == 0  # six tides
        if model.all and choose.random() < (0.3 if growing else 0.75):
            interest = choose.choice(model.all)
            model.remove(interest)
            account.sublist.remove(there.pop(interest))
        else:
            interest = Interest(choose.choice(SUBJECTS), choose.choice(QUEUES), b"%d" % step, None)
            model.add(interest)
            there[interest] = account.subscribe(
                choose.choice(outboxes), interest.subject, interest.sid, interest.queue or None
            )
        if step % 10:
            continue
        for subject in PUBLISHED:
            expected = model.match(subject)
            plan = compile_plan(account.sublist.match(subject))
            assert [one.sid for one in plan.local] == [one.sid for one in expected.plain]
            assert [(group.queue, [one.sid for one in group.members]) for group in plan.groups] == [
                (queue, [one.sid for one in members]) for queue, members in expected.groups
            ]
        assert account.sublist.count == len(model.all)

    for subscription in there.values():
        account.sublist.remove(subscription)
    assert account.sublist.count == 0
    assert list(account.sublist.nodes()) == []


@pytest.mark.parametrize("form", [b"s.%d", b"s.%d.*", b"%d.>", b"*.%d.x.%d"])
def test_twenty_thousand_subjects_are_found_while_tables_grow_and_shrink(form: bytes) -> None:
    subjects = [form.replace(b"%d", b"%d" % number) for number in range(20_000)]
    random.Random(1).shuffle(subjects)
    account = Account()
    outbox = account.outbox()

    there = {subject: account.subscribe(outbox, subject) for subject in subjects}
    for size in (20_000, 19_000, 5_000, 100, 1, 0):
        while len(there) > size:
            account.sublist.remove(there.pop(next(iter(there))))
        gone = 20_000 - size
        assert all(account.sublist.node(subject) is None for subject in subjects[:gone])
        for subject in subjects[gone:]:
            node = account.sublist.node(subject)
            assert node is not None
            assert list(node.plain) == [there[subject]]
        assert account.sublist.count == size


def test_nodes_come_in_the_order_of_their_first_subscription_literals_before_patterns() -> None:
    account = Account()
    outbox = account.outbox()
    subscriptions = [account.subscribe(outbox, subject) for subject in (b"b", b"*", b"a", b">", b"b", b"c")]

    account.sublist.remove(subscriptions[2])
    account.subscribe(outbox, b"a")

    assert [node.subject for node in account.sublist.nodes()] == [b"b", b"c", b"a", b"*", b">"]


# -- tables ----------------------------------------------------------------------------------------


def steps_for(account: Account, subject: bytes) -> int:
    """How many places are looked at to look a subject up: none, when the table has its line."""
    before = account.sublist.steps
    account.look_up(subject)
    return account.sublist.steps - before


def full(account: Account) -> None:
    """Look up one subject more than a generation holds, the first of them often."""
    for number in range(GENERATION + 1):
        account.look_up(b"s.%d" % number)


def test_a_table_turns_over_and_keeps_two_generations_and_what_is_used() -> None:
    account = Account()
    account.subscribe(account.outbox(), b"s.*")
    for number in range(GENERATION):
        account.look_up(b"s.%d" % number)
    assert len(account.table) == GENERATION

    for number in range(GENERATION, 5 * GENERATION):
        account.look_up(b"s.%d" % number)
        if number % 10_000 == 0:
            assert steps_for(account, b"s.0") == 0
        assert len(account.table) <= 2 * GENERATION

    assert steps_for(account, b"s.%d" % (5 * GENERATION - 1)) == 0
    assert steps_for(account, b"s.1") > 0


def test_a_hit_in_the_old_generation_is_one_until_a_new_pattern_comes() -> None:
    account = Account()
    outbox = account.outbox()
    account.subscribe(outbox, b"s.*")
    full(account)
    assert steps_for(account, b"s.5") == 0  # and it is young again
    before = account.look_up(b"s.6")

    full(account)
    account.subscribe(outbox, b"s.>")

    assert steps_for(account, b"s.7") > 0
    assert account.look_up(b"s.7") is not before


def test_a_new_literal_is_heard_though_the_subject_stands_in_the_old_generation() -> None:
    account = Account()
    outbox = account.outbox()
    account.subscribe(outbox, b"*.*", b"all")
    full(account)

    account.subscribe(outbox, b"s.0", b"one")
    account.run(account.source(), b"PUB s.0 0\r\n\r\n")

    assert content(outbox) == b"MSG s.0 one 0\r\n\r\nMSG s.0 all 0\r\n\r\n"


def test_a_new_literal_is_heard_though_the_subject_stands_in_both_generations() -> None:
    account = Account()
    account.look_up(b"s.0")
    full(account)
    account.look_up(b"s.0")
    outbox = account.outbox()

    account.subscribe(outbox, b"s.0")
    account.run(account.source(), b"PUB s.0 0\r\n\r\n")

    assert content(outbox) == b"MSG s.0 1 0\r\n\r\n"


def test_lines_that_are_dropped_from_a_full_table_leave_the_others_where_they_are_found() -> None:
    account = Account()
    account.subscribe(account.outbox(), b"s.*")
    for number in range(20_000):
        account.look_up(b"s.%d" % number)
    dropped = random.Random(2).sample(range(20_000), 15_000)

    for number in dropped:
        account.table.drop(b"s.%d" % number)

    assert len(account.table) == 5_000
    for number in sorted(set(range(20_000)) - set(dropped)):
        assert steps_for(account, b"s.%d" % number) == 0


@pytest.mark.parametrize(("size", "kept"), [(LONGEST_KEPT, 1), (LONGEST_KEPT + 1, 0)])
def test_subjects_up_to_a_bound_have_a_line(size: int, kept: int) -> None:
    account = Account()
    account.subscribe(account.outbox(), b">")

    account.look_up(b"x" * size)

    assert len(account.table) == kept


def test_a_reserved_subject_is_refused_whoever_subscribes_to_it() -> None:
    account = Account(reserved=(b"_R_.",))
    account.subscribe(account.outbox(), b">")

    assert account.look_up(b"_R_.a") is account.look_up(b"_R_.b")
    assert account.look_up(b"_R_.a") is not account.look_up(b"_R_")

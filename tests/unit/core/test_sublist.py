"""Who subscribes to what: nodes, matches, and a table that is never wrong."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from natscore import sublist as sublist_module
from natscore.account.permissions import DeliveryFilter
from natscore.dataplane import PureDataPlane
from natscore.entropy import Xorshift64
from natscore.events import ConnectionId
from natscore.plan import Plan, compile_plan
from natscore.sublist import SubjectTable, Sublist, epoch_index

if TYPE_CHECKING:
    from collections.abc import Iterable

    from natscore.cells import Subscription


class Table:
    """One account: a sublist, one table over it, and a way to make plans for what misses."""

    def __init__(self) -> None:
        self.plane = PureDataPlane(Xorshift64(1))
        self.sublist: Sublist = self.plane.sublist()
        self.table: SubjectTable = self.plane.table(self.sublist, (b"_GR_.", b"$NRG."))
        self.misses = 0

    def add(
        self, subject: bytes, sid: bytes = b"1", queue: bytes | None = None, deny: bytes | None = None
    ) -> Subscription:
        subscription = self.plane.subscription(self.plane.outbox(ConnectionId(5)), sid, subject, queue)
        if deny is not None:
            subscription.filter = DeliveryFilter((deny,))
        self.sublist.insert(subscription)
        return subscription

    def plan(self, subject: bytes) -> Plan[Subscription]:
        found = self.table.look_up(subject)
        if isinstance(found, Plan):
            return found
        assert isinstance(found, tuple)
        self.misses += 1
        plan = compile_plan(found, subject)
        self.plane.install(self.table, found, plan, subject)
        return plan

    def sids(self, subject: bytes) -> list[bytes]:
        return [one.sid for one in self.plan(subject).local]

    def matched(self, subject: bytes) -> list[bytes]:
        return [node.subject for node in self.sublist.match(subject)]


@pytest.fixture
def table() -> Table:
    return Table()


# -- matching --------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 21", "client-protocol 7.1")
def test_a_literal_then_patterns_are_found_in_a_fixed_order(table: Table) -> None:
    for subject in (b"*.*", b">", b"foo.>", b"foo.*", b"*.bar", b"*.>", b"foo.bar", b"bar", b"foo.bar.>"):
        table.add(subject)

    assert table.matched(b"foo.bar") == [b"foo.bar", b">", b"foo.>", b"*.>", b"foo.*", b"*.bar", b"*.*"]


@pytest.mark.spec("client-protocol 21", "client-protocol 7.3")
@pytest.mark.parametrize("subject", [b"foo..bar", b".foo", b"foo.", b".", b""])
def test_a_subject_with_an_empty_token_is_not_even_matched_by_the_rest(table: Table, subject: bytes) -> None:
    table.add(b">")
    table.add(b"*.*.*")

    assert table.matched(subject) == []


@pytest.mark.spec("client-protocol 21")
def test_only_single_byte_tokens_are_wildcards(table: Table) -> None:
    table.add(b"foo*")
    table.add(b"a.>>")
    table.add(b"**")

    assert table.matched(b"foox") == []
    assert table.matched(b"foo*") == [b"foo*"]
    assert table.matched(b"a.b") == []
    assert table.matched(b"**") == [b"**"]


@pytest.mark.spec("client-protocol 21")
def test_a_published_wildcard_is_looked_up_as_a_plain_token(table: Table) -> None:
    for subject in (b"foo.bar", b"foo.*", b"foo.>", b"*.x"):
        table.add(subject)

    assert table.matched(b"foo.*") == [b"foo.>", b"foo.*"]
    assert table.matched(b"foo.>") == [b"foo.>", b"foo.*"]
    assert table.matched(b"*.x") == [b"*.x"]


def test_subscriptions_with_one_subject_share_a_node(table: Table) -> None:
    first, second, member = table.add(b"foo", b"1"), table.add(b"foo", b"2"), table.add(b"foo", b"3", b"q")

    node = table.sublist.node(b"foo")
    assert node is not None
    assert list(node.plain) == [first, second]
    assert list(node.queues[b"q"]) == [member]
    assert table.sublist.count == 3
    assert table.sublist.node(b"bar") is None


@pytest.mark.spec("client-protocol 21")
def test_empty_nodes_and_levels_go_with_their_last_subscription(table: Table) -> None:
    subjects = (b"foo", b"a.*.c", b"a.>", b">", b"*", b"a.*.d", b"*.b.>")
    all_of_them = [table.add(subject, queue=queue) for subject in subjects for queue in (None, b"q")]

    for subscription in all_of_them:
        table.sublist.remove(subscription)

    assert table.sublist.count == 0
    assert list(table.sublist.nodes()) == []
    assert table.sublist._root.is_empty  # nothing public shows what is left of the trie


def test_a_subject_of_two_thousand_tokens_comes_matches_and_goes(table: Table) -> None:
    literal, pattern = b".".join([b"a"] * 2000), b".".join([b"*"] * 1999 + [b">"])
    both = [table.add(literal, b"1"), table.add(pattern, b"2")]

    assert table.matched(literal) == [literal, pattern]
    for subscription in both:
        table.sublist.remove(subscription)

    assert table.matched(literal) == []


def test_a_subscription_that_is_removed_is_not_live(table: Table) -> None:
    subscription = table.add(b"foo")

    table.sublist.remove(subscription)

    assert not subscription.live
    assert subscription.node is None


def test_steps_count_the_places_looked_at(table: Table) -> None:
    table.add(b"a.*.c")
    before = table.sublist.steps

    table.sublist.match(b"a.b.c")
    assert table.sublist.steps == before + 3
    table.sublist.match(b"x.b.c")

    assert table.sublist.steps == before + 4


# -- the table -------------------------------------------------------------------------------------


def test_subjects_that_match_the_same_share_one_plan(table: Table) -> None:
    table.add(b"foo.*")

    assert table.plan(b"foo.a") is table.plan(b"foo.b") is table.plan(b"foo.a")
    assert table.misses == 1


def test_that_nothing_matches_is_remembered_too(table: Table) -> None:
    assert table.plan(b"foo") is table.plan(b"bar") is table.plan(b"foo")
    assert table.misses == 1
    assert len(table.table) == 2


def test_a_new_literal_drops_its_own_line(table: Table) -> None:
    table.add(b"f.*", b"1")
    for subject in (b"f.a", b"f.a", b"f.b", b"f.b"):
        table.sids(subject)

    table.add(b"f.a", b"2")

    assert table.sids(b"f.a") == [b"2", b"1"]
    assert table.sids(b"f.b") == [b"1"]


@pytest.mark.parametrize("pattern", [b"foo.*", b"foo.>", b"*.bar", b">", b"*.*"])
def test_a_new_pattern_is_seen_by_every_subject_that_it_covers(table: Table, pattern: bytes) -> None:
    table.add(b"foo.bar", b"1")
    assert [table.sids(b"foo.bar") for _ in range(3)] == [[b"1"]] * 3
    assert [table.sids(b"foo.baz") for _ in range(3)] == [[]] * 3

    table.add(pattern, b"2")

    assert table.sids(b"foo.bar") == [b"1", b"2"]
    assert table.sids(b"foo.baz") == ([] if pattern == b"*.bar" else [b"2"])


def test_one_more_member_of_a_node_is_seen(table: Table) -> None:
    table.add(b"foo.*", b"1")
    assert [table.sids(b"foo.a") for _ in range(3)] == [[b"1"]] * 3

    table.add(b"foo.*", b"2")

    assert table.sids(b"foo.a") == [b"1", b"2"]


def test_one_member_less_is_seen(table: Table) -> None:
    first = table.add(b"foo.*", b"1")
    table.add(b"foo.*", b"2")
    table.add(b"foo.a", b"3")
    assert [table.sids(b"foo.a") for _ in range(3)] == [[b"3", b"1", b"2"]] * 3

    table.sublist.remove(first)

    assert table.sids(b"foo.a") == [b"3", b"2"]


def test_a_node_that_comes_back_is_another(table: Table) -> None:
    for round_ in range(3):
        subscription = table.add(b"foo", b"%d" % round_)
        assert [table.sids(b"foo") for _ in range(3)] == [[b"%d" % round_]] * 3
        table.sublist.remove(subscription)
        assert [table.sids(b"foo") for _ in range(3)] == [[]] * 3


def test_moving_an_epoch_costs_its_sharers_a_miss_and_never_a_wrong_answer(table: Table) -> None:
    first = b"foo"
    sharer = next(b"%d" % n for n in range(10_000) if epoch_index(b"%d" % n) == epoch_index(first))
    table.add(sharer + b".x", b"1")
    assert [table.sids(sharer + b".x") for _ in range(3)] == [[b"1"]] * 3

    table.add(first + b".*", b"2")

    assert table.sids(sharer + b".x") == [b"1"]
    assert table.sids(first + b".x") == [b"2"]


def test_an_epoch_does_not_depend_on_the_hashes_of_the_process() -> None:
    assert [epoch_index(token) for token in (b"foo", b"_INBOX", b"")] == [0x21, 0x15, 0]


@pytest.mark.spec("client-protocol 20", "client-protocol 10")
@pytest.mark.parametrize("subject", [b"_GR_.a", b"$NRG.a"])
def test_a_reserved_subject_is_a_refusal_whatever_is_subscribed(table: Table, subject: bytes) -> None:
    table.add(b">")
    table.add(subject)

    assert table.plan(subject).refuses
    table.add(b"*.a")
    assert table.plan(subject).refuses
    assert not table.plan(b"other").refuses
    assert table.misses == 1


def filled(table: Table, subjects: Iterable[bytes]) -> None:
    for subject in subjects:
        table.plan(subject)
        table.plan(subject)


def test_the_table_holds_two_generations_and_keeps_what_is_used(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sublist_module, "_GENERATION_MAX", 4)
    table.add(b"used", b"1")

    for n in range(50):
        filled(table, [b"used", b"%d" % n])
        assert len(table.table) <= 8

    assert table.sids(b"used") == [b"1"]
    assert table.misses == 2  # of `used`, and of all others at once


def test_long_subjects_are_not_kept(table: Table) -> None:
    filled(table, [b"a" * 512])
    assert len(table.table) == 1

    filled(table, [b"a" * 513])

    assert len(table.table) == 1


def test_only_so_many_plans_of_several_nodes_are_remembered(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sublist_module, "_PLANS_MAX", 2)
    table.add(b">", b"0")
    for n in range(5):
        table.add(b"%d" % n, b"%d" % n)

    for _ in range(3):
        for n in range(5):
            assert table.sids(b"%d" % n) == [b"%d" % n, b"0"]
    node = table.sublist.node(b">")

    assert node is not None
    assert len(node.plans) == 2


def test_remembered_plans_weigh_only_so_much_together(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sublist_module, "_PLACES_MAX", 3 * (2 * 32 + 11))
    for n in range(10):
        table.add(b">", b"all-%d" % n)
    for n in range(5):
        table.add(b"%d" % n, b"%d" % n)

    for n in range(5):
        assert len(table.sids(b"%d" % n)) == 11
    node = table.sublist.node(b">")

    assert node is not None
    assert [plan.local[0].sid for plan in node.plans] == [b"2", b"3", b"4"]


def test_a_plan_heavier_than_the_bound_is_there_for_the_message_that_needs_it(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sublist_module, "_PLACES_MAX", 1)
    table.add(b">", b"1")
    table.add(b"a", b"2")

    assert table.sids(b"a") == [b"2", b"1"]
    assert table.sids(b"a") == [b"2", b"1"]
    assert table.misses == 1


def test_a_subject_whose_plan_has_many_lines_hears_of_each_new_pattern(table: Table) -> None:
    table.add(b"*.x", b"1")
    subjects = [b"t%d.x" % n for n in range(600)]
    filled(table, subjects)

    table.add(b"t599.*", b"2")

    assert table.sids(b"t599.x") == [b"2", b"1"]
    assert table.sids(b"t0.x") == [b"1"]
    table.add(b"*.*", b"3")
    assert [table.sids(subject) for subject in subjects[:-1]] == [[b"1", b"3"]] * 599


def test_a_plan_that_is_void_is_not_kept_alive_by_the_table(table: Table) -> None:
    for n in range(50):
        table.add(b">", b"%d" % n)
        filled(table, [b"subject.%d" % n])

    gc.collect()
    alive = [one for one in gc.get_objects() if isinstance(one, Plan) and len(one.local) > 1]

    assert len([plan for plan in alive if plan.local[0].outbox.queue is table.plane.ready]) == 1


# -- rules and filters -----------------------------------------------------------------------------


def rules_of(table: Table, *patterns: bytes) -> Sublist:
    rules = table.plane.sublist()
    for pattern in patterns:
        rules.insert(table.plane.subscription(table.plane.outbox(ConnectionId(0)), b"", pattern, None))
    return rules


@pytest.mark.spec("client-protocol 18.2")
@pytest.mark.parametrize(
    ("allow", "deny", "refused"),
    [
        (None, [b"a"], [b"a"]),
        ([b"a"], None, [b"b", b"a.b"]),
        ([], None, [b"a", b"b", b"a.b"]),
        ([b">"], [b"*"], [b"a", b"b"]),
        ([b"a", b"*.*"], [b"a.*"], [b"b", b"a.b"]),
    ],
)
def test_a_table_with_rules_refuses_what_they_do_not_permit(
    table: Table, allow: list[bytes] | None, deny: list[bytes] | None, refused: list[bytes]
) -> None:
    table.add(b">")
    table.table = table.plane.table(
        table.sublist,
        (),
        rules_of(table, *allow) if allow is not None else None,
        rules_of(table, *deny) if deny is not None else None,
    )

    for _ in range(3):
        assert [one for one in (b"a", b"b", b"a.b") if table.plan(one).refuses] == refused


@pytest.mark.spec("client-protocol 18.2")
def test_a_refusal_in_one_account_stays_one_whatever_another_does(table: Table) -> None:
    other = table.plane.sublist()
    tables = [table.table, table.plane.table(other, (b"_GR_.",))]

    for number in range(4):
        pattern = b"_GR_.*.%d" % number  # one account is told of a new pattern, and then of another
        other.insert(table.plane.subscription(table.plane.outbox(ConnectionId(6)), b"1", pattern, None))
        for one in tables:
            found = one.look_up(b"_GR_.a")
            assert isinstance(found, Plan)
            assert found.refuses


@pytest.mark.spec("client-protocol 18.3")
@pytest.mark.parametrize("queue", [None, b"q"])
def test_a_subject_has_a_plan_of_its_own_where_a_filter_may_deny_it(
    table: Table, queue: bytes | None
) -> None:
    table.add(b"a.*", b"1")
    table.add(b"a.*", b"2", queue, deny=b"a.b")

    for _ in range(3):
        denied, admitted = table.plan(b"a.b"), table.plan(b"a.c")
        assert (denied.receivers, admitted.receivers) == (1, 2)
        assert denied is not table.plan(b"a.d") is not admitted
    assert table.misses == 3


@pytest.mark.spec("client-protocol 18.3")
def test_one_filter_makes_all_plans_of_its_node_particular_and_no_others(table: Table) -> None:
    table.add(b"*", b"1")
    table.add(b"b", b"2", deny=b"a")
    table.add(b">", b"3", deny=b"x.y")

    assert table.sids(b"x.y") == []
    assert table.sids(b"x.z") == [b"3"]
    assert table.sids(b"b") == [b"2", b"3", b"1"]
    assert table.sids(b"c") == [b"3", b"1"]
    assert table.misses == 4


@pytest.mark.spec("client-protocol 18.3")
def test_subjects_share_a_plan_again_when_the_last_filter_is_gone(table: Table) -> None:
    table.add(b"a.*", b"1")
    first, second = table.add(b"a.*", b"2", deny=b"a.b"), table.add(b"a.*", b"3", b"q", deny=b"a.c")
    assert (table.sids(b"a.b"), table.sids(b"a.c")) == ([b"1"], [b"1", b"2"])

    table.sublist.remove(first)
    assert table.plan(b"a.b") is not table.plan(b"a.c")

    table.sublist.remove(second)
    assert table.plan(b"a.b") is table.plan(b"a.c")
    assert table.sids(b"a.d") == [b"1"]


def test_a_first_filter_voids_the_plan_that_all_subjects_shared(table: Table) -> None:
    table.add(b"a.*", b"1")
    assert [table.sids(b"a.b"), table.sids(b"a.c")] * 2 == [[b"1"]] * 4

    table.add(b"a.*", b"2", deny=b"a.b")

    assert (table.sids(b"a.b"), table.sids(b"a.c")) == ([b"1"], [b"1", b"2"])


def test_particular_plans_are_among_those_that_are_bounded(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sublist_module, "_PLANS_MAX", 3)
    table.add(b"*", b"1", deny=b"5")

    for _ in range(2):
        for number in range(10):
            assert table.sids(b"%d" % number) == ([] if number == 5 else [b"1"])
    node = table.sublist.node(b"*")

    assert node is not None
    assert len(node.plans) == 3


def test_judging_a_subject_by_rules_counts_as_matching(table: Table) -> None:
    table.table = table.plane.table(table.sublist, (), rules_of(table, b"a.*"), rules_of(table, b"*.b"))
    before = table.sublist.steps

    table.plan(b"a.b")
    assert table.sublist.steps == before + 4

    table.plan(b"a.b")
    table.add(b"a.*")
    table.plan(b"a.b")
    assert table.sublist.steps == before + 4  # a refusal stays, whoever subscribes

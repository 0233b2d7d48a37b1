"""The sublist, its table and its plans find what a list searched from end to end finds.

The table's generations and the number of remembered plans are made so small here
that they turn over all the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from natscore import subject, sublist
from natscore.dataplane import CLIENT_RESERVED, PureDataPlane
from natscore.entropy import Xorshift64
from natscore.events import ConnectionId
from natscore.plan import Plan, compile_plan
from tests.models.interest import NO_QUEUE, Interest, InterestTable, covers
from tests.properties.programs import published_subjects, subscribed_subjects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.cells import Subscription

QUEUES: Final = st.sampled_from([None, None, b"q", b"r"])


@pytest.fixture(autouse=True, scope="module")
def _small_bounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sublist, "_GENERATION_MAX", 3)
        patch.setattr(sublist, "_PLANS_MAX", 2)
        patch.setattr(sublist, "_SUBJECT_MAX", 6)
        yield


class SublistBesideItsModel(RuleBasedStateMachine):
    """Subscriptions come and go while two tables look subjects up."""

    subscriptions: Bundle[tuple[Subscription, Interest]] = Bundle("subscriptions")

    def __init__(self) -> None:
        super().__init__()
        self.plane = PureDataPlane(Xorshift64(1))
        self.sublist = self.plane.sublist()
        self.tables = [
            self.plane.table(self.sublist, CLIENT_RESERVED),
            self.plane.table(self.sublist, ()),
        ]
        self.model = InterestTable()
        self.made = 0

    @rule(target=subscriptions, wanted=subscribed_subjects(), queue=QUEUES)
    def insert(self, wanted: bytes, queue: bytes | None) -> tuple[Subscription, Interest]:
        self.made += 1
        sid = b"%d" % self.made
        outbox = self.plane.outbox(ConnectionId(self.made))
        subscription = self.plane.subscription(outbox, sid, wanted, queue)
        interest = Interest(wanted, queue or NO_QUEUE, sid, None)
        self.sublist.insert(subscription)
        self.model.add(interest)
        return subscription, interest

    @rule(pair=consumes(subscriptions))
    def remove(self, pair: tuple[Subscription, Interest]) -> None:
        subscription, interest = pair
        self.sublist.remove(subscription)
        self.model.remove(interest)
        assert not subscription.live

    @rule(published=published_subjects(), table=st.integers(0, 1))
    def look_up(self, published: bytes, table: int) -> None:
        assert self._found(published, table) == self._expected(published)

    @rule(published=st.lists(published_subjects(), max_size=8))
    def look_up_twice(self, published: list[bytes]) -> None:
        """Out of either generation, or matched afresh."""
        for one in published * 2:
            assert self._found(one, 0) == self._expected(one)

    @rule(rest=published_subjects())
    def look_up_what_clients_must_not_publish_to(self, rest: bytes) -> None:
        refused = self.tables[0].look_up(b"_GR_." + rest)
        allowed = self.tables[1].look_up(b"_GR_." + rest)
        assert isinstance(refused, Plan)
        assert refused.refuses
        assert not isinstance(allowed, Plan) or not allowed.refuses

    @invariant()
    def counts_and_nodes_agree(self) -> None:
        assert self.sublist.count == len(self.model.all)
        subjects = [node.subject for node in self.sublist.nodes()]
        assert sorted(subjects) == sorted({interest.subject for interest in self.model.all})
        for interest in self.model.all:
            assert self.sublist.node(interest.subject) is not None
        if not self.model.all:
            assert self.sublist.match(b"a.b") == []

    @invariant()
    def tables_stay_within_two_generations(self) -> None:
        assert all(len(table) <= 6 for table in self.tables)

    def _found(self, published: bytes, table: int) -> tuple[list[bytes], list[tuple[bytes, list[bytes]]]]:
        found = self.tables[table].look_up(published)
        if isinstance(found, tuple):
            plan = compile_plan(found)
            self.plane.install(self.tables[table], found, plan)
            again = self.tables[table].look_up(published)
            assert again is plan
        else:
            assert isinstance(found, Plan)
            plan = found
        assert not plan.refuses
        return (
            [subscription.sid for subscription in plan.local],
            [(group.queue, [member.sid for member in group.members]) for group in plan.groups],
        )

    def _expected(self, published: bytes) -> tuple[list[bytes], list[tuple[bytes, list[bytes]]]]:
        matched = self.model.match(published)
        return (
            [interest.sid for interest in matched.plain],
            [(queue, [interest.sid for interest in members]) for queue, members in matched.groups],
        )


TestSublistBesideItsModel = SublistBesideItsModel.TestCase
TestSublistBesideItsModel.settings = settings(
    max_examples=settings().max_examples // 4, stateful_step_count=40
)


@given(subscribed_subjects(), published_subjects())
def test_one_pattern_matches_as_the_model_compares(pattern: bytes, published: bytes) -> None:
    if b"" not in published.split(b"."):
        assert subject.matches(pattern, published) == covers(pattern, published)


@given(subscribed_subjects())
def test_every_subject_that_may_be_subscribed_to_is_valid(pattern: bytes) -> None:
    assert subject.is_valid(pattern)


@given(st.lists(st.sampled_from([b"a", b"*", b">", b"", b"a>", b">>"]), min_size=1, max_size=4))
def test_a_subject_is_valid_unless_a_token_is_empty_or_the_rest_is_not_last(tokens: list[bytes]) -> None:
    expected = b"" not in tokens and b">" not in tokens[:-1]

    assert subject.is_valid(b".".join(tokens)) == expected
    assert subject.is_valid_literal(b".".join(tokens)) == (
        expected and b"*" not in tokens and b">" not in tokens
    )

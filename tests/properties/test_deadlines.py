"""Deadlines come due as in a list that is searched each time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from natscore.deadlines import Deadlines
from tests.models.deadlines import DeadlineList

KEYS = st.sampled_from([f"timer {number}" for number in range(8)])
INSTANTS = st.integers(0, 20)


class DeadlinesBesideTheirModel(RuleBasedStateMachine):
    """Few keys and few instants, so that they meet; a burst makes the heap be rebuilt."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines: Deadlines[str] = Deadlines()
        self.model = DeadlineList()

    @rule(key=KEYS, at=INSTANTS)
    def set(self, key: str, at: int) -> None:
        self.deadlines.set(key, at)
        self.model.set(key, at)

    @rule(key=KEYS, at=INSTANTS)
    def set_again_and_again(self, key: str, at: int) -> None:
        for _ in range(80):
            self.set(key, at)

    @rule(key=KEYS)
    def cancel(self, key: str) -> None:
        self.deadlines.cancel(key)
        self.model.cancel(key)

    @rule(now=INSTANTS)
    def take_what_is_due(self, now: int) -> None:
        while True:
            taken = self.deadlines.due(now)
            assert taken == self.model.due(now)
            if taken is None:
                break

    @invariant()
    def the_earliest_and_the_count_agree(self) -> None:
        assert self.deadlines.next() == self.model.next()
        assert len(self.deadlines) == len(self.model)


TestDeadlinesBesideTheirModel = DeadlinesBesideTheirModel.TestCase
TestDeadlinesBesideTheirModel.settings = settings(max_examples=settings().max_examples // 2)

"""Named timers in one heap."""

from __future__ import annotations

import pytest

from natscore.deadlines import Deadlines


@pytest.fixture
def deadlines() -> Deadlines[str]:
    return Deadlines()


def test_nothing_is_due_when_nothing_was_set(deadlines: Deadlines[str]) -> None:
    assert deadlines.next() is None
    assert deadlines.due(1 << 60) is None
    assert len(deadlines) == 0


def test_the_earliest_comes_first(deadlines: Deadlines[str]) -> None:
    deadlines.set("late", 20)
    deadlines.set("early", 10)

    assert deadlines.next() == 10
    assert deadlines.due(15) == "early"
    assert deadlines.due(15) is None
    assert deadlines.next() == 20


def test_a_deadline_is_due_at_its_instant_and_not_before(deadlines: Deadlines[str]) -> None:
    deadlines.set("one", 10)

    assert deadlines.due(9) is None
    assert deadlines.due(10) == "one"


def test_what_is_due_is_taken_once(deadlines: Deadlines[str]) -> None:
    deadlines.set("one", 10)
    deadlines.due(10)

    assert deadlines.due(10) is None
    assert deadlines.next() is None


def test_equal_instants_keep_the_order_of_setting(deadlines: Deadlines[str]) -> None:
    for key in ("c", "a", "b"):
        deadlines.set(key, 10)

    assert [deadlines.due(10) for _ in range(3)] == ["c", "a", "b"]


@pytest.mark.parametrize("again", [5, 30])
def test_setting_again_replaces(deadlines: Deadlines[str], again: int) -> None:
    deadlines.set("one", 10)
    deadlines.set("one", again)

    assert deadlines.next() == again
    assert deadlines.due(30) == "one"
    assert deadlines.due(30) is None


def test_a_cancelled_deadline_never_comes(deadlines: Deadlines[str]) -> None:
    deadlines.set("one", 10)
    deadlines.set("two", 20)

    deadlines.cancel("one")
    deadlines.cancel("never set")

    assert deadlines.next() == 20
    assert deadlines.due(100) == "two"
    assert len(deadlines) == 0


def test_the_heap_holds_about_twice_what_lives(deadlines: Deadlines[str]) -> None:
    for instant in range(10_000):
        deadlines.set("one", instant)
        deadlines.set("two", instant)

    assert len(deadlines) == 2
    assert len(deadlines._heap) <= 65  # its bound is the promise; nothing public shows it
    assert deadlines.due(10_000) == "one"

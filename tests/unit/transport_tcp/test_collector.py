"""When old garbage is collected; time is trio's mock clock, which jumps while everybody sleeps."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import trio
import trio.testing

from natscore_tcp.collector import REST_SECONDS, collect_when_idle, tuned_collector

if TYPE_CHECKING:
    from collections.abc import Callable


def collections_within(seconds: float, events_at: Callable[[float], int]) -> list[float]:
    """The instants at which a server collects whose count of events at an instant is `events_at`."""
    collected: list[float] = []

    async def run() -> None:
        start = trio.current_time()

        def elapsed() -> float:
            return trio.current_time() - start

        with trio.move_on_after(seconds):
            await collect_when_idle(
                lambda: events_at(elapsed()),
                collect=lambda: collected.append(round(elapsed())),
                clock=trio.current_time,
            )

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    return collected


def test_server_that_falls_idle_collects_once() -> None:
    assert collections_within(3600, lambda at: min(int(at), 100)) == [101]


def test_server_to_which_nothing_happens_does_not_collect() -> None:
    assert collections_within(3600, lambda _: 7) == []


def test_server_that_is_idle_now_and_then_collects_after_a_rest() -> None:
    collected = collections_within(300, lambda at: int(at) // 2)  # an event every other second

    assert len(collected) > 2
    assert all(
        later - earlier >= REST_SECONDS for earlier, later in zip([0, *collected], collected, strict=False)
    )


def test_server_that_is_never_idle_collects_all_the_same_at_last() -> None:
    assert collections_within(1300, lambda at: int(at * 10)) == [600, 1200]


def test_what_exists_is_frozen_and_the_collector_is_as_before_afterwards() -> None:
    thresholds = gc.get_threshold()

    with tuned_collector():
        within = gc.get_threshold()
        frozen = gc.get_freeze_count()

    assert within[:2] == thresholds[:2]
    assert within[2] > 1_000_000
    assert frozen > 1000
    assert gc.get_threshold() == thresholds
    assert gc.get_freeze_count() < 1000  # some Pythons freeze a few of their own


def test_cycles_are_still_collected_when_they_are_young() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.myself = self

    def alive() -> int:
        return sum(type(thing) is Cycle for thing in gc.get_objects())

    with tuned_collector():
        for _ in range(100_000):
            Cycle()
        assert alive() < 50_000

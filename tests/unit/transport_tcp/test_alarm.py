"""One timer for all that is due, on a clock that the test sets and a timer that it fires."""

from __future__ import annotations

from natscore.events import DeadlineReached, Event, Instant
from natscore_tcp.alarm import Alarm
from tests.unit.transport_tcp.machine import Machine

SECOND = 1_000_000_000


class Bench:
    """An alarm, the machine whose deadlines it keeps, and what it asked of its backend."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.asked: list[float] = []  # seconds, each replacing the one before
        self.fed: list[Event] = []
        self.calls: list[str] = []
        self.machine = Machine()
        self.alarm = Alarm(self.machine, self.feed, lambda: Instant(self.now_ns, 0))
        self.alarm.backend = self  # type: ignore[assignment]  # all that an alarm needs is wake_in

    def wake_in(self, delay: float) -> None:
        self.asked.append(delay)

    def feed(self, event: Event) -> None:
        self.fed.append(event)
        self.machine.deadline = None

    def fire(self, at_seconds: float) -> None:
        """Time has passed, and the timer fires."""
        self.now_ns = int(at_seconds * SECOND)
        self.asked.clear()
        self.alarm.wake()

    def first(self) -> None:
        self.calls.append("first")

    def second(self) -> None:
        self.calls.append("second")


def test_timer_is_set_again_for_an_earlier_deadline_only() -> None:
    bench = Bench()

    for seconds in (9, 5, 7, 5):
        bench.alarm.arm(seconds * SECOND)
    bench.alarm.arm(None)

    assert bench.asked == [9.0, 5.0]


def test_deadline_that_moved_back_is_not_fed_when_the_timer_fires_but_waited_for() -> None:
    bench = Bench()
    bench.alarm.arm(5 * SECOND)
    bench.machine.deadline = 8 * SECOND

    bench.fire(5)
    assert (bench.fed, bench.asked) == ([], [3.0])

    bench.fire(8)
    assert bench.fed == [DeadlineReached(at=Instant(8 * SECOND, 0))]
    assert bench.asked == []


def test_calls_are_made_once_and_in_order_of_their_instants() -> None:
    bench = Bench()
    bench.alarm.call_at(4 * SECOND, bench.second)
    bench.alarm.call_at(2 * SECOND, bench.first)
    bench.alarm.call_at(9 * SECOND, bench.first)
    bench.alarm.call_at(3 * SECOND, bench.first)  # the last setting of a call holds

    bench.fire(3)
    assert (bench.calls, bench.asked) == (["first"], [1.0])

    bench.fire(10)
    assert (bench.calls, bench.asked) == (["first", "second"], [])


def test_cancelled_call_is_not_made() -> None:
    bench = Bench()
    bench.alarm.call_at(1 * SECOND, bench.first)
    bench.alarm.cancel_call(bench.first)
    bench.alarm.cancel_call(bench.second)

    bench.fire(2)

    assert (bench.calls, bench.asked) == ([], [])


def test_deadline_of_the_past_wakes_at_once() -> None:
    bench = Bench()
    bench.now_ns = 10 * SECOND

    bench.alarm.arm(3 * SECOND)

    assert bench.asked == [0.0]

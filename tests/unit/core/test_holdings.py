"""What each connection makes the server hold."""

from __future__ import annotations

from natscore.events import ConnectionId
from natscore.holdings import Holdings


def test_the_total_is_the_sum_of_what_each_holds_now() -> None:
    holdings = Holdings()

    holdings.set(ConnectionId(1), 10)
    holdings.set(ConnectionId(2), 5)
    holdings.set(ConnectionId(1), 3)

    assert holdings.total == 8
    assert holdings.of(ConnectionId(1)) == 3
    assert holdings.of(ConnectionId(9)) == 0


def test_who_holds_nothing_is_forgotten() -> None:
    holdings = Holdings()
    holdings.set(ConnectionId(1), 10)

    holdings.set(ConnectionId(1), 0)
    holdings.set(ConnectionId(2), 0)

    assert (holdings.total, len(holdings)) == (0, 0)


def test_the_largest_come_first_and_of_equals_who_came_first() -> None:
    holdings = Holdings()
    for cid, count in ((1, 5), (2, 9), (3, 5), (4, 7)):
        holdings.set(ConnectionId(cid), count)

    assert holdings.largest() == [2, 4, 1, 3]

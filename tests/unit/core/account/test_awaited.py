"""What a server remembers of requests until they are answered."""

from __future__ import annotations

import pytest

from natscore.account.awaited import AwaitedResponses, Response
from natscore.account.settings import ResponseType, ServiceExport

EXPORT = ServiceExport(subject=b"s", threshold_ns=100)


def response(
    subject: bytes,
    reply: bytes = b"in.1",
    *,
    now_ns: int = 0,
    export: ServiceExport = EXPORT,
    account: str = "A",
) -> Response:
    key = (account, export.subject)
    return Response(subject, account, reply, "B", key=key, export=export, share=False, now_ns=now_ns)


def filled(*subjects: bytes, reply: bytes = b"in.1") -> tuple[AwaitedResponses, list[Response]]:
    table = AwaitedResponses(100, 100)
    made = [response(subject, reply) for subject in subjects]
    for one in made:
        assert table.add(one) == []
    return table, made


@pytest.mark.spec("accounts 6.1")
def test_a_response_is_found_in_the_account_that_answers_it_alone() -> None:
    table, (one,) = filled(b"r")

    assert table.find("A", b"r") is one
    assert table.find("B", b"r") is None
    assert table.find("A", b"x") is None


def test_what_is_removed_is_gone_everywhere_and_only_once() -> None:
    table, (one, other) = filled(b"r", b"q")

    assert table.remove(one)
    assert not table.remove(one)
    assert table.find("A", b"r") is None
    assert table.of_reply("B", b"in.1") == [other]
    assert table.remove(other)
    assert len(table) == 0
    assert not table.awaits_replies("B")
    assert table.next_due() is None


@pytest.mark.spec("accounts 6.5")
@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (b"in.1", {b"in.1"}), (b"in.2", set()), (b"in.*", {b"in.1", b"in.3"}), (b"*", {b"top"}),
        (b"in.>", {b"in.1", b"in.3", b"in.a.b"}), (b">", {b"in.1", b"in.3", b"in.a.b", b"top"}),
        (b"*.1", {b"in.1"}), (b"in.*.b", {b"in.a.b"}),
        (b"out.*", set()),
    ],
)  # fmt: skip
def test_replies_are_found_by_patterns(pattern: bytes, found: set[bytes]) -> None:
    table = AwaitedResponses(100, 100)
    for number, reply in enumerate((b"in.1", b"in.3", b"in.a.b", b"top")):
        table.add(response(b"r%d" % number, reply))

    assert {reply for reply in table.replies("B", pattern) if reply is not None} == found


def test_a_reply_that_is_removed_during_a_walk_is_not_found() -> None:
    table, (one, other) = filled(b"r", b"q", reply=b"in.1")
    table.remove(other)
    last = response(b"z", b"in.2")
    table.add(last)
    walk = table.replies("B", b"in.*")

    first = next(walk)
    table.remove(last)

    assert first == one.reply
    assert list(walk) == [None]


@pytest.mark.spec("accounts 6.6")
def test_silence_for_the_threshold_ends_a_response_and_an_answer_renews_it() -> None:
    several = ServiceExport(subject=b"s", threshold_ns=100, response_type=ResponseType.STREAM)
    table = AwaitedResponses(100, 100)
    silent, talking = response(b"r", export=several), response(b"q", export=several)
    table.add(silent)
    table.add(talking)
    table.refresh(talking, 60)

    assert table.next_due() == 100
    assert list(table.expired(99)) == []
    assert list(table.expired(100)) == [silent]
    assert table.next_due() == 160
    assert list(table.expired(160)) == [talking]
    assert table.next_due() is None


@pytest.mark.spec("accounts 6.6")
def test_each_export_has_its_own_threshold() -> None:
    table = AwaitedResponses(100, 100)
    slow = response(b"r", export=ServiceExport(subject=b"slow", threshold_ns=1_000))
    fast = response(b"q")
    table.add(slow)
    table.add(fast)

    assert list(table.expired(500)) == [fast]
    assert table.next_due() == 1_000


def test_a_walk_through_expired_responses_that_is_broken_off_is_taken_up_again() -> None:
    table, (one, other) = filled(b"r", b"q")

    assert next(table.expired(100)) is one
    assert table.next_due() == 100
    assert list(table.expired(100)) == [other]


@pytest.mark.parametrize(("account_max", "export_max"), [(2, 9), (9, 2)])
def test_the_oldest_goes_at_either_bound_and_is_counted(account_max: int, export_max: int) -> None:
    table = AwaitedResponses(account_max, export_max)
    made = [response(b"r%d" % number) for number in range(3)]

    gone = [table.add(one) for one in made]

    assert gone == [[], [], [made[0]]]
    assert not made[0].is_open
    assert table.displaced == 1
    assert len(table) == 2


def test_a_bound_of_one_leaves_the_newest() -> None:
    table = AwaitedResponses(1, 1)
    first, second = response(b"r"), response(b"q", now_ns=50)
    table.add(first)

    assert table.add(second) == [first]
    assert table.find("A", b"q") is second
    assert table.next_due() == 150

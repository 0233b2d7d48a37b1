"""What may be answered is remembered for as long and as often as it may be, and within bounds."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscore.account.permissions import RESPONSES_MAX, ResponsePermission
from natscore.account.settings import UNLIMITED
from natscore.cells import Outbox, Subscription
from natscore.events import ConnectionId
from natscore.responses import PLACE_BYTES, Responses
from natscore.sublist import Sublist

NOW: Final = 1_000_000
TIMES: Final = st.sampled_from([0, 0, 1, 3, 4, 7])
REPLIES: Final = st.sampled_from([b"a", b"b", b"c", b"d", b"x" * PLACE_BYTES, b"y" * (3 * PLACE_BYTES)])


def rules(*patterns: bytes) -> Sublist:
    made = Sublist()
    for pattern in patterns:
        made.insert(Subscription(Outbox(ConnectionId(0), []), b"", pattern, None))
    return made


def responses(
    permission: ResponsePermission | None = None,
    places_max: int = RESPONSES_MAX,
    allow: Sublist | None = None,
    deny: Sublist | None = None,
) -> Responses:
    return Responses(permission or ResponsePermission(), places_max, allow or rules(), deny)


@pytest.mark.spec("client-protocol 18.4")
def test_asking_whether_a_response_is_permitted_uses_none_up() -> None:
    record = responses()
    record.note(b"r", NOW)

    assert [record.permit(b"r", NOW) for _ in range(3)] == [True] * 3
    record.use(b"r")
    assert not record.permit(b"r", NOW)
    assert record.summary == (0, 0, 0)


@pytest.mark.spec("client-protocol 18.4")
def test_what_expired_is_forgotten_when_it_is_asked_about() -> None:
    record = responses(ResponsePermission(1, 100))
    record.note(b"r", NOW)

    assert record.permit(b"r", NOW + 100)
    assert not record.permit(b"r", NOW + 101)
    assert record.summary == (0, 0, 0)


def test_what_expired_goes_while_others_are_noted_and_is_not_counted_as_dropped() -> None:
    record = responses(ResponsePermission(1, 100))
    for number in range(10):
        record.note(b"old.%d" % number, NOW)

    for number in range(11):
        record.note(b"new.%d" % number, NOW + 101)

    assert record.summary == (11, 11, 0)
    assert record.permit(b"new.0", NOW + 101)


def test_a_long_reply_takes_more_room_than_an_inbox() -> None:
    record = responses(places_max=4)
    record.note(b"a", NOW)
    record.note(b"b", NOW)

    record.note(b"x" * (3 * PLACE_BYTES), NOW)

    assert record.summary == (1, 4, 2)
    assert not record.permit(b"b", NOW)


def test_the_last_that_was_noted_stays_although_it_is_above_the_bound_alone() -> None:
    record = responses(places_max=1)

    record.note(b"x" * 4_000, NOW)

    assert record.permit(b"x" * 4_000, NOW)


def test_what_is_noted_again_is_the_youngest() -> None:
    record = responses(places_max=2)
    for reply in (b"a", b"b", b"a", b"c"):
        record.note(reply, NOW)

    assert [record.permit(reply, NOW) for reply in (b"a", b"b", b"c")] == [True, False, True]


@pytest.mark.spec("client-protocol 18.4")
@pytest.mark.parametrize(
    ("allow", "deny", "noted"),
    [
        (rules(), None, True),
        (rules(b"r.>"), None, False),
        (rules(b"r.>"), rules(b"*.a"), True),
        (rules(b"x"), rules(b"*.a"), True),
        (rules(b"r.a"), rules(b"r.b"), False),
    ],
)
def test_only_what_the_rules_refuse_is_noted(allow: Sublist, deny: Sublist | None, noted: bool) -> None:
    record = responses(allow=allow, deny=deny)

    record.note(b"r.a", NOW)

    assert record.permit(b"r.a", NOW) is noted


def test_records_are_equal_if_they_say_the_same_in_the_same_order() -> None:
    one, other = responses(), responses()
    one.note(b"a", NOW)
    assert one != other
    other.note(b"a", NOW)
    assert one == other
    one.note(b"b", NOW)
    other.note(b"b", NOW + 1)
    assert one != other
    assert one != "Responses"
    assert repr(responses()) == "Responses({}, dropped 0)"


@given(
    limit=st.sampled_from([UNLIMITED, 1, 2, 3]),
    expires=st.sampled_from([UNLIMITED, 1, 5]),
    steps=st.lists(st.tuples(st.booleans(), REPLIES, TIMES), max_size=60),
)
@pytest.mark.spec("client-protocol 18.4")
def test_a_record_says_what_its_story_says(
    limit: int, expires: int, steps: list[tuple[bool, bytes, int]]
) -> None:
    """The story of a reply: when it was noted last, and how often it was answered since."""
    record = responses(ResponsePermission(limit, expires))
    noted: dict[bytes, int] = {}
    answered: dict[bytes, int] = {}
    now = NOW

    for is_request, reply, passes in steps:
        now += passes
        if is_request:
            record.note(reply, now)
            noted[reply], answered[reply] = now, 0
            continue
        may = (
            reply in noted
            and (limit == UNLIMITED or answered[reply] < limit)
            and (expires == UNLIMITED or now - noted[reply] <= expires)
        )
        assert record.permit(reply, now) is may
        if may:
            record.use(reply)
            answered[reply] += 1

    assert record.dropped == 0
    assert len(record) <= len(noted)

"""What rules permit: publishing, subscribing, and what a permitted subscription does not get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from natscore.account.permissions import (
    EVERYTHING,
    DeliveryFilter,
    Permissions,
    ResponsePermission,
    Rules,
    SubscribeRules,
)
from natscore.account.settings import UNLIMITED

if TYPE_CHECKING:
    from natscore.account.permissions import Entry


def entries(*words: bytes) -> tuple[Entry, ...]:
    """Entries as an administrator writes them: a subject, and maybe a queue."""
    split = [word.partition(b" ") for word in words]
    return tuple((subject, queue or None) for subject, _, queue in split)


def denying(*words: bytes) -> SubscribeRules:
    return SubscribeRules(deny=entries(*words))


def allowing(*words: bytes) -> SubscribeRules:
    return SubscribeRules(entries(*words))


# -- publishing ------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 18.2")
@pytest.mark.parametrize(
    ("rules", "subject", "permitted"),
    [
        (Rules(), b"foo", True),
        (Rules(()), b"foo", False),
        (Rules((b"foo",)), b"foo", True),
        (Rules((b"foo",)), b"bar", False),
        (Rules((b"bar", b"foo.>")), b"foo.a.b", True),
        (Rules((b"foo.>",)), b"foo", False),
        (Rules(deny=(b"foo",)), b"foo", False),
        (Rules(deny=(b"foo",)), b"bar", True),
        (Rules((b"foo.*",), (b"foo.bar",)), b"foo.bar", False),
        (Rules((b"foo.*",), (b"foo.bar",)), b"foo.baz", True),
        (Rules((b"foo.bar",), (b"foo.*",)), b"foo.bar", False),
    ],
)
def test_a_publish_is_permitted_when_it_is_allowed_and_not_denied(
    rules: Rules, subject: bytes, permitted: bool
) -> None:
    assert rules.permit(subject) is permitted


@pytest.mark.spec("client-protocol 18.2")
def test_a_published_star_is_permitted_by_wildcards_only() -> None:
    assert [Rules((allowed,)).permit(b"foo.*") for allowed in (b"foo.*", b"foo.>", b"*.*", b"foo.bar")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert Rules(deny=(b"foo.bar",)).permit(b"foo.*")


@pytest.mark.spec("client-protocol 18.2", "client-protocol 21")
@pytest.mark.parametrize("subject", [b"foo..bar", b".foo", b"foo.", b"."])
def test_no_rule_is_about_a_subject_with_an_empty_token(subject: bytes) -> None:
    assert not Rules((b">",)).permit(subject)
    assert Rules(deny=(b">",)).permit(subject)
    assert not allowing(b">").permit(subject, None)
    assert denying(b">").permit(subject, None)


# -- subscribing -----------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 18.3")
@pytest.mark.parametrize(
    ("rules", "plain", "first", "second"),
    [
        (allowing(b"foo"), True, True, True),
        (allowing(b"foo v1"), False, True, False),
        (allowing(b"foo", b"foo v1"), True, True, False),
        (SubscribeRules(entries(b"foo"), entries(b"foo v1")), True, False, True),
    ],
)
def test_the_table_of_the_specification_holds(
    rules: SubscribeRules, plain: bool, first: bool, second: bool
) -> None:
    assert (rules.permit(b"foo", None), rules.permit(b"foo", b"v1"), rules.permit(b"foo", b"v2")) == (
        plain, first, second,
    )  # fmt: skip


@pytest.mark.spec("client-protocol 18.3")
def test_without_rules_everything_is_permitted_and_an_empty_list_permits_nothing() -> None:
    assert SubscribeRules().permit(b">", None)
    assert SubscribeRules().permit(b">", b"q")
    assert not SubscribeRules(()).permit(b"foo", None)
    assert not SubscribeRules(()).permit(b"foo", b"q")


@pytest.mark.spec("client-protocol 18.3")
@pytest.mark.parametrize("allowed", [b"foo.*", b"foo.>", b">", b"*.*", b"*.>"])
def test_a_wildcard_subscription_is_allowed_by_an_entry_that_matches_its_tokens(allowed: bytes) -> None:
    assert allowing(allowed).permit(b"foo.*", None)


@pytest.mark.spec("client-protocol 18.3")
@pytest.mark.parametrize(
    ("subject", "allowed"),
    [(b"foo.*", b"foo.bar"), (b">", b"foo"), (b">", b"foo.>"), (b"*.bar", b"foo.*"), (b"*.*", b"foo.>")],
)
def test_a_wildcard_subscription_is_not_allowed_by_a_part_of_it(subject: bytes, allowed: bytes) -> None:
    assert not allowing(allowed).permit(subject, None)


@pytest.mark.spec("client-protocol 18.3")
def test_the_rest_takes_the_place_of_one_token_under_a_star() -> None:
    assert allowing(b"foo.*").permit(b"foo.>", None)
    assert allowing(b"*").permit(b">", None)
    assert not denying(b"foo.*").permit(b"foo.>", None)


@pytest.mark.spec("client-protocol 18.3")
def test_a_subscription_that_a_denial_matches_is_refused_and_a_broader_one_is_not() -> None:
    rules = denying(b"q.>")

    assert [rules.permit(subject, None) for subject in (b"q.a", b"q.*", b"q.>", b">", b"*.*", b"*.a")] == [
        False, False, False, True, True, True,
    ]  # fmt: skip


@pytest.mark.spec("client-protocol 18.3")
def test_a_plain_denial_stands_beside_one_of_a_queue() -> None:
    rules = denying(b"foo", b"foo v1")

    assert [rules.permit(b"foo", queue) for queue in (None, b"v1", b"v2")] == [False, False, False]


@pytest.mark.spec("client-protocol 18.3")
def test_a_denial_of_a_queue_says_nothing_about_plain_subscriptions() -> None:
    assert denying(b"foo >").permit(b"foo", None)
    assert denying(b"foo *").filter_for(b"*", None) is None


@pytest.mark.spec("client-protocol 18.3")
@pytest.mark.parametrize(
    ("pattern", "queue", "about"),
    [
        (b"v1", b"v1", True),
        (b"v1", b"v2", False),
        (b"v1.*", b"v1.x", True),
        (b"v1.*", b"v1.*", True),
        (b"v1.*", b"v1", False),
        (b"v1.*", b"v1.x.y", False),
        (b"v1.*", b"v1.>", False),
        (b"v1.*", b"v1.", False),
        (b"v1.>", b"v1.x.y", True),
        (b"v1.>", b"v1.>", True),
        (b"v1.>", b"v1..x", True),
        (b"v1.>", b"v1", False),
        (b"*.x", b"v1.x", True),
        (b">", b"anything..", True),
        (b"v1", b"*", False),
    ],
)
def test_the_queue_of_an_entry_may_be_a_pattern(pattern: bytes, queue: bytes, about: bool) -> None:
    assert allowing(b"foo " + pattern).permit(b"foo", queue) is about
    assert denying(b"foo " + pattern).permit(b"foo", queue) is not about


@pytest.mark.spec("client-protocol 18.3")
def test_queue_entries_for_other_subjects_do_not_narrow_the_plain_ones() -> None:
    rules = allowing(b"foo", b"bar v1")

    assert rules.permit(b"foo", b"v2")
    assert rules.permit(b"bar", b"v1")
    assert not rules.permit(b"bar", None)


@pytest.mark.spec("client-protocol 18.3")
def test_several_queue_entries_are_alternatives() -> None:
    rules = allowing(b"foo v1", b"* v2.*")

    assert [rules.permit(b"foo", queue) for queue in (b"v1", b"v2.x", b"v3")] == [True, True, False]


# -- what is filtered ------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 18.3")
@pytest.mark.parametrize(
    ("subject", "denied"),
    [
        (b"foo.*", b"foo.bar"),
        (b">", b"foo"),
        (b"*.x", b"q.>"),
        (b"*.*", b"q.>"),
        (b"a.*.c", b"*.b.*"),
        (b"a.>", b"*.b"),
    ],
)
def test_a_subscription_that_overlaps_a_denial_gets_a_filter(subject: bytes, denied: bytes) -> None:
    rules = denying(denied)

    assert rules.permit(subject, None)
    assert rules.filter_for(subject, None) == DeliveryFilter((denied,))


@pytest.mark.spec("client-protocol 18.3")
@pytest.mark.parametrize(
    ("subject", "denied"), [(b"foo.*", b"bar.*"), (b"foo.*", b"foo"), (b"foo.*", b"foo.a.b"), (b"a", b"a.>")]
)
def test_a_subscription_that_no_denial_overlaps_gets_none(subject: bytes, denied: bytes) -> None:
    assert denying(denied).filter_for(subject, None) is None


@pytest.mark.spec("client-protocol 18.3")
def test_a_filter_holds_the_denials_of_its_own_group_and_the_plain_ones() -> None:
    rules = denying(b"foo.a", b"foo.b v1", b"foo.c v*", b"foo.d v.*", b"foo.e *")

    def denied(queue: bytes | None) -> tuple[bytes, ...]:
        found = rules.filter_for(b"foo.*", queue)
        assert found is not None
        return found.deny

    assert denied(None) == (b"foo.a",)
    assert denied(b"v1") == (b"foo.a", b"foo.b", b"foo.e")
    assert denied(b"v.x") == (b"foo.a", b"foo.d")


@pytest.mark.spec("client-protocol 10.1", "client-protocol 18.3")
def test_a_filter_admits_what_no_entry_matches() -> None:
    made = DeliveryFilter((b"foo.bar", b"q.>"))

    assert [made.admits(subject) for subject in (b"foo.bar", b"foo.baz", b"q.a.b", b"q", b"foo.*")] == [
        False, True, False, True, True,
    ]  # fmt: skip


def test_equal_rules_are_equal_values() -> None:
    one = Permissions(Rules((b"a",), (b"b",)), denying(b"c q"))
    other = Permissions(Rules((b"a",), (b"b",)), denying(b"c q"))

    assert one == other
    assert hash(one) == hash(other)
    assert one != EVERYTHING
    assert Permissions() == EVERYTHING
    assert Permissions(Rules(())) != EVERYTHING


# -- responses -------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 18.4")
def test_a_response_is_one_message_within_two_minutes_unless_said_otherwise() -> None:
    assert ResponsePermission() == ResponsePermission(1, 120_000_000_000)
    assert ResponsePermission(0, 0) == ResponsePermission()


@pytest.mark.spec("client-protocol 18.4")
def test_below_zero_there_is_no_limit() -> None:
    permission = ResponsePermission(-7, -5)

    assert (permission.max, permission.expires_ns) == (UNLIMITED, UNLIMITED)


@pytest.mark.spec("client-protocol 18.1")
def test_who_may_respond_may_publish_nothing_else_unless_it_is_allowed_by_name() -> None:
    responses = ResponsePermission()

    assert not Permissions(responses=responses).publish.permit(b"a")
    assert Permissions(Rules(deny=(b"b",)), responses=responses).publish == Rules((), (b"b",))
    assert Permissions(Rules((b"a",)), responses=responses).publish == Rules((b"a",))

"""Subjects: what is valid, what is a pattern, what matches."""

from __future__ import annotations

from itertools import product

import pytest

from natscore.subject import covers, has_wildcard, is_valid, is_valid_literal, matches, overlap

VALID = [
    b"foo", b"foo.bar", b"*", b">", b"foo.*", b"foo.>", b"*.*.>", b"foo*", b"a.>>", b"a.**", b">a", b"a>.b",
    b"\x00", b"\xff.\xfe", b"$SYS.>", b"_R_.x", b"a\x0bb",
]  # fmt: skip
INVALID = [b"", b".", b"..", b".foo", b"foo.", b"foo..bar", b">.foo", b"foo.>.bar", b">.>", b"a.>."]


@pytest.mark.spec("client-protocol 7.1", "client-protocol 7.2")
@pytest.mark.parametrize("subject", VALID)
def test_a_subscription_may_name(subject: bytes) -> None:
    assert is_valid(subject)


@pytest.mark.spec("client-protocol 7.2")
@pytest.mark.parametrize("subject", INVALID)
def test_a_subscription_must_not_name(subject: bytes) -> None:
    assert not is_valid(subject)
    assert not is_valid_literal(subject)


@pytest.mark.parametrize("subject", [b"*", b">", b"foo.*", b"*.foo", b"foo.>", b"a.*.b"])
def test_a_token_that_is_exactly_a_star_or_the_rest_is_a_wildcard(subject: bytes) -> None:
    assert has_wildcard(subject)
    assert not is_valid_literal(subject)


@pytest.mark.spec("client-protocol 7.1")
@pytest.mark.parametrize("subject", [b"foo", b"foo*", b"a.>>", b"a.**.b", b">a.b"])
def test_a_star_inside_a_longer_token_is_no_wildcard(subject: bytes) -> None:
    assert not has_wildcard(subject)
    assert is_valid_literal(subject)


@pytest.mark.spec("client-protocol 7.1", "client-protocol 21")
@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        (b"foo", b"foo"),
        (b"foo.*", b"foo.bar"),
        (b"foo.*", b"foo.*"),
        (b"*.*", b"foo.>"),
        (b"foo.>", b"foo.bar"),
        (b"foo.>", b"foo.a.b"),
        (b">", b"foo"),
        (b"*.bar.>", b"foo.bar.baz.qux"),
    ],
)
def test_a_pattern_matches(pattern: bytes, subject: bytes) -> None:
    assert matches(pattern, subject)


@pytest.mark.spec("client-protocol 7.1", "client-protocol 21")
@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        (b"foo", b"Foo"),
        (b"foo", b"foo.bar"),
        (b"foo.bar", b"foo"),
        (b"foo.*", b"foo"),
        (b"foo.*", b"foo.bar.baz"),
        (b"foo.>", b"foo"),
        (b"foo*", b"foox"),
        (b"foo.bar", b"foo.*"),
        (b"*.a", b"b.c"),
    ],
)
def test_a_pattern_does_not_match(pattern: bytes, subject: bytes) -> None:
    assert not matches(pattern, subject)


@pytest.mark.spec("client-protocol 7.3", "client-protocol 21")
@pytest.mark.parametrize("subject", [b"a..b", b".a", b"a.", b".", b""])
def test_a_subject_with_an_empty_token_is_matched_by_nothing(subject: bytes) -> None:
    assert not any(matches(pattern, subject) for pattern in (b">", b"*", b"*.*", b"a.>", b"*.*.*"))


@pytest.mark.spec("client-protocol 21")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"foo", b"foo"),
        (b"foo", b"*"),
        (b"foo.bar", b"foo.>"),
        (b"foo.*", b"*.bar"),
        (b"q.>", b"*.x"),
        (b">", b"a.b.c"),
        (b">", b"*"),
        (b"a.*.c", b"a.b.>"),
        (b"a.>", b"*.*.*"),
        (b"*.b.>", b"a.>"),
    ],
)
def test_two_patterns_overlap(one: bytes, other: bytes) -> None:
    assert overlap(one, other)
    assert overlap(other, one)


@pytest.mark.spec("client-protocol 21")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"foo", b"bar"),
        (b"foo", b"foo.bar"),
        (b"foo", b"foo.>"),
        (b"*", b"*.>"),
        (b"foo.*", b"foo.*.*"),
        (b"foo.*", b"bar.*"),
        (b"a.*.c", b"a.b.d"),
        (b"a.b.>", b"a.b"),
        (b"a.b.>", b"*.c.>"),
        (b"foo*", b"foo"),
    ],
)
def test_two_patterns_do_not_overlap(one: bytes, other: bytes) -> None:
    assert not overlap(one, other)
    assert not overlap(other, one)


def test_patterns_overlap_when_a_subject_is_matched_by_both() -> None:
    subjects = [b".".join(row) for size in range(1, 5) for row in product((b"a", b"b"), repeat=size)]
    tokens = (b"a", b"b", b"*", b">")
    patterns = [
        one for size in range(1, 4) for row in product(tokens, repeat=size) if is_valid(one := b".".join(row))
    ]
    matched = {pattern: {one for one in subjects if matches(pattern, one)} for pattern in patterns}

    for one, other in product(patterns, repeat=2):
        assert overlap(one, other) is bool(matched[one] & matched[other]), (one, other)


@pytest.mark.parametrize(
    ("pattern", "other", "covered"),
    [
        (b"s", b"s", True), (b"s.*", b"s.a", True), (b"s.*", b"s.*", True), (b"s.>", b"s.*", True),
        (b"s.>", b"s.>", True), (b"s.>", b"s.a.>", True), (b">", b"*.s", True), (b"*.s", b"a.s", True),
        (b"s.*", b"s.>", False), (b"s.*.>", b"s.>", False), (b"s.a", b"s.*", False), (b"s.>", b"s", False),
        (b"s.*", b"s.a.b", False), (b"s.a.b", b"s.a", False), (b"s.a", b"s.b", False), (b"*", b">", False),
    ],
)  # fmt: skip
def test_pattern_covers_another_when_it_matches_whatever_that_matches(
    pattern: bytes, other: bytes, covered: bool
) -> None:
    assert covers(pattern, other) is covered

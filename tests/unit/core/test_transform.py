"""Transforms: every function, every refusal, and imports in both directions."""

from __future__ import annotations

import pytest

from natscore.transform import (
    USES_MAX,
    ImportTransform,
    Transform,
    TransformError,
    fnv1a,
    has_empty_token,
    intersection,
)


def never(n: int) -> int:
    """The draw of a transform that has nothing to draw."""
    raise AssertionError(f"drew a number below {n}")


@pytest.mark.spec("accounts 9.1")
@pytest.mark.parametrize(
    ("source", "destination", "subject", "result"),
    [
        (b"foo", b"bar", b"foo", b"bar"),
        (b"foo.*.*", b"bar.$2.$1", b"foo.a.b", b"bar.b.a"),
        (b"foo.*.*", b"bar.{{wildcard(2)}}.{{Wildcard(1)}}", b"foo.a.b", b"bar.b.a"),
        (b"*.*.*", b"$3.$1.$1", b"a.b.c", b"c.a.a"),
        (b"foo.>", b"bar.x.>", b"foo.a.b", b"bar.x.a.b"),
        (b"z.*.>", b"y.$1.q.>", b"z.1.2.3", b"y.1.q.2.3"),
        (b">", b">", b"a.b", b"a.b"),
        (b">", b"all.>", b"a", b"all.a"),
        (b"p.*", b"q.{{partition(10,1)}}", b"p.abc", b"q.1"),
        (b"p.*", b"q.{{partition(10,1)}}", b"p.xyz", b"q.8"),
        (b"p.*.*", b"q.{{partition(7,1,2)}}", b"p.foo.bar", b"q.0"),
        (b"p.*", b"q.{{partition(0,1)}}", b"p.abc", b"q.0"),
        (b"l.*", b"L.{{SplitFromLeft(1,3)}}", b"l.abcdef", b"L.abc.def"),
        (b"l.*", b"L.{{SplitFromLeft(1,3)}}", b"l.abc", b"L.abc"),
        (b"l.*", b"L.{{SplitFromLeft(1,0)}}", b"l.abc", b"L.abc"),
        (b"l.*", b"L.{{SplitFromLeft(1,-1)}}", b"l.abc", b"L.abc"),
        (b"r.*", b"R.{{SplitFromRight(1,3)}}", b"r.abcdefg", b"R.abcd.efg"),
        (b"r.*", b"R.{{SplitFromRight(1,3)}}", b"r.abc", b"R.abc"),
        (b"r.*", b"R.{{SplitFromRight(1,-3)}}", b"r.abc", b"R.abc"),
        (b"s.*", b"S.{{SliceFromLeft(1,3)}}", b"s.abcdefgh", b"S.abc.def.gh"),
        (b"s.*", b"S.{{SliceFromLeft(1,3)}}", b"s.abcdef", b"S.abc.def"),
        (b"s.*", b"S.{{SliceFromLeft(1,3)}}", b"s.abc", b"S.abc"),
        (b"s.*", b"S.{{SliceFromRight(1,3)}}", b"s.abcdefgh", b"S.ab.cde.fgh"),
        (b"s.*", b"S.{{SliceFromRight(1,3)}}", b"s.abcdef", b"S.abc.def"),
        (b"s.*", b"S.{{SliceFromRight(1,0)}}", b"s.abc", b"S.abc"),
        (b"s.*", b"S.{{Split(1,-)}}", b"s.a-b-c", b"S.a.b.c"),
        (b"s.*", b"S.{{Split(1,-)}}", b"s.-a--b-c-", b"S.a.b.c"),
        (b"s.*", b"S.{{Split(1,-)}}", b"s.--a", b"S.a"),
        (b"s.*", b"S.{{Split(1,-)}}", b"s.abc", b"S.abc"),
        (b"s.*", b"S.{{Split(1,)}}", b"s.a\xc3\xa9\xff", b"S.a.\xc3\xa9.\xff"),
        (b"l.*", b"L.{{Left(1,2)}}", b"l.abc", b"L.ab"),
        (b"l.*", b"L.{{Left(1,3)}}", b"l.abc", b"L.abc"),
        (b"r.*", b"R.{{Right(1,2)}}", b"r.abc", b"R.bc"),
        (b"r.*", b"R.{{Right(1,0)}}", b"r.abc", b"R.abc"),
        (b"a.*", b"$x.$1", b"a.b", b"$x.b"),
        (b"a.*", b"b.x{{wildcard(1)}}", b"a.b", b"b.x{{wildcard(1)}}"),
        (b"a.*", b"b.$1", b"a.*", b"b.*"),
        (b"\xff.*", b"$1.\xfe", b"\xff.\x00", b"\x00.\xfe"),
    ],
)
def test_a_subject_is_renamed(source: bytes, destination: bytes, subject: bytes, result: bytes) -> None:
    assert Transform.parse(source, destination).apply(subject, never) == result


@pytest.mark.spec("accounts 9.1")
@pytest.mark.parametrize("source", [b"a.b.c", b"a.*.c", b"a.>"])
def test_a_partition_without_tokens_hashes_the_whole_subject_with_its_dots(source: bytes) -> None:
    transform = Transform.parse(source, b"q.{{partition(1000)}}" + (b".>" if b">" in source else b""))

    result = transform.apply(b"a.b.c", never)

    assert result is not None
    assert result.split(b".")[1] == b"%d" % (fnv1a(b"a.b.c") % 1000)


@pytest.mark.spec("accounts 9.1")
def test_a_random_token_is_the_number_that_was_drawn() -> None:
    drawn: list[int] = []

    def draw(n: int) -> int:
        drawn.append(n)
        return n - 1

    assert (
        Transform.parse(b"a", b"b.{{random(5)}}.{{random(7)}}.{{random(0)}}").apply(b"a", draw) == b"b.4.6.0"
    )
    assert drawn == [5, 7]


def test_a_subject_of_which_a_split_leaves_nothing_has_no_name() -> None:
    transform = Transform.parse(b"s.*", b"S.{{split(1,-)}}")

    assert transform.apply(b"s.--", never) is None
    assert transform.apply(b"s.-x", never) == b"S.x"


def test_the_identity_leaves_subjects_as_they_are() -> None:
    identity = Transform.identity(b"a.*.$5.>")

    assert identity.apply(b"a.b.$5.c", never) == b"a.b.$5.c"
    assert identity.destination == b"a.$1.$5.>"
    with pytest.raises(TransformError, match=r"^invalid subject$"):
        Transform.identity(b"a..b")


@pytest.mark.spec("accounts 9")
@pytest.mark.parametrize(
    ("source", "destination", "text"),
    [
        (b"foo.>", b"bar", "invalid subject"),
        (b"foo", b"bar.>", "invalid subject"),
        (b"foo.*", b"bar.*", "invalid subject"),
        (b"foo..x", b"bar", "invalid subject"),
        (b"foo.*", b"", "invalid subject"),
        (b"foo.*", b"bar.$2", "invalid mapping destination: wildcard index out of range in $2: [2]"),
        (b"foo.*", b"bar.$0", "invalid mapping destination: wildcard index out of range in $0: [0]"),
        (b"foo.>", b"bar.$1.>", "invalid mapping destination: wildcard index out of range in $1: [1]"),
        (
            b"foo.*",
            b"bar.{{partition(10,1,2)}}",
            "invalid mapping destination: wildcard index out of range in {{partition(10,1,2)}}: [2]",
        ),
        (b"foo", b"bar.$1", "invalid mapping destination: wildcard index out of range in $1"),
        (
            b"foo",
            b"bar.{{split(1,-)}}",
            "invalid mapping destination: wildcard index out of range in {{split(1,-)}}",
        ),
    ],
)
def test_a_destination_that_cannot_be_is_refused(source: bytes, destination: bytes, text: str) -> None:
    for make in (Transform.parse, Transform.of_mapping):
        with pytest.raises(TransformError) as refused:
            make(source, destination)

        assert str(refused.value) == text


@pytest.mark.spec("accounts 9", "accounts 9.1")
@pytest.mark.parametrize(
    ("destination", "text"),
    [
        (b"bar..x", "invalid mapping destination: invalid transform"),
        (b">.x", "invalid mapping destination: invalid transform in x"),
        (b"bar baz", "invalid mapping destination: invalid transform"),
        (b"bar.$1 x", "invalid mapping destination: invalid transform"),
        (b"{{left(1,2)}}", "invalid mapping destination: unknown function in {{left(1,2)}}"),
        (b"{{Right(1,2)}}", "invalid mapping destination: unknown function in {{Right(1,2)}}"),
        (b"{{nope(1)}}", "invalid mapping destination: unknown function in {{nope(1)}}"),
    ],
)
def test_a_mapping_refuses_what_a_transform_could_be(destination: bytes, text: str) -> None:
    with pytest.raises(TransformError) as refused:
        Transform.of_mapping(b"foo.*", destination)

    assert str(refused.value) == text


@pytest.mark.spec("accounts 9.1")
def test_a_mapping_need_not_use_every_wildcard() -> None:
    assert Transform.of_mapping(b"foo.*.*", b"bar.$1").apply(b"foo.a.b", never) == b"bar.a"


@pytest.mark.parametrize("use", [b"$1", b"{{partition(3,1)}}", b"{{split(1,-)}}"])
def test_one_wildcard_is_not_used_without_end(use: bytes) -> None:
    Transform.parse(b"*", b".".join([use] * USES_MAX))

    with pytest.raises(TransformError, match=r"one wildcard is used more than 32 times in "):
        Transform.parse(b"*", b".".join([use] * (USES_MAX + 1)))


def test_the_whole_subject_is_not_hashed_without_end() -> None:
    with pytest.raises(TransformError, match=r"more than 32 times"):
        Transform.parse(b"*", b".".join([b"{{partition(3)}}"] * (USES_MAX + 1)))
    with pytest.raises(TransformError, match=r"more than 32 times"):
        Transform.parse(b"*", b"{{partition(3" + b",1" * (USES_MAX + 1) + b")}}")


def test_a_result_is_no_longer_than_the_destination_and_its_uses_of_the_subject() -> None:
    destination = b".".join([b"{{sliceFromLeft(1,1)}}"] * USES_MAX)
    subject = b"x" * 4096

    result = Transform.parse(b"*", destination).apply(subject, never)

    assert result is not None
    assert len(result) <= len(destination) + 2 * USES_MAX * len(subject)


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"", 0x811C9DC5), (b"a", 0xE40C292C), (b"foobar", 0xBF9CF968), (b"chongo was here!\n", 0xD49930D5)],
)
def test_the_hash_is_fnv_1a(key: bytes, value: int) -> None:
    assert fnv1a(key) == value


@pytest.mark.parametrize("subject", [b"", b".", b".a", b"a.", b"a..b"])
def test_an_empty_token_is_seen(subject: bytes) -> None:
    assert has_empty_token(subject)
    assert not has_empty_token(b"a.b")


@pytest.mark.spec("accounts 5.1")
@pytest.mark.parametrize(
    ("exporter", "local", "subscription", "shadow"),
    [
        # The examples of the specification: `s.>` with the prefix `from.a`.
        (b"s.>", b"from.a.s.>", b"from.a.s.x", b"s.x"),
        (b"s.>", b"from.a.s.>", b"from.>", b"s.>"),
        (b"s.>", b"from.a.s.>", b">", b"s.>"),
        (b"s.>", b"from.a.s.>", b"from.*.s.*.z", b"s.*.z"),
        (b"s.>", b"from.a.s.>", b"s.x", None),
        (b"s.*.*", b"loc.$2.$1", b"loc.two.one", b"s.one.two"),
        (b"s.*.*", b"loc.$2.$1", b"loc.*.*", b"s.*.*"),
        (b"s.*.*", b"loc.$2.$1", b"*.two.>", b"s.*.two"),
        (b"s.*.*", b"loc.*.*", b"loc.one.*", b"s.one.*"),
        (b"s.*.*.*", b"loc.$2.$3.$1", b"loc.b.c.a", b"s.a.b.c"),
        (b"s.*.*", b"loc.{{wildcard(2)}}.*", b"loc.b.a", b"s.a.b"),
        (b"s.x", b"loc.y", b"loc.y", b"s.x"),
        (b"s.x", b"loc.y", b"loc.*", b"s.x"),
        (b"s.x", b"loc.y", b"s.x", None),
        (b"s.>", b"s.>", b"s.*.b", b"s.*.b"),
        (b"s.*", b"s.*", b"*.x", b"s.x"),
        (b"s.*", b"l.$1.$1", b"l.*.b", b"s.b"),
        (b"s.*", b"l.$1.$1", b"l.>", b"s.*"),
        (b"s.*", b"l.$1.$1", b"l.a.b", None),
        (b"s.*.x", b"l.$1", b"l.*.x", None),
        (b"s.*.>", b"l.$1.>", b"l.*", None),
        (b"s.*", b"$1x.$1", b"$1x.a", b"s.a"),
    ],
)
def test_a_subscription_is_shadowed_at_the_exporter(
    exporter: bytes, local: bytes, subscription: bytes, shadow: bytes | None
) -> None:
    assert ImportTransform.stream(exporter, local).shadow(subscription) == shadow


@pytest.mark.spec("accounts 5.2")
@pytest.mark.parametrize(
    ("exporter", "local", "subject", "named"),
    [
        (b"s.*.*", b"loc.$2.$1", b"s.one.two", b"loc.two.one"),
        (b"s.*.*.*", b"loc.$2.$3.$1", b"s.a.b.c", b"loc.b.c.a"),
        (b"s.*.>", b"l.$1.x.>", b"s.a.b.c", b"l.a.x.b.c"),
        (b"s.>", b"s.>", b"s.a.b", b"s.a.b"),
        (b"s.x", b"loc.y", b"s.x", b"loc.y"),
    ],
)
def test_a_stream_import_renames_what_it_delivers_and_finds_the_way_back(
    exporter: bytes, local: bytes, subject: bytes, named: bytes
) -> None:
    transform = ImportTransform.stream(exporter, local)

    assert transform.to_local(subject) == named
    assert transform.to_exporter(named) == subject


@pytest.mark.spec("accounts 6.1")
def test_a_service_import_leads_to_its_exporter() -> None:
    renamed = ImportTransform.service(b"svc.*.*", b"loc.$2.$1")
    literal = ImportTransform.service(b"svc", b"any.*")

    assert renamed.local == b"loc.*.*"
    assert renamed.to_exporter(b"loc.b.a") == b"svc.a.b"
    assert literal.local == b"any.*"
    assert literal.to_exporter(b"any.x") == b"svc"


def test_a_local_subject_that_names_one_wildcard_twice_and_differently_leads_nowhere() -> None:
    transform = ImportTransform.service(b"svc.*", b"loc.$1.$1")

    assert transform.to_exporter(b"loc.a.a") == b"svc.a"
    assert transform.to_exporter(b"loc.a.b") is None


@pytest.mark.spec("accounts 2.1", "accounts 9.1")
@pytest.mark.parametrize(
    ("exporter", "local", "text"),
    [
        (b"x.>", b"b", "invalid subject"),
        (b"x..y", b"b", "invalid subject"),
        (b"x", b"b..c", "invalid subject"),
        (b"x", b"b.*", "invalid subject"),
        (b"x.*", b"b.>", "invalid subject"),
        (b"x.*", b"b", "invalid mapping destination: not using all of the token wildcard(s) in b"),
        (
            b"x.*.*",
            b"b.*",
            "invalid mapping destination: not using all of the token wildcard(s) in b.$1",
        ),
        (
            b"x.*.*",
            b"b.$1.$1",
            "invalid mapping destination: not using all of the token wildcard(s) in b.$1.$1",
        ),
        (b"x.*", b"b.$2", "invalid mapping destination: wildcard index out of range in $2: [2]"),
        (
            b"x.*",
            b"b.{{partition(3,1)}}",
            "invalid mapping destination: the only mapping function allowed for import transforms is"
            " {{Wildcard()}} in {{partition(3,1)}}",
        ),
        (b"x.*", b"b.{{nope(1)}}", "invalid mapping destination: unknown function in {{nope(1)}}"),
    ],
)
def test_an_import_that_cannot_be_undone_is_refused(exporter: bytes, local: bytes, text: str) -> None:
    with pytest.raises(TransformError) as refused:
        ImportTransform.stream(exporter, local)

    assert str(refused.value) == text


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (b"a", b"a", b"a"),
        (b"a", b"b", None),
        (b"a.*", b"*.b", b"a.b"),
        (b"a.>", b"*.b.*", b"a.b.*"),
        (b">", b"a.*", b"a.*"),
        (b"a.>", b"a", None),
        (b"*", b"*.*", None),
        (b"*.>", b"a.>", b"a.>"),
    ],
)
def test_two_patterns_have_in_common(one: bytes, other: bytes, common: bytes | None) -> None:
    assert intersection(one, other) == common
    assert intersection(other, one) == common

"""Mappings: which one a subject gets, which destination it draws, and what a configuration may say."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from natscore.account.mappings import Destination, Mapping, Mappings, destination_of, mapping_of, weight_of
from natscore.entropy import Xorshift64
from natscore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

HUNDRED: Final = range(100)
CHI_SQUARE_MAX: Final = 13.82  # 2 degrees of freedom: exceeded by chance once in a thousand


def never(n: int) -> int:
    """The draw where there is no choice."""
    raise AssertionError(f"drew a number below {n}")


def fixed(number: int) -> Callable[[int], int]:
    """The draw that gives this number."""
    return lambda _: number


def chosen(mapping: Mapping, subject: bytes, cluster: str = "") -> Counter[bytes | None]:
    """How many of the hundred numbers lead to each result."""
    return Counter(mapping.apply(subject, cluster, fixed(number)) for number in HUNDRED)


@pytest.mark.spec("accounts 9")
def test_a_simple_mapping_renames_without_a_draw() -> None:
    mappings = Mappings([mapping_of("foo", "bar"), mapping_of("foo.*.*", "bar.$2.$1")])

    assert mappings.apply(b"foo", "", never) == b"bar"
    assert mappings.apply(b"foo.a.b", "", never) == b"bar.b.a"


@pytest.mark.spec("accounts 9")
def test_a_subject_without_a_mapping_stays() -> None:
    mappings = Mappings([mapping_of("foo", "bar"), mapping_of("a.*", "b.$1")])

    for subject in (b"bar", b"foo.x", b"a", b"a.b.c", b"a.", b"a..b", b"", b"Foo"):
        assert mappings.apply(subject, "", never) == subject
    assert Mappings().apply(b"foo", "", never) == b"foo"


@pytest.mark.spec("accounts 9")
def test_a_result_is_not_mapped_again() -> None:
    mappings = Mappings([mapping_of("a", "b"), mapping_of("b", "c")])

    assert mappings.apply(b"a", "", never) == b"b"


@pytest.mark.spec("accounts 9")
def test_weights_are_shares_of_a_hundred_and_the_rest_stays_at_the_source() -> None:
    mapping = mapping_of("m", [{"dest": "m.v1", "weight": "50%"}, {"dest": "m.v2", "weight": 30}])

    assert chosen(mapping, b"m") == {b"m": 20, b"m.v2": 30, b"m.v1": 50}
    assert [mapping.apply(b"m", "", fixed(n)) for n in (0, 19, 20, 49, 50, 99)] == [
        *(b"m", b"m", b"m.v2", b"m.v2", b"m.v1", b"m.v1")
    ]


@pytest.mark.spec("accounts 9")
def test_the_rest_of_a_source_with_wildcards_keeps_its_subject() -> None:
    mapping = mapping_of("a.*.$5.>", [{"dest": "b.$1.>", "weight": 40}])

    assert chosen(mapping, b"a.x.$5.y") == {b"b.x.y": 40, b"a.x.$5.y": 60}


@pytest.mark.spec("accounts 9")
def test_what_a_listed_source_leaves_of_a_hundred_is_lost() -> None:
    assert chosen(mapping_of("m", {"dest": "m", "weight": 0}), b"m") == {None: 100}
    assert chosen(mapping_of("m", [{"dest": "m", "weight": 20}, {"dest": "n", "weight": 30}]), b"m") == {
        b"m": 20,
        b"n": 30,
        None: 50,
    }


@pytest.mark.spec("accounts 9")
def test_a_destination_of_weight_zero_gets_nothing() -> None:
    assert chosen(mapping_of("m", {"dest": "n", "weight": 0}), b"m") == {b"m": 100}
    assert chosen(mapping_of("m", []), b"m") == {b"m": 100}


@pytest.mark.spec("accounts 9", "accounts 18:14")
def test_a_cluster_that_is_named_has_its_own_destinations() -> None:
    mapping = mapping_of(
        "m",
        [
            {"dest": "m.default", "weight": 70},
            {"dest": "m.east", "weight": 100, "cluster": "east"},
            {"dest": "m.west", "weight": 60, "cluster": "west"},
        ],
    )

    assert chosen(mapping, b"m", "east") == {b"m.east": 100}
    assert chosen(mapping, b"m", "west") == {b"m.west": 60, b"m": 40}
    assert chosen(mapping, b"m", "north") == {b"m.default": 70, b"m": 30}
    assert chosen(mapping, b"m") == {b"m.default": 70, b"m": 30}


@pytest.mark.spec("accounts 9")
def test_a_mapping_of_other_clusters_leaves_the_subject() -> None:
    mapping = mapping_of("m", [{"dest": "m.x", "weight": 100, "cluster": "X"}])

    assert mapping.apply(b"m", "S", never) == b"m"


def test_a_source_that_one_cluster_lists_gets_no_rest_in_any() -> None:
    mapping = mapping_of(
        "m", [{"dest": "m", "weight": 10, "cluster": "X"}, {"dest": "n", "weight": 20, "cluster": "Y"}]
    )

    assert chosen(mapping, b"m", "X") == {b"m": 10, None: 90}
    assert chosen(mapping, b"m", "Y") == {b"n": 20, None: 80}
    assert chosen(mapping, b"m") == {None: 100}


@pytest.mark.spec("accounts 9")
def test_weights_add_up_for_each_cluster_alone() -> None:
    mapping_of(
        "m",
        [
            {"dest": "a", "weight": 100},
            {"dest": "b", "weight": 100, "cluster": "X"},
            {"dest": "c", "weight": 100, "cluster": "Y"},
        ],
    )

    with pytest.raises(ConfigError, match="total weight needs to be <= 100"):
        mapping_of("m", [{"dest": d, "weight": 60, "cluster": "X"} for d in ("a", "b")])


@pytest.mark.spec("accounts 18:14")
def test_ten_thousand_draws_follow_the_weights() -> None:
    mapping = mapping_of("m", [{"dest": "a", "weight": 50}, {"dest": "b", "weight": 30}])
    choices = Xorshift64(7)

    counted = Counter(mapping.apply(b"m", "", choices.pick) for _ in range(10_000))

    expected = {b"a": 5000, b"b": 3000, b"m": 2000}
    assert counted.keys() == expected.keys()
    assert sum((counted[name] - wanted) ** 2 / wanted for name, wanted in expected.items()) < CHI_SQUARE_MAX


@pytest.mark.spec("accounts 9")
def test_a_number_chooses_the_same_transform_each_time() -> None:
    mapping = mapping_of("m.*", [{"dest": "n.$1", "weight": 60}])
    identity, renaming = mapping.choose(0), mapping.choose(99)

    assert identity is not None
    assert renaming is not None
    assert (identity.destination, renaming.destination) == (b"m.$1", b"n.$1")
    assert mapping.choose(0) is identity


@pytest.mark.spec("accounts 9")
def test_a_source_that_is_the_subject_comes_before_wildcards_that_come_in_order() -> None:
    sources = ["a.>", "a.*", "a.b", "*.b", ">"]
    mappings = Mappings([mapping_of(source, source.replace("*", "$1")) for source in sources])

    assert [one.source.decode() for one in mappings] == sources
    assert len(mappings) == len(sources)
    for subject, source in ((b"a.b", b"a.b"), (b"a.c", b"a.>"), (b"c.b", b"*.b"), (b"c", b">"), (b"a", b">")):
        found = mappings.find(subject)
        assert found is not None
        assert found.source == source


def test_a_later_mapping_of_a_source_takes_the_place_of_the_earlier() -> None:
    mappings = Mappings([mapping_of("a.*", "b.$1"), mapping_of("a.>", "c.>"), mapping_of("a.*", "d.$1")])

    assert [one.source for one in mappings] == [b"a.*", b"a.>"]
    assert mappings.apply(b"a.x", "", never) == b"d.x"


@pytest.mark.parametrize(
    ("subject", "source"),
    [(b"a.*", b"a.*"), (b"a.>", b"a.>"), (b">", None), (b"*.b", None), (b"a.*.>", b"a.>")],
)
def test_a_published_wildcard_is_covered_as_in_a_pattern(subject: bytes, source: bytes | None) -> None:
    mappings = Mappings([mapping_of("a.*", "b.$1"), mapping_of("a.>", "c.>"), mapping_of("a.b", "x")])

    found = mappings.find(subject)

    assert (found.source if found is not None else None) == source


def test_a_star_inside_a_token_of_a_source_is_that_byte() -> None:
    mappings = Mappings([mapping_of("*a.*", "b.$1")])

    assert mappings.apply(b"*a.x", "", never) == b"b.x"
    assert mappings.apply(b"xx.x", "", never) == b"xx.x"


def test_among_thousands_of_sources_few_are_looked_at() -> None:
    mappings = Mappings([mapping_of(f"a.{n}.*.{n}.>", f"b.{n}.$1.>") for n in range(5000)])
    deep = b"a.77." + b".".join([b"x"] * 5000)

    assert mappings.apply(b"a.4999.x.4999.y", "", never) == b"b.4999.x.y"
    assert mappings.apply(deep, "", never) == deep


@pytest.mark.spec("accounts 9", "configuration 5.5")
@pytest.mark.parametrize(
    ("source", "value", "text"),
    [
        ("foo..x", "bar", 'Subject "foo..x" is not a valid subject'),
        ("foo x", "bar", 'Subject "foo x" is not a valid subject'),
        ("", "bar", 'Subject "" is not a valid subject'),
        ("foo", 5, "Expected an entry for the mapping destination"),
        ("foo", [5], "Expected an entry for the mapping destination"),
        ("foo", {"dest": "a"}, 'Missing weight for mapping destination "a"'),
        ("foo", [{"dest": "a", "weight": 101}], "Invalid weight 101 for mapping destination"),
        ("foo", [{"dest": "a", "weight": -1}], "Invalid weight -1 for mapping destination"),
        ("foo", [{"dest": "a", "weight": "101%"}], "Invalid weight 101 for mapping destination"),
        ("foo", [{"dest": "a", "weight": "x%"}], 'Invalid weight "x" for mapping destination'),
        ("foo", [{"dest": "a", "weight": ""}], 'Invalid weight "" for mapping destination'),
        ("foo", [{"dest": "a", "weight": True}], "Unknown entry type for weight of true"),
        ("foo", [{"dest": "a", "weight": 1.5}], "Unknown entry type for weight of 1.5"),
        ("foo", [{"dest": "a", "weight": 1, "x": 1}], 'Unknown field "x" for mapping destination'),
        ("foo", [{"dest": 5, "weight": 1}], "Expected a string for dest of a mapping destination, got 5"),
        (
            "foo",
            [{"dest": "a", "weight": 60}, {"dest": "b", "weight": 50}],
            'Error adding mapping for "foo" : total weight needs to be <= 100',
        ),
        (
            "foo",
            [{"dest": "a", "weight": 1}, {"dest": "a", "weight": 1, "cluster": "X"}],
            'Error adding mapping for "foo" : duplicate entry for "a"',
        ),
        (
            "foo.*",
            "bar.$2",
            'Error adding mapping for "foo.*" to "bar.$2" : '
            "invalid mapping destination: wildcard index out of range in $2: [2]",
        ),
        ("foo.>", "bar", 'Error adding mapping for "foo.>" to "bar" : invalid subject'),
        (
            "foo.*",
            {"dest": "bar.{{nope(1)}}", "weight": 5},
            'Error adding mapping for "foo.*" : invalid mapping destination: unknown function in {{nope(1)}}',
        ),
    ],
)
def test_a_configuration_is_refused_with_the_text_of_the_reference(
    source: str, value: object, text: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        mapping_of(source, value)

    assert str(refused.value) == text


@pytest.mark.spec("configuration 5.5")
def test_names_in_a_destination_have_aliases_and_any_case() -> None:
    entry = {"Destination": "a", "WEIGHT": "50%", "cluster": "east"}

    assert destination_of(entry) == Destination(b"a", 50, "east")


@pytest.mark.parametrize(
    ("value", "weight"), [(0, 0), (100, 100), ("7", 7), ("50%", 50), ("+5%", 5), ("007", 7), ("-0", 0)]
)
def test_a_weight_is_a_number_or_text(value: object, weight: int) -> None:
    assert weight_of(value) == weight


@pytest.mark.parametrize(
    ("source", "destination", "text"),
    [
        (b"a..b", Destination(b"x", 1), "invalid subject"),
        (b"a b", Destination(b"x", 1), "invalid subject"),
        (b"a", Destination(b"x", 101), "individual weights need to be <= 100"),
        (b"a", Destination(b"x", -1), "individual weights need to be <= 100"),
    ],
)
def test_a_mapping_from_elsewhere_is_checked_too(source: bytes, destination: Destination, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Mapping(source, [destination])

    assert str(refused.value) == text

"""Transforms, imports and mappings do what their twins find by enumeration, for any bytes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from natscore.account.mappings import Destination, Mapping, Mappings
from natscore.errors import ConfigError
from natscore.subject import has_wildcard, matches
from natscore.transform import ImportTransform, Transform, intersection
from tests.models import transforms as twin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.models.transforms import Piece

ALPHABET: Final = (b"a", b"b")
LITERALS: Final = tuple(twin.literals(ALPHABET, 4))
FEW_TOKENS: Final = st.sampled_from([b"a", b"b", b"*"])
ANY_TOKEN: Final = st.binary(min_size=1, max_size=8).filter(
    lambda token: not set(token) & set(b". \t\r\n\f") and token not in (b"*", b">")
)
LETTERS: Final = st.text("ab-", min_size=1, max_size=12).map(str.encode)
CUTS: Final = ("left", "right", "splitfromleft", "splitfromright", "slicefromleft", "slicefromright")
SPACES: Final = st.sampled_from([b"", b" ", b"  "])


def fixed(number: int) -> Callable[[int], int]:
    """The draw that gives this number."""
    return lambda _: number


def pattern_of(tokens: list[bytes], *, rest: bool) -> bytes:
    return b".".join([*tokens, b">"] if rest else tokens)


PATTERNS: Final = st.builds(
    lambda tokens, rest: pattern_of(tokens, rest=rest) or b">",
    st.lists(FEW_TOKENS, max_size=3),
    st.booleans(),
)


@st.composite
def pieces(draw: st.DrawFn, wildcards: int) -> tuple[Piece, bytes]:
    """A piece of a destination, and one of the ways to write it."""
    size = draw(st.integers(-1, 9))
    if wildcards == 0 or draw(st.integers(0, 4)) == 0:
        return draw(
            st.one_of(
                ANY_TOKEN.filter(lambda token: token[:1] not in b"${*>").map(
                    lambda token: (("text", (), token), token)
                ),
                st.just((("random", (), 6), b"{{random(6)}}")),
                st.just((("partition", (), 9), b"{{partition(9)}}")),
            )
        )
    number = draw(st.integers(1, wildcards))
    function = draw(st.sampled_from(["wildcard", "partition", "split", *CUTS]))
    spellings = [function, function.replace("from", "From"), function.capitalize()]
    spelled = draw(st.sampled_from(spellings)).encode()
    before, after = draw(SPACES), draw(SPACES)
    if function == "wildcard":
        short = b"$%d" % number
        long = b"{{%b%b(%b%d%b)%b}}" % (before, spelled, before, number, after, after)
        return (function, (number,), 0), draw(st.sampled_from([short, long]))
    if function == "partition":
        numbers = draw(st.lists(st.integers(1, wildcards), min_size=1, max_size=3))
        written = b",".join(b"%b%d" % (before, one) for one in numbers)
        return (function, tuple(numbers), 97), b"{{%b(97,%b)%b}}" % (spelled, written, after)
    if function == "split":
        delimiter = draw(st.sampled_from([b"-", b"ab", b"\xff"]))
        return (function, (number,), delimiter), b"{{%b(%d,%b)}}" % (spelled, number, delimiter)
    return (function, (number,), size), b"{{%b%b(%d,%b%d)}}" % (before, spelled, number, after, size)


@st.composite
def renamings(draw: st.DrawFn) -> tuple[bytes, list[Piece], bytes, bytes]:
    """A source, a destination as pieces and as text, and a subject that the source covers."""
    tokens = draw(st.lists(st.one_of(st.just(b"*"), st.sampled_from(ALPHABET)), min_size=1, max_size=4))
    rest = draw(st.booleans())
    wildcards = tokens.count(b"*")
    written = draw(st.lists(pieces(wildcards), min_size=0 if rest else 1, max_size=4))
    if wildcards == 0 and not rest:
        written = [one for one in written if one[0][0] in ("text", "random", "partition")]
    destination = pattern_of([text for _, text in written], rest=rest)
    meant = [piece for piece, _ in written] + ([("rest", (), b"")] if rest else [])
    literal = LETTERS | ANY_TOKEN
    subject = [draw(literal) if one == b"*" else one for one in tokens]
    if rest:
        subject += draw(st.lists(literal, min_size=1, max_size=3))
    return pattern_of(tokens, rest=rest), meant, destination, b".".join(subject)


@pytest.mark.spec("accounts 9.1")
@given(renamings(), st.integers(0, 5))
def test_a_transform_renames_as_its_twin(case: tuple[bytes, list[Piece], bytes, bytes], drawn: int) -> None:
    source, meant, destination, subject = case

    result = Transform.parse(source, destination).apply(subject, fixed(drawn))

    assert result == twin.renamed(source, meant, subject, [drawn] * len(meant))


@pytest.mark.spec("accounts 9.1")
@pytest.mark.parametrize("function", [*CUTS, "split"])
@given(LETTERS | ANY_TOKEN, st.integers(-1, 9), st.sampled_from([b"-", b"ab"]))
def test_a_function_changes_a_token_as_its_twin(
    function: str, token: bytes, size: int, delimiter: bytes
) -> None:
    argument = delimiter if function == "split" else size
    written = delimiter if function == "split" else b"%d" % size
    transform = Transform.parse(b"*", b"{{%b(1,%b)}}" % (function.encode(), written))

    assert transform.apply(token, fixed(0)) == twin.renamed(b"*", [(function, (1,), argument)], token, [])


@given(st.binary(max_size=40), st.binary(max_size=60))
def test_any_bytes_are_a_transform_or_an_error_with_a_text(source: bytes, destination: bytes) -> None:
    for make in (Transform.parse, Transform.of_mapping, ImportTransform.stream, ImportTransform.service):
        with suppress(ConfigError):
            make(source, destination)
    with suppress(ConfigError):
        Mappings([Mapping(source, [Destination(destination, 50)])]).apply(destination, "", fixed(0))


@given(
    st.lists(
        st.sampled_from(
            ["{{", "}}", "(", ")", ",", "1", "$", " ", "split", "partition", "Wildcard", "-", "."]
        ),
        max_size=12,
    ).map("".join)
)
def test_anything_like_a_destination_is_a_transform_or_an_error_with_a_text(text: str) -> None:
    with suppress(ConfigError):
        renamed = Transform.of_mapping(b"a.*", text.encode()).apply(b"a.x-y", lambda n: n - 1)
        assert renamed is None or b"" not in renamed.split(b".")


@given(PATTERNS, PATTERNS)
def test_what_two_patterns_have_in_common_is_what_both_match(one: bytes, other: bytes) -> None:
    common = intersection(one, other)

    for subject in LITERALS:
        both = twin.covers(one, subject) and twin.covers(other, subject)
        assert both == (common is not None and twin.covers(common, subject))


@st.composite
def imports(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """An exporter's pattern and a local name that uses each of its wildcards, some of them twice."""
    exporter = draw(PATTERNS)
    tokens = exporter.split(b".")
    stars = [b"$%d" % number for number in range(1, tokens.count(b"*") + 1)]
    extra = draw(st.lists(st.sampled_from([*stars, *ALPHABET]), max_size=1))
    local = draw(st.permutations(stars + extra))
    rest = tokens[-1] == b">"
    assume(local or rest)
    return exporter, pattern_of(local, rest=rest)


@pytest.mark.spec("accounts 5.1", "accounts 5.2", "accounts 18:4", "accounts 18:5")
@given(imports(), PATTERNS)
def test_a_shadow_gets_what_its_subscription_asks_for(pair: tuple[bytes, bytes], asked: bytes) -> None:
    transform = ImportTransform.stream(*pair)
    shadow = transform.shadow(asked)

    for subject in LITERALS:
        if not twin.covers(transform.exporter, subject):
            assert shadow is None or not matches(shadow, subject)
            continue
        named = transform.to_local(subject)
        assert twin.covers(transform.local, named)
        assert transform.to_exporter(named) == subject
        assert (shadow is not None and matches(shadow, subject)) == twin.covers(asked, named)


@pytest.mark.spec("accounts 9")
@given(st.lists(PATTERNS, max_size=8), st.sampled_from(LITERALS) | PATTERNS)
def test_a_mapping_is_found_as_in_a_list_that_is_searched(sources: Sequence[bytes], subject: bytes) -> None:
    mappings = Mappings([Mapping(source, []) for source in sources])

    found = mappings.find(subject)

    assert (found.source if found is not None else None) == twin.find(sources, subject)


@pytest.mark.spec("accounts 9")
@given(st.lists(st.integers(0, 40), max_size=5), st.booleans())
def test_weights_are_drawn_as_from_a_hat_of_a_hundred(weights: list[int], listed: bool) -> None:
    assume(sum(weights) <= 100)
    names = [b"m" if listed and not place else b"d%d" % place for place in range(len(weights))]
    left = 0 if listed and weights else 100 - sum(weights)

    mapping = Mapping(b"m", [Destination(*one) for one in zip(names, weights, strict=True)])

    hat = twin.drawn([*zip(weights, names, strict=True), (left, b"m")])
    assert [mapping.apply(b"m", "", fixed(n)) for n in range(100)] == hat
    assert not has_wildcard(mapping.source)

"""Subject transforms: how one subject becomes another, parsed once and applied per message.

A transform has a source, which is a pattern, and a destination whose tokens say where each token of
the result comes from:

    source     destination                     subject    result
    foo.*.*    bar.$2.$1                       foo.a.b    bar.b.a
    foo.>      bar.x.>                         foo.a.b    bar.x.a.b
    p.*        q.{{partition(10,1)}}.$1        p.abc      q.1.abc
    s.*        t.{{SplitFromLeft(1,3)}}        s.abcdef   t.abc.def

`Transform` serves the mappings of an account, `ImportTransform` renames between an exporter and an importer,
in both directions. How a destination is written is in `natscore.destinations`; `natscore.account.mappings`
decides which mapping applies. Facts: accounts.md sections 5.1 and 9; nats-server 2.14.5,
`server/subject_transform.go`.

Subjects are opaque bytes here as everywhere, so a "character" of a function is a byte.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from natscore.destinations import (
    BLANKS,
    Call,
    TransformError,
    bad_destination,
    bad_subject,
    looks_like_function,
    name_of,
    parsed,
)
from natscore.subject import REST, STAR, has_wildcard, is_valid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Draw = Callable[[int], int]
    """Gives a number from 0 to n - 1, for n up to 2^31, as `Xorshift64.pick` does."""

__all__ = ["ImportTransform", "Transform", "TransformError", "fnv1a", "has_empty_token", "intersection"]

USES_MAX: Final = 32
"""How often one destination may use one wildcard, or hash the whole subject. Ours: a destination can come
with the claims of a stranger, and each use copies or hashes a token as long as its publisher likes. With this
bound a result is at most as long as the destination and 64 subjects, as a split may double a token."""

_NOT_OF_MAPPINGS: Final = (None, "left", "right")
"""The reference compiles `left` and `right`, and its check of mappings refuses them as unknown."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A token as it stands."""

    text: bytes

    def render(self, tokens: Sequence[bytes], draw: Draw) -> bytes:
        return self.text


@dataclass(frozen=True, slots=True)
class _Token:
    """A token of the subject, changed by a function of that token and a number."""

    at: int
    change: Callable[[bytes, int], bytes]
    number: int

    def render(self, tokens: Sequence[bytes], draw: Draw) -> bytes:
        return self.change(tokens[self.at], self.number)


@dataclass(frozen=True, slots=True)
class _Split:
    """The pieces of a token of the subject between delimiters."""

    at: int
    delimiter: bytes

    def render(self, tokens: Sequence[bytes], draw: Draw) -> bytes:
        return _split(tokens[self.at], self.delimiter)


@dataclass(frozen=True, slots=True)
class _Partition:
    """The bucket of some tokens of the subject, or of all of it when none is named."""

    buckets: int
    at: tuple[int, ...]

    def render(self, tokens: Sequence[bytes], draw: Draw) -> bytes:
        if not self.buckets:
            return b"0"
        key = b"".join([tokens[at] for at in self.at]) if self.at else b".".join(tokens)
        return b"%d" % (fnv1a(key) % self.buckets)


@dataclass(frozen=True, slots=True)
class _Random:
    """A drawn number."""

    ceiling: int

    def render(self, tokens: Sequence[bytes], draw: Draw) -> bytes:
        return b"%d" % draw(self.ceiling) if self.ceiling else b"0"


_Part = _Text | _Token | _Split | _Partition | _Random


@dataclass(frozen=True, slots=True)
class Transform:
    """How the subjects that `source` covers are renamed. Made by `parse`, `of_mapping` or `identity`."""

    source: bytes
    destination: bytes
    _parts: tuple[_Part, ...]
    _rest: int | None  # the token of the subject from which on it is copied
    _is_identity: bool = False

    @classmethod
    def parse(cls, source: bytes, destination: bytes, /) -> Transform:
        """The transform with any function. Raises TransformError."""
        stars, tokens = _checked(source, destination)
        uses: Counter[int] = Counter()
        parts = tuple(_part(token, stars, REST in _tokens(source), uses) for token in tokens if token != REST)
        return cls(source, destination, parts, len(_tokens(source)) - 1 if tokens[-1] == REST else None)

    @classmethod
    def of_mapping(cls, source: bytes, destination: bytes, /) -> Transform:
        """The transform as a mapping may have it: not `left` or `right`. Raises TransformError."""
        if not destination:
            raise bad_subject()
        tokens = _tokens(destination)
        for index, token in enumerate(tokens):
            if not token or REST in tokens[:index]:
                raise bad_destination("invalid transform", token)
            if looks_like_function(token):
                if name_of(token) in _NOT_OF_MAPPINGS:
                    raise bad_destination("unknown function", token)
            elif not BLANKS.isdisjoint(token):
                raise bad_destination("invalid transform")
        return cls.parse(source, destination)

    @classmethod
    def identity(cls, source: bytes, /) -> Transform:
        """The transform that leaves each subject of `source` as it is. Raises TransformError."""
        if not is_valid(source):
            raise bad_subject()
        return cls(source, _numbered(source), (), None, _is_identity=True)

    @property
    def draws(self) -> bool:
        """Whether the new name of a subject may be another each time."""
        return any(isinstance(part, _Random) and part.ceiling for part in self._parts)

    def apply(self, subject: bytes, draw: Draw, /) -> bytes | None:
        """The new name of `subject`, which the source must cover; None when no subscription can have it.

        That happens when a split leaves nothing of a token. The reference
        routes such a subject, and nobody receives it. Other results are
        treated as if they had been published: a token `*` is that byte.

        Cost: linear in the destination and the subject (`USES_MAX`).
        """
        if self._is_identity:
            return subject
        tokens = subject.split(b".")
        results = [part.render(tokens, draw) for part in self._parts]
        if self._rest is not None:
            results += tokens[self._rest :]
        result = b".".join(results)
        return None if has_empty_token(result) else result


@dataclass(frozen=True, slots=True)
class ImportTransform:
    """How an import renames between the exporter's subjects and the importer's, both ways.

    `exporter` and `local` are patterns. A stream import renames what was
    published at the exporter (`to_local`) and subscribes there to what its
    subscribers want (`shadow`); a service import renames requests
    (`to_exporter`).
    """

    exporter: bytes
    local: bytes
    _exporter_tokens: tuple[bytes, ...]
    _local_tokens: tuple[bytes, ...]
    _sources: tuple[int | None, ...]  # for each local token, which token of the exporter it holds

    @classmethod
    def stream(cls, exporter: bytes, local: bytes, /) -> ImportTransform:
        """The transform of a stream import of `exporter` as `local`. Raises TransformError.

        `local` uses every wildcard of `exporter`: as `*` in their order, or as
        `$n` or `{{wildcard(n)}}` in any. A literal stream has a literal name.
        """
        if not is_valid(exporter) or not is_valid(local):
            raise bad_subject()
        if not has_wildcard(exporter):
            if has_wildcard(local):
                raise bad_subject()
            return cls._of(exporter, local, {})
        destination = _numbered(local)
        stars, tokens = _checked(exporter, destination)
        sources: dict[int, int] = {}
        uses: Counter[int] = Counter()
        for index, token in enumerate(tokens):
            call = parsed(token)
            if call is None:
                continue
            if call.name != "wildcard":
                raise bad_destination(
                    "the only mapping function allowed for import transforms is {{Wildcard()}}", token
                )
            sources[index] = _located(call, token, stars, uses)[0]
        if set(sources.values()) != set(stars):
            raise bad_destination("not using all of the token wildcard(s)", destination)
        return cls._of(exporter, destination, sources)

    @classmethod
    def service(cls, exporter: bytes, local: bytes, /) -> ImportTransform:
        """The transform of a service import of `exporter` as `local`. Raises TransformError.

        As for a stream, but many local subjects may lead to one literal service.
        """
        if is_valid(exporter) and is_valid(local) and not has_wildcard(exporter):
            return cls._of(exporter, local, {})
        return cls.stream(exporter, local)

    @classmethod
    def _of(cls, exporter: bytes, destination: bytes, sources: dict[int, int]) -> ImportTransform:
        tokens = _tokens(destination)
        local = tuple(STAR if index in sources else token for index, token in enumerate(tokens))
        holds = tuple(sources.get(index) for index in range(len(tokens)))
        return cls(exporter, b".".join(local), tuple(_tokens(exporter)), local, holds)

    def to_local(self, subject: bytes, /) -> bytes:
        """The local name of a subject of the exporter that `exporter` covers."""
        tokens = subject.split(b".")
        results = [
            token if source is None else tokens[source]
            for token, source in zip(self._local_tokens, self._sources, strict=True)
        ]
        if self._exporter_tokens[-1] == REST:
            results[-1:] = tokens[len(self._exporter_tokens) - 1 :]
        return b".".join(results)

    def to_exporter(self, subject: bytes, /) -> bytes | None:
        """The exporter's name of a local subject that `local` covers.

        None when it has none: two tokens that hold the same wildcard differ.
        """
        return self._inverse(subject.split(b"."), _equal)

    def shadow(self, subscription: bytes, /) -> bytes | None:
        """What the exporter must deliver so that a local subscription has all it can get of this import.

        None when no subject of the import matches the subscription.
        """
        common = _intersection(_tokens(subscription), self._local_tokens)
        return None if common is None else self._inverse(common, _unified)

    def _inverse(
        self, tokens: Sequence[bytes], agree: Callable[[bytes, bytes], bytes | None]
    ) -> bytes | None:
        """Put each token back where it came from; `agree` decides between two of the same wildcard."""
        results = list(self._exporter_tokens)
        placed: set[int] = set()
        for token, source in zip(tokens, self._sources, strict=False):
            if source is None:
                continue
            agreed = agree(results[source], token) if source in placed else token
            if agreed is None:
                return None
            results[source] = agreed
            placed.add(source)
        if results[-1] == REST:
            results[-1:] = tokens[len(self._local_tokens) - 1 :]
        return b".".join(results)


def intersection(one: bytes, other: bytes, /) -> bytes | None:
    """The pattern of the subjects that both patterns match, None when there is none.

    Such a pattern always exists: where one has a wildcard, the other's token
    is the narrower. Cost: one step per token.
    """
    common = _intersection(_tokens(one), _tokens(other))
    return None if common is None else b".".join(common)


def _intersection(one: Sequence[bytes], other: Sequence[bytes]) -> list[bytes] | None:
    common: list[bytes] = []
    for index in range(max(len(one), len(other))):
        if index >= len(one) or index >= len(other):
            return None
        if one[index] == REST:
            return [*common, *other[index:]]
        if other[index] == REST:
            return [*common, *one[index:]]
        token = _unified(one[index], other[index])
        if token is None:
            return None
        common.append(token)
    return common


def _unified(one: bytes, other: bytes) -> bytes | None:
    """What two tokens of patterns have in common."""
    if one == STAR:
        return other
    return one if other in (STAR, one) else None


def _equal(one: bytes, other: bytes) -> bytes | None:
    return one if one == other else None


def has_empty_token(subject: bytes, /) -> bool:
    """Whether no subscription can match `subject`, because a token of it is empty."""
    return not subject or subject.startswith(b".") or subject.endswith(b".") or b".." in subject


def fnv1a(key: bytes, /) -> int:
    """The 32-bit FNV-1a hash, which decides partitions."""
    value = 0x811C9DC5
    for byte in key:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def _split(token: bytes, delimiter: bytes) -> bytes:
    """The pieces between delimiters, none empty; an empty delimiter stands between any two characters."""
    if delimiter:
        pieces = token.split(delimiter)
    else:
        pieces = [char.encode(errors="surrogateescape") for char in token.decode(errors="surrogateescape")]
    return b".".join(filter(None, pieces))


def _split_from_left(token: bytes, at: int) -> bytes:
    return token[:at] + b"." + token[at:] if 0 < at < len(token) else token


def _split_from_right(token: bytes, at: int) -> bytes:
    return _split_from_left(token, len(token) - at)


def _slice_from_left(token: bytes, size: int) -> bytes:
    return b".".join(_pieces(token, 0, size)) if 0 < size < len(token) else token


def _slice_from_right(token: bytes, size: int) -> bytes:
    return b".".join(_pieces(token, len(token) % size, size)) if 0 < size < len(token) else token


def _pieces(token: bytes, first: int, size: int) -> Iterable[bytes]:
    """`first` bytes, unless it is 0, then `size` each, the last piece being what is left."""
    if first:
        yield token[:first]
    for at in range(first, len(token), size):
        yield token[at : at + size]


def _left(token: bytes, size: int) -> bytes:
    return token[:size] if 0 < size < len(token) else token


def _right(token: bytes, size: int) -> bytes:
    return token[-size:] if 0 < size < len(token) else token


def _whole(token: bytes, _: int) -> bytes:
    return token


_CHANGES: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "wildcard": _whole,
    "splitfromleft": _split_from_left,
    "splitfromright": _split_from_right,
    "slicefromleft": _slice_from_left,
    "slicefromright": _slice_from_right,
    "left": _left,
    "right": _right,
}


def _tokens(subject: bytes) -> list[bytes]:
    return subject.split(b".")


def _numbered(pattern: bytes) -> bytes:
    """A pattern as a destination: each `*` as `$n`, in order."""
    numbers = itertools.count(1)
    return b".".join([b"$%d" % next(numbers) if token == STAR else token for token in _tokens(pattern)])


def _checked(source: bytes, destination: bytes) -> tuple[list[int], list[bytes]]:
    """Where the source has its stars, and the tokens of the destination, once both can be."""
    if not is_valid(source) or not is_valid(destination):
        raise bad_subject()
    given, wanted = _tokens(source), _tokens(destination)
    if STAR in wanted or (given[-1] == REST) != (wanted[-1] == REST):
        raise bad_subject()
    return [index for index, token in enumerate(given) if token == STAR], wanted


def _part(token: bytes, stars: Sequence[int], has_rest: bool, uses: Counter[int]) -> _Part:
    """What makes one token of the result."""
    call = parsed(token)
    if call is None:
        return _Text(token)
    if call.name == "random":
        return _Random(call.number)
    if not stars and not has_rest:
        if call.name != "partition":
            raise bad_destination("wildcard index out of range", token)
        # nats-server 2.14.5, subject_transform.go: a literal subject is hashed whole, whatever is named.
        call = Call("partition", (), call.number)
    at = _located(call, token, stars, uses)
    if call.name == "partition":
        return _Partition(call.number, at)
    if call.name == "split":
        return _Split(at[0], call.text)
    return _Token(at[0], _CHANGES[call.name], call.number)


def _located(call: Call, token: bytes, stars: Sequence[int], uses: Counter[int]) -> tuple[int, ...]:
    """Where the source has the wildcards that a function names, each counted in `uses`."""
    at = []
    for number in call.wildcards:
        # The reference takes the first token of the subject for a number below 1, which nobody can mean.
        if not 1 <= number <= len(stars):
            raise bad_destination("wildcard index out of range", b"%s: [%d]" % (token, number))
        at.append(stars[number - 1])
    uses.update(at or (-1,))
    if max(uses.values()) > USES_MAX:
        raise bad_destination(f"one wildcard is used more than {USES_MAX} times", token)
    return tuple(at)

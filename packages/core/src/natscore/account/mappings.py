"""The subject mappings of an account: which destination a published subject gets.

A mapping has a source pattern and weighted destinations. For a subject the account looks for one mapping,
that mapping draws one destination, and the transform of the destination makes the new subject:

    mappings = { "m": [ {dest: "m.v1", weight: 50%}, {dest: "m.v2", weight: 30} ] }

    a number drawn from 0 to 99      0-19          20-49    50-99
    what the message is renamed to   m, as it was  m.v2     m.v1

All of it is values and pure functions (accounts.md section 9; nats-server 2.14.5, `server/accounts.go
AddWeightedMappings`, `selectMappedSubject`). The caller draws, and decides when a message is mapped: once,
where it enters, before permissions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from natscore.destinations import BLANKS, integer
from natscore.errors import ConfigError, quoted
from natscore.subject import REST, STAR, has_wildcard, is_valid
from natscore.transform import Transform, has_empty_token

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from natscore.transform import Draw

__all__ = [
    "WEIGHT_MAX",
    "Choice",
    "Destination",
    "Mapper",
    "Mapping",
    "Mappings",
    "destination_of",
    "mapping_of",
    "weight_of",
]

WEIGHT_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination of a mapping: a share of the messages, in percent, in one cluster or by default."""

    subject: bytes
    weight: int
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class _Shares:
    """The destinations of one list: up to which number each is taken, lowest first."""

    limits: tuple[tuple[int, Transform], ...]

    @property
    def sole(self) -> Transform | None:
        """The destination of every message, if there is one."""
        return self.limits[0][1] if len(self.limits) == 1 and self.limits[0][0] == WEIGHT_MAX else None

    def at(self, number: int) -> Transform | None:
        return next((transform for limit, transform in self.limits if number < limit), None)


@dataclass(init=False, slots=True, unsafe_hash=True)
class Mapping:
    """One source and its destinations. Raises ConfigError with the text of the reference.

    What the weights of a list leave of 100 goes to the source itself, unless
    the source is among the destinations, of whatever cluster: then the rest is
    lost, and so are all messages of a list without a destination.
    """

    source: bytes
    destinations: tuple[Destination, ...]
    _clusters: Table[str, _Shares] = field(repr=False, compare=False)
    _default: _Shares = field(repr=False, compare=False)

    def __init__(self, source: bytes, destinations: Iterable[Destination], /) -> None:
        self.source = source
        self.destinations = tuple(destinations)
        if not is_valid(source) or not BLANKS.isdisjoint(source):
            raise ConfigError("invalid subject")
        lists: dict[str, list[tuple[int, Transform]]] = {"": []}
        totals: Counter[str] = Counter()
        seen: set[bytes] = set()
        for one in self.destinations:
            if one.subject in seen:
                raise ConfigError(f"duplicate entry for {_quoted(one.subject)}")
            seen.add(one.subject)
            if not 0 <= one.weight <= WEIGHT_MAX:
                raise ConfigError("individual weights need to be <= 100")
            totals[one.cluster] += one.weight
            if totals[one.cluster] > WEIGHT_MAX:
                raise ConfigError("total weight needs to be <= 100")
            weighed = (one.weight, Transform.of_mapping(source, one.subject))
            lists.setdefault(one.cluster, []).append(weighed)
        rest = None if source in seen else Transform.identity(source)
        self._clusters = {cluster: _shares(shares, rest) for cluster, shares in lists.items()}
        self._default = self._clusters[""]

    def choose(self, number: int, cluster: str = "") -> Transform | None:
        """The destination for a number from 0 to 99, None when the message is lost.

        A cluster that the mapping names has its own destinations; every other has those without a cluster.
        """
        return self._shares(cluster).at(number)

    def draws(self, cluster: str) -> bool:
        """Whether the new name of a subject may be another each time."""
        sole = self._shares(cluster).sole
        return sole is None or sole.draws

    def apply(self, subject: bytes, cluster: str, draw: Draw) -> bytes | None:
        """The new name of a subject that the source covers, None when the message is lost.

        Draws a number below 100 if there is a choice, then what functions need.
        """
        shares = self._shares(cluster)
        chosen = shares.sole or shares.at(draw(WEIGHT_MAX))
        return None if chosen is None else chosen.apply(subject, draw)

    def _shares(self, cluster: str) -> _Shares:
        return self._clusters.get(cluster, self._default)


def _shares(weighed: Sequence[tuple[int, Transform]], rest: Transform | None) -> _Shares:
    """The limits of a list, with what is left for `rest`."""
    left = WEIGHT_MAX - sum(weight for weight, _ in weighed)
    if left and rest is not None:
        weighed = [*weighed, (left, rest)]
    limits, total = [], 0
    for weight, transform in sorted(weighed, key=lambda one: one[0]):
        total += weight
        limits.append((total, transform))
    return _Shares(tuple(limits))


class _Node:
    """One token of the sources with wildcards. Places are those of the mappings in their order."""

    __slots__ = ("ends", "literals", "rest", "star")

    def __init__(self) -> None:
        self.literals: dict[bytes, _Node] = {}
        self.star: _Node | None = None
        self.ends: int | None = None  # the place of the source that ends here
        self.rest: int | None = None  # and of the one that ends with `>` after this


class Mappings:
    """All mappings of an account, found by subject. A value: a reload makes another.

    A source that is the subject comes first, else the first in order whose source
    covers it. A later mapping of the same source takes the place of the earlier.
    """

    __slots__ = ("_all", "_literal", "_root")

    def __init__(self, mappings: Iterable[Mapping] = (), /) -> None:
        self._all: Final = tuple({one.source: one for one in mappings}.values())
        self._literal: Final = {one.source: one for one in self._all if not has_wildcard(one.source)}
        self._root: Final = _Node()
        for place, one in enumerate(self._all):
            if one.source not in self._literal:
                self._insert(one.source.split(b"."), place)

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def find(self, subject: bytes) -> Mapping | None:
        """The mapping of a published subject, None when there is none."""
        return self.search(subject)[0]

    def search(self, subject: bytes) -> tuple[Mapping | None, int]:
        """The mapping of a published subject, and how many places were looked at for it.

        A token `*` of the subject is covered by `*`, and `>` by `>` alone. Cost: one step
        per token, times the sources that agree so far; never more than all tokens of all sources.
        """
        exact = self._literal.get(subject)
        if exact is not None or len(self._literal) == len(self._all) or has_empty_token(subject):
            return exact, 1
        tokens = subject.split(b".")
        first = len(self._all)
        places = 1
        waiting = [(self._root, 0)]
        while waiting:
            node, depth = waiting.pop()
            places += 1
            if depth == len(tokens):
                if node.ends is not None:
                    first = min(first, node.ends)
                continue
            if node.rest is not None:
                first = min(first, node.rest)
            literal = node.literals.get(tokens[depth])
            if literal is not None:
                waiting.append((literal, depth + 1))
            if node.star is not None and tokens[depth] != REST:
                waiting.append((node.star, depth + 1))
        return (self._all[first] if first < len(self._all) else None), places

    def apply(self, subject: bytes, cluster: str, draw: Draw) -> bytes | None:
        """What a published subject is renamed to, itself without a mapping; None when the message is lost."""
        mapping = self.find(subject)
        return subject if mapping is None else mapping.apply(subject, cluster, draw)

    def _insert(self, tokens: Sequence[bytes], place: int) -> None:
        node = self._root
        for token in tokens:
            if token == REST:
                node.rest = place
                return
            if token == STAR:
                node.star = node.star or _Node()
                node = node.star
            else:
                node = node.literals.setdefault(token, _Node())
        node.ends = place


class Choice:
    """What becomes of messages to one subject that a mapping covers: a new name, drawn each time or not."""

    __slots__ = ("_cluster", "_mapping", "is_fixed", "subject", "target")

    def __init__(self, mapping: Mapping, subject: bytes, cluster: str) -> None:
        self._mapping = mapping
        self._cluster = cluster
        self.subject: Final = subject
        self.is_fixed: Final = not mapping.draws(cluster)
        # the new name, if there is one; a message that has none is lost
        self.target: Final = mapping.apply(subject, cluster, _never) if self.is_fixed else None

    def draw(self, draw: Draw) -> bytes | None:
        """The new name of the next message; None: it is lost."""
        return self._mapping.apply(self.subject, self._cluster, draw)


def _never(_: int) -> int:
    raise AssertionError("a name that is always the same is not drawn")


class Mapper:
    """The mappings of an account as one cluster applies them, for the look-up tables of a data plane."""

    __slots__ = ("_cluster", "_mappings")

    def __init__(self, mappings: Mappings, cluster: str) -> None:
        self._mappings = mappings
        self._cluster = cluster

    def choose(self, subject: bytes) -> tuple[Choice | None, int]:
        """What becomes of messages to `subject`, None: they keep it; and how many places were looked at."""
        mapping, places = self._mappings.search(subject)
        return (None if mapping is None else Choice(mapping, subject, self._cluster)), places


def mapping_of(source: str, value: object, /) -> Mapping:
    """The mapping of one entry of `mappings` in a configuration. Raises ConfigError as the reference says it.

    `value` is a subject, a table with `dest`, `weight` and `cluster`, or a list of such tables.
    """
    raw = _raw(source)
    if not is_valid(raw) or not BLANKS.isdisjoint(raw):
        raise ConfigError(f"Subject {_quoted(raw)} is not a valid subject")
    if isinstance(value, str):
        destinations = [Destination(_raw(value), WEIGHT_MAX)]
        shown = f"{_quoted(raw)} to {_quoted(_raw(value))}"
    else:
        destinations = [destination_of(entry) for entry in (value if isinstance(value, list) else [value])]
        shown = _quoted(raw)
    try:
        return Mapping(raw, destinations)
    except ConfigError as reason:
        raise ConfigError(f"Error adding mapping for {shown} : {reason}") from reason


def destination_of(entry: object, /) -> Destination:
    """One table of a mapping in a configuration. Raises ConfigError with the text of the reference."""
    if not isinstance(entry, Table):
        raise ConfigError("Expected an entry for the mapping destination")
    subject, cluster, weight = "", "", None
    for key, value in entry.items():
        match str(key).lower():
            case "dest" | "destination":
                subject = _text_of(key, value)
            case "weight":
                weight = weight_of(value)
            case "cluster":
                cluster = _text_of(key, value)
            case _:
                raise ConfigError(f"Unknown field {_quoted(_raw(str(key)))} for mapping destination")
    if weight is None:
        raise ConfigError(f"Missing weight for mapping destination {_quoted(_raw(subject))}")
    return Destination(_raw(subject), weight, cluster)


def weight_of(value: object, /) -> int:
    """A weight of a configuration: 0 to 100, a number or text with or without `%`. Raises ConfigError."""
    if isinstance(value, str):
        text = value.removesuffix("%")
        value = integer(_raw(text))
        if value is None:
            raise ConfigError(f"Invalid weight {_quoted(_raw(text))} for mapping destination")
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"Unknown entry type for weight of {str(value).lower()}")
    if not 0 <= value <= WEIGHT_MAX:
        raise ConfigError(f"Invalid weight {value} for mapping destination")
    return value


def _text_of(key: object, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"Expected a string for {key} of a mapping destination, got {value}")
    return value


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _quoted(raw: bytes) -> str:
    return quoted(raw).decode()

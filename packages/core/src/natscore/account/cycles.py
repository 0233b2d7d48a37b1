"""Whether an import lets a message come back to an import that it has passed.

    A imports b1 of B as a, B imports c1 of C as b1      a -> b1 -> c1
    C imports a of A as c1                               closes the cycle, and is refused
    C imports d of A as c1                               does not

Imports are judged one after another, in the order of the configuration: one that
closes a cycle is refused, all others stay. The next import may be taken when it
overlaps the subjects that the one before it can pass on. That errs on the side of
a cycle where the literals of one import and the literals of the one after the
next exclude each other.

Work is bounded, whoever wrote the imports: a step for each pair of imports that
meet in an account, and for each import that is added another for each pair that
follow one another. Nothing here calls itself.

Where this differs from the reference (accounts.md section 13; nats-server 2.14.5,
server/accounts.go checkServiceImportsForCycles): there the answer depends on the
random order in which accounts are read, two ways to one account can count as a
cycle, and cycles of renamed imports pass. Here the order of the file decides which
import of a cycle is refused; whether there is one does not depend on it. An account may import from
itself, as there: a way that stays in one account is no cycle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from natscore.account.mappings import WEIGHT_MAX
from natscore.destinations import parsed
from natscore.subject import REST, STAR, covers, has_wildcard, overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from natscore.account.mappings import Mapping, Mappings

__all__ = ["Cycles", "Hop", "mapped"]

_DIVIDING: Final = ("splitfromleft", "splitfromright", "slicefromleft", "slicefromright", "split")
"""Functions that may make several tokens of one."""


class Hop(Protocol):
    """What an import does to messages, of either kind."""

    @property
    def start(self) -> tuple[str, bytes]: ...

    @property
    def end(self) -> str: ...

    def carry(self, subjects: bytes) -> bytes | None: ...


class _Node:
    """An import, where its messages go, and which imports they may take from there."""

    __slots__ = ("hop", "leaves", "next", "reached")

    def __init__(self, hop: Hop, reached: tuple[bytes, ...]) -> None:
        self.hop = hop
        self.leaves = hop.start[0] != hop.end  # the account
        self.reached = reached
        self.next: list[_Node] = []


class Cycles:
    """The imports of one kind that were accepted so far.

    `arrival` gives the patterns that messages may have once they are in an
    account, from that by which they came: mappings rename what a service import
    brings. Cost: see the module.
    """

    def __init__(self, arrival: Callable[[str, bytes], Iterable[bytes]]) -> None:
        self._arrival: Final = arrival
        self._from: Final[dict[str, list[_Node]]] = {}
        self._to: Final[dict[str, list[_Node]]] = {}

    def add(self, hop: Hop) -> bool:
        """Accept an import, unless it closes a cycle: then False, and nothing is changed."""
        account, pattern = hop.start
        carried = hop.carry(pattern)
        node = _Node(hop, () if carried is None else tuple(self._arrival(hop.end, carried)))
        if account == hop.end and _follows(node, node):
            node.next.append(node)
        node.next += [other for other in self._from.get(hop.end, ()) if _follows(node, other)]
        before = [other for other in self._to.get(account, ()) if _follows(other, node)]
        if _leads_back(node, before):
            return False
        for other in before:
            other.next.append(node)
        self._from.setdefault(account, []).append(node)
        self._to.setdefault(hop.end, []).append(node)
        return True


def _leads_back(node: _Node, before: list[_Node]) -> bool:
    """Whether `node` leads to one of `before`, which lead to it, and another account is on the way."""
    closing = set(before)
    seen = {(node, node.leaves)}
    waiting = [(node, node.leaves)] if before else []
    while waiting:
        at, has_left = waiting.pop()
        if has_left and at in closing:
            return True
        for other in at.next:
            state = (other, has_left or other.leaves)
            if state not in seen:
                seen.add(state)
                waiting.append(state)
    return False


def _follows(one: _Node, other: _Node) -> bool:
    """Whether messages may take `other` after `one`, which ends where it starts."""
    return any(overlap(subjects, other.hop.start[1]) for subjects in one.reached)


def mapped(mappings: Mappings, subjects: bytes) -> list[bytes]:
    """Patterns that hold whatever the messages of a pattern may be renamed to, in any cluster.

    A literal has one mapping at most. Of a pattern, each mapping that overlaps
    counts, and some messages may have none.
    """
    if not has_wildcard(subjects):
        mapping = mappings.find(subjects)
        return [subjects] if mapping is None else _results(mapping, subjects)
    found = [] if any(covers(one.source, subjects) for one in mappings) else [subjects]
    for mapping in mappings:
        if overlap(mapping.source, subjects):
            found += _results(mapping, subjects)
    return list(dict.fromkeys(found))


def _results(mapping: Mapping, subjects: bytes) -> list[bytes]:
    """Where one mapping sends a pattern; to itself, if weights leave something to the source."""
    results = [_widened(one.subject) for one in mapping.destinations]
    shares = {"": 0}
    for one in mapping.destinations:
        shares[one.cluster] = shares.get(one.cluster, 0) + one.weight
    if min(shares.values()) < WEIGHT_MAX:
        results.append(subjects)
    return list(dict.fromkeys(results))


def _widened(destination: bytes) -> bytes:
    """A pattern that every result of a destination of a mapping has."""
    tokens: list[bytes] = []
    for token in destination.split(b"."):
        call = parsed(token)
        if call is not None and call.name in _DIVIDING:
            return b".".join([*tokens, REST])
        tokens.append(token if call is None else STAR)
    return b".".join(tokens)

"""The subscriptions of one account, and the look-up tables over them.

Connections that may publish the same share a table, so that what one of them looked up the others find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscore.account.mappings import Mapper
from natscore.account.permissions import EVERYTHING
from natscore.events import ConnectionId
from natscore.plane import CLIENT_RESERVED

if TYPE_CHECKING:
    from natscore.account.mappings import Mappings
    from natscore.account.permissions import Rules
    from natscore.plane import DataPlane, SubjectTable, Sublist

__all__ = ["Tables"]


class Tables:
    """A sublist, a table for those who may publish everything, and one for each set of rules in use."""

    __slots__ = ("_mapper", "_mappings", "_plane", "_restricted", "sublist", "table")

    def __init__(self, mappings: Mappings, plane: DataPlane) -> None:
        self._mappings = mappings
        self._mapper = _mapper_of(mappings)
        self.sublist = plane.sublist()
        self.table = plane.table(self.sublist, CLIENT_RESERVED, mapper=self._mapper)
        self._plane = plane
        self._restricted: dict[Rules, _SharedTable] = {}

    def take_table(self, rules: Rules) -> SubjectTable:
        """The table of those who may publish by `rules`; it is theirs until they leave it."""
        if rules == EVERYTHING.publish:
            return self.table
        shared = self._restricted.get(rules)
        if shared is None:
            allow = self._patterns(rules.allow) if rules.allow is not None else None
            deny = self._patterns(rules.deny) if rules.deny else None
            table = self._plane.table(self.sublist, CLIENT_RESERVED, allow, deny, self._mapper)
            shared = self._restricted[rules] = _SharedTable(table)
        shared.users += 1
        return shared.table

    def leave_table(self, rules: Rules) -> None:
        """One connection less publishes by `rules`."""
        shared = self._restricted.get(rules)
        if shared is not None:
            shared.users -= 1
            if not shared.users:
                del self._restricted[rules]
                self._plane.retire(shared.table)

    def remap(self, mappings: Mappings) -> None:
        """From now on, map by these. Where they are what they were, nothing is forgotten."""
        if tuple(mappings) != tuple(self._mappings):
            self._mappings = mappings
            self._mapper = _mapper_of(mappings)
            for table in (self.table, *(shared.table for shared in self._restricted.values())):
                table.remap(self._mapper)

    def _patterns(self, patterns: tuple[bytes, ...]) -> Sublist:
        """A sublist of nobody's subscriptions: what it matches, the rules match."""
        sublist = self._plane.sublist()
        nobody = self._plane.outbox(ConnectionId(0))
        for pattern in dict.fromkeys(patterns):
            sublist.insert(self._plane.subscription(nobody, b"", pattern, None))
        return sublist


class _SharedTable:
    """A look-up table, and how many connections publish through it."""

    __slots__ = ("table", "users")

    def __init__(self, table: SubjectTable) -> None:
        self.table = table
        self.users = 0


def _mapper_of(mappings: Mappings) -> Mapper | None:
    """What maps. A cluster has no name yet: they have the destinations that stand for every cluster."""
    return Mapper(mappings, "") if len(mappings) else None

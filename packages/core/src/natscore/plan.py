"""Delivery plans: what the data plane does with a message, decided beforehand.

A plan knows no subject: it is the ordered set of receivers that a match found,
shared by all subjects that match the same nodes. Sections stand in the order of
delivery: plain subscriptions, those who know the message by another subject, then
one member of each queue group. (Links to other servers become further sections.)
Plans are frozen; what they point at are live cells.

A plan that names subjects, or leaves somebody out for the subject's sake, is made for
one subject. Whoever gets messages through a stream import stands in it as the
subscription of its own account: the shadow that was matched is not delivered to.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final, Generic, Never, TypeVar, cast

from natscore.plane import SERVER
from natscore.sublist import Entry
from natscore.turn import DELIVERY_COST, DRAW_COST, FILTER_COST, OP_COST, RECEIVERS_MAX, RULE_COST, RUN_COST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from natscore import plane
    from natscore.cells import Subscription
    from natscore.plane import Filter
    from natscore.sublist import Epoch

__all__ = ["Group", "Plan", "Renamed", "compile_plan", "refusal"]


_ENTRIES_MAX: Final = 8  # table lines of one plan, for the first tokens it is met under

S = TypeVar("S", bound="plane.Subscription")
S_co = TypeVar("S_co", bound="plane.Subscription", covariant=True)  # the subscriptions of one data plane


def _head_bytes(subscription: plane.Subscription) -> int:
    """What stands between the subject and the sizes of a message: the sid and its blanks."""
    return len(subscription.sid) + 2


class Group(Generic[S_co]):
    """A queue group: one member gets each message, as `names` says; None: as it was published."""

    __slots__ = ("members", "names", "queue")

    def __init__(
        self, queue: bytes, members: tuple[S_co, ...], names: tuple[bytes, ...] | None = None
    ) -> None:
        self.queue = queue
        self.members = members
        self.names = names

    @property
    def head_bytes(self) -> int:
        """The most that stands between the subject as published and the sizes, or is added to it."""
        names = max(map(len, self.names)) if self.names else 0
        return max(map(_head_bytes, self.members), default=0) + names


class Renamed(Generic[S_co]):
    """Plain subscriptions that know a message by another subject than it was published to."""

    __slots__ = ("receivers", "subject")

    def __init__(self, subject: bytes, receivers: tuple[S_co, ...]) -> None:
        self.subject = subject
        self.receivers = receivers


class Plan(Generic[S_co]):
    """Deliver to `local`, to `renamed`, and to one member of each of `groups`, and ask the server itself.

    A refusal does nothing of that.
    """

    __slots__ = (
        "_entries",
        "asks",
        "cost",
        "distinct",
        "fanout",
        "groups",
        "inland",
        "local",
        "overhead",
        "receivers",
        "refuses",
        "renamed",
        "tracks",
        "width",
    )

    def __init__(
        self,
        local: tuple[S_co, ...],
        groups: tuple[Group[S_co], ...],
        *,
        renamed: tuple[Renamed[S_co], ...] = (),
        asks: tuple[bytes, ...] = (),
        inland: Plan[S_co] | None = None,
        refuses: bool = False,
        cost: int = 0,
    ) -> None:
        self.local = local
        self.renamed = renamed
        self.groups = groups
        self.inland = (
            inland  # the same without those who get it through a stream import; None: there are none
        )
        self.asks = asks  # the sids of subscriptions of the server itself, which is asked what to do
        self.refuses = refuses  # the subject is not to be published to: an -ERR, nothing else
        self.cost = cost  # what making it weighed in the turn
        plain = local if not renamed else (*local, *chain.from_iterable(one.receivers for one in renamed))
        self.fanout: Final = len(plain) + len(groups)
        # No two receivers share an outbox, so a run of messages may be handed to each receiver in one
        # piece: the order on every connection stays that of publishing.
        outboxes = [subscription.outbox for subscription in plain]
        outboxes += [member.outbox for group in groups for member in group.members]
        receivers = [outbox.cid for outbox in outboxes]
        self.distinct: Final = len(set(receivers)) == len(receivers)
        # somebody may answer only what it gets: what asks for an answer goes by itself, and is noted
        self.tracks: Final = any(outbox.responses is not None for outbox in outboxes)
        self.receivers: Final = len(receivers)  # members of groups included
        # how many receivers a turn serves; those beyond it get their messages in turns of their own
        self.width: Final = min(self.fanout, RECEIVERS_MAX)
        # what a message weighs in a turn beside its own bytes: steps, and the sids, which may be long
        heads = [_head_bytes(subscription) for subscription in local]
        heads += [_head_bytes(one) + len(row.subject) for row in renamed for one in row.receivers]
        starts = range(0, len(heads), RECEIVERS_MAX)
        self.overhead: Final = (
            self.width * RUN_COST
            + max((sum(heads[at : at + RECEIVERS_MAX]) for at in starts), default=0)
            + sum(group.head_bytes + DRAW_COST for group in groups)
        )
        self._entries: dict[int, Entry] = {}

    def entry(self: Plan[Subscription], epoch: Epoch, anywhere: Epoch) -> Entry:
        """The table line for subjects that watch `epoch`, shared by all of them.

        A plan that is met under many first tokens watches `anywhere` for those
        beyond the first few: it misses more often, and holds few lines. The plan
        of no receivers exists once, and has a line for each epoch.
        """
        if epoch.index not in self._entries and len(self._entries) >= _ENTRIES_MAX and self.receivers:
            epoch = anywhere
        entry = self._entries.get(epoch.index)
        if entry is None or entry.value != epoch.value:
            if entry is not None:
                entry.plan = _NOTHING
            entry = self._entries[epoch.index] = Entry(self, epoch)
        return entry

    def void(self) -> None:
        """Make every table line that leads here miss, and keep nothing of this plan alive."""
        for entry in self._entries.values():
            entry.value = -1
            entry.plan = _NOTHING
        self._entries.clear()


_NOTHING: Final[Plan[Never]] = Plan((), ())  # stands in table lines that are void


def compile_plan(nodes: Iterable[plane.Node[S]], subject: bytes = b"", *, streams: bool = True) -> Plan[S]:
    """The plan for messages to `subject` that match exactly `nodes`, which are looked at and not kept.

    It is that of every such subject, unless a subscription has a filter that depends on it.
    Without `streams` nobody gets it through a stream import: so it is with requests that came
    through a service import (accounts.md section 5.2).

    Members of a queue group are merged over all nodes: `foo q` and `* q` are
    one group for `foo` (client-protocol.md section 9).
    """
    local: list[S] = []
    groups: dict[bytes, list[S]] = {}
    for node in nodes:
        local += node.plain
        for queue, members in node.queues.items():
            groups.setdefault(queue, []).extend(members)
    asks = tuple(one.sid for one in local if one.outbox.cid == SERVER)
    if asks:
        local = [one for one in local if one.outbox.cid != SERVER]
    # whoever is looked at costs something, although a filter may leave nobody in the plan
    cost = OP_COST + DELIVERY_COST * (len(asks) + len(local) + sum(map(len, groups.values())))
    # by name, so that the order of draws does not depend on who came and went
    ordered = {queue: groups[queue] for queue in sorted(groups)}
    filtered = [one for one in chain(local, *groups.values()) if one.filter is not None]
    if filtered:
        cost += FILTER_COST * len(filtered)
        plan = _particular_plan(local, ordered, subject, asks, cost, streams=True)
        if any(one.receiver is not one for one in filtered):
            plan.inland = _particular_plan(local, ordered, subject, asks, cost, streams=False)
        return plan if streams or plan.inland is None else plan.inland
    chosen = tuple(Group(queue, tuple(members)) for queue, members in ordered.items())
    return Plan(tuple(local), chosen, asks=asks, cost=cost)


def _particular_plan(
    local: list[S],
    groups: dict[bytes, list[S]],
    subject: bytes,
    asks: tuple[bytes, ...],
    cost: int,
    *,
    streams: bool,
) -> Plan[S]:
    """The plan where somebody has a filter. Equal filters are asked once."""
    names: dict[Filter, bytes | None] = {}
    by_name: dict[bytes, list[S]] = {subject: []}
    for receiver, name in _named(local, subject, names, streams):
        by_name.setdefault(name, []).append(receiver)
    as_published = tuple(by_name.pop(subject))
    chosen = []
    for queue, members in groups.items():
        found = tuple(_named(members, subject, names, streams))
        if found:
            renames = any(name != subject for _, name in found)
            taking = tuple(receiver for receiver, _ in found)
            chosen.append(Group(queue, taking, tuple(name for _, name in found) if renames else None))
    return Plan(
        as_published,
        tuple(chosen),
        renamed=tuple(Renamed(name, tuple(receivers)) for name, receivers in by_name.items()),
        asks=asks,
        cost=cost + RULE_COST * sum(one.rules for one in names),
    )


_NOT_ASKED: Final = b"a name that no subject can be \n"


def _named(
    subscriptions: list[S], subject: bytes, names: dict[Filter, bytes | None], streams: bool
) -> dict[tuple[S, bytes], None]:
    """Who gets a message, and as what: nobody twice under one subject, by whatever imports."""
    found: dict[tuple[S, bytes], None] = {}
    for one in subscriptions:
        name: bytes | None = subject
        rule = one.filter
        if rule is not None:
            name = names.get(rule, _NOT_ASKED)
            if name is _NOT_ASKED:
                name = names[rule] = rule.name(subject)
        receiver = cast("S", one.receiver)
        if name is not None and (streams or receiver is one):
            found[receiver, name] = None
    return found


def refusal() -> Plan[Never]:
    """A plan for subjects that clients must not publish to."""
    return Plan((), (), refuses=True)

"""Delivery plans: what the data plane does with a message, decided beforehand.

A plan knows no subject: it is the ordered set of receivers that a match found,
shared by all subjects that match the same nodes. Sections stand in the order of
delivery: plain subscriptions, then one member of each queue group. (Links to
other servers become further sections.) Plans are frozen; what they point at are
live cells.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final, Generic, Never, TypeVar

from natscore.plane import SERVER
from natscore.sublist import Entry
from natscore.turn import DELIVERY_COST, DRAW_COST, OP_COST, RECEIVERS_MAX, RULE_COST, RUN_COST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from natscore import plane
    from natscore.cells import Subscription
    from natscore.sublist import Epoch

__all__ = ["Group", "Plan", "compile_plan", "refusal"]


_ENTRIES_MAX: Final = 8  # table lines of one plan, for the first tokens it is met under

S = TypeVar("S", bound="plane.Subscription")
S_co = TypeVar("S_co", bound="plane.Subscription", covariant=True)  # the subscriptions of one data plane


def _head_bytes(subscription: plane.Subscription) -> int:
    """What stands between the subject and the sizes of a message: the sid and its blanks."""
    return len(subscription.sid) + 2


def _admitting(subscriptions: list[S], subject: bytes, verdicts: dict[tuple[bytes, ...], bool]) -> list[S]:
    """Those whose filter lets a message to `subject` pass. Equal filters are asked once: see `verdicts`."""
    admitting: list[S] = []
    for one in subscriptions:
        if one.filter is not None:
            deny = one.filter.deny
            admits = verdicts.get(deny)
            if admits is None:
                admits = verdicts[deny] = one.filter.admits(subject)
            if not admits:
                continue
        admitting.append(one)
    return admitting


class Group(Generic[S_co]):
    """A queue group: one member gets each message."""

    __slots__ = ("members", "queue")

    def __init__(self, queue: bytes, members: tuple[S_co, ...]) -> None:
        self.queue = queue
        self.members = members


class Plan(Generic[S_co]):
    """Deliver to `local` and to one member of each of `groups`, and ask the server, unless it is a refusal."""

    __slots__ = (
        "_entries",
        "asks",
        "cost",
        "distinct",
        "fanout",
        "groups",
        "local",
        "overhead",
        "receivers",
        "refuses",
        "width",
    )

    def __init__(
        self,
        local: tuple[S_co, ...],
        groups: tuple[Group[S_co], ...],
        *,
        asks: tuple[bytes, ...] = (),
        refuses: bool = False,
        cost: int = 0,
    ) -> None:
        self.local = local
        self.groups = groups
        self.asks = asks  # the sids of subscriptions of the server itself, which is asked what to do
        self.refuses = refuses  # the subject is not to be published to: an -ERR, nothing else
        self.cost = cost  # what making it weighed in the turn
        self.fanout: Final = len(local) + len(groups)
        # No two receivers share an outbox, so a run of messages may be handed to each receiver in one
        # piece: the order on every connection stays that of publishing.
        receivers = [subscription.outbox.cid for subscription in local]
        receivers += [member.outbox.cid for group in groups for member in group.members]
        self.distinct: Final = len(set(receivers)) == len(receivers)
        self.receivers: Final = len(receivers)  # members of groups included
        # how many receivers a turn serves; those beyond it get their messages in turns of their own
        self.width: Final = min(self.fanout, RECEIVERS_MAX)
        # what a message weighs in a turn beside its own bytes: steps, and the sids, which may be long
        heads = [_head_bytes(subscription) for subscription in local]
        starts = range(0, len(heads), RECEIVERS_MAX)
        self.overhead: Final = (
            self.width * RUN_COST
            + max((sum(heads[at : at + RECEIVERS_MAX]) for at in starts), default=0)
            + sum(max(map(_head_bytes, group.members), default=0) + DRAW_COST for group in groups)
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


def compile_plan(nodes: Iterable[plane.Node[S]], subject: bytes = b"") -> Plan[S]:
    """The plan for messages to `subject` that match exactly `nodes`, which are looked at and not kept.

    It is that of every such subject, unless a subscription has a filter.

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
    if any(one.filter is not None for one in chain(local, *groups.values())):
        verdicts: dict[tuple[bytes, ...], bool] = {}
        local = _admitting(local, subject, verdicts)
        groups = {
            queue: admitting
            for queue, members in groups.items()
            if (admitting := _admitting(members, subject, verdicts))
        }
        cost += RULE_COST * sum(map(len, verdicts))
    # by name, so that the order of draws does not depend on who came and went
    chosen = tuple(Group(name, tuple(groups[name])) for name in sorted(groups))
    return Plan(tuple(local), chosen, asks=asks, cost=cost)


def refusal() -> Plan[Never]:
    """A plan for subjects that clients must not publish to."""
    return Plan((), (), refuses=True)

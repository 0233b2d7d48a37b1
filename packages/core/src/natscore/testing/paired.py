"""Two data planes in lockstep, behind the face of one.

    Server(data_plane=PairedDataPlane.of(PureDataPlane, CompiledDataPlane))

Every call goes to both planes. What the control plane then sees is the first's;
whatever can be seen is compared with the second's: after each step why it
stopped, every counter and byte that is new, everything found in its order, what
is left of the turn, and the generator of queue choices, of which each plane has
its own with the same seed. A difference is a PlanesDisagree that shows both.

Not compared, because it is private to a plane: where blocks of bytes begin and
end, how much memory is held, whose memory is shared. An outbox with many
subscriptions is not looked through whole after each step, but 64 of them in
turn; `check`, which a World calls at rest, compares all.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, TypeVar

from natscore.account.permissions import RESPONSES_MAX
from natscore.entropy import Xorshift64
from natscore.plan import Group, Plan, Renamed
from natscore.plane import Stop
from natscore.testing.found import PairedFound
from natscore.testing.pairs import (
    PairedNode,
    PairedOutbox,
    PairedShadow,
    PairedSource,
    PairedSublist,
    PairedSubscription,
    PairedTable,
    PlanesDisagree,
    agree,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from natscore.account.mappings import Mapper
    from natscore.account.permissions import ResponsePermission
    from natscore.events import ConnectionId
    from natscore.plane import (
        DataPlane,
        Filter,
        Found,
        Node,
        Outbox,
        Source,
        SubjectTable,
        Sublist,
        Subscription,
    )

__all__ = ["PairedDataPlane", "PlanesDisagree"]

T = TypeVar("T")


class PairedDataPlane:
    """A data plane that is two."""

    def __init__(
        self,
        choices: Xorshift64,
        first: Callable[[Xorshift64], DataPlane],
        second: Callable[[Xorshift64], DataPlane],
    ) -> None:
        self._choices = (choices, Xorshift64(choices.state))
        self._first = first(self._choices[0])
        self._second = second(self._choices[1])
        # A pair lives as long as somebody holds it; what only a plane still lists gets another.
        self._outboxes: weakref.WeakValueDictionary[Outbox, PairedOutbox] = weakref.WeakValueDictionary()

    @classmethod
    def of(
        cls, first: Callable[[Xorshift64], DataPlane], second: Callable[[Xorshift64], DataPlane]
    ) -> Callable[[Xorshift64], PairedDataPlane]:
        """What makes such a plane, as `Server` takes it."""
        return lambda choices: cls(choices, first, second)

    def __str__(self) -> str:
        return f"{type(self._first).__name__} and {type(self._second).__name__}"

    # -- what was found ----------------------------------------------------------------------------

    @property
    def ready(self) -> Found[PairedOutbox]:
        """Outboxes with something to write."""
        return PairedFound("ready", self._first.ready, self._second.ready, _cid, self._pair_outbox)

    @property
    def exhausted(self) -> Found[PairedSubscription]:
        """Subscriptions that reached their max."""
        return PairedFound(
            "exhausted", self._first.exhausted, self._second.exhausted, _name, self._pair_subscription
        )

    @property
    def strained(self) -> Found[PairedOutbox]:
        """Outboxes that were refused by the kernel, and appended to."""
        return PairedFound("strained", self._first.strained, self._second.strained, _cid, self._pair_outbox)

    @property
    def denied(self) -> Found[tuple[ConnectionId, bytes, bytes]]:
        """Refused publishes."""
        return PairedFound(
            "denied", self._first.denied, self._second.denied, lambda one: one, lambda one, _: one
        )

    @property
    def left(self) -> int:
        """Output that this turn may still write."""
        return agree(self, "left in the turn", self._first.left, self._second.left)

    # -- cells -------------------------------------------------------------------------------------

    def outbox(self, cid: ConnectionId) -> PairedOutbox:
        """The writing side of a new connection."""
        return self._pair_outbox(self._first.outbox(cid), self._second.outbox(cid))

    def source(
        self, cid: ConnectionId, outbox: Outbox, table: SubjectTable, max_control_line: int, max_payload: int
    ) -> PairedSource:
        """The reading side of a new connection."""
        assert isinstance(outbox, PairedOutbox)
        assert isinstance(table, PairedTable)
        return PairedSource(
            outbox,
            self._first.source(cid, outbox.first, table.first, max_control_line, max_payload),
            self._second.source(cid, outbox.second, table.second, max_control_line, max_payload),
        )

    def bind(
        self,
        source: Source,
        table: SubjectTable,
        responses: ResponsePermission | None = None,
        responses_max: int = RESPONSES_MAX,
    ) -> None:
        """From now on, look subjects up in `table`."""
        assert isinstance(source, PairedSource)
        assert isinstance(table, PairedTable)
        self._first.bind(source.first, table.first, responses, responses_max)
        self._second.bind(source.second, table.second, responses, responses_max)

    def sublist(self) -> PairedSublist:
        """The subscriptions of a new account."""
        return PairedSublist(self._first.sublist(), self._second.sublist(), self._pair_nodes)

    def table(
        self,
        sublist: Sublist,
        reserved: tuple[bytes, ...],
        allow: Sublist | None = None,
        deny: Sublist | None = None,
        mapper: Mapper | None = None,
    ) -> PairedTable:
        """A look-up table over `sublist`."""
        assert isinstance(sublist, PairedSublist)
        first_allow, second_allow = _halves(allow)
        first_deny, second_deny = _halves(deny)
        return PairedTable(
            self._first.table(sublist.first, reserved, first_allow, first_deny, mapper),
            self._second.table(sublist.second, reserved, second_allow, second_deny, mapper),
        )

    def retire(self, table: SubjectTable) -> None:
        """A table that nobody will look anything up in again."""
        assert isinstance(table, PairedTable)
        self._first.retire(table.first)
        self._second.retire(table.second)

    def subscription(
        self, outbox: Outbox, sid: bytes, subject: bytes, queue: bytes | None
    ) -> PairedSubscription:
        """A new subscription, not yet in any sublist."""
        assert isinstance(outbox, PairedOutbox)
        return PairedSubscription(
            outbox,
            self._first.subscription(outbox.first, sid, subject, queue),
            self._second.subscription(outbox.second, sid, subject, queue),
        )

    def shadow(self, receiver: Subscription, subject: bytes, renaming: Filter) -> PairedShadow:
        """A subscription in another account, for one in the importer's."""
        assert isinstance(receiver, PairedSubscription)
        return PairedShadow(
            receiver,
            self._first.shadow(receiver.first, subject, renaming),
            self._second.shadow(receiver.second, subject, renaming),
        )

    # -- work --------------------------------------------------------------------------------------

    def install(
        self,
        table: SubjectTable,
        nodes: tuple[Node[Subscription], ...],
        plan: Plan[Subscription],
        subject: bytes = b"",
    ) -> None:
        """Answer a MISS in both, each with its own subscriptions."""
        assert isinstance(table, PairedTable)
        own = [node for node in nodes if isinstance(node, PairedNode)]
        assert len(own) == len(nodes)
        self._first.install(table.first, tuple(node.first for node in own), _half(plan, _first_of), subject)
        self._second.install(
            table.second, tuple(node.second for node in own), _half(plan, _second_of), subject
        )

    def begin_turn(self, output_max: int, now_ns: int = 0) -> None:
        """Allow `output_max` bytes of output."""
        self._first.begin_turn(output_max, now_ns)
        self._second.begin_turn(output_max, now_ns)

    def spend(self, cost: int) -> bool:
        """Count work of the control plane."""
        anything = agree(
            self, f"anything left after {cost} bytes", self._first.spend(cost), self._second.spend(cost)
        )
        agree(self, "left in the turn", self._first.left, self._second.left)
        return anything

    def run(self, source: Source) -> Stop:
        """Run both sources, and compare what came of it."""
        assert isinstance(source, PairedSource)
        stop = self._step(
            source, "run", lambda: self._first.run(source.first), lambda: self._second.run(source.second)
        )
        if stop is Stop.MISS:
            source.missed = self._pair_nodes(source.first.missed, source.second.missed)
        return stop

    def go_on(self, source: Source) -> bool:
        """Perform the next part of a fan-out in both, and compare what came of it."""
        assert isinstance(source, PairedSource)
        return self._step(
            source,
            "go_on",
            lambda: self._first.go_on(source.first),
            lambda: self._second.go_on(source.second),
        )

    def post(
        self,
        source: Source,
        table: SubjectTable,
        subject: bytes,
        reply: bytes,
        headers: bytes,
        payload: bytes,
    ) -> Stop:
        """Publish in both what a message of `source` led to, and compare what came of it."""
        assert isinstance(source, PairedSource)
        assert isinstance(table, PairedTable)
        stop = self._step(
            source,
            "post",
            lambda: self._first.post(source.first, table.first, subject, reply, headers, payload),
            lambda: self._second.post(source.second, table.second, subject, reply, headers, payload),
        )
        if stop is Stop.MISS:
            source.missed = self._pair_nodes(source.first.missed, source.second.missed)
        return stop

    def tell_no_responders(self, source: Source, subject: bytes, reply: bytes) -> None:
        """Answer a request that nobody got, in both."""
        assert isinstance(source, PairedSource)
        self._step(
            source,
            "tell_no_responders",
            lambda: self._first.tell_no_responders(source.first, subject, reply),
            lambda: self._second.tell_no_responders(source.second, subject, reply),
        )

    def check(self) -> None:
        """Compare everything that is there."""
        self._compare()
        for outbox in list(self._outboxes.values()):
            outbox.compare_all()

    # -- comparing ---------------------------------------------------------------------------------

    def _step(self, source: PairedSource, what: str, first: Callable[[], T], second: Callable[[], T]) -> T:
        """Take a step in both. An exception that both raise is one that the server is to see."""
        try:
            outcome = first()
        except Exception as error:
            _require_equal_failure(source, what, error, second)
            raise
        try:
            other = second()
        except Exception as error:
            raise PlanesDisagree(f"{source}: {what}", outcome, error) from error
        try:
            self._compare()
            source.outbox.compare()
            source.compare()
        except PlanesDisagree as difference:
            raise PlanesDisagree(f"{difference}\n{source}: {what}", outcome, other) from None
        return agree(source, what, outcome, other)

    def _compare(self) -> None:
        agree(self, "left in the turn", self._first.left, self._second.left)
        agree(self, "choices", self._choices[0].state, self._choices[1].state)
        for found in (self.exhausted, self.strained, self.denied):
            list(found)
        for outbox in self.ready:
            outbox.compare()

    # -- pairs -------------------------------------------------------------------------------------

    def _pair_outbox(self, first: Outbox, second: Outbox) -> PairedOutbox:
        pair = self._outboxes.get(first)
        if pair is None:
            pair = self._outboxes[first] = PairedOutbox(first, second)
        assert pair.second is second
        return pair

    def _pair_subscription(self, first: Subscription, second: Subscription) -> PairedSubscription:
        outbox = self._pair_outbox(first.outbox, second.outbox)
        return outbox.subscriptions.get(first) or PairedSubscription(outbox, first, second)

    def _pair_subscriptions(
        self, first: Sequence[Subscription], second: Sequence[Subscription]
    ) -> tuple[PairedSubscription, ...]:
        agree(self, "members", [*map(_name, first)], [*map(_name, second)])
        return tuple(map(self._pair_subscription, first, second))

    def _pair_nodes(
        self, first: Sequence[Node[Subscription]], second: Sequence[Node[Subscription]]
    ) -> tuple[PairedNode, ...]:
        agree(self, "nodes", [node.subject for node in first], [node.subject for node in second])
        return tuple(
            PairedNode(one, other, self._pair_subscriptions) for one, other in zip(first, second, strict=True)
        )


def _require_equal_failure(
    source: PairedSource, what: str, error: Exception, second: Callable[[], object]
) -> None:
    try:
        outcome = second()
    except Exception as other:
        agree(source, f"what {what} raised", type(error), type(other))
        return
    raise PlanesDisagree(f"{source}: {what}", error, outcome) from error


def _cid(outbox: Outbox) -> object:
    return outbox.cid


def _name(subscription: Subscription) -> object:
    return subscription.outbox.cid, subscription.sid


def _first_of(pair: PairedSubscription) -> Subscription:
    return pair.first


def _second_of(pair: PairedSubscription) -> Subscription:
    return pair.second


def _half(plan: Plan[Subscription], side: Callable[[PairedSubscription], Subscription]) -> Plan[Subscription]:
    """The same plan, of the subscriptions of one plane."""

    def own(members: tuple[Subscription, ...]) -> tuple[Subscription, ...]:
        mine = tuple(side(one) for one in members if isinstance(one, PairedSubscription))
        assert len(mine) == len(members)
        return mine

    return Plan(
        own(plan.local),
        tuple(Group(group.queue, own(group.members), group.names) for group in plan.groups),
        renamed=tuple(Renamed(row.subject, own(row.receivers)) for row in plan.renamed),
        asks=plan.asks,
        inland=None if plan.inland is None else _half(plan.inland, side),
    )


def _halves(rules: Sublist | None) -> tuple[Sublist | None, Sublist | None]:
    """The two sublists of a pair, if there is one."""
    if rules is None:
        return None, None
    assert isinstance(rules, PairedSublist)
    return rules.first, rules.second

"""Who subscribes to what in one account: literals in one dictionary, patterns in a trie.

Theory. Subscriptions with the same subject share a *node*. A match is the list
of nodes whose subject covers a published subject; all subjects that match the
same nodes share one compiled plan, so a match is usually all the work there is
for a subject never seen before. Wildcards in a *published* subject are plain
tokens: `foo.*` is matched by `*.*` and not by `foo.bar`.

Answers are remembered in a `SubjectTable` (published subject to entry), the
only cache. It is kept honest without scanning it:

- a node that gains or loses a member voids the plans made of it;
- a new literal drops its own line of the table;
- a new pattern moves the epoch of its first token (of all, if that token is a
  wildcard), and each hit compares one epoch. First tokens share 256 epochs by
  checksum: moving one costs its sharers a miss, never a wrong answer.

What clients can make it remember is bounded by count and by weight: plans of
many nodes or receivers, and the lines that one plan is met under.

Hot path: `match` and `SubjectTable.look_up` (guarded by `nox -s bench`, row
rotating subjects); the slow twin is `tests/models/interest.py`. Source:
client-protocol.md section 21; nats-server 2.14.5, server/sublist.go.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard

from natscore.cells import Subscription
from natscore.responses import Responses
from natscore.subject import REST, STAR, has_wildcard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore import plane
    from natscore.account.mappings import Choice, Mapper
    from natscore.account.permissions import ResponsePermission
    from natscore.plan import Plan

__all__ = ["Entry", "Node", "SubjectTable", "Sublist", "are_own"]

_GENERATION_MAX: Final = 32_768  # lines of the table's young generation; the old one holds as many
_SUBJECT_MAX: Final = 512  # longer subjects are matched each time, so that the table stays small in bytes too
_PLANS_MAX: Final = 8_192  # plans made of several nodes that are remembered
_PLACES_MAX: Final = 2_097_152  # what they weigh together: 32 for each node, 1 for each receiver
_PLACES_OF_A_NODE: Final = 32  # it is told of the plan, and to void all plans shall take about 10 ms
_EPOCHS: Final = 256


class Node:
    """All subscriptions of an account with the same subject."""

    __slots__ = ("particular", "plain", "plan", "plans", "queues", "subject")

    def __init__(self, subject: bytes) -> None:
        self.subject = subject
        self.plain: dict[Subscription, None] = {}  # insertion order is delivery order
        self.queues: dict[bytes, dict[Subscription, None]] = {}
        self.plan: Plan[Subscription] | None = None  # made of this node alone
        self.particular = 0  # members that fare by the subject of each message
        self.plans: dict[Plan[Subscription], PlanKey] = {}  # made of this node and others, or for one subject


PlanKey: TypeAlias = tuple[tuple[Node, ...], bytes]
"""What a plan was made of, and for which subject, if a member does not get all that its node matches."""


class Epoch:
    """A counter that moves when subjects of some first tokens may match a pattern that is new."""

    __slots__ = ("index", "value")

    def __init__(self, index: int) -> None:
        self.index = index
        self.value = 0


class Entry:
    """A line of the table: the plan for a subject, or what its mapping says, while its epoch stands still."""

    __slots__ = ("epoch", "plan", "value")

    def __init__(self, plan: Plan[Subscription] | Choice, epoch: Epoch) -> None:
        self.plan = plan
        self.epoch = epoch
        self.value = epoch.value  # -1: void


class _Level:
    """A place in the trie of patterns, reached by the tokens on the way."""

    __slots__ = ("children", "node", "rest", "star")

    def __init__(self) -> None:
        self.children: dict[bytes, _Level] = {}
        self.star: _Level | None = None
        self.rest: Node | None = None  # the pattern that goes on with `>` here
        self.node: Node | None = None  # the pattern that ends here

    @property
    def is_empty(self) -> bool:
        return not (self.children or self.star or self.rest or self.node)


class Sublist:
    """The subscriptions of one account. Every member is in exactly one node."""

    __slots__ = (
        "_places", "_plans", "_root", "anywhere", "count", "epochs", "literals", "patterns", "steps",
        "tables",
    )  # fmt: skip

    def __init__(self) -> None:
        self.literals: dict[bytes, Node] = {}
        self.patterns: dict[bytes, Node] = {}
        self.count = 0  # subscriptions
        self.steps = 0  # places in the trie that matches ever looked at; what one cost is the difference
        self.epochs = [Epoch(index) for index in range(_EPOCHS)]
        self.anywhere = Epoch(_EPOCHS)  # moves with each of them
        self.tables: list[SubjectTable] = []
        self._root = _Level()
        self._plans: dict[PlanKey, Plan[Subscription]] = {}
        self._places = 0  # what those plans weigh

    def node(self, subject: bytes) -> Node | None:
        """The subscriptions with exactly this subject."""
        return self.literals.get(subject) or self.patterns.get(subject)

    def nodes(self) -> Iterator[Node]:
        """All nodes, in a fixed order."""
        yield from self.literals.values()
        yield from self.patterns.values()

    def insert(self, subscription: plane.Subscription) -> None:
        """Add a subscription whose subject is valid. Cost: one step per token of a pattern."""
        assert isinstance(subscription, Subscription)
        subject = subscription.subject
        node = self.node(subject)
        if node is None:
            node = Node(subject)
            if has_wildcard(subject):
                self._plant(node)
            else:
                self.literals[subject] = node
                for table in self.tables:
                    table.drop(subject)
        else:
            self._void(node)
        queue = subscription.queue
        members = node.plain if queue is None else node.queues.setdefault(queue, {})
        assert subscription not in members
        members[subscription] = None
        subscription.node = node
        node.particular += _is_particular(subscription)
        self.count += 1

    def remove(self, subscription: plane.Subscription) -> None:
        """Take a member out again; empty nodes and levels go with it."""
        assert isinstance(subscription, Subscription)
        node = subscription.node
        assert node is not None
        subscription.node = None
        subscription.live = False
        self._void(node)
        node.particular -= _is_particular(subscription)
        if subscription.queue is None:
            del node.plain[subscription]
        else:
            members = node.queues[subscription.queue]
            del members[subscription]
            if not members:
                del node.queues[subscription.queue]
        if not node.plain and not node.queues:
            if self.literals.get(node.subject) is node:
                del self.literals[node.subject]
            else:
                self._uproot(node)
        self.count -= 1

    def restrict(self, subscription: plane.Subscription, rule: plane.Filter | None) -> None:
        """Give a member another filter. It keeps its place."""
        assert isinstance(subscription, Subscription)
        node = subscription.node
        assert node is not None
        if subscription.filter != rule:
            self._void(node)
            node.particular -= _is_particular(subscription)
            subscription.filter = rule
            node.particular += _is_particular(subscription)

    def match(self, subject: bytes) -> list[Node]:
        """The nodes whose subscriptions get a message published to `subject`, in a fixed order.

        A subject with an empty token matches nothing, not even `>`.
        """
        nodes: list[Node] = []
        literal = self.literals.get(subject)
        if literal is not None:
            nodes.append(literal)
        if not self.patterns:
            return nodes
        tokens = subject.split(b".")
        if b"" in tokens:
            return []
        levels = [self._root]
        for token in tokens:
            self.steps += len(levels)
            following: list[_Level] = []
            for level in levels:
                if level.rest is not None:
                    nodes.append(level.rest)
                child = level.children.get(token)
                if child is not None:
                    following.append(child)
                if level.star is not None:
                    following.append(level.star)
            if not following:
                return nodes
            levels = following
        nodes.extend(level.node for level in levels if level.node is not None)
        return nodes

    def plan_of(self, nodes: tuple[Node, ...], subject: bytes) -> Plan[Subscription] | None:
        """The plan made of exactly these nodes, if it stands."""
        particular = _are_particular(nodes)
        if len(nodes) == 1 and not particular:
            return nodes[0].plan
        return self._plans.get((nodes, subject if particular else b""))

    def install(self, nodes: tuple[Node, ...], plan: Plan[Subscription], subject: bytes) -> None:
        """Remember a plan until one of its nodes changes, or it is the oldest of too many.

        The one that is installed stays, however much it weighs: the message that waits for it must find it.
        """
        particular = _are_particular(nodes)
        if len(nodes) == 1 and not particular:
            nodes[0].plan = plan
            return
        self._places += _places(nodes, plan)
        while self._plans and (len(self._plans) >= _PLANS_MAX or self._places > _PLACES_MAX):
            self._forget(*next(iter(self._plans.items())))
        key = (nodes, subject if particular else b"")
        self._plans[key] = plan
        for node in nodes:
            node.plans[plan] = key

    def _void(self, node: Node) -> None:
        """Let no table hit reach the plans made of `node`: its members are about to change."""
        if node.plan is not None:
            node.plan.void()
            node.plan = None
        for plan, key in list(node.plans.items()):
            self._forget(key, plan)

    def _forget(self, key: PlanKey, plan: Plan[Subscription]) -> None:
        nodes, _ = key
        plan.void()
        self._places -= _places(nodes, plan)
        del self._plans[key]
        for node in nodes:
            del node.plans[plan]

    def _plant(self, node: Node) -> None:
        self.patterns[node.subject] = node
        tokens = node.subject.split(b".")
        level = self._root
        for token in tokens[:-1] if tokens[-1] == REST else tokens:
            if token == STAR:
                if level.star is None:
                    level.star = _Level()
                level = level.star
            else:
                level = level.children.setdefault(token, _Level())
        if tokens[-1] == REST:
            level.rest = node
        else:
            level.node = node
        self.anywhere.value += 1
        if tokens[0] in (STAR, REST):
            for epoch in self.epochs:
                epoch.value += 1
        else:
            self.epochs[epoch_index(tokens[0])].value += 1

    def _uproot(self, node: Node) -> None:
        del self.patterns[node.subject]
        tokens = node.subject.split(b".")
        path: list[tuple[_Level, bytes]] = []
        level = self._root
        for token in tokens[:-1] if tokens[-1] == REST else tokens:
            path.append((level, token))
            following = level.star if token == STAR else level.children[token]
            assert following is not None
            level = following
        if tokens[-1] == REST:
            level.rest = None
        else:
            level.node = None
        while path and level.is_empty:
            level, token = path.pop()
            if token == STAR:
                level.star = None
            else:
                del level.children[token]


def are_own(nodes: tuple[plane.Node[plane.Subscription], ...]) -> TypeGuard[tuple[Node, ...]]:
    """Whether all nodes are of the pure plane."""
    return all(isinstance(node, Node) for node in nodes)


def _is_particular(subscription: Subscription) -> bool:
    """Whether what it gets, or as what, depends on the subject of each message."""
    return subscription.filter is not None and subscription.filter.depends_on_subject


def _are_particular(nodes: tuple[Node, ...]) -> bool:
    """Whether what a message that matches them gets done depends on its subject as well."""
    return any(node.particular for node in nodes)


def _places(nodes: tuple[Node, ...], plan: Plan[Subscription]) -> int:
    """What a plan made of these nodes weighs while it is remembered."""
    return _PLACES_OF_A_NODE * len(nodes) + plan.receivers


def epoch_index(first_token: bytes) -> int:
    """Which epoch subjects with this first token watch. A checksum, not `hash`: it replays."""
    return zlib.crc32(first_token) & (_EPOCHS - 1)


class SubjectTable:
    """Published subject to entry, for connections with equal rights in one account.

    Two generations: a hit in the old one moves to the young one; a full young
    one becomes the old one. Subjects that match nothing are remembered too.
    """

    __slots__ = (
        "_allow", "_deny", "_old", "_refusal", "_refused", "_reserved", "_young", "mapped", "mapper",
        "sublist",
    )  # fmt: skip

    def __init__(
        self,
        sublist: Sublist,
        reserved: tuple[bytes, ...],
        refusal: Plan[Subscription],
        allow: Sublist | None = None,
        deny: Sublist | None = None,
        mapper: Mapper | None = None,
    ) -> None:
        self.sublist = sublist
        self._reserved = reserved  # prefixes that connections of this table must not publish to
        self._allow = allow  # what they may publish to; None: everything that is not denied
        self._deny = deny
        # Of no epoch: what is subscribed does not change it. And not `refusal.entry`, for that plan is
        # shared with the tables of other accounts, whose epochs are others.
        self._refusal: Final = refusal
        self._refused: Final = Entry(refusal, Epoch(_EPOCHS))
        self._young: dict[bytes, Entry] = {}
        self._old: dict[bytes, Entry] = {}
        self.mapper: Mapper | None = None
        self.mapped = self  # where the subjects are looked up that mappings lead to: not mapped again
        sublist.tables.append(self)
        if mapper is not None:
            self.remap(mapper)

    def __len__(self) -> int:
        own = len(self._young) + len(self._old)
        return own if self.mapped is self else own + len(self.mapped)

    def remap(self, mapper: Mapper | None) -> None:
        """From now on, map by `mapper`. Everything is looked up anew."""
        if self.mapped is not self:
            self.sublist.tables.remove(self.mapped)
        self.mapper = mapper
        self.mapped = self
        if mapper is not None:
            self.mapped = SubjectTable(self.sublist, self._reserved, self._refusal, self._allow, self._deny)
        self._young, self._old = {}, {}

    def look_up(self, subject: bytes) -> Plan[Subscription] | Choice | tuple[Node, ...]:
        """The plan for `subject`, or the nodes it matches when no plan was made of them yet.

        A Choice, if a mapping covers it: then the subject that is chosen is looked up in `mapped`.
        """
        entry = self._young.get(subject)
        if entry is not None and entry.value == entry.epoch.value:
            return entry.plan
        entry = self._old.get(subject)
        if entry is not None and entry.value == entry.epoch.value:
            self._keep(subject, entry)
            return entry.plan
        if self.mapper is not None:
            choice, places = self.mapper.choose(subject)
            self.sublist.steps += places
            if choice is not None:
                # of no epoch either: the subject that is chosen has a line of its own
                self._keep(subject, Entry(choice, self._refused.epoch))
                return choice
        if self._refuses(subject):
            self._keep(subject, self._refused)
            return self._refusal
        found = self._match(subject)
        if isinstance(found, tuple):
            return found
        plan, sublist = found, self.sublist
        epoch = sublist.epochs[epoch_index(subject.partition(b".")[0])]
        self._keep(subject, plan.entry(epoch, sublist.anywhere))
        return plan

    def look_up_response(self, subject: bytes) -> Plan[Subscription] | tuple[Node, ...]:
        """The same for a subject that is refused, for somebody who has leave. Reserved ones stay refused.

        Not remembered: it is another subject each time. Nor mapped: it is where a mapping led to, if one did.
        """
        return self._refusal if subject.startswith(self._reserved) else self._match(subject)

    def responses(self, permission: ResponsePermission, responses_max: int) -> Responses:
        """The record of somebody who may answer where this table refuses."""
        return Responses(permission, responses_max, self._allow, self._deny)

    def _match(self, subject: bytes) -> Plan[Subscription] | tuple[Node, ...]:
        nodes = tuple(self.sublist.match(subject))
        plan = self.sublist.plan_of(nodes, subject)
        return nodes if plan is None else plan

    def _refuses(self, subject: bytes) -> bool:
        return (
            subject.startswith(self._reserved)
            or (self._allow is not None and not self._are_about(self._allow, subject))
            or (self._deny is not None and self._are_about(self._deny, subject))
        )

    def _are_about(self, rules: Sublist, subject: bytes) -> bool:
        """Whether one of these rules matches. What it costs to find out is counted as matching."""
        before = rules.steps
        found = rules.match(subject)
        self.sublist.steps += rules.steps - before
        return bool(found)

    def drop(self, subject: bytes) -> None:
        """Forget one line: what it matches has changed."""
        self._young.pop(subject, None)
        self._old.pop(subject, None)

    def _keep(self, subject: bytes, entry: Entry) -> None:
        if len(subject) > _SUBJECT_MAX:
            return
        young = self._young
        if len(young) >= _GENERATION_MAX and subject not in young:
            self._old = young
            self._young = young = {}
        young[subject] = entry

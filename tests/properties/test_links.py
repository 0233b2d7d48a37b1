"""Links are told what is wanted: as the state has it, and as each of them understood it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from natscore.dataplane import PureDataPlane
from natscore.entropy import Xorshift64
from natscore.errors import CloseReason
from natscore.events import Address, ConnectionId, ConnectionKind
from natscore.facts import (
    ClientConnected,
    ConnectionAccepted,
    ConnectionEnded,
    ConnectionForgotten,
    LinkEstablished,
    SubscriptionsChanged,
    Wanted,
)
from natscore.options import Options
from natscore.state import State
from natscore.topology.links import tell_links
from natscore.wire.connect import ConnectOptions
from tests.properties.programs import subscribed_subjects

if TYPE_CHECKING:
    from natscore.facts import Fact

REMOTE: Final = Address("10.0.0.1", 40_000)
ACCOUNTS: Final = st.sampled_from(["$G", "A", "B"])
QUEUES: Final = st.sampled_from([None, b"q", b"r"])
WISHES: Final = st.lists(st.tuples(subscribed_subjects(), QUEUES), min_size=1, max_size=4)
PICKS: Final = st.integers(0, 1_000)

Key = tuple[bytes, ...]


def understood(told: bytes) -> dict[Key, int]:
    """What a server makes of the lines it was told: account, subject and queue to weight."""
    interest: dict[Key, int] = {}
    for line in told.split(b"\r\n")[:-1]:
        name, *words = line.split(b" ")
        if name == b"RS+":
            weight = int(words.pop()) if len(words) == 4 else 1
            assert weight > 0
            interest[tuple(words)] = weight
        else:
            assert name == b"RS-"
            del interest[tuple(words)]  # nobody is told twice that something is gone
    return interest


class LinksHearWhatIsWanted(RuleBasedStateMachine):
    """Clients and routes come and go, and so does what the clients want. Only facts happen here."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State(Options(), PureDataPlane(Xorshift64(1)))
        self.next_cid = 0
        self.next_sid = 0
        self.clients: list[ConnectionId] = []
        self.routes: list[ConnectionId] = []
        self.heard: dict[ConnectionId, bytes] = {}

    def settle(self, fact: Fact) -> None:
        self.state.fold(fact)
        tell_links(self.state, fact)
        for cid in self.routes:
            outbox = self.state.connections[cid].outbox
            self.heard[cid] += b"".join(outbox.blocks(1 << 40))
            outbox.advance(outbox.size)

    def open(self, kind: ConnectionKind) -> ConnectionId:
        self.next_cid += 1
        cid = ConnectionId(self.next_cid)
        self.settle(ConnectionAccepted(cid, kind, REMOTE, awaits_login=False))
        return cid

    @rule(account=ACCOUNTS)
    def a_client_connects(self, account: str) -> None:
        cid = self.open(ConnectionKind.CLIENT)
        self.settle(ClientConnected(cid, account, ConnectOptions()))
        self.clients.append(cid)

    @rule()
    def a_route_is_established(self) -> None:
        cid = self.open(ConnectionKind.ROUTE)
        self.routes.append(cid)
        self.heard[cid] = b""
        self.settle(LinkEstablished(cid))

    @precondition(lambda self: self.clients)
    @rule(pick=PICKS, wishes=WISHES, forget=st.integers(0, 3))
    def a_client_changes_its_mind(
        self, pick: int, wishes: list[tuple[bytes, bytes | None]], forget: int
    ) -> None:
        cid = self.clients[pick % len(self.clients)]
        held = list(self.state.connections[cid].subscriptions.values())[:forget]
        added = []
        for subject, queue in wishes:
            self.next_sid += 1
            added.append(Wanted(b"%d" % self.next_sid, subject, queue))
        removed = tuple(Wanted(one.sid, one.subject, one.queue) for one in held)
        self.settle(SubscriptionsChanged(cid, tuple(added), removed))

    @precondition(lambda self: self.clients)
    @rule(pick=PICKS)
    def a_client_goes(self, pick: int) -> None:
        cid = self.clients.pop(pick % len(self.clients))
        self.settle(ConnectionEnded(cid, CloseReason.CLIENT_CLOSED))
        held = self.state.connections[cid].subscriptions.values()
        self.settle(
            SubscriptionsChanged(cid, removed=tuple(Wanted(one.sid, one.subject, one.queue) for one in held))
        )
        self.settle(ConnectionForgotten(cid))

    @precondition(lambda self: self.routes)
    @rule(pick=PICKS)
    def a_route_goes(self, pick: int) -> None:
        cid = self.routes.pop(pick % len(self.routes))
        self.settle(ConnectionEnded(cid, CloseReason.CLIENT_CLOSED))
        self.settle(ConnectionForgotten(cid))

    @invariant()
    def told_is_wanted(self) -> None:
        wanted = {key: self.state.weight(key) for key in self.state.interest_keys()}
        assert all(wanted.values())
        for audience in self.state.audiences.values():
            assert audience.told == (wanted if audience.members else {})
            assert list(audience.members) == self.routes
            assert not audience.joining

    @invariant()
    def every_route_understood_what_is_wanted(self) -> None:
        wanted: dict[Key, int] = {}
        for cid in self.clients:
            connection = self.state.connections[cid]
            for one in connection.subscriptions.values():
                key = (connection.account.name.encode(), one.subject)
                if one.queue is None:
                    wanted[key] = 1
                else:
                    wanted[*key, one.queue] = wanted.get((*key, one.queue), 0) + 1
        for cid in self.routes:
            assert understood(self.heard[cid]) == wanted


TestLinksHearWhatIsWanted = LinksHearWhatIsWanted.TestCase
TestLinksHearWhatIsWanted.settings = settings(max_examples=settings().max_examples // 3)

"""What links are told when interest changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from natscore.account.settings import AccountsSettings
from natscore.dataplane import PureDataPlane
from natscore.entropy import Xorshift64
from natscore.errors import CloseReason
from natscore.events import Address, ConnectionId, ConnectionKind
from natscore.facts import (
    ClientConnected,
    ConnectionAccepted,
    ConnectionEnded,
    Fact,
    LinkEstablished,
    SubscriptionsChanged,
    Wanted,
)
from natscore.options import Options
from natscore.state import State
from natscore.topology.links import encode_route_interest, tell_links
from natscore.wire.connect import ConnectOptions
from tests.support.accounts import exporting, importing

if TYPE_CHECKING:
    from natscore.plane import Outbox

CLIENT: Final = ConnectionId(5)
OTHER: Final = ConnectionId(6)
ROUTE: Final = ConnectionId(7)
SECOND: Final = ConnectionId(8)


class Links:
    """Two clients and two routes in a state without a server; `told` takes what a route was sent."""

    def __init__(self, accounts: AccountsSettings | None = None) -> None:
        self.state = State(Options(accounts=accounts or AccountsSettings()), PureDataPlane(Xorshift64(1)))
        for cid in (CLIENT, OTHER, ROUTE, SECOND):
            kind = ConnectionKind.CLIENT if cid in (CLIENT, OTHER) else ConnectionKind.ROUTE
            self.settle(ConnectionAccepted(cid, kind, Address("10.0.0.1", 40_000), awaits_login=False))

    def settle(self, fact: Fact) -> None:
        self.state.fold(fact)
        tell_links(self.state, fact)

    def told(self, cid: ConnectionId = ROUTE) -> bytes:
        outbox: Outbox = self.state.connections[cid].outbox
        text = b"".join(outbox.blocks(1 << 30))
        outbox.advance(outbox.size)
        return text


@pytest.fixture
def links() -> Links:
    return Links()


def subscribe(cid: ConnectionId, *subjects: bytes, queue: bytes | None = None) -> SubscriptionsChanged:
    return SubscriptionsChanged(cid, added=tuple(Wanted(one, one, queue) for one in subjects))


def unsubscribe(cid: ConnectionId, *subjects: bytes, queue: bytes | None = None) -> SubscriptionsChanged:
    return SubscriptionsChanged(cid, removed=tuple(Wanted(one, one, queue) for one in subjects))


@pytest.mark.parametrize(
    ("key", "weight", "line"),
    [
        (("$G", b"foo", None), 1, b"RS+ $G foo\r\n"),
        (("$G", b"foo", None), 0, b"RS- $G foo\r\n"),
        (("A", b"foo.*", b"q"), 3, b"RS+ A foo.* q 3\r\n"),
        (("A", b"foo.*", b"q"), 0, b"RS- A foo.* q\r\n"),
    ],
)
def test_a_line_of_interest_is_written_as_routes_read_it(
    key: tuple[str, bytes, bytes | None], weight: int, line: bytes
) -> None:
    assert encode_route_interest(key, weight) == line


def test_a_link_that_joins_hears_everything_first(links: Links) -> None:
    links.settle(subscribe(CLIENT, b"foo", b"bar"))
    links.settle(subscribe(OTHER, b"jobs", queue=b"q"))

    links.settle(LinkEstablished(ROUTE))

    assert links.told() == b"RS+ $G foo\r\nRS+ $G bar\r\nRS+ $G jobs q 1\r\n"


def test_a_link_that_joins_where_nothing_is_wanted_hears_nothing(links: Links) -> None:
    links.settle(LinkEstablished(ROUTE))

    assert links.told() == b""


def test_a_second_link_is_brought_to_what_the_first_was_told(links: Links) -> None:
    links.settle(LinkEstablished(ROUTE))
    links.settle(subscribe(CLIENT, b"foo"))
    links.told()

    links.settle(LinkEstablished(SECOND))

    assert links.told(SECOND) == b"RS+ $G foo\r\n"
    assert links.told(ROUTE) == b""


def test_only_the_first_and_the_last_plain_subscription_are_told(links: Links) -> None:
    links.settle(LinkEstablished(ROUTE))

    links.settle(subscribe(CLIENT, b"foo"))
    assert links.told() == b"RS+ $G foo\r\n"
    links.settle(subscribe(OTHER, b"foo"))
    links.settle(unsubscribe(CLIENT, b"foo"))
    assert links.told() == b""
    links.settle(unsubscribe(OTHER, b"foo"))
    assert links.told() == b"RS- $G foo\r\n"


def test_every_change_of_a_groups_weight_is_told(links: Links) -> None:
    links.settle(LinkEstablished(ROUTE))

    links.settle(subscribe(CLIENT, b"foo", queue=b"q"))
    links.settle(subscribe(OTHER, b"foo", queue=b"q"))
    links.settle(unsubscribe(CLIENT, b"foo", queue=b"q"))
    links.settle(unsubscribe(OTHER, b"foo", queue=b"q"))

    assert links.told() == b"RS+ $G foo q 1\r\nRS+ $G foo q 2\r\nRS+ $G foo q 1\r\nRS- $G foo q\r\n"


def test_what_comes_and_goes_in_one_fact_is_not_told(links: Links) -> None:
    links.settle(LinkEstablished(ROUTE))
    links.settle(subscribe(CLIENT, b"foo"))
    links.told()

    links.settle(
        SubscriptionsChanged(
            CLIENT, added=(Wanted(b"9", b"foo", None),), removed=(Wanted(b"foo", b"foo", None),)
        )
    )

    assert links.told() == b""


def test_all_links_of_an_audience_are_told_the_same(links: Links) -> None:
    links.settle(LinkEstablished(ROUTE))
    links.settle(LinkEstablished(SECOND))

    links.settle(subscribe(CLIENT, b"foo"))

    assert links.told(ROUTE) == links.told(SECOND) == b"RS+ $G foo\r\n"


def test_interest_is_told_with_the_account_it_is_in(links: Links) -> None:
    links.settle(LinkEstablished(ROUTE))

    links.settle(ClientConnected(CLIENT, "A", ConnectOptions()))
    links.settle(subscribe(CLIENT, b"foo"))
    links.settle(subscribe(OTHER, b"foo"))

    assert links.told() == b"RS+ A foo\r\nRS+ $G foo\r\n"


def test_a_link_that_left_is_told_nothing_and_the_next_hears_everything_again(links: Links) -> None:
    links.settle(LinkEstablished(ROUTE))
    links.settle(subscribe(CLIENT, b"foo"))
    links.told()

    links.settle(ConnectionEnded(ROUTE, CloseReason.CLIENT_CLOSED))
    links.settle(subscribe(CLIENT, b"bar"))
    links.settle(LinkEstablished(SECOND))

    assert links.told(ROUTE) == b""
    assert links.told(SECOND) == b"RS+ $G foo\r\nRS+ $G bar\r\n"


@pytest.mark.spec("accounts 5.1", "accounts 12", "accounts 17:4")
def test_what_is_imported_is_wanted_in_both_accounts_for_as_long() -> None:
    accounts = AccountsSettings(accounts=(exporting("A"), importing("B", "A", b"s.>", prefix=b"p")))
    links = Links(accounts)
    links.settle(LinkEstablished(ROUTE))
    for cid in (CLIENT, OTHER):
        links.settle(ClientConnected(cid, "B", ConnectOptions()))

    links.settle(subscribe(CLIENT, b"p.s.x", b"other"))
    assert links.told() == b"RS+ B p.s.x\r\nRS+ A s.x\r\nRS+ B other\r\n"
    links.settle(subscribe(OTHER, b"p.s.x", b"p.>"))
    assert links.told() == b"RS+ B p.>\r\nRS+ A s.>\r\n"
    links.settle(unsubscribe(CLIENT, b"p.s.x"))
    assert links.told() == b""
    links.settle(unsubscribe(OTHER, b"p.s.x", b"p.>"))
    assert links.told() == b"RS- B p.s.x\r\nRS- A s.x\r\nRS- B p.>\r\nRS- A s.>\r\n"


@pytest.mark.spec("accounts 5.2", "accounts 12")
def test_a_group_in_two_accounts_weighs_as_many_as_it_has_members() -> None:
    accounts = AccountsSettings(accounts=(exporting("A"), importing("B", "A", b"s")))
    links = Links(accounts)
    links.settle(LinkEstablished(ROUTE))
    links.settle(ClientConnected(CLIENT, "A", ConnectOptions()))
    links.settle(ClientConnected(OTHER, "B", ConnectOptions()))

    links.settle(subscribe(CLIENT, b"s", queue=b"q"))
    assert links.told() == b"RS+ A s q 1\r\n"
    links.settle(subscribe(OTHER, b"s", queue=b"q"))
    assert links.told() == b"RS+ B s q 1\r\nRS+ A s q 2\r\n"
    links.settle(unsubscribe(CLIENT, b"s", queue=b"q"))
    assert links.told() == b"RS+ A s q 1\r\n"


def test_a_link_that_joins_later_hears_of_what_is_imported() -> None:
    accounts = AccountsSettings(accounts=(exporting("A"), importing("B", "A", b"s")))
    links = Links(accounts)
    links.settle(ClientConnected(CLIENT, "B", ConnectOptions()))
    links.settle(subscribe(CLIENT, b"s"))

    links.settle(LinkEstablished(ROUTE))

    assert links.told() == b"RS+ A s\r\nRS+ B s\r\n"

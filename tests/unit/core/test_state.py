"""What each fact does to who is here, may what, and wants what."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest

from natscore.account.permissions import EVERYTHING, DeliveryFilter, Permissions, Rules, SubscribeRules
from natscore.account.settings import AccountSettings, AccountsSettings
from natscore.dataplane import PureDataPlane
from natscore.entropy import Xorshift64
from natscore.errors import CloseReason
from natscore.events import Address, ConnectionId, ConnectionKind
from natscore.facts import (
    AuthenticationFailed,
    ClientConnected,
    ConnectionAccepted,
    ConnectionEnded,
    ConnectionForgotten,
    Fact,
    LinkEstablished,
    SlowConsumerDetected,
    SubscriptionsChanged,
    Wanted,
)
from natscore.options import Options
from natscore.state import Audience, Connection, State
from natscore.sublist import SubjectTable, Sublist
from natscore.wire.connect import ConnectOptions
from tests.support.pure import pure_source

if TYPE_CHECKING:
    from typing import Any

CID = ConnectionId(5)
ACCEPTED = ConnectionAccepted(CID, ConnectionKind.CLIENT, Address("10.0.0.1", 40_000), awaits_login=True)


def state_after(*facts: Fact, **options: Any) -> State:
    state = State(Options(**options), PureDataPlane(Xorshift64(1)))
    for fact in facts:
        state.fold(fact)
    return state


def connection_after(*facts: Fact, **options: Any) -> Connection:
    return state_after(ACCEPTED, *facts, **options).connections[CID]


def test_every_fact_can_be_folded() -> None:
    assert set(state_after()._folds) == set(get_args(Fact))


def test_a_fresh_state_has_the_global_and_the_system_account_and_nobody() -> None:
    state = state_after()

    assert list(state.accounts) == ["$G", "$SYS"]
    assert (len(state.connections), state.open_connections) == (0, 0)


@pytest.mark.spec("client-protocol 1:READY")
def test_an_accepted_connection_is_in_the_global_account_with_the_default_options() -> None:
    connection = connection_after()

    assert connection.account.name == "$G"
    assert connection.account.clients == 1
    assert connection.awaits_login
    assert connection.source.awaiting_connect
    assert (connection.source.verbose, connection.source.pedantic, connection.source.echo) == (
        True,
        True,
        True,
    )
    assert not connection.outbox.headers


def test_the_limits_of_the_options_reach_what_reads() -> None:
    source = pure_source(connection_after(max_control_line=77, max_payload=99, trace=True).source)

    assert (source.max_control_line, source.max_payload, source.stepping) == (77, 99, True)


def test_a_client_that_connected_has_its_account_and_its_options() -> None:
    options = ConnectOptions(verbose=False, pedantic=False, echo=False, headers=True, no_responders=True)

    connection = connection_after(ClientConnected(CID, "A", options))

    assert not connection.awaits_login
    assert (connection.account.name, connection.account.clients) == ("A", 1)
    assert connection.options is options
    source = pure_source(connection.source)
    assert source.table is connection.account.table
    assert (source.verbose, source.pedantic, source.echo) == (False, False, False)
    assert (source.headers, source.no_responders, connection.outbox.headers) == (True, True, True)
    assert not source.awaiting_connect


def test_every_declared_account_is_there_before_anybody_connects() -> None:
    accounts = AccountsSettings(accounts=(AccountSettings(name="B"), AccountSettings(name="A")))

    state = state_after(accounts=accounts)

    assert list(state.accounts) == ["$G", "B", "A", "$SYS"]
    assert state.account("A").declared.settings is accounts.accounts[1]


def test_an_account_that_is_not_declared_is_made_when_somebody_is_in_it() -> None:
    state = state_after(ACCEPTED, ClientConnected(CID, "NEW", ConnectOptions()))

    assert state.accounts["NEW"].declared.settings == AccountSettings(name="NEW")


def test_a_client_that_moves_to_another_account_leaves_the_first() -> None:
    state = state_after(ACCEPTED, ClientConnected(CID, "A", ConnectOptions()))

    state.fold(ClientConnected(CID, "B", ConnectOptions()))

    assert {name: account.clients for name, account in state.accounts.items()} == {
        "$G": 0,
        "$SYS": 0,
        "A": 0,
        "B": 1,
    }


@pytest.mark.spec("client-protocol 10.5")
@pytest.mark.parametrize(("client", "server"), [(True, False), (False, True)])
def test_headers_are_there_when_both_sides_take_them(client: bool, server: bool) -> None:
    connection = connection_after(ClientConnected(CID, "$G", ConnectOptions(headers=client)), headers=server)

    assert not connection.source.headers
    assert not connection.outbox.headers


@pytest.mark.parametrize(
    ("options", "login"),
    [
        (ConnectOptions(), ""),
        (ConnectOptions(user="u", password="planted"), "A/user:u"),
        (ConnectOptions(auth_token="planted"), "A/token"),
    ],
)
def test_a_login_is_shown_without_its_secret(options: ConnectOptions, login: str) -> None:
    assert connection_after(ClientConnected(CID, "A", options)).login == login
    assert connection_after().login == ""


def test_subscriptions_come_go_and_get_a_maximum() -> None:
    connection = connection_after(
        SubscriptionsChanged(CID, added=(Wanted(b"1", b"foo", None), Wanted(b"2", b"bar", b"q"))),
        SubscriptionsChanged(
            CID,
            added=(Wanted(b"3", b"baz.*", None),),
            removed=(Wanted(b"1", b"foo", None),),
            limited=((b"2", 7),),
        ),
    )

    assert [(s.sid, s.subject, s.queue, s.max) for s in connection.subscriptions.values()] == [
        (b"2", b"bar", b"q", 7),
        (b"3", b"baz.*", None, 0),
    ]
    assert connection.account.subscriptions == 2


def test_one_fact_may_replace_what_a_sid_stands_for() -> None:
    connection = connection_after(
        SubscriptionsChanged(CID, added=(Wanted(b"1", b"foo", None),)),
        SubscriptionsChanged(CID, added=(Wanted(b"1", b"bar", None),), removed=(Wanted(b"1", b"foo", None),)),
    )

    assert [one.subject for one in connection.subscriptions.values()] == [b"bar"]


def test_what_went_wrong_is_counted() -> None:
    state = state_after(
        ACCEPTED,
        AuthenticationFailed(CID, "u"),
        SlowConsumerDetected(CID, CloseReason.MEMORY),
        SlowConsumerDetected(CID, CloseReason.SLOW_CONSUMER_PENDING),
    )

    assert (state.authentication_failures, state.slow_consumers) == (1, 2)


def test_an_ended_connection_gets_nothing_and_is_not_counted() -> None:
    state = state_after(ACCEPTED, ConnectionEnded(CID, CloseReason.CLIENT_CLOSED))
    connection = state.connections[CID]

    assert connection.ended is CloseReason.CLIENT_CLOSED
    assert not connection.outbox.open
    assert not connection.outbox.accepts
    assert (state.open_connections, connection.account.clients) == (0, 0)


def test_a_forgotten_connection_is_gone() -> None:
    state = state_after(ACCEPTED, ConnectionEnded(CID, CloseReason.CLIENT_CLOSED), ConnectionForgotten(CID))

    assert not state.connections


@pytest.mark.parametrize(
    "fact",
    [
        ConnectionForgotten(ConnectionId(9)),
        SubscriptionsChanged(CID, removed=(Wanted(b"9", b"foo", None),)),
        SubscriptionsChanged(CID, limited=((b"9", 1),)),
        LinkEstablished(ConnectionId(9)),
    ],
)
def test_a_fact_that_cannot_be_is_not_folded(fact: Fact) -> None:
    with pytest.raises(KeyError):
        state_after(ACCEPTED).fold(fact)


def test_interest_is_weighed_by_members_and_for_plain_subscriptions_by_their_being_there() -> None:
    state = state_after(
        ACCEPTED,
        SubscriptionsChanged(
            CID,
            added=tuple(
                Wanted(b"%d" % n, subject, queue)
                for n, (subject, queue) in enumerate(
                    [(b"foo", None), (b"foo", None), (b"foo", b"q"), (b"foo", b"q"), (b"a.*", b"r")]
                )
            ),
        ),
    )

    assert {key: state.weight(key) for key in state.interest_keys()} == {
        ("$G", b"foo", None): 1,
        ("$G", b"foo", b"q"): 2,
        ("$G", b"a.*", b"r"): 1,
    }
    for nothing in (("$G", b"bar", None), ("$G", b"foo", b"x"), ("A", b"foo", None), ("$G", b"a.*", None)):
        assert state.weight(nothing) == 0


def test_links_of_one_kind_are_one_audience_until_the_last_leaves() -> None:
    def route(number: int) -> Fact:
        return ConnectionAccepted(
            ConnectionId(number), ConnectionKind.ROUTE, Address("10.0.0.2", 6222), awaits_login=False
        )

    state = state_after(
        route(7), route(8), LinkEstablished(ConnectionId(7)), LinkEstablished(ConnectionId(8))
    )
    audience: Audience = state.audiences[ConnectionKind.ROUTE]
    assert list(audience.joining) == [7, 8]
    audience.members, audience.joining = audience.joining, {}
    audience.told = {("$G", b"foo", None): 1}

    state.fold(ConnectionEnded(ConnectionId(7), CloseReason.CLIENT_CLOSED))
    assert audience.told
    state.fold(ConnectionEnded(ConnectionId(8), CloseReason.CLIENT_CLOSED))

    assert not audience.members
    assert not audience.told


def test_a_summary_is_made_of_values_and_tells_states_apart() -> None:
    facts: list[Fact] = [ACCEPTED, SubscriptionsChanged(CID, added=(Wanted(b"1", b"foo", None),))]

    assert state_after(*facts).summary() == state_after(*facts).summary()
    assert state_after(*facts).summary() != state_after(*facts[:1]).summary()
    assert state_after(*facts, SubscriptionsChanged(CID, limited=((b"1", 3),))).summary() != (
        state_after(*facts).summary()
    )


# -- permissions -----------------------------------------------------------------------------------

OTHER_CID = ConnectionId(6)
NARROW = Permissions(Rules((b"a.*",), (b"a.b",)))


def accepted(cid: ConnectionId) -> ConnectionAccepted:
    return ConnectionAccepted(cid, ConnectionKind.CLIENT, Address("10.0.0.1", 40_000), awaits_login=True)


def connected(
    cid: ConnectionId = CID, permissions: Permissions = EVERYTHING, account: str = "A"
) -> ClientConnected:
    return ClientConnected(cid, account, ConnectOptions(), permissions)


def tables_of(state: State) -> dict[str, list[SubjectTable]]:
    """The look-up tables of each account: those that are told of new literals."""
    tables = {}
    for name, account in state.accounts.items():
        assert isinstance(account.sublist, Sublist)
        tables[name] = account.sublist.tables
    return tables


def test_connections_with_equal_rules_look_up_in_one_table() -> None:
    equal = Permissions(Rules((b"a.*",), (b"a.b",)), SubscribeRules(deny=((b"x", None),)))
    state = state_after(
        accepted(CID), accepted(OTHER_CID), connected(CID, NARROW), connected(OTHER_CID, equal)
    )
    first, second = state.connections[CID], state.connections[OTHER_CID]

    assert first.table is second.table is pure_source(first.source).table
    assert first.table is not first.account.table
    assert len(tables_of(state)["A"]) == 2


def test_whoever_may_publish_anything_has_the_table_of_the_account() -> None:
    unrestricted = Permissions(Rules(), SubscribeRules(()))

    connection = connection_after(ACCEPTED, connected(permissions=unrestricted))

    assert connection.table is connection.account.table


def test_other_rules_and_other_accounts_have_tables_of_their_own() -> None:
    state = state_after(accepted(CID), accepted(OTHER_CID), connected(CID, NARROW))
    state.fold(connected(OTHER_CID, Permissions(Rules((b"a.*",)))))
    elsewhere = ConnectionId(7)
    state.fold(accepted(elsewhere))
    state.fold(connected(elsewhere, NARROW, "B"))

    assert len({id(connection.table) for connection in state.connections.values()}) == 3
    assert [len(tables) for tables in tables_of(state).values()] == [1, 1, 3, 2]


def test_a_table_stays_while_somebody_publishes_through_it() -> None:
    state = state_after(
        accepted(CID), accepted(OTHER_CID), connected(CID, NARROW), connected(OTHER_CID, NARROW)
    )
    tables = tables_of(state)["A"]
    shared = state.connections[CID].table

    state.fold(ConnectionEnded(CID, CloseReason.CLIENT_CLOSED))
    state.fold(ConnectionForgotten(CID))
    assert tables == [state.accounts["A"].table, shared]

    state.fold(connected(OTHER_CID, EVERYTHING))
    assert tables == [state.accounts["A"].table]

    state.fold(connected(OTHER_CID, NARROW))
    assert len(tables) == 2
    assert state.connections[OTHER_CID].table is not shared


def test_a_connection_that_moves_leaves_the_table_of_the_first_account() -> None:
    state = state_after(accepted(CID), connected(CID, NARROW), connected(CID, NARROW, "B"))

    assert [len(tables) for tables in tables_of(state).values()] == [1, 1, 1, 2]


def test_a_second_connect_with_equal_rules_leaves_one_table() -> None:
    state = state_after(accepted(CID), connected(CID, NARROW), connected(CID, NARROW))

    assert len(tables_of(state)["A"]) == 2


def test_a_table_that_was_left_is_not_told_of_new_literals() -> None:
    state = state_after(accepted(CID), accepted(OTHER_CID), connected(OTHER_CID), connected(CID, NARROW))
    left = state.connections[CID].table
    assert isinstance(left, SubjectTable)
    left.look_up(b"b")
    state.fold(connected(CID, EVERYTHING))
    assert len(left) == 1

    state.fold(SubscriptionsChanged(OTHER_CID, added=(Wanted(b"1", b"b", None),)))

    assert len(left) == 1


def test_a_subscription_gets_its_filter_when_it_is_made() -> None:
    rules = SubscribeRules(deny=((b"a.b", None),))
    state = state_after(accepted(CID), connected(CID, Permissions(subscribe=rules)))

    state.fold(SubscriptionsChanged(CID, added=(Wanted(b"1", b"a.*", b"q"), Wanted(b"2", b"c.*", None))))

    filters = [one.filter for one in state.connections[CID].subscriptions.values()]
    assert filters == [DeliveryFilter((b"a.b",)), None]

"""Who is here, may what, and wants what: changed by facts, and by nothing else.

Three kinds of state exist. This module holds the first. Traffic (counters,
pending bytes) lives in cells, which connections here point at; handshakes live
with the connection handlers. `State.fold` must not fail: a fact that cannot be
folded means that the graph is no longer trusted, and the server stops.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from natscore.account.accounts import Account as DeclaredAccount
from natscore.account.accounts import resolved
from natscore.account.permissions import EVERYTHING
from natscore.account.settings import GLOBAL_ACCOUNT, AccountSettings
from natscore.facts import (
    AuthenticationFailed,
    ClientConnected,
    ConnectionAccepted,
    ConnectionEnded,
    ConnectionForgotten,
    LinkEstablished,
    OptionsChanged,
    PermissionsChanged,
    RepliesExpected,
    SlowConsumerDetected,
    SubscriptionsChanged,
)
from natscore.plane import SERVER
from natscore.tables import Tables
from natscore.turn import SHADOW_COST, WITHDRAW_MAX
from natscore.wire.connect import NOTHING_SAID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscore.account.accounts import Accounts
    from natscore.account.imports import ImportedService
    from natscore.account.permissions import DeliveryFilter
    from natscore.account.settings import AccountsSettings
    from natscore.errors import CloseReason
    from natscore.events import Address, ConnectionId, ConnectionKind, Instant
    from natscore.facts import Fact
    from natscore.options import Options
    from natscore.plane import DataPlane, Node, Outbox, Source, Subscription

__all__ = ["Account", "Audience", "Connection", "InterestKey", "State"]

InterestKey: TypeAlias = tuple[str, bytes, bytes | None]
"""Account, subject and queue group: what one line of interest between servers is about."""


class Account(Tables):
    """A space of subjects: what crosses to another account is what `declared` imports and exports."""

    __slots__ = ("clients", "declared", "imported", "is_gone", "name", "own", "replies")

    def __init__(self, declared: DeclaredAccount, plane: DataPlane) -> None:
        super().__init__(declared.mappings, plane)
        self.name = declared.name
        self.declared = declared
        self.clients = 0
        self.own: dict[bytes, Subscription] = {}  # subscriptions of the server itself, by sid
        self.imported: dict[bytes, int] = {}  # ... those to services, by subject: how many
        self.replies = b""  # what stands before each reply subject of a service, once there was one
        self.is_gone = False  # a reload took it away; it stays while somebody is in it

    def declare(self, declared: DeclaredAccount) -> None:
        """Let a reload declare it anew."""
        self.declared = declared
        self.remap(declared.mappings)

    @property
    def subscriptions(self) -> int:
        """How many subscriptions its connections have."""
        return self.sublist.count - len(self.own)

    def plain(self, node: Node[Subscription]) -> int:
        """How many plain subscriptions concern other servers: the imports of services are ours alone."""
        return len(node.plain) - self.imported.get(node.subject, 0)


def _undeclared(name: str) -> DeclaredAccount:
    """An account that exports and imports nothing."""
    return DeclaredAccount(AccountSettings(name=name))


class Connection:
    """One connection of any kind: where it comes from, what it said, what it wants, and its cells."""

    __slots__ = (
        "account", "awaits_login", "cid", "ended", "kind", "options", "outbox", "permissions", "remote",
        "shadows", "source", "subscriptions", "table",
    )  # fmt: skip

    def __init__(self, fact: ConnectionAccepted, account: Account, source: Source, outbox: Outbox) -> None:
        self.cid = fact.cid
        self.kind: ConnectionKind = fact.kind
        self.remote: Address = fact.remote
        self.awaits_login = fact.awaits_login
        self.account = account
        self.table = account.table
        self.options = NOTHING_SAID
        self.permissions = EVERYTHING
        self.subscriptions: dict[bytes, Subscription] = {}
        # by sid, of those whose account imports what they match: in which account, and the cell there
        self.shadows: dict[bytes, tuple[tuple[Account, Subscription], ...]] = {}
        self.ended: CloseReason | None = None
        self.source = source
        self.outbox = outbox

    def some_subscriptions(self) -> list[Subscription]:
        """As many of its subscriptions as are removed at once, fewer the more shadows each may have."""
        most = max(1, WITHDRAW_MAX // (1 + len(self.account.declared.streams)))
        return list(islice(self.subscriptions.values(), most))

    @property
    def login(self) -> str:
        """`account/user:name` or `account/token` of a connection that logged in, for log lines."""
        if self.awaits_login or not (self.options.user or self.options.auth_token):
            return ""
        who = f"user:{self.options.user}" if self.options.user else "token"
        return f"{self.account.name}/{who}"


class Audience:
    """Links that are told the same, and what they were told: key to weight.

    Every member has heard exactly `told`; a link that joins is brought there
    before it hears of changes.
    """

    __slots__ = ("joining", "kind", "members", "told")

    def __init__(self, kind: ConnectionKind) -> None:
        self.kind = kind
        self.told: dict[InterestKey, int] = {}
        self.members: dict[ConnectionId, Outbox] = {}
        self.joining: dict[ConnectionId, Outbox] = {}  # have not heard anything yet

    def leave(self, cid: ConnectionId) -> None:
        """A link is gone. Nobody left: nothing is told any more."""
        self.members.pop(cid, None)
        self.joining.pop(cid, None)
        if not self.members:
            self.told.clear()


class State:
    """The first kind of state, whole.

    Args:
        options: the settings of the server.
        plane: makes the cells.
        accounts: what `options.accounts` resolve to, where that is known already.
    """

    def __init__(self, options: Options, plane: DataPlane, accounts: Accounts | None = None) -> None:
        self.options = options
        self.plane = plane
        self.connections: dict[ConnectionId, Connection] = {}
        accounts_declared = accounts if accounts is not None else resolved(options.accounts)
        self.accounts = {one.name: Account(one, plane) for one in accounts_declared}
        self.audiences: dict[ConnectionKind, Audience] = {}  # links that hear the same of our interest
        self.system_account = accounts_declared.system_account
        self.inbox = plane.outbox(SERVER)  # nothing is ever written to it
        # by sid: in which account the server subscribes, and to which service; None: to answers
        self.services: dict[bytes, tuple[Account, ImportedService | None]] = {}
        self._own_sids = 0
        for account in self.accounts.values():
            self._import_services(account)
        self._resolved: tuple[AccountsSettings, Accounts] | None = None
        self.loaded: Instant | None = None  # when a reload last changed the settings
        self.open_connections = 0
        self.slow_consumers = 0
        self.authentication_failures = 0
        self._folds: dict[type[object], Callable[..., None]] = {
            ConnectionAccepted: self._connection_accepted,
            ClientConnected: self._client_connected,
            SubscriptionsChanged: self._subscriptions_changed,
            OptionsChanged: self._options_changed,
            PermissionsChanged: self._permissions_changed,
            AuthenticationFailed: self._authentication_failed,
            SlowConsumerDetected: self._slow_consumer_detected,
            LinkEstablished: self._link_established,
            RepliesExpected: self._replies_expected,
            ConnectionEnded: self._connection_ended,
            ConnectionForgotten: self._connection_forgotten,
        }

    def resolve(self, settings: AccountsSettings) -> Accounts:
        """The accounts of these settings, made once for the question and the fact. Raises ConfigError."""
        if self._resolved is None or self._resolved[0] is not settings:
            self._resolved = (settings, resolved(settings))
        return self._resolved[1]

    def account(self, name: str) -> Account:
        """The account of this name.

        One that is not declared is made when it is first needed: it exports and imports nothing.
        """
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = Account(_undeclared(name), self.plane)
        return account

    def fold(self, fact: Fact) -> None:
        """Let the state follow a fact."""
        self._folds[type(fact)](fact)

    def weight(self, key: InterestKey) -> int:
        """How much our clients want it: members of the group, or 1 for any plain subscription."""
        name, subject, queue = key
        account = self.accounts.get(name)
        node = account.sublist.node(subject) if account is not None else None
        if account is None or node is None:
            return 0
        return int(account.plain(node) > 0) if queue is None else len(node.queues.get(queue, ()))

    def interest_keys(self) -> Iterator[InterestKey]:
        """Every key with a weight, in a fixed order."""
        for name, account in self.accounts.items():
            keys: list[InterestKey] = []  # nodes are read without anything in between
            for node in account.sublist.nodes():
                if account.plain(node):
                    keys.append((name, node.subject, None))
                keys += [(name, node.subject, queue) for queue in node.queues]
            yield from keys

    def link_outboxes(self) -> Iterator[Outbox]:
        """The outboxes of all links to other servers."""
        for audience in self.audiences.values():
            yield from audience.members.values()
            yield from audience.joining.values()

    def summary(self) -> dict[str, object]:
        """Everything in this state as plain values, for comparing two states."""
        return {
            "loaded": self.loaded,
            "open_connections": self.open_connections,
            "slow_consumers": self.slow_consumers,
            "authentication_failures": self.authentication_failures,
            "accounts": {
                name: {
                    "subscriptions": account.subscriptions,
                    "clients": account.clients,
                    "replies": account.replies,
                }
                for name, account in self.accounts.items()
            },
            "connections": {
                int(connection.cid): {
                    "kind": connection.kind.name,
                    "remote": str(connection.remote),
                    "account": connection.account.name,
                    "awaits_login": connection.awaits_login,
                    "permissions": connection.permissions,
                    "options": connection.options,
                    "ended": connection.ended,
                    "subscriptions": [
                        (s.sid, s.subject, s.queue, s.max) for s in connection.subscriptions.values()
                    ],
                }
                for connection in self.connections.values()
            },
        }

    def _connection_accepted(self, fact: ConnectionAccepted) -> None:
        account = self.accounts[GLOBAL_ACCOUNT]
        outbox = self.plane.outbox(fact.cid)
        source = self.plane.source(
            fact.cid, outbox, account.table, self.options.max_control_line, self.options.max_payload
        )
        source.awaiting_connect = fact.awaits_login
        source.stepping = self.options.trace
        self.connections[fact.cid] = Connection(fact, account, source, outbox)
        account.clients += 1
        self.open_connections += 1

    def _client_connected(self, fact: ClientConnected) -> None:
        connection = self.connections[fact.cid]
        connection.account.clients -= 1
        connection.account.leave_table(connection.permissions.publish)
        connection.account = self.account(fact.account)
        connection.account.clients += 1
        connection.permissions = fact.permissions
        connection.table = connection.account.take_table(fact.permissions.publish)
        connection.options = options = fact.options
        connection.awaits_login = False
        headers = options.headers and self.options.headers
        connection.outbox.headers = headers
        source = connection.source
        leave = fact.permissions.responses
        self.plane.bind(source, connection.table, leave, self.options.responses_max)
        source.awaiting_connect = False
        source.verbose = options.verbose
        source.pedantic = options.pedantic
        source.echo = options.echo
        source.headers = headers
        source.no_responders = options.no_responders

    def _subscriptions_changed(self, fact: SubscriptionsChanged) -> None:
        connection = self.connections[fact.cid]
        sublist = connection.account.sublist
        subscriptions = connection.subscriptions
        rules = connection.permissions.subscribe
        imports = bool(connection.account.declared.streams)
        for gone in fact.removed:
            sublist.remove(subscriptions.pop(gone.sid))
            if connection.shadows:
                self._withdraw_shadows(connection, gone.sid)
        for sid in fact.judged:
            self._judge(connection, subscriptions[sid])
        for sid, maximum in fact.limited:
            subscriptions[sid].max = maximum
        for wanted in fact.added:
            subscription = self.plane.subscription(
                connection.outbox, wanted.sid, wanted.subject, wanted.queue
            )
            deny = rules.filter_for(wanted.subject, wanted.queue) if rules.deny else None
            if deny is not None:
                subscription.filter = deny
            sublist.insert(subscription)
            subscriptions[wanted.sid] = subscription
            if imports:
                self._cast_shadows(connection, subscription, deny)

    def _judge(self, connection: Connection, subscription: Subscription) -> None:
        """Let a subscription get what its connection may have now, through the imports of now."""
        rules = connection.permissions.subscribe
        deny = rules.filter_for(subscription.subject, subscription.queue) if rules.deny else None
        connection.account.sublist.restrict(subscription, deny)
        wanted = [
            (shadow.stream.exporter, shadow.subject, shadow.stream.renaming(deny))
            for shadow in connection.account.declared.shadows(subscription.subject)
        ]
        cast = connection.shadows.get(subscription.sid, ())
        if wanted != [(account.name, cell.subject, cell.filter) for account, cell in cast]:
            self._withdraw_shadows(connection, subscription.sid)
            self._cast_shadows(connection, subscription, deny)

    def _cast_shadows(
        self, connection: Connection, subscription: Subscription, deny: DeliveryFilter | None
    ) -> None:
        """Subscribe, in the accounts that export it, to what a subscription gets through stream imports."""
        shadows = []
        for shadow in connection.account.declared.shadows(subscription.subject):
            exporter = self.account(shadow.stream.exporter)
            cell = self.plane.shadow(subscription, shadow.subject, shadow.stream.renaming(deny))
            exporter.sublist.insert(cell)
            shadows.append((exporter, cell))
        if shadows:
            connection.shadows[subscription.sid] = tuple(shadows)
            self.plane.spend(SHADOW_COST * len(shadows))

    def _withdraw_shadows(self, connection: Connection, sid: bytes) -> None:
        shadows = connection.shadows.pop(sid, ())
        for exporter, cell in shadows:
            exporter.sublist.remove(cell)
            self._drop_if_unused(exporter)
        self.plane.spend(SHADOW_COST * len(shadows))

    def _options_changed(self, fact: OptionsChanged) -> None:
        self.options = fact.options
        self.loaded = fact.at
        declared = self.resolve(fact.options.accounts)
        self._resolved = None
        self.system_account = declared.system_account
        for name, account in list(self.accounts.items()):
            account.is_gone = name not in declared
            account.declare(_undeclared(name) if account.is_gone else declared[name])
        for one in declared:
            if one.name not in self.accounts:
                self.accounts[one.name] = Account(one, self.plane)
        for account in list(self.accounts.values()):
            self._import_services(account)
            self._drop_if_unused(account)

    def _drop_if_unused(self, account: Account) -> None:
        """Forget an account that a reload took away, once nobody is in it."""
        unused = account.is_gone and not account.clients and not account.subscriptions
        if unused and self.accounts.pop(account.name, None) is not None:
            for sid in account.own:
                del self.services[sid]

    def _permissions_changed(self, fact: PermissionsChanged) -> None:
        connection = self.connections[fact.cid]
        account = connection.account
        table = account.take_table(fact.permissions.publish)
        account.leave_table(connection.permissions.publish)
        connection.permissions = fact.permissions
        connection.table = table
        self.plane.bind(connection.source, table, fact.permissions.responses, self.options.responses_max)

    def _authentication_failed(self, fact: AuthenticationFailed) -> None:
        self.authentication_failures += 1

    def _slow_consumer_detected(self, fact: SlowConsumerDetected) -> None:
        self.slow_consumers += 1

    def _link_established(self, fact: LinkEstablished) -> None:
        connection = self.connections[fact.cid]
        audience = self.audiences.get(connection.kind)
        if audience is None:
            audience = self.audiences[connection.kind] = Audience(connection.kind)
        audience.joining[fact.cid] = connection.outbox

    def _replies_expected(self, fact: RepliesExpected) -> None:
        account = self.account(fact.account)
        assert not account.replies
        account.replies = fact.prefix
        self._subscribe(account, fact.prefix + b">", None)

    def _import_services(self, account: Account) -> None:
        """Subscribe to the services that an account imports, and to none that it no longer does."""
        wanted = dict.fromkeys(account.declared.services)
        for sid in list(account.own):
            _, service = self.services[sid]
            if service is None:
                continue
            if service in wanted:
                del wanted[service]
                continue
            account.sublist.remove(account.own.pop(sid))
            del self.services[sid]
            account.imported[service.local] -= 1
            if not account.imported[service.local]:
                del account.imported[service.local]
        for service in wanted:
            self._subscribe(account, service.local, service)

    def _subscribe(self, account: Account, subject: bytes, service: ImportedService | None) -> None:
        """Let the server itself subscribe in an account, to be asked about what is published there."""
        self._own_sids += 1
        sid = b"%d" % self._own_sids
        subscription = self.plane.subscription(self.inbox, sid, subject, None)
        account.sublist.insert(subscription)
        account.own[sid] = subscription
        self.services[sid] = (account, service)
        if service is not None:
            account.imported[subject] = account.imported.get(subject, 0) + 1

    def _connection_ended(self, fact: ConnectionEnded) -> None:
        connection = self.connections[fact.cid]
        connection.ended = fact.reason
        connection.outbox.open = connection.outbox.accepts = False
        connection.account.clients -= 1
        self.open_connections -= 1
        audience = self.audiences.get(connection.kind)
        if audience is not None:
            audience.leave(fact.cid)

    def _connection_forgotten(self, fact: ConnectionForgotten) -> None:
        connection = self.connections.pop(fact.cid)
        assert not connection.subscriptions
        connection.account.leave_table(connection.permissions.publish)
        self._drop_if_unused(connection.account)

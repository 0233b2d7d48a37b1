"""Servers whose settings are replaced while clients talk to them."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any, Final

import bcrypt
import pytest

from natscore.account.permissions import Permissions, Rules, SubscribeRules
from natscore.account.settings import (
    AccountSettings,
    AccountsSettings,
    ServiceExport,
    ServiceImport,
    StreamExport,
    StreamImport,
)
from natscore.account.users import UserSettings, UsersSettings
from natscore.effects import Close, VerifyPassword
from natscore.errors import CloseReason, UsageError
from natscore.events import OptionsReloaded
from natscore.options import SECOND, Options, TlsOptions
from natscore.replay import replay
from natscore.testing import World
from natscore_security import passwords
from natscore_security.authenticators import authenticator_of
from natscore_security.nkeys import KeyPair, encode_signature
from natscore_security.strkey import Kind
from tests.unit.core.bare import BareServer, of_type

if TYPE_CHECKING:
    from natscore.effects import Effect
    from natscore.events import Event
    from natscore.testing import ScriptedClient, SimulatedServer

pytestmark = pytest.mark.every_plane

DENIED: Final = b"-ERR 'Authorization Violation'\r\n"
PAIR: Final = KeyPair(Kind.USER, bytes(32))


def users(*found: UserSettings, **others: Any) -> UsersSettings:
    return UsersSettings(users=found, **others)


def user(name: str, password: str = "p", **others: Any) -> UserSettings:
    return UserSettings(name=name, password=password, **others)


def server_of(world: World | None = None, **options: Any) -> SimulatedServer:
    server = (world or World()).server(authenticators=authenticator_of, **options)
    server.verify = passwords.matches
    return server


def client_of(server: SimulatedServer, name: str = "", password: str = "p", **said: Any) -> ScriptedClient:
    """A client that said CONNECT, with a name if there is one; what it was answered is taken."""
    client = server.connect()
    login = {"user": name, "pass": password} if name else {}
    document = json.dumps({"verbose": False, "pedantic": False, **login, **said})
    client.send(f"CONNECT {document}\r\n".encode())
    client.take()
    return client


def alive(client: ScriptedClient) -> bool:
    """Whether a client is answered, and was told nothing else."""
    client.send(b"PING\r\n")
    return client.take() == b"PONG\r\n"


def noted(server: SimulatedServer, name: str) -> list[dict[str, object]]:
    return [note.fields for note in server.notes if note.name == name]


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.spec("operations 9.1", "operations 9.2")
def test_what_cannot_change_is_refused_whole_and_nothing_has_changed() -> None:
    server = server_of(max_payload=100)
    client = client_of(server)

    with pytest.raises(UsageError) as refusal:
        server.reload(max_payload=5, max_connections=1, port=4333, server_name="other")

    assert str(refusal.value) == (
        "config reload not supported for ServerName: old=, new=other; "
        "config reload not supported for Port: old=4222, new=4333"
    )
    assert server.server.options.max_payload == 100
    assert server.state.loaded is None
    client.send(b"PUB foo 6\r\nabcdef\r\n")
    assert alive(client)
    assert alive(client_of(server))


def test_users_that_cannot_be_are_refused_whole() -> None:
    server = server_of(users=users(user("a")))
    client = client_of(server, "a")

    with pytest.raises(UsageError, match='Duplicate user "a" detected'):
        server.reload(users=users(user("a"), user("a")))

    assert alive(client)


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.spec("operations 9.2")
def test_a_lower_max_payload_counts_at_once_and_no_info_is_sent() -> None:
    server = server_of()
    client = client_of(server)

    server.reload(max_payload=5)

    assert alive(client)
    client.send(b"PUB foo 6\r\nabcdef\r\n")
    assert client.take() == b"-ERR 'Maximum Payload Violation'\r\n"
    assert client.close_reason is CloseReason.MAX_PAYLOAD
    assert json.loads(server.connect().info[5:])["max_payload"] == 5


@pytest.mark.spec("operations 9.2")
def test_a_higher_max_payload_counts_at_once() -> None:
    server = server_of(max_payload=5)
    client = client_of(server)

    server.reload(max_payload=-1)

    client.send(b"SUB foo 1\r\nPUB foo 6\r\nabcdef\r\n")
    assert client.take() == b"MSG foo 1 6\r\nabcdef\r\n"


@pytest.mark.spec("operations 9.2")
def test_a_lower_max_control_line_counts_at_once() -> None:
    server = server_of()
    client = client_of(server)

    server.reload(max_control_line=10)

    client.send(b"SUB " + b"a" * 20 + b" 1\r\n")
    assert client.take() == b"-ERR 'maximum control line exceeded'\r\n"


@pytest.mark.spec("operations 9.2")
def test_a_lower_max_connections_closes_the_newest() -> None:
    server = server_of()
    clients = [client_of(server) for _ in range(20)]

    server.reload(max_connections=15)

    assert [client.is_open for client in clients] == [True] * 15 + [False] * 5
    for closed in clients[15:]:
        assert closed.take() == b"-ERR 'maximum connections exceeded'\r\n"
        assert closed.close_reason is CloseReason.MAX_CONNECTIONS
    assert noted(server, "connections_closed_by_limit") == [{"closed": 5}]
    assert all(map(alive, clients[:15]))
    server.check()


def test_those_whose_user_is_gone_make_room_for_the_newest() -> None:
    server = server_of(users=users(user("a"), user("b")))
    gone = [client_of(server, "a") for _ in range(10)]
    stay = [client_of(server, "b") for _ in range(10)]

    server.reload(users=users(user("b")), max_connections=10)

    assert not any(client.is_open for client in gone)
    assert all(map(alive, stay))


@pytest.mark.spec("operations 9.2")
def test_ping_interval_and_ping_max_count_from_the_next_ping_on() -> None:
    world = World()
    server = server_of(world, ping_interval_ns=100 * SECOND)
    client = client_of(server)
    world.advance(3 * SECOND)  # the round trip is measured early
    client.send(b"PONG\r\n")
    client.take()

    server.reload(ping_interval_ns=10 * SECOND, ping_max=0)
    world.advance(110 * SECOND)

    assert client.close_reason is CloseReason.STALE_CONNECTION


# -- who may stay ----------------------------------------------------------------------------------


@pytest.mark.spec("operations 9.3")
def test_a_reload_that_changes_nothing_disturbs_nobody() -> None:
    hashed = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
    server = server_of(
        users=users(user("a", permissions=Permissions(Rules(deny=(b"x",)))), user("h", hashed), user("b")),
    )
    clients = [client_of(server, "a"), client_of(server, "h", "pw"), client_of(server, "b")]
    clients[0].send(b"SUB foo 1\r\nUNSUB 1 3\r\n")
    clients[2].send(b"PUB foo 1\r\na\r\n")
    clients[0].take()
    facts = len(server.facts)

    server.reload()

    assert [type(fact).__name__ for fact in server.facts[facts:]] == ["OptionsChanged"]
    clients[2].send(b"PUB foo 1\r\na\r\n" * 3)
    assert clients[0].take() == b"MSG foo 1 1\r\na\r\n" * 2
    assert all(map(alive, clients))
    server.check()


@pytest.mark.spec("operations 9.3")
def test_an_unchanged_single_user_stays() -> None:
    server = server_of(user="joe", password="p")
    client = client_of(server, "joe")

    server.reload(max_payload=5)

    assert alive(client)


@pytest.mark.spec("operations 9.3")
def test_whoever_named_a_user_on_an_open_server_stays() -> None:
    server = server_of()
    client = client_of(server, "joe")

    server.reload(max_payload=5)

    assert alive(client)


@pytest.mark.spec("operations 9.3")
@pytest.mark.parametrize(
    "later",
    [
        {"users": users(user("b"))},
        {"users": users(user("a", account="B"), user("b"))},
        {"users": users(), "token": "t"},
        {"users": users(), "user": "b", "password": "p"},
    ],
    ids=["user-gone", "other-account", "token-instead", "single-user-instead"],
)
def test_whose_entry_is_gone_or_in_another_account_is_closed_without_a_word(later: dict[str, Any]) -> None:
    server = server_of(users=users(user("a", account="A"), user("b")))
    client = client_of(server, "a")

    server.reload(**later)

    assert client.take() == b""
    assert client.close_reason is CloseReason.CLIENT_CLOSED
    server.check()


def test_whose_key_is_gone_is_closed_without_a_word_and_whose_is_not_stays() -> None:
    keyed = UserSettings(nkey=PAIR.public_key)
    server = server_of(users=users(keyed, user("a")))
    client = server.connect()
    nonce: str = json.loads(client.info[5:])["nonce"]
    said = {"verbose": False, "nkey": PAIR.public_key, "sig": encode_signature(PAIR.sign(nonce.encode()))}
    client.send(b"CONNECT " + json.dumps(said).encode() + b"\r\n")
    client.take()

    server.reload(users=users(user("a"), keyed))
    stays = alive(client)
    server.reload(users=users(user("a")))

    assert stays
    assert client.take() == b""
    assert client.close_reason is CloseReason.CLIENT_CLOSED


@pytest.mark.spec("operations 9.3")
@pytest.mark.parametrize(
    ("before", "later"),
    [
        ({"users": users(user("a"))}, {"users": users(user("a", "other"))}),
        ({"user": "a", "password": "p"}, {"password": "other"}),
        ({}, {"token": "t"}),
    ],
    ids=["password-of-a-user", "password-of-the-single-user", "authentication-switched-on"],
)
def test_whose_login_would_fail_now_is_told_and_closed(before: dict[str, Any], later: dict[str, Any]) -> None:
    server = server_of(**before)
    client = client_of(server, "a") if before else client_of(server)

    server.reload(**later)

    assert client.take() == DENIED
    assert client.close_reason is CloseReason.AUTHENTICATION_FAILURE
    assert server.state.authentication_failures == 1
    server.check()


@pytest.mark.spec("operations 9.3")
def test_a_changed_token_closes_who_said_the_old_one() -> None:
    server = server_of(token="old")
    client = client_of(server, auth_token="old")

    server.reload(token="new")

    assert client.take() == DENIED
    assert alive(client_of(server, auth_token="new"))


def test_who_was_to_log_in_goes_on_when_nobody_has_to() -> None:
    server = server_of(token="t")
    client = server.connect()

    server.reload(token="")

    client.send(b"SUB foo 1\r\nPING\r\n")
    assert client.take() == b"+OK\r\nPONG\r\n"
    server.check()


def test_who_was_to_log_in_does_so_by_the_rules_of_now() -> None:
    server = server_of(token="old")
    client = server.connect()

    server.reload(token="new")

    client.send(b'CONNECT {"verbose":false,"auth_token":"old"}\r\n')
    assert client.take() == DENIED


def test_a_client_is_judged_before_anything_that_it_sent_is_read() -> None:
    """The walk has come to one connection; those behind it are judged by what they send."""
    bare = BareServer(turn_output_max=2, user="a", password="p")
    for cid in range(5, 9):
        bare.open(cid)
        bare.receive(cid, b'CONNECT {"verbose":false,"user":"a","pass":"p"}\r\nSUB foo 1\r\n')
    bare.rest()
    for cid in range(5, 9):
        bare.written(cid)

    bare.server.handle(OptionsReloaded(at=bare.at, options=Options(turn_output_max=2, token="t")))
    is_walking = not bare.server.is_quiet
    effects = bare.receive(8, b"PUB foo 5\r\nhello\r\n")

    assert is_walking
    assert [effect.cid for effect in of_type(effects, Close)] == [8]
    bare.rest()
    assert [bare.written(cid) for cid in range(5, 9)] == [b""] * 4
    assert bare.server.state.open_connections == 0


def test_many_connections_are_judged_in_slices() -> None:
    server = server_of(users=users(user("a"), user("b")), turn_output_max=1 << 20)
    clients = [client_of(server, "ab"[number % 2]) for number in range(200)]
    before = server.events

    server.reload(users=users(user("b")))

    assert [client.is_open for client in clients] == [False, True] * 100
    assert server.events > before + 100 + 5  # one for each that was closed, and several turns
    server.check()


# -- changed hashes --------------------------------------------------------------------------------


class Comparisons:
    """How many comparisons a server asked for, and how many of them at once."""

    def __init__(self, server: SimulatedServer) -> None:
        self.count = 0
        self.at_once = 0
        server.on_event = self._count

    def _count(self, event: Event, effects: list[Effect]) -> None:
        asked = sum(isinstance(effect, VerifyPassword) for effect in effects)
        self.count += asked
        self.at_once = max(self.at_once, asked)


def test_a_hash_that_has_not_changed_is_not_computed_again() -> None:
    hashed = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
    server = server_of(users=users(user("h", hashed)))
    client = client_of(server, "h", "pw")
    comparisons = Comparisons(server)

    server.reload(users=users(user("h", hashed), user("another", hashed)))

    assert comparisons.count == 0
    assert alive(client)


def test_a_changed_hash_is_compared_a_few_at_a_time_and_those_who_know_the_password_stay() -> None:
    first, second, third = (bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode() for _ in range(3))
    other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()
    server = server_of(users=users(user("h", first), user("g", second)))
    know = [client_of(server, "h", "pw") for _ in range(20)]
    lost = [client_of(server, "g", "pw") for _ in range(20)]
    comparisons = Comparisons(server)

    server.reload(users=users(user("h", third), user("g", other)))

    assert (comparisons.count, comparisons.at_once) == (40, 4)
    assert all(map(alive, know))
    assert {client.take() for client in lost} == {DENIED}
    server.check()


def test_a_login_that_waits_for_its_hash_is_judged_by_the_rules_of_now() -> None:
    hashed = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
    server = server_of(users=users(user("h", hashed), user("a")))
    client = server.connect()
    reloaded: list[bool] = []

    def reload_meanwhile(event: Event, effects: list[Effect]) -> None:
        if not reloaded and any(isinstance(effect, VerifyPassword) for effect in effects):
            reloaded.append(True)
            server.reload(users=users(user("h", "plain"), user("a")))

    server.on_event = reload_meanwhile
    client.send(b'CONNECT {"verbose":false,"user":"h","pass":"pw"}\r\nPING\r\n')

    assert client.take() == DENIED
    server.check()


# -- permissions -----------------------------------------------------------------------------------


ANYTHING: Final = Rules()


def may(
    *, publish: Rules = ANYTHING, allow: tuple[bytes, ...] | None = None, deny: tuple[bytes, ...] = ()
) -> Permissions:
    entries = None if allow is None else tuple((one, None) for one in allow)
    return Permissions(publish, SubscribeRules(entries, tuple((one, None) for one in deny)))


@pytest.mark.spec("operations 9.3")
def test_subscriptions_no_longer_allowed_are_removed_with_their_texts_and_the_client_stays() -> None:
    server = server_of(users=users(user("a"), user("b")))
    client, publisher = client_of(server, "a"), client_of(server, "b")
    client.send(b"SUB foo 1\r\nSUB bar 2\r\nSUB bar q 3\r\n")

    server.reload(users=users(user("a", permissions=may(deny=(b"bar",))), user("b")))

    assert client.lines() == [
        b'-ERR \'Permissions Violation for Subscription to "bar" (sid "2")\'',
        b'-ERR \'Permissions Violation for Subscription to "bar" using queue "q" (sid "3")\'',
    ]
    publisher.send(b"PUB foo 1\r\na\r\nPUB bar 1\r\nb\r\n")
    assert client.take() == b"MSG foo 1 1\r\na\r\n"
    assert alive(client)
    assert [(fields["subject"], fields["sid"]) for fields in noted(server, "subscription_removed")] == [
        (b"bar", b"2"),
        (b"bar", b"3"),
    ]
    server.check()


@pytest.mark.spec("operations 9.3")
def test_survivors_publish_by_the_new_permissions() -> None:
    server = server_of(users=users(user("a"), user("b")))
    client, receiver = client_of(server, "a"), client_of(server, "b")
    receiver.send(b"SUB > 1\r\n")
    client.send(b"PUB foo 1\r\na\r\n")
    receiver.take()

    server.reload(users=users(user("a", permissions=may(publish=Rules(deny=(b"foo",)))), user("b")))
    client.send(b"PUB foo 1\r\na\r\nPUB bar 1\r\nb\r\n")

    assert receiver.take() == b"MSG bar 1 1\r\nb\r\n"
    assert client.take() == b"-ERR 'Permissions Violation for Publish to \"foo\"'\r\n"


def test_a_denial_inside_a_wildcard_filters_a_subscription_that_is_there_and_its_counts_go_on() -> None:
    server = server_of(users=users(user("a"), user("b")))
    client, publisher = client_of(server, "a"), client_of(server, "b")
    client.send(b"SUB foo.* 1\r\nUNSUB 1 3\r\n")
    publisher.send(b"PUB foo.a 1\r\n1\r\n")

    server.reload(users=users(user("a", permissions=may(deny=(b"foo.b",))), user("b")))
    publisher.send(b"PUB foo.b 1\r\n2\r\nPUB foo.a 1\r\n3\r\n")
    server.reload(users=users(user("a"), user("b")))
    publisher.send(b"PUB foo.b 1\r\n4\r\nPUB foo.a 1\r\n5\r\n")

    assert client.take() == b"MSG foo.a 1 1\r\n1\r\nMSG foo.a 1 1\r\n3\r\nMSG foo.b 1 1\r\n4\r\n"
    server.check()


def test_what_may_be_subscribed_to_again_is_not_brought_back() -> None:
    server = server_of(users=users(user("a", permissions=may(deny=(b"foo",)))))
    client = client_of(server, "a")
    client.send(b"SUB foo 1\r\n")
    client.take()

    server.reload(users=users(user("a")))

    client.send(b"SUB foo 1\r\nPUB foo 1\r\na\r\n")
    assert client.take() == b"MSG foo 1 1\r\na\r\n"


def test_very_many_subscriptions_are_taken_in_slices_and_other_clients_are_served_meanwhile() -> None:
    server = server_of(users=users(user("a"), user("b")), turn_output_max=1 << 22)
    client, other = client_of(server, "a"), client_of(server, "b")
    client.send(b"".join(b"SUB foo.%d %d\r\n" % (number, number) for number in range(5_000)))
    other.send(b"SUB foo.0 1\r\n")

    server.reload(users=users(user("a", permissions=may(allow=(b"bar",))), user("b")))

    assert len(client.lines()) == 5_000
    assert server.state.accounts["$G"].subscriptions == 1
    assert alive(client)
    assert alive(other)
    server.check()


# -- accounts --------------------------------------------------------------------------------------


def accounts(*found: AccountSettings) -> AccountsSettings:
    return AccountsSettings(accounts=found)


def importing(name: str, *sources: tuple[str, bytes]) -> AccountSettings:
    streams = tuple(StreamImport(account=exporter, subject=subject) for exporter, subject in sources)
    return AccountSettings(name=name, imports=streams)


def exporting(name: str, *subjects: bytes) -> AccountSettings:
    return AccountSettings(name=name, exports=tuple(StreamExport(subject=one) for one in subjects))


THREE: Final = users(user("a", account="A"), user("b", account="B"), user("c", account="C"))


@pytest.mark.spec("operations 9.2", "operations 9.3")
def test_a_stream_is_imported_by_a_reload_and_no_more_by_the_next() -> None:
    without = accounts(exporting("A", b"foo"), importing("B"), importing("C"))
    server = server_of(users=THREE, accounts=without)
    exporter, importer = client_of(server, "a"), client_of(server, "b")
    importer.send(b"SUB foo 1\r\nSUB foo.bar 2\r\n")
    publish = b"PUB foo 1\r\nx\r\n"

    exporter.send(publish)
    before = importer.take()
    server.reload(accounts=accounts(exporting("A", b"foo"), importing("B", ("A", b"foo")), importing("C")))
    exporter.send(publish)
    during = importer.take()
    server.check()
    server.reload(accounts=without)
    exporter.send(publish)

    assert (before, during, importer.take()) == (b"", b"MSG foo 1 1\r\nx\r\n", b"")
    assert [account.subscriptions for account in server.state.accounts.values()] == [0, 0, 2, 0, 0]
    server.check()


def test_a_stream_moves_from_one_account_to_another_and_its_subscriber_changes_nothing() -> None:
    server = server_of(
        users=THREE,
        accounts=accounts(exporting("A", b"foo"), importing("B", ("A", b"foo")), exporting("C", b"foo")),
    )
    old, subscriber, new = (client_of(server, name) for name in "abc")
    subscriber.send(b"SUB foo 1\r\nUNSUB 1 3\r\n")
    old.send(b"PUB foo 1\r\n1\r\n")

    server.reload(
        accounts=accounts(exporting("A", b"foo"), importing("B", ("C", b"foo")), exporting("C", b"foo"))
    )
    old.send(b"PUB foo 1\r\n2\r\n")
    new.send(b"PUB foo 1\r\n3\r\nPUB foo 1\r\n4\r\nPUB foo 1\r\n5\r\n")

    assert subscriber.take() == b"".join(b"MSG foo 1 1\r\n%d\r\n" % number for number in (1, 3, 4))
    server.check()


def test_a_new_denial_holds_for_what_comes_through_an_import() -> None:
    declared = accounts(exporting("A", b"foo.>"), importing("B", ("A", b"foo.>")))
    server = server_of(users=THREE, accounts=declared)
    exporter, importer = client_of(server, "a"), client_of(server, "b")
    importer.send(b"SUB foo.* 1\r\n")

    denied = user("b", account="B", permissions=may(deny=(b"foo.secret",)))
    server.reload(users=users(user("a", account="A"), denied))
    exporter.send(b"PUB foo.secret 1\r\nx\r\nPUB foo.open 1\r\ny\r\n")

    assert importer.take() == b"MSG foo.open 1 1\r\ny\r\n"


def _service(exporter: str, declared: dict[str, bytes]) -> AccountsSettings:
    """Accounts that export services, and `C`, which imports the one of `exporter` under a name of its own."""
    wanted = ServiceImport(account=exporter, subject=declared[exporter], to=b"help")
    return accounts(
        *(
            AccountSettings(name=name, exports=(ServiceExport(subject=subject),))
            for name, subject in declared.items()
        ),
        AccountSettings(name="C", imports=(wanted,)),
    )


@pytest.mark.spec("operations 9.3")
def test_a_service_moves_to_another_account_while_requesters_keep_asking() -> None:
    """Nobody changes anything but the file; each request is answered once, by whoever has it then."""
    exports = {"A": b"a.help", "B": b"b.help"}
    server = server_of(users=THREE, accounts=_service("A", exports))
    responders = {name: client_of(server, name.lower()) for name in exports}
    for name, responder in responders.items():
        responder.send(b"SUB %s 1\r\n" % exports[name])
    requesters = [client_of(server, "c") for _ in range(20)]
    for number, requester in enumerate(requesters):
        requester.send(b"SUB inbox.%d.* 1\r\n" % number)
    waiting: list[tuple[ScriptedClient, bytes, bytes]] = []  # requests that have no answer yet

    def ask(round_: int) -> None:
        for number, requester in enumerate(requesters):
            requester.send(b"PUB help inbox.%d.%d 1\r\n?\r\n" % (number, round_))
        for name, responder in responders.items():
            replies = re.findall(rb"MSG \S+ 1 (_R_\S+) 1\r\n", responder.take())
            waiting.extend((responder, reply, name.encode()) for reply in replies)

    def answer(count: int) -> None:
        for responder, reply, name in waiting[:count]:
            responder.send(b"PUB %s 1\r\n%s\r\n" % (reply, name))
        del waiting[:count]

    ask(0)
    answer(10)  # half of the round is in flight when the service moves
    server.reload(accounts=_service("B", exports))
    ask(1)
    answer(20)
    server.reload(accounts=_service("A", exports))
    ask(2)
    answer(len(waiting))

    for number, requester in enumerate(requesters):
        got = re.findall(rb"MSG (\S+) 1 1\r\n(.)\r\n", requester.take())
        assert sorted(got) == [(b"inbox.%d.%d" % (number, r), b"ABA"[r : r + 1]) for r in range(3)]
        assert requester.is_open
    assert all(responder.is_open for responder in responders.values())
    server.check()


def test_a_service_that_is_taken_away_has_no_responders() -> None:
    server = server_of(users=THREE, accounts=_service("A", {"A": b"help"}))
    client_of(server, "a").send(b"SUB help 1\r\n")
    requester = client_of(server, "c", headers=True, no_responders=True)
    requester.send(b"SUB inbox 1\r\n")

    server.reload(accounts=accounts(exporting("A"), importing("B"), importing("C")))
    requester.send(b"PUB help inbox 1\r\n?\r\n")

    assert b"NATS/1.0 503" in requester.take()
    server.check()


def test_accounts_with_services_that_are_gone_leave_nothing() -> None:
    server = server_of(users=THREE, accounts=_service("A", {"A": b"help"}))
    clients = [client_of(server, name) for name in "ac"]
    clients[1].send(b"PUB help inbox 1\r\n?\r\n")
    before = len(server_of().state.services)

    server.reload(users=users(user("z")), accounts=accounts())

    assert list(server.state.accounts) == ["$G", "$SYS"]
    assert len(server.state.services) == before
    server.check()


def test_an_account_that_is_gone_is_forgotten_with_its_last_client() -> None:
    server = server_of(users=THREE, accounts=accounts(importing("A"), importing("B"), importing("C")))
    gone, stays = client_of(server, "b"), client_of(server, "c")
    gone.send(b"SUB foo 1\r\n")

    server.reload(users=users(user("c", account="C")), accounts=accounts(importing("C"), importing("D")))

    assert gone.close_reason is CloseReason.CLIENT_CLOSED
    assert alive(stays)
    assert list(server.state.accounts) == ["$G", "C", "$SYS", "D"]
    server.check()


def test_accounts_that_cannot_be_are_refused_whole() -> None:
    server = server_of()

    unknown = r'accounts\.B\.imports\.0: "A" account not defined for stream import'
    with pytest.raises(UsageError, match=unknown):
        server.reload(accounts=accounts(importing("B", ("A", b"foo"))))

    assert list(server.state.accounts) == ["$G", "$SYS"]


# -- INFO, TLS, trace ------------------------------------------------------------------------------


@pytest.mark.spec("operations 9.2")
def test_the_next_info_says_what_is_now_and_none_is_sent_to_those_who_are_there() -> None:
    server = server_of()
    client = client_of(server)
    tls = TlsOptions(verify=True)

    server.reload(tls=tls, client_advertise="me:5")
    told = client.take()
    encrypted = json.loads(server.connect().info[5:])
    server.reload(tls=None, client_advertise="", token="t")
    plain = json.loads(server.connect().info[5:])

    assert told == b""
    assert [encrypted[name] for name in ("tls_required", "tls_verify", "host", "port")] == [
        True,
        True,
        "me",
        5,
    ]
    assert [plain[name] for name in ("auth_required", "host", "port")] == [True, "127.0.0.1", 4222]
    assert "tls_required" not in plain


@pytest.mark.spec("operations 9.2")
def test_those_who_are_plain_stay_so_and_new_ones_follow() -> None:
    server = server_of()
    before = client_of(server)

    server.reload(tls=TlsOptions())

    assert alive(before)
    after = server.connect()
    assert after.handshake == b""
    server.reload(tls=None)
    after.finish_tls()
    after.send(b'CONNECT {"verbose":false}\r\n')
    assert alive(after)


def test_who_waits_for_tls_that_is_gone_is_let_in_by_the_rules_of_before() -> None:
    world = World()
    server = server_of(world, tls=TlsOptions(first_ns=SECOND))
    client = server.connect()

    server.reload(tls=None)
    world.advance(2 * SECOND)

    assert client.take().startswith(b"INFO ")
    client.finish_tls()
    client.send(b'CONNECT {"verbose":false}\r\n')
    assert alive(client)


def test_who_shakes_hands_while_logins_begin_to_be_required_has_to_log_in() -> None:
    world = World()
    server = server_of(world, tls=TlsOptions())
    silent, says_nobody = server.connect(), server.connect()

    server.reload(token="t")
    silent.finish_tls()
    says_nobody.finish_tls()
    says_nobody.send(b'CONNECT {"verbose":false}\r\n')
    world.advance(5 * SECOND)

    assert says_nobody.take() == DENIED
    assert silent.close_reason is CloseReason.AUTHENTICATION_TIMEOUT
    server.check()


@pytest.mark.spec("operations 9.2")
def test_trace_begins_and_ends_for_connections_that_are_there() -> None:
    server = server_of()
    client = client_of(server)

    server.reload(trace=True)
    client.send(b"SUB foo 1\r\n")
    server.reload(trace=False)
    client.send(b"SUB foo 2\r\n")

    assert [fields["line"] for fields in noted(server, "trace_in")] == [b"SUB foo 1"]


# -- replays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_journal_with_reloads_replays_to_the_same_bytes(seed: int) -> None:
    world = World(seed, cuts=True)
    hashed = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
    server = server_of(world, users=users(user("a"), user("h", hashed), user("b")), turn_output_max=1 << 18)
    clients = [client_of(server, *login) for login in (("a", "p"), ("h", "pw"), ("b", "p")) * 10]
    for number, client in enumerate(clients):
        client.send(b"SUB foo.%d 1\r\nSUB foo.> q 2\r\nPUB foo.%d 3\r\nabc\r\n" % (number % 7, number % 5))
    server.reload(users=users(user("a", permissions=may(deny=(b"foo.3",))), user("h", hashed), user("b")))
    for client in clients:
        client.send(b"PUB foo.3 2\r\nhi\r\n")
    server.reload(users=users(user("a"), user("h", "pw")), max_connections=15, trace=True)
    for client in clients:
        client.send(b"PUB foo.3 2\r\nhi\r\n")

    replayed = replay(io.BytesIO(server.journal.getvalue()).read, authenticators=authenticator_of)

    assert replayed.events == server.events
    assert replayed.server.state.summary() == server.state.summary()
    assert replayed.server.options == server.server.options
    server.check()


@pytest.mark.spec("operations 9.1")
def test_the_state_knows_when_settings_were_loaded() -> None:
    world = World()
    server = server_of(world)
    world.advance(7 * SECOND)

    server.reload(max_payload=5)

    assert server.state.loaded == world.at

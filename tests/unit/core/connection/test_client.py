"""What a client asks of the control plane: CONNECT, SUB, UNSUB, PING, PONG, INFO."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from natscore.account.permissions import Permissions, Rules, SubscribeRules
from natscore.authentication import Accept, Login, Refuse, Verdict, Wait
from natscore.connection.session import Phase
from natscore.effects import Close, Effect, Level, PauseReading, ResumeReading, VerifyPassword
from natscore.errors import CloseReason
from natscore.events import AttemptId, Certificate, ConnectionId, PasswordVerified
from natscore.options import MILLISECOND, SECOND, TlsOptions
from natscore.testing import ScriptedClient, World
from tests.unit.core.bare import BareServer, of_type
from tests.unit.core.dialogue import HEADERS, QUIET, REQUESTER, VERBOSE, client_of, open_client

DENIED = b"-ERR 'Authorization Violation'\r\n"

# -- INFO ------------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 1:ACCEPTED", "client-protocol 5")
def test_a_client_is_greeted_before_it_says_anything() -> None:
    world = World()
    server = world.server(server_name="s1", host="127.0.0.1", port=4333, max_payload=1000)

    client = server.connect(host="10.1.2.3")

    info = orjson.loads(client.info.removeprefix(b"INFO ").removesuffix(b" \r\n"))
    assert info["server_id"].startswith("N")
    assert len(info["server_id"]) == 56
    assert {key: info[key] for key in ("server_name", "proto", "host", "port", "headers", "max_payload")} == {
        "server_name": "s1", "proto": 1, "host": "127.0.0.1", "port": 4333, "headers": True,
        "max_payload": 1000,
    }  # fmt: skip
    assert (info["client_id"], info["client_ip"]) == (client.cid, "10.1.2.3")
    assert {"auth_required", "tls_required", "nonce", "connect_info", "ldm", "connect_urls"}.isdisjoint(info)
    assert client.take() == b""


@pytest.mark.spec("client-protocol 5")
def test_an_unnamed_server_is_named_by_its_id() -> None:
    info = orjson.loads(open_client().info[5:])

    assert info["server_name"] == info["server_id"]


@pytest.mark.spec("client-protocol 5")
def test_a_server_that_requires_a_login_says_so() -> None:
    client = World().server(token="s3cret").connect()

    assert orjson.loads(client.info[5:])["auth_required"] is True


@pytest.mark.spec("client-protocol 5")
def test_clients_have_different_ids() -> None:
    server = World().server()

    assert server.connect().info != server.connect().info


@pytest.mark.spec("client-protocol 5", "client-protocol 22")
def test_an_advertised_address_stands_in_info() -> None:
    client = World().server(client_advertise="nats.example.com:7422").connect()

    info = orjson.loads(client.info[5:])
    assert (info["host"], info["port"]) == ("nats.example.com", 7422)


class Challenge:
    """An authenticator to which clients sign a nonce; everybody may come in."""

    requires_login = True
    checks_signatures = True
    admits_anonymous = False
    announces_login = True

    def __init__(self) -> None:
        self.seen: list[Login] = []

    def authenticate(self, login: Login) -> Verdict:
        self.seen.append(login)
        return Accept()


@pytest.mark.spec("client-protocol 5")
def test_a_nonce_is_sent_where_a_login_may_sign_it_and_the_authenticator_gets_it() -> None:
    challenge = Challenge()
    client = World().server(authenticator=challenge).connect()

    nonce = orjson.loads(client.info[5:])["nonce"]
    client.send(b"CONNECT {}\r\n")

    assert len(nonce) == 15
    assert set(nonce) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(challenge.seen[0].nonce) == 11


# -- CONNECT ---------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 1:READY", "client-protocol 1")
def test_an_open_server_obeys_before_connect_with_the_default_options() -> None:
    client = World().server().connect()

    client.send(b"SUB foo 1\r\nPUB foo 2\r\nhi\r\nPUB foo..x 0\r\n\r\nPING\r\n")

    assert client.take() == (
        b"+OK\r\n+OK\r\nMSG foo 1 2\r\nhi\r\n-ERR 'Invalid Publish Subject'\r\n+OK\r\nPONG\r\n"
    )


@pytest.mark.spec("client-protocol 1")
def test_an_open_server_never_insists_on_connect() -> None:
    world = World()
    client = world.server(ping_interval_ns=3600 * SECOND).connect()

    world.advance(3000 * SECOND)

    assert client.is_open


@pytest.mark.spec("client-protocol 3", "client-protocol 6")
@pytest.mark.parametrize(
    ("document", "answer"),
    [
        (b"{}", b"+OK\r\n"),
        (b'{"verbose":true}', b"+OK\r\n"),
        (b'{"verbose":false}', b""),
        (b"null", b"+OK\r\n"),
    ],
)
def test_connect_is_acknowledged_to_a_verbose_client(document: bytes, answer: bytes) -> None:
    client = open_client(b"")

    client.send(b"CONNECT " + document + b"\r\n")

    assert client.take() == answer


@pytest.mark.spec(
    "client-protocol 6",
    "client-protocol 12:invalid client protocol",
    "client-protocol 13:Bad Client Protocol Version",
)
@pytest.mark.parametrize("protocol", [b"2", b"-1", b"9223372036854775807"])
def test_an_unknown_protocol_is_refused(protocol: bytes) -> None:
    client = open_client(b"")

    client.send(b'CONNECT {"verbose":true,"protocol":' + protocol + b"}\r\nPING\r\n")

    assert client.take() == b"-ERR 'invalid client protocol'\r\n"
    assert client.close_reason is CloseReason.BAD_PROTOCOL_VERSION


@pytest.mark.spec(
    "client-protocol 6",
    "client-protocol 12:no responders requires headers support",
    "client-protocol 13:No Responders Requires Headers",
)
@pytest.mark.parametrize(
    ("document", "headers"),
    [
        (b'{"no_responders":true}', True),
        (b'{"no_responders":true,"headers":false}', True),
        (b'{"no_responders":true,"headers":true}', False),
    ],
)
def test_no_responders_needs_headers(document: bytes, headers: bool) -> None:
    client = open_client(b"", headers=headers)

    client.send(b"CONNECT " + document + b"\r\nPING\r\n")

    assert client.take() == b"-ERR 'no responders requires headers support'\r\n"
    assert client.close_reason is CloseReason.NO_RESPONDERS_NEEDS_HEADERS


@pytest.mark.spec(
    "client-protocol 6",
    "client-protocol 12:Authorization Violation",
    "client-protocol 13:Authentication Failure",
)
@pytest.mark.parametrize("document", [b'{"account":"A"}', b'{"new_account":true}', b'{"Account":"$SYS"}'])
def test_no_field_of_connect_chooses_an_account(document: bytes) -> None:
    client = open_client(b"")

    client.send(b"CONNECT " + document + b"\r\nPING\r\n")

    assert client.take() == DENIED
    assert client.close_reason is CloseReason.AUTHENTICATION_FAILURE
    assert list(client.server.state.accounts) == ["$G", "$SYS"]


@pytest.mark.spec("client-protocol 6", "client-protocol 16.1")
def test_an_open_server_ignores_credentials() -> None:
    client = open_client(b"")

    client.send(
        b'CONNECT {"verbose":false,"user":"u","pass":"p","auth_token":"t","nkey":"k","jwt":"j","sig":"s"}\r\n'
        b"PING\r\n"
    )

    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 1")
def test_options_of_a_repeated_connect_are_laid_over_the_former() -> None:
    client = open_client(b'CONNECT {"verbose":false,"pedantic":false,"echo":false,"headers":true}\r\n')

    client.send(b"CONNECT {}\r\nSUB foo 1\r\nPUB foo 0\r\n\r\nHPUB bar 0 0\r\n\r\nPING\r\n")
    assert client.take() == b"PONG\r\n"
    client.send(b'CONNECT {"verbose":true}\r\nSUB foo 1\r\n')

    assert client.take() == b"+OK\r\n+OK\r\n"


@pytest.mark.spec("client-protocol 1", "client-protocol 23")
def test_a_repeated_connect_clears_the_subscriptions() -> None:
    client = open_client()

    client.send(b"SUB foo 1\r\nSUB bar 2\r\nCONNECT {}\r\nPUB foo 0\r\n\r\nSUB foo 1\r\nPUB foo 0\r\n\r\n")

    assert client.take() == b"MSG foo 1 0\r\n\r\n"
    client.server.check()


@pytest.mark.spec("client-protocol 1:READY", "client-protocol 1")
def test_what_was_subscribed_before_the_first_connect_stands() -> None:
    client = World().server().connect()

    client.send(b"SUB foo 1\r\n" + QUIET + b"PUB foo 0\r\n\r\n")

    assert client.take() == b"+OK\r\nMSG foo 1 0\r\n\r\n"


class OpenHouse:
    """Everybody is welcome, without a login, and belongs to account A."""

    requires_login = False
    checks_signatures = False
    admits_anonymous = False
    announces_login = False

    def authenticate(self, login: Login) -> Verdict:
        return Accept("A")


def test_who_is_moved_to_another_account_leaves_its_subscriptions_behind() -> None:
    server = World().server(authenticator=OpenHouse())
    client = server.connect()

    client.send(b"SUB foo 1\r\n" + QUIET + b"PUB foo 0\r\n\r\nSUB foo 1\r\nPUB foo 0\r\n\r\nUNSUB 1\r\n")

    assert client.take() == b"+OK\r\nMSG foo 1 0\r\n\r\n"
    assert client.is_open
    assert [account.subscriptions for account in server.state.accounts.values()] == [0, 0, 0]
    server.check()


@pytest.mark.spec("client-protocol 1")
def test_many_subscriptions_are_cleared_before_anything_behind_the_connect_is_done() -> None:
    client = open_client()
    client.send(b"".join(b"SUB foo.%d %d\r\n" % (n, n) for n in range(5_000)))

    client.send(b"CONNECT {}\r\nPUB foo.4999 0\r\n\r\nSUB foo.1 1\r\nPUB foo.1 0\r\n\r\nPING\r\n")

    assert client.take() == b"MSG foo.1 1 0\r\n\r\nPONG\r\n"
    client.server.check()


@pytest.mark.spec("client-protocol 1")
def test_a_repeated_connect_logs_in_again() -> None:
    client = open_client(b'CONNECT {"verbose":false,"auth_token":"s3cret"}\r\n', token="s3cret")

    client.send(b"CONNECT {}\r\nPING\r\n")
    assert client.take() == b"PONG\r\n"
    client.send(b'CONNECT {"auth_token":"wrong"}\r\nPING\r\n')

    assert client.take() == DENIED
    assert client.close_reason is CloseReason.AUTHENTICATION_FAILURE


# -- logins ----------------------------------------------------------------------------------------


@pytest.mark.spec(
    "client-protocol 1:AWAIT_CONNECT", "client-protocol 16", "client-protocol 16.1", "client-protocol 3"
)
def test_a_login_is_acknowledged_when_it_is_accepted() -> None:
    client = open_client(b"", user="u", password="p")

    client.send(b'CONNECT {"verbose":true,"pedantic":false,"user":"u","pass":"p"}\r\nPING\r\n')

    assert client.take() == b"+OK\r\nPONG\r\n"


@pytest.mark.spec(
    "client-protocol 1:AWAIT_CONNECT", "client-protocol 16.1", "client-protocol 12:Authorization Violation"
)
@pytest.mark.parametrize(
    "data",
    [
        b"PING\r\n", b"SUB > 1\r\n", b"PUB foo 0\r\n\r\n", b"P", b"\r\n", b"X", b"\xff", b"PONG\r\n",
        b"INFO {}\r\n",
        b'CONNECT {"verbose":false}\r\nPING\r\n',
        b'CONNECT {"auth_token":"s3cre"}\r\nPING\r\n',
        b'CONNECT {"user":"s3cret","pass":"s3cret"}\r\n',
        b'CONNECT {"auth_token":"s3cret","account":"A"}\r\n',
    ],
)  # fmt: skip
def test_who_does_not_log_in_is_told_and_closed(data: bytes) -> None:
    client = open_client(b"", token="s3cret")

    client.send(data)

    assert client.take() == DENIED
    assert client.close_reason is CloseReason.AUTHENTICATION_FAILURE
    assert client.server.state.authentication_failures == 1


def test_a_failed_login_is_noted_without_a_secret() -> None:
    client = open_client(b"", token="s3cret")

    client.send(b'CONNECT {"user":"mallory","pass":"planted","auth_token":"planted"}\r\n')

    (note,) = [note for note in client.server.notes if note.name == "authentication_failed"]
    assert note.level is Level.ERROR
    assert note.fields["user"] == "mallory"
    assert "planted" not in repr(client.server.notes)


@pytest.mark.spec(
    "client-protocol 1:AWAIT_CONNECT",
    "client-protocol 11:authorization.timeout",
    "client-protocol 12:Authentication Timeout",
    "client-protocol 13:Authentication Timeout",
)
@pytest.mark.parametrize(
    "dribble", [b"", b"CONNECT {", b'CONNECT {"auth_token":"s3cret"', b"C", b"CONNECT" + b" " * 100]
)
def test_a_login_must_come_in_time_however_a_client_dribbles(dribble: bytes) -> None:
    world = World()
    client = world.server(token="s3cret", auth_timeout_ns=500 * MILLISECOND).connect()
    client.take()

    for byte in dribble:
        world.advance(490 * MILLISECOND // len(dribble))
        client.send(bytes([byte]))
        assert client.is_open
    world.advance(500 * MILLISECOND)

    assert client.take() == b"-ERR 'Authentication Timeout'\r\n"
    assert client.close_reason is CloseReason.AUTHENTICATION_TIMEOUT


@pytest.mark.spec("client-protocol 1:AWAIT_CONNECT", "client-protocol 6")
def test_who_has_logged_in_is_not_timed_out() -> None:
    world = World()
    client = client_of(world.server(token="t"), b'CONNECT {"verbose":false,"auth_token":"t"}\r\n')

    world.advance(2 * SECOND)

    assert client.is_open


class Hashes:
    """An authenticator of one user, whose password is kept as a hash."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def authenticate(self, login: Login) -> Verdict:
        if login.said.user != "u":
            return Refuse()
        return Wait(login.said.password.encode(), b"hash:pw", Accept("A"))


def verifying() -> tuple[BareServer, AttemptId]:
    """A server that waits for the password of its only client to be verified."""
    bare = BareServer(Hashes())
    bare.open(5)
    bare.written(5)
    (asked,) = of_type(bare.receive(5, b'CONNECT {"user":"u","pass":"pw"}\r\nPING\r\n'), VerifyPassword)
    assert (asked.password, asked.hashed) == (b"pw", b"hash:pw")
    return bare, asked.attempt


def answer(bare: BareServer, attempt: int, *, matches: bool, cid: int = 5) -> list[Effect]:
    return bare.server.handle(
        PasswordVerified(at=bare.at, attempt=AttemptId(attempt), cid=ConnectionId(cid), matches=matches)
    )


@pytest.mark.spec("client-protocol 16.1", "client-protocol 16.2")
@pytest.mark.parametrize(("password", "accepted"), [(b"pw", True), (b"wrong", False), (b"hash:pw", False)])
def test_a_password_is_verified_outside_before_a_client_comes_in(password: bytes, accepted: bool) -> None:
    client = World().server(authenticator=Hashes()).connect()

    client.send(b'CONNECT {"verbose":false,"user":"u","pass":"' + password + b'"}\r\nPING\r\n')

    assert client.take() == (b"PONG\r\n" if accepted else DENIED)
    assert client.is_open is accepted
    assert client.server.state.authentication_failures == (not accepted)


def test_a_login_that_waits_binds_to_the_account_it_was_for() -> None:
    client = client_of(World().server(authenticator=Hashes()), b'CONNECT {"user":"u","pass":"pw"}\r\n')

    assert client.server.state.connections[client.cid].account.name == "A"


def test_nothing_is_read_while_a_password_is_verified() -> None:
    bare, attempt = verifying()
    session = bare.server.session(ConnectionId(5))
    assert session is not None

    assert session.phase is Phase.VERIFYING
    assert session.paused
    assert bare.receive(5, b"PING\r\nSUB foo 1\r\n") == []
    assert bare.written(5) == b""
    resumed = answer(bare, attempt, matches=True)

    assert bare.written(5) == b"+OK\r\nPONG\r\nPONG\r\n+OK\r\n"
    assert of_type(resumed, ResumeReading) == [ResumeReading(ConnectionId(5))]


def test_reading_is_paused_while_a_password_is_verified() -> None:
    bare = BareServer(Hashes())
    bare.open(5)

    effects = bare.receive(5, b'CONNECT {"user":"u","pass":"pw"}\r\n')

    assert of_type(effects, PauseReading) == [PauseReading(ConnectionId(5))]


def test_a_wrong_password_is_answered_after_the_verification() -> None:
    bare, attempt = verifying()

    (close,) = of_type(answer(bare, attempt, matches=False), Close)

    assert bare.written(5) == DENIED
    assert close == Close(ConnectionId(5), CloseReason.AUTHENTICATION_FAILURE, flush=True)


def test_the_login_deadline_runs_while_a_password_is_verified() -> None:
    bare, attempt = verifying()

    (close,) = of_type(bare.advance(2 * SECOND), Close)

    assert close.reason is CloseReason.AUTHENTICATION_TIMEOUT
    assert bare.written(5) == b"-ERR 'Authentication Timeout'\r\n"
    assert answer(bare, attempt, matches=True) == []


def test_an_answer_for_a_connection_that_is_gone_is_dropped() -> None:
    bare, attempt = verifying()
    bare.close(5)

    assert answer(bare, attempt, matches=True) == []
    assert ConnectionId(5) not in bare.server.state.connections


@pytest.mark.parametrize("cid", [5, 6])
def test_an_answer_to_another_question_is_dropped(cid: int) -> None:
    bare, attempt = verifying()
    bare.open(6)

    assert answer(bare, attempt + 1, matches=True, cid=cid) == []
    assert answer(bare, attempt, matches=True, cid=6) == []
    session = bare.server.session(ConnectionId(5))
    assert session is not None
    assert session.phase is Phase.VERIFYING


def test_an_answer_counts_once() -> None:
    bare, attempt = verifying()
    answer(bare, attempt, matches=True)
    bare.written(5)

    assert answer(bare, attempt, matches=False) == []
    assert bare.written(5) == b""


def test_a_repeated_connect_may_wait_again_and_fail() -> None:
    bare, attempt = verifying()
    answer(bare, attempt, matches=True)
    bare.written(5)

    (asked,) = of_type(bare.receive(5, b'CONNECT {"pass":"other"}\r\nPING\r\n'), VerifyPassword)
    answer(bare, asked.attempt, matches=False)

    assert asked.attempt != attempt
    assert bare.written(5) == DENIED


class Decoy:
    """An authenticator that has a password compared although nobody has the name."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def authenticate(self, login: Login) -> Verdict:
        return Wait(b"pw", b"hash:pw", Refuse())


def test_a_comparison_that_only_takes_its_time_lets_nobody_in() -> None:
    client = World().server(authenticator=Decoy()).connect()

    client.send(b'CONNECT {"verbose":false,"user":"nobody","pass":"pw"}\r\nPING\r\n')

    assert client.take() == DENIED
    assert client.close_reason is CloseReason.AUTHENTICATION_FAILURE
    assert client.server.state.authentication_failures == 1


# -- certificates -------------------------------------------------------------------------------------


CERTIFICATE: Final = Certificate(
    subject=((("CN", "bob"),),), emails=(), dns_names=(), uris=(), key_sha256="0" * 64, sha256="1" * 64
)


class Certified:
    """An authenticator that takes the name of a client from its certificate."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def authenticate(self, login: Login) -> Verdict:
        return Refuse() if login.certificate is None else Accept(user=login.certificate.subject[0][0][1])


@pytest.mark.spec("client-protocol 17.3")
@pytest.mark.parametrize("peer", [CERTIFICATE, None])
def test_an_authenticator_sees_the_certificate_and_the_log_its_user(peer: Certificate | None) -> None:
    client = World().server(authenticator=Certified(), tls=TlsOptions(verify=True)).connect()
    client.finish_tls(peer)

    client.send(b'CONNECT {"verbose":false,"user":"alice"}\r\nPING\r\n')

    if peer is None:
        assert client.take() == DENIED
    else:
        assert client.take().startswith(b"PONG\r\n")
        assert client.server.state.connections[client.cid].login == "$G/user:bob"


# -- clients that name nobody ----------------------------------------------------------------------


class Anonymous:
    """An authenticator that binds clients which name nobody to account A, unless `refuses`."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = True
    announces_login = False

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses

    def authenticate(self, login: Login) -> Verdict:
        return Refuse() if login.said.user or self.refuses else Accept("A")


@pytest.mark.spec("client-protocol 5")
def test_info_asks_for_no_login_where_it_may_be_left_out() -> None:
    client = World().server(authenticator=Anonymous()).connect()

    assert "auth_required" not in orjson.loads(client.info[5:])


@pytest.mark.spec("client-protocol 1.1")
@pytest.mark.parametrize("cuts", [False, True])
def test_a_client_that_begins_without_connect_becomes_the_user_for_those(cuts: bool) -> None:
    world = World(cuts=cuts)
    client = world.server(authenticator=Anonymous(), unauthenticated_per_address_max=1).connect()

    client.send(b"SUB foo 1\r\nPUB foo 2\r\nhi\r\nPING\r\n")
    world.advance(3 * SECOND)

    assert client.take().replace(b"PING\r\n", b"") == b"+OK\r\n+OK\r\nMSG foo 1 2\r\nhi\r\nPONG\r\n"
    assert client.is_open
    assert client.server.state.connections[client.cid].account.name == "A"
    assert client.server.connect().is_open  # it is not counted as one that has yet to log in
    world.check()


@pytest.mark.spec("client-protocol 1.1", "client-protocol 18.2")
def test_a_client_that_begins_without_connect_has_the_permissions_of_that_user() -> None:
    only_a = Permissions(Rules(allow=(b"a",)), SubscribeRules(allow=((b"a", None),)))

    class Restricted(Anonymous):
        def authenticate(self, login: Login) -> Verdict:
            return Accept(permissions=only_a)

    client = World().server(authenticator=Restricted()).connect()

    client.send(b"SUB b 1\r\nPUB b 2\r\nhi\r\nPING\r\n")

    assert client.take().splitlines() == [
        b"-ERR 'Permissions Violation for Subscription to \"b\"'",
        b"-ERR 'Permissions Violation for Publish to \"b\"'",
        b"PONG",
    ]


@pytest.mark.spec("client-protocol 1.1")
def test_a_client_that_began_without_connect_may_still_log_in_and_fail() -> None:
    client = World().server(authenticator=Anonymous()).connect()

    client.send(b'PING\r\nCONNECT {"verbose":false,"user":"x"}\r\nPING\r\n')

    assert client.take() == b"PONG\r\n" + DENIED


@pytest.mark.spec("client-protocol 1.1")
def test_a_client_that_begins_without_connect_is_refused_when_the_authenticator_says_so() -> None:
    client = World().server(authenticator=Anonymous(refuses=True)).connect()

    client.send(b"PING\r\n")

    assert client.take() == DENIED
    assert client.close_reason is CloseReason.AUTHENTICATION_FAILURE
    assert client.server.state.authentication_failures == 1


# -- SUB and UNSUB ---------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 7.2", "client-protocol 12:Invalid Subject", "client-protocol 8.1")
@pytest.mark.parametrize("subject", [b".foo", b"foo.", b"foo..bar", b".", b"foo.>.bar", b">.foo"])
@pytest.mark.parametrize("connect", [QUIET, VERBOSE])
def test_an_invalid_subject_is_refused_and_its_sid_is_free(subject: bytes, connect: bytes) -> None:
    client = open_client(connect)
    ok = b"+OK\r\n" if connect == VERBOSE else b""

    client.send(b"SUB " + subject + b" 1\r\nSUB foo 1\r\nPUB foo 0\r\n\r\n")

    assert client.take() == b"-ERR 'Invalid Subject'\r\n" + ok * 2 + b"MSG foo 1 0\r\n\r\n"


@pytest.mark.spec("client-protocol 7.2", "client-protocol 20")
@pytest.mark.parametrize("subject", [b"$SYS.>", b"_R_.x", b"_GR_.>", b"$JS.ACK.>", b"foo*", b"a.>>"])
def test_any_valid_subject_may_be_subscribed_to(subject: bytes) -> None:
    client = open_client(VERBOSE)

    client.send(b"SUB " + subject + b" 1\r\n")

    assert client.take() == b"+OK\r\n"


@pytest.mark.spec("client-protocol 7.2")
@pytest.mark.parametrize("queue", [b"a..b", b">", b".", b"*"])
def test_a_queue_name_is_no_subject(queue: bytes) -> None:
    client = open_client(VERBOSE)

    client.send(b"SUB foo " + queue + b" 1\r\nPUB foo 0\r\n\r\n")

    assert client.take() == b"+OK\r\n+OK\r\nMSG foo 1 0\r\n\r\n"


@pytest.mark.spec(
    "client-protocol 7.2",
    "client-protocol 8.1",
    "client-protocol 20",
    'client-protocol 12:Permissions Violation for Subscription to "S" using queue "Q"',
)
def test_the_reserved_queue_name_is_refused() -> None:
    client = open_client(VERBOSE)

    client.send(b"SUB foo _sys_ 1\r\nSUB foo 1\r\nSUB foo..bar _sys_ 2\r\n")

    assert client.take() == (
        b'-ERR \'Permissions Violation for Subscription to "foo" using queue "_sys_"\'\r\n+OK\r\n'
        b'-ERR \'Permissions Violation for Subscription to "foo..bar" using queue "_sys_"\'\r\n'
    )


@pytest.mark.spec(
    "client-protocol 7.1",
    "client-protocol 8.1",
    "client-protocol 11:max_sub_tokens",
    'client-protocol 12:Permissions Violation for Subscription to "S", too many tokens',
)
def test_a_subscription_with_too_many_tokens_is_refused_and_a_publish_is_not() -> None:
    client = open_client(VERBOSE, max_subject_tokens=3)

    client.send(b"SUB a.b.c 1\r\nSUB a.b.c.d 2\r\nSUB ...... 3\r\nSUB > 4\r\nPUB a.b.c.d 0\r\n\r\n")

    assert client.take() == (
        b"+OK\r\n-ERR 'Permissions Violation for Subscription to \"a.b.c.d\", too many tokens'\r\n"
        b"-ERR 'Permissions Violation for Subscription to \"......\", too many tokens'\r\n"
        b"+OK\r\n+OK\r\nMSG a.b.c.d 4 0\r\n\r\n"
    )


@pytest.mark.spec(
    "client-protocol 8.1",
    "client-protocol 11:max_subscriptions",
    "client-protocol 12:maximum subscriptions exceeded",
)
def test_a_subscription_over_the_limit_is_refused_and_the_connection_stays() -> None:
    client = open_client(max_subscriptions=2)

    client.send(b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nUNSUB 1\r\nSUB c 3\r\nPUB c 0\r\n\r\n")

    assert client.take() == b"-ERR 'maximum subscriptions exceeded'\r\nMSG c 3 0\r\n\r\n"
    assert client.is_open


@pytest.mark.spec("client-protocol 8.1")
@pytest.mark.parametrize("sid", [b"1", b"9"])
def test_at_the_limit_a_known_sid_and_an_invalid_subject_are_refused_for_the_limit(sid: bytes) -> None:
    client = open_client(VERBOSE, max_subscriptions=1)

    client.send(b"SUB a 1\r\nSUB a " + sid + b"\r\nSUB a..b " + sid + b"\r\n")

    assert client.take() == b"+OK\r\n" + b"-ERR 'maximum subscriptions exceeded'\r\n" * 2


@pytest.mark.spec("client-protocol 8.1")
def test_below_the_limit_a_known_sid_is_acknowledged() -> None:
    client = open_client(VERBOSE, max_subscriptions=2)

    client.send(b"SUB a 1\r\nSUB b 1\r\nPUB a 0\r\n\r\nPUB b 0\r\n\r\n")

    assert client.take() == b"+OK\r\n+OK\r\n+OK\r\nMSG a 1 0\r\n\r\n+OK\r\n"


@pytest.mark.spec("client-protocol 8.1")
def test_the_limit_counts_what_the_same_row_of_lines_adds_and_removes() -> None:
    client = open_client(VERBOSE, max_subscriptions=2)

    client.send(b"SUB a 1\r\nSUB b 2\r\nUNSUB 1\r\nSUB c 3\r\nSUB d 4\r\n")

    assert client.take() == b"+OK\r\n" * 4 + b"-ERR 'maximum subscriptions exceeded'\r\n"


@pytest.mark.spec("client-protocol 8.1", "client-protocol 8.3")
def test_a_known_sid_keeps_its_counters_and_its_maximum() -> None:
    client = open_client()

    client.send(
        b"SUB foo 1\r\nUNSUB 1 2\r\nPUB foo 0\r\n\r\nSUB foo 1\r\nPUB foo 0\r\n\r\nPUB foo 0\r\n\r\nPING\r\n"
    )

    assert client.take() == b"MSG foo 1 0\r\n\r\n" * 2 + b"PONG\r\n"


@pytest.mark.spec("client-protocol 8.2")
def test_the_same_row_may_subscribe_and_unsubscribe_one_sid_again_and_again() -> None:
    client = open_client()

    client.send(
        b"SUB a 1\r\nUNSUB 1\r\nSUB b 1\r\nUNSUB 1\r\nSUB c 1\r\n"
        b"PUB a 0\r\n\r\nPUB b 0\r\n\r\nPUB c 0\r\n\r\n"
    )

    assert client.take() == b"MSG c 1 0\r\n\r\n"
    client.server.check()


@pytest.mark.spec("client-protocol 8.3")
def test_unsub_removes_at_once() -> None:
    client = open_client()

    client.send(b"SUB foo 1\r\nPUB foo 1\r\na\r\nUNSUB 1\r\nPUB foo 1\r\nb\r\nPING\r\n")

    assert client.take() == b"MSG foo 1 1\r\na\r\nPONG\r\n"


@pytest.mark.spec("client-protocol 8.3")
@pytest.mark.parametrize("before", [0, 1, 2])
def test_unsub_with_a_maximum_counts_from_the_sub(before: int) -> None:
    client = open_client()

    client.send(
        b"SUB foo 1\r\n" + b"PUB foo 0\r\n\r\n" * before + b"UNSUB 1 3\r\n" + b"PUB foo 0\r\n\r\n" * 5
    )

    assert client.take() == b"MSG foo 1 0\r\n\r\n" * 3


@pytest.mark.spec("client-protocol 8.3")
@pytest.mark.parametrize(
    "most", [b"0", b"1", b"2", b"xyz", b"-5", b"+5", b"1_0", b"5.0", b"0000000005", b"9999999999"]
)
def test_a_maximum_that_is_reached_or_no_number_removes_at_once(most: bytes) -> None:
    client = open_client()

    client.send(b"SUB foo 1\r\n" + b"PUB foo 0\r\n\r\n" * 2 + b"UNSUB 1 " + most + b"\r\nPUB foo 0\r\n\r\n")

    assert client.take() == b"MSG foo 1 0\r\n\r\n" * 2


@pytest.mark.spec("client-protocol 8.3")
@pytest.mark.parametrize(
    ("later", "delivered"), [(b"UNSUB 1 5", 5), (b"UNSUB 1 2", 2), (b"UNSUB 1", 0), (b"UNSUB 1 0", 0)]
)
def test_a_later_unsub_replaces_the_maximum(later: bytes, delivered: int) -> None:
    client = open_client()

    client.send(b"SUB foo 1\r\nUNSUB 1 3\r\n" + later + b"\r\n" + b"PUB foo 0\r\n\r\n" * 9)

    assert client.take() == b"MSG foo 1 0\r\n\r\n" * delivered


@pytest.mark.spec("client-protocol 8.3")
def test_a_sid_is_free_once_its_maximum_is_reached() -> None:
    client = open_client()

    client.send(
        b"SUB foo 1\r\nUNSUB 1 1\r\nPUB foo 0\r\n\r\nSUB bar 1\r\n"
        b"PUB bar 0\r\n\r\nPUB bar 0\r\n\r\nPUB foo 0\r\n\r\n"
    )

    assert client.take() == b"MSG foo 1 0\r\n\r\n" + b"MSG bar 1 0\r\n\r\n" * 2
    client.server.check()


@pytest.mark.spec("client-protocol 8.3", "client-protocol 3")
def test_unsub_is_always_acknowledged_to_a_verbose_client() -> None:
    client = open_client(VERBOSE)

    client.send(b"SUB foo 1\r\nUNSUB 1 5\r\nUNSUB 77\r\nUNSUB 1\r\nUNSUB 1\r\n")

    assert client.take() == b"+OK\r\n" * 5


@pytest.mark.spec("client-protocol 8")
def test_a_sid_is_any_word() -> None:
    client = open_client()

    client.send(b"SUB foo abc-#1\r\nPUB foo 0\r\n\r\nUNSUB abc-#1\r\nPUB foo 0\r\n\r\n")

    assert client.take() == b"MSG foo abc-#1 0\r\n\r\n"


def test_a_subscription_counts_for_the_publish_behind_it() -> None:
    client = open_client()

    client.send(b"PUB foo 0\r\n\r\nSUB foo 1\r\nPUB foo 0\r\n\r\n")

    assert client.take() == b"MSG foo 1 0\r\n\r\n"


# -- PING, PONG and the second INFO ----------------------------------------------------------------


@pytest.mark.spec("client-protocol 14", "client-protocol 3")
def test_a_ping_is_answered_before_connect_on_an_open_server() -> None:
    client = World().server().connect()

    client.send(b"PING\r\n")

    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 19.1", "client-protocol 5", "client-protocol 23")
def test_info_follows_the_first_pong_once_to_clients_that_understand_it() -> None:
    client = open_client(b'CONNECT {"verbose":false,"protocol":1}\r\n')
    first = orjson.loads(client.info[5:])

    client.send(b"PING\r\nPING\r\nPING\r\n")

    pong, info, *rest = client.lines()
    assert (pong, rest) == (b"PONG", [b"PONG", b"PONG"])
    second = orjson.loads(info.removeprefix(b"INFO "))
    assert second == {**first, "connect_info": True, "remote_account": "$G"}


@pytest.mark.spec("client-protocol 19", "client-protocol 19.1")
@pytest.mark.parametrize("connect", [b"", b"CONNECT {}\r\n", b'CONNECT {"protocol":0}\r\n'])
def test_clients_of_the_original_protocol_get_no_second_info(connect: bytes) -> None:
    client = open_client(connect)

    client.send(b"PING\r\nPING\r\n")

    assert client.take() == b"PONG\r\nPONG\r\n"


@pytest.mark.spec("client-protocol 19.1")
def test_a_ping_before_connect_is_not_the_first() -> None:
    client = open_client(b"")

    client.send(b'PING\r\nCONNECT {"verbose":false,"protocol":1}\r\n')
    assert client.take() == b"PONG\r\n"
    client.send(b"PING\r\n")

    assert client.take().startswith(b"PONG\r\nINFO {")


@pytest.mark.spec("client-protocol 19.1")
def test_a_first_ping_of_the_original_protocol_was_the_first() -> None:
    client = open_client(b'CONNECT {"verbose":false,"protocol":0}\r\nPING\r\n')
    client.take()

    client.send(b'CONNECT {"protocol":1}\r\nPING\r\n')

    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 19.1")
def test_a_repeated_connect_does_not_repeat_the_second_info() -> None:
    client = open_client(b'CONNECT {"verbose":false,"protocol":1}\r\nPING\r\n')

    client.send(b"CONNECT {}\r\nPING\r\n")

    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 14", "client-protocol 11:ping_interval")
def test_the_first_ping_comes_early_and_the_others_at_the_interval() -> None:
    instants = []
    for seed in range(40):
        world = World(seed)
        client = client_of(world.server(ping_interval_ns=4 * SECOND))
        world.advance(2 * SECOND - 1)
        assert client.take() == b""
        while not client.take():
            world.advance(10 * MILLISECOND)
        instants.append(world.now_ns)
        client.send(b"PONG\r\n")
        world.advance(4 * SECOND - 20 * MILLISECOND)
        assert client.take() == b""
        world.advance(20 * MILLISECOND)
        assert client.take() == b"PING\r\n"

    assert 2 * SECOND <= min(instants) < 2.1 * SECOND
    assert 2.3 * SECOND < max(instants) <= 2.41 * SECOND


@pytest.mark.spec("client-protocol 14")
def test_an_interval_below_two_seconds_is_also_that_of_the_first_ping() -> None:
    world = World()
    client = client_of(world.server(ping_interval_ns=500 * MILLISECOND))

    world.advance(500 * MILLISECOND - 1)
    assert client.take() == b""
    world.advance(101 * MILLISECOND)

    assert client.take() == b"PING\r\n"


@pytest.mark.spec("client-protocol 14")
def test_a_client_that_says_nothing_is_pinged_after_the_interval() -> None:
    world = World()
    client = world.server(ping_interval_ns=4 * SECOND).connect()

    world.advance(4 * SECOND - 1)
    assert client.take() == b""
    world.advance(1)

    assert client.take() == b"PING\r\n"


def measured(world: World, **options: Any) -> ScriptedClient:
    """A client whose round trip was measured a moment ago, at an interval of 4 seconds."""
    client = client_of(world.server(ping_interval_ns=4 * SECOND, **options))
    world.advance(2400 * MILLISECOND)
    assert client.take() == b"PING\r\n"
    client.send(b"PONG\r\n")
    return client


@pytest.mark.spec("client-protocol 14", "client-protocol 23")
@pytest.mark.parametrize(
    "data",
    [
        b"PING\r\n", b"PUB foo 0\r\n\r\n", b"pub foo 0\n\r\n", b"SUB foo 1\r\n", b"UNSUB 1\r\n",
        b"CONNECT {}\r\n",
        b"PONG\r\nPING\r\n",
    ],
)  # fmt: skip
def test_a_ping_is_skipped_while_a_client_was_heard_within_the_interval(data: bytes) -> None:
    world = World()
    client = measured(world)

    for _ in range(20):
        world.advance(SECOND)
        client.send(data)

    assert b"PING\r\n" not in client.take()


@pytest.mark.spec("client-protocol 14", "client-protocol 23")
@pytest.mark.parametrize("data", [b"PONG\r\n", b"+OK\r\n", b"PUB foo 5\r\nx"])
def test_pongs_and_halves_of_messages_are_no_activity(data: bytes) -> None:
    world = World()
    client = measured(world)

    for _ in range(5):
        world.advance(SECOND)
        if client.is_open and (data != b"PUB foo 5\r\nx" or not client.server.server.held_bytes):
            client.send(data)

    assert client.take() == b"PING\r\n"


@pytest.mark.spec("client-protocol 14", "client-protocol 23")
def test_what_a_client_is_sent_is_no_activity() -> None:
    world = World()
    client = measured(world)
    client.send(b"SUB foo 1\r\n")
    publisher = client_of(client.server)

    for _ in range(8):
        world.advance(SECOND)
        publisher.send(b"PUB foo 0\r\n\r\n")

    assert client.take().count(b"PING\r\n") == 1


@pytest.mark.spec("client-protocol 14")
def test_a_busy_client_is_pinged_when_its_round_trip_is_an_hour_old() -> None:
    world = World()
    client = measured(world)

    for _ in range(1800):
        world.advance(2 * SECOND)
        client.send(b"PING\r\n")
    assert client.take().count(b"PING\r\n") == 0
    world.advance(4 * SECOND)

    assert client.take().count(b"PING\r\n") == 1


@pytest.mark.spec(
    "client-protocol 14",
    "client-protocol 11:ping_max",
    "client-protocol 12:Stale Connection",
    "client-protocol 13:Stale Connection",
)
@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_client_that_does_not_answer_is_stale_after_the_pings_allowed(most: int) -> None:
    world = World()
    client = world.server(ping_interval_ns=500 * MILLISECOND, ping_max=most).connect()

    world.advance(500 * MILLISECOND * most)
    assert client.take() == b"PING\r\n" * most
    assert client.is_open
    world.advance(500 * MILLISECOND)

    assert client.take() == b"-ERR 'Stale Connection'\r\n"
    assert client.close_reason is CloseReason.STALE_CONNECTION


@pytest.mark.spec("client-protocol 14", "client-protocol 3")
def test_any_pong_answers_all_pings() -> None:
    world = World()
    client = world.server(ping_interval_ns=500 * MILLISECOND, ping_max=2).connect()

    for _ in range(10):
        world.advance(SECOND)
        client.send(b"PONG junk\r\n")

    assert client.take() == b"PING\r\n" * 20
    assert client.is_open


@pytest.mark.spec("client-protocol 14", "client-protocol 6")
def test_the_round_trip_is_estimated_from_accept_to_connect_and_then_measured() -> None:
    world = World()
    server = world.server(ping_interval_ns=SECOND)
    client = server.connect()
    assert round_trip(client) is None

    world.advance(30 * MILLISECOND)
    client.send(QUIET)
    assert round_trip(client) == 30 * MILLISECOND
    due = server.next_deadline()
    assert due is not None
    world.advance(due - world.now_ns)
    assert client.take() == b"PING\r\n"
    world.advance(7 * MILLISECOND)
    client.send(b"PONG\r\n")
    assert round_trip(client) == 7 * MILLISECOND
    client.send(b"PONG\r\n")
    world.advance(MILLISECOND)
    client.send(QUIET)

    assert round_trip(client) == 7 * MILLISECOND


def round_trip(client: ScriptedClient) -> int | None:
    session = client.server.server.session(client.cid)
    assert session is not None
    return session.rtt_ns


# -- everything at once ----------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 6", "client-protocol 3")
@pytest.mark.parametrize("connect", [QUIET, VERBOSE, HEADERS, REQUESTER])
def test_a_client_connects_as_libraries_do(connect: bytes) -> None:
    client = World().server().connect()

    client.send(connect + b"PING\r\n")

    assert client.take() == (b"+OK\r\n" if connect == VERBOSE else b"") + b"PONG\r\n"

"""How clients are let in, above all when they begin TLS: what is sent in plain, and what is waited for."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest

from natscore.connection.session import Phase
from natscore.effects import Level
from natscore.errors import CloseReason, UsageError
from natscore.events import BytesReceived, Certificate
from natscore.journal import read_journal
from natscore.options import MILLISECOND, SECOND, TlsOptions
from natscore.replay import replay
from natscore.testing import ScriptedClient, World

HELLO = b"\x16\x03\x01\x00\x05hello"  # how a handshake begins; its content is the shell's business
THROTTLED = b"-ERR 'Connection throttling is active. Please try again later.'\r\n"
ALICE = Certificate(
    subject=((("C", "US"),), (("O", "Acme"), ("OU", "Ops")), (("CN", "alice"),)),
    emails=("alice@acme.example",),
    dns_names=("a.acme.example", "b.acme.example"),
    uris=("spiffe://acme/alice",),
    key_sha256="ab" * 32,
    sha256="cd" * 32,
)


def client_of(world: World, tls: TlsOptions, **options: Any) -> ScriptedClient:
    """A client of a new server with these settings."""
    return world.server(tls=tls, **options).connect()


def info_of(line: bytes) -> dict[str, Any]:
    """The document of an INFO line."""
    document: dict[str, Any] = orjson.loads(line.removeprefix(b"INFO "))
    return document


def phase(client: ScriptedClient) -> Phase:
    """Where the server stands with a client."""
    session = client.server.server.session(client.cid)
    assert session is not None
    return session.phase


# -- INFO first ------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 17.1", "client-protocol 1:TLS", "client-protocol 5")
def test_a_client_is_told_in_plain_that_tls_is_required_and_then_expected_to_begin_it() -> None:
    client = client_of(World(), TlsOptions())

    info = info_of(client.info)
    assert info["tls_required"] is True
    assert {"tls_available", "tls_verify"}.isdisjoint(info)
    assert client.handshake == b""
    assert phase(client) is Phase.HANDSHAKING


@pytest.mark.spec("client-protocol 17.2", "client-protocol 5")
def test_a_client_is_told_that_its_certificate_will_be_verified() -> None:
    info = info_of(client_of(World(), TlsOptions(verify=True)).info)

    assert (info["tls_required"], info["tls_verify"]) == (True, True)


def test_a_server_without_tls_does_not_mention_it() -> None:
    info = info_of(World().server().connect().info)

    assert {"tls_required", "tls_available", "tls_verify"}.isdisjoint(info)


@pytest.mark.spec("client-protocol 17.1")
def test_after_the_handshake_a_client_is_served_and_not_greeted_again() -> None:
    client = client_of(World(), TlsOptions())

    client.finish_tls()
    client.send(b"PING\r\n")

    assert client.take() == b"PONG\r\n"


def test_a_client_whose_handshake_failed_is_closed_without_a_word() -> None:
    client = client_of(World(), TlsOptions())

    client.fail_tls("no shared cipher")

    assert client.take() == b""
    assert (client.is_open, client.close_reason) == (False, CloseReason.TLS_HANDSHAKE)
    assert ("tls_handshake_failed", "no shared cipher") in [
        (note.name, note.fields.get("error")) for note in client.server.notes
    ]


@pytest.mark.spec(
    "client-protocol 13:TLS Handshake Failure", "client-protocol 12:Secure Connection - TLS Required"
)
def test_a_client_that_does_not_finish_the_handshake_in_time_is_closed_without_a_word() -> None:
    world = World()
    client = client_of(world, TlsOptions(timeout_ns=3 * SECOND))

    world.advance(3 * SECOND - 1)
    was_open = client.is_open
    world.advance(1)

    assert was_open
    assert client.take() == b""
    assert (client.is_open, client.close_reason) == (False, CloseReason.TLS_HANDSHAKE)
    assert "tls_handshake_timeout" in [note.name for note in client.server.notes]


def test_a_client_that_goes_away_during_the_handshake_failed_at_it() -> None:
    client = client_of(World(), TlsOptions())

    client.close()

    closed = [note for note in client.server.notes if note.name == "client_connection_closed"]
    assert [note.fields["reason"] for note in closed] == [CloseReason.TLS_HANDSHAKE]


@pytest.mark.spec("client-protocol 1:AWAIT_CONNECT")
def test_the_time_to_log_in_begins_after_the_handshake() -> None:
    world = World()
    client = client_of(world, TlsOptions(timeout_ns=10 * SECOND), token="t", auth_timeout_ns=2 * SECOND)

    world.advance(9 * SECOND)
    client.finish_tls()
    world.advance(2 * SECOND - 1)
    was_open = client.is_open
    world.advance(1)

    assert was_open
    assert client.take() == b"-ERR 'Authentication Timeout'\r\n"


def test_nothing_is_sent_during_a_handshake_though_a_ping_would_be_due() -> None:
    world = World()
    client = client_of(world, TlsOptions(timeout_ns=60 * SECOND), ping_interval_ns=SECOND)

    world.advance(59 * SECOND)

    assert client.take() == b""


def test_bytes_that_are_fed_before_tls_is_established_are_an_error_of_the_shell() -> None:
    client = client_of(World(), TlsOptions())

    with pytest.raises(UsageError, match="before TlsEstablished"):
        client.server.server.handle(
            BytesReceived(at=client.server.world.at, cid=client.cid, data=b"PING\r\n")
        )


def test_one_client_too_many_is_refused_in_plain() -> None:
    server = World().server(tls=TlsOptions(), max_connections=1)
    server.connect()

    second = server.connect()

    assert second.take() == b"-ERR 'maximum connections exceeded'\r\n"
    assert second.handshake is None


def test_handshakes_of_one_address_count_as_connections_that_did_not_log_in() -> None:
    server = World().server(tls=TlsOptions(), token="t", unauthenticated_per_address_max=1)
    server.connect()

    second = server.connect()

    assert second.close_reason is CloseReason.ADDRESS_LIMIT


def test_a_shutdown_ends_a_handshake() -> None:
    client = client_of(World(), TlsOptions())

    client.server.shutdown()

    assert client.close_reason is CloseReason.SERVER_SHUTDOWN


def test_the_answer_for_a_connection_that_ended_meanwhile_is_dropped() -> None:
    client = client_of(World(), TlsOptions())
    client.server.shutdown()

    client.finish_tls()
    client.handshake = b""
    client.fail_tls("late")

    assert "tls_handshake_failed" not in [note.name for note in client.server.notes]


def test_what_the_peer_showed_is_kept_with_its_session() -> None:
    client = client_of(World(), TlsOptions(verify=True))

    client.finish_tls(ALICE)

    session = client.server.server.session(client.cid)
    assert session is not None
    assert session.tls is not None
    assert (session.tls.version, session.tls.peer) == ("1.3", ALICE)


# -- TLS available ---------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 17.1", "client-protocol 5")
def test_where_tls_is_available_a_client_may_stay_plain() -> None:
    client = client_of(World(), TlsOptions(required=False))

    client.send(b"PING\r\n")

    info = info_of(client.info)
    assert info["tls_available"] is True
    assert "tls_required" not in info
    assert client.take() == b"PONG\r\n"
    assert client.handshake is None


@pytest.mark.spec("client-protocol 17.1")
def test_where_tls_is_available_the_first_byte_chooses_it() -> None:
    client = client_of(World(), TlsOptions(required=False))

    client.send(HELLO)
    begun = client.handshake
    client.finish_tls()
    client.send(b"PING\r\n")

    assert begun == HELLO
    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 17.1")
def test_where_tls_is_available_a_silent_client_is_plain_after_the_timeout() -> None:
    world = World()
    client = client_of(world, TlsOptions(required=False), token="t", auth_timeout_ns=SECOND)

    world.advance(2 * SECOND)
    chosen = phase(client)
    world.advance(SECOND)

    assert chosen is Phase.AWAITING_CONNECT
    assert client.take() == b"-ERR 'Authentication Timeout'\r\n"


def test_a_login_in_plain_needs_no_second_read_where_tls_is_available() -> None:
    client = client_of(World(), TlsOptions(required=False), token="t")

    client.send(b'CONNECT {"auth_token":"t","verbose":false}\r\nPING\r\n')

    assert client.lines()[0] == b"PONG"


# -- the handshake first ---------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 17.1")
def test_with_the_handshake_first_nothing_is_sent_before_it_and_info_after_it() -> None:
    client = client_of(World(), TlsOptions(first_ns=0))

    before = client.take()
    client.finish_tls()

    assert before == b""
    assert info_of(client.take())["tls_required"] is True


@pytest.mark.spec("client-protocol 17.1")
def test_the_handshake_first_overrides_that_a_client_may_stay_plain() -> None:
    client = client_of(World(), TlsOptions(first_ns=0, required=False))

    client.finish_tls()

    info = info_of(client.take())
    assert info["tls_required"] is True
    assert "tls_available" not in info


@pytest.mark.spec("client-protocol 17.1")
def test_a_client_that_begins_within_the_delay_is_greeted_after_its_handshake() -> None:
    world = World()
    client = client_of(world, TlsOptions(first_ns=50 * MILLISECOND))

    world.advance(49 * MILLISECOND)
    client.send(HELLO)
    begun, before = client.handshake, client.take()
    world.advance(50 * MILLISECOND)
    client.finish_tls()

    assert (begun, before) == (HELLO, b"")
    assert client.take().startswith(b"INFO {")


@pytest.mark.spec("client-protocol 17.1")
def test_a_client_that_is_silent_for_the_delay_is_greeted_before_its_handshake() -> None:
    world = World()
    client = client_of(world, TlsOptions(first_ns=50 * MILLISECOND))

    world.advance(50 * MILLISECOND)
    greeting = client.take()
    client.finish_tls()

    assert info_of(greeting)["tls_required"] is True
    assert client.take() == b""


def test_after_the_delay_a_client_may_stay_plain_where_that_is_allowed() -> None:
    world = World()
    client = client_of(world, TlsOptions(first_ns=50 * MILLISECOND, required=False))

    world.advance(50 * MILLISECOND)
    client.take()
    client.send(b"PING\r\n")

    assert client.take() == b"PONG\r\n"


# -- the rate --------------------------------------------------------------------------------------


@pytest.mark.spec(
    "client-protocol 11:tls.connection_rate_limit", "client-protocol 13:Maximum Connections Exceeded"
)
def test_a_handshake_beyond_the_rate_is_refused_in_plain_until_the_second_is_over() -> None:
    world = World()
    server = world.server(tls=TlsOptions(handshakes_per_second_max=2, timeout_ns=60 * SECOND))

    served = [server.connect(), server.connect()]
    refused = server.connect()
    world.advance(SECOND)
    later = server.connect()

    assert [client.handshake for client in (*served, later)] == [b"", b"", b""]
    assert refused.take() == THROTTLED
    assert refused.close_reason is CloseReason.MAX_CONNECTIONS


def test_refused_handshakes_are_reported_once_a_second() -> None:
    world = World()
    server = world.server(tls=TlsOptions(handshakes_per_second_max=1, timeout_ns=60 * SECOND))

    for _ in range(4):
        server.connect()
    world.advance(SECOND)
    for _ in range(3):
        server.connect()
    world.advance(10 * SECOND)

    reports = [note for note in server.notes if note.name == "tls_rate_limited"]
    assert [(note.level, note.fields["rejected"]) for note in reports] == [
        (Level.WARNING, 3),
        (Level.WARNING, 2),
    ]


# -- the journal -----------------------------------------------------------------------------------


def test_a_journal_of_clients_with_tls_is_replayed_without_it() -> None:
    world = World()
    client = client_of(world, TlsOptions(verify=True, first_ns=0))
    client.finish_tls(ALICE)
    client.send(b"SUB foo 1\r\nPUB foo 2\r\nhi\r\n")
    failed = client.server.connect()
    failed.fail_tls("unknown ca")
    journal = client.server.journal.getvalue()

    options, _ = read_journal(io.BytesIO(journal).read)
    session = replay(io.BytesIO(journal).read).server.session(client.cid)

    assert options == client.server.server.options
    assert client.lines()[-2:] == [b"MSG foo 1 2", b"hi"]
    assert session is not None
    assert session.tls is not None
    assert session.tls.peer == ALICE

"""TLS of client connections: real servers on real sockets, with Python's own TLS at the other end."""

from __future__ import annotations

import contextlib
import gc
import io
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import nats
import pytest
from anyio.to_thread import run_sync
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from natscore.errors import CloseReason, ConfigError
from natscore.events import ConnectionKind, WriteBlocked, WriteProgressed
from natscore.journal import Recorder, read_journal
from natscore.options import MILLISECOND, SECOND, Options, TlsOptions
from natscore.replay import replay
from natscore.server import Server
from natscore_tcp import Runtime, TlsAcceptor, TlsSettings, serve
from natscore_tcp.filters import FilterError
from natscore_tcp.tls import ANSWERS_MAX
from tests.support.certificates import Authority
from tests.unit.transport_tcp.machine import TIMEOUT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from natscore.effects import Note
    from natscore.events import Address
    from natscore_tcp import Running
    from tests.support.certificates import Pair

pytestmark = pytest.mark.anyio

CONNECT = b'CONNECT {"verbose":false,"protocol":1}\r\n'
MIB = 1 << 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority, which the server does not know."""
    return Authority(tmp_path_factory.mktemp("strangers"), "stranger")


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue()


@asynccontextmanager
async def serving(
    pair: Pair,
    tls: TlsOptions | None = None,
    *,
    notes: list[Note] | None = None,
    hear: Callable[[Note], object] | None = None,
    **settings: Any,
) -> AsyncIterator[Running]:
    """A server with TLS; `options` are those of the server, the rest of `settings` those of TLS."""
    options = settings.pop("options", {})
    acceptor = TlsAcceptor(TlsSettings(cert_file=pair.cert_file, key_file=pair.key_file, **settings))
    options = Options(tls=tls or TlsOptions(verify=settings.get("verify", False)), **options)
    async with serve(
        options, tls=acceptor, note=hear or (notes if notes is not None else []).append
    ) as server:
        yield server


class Connection:
    """A client's end of a connection, first plain, then under TLS. Every wait is bounded."""

    def __init__(self, server: Running | Address, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(TIMEOUT_SECONDS)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((server.host, server.port))

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Raises ssl.SSLError, OSError."""
        self.socket = context.wrap_socket(
            self.socket, server_hostname="localhost", suppress_ragged_eofs=False
        )

    def line(self) -> bytes:
        """One line; what came of it before the end of the stream."""
        received = b""
        while not received.endswith(b"\r\n") and (byte := self.socket.recv(1)):
            received += byte
        return received

    def receive(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size and (data := self.socket.recv(min(size - len(received), MIB))):
            received += data
        return bytes(received)

    def rest(self) -> bytes:
        """Everything up to the end of the stream, however it ends."""
        received = b""
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            while data := self.socket.recv(65_536):
                received += data
        return received


@contextlib.contextmanager
def connected(server: Running, **arguments: Any) -> Iterator[Connection]:
    connection = Connection(server, **arguments)
    try:
        yield connection
    finally:
        connection.socket.close()


async def secured(server: Running | Address, context: ssl.SSLContext, **arguments: Any) -> Connection:
    """A connection that read INFO in plain and has begun TLS."""

    def connect() -> Connection:
        connection = Connection(server, **arguments)
        connection.line()
        connection.start_tls(context)
        return connection

    return await run_sync(connect)


def closes(notes: list[Note]) -> list[object]:
    """The reasons of the connections that were closed."""
    return [note.fields["reason"] for note in notes if note.name == "client_connection_closed"]


def failures(notes: list[Note]) -> list[object]:
    """What was wrong with the handshakes that failed."""
    return [note.fields["error"] for note in notes if note.name == "tls_handshake_failed"]


# -- dialogues -------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 17.1", "client-protocol 1:TLS")
async def test_a_client_publishes_to_itself_under_tls(authority: Authority, pair: Pair) -> None:
    async with serving(pair) as server:
        connection = await secured(server, authority.client_context())

        def dialogue() -> bytes:
            connection.socket.sendall(CONNECT + b"SUB foo 1\r\nPUB foo 5\r\nhello\r\nPING\r\n")
            return connection.receive(len(b"MSG foo 1 5\r\nhello\r\nPONG\r\n"))

        assert await run_sync(dialogue) == b"MSG foo 1 5\r\nhello\r\nPONG\r\n"
        connection.socket.close()


@pytest.mark.interop
async def test_nats_py_speaks_tls(
    authority: Authority, pair: Pair, anyio_backend: tuple[str, dict[str, Any]]
) -> None:
    def dialogue(url: str) -> bytes:
        import asyncio

        async def talk() -> bytes:
            client = await nats.connect(url, tls=authority.client_context(), tls_hostname="localhost")
            subscription = await client.subscribe("foo")
            await client.publish("foo", b"x" * 500_000)
            message = await subscription.next_msg(timeout=TIMEOUT_SECONDS)
            await client.close()
            return bytes(message.data)

        return asyncio.run(talk())

    async with serving(pair) as server:
        assert await run_sync(dialogue, server.url) == b"x" * 500_000


@pytest.mark.interop
async def test_nats_py_shakes_hands_first(authority: Authority, pair: Pair) -> None:
    def dialogue(url: str) -> bytes:
        import asyncio

        async def talk() -> bytes:
            client = await nats.connect(
                url, tls=authority.client_context(), tls_hostname="localhost", tls_handshake_first=True
            )
            subscription = await client.subscribe("foo")
            await client.publish("foo", b"hello")
            message = await subscription.next_msg(timeout=TIMEOUT_SECONDS)
            await client.close()
            return bytes(message.data)

        return asyncio.run(talk())

    async with serving(pair, TlsOptions(first_ns=0)) as server:
        assert await run_sync(dialogue, server.url) == b"hello"


@pytest.mark.spec("client-protocol 17.1")
async def test_a_handshake_that_comes_before_info_is_waited_for(authority: Authority, pair: Pair) -> None:
    def dialogue(server: Running) -> bytes:
        with connected(server) as connection:
            connection.start_tls(authority.client_context())
            return connection.line()

    async with serving(pair, TlsOptions(first_ns=5 * SECOND)) as server:
        assert (await run_sync(dialogue, server)).startswith(b"INFO {")


@pytest.mark.spec("client-protocol 17.1")
async def test_who_waits_for_info_gets_it_in_plain_after_the_delay(authority: Authority, pair: Pair) -> None:
    def dialogue(server: Running) -> tuple[bytes, bytes]:
        with connected(server) as connection:
            info = connection.line()
            connection.start_tls(authority.client_context())
            connection.socket.sendall(b"PING\r\n")
            return info, connection.line()

    async with serving(pair, TlsOptions(first_ns=50 * MILLISECOND)) as server:
        info, answer = await run_sync(dialogue, server)

    assert info.startswith(b"INFO {")
    assert answer == b"PONG\r\n"


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.spec("client-protocol 17.1")
async def test_where_tls_is_available_clients_choose(authority: Authority, pair: Pair, plain: bool) -> None:
    def dialogue(server: Running) -> bytes:
        with connected(server) as connection:
            connection.line()
            if not plain:
                connection.start_tls(authority.client_context())
            connection.socket.sendall(b"PING\r\n")
            return connection.line()

    async with serving(pair, TlsOptions(required=False)) as server:
        assert await run_sync(dialogue, server) == b"PONG\r\n"


async def test_what_a_client_sends_with_its_last_handshake_record_is_read(
    authority: Authority, pair: Pair
) -> None:
    def dialogue(server: Running) -> bytes:
        with connected(server) as connection:
            connection.line()
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = authority.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            connection.socket.sendall(outgoing.read())
            while True:
                incoming.write(connection.socket.recv(65_536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                    break
            tls.write(b"PING\r\n")
            connection.socket.sendall(outgoing.read())  # Finished and PING in one segment
            while True:
                incoming.write(connection.socket.recv(65_536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    return tls.read(100)

    async with serving(pair) as server:
        assert await run_sync(dialogue, server) == b"PONG\r\n"


# -- much ------------------------------------------------------------------------------------------


async def test_much_comes_through_both_ways_though_each_side_is_slow(
    authority: Authority, pair: Pair
) -> None:
    payload = bytes(range(256)) * 256
    count = 200
    message = b"PUB foo %d\r\n%b\r\n" % (len(payload), payload)

    def publish(connection: Connection) -> None:
        stream = memoryview(message * count)
        for start in range(0, len(stream), 1_000_000):  # across records and messages
            connection.socket.sendall(stream[start : start + 1_000_000])

    async with serving(pair, options={"max_pending": 64 * MIB}) as server:
        subscriber = await secured(server, authority.client_context(), receive_buffer=65_536)
        publisher = await secured(server, authority.client_context())

        def subscribe() -> None:
            subscriber.socket.sendall(CONNECT + b"SUB foo 1\r\nPING\r\n")
            assert subscriber.line() == b"PONG\r\n"
            subscriber.line()  # INFO

        await run_sync(subscribe)
        await run_sync(publish, publisher)
        expected = (b"MSG foo 1 %d\r\n%b\r\n" % (len(payload), payload)) * count
        received = await run_sync(subscriber.receive, len(expected))

        assert received == expected
        subscriber.socket.close()
        publisher.socket.close()


async def test_a_client_that_does_not_read_is_cut_for_what_waits_in_its_outbox(
    authority: Authority, pair: Pair
) -> None:
    notes: list[Note] = []
    async with serving(pair, notes=notes, options={"max_pending": 2 * MIB}) as server:
        subscriber = await secured(server, authority.client_context(), receive_buffer=65_536)
        publisher = await secured(server, authority.client_context())

        def flood() -> None:
            subscriber.socket.sendall(CONNECT + b"SUB foo 1\r\nPING\r\n")
            subscriber.line()
            message = b"PUB foo 65536\r\n%b\r\n" % bytes(65_536)
            publisher.socket.sendall(CONNECT)
            for _ in range(400):
                publisher.socket.sendall(message)
            publisher.socket.sendall(b"PING\r\n")
            assert publisher.line() == b"PONG\r\n"

        await run_sync(flood)

        assert closes(notes) == [CloseReason.SLOW_CONSUMER_PENDING]
        subscriber.socket.close()
        publisher.socket.close()


async def test_a_client_that_takes_nothing_is_cut_when_the_write_deadline_has_passed(
    authority: Authority, pair: Pair
) -> None:
    cut = anyio.Event()
    notes: list[Note] = []

    def hear(note: Note) -> None:
        notes.append(note)
        if note.name == "client_connection_closed":
            cut.set()

    options = {"max_pending": 64 * MIB, "write_deadline_ns": 200 * MILLISECOND}
    async with serving(pair, hear=hear, options=options) as server:
        connection = await secured(server, authority.client_context(), receive_buffer=65_536)

        def flood() -> None:
            connection.socket.sendall(CONNECT + b"SUB foo 1\r\n")
            message = b"PUB foo 1000000\r\n%b\r\n" % bytes(1_000_000)
            with contextlib.suppress(OSError):
                for _ in range(16):
                    connection.socket.sendall(message)

        await run_sync(flood)
        with anyio.fail_after(TIMEOUT_SECONDS):
            await cut.wait()
        connection.socket.close()

    assert closes(notes) == [CloseReason.SLOW_CONSUMER_DEADLINE]


async def test_a_journal_of_a_slow_reader_under_tls_is_replayed_without_tls(
    authority: Authority, pair: Pair
) -> None:
    journal = io.BytesIO()
    recorder = Recorder(Server(Options(tls=TlsOptions())), journal.write, 1 << 30)
    acceptor = TlsAcceptor(TlsSettings(cert_file=pair.cert_file, key_file=pair.key_file))
    runtime = Runtime(recorder, tls={ConnectionKind.CLIENT: acceptor})
    async with runtime.running():
        address = await runtime.listen("127.0.0.1", -1)
        connection = await secured(address, authority.client_context(), receive_buffer=65_536)

        def dialogue() -> bytes:
            message = b"PUB foo 100000\r\n%b\r\n" % bytes(100_000)
            connection.socket.sendall(CONNECT + b"SUB foo 1\r\n" + message * 300)
            connection.receive(300 * len(b"MSG foo 1 100000\r\n%b\r\n" % bytes(100_000)))
            connection.socket.sendall(b"PING\r\n")
            return connection.line()

        answer = await run_sync(dialogue)
        connection.socket.close()

    events = list(read_journal(io.BytesIO(journal.getvalue()).read)[1])
    assert answer == b"PONG\r\n"
    assert {WriteBlocked, WriteProgressed} <= {type(event) for event, _ in events}
    assert replay(io.BytesIO(journal.getvalue()).read).events == len(events)


# -- handshakes that fail --------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 17.1", "client-protocol 13:TLS Handshake Failure")
async def test_a_login_in_plain_is_closed_without_a_word(pair: Pair) -> None:
    notes: list[Note] = []

    def dialogue(server: Running) -> bytes:
        with connected(server) as connection:
            connection.line()
            connection.socket.sendall(CONNECT + b"PING\r\n")
            return connection.rest()

    async with serving(pair, notes=notes) as server:
        answer = await run_sync(dialogue, server)

    assert answer == b""
    assert closes(notes) == [CloseReason.TLS_HANDSHAKE]
    assert failures(notes) == ["first record does not look like a TLS handshake"]


async def test_garbage_that_begins_like_a_handshake_is_answered_by_an_alert_at_most(pair: Pair) -> None:
    notes: list[Note] = []

    def dialogue(server: Running) -> bytes:
        with connected(server) as connection:
            connection.line()
            connection.socket.sendall(b"\x16\x03\x01\x00\x10" + b"planted garbage!" * 10)
            return connection.rest()

    async with serving(pair, notes=notes) as server:
        answer = await run_sync(dialogue, server)

    assert answer[:1] in (b"", b"\x15")
    assert closes(notes) == [CloseReason.TLS_HANDSHAKE]
    assert "planted" not in repr(notes)


@pytest.mark.spec("client-protocol 17.1")
async def test_a_client_that_begins_no_handshake_sees_the_end_of_the_stream_after_the_timeout(
    pair: Pair,
) -> None:
    notes: list[Note] = []

    def dialogue(server: Running) -> bytes:
        with connected(server) as connection:
            connection.line()
            return connection.socket.recv(100)

    async with serving(pair, TlsOptions(timeout_ns=100 * MILLISECOND), notes=notes) as server:
        answer = await run_sync(dialogue, server)

    assert answer == b""
    assert closes(notes) == [CloseReason.TLS_HANDSHAKE]


async def test_a_handshake_that_never_ends_is_closed_long_before_its_timeout(pair: Pair) -> None:
    notes: list[Note] = []
    begun = b"\x16\x03\x01\x00\x04\x01\xff\xff\xff"  # a hello of 16,777,215 bytes

    def dialogue(server: Running) -> bytes:
        with connected(server) as connection:
            connection.line()
            with contextlib.suppress(ConnectionError):
                connection.socket.sendall(begun)
                for _ in range(64):
                    connection.socket.sendall(b"\x16\x03\x01\x40\x00" + bytes(16_384))
            return connection.rest()

    async with serving(pair, TlsOptions(timeout_ns=3600 * SECOND), notes=notes) as server:
        await run_sync(dialogue, server)

    assert closes(notes) == [CloseReason.TLS_HANDSHAKE]


def test_answers_that_a_peer_does_not_take_are_bounded(authority: Authority, pair: Pair) -> None:
    acceptor = TlsAcceptor(TlsSettings(cert_file=pair.cert_file, key_file=pair.key_file))
    ours = acceptor.filter()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = authority.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    while not ours.is_open:  # two round trips
        with contextlib.suppress(ssl.SSLWantReadError):
            theirs.do_handshake()
        list(ours.receive(memoryview(outgoing.read())))
        incoming.write(ours.take())

    ours.send(bytes(ANSWERS_MAX + 1))  # as key updates would, which Python cannot ask for
    theirs.write(b"PING\r\n")

    with pytest.raises(FilterError, match="answers wait for a peer that does not read"):
        list(ours.receive(memoryview(outgoing.read())))


async def refusal(server: Running, context: ssl.SSLContext) -> None:
    """Fail to be served under TLS: at the handshake, or, as TLS 1.3 has it, at the first read after it."""

    def dialogue() -> None:
        with connected(server) as connection:
            connection.line()
            connection.start_tls(context)
            if not connection.line():
                raise ConnectionResetError

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await run_sync(dialogue)


async def test_tls_1_1_is_refused(authority: Authority, pair: Pair) -> None:
    context = authority.client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    notes: list[Note] = []

    async with serving(pair, notes=notes) as server:
        await refusal(server, context)

    assert closes(notes) == [CloseReason.TLS_HANDSHAKE]


async def test_tls_1_2_is_refused_where_1_3_is_the_least(authority: Authority, pair: Pair) -> None:
    context = authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    notes: list[Note] = []

    async with serving(pair, notes=notes, min_version="1.3") as server:
        await refusal(server, context)

    assert failures(notes) == ["unsupported protocol"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_are_spoken_and_their_ciphers_named_as_iana_does(
    authority: Authority, pair: Pair, version: ssl.TLSVersion
) -> None:
    context = authority.client_context()
    context.minimum_version = context.maximum_version = version
    notes: list[Note] = []

    async with serving(pair, notes=notes) as server:
        connection = await secured(server, context)
        await run_sync(connection.socket.sendall, b"PING\r\n")
        await run_sync(connection.line)
        connection.socket.close()

    (established,) = [note.fields for note in notes if note.name == "tls_established"]
    assert established["version"] == version.name[-3:].replace("_", ".")
    assert str(established["cipher"]).startswith("TLS_")


# -- certificates of clients -----------------------------------------------------------------------


@pytest.mark.spec("client-protocol 17.2")
async def test_a_client_without_a_certificate_is_refused_where_one_is_verified(
    authority: Authority, pair: Pair
) -> None:
    notes: list[Note] = []

    async with serving(pair, notes=notes, verify=True, ca_file=authority.ca_file) as server:
        await refusal(server, authority.client_context())

    assert failures(notes) == ["peer did not return a certificate"]


async def test_a_certificate_of_an_unknown_authority_is_refused(
    authority: Authority, stranger: Authority, pair: Pair
) -> None:
    notes: list[Note] = []

    async with serving(pair, notes=notes, verify=True, ca_file=authority.ca_file) as server:
        await refusal(server, authority.client_context(stranger.issue("mallory")))

    assert failures(notes) == ["certificate verify failed: unable to get local issuer certificate"]


@pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name
)
async def test_what_a_verified_certificate_says_reaches_the_core(
    authority: Authority, pair: Pair, version: ssl.TLSVersion
) -> None:
    subject = x509.Name(
        [
            x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "example")]),
            x509.RelativeDistinguishedName(
                [
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"),
                    x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Ops"),
                ]
            ),
            x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "alicé")]),
        ]
    )
    alice = authority.issue(
        "alice",
        subject=subject,
        alternatives=[
            x509.RFC822Name("alice@acme.example"),
            x509.DNSName("a.acme.example"),
            x509.DNSName("b.acme.example"),
            x509.UniformResourceIdentifier("spiffe://acme/alice"),
        ],
    )
    context = authority.client_context(alice)
    context.minimum_version = context.maximum_version = version

    async with serving(pair, verify=True, ca_file=authority.ca_file) as server:
        connection = await secured(server, context)
        await run_sync(connection.socket.sendall, b"PING\r\n")
        await run_sync(connection.line)
        (cid,) = server.server.state.connections
        session = server.server.session(cid)
        connection.socket.close()

    assert session is not None
    assert session.tls is not None
    peer = session.tls.peer
    assert peer is not None
    assert [sorted(part) for part in peer.subject] == [
        [("DC", "example")], [("O", "Acme"), ("OU", "Ops")], [("CN", "alicé")],
    ]  # fmt: skip
    assert peer.emails == ("alice@acme.example",)
    assert peer.dns_names == ("a.acme.example", "b.acme.example")
    assert peer.uris == ("spiffe://acme/alice",)
    assert peer.key_sha256 == alice.key_sha256


@pytest.mark.parametrize(
    "make_key",
    [lambda: ec.generate_private_key(ec.SECP521R1()), lambda: rsa.generate_private_key(65_537, 2048)],
    ids=["ec", "rsa"],
)
async def test_a_pinned_key_is_let_in_and_another_one_is_not(
    authority: Authority, pair: Pair, make_key: Callable[[], ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]
) -> None:
    pinned, other = authority.issue("pinned", key=make_key()), authority.issue("other", key=make_key())
    notes: list[Note] = []
    pins = frozenset({pinned.key_sha256.upper()})

    async with serving(
        pair, notes=notes, verify=True, ca_file=authority.ca_file, pinned_certs=pins
    ) as server:
        connection = await secured(server, authority.client_context(pinned))
        await run_sync(connection.socket.sendall, b"PING\r\n")
        answer = await run_sync(connection.line)
        await refusal(server, authority.client_context(other))
        connection.socket.close()

    assert answer == b"PONG\r\n"
    assert failures(notes) == ["the key of the certificate is none of 'pinned_certs'"]


# -- the end ---------------------------------------------------------------------------------------


async def test_a_server_that_closes_says_so_in_tls(authority: Authority, pair: Pair) -> None:
    async with serving(pair, options={"token": "t"}) as server:
        connection = await secured(server, authority.client_context())

        def dialogue() -> bytes:
            connection.socket.sendall(b"PING\r\n")
            received = b""
            while data := connection.socket.recv(100):  # a ragged end would raise
                received += data
            return received

        assert await run_sync(dialogue) == b"-ERR 'Authorization Violation'\r\n"
        connection.socket.close()


@pytest.mark.parametrize("says_so", [True, False])
async def test_a_client_that_ends_the_stream_is_closed_and_a_ragged_end_is_noted(
    authority: Authority, pair: Pair, says_so: bool
) -> None:
    notes: list[Note] = []

    async with serving(pair, notes=notes) as server:
        connection = await secured(server, authority.client_context())

        def end() -> None:
            connection.socket.sendall(b"PING\r\n")
            connection.line()
            if says_so:
                assert isinstance(connection.socket, ssl.SSLSocket)
                connection.socket.unwrap().close()
            else:
                connection.socket.shutdown(socket.SHUT_WR)
                connection.rest()

        await run_sync(end)
        connection.socket.close()

    assert closes(notes) == [CloseReason.CLIENT_CLOSED]
    assert ("filter_end_without_notice" in [note.name for note in notes]) is not says_so


async def test_a_client_gets_what_it_has_not_read_yet_after_it_ended_its_side(
    authority: Authority, pair: Pair
) -> None:
    async with serving(pair) as server:
        connection = await secured(server, authority.client_context(), receive_buffer=65_536)

        def dialogue() -> int:
            message = b"PUB foo 1000000\r\n%b\r\n" % bytes(1_000_000)
            connection.socket.sendall(CONNECT + b"SUB foo 1\r\n" + message * 10)
            connection.socket.sendall(b"PING\r\n")
            first = connection.receive(100)
            tls = connection.socket
            assert isinstance(tls, ssl.SSLSocket)
            raw = socket.socket(fileno=tls.detach())  # the stream ends in TCP, as a half-close does
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(TIMEOUT_SECONDS)
            size = len(first)
            while data := raw.recv(MIB):
                size += len(data)
            raw.close()
            return size

        # all but the rest of the record that the first bytes came in
        assert await run_sync(dialogue) > 10_000_000 - 16_384


async def test_bytes_that_are_no_record_end_an_established_connection(
    authority: Authority, pair: Pair
) -> None:
    notes: list[Note] = []

    async with serving(pair, notes=notes) as server:
        connection = await secured(server, authority.client_context())

        def dialogue() -> None:
            connection.socket.sendall(b"PING\r\n")
            connection.line()
            tls = connection.socket
            assert isinstance(tls, ssl.SSLSocket)
            raw = socket.socket(fileno=tls.detach())
            raw.settimeout(TIMEOUT_SECONDS)
            raw.sendall(b"PUB planted 5\r\nhello\r\n")
            with contextlib.suppress(ConnectionError):
                while raw.recv(100):
                    pass
            raw.close()

        await run_sync(dialogue)

    assert closes(notes) == [CloseReason.READ_ERROR]
    assert "planted" not in repr(notes)


async def test_silent_connections_make_nothing_of_tls_and_closed_ones_leave_nothing(
    authority: Authority, pair: Pair
) -> None:
    def count() -> int:
        gc.collect()
        return sum(isinstance(one, ssl.SSLObject) for one in gc.get_objects())

    before = count()
    async with serving(pair) as server:
        silent = [await run_sync(Connection, server) for _ in range(50)]
        for connection in silent:
            await run_sync(connection.line)  # INFO, behind which a handshake is awaited
        while_silent = count()
        for _ in range(20):
            connection = await secured(server, authority.client_context())
            await run_sync(connection.socket.sendall, b"PING\r\n")
            await run_sync(connection.line)
            silent.append(connection)
        while_open = count()
        for connection in silent:
            connection.socket.close()
    after = count()

    assert (while_silent - before, while_open - before, after - before) == (0, 20, 0)


async def test_a_shutdown_does_not_wait_for_handshakes(pair: Pair) -> None:
    async with serving(pair, TlsOptions(timeout_ns=3600 * SECOND)) as server:
        connection = await run_sync(Connection, server)
        await run_sync(connection.line)

    assert connection.rest() == b""
    connection.socket.close()


@pytest.mark.spec("client-protocol 11:tls.connection_rate_limit")
async def test_a_handshake_beyond_the_rate_is_refused_in_plain(authority: Authority, pair: Pair) -> None:
    def refused(server: Running) -> bytes:
        with connected(server) as connection:
            connection.line()
            return connection.rest()

    async with serving(pair, TlsOptions(handshakes_per_second_max=1)) as server:
        first = await secured(server, authority.client_context())
        text = await run_sync(refused, server)
        first.socket.close()

    assert text == b"-ERR 'Connection throttling is active. Please try again later.'\r\n"


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"key_file": ""}, "missing 'key_file' in TLS configuration"),
        ({"cert_file": ""}, "missing 'cert_file' in TLS configuration"),
        (
            {"cert_file": "nope.pem"},
            "error parsing X509 certificate/key pair: open nope.pem: no such file or directory",
        ),
        ({"cipher_suites": ("a",)}, "unrecognized cipher a"),
        (
            {"cipher_suites": ("TLS_RSA_WITH_AES_128_CBC_SHA",)},
            "insecure cipher suites configured without 'allow_insecure_cipher_suites' option set: "
            "TLS_RSA_WITH_AES_128_CBC_SHA",
        ),
        (
            {"cipher_suites": ("TLS_RSA_WITH_RC4_128_SHA",), "allow_insecure_cipher_suites": True},
            "this OpenSSL supports none of the ciphers TLS_RSA_WITH_RC4_128_SHA",
        ),
        ({"curve_preferences": ("a",)}, "unrecognized curve preference a"),
        ({"min_version": "1.1"}, "unsupported TLS version: TLS 1.1"),
        ({"min_version": "9"}, "unknown version: 9"),
        (
            {"pinned_certs": frozenset({"a"}), "verify": True},
            "'pinned_certs' key a does not look like hex-encoded sha256 of DER encoded SubjectPublicKeyInfo",
        ),
        (
            {"pinned_certs": frozenset({"0" * 64})},
            "'pinned_certs' needs 'verify': without it no client shows a certificate",
        ),
        ({"verify": True, "ca_file": "nope.pem"}, "open nope.pem: no such file or directory"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:40],
)
def test_settings_that_cannot_be_are_refused_at_once(
    pair: Pair, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        TlsAcceptor(TlsSettings(**{"cert_file": pair.cert_file, "key_file": pair.key_file, **change}))

    assert str(raised.value) == complaint


def test_an_encrypted_key_is_refused_and_no_password_is_asked_for(authority: Authority) -> None:
    encrypted = authority.issue("encrypted", password=b"planted")

    with pytest.raises(ConfigError, match="is encrypted; store it in plain"):
        TlsAcceptor(TlsSettings(cert_file=encrypted.cert_file, key_file=encrypted.key_file))


def test_a_key_of_another_certificate_is_refused(authority: Authority, pair: Pair) -> None:
    other = authority.issue("another")

    with pytest.raises(ConfigError, match="is not that of the certificate in"):
        TlsAcceptor(TlsSettings(cert_file=pair.cert_file, key_file=other.key_file))


def test_files_without_pem_are_refused(pair: Pair, tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("no certificate")

    with pytest.raises(ConfigError, match="error parsing X509 certificate/key pair: no certificate and key"):
        TlsAcceptor(TlsSettings(cert_file=str(text), key_file=pair.key_file))
    with pytest.raises(ConfigError, match="failed to parse root ca certificate"):
        TlsAcceptor(
            TlsSettings(cert_file=pair.cert_file, key_file=pair.key_file, verify=True, ca_file=str(text))
        )


def test_ciphers_of_tls_1_2_are_offered_as_configured_and_under_both_names(pair: Pair) -> None:
    acceptor = TlsAcceptor(
        TlsSettings(
            cert_file=pair.cert_file,
            key_file=pair.key_file,
            cipher_suites=(
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            ),
        )
    )

    offered = [cipher["name"] for cipher in acceptor.context.get_ciphers()]
    assert [name for name in offered if not name.startswith("TLS_")] == [
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ]


def test_ciphers_of_tls_1_3_alone_leave_no_other_version(pair: Pair) -> None:
    acceptor = TlsAcceptor(
        TlsSettings(
            cert_file=pair.cert_file, key_file=pair.key_file, cipher_suites=("TLS_AES_128_GCM_SHA256",)
        )
    )

    assert acceptor.context.minimum_version is ssl.TLSVersion.TLSv1_3


async def test_one_curve_is_the_only_one(authority: Authority, pair: Pair) -> None:
    context = authority.client_context()
    context.set_ecdh_curve("prime256v1")
    notes: list[Note] = []

    async with serving(pair, notes=notes, curve_preferences=("CurveP384",)) as server:
        await refusal(server, context)

    assert len(failures(notes)) == 1


def test_that_several_curves_cannot_be_chosen_is_a_warning(pair: Pair) -> None:
    acceptor = TlsAcceptor(
        TlsSettings(
            cert_file=pair.cert_file, key_file=pair.key_file, curve_preferences=("CurveP256", "X25519")
        )
    )

    assert len(acceptor.warnings) == 1


async def test_tls_in_the_options_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match="TLS needs both"):
        async with serve(Options(tls=TlsOptions())):
            pass

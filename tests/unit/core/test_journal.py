"""What is written down of a server, and what becomes of files that are damaged."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import orjson
import pytest

from natscore.account.settings import AccountSettings, AccountsSettings, StreamExport
from natscore.effects import Level, Note
from natscore.errors import UsageError
from natscore.events import (
    Address,
    AttemptId,
    BytesReceived,
    Certificate,
    ConnectionClosed,
    ConnectionId,
    ConnectionKind,
    ConnectionOpened,
    DeadlineReached,
    DialFailed,
    Event,
    Instant,
    LameDuckRequested,
    ListenerOpened,
    OptionsReloaded,
    PasswordVerified,
    PeerClosing,
    ServerStarted,
    ShutdownRequested,
    TlsEstablished,
    TlsFailed,
    TurnGranted,
    WriteBlocked,
    WriteProgressed,
)
from natscore.journal import BANNER, Checksums, JournalError, Recorder, encode_event, read_journal
from natscore.options import Options, TlsOptions
from natscore.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

AT: Final = Instant(123, 1_700_000_000_000_000_123)
CID: Final = ConnectionId(5)
LOCAL: Final = Address("127.0.0.1", 4222)

STARTED: Final = ServerStarted(at=AT, server_id="N" + "A" * 55, seed=2**64 - 1, runtime="test")
OPENED: Final = ConnectionOpened(at=AT, cid=CID, kind=ConnectionKind.CLIENT, remote=Address("::1", 4))

EVENTS: Final[list[Event]] = [
    STARTED,
    ListenerOpened(at=AT, kind=ConnectionKind.ROUTE, address=LOCAL),
    OPENED,
    ConnectionOpened(
        at=AT, cid=CID, kind=ConnectionKind.LEAF, remote=LOCAL, solicited=True, nonce=b"\x00\xff" * 5 + b"x",
        attempt=AttemptId(7),
    ),
    BytesReceived(at=AT, cid=CID, data=bytes(range(256))),
    *(ConnectionClosed(at=AT, cid=CID, why=why) for why in PeerClosing),
    WriteBlocked(at=AT, cid=CID, refused=1),
    WriteProgressed(at=AT, cid=CID, refused=0),
    DeadlineReached(at=AT),
    TurnGranted(at=AT),
    DialFailed(at=AT, attempt=AttemptId(7), error="connection refused: ü"),
    PasswordVerified(at=AT, attempt=AttemptId(7), cid=CID, matches=True),
    TlsEstablished(at=AT, cid=CID, version="1.3", cipher="TLS_AES_128_GCM_SHA256"),
    TlsEstablished(
        at=AT, cid=CID, version="1.2", cipher="TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        peer=Certificate(
            subject=((("C", "US"), ("O", "Ä")), (("CN", "bob"),)), emails=("a@b",), dns_names=(),
            uris=("u:1", "u:2"),
            key_sha256="00" * 32, sha256="ff" * 32,
        ),
    ),
    TlsFailed(at=AT, cid=CID, error="EOF"),
    OptionsReloaded(at=AT, options=Options(user="u", tls=TlsOptions(verify=True))),
    LameDuckRequested(at=AT),
    ShutdownRequested(at=AT),
]  # fmt: skip

CHECKSUM: Final = b"\x00\x00\x00\x2a"


def header(options: bytes = b"{}") -> bytes:
    return BANNER + options + b"\n"


def read(journal: bytes) -> list[tuple[Event, int]]:
    return list(read_journal(io.BytesIO(journal).read)[1])


def recorder(write: Callable[[bytes], object], size_max: int = 1 << 20, **options: str | int) -> Recorder:
    return Recorder(Server(Options(**options)), write, size_max)  # type: ignore[arg-type]


# -- what is written -------------------------------------------------------------------------------


def test_a_journal_begins_with_a_line_for_people_that_calls_it_a_secret() -> None:
    written = io.BytesIO()

    recorder(written.write)

    first, second = written.getvalue().splitlines()
    assert first == b"natscore journal 1 - holds credentials and payloads: keep it as secret as a password"
    assert orjson.loads(second)["max_payload"] == 1_048_576


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    assert read(header() + encode_event(event) + CHECKSUM) == [(event, 42)]


def test_every_kind_of_event_was_tried() -> None:
    assert {type(event) for event in EVENTS} == set(Event.__args__)


def test_the_options_are_read_as_they_were() -> None:
    written = io.BytesIO()
    recorder(written.write, user="u", password="p", server_name="sübject", note_level=Level.INFO)

    options, events = read_journal(io.BytesIO(written.getvalue()).read)

    assert options == Options(user="u", password="p", server_name="sübject", note_level=Level.INFO)
    assert list(events) == []


def test_a_recorder_does_what_its_server_does_and_writes_each_event_down() -> None:
    written = io.BytesIO()
    shell = recorder(written.write)

    assert shell.handle(STARTED) == []
    (note,) = shell.handle(OPENED)
    (outbox,) = shell.ready

    assert isinstance(note, Note)
    assert outbox.cid == CID
    assert shell.next_deadline() == shell.server.next_deadline() is not None
    assert [event for event, _ in read(written.getvalue())] == [STARTED, OPENED]


def test_bytes_that_were_lent_are_written_down_before_they_are_taken_back() -> None:
    written = io.BytesIO()
    shell = recorder(written.write)
    memory = bytearray(b"PING\r\n")
    shell.handle(STARTED)
    shell.handle(OPENED)

    shell.handle(BytesReceived(at=AT, cid=CID, data=memoryview(memory)))
    memory[:] = bytes(6)

    assert read(written.getvalue())[-1][0] == BytesReceived(at=AT, cid=CID, data=b"PING\r\n")


def test_an_event_that_was_refused_is_written_down_too() -> None:
    written = io.BytesIO()
    shell = recorder(written.write)
    shell.handle(STARTED)
    early = BytesReceived(at=AT, cid=CID, data=b"PING\r\n")

    with pytest.raises(UsageError):
        shell.handle(early)

    assert read(written.getvalue())[-1] == (early, 0)


def test_recording_stops_before_its_bound_is_passed_and_says_so_once() -> None:
    written = io.BytesIO()
    shell = recorder(written.write)
    shell.handle(STARTED)
    bound = len(written.getvalue()) + 10

    again = io.BytesIO()
    shell = recorder(again.write, bound)
    assert shell.handle(STARTED) == []
    *_, note = shell.handle(OPENED)
    later = shell.handle(BytesReceived(at=AT, cid=CID, data=b"PING\r\n"))

    assert note == Note(Level.WARNING, "journal_stopped", {"reason": "the size bound is reached"})
    assert len(again.getvalue()) <= bound
    assert not any(isinstance(effect, Note) and effect.name == "journal_stopped" for effect in later)
    assert [event for event, _ in read(again.getvalue())] == [STARTED]


class FullDisk:
    """Takes some writes, and then has no space left."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken: list[bytes] = []

    def write(self, data: bytes) -> None:
        if len(self.taken) == self.room:
            raise OSError(28, "No space left on device")
        self.taken.append(data)


@pytest.mark.parametrize("room", [0, 1, 2])
def test_a_full_disk_stops_the_recording_and_never_the_server(room: int) -> None:
    disk = FullDisk(room)
    shell = recorder(disk.write)

    effects = [*shell.handle(STARTED), *shell.handle(OPENED)]
    effects += shell.handle(BytesReceived(at=AT, cid=CID, data=b"PING\r\n"))

    notes = [one for one in effects if isinstance(one, Note) and one.name == "journal_stopped"]
    assert [note.fields for note in notes] == [{"reason": "writing failed: No space left on device"}]
    assert len(disk.taken) == room
    assert b"".join(shell.ready[0].blocks(1 << 20)).endswith(b"PONG\r\n")


def test_a_checksum_tells_effects_and_bytes_apart() -> None:
    def checksum(data: bytes) -> int:
        server = Server()
        server.handle(STARTED)
        checksums = Checksums()
        for event in (OPENED, BytesReceived(at=AT, cid=CID, data=data)):
            last = checksums.of(event, server.handle(event), server.ready)
        return last

    assert checksum(b"PING\r\n") == checksum(b"PING x\r\n")
    assert (
        len({checksum(data) for data in (b"PING\r\n", b"PING\r\nPING\r\n", b"SUB a 1\r\n", b"+OK\r\n", b"X")})
        == 5
    )


# -- what cannot be read ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"hello\n", BANNER[:-1], BANNER.replace(b"1", b"2"), b"\x00" * 200]
)
def test_what_does_not_begin_like_a_journal_is_none(data: bytes) -> None:
    with pytest.raises(JournalError, match="not a natscore journal"):
        read(data)


def test_accounts_and_tls_are_read_as_they_were() -> None:
    written = io.BytesIO()
    exports = (StreamExport(subject=b"a.\xff.>"),)
    accounts = AccountsSettings(accounts=(AccountSettings(name="A", exports=exports),))
    options = Options(accounts=accounts, tls=TlsOptions(first_ns=5))
    Recorder(Server(options), written.write, 1 << 20)

    found, _ = read_journal(io.BytesIO(written.getvalue()).read)

    assert found == options


def test_options_too_long_to_be_read_again_are_not_recorded() -> None:
    written = io.BytesIO()
    accounts = AccountsSettings(accounts=(AccountSettings(name="A" * 5_000_000),))

    kept = Recorder(Server(Options(accounts=accounts)), written.write, 1 << 30)

    assert kept.stopped is not None
    assert kept.stopped.startswith("the options take ")
    assert written.getvalue() == b""


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[]", b"5", b"null", b'"x"', b'{"no_such_option":1}', b"\xff", b'{"port":99999}',
        b'{"max_payload":"x"}',
        b'{"max_payload":99999999}', b'{"user":"u","token":"t"}', b'{"server_name":5}',
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_reported_as_damage(line: bytes) -> None:
    with pytest.raises(JournalError, match="the line of options cannot be read"):
        read(header(line))


def test_a_line_of_options_without_an_end_is_not_read_for_ever() -> None:
    with pytest.raises(JournalError, match="the line of options has no end"):
        read(BANNER + b" " * 4_200_000)


def record(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "big") + body + CHECKSUM


GOOD: Final = encode_event(TurnGranted(at=AT)) + CHECKSUM


@pytest.mark.parametrize(
    "bad",
    [
        record(b"X", b"{}"),
        record(b"\x00", b""),
        record(b"B", b"short"),
        record(b"E", b""),
        record(b"E", b"{"),
        record(b"E", b"5"),
        record(b"E", b"null"),
        record(b"E", b'"text"'),
        record(b"E", b"[]"),
        record(b"E", b"{}"),
        record(b"E", b'{"event":"NoSuchEvent"}'),
        record(b"E", b'{"event":"Instant","at":[1,2]}'),
        record(b"E", b'{"event":5}'),
        record(b"E", b'{"event":[]}'),
        record(b"E", b'{"event":"TurnGranted"}'),
        record(b"E", b'{"event":"TurnGranted","at":5}'),
        record(b"E", b'{"event":"TurnGranted","at":[1]}'),
        record(b"E", b'{"event":"TurnGranted","at":[1,2],"more":1}'),
        record(b"E", b'{"event":"ConnectionClosed","at":[1,2],"cid":5,"why":"BORED"}'),
        record(b"E", b'{"event":"ConnectionOpened","at":[1,2],"cid":5,"kind":"CLIENT","remote":5}'),
        record(
            b"E",
            b'{"event":"ConnectionOpened","at":[1,2],"cid":5,"kind":"CLIENT","remote":["h",1],"nonce":"xx"}',
        ),
        record(
            b"E",
            b'{"event":"ConnectionOpened","at":[1,2],"cid":5,"kind":"CLIENT","remote":["h",1],"nonce":5}',
        ),
        b"E\xff\xff\xff\xff{}",
    ],
)
@pytest.mark.parametrize("good", [0, 2])
def test_a_damaged_record_is_named_by_its_number(bad: bytes, good: int) -> None:
    _, events = read_journal(io.BytesIO(header() + GOOD * good + bad + GOOD).read)
    for _ in range(good):
        next(events)

    with pytest.raises(JournalError, match=f"record {good + 1} is damaged"):
        next(events)


@pytest.mark.parametrize("left", range(1, len(GOOD)))
def test_a_record_that_a_crash_cut_short_ends_the_journal(left: int) -> None:
    assert [event for event, _ in read(header() + GOOD * 2 + GOOD[:left])] == [TurnGranted(at=AT)] * 2

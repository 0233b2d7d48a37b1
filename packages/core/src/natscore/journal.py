"""The journal: every event of a server, in front of `handle`, and what came of it.

A journal is a file that begins with a line for people, which says that it holds
credentials and payloads, and a line with the options. Records follow:

    kind (1 byte) · length (4 bytes) · body · checksum (4 bytes)

`B` is BytesReceived, packed; `E` any other event as JSON. The checksum covers
the effects that the event had and the bytes that each outbox was given, so that
a replay finds the first difference (`natscore.replay`).

`Recorder` has the interface of `Server`, so a shell can run either. Recording
stops at a size bound, or when the disk is full: that is said once, and the
server goes on.
"""

from __future__ import annotations

import enum
import struct
import zlib
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from natscore import events as event_types
from natscore.documents import document_of, value_of
from natscore.effects import Level, Note
from natscore.errors import ConfigError, NatsCoreError
from natscore.events import (
    Address,
    AttemptId,
    BytesReceived,
    Certificate,
    ConnectionClosed,
    ConnectionId,
    ConnectionKind,
    Instant,
    PeerClosing,
)
from natscore.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscore.effects import Effect
    from natscore.events import Event
    from natscore.plane import Outbox
    from natscore.server import Server

__all__ = ["Checksums", "JournalError", "Recorder", "read_journal"]

BANNER: Final = b"natscore journal 1 - holds credentials and payloads: keep it as secret as a password\n"

_HEAD: Final = struct.Struct(">cI")
_RECEIVED: Final = struct.Struct(">QQQ")  # monotonic, wall, cid
_CHECKSUM: Final = struct.Struct(">I")
_ENUMS: Final[dict[str, type[enum.Enum]]] = {"kind": ConnectionKind, "why": PeerClosing}
_EVENTS: Final = {
    name: getattr(event_types, name)
    for name in event_types.__all__
    if is_dataclass(getattr(event_types, name)) and name not in ("Address", "Certificate", "Instant")
}


class JournalError(NatsCoreError):
    """A file is not a journal, or is damaged; the text says where."""


class Checksums:
    """What came of one event, in 32 bits: its effects, and what each outbox was given."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[ConnectionId, int] = {}

    def of(self, event: Event, effects: list[Effect], ready: list[Outbox]) -> int:
        """The checksum after `event` was handled and before anything of `ready` was written."""
        checksum = 0
        for effect in effects:
            checksum = zlib.crc32(repr(effect).encode("utf-8", "backslashreplace"), checksum)
        seen = self._seen
        for outbox in ready:
            fresh = outbox.appended - seen.get(outbox.cid, 0)
            seen[outbox.cid] = outbox.appended
            checksum = zlib.crc32(b"%d:%d;" % (outbox.cid, fresh), checksum)
            for block in outbox.tail_blocks(fresh):
                checksum = zlib.crc32(block, checksum)
        if isinstance(event, ConnectionClosed):
            seen.pop(event.cid, None)
        return checksum


def _options_document(options: Options) -> dict[str, object]:
    """The settings, in words of JSON."""
    return {field.name: document_of(getattr(options, field.name)) for field in fields(options)}


def _options_of(document: dict[str, Any]) -> Options:
    """Settings as they were written. Raises ConfigError."""
    return Options(**{name: value_of(one) for name, one in document.items()})


class Recorder:
    """A server whose events are recorded.

    Args:
        server: a server that has not started.
        write: takes the bytes of the journal; it may raise OSError.
        size_max: the journal's bound in bytes; recording stops before it is passed.
    """

    def __init__(self, server: Server, write: Callable[[bytes], object], size_max: int) -> None:
        self.server = server
        self.stopped: str | None = None  # why nothing is recorded any more
        self._said = False  # ... and whether that was noted
        self._write = write
        self._left = size_max
        self._checksums = Checksums()
        options = orjson.dumps(_options_document(server.options))
        if len(options) > _OPTIONS_MAX:
            self.stopped = f"the options take {len(options)} bytes; a journal has room for {_OPTIONS_MAX}"
        else:
            self._record(BANNER + options + b"\n")

    @property
    def ready(self) -> list[Outbox]:
        """As `Server.ready`."""
        return self.server.ready

    def next_deadline(self) -> int | None:
        """As `Server.next_deadline`."""
        return self.server.next_deadline()

    def handle(self, event: Event) -> list[Effect]:
        """As `Server.handle`. What raises there is recorded without a checksum of its own."""
        if self.stopped is not None:
            return self.server.handle(event) + self._stop_notes()
        record = encode_event(event)
        if len(record) > _RECORD_MAX:
            self.stopped = f"an event takes {len(record)} bytes; a record has room for {_RECORD_MAX}"
            return self.server.handle(event) + self._stop_notes()
        try:
            effects = self.server.handle(event)
        except BaseException:
            self._record(record + _CHECKSUM.pack(0))
            raise
        checksum = self._checksums.of(event, effects, self.server.ready)
        self._record(record + _CHECKSUM.pack(checksum))
        effects += self._stop_notes()
        return effects

    def _stop_notes(self) -> list[Effect]:
        if self.stopped is None or self._said:
            return []
        self._said = True
        return [Note(Level.WARNING, "journal_stopped", {"reason": self.stopped})]

    def _record(self, data: bytes) -> None:
        if len(data) > self._left:
            self.stopped = "the size bound is reached"
            return
        self._left -= len(data)
        try:
            self._write(data)
        except OSError as error:
            self.stopped = f"writing failed: {error.strerror}"


def encode_event(event: Event) -> bytes:
    """A record without its checksum."""
    if isinstance(event, BytesReceived):  # a copy: the data is the shell's again when it was handled
        body = _RECEIVED.pack(event.at.monotonic_ns, event.at.wall_ns, event.cid) + event.data
        return _HEAD.pack(b"B", len(body)) + body
    document: dict[str, object] = {"event": type(event).__name__}
    for field in fields(event):
        document[field.name] = _plain(getattr(event, field.name))
    body = orjson.dumps(document)
    return _HEAD.pack(b"E", len(body)) + body


def _plain(value: object) -> object:
    if isinstance(value, Options):
        return _options_document(value)
    if isinstance(value, Instant):
        return [value.monotonic_ns, value.wall_ns]
    if isinstance(value, Address):
        return [value.host, value.port]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Certificate):
        return asdict(value)
    if isinstance(value, enum.Enum):
        return value.name
    return value


def _frozen(value: Any) -> Any:
    """Tuples for lists, all the way down."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _decode_event(kind: bytes, body: bytes) -> Event:
    if kind == b"B":
        monotonic, wall, cid = _RECEIVED.unpack_from(body)
        return BytesReceived(at=Instant(monotonic, wall), cid=ConnectionId(cid), data=body[_RECEIVED.size :])
    document: dict[str, Any] = orjson.loads(body)
    event_type = _EVENTS[document.pop("event")]
    for key, value in document.items():
        if key == "at":
            document[key] = Instant(*value)
        elif key in ("remote", "address"):
            document[key] = Address(*value)
        elif key in _ENUMS:
            document[key] = _ENUMS[key][value]
        elif key == "peer" and value is not None:
            document[key] = Certificate(**{name: _frozen(member) for name, member in value.items()})
        elif key == "options":
            document[key] = _options_of(value)
        elif key == "nonce":
            document[key] = bytes.fromhex(value)
        elif key == "cid":
            document[key] = ConnectionId(value)
        elif key == "attempt" and value is not None:
            document[key] = AttemptId(value)
    event: Event = event_type(**document)
    return event


def read_journal(read: Callable[[int], bytes]) -> tuple[Options, Iterator[tuple[Event, int]]]:
    """The options of a recorded server, and its events with their checksums.

    `read` returns up to n bytes, none at the end. A record that the crash of a
    server cut short ends the journal.

    Raises:
        JournalError: what is read is not a journal; while iterating: it is damaged.
    """
    if read(len(BANNER)) != BANNER:
        raise JournalError("this is not a natscore journal (its first line differs)")
    line = bytearray()
    while (byte := read(1)) not in (b"\n", b""):
        line += byte
        if len(line) > _OPTIONS_MAX:
            raise JournalError("the line of options has no end")
    try:
        options = _options_of(orjson.loads(line))
    except (orjson.JSONDecodeError, AttributeError, TypeError, ConfigError) as error:
        raise JournalError(f"the line of options cannot be read: {error}") from error
    return options, _read_records(read)


def _read_records(read: Callable[[int], bytes]) -> Iterator[tuple[Event, int]]:
    number = 0
    while len(head := read(_HEAD.size)) == _HEAD.size:
        number += 1
        kind, length = _HEAD.unpack(head)
        if kind not in (b"B", b"E") or length > _RECORD_MAX:
            raise JournalError(f"record {number} is damaged")
        body = read(length)
        tail = read(_CHECKSUM.size)
        if len(body) < length or len(tail) < _CHECKSUM.size:
            return
        try:
            event = _decode_event(kind, body)
        except (AttributeError, ConfigError, KeyError, TypeError, ValueError, struct.error) as error:
            raise JournalError(f"record {number} is damaged: {error!r}") from error
        yield event, _CHECKSUM.unpack(tail)[0]


_OPTIONS_MAX: Final = 4_194_304  # thousands of accounts make a line of megabytes
_RECORD_MAX: Final = 16_777_216  # no shell reads more than 64 KiB at once

"""Everything that can happen to a server.

An event is something that happened outside the state machine: bytes came, a
connection went away, an instant was reached. A shell (the TCP runtime, the
simulator, a test) builds events and feeds them to `Server.handle`, which
answers with effects and with outboxes that have something to write. Events
carry the instant at which they happened and every secret the server needs,
because the core has neither a clock nor randomness.

Events are public API: adding a field is a minor version, changing a meaning a
major one. Nobody subclasses them, and nobody changes one (`values`).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NewType, TypeAlias

from natscore.values import keyword_value, value

if TYPE_CHECKING:
    from natscore.options import Options

__all__ = [
    "Address",
    "AttemptId",
    "BytesReceived",
    "Certificate",
    "ConnectionClosed",
    "ConnectionId",
    "ConnectionKind",
    "ConnectionOpened",
    "DeadlineReached",
    "DialFailed",
    "Event",
    "Instant",
    "LameDuckRequested",
    "ListenerOpened",
    "OptionsReloaded",
    "PasswordVerified",
    "PeerClosing",
    "ServerStarted",
    "ShutdownRequested",
    "TlsEstablished",
    "TlsFailed",
    "TurnGranted",
    "WriteBlocked",
    "WriteProgressed",
]

ConnectionId = NewType("ConnectionId", int)
"""The `cid`: unique in one process, drawn from one counter by the shell."""

AttemptId = NewType("AttemptId", int)
"""Names one effect that gets an answer, and that answer."""


class ConnectionKind(enum.Enum):
    """What speaks at the other end. The value is the label in log lines."""

    CLIENT = "cid"
    ROUTE = "rid"
    GATEWAY = "gid"
    LEAF = "lid"


class PeerClosing(enum.Enum):
    """How a connection ended when it was not the server that ended it."""

    END_OF_STREAM = "the peer closed its side"
    READ_ERROR = "reading from the socket failed"
    WRITE_ERROR = "writing to the socket failed"
    FINISHED = "the close that the server asked for is done"


@value
class Instant:
    """One moment on both clocks, in nanoseconds.

    `monotonic_ns` never goes back and measures durations; `wall_ns` is Unix
    time and is what people and tokens mean by a date.
    """

    monotonic_ns: int
    wall_ns: int


@value
class Address:
    """Where a peer is: a host without brackets, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@value
class Certificate:
    """What the certificate of a peer says, once it was verified."""

    # The name, part by part in the order of the certificate. A part is one or more pairs of an attribute
    # and its value; an attribute is the short name of RFC 4514 (`CN`), or numbers with dots.
    subject: tuple[tuple[tuple[str, str], ...], ...]
    emails: tuple[str, ...]  # these three: its alternative names, by kind
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]
    key_sha256: str  # of the SubjectPublicKeyInfo in DER, in lower-case hex
    sha256: str  # of the whole certificate


@keyword_value
class ServerStarted:
    """The first event, exactly once: who this server is, and its seed."""

    at: Instant
    server_id: str  # `N` and 55 base32 characters: the public nkey of this process start
    seed: int  # 64 bits; every choice the core makes is drawn from it
    runtime: str  # shown as INFO `go`; for example "python3.11.7"


@keyword_value
class ListenerOpened:
    """A listener is bound; a port of -1 has become a real one."""

    at: Instant
    kind: ConnectionKind
    address: Address


@keyword_value
class ConnectionOpened:
    """A transport finished connecting or accepting."""

    at: Instant
    cid: ConnectionId
    kind: ConnectionKind
    remote: Address
    solicited: bool = False  # we dialled; the peer did not
    nonce: bytes = b""  # 11 bytes drawn by the shell; sent when a login may sign it
    attempt: AttemptId | None = None  # of the Dial that this answers


@keyword_value
class BytesReceived:
    """A read returned bytes; at most 64 KiB, never none.

    A memoryview is read before `Server.handle` returns; after that its memory is the shell's again.
    """

    at: Instant
    cid: ConnectionId
    data: bytes | memoryview


@keyword_value
class ConnectionClosed:
    """A connection is gone. Exactly once for every ConnectionOpened."""

    at: Instant
    cid: ConnectionId
    why: PeerClosing


@keyword_value
class WriteBlocked:
    """The kernel refused bytes: `refused` of this outbox stay, and writability is awaited.

    Fed directly after the flush that was refused, before any other event.
    Silence means that everything was written, or will be: `natscore.plane.HELD_MAX`
    bytes may wait for a flush while reads are handled.
    """

    at: Instant
    cid: ConnectionId
    refused: int


@keyword_value
class WriteProgressed:
    """After WriteBlocked: the kernel took more; `refused` bytes are left (0: unblocked)."""

    at: Instant
    cid: ConnectionId
    refused: int


@keyword_value
class DeadlineReached:
    """The instant that `Server.next_deadline` named has come. Early or late does no harm."""

    at: Instant


@keyword_value
class TurnGranted:
    """The answer to Continue: other connections had their chance, go on."""

    at: Instant


@keyword_value
class DialFailed:
    """The answer to a Dial that did not connect."""

    at: Instant
    attempt: AttemptId
    error: str


@keyword_value
class PasswordVerified:
    """The answer to VerifyPassword. For a connection gone meanwhile it is dropped."""

    at: Instant
    attempt: AttemptId
    cid: ConnectionId
    matches: bool


@keyword_value
class TlsEstablished:
    """The answer to StartTls: from now on the bytes of this connection are decrypted by the shell."""

    at: Instant
    cid: ConnectionId
    version: str  # "1.2" or "1.3"
    cipher: str  # its IANA name
    peer: Certificate | None = None  # verified; None: none was asked for


@keyword_value
class TlsFailed:
    """The other answer to StartTls. The connection is still there, for Close to end."""

    at: Instant
    cid: ConnectionId
    error: str


@keyword_value
class OptionsReloaded:
    """New settings take the place of the old ones, whole; `natscore.reload` says which cannot."""

    at: Instant
    options: Options


@keyword_value
class LameDuckRequested:
    """Part from every client, gently; the shell has closed the listeners of clients. Answered by ShutDown."""

    at: Instant


@keyword_value
class ShutdownRequested:
    """Close every connection; the shell has closed the listeners."""

    at: Instant


Event: TypeAlias = (
    ServerStarted
    | ListenerOpened
    | ConnectionOpened
    | BytesReceived
    | ConnectionClosed
    | WriteBlocked
    | WriteProgressed
    | DeadlineReached
    | TurnGranted
    | DialFailed
    | PasswordVerified
    | TlsEstablished
    | TlsFailed
    | OptionsReloaded
    | LameDuckRequested
    | ShutdownRequested
)

"""What is published and what must arrive, as prebuilt bytes; no sockets here.

A message carries its publisher (one letter) and its sequence number, so the whole
output of the server is known beforehand:

- Where one publisher feeds each subscriber, a subscriber must receive exactly one
  stream of bytes. `InOrder` compares what arrives with that stream, chunk by chunk,
  which costs one memcmp and proves count, order and content at once. The stream is a
  ring: sequence numbers start again after `ring_messages`, and the total is counted.
- Where publishers are interleaved or a queue group divides the messages, the order
  between them is the server's choice. `Collected` keeps the bytes and takes them
  apart after the clock has stopped. Numbers are never reused there.

All messages of one traffic have the same length, so a message boundary is a multiple.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Protocol

__all__ = [
    "CHUNK_BYTES_MAX",
    "CONTROL_LINE",
    "PAYLOAD_BYTES_MIN",
    "Collected",
    "Expected",
    "InOrder",
    "Receiver",
    "StreamFault",
    "Traffic",
    "delivered_ring",
    "expected_stream",
    "published_ring",
    "receiver",
    "subscriptions",
    "verify",
]

PAYLOAD_BYTES_MIN: Final = 16
SEQUENCE_DIGITS: Final = 11
LETTERS: Final = b"abcdefgh"

CHUNK_BYTES_MAX: Final = 262_144
"""The most that a receiver is fed at once."""

RING_BYTES: Final = 1_048_576
"""About the size of a ring: it stays in the cache, so that sending it costs little more than the copy."""

RING_MESSAGES_MIN: Final = 16  # of 64 KiB each

FRESH_SUBJECTS_MAX: Final = 10_000_000
"""The ring of such a traffic has all its messages."""

FRESH_DIGITS: Final = 7

HELD_BYTES_MAX: Final = 4096
"""The longest incomplete line that is not a message; INFO is longer, but it comes before any message."""

MESSAGES_PER_MEMBER_EXPECTED: Final = 100
"""With that many published for each member of a queue group, a member without any was left out."""

CONTROL_LINE: Final = re.compile(rb"(PING|PONG|\+OK|INFO [^\r\n]*|-ERR [^\r\n]*)\r\n")
_CONTROL_START: Final = re.compile(rb"[PI+-][^\r\n]*\r?")
_PONG: Final = b"PONG\r\n"
_MESSAGE: Final = re.compile(rb"H?MSG [^\r]+\r\n(?:NATS/1\.0\r\n[^\r]*\r\n\r\n)?[a-h](\d{11})")

_HEADERS: Final = b"NATS/1.0\r\nBench: %s\r\n\r\n"
HEADER_BYTES_MIN: Final = len(_HEADERS % b".")

SHUFFLE_SEED: Final = 2026
"""Subjects at random stand in one order, the same in every process and every run."""


class StreamFault(Exception):
    """What arrived is not what was published: the run has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Who publishes what to whom.

    Every publisher publishes to the same subjects in rotation; every subscriber
    subscribes to all of them, in one queue group if `queue_group`. Without
    subscribers the load is publishing only.
    """

    publishers: int = 1
    subscribers: int = 1
    payload_bytes: int = PAYLOAD_BYTES_MIN
    header_bytes: int = 0
    """The header block in front of each payload; 0: none, and PUB in place of HPUB."""
    subjects: int = 1
    shuffled: bool = False
    """Whether the rotation goes through the subjects in a pseudo-random order."""
    under_wildcard: bool = False
    """Whether a subscriber asks for `>` in place of the subjects."""
    published_subjects: int | None = None
    """So many of the subjects are published to, and nothing to the others; None: to all."""
    last_tokens_fresh: bool = False
    """Whether subscribers ask for `bench.<n>.*` and the last token of a published subject is used once."""
    queue_group: bool = False
    sids_differ: bool = False
    """Whether each subscriber has a sid of its own, so that no two get the same bytes."""
    messages_max: int = 1_000_000_000
    """Where a publisher stops even when time is left. Where received bytes are kept, this bounds memory."""

    def __post_init__(self) -> None:
        if not self.payload_bytes >= PAYLOAD_BYTES_MIN:
            raise ValueError(
                f"payload of {self.payload_bytes} bytes; a sequence number needs {PAYLOAD_BYTES_MIN}"
            )
        if not 1 <= self.publishers <= len(LETTERS):
            raise ValueError(f"{self.publishers} publishers; there are {len(LETTERS)} letters for them")
        if self.keeps_received and self.messages_max > 10_000_000:
            raise ValueError("interleaved streams are kept in memory and need a messages_max")
        if self.sids_differ and (self.keeps_received or self.subjects > 1):
            raise ValueError("sids differ where order is known and there is one subject")
        if self.keeps_received and (self.subjects > 1 or self.header_bytes):
            raise ValueError("interleaved streams have one subject and no headers")
        if 0 < self.header_bytes < HEADER_BYTES_MIN:
            raise ValueError(f"headers of {self.header_bytes} bytes; there is none below {HEADER_BYTES_MIN}")
        if self.last_tokens_fresh and self.messages_max > FRESH_SUBJECTS_MAX:
            raise ValueError(f"fresh tokens are for a messages_max of at most {FRESH_SUBJECTS_MAX}")

    @property
    def keeps_received(self) -> bool:
        """Whether the order of arrival is not known beforehand."""
        return self.queue_group or (self.publishers > 1 and self.subscribers > 0)

    @property
    def ring_messages(self) -> int:
        """How many messages have numbers of their own; a multiple of the rotation."""
        wanted = max(RING_BYTES // (self.payload_bytes + 16), RING_MESSAGES_MIN)
        if self.keeps_received or self.last_tokens_fresh:
            wanted = self.messages_max
        rotation = self.published_subjects or self.subjects
        return -(-min(wanted, self.messages_max) // rotation) * rotation

    @property
    def deliveries_per_message(self) -> int:
        """How many subscribers receive a message."""
        return 1 if self.queue_group else self.subscribers


def published_ring(traffic: Traffic, publisher: int) -> bytes:
    """The PUB lines of one publisher, from number 0 on, until the numbers start again."""
    verb, sizes = b"HPUB" if traffic.header_bytes else b"PUB", _sizes(traffic)
    return _ring(traffic, publisher, [b"%s %s %s\r\n" % (verb, s, sizes) for s, _ in _published(traffic)])


def delivered_ring(traffic: Traffic, publisher: int, subscriber: int = 0) -> bytes:
    """The MSG lines that answer `published_ring` at one subscriber."""
    verb, sizes = b"HMSG" if traffic.header_bytes else b"MSG", _sizes(traffic)
    lines = [b"%s %s %s %s\r\n" % (verb, s, sid, sizes) for s, sid in _published(traffic, subscriber)]
    return _ring(traffic, publisher, lines)


def subscriptions(traffic: Traffic, subscriber: int = 0) -> list[tuple[bytes, bytes]]:
    """Subject and sid of what a subscriber asks for."""
    if traffic.under_wildcard:
        return [(b">", b"1")]
    asked = _subjects(traffic, subscriber)
    if traffic.last_tokens_fresh:
        return [(subject.rpartition(b".")[0] + b".*", sid) for subject, sid in asked]
    return asked


def _subjects(traffic: Traffic, subscriber: int = 0) -> list[tuple[bytes, bytes]]:
    """The subjects, each with the sid of who asks for it; all of one length."""
    if traffic.subjects == 1:
        return [(b"bench.one", b"%d" % (1 + subscriber if traffic.sids_differ else 1))]
    width = len(str(traffic.subjects))
    first = 10**width  # sids of one length
    return [(b"bench.%0*d.created" % (width, n), b"%d" % (first + n)) for n in range(traffic.subjects)]


def _published(traffic: Traffic, subscriber: int = 0) -> list[tuple[bytes, bytes]]:
    """Subject and sid of one round of messages, in the order of publishing."""
    subjects = _subjects(traffic, subscriber)
    if traffic.shuffled:
        random.Random(SHUFFLE_SEED).shuffle(subjects)
    subjects = subjects[: traffic.published_subjects]
    if traffic.under_wildcard:
        return [(subject, b"1") for subject, _ in subjects]
    return subjects


def _sizes(traffic: Traffic) -> bytes:
    """The last arguments of the line of a message."""
    if traffic.header_bytes:
        return b"%d %d" % (traffic.header_bytes, traffic.header_bytes + traffic.payload_bytes)
    return b"%d" % traffic.payload_bytes


def _ring(traffic: Traffic, publisher: int, heads: list[bytes]) -> bytes:
    filler = b"." * (traffic.header_bytes - HEADER_BYTES_MIN + 1)
    headers = _HEADERS % filler if traffic.header_bytes else b""
    body = headers + _body_format(traffic, publisher)
    size = len(heads)
    rounds = range(0, traffic.ring_messages, size)
    # One format for a whole round of subjects: rings of a million messages are built before a run.
    if traffic.last_tokens_fresh:
        fresh = b".%%0%dd " % FRESH_DIGITS
        round_format = b"".join([head.replace(b".created ", fresh) + body + b"\r\n" for head in heads])
        twice = [tuple(itertools.chain.from_iterable((n, n) for n in range(s, s + size))) for s in rounds]
        return b"".join([round_format % numbers for numbers in twice])
    round_format = b"".join([head + body + b"\r\n" for head in heads])
    return b"".join([round_format % tuple(range(n, n + size)) for n in rounds])


class Expected:
    """The one stream that may arrive, long enough that any chunk of it is one comparison."""

    def __init__(self, ring: bytes, bytes_per_message: int) -> None:
        """Expect `ring` over and over."""
        self.ring_bytes = len(ring)
        self.per_message = bytes_per_message
        # A chunk may start anywhere in the ring.
        needed = len(ring) + CHUNK_BYTES_MAX + bytes_per_message + HELD_BYTES_MAX
        whole, rest = divmod(needed, len(ring))
        self.stream = ring * whole + ring[:rest]


def expected_stream(traffic: Traffic, subscriber: int = 0) -> Expected:
    """What a subscriber gets of publisher 0; shared by the receivers that get the same."""
    ring = delivered_ring(traffic, 0, subscriber)
    return Expected(ring, len(ring) // traffic.ring_messages)


class Receiver(Protocol):
    """What one subscriber has received. `feed` raises StreamFault when that cannot be right."""

    message_bytes: int
    """Received bytes that belong to messages."""

    pings_unanswered: int
    quiet: bool
    """The server has answered the PING that was sent after everything else."""

    def feed(self, data: memoryview, /) -> None:
        """Take the next bytes, at most CHUNK_BYTES_MAX."""


def receiver(expected: Expected | None) -> Receiver:
    """A fresh receiver for one subscriber. None: what it gets is not known beforehand, and kept."""
    return Collected() if expected is None else InOrder(expected)


class InOrder:
    """Compares what arrives with the one stream that may arrive."""

    def __init__(self, expected: Expected) -> None:
        """Start at its first message."""
        self._ring_bytes = expected.ring_bytes
        self._per_message = expected.per_message
        self._expected = expected.stream
        self._held = b""
        self.message_bytes = 0
        self.pings_unanswered = 0
        self.quiet = False

    @property
    def messages(self) -> int:
        """Complete messages received."""
        return self.message_bytes // self._per_message

    def feed(self, data: memoryview, /) -> None:
        """Take the next bytes, at most CHUNK_BYTES_MAX."""
        if self._held:
            data = memoryview(self._held + data)
            self._held = b""
        while data:
            if self._expected.startswith(data, self.message_bytes % self._ring_bytes):
                if self.quiet:
                    raise StreamFault(f"a message after the last one, number {self.messages}, was received")
                self.message_bytes += len(data)
                return
            data = self._take_control_line(data)

    def _take_control_line(self, data: memoryview) -> memoryview:
        """Take the messages that are right and the line behind them; the rest is returned."""
        offset = self.message_bytes % self._ring_bytes
        right = self._common_length(data, offset)
        boundary = (offset + right) // self._per_message * self._per_message
        rest = self._expected[boundary : offset + right] + data[right:]
        self.message_bytes += boundary - offset
        if line := CONTROL_LINE.match(rest):
            if line[1] == b"PING":
                self.pings_unanswered += 1
            elif line[1] == b"PONG":
                self.quiet = True
            elif line[1].startswith(b"-ERR"):
                raise StreamFault(f"the server says {line[1].decode(errors='replace')}")
            return memoryview(rest)[line.end() :]
        if len(rest) <= HELD_BYTES_MAX and _CONTROL_START.fullmatch(rest):
            self._held = rest
            return memoryview(b"")
        raise StreamFault(self._describe(rest))

    def _common_length(self, data: memoryview, offset: int) -> int:
        low, high = 0, len(data)
        while low < high:
            middle = (low + high + 1) // 2
            if self._expected.startswith(data[:middle], offset):
                low = middle
            else:
                high = middle - 1
        return low

    def _describe(self, rest: bytes) -> str:
        wanted = self.messages % (self._ring_bytes // self._per_message)
        text = f"message number {wanted} expected ({self.messages} were right), "
        if (message := _MESSAGE.match(rest)) and int(message[1]) != wanted:
            return text + f"number {int(message[1])} received: one is missing, repeated or out of order"
        return text + f"{rest[:80]!r} received"


class Collected:
    """Keeps what arrives; `payloads` takes it apart."""

    def __init__(self) -> None:
        """Nothing is expected yet: only `verify` knows."""
        self._chunks: list[bytes] = []
        self._tail = b""
        self.message_bytes = 0
        self.pings_unanswered = 0  # not noticed here: a server waits minutes for a PONG
        self.quiet = False

    def feed(self, data: memoryview, /) -> None:
        """Take the next bytes; only their end is looked at."""
        chunk = bytes(data)
        self._chunks.append(chunk)
        self.message_bytes += len(chunk)
        self._tail = (self._tail + chunk[-len(_PONG) :])[-len(_PONG) :]
        if self._tail == _PONG:  # no payload ends so
            self.quiet = True
            self.message_bytes -= len(_PONG)

    def payloads(self, head: bytes) -> list[bytes]:
        """The bodies of all messages in order of arrival, each of which must come under `head`."""
        lines = b"".join(self._chunks).removesuffix(_PONG).split(b"\r\n")
        if (cut := lines.pop()) != b"":
            raise StreamFault(f"the stream ends in the middle of a line: {cut[:80]!r}")
        if lines[0::2].count(head) * 2 != len(lines):
            lines = [line for line in lines if line != b"PING" and not line.startswith(b"INFO ")]
        heads = lines[0::2]
        if heads.count(head) * 2 != len(lines):
            stray = next((line for line in heads if line != head), b"half a message")
            raise StreamFault(f"{stray[:80]!r} received in place of a message")
        return lines[1::2]


def verify(traffic: Traffic, receivers: list[Receiver], published: list[int]) -> None:
    """Check that `receivers` hold exactly what was published; `published` counts messages by publisher.

    Raises StreamFault with the first difference.
    """
    expected = _payloads(traffic, published) if traffic.keeps_received else []
    if traffic.queue_group:
        _verify_queue_group(traffic, receivers, expected)
        return
    for number, one in enumerate(receivers):
        try:
            if isinstance(one, InOrder):
                _verify_count(one.messages, sum(published))
            elif isinstance(one, Collected):
                _verify_interleaved(traffic, one, expected)
        except StreamFault as fault:
            raise StreamFault(f"subscriber {number}: {fault}") from None


def _verify_count(received: int, published: int) -> None:
    if received != published:
        raise StreamFault(f"{received} messages received of {published} published")


def _verify_interleaved(traffic: Traffic, one: Collected, expected: list[bytes]) -> None:
    """Every publisher's messages arrived once and in the order they were published."""
    arrived = one.payloads(_head(traffic))
    arrived.sort(key=itemgetter(0))  # by letter, and stable: the order within a publisher stays
    _verify_equal(arrived, expected)


def _verify_queue_group(traffic: Traffic, receivers: list[Receiver], expected: list[bytes]) -> None:
    """Every message arrived at one member, and each member saw a publisher's messages in order."""
    union: list[bytes] = []
    for number, one in enumerate(receivers):
        if not isinstance(one, Collected):
            raise TypeError(f"a member of a queue group keeps what it receives; got {one!r}")
        arrived = one.payloads(_head(traffic))
        # Bodies sort as they were published: by letter, then by number.
        if sorted(arrived, key=itemgetter(0)) != sorted(arrived):
            raise StreamFault(f"member {number} received messages out of order")
        if not arrived and len(expected) >= MESSAGES_PER_MEMBER_EXPECTED * len(receivers):
            raise StreamFault(f"member {number} of the queue group received nothing")
        union += arrived
    union.sort()
    _verify_equal(union, expected)


def _verify_equal(arrived: list[bytes], expected: list[bytes]) -> None:
    if arrived == expected:
        return
    if missing := Counter(expected) - Counter(arrived):
        raise StreamFault(
            f"{missing.total()} of {len(expected)} messages are missing, first {min(missing)[:12]!r}"
        )
    if surplus := Counter(arrived) - Counter(expected):
        raise StreamFault(f"{surplus.total()} messages too many, first {min(surplus)[:12]!r}")
    pairs = zip(arrived, expected, strict=True)
    got, wanted = next(pair for pair in pairs if pair[0] != pair[1])
    raise StreamFault(f"message {wanted[:12]!r} expected, {got[:12]!r} received: out of order")


def _payloads(traffic: Traffic, published: list[int]) -> list[bytes]:
    """The bodies of all that was published, by publisher and number."""
    return [
        body % sequence
        for publisher, count in enumerate(published)
        for body in [_body_format(traffic, publisher)]
        for sequence in range(count)
    ]


def _body_format(traffic: Traffic, publisher: int) -> bytes:
    """A body but for its number, which `%` puts in: letter, number, filler."""
    filler = b"." * (traffic.payload_bytes - SEQUENCE_DIGITS - 1)
    return b"%c%%0%dd" % (LETTERS[publisher], SEQUENCE_DIGITS) + filler


def _head(traffic: Traffic) -> bytes:
    [(subject, sid)] = _subjects(traffic)
    return b"MSG %s %s %d" % (subject, sid, traffic.payload_bytes)

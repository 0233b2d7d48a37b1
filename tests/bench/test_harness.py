"""The load notices what it must not count.

The peers are `benchmarks.relay`, made to misbehave. Those tests use real sockets on
loopback and load processes; every wait in them is bounded by the harness.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from typing import TYPE_CHECKING, Final

import pytest
from benchmarks.client import RunFailure
from benchmarks.load import Pass, TrafficTimes, run_traffic
from benchmarks.relay import Relay, RequestRelay
from benchmarks.requests import run_requests
from benchmarks.streams import (
    Expected,
    InOrder,
    Receiver,
    StreamFault,
    Traffic,
    delivered_ring,
    expected_stream,
    published_ring,
    receiver,
    subscriptions,
    verify,
)
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PASS_SECONDS: Final = 0.05
SILENCE_SECONDS: Final = 2.0

ONE_TO_ONE: Final = Traffic(messages_max=1000)
ROTATION: Final = Traffic(messages_max=1000, subjects=100, payload_bytes=128)
FOUR_TO_FOUR: Final = Traffic(publishers=4, subscribers=4, messages_max=1000)
QUEUE_GROUP: Final = Traffic(subscribers=4, queue_group=True, messages_max=5000)
HEADERS: Final = Traffic(messages_max=1000, header_bytes=64, payload_bytes=64)
DISTINCT: Final = Traffic(messages_max=1000, subjects=1000, shuffled=True, under_wildcard=True)
FRESH: Final = Traffic(messages_max=1000, subjects=100, shuffled=True, last_tokens_fresh=True)
FAULT_AT: Final = 300


# Load processes, and a peer on a socket


class FaultyRelay(Relay):
    """A relay whose messages go through `fault`: numbered messages in, messages out."""

    def __init__(self, traffic: Traffic, fault: Callable[[dict[int, bytes]], list[bytes]]) -> None:
        """Listen."""
        super().__init__(traffic)
        self._fault = fault

    def deliver(self, subscriber: socket.socket, stream: bytes, first: int) -> None:
        size = self.delivered_bytes
        messages = {first + at // size: stream[at : at + size] for at in range(0, len(stream), size)}
        subscriber.sendall(b"".join(self._fault(messages)))


class ClosingRelay(Relay):
    """A relay that closes the connections of subscribers at the first message."""

    def deliver(self, subscriber: socket.socket, stream: bytes, first: int) -> None:
        with contextlib.suppress(OSError):  # it may be closed already
            subscriber.shutdown(socket.SHUT_RDWR)


class RefusingRelay(Relay):
    """A relay that closes the connection of a publisher at the first message."""

    def deliver(self, subscriber: socket.socket, stream: bytes, first: int) -> None:
        raise OSError("so that the relay closes the connection it reads from")


class SilentRelay(Relay):
    """A relay that says nothing more, not even PONG, once it has delivered something."""

    has_delivered = False

    def deliver(self, subscriber: socket.socket, stream: bytes, first: int) -> None:
        super().deliver(subscriber, stream, first)
        self.has_delivered = True

    def answer_ping(self, connection: socket.socket) -> None:
        if not self.has_delivered:
            super().answer_ping(connection)


class RecordingRequestRelay(RequestRelay):
    """A relay that keeps the subjects of replies."""

    def __init__(self) -> None:
        """Listen."""
        super().__init__()
        self.reply_subjects: list[bytes] = []

    def passed_on(self, subject: bytes, rest: bytes) -> bytes:
        if subject.startswith(b"_INBOX."):
            self.reply_subjects.append(subject)
        return super().passed_on(subject, rest)


class ForgetfulRequestRelay(RecordingRequestRelay):
    """A relay that sends the second reply under the subject of the first."""

    def passed_on(self, subject: bytes, rest: bytes) -> bytes:
        message = super().passed_on(subject, rest)
        return message if not self.reply_subjects else message.replace(subject, self.reply_subjects[0])


class RefusingRequestRelay(RequestRelay):
    """A relay that closes the connection of the requester at its first request."""

    def passed_on(self, subject: bytes, rest: bytes) -> bytes:
        raise OSError("so that the relay closes the connection it reads from")


def without_one(messages: dict[int, bytes]) -> list[bytes]:
    """One message is lost."""
    return [message for number, message in messages.items() if number != FAULT_AT]


def without_the_last(messages: dict[int, bytes]) -> list[bytes]:
    """The last message is lost, so that the stream is right as far as it goes."""
    return [message for number, message in messages.items() if number != ONE_TO_ONE.messages_max - 1]


def with_one_twice(messages: dict[int, bytes]) -> list[bytes]:
    """One message is repeated."""
    return [m for number, m in messages.items() for _ in range(2 if number == FAULT_AT else 1)]


def with_two_swapped(messages: dict[int, bytes]) -> list[bytes]:
    """One message overtakes another, wherever one read of the relay holds more than one."""
    first, *rest = messages.values()
    return [*rest, first]


def with_one_damaged(messages: dict[int, bytes]) -> list[bytes]:
    """One byte of the filler of one body is another."""
    return [m.replace(b".\r", b"!\r") if number == FAULT_AT else m for number, m in messages.items()]


def with_an_error(messages: dict[int, bytes]) -> list[bytes]:
    """The peer complains between two messages."""
    return [*messages.values(), b"-ERR 'Slow Consumer'\r\n"]


@contextlib.contextmanager
def serving(relay: Relay) -> Iterator[Relay]:
    """The relay in a thread, which has ended when the block ends."""
    thread = threading.Thread(target=relay.serve, name="relay")
    thread.start()
    try:
        yield relay
    finally:
        relay.stop()
        thread.join()


def load(relay: Relay, traffic: Traffic) -> list[TrafficTimes]:
    """Two passes of `traffic` over `relay`."""
    with serving(relay):
        passes = [Pass(PASS_SECONDS), Pass(PASS_SECONDS)]
        return run_traffic(traffic, relay.address, passes, silence_seconds=SILENCE_SECONDS)


@pytest.mark.parametrize(
    ("traffic", "deliveries"),
    [
        (Traffic(subscribers=0, messages_max=1000), 1000),
        (ONE_TO_ONE, 1000),
        (ROTATION, 1000),
        (Traffic(subscribers=3, messages_max=1000), 3000),
        (FOUR_TO_FOUR, 16_000),
        (QUEUE_GROUP, 5000),
        (HEADERS, 1000),
        (DISTINCT, 1000),
        (FRESH, 1000),
    ],
    ids=[
        "publish-only",
        "one-to-one",
        "rotation",
        "one-to-three",
        "four-to-four",
        "queue-group",
        "headers",
        "distinct",
        "fresh",
    ],
)
def test_a_peer_that_delivers_everything_passes_and_is_counted(traffic: Traffic, deliveries: int) -> None:
    passes = load(Relay(traffic), traffic)

    assert [times.messages for times in passes] == [deliveries, deliveries]
    assert all(times.seconds > 0 for times in passes)


@pytest.mark.parametrize(
    ("traffic", "fault", "said"),
    [
        (ONE_TO_ONE, without_one, "number 300 expected .300 were right., number 301 received"),
        (ONE_TO_ONE, without_the_last, "999 messages received of 1000"),
        (ONE_TO_ONE, with_one_twice, "number 301 expected .301 were right., number 300 received"),
        (ONE_TO_ONE, with_two_swapped, "number 0 expected .0 were right., number 1 received"),
        (ONE_TO_ONE, with_one_damaged, "number 300 expected .* received"),
        (ONE_TO_ONE, with_an_error, "-ERR 'Slow Consumer'"),
        (ROTATION, without_one, "number 300 expected .300 were right., number 301 received"),
        (HEADERS, without_one, "number 300 expected .300 were right., number 301 received"),
        (HEADERS, with_one_damaged, "number 300 expected .* received"),
        (DISTINCT, without_one, "number 300 expected .300 were right., number 301 received"),
        (DISTINCT, with_two_swapped, "number 0 expected .0 were right., number 1 received"),
        (FRESH, with_one_twice, "number 301 expected .301 were right., number 300 received"),
        (FOUR_TO_FOUR, without_one, "4 of 4000 messages are missing, first b'a00000000300'"),
        (FOUR_TO_FOUR, with_one_twice, "4 messages too many, first b'a00000000300'"),
        (FOUR_TO_FOUR, with_two_swapped, "b'a00000000000' expected, .* out of order"),
        (FOUR_TO_FOUR, with_one_damaged, "4 of 4000 messages are missing, first b'a00000000300'"),
        (FOUR_TO_FOUR, with_an_error, "-ERR 'Slow Consumer'"),
        (QUEUE_GROUP, without_one, "1 of 5000 messages are missing, first b'a00000000300'"),
        (QUEUE_GROUP, with_one_twice, "1 messages too many, first b'a00000000300'"),
        (QUEUE_GROUP, with_two_swapped, "member . received messages out of order"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_fault_in_the_stream_fails_the_run(
    traffic: Traffic, fault: Callable[[dict[int, bytes]], list[bytes]], said: str
) -> None:
    with pytest.raises(RunFailure, match=said):
        load(FaultyRelay(traffic, fault), traffic)


def test_a_closed_subscriber_fails_the_run() -> None:
    with pytest.raises(RunFailure, match="subscribing connection closed after 0 bytes"):
        load(ClosingRelay(ONE_TO_ONE), ONE_TO_ONE)


def test_a_closed_publisher_fails_the_run() -> None:
    with pytest.raises(RunFailure, match="publishing connection closed after"):
        load(RefusingRelay(ONE_TO_ONE), ONE_TO_ONE)


def test_a_peer_that_falls_silent_fails_the_run() -> None:
    with serving(SilentRelay(ONE_TO_ONE)) as relay, pytest.raises(RunFailure, match=r"for 0\.3 s"):
        run_traffic(ONE_TO_ONE, relay.address, [Pass(PASS_SECONDS)], silence_seconds=0.3)


def test_an_address_where_nobody_listens_fails_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        address = reserved.getsockname()

    with pytest.raises(RunFailure, match="no connection"):
        run_traffic(ONE_TO_ONE, address, [Pass(PASS_SECONDS)])


def test_no_reply_subject_is_used_twice() -> None:
    relay = RecordingRequestRelay()

    with serving(relay):
        passes = run_requests(16, relay.address, [PASS_SECONDS, PASS_SECONDS])

    assert len(set(relay.reply_subjects)) == len(relay.reply_subjects)
    assert len(relay.reply_subjects) == sum(len(times.seconds) for times in passes) > 0
    assert len({subject.rpartition(b".")[0] for subject in relay.reply_subjects}) == 1


@pytest.mark.parametrize(
    ("relay", "said"),
    [(ForgetfulRequestRelay, "expected, .* received"), (RefusingRequestRelay, "closed")],
    ids=["a reply of another request", "a closed connection"],
)
def test_a_wrong_or_missing_reply_fails_the_run(relay: Callable[[], RequestRelay], said: str) -> None:
    with serving(relay()) as peer, pytest.raises(RunFailure, match=said):
        run_requests(16, peer.address, [PASS_SECONDS], silence_seconds=SILENCE_SECONDS)


# What a receiver accepts, without sockets

SMALL: Final = Traffic(messages_max=12)
SMALL_INTERLEAVED: Final = Traffic(publishers=2, subscribers=1, messages_max=6)
CONTROL_LINES: Final = [b"PING\r\n", b'INFO {"connect_urls":[]}\r\n']


def messages_of(traffic: Traffic, publisher: int = 0) -> list[bytes]:
    """The messages a subscriber gets, in the order of one publisher."""
    ring = delivered_ring(traffic, publisher)
    size = len(ring) // traffic.ring_messages
    return [ring[at : at + size] for at in range(0, len(ring), size)]


def received(traffic: Traffic, parts: list[bytes], cuts: list[int]) -> Receiver:
    """A receiver that got `parts` in chunks that end at `cuts`, and a PONG behind them."""
    stream = b"".join(parts) + b"PONG\r\n"
    one = receiver(None if traffic.keeps_received else expected_stream(traffic))
    edges = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        one.feed(memoryview(stream)[start:end])
    return one


def judged(traffic: Traffic, parts: list[bytes], cuts: list[int]) -> Receiver:
    """A receiver that got `parts`, verified against all that was published."""
    one = received(traffic, parts, cuts)
    verify(traffic, [one], [traffic.messages_max] * traffic.publishers)
    return one


cuts = st.lists(st.integers(0, 10_000), max_size=60)


@pytest.mark.parametrize("traffic", [SMALL, SMALL_INTERLEAVED], ids=["in order", "interleaved"])
@given(data=st.data(), cuts=cuts)
def test_control_lines_between_messages_and_any_chunks_are_no_fault(
    traffic: Traffic, data: st.DataObject, cuts: list[int]
) -> None:
    parts = [message for n in range(traffic.publishers) for message in messages_of(traffic, n)]
    for line in data.draw(st.lists(st.sampled_from(CONTROL_LINES), max_size=4)):
        parts.insert(data.draw(st.integers(0, len(parts))), line)

    one = judged(traffic, parts, cuts)

    assert one.quiet


@pytest.mark.parametrize("traffic", [SMALL, SMALL_INTERLEAVED], ids=["in order", "interleaved"])
@given(data=st.data(), cuts=cuts)
def test_any_message_lost_repeated_moved_or_damaged_is_a_fault(
    traffic: Traffic, data: st.DataObject, cuts: list[int]
) -> None:
    own = messages_of(traffic)
    at = data.draw(st.integers(0, len(own) - 1))
    match data.draw(st.sampled_from(["lost", "repeated", "moved", "damaged"])):
        case "lost":
            del own[at]
        case "repeated":
            own.insert(at, own[at])
        case "moved":
            to = data.draw(st.integers(0, len(own) - 1).filter(lambda to: to != at))
            own.insert(to, own.pop(at))
        case _:
            place = data.draw(st.integers(0, len(own[at]) - 1))
            flipped = own[at][place] ^ data.draw(st.integers(1, 255))
            own[at] = own[at][:place] + bytes([flipped]) + own[at][place + 1 :]
    others = [m for publisher in range(1, traffic.publishers) for m in messages_of(traffic, publisher)]

    with pytest.raises(StreamFault):
        judged(traffic, own + others, cuts)


def test_a_stream_that_goes_round_its_ring_is_counted_on() -> None:
    ring = delivered_ring(SMALL, 0)
    one = InOrder(Expected(ring, len(ring) // SMALL.ring_messages))

    for _ in range(5):
        one.feed(memoryview(ring))

    assert one.messages == 5 * SMALL.ring_messages


def test_each_subscriber_is_held_to_its_own_sid_where_sids_differ() -> None:
    traffic = Traffic(subscribers=2, sids_differ=True, messages_max=12)
    second = delivered_ring(traffic, 0, 1)

    one = receiver(expected_stream(traffic, 1))
    one.feed(memoryview(second))

    assert second.startswith(b"MSG bench.one 2 16\r\n")
    verify(traffic, [one], [12])
    with pytest.raises(StreamFault, match=r"MSG bench\.one 1 16"):
        receiver(expected_stream(traffic, 1)).feed(memoryview(delivered_ring(traffic, 0, 0)))


def test_a_message_behind_the_last_pong_is_a_fault() -> None:
    one = received(SMALL, messages_of(SMALL), [])

    with pytest.raises(StreamFault, match="after the last one"):
        one.feed(memoryview(messages_of(SMALL)[0]))


def test_a_member_of_a_queue_group_left_without_messages_is_a_fault() -> None:
    traffic = Traffic(subscribers=2, queue_group=True, messages_max=1000)
    greedy = received(traffic, messages_of(traffic), [])
    hungry = received(traffic, [], [])

    with pytest.raises(StreamFault, match="member 1 of the queue group received nothing"):
        verify(traffic, [greedy, hungry], [1000])


def test_published_lines_are_what_a_server_turns_into_the_delivered_ones() -> None:
    published = published_ring(ROTATION, 0).split(b"\r\n")
    delivered = delivered_ring(ROTATION, 0).split(b"\r\n")

    assert published[0] == b"PUB bench.000.created 128"
    assert published[2 * 101] == b"PUB bench.001.created 128"
    assert delivered[2 * 101] == b"MSG bench.001.created 1001 128"
    assert published[1::2] == delivered[1::2]
    assert published[2 * 101 + 1] == b"a00000000101" + b"." * 116


def test_subjects_at_random_are_each_published_once_and_not_in_order() -> None:
    lines = published_ring(DISTINCT, 0).split(b"\r\n")[0:-1:2]

    subjects = [line.split(b" ")[1] for line in lines]
    assert len(set(subjects)) == len(subjects) == 1000
    assert subjects != sorted(subjects)


def test_last_tokens_of_subjects_are_used_once_under_the_patterns_of_the_subscriber() -> None:
    lines = published_ring(FRESH, 0).split(b"\r\n")[0:-1:2]
    patterns = {pattern.removesuffix(b"*") for pattern, _ in subscriptions(FRESH)}

    subjects = [line.split(b" ")[1] for line in lines]
    assert len({subject.rpartition(b".")[2] for subject in subjects}) == len(subjects) == 1000
    assert {subject.rpartition(b".")[0] + b"." for subject in subjects} == patterns


def test_header_block_and_sizes_are_those_of_the_line() -> None:
    line, _, rest = published_ring(HEADERS, 0).partition(b"\r\n")

    assert line == b"HPUB bench.one 64 128"
    assert rest[:64].startswith(b"NATS/1.0\r\nBench: .")
    assert rest[60:64] == b"\r\n\r\n"
    assert rest[64 : 64 + 12] == b"a00000000000"
    assert rest[128:130] == b"\r\n"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Traffic(payload_bytes=15),
        lambda: Traffic(publishers=9),
        lambda: Traffic(queue_group=True),
        lambda: Traffic(queue_group=True, messages_max=10, subjects=2),
        lambda: Traffic(publishers=2, messages_max=10, sids_differ=True),
        lambda: Traffic(publishers=2, messages_max=10, header_bytes=64),
        lambda: Traffic(header_bytes=10),
        lambda: Traffic(subjects=10, last_tokens_fresh=True),
    ],
    ids=[
        "no room for a number",
        "no letter for a publisher",
        "unbounded memory",
        "interleaved rotation",
        "interleaved sids",
        "interleaved headers",
        "headers without room",
        "unbounded ring",
    ],
)
def test_a_traffic_that_could_not_be_verified_is_refused(wrong: Callable[[], Traffic]) -> None:
    with pytest.raises(ValueError, match=r"payload|publishers|interleaved|sids differ|headers|fresh"):
        wrong()

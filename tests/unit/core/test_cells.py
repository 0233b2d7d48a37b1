"""Outboxes, subscriptions and sources: what is appended leaves, in order and once."""

from __future__ import annotations

import pytest

from natscore.cells import LARGE_PAYLOAD, Outbox, Source, Subscription
from natscore.dataplane import PureDataPlane
from natscore.entropy import Xorshift64
from natscore.events import ConnectionId


def outbox_of(*blocks: bytes) -> Outbox:
    outbox = Outbox(ConnectionId(5), [])
    for block in blocks:
        outbox.write(block)
    return outbox


def content(outbox: Outbox) -> bytes:
    return b"".join(outbox.blocks(1 << 30))


def source_of() -> Source:
    plane = PureDataPlane(Xorshift64(1))
    return plane.source(
        ConnectionId(5), plane.outbox(ConnectionId(5)), plane.table(plane.sublist(), ()), 64, 64
    )


def test_an_outbox_gets_into_the_queue_of_ready_ones_once() -> None:
    queue: list[Outbox] = []
    outbox = Outbox(ConnectionId(5), queue)

    outbox.write(b"PONG\r\n")
    outbox.write(b"PONG\r\n")

    assert queue == [outbox]
    assert (outbox.size, outbox.appended) == (12, 12)


def test_blocks_come_as_far_as_they_fit_and_the_first_in_any_case() -> None:
    outbox = outbox_of(b"aaaa", b"bb", b"cccc")

    assert outbox.blocks(1) == [b"aaaa"]
    assert outbox.blocks(6) == [b"aaaa", b"bb"]
    assert outbox.blocks(9) == [b"aaaa", b"bb"]
    assert outbox.blocks(10) == [b"aaaa", b"bb", b"cccc"]
    assert outbox_of().blocks(10) == []


@pytest.mark.parametrize("taken", range(11))
def test_what_the_kernel_took_is_gone_and_the_rest_stays_in_order(taken: int) -> None:
    outbox = outbox_of(b"aaaa", b"bb", b"cccc")

    outbox.advance(taken)

    assert content(outbox) == b"aaaabbcccc"[taken:]
    assert outbox.size == 10 - taken
    assert outbox.appended == 10


@pytest.mark.parametrize("step", [1, 3, 4])
def test_an_outbox_leaves_whole_in_whatever_pieces_the_kernel_takes(step: int) -> None:
    outbox = outbox_of(b"aaaa", b"bb", b"cccc")
    left = bytearray()

    while outbox.size:
        room = min(step, outbox.size)
        left += content(outbox)[:room]
        outbox.advance(room)

    assert left == b"aaaabbcccc"
    assert not outbox.chunks


@pytest.mark.parametrize("count", range(11))
def test_the_tail_is_the_last_bytes_appended(count: int) -> None:
    outbox = outbox_of(b"aaaa", b"bb", b"cccc")

    assert b"".join(outbox.tail_blocks(count)) == b"aaaabbcccc"[10 - count :]


def test_the_tail_is_no_longer_than_what_is_held() -> None:
    outbox = outbox_of(b"aaaa", b"bb")
    outbox.advance(3)

    assert b"".join(outbox.tail_blocks(6)) == b"abb"


@pytest.mark.parametrize("count", range(11))
def test_what_is_retracted_was_never_appended(count: int) -> None:
    outbox = outbox_of(b"aaaa", b"bb", b"cccc")

    outbox.retract(count)
    outbox.write(b"!")

    assert content(outbox) == b"aaaabbcccc"[: 10 - count] + b"!"
    assert (outbox.size, outbox.appended) == (11 - count, 11 - count)


def test_a_discarded_outbox_holds_nothing_and_remembers_how_much_it_was_given() -> None:
    outbox = outbox_of(b"aaaa")

    outbox.discard()

    assert (content(outbox), outbox.size, outbox.appended) == (b"", 0, 4)


def test_small_blocks_that_wait_are_joined_and_large_ones_stay_shared() -> None:
    large = b"x" * LARGE_PAYLOAD
    outbox = outbox_of(b"a", large, b"b", b"c")

    outbox.condense()

    assert list(outbox.chunks) == [b"a", large, b"bc"]
    assert outbox.chunks[1] is large
    assert outbox.size == LARGE_PAYLOAD + 3


def test_condensing_what_cannot_be_joined_changes_nothing() -> None:
    for outbox in (outbox_of(), outbox_of(b"a"), outbox_of(b"x" * LARGE_PAYLOAD)):
        before = list(outbox.chunks)

        outbox.condense()

        assert list(outbox.chunks) == before


def test_a_subscription_knows_what_stands_behind_the_subject_of_a_message() -> None:
    subscription = Subscription(outbox_of(), b"abc-#1", b"foo", None)

    assert subscription.head == b" abc-#1 "
    assert (subscription.delivered, subscription.max, subscription.live) == (0, 0, True)


def test_a_source_gives_all_unparsed_bytes_as_one() -> None:
    source = source_of()
    source.feed(b"PIN")
    source.feed(b"G\r")
    source.feed(b"\n" + b"x" * 600)
    source.feed(b"y")

    buffer, position = source.load()

    assert buffer[position:] == b"PING\r\n" + b"x" * 600 + b"y"
    assert source.have == 607
    assert not source.pieces


def test_bytes_that_are_dribbled_are_held_in_few_pieces() -> None:
    source = source_of()
    for _ in range(5_000):
        source.feed(b"x")

    assert source.have == 5_000
    assert len(source.pieces) <= 10


def test_what_a_source_was_fed_may_be_overwritten_afterwards() -> None:
    source = source_of()
    memory = bytearray(b"PING\r\nPUB foo 9\r\n")

    for start in (0, 6):
        source.feed(memoryview(memory)[start : start + 6])
    source.keep()
    memory[:] = bytes(len(memory))

    assert source.peek(100) == b"PING\r\nPUB fo"


@pytest.mark.parametrize("count", [0, 1, 4, 6, 7, 700, 10_000])
def test_a_glance_at_what_is_unparsed_goes_over_the_ends_of_reads_and_takes_nothing(count: int) -> None:
    source = source_of()
    reads = [b"PING\r\n", b"x" * 600, b"y" * 600, b"z"]
    for read in reads:
        source.feed(read)

    assert source.peek(count) == b"".join(reads)[:count]
    assert source.have == 1_207


def test_a_glance_begins_at_the_next_op() -> None:
    source = source_of()
    source.feed(b"PING\r\nPUB foo")
    source.position, source.have = 6, 7

    assert source.peek(3) == b"PUB"


def test_a_source_that_waits_lets_go_of_what_is_parsed() -> None:
    source = source_of()
    source.feed(b"PING\r\nPUB")
    source.position, source.have = 6, 3

    source.wait(9)

    assert (source.buffer, source.position, source.need) == (b"PUB", 0, 9)


def test_a_source_that_forgets_holds_nothing() -> None:
    source = source_of()
    source.feed(b"PUB foo")
    source.feed(b" 5")

    source.forget()

    assert (source.buffer, source.pieces, source.have, source.need) == (b"", [], 0, 1)


def test_a_payload_without_a_limit_may_have_any_size() -> None:
    plane = PureDataPlane(Xorshift64(1))
    table = plane.table(plane.sublist(), ())

    source = plane.source(ConnectionId(5), plane.outbox(ConnectionId(5)), table, 64, -1)

    assert source.max_payload > 999_999_999

"""The compiled loop: runs of messages, where they stand in memory, and what is drawn for them."""

from __future__ import annotations

import pytest

from natscore.plane import Stop
from tests.unit.accel.planes import COMPILED, Account, content

pytestmark = COMPILED


@pytest.mark.parametrize("cut", range(17, 33))
def test_a_message_whose_line_is_that_of_the_one_before_waits_for_its_payload(cut: int) -> None:
    """The chunk stands in a buffer, and what lies behind it would pass for the end of a payload."""
    account = Account()
    source, outbox = account.source(), account.outbox()
    account.subscribe(outbox, b"a")
    stream = b"PUB a 5\r\nfirst\r\nPUB a 5\r\nagain\r\n"
    buffer = bytearray(stream[:cut] + b"\r\n" * 20)

    account.run(source, memoryview(buffer)[:cut])
    before = content(outbox)
    account.run(source, stream[cut:])

    first, again = b"MSG a 1 5\r\nfirst\r\n", b"MSG a 1 5\r\nagain\r\n"
    assert before == (first + again if cut == len(stream) else first)
    assert content(outbox) == first + again


def test_a_payload_without_end_is_not_delivered_though_its_line_is_that_of_the_one_before() -> None:
    account = Account()
    source, outbox = account.source(), account.outbox()
    account.subscribe(outbox, b"a")

    stop = account.run(source, b"PUB a 1\r\nx\r\nPUB a 1\r\nxyz\r\n")

    assert stop is Stop.VIOLATION
    assert content(outbox) == b"MSG a 1 1\r\nx\r\n"


@pytest.mark.parametrize("sids", [(b"11", b"22", b"33"), (b"1", b"22", b"1"), (b"1", b"1", b"2")])
def test_each_receiver_of_a_run_is_sent_its_own_sid(sids: tuple[bytes, ...]) -> None:
    account = Account()
    outboxes = [account.outbox() for _ in sids]
    for outbox, sid in zip(outboxes, sids, strict=True):
        account.subscribe(outbox, b"a", sid)

    account.run(account.source(), b"PUB a 2\r\nhi\r\nPUB a 2\r\nho\r\n")

    for outbox, sid in zip(outboxes, sids, strict=True):
        assert content(outbox) == b"MSG a %s 2\r\nhi\r\nMSG a %s 2\r\nho\r\n" % (sid, sid)


def test_each_message_of_each_run_reaches_one_member_of_a_group() -> None:
    account = Account()
    source = account.source()
    outboxes = [account.outbox() for _ in range(3)]
    for outbox in outboxes:
        account.subscribe(outbox, b"a", queue=b"q")

    for run in range(3):
        account.run(source, b"".join(b"PUB a 2\r\n%d%d\r\n" % (run, n) for n in range(10)))

    received = [content(outbox).split(b"MSG a 1 2\r\n")[1:] for outbox in outboxes]
    everything = sorted(message for one in received for message in one)
    assert everything == [b"%02d\r\n" % number for number in range(30)]
    assert [sorted(one) for one in received] == received
    assert all(received)


@pytest.mark.parametrize("payload", [b"hi", b"x" * 9_000])
def test_nothing_is_drawn_for_a_group_of_one(payload: bytes) -> None:
    account = Account()
    outbox = account.outbox()
    account.subscribe(outbox, b"a", queue=b"q")
    before = account.choices.state

    account.run(account.source(), b"PUB a %d\r\n%s\r\n" % (len(payload), payload) * 3)

    assert account.choices.state == before
    assert content(outbox) == b"MSG a 1 %d\r\n%s\r\n" % (len(payload), payload) * 3


@pytest.mark.parametrize("queue", [None, b"q"])
def test_one_member_more_or_less_counts_from_the_next_message_on(queue: bytes | None) -> None:
    account = Account()
    source = account.source()
    one, other = account.outbox(), account.outbox()
    first = account.subscribe(one, b"a", queue=queue)
    account.run(source, b"PUB a 1\r\n1\r\n")

    account.subscribe(other, b"a", queue=b"another")
    account.run(source, b"PUB a 1\r\n2\r\n")
    account.sublist.remove(first)
    account.run(source, b"PUB a 1\r\n3\r\n")

    assert content(one) == b"MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\n"
    assert content(other) == b"MSG a 1 1\r\n2\r\nMSG a 1 1\r\n3\r\n"


@pytest.mark.parametrize("count", [3, 20, 200])
def test_messages_that_were_kept_are_delivered_though_the_next_takes_another_block(count: int) -> None:
    """They are in hand, in the block that was theirs, when the last one is completed in a larger one."""
    account = Account()
    source, outbox = account.source(), account.outbox()
    account.subscribe(outbox, b"a")
    account.run(source, b"PUB a 0\r\n\r\n")
    outbox.discard()
    payloads = [b"%04d" % number * 25 for number in range(count)] + [b"last" * 10_000]
    stream = b"".join(b"PUB a %d\r\n%s\r\n" % (len(payload), payload) for payload in payloads)

    account.plane.begin_turn(1)
    source.feed(stream[:-39_000])
    stop = account.plane.run(source)  # the first, and the turn is over
    source.keep()
    account.run(source, stream[-39_000:])

    assert stop is Stop.TURN_OVER
    assert content(outbox) == b"".join(b"MSG a 1 %d\r\n%s\r\n" % (len(p), p) for p in payloads)

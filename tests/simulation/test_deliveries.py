"""What a run of messages must not change: each is delivered as if it had come alone."""

from __future__ import annotations

import pytest

from natscore.testing import World
from tests.simulation.clients import QUIET_WITH_HEADERS, quiet_client

WITHOUT_ECHO = b'CONNECT {"verbose":false,"pedantic":false,"echo":false}\r\n'


@pytest.mark.spec("client-protocol 9", "client-protocol 10")
@pytest.mark.parametrize("messages", [1, 100])
def test_publisher_without_echo_is_passed_over_in_its_own_group(messages: int) -> None:
    world = World()
    server = world.server()
    publisher = quiet_client(server, hello=WITHOUT_ECHO)
    publisher.send(b"SUB a q 1\r\n")
    other = quiet_client(server)
    other.send(b"SUB a q 2\r\n")

    for _ in range(5):
        publisher.send(b"PUB a 2\r\nhi\r\n" * messages)

    assert publisher.take() == b""
    assert other.take() == b"MSG a 2 2\r\nhi\r\n" * messages * 5
    world.check()


@pytest.mark.spec("client-protocol 9")
def test_publisher_without_echo_who_is_alone_in_its_group_and_table_gets_nothing() -> None:
    world = World()
    server = world.server()
    publisher = quiet_client(server, hello=WITHOUT_ECHO)
    publisher.send(b"SUB a q 1\r\n")

    publisher.send(b"PUB a 2\r\nhi\r\n" * 100 + b"PING\r\n")

    assert publisher.take() == b"PONG\r\n"
    world.check()


@pytest.mark.spec("client-protocol 8.3")
@pytest.mark.parametrize("queue", [b"", b"q "])
@pytest.mark.parametrize("maximum", [1, 7, 99])
def test_subscription_ends_in_the_middle_of_a_run_at_its_maximum(queue: bytes, maximum: int) -> None:
    world = World()
    server = world.server()
    listener = quiet_client(server)
    listener.send(b"SUB a " + queue + b"1\r\nUNSUB 1 %d\r\n" % maximum)
    publisher = quiet_client(server)

    publisher.send(b"".join(b"PUB a 3\r\n%03d\r\n" % n for n in range(100)))

    assert listener.take() == b"".join(b"MSG a 1 3\r\n%03d\r\n" % n for n in range(maximum))
    assert server.state.accounts["$G"].subscriptions == 0
    world.check()


@pytest.mark.spec("client-protocol 8.3")
def test_maximum_counts_what_was_delivered_before_it_was_set() -> None:
    world = World()
    server = world.server()
    listener = quiet_client(server)
    listener.send(b"SUB a 1\r\n")
    publisher = quiet_client(server)
    publisher.send(b"PUB a 2\r\nhi\r\n" * 3)

    listener.send(b"UNSUB 1 5\r\n")
    publisher.send(b"PUB a 2\r\nhi\r\n" * 10)

    assert listener.take() == b"MSG a 1 2\r\nhi\r\n" * 5
    world.check()


@pytest.mark.spec("client-protocol 10.5")
@pytest.mark.parametrize("pedantic", [b"true", b"false"])  # one by one, or in a run
@pytest.mark.parametrize("queue", [b"", b"q "])
def test_receiver_without_headers_gets_what_is_behind_them_with_its_own_size(
    pedantic: bytes, queue: bytes
) -> None:
    world = World()
    server = world.server()
    listener = quiet_client(server)
    listener.send(b"SUB a " + queue + b"1\r\n")
    publisher = quiet_client(server)
    publisher.send(b'CONNECT {"verbose":false,"headers":true,"pedantic":' + pedantic + b"}\r\n")

    publisher.send(
        b"HPUB a 12 17\r\nNATS/1.0\r\n\r\nhello\r\n"
        b"HPUB a back 12 17\r\nNATS/1.0\r\n\r\nworld\r\n"
        b"HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    )

    assert listener.take() == b"MSG a 1 5\r\nhello\r\nMSG a 1 back 5\r\nworld\r\nMSG a 1 0\r\n\r\n"
    world.check()


@pytest.mark.spec("client-protocol 10", "client-protocol 20")
@pytest.mark.parametrize("reply", [b"_R_.x", b"$JS.ACK.x", b"_GR_.x"])
def test_message_that_asks_for_an_answer_at_a_reserved_place_is_refused(reply: bytes) -> None:
    world = World()
    server = world.server()
    listener = quiet_client(server)
    listener.send(b"SUB > 1\r\n")
    publisher = quiet_client(server)

    publisher.send(b"PUB a " + reply + b" 2\r\nno\r\nPUB a ok 3\r\nyes\r\n")

    assert (
        publisher.take() == b"-ERR 'Permissions Violation for Publish with Reply of \"" + reply + b"\"'\r\n"
    )
    assert listener.take() == b"MSG a 1 ok 3\r\nyes\r\n"
    assert publisher.is_open
    world.check()


@pytest.mark.spec("client-protocol 10.4")
def test_requester_is_told_that_nobody_answers_between_the_messages_that_somebody_got() -> None:
    world = World()
    server = world.server()
    listener = quiet_client(server)
    listener.send(b"SUB there 1\r\nUNSUB 1 2\r\n")
    requester = quiet_client(server, hello=QUIET_WITH_HEADERS)
    requester.send(b"SUB inbox.* 9\r\n")

    requester.send(b"".join(b"PUB there inbox.%d 2\r\nhi\r\n" % n for n in range(4)))

    block = b"NATS/1.0 503\r\nNats-Subject: there\r\n\r\n"
    size = b"%d %d" % (len(block), len(block))
    assert listener.take() == b"MSG there 1 inbox.0 2\r\nhi\r\nMSG there 1 inbox.1 2\r\nhi\r\n"
    assert requester.take() == b"".join(
        b"HMSG inbox.%d 9 " % n + size + b"\r\n" + block + b"\r\n" for n in (2, 3)
    )
    world.check()


@pytest.mark.spec("client-protocol 15.2:pending bytes after an append > max_pending (CLIENT only)")
def test_bytes_that_were_not_yet_offered_do_not_make_a_slow_consumer() -> None:
    """A turn may append more than `max_pending`; the kernel has not refused any of it."""
    world = World()
    server = world.server(max_pending=20_000, max_payload=10_000)
    client = quiet_client(server)
    client.send(b"SUB a 1\r\n")

    client.send((b"PUB a 1000\r\n" + b"x" * 1_000 + b"\r\n") * 200)

    assert client.is_open
    assert client.take().count(b"MSG a 1 1000\r\n") == 200
    world.check()


def test_run_of_one_subject_keeps_its_place_between_other_ops() -> None:
    world = World()
    server = world.server()
    client = quiet_client(server)
    run = b"PUB a 1\r\n1\r\n" * 3

    client.send(b"SUB a 1\r\n" + run + b"PING\r\n" + run + b"SUB a 2\r\nPUB a 1\r\n2\r\nUNSUB 1\r\n" + run)

    one, two = b"MSG a 1 1\r\n1\r\n" * 3, b"MSG a 1 1\r\n2\r\nMSG a 2 1\r\n2\r\n"
    assert client.take() == one + b"PONG\r\n" + one + two + b"MSG a 2 1\r\n1\r\n" * 3
    world.check()

"""From a publish to its receivers: checks, copies, headers, groups, and nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from natscore import delivery
from natscore.cells import LARGE_PAYLOAD
from natscore.delivery import DENIED_MAX
from natscore.effects import Close, PauseReading, ResumeReading
from natscore.errors import CloseReason
from natscore.events import ConnectionId, WriteBlocked
from natscore.testing import World
from tests.support.blocks import memory_of
from tests.unit.core.bare import BareServer, of_type
from tests.unit.core.dialogue import (
    HEADERS,
    NO_ECHO,
    PEDANTIC,
    QUIET,
    REQUESTER,
    VERBOSE,
    client_of,
    open_client,
)

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient, SimulatedServer

pytestmark = pytest.mark.every_plane

INVALID = b"-ERR 'Invalid Publish Subject'\r\n"


@pytest.fixture
def server() -> SimulatedServer:
    return World().server()


# -- subjects --------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 7.3:literal")
@pytest.mark.parametrize("connect", [QUIET, PEDANTIC])
def test_a_literal_subject_is_delivered(connect: bytes) -> None:
    client = open_client(connect)

    client.send(b"SUB foo.bar 1\r\nPUB foo.bar 2\r\nhi\r\n")

    assert client.take() == b"MSG foo.bar 1 2\r\nhi\r\n"


@pytest.mark.spec("client-protocol 7.1")
def test_subjects_are_case_sensitive() -> None:
    client = open_client()

    client.send(b"SUB Foo 1\r\nPUB foo 0\r\n\r\nPUB Foo 0\r\n\r\n")

    assert client.take() == b"MSG Foo 1 0\r\n\r\n"


@pytest.mark.spec("client-protocol 7.3:empty token anywhere")
@pytest.mark.parametrize("subject", [b"foo..bar", b".foo", b"foo.", b".", b".."])
def test_a_subject_with_an_empty_token_matches_nothing(subject: bytes) -> None:
    quiet, pedantic = open_client(QUIET), open_client(PEDANTIC)

    for client in (quiet, pedantic):
        client.send(b"SUB > 1\r\nSUB *.* 2\r\nPUB " + subject + b" 0\r\n\r\nPING\r\n")

    assert quiet.take() == b"PONG\r\n"
    assert pedantic.take() == INVALID + b"PONG\r\n"


@pytest.mark.spec("client-protocol 7.3:contains a * or > token", "client-protocol 21")
def test_a_published_wildcard_is_a_plain_token() -> None:
    client = open_client()

    client.send(b"SUB foo.bar 1\r\nSUB foo.* 2\r\nPUB foo.* 0\r\n\r\nPUB foo.> 0\r\n\r\n")

    assert client.take() == b"MSG foo.* 2 0\r\n\r\nMSG foo.> 2 0\r\n\r\n"


@pytest.mark.spec(
    "client-protocol 7.3:contains a * or > token",
    "client-protocol 12:Invalid Publish Subject",
    "client-protocol 3",
)
@pytest.mark.parametrize("subject", [b"foo.*", b"*", b">", b"foo.>"])
def test_a_pedantic_client_is_told_of_a_published_wildcard_which_is_delivered(subject: bytes) -> None:
    client = open_client(PEDANTIC)

    client.send(b"SUB > 1\r\nPUB " + subject + b" 0\r\n\r\n")

    assert client.take() == INVALID + b"MSG " + subject + b" 1 0\r\n\r\n"
    assert client.is_open


@pytest.mark.spec("client-protocol 7.3:*/> inside a longer token")
@pytest.mark.parametrize("subject", [b"foo*", b"a.>>", b"a.**", b">a.b"])
def test_a_star_inside_a_token_is_literal_even_to_the_pedantic(subject: bytes) -> None:
    client = open_client(PEDANTIC)

    client.send(b"SUB %b 1\r\nPUB %b 0\r\n\r\n" % (subject, subject))

    assert client.take() == b"MSG " + subject + b" 1 0\r\n\r\n"


@pytest.mark.spec("client-protocol 7.3", "client-protocol 3")
def test_an_invalid_subject_is_acknowledged_all_the_same() -> None:
    client = open_client(b"")

    client.send(b"PUB foo..bar 0\r\n\r\n")

    assert client.take() == INVALID + b"+OK\r\n"


@pytest.mark.spec("client-protocol 4")
@pytest.mark.parametrize("reply", [b"a..b", b"foo.*", b">", b"."])
def test_a_reply_is_forwarded_as_it_is(reply: bytes) -> None:
    client = open_client(PEDANTIC)

    client.send(b"SUB foo 1\r\nPUB foo " + reply + b" 0\r\n\r\n")

    assert client.take() == b"MSG foo 1 " + reply + b" 0\r\n\r\n"


# -- who gets it -----------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 8.2", "client-protocol 10.1")
def test_each_matching_subscription_gets_its_own_copy() -> None:
    client = open_client()

    client.send(b"SUB foo.* 1\r\nSUB foo.bar 2\r\nSUB foo.> 3\r\nSUB foo.bar 4\r\nPUB foo.bar 0\r\n\r\n")

    assert sorted(client.lines()) == [b"", b"", b"", b"", *(b"MSG foo.bar %d 0" % n for n in (1, 2, 3, 4))]


@pytest.mark.spec("client-protocol 10.1", "client-protocol 6")
def test_a_client_without_echo_does_not_hear_itself_and_others_do(server: SimulatedServer) -> None:
    silent, other = client_of(server, NO_ECHO), client_of(server)
    silent.send(b"SUB foo 1\r\n")
    other.send(b"SUB foo 9\r\n")

    silent.send(b"PUB foo 0\r\n\r\n" * 2)
    assert (silent.take(), other.take()) == (b"", b"MSG foo 9 0\r\n\r\n" * 2)
    other.send(b"PUB foo 0\r\n\r\n")

    assert (silent.take(), other.take()) == (b"MSG foo 1 0\r\n\r\n", b"MSG foo 9 0\r\n\r\n")


@pytest.mark.spec("client-protocol 10.1")
def test_a_message_goes_to_nobody_whose_connection_ended(server: SimulatedServer) -> None:
    gone, there, publisher = client_of(server), client_of(server), client_of(server)
    gone.send(b"SUB foo 1\r\n")
    there.send(b"SUB foo 1\r\n")
    publisher.send(b"PUB foo 0\r\n\r\n")
    gone.take()

    gone.send(b"BAD\r\n")
    publisher.send(b"PUB foo 0\r\n\r\n")

    assert gone.take() == b"-ERR 'Unknown Protocol Operation'\r\n"
    assert there.take() == b"MSG foo 1 0\r\n\r\n" * 2


@pytest.mark.spec("client-protocol 10.2")
def test_one_publisher_is_heard_in_order_whatever_the_form_of_its_messages(server: SimulatedServer) -> None:
    receiver, publisher = client_of(server, HEADERS), client_of(server, HEADERS)
    receiver.send(b"SUB foo 1\r\n")
    large = b"x" * LARGE_PAYLOAD

    publisher.send(
        b"PUB foo 1\r\n1\r\nPUB foo 1\r\n2\r\npub  foo 1\r\n3\r\nPUB foo r 1\r\n4\r\nHPUB foo 1 2\r\nh5\r\n"
        b"PUB foo 4096\r\n" + large + b"\r\nPUB foo 1\r\n6\r\nHPUB foo 0 1\r\n7\r\nPUB foo 1\r\n8\r\nPING\r\n"
    )

    assert receiver.take() == (
        b"MSG foo 1 1\r\n1\r\nMSG foo 1 1\r\n2\r\nMSG foo 1 1\r\n3\r\nMSG foo 1 r 1\r\n4\r\n"
        b"HMSG foo 1 1 2\r\nh5\r\nMSG foo 1 4096\r\n"
        + large
        + b"\r\nMSG foo 1 1\r\n6\r\nMSG foo 1 1\r\n7\r\n"
        b"MSG foo 1 1\r\n8\r\n"
    )
    assert publisher.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 10.2")
def test_a_ping_is_answered_behind_the_messages_before_it() -> None:
    client = open_client()

    client.send(b"SUB foo 1\r\nPUB foo 0\r\n\r\nPUB foo 0\r\n\r\nPING\r\nPUB foo 0\r\n\r\nPING\r\n")

    assert client.take() == (b"MSG foo 1 0\r\n\r\nMSG foo 1 0\r\n\r\nPONG\r\nMSG foo 1 0\r\n\r\nPONG\r\n")


def last_block(server: SimulatedServer, client: ScriptedClient) -> memoryview:
    """The last block of an outbox."""
    return memoryview(server.state.connections[client.cid].outbox.blocks(1 << 40)[-1])


def test_receivers_share_one_large_payload(server: SimulatedServer) -> None:
    receivers = [client_of(server, window=0) for _ in range(3)]
    for receiver in receivers:
        receiver.window = None
        receiver.send(b"SUB foo 1\r\n")
        receiver.window = 0

    client_of(server).send(b"PUB foo 5000\r\n" + b"x" * 5000 + b"\r\n")

    blocks = [last_block(server, one) for one in receivers]
    assert memory_of(blocks[0]) == memory_of(blocks[1]) == memory_of(blocks[2])


# -- acknowledgements ------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 3", "client-protocol 10")
def test_a_publish_is_acknowledged_before_its_own_echo() -> None:
    client = open_client(VERBOSE)

    client.send(b"SUB foo 1\r\nPUB foo 1\r\nx\r\nPUB foo 1\r\ny\r\nPING\r\n")

    assert client.take() == (b"+OK\r\n+OK\r\nMSG foo 1 1\r\nx\r\n+OK\r\nMSG foo 1 1\r\ny\r\nPONG\r\n")


# -- headers ---------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 3", "client-protocol 4", "client-protocol 10.5")
def test_a_header_is_forwarded_untouched_with_both_sizes() -> None:
    client = open_client(HEADERS)

    client.send(
        b"SUB foo 1\r\nHPUB foo 18 22\r\nNATS/1.0\r\nA: 1\r\n\r\nbody\r\n"
        b"HPUB foo rep 012 012\r\nNATS/1.0\r\n\r\n\r\n"
    )

    assert client.take() == (
        b"HMSG foo 1 18 22\r\nNATS/1.0\r\nA: 1\r\n\r\nbody\r\nHMSG foo 1 rep 012 012\r\nNATS/1.0\r\n\r\n\r\n"
    )


@pytest.mark.spec("client-protocol 3", "client-protocol 10.5")
@pytest.mark.parametrize("header", [b"ABCDE", b"\r\n\r\n!", b"NATS/1.0", b"\x00\x01\x02", b"HPUB x 0"])
def test_header_bytes_are_not_looked_at(header: bytes) -> None:
    client = open_client(HEADERS)

    client.send(b"SUB foo 1\r\nHPUB foo %d %d\r\n" % (len(header), len(header) + 2) + header + b"hi\r\n")

    assert client.take() == b"HMSG foo 1 %d %d\r\n" % (len(header), len(header) + 2) + header + b"hi\r\n"


@pytest.mark.spec("client-protocol 3")
@pytest.mark.parametrize("size", [b"0", b"00", b"000000000"])
def test_a_header_of_no_bytes_is_no_header(size: bytes) -> None:
    client = open_client(HEADERS)

    client.send(b"SUB foo 1\r\nHPUB foo " + size + b" 2\r\nhi\r\nHPUB foo r " + size + b" 2\r\nhi\r\n")

    assert client.take() == b"MSG foo 1 2\r\nhi\r\nMSG foo 1 r 2\r\nhi\r\n"


@pytest.mark.spec("client-protocol 4", "client-protocol 10.1", "client-protocol 10.5")
@pytest.mark.parametrize("body", [b"body", b"", b"x" * LARGE_PAYLOAD])
@pytest.mark.parametrize("times", [1, 3])
def test_headers_are_taken_off_for_a_receiver_without_them(
    server: SimulatedServer, body: bytes, times: int
) -> None:
    plain, another, able = client_of(server), client_of(server), client_of(server, HEADERS)
    for receiver in (plain, another, able):
        receiver.send(b"SUB foo 2\r\n")
    header = b"NATS/1.0\r\nA: 1\r\n\r\n"

    client_of(server, HEADERS).send(
        (b"HPUB foo rep 18 %d\r\n" % (18 + len(body)) + header + body + b"\r\n") * times
    )

    stripped = b"MSG foo 2 rep %d\r\n" % len(body) + body + b"\r\n"
    assert plain.take() == another.take() == stripped * times
    assert able.take() == (b"HMSG foo 2 rep 18 %d\r\n" % (18 + len(body)) + header + body + b"\r\n") * times


@pytest.mark.spec("client-protocol 10.5")
def test_a_server_without_headers_takes_them_from_nobody() -> None:
    client = open_client(HEADERS, headers=False)

    assert b'"headers":false' in client.info
    client.send(b"HPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n")

    assert not client.is_open


def test_receivers_of_messages_without_headers_share_the_payload_that_is_left(
    server: SimulatedServer,
) -> None:
    receivers = [client_of(server, window=0) for _ in range(2)]
    for receiver in receivers:
        receiver.window = None
        receiver.send(b"SUB foo 1\r\n")
        receiver.window = 0

    client_of(server, HEADERS).send(b"HPUB foo 2 6002\r\nhh" + b"x" * 6000 + b"\r\n")

    first, second = (last_block(server, one) for one in receivers)
    assert memory_of(first) == memory_of(second)
    assert first == b"x" * 6000 + b"\r\n"


# -- queue groups ----------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 9")
def test_one_member_of_a_group_gets_each_message(server: SimulatedServer) -> None:
    members = [client_of(server) for _ in range(3)]
    for member in members:
        member.send(b"SUB foo q 1\r\n")

    client_of(server).send(b"PUB foo 0\r\n\r\n" * 3000)

    shares = [len(member.lines()) // 2 for member in members]
    assert sum(shares) == 3000
    assert all(900 < share < 1100 for share in shares)


@pytest.mark.spec("client-protocol 9", "client-protocol 21")
def test_a_group_is_one_whatever_the_subjects_of_its_members() -> None:
    client = open_client()

    client.send(b"SUB foo q 1\r\nSUB * q 2\r\nSUB > q 3\r\n" + b"PUB foo 0\r\n\r\n" * 60)

    lines = [line for line in client.lines() if line]
    assert len(lines) == 60
    assert set(lines) == {b"MSG foo 1 0", b"MSG foo 2 0", b"MSG foo 3 0"}


@pytest.mark.spec("client-protocol 9", "client-protocol 10.1")
def test_plain_subscriptions_come_first_then_one_of_each_group() -> None:
    client = open_client()

    client.send(b"SUB foo r 3\r\nSUB foo q 2\r\nSUB foo 1\r\nPUB foo 0\r\n\r\n")

    assert [line for line in client.lines() if line] == [b"MSG foo 1 0", b"MSG foo 2 0", b"MSG foo 3 0"]


@pytest.mark.spec("client-protocol 9", "client-protocol 4")
def test_headers_are_taken_off_for_a_member_without_them(server: SimulatedServer) -> None:
    member = client_of(server)
    member.send(b"SUB foo q 1\r\n")

    client_of(server, HEADERS).send(b"HPUB foo 2 4\r\nhhxy\r\n" * 3)

    assert member.take() == b"MSG foo 1 2\r\nxy\r\n" * 3


@pytest.mark.spec("client-protocol 9")
def test_the_share_of_a_member_that_refuses_goes_to_the_next_in_the_list(server: SimulatedServer) -> None:
    publisher = client_of(server, NO_ECHO)
    publisher.send(b"SUB foo q 1\r\n")
    others = [client_of(server) for _ in range(3)]
    for other in others:
        other.send(b"SUB foo q 1\r\n")

    publisher.send(b"PUB foo 0\r\n\r\n" * 2000)

    shares = [len(other.lines()) // 2 for other in others]
    assert publisher.take() == b""
    assert sum(shares) == 2000
    assert 900 < shares[0] < 1100
    assert 430 < shares[1] < 570
    assert 430 < shares[2] < 570


@pytest.mark.spec("client-protocol 9", "client-protocol 8.3")
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_members_of_a_group_count_each_for_itself(server: SimulatedServer, chunk: int) -> None:
    members = [client_of(server) for _ in range(2)]
    for member in members:
        member.send(b"SUB foo q 1\r\nUNSUB 1 5\r\n")
    publisher = client_of(server)

    sent = b"PUB foo 0\r\n\r\n" * 12
    for at in range(0, len(sent), chunk * 13):
        publisher.send(sent[at : at + chunk * 13])

    assert [member.take() for member in members] == [b"MSG foo 1 0\r\n\r\n" * 5] * 2
    assert server.state.accounts["$G"].subscriptions == 0


@pytest.mark.spec("client-protocol 9")
def test_a_group_in_which_nobody_takes_a_message_loses_it() -> None:
    client = open_client(NO_ECHO)

    client.send(b"SUB foo q 1\r\nSUB foo q 2\r\n" + b"PUB foo 0\r\n\r\n" * 3 + b"PING\r\n")

    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 9")
@pytest.mark.parametrize("size", [1, 2, 7, 400])
def test_who_is_drawn_does_not_depend_on_where_the_bytes_were_cut(size: int) -> None:
    def shares(cut: int) -> list[bytes]:
        server = World(3).server()
        members = [client_of(server) for _ in range(5)]
        for member, wish in zip(members, (b"a q", b"* r", b"a q", b"a r", b"> r"), strict=True):
            member.send(b"SUB " + wish + b" 1\r\n")
        members[3].send(b"UNSUB 1 4\r\n")
        publisher = client_of(server)
        sent = b"PUB a 0\r\n\r\n" * 40
        for at in range(0, len(sent), cut):
            publisher.send(sent[at : at + cut])
        return [member.take() for member in members]

    assert shares(size) == shares(1 << 20)


# -- reserved names --------------------------------------------------------------------------------


@pytest.mark.spec(
    "client-protocol 10", "client-protocol 20", 'client-protocol 12:Permissions Violation for Publish to "S"'
)
@pytest.mark.parametrize("subject", [b"_GR_.x.y", b"_GR_.a", b"$NRG.x", b"$NRG.a.b"])
def test_clients_must_not_publish_to_reserved_subjects(subject: bytes) -> None:
    client = open_client(VERBOSE)

    client.send(b"SUB > 1\r\n" + b"PUB " + subject + b" 2\r\nhi\r\n" * 1 + b"PING\r\n")

    assert client.take() == (
        b"+OK\r\n-ERR 'Permissions Violation for Publish to \"" + subject + b"\"'\r\nPONG\r\n"
    )
    assert client.is_open


@pytest.mark.spec("client-protocol 20")
@pytest.mark.parametrize(
    "subject",
    [b"$SYS.REQ.SERVER.PING", b"_INBOX.x", b"_R_.x", b"$GR.x", b"$JS.API.INFO", b"$JS.ACK.x", b"$KV.x",
     b"_GR_", b"$NRG", b"_GR_x.y"],
)  # fmt: skip
def test_other_prefixes_are_ordinary_subjects(subject: bytes) -> None:
    client = open_client()

    client.send(b"SUB > 1\r\nPUB " + subject + b" 0\r\n\r\n")

    assert client.take() == b"MSG " + subject + b" 1 0\r\n\r\n"


@pytest.mark.spec(
    "client-protocol 10", "client-protocol 20",
    'client-protocol 12:Permissions Violation for Publish with Reply of "R"',
)  # fmt: skip
@pytest.mark.parametrize("reply", [b"_R_.abc", b"_R_.", b"$JS.ACK.x", b"_GR_.a.b.c"])
@pytest.mark.parametrize(
    "op", [b"PUB foo %b 0\r\n\r\n", b"pub  foo %b 0\r\n\r\n", b"HPUB foo %b 2 2\r\nhh\r\n"]
)
def test_clients_must_not_ask_for_answers_to_reserved_subjects(op: bytes, reply: bytes) -> None:
    client = open_client(HEADERS)

    client.send(b"SUB foo 1\r\n" + op % reply + b"PING\r\n")

    assert client.take() == (
        b"-ERR 'Permissions Violation for Publish with Reply of \"" + reply + b"\"'\r\nPONG\r\n"
    )


@pytest.mark.spec("client-protocol 10")
@pytest.mark.parametrize("reply", [b"$JS.ACK.", b"_GR_.", b"_R_", b"$JS.ACK", b"_GR_", b"_INBOX.1"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_reply_that_is_only_like_a_reserved_one_passes(reply: bytes, times: int) -> None:
    client = open_client()

    client.send(b"SUB foo 1\r\n" + (b"PUB foo " + reply + b" 0\r\n\r\n") * times)

    assert client.take() == (b"MSG foo 1 " + reply + b" 0\r\n\r\n") * times


def test_of_many_refused_publishes_all_are_told_and_some_are_noted() -> None:
    client = open_client()

    client.send(b"PUB _GR_.x 0\r\n\r\n" * 500)

    assert client.take() == b"-ERR 'Permissions Violation for Publish to \"_GR_.x\"'\r\n" * 500
    notes = [note for note in client.server.notes if note.name == "publish_violation"]
    assert len(notes) == DENIED_MAX
    assert notes[0].fields["subject"] == b"_GR_.x"


# -- no responders ---------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 10.4", "client-protocol 23")
@pytest.mark.parametrize("wish", [b"r 7", b"* 7"])
def test_a_requester_is_told_that_nobody_listens(wish: bytes) -> None:
    client = open_client(REQUESTER)

    client.send(b"SUB " + wish + b"\r\nPUB nobody.here r 0\r\n\r\nPING\r\n")

    assert client.take() == (
        b"HMSG r 7 43 43\r\nNATS/1.0 503\r\nNats-Subject: nobody.here\r\n\r\n\r\nPONG\r\n"
    )


@pytest.mark.spec("client-protocol 10.4")
@pytest.mark.parametrize(
    ("connect", "data"),
    [
        (REQUESTER, b"SUB r 7\r\nPUB nobody 0\r\n\r\n"),
        (HEADERS, b"SUB r 7\r\nPUB nobody r 0\r\n\r\n"),
        (REQUESTER, b"SUB r q 7\r\nPUB nobody r 0\r\n\r\n"),
        (REQUESTER, b"SUB s 7\r\nPUB nobody r 0\r\n\r\n"),
    ],
)
def test_nobody_listens_is_not_said(connect: bytes, data: bytes) -> None:
    client = open_client(connect)

    client.send(data + b"PING\r\n")

    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 10.4")
def test_only_the_requesters_own_subscription_is_told(server: SimulatedServer) -> None:
    other, requester = client_of(server, REQUESTER), client_of(server, REQUESTER)
    other.send(b"SUB r 1\r\n")

    requester.send(b"PUB nobody r 0\r\n\r\n")
    assert (other.take(), requester.take()) == (b"", b"")
    requester.send(b"SUB r 2\r\nPUB nobody r 0\r\n\r\n")

    assert other.take() == b""
    assert requester.take().startswith(b"HMSG r 2 38 38\r\nNATS/1.0 503\r\n")


@pytest.mark.spec("client-protocol 10.4", "client-protocol 8.3")
def test_the_message_that_nobody_listens_does_not_count() -> None:
    client = open_client(REQUESTER)

    client.send(b"SUB r 7\r\nUNSUB 7 1\r\nPUB nobody r 0\r\n\r\nPUB r 0\r\n\r\nPUB r 0\r\n\r\n")

    assert client.take() == (
        b"HMSG r 7 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\nMSG r 7 0\r\n\r\n"
    )


@pytest.mark.spec("client-protocol 10.4")
def test_an_own_subscription_without_echo_is_no_responder_and_is_told_all_the_same() -> None:
    client = open_client(
        b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"echo":false}\r\n'
    )

    client.send(b"SUB r 7\r\nSUB foo 8\r\nPUB foo r 0\r\n\r\n")

    assert client.take() == b"HMSG r 7 35 35\r\nNATS/1.0 503\r\nNats-Subject: foo\r\n\r\n\r\n"


@pytest.mark.spec("client-protocol 10.4")
def test_a_responder_that_has_got_all_it_wanted_is_none() -> None:
    client = open_client(REQUESTER)

    client.send(b"SUB r 7\r\nSUB foo 8\r\nUNSUB 8 1\r\n" + b"PUB foo r 0\r\n\r\n" * 2)

    assert client.take() == (
        b"MSG foo 8 r 0\r\n\r\nHMSG r 7 35 35\r\nNATS/1.0 503\r\nNats-Subject: foo\r\n\r\n\r\n"
    )


# -- very many receivers ---------------------------------------------------------------------------


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> BareServer:
    """A server that serves two receivers of a message in a turn, with five of them and a publisher, 9."""
    monkeypatch.setattr(delivery, "RECEIVERS_MAX", 2)
    bare = BareServer(max_pending=1_048_576)
    for cid in range(1, 6):
        bare.open(cid)
        bare.receive(cid, QUIET + b"SUB foo 1\r\n")
        bare.written(cid)
    bare.open(9)
    bare.receive(9, HEADERS)
    bare.written(9)
    return bare


def served(bare: BareServer) -> list[int]:
    return [cid for cid in range(1, 6) if bare.written(cid)]


@pytest.mark.parametrize(
    "message",
    [b"PUB foo 2\r\nhi\r\n", b"PUB foo 5000\r\n" + b"x" * 5000 + b"\r\n", b"HPUB foo 2 4\r\nhhxy\r\n"],
)
def test_very_many_receivers_are_served_in_parts_a_turn_each(many: BareServer, message: bytes) -> None:
    effects = many.receive(9, message)

    parts = [served(many)]
    while not many.server.is_quiet:
        effects += many.grant()
        parts.append(served(many))

    assert [part for part in parts if part] == [[1, 2], [3, 4], [5]]
    assert of_type(effects, PauseReading) == [PauseReading(ConnectionId(9))]
    assert of_type(effects, ResumeReading) == [ResumeReading(ConnectionId(9))]


def test_a_large_message_is_served_in_parts_by_its_bytes(
    many: BareServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RECEIVERS_MAX", 1_024)
    monkeypatch.setattr(delivery, "PART_MAX", 15_100)

    many.receive(9, b"PUB foo 5000\r\n" + b"x" * 5000 + b"\r\n")
    first = served(many)
    many.grant()

    assert (first, served(many)) == ([1, 2, 3], [4, 5])


def test_nothing_else_is_done_for_the_publisher_before_its_message_is_everywhere(many: BareServer) -> None:
    many.receive(9, b"PUB foo 2\r\nhi\r\nPING\r\nPUB foo 2\r\nho\r\nBAD\r\n")
    received = {cid: many.written(cid) for cid in (1, 2, 5, 9)}
    assert received == {1: received[1], 2: received[2], 5: b"", 9: b""}

    many.rest()

    assert received[1] + many.written(1) == b"MSG foo 1 2\r\nhi\r\nMSG foo 1 2\r\nho\r\n"
    assert many.written(5) == b"MSG foo 1 2\r\nhi\r\nMSG foo 1 2\r\nho\r\n"
    assert many.written(9) == b"PONG\r\n-ERR 'Unknown Protocol Operation'\r\n"


@pytest.mark.parametrize("gone", [False, True])
def test_a_message_reaches_all_though_its_publisher_is_gone(many: BareServer, gone: bool) -> None:
    many.receive(9, b"PUB foo 2\r\nhi\r\n")
    first = served(many)

    if gone:
        many.close(9)
    else:
        many.receive(9, b"BAD\r\n")
    many.rest()

    assert first + served(many) == [1, 2, 3, 4, 5]


def test_what_a_publisher_that_is_gone_still_delivers_is_settled(many: BareServer) -> None:
    for cid in range(1, 6):
        many.receive(cid, b"UNSUB 1 1\r\n")
    many.receive(9, b"PUB foo 2\r\nhi\r\n")

    many.close(9)
    many.rest()

    assert many.server.state.accounts["$G"].subscriptions == 0
    assert served(many) == [1, 2, 3, 4, 5]


def test_a_receiver_that_is_too_far_behind_for_a_publisher_that_is_gone_is_cut_off(many: BareServer) -> None:
    many.receive(9, b"PUB foo 400000\r\n" + b"x" * 400_000 + b"\r\n")
    many.rest()
    outbox = many.server.state.connections[ConnectionId(5)].outbox
    many.server.handle(WriteBlocked(at=many.at, cid=ConnectionId(5), refused=outbox.size))
    many.receive(9, b"PUB foo 700000\r\n" + b"x" * 700_000 + b"\r\n")
    assert not of_type(many.close(9), Close)

    (close,) = of_type(many.rest(), Close)

    assert (close.cid, close.reason) == (5, CloseReason.SLOW_CONSUMER_PENDING)


def test_a_receiver_that_leaves_or_wants_no_more_meanwhile_is_left_out(many: BareServer) -> None:
    many.receive(9, b"PUB foo 2\r\nhi\r\n")
    served(many)

    many.close(3)
    many.receive(4, b"UNSUB 1\r\n")
    many.rest()

    assert many.written(4) == b""
    assert many.written(5) == b"MSG foo 1 2\r\nhi\r\n"


@pytest.mark.parametrize("op", [b"PUB foo 0\r\n\r\n", b"pub  foo 0\r\n\r\n"])
def test_groups_are_served_in_parts_too_and_each_once(
    op: bytes, many: BareServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cid in range(1, 6):
        many.receive(cid, b"UNSUB 1\r\nSUB foo q%d 1\r\nUNSUB 1 1\r\n" % cid)

    many.receive(9, op * 2)
    many.rest()

    assert [many.written(cid) for cid in range(1, 6)] == [b"MSG foo 1 0\r\n\r\n"] * 5
    assert many.server.state.accounts["$G"].subscriptions == 0


def test_that_nobody_listens_is_said_when_the_last_of_many_has_refused(many: BareServer) -> None:
    many.receive(
        9,
        REQUESTER[:-3] + b',"echo":false}\r\nSUB r 7\r\n' + b"".join(b"SUB own %d\r\n" % n for n in range(3)),
    )

    many.receive(9, b"PUB own r 0\r\n\r\n")
    assert many.written(9) == b""
    many.rest()

    assert many.written(9) == b"HMSG r 7 35 35\r\nNATS/1.0 503\r\nNats-Subject: own\r\n\r\n\r\n"


# -- counters --------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 10")
def test_messages_and_their_bytes_are_counted_on_both_sides(server: SimulatedServer) -> None:
    plain, able, publisher = client_of(server), client_of(server, HEADERS), client_of(server, HEADERS)
    plain.send(b"SUB foo 1\r\n")
    able.send(b"SUB foo 1\r\n")

    publisher.send(b"HPUB foo 2 5\r\nhhabc\r\n" * 2 + b"PUB foo 3\r\nabc\r\n" + b"PUB _GR_.x 4\r\nabcd\r\n")

    source = server.state.connections[publisher.cid].source
    assert (source.messages, source.volume) == (4, 5 + 5 + 3 + 4)
    counts = [server.state.connections[one.cid].outbox for one in (plain, able)]
    assert [(one.messages, one.volume) for one in counts] == [(3, 9), (3, 13)]

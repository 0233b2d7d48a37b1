"""A turn is bounded, turns are taken one connection after the other, and order is kept through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from natscore.effects import Continue, PauseReading, ResumeReading
from natscore.events import BytesReceived, TurnGranted
from natscore.facts import SubscriptionsChanged
from natscore.testing import World
from natscore.turn import DELIVERY_COST, RUN_COST, STEP_COST
from tests.simulation.clients import QUIET, filled, quiet_client
from tests.simulation.watching import appended, event_names, note_counts, outputs, removals, requests
from tests.support.blocks import memory_of

if TYPE_CHECKING:
    from natscore.effects import Effect
    from natscore.events import Event
    from natscore.testing import ScriptedClient

TURN_OUTPUT: Final = 16_777_216
HELD_MAX: Final = 64 * 1_048_576


# -- the worst chunk -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_worst_chunk_holds_one_turn_of_output_and_lets_others_speak_between_turns() -> None:
    """64 KiB of 16 B messages to 5,000 subscribers is 400 MB of output."""
    world = World(recording=False)
    server = world.server()
    subscribers = [quiet_client(server) for _ in range(5_000)]
    for number, subscriber in enumerate(subscribers):
        subscriber.send(b"SUB a %d\r\n" % number)
    bystander = quiet_client(server)
    producer = quiet_client(server)
    chunk = filled(b"PUB a 16\r\n0123456789abcdef\r\n")
    events: list[str] = []
    most = total = 0

    def watch(event: Event, effects: list[Effect]) -> None:
        nonlocal most, total
        kind = type(event).__name__
        if isinstance(event, BytesReceived) and event.cid == bystander.cid:
            kind = "bystander"
        events.append(kind)
        output = appended(server)
        most, total = max(most, output), total + output
        for outbox in server.server.ready:  # nobody needs to remember 400 MB
            if (client := server.clients.get(outbox.cid)) is not None and client is not bystander:
                client.received.clear()
        if kind == "TurnGranted" and len(events) % 2 == 0:
            bystander.send(b"PING\r\n")

    server.on_event = watch
    producer.send(chunk)

    fan_out_of_one = 5_000 * len(b"MSG a 4999 16\r\n0123456789abcdef\r\n")
    assert most <= TURN_OUTPUT + fan_out_of_one < HELD_MAX
    assert total > 300_000_000
    asked = [index for index, kind in enumerate(events) if kind == "bystander"]
    assert len(asked) >= 10
    assert all(events[index - 1] == "TurnGranted" for index in asked)  # at once, not behind the chunk
    assert bystander.take().count(b"PONG\r\n") == len(asked)
    assert all(
        server.state.connections[client.cid].outbox.messages == chunk.count(b"PUB") for client in subscribers
    )


def test_one_message_to_all_is_never_split_over_turns() -> None:
    world = World()
    server = world.server(turn_output_max=1_000)
    subscribers = [quiet_client(server) for _ in range(100)]
    for subscriber in subscribers:
        subscriber.send(b"SUB a 1\r\n")
    producer = quiet_client(server)
    written = outputs(server)

    producer.send(b"PUB a 2\r\nhi\r\n" * 3)

    assert [output for output in written if output] == [100 * len(b"MSG a 1 2\r\nhi\r\n")] * 3
    assert {bytes(subscriber.take()) for subscriber in subscribers} == {b"MSG a 1 2\r\nhi\r\n" * 3}
    world.check()


@pytest.mark.parametrize("sid", [b"1", b"s" * 4_000])
def test_turn_writes_little_more_than_its_bound_whatever_sids_are_long(sid: bytes) -> None:
    world = World(recording=False)
    server = world.server()
    subscribers = [quiet_client(server) for _ in range(20)]
    for number, subscriber in enumerate(subscribers):
        subscriber.send(b"SUB a %s%d\r\n" % (sid, number))
    producer = quiet_client(server)
    written = outputs(server)

    producer.send(b"PUB a 0\r\n\r\n" * 2_000)

    assert max(written) <= TURN_OUTPUT + 20 * (len(sid) + 20)
    assert sum(written) == sum(len(s.received) - len(s.info) for s in subscribers)


def test_message_with_headers_costs_one_copy_however_many_receivers_do_not_take_them() -> None:
    world = World(recording=False)
    server = world.server()
    subscribers = [quiet_client(server, window=65_536) for _ in range(50)]
    for subscriber in subscribers:
        subscriber.send(b"SUB a 1\r\n")
    producer = quiet_client(server, hello=b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n')
    body = b"x" * 500_000

    producer.send(b"HPUB a 12 500012\r\nNATS/1.0\r\n\r\n" + body + b"\r\n")

    waiting = [server.state.connections[subscriber.cid].outbox for subscriber in subscribers]
    blocks = [block for outbox in waiting for block in outbox.blocks(1 << 40)]
    assert all(outbox.blocked for outbox in waiting)
    assert len({memory_of(block) for block in blocks if len(block) > 65_536}) == 1
    for subscriber in subscribers:
        subscriber.read(1_000_000)
    assert {bytes(subscriber.take()) for subscriber in subscribers} == {
        b"MSG a 1 500000\r\n" + body + b"\r\n"
    }


# -- fairness --------------------------------------------------------------------------------------


def test_modest_clients_are_served_within_one_turn_of_a_greedy_one() -> None:
    world = World(recording=False)
    server = world.server(turn_output_max=65_536)
    crowd = [quiet_client(server) for _ in range(100)]
    for client in crowd:
        client.send(b"SUB a 1\r\n")
    modest = [quiet_client(server) for _ in range(100)]
    greedy = quiet_client(server)
    since_turn: list[int] = []  # modest reads that were handled after each turn, before the next

    def watch(event: Event, effects: list[Effect]) -> None:
        if isinstance(event, TurnGranted):
            since_turn.append(0)
            for client in modest:
                client.send(b"PING\r\n")
        elif isinstance(event, BytesReceived) and event.cid != greedy.cid and since_turn:
            since_turn[-1] += 1

    server.on_event = watch
    greedy.send(filled(b"PUB a 16\r\n0123456789abcdef\r\n"))

    assert len(since_turn) > 50
    assert since_turn == [len(modest)] * len(since_turn)
    assert {client.take().count(b"PONG\r\n") for client in modest} == {len(since_turn)}


def test_two_greedy_clients_take_turns_one_after_the_other() -> None:
    world = World()
    server = world.server(turn_output_max=4_096)
    listener = quiet_client(server)
    listener.send(b"SUB a 1\r\nSUB b 2\r\n")
    one, other = quiet_client(server), quiet_client(server)
    received: list[bytes] = []

    def watch(event: Event, effects: list[Effect]) -> None:
        if not received:  # both have something to do from here on
            other.send(b"PUB b 2\r\nxx\r\n" * 3_000)
        received.append(listener.take())

    server.on_event = watch
    one.send(b"PUB a 2\r\nxx\r\n" * 3_000)

    received.append(listener.take())
    subjects = [data[4:5] for data in received if data]
    assert subjects.count(b"a") > 10
    assert subjects.count(b"b") > 10
    longest_row = max(
        len(row) for row in b"".join(subjects).replace(b"ab", b"a b").replace(b"ba", b"b a").split()
    )
    assert longest_row <= 2  # never three turns of the same while the other waits
    assert b"".join(received).count(b"MSG a") == b"".join(received).count(b"MSG b") == 3_000


def test_client_whose_turn_is_over_is_not_read_from_until_it_went_on() -> None:
    world = World()
    server = world.server(turn_output_max=1_000)
    listener = quiet_client(server)
    listener.send(b"SUB a 1\r\n")
    producer = quiet_client(server)
    asked = requests(server)

    producer.send(b"PUB a 2\r\nhi\r\n" * 200)

    assert asked == [PauseReading(producer.cid), ResumeReading(producer.cid)]
    assert listener.take() == b"MSG a 1 2\r\nhi\r\n" * 200


def test_bytes_that_arrive_while_a_client_waits_for_its_turn_stay_behind_the_others() -> None:
    """A shell may have read once more before it was told to pause."""
    world = World()
    server = world.server(turn_output_max=1_000)
    listener = quiet_client(server)
    listener.send(b"SUB * 1\r\n")
    producer = quiet_client(server)
    late = [b"PUB b 1\r\n%d\r\n" % n for n in range(9)]

    def feed_more(event: Event, effects: list[Effect]) -> None:
        if isinstance(event, TurnGranted) and late:
            server.feed(BytesReceived(at=world.at, cid=producer.cid, data=late.pop(0)))

    server.on_event = feed_more
    producer.send(b"PUB a 2\r\nhi\r\n" * 500)

    assert listener.take() == b"MSG a 1 2\r\nhi\r\n" * 500 + b"".join(
        b"MSG b 1 1\r\n%d\r\n" % n for n in range(9)
    )
    assert server.server.held_bytes == 0
    world.check()


# -- work without output ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "answer"),
    [
        (b"PING\r\n", b"PONG\r\n"),
        (b"PONG\r\n", b""),
        (b"INFO {}\r\n", b""),
        (b"CONNECT {}\r\n", b""),
        (b"SUB a 1\r\n", b""),
        (b"SUB a 1\r\nUNSUB 1\r\n", b""),
        (b"SUB a. 1\r\n", b"-ERR 'Invalid Subject'\r\n"),
        (b"UNSUB 9\r\n", b""),
        (b"SUB a 1\r\nPUB a 0\r\n\r\nUNSUB 1\r\n", b"MSG a 1 0\r\n\r\n"),
        (b"SUB * 1\r\nPUB b 0\r\n\r\nUNSUB 1\r\n", b"MSG b 1 0\r\n\r\n"),
    ],
)
def test_flood_of_one_op_is_cut_into_turns_and_answered_in_order(op: bytes, answer: bytes) -> None:
    world = World(recording=False)
    server = world.server(turn_output_max=131_072)
    client = quiet_client(server)
    bystander = quiet_client(server)
    events: list[str] = []

    def watch(event: Event, effects: list[Effect]) -> None:
        if isinstance(event, BytesReceived) and event.cid == bystander.cid:
            events.append("bystander")
        else:
            events.append(type(event).__name__)
            if len(events) == 1:
                assert effects[-1] == Continue()
                bystander.send(b"PING\r\n")

    server.on_event = watch
    data = filled(op)
    client.send(data)

    assert events[:3] == ["BytesReceived", "bystander", "TurnGranted"]
    assert client.take() == answer * (len(data) // len(op))
    assert bystander.take() == b"PONG\r\n"
    assert client.is_open


def test_turn_performs_a_bounded_number_of_subscription_changes() -> None:
    world = World()
    server = world.server()
    client = quiet_client(server)
    changes: list[int] = []
    seen = len(server.facts)

    def watch(event: Event, effects: list[Effect]) -> None:
        nonlocal seen
        fresh, seen = server.facts[seen:], len(server.facts)
        changes.append(
            sum(
                len(fact.added) + len(fact.removed)
                for fact in fresh
                if isinstance(fact, SubscriptionsChanged)
            )
        )

    server.on_event = watch
    client.send(filled(b"SUB a 1\r\nUNSUB 1\r\n"))

    assert sum(changes) == 2 * (65_536 // 18)
    assert max(changes) <= 2_048 + 512
    world.check()


def test_flood_of_refused_subscriptions_reports_a_bounded_number_in_a_turn() -> None:
    world = World(recording=False)
    server = world.server()
    client = quiet_client(server)
    notes = note_counts(server)
    client.send(filled(b"SUB a. 1\r\n"))

    assert sum(notes) == 65_536 // 10
    assert max(notes) <= 1_024


def test_messages_of_a_traced_server_end_turns_too() -> None:
    world = World(recording=False)
    server = world.server(trace=True)
    listener = quiet_client(server)
    listener.send(b"SUB a 1\r\n")
    producer = quiet_client(server)
    notes = note_counts(server)

    producer.send(b"PUB a 2\r\nhi\r\n" * 2_000)

    assert max(notes) <= 4 * 1_024
    assert listener.take() == b"MSG a 1 2\r\nhi\r\n" * 2_000


def test_match_that_leads_nowhere_is_weighed() -> None:
    """A message costs what it takes to find out that nobody wants it."""
    world = World(recording=False)
    server = world.server()
    crowd = quiet_client(server)
    for number in range(1 << 10):
        tokens = [b"*" if number >> bit & 1 else b"a" for bit in range(10)]
        crowd.send(b"SUB %s.never %d\r\n" % (b".".join(tokens), number))
    producer = quiet_client(server)
    turns = event_names(server)

    producer.send(b"".join(b"PUB " + b"a." * 10 + b"%d 0\r\n\r\n" % n for n in range(500)))

    assert len(turns) >= 500 * 2 * (1 << 10) * STEP_COST // TURN_OUTPUT


def test_subscriptions_that_get_nothing_are_weighed() -> None:
    world = World(recording=False)
    server = world.server()
    client = quiet_client(server, hello=b'CONNECT {"verbose":false,"pedantic":false,"echo":false}\r\n')
    client.send(b"".join(b"SUB a %d\r\n" % n for n in range(1_000)))  # as many as a turn serves
    turns = event_names(server)

    client.send(b"PUB a 0\r\n\r\n" * 10_000)

    assert len(turns) >= 10_000 * 1_000 * RUN_COST // TURN_OUTPUT
    assert client.take() == b""


def test_plan_over_a_large_group_is_weighed() -> None:
    world = World(recording=False)
    server = world.server()
    crowd = quiet_client(server)
    crowd.send(b"".join(b"SUB a q %d\r\n" % n for n in range(10_000)))
    client = quiet_client(server)
    turns = event_names(server)

    client.send(b"SUB a q 7\r\nPUB a 0\r\n\r\nUNSUB 7\r\n" * 100)

    assert len(turns) >= 100 * 10_000 * DELIVERY_COST // TURN_OUTPUT
    assert crowd.take().count(b"MSG a ") + client.take().count(b"MSG a ") == 100


def test_group_whose_members_are_all_full_is_asked_once_in_a_run() -> None:
    world = World()
    server = world.server()
    members: list[ScriptedClient] = [quiet_client(server) for _ in range(5)]
    for member in members:
        member.send(b"SUB a q 1\r\nUNSUB 1 2\r\n")
    producer = quiet_client(server)

    producer.send(b"PUB a 2\r\nhi\r\n" * 1_000)

    assert [member.take() for member in members] == [b"MSG a 1 2\r\nhi\r\n" * 2] * 5
    world.check()


# -- a long removal --------------------------------------------------------------------------------


def test_interest_of_a_client_that_left_goes_in_slices_between_which_others_are_served() -> None:
    world = World()
    server = world.server()
    client = quiet_client(server)
    client.send(b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(10_000)))
    counts = removals(server)

    client.close()

    assert sum(counts) == 10_000
    assert max(counts) <= 2_048
    assert server.server.session(client.cid) is None
    world.check()


def test_interest_of_clients_that_end_together_goes_in_slices() -> None:
    world = World()
    server = world.server()
    clients = [quiet_client(server) for _ in range(10)]
    for client in clients:
        client.send(b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(2_000)))
    counts = removals(server)

    server.shutdown()

    assert sum(counts) == 20_000
    assert max(counts) <= 2 * 2_048
    assert not server.state.connections
    world.check()


@pytest.mark.spec("client-protocol 6")
def test_interest_of_a_client_that_says_connect_again_goes_in_slices_before_it_is_heard() -> None:
    world = World()
    server = world.server()
    client = quiet_client(server)
    client.send(b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(10_000)))
    counts = removals(server)

    client.send(QUIET + b"SUB s.1 x\r\nPUB s.1 2\r\nhi\r\nPUB s.2 2\r\nno\r\n")

    assert sum(counts) == 10_000
    assert max(counts) <= 2_048
    assert client.take() == b"MSG s.1 x 2\r\nhi\r\n"
    world.check()


def test_client_that_leaves_while_its_second_connect_is_performed_is_forgotten() -> None:
    world = World()
    server = world.server()
    client = quiet_client(server)
    client.send(b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(10_000)))

    def leave(event: Event, effects: list[Effect]) -> None:
        server.on_event = None
        client.reset()

    server.on_event = leave
    client.send(QUIET + b"SUB s.1 x\r\n")

    assert server.server.session(client.cid) is None
    assert server.state.accounts["$G"].subscriptions == 0
    world.check()

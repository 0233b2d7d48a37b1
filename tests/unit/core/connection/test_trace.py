"""What a trace shows of a dialogue."""

from __future__ import annotations

from typing import Any

import pytest

from natscore.effects import Level
from natscore.testing import ScriptedClient, SimulatedServer, World
from tests.unit.core.dialogue import HEADERS, QUIET, client_of


def traced(server: SimulatedServer, client: ScriptedClient | None = None) -> list[tuple[str, object]]:
    """The names and contents of trace notes so far, which are then forgotten."""
    notes = [note for note in server.notes if note.level is Level.TRACE]
    if client is not None:
        notes = [note for note in notes if note.fields["cid"] == client.cid]
    server.notes.clear()
    return [
        (note.name, note.fields["line"] if "line" in note.fields else note.fields["payload"])
        for note in notes
    ]


def tracing(connect: bytes = QUIET, **options: Any) -> ScriptedClient:
    client = client_of(World().server(trace=True, **options), connect)
    traced(client.server)
    return client


def test_without_trace_nothing_is_shown() -> None:
    client = client_of(World().server())

    client.send(b"SUB foo 1\r\nPUB foo 2\r\nhi\r\nPING\r\n")

    assert traced(client.server) == []


def test_ops_and_answers_are_shown_in_their_order() -> None:
    client = tracing()

    client.send(b"SUB  foo  1\r\nPING\r\nPONG\r\nUNSUB 1 3\r\n")

    assert traced(client.server) == [
        ("trace_in", b"SUB foo 1"),
        ("trace_in", b"PING"),
        ("trace_out", b"PONG"),
        ("trace_in", b"PONG"),
        ("trace_in", b"UNSUB 1 3"),
    ]


@pytest.mark.spec("client-protocol 11:max_traced_msg_len", "client-protocol 22")
def test_messages_are_shown_with_their_payload() -> None:
    client = tracing(HEADERS)
    client.send(b"SUB foo 1\r\n")
    traced(client.server)

    client.send(b"PUB foo 5\r\nhe\r\no\r\nHPUB foo r 2 4\r\nhhxy\r\npub  foo 0\n\r\n")

    assert traced(client.server) == [
        ("trace_in", b"PUB foo 5"),
        ("trace_payload_in", b"he\r\no"),
        ("trace_out", b"MSG foo 1 5"),
        ("trace_payload_out", b"he\r\no"),
        ("trace_in", b"HPUB foo r 2 4"),
        ("trace_payload_in", b"hhxy"),
        ("trace_out", b"HMSG foo 1 r 2 4"),
        ("trace_payload_out", b"hhxy"),
        ("trace_in", b"pub  foo 0"),
        ("trace_out", b"MSG foo 1 0"),
    ]


@pytest.mark.spec("client-protocol 11:max_traced_msg_len", "client-protocol 22")
@pytest.mark.parametrize(
    ("most", "shown", "cut"), [(0, b"hello", False), (5, b"hello", False), (3, b"hel", True)]
)
def test_payloads_are_cut_where_the_operator_wants_it(most: int, shown: bytes, cut: bool) -> None:
    client = tracing(max_traced_msg_len=most)

    client.send(b"PUB foo 5\r\nhello\r\n")

    (note,) = [note for note in client.server.notes if note.name == "trace_payload_in"]
    assert (note.fields["payload"], note.fields["cut"]) == (shown, cut)


def test_a_trace_changes_nothing_of_what_clients_get() -> None:
    data = (
        b"SUB foo 1\r\nUNSUB 1 3\r\n" + b"PUB foo 2\r\nhi\r\n" * 5 + b"PUB foo r 0\r\n\r\nSUB foo.. 2\r\n"
        b"pub foo 1\nx\r\nPING\r\nHPUB foo 0 0\r\n"
    )
    plain, watched = client_of(World().server()), tracing()

    for client in (plain, watched):
        client.send(data)

    assert plain.take() == watched.take()
    assert plain.close_reason is watched.close_reason


def test_what_a_connection_was_sent_is_shown_on_the_side_of_that_connection() -> None:
    publisher = tracing()
    receiver = client_of(publisher.server)
    receiver.send(b"SUB foo 7\r\n")
    traced(publisher.server)

    publisher.send(b"PUB foo 2\r\nhi\r\n")

    assert traced(publisher.server, receiver) == [
        ("trace_out", b"MSG foo 7 2"),
        ("trace_payload_out", b"hi"),
    ]


def test_subscriptions_that_go_are_shown_whatever_made_them_go() -> None:
    client = tracing()
    client.send(b"SUB a 1\r\nSUB b 2\r\nUNSUB 2 1\r\nSUB c 3\r\n")
    traced(client.server)

    client.send(b"UNSUB 1\r\nPUB b 0\r\n\r\n")
    client.close()

    removals = [content for name, content in traced(client.server) if name == "trace_internal"]
    assert removals == [b"DELSUB 1", b"DELSUB 2", b"DELSUB 3"]


def test_a_connection_that_was_cut_off_does_not_disturb_the_trace() -> None:
    publisher = tracing(max_pending=1000, max_payload=900)
    slow = client_of(publisher.server)
    slow.send(b"SUB foo 1\r\n")
    slow.window = 0

    publisher.send(b"PUB foo 700\r\n" + b"x" * 700 + b"\r\n")
    publisher.send(b"PUB foo 700\r\n" + b"x" * 700 + b"\r\nPING\r\n")

    assert not slow.is_open
    assert publisher.take() == b"PONG\r\n"

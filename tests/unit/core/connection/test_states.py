"""The lifetime of a client, as a table."""

from __future__ import annotations

import pytest

from natscore.connection.session import Phase
from natscore.connection.states import CLIENT_LIFETIME
from natscore.errors import CloseReason
from natscore.testing import World


@pytest.mark.spec("client-protocol 1")
def test_the_table_says_what_is_legal_in_each_state() -> None:
    assert {phase: set(row) for phase, row in CLIENT_LIFETIME.items()} == {
        Phase.AWAITING_HELLO: set(),
        Phase.CHOOSING: set(),
        Phase.HANDSHAKING: set(),
        Phase.AWAITING_CONNECT: {b"CONNECT"},
        Phase.VERIFYING: set(),
        Phase.ESTABLISHED: {b"CONNECT", b"SUB", b"UNSUB", b"PING", b"PONG", b"INFO"},
        Phase.CLOSING: set(),
    }
    assert set(CLIENT_LIFETIME) == set(Phase)


def test_an_op_that_is_not_in_the_row_of_its_state_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CLIENT_LIFETIME[Phase.ESTABLISHED], b"INFO")
    client = World().server().connect()

    client.send(b"INFO {}\r\n")

    assert client.take() == b"-ERR 'Unknown Protocol Operation'\r\n"
    assert client.close_reason is CloseReason.PROTOCOL_VIOLATION

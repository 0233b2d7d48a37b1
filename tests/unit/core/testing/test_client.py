"""The scripted client hands out what is new."""

from __future__ import annotations

import pytest

from natscore.testing import World
from tests.unit.core.dialogue import client_of


def test_a_client_takes_each_byte_once() -> None:
    client = client_of(World().server())

    client.send(b"PING\r\n")

    assert client.take() == b"PONG\r\n"
    assert client.take() == b""
    assert bytes(client.received).endswith(b"} \r\nPONG\r\n")


def test_lines_are_without_their_ends() -> None:
    client = client_of(World().server())

    client.send(b"SUB foo 1\r\nPUB foo 0\r\n\r\nPING\r\n")

    assert client.lines() == [b"MSG foo 1 0", b"", b"PONG"]


def test_room_can_only_be_made_where_there_is_a_window() -> None:
    client = client_of(World().server())

    with pytest.raises(AssertionError, match="takes everything at once"):
        client.read(10)

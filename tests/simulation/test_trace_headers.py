"""Headers that ask nats-server for the trace of a message mean nothing here: they are forwarded untouched."""

from __future__ import annotations

import pytest

from natscore.testing import World

REQUESTS = (
    b"NATS/1.0\r\nNats-Trace-Dest: traces\r\n\r\n",
    b"NATS/1.0\r\nNats-Trace-Dest: traces\r\nNats-Trace-Only: true\r\n\r\n",
    b"NATS/1.0\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n",
)


@pytest.mark.parametrize("headers", REQUESTS)
def test_headers_of_message_tracing_are_forwarded_and_nothing_is_traced(headers: bytes) -> None:
    world = World()
    client = world.server().connect()
    size = len(headers)

    client.send(
        b'CONNECT {"verbose":false,"headers":true}\r\nSUB > 1\r\n'
        b"HPUB a %d %d\r\n%bhi\r\nPING\r\n" % (size, size + 2, headers)
    )

    assert client.take() == b"HMSG a 1 %d %d\r\n%bhi\r\nPONG\r\n" % (size, size + 2, headers)
    world.check()

"""Where the bytes are cut makes no difference to anybody."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from natscore.testing import World
from tests.properties.programs import cuts_of, hostile_streams, pieces

LIMITS: Final = st.sampled_from([{}, {"max_control_line": 24}, {"max_payload": 4}])
CONNECT: Final = st.sampled_from(
    [
        b"",
        b'CONNECT {"verbose":false,"pedantic":false}\r\n',
        b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n',
    ]
)


def outcome(data: bytes, cuts: list[int], limits: dict[str, Any], *, token: str) -> dict[str, object]:
    """All that can be seen of a server to which one client sends `data` while another listens."""
    world = World()
    server = world.server(token=token, **limits)
    login = b'"auth_token":"%s",' % token.encode() if token else b""
    listener = server.connect()
    listener.send(b"CONNECT {" + login + b'"verbose":false,"headers":true}\r\nSUB > 1\r\nSUB a q 2\r\n')
    client = server.connect()
    connection = server.state.connections[client.cid]
    source, outbox = connection.source, connection.outbox

    for piece in pieces(data, cuts):
        client.send(piece)

    world.check()
    return {
        "received": bytes(client.received),
        "reason": client.close_reason,
        "counters": (source.messages, source.volume, outbox.messages, outbox.volume),
        "heard": bytes(listener.received),
        "state": server.state.summary(),
        "held": server.server.held_bytes,
    }


@given(st.data(), CONNECT, hostile_streams(), LIMITS)
def test_a_stream_means_the_same_wherever_it_is_cut(
    data: st.DataObject, connect: bytes, stream: bytes, limits: dict[str, Any]
) -> None:
    sent = connect + stream
    cuts = data.draw(cuts_of(sent))

    assert outcome(sent, cuts, limits, token="") == outcome(sent, [], limits, token="")


@given(st.data(), hostile_streams())
def test_a_login_means_the_same_wherever_it_is_cut(data: st.DataObject, stream: bytes) -> None:
    login = data.draw(
        st.sampled_from(
            [b'CONNECT {"auth_token":"s3cret"}\r\n', b'connect{"auth_token":"wrong"}\n', b"C", b""]
        )
    )
    sent = login + stream
    cuts = data.draw(cuts_of(sent))

    assert outcome(sent, cuts, {}, token="s3cret") == outcome(sent, [], {}, token="s3cret")

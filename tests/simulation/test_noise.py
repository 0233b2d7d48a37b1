"""Noise and mutated protocol: an answer to each, no effect on anybody else, never an exception of ours."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest

from natscore.effects import Note
from natscore.errors import CloseReason
from natscore.testing import World
from tests.simulation.clients import quiet_client

if TYPE_CHECKING:
    from natscore.effects import Effect
    from natscore.events import Event

BLOBS: Final = 500  # for each seed, and twice; there are 20 seeds by default

CORPUS: Final = (
    b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}\r\n',
    b'CONNECT {"verbose":true,"pedantic":true,"echo":false,"name":"x","lang":"y","version":"1"}\r\n',
    b"CONNECT {}\r\n",
    b"connect\t{}\n",
    b"PING\r\n",
    b"PONG\r\n",
    b"+OK\r\n",
    b"-ERR 'x'\r\n",
    b"INFO {}\r\n",
    b"SUB a 1\r\n",
    b"SUB a.* q 2\r\n",
    b"SUB a.> 3\r\n",
    b"SUB > 4\r\n",
    b"sub  a\t5\r\n",
    b"UNSUB 1\r\n",
    b"UNSUB 2 3\r\n",
    b"UNSUB 3 999999999\r\n",
    b"PUB a 5\r\nhello\r\n",
    b"PUB a r 5\r\nhello\r\n",
    b"PUB a.b 0\r\n\r\n",
    b"PUB a.b.c r.s 3\r\nabc\r\n",
    b"pub a 2\nhi\r\n",
    b"PUB $NRG.x 0\r\n\r\n",
    b"PUB a _R_.x 0\r\n\r\n",
    b"PUB a $JS.ACK.x 1\r\nx\r\n",
    b"HPUB a 12 17\r\nNATS/1.0\r\n\r\nhello\r\n",
    b"HPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    b"HPUB a 0 2\r\nhi\r\n",
    b"PUB a 000000005\r\nhello\r\n",
    b"PUB a 999999999\r\n",
    b"PUB a 1048577\r\n",
    b"PUB " + b"x" * 4_200 + b" 0\r\n\r\n",
    b"SUB " + b"*." * 1_000 + b"> 6\r\n",
)
BITS: Final = (
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b"\x00",
    b".",
    b"*",
    b">",
    b"-1",
    b"9" * 12,
    b"PUB",
    b"\xff",
)

# A close for one of these is an answer to what the client sent; anything else would be ours.
ANSWERS: Final = frozenset(
    {
        CloseReason.PROTOCOL_VIOLATION,
        CloseReason.PARSE_ERROR,
        CloseReason.MAX_CONTROL_LINE,
        CloseReason.MAX_PAYLOAD,
        CloseReason.BAD_PROTOCOL_VERSION,
        CloseReason.NO_RESPONDERS_NEEDS_HEADERS,
        CloseReason.AUTHENTICATION_FAILURE,
    }
)


def noise(draws: random.Random) -> bytes:
    """Bytes without any sense, or hardly any."""
    kind = draws.randrange(3)
    length = draws.choice((1, 2, 5, 20, 200, 5_000))
    if kind == 0:
        return draws.randbytes(length)
    if kind == 1:
        return bytes(draws.choices(b"PUBSHCONETIG+-KR \t\r\n.*>0123456789{}", k=length))
    return b"".join(draws.choices((*BITS, b"SUB ", b"PUB ", b"CONNECT ", b"a", b"1"), k=length // 2 + 1))


def mutated(draws: random.Random) -> bytes:
    """A row of ops of which some are damaged."""
    stream = bytearray(b"".join(draws.choices(CORPUS, k=draws.randrange(1, 12))))
    for _ in range(draws.randrange(4)):
        at = draws.randrange(len(stream) + 1)
        match draws.randrange(5):
            case 0:
                stream[at:at] = draws.choice(BITS)
            case 1:
                del stream[at : at + draws.randrange(1, 9)]
            case 2:
                stream[at:at] = stream[at : at + draws.randrange(1, 40)]
            case 3:
                stream[at : at + 1] = draws.randbytes(1)
            case _:
                del stream[at:]
        if not stream:
            break
    return bytes(stream)


@pytest.mark.parametrize("auth", [False, True])
def test_noise_is_answered_and_reaches_nobody_else(seed: int, auth: bool) -> None:
    """Every blob comes over a connection of its own, and a pair of clients talks beside it."""
    draws = random.Random(seed * 2 + auth)
    world = World(seed, cuts=bool(seed % 2), recording=False)
    server = world.server(user="alice", password="secret") if auth else world.server()
    login = b'CONNECT {"verbose":false,"pedantic":false,"user":"alice","pass":"secret"}\r\n'
    speaker, listener = (quiet_client(server, hello=login) for _ in range(2))
    listener.send(b"SUB quiet.corner 1\r\n")
    failures: list[Note] = []

    def watch(event: Event, effects: list[Effect]) -> None:
        failures.extend(e for e in effects if isinstance(e, Note) and e.name == "connection_failed")

    server.on_event = watch
    for number in range(BLOBS):
        client = server.connect()
        blob = noise(draws) if draws.randrange(2) else mutated(draws)
        if auth and draws.randrange(2):
            client.send(login)
        client.send(blob)
        assert not failures, (seed, number, blob, failures)
        assert client.is_open or client.close_reason in ANSWERS, (seed, number, blob, client.close_reason)
        assert client.is_open == (server.server.session(client.cid) is not None)
        if number % 10 == 0:
            speaker.send(b"PUB quiet.corner 4\r\n%04d\r\n" % number)
            assert listener.take() == b"MSG quiet.corner 1 4\r\n%04d\r\n" % number
            assert speaker.take() == b""
        if draws.randrange(20):
            client.reset()
        server.notes.clear()

    for client in list(server.clients.values()):
        client.close()
    world.check()
    assert server.server.held_bytes == 0
    assert not server.server._lifecycle.sessions
    assert server.state.accounts["$G"].subscriptions == 0


def test_whatever_noise_recorded_facts_lead_to_the_same_state(seed: int) -> None:
    draws = random.Random(1_000 + seed)
    world = World(seed, cuts=True)
    server = world.server(turn_output_max=1_000)
    clients = [server.connect() for _ in range(10)]

    for _ in range(60):
        client = draws.choice(clients)
        client.send(mutated(draws))
        if not client.is_open or draws.randrange(15) == 0:
            client.reset()
            clients.remove(client)
            clients.append(server.connect())

    world.check()

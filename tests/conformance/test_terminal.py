"""Clients that are older, or plainer, than any library: a terminal, a client of protocol 0, IPv6.

These tests talk to real processes over real sockets; every wait is bounded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.servers import programs, start
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import RunningServer, ServerProgram

pytestmark = pytest.mark.interop

PROGRAMS = [pytest.param(program, id=program.name) for program in programs()]


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A server without configuration, of the program that the test is parametrised with."""
    program: ServerProgram = request.param
    with start(program) as running:
        yield running


on_every_server = pytest.mark.parametrize("server", PROGRAMS, indirect=True)


def dialogue(client: RawClient, said: bytes, answer: bytes) -> None:
    """Say `said`; the next lines that come must be `answer`."""
    client.send(said)
    assert client.read_until(rb"(?:[^\n]*\n){%d}" % answer.count(b"\n")) == answer


@on_every_server
@pytest.mark.spec("client-protocol 2", "client-protocol 3")
def test_person_at_a_terminal_needs_no_connect_and_no_carriage_return(server: RunningServer) -> None:
    with RawClient(server.host, server.port) as terminal:
        assert terminal.read_info().startswith(b'INFO {"server_id":"N')

        dialogue(terminal, b"ping\n", b"PONG\r\n")
        dialogue(terminal, b"sub foo 1\n", b"+OK\r\n")
        dialogue(terminal, b"pub foo 5\nhello\r\n", b"+OK\r\nMSG foo 1 5\r\nhello\r\n")
        dialogue(terminal, b"pub foo reply 0\n\r\n", b"+OK\r\nMSG foo 1 reply 0\r\n\r\n")
        dialogue(terminal, b"unsub 1\n", b"+OK\r\n")
        dialogue(terminal, b"pub foo 2\nhi\r\n", b"+OK\r\n")
        dialogue(terminal, b"pub foo..bar 0\n\r\n", b"-ERR 'Invalid Publish Subject'\r\n+OK\r\n")
        dialogue(terminal, b"sub foo..bar 1\n", b"-ERR 'Invalid Subject'\r\n")
        terminal.send(b"quit\n")

        assert terminal.read_all_until_closed() == b"-ERR 'Unknown Protocol Operation'\r\n"


@on_every_server
@pytest.mark.spec("client-protocol 2")
def test_payload_of_a_terminal_must_still_end_in_carriage_return_and_line_feed(server: RunningServer) -> None:
    with RawClient(server.host, server.port) as terminal:
        terminal.read_info()

        terminal.send(b"pub foo 5\nhello\nping\n")

        assert terminal.read_all_until_closed() == b"-ERR 'Unknown Protocol Operation'\r\n"


@on_every_server
@pytest.mark.spec("client-protocol 3")
@pytest.mark.parametrize(
    "pieces", [[b"pub foo 5\nhello\n"], [b"PUB foo 5\r\n", b"hello", b"X"], [b"pub foo 0\n", b"\n"]]
)
def test_payload_that_ends_wrongly_is_answered_without_waiting_for_more(
    server: RunningServer, pieces: list[bytes]
) -> None:
    with RawClient(server.host, server.port) as terminal:
        terminal.read_info()

        for piece in pieces:
            terminal.send(piece)

        assert terminal.read_all_until_closed() == b"-ERR 'Unknown Protocol Operation'\r\n"


@on_every_server
@pytest.mark.spec("client-protocol 6")
def test_terminal_that_says_connect_without_a_blank_and_quietly_gets_no_acknowledgements(
    server: RunningServer,
) -> None:
    with RawClient(server.host, server.port) as terminal:
        terminal.read_info()

        dialogue(terminal, b'connect{"verbose":false}\nsub foo 1\nping\n', b"PONG\r\n")
        dialogue(terminal, b"pub foo 2\nhi\r\nping\n", b"MSG foo 1 2\r\nhi\r\nPONG\r\n")


@on_every_server
@pytest.mark.spec("client-protocol 10.5", "client-protocol 19")
def test_client_of_protocol_0_gets_messages_without_headers_and_no_second_info(server: RunningServer) -> None:
    with (
        RawClient(server.host, server.port) as old,
        RawClient(server.host, server.port) as publisher,
    ):
        old.read_info()
        publisher.read_info()
        dialogue(old, b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB old.* 1\r\nPING\r\n', b"PONG\r\n")

        dialogue(
            publisher,
            b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n'
            b"HPUB old.a reply 18 22\r\nNATS/1.0\r\nA: 1\r\n\r\nbody\r\n"
            b"HPUB old.b 12 12\r\nNATS/1.0\r\n\r\n\r\n"
            b"PUB old.c 1\r\nc\r\nPING\r\n",
            b"PONG\r\n",
        )
        old.send(b"PING\r\n")
        old.half_close()

        assert old.read_all_until_closed() == (
            b"MSG old.a 1 reply 4\r\nbody\r\nMSG old.b 1 0\r\n\r\nMSG old.c 1 1\r\nc\r\nPONG\r\n"
        )


@on_every_server
@pytest.mark.spec("client-protocol 10.4")
def test_client_of_protocol_0_is_not_told_that_nobody_responds(server: RunningServer) -> None:
    with RawClient(server.host, server.port) as old:
        old.read_info()

        old.send(b'CONNECT {"verbose":false}\r\nSUB inbox 1\r\nPUB nobody inbox 0\r\n\r\nPING\r\n')
        old.half_close()

        assert old.read_all_until_closed() == b"PONG\r\n"


@on_every_server
@pytest.mark.spec("client-protocol 6")
def test_client_that_asks_for_no_responders_without_headers_is_refused(server: RunningServer) -> None:
    with RawClient(server.host, server.port) as old:
        old.read_info()

        old.send(b'CONNECT {"verbose":false,"no_responders":true}\r\nPING\r\n')

        assert old.read_all_until_closed() == b"-ERR 'no responders requires headers support'\r\n"


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.spec("client-protocol 5")
def test_server_listens_on_ipv6_and_says_so_in_info(program: ServerProgram) -> None:
    with start(program, host="::1") as server, RawClient("::1", server.port) as client:
        info = json.loads(client.read_info().removeprefix(b"INFO "))
        dialogue(client, b"SUB foo 1\r\nPUB foo 2\r\nhi\r\n", b"+OK\r\n+OK\r\nMSG foo 1 2\r\nhi\r\n")

    assert (info["host"], info["port"], info["client_ip"]) == ("::1", server.port, "::1")
    assert server.url == f"nats://[::1]:{server.port}"

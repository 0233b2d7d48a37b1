"""The same TLS dialogues with every server: started by flags, spoken by Python's ssl."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority
from tests.support.servers import programs, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.certificates import Pair
    from tests.support.servers import RunningServer, ServerProgram

SECONDS_MAX = 10.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue()


@pytest.fixture(scope="module", params=programs(), ids=str)
def program(request: pytest.FixtureRequest) -> ServerProgram:
    found: ServerProgram = request.param
    return found


@pytest.fixture(scope="module")
def verifying(program: ServerProgram, authority: Authority, pair: Pair) -> Iterator[RunningServer]:
    """A server that requires TLS, and certificates of its clients."""
    flags = ("--tlscert", pair.cert_file, "--tlskey", pair.key_file, "--tlsverify")
    with start(program, *flags, "--tlscacert", authority.ca_file) as server:
        yield server


@pytest.fixture(scope="module")
def requiring(program: ServerProgram, pair: Pair) -> Iterator[RunningServer]:
    """A server that requires TLS, and no certificates of its clients."""
    with start(program, "--tlscert", pair.cert_file, "--tlskey", pair.key_file) as server:
        yield server


def dialogue(server: RunningServer, context: ssl.SSLContext | None, send: bytes) -> tuple[bytes, bytes]:
    """The INFO line of a server, and what it answers up to a PONG or the end of the stream."""
    with contextlib.closing(socket.create_connection((server.host, server.port), SECONDS_MAX)) as plain:
        info = b""
        while not info.endswith(b"\r\n"):
            info += plain.recv(1)
        answer = b""
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            spoken = plain if context is None else context.wrap_socket(plain, server_hostname="localhost")
            with contextlib.closing(spoken):
                spoken.sendall(send)
                while not answer.endswith(b"PONG\r\n") and (data := spoken.recv(65_536)):
                    answer += data
        return info, answer


ECHO = b'CONNECT {"verbose":false}\r\nSUB foo 1\r\nPUB foo 5\r\nhello\r\nPING\r\n'
ECHOED = b"MSG foo 1 5\r\nhello\r\nPONG\r\n"


@pytest.mark.interop
@pytest.mark.spec("client-protocol 17.1", "client-protocol 5", "operations 1.2")
def test_a_server_with_a_certificate_requires_tls_and_speaks_it(
    requiring: RunningServer, authority: Authority
) -> None:
    info, answer = dialogue(requiring, authority.client_context(), ECHO)

    said = json.loads(info.removeprefix(b"INFO "))
    assert said["tls_required"] is True
    assert {"tls_verify", "tls_available"}.isdisjoint(said)
    assert answer == ECHOED


@pytest.mark.interop
@pytest.mark.spec("client-protocol 17.2", "client-protocol 5")
def test_a_client_with_a_certificate_is_served_where_one_is_verified(
    verifying: RunningServer, authority: Authority
) -> None:
    info, answer = dialogue(verifying, authority.client_context(authority.issue("client")), ECHO)

    said = json.loads(info.removeprefix(b"INFO "))
    assert (said["tls_required"], said["tls_verify"]) == (True, True)
    assert answer == ECHOED


def without_certificate(authority: Authority) -> ssl.SSLContext:
    return authority.client_context()


def with_a_strangers_certificate(authority: Authority) -> ssl.SSLContext:
    return authority.client_context(Authority(authority.directory, "stranger").issue("mallory"))


def in_plain(authority: Authority) -> None:
    return None


@pytest.mark.interop
@pytest.mark.spec("client-protocol 17.1", "client-protocol 17.2", "client-protocol 13:TLS Handshake Failure")
@pytest.mark.parametrize(
    "context", [in_plain, without_certificate, with_a_strangers_certificate], ids=lambda make: make.__name__
)
def test_who_does_not_do_as_required_is_closed_without_a_word(
    verifying: RunningServer, authority: Authority, context: Callable[[Authority], ssl.SSLContext | None]
) -> None:
    _, answer = dialogue(verifying, context(authority), ECHO)

    assert answer == b""


@pytest.mark.interop
@pytest.mark.spec("client-protocol 17.1")
def test_tls_1_1_is_refused_by_every_server(requiring: RunningServer, authority: Authority) -> None:
    context = authority.client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    _, answer = dialogue(requiring, context, ECHO)

    assert answer == b""

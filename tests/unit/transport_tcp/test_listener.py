"""Binding and accepting, on the addresses of this machine's loopback."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from natscore.effects import Level
from natscore.events import Address, ConnectionKind, ConnectionOpened, ListenerOpened
from natscore_tcp import ListenError
from natscore_tcp.listener import ACCEPT_MAX, Listener, bind, peer_address, reason
from tests.support.wire import RawClient
from tests.unit.transport_tcp.conftest import running
from tests.unit.transport_tcp.machine import Machine
from tests.unit.transport_tcp.peer import connected

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.anyio

needs_ipv6 = pytest.mark.skipif(
    not socket.has_dualstack_ipv6(), reason="this machine has no IPv6, or not beside IPv4"
)


@pytest.mark.parametrize(
    ("host", "reached_at"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        pytest.param("::1", ["::1"], marks=needs_ipv6),
        pytest.param("[::1]", ["::1"], marks=needs_ipv6),
        pytest.param("0.0.0.0", ["127.0.0.1", "::1"], marks=needs_ipv6),
        pytest.param("::", ["127.0.0.1", "::1"], marks=needs_ipv6),
        pytest.param("", ["127.0.0.1", "::1"], marks=needs_ipv6),
        ("localhost", ["127.0.0.1"]),
    ],
)
async def test_listener_is_reached_at_the_addresses_of_its_host(host: str, reached_at: list[str]) -> None:
    machine = Machine()
    async with running(machine) as server:
        address = await server.runtime.listen(host, -1, ConnectionKind.ROUTE)
        for target in reached_at:
            with connected(Address(target, address.port)) as peer:
                await peer.send(b"x")
                assert await peer.receive(1) == b"x"

    opened = machine.seen(ConnectionOpened)
    assert [event.remote.host for event in opened] == reached_at
    assert {event.kind for event in opened} == {ConnectionKind.ROUTE}
    assert machine.seen(ListenerOpened)[-1].address == address


async def test_host_is_reported_as_it_was_asked_for() -> None:
    async with running(Machine()) as server:
        asked = ["localhost", "0.0.0.0", ""]
        found = [(await server.runtime.listen(host, -1)).host for host in asked]

    assert found == ["localhost", "0.0.0.0", "0.0.0.0"]


@needs_ipv6
async def test_listener_on_an_ipv6_address_leaves_ipv4_alone() -> None:
    (sock,) = await bind("::1", -1, 16)

    with closing(sock):
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


async def test_port_in_use_is_refused_in_the_words_of_the_reference() -> None:
    async with running(Machine()) as server:
        with pytest.raises(ListenError) as refused:
            await server.runtime.listen("127.0.0.1", server.address.port)

    assert refused.value.address == server.address
    assert refused.value.error == f"listen tcp {server.address}: bind: address already in use"


def resolving_to(*hosts: str) -> Any:
    """A resolver that knows these addresses for every name, as a machine's own may."""

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in found else socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port))
            for found in hosts
        ]

    return getaddrinfo


@needs_ipv6
async def test_name_with_several_addresses_is_reached_at_each_on_one_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine()
    async with running(machine) as server:
        monkeypatch.setattr(anyio, "getaddrinfo", resolving_to("127.0.0.1", "::1", "198.51.100.1", "::1"))
        address = await server.runtime.listen("several", -1)
        with connected(Address("127.0.0.1", address.port)), connected(Address("::1", address.port)):
            await machine.until_seen(ConnectionOpened, 2)

    assert {event.remote.host for event in machine.seen(ConnectionOpened)} == {"127.0.0.1", "::1"}
    assert [event.address.host for event in machine.seen(ListenerOpened)] == ["127.0.0.1", "several"]


async def test_name_whose_addresses_are_all_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(Machine()) as server:
        monkeypatch.setattr(anyio, "getaddrinfo", resolving_to("198.51.100.1", "198.51.100.2"))
        with pytest.raises(ListenError, match="bind: cannot assign requested address"):
            await server.runtime.listen("elsewhere", -1)


async def test_addresses_that_exclude_each_other_are_refused_after_some_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(Machine()) as server:
        monkeypatch.setattr(anyio, "getaddrinfo", resolving_to("127.0.0.1", "0.0.0.0"))
        with pytest.raises(ListenError, match="address already in use"):
            await server.runtime.listen("twice", -1)


async def test_machine_without_ipv6_listens_everywhere_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)

    (sock,) = await bind("0.0.0.0", -1, 16)

    with closing(sock):
        assert sock.family is socket.AF_INET
        assert sock.getsockname()[0] == "0.0.0.0"


@needs_ipv6
async def test_port_in_use_on_one_protocol_is_refused_for_both() -> None:
    async with running(Machine()) as server:
        with pytest.raises(ListenError, match="address already in use"):
            await server.runtime.listen("0.0.0.0", server.address.port)


async def test_address_of_another_machine_is_refused() -> None:
    async with running(Machine()) as server:
        with pytest.raises(ListenError, match=r"listen tcp 198\.51\.100\.1:0: bind: "):
            await server.runtime.listen("198.51.100.1", -1)


async def test_unknown_host_is_refused() -> None:
    async with running(Machine()) as server:
        with pytest.raises(ListenError, match=r"lookup nowhere\.invalid: "):
            await server.runtime.listen("nowhere.invalid", -1)


async def test_listening_sockets_do_not_wait_and_can_be_bound_again_at_once() -> None:
    (sock,) = await bind("127.0.0.1", -1, 4096)
    with closing(sock):
        assert sock.getblocking() is False
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) != 0


async def test_accepted_sockets_send_at_once_and_without_keepalive() -> None:
    taken: list[tuple[bool, int, int]] = []

    class Looking(socket.socket):
        """A listening socket that lets the test see what comes of an accepted one."""

        def accept(self) -> tuple[socket.socket, Any]:
            accepted, address = super().accept()
            kept.append(accepted)
            return accepted, address

    kept: list[socket.socket] = []
    machine = Machine()
    async with running(machine) as server:
        with connected(listening(server.runtime, Looking)):
            await machine.until_seen(ConnectionOpened)
            taken = [
                (
                    sock.getblocking(),
                    sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                    sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                )
                for sock in kept
            ]

    ((blocking, no_delay, keepalive),) = taken
    assert not blocking
    assert no_delay != 0
    assert keepalive == 0


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO])
async def test_connection_that_is_gone_before_it_is_accepted_is_passed_over(code: int) -> None:
    class Aborting(socket.socket):
        """A listening socket whose first connection is gone, which the kernel of a test does not do."""

        def accept(self) -> tuple[socket.socket, Any]:
            if errors:
                raise OSError(errors.pop(), "gone")
            return super().accept()

    errors = [code]
    machine = Machine()
    async with running(machine) as server:
        with connected(listening(server.runtime, Aborting)):
            await machine.until_seen(ConnectionOpened)

    assert errors == []
    assert server.notes == []


async def test_connection_that_is_reset_before_it_is_set_up_is_passed_over() -> None:
    class Broken(socket.socket):
        """An accepted socket that takes no options, as those of a reset connection on some systems."""

        def setsockopt(self, *_: Any) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    class Resetting(socket.socket):
        """A listening socket whose first connection is broken."""

        def accept(self) -> tuple[socket.socket, Any]:
            accepted, address = super().accept()
            if not broken:
                broken.append(accepted := Broken(fileno=accepted.detach()))
            return accepted, address

    broken: list[socket.socket] = []
    machine = Machine()
    async with running(machine) as server:
        address = listening(server.runtime, Resetting)
        with connected(address) as first, connected(address):
            await machine.until_seen(ConnectionOpened)
            assert await first.receive_all() == b""

    assert broken[0].fileno() == -1
    assert len(machine.seen(ConnectionOpened)) == 1


async def test_rush_of_connections_is_accepted_over_several_rounds() -> None:
    machine = Machine()
    async with running(machine) as server:
        with ExitStack() as peers:
            for _ in range(3 * ACCEPT_MAX):
                peers.enter_context(connected(server.address))
            await machine.until_seen(ConnectionOpened, 3 * ACCEPT_MAX)

    assert server.notes == []


async def test_listener_rests_longer_and_longer_until_it_can_accept_again() -> None:
    class Exhausted(socket.socket):
        """A listening socket of a process that is out of descriptors for a while."""

        def accept(self) -> tuple[socket.socket, Any]:
            if errors:
                raise OSError(errors.pop(), "Too many open files")
            return super().accept()

    errors = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]
    machine = Machine()
    async with running(machine) as server:
        address = listening(server.runtime, Exhausted)
        with connected(address):
            await machine.until_seen(ConnectionOpened)
        errors.append(errno.EMFILE)
        with connected(address):
            await machine.until_seen(ConnectionOpened, 2)

    assert {(note.level, note.name) for note in server.notes} == {(Level.ERROR, "accept_failed")}
    assert [note.fields["sleep_ms"] for note in server.notes] == [10, 20, 40, 80, 10]
    assert server.notes[0].fields["error"] == "too many open files"
    assert server.notes[0].fields["kind"] is ConnectionKind.CLIENT


def listening(runtime: Any, socket_type: Callable[[], socket.socket]) -> Address:
    """Have a runtime accept from a socket of this type."""
    sock = socket_type()
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    runtime._listeners.append(Listener(runtime, ConnectionKind.CLIENT, sock))
    return Address(*sock.getsockname())


STARVED = """
import resource, sys
import anyio
from natscore_tcp import backend_options, serve

def note(note):
    if note.name == "accept_failed":
        print("note", note.fields["sleep_ms"], note.fields["error"], flush=True)

async def main():
    async with serve(note=note) as running:
        print("port", running.port, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)

resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
backend, uvloop = sys.argv[1:]
anyio.run(main, backend=backend, backend_options=backend_options(backend, uvloop == "True"))
"""


@pytest.mark.spec("operations 11.1")
def test_process_out_of_descriptors_serves_those_it_has_and_accepts_again_later(
    anyio_backend: tuple[str, dict[str, Any]],
) -> None:
    backend, options = anyio_backend
    process = subprocess.Popen(
        [sys.executable, "-c", STARVED, backend, str(options.get("use_uvloop", False))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert process.stdout is not None
    with process, ExitStack() as clients:
        try:
            port = int(process.stdout.readline().split()[1])
            first = clients.enter_context(RawClient("127.0.0.1", port))
            rush = [clients.enter_context(RawClient("127.0.0.1", port)) for _ in range(60)]
            notes = [process.stdout.readline() for _ in range(3)]
            first.read_info()
            first.send(b"PING\r\n")
            first.read_until(rb"PONG\r\n")
            for client in rush[:50]:
                client.close()
            rush[-1].read_info()  # it waited in the backlog
        finally:
            process.communicate(timeout=20)

    assert notes == [f"note {ms} {os.strerror(errno.EMFILE).lower()}\n" for ms in (10, 20, 40)]
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        (("127.0.0.1", 7), Address("127.0.0.1", 7)),
        (("::1", 7, 0, 0), Address("::1", 7)),
        (("::ffff:192.0.2.7", 7, 0, 0), Address("192.0.2.7", 7)),
        (("::ffff:0:1", 7, 0, 0), Address("::ffff:0:1", 7)),
    ],
)
def test_peer_is_named_by_the_protocol_it_speaks(raw: Any, address: Address) -> None:
    assert peer_address(raw) == address


def test_reason_of_an_error_without_words_is_its_kind() -> None:
    assert reason(OSError()) == "OSError".lower()

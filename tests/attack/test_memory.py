"""No memory for one client: it goes, with a line in the log, and everybody else is served."""

from __future__ import annotations

import re
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import natscore_accel
from tests.attack.watch import connected, start
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from tests.support.servers import RunningServer, ServerProgram

pytestmark = pytest.mark.skipif(
    not natscore_accel.available, reason=f"natscore-accel: {natscore_accel.why_not}"
)

MEBIBYTE: Final = 1_048_576
LARGE: Final = 60 * MEBIBYTE
ROOM: Final = 24 * MEBIBYTE


def limit_memory(server: RunningServer) -> None:
    """From now on a running server can have this much more, and no more (Linux)."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ROOM
    resource.prlimit(server.pid, resource.RLIMIT_AS, (most, most))


def test_a_payload_for_which_there_is_no_memory_ends_its_connection_and_no_other(
    program: ServerProgram,
) -> None:
    """The block that holds the payload until it is complete grows by doubling, until malloc refuses."""
    with start(program, "--max_payload", str(64 * MEBIBYTE)) as server:
        other = connected(server, b"SUB foo 1\r\n")
        limit_memory(server)
        greedy = RawClient(server.host, server.port)
        greedy.send(
            b'CONNECT {"verbose":false}\r\nPUB foo %d\r\n' % LARGE + b"x" * LARGE + b"\r\n", timeout=30
        )
        greedy.read_all_until_closed(30)
        failed = re.findall(r"\[ERR\] .*MemoryError.*", server.log_text())

        for _ in range(10):
            with connected(server, b"PUB foo 5\r\nstill\r\n"):
                pass
        other.send(b"PING\r\n")
        heard = other.read_until(rb"PONG\r\n")
        for client in (other, greedy):
            client.close()
        alive = server.process.poll() is None

    assert heard.count(b"MSG foo 1 5\r\nstill\r\n") == 10
    assert len(failed) == 1
    assert re.search(r"cid:\d+", failed[0])
    assert alive

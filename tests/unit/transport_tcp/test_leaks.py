"""A server to which clients come and go is, after ten thousand of them, the server it was before.

Each event loop runs in a process of its own, so that the figures are the server's.
The clients live in another process: this one.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from tests.unit.transport_tcp.machine import TIMEOUT_SECONDS

CYCLES: Final = 10_000
WARM_UP: Final = 2_000
SAME: Final = ("descriptors", "tasks", "connections", "sessions")
LOOSE: Final = 20
"""Objects of one kind that an event loop may hold at one look and not at the other: a cancelled timer, the
last sleep of a task. One object left behind by each hundredth connection would be 100."""
GROWTH_MAX: Final = 1.02  # of resident memory

SERVER: Final = """
import gc, json, os, sys
from collections import Counter
import anyio
from natscore_tcp import backend_options, serve

def tasks():
    if sys.argv[1] == "trio":
        import trio
        return trio.lowlevel.current_statistics().tasks_living
    import asyncio
    return len(asyncio.all_tasks())

def figures(running):
    for _ in range(3):
        gc.collect()
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "objects": dict(Counter(type(thing).__qualname__ for thing in gc.get_objects())),
        "resident": resident,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "tasks": tasks(),
        "connections": running.runtime.connections,
        "sessions": len(running.server.state.connections),
    }

async def main():
    async with serve() as running:
        print(running.port, flush=True)
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            while running.runtime.connections:
                await anyio.sleep(0.01)
            print(json.dumps(figures(running)), flush=True)

backend, uvloop = sys.argv[1:]
anyio.run(main, backend=backend, backend_options=backend_options(backend, uvloop == "True"))
"""


def come_and_go(port: int, times: int) -> None:
    """Connect, exchange a message, and leave: in order, or with a reset, or without a word."""
    for number in range(times):
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as client:
            if number % 3:
                client.sendall(b'CONNECT {"verbose":false}\r\nSUB a.%d 1\r\nPING\r\n' % number)
                while b"PONG\r\n" not in client.recv(65_536):
                    pass
            if number % 3 == 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the figures of Linux")
def test_ten_thousand_clients_leave_nothing_behind(anyio_backend: tuple[str, dict[str, Any]]) -> None:
    backend, options = anyio_backend
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, backend, str(options.get("use_uvloop", False))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None

    def figures() -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    with process:
        try:
            port = int(process.stdout.readline())
            come_and_go(port, WARM_UP)
            figures()  # the first look allocates what later ones reuse
            before = figures()
            come_and_go(port, CYCLES)
            after = figures()
        finally:
            process.communicate(timeout=TIMEOUT_SECONDS)

    assert process.returncode == 0
    more = Counter(after["objects"])
    more.subtract(before["objects"])
    assert {kind: count for kind, count in more.items() if abs(count) > LOOSE} == {}
    assert after["resident"] <= before["resident"] * GROWTH_MAX
    assert {name: after[name] for name in SAME} == {name: before[name] for name in SAME}
    assert after["connections"] == after["sessions"] == 0

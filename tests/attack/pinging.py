"""A client that pings a server every millisecond and measures how long each answer took.

    python pinging.py PORT PID FIELDS CLIENTS

FIELDS go into its CONNECT. CLIENTS is how many connections it has, which ping one
after the other.

A process of its own, so that what a test does meanwhile is not measured. It writes
"ready", pings until its standard input ends, and writes a JSON document: how many
answers there were, and the longest and the 99th percentile of the waits in
seconds. The time in which the scheduler kept the server (PID) or this process
from running is taken off: it says how busy the machine was. (Linux; elsewhere
nothing is taken off.)
"""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import sys
import time

INTERVAL_SECONDS = 0.001
ANSWER_SECONDS_MAX = 30.0


def seconds_kept_waiting(pid: int) -> float:
    """How long a process was ready to run while others ran."""
    try:
        with open(f"/proc/{pid}/schedstat") as statistics:
            return int(statistics.read().split()[1]) / 1e9
    except OSError:
        return 0.0


def ping(server: socket.socket, pid: int) -> float:
    """One round trip, in seconds."""
    kept_waiting = seconds_kept_waiting(pid) + seconds_kept_waiting(os.getpid())
    started = time.perf_counter()
    server.sendall(b"PING\r\n")
    if not server.recv(4096):
        raise ConnectionError("the server closed the connection of the client that pings")
    elapsed = time.perf_counter() - started
    kept_waiting = seconds_kept_waiting(pid) + seconds_kept_waiting(os.getpid()) - kept_waiting
    return max(elapsed - kept_waiting, 0.0)


def connect(port: int, fields: str) -> socket.socket:
    """A client that is logged in."""
    server = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS_MAX)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.sendall(b'CONNECT {"verbose":false,"pedantic":false%s}\r\nPING\r\n' % fields.encode())
    received = b""
    while b"PONG\r\n" not in received:
        received += server.recv(65_536)
    return server


def main(port: int, pid: int, fields: str, clients: int) -> None:
    """Ping until standard input ends, and write what was measured."""
    connections = itertools.cycle([connect(port, fields) for _ in range(clients)])
    print("ready", flush=True)
    waits = []
    while not select.select([sys.stdin], [], [], INTERVAL_SECONDS)[0]:
        waits.append(ping(next(connections), pid))
    waits.append(ping(next(connections), pid))
    waits.sort()
    print(json.dumps({"answers": len(waits), "longest": waits[-1], "p99": waits[len(waits) * 99 // 100]}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))

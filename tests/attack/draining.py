"""Many subscribers in a process of their own, which read everything that they are sent.

    python draining.py PORT COUNT

Each subscribes to `foo`. It writes "ready" and reads. When it is told on standard
input how many bytes each of them is to receive, it reads on until each received
as many, and writes that number, or what somebody got instead.
"""

from __future__ import annotations

import contextlib
import json
import resource
import selectors
import socket
import sys
import time

READ_BYTES = 1_048_576
SECONDS_MAX = 30.0


def subscriber(port: int) -> socket.socket:
    """A connection whose subscription is in place. Without CONNECT, after which it would soon be pinged."""
    client = socket.create_connection(("127.0.0.1", port), SECONDS_MAX)
    client.sendall(b"SUB foo 1\r\nPING\r\n")
    received = b""
    while b"PONG\r\n" not in received:
        received += client.recv(65_536)
    client.setblocking(False)
    return client


def main(port: int, count: int) -> None:
    """Read until everybody has what is expected."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    received = [0] * count
    expected: int | None = None
    buffer = bytearray(READ_BYTES)
    deadline = float("inf")
    with selectors.DefaultSelector() as selector:
        clients = [subscriber(port) for _ in range(count)]
        for number, client in enumerate(clients):
            selector.register(client, selectors.EVENT_READ, number)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while (expected is None or min(received) < expected) and time.monotonic() < deadline:
            for key, _ in selector.select(0.1):
                if key.data is None:
                    selector.unregister(sys.stdin)
                    expected = int(sys.stdin.read())
                    deadline = time.monotonic() + SECONDS_MAX
                else:
                    with contextlib.suppress(BlockingIOError):
                        received[key.data] += clients[key.data].recv_into(buffer)
    print(json.dumps(next((count for count in received if count != expected), expected)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

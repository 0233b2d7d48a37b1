"""A peer that costs next to nothing: it passes messages on without reading them.

It knows what is published to it, because it is told the traffic. So it counts
received bytes, and sends each subscriber as many messages out of a prebuilt ring. What
the generators reach against it is their ceiling (`ceilings.py`), and a subclass that
changes the stream is a server that loses messages (`tests/bench`).

No server: it trusts its clients, and waits for each subscriber in turn.
"""

from __future__ import annotations

import selectors
import socket
from dataclasses import dataclass
from typing import Final

from benchmarks.streams import Traffic, delivered_ring, published_ring

__all__ = ["INFO", "ConcurrentRequestRelay", "Relay", "RequestRelay"]

INFO: Final = (
    b'INFO {"server_id":"RELAY","version":"0.0.0","proto":1,"max_payload":1048576,"headers":true}\r\n'
)
PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"
READ_BYTES: Final = 262_144
MEMBER_RUN_MESSAGES: Final = 500  # that a member of a queue group gets before the next one has its turn
SEND_SECONDS_MAX: Final = 5.0


@dataclass(slots=True, eq=False)
class _Client:
    """One connection and how far it is in its ring."""

    connection: socket.socket
    unread: bytes = b""  # of the lines before its first PING
    ready: bool = False
    subscribed: bool = False
    publisher: int = -1
    received: int = 0  # bytes of messages in this pass
    messages: int = 0  # passed on in this pass
    tail: bytes = b""


class Relay:
    """Serves one traffic until `stop`."""

    def __init__(self, traffic: Traffic) -> None:
        """Build what will be sent, and listen."""
        self._traffic = traffic
        self._rings = [delivered_ring(traffic, n) for n in range(traffic.publishers)]
        first = published_ring(traffic, 0)
        self._published_bytes = len(first) // traffic.ring_messages
        self.delivered_bytes = len(self._rings[0]) // traffic.ring_messages  # of one message
        self._letter_at = first.index(b"\r\n") + 2
        self._clients: list[_Client] = []
        self._next_member = 0
        self._run_messages = MEMBER_RUN_MESSAGES if traffic.queue_group else traffic.messages_max
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopped, self._stop = socket.socketpair()
        address: tuple[str, int] = self._listener.getsockname()
        self.address = address

    def serve(self) -> None:
        """Relay until `stop` is called."""
        with selectors.DefaultSelector() as selector, self._listener, self._stopped:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            try:
                while True:
                    for key, _ in selector.select():
                        if key.fileobj is self._stopped:
                            return
                        if key.data is None:
                            client = self._accept()
                            selector.register(client.connection, selectors.EVENT_READ, client)
                        elif not self._read(key.data):
                            selector.unregister(key.data.connection)
                            key.data.connection.close()
                            self._clients.remove(key.data)
            finally:
                for client in self._clients:
                    client.connection.close()

    def stop(self) -> None:
        """End `serve`; called from another thread."""
        self._stop.close()

    def deliver(self, subscriber: socket.socket, stream: bytes, first: int) -> None:
        """Send `stream`, which begins with message number `first` of the pass; a subclass may do worse."""
        subscriber.sendall(stream)

    def answer_ping(self, connection: socket.socket) -> None:
        """Say that everything sent to `connection` is in front of this."""
        connection.sendall(PONG)

    def _accept(self) -> _Client:
        connection, _ = self._listener.accept()
        connection.settimeout(SEND_SECONDS_MAX)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(INFO)
        client = _Client(connection)
        self._clients.append(client)
        return client

    def _read(self, client: _Client) -> bool:
        """Take what `client` says; whether it is still there."""
        try:
            data = client.connection.recv(READ_BYTES)
            if not data:
                return False
            if not client.ready:
                self._greet(client, data)
            elif not client.subscribed:
                self._relay(client, data)
            elif PING in data:
                self.answer_ping(client.connection)
            # What else a subscriber says is a PONG.
        except OSError:
            return False
        return True

    def _greet(self, client: _Client, data: bytes) -> None:
        client.unread += data
        if client.unread.endswith(PING):
            client.subscribed = b"\r\nSUB " in client.unread
            client.ready = True
            self.answer_ping(client.connection)

    def _relay(self, client: _Client, data: bytes) -> None:
        if client.publisher < 0:
            client.publisher = data[self._letter_at] - ord("a") if self._traffic.publishers > 1 else 0
        client.tail = (client.tail + data[-len(PING) :])[-len(PING) :]
        is_over = client.tail == PING  # no payload ends so
        client.received += len(data) - (len(PING) if is_over else 0)
        self._deliver(client, client.received // self._published_bytes)
        if is_over:
            client.received = client.messages = 0
            self.answer_ping(client.connection)

    def _deliver(self, client: _Client, until: int) -> None:
        ring, per_ring = self._rings[client.publisher], self._traffic.ring_messages
        size = self.delivered_bytes
        while client.messages < until:
            first = client.messages
            start = first % per_ring
            count = min(until - first, per_ring - start, self._run_messages)
            stream = ring[start * size : (start + count) * size]
            for subscriber in self._receivers():
                self.deliver(subscriber.connection, stream, first)
            client.messages += count

    def _receivers(self) -> list[_Client]:
        subscribers = [client for client in self._clients if client.subscribed]
        if not self._traffic.queue_group:
            return subscribers
        self._next_member += 1
        return [subscribers[self._next_member % len(subscribers)]]


class RequestRelay(Relay):
    """Passes one request at a time to the responder, and its reply back."""

    def __init__(self) -> None:
        """Listen; there is nothing to prebuild."""
        super().__init__(Traffic())

    def passed_on(self, subject: bytes, rest: bytes) -> bytes:
        """The message for what was published to `subject`; `rest` follows it. A subclass may do worse."""
        return b"MSG %s 1 %s" % (subject, rest)

    def _read(self, client: _Client) -> bool:
        try:
            data = client.connection.recv(READ_BYTES)
            if not data:
                return False
            if not client.ready:
                self._greet(client, data)
                return True
            subject, rest = data[len(b"PUB ") :].split(b" ", 1)
            # Requests arrive with their reply subject behind the subject, as MSG has it behind the sid.
            [receiver] = [other for other in self._clients if other is not client]
            receiver.connection.sendall(self.passed_on(subject, rest))
        except OSError:
            return False
        return True


class ConcurrentRequestRelay(Relay):
    """Passes the requests of many clients to the responder, and each reply to the owner of its inbox."""

    def __init__(self) -> None:
        """Listen; there is nothing to prebuild."""
        super().__init__(Traffic())
        self._responder: _Client | None = None
        self._by_inbox: dict[bytes, _Client] = {}

    def reply(self, subject: bytes, size: bytes, body: bytes) -> bytes:
        """The message for the requester; a subclass may do worse."""
        return b"MSG %s 1 %s\r\n%s\r\n" % (subject, size, body)

    def _read(self, client: _Client) -> bool:
        try:
            data = client.connection.recv(READ_BYTES)
            if not data:
                return False
            if not client.ready:
                self._greet(client, data)
                return True
            responder = self._responder
            if responder is None:
                return False
            if client is not responder:
                # One request of a requester is under way at a time: it is one read.
                subject, rest = data[len(b"PUB ") :].split(b" ", 1)
                responder.connection.sendall(b"MSG %s 1 %s" % (subject, rest))
                return True
            lines = data.split(b"\r\n")
            for line, body in zip(lines[0:-1:2], lines[1::2], strict=True):
                _, subject, size = line.split(b" ")
                owner = self._by_inbox[subject.rpartition(b".")[0]].connection
                owner.sendall(self.reply(subject, size, body))
        except OSError:
            return False
        return True

    def _greet(self, client: _Client, data: bytes) -> None:
        super()._greet(client, data)
        if not client.ready:
            return
        subject = client.unread.split(b"SUB ", 1)[1].split(b" ", 1)[0]
        if subject.startswith(b"_INBOX."):
            self._by_inbox[subject.removesuffix(b".*")] = client
        else:
            self._responder = client

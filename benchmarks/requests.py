"""Requests and replies: one requester with one request at a time, or many that have one in flight each."""

from __future__ import annotations

import secrets
import select
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.beside import Beside, keep_company
from benchmarks.children import BUILD_SECONDS_MAX, Child, ProcessorTime, answer, answers
from benchmarks.client import SILENCE_SECONDS, Address, RunFailure, connect
from benchmarks.streams import CHUNK_BYTES_MAX, CONTROL_LINE

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.children import Pipe

__all__ = ["RequestTimes", "RequestsInFlightTimes", "run_requests", "run_requests_in_flight"]

REQUESTS_MAX: Final = 100_000
REPLY_DIGITS: Final = 8
INBOX_HEX_BYTES: Final = 11  # 22 characters, as client libraries write
SERVICE: Final = b"bench.service"

IMPORTED: Final = b"bench.imported"
"""The same, where its requesters are in another account and import it."""

ACCOUNTS: Final = """
accounts {
  A { users: [ {user: a, password: a} ], exports: [ {service: bench.service} ] }
  B { users: [ {user: b, password: b} ]
      imports: [ {service: {account: A, subject: bench.service}, to: bench.imported} ] }
}
"""
"""The configuration of a server for that."""

COMPANY_HEAD_START_SECONDS: Final = 0.1
"""What goes on beside the requests has filled its buffers by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTimes:
    """One pass of requests, one at a time."""

    seconds: list[float]  # of each request, in order
    cpu_seconds: float
    others_cpu_share: float
    company: dict[str, float] = field(default_factory=dict)  # what the process beside did


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestsInFlightTimes:
    """One pass of requests, one in flight for each client."""

    requests: int
    seconds: float
    cpu_seconds: float
    load_cpu_seconds: float
    others_cpu_share: float


def run_requests(
    payload_bytes: int,
    address: Address,
    passes: Sequence[float],
    *,
    imported: bool = False,
    beside: Beside | None = None,
    cpu_clock: Callable[[], float] = time.process_time,
    silence_seconds: float = SILENCE_SECONDS,
) -> list[RequestTimes]:
    """Send requests one after the other to one responder, for each of `passes` that many seconds.

    Every request has a reply subject that was never used, below the one wildcard
    inbox of the requester. With `imported` they go to another account. `beside` is at
    work in each pass. Raises RunFailure.
    """
    with ExitStack() as stack:
        start = stack.enter_context
        responding = start(Child(_respond, payload_bytes, address, silence_seconds, imported))
        requesting = start(Child(_request, payload_bytes, address, silence_seconds, imported))
        company = start(Child(keep_company, beside, address, silence_seconds)) if beside else None
        children = [child for child in (responding, requesting, company) if child]
        answers(children, BUILD_SECONDS_MAX)
        results = []
        for seconds in passes:
            seconds_max = 20 * (seconds + silence_seconds)
            before = ProcessorTime.read(cpu_clock, children)
            report: dict[str, float] = {}
            if company:
                company.order("begin")
                time.sleep(COMPANY_HEAD_START_SECONDS)
            requesting.order(seconds)
            times: list[float] = answer(requesting, seconds_max, children)
            if company:
                company.order("end")
                report = answer(company, seconds_max, children)
            after = ProcessorTime.read(cpu_clock, children)
            results.append(
                RequestTimes(
                    seconds=times,
                    cpu_seconds=after.server - before.server,
                    others_cpu_share=after.others_share_since(before),
                    company=report,
                )
            )
        return results


def run_requests_in_flight(
    payload_bytes: int,
    clients: int,
    address: Address,
    passes: Sequence[float],
    *,
    cpu_clock: Callable[[], float] = time.process_time,
    silence_seconds: float = SILENCE_SECONDS,
) -> list[RequestsInFlightTimes]:
    """Keep one request of each of `clients` connections on its way to one responder. Raises RunFailure."""
    with (
        Child(_respond, payload_bytes, address, silence_seconds, False) as responding,
        Child(_request_in_flight, payload_bytes, clients, address, silence_seconds) as requesting,
    ):
        children = [responding, requesting]
        answers(children, BUILD_SECONDS_MAX)
        results = []
        for seconds in passes:
            before = ProcessorTime.read(cpu_clock, children)
            requesting.order(seconds)
            requests, elapsed = answer(requesting, 20 * (seconds + silence_seconds), children)
            after = ProcessorTime.read(cpu_clock, children)
            results.append(
                RequestsInFlightTimes(
                    requests=requests,
                    seconds=elapsed,
                    cpu_seconds=after.server - before.server,
                    load_cpu_seconds=after.load - before.load,
                    others_cpu_share=after.others_share_since(before),
                )
            )
        return results


class _Conversation:
    """A blocking connection that is asked for one message at a time."""

    def __init__(self, address: Address, subject: bytes, silence_seconds: float, user: str = "") -> None:
        """Connect and subscribe to `subject`."""
        self.connection = connect(address, (subject, b"1"), timeout=silence_seconds, user=user)
        self._unread = b""

    def next_message(self, size: int) -> bytes:
        """The next `size` bytes that are not control lines. Raises BlockingIOError when silence lasts."""
        data = self._unread + self.connection.recv(CHUNK_BYTES_MAX)
        while len(data) != size or not data.startswith(b"M"):
            if line := CONTROL_LINE.match(data):
                if line[1].startswith(b"-ERR"):
                    raise RunFailure(f"the server says {line[1].decode(errors='replace')}")
                if line[1] == b"PING":
                    self.connection.send(b"PONG\r\n")
                data = data[line.end() :]
            elif len(data) > size:
                break
            elif more := self.connection.recv(CHUNK_BYTES_MAX):
                data += more
            else:
                raise RunFailure("connection closed while a message was expected")
        self._unread = data[size:]
        return data[:size]


def _request(
    payload_bytes: int, address: Address, silence_seconds: float, imported: bool, pipe: Pipe
) -> None:
    """The process of the requester."""
    inbox = b"_INBOX." + secrets.token_hex(INBOX_HEX_BYTES).encode()
    body = b"." * payload_bytes
    asked = IMPORTED if imported else SERVICE
    pairs = [
        (
            b"PUB %s %s.%0*d %d\r\n%s\r\n" % (asked, inbox, REPLY_DIGITS, n, payload_bytes, body),
            b"MSG %s.%0*d 1 %d\r\n%s\r\n" % (inbox, REPLY_DIGITS, n, payload_bytes, body),
        )
        for n in range(REQUESTS_MAX)
    ]
    unused = iter(pairs)  # never started anew: no reply subject is used twice
    conversation = _Conversation(address, inbox + b".*", silence_seconds, user="b" if imported else "")
    pipe.send("ready")
    while True:
        seconds: float = pipe.recv()
        pipe.send(_request_pass(conversation, unused, seconds))


def _request_pass(
    conversation: _Conversation, pairs: Iterator[tuple[bytes, bytes]], seconds: float
) -> list[float]:
    times: list[float] = []
    clock = time.perf_counter
    over = clock() + seconds
    for request, expected in pairs:
        began = clock()
        conversation.connection.send(request)
        try:
            reply = conversation.next_message(len(expected))
        except OSError as error:
            raise RunFailure(f"no reply to request {len(times)}: {error}") from error
        ended = clock()
        if reply != expected:
            raise RunFailure(f"reply {expected[:80]!r} expected, {reply[:80]!r} received")
        times.append(ended - began)
        if ended > over:
            break
    if not times:
        raise RunFailure(f"all {REQUESTS_MAX} prebuilt requests were used up")
    return times


class _Requester:
    """One of many clients: its inbox, and the number of the request that is in flight."""

    def __init__(self, payload_bytes: int, address: Address, silence_seconds: float) -> None:
        """Connect and subscribe to the inbox."""
        inbox = b"_INBOX." + secrets.token_hex(INBOX_HEX_BYTES).encode()
        body = b"%d\r\n" % payload_bytes + b"." * payload_bytes + b"\r\n"
        self.connection = connect(address, (inbox + b".*", b"1"), timeout=silence_seconds)
        self._request = b"PUB %s %s.%%0%dd " % (SERVICE, inbox, REPLY_DIGITS) + body
        self._reply = b"MSG %s.%%0%dd 1 " % (inbox, REPLY_DIGITS) + body
        self._number = 0
        self._expected = b""
        self._received = b""

    def send(self) -> None:
        """The next request, with a reply subject that was never used."""
        self._number += 1
        self._expected = self._reply % self._number
        self.connection.send(self._request % self._number)

    def take(self) -> bool:
        """Take what has arrived; whether the reply is complete."""
        data = self.connection.recv(CHUNK_BYTES_MAX)
        if data == self._expected:
            return True
        if not data:
            raise RunFailure("connection closed while a reply was expected")
        data = self._received + data
        while line := CONTROL_LINE.match(data):
            if line[1].startswith(b"-ERR"):
                raise RunFailure(f"the server says {line[1].decode(errors='replace')}")
            if line[1] == b"PING":
                self.connection.send(b"PONG\r\n")
            data = data[line.end() :]
        self._received = b"" if data == self._expected else data
        if data != self._expected and not self._expected.startswith(data):
            raise RunFailure(f"reply {self._expected[:80]!r} expected, {data[:80]!r} received")
        return data == self._expected


def _request_in_flight(
    payload_bytes: int, clients: int, address: Address, silence_seconds: float, pipe: Pipe
) -> None:
    """The process of all requesters."""
    requesters = [_Requester(payload_bytes, address, silence_seconds) for _ in range(clients)]
    by_descriptor = {one.connection.fileno(): one for one in requesters}
    with select.epoll(clients) as poller:
        for descriptor in by_descriptor:
            poller.register(descriptor, select.EPOLLIN)
        pipe.send("ready")
        while True:
            seconds: float = pipe.recv()
            began = time.perf_counter()
            until = began + seconds
            replies = 0
            for one in requesters:
                one.send()
            flying = clients
            while flying:
                ready = poller.poll(silence_seconds)
                if not ready:
                    raise RunFailure(f"no reply to {flying} requests for {silence_seconds} s")
                is_over = time.perf_counter() >= until
                for descriptor, _ in ready:
                    one = by_descriptor[descriptor]
                    if one.take():
                        replies += 1
                        if is_over:
                            flying -= 1
                        else:
                            one.send()
            pipe.send((replies, time.perf_counter() - began))


def _respond(
    payload_bytes: int, address: Address, silence_seconds: float, imported: bool, pipe: Pipe
) -> None:
    """The process of the responder: it answers each request with the body of the request."""
    connection = connect(
        address, (SERVICE, b"1"), timeout=silence_seconds, user="a" if imported else "", headers=not imported
    )
    inbox = b"_R_." if imported else b"_INBOX."
    head = b"MSG %s 1 %s" % (SERVICE, inbox)
    # All requests have one length, so the reply subject and the rest stand at fixed places.
    reply_at = len(head) - len(inbox)
    size = (
        len(head)
        + (len(b"123456.123456") if imported else 2 * INBOX_HEX_BYTES + 1 + REPLY_DIGITS)
        + len(b" %d\r\n" % payload_bytes)
        + payload_bytes
        + 2
    )
    pipe.send("ready")
    unread = b""
    while True:
        try:
            data = connection.recv(CHUNK_BYTES_MAX)
        except BlockingIOError:
            continue  # between two passes; the requester notices silence
        if not data:
            raise RunFailure("connection closed while a request was expected")
        data = unread + data
        at = 0
        replies = []
        while len(data) - at >= size and data.startswith(head, at):
            replies.append(b"PUB " + data[at + reply_at : at + size])
            at += size
        if replies:
            connection.sendall(b"".join(replies))
        unread = _past_control_lines(connection, data[at:])
        if not head.startswith(unread[: len(head)]):
            raise RunFailure(f"request below {head!r} expected, {unread[:80]!r} received")


def _past_control_lines(connection: socket.socket, data: bytes) -> bytes:
    while line := CONTROL_LINE.match(data):
        if line[1].startswith(b"-ERR"):
            raise RunFailure(f"the server says {line[1].decode(errors='replace')}")
        if line[1] == b"PING":
            connection.send(b"PONG\r\n")
        data = data[line.end() :]
    return data

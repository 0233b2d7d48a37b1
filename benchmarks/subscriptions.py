"""A million subscriptions: how they are loaded, kept and given up, and how long a server stalls meanwhile."""

from __future__ import annotations

import enum
import random
import select
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.beside import INBOX_CHARACTERS, INBOX_LENGTH, Probe, keep_company
from benchmarks.children import BUILD_SECONDS_MAX, Child, answer
from benchmarks.client import SILENCE_SECONDS, Address, Lines, RunFailure, connect, receive_some
from benchmarks.process import is_working

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from benchmarks.children import Pipe

__all__ = ["Held", "Probed", "Subjects", "holding", "probing", "watch_idle"]

LOAD_SECONDS_MAX: Final = 180.0
LOAD_SILENCE_SECONDS: Final = 60.0
"""All connections load at once, so the first answers may be late."""

PING_EVERY: Final = 1_000
PROBE_SECONDS_MAX: Final = 60.0
LOOK_SECONDS: Final = 0.001


class Subjects(enum.Enum):
    """What is subscribed to; each subject by one subscription."""

    LITERALS = "literals"  # bench.<7 digits>.created
    INBOXES = "inboxes"  # _INBOX.<22 random characters>.*


class Held:
    """Subscriptions in another process."""

    def __init__(self, child: Child) -> None:
        """`child` is connected, and has subscribed to nothing yet."""
        self._child = child

    def load(self) -> float:
        """Subscribe to everything; the seconds from the first SUB sent to the last PONG.

        One message to the first and the last subject of each connection then proves that they stand.
        """
        self._child.order("load")
        seconds: float = answer(self._child, LOAD_SECONDS_MAX, [self._child])
        return seconds

    def close_one(self) -> None:
        """Close one more of the connections."""
        self._child.order("close")
        answer(self._child, BUILD_SECONDS_MAX, [self._child])


@contextmanager
def holding(subjects: Subjects, count: int, connections: int, address: Address) -> Iterator[Held]:
    """A process with idle `connections` that will divide `count` subscriptions among them."""
    with Child(_hold, subjects, count, connections, address) as child:
        answer(child, BUILD_SECONDS_MAX, [child])
        yield Held(child)


class Probed:
    """What a probe beside something has seen."""

    report: dict[str, float]


@contextmanager
def probing(address: Address) -> Iterator[Probed]:
    """Probe the server while the block lasts; the report stands when it has ended."""
    with Child(keep_company, Probe(), address, SILENCE_SECONDS) as child:
        answer(child, BUILD_SECONDS_MAX, [child])
        child.order("begin")
        probed = Probed()
        yield probed
        child.order("end")
        probed.report = answer(child, PROBE_SECONDS_MAX, [child])


def watch_idle(pid: int, address: Address, seconds: float) -> dict[str, float]:
    """Leave the server alone for so long, but for a PING each time it begins to work by itself.

    A probe that asks all the time would keep a server from what it does when it is idle,
    collecting garbage above all. So its threads are looked at every millisecond, and when some thread
    has worked for two looks, the wait for a PONG is what a client would have felt.
    """
    longest = 0.0
    pings = 0
    with connect(address) as connection:
        lines = Lines()
        until = time.perf_counter() + seconds
        looks = 0
        while time.perf_counter() < until:
            time.sleep(LOOK_SECONDS)
            looks = looks + 1 if is_working(pid) else 0
            if looks < 2:
                continue
            looks = 0
            began = time.perf_counter()
            connection.sendall(b"PING\r\n")
            pings += 1
            while lines.pongs < pings:
                _no_message(lines.feed(receive_some(connection, "PONG of an idle server")))
            longest = max(longest, time.perf_counter() - began)
    return {"pings": float(pings), "longest_seconds": longest}


def _hold(subjects: Subjects, count: int, connections: int, address: Address, pipe: Pipe) -> None:
    """The process of all subscribers."""
    holders = [_Holder(share, address) for share in _shares(subjects, count, connections)]
    pipe.send("ready")
    while True:
        order = pipe.recv()
        if order == "load":
            seconds = _load(holders)
            _verify(holders, address)
            pipe.send(seconds)
        else:
            holders.pop().connection.close()
            pipe.send("closed")


def _shares(subjects: Subjects, count: int, connections: int) -> Iterator[list[bytes]]:
    """The subjects of each connection."""
    size = count // connections
    characters = random.Random(1)
    for first in range(0, size * connections, size):
        if subjects is Subjects.LITERALS:
            yield [b"bench.%07d.created" % number for number in range(first, first + size)]
        else:
            drawn = bytes(characters.choices(INBOX_CHARACTERS, k=size * INBOX_LENGTH))
            inboxes = [drawn[at : at + INBOX_LENGTH] for at in range(0, len(drawn), INBOX_LENGTH)]
            yield [b"_INBOX.%s.*" % inbox for inbox in inboxes]


class _Holder:
    """One connection and its subscriptions."""

    def __init__(self, subjects: list[bytes], address: Address) -> None:
        """Build the lines and connect."""
        lines = [
            b"SUB %s %d\r\n" % (subject, sid) + (b"PING\r\n" if sid % PING_EVERY == 0 else b"")
            for sid, subject in enumerate(subjects, 1)
        ]
        self.rest = memoryview(b"".join(lines) + b"PING\r\n")
        self.pings = len(subjects) // PING_EVERY + 1
        self.lines = Lines()
        # What proves that the first and the last one stand: published here, received there.
        self.samples = [
            (subject.replace(b"*", b"one"), sid)
            for sid, subject in ((1, subjects[0]), (len(subjects), subjects[-1]))
        ]
        self.connection = connect(address)

    @property
    def is_loaded(self) -> bool:
        """Whether the server has answered the PING behind the last SUB."""
        return not self.rest and self.lines.pongs == self.pings


def _load(holders: list[_Holder]) -> float:
    waiting = {one.connection.fileno(): one for one in holders}
    with select.epoll() as poller:
        for descriptor, one in waiting.items():
            one.connection.setblocking(False)
            one.lines.pongs = 0
            poller.register(descriptor, select.EPOLLIN | select.EPOLLOUT)
        began = time.perf_counter()
        while waiting:
            ready = poller.poll(LOAD_SILENCE_SECONDS)
            if not ready:
                raise RunFailure(
                    f"{len(waiting)} connections have no PONG for {LOAD_SILENCE_SECONDS} s of loading"
                )
            for descriptor, events in ready:
                one = waiting[descriptor]
                if events & select.EPOLLOUT:
                    try:
                        one.rest = one.rest[one.connection.send(one.rest) :]
                    except OSError as error:
                        raise RunFailure(f"connection closed while subscribing: {error}") from error
                    if not one.rest:
                        poller.modify(descriptor, select.EPOLLIN)
                if events & ~select.EPOLLOUT:
                    _no_message(one.lines.feed(receive_some(one.connection, "subscribing")))
                    if one.is_loaded:
                        poller.unregister(descriptor)
                        del waiting[descriptor]
        return time.perf_counter() - began


def _no_message(lines: list[bytes]) -> None:
    if lines:
        raise RunFailure(f"{lines[0][:80]!r} received where there was nothing to receive")


def _verify(holders: list[_Holder], address: Address) -> None:
    with connect(address) as publishing:
        for one in holders:
            publishing.sendall(b"".join(b"PUB %s 2\r\nok\r\n" % subject for subject, _ in one.samples))
        publishing.sendall(b"PING\r\n")
        lines = Lines()
        while not lines.pongs:
            _no_message(lines.feed(receive_some(publishing, "publishing to subscriptions")))
    for one in holders:
        wanted = [line for subject, sid in one.samples for line in (b"MSG %s %d 2" % (subject, sid), b"ok")]
        one.connection.settimeout(SILENCE_SECONDS)
        one.connection.sendall(b"PING\r\n")
        received: list[bytes] = []
        before = one.lines.pongs
        while one.lines.pongs == before:
            received += one.lines.feed(_receive(one.connection))
        if received != wanted:
            raise RunFailure(f"{wanted} expected of a loaded connection, {received[:8]} received")


def _receive(connection: socket.socket) -> bytes:
    return receive_some(connection, "a message to a loaded subscription")

"""What else happens to the server while something is measured: company for traffic and requests.

Each kind is data, so that a scenario can name it and a process can be told it. The
process connects, says that it is ready, and then, for each order to begin, works until
the order to end, makes sure that the server has done everything (PING, PONG), and
reports what that was. Work that the server does not keep up with fails the run.
"""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from benchmarks.client import Address, Lines, RunFailure, connect, receive_some

if TYPE_CHECKING:
    from benchmarks.children import Pipe

__all__ = ["Beside", "Flood", "PatternChurn", "Probe", "SubscriptionChurn", "keep_company"]

PACE_KEPT_MIN: Final = 0.9
"""The part of the wanted pace below which the run fails: it would measure something else."""

INBOX_CHARACTERS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
INBOX_LENGTH: Final = 22
FLOOD_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionChurn:
    """Literal subjects are subscribed to and given up again, so many lines a second together.

    Each block takes back the subscriptions of the block before and brings as many new ones, and
    ends with a PING.
    """

    lines_per_second: int = 100_000
    block_lines: int = 1_000
    blocks: int = 200  # different ones, then the subjects come again
    unanswered_max: int = 5  # blocks that may be on the way

    def start(self, address: Address, silence_seconds: float) -> Worker:
        """Connect."""
        return _SubscriptionChurner(self, address, silence_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternChurn:
    """`>` and fresh inboxes in turn are subscribed to and given up again.

    A `>` gets everything that is published while it stands, and a second receiver of
    all traffic is not what this is about. So each is subscribed with a limit of one message
    (`UNSUB <sid> 1` in the same write): it takes part in the very next message, as any subscription
    would, and ends with it. Each must hear a message, and none another one once the server
    has answered a PING behind its limit. (A server that works on many connections at a time
    may deliver more in the moment between the two lines.)
    """

    subscriptions_per_second: int = 1_000
    ping_every: int = 100

    def start(self, address: Address, silence_seconds: float) -> Worker:
        """Connect."""
        return _PatternChurner(self, address, silence_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """One publisher to a subject that nobody wants, as fast as the server takes it."""

    payload_bytes: int = 16

    def start(self, address: Address, silence_seconds: float) -> Worker:
        """Connect."""
        return _Flooder(self, address, silence_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A quiet connection that sends a PING every millisecond, one at a time, and keeps the longest wait."""

    interval_seconds: float = 0.001

    def start(self, address: Address, silence_seconds: float) -> Worker:
        """Connect."""
        return _Prober(self, address, silence_seconds)


Beside: TypeAlias = SubscriptionChurn | PatternChurn | Flood | Probe


class Worker(Protocol):
    """One kind of company at work."""

    def begin(self) -> None:
        """A pass begins."""

    def step(self) -> None:
        """Do the next piece; returns within milliseconds while the server takes what is sent."""

    def end(self) -> dict[str, float]:
        """Wait until everything is done; what it was. Raises RunFailure."""

    def close(self) -> None:
        """Close the connection."""


def keep_company(beside: Beside, address: Address, silence_seconds: float, pipe: Pipe) -> None:
    """The process."""
    worker = beside.start(address, silence_seconds)
    pipe.send("ready")
    while True:
        pipe.recv()
        worker.begin()
        while not pipe.poll():
            worker.step()
        pipe.recv()
        pipe.send(worker.end())


class _Paced:
    """A connection that sends at a pace and reads what comes meanwhile."""

    def __init__(self, address: Address, silence_seconds: float) -> None:
        """Connect."""
        self.connection = connect(address, timeout=silence_seconds)
        self.lines = Lines()
        self.asked = 0  # PINGs
        self._began = self._next = 0.0

    def start(self) -> None:
        """The pace begins now."""
        self._began = self._next = time.perf_counter()

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._began

    def wait(self, interval: float) -> None:
        """Wait until the next piece is due; one that is late is caught up with."""
        late = time.perf_counter() - self._next
        if late < 0:
            time.sleep(-late)
        self._next += interval

    def send(self, data: bytes, *, ping: bool) -> None:
        """Send, with a PING behind if `ping`."""
        try:
            self.connection.sendall(data + b"PING\r\n" if ping else data)
        except OSError as error:
            raise RunFailure(f"connection beside the traffic closed: {error}") from error
        self.asked += ping

    def read(self) -> list[bytes]:
        """The lines that have arrived, without waiting."""
        try:
            data = self.connection.recv(65_536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError as error:
            raise RunFailure(f"connection beside the traffic closed: {error}") from error
        if not data:
            raise RunFailure("connection beside the traffic closed")
        return self.lines.feed(data)

    def await_pongs(self, unanswered: int = 0) -> list[bytes]:
        """Read until no more than `unanswered` PINGs are without a PONG; the lines before it."""
        others = []
        while self.asked - self.lines.pongs > unanswered:
            others += self.lines.feed(receive_some(self.connection, "PONG beside the traffic"))
        return others


class _Connected:
    """What all have: one connection."""

    def __init__(self, address: Address, silence_seconds: float) -> None:
        """Connect."""
        self._paced = _Paced(address, silence_seconds)

    def close(self) -> None:
        """Close the connection."""
        self._paced.connection.close()


class _SubscriptionChurner(_Connected):
    """Sends prebuilt blocks, and holds the server to the pace."""

    def __init__(self, churn: SubscriptionChurn, address: Address, silence_seconds: float) -> None:
        """Build the blocks and connect."""
        self._churn = churn
        super().__init__(address, silence_seconds)
        self._per_block = churn.block_lines // 2
        sids = [
            range(first, first + self._per_block)
            for first in range(1, 1 + churn.blocks * self._per_block, self._per_block)
        ]
        self._unsubscribing = [b"".join(b"UNSUB %d\r\n" % sid for sid in block) for block in sids]
        self._subscribing = [
            b"".join(b"SUB churn.%07d.created %d\r\n" % (sid, sid) for sid in block) for block in sids
        ]
        self._sent = 0

    def begin(self) -> None:
        """The first block of this pass brings only new ones."""
        self._paced.start()
        self._sent = 0
        self._pongs_before = self._paced.lines.pongs

    def step(self) -> None:
        """One block, when it is due."""
        paced = self._paced
        paced.await_pongs(self._churn.unanswered_max)
        paced.wait(self._churn.block_lines / self._churn.lines_per_second)
        at = self._sent % self._churn.blocks
        # Index -1 of the first round is the last block, which stands no more: unknown sids are ignored.
        paced.send(self._unsubscribing[at - 1] + self._subscribing[at], ping=True)
        self._sent += 1
        if stray := paced.read():
            raise RunFailure(f"{stray[0][:80]!r} received beside the traffic")

    def end(self) -> dict[str, float]:
        """Take the last block back; the pace is what was answered until the order to end."""
        paced = self._paced
        elapsed = paced.elapsed()
        paced.read()
        answered = paced.lines.pongs - self._pongs_before
        paced.send(self._unsubscribing[(self._sent - 1) % self._churn.blocks], ping=True)
        paced.await_pongs()
        rate = answered * self._churn.block_lines / elapsed
        on_the_way = self._churn.unanswered_max * self._churn.block_lines / elapsed
        if rate < PACE_KEPT_MIN * self._churn.lines_per_second - on_the_way:
            raise RunFailure(
                f"{rate:,.0f} SUB and UNSUB a second beside the traffic, "
                f"{self._churn.lines_per_second:,} are wanted"
            )
        return {"sub_and_unsub_per_second": rate}


class _PatternChurner(_Connected):
    """Subscribes to `>` for one message, and to inboxes for one turn."""

    def __init__(self, churn: PatternChurn, address: Address, silence_seconds: float) -> None:
        """Connect."""
        self._churn = churn
        super().__init__(address, silence_seconds)
        self._characters = random.Random(0)
        self._sid = 0
        self._everything: list[int] = []  # sids of `>` in this pass
        self._heard: Counter[int] = Counter()
        self._limited: list[int] = [0]  # by PINGs sent: the last sid in front of it
        self._inbox = b""  # how to give the latest one up
        self._awaits_payload = False

    def begin(self) -> None:
        """Nothing of an earlier pass stands."""
        self._paced.start()
        self._everything = []
        self._heard.clear()
        self._steps = 0
        self._limited = [self._sid] * (self._paced.asked + 1)

    def step(self) -> None:
        """One subscription, when it is due; the inbox before it goes."""
        paced = self._paced
        paced.wait(1 / self._churn.subscriptions_per_second)
        self._sid += 1
        self._steps += 1
        if self._steps % 2:
            lines = self._inbox + b"SUB > %d\r\nUNSUB %d 1\r\n" % (self._sid, self._sid)
            self._everything.append(self._sid)
            self._inbox = b""
        else:
            inbox = bytes(self._characters.choices(INBOX_CHARACTERS, k=INBOX_LENGTH))
            lines = b"SUB _INBOX.%s %d\r\n" % (inbox, self._sid)
            self._inbox = b"UNSUB %d\r\n" % self._sid
        self._send(lines, ping=self._steps % self._churn.ping_every == 0)
        answered = paced.lines.pongs
        self._take(paced.read(), answered)

    def end(self) -> dict[str, float]:
        """Give up what stands; each `>` that ended must have heard a message."""
        paced = self._paced
        elapsed = paced.elapsed()
        standing = b"".join(b"UNSUB %d\r\n" % sid for sid in self._everything)
        self._send(self._inbox + standing, ping=True)
        self._inbox = b""
        answered = paced.lines.pongs
        self._take(paced.await_pongs(), answered)
        if self._awaits_payload:
            raise RunFailure("half a message received beside the traffic")
        # All that stand hear the same message, so those that heard none are the last ones.
        if sorted(self._heard) != self._everything[: len(self._heard)]:
            raise RunFailure("a `>` for one message has received none")
        rate = self._steps / elapsed
        if rate < PACE_KEPT_MIN * self._churn.subscriptions_per_second:
            raise RunFailure(
                f"{rate:,.0f} subscriptions a second beside the traffic, "
                f"{self._churn.subscriptions_per_second:,} are wanted"
            )
        return {
            "subscriptions_per_second": rate,
            "everything_subscribed": float(len(self._everything)),
            "everything_heard": float(len(self._heard)),
            "messages_heard": float(self._heard.total()),
        }

    def _send(self, lines: bytes, *, ping: bool) -> None:
        self._paced.send(lines, ping=ping)
        if ping:
            self._limited.append(self._sid)

    def _take(self, lines: list[bytes], answered: int) -> None:
        """Count what was heard, after `answered` PONGs at least."""
        limited = self._limited[answered]
        for line in lines:
            if self._awaits_payload:
                self._awaits_payload = False
            elif line.startswith(b"MSG "):
                sid = int(line.split(b" ")[2])
                if sid <= limited and sid in self._heard:
                    raise RunFailure("a `>` for one message has received more than one")
                self._heard[sid] += 1
                self._awaits_payload = True
            else:
                raise RunFailure(f"{line[:80]!r} received beside the traffic")


class _Flooder(_Connected):
    """Sends one block over and over."""

    def __init__(self, flood: Flood, address: Address, silence_seconds: float) -> None:
        """Build the block and connect."""
        super().__init__(address, silence_seconds)
        message = b"PUB flood.unwanted %d\r\n%s\r\n" % (flood.payload_bytes, b"." * flood.payload_bytes)
        self._per_block = FLOOD_BYTES // len(message)
        self._block = message * self._per_block
        self._blocks = 0

    def begin(self) -> None:
        """Count from here."""
        self._paced.start()
        self._blocks = 0

    def step(self) -> None:
        """One block; returns when the kernel has it."""
        self._paced.send(self._block, ping=False)
        self._blocks += 1

    def end(self) -> dict[str, float]:
        """The rate up to the PONG behind the last message."""
        self._paced.send(b"", ping=True)
        if stray := self._paced.await_pongs():
            raise RunFailure(f"{stray[0][:80]!r} received by a publisher")
        return {"flood_messages_per_second": self._blocks * self._per_block / self._paced.elapsed()}


class _Prober(_Connected):
    """Asks and waits."""

    def __init__(self, probe: Probe, address: Address, silence_seconds: float) -> None:
        """Connect."""
        self._probe = probe
        super().__init__(address, silence_seconds)
        self._seconds: list[float] = []

    def begin(self) -> None:
        """Forget earlier waits."""
        self._paced.start()
        self._seconds = []

    def step(self) -> None:
        """One round trip; the time of a wait is not caught up with."""
        began = time.perf_counter()
        self._paced.send(b"", ping=True)
        if stray := self._paced.await_pongs():
            raise RunFailure(f"{stray[0][:80]!r} received by the probe")
        took = time.perf_counter() - began
        self._seconds.append(took)
        time.sleep(max(self._probe.interval_seconds - took, 0.0))

    def end(self) -> dict[str, float]:
        """The longest and the middle one."""
        if not self._seconds:
            raise RunFailure("the probe had no time for a round trip")
        ordered = sorted(self._seconds)
        return {
            "round_trips": float(len(ordered)),
            "longest_seconds": ordered[-1],
            "median_seconds": ordered[len(ordered) // 2],
        }

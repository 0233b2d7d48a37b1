"""The same random dialogue with two servers: what each connection is told must be the same bytes.

After each step of a dialogue every connection sends a PING, so that what the step
caused has arrived when the next begins; the PONGs stay in the transcript, as
marks of time.

    python -m tests.attack.differential --seeds 0:5000

plays ours against nats-server 2.14.5 and prints every difference, cut down to
the operations that it takes. What may differ is brought to one form first:

- INFO keeps the keys that a client acts on, and PINGs of the server, which depend on
  the clock, are left out; so are advisories, for which there is no system account yet;
- the deliveries of one message to several subscriptions of one connection stand in
  the order of their sids, because nats-server's own order is that of a hash;
- which member of a queue group gets a message is a draw, so those deliveries are
  counted over all connections;
- which of a requester's subscriptions is told that nobody responds is not said either.

Beyond that a difference is a finding, unless it has one of the `REASONS`: a
difference that goes away with the operations that the reason is about.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

from tests.attack.dialogues import SETTINGS, generate
from tests.support.servers import programs, start
from tests.support.wire import RawClient, WireTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from tests.attack.dialogues import Dialogue, Step
    from tests.support.servers import RunningServer, ServerProgram

__all__ = [
    "REASONS",
    "REPEATED",
    "Arena",
    "Difference",
    "Frame",
    "compare",
    "explanation",
    "frames_of",
    "shrunk",
]

SILENCE_SECONDS_MAX: Final = 5.0  # a server that owes an answer is silent; only a difference comes to this
FORGET_SECONDS_MAX: Final = 10.0


# -- transcripts -----------------------------------------------------------------------------------


Frame: TypeAlias = tuple[bytes, ...]
"""A line, or the words of a MSG or HMSG with its payload."""


@dataclass(slots=True)
class Transcript:
    """What each connection was told, in its canonical form, and whether the server closed it."""

    frames: list[tuple[Frame, ...]] = field(default_factory=list)
    closed: list[bool] = field(default_factory=list)
    shared: Counter[Frame] = field(default_factory=Counter)  # deliveries of queue groups, wherever they went
    silent: str = ""  # which answer did not come


_INFO_KEYS: Final = (
    *("proto", "headers", "auth_required", "max_payload", "client_ip"),
    *("connect_info", "remote_account"),
)


def frames_of(received: bytes) -> list[Frame]:
    """What a server said, in pieces. A rest that is not a whole frame is the last piece."""
    frames: list[Frame] = []
    while received:
        line, end, rest = received.partition(b"\r\n")
        if not end:
            return [*frames, (b"(unfinished)", received)]
        words = line.split(b" ")
        if words[0] in (b"MSG", b"HMSG"):
            size = int(words[-1])
            frames.append((*words, rest[:size]))
            rest = rest[size + 2 :]
        elif words[0] == b"INFO":
            document = json.loads(line[5:])
            kept = {key: document[key] for key in _INFO_KEYS if key in document}
            frames.append((b"INFO", json.dumps(kept, sort_keys=True).encode()))
        elif line != b"PING":
            frames.append((line,))
        received = rest
    return frames


def _canonical(frames: list[Frame], shared: Counter[Frame]) -> tuple[Frame, ...]:
    """Deliveries of one message by sid; those to queue groups go to `shared` instead."""
    own = []
    for frame in frames:
        if frame[-1].startswith(b'{"type":"io.nats.server.advisory.'):
            continue
        if frame[0] in (b"MSG", b"HMSG") and frame[2].startswith(b"q-"):
            subject, sid, payload = frame[1], frame[2], frame[-1]
            if frame[0] == b"HMSG":  # another member may not take headers
                payload = payload[int(frame[-3]) :]
            shared[subject, sid.rpartition(b"-")[0], payload] += 1
        elif frame[-1].startswith(b"NATS/1.0 503\r\nNats-Subject"):
            own.append((*frame[:2], b"(any)", *frame[3:]))
        else:
            own.append(frame)
    ordered: list[Frame] = []
    for (name, *_), run in groupby(own, _message_of):
        told = list(run)
        ordered += sorted(told) if name in (b"MSG", b"HMSG") else told
    return tuple(ordered)


def _message_of(frame: Frame) -> Frame:
    return (frame[0], frame[1], frame[-1]) if frame[0] in (b"MSG", b"HMSG") else (frame[0], b"", b"")


# -- playing ---------------------------------------------------------------------------------------


class _Line:
    """One connection of a dialogue: what it received, and how many PONGs it is owed."""

    def __init__(self, server: RunningServer) -> None:
        self.client = RawClient(server.host, server.port)
        self.info = self.client.read_info()
        self.pongs = 0
        self.has_logged_in = b'"auth_required":true' not in self.info

    def send(self, step: Step) -> None:
        self.has_logged_in = True  # or is about to be closed
        self.pongs += step.pongs
        for piece in step.pieces():
            self.client.send(piece)

    def mark(self) -> None:
        """Send a PING of its own, unless that would be taken for an attempt without CONNECT."""
        if self.has_logged_in and not self.client.ended:
            self.pongs += 1
            self.client.send(b"PING\r\n")

    def settle(self) -> bool:
        """Wait until every PONG is there, or the server closed. Whether it did."""
        deadline = time.monotonic() + SILENCE_SECONDS_MAX
        while not self.client.ended and self.client.unread.count(b"PONG\r\n") < self.pongs:
            if not self.client.wait_for_input(deadline - time.monotonic()):
                latest = bytes(self.client.unread[-200:])
                raise WireTimeout(f"{self.pongs} PONGs are owed; the last bytes are {latest!r}")
        return self.client.ended


class Arena:
    """Servers of one program, one for each setting, started when first needed. A context manager.

    `flags` are given to each of them, beside those of its setting.
    """

    def __init__(self, program: ServerProgram, *flags: str) -> None:
        self.program = program
        self._flags = flags
        self._servers: dict[str, RunningServer] = {}
        self._monitors: dict[str, http.client.HTTPConnection] = {}
        self._subscriptions: dict[str, int] = {}  # of the server itself, before anybody came
        self._running = ExitStack()

    def play(self, dialogue: Dialogue) -> Transcript:
        """Play a dialogue to its end, or to the first connection that the server closes.

        The end comes then, because nats-server forgets subscriptions some time
        after it closed a connection, and nobody is told when.
        """
        server = self._server(dialogue.setting)
        transcript = Transcript()
        lines: list[_Line] = []
        try:
            lines += [_Line(server) for _ in range(dialogue.connections)]
            if not self._converse(lines, dialogue.steps):
                self._finish(lines, dialogue.ending)
        except WireTimeout as silence:
            transcript.silent = str(silence)
        for line in lines:
            transcript.closed.append(line.client.ended)
            frames = frames_of(line.info + bytes(line.client.unread))
            transcript.frames.append(_canonical(frames, transcript.shared))
            line.client.close()
        self._wait_until_forgotten(dialogue.setting)
        return transcript

    @property
    def servers(self) -> list[RunningServer]:
        """Those that were needed so far."""
        return list(self._servers.values())

    def log_text(self) -> str:
        """What all servers have logged."""
        return "".join(server.log_text() for server in self._servers.values())

    @staticmethod
    def _converse(lines: list[_Line], steps: Sequence[Step]) -> bool:
        """Play the steps; whether the server closed a connection."""
        for step in steps:
            speaker = lines[step.connection]
            speaker.send(step)
            is_over = speaker.settle()
            for line in lines:
                if line is not speaker:
                    line.mark()
                    is_over |= line.settle()
            if is_over:
                return True
        return False

    @staticmethod
    def _finish(lines: list[_Line], ending: bytes) -> None:
        """Say that no more will be sent, the first in the middle of an operation; the server closes them."""
        lines[0].client.send(ending)
        for line in lines:
            with suppress(OSError):  # closed for what the ending holds
                line.client.half_close()
        for line in lines:
            received = line.client.read_all_until_closed(SILENCE_SECONDS_MAX)
            line.client.unread[:0] = received

    def _server(self, setting: str) -> RunningServer:
        if setting not in self._servers:
            chosen = SETTINGS[setting]
            if self.program.kind == "ours":
                server = start(self.program, *chosen.flags, *self._flags)
            else:
                server = start(self.program, "-m", "-1", *self._flags, config=chosen.config)
                address = server.monitoring_url.rpartition("/")[2]
                self._monitors[setting] = http.client.HTTPConnection(address, timeout=FORGET_SECONDS_MAX)
            self._servers[setting] = self._running.enter_context(server)
            if self.program.kind == "go":
                self._subscriptions[setting] = self._count_subscriptions(setting)
        return self._servers[setting]

    def _wait_until_forgotten(self, setting: str) -> None:
        """Return when no subscription of the dialogue is left."""
        deadline = time.monotonic() + FORGET_SECONDS_MAX
        if self.program.kind == "ours":
            # The ends of the closed connections were there before this one, so they are dealt with first.
            probe = RawClient(self._servers[setting].host, self._servers[setting].port)
            probe.read_info()
            probe.half_close()
            probe.read_all_until_closed()
            probe.close()
            return
        while self._count_subscriptions(setting) != self._subscriptions[setting]:
            if time.monotonic() > deadline:
                raise WireTimeout("the server did not forget the subscriptions of a dialogue")

    def _count_subscriptions(self, setting: str) -> int:
        monitor = self._monitors[setting]
        monitor.request("GET", "/subsz")
        count: int = json.load(monitor.getresponse())["num_subscriptions"]
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for monitor in self._monitors.values():
            monitor.close()
        self._running.close()


# -- differences -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """Two servers did not say the same."""

    dialogue: Dialogue
    first: Transcript
    second: Transcript

    def __str__(self) -> str:
        lines = [str(self.dialogue)]
        for number, (one, two) in enumerate(zip(self.first.frames, self.second.frames, strict=True)):
            closed = (self.first.closed[number], self.second.closed[number])
            if one != two or closed[0] != closed[1]:
                alike = next((n for n, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]),
                             min(len(one), len(two)))  # fmt: skip
                lines.append(f"  connection {number}, after {alike} equal frames (closed: {closed}):")
                lines += [f"    < {one[alike:][:4]}", f"    > {two[alike:][:4]}"]
        if self.first.shared != self.second.shared:
            lines.append(f"  to queue groups: < {self.first.shared - self.second.shared}")
            lines.append(f"                   > {self.second.shared - self.first.shared}")
        for sign, transcript in (("<", self.first), (">", self.second)):
            if transcript.silent:
                lines.append(f"  {sign} silent: {transcript.silent[:200]}")
        return "\n".join(lines)


def compare(first: Arena, second: Arena, dialogue: Dialogue) -> Difference | None:
    """Play with both; None when they said the same."""
    one, two = first.play(dialogue), second.play(dialogue)
    return None if one == two else Difference(dialogue, one, two)


def shrunk(first: Arena, second: Arena, difference: Difference) -> Difference:
    """A difference without explanation in a dialogue from which nothing can be left out."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in difference.dialogue.smaller():
            found = compare(first, second, candidate)
            if found is not None and explanation(first, second, found) is None:
                difference, smaller = found, True
                break
    return difference


class Reason(NamedTuple):
    """Why two servers may differ, and the operations that it is about."""

    text: str
    concerns: Callable[[bytes], bool]


def _document(op: bytes, name: bytes) -> str | None:
    """The document of a CONNECT or INFO line; None for any other operation."""
    if op[: len(name)].upper() != name:
        return None
    return op[len(name) :].strip(b" \t\r\n").decode("utf-8", "replace")


_DEPTH_MAX: Final = 900
"""What is nested deeper is not decoded here: our server takes 1,024 levels, Python's decoder about 1,000,
and each release of Python counts them otherwise."""


def _depth(document: str) -> int:
    """How deep brackets are nested, at most; those in strings are counted too, which does no harm here."""
    depth = deepest = 0
    for character in document:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest


def _is_decoded_otherwise(op: bytes) -> bool:
    """A CONNECT that names a key twice, or holds what only one of the decoders takes."""
    document = _document(op, b"CONNECT")
    if document is None:
        return False
    if _depth(document) > _DEPTH_MAX:
        return True
    found: list[list[str]] = []
    try:
        json.loads(document, object_pairs_hook=lambda pairs: found.append([key.lower() for key, _ in pairs]))
    except ValueError:
        return False
    doubled = any(len(set(keys)) < len(keys) for keys in found)
    return doubled or re.search(r"\\ud[89a-f]|e999", document, re.IGNORECASE) is not None


def _is_info_without_object(op: bytes) -> bool:
    document = _document(op, b"INFO")
    return document is not None and not document.startswith(("{", "null"))


REASONS: Final = (
    Reason(
        "CONNECT: nats-server checks each of doubled keys, and takes lone surrogates, 1e999, deep nesting",
        _is_decoded_otherwise,
    ),
    Reason("INFO: nats-server closes for JSON that is no object", _is_info_without_object),
    Reason(
        'PUB "_GR_.": refused; nats-server refuses only what is longer, and delivers this one to nobody',
        lambda op: re.match(rb"h?pub[ \t]+_GR_\.[ \t]", op, re.IGNORECASE) is not None,
    ),
    Reason(
        "HPUB without header bytes: nats-server echoes zeros before the size, we write the number",
        lambda op: re.match(rb"hpub[^\n]*[ \t]0+[ \t]+0[0-9]+[ \t]*\r?\n", op, re.IGNORECASE) is not None,
    ),
    Reason(
        "HMSG of a client: refused; nats-server takes it for a message without subject",
        lambda op: op[:5].upper() == b"HMSG ",
    ),
    Reason(
        "-ERR of a client: closed; nats-server closes too, and does what came in the same read",
        lambda op: op[:4].upper() == b"-ERR",
    ),
)

REPEATED: Final = (
    "PUB: nats-server says Invalid Publish Subject at each read of a message, we when it is complete"
)
_INVALID: Final = (b"-ERR 'Invalid Publish Subject'",)


def explanation(first: Arena, second: Arena, difference: Difference) -> str | None:
    """Why this difference is none to worry about; None when there is no reason."""
    if _without_repeats(difference.first) == _without_repeats(difference.second):
        return REPEATED
    for reason in REASONS:
        rest = difference.dialogue.without(reason.concerns)
        if rest != difference.dialogue:
            found = compare(first, second, rest)
            if found is None or explanation(first, second, found) is not None:
                return reason.text
    return None


def _without_repeats(transcript: Transcript) -> Transcript:
    """With one Invalid Publish Subject for several in a row, and none for a message that never came whole."""
    told = []
    for frames in transcript.frames:
        kept = [
            frame
            for number, frame in enumerate(frames)
            if frame != _INVALID or frames[number - 1] != _INVALID
        ]
        told.append(tuple(kept[:-1] if kept[-1] == _INVALID else kept))
    return replace(transcript, frames=told)


# -- the command -----------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Play many dialogues and print the differences. Returns 1 when one has no explanation."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", default="0:1000", metavar="FIRST:END")
    parser.add_argument("--ours", default="ours-asyncio", metavar="NAME", help="the server under test")
    parser.add_argument("--peer", default="go-2.14.5", metavar="NAME", help="the server it is compared with")
    parser.add_argument("--show", type=int, default=20, metavar="N", help="how many differences are printed")
    options = parser.parse_args(arguments)
    found = {program.name: program for program in programs()}
    begin, end = map(int, options.seeds.split(":"))
    reasons: Counter[str] = Counter()
    with Arena(found[options.ours]) as ours, Arena(found[options.peer]) as peer:
        for seed in range(begin, end):
            difference = compare(ours, peer, generate(seed))
            if difference is None:
                continue
            reason = explanation(ours, peer, difference) or "not explained"
            reasons[reason] += 1
            if reason == "not explained" and reasons[reason] <= options.show:
                print(f"seed {seed}: {shrunk(ours, peer, difference)}\n", flush=True)
    print(f"{end - begin} dialogues, {sum(reasons.values())} differ (< {options.ours}, > {options.peer})")
    for reason, count in reasons.most_common():
        print(f"  {count:5d}  {reason}")
    return int(reasons["not explained"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

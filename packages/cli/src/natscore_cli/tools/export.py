"""`natscore journal export FILE`: a copy that can be shown to others, and still replays.

The events are rewritten (`sanitized.py`) and executed once more, so that the
copy holds the checksums of what it now says.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from natscore import (
    BytesReceived,
    ConfigError,
    ConnectionClosed,
    OptionsReloaded,
    Server,
    UsageError,
)
from natscore.journal import JournalError, Recorder, read_journal
from natscore.replay import ReplayedKernel
from natscore_cli.files import os_error_text
from natscore_cli.logins import authenticators
from natscore_cli.redaction import escaped
from natscore_cli.tools.sanitized import StandIns, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from natscore import ConnectionId, Event, Options
    from natscore_cli.tools.sanitized import Chunk

__all__ = ["export", "run"]

OUTPUT_MODE: Final = 0o600  # subjects and addresses are still nobody else's business
HELD_EVENTS_MAX: Final = 100_000  # events that wait for a client to end its line
_UNBOUNDED: Final = 1 << 62


def run(path: str, output: str) -> int:
    """Copy the journal at `path` to `output`, which must not exist. Returns the exit code."""
    try:
        source = open(path, "rb")  # noqa: SIM115 - the with statement below closes it
    except OSError as error:
        return _failed(os_error_text("open", path, error))
    with source:
        try:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OUTPUT_MODE)
        except OSError as error:
            return _failed(os_error_text("open", output, error))
        with open(descriptor, "wb") as target:
            try:
                events = export(source.read, target.write)
            except (JournalError, ConfigError) as error:
                os.unlink(output)
                return _failed(f"{path}: {error}")
            except OSError as error:
                os.unlink(output)
                return _failed(os_error_text("write", output, error))
    print(f"{events} events exported without payloads and credentials to {escaped(output)}")
    return 0


def _failed(text: str) -> int:
    print(f"natscore: {escaped(text)}", file=sys.stderr)
    return 1


def export(read: Callable[[int], bytes], write: Callable[[bytes], object]) -> int:
    """Copy a journal; returns the number of events.

    Raises:
        JournalError: it is not a journal, or damaged, or its copy goes another way.
        OSError: from `write`.
    """
    options, records = read_journal(read)
    stand_ins = StandIns()
    server = Server(_sanitized_options(options, stand_ins), authenticators=authenticators)
    failures: list[OSError] = []

    def remember_failures(data: bytes) -> None:  # a recorder gives up writing and goes on
        try:
            write(data)
        except OSError as error:
            failures.append(error)
            raise

    recorder = Recorder(server, remember_failures, _UNBOUNDED)
    kernel = ReplayedKernel(server)
    number = 0
    for event in _sanitized_events((event for event, _ in records), stand_ins):
        number += 1
        kernel.write_before(event)
        try:
            recorder.handle(event)
        except UsageError as error:
            raise JournalError(f"the copy goes another way at event {number}: {error}") from error
        except Exception:
            return number  # the recorded server failed here too, which is what the copy is to show
        finally:
            if failures:
                raise failures[0]
        kernel.offer(recorder.ready)
    return number


def _sanitized_options(options: Options, stand_ins: StandIns) -> Options:
    users = tuple(
        replace(user, name=stand_ins.of(user.name), password=stand_ins.of(user.password))
        for user in options.users.users
    )
    return replace(
        options,
        users=replace(options.users, users=users),
        user=stand_ins.of(options.user),
        password=stand_ins.of(options.password),
        token=stand_ins.of(options.token),
    )


def _sanitized_events(events: Iterable[Event], stand_ins: StandIns) -> Iterator[Event]:
    """The events in their order; one waits while the line that it begins or goes on with is not whole."""
    streams: dict[ConnectionId, Stream] = {}
    held: deque[tuple[Event, Chunk | None]] = deque()
    for event in events:
        chunk: Chunk | None = None
        if isinstance(event, BytesReceived):
            stream = streams.get(event.cid)
            if stream is None:
                stream = streams[event.cid] = Stream(stand_ins)
            chunk = stream.take(bytes(event.data))
        elif isinstance(event, ConnectionClosed) and event.cid in streams:
            streams.pop(event.cid).give_up()
        elif isinstance(event, OptionsReloaded):
            event = replace(event, options=_sanitized_options(event.options, stand_ins))
        held.append((event, chunk))
        if len(held) > HELD_EVENTS_MAX:
            for stream in streams.values():
                stream.give_up()
        yield from _final(held)
    for stream in streams.values():
        stream.give_up()
    yield from _final(held)


def _final(held: deque[tuple[Event, Chunk | None]]) -> Iterator[Event]:
    while held and (held[0][1] is None or not held[0][1].waits):
        event, chunk = held.popleft()
        if chunk is not None and isinstance(event, BytesReceived):
            yield replace(event, data=bytes(chunk.data))
        else:
            yield event

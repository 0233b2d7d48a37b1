"""`natscore replay FILE`: re-execute a journal, and say how it ended."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from natscore import ConfigError, ReplayDivergence
from natscore.dataplane import PureDataPlane
from natscore.journal import JournalError
from natscore.replay import replay
from natscore_cli.files import os_error_text
from natscore_cli.logins import authenticators
from natscore_cli.redaction import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.cells import Source
    from natscore.entropy import Xorshift64
    from natscore.events import ConnectionId
    from natscore.plane import Outbox, SubjectTable
    from natscore.replay import Replayed

__all__ = ["run"]


class _CountingPlane(PureDataPlane):
    """Keeps every source there ever was, for a connection's counters go when it goes."""

    def __init__(self, choices: Xorshift64) -> None:
        super().__init__(choices)
        self.sources: list[Source] = []

    def source(
        self, cid: ConnectionId, outbox: Outbox, table: SubjectTable, max_control_line: int, max_payload: int
    ) -> Source:
        source = super().source(cid, outbox, table, max_control_line, max_payload)
        self.sources.append(source)
        return source


def run(path: str) -> int:
    """Replay the journal at `path`. Prints the final state; the first difference gives 1."""
    planes: list[_CountingPlane] = []

    def data_plane(choices: Xorshift64) -> _CountingPlane:
        planes.append(_CountingPlane(choices))
        return planes[-1]

    try:
        with open(path, "rb") as file:
            replayed = replay(file.read, data_plane=data_plane, authenticators=authenticators)
    except OSError as error:
        return _failed(os_error_text("open", path, error))
    except (JournalError, ConfigError) as error:
        return _failed(f"{path}: {error}")
    except ReplayDivergence as error:
        return _failed(f"{path}: the replay differs at {error}")
    except Exception as error:
        # The recorded server failed here too, or a bug came in since: either is what was asked about.
        return _failed(f"{path}: the replay ended in {type(error).__name__}: {error}")
    for line in _report(replayed, planes[-1].sources if planes else []):
        print(line)
    return 0


def _failed(text: str) -> int:
    print(f"natscore: {escaped(text)}", file=sys.stderr)
    return 1


def _report(replayed: Replayed, sources: list[Source]) -> Iterator[str]:
    yield f"{replayed.events} events replayed without a difference"
    if replayed.events == 0:
        return
    state = replayed.server.state
    connections = state.connections.values()
    yield f"connections: {state.open_connections} open of {len(sources)}"
    yield f"subscriptions: {sum(len(connection.subscriptions) for connection in connections)}"
    published, received = sum(s.messages for s in sources), sum(s.volume for s in sources)
    delivered, sent = sum(s.outbox.messages for s in sources), sum(s.outbox.volume for s in sources)
    yield f"messages: {published} published ({received} bytes), {delivered} delivered ({sent} bytes)"
    yield f"slow consumers: {state.slow_consumers}"
    yield f"authentication failures: {state.authentication_failures}"
    for connection in connections:
        label = f' "{connection.options.label}"' if connection.options.label else ""
        yield escaped(
            f"  {connection.remote} - {connection.kind.value}:{connection.cid}{label}:"
            f" {len(connection.subscriptions)} subscriptions,"
            f" {connection.source.messages} published, {connection.outbox.messages} delivered"
        )

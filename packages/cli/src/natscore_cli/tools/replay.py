"""`natscore replay FILE`: re-execute a journal, and say how it ended.

It runs on the data plane that a server would take here, whichever recorded it: both
give the same bytes. With `--pure` it is the one in pure Python.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from natscore import ConfigError, ReplayDivergence
from natscore.facts import ConnectionAccepted
from natscore.journal import JournalError
from natscore.replay import replay
from natscore_cli.files import os_error_text
from natscore_cli.logins import authenticators
from natscore_cli.redaction import escaped
from natscore_tcp.executor import PURE_VARIABLE, choose_executor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.facts import Fact
    from natscore.plane import Source
    from natscore.replay import Replayed
    from natscore.server import Server

__all__ = ["run"]


def run(path: str, *, pure: bool = False) -> int:
    """Replay the journal at `path`. Prints the final state; the first difference gives 1."""
    executor = choose_executor({PURE_VARIABLE: "1"}) if pure else choose_executor()
    sources: list[Source] = []  # of every connection there ever was: its counters go when it goes

    def keep_source(server: Server, fact: Fact) -> None:
        if isinstance(fact, ConnectionAccepted):
            sources.append(server.state.connections[fact.cid].source)

    try:
        with open(path, "rb") as file:
            replayed = replay(
                file.read, data_plane=executor.make, authenticators=authenticators, observe=keep_source
            )
    except OSError as error:
        return _failed(os_error_text("open", path, error))
    except (JournalError, ConfigError) as error:
        return _failed(f"{path}: {error}")
    except ReplayDivergence as error:
        return _failed(f"{path}: the replay differs at {error}")
    except Exception as error:
        # The recorded server failed here too, or a bug came in since: either is what was asked about.
        return _failed(f"{path}: the replay ended in {type(error).__name__}: {error}")
    for line in _report(replayed, sources, "compiled" if executor.compiled else "pure Python"):
        print(line)
    return 0


def _failed(text: str) -> int:
    print(f"natscore: {escaped(text)}", file=sys.stderr)
    return 1


def _report(replayed: Replayed, sources: list[Source], plane: str) -> Iterator[str]:
    yield f"{replayed.events} events replayed without a difference"
    yield f"data plane: {plane}"
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

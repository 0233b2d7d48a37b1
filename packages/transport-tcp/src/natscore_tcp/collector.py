"""When Python's garbage collector may work, in a process that is a server and nothing else.

The core's cells and nodes form no cycles and are freed when they are done with,
so collections find next to nothing; yet one of the old generation walks every
subscription there is, and the server answers nobody meanwhile. Hence: what
exists at the start is taken out of the collector's sight, the young generations
are collected as always, and the old one only when nothing has happened for a
while. A program that embeds a server keeps its collector as it is.
"""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["collect_when_idle", "tuned_collector"]

IDLE_SECONDS: Final = 1.0  # without any event: nobody will notice a pause
REST_SECONDS: Final = 30.0  # between two collections of everything
BUSY_SECONDS_MAX: Final = 600.0  # a server that is never idle pauses all the same: better than a leak
_NEVER: Final = 1 << 30  # collections of the middle generation until the old one's turn comes


@contextmanager
def tuned_collector() -> Iterator[None]:
    """Freeze what exists, and leave old objects to `collect_when_idle`. Undone at the end."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(before[0], before[1], _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def collect_when_idle(
    events_handled: Callable[[], int],
    *,
    collect: Callable[[], object] = gc.collect,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Collect everything whenever the count of events stood still for a while; never returns.

    A server to which nothing at all has happened since the last time is left alone.
    """
    collected_at, collected_after = clock(), events_handled()
    seen = collected_after
    while True:
        await anyio.sleep(IDLE_SECONDS)
        before, seen = seen, events_handled()
        age = clock() - collected_at
        due = (seen == before and age >= REST_SECONDS) or age >= BUSY_SECONDS_MAX
        if due and seen != collected_after:
            collect()
            collected_at, collected_after = clock(), seen

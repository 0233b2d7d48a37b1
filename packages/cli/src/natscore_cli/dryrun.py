"""`nats-server-py -c FILE --reload-dry-run`: what a reload would do, without doing it.

The running servers that were started with FILE are compared with what FILE says now,
under the flags of each of them: the command line of this call has no say.

    0   every one of them would take the file
    1   one would not, the file cannot be used, or no server was found
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscore_cli.arguments import ReloadRefused, StartRefused
from natscore_cli.reload import read
from natscore_cli.running import servers_started_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore_cli.changes import Changes

__all__ = ["dry_run"]


def dry_run(path: str) -> int:
    """Print what a reload would change, close, or be refused for. Raises StartRefused."""
    if not path:
        raise StartRefused("must specify [-c, --config] option to see what a reload would do")
    servers = servers_started_with(path)
    if not servers:
        raise StartRefused(
            f"no running server was started with {path}; only those of the same user are found, and on Linux"
        )
    would_take = True
    for server in servers:
        print(f"server {server.pid}, port {server.port}:")
        try:
            found = read(
                server.given,
                server.profile,
                port=server.port,
                memory_bytes=server.memory_bytes,
            )
        except ReloadRefused as error:
            would_take = False
            print(f"  would be refused, and nothing would change: {error}")
            continue
        would_take &= not found.refused
        for line in _report(found.changes, found.refused):
            print(line)
    return 0 if would_take else 1


def _report(changes: Changes, refused: list[str]) -> Iterator[str]:
    if refused:
        yield "  needs a restart; a reload would be refused, and nothing would change:"
        yield from (f"    {line}" for line in refused)
    sections = (
        ("would change:" if not refused else "a restart would change, beside that:", changes.changes),
        ("would close:", [] if refused else changes.closes),
    )
    for title, lines in sections:
        if lines:
            yield f"  {title}"
            yield from (f"    {line}" for line in lines)
    if not (refused or changes.changes or changes.closes):
        yield "  nothing would change"

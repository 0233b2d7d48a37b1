"""What the configuration of a vector makes of our server, and which of them wait for something.

The scenarios hold configuration files. Our command reads them; a simulated server is
given what they come to. A file that asks for something that is not built is left out
of a run only if `LATER` says so, by the path of the option.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from natscore_cli.arguments import parse
from natscore_cli.conf.effect import load_file
from natscore_cli.settings import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from natscore_cli.conf.effect import FileSettings
    from natscore_cli.settings import Settings

__all__ = ["LATER", "LATER_VECTORS", "file_of", "reason_for_later", "settings_of", "without_port"]

LATER: Final[Mapping[str, str]] = {
    "accounts.limits": "limits of accounts",
}
"""Options that the command refuses because they are not built, and what they wait for."""

LATER_VECTORS: Final[Mapping[str, str]] = {
    "auto-imported-account-ping-service": "services of the system account",
}
"""Vectors whose configuration can be given to ours, and what they wait for all the same."""

_MEMORY_BYTES: Final = 1 << 30
_PORT: Final = "__PORT__"  # stands in some vectors; every server here gets its port by a flag


@cache
def file_of(config: str) -> FileSettings:
    """What the text of a file asks for. Raises FileRefused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.conf"
        path.write_text(without_port(config))
        return load_file(str(path), {})


def without_port(config: str) -> str:
    """The text with any free port where a vector wants one."""
    return config.replace(_PORT, "-1")


@cache
def settings_of(config: str | None) -> Settings:
    """What a start with this file comes to; None is the server as it comes. Raises StartRefused."""
    return resolve(
        parse(["-a", "127.0.0.1", "-p", "-1"]),
        memory_bytes=_MEMORY_BYTES,
        file=None if config is None else file_of(config),
    )


@cache
def reason_for_later(config: str | None) -> str | None:
    """Why ours cannot be given `config` yet; None when it can.

    Raises LookupError for an option that `LATER` does not know.
    """
    if config is None:
        return None
    reasons = []
    for line in file_of(config).not_built:
        option = line.split(": ")[1].split(" is ")[0]
        if option not in LATER:
            raise LookupError(f"nobody decided what waits for {option}")
        reasons.append(LATER[option])
    return reasons[0] if reasons else None

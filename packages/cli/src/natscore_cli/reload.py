"""Reload: read the file again, and let a running server have what it says.

    read      file, flags, users, TLS: all checked, off the loop
    prepare   the log opened, where it is another; nothing has changed yet
    apply     the server, then what is around it, in one step of the loop (`serve.py`)

What cannot be is refused as a whole, and the old configuration stays in force
(operations.md section 9.1). Flags beat the file as at the start, all of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from natscore.reload import reload_problems
from natscore_cli.arguments import ReloadRefused, StartRefused
from natscore_cli.changes import Profile, compared
from natscore_cli.conf.effect import load_file
from natscore_cli.files import os_error_text
from natscore_cli.logins import authenticators
from natscore_cli.redaction import escaped
from natscore_cli.settings import resolve
from natscore_cli.syslog import SyslogRefused
from natscore_cli.tls import tls_acceptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore_cli.arguments import Given
    from natscore_cli.changes import Changes
    from natscore_cli.logs import Destination
    from natscore_cli.settings import LogSettings, Settings
    from natscore_tcp import TlsAcceptor

__all__ = ["Prepared", "Read", "prepare", "read"]


class Prepared(NamedTuple):
    """Everything that a reload needs. Nothing of it is in force."""

    settings: Settings
    profile: Profile
    changes: Changes
    tls: TlsAcceptor | None
    destination: Destination | None  # of the log, opened; None: the one that is there


class Read(NamedTuple):
    """What a file says now, and what that would mean."""

    settings: Settings
    profile: Profile
    changes: Changes
    tls: TlsAcceptor | None
    refused: list[str]  # what keeps the server from taking it; empty: nothing


def read(
    given: Given,
    old: Profile,
    *,
    port: int,
    memory_bytes: int,
) -> Read:
    """Read what the file of a server says now. Raises ReloadRefused when it cannot be used at all.

    Args:
        given: the command line of the server.
        old: by what the server runs.
        port: where it listens.
        memory_bytes: what it took for the memory of the machine.
    """
    path = str(given.values.get("config", ""))
    if not path:
        raise ReloadRefused("can only reload config when a file is provided using -c or --config")
    try:
        settings = resolve(given, memory_bytes=memory_bytes, file=load_file(path, os.environ))
        tls = tls_acceptor(settings.tls)
    except StartRefused as error:
        raise ReloadRefused("; ".join(str(error).splitlines())) from error
    profile = Profile.of(settings)
    changes = compared(old, profile)
    refused = changes.refused + [
        escaped(one)
        for one in reload_problems(old.options, profile.options, port=port, authenticators=authenticators)
    ]
    return Read(settings, profile, changes, tls, refused)


def prepare(found: Read, old: Profile, open_destination: Callable[[LogSettings], Destination]) -> Prepared:
    """Open what a reload needs. Raises ReloadRefused; then nothing is open."""
    if found.refused:
        raise ReloadRefused("; ".join(found.refused))
    destination = _destination(old.log, found.settings.log, open_destination)
    return Prepared(found.settings, found.profile, found.changes, found.tls, destination)


def _destination(
    old: LogSettings, new: LogSettings, open_destination: Callable[[LogSettings], Destination]
) -> Destination | None:
    if (old.file, old.remote_syslog, old.syslog) == (new.file, new.remote_syslog, new.syslog):
        return None
    try:
        return open_destination(new)
    except SyslogRefused as error:
        raise ReloadRefused(str(error)) from error
    except OSError as error:
        raise ReloadRefused(f"error opening file: {os_error_text('open', new.file or '', error)}") from error

"""Reload: read the file again, and let a running server have what it says.

    prepare ─► file, flags, users, TLS files, log: all opened and checked, off the loop; nothing has changed
    apply   ─► the server, then what is around it, in one step of the loop

What cannot be is refused as a whole, and the old configuration stays in force
(operations.md section 9.1). Flags beat the file as at the start, all of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from natscore.errors import ConfigError
from natscore.reload import reload_problems
from natscore_cli.arguments import StartRefused
from natscore_cli.changes import Profile, compared
from natscore_cli.conf.effect import load_file
from natscore_cli.files import os_error_text
from natscore_cli.logins import authenticators
from natscore_cli.redaction import escaped
from natscore_cli.settings import resolve
from natscore_cli.syslog import SyslogRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore_cli.arguments import Given
    from natscore_cli.changes import Changes
    from natscore_cli.logs import Destination
    from natscore_cli.settings import LogSettings, Settings
    from natscore_tcp import TlsAcceptor

__all__ = ["Prepared", "ReloadRefused", "prepare", "problems"]


class ReloadRefused(Exception):
    """The configuration cannot take the place of the old one; the text says why, all of it."""


class Prepared(NamedTuple):
    """Everything that a reload needs. Nothing of it is in force."""

    settings: Settings
    profile: Profile
    changes: Changes
    tls: TlsAcceptor | None
    destination: Destination | None  # of the log, opened; None: the one that is there


def prepare(
    given: Given,
    old: Profile,
    *,
    port: int,
    memory_bytes: int,
    tls_acceptor: Callable[[Settings], TlsAcceptor | None],
    open_destination: Callable[[LogSettings], Destination],
) -> Prepared:
    """Read and check what the file says now. Raises ReloadRefused; then nothing is open.

    Args:
        given: the command line of the server.
        old: by what the server runs.
        port: where it listens.
        memory_bytes: what it took for the memory of the machine.
        tls_acceptor: makes what TLS needs.
        open_destination: opens the destination of a log.
    """
    path = str(given.values.get("config", ""))
    if not path:
        raise ReloadRefused("can only reload config when a file is provided using -c or --config")
    try:
        settings = resolve(given, memory_bytes=memory_bytes, file=load_file(path, os.environ))
        tls = tls_acceptor(settings)
    except StartRefused as error:
        raise ReloadRefused("; ".join(str(error).splitlines())) from error
    profile = Profile.of(settings)
    changes = compared(old, profile)
    if refused := problems(old, profile, changes, port=port):
        raise ReloadRefused("; ".join(refused))
    return Prepared(settings, profile, changes, tls, _destination(old.log, settings.log, open_destination))


def problems(old: Profile, new: Profile, changes: Changes, *, port: int) -> list[str]:
    """All that keeps a server from taking the new configuration."""
    return changes.refused + [
        escaped(one)
        for one in reload_problems(old.options, new.options, port=port, authenticators=authenticators)
    ]


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
    except ConfigError as error:
        raise ReloadRefused(str(error)) from error

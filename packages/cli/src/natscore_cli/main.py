"""`nats-server-py`: what the command line asks for, and the exit code.

    0   help, version, a configuration file that -t finds valid, a signal delivered,
        SIGINT, SIGTERM, the end of lame duck mode
    1   anything that keeps the server from starting, or a signal from being sent, said in one line
    2   a command line that is not well formed, said in one line; SIGQUIT

Flags are judged in nats-server's order: their syntax, `--version`, `--help`, `--help_tls`, the
first word that is not a flag, `--signal`, and then what they mean. Everything that a server
needs is imported only when one is really started, for `--version` is run by
scripts and `--help` by people.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from natscore_cli.arguments import FlagError, StartRefused, forget_credentials, parse
from natscore_cli.flags import PROGRAM, help_text
from natscore_cli.version import VERSION, data_plane_text

if TYPE_CHECKING:
    from natscore_cli.arguments import Given
    from natscore_cli.conf.effect import FileSettings

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; `arguments` begin after the program's name. Returns the exit code."""
    try:
        if arguments is not None:
            return _run(parse(arguments))
        given = parse(sys.argv[1:])
        for words in (sys.argv, sys.orig_argv):
            forget_credentials(words, given, first=len(words) - len(sys.argv) + 1)
        return _run(given)
    except FlagError as error:
        return _complain(str(error), 2)
    except StartRefused as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:  # before the handlers of signals.py are installed
        return 0


def _run(given: Given) -> int:
    word = (given.command or "").lower()
    if given.values.get("version") or (word == "version" and not given.values.get("help")):
        return _print(f"{_VERSION_LINE}\nData plane: {data_plane_text()}")
    if given.values.get("help") or word == "help":
        return _print(help_text())
    if given.values.get("help_tls"):
        from natscore_cli.tls_help import tls_help_text

        return _print(tls_help_text())
    if given.command is not None:
        from natscore_cli.redaction import escaped

        raise StartRefused(f'unrecognized command: "{escaped(given.command)}"')

    if command := str(given.values.get("signal", "")):
        from natscore_cli.sender import send

        send(command)
        return 0

    path = str(given.values.get("config", ""))
    if given.values.get("check"):
        return _check(path)
    if given.values.get("reload_dry_run"):
        from natscore_cli.dryrun import dry_run

        return dry_run(path)

    from natscore_cli.signals import SignalsBeforeStart

    signals = SignalsBeforeStart()
    signals.install()

    from natscore_cli.machine import memory_bytes
    from natscore_cli.settings import resolve

    settings = resolve(given, memory_bytes=memory_bytes(), file=_read(path) if path else None)

    from natscore_cli.serve import serve

    return serve(given, settings, signals)


def _read(path: str) -> FileSettings:
    """What the file asks for, for a start: what is odd about it is said, and does not matter."""
    from natscore_cli.conf.effect import load_file

    file = load_file(path, os.environ)
    for line in file.warnings:
        print(line, file=sys.stderr)
    return file


def _check(path: str) -> int:
    """`-t`: everything but the start itself. Standard output stays empty (operations.md section 2)."""
    if not path:
        raise StartRefused("must specify [-c, --config] option to check configuration file syntax")

    from natscore_cli.conf.effect import FileRefused, load_file
    from natscore_cli.machine import memory_bytes
    from natscore_cli.settings import resolve
    from natscore_cli.tls import tls_acceptor

    file = load_file(path, os.environ)
    if file.warnings:
        raise FileRefused("\n".join(file.warnings) + "\n")
    settings = resolve(parse([]), memory_bytes=memory_bytes(), file=file._replace(not_built=()))
    tls_acceptor(settings.tls)  # these two: all that a start does before it opens anything
    settings.logins.authenticator()
    for line in file.not_built:
        _complain(line, 0)
    return _complain(f"configuration file {path} is valid ({file.digest})", 0)


# Scripts match `: v(\d+\.\d+\.\d+)` and ` vX.Y.Z`; what else is said is a line of its own, without a version.
_VERSION_LINE: Final = f"{PROGRAM}: v{VERSION}"


def _print(text: str) -> int:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `nats-server-py --help | head -1`
        sys.stderr.close()  # so that the interpreter does not report it a second time
    return 0


def _complain(text: str, code: int) -> int:
    print(f"{PROGRAM}: {text}", file=sys.stderr)
    return code

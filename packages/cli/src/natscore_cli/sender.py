"""`--signal COMMAND[=TARGET]`: tell a running server something (operations.md section 3).

The target is a process id, or a file that holds one. Without a target it is the one
server that runs on this machine; `12*` means all whose id begins with 12, and `*` all.

A process is a server if what was started is `nats-server-py` or `-m natscore_cli`,
whatever interpreter runs it: its name alone would be that of the interpreter. So a
nats-server beside ours is never meant, nor is ours by its `--signal`.

Differences from nats-server: an id must be a positive number (there, `stop=-1` kills
every process that it may); the line end of a pid file does not matter; and that a
pattern matches nobody is an error.
"""

from __future__ import annotations

import os
import re
import signal
import stat
from typing import TYPE_CHECKING, Final

from natscore_cli.arguments import StartRefused
from natscore_cli.flags import PROGRAM
from natscore_cli.redaction import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["is_server", "meant", "send", "server_processes"]

SIGNALS: Final = {
    "stop": signal.SIGKILL,
    "quit": signal.SIGINT,
    "term": signal.SIGTERM,
    "reopen": signal.SIGUSR1,
    "reload": signal.SIGHUP,
    "ldm": signal.SIGUSR2,
}

_PID: Final = re.compile(r"0*[1-9][0-9]{0,9}")
_PID_FILE_MAX: Final = 64  # bytes; a file that holds a pid is no longer


def send(text: str) -> None:
    """Do what `--signal` asks for. Raises StartRefused, also when it was done for some of several."""
    command, *targets = text.split("=")
    if len(targets) > 1:
        raise StartRefused(f"invalid signal parameters: [{escaped(' '.join(targets[1:]))}]")
    target = _target(targets[0]) if targets and targets[0] else ""
    pids = meant(target, server_processes)
    number = SIGNALS.get(command)
    if number is None:
        raise StartRefused(f'unknown signal "{escaped(command)}"')
    failures = []
    for pid in pids:
        try:
            os.kill(pid, number)
        except OverflowError:  # no process has such an id
            failures.append(f'\nsignal "{command}" {pid}: no such process')
        except OSError as error:
            failures.append(f'\nsignal "{command}" {pid}: {(error.strerror or str(error)).lower()}')
    if failures:
        raise StartRefused("".join(failures))


def _target(text: str) -> str:
    """What a file of that name holds, or the text itself."""
    try:
        descriptor = os.open(text, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return text
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return text
        pid = os.read(descriptor, _PID_FILE_MAX).decode("utf-8", "backslashreplace").strip()
    finally:
        os.close(descriptor)
    if not pid:  # an empty file is not the same as no target
        raise StartRefused("invalid pid: ")
    return pid


def meant(target: str, running: Callable[[], list[int]]) -> list[int]:
    """The processes that a target means, of those that are `running`. Raises StartRefused."""
    is_pattern = target.endswith("*")
    digits = target.removesuffix("*")
    if digits and not _PID.fullmatch(digits):
        raise StartRefused(f"invalid pid: {escaped(digits)}")
    if digits and not is_pattern:
        return [int(digits)]
    found = [pid for pid in running() if str(pid).startswith(digits)]
    if not found:
        raise StartRefused(f"no {PROGRAM} processes running")
    if len(found) > 1 and not is_pattern:
        listed = "".join(f"\n{pid}" for pid in found)
        raise StartRefused(f"multiple {PROGRAM} processes running:{listed}")
    return found


def server_processes() -> list[int]:
    """The ids of all servers on this machine but this process, in ascending order. Raises StartRefused."""
    me = os.getpid()
    lines = _linux_command_lines() if os.path.isdir("/proc/self") else _listed_command_lines()
    return sorted(pid for pid, words in lines if pid != me and is_server(words))


_INTERPRETER: Final = re.compile(r"(python|pypy)[0-9.]*t?")
_WITH_ARGUMENT: Final = frozenset({"-W", "-X", "--check-hash-based-pycs"})  # options of the interpreter


def is_server(words: Sequence[str]) -> bool:
    """Whether a command line is that of a server, and not of one that sends a signal."""
    program, rest = _program(words)
    if program is None:
        return False
    return not any(re.fullmatch(r"--?(sl|signal)(=.*)?", word, re.DOTALL) for word in rest)


def _program(words: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """Our program as it was called, and what it was called with; None: another one."""
    if not words:
        return None, ()
    if os.path.basename(words[0]) == PROGRAM:
        return PROGRAM, words[1:]
    if not _INTERPRETER.fullmatch(os.path.basename(words[0])):
        return None, ()
    position = 1
    while position < len(words) and words[position].startswith("-"):
        word = words[position]
        position += 1
        if word == "-m":
            is_ours = words[position : position + 1] == ["natscore_cli"]
            return (PROGRAM, words[position + 1 :]) if is_ours else (None, ())
        if word == "-c":
            return None, ()
        if word in _WITH_ARGUMENT:
            position += 1
    script = words[position : position + 1]
    if script and os.path.basename(script[0]) == PROGRAM:
        return PROGRAM, words[position + 1 :]
    return None, ()


def _linux_command_lines() -> Iterator[tuple[int, list[str]]]:
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                line = file.read()
        except OSError:  # it has just ended
            continue
        yield int(name), [os.fsdecode(word) for word in line.split(b"\0")[:-1]]


def _listed_command_lines() -> Iterator[tuple[int, list[str]]]:
    """Where there is no /proc: as ps prints them, with words that have blanks taken apart."""
    import subprocess

    try:
        listed = subprocess.run(
            ["ps", "-axww", "-o", "pid=,command="], capture_output=True, check=True, timeout=10
        ).stdout
        for line in listed.decode("utf-8", "surrogateescape").splitlines():
            pid, *words = line.split()
            yield int(pid), words
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise StartRefused("unable to resolve pid, try providing one") from error

"""Read a command line as Go's `flag` package would (operations.md section 1.1).

    -x and --x are one thing       -p 4222, -p=4222       -D, -D=false, not "-D false"
    parsing stops at the first word without a dash, and after --
    integers may be written 0x10, 0b1, 0o7, 010 (octal) and 1_000

argparse cannot be brought to these rules (it abbreviates, it lets positional
words stand between flags, and `-DV` means `-D -V` to it), so the rules stand
here, 60 lines over the table of `flags.py`. What a value means to the server is
not decided here: `settings.py` does that, and is imported only when a server is
really started.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from natscore_cli.flags import Flag, Kind, Support, find, spelled

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FlagError", "Given", "ReloadRefused", "StartRefused", "Value", "forget_credentials", "parse"]

Value: TypeAlias = bool | int | str


class FlagError(Exception):
    """The command line is not well formed: one line for standard error, exit code 2."""


class StartRefused(Exception):
    """The command line is well formed and asks for what cannot be: one line, exit code 1."""


class ReloadRefused(Exception):
    """A configuration cannot take the place of the one in force; the text says why, all of it."""


class Given(NamedTuple):
    """What was given, last one wins, without any default."""

    values: dict[str, Value]  # by Flag.destination
    refused: list[str]  # flags of features that are not built and are not switched off, as typed
    ignored: list[str]  # flags that deserve a warning, as typed
    command: str | None  # the first word that is not a flag
    credentials: frozenset[int]  # positions in the arguments of words that hold a secret


def parse(arguments: list[str]) -> Given:
    """Take `arguments`, which begin after the program's name, apart. Raises FlagError."""
    values: dict[str, Value] = {}
    not_obeyed: dict[Flag, tuple[str, Value]] = {}
    credentials: set[int] = set()
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if len(word) < 2 or not word.startswith("-"):
            break
        position += 1
        if word == "--":
            break
        dashed, equals, text = word.partition("=")
        name = dashed[2 if dashed.startswith("--") else 1 :]
        if not name or name.startswith("-"):
            raise FlagError(f"bad flag syntax: {_shown(dashed + equals)}")
        flag = find(name)
        if flag is None:
            raise FlagError(f"flag provided but not defined: -{_shown(name)}")
        value: Value
        if flag.kind is Kind.SWITCH:
            value = _switch(name, text) if equals else True
        else:
            if not equals:
                if position == len(arguments):
                    raise FlagError(f"flag needs an argument: -{name}")
                text = arguments[position]
                position += 1
            if flag.kind is Kind.CREDENTIAL:
                credentials.add(position - 1)
            value = _READERS[flag.kind](name, text)
        if flag.support is Support.OBEYED:
            values[flag.destination] = value
        else:
            not_obeyed[flag] = (spelled(name), value)
    return Given(
        values,
        # False, 0 and the empty text are what nats-server takes for "off"
        [typed for flag, (typed, value) in not_obeyed.items() if flag.support is Support.REFUSED and value],
        [typed for flag, (typed, _) in not_obeyed.items() if flag.support is Support.IGNORED],
        arguments[position] if position < len(arguments) else None,
        frozenset(credentials),
    )


def forget_credentials(words: list[str], given: Given, *, first: int) -> None:
    """Overwrite what is secret in an argument vector whose flags begin at index `first`.

    This keeps passwords out of whatever prints `sys.argv` later. The operating
    system's copy, which `ps` shows, is out of reach.
    """
    for position in given.credentials:
        name, equals, _ = words[first + position].partition("=")
        is_flag = equals and name.startswith("-") and find(name.lstrip("-")) is not None
        words[first + position] = f"{name}=[REDACTED]" if is_flag else "[REDACTED]"


def _shown(text: str) -> str:
    """`text` without anything a terminal could obey."""
    return _quoted(text)[1:-1]


def _quoted(text: str) -> str:
    from natscore.errors import quoted

    return quoted(os.fsencode(text)).decode()


def _invalid(name: str, text: str, why: str) -> FlagError:
    return FlagError(f"invalid value {_quoted(text)} for flag -{name}: {why}")


_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def _switch(name: str, text: str) -> bool:
    if text not in _TRUE and text not in _FALSE:
        raise FlagError(f"invalid boolean value {_quoted(text)} for -{name}: parse error")
    return text in _TRUE


# int() of Python is not used on the text as it stands: it takes blanks and any Unicode digit, and
# it refuses the leading zero that makes a number octal in Go.
_INTEGER: Final = re.compile(
    r"([+-]?)(?:0[xX]((?:_?[0-9a-fA-F])+)|0[bB]((?:_?[01])+)|0[oO]?((?:_?[0-7])+)|(0|[1-9](?:_?[0-9])*))"
)
_BASES: Final = (16, 2, 8, 10)  # of the groups above, after the sign


def _integer(name: str, text: str) -> int:
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise _invalid(name, text, "parse error")
    sign, *digits = match.groups()
    if len(text) > 80:  # 64 binary digits with their prefix; int() of a very long text is slow or raises
        raise _invalid(name, text, "value out of range")
    number = next(
        int(found.replace("_", ""), base) for found, base in zip(digits, _BASES, strict=True) if found
    )
    number = -number if sign == "-" else number
    if not -(2**63) <= number < 2**63:
        raise _invalid(name, text, "value out of range")
    return number


def _count(name: str, text: str) -> int:
    number = _integer(name, text)
    if number < 0:
        raise _invalid(name, text, "must not be negative")
    return number


def _text(name: str, text: str) -> str:
    if "\x00" in text:  # cannot come from a shell; a caller in Python may pass it
        raise _invalid(name, text, "holds a null character")
    return text


def _credential(name: str, text: str) -> str:
    # nats-server takes an empty one for "not given" and starts open to everyone. An unset variable
    # in a script must not do that.
    if not text:
        raise FlagError(f"flag -{name} must not be empty; leave it out to let everyone in")
    return text


_UNITS: Final = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6,
    "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_DURATION_PART: Final = re.compile(r"(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(ns|us|µs|μs|ms|s|m|h)")


def _duration(name: str, text: str) -> int:
    """Nanoseconds, by integers: 0.3s is exactly 300,000,000."""
    total = 0
    position = 0
    while position < len(text):
        part = _DURATION_PART.match(text, position)
        if part is None or len(text) > 80:
            raise _invalid(name, text, "not a duration such as 500ms, 10s or 1m30s")
        whole, decimals, only_decimals, unit = part.groups()
        fraction = decimals or only_decimals or ""
        total += int(whole or "0") * _UNITS[unit] + int(fraction or "0") * _UNITS[unit] // 10 ** len(fraction)
        position = part.end()
    if not 0 < total < 2**63:
        raise _invalid(name, text, "must be above 0, for example 10s")
    return total


def _choice(*accepted: str) -> Callable[[str, str], str]:
    def read(name: str, text: str) -> str:
        if text not in accepted:
            raise _invalid(name, text, f"must be {' or '.join(accepted)}")
        return text

    return read


# (name of the flag as typed, text of its value) to the value; they raise FlagError
_READERS: Final[dict[Kind, Callable[[str, str], Value]]] = {
    Kind.INTEGER: _integer,
    Kind.COUNT: _count,
    Kind.TEXT: _text,
    Kind.CREDENTIAL: _credential,
    Kind.DURATION: _duration,
    Kind.BACKEND: _choice("asyncio", "trio"),
    Kind.LOG_FORMAT: _choice("text", "json"),
}

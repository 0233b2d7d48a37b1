r"""Text in, a tree of what was written out: the configuration language itself.

    port: 4222                        an entry, a scalar
    cluster { name: east }            an entry, a map
    users = [ $ANN, {user: bob} ]     an array with a variable
    include "users.conf"

The grammar is `grammar.lark`. Start-up does not read it: `grammar_tables.py` holds
what lark made of it (`compile_grammar.py`; ADR 14). Variables and includes stay
unresolved here, `resolve.py` does that.

The texts of errors are those of nats-server, which scripts look for (section 2.10).
Which of them applies follows from what the parser would have taken at the point
where it stopped. Hostile files are no danger: the parser is a table with a stack
of its own, terminals match in linear time, and depth is bounded.
"""

from __future__ import annotations

import functools
import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from natscore_cli.conf.grammar_tables import DATA, MEMO
from natscore_cli.conf.syntax_errors import Stop, misplaced, on_line
from natscore_cli.conf.tree import DEPTH_MAX, LanguageError, Scalar

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore_cli.conf.tree import Source

__all__ = ["Array", "Entry", "Include", "Literal", "Raw", "Table", "Variable", "parse"]


class Variable(NamedTuple):
    """`$NAME`, where a value stands."""

    name: str
    offset: int


class Literal(NamedTuple):
    """A value that means itself."""

    value: Scalar
    offset: int


class Array(NamedTuple):
    """`[ ... ]`."""

    members: list[Raw]


class Table(NamedTuple):
    """`{ ... }`, or a whole file."""

    entries: list[Entry | Include]


Raw: TypeAlias = "Literal | Variable | Array | Table"


class Entry(NamedTuple):
    """A key and its value; `offset` is where the key stands, behind its quote."""

    key: str
    offset: int
    value: Raw


class Include(NamedTuple):
    """A file whose keys stand for this line."""

    path: str
    offset: int


def parse(source: Source) -> Table:
    """The entries of a file. Raises LanguageError, whatever the text is."""
    parser, builder = _parser()
    builder.depth = 0
    try:
        # The grammar counts on a newline behind whatever stands last.
        table: object = parser.parse(f"{source.text}\n")
    except (UnexpectedToken, UnexpectedCharacters) as error:
        raise misplaced(source, _stop(error, len(source.text))) from None
    assert isinstance(table, Table)  # of _Builder.start
    return table


@functools.cache
def _parser() -> tuple[Lark, _Builder]:
    builder = _Builder()
    # What lark's generator of stand-alone parsers calls, too.
    return Lark._load_from_dict(DATA, MEMO, transformer=builder), builder  # type: ignore[no-untyped-call]


def _stop(error: UnexpectedInput, end: int) -> Stop:
    if isinstance(error, UnexpectedToken):
        expected = error.expected
        offset = end if error.token.type == "$END" else error.token.start_pos
    else:
        assert isinstance(error, UnexpectedCharacters)
        expected, offset = error.allowed, error.pos_in_stream
    stack = error.state.value_stack
    tokens = [taken for taken in stack if isinstance(taken, Token)]
    return Stop(
        offset=min(offset or 0, end),
        expected=frozenset(expected or ()),
        last=tokens[-1] if tokens and tokens[-1] is stack[-1] else None,
        key=next((taken for taken in reversed(tokens) if taken.type.endswith("_KEY")), None),
    )


class _Builder:
    """What becomes of rules and terminals, by their names; lark calls it as soon as one is complete."""

    def __init__(self) -> None:
        self.depth = 0

    def _open(self, token: Token) -> Token:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise LanguageError(f"maps and arrays stand more than {DEPTH_MAX} deep within one another")
        return token

    def _close(self, token: Token) -> Token:
        self.depth -= 1
        return token

    # By the names of the terminals: called as soon as one is read, before anything waits for its end.
    _BLOCK_OPEN = _MAP_OPEN = _ARRAY_OPEN = _open
    _BLOCK_CLOSE = _MAP_CLOSE = _ARRAY_CLOSE = _close

    def start(self, entries: list[Entry | Include]) -> Table:
        return Table(entries)

    def map(self, entries: list[Entry | Include]) -> Table:
        return Table(entries)

    def array(self, members: list[Raw]) -> Array:
        return Array(members)

    def entry(self, parts: list[Token | Raw]) -> Entry:
        key, value = parts
        assert isinstance(key, Token)
        assert not isinstance(value, Token)
        if key.type == "QUOTED_KEY":
            return Entry(key[1:-1], _offset(key) + 1, value)
        return Entry(str(key), _offset(key), value)

    def include(self, parts: list[Token]) -> Include:
        (path,) = parts
        bare = path.type == "INCLUDED"
        return Include(path.removesuffix("'") if bare else path[1:-1], _offset(path))

    def value(self, parts: list[Token | Raw]) -> Raw:
        (part,) = parts
        if not isinstance(part, Token):
            return part
        if part.type in ("BARE", "BARE_MEMBER"):
            return _bare(part)
        return Literal(_READERS[part.type](part), _offset(part))


def _offset(token: Token) -> int:
    assert token.start_pos is not None
    return token.start_pos


_TRUE: Final = frozenset({"true", "yes", "on"})
_FALSE: Final = frozenset({"false", "no", "off"})


def _bare(token: Token) -> Literal | Variable:
    """A word without quotes: a boolean, a variable or a string; one with an escape is a string."""
    text, offset = str(token), _offset(token)
    if text.endswith("'"):  # which ends the word, and leaves it a string
        return Literal(_unescaped(token, text[:-1]), offset)
    if "\\" in text:
        return Literal(_unescaped(token, text), offset)
    folded = text.lower()
    if folded in _TRUE or folded in _FALSE:
        return Literal(folded in _TRUE, offset)
    if text.startswith("$") and not text.startswith("$2a$"):  # that begins a bcrypt hash
        return Variable(text[1:], offset)
    return Literal(text, offset)


_ESCAPES: Final = {"t": b"\t", "n": b"\n", "r": b"\r", '"': b'"', "\\": b"\\"}
_HEX: Final = re.compile("[0-9a-fA-F]{2}")


def _unescaped(token: Token, text: str) -> str:
    head, *parts = text.split("\\")
    if not parts:
        return text
    out = [_encoded(head)]
    line = token.line or 1
    at = 0
    while at < len(parts):
        part = parts[at]
        line += parts[at - 1].count("\n") if at else head.count("\n")
        at += 1
        if part == "" and at < len(parts):  # a backslash, escaped; the next part is plain text
            out += [b"\\", _encoded(parts[at])]
            at += 1
        elif part[:1] == "x":
            if not _HEX.fullmatch(part, 1, 3) if len(part) >= 3 else True:
                found = part[1:3]
                if not found or "\n" in found:
                    raise on_line(line, "Expected two hexadecimal digits after '\\x', but hit end of line")
                raise on_line(line, f"Expected two hexadecimal digits after '\\x', but got '{found}'")
            out += [bytes.fromhex(part[1:3]), _encoded(part[3:])]
        elif part[:1] in _ESCAPES:
            out += [_ESCAPES[part[0]], _encoded(part[1:])]
        else:
            shown = {"": "\\x00", "\n": "\\n"}.get(part[:1], part[:1])
            raise on_line(
                line,
                f"Invalid escape character '{shown}'. Only the following escape characters are allowed: "
                '\\xXX, \\t, \\n, \\r, \\", \\\\.',
            )
    return b"".join(out).decode("utf-8", "surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


_SUFFIXES: Final = {
    "": 1,
    **{
        f"{letter}{rest}": (1024 if rest else 1000) ** power
        for power, letter in enumerate("kmgtpe", start=1)
        for rest in ("", "b", "i", "ib")
    },
}
_INTEGER: Final = re.compile(r"(-?)0*([0-9]+)([a-zA-Z]*)")
_DIGITS_MAX: Final = 19  # of a signed 64-bit number


def _integer(token: Token) -> int:
    match = _INTEGER.fullmatch(token)
    assert match is not None
    sign, digits, suffix = match.groups()
    factor = _SUFFIXES.get(suffix.lower())
    if factor is None:
        raise LanguageError(
            f"integer '{_short(token)}' has an unknown suffix; "
            "known are k, m, g, t, p and e, alone or with b, i or ib"
        )
    number = int(f"{sign}{digits}") * factor if len(digits) <= _DIGITS_MAX else 2**63
    if not -(2**63) <= number < 2**63:
        raise LanguageError(f"integer '{_short(token)}' is out of the range")
    return number


def _float(token: Token) -> float:
    number = float(token)
    if math.isinf(number):
        raise LanguageError(f"float '{_short(token)}' is out of the range")
    return number


def _datetime(token: Token) -> datetime:
    try:
        return datetime.strptime(token, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise LanguageError(f"expected Zulu formatted DateTime, but got '{token}'") from None


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


_READERS: Final[dict[str, Callable[[Token], Scalar]]] = {
    "ESCAPED": lambda token: _unescaped(token, token[1:-1]),
    "RAW": lambda token: str(token[1:-1]),
    "TEXT": lambda token: str(token[1:-1]),
    "ADDRESS": str,
    "DATETIME": _datetime,
    "FLOAT": _float,
    "INTEGER": _integer,
}
"""A terminal that is a value, to that value."""

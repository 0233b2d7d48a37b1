"""Writes `grammar_tables.py` from `grammar.lark`: `python -m natscore_cli.conf.compile_grammar`.

Building the tables takes lark about as long as a start may take, so they are made
once, here, and a test says when they are stale. Only data is written; the parser
that runs on it is lark's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lark import Lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

__all__ = ["TABLES", "render"]

_FOLDER: Final = Path(__file__).resolve().parent
TABLES: Final = _FOLDER / "grammar_tables.py"

_HEAD: Final = '''"""The tables of `grammar.lark`; `compile_grammar.py` writes them."""

from typing import Any, Final

'''


def render() -> str:
    """The text of `grammar_tables.py`."""
    parser = Lark((_FOLDER / "grammar.lark").read_text(), parser="lalr", maybe_placeholders=False)
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    lines = ["MEMO: Final[dict[int, Any]] = {"]
    lines += [f"    {number!r}: {_literal(value)!r}," for number, value in memo.items()]
    lines += ["}", f"DATA: Final[dict[str, Any]] = {_literal(data)!r}"]
    return _HEAD + "\n".join(lines) + "\n"


def _literal(value: object) -> object:
    """`value` without lark's subclasses of `str`, so that its repr is a literal."""
    if isinstance(value, dict):
        return {_literal(key): _literal(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_literal(member) for member in value)
    return str(value) if isinstance(value, str) else value


if __name__ == "__main__":
    TABLES.write_text(render())

"""Writes `grammar_tables.py` from `grammar.lark`: `python -m natscore_cli.conf.compile_grammar`.

Building the tables takes lark about as long as a start may take, so they are made
once, here, and a test says when they are stale. Only data is written; the parser
that runs on it is lark's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from lark import Lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

__all__ = ["TABLES", "render"]

_FOLDER: Final = Path(__file__).resolve().parent
TABLES: Final = _FOLDER / "grammar_tables.py"

_SHIFT: Final = 0  # an action of the table: go on to a state; the other completes a rule

_HEAD: Final = '''"""The tables of `grammar.lark`; `compile_grammar.py` writes them."""

from typing import Any, Final

'''


def render() -> str:
    """The text of `grammar_tables.py`."""
    parser = Lark((_FOLDER / "grammar.lark").read_text(), parser="lalr", maybe_placeholders=False)
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    _sort(data["parser"]["parser"])
    lines = ["MEMO: Final[dict[int, Any]] = {"]
    lines += [f"    {number!r}: {_literal(value)!r}," for number, value in memo.items()]
    lines += ["}", f"DATA: Final[dict[str, Any]] = {_literal(data)!r}"]
    return _HEAD + "\n".join(lines) + "\n"


def _sort(table: dict[str, Any]) -> None:
    """Number symbols by name, and states by how the first is left for them.

    lark keeps both in sets, whose order no two runs share.
    """
    names: dict[int, str] = table["tokens"]
    numbers = {name: number for number, name in enumerate(sorted(names.values()))}
    start = table["start_states"]["start"]
    found = {start: 0}
    queue = [start]
    states = {}
    for state in queue:
        actions = {numbers[names[symbol]]: action for symbol, action in table["states"][state].items()}
        for _, (kind, target) in sorted(actions.items(), key=lambda pair: pair[0]):
            if kind == _SHIFT and target not in found:
                found[target] = len(found)
                queue.append(target)
        states[found[state]] = {
            symbol: (kind, found[target] if kind == _SHIFT else target)
            for symbol, (kind, target) in sorted(actions.items(), key=lambda pair: pair[0])
        }
    table["tokens"] = {number: name for name, number in numbers.items()}
    table["states"] = states
    for ends in ("start_states", "end_states"):
        table[ends] = {name: found[state] for name, state in table[ends].items()}


def _literal(value: object) -> object:
    """`value` without lark's subclasses of `str`, so that its repr is a literal."""
    if isinstance(value, dict):
        return {_literal(key): _literal(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_literal(member) for member in value)
    return str(value) if isinstance(value, str) else value


if __name__ == "__main__":
    TABLES.write_text(render())

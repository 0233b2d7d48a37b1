"""Writes `clauses.toml` from a folder of specification documents.

    python -m tests.specification.extract FOLDER

A clause is what a test can prove: a section with text of its own (`8.3`), a row of
a table that lists cases (`12:Invalid Subject`), or an item of a numbered list of
scenarios or of a checklist (`19:7`). A section that consists of subsections only is
no clause. The documents are not part of this repository; the list is.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CLAUSES_FILE", "clauses_of", "documents_of", "to_toml"]

CLAUSES_FILE: Final = Path(__file__).with_name("clauses.toml")

TABLES: Final[Mapping[str, frozenset[str]]] = {
    "client-protocol": frozenset({"1", "2.3", "7.3", "11", "12", "13", "15.2"}),
    "gateways": frozenset({"15"}),
    "leafnodes": frozenset({"13"}),
    "routes": frozenset({"17"}),
}
"""The sections whose table is a list of cases, one clause a row."""

LISTS: Final = re.compile(r"scenarios|checklist|minimum to interoperate", re.IGNORECASE)
"""The titles of the sections whose items are clauses."""

HEADING: Final = re.compile(r"#{2,4} (\d+(?:\.\d+)*)\.? (.+)")
ITEM: Final = re.compile(r"(?:(\d+)\.|- \[ \]) (.+)")
CELL_BORDER: Final = re.compile(r"(?<!\\)\|")  # a bar within a cell is written \|
NAMED_BY_CODE: Final = re.compile(r"(`[^`]+`(?:(?:, | / )`[^`]+`)*)(?: [(`].*)?")
TITLE_LETTERS_MAX: Final = 100


def clauses_of(document: str, text: str) -> dict[str, str]:
    """The clauses of one document: number and title, in its order.

    Two sections with one number are told apart by a letter: `15`, `15b`.
    """
    clauses: dict[str, str] = {}
    for number, title, lines in _sections(text):
        unique = number
        while unique in clauses:
            unique = number + chr(ord(unique[-1]) + 1 if unique != number else ord("b"))
        if any(line and not line.startswith(("*Source", "---")) for line in lines):
            clauses[unique] = _plain(title)
        if number in TABLES.get(document, ()):
            clauses |= {f"{unique}:{key}": shown for key, shown in _rows(lines)}
        if LISTS.search(title):
            clauses |= {f"{unique}:{key}": shown for key, shown in _items(lines)}
    return clauses


def documents_of(folder: Path) -> dict[str, dict[str, str]]:
    """The clauses of every document of a folder; one without numbered sections is left out."""
    found = {path.stem: clauses_of(path.stem, path.read_text()) for path in sorted(folder.glob("*.md"))}
    return {document: clauses for document, clauses in found.items() if clauses}


def to_toml(documents: Mapping[str, Mapping[str, str]]) -> str:
    """The text of `clauses.toml`."""
    lines = ["# Written by `python -m tests.specification.extract FOLDER`. Number and title of each clause."]
    for document, clauses in documents.items():
        lines += ["", f"[{document}]"]
        lines += [f"{_quoted(number)} = {_quoted(title)}" for number, title in clauses.items()]
    return "\n".join(lines) + "\n"


def _sections(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Number, title and lines of each numbered section, without those of its subsections."""
    section: tuple[str, str, list[str]] | None = None
    for line in text.splitlines():
        if line.startswith("#"):
            if section is not None:
                yield section
            heading = HEADING.fullmatch(line)
            section = (heading[1], heading[2], []) if heading else None
        elif section is not None:
            section[2].append(line.strip())
    if section is not None:
        yield section


def _rows(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Key and title of each case in a table: its first cell, and the others.

    A first cell of several code spans, or with semicolons, holds several cases.
    """
    table = [line for line in lines if line.startswith("|")]
    for line in table[2:]:  # below the head and the line under it
        first, *others = (cell.strip() for cell in CELL_BORDER.split(line)[1:-1])
        title = "; ".join(plain for cell in others if (plain := _plain(cell)))
        named = NAMED_BY_CODE.fullmatch(first)
        for key in re.findall(r"`([^`]+)`", named[1]) if named else _plain(first).split("; "):
            yield key, _shortened(title)


def _items(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Number and text of each item; the boxes of a checklist are counted."""
    items = [match for line in lines if (match := ITEM.match(line))]
    for position, match in enumerate(items, start=1):
        yield match[1] or str(position), _shortened(_plain(match[2]))


def _plain(text: str) -> str:
    """The text without its markup and without the marks of what was verified."""
    return re.sub(r"\s*\[(?:v|verified)\b[^\]]*\]", "", text).replace("`", "").replace("**", "").strip()


def _shortened(text: str) -> str:
    return text if len(text) <= TITLE_LETTERS_MAX else text[: TITLE_LETTERS_MAX - 1].rstrip() + "…"


def _quoted(text: str) -> str:
    # A JSON string of printable text is a TOML basic string.
    return json.dumps(text, ensure_ascii=False)


def main(arguments: list[str]) -> int:
    """Run the command line; the exit status."""
    if len(arguments) != 1 or not (documents := documents_of(Path(arguments[0]))):
        print("usage: python -m tests.specification.extract FOLDER-OF-DOCUMENTS", file=sys.stderr)
        return 2
    CLAUSES_FILE.write_text(to_toml(documents))
    for document, clauses in documents.items():
        print(f"{document}: {len(clauses)} clauses")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

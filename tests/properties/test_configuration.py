"""The configuration language under generated documents, bytes and mistakes."""

from __future__ import annotations

import contextlib
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from natscore.errors import ConfigError
from natscore_cli.arguments import StartRefused
from natscore_cli.conf.effect import load_file
from natscore_cli.conf.resolve import load
from natscore_cli.conf.tree import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = st.from_regex(r"[a-z_][a-z0-9_.]{0,7}", fullmatch=True).filter(lambda name: name != "include")
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: round(number, 6)).filter(
    lambda number: abs(number) < 1e15
)  # fmt: skip
SCALARS = st.booleans() | INTEGERS | FLOATS | TEXTS
DOCUMENTS = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=5,
)


def quoted(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return f'"{"".join(escapes.get(char, char) for char in text)}"'


class Writer:
    """Writes a value in one of the ways that the language has, chosen by `draw`."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self._draw = draw

    def one_of(self, *choices: str) -> str:
        chosen: str = self._draw(st.sampled_from(choices))
        return chosen

    def document(self, document: dict[str, Any]) -> str:
        body = "".join(
            f"{self.key(key)}{self.one_of(' ', ': ', '=', ' = ', '  ')}{self.value(value)}"
            f"{self.one_of(';', chr(10), ' # c' + chr(10), ',', ' // c' + chr(10) + chr(10))}"
            for key, value in document.items()
        )
        return f"{self.one_of('', '# c' + chr(10), chr(10))}{body}"

    def key(self, key: str) -> str:
        return self.one_of(key, f'"{key}"', f"'{key}'")

    def value(self, value: Any) -> str:
        if isinstance(value, dict):
            members = [
                f"{self.key(key)}{self.one_of(' ', ': ', ':' + chr(10), '=')}{self.value(member)}"
                for key, member in value.items()
            ]
            return (
                f"{{{self.blank()}{self.joined(members, ',', ';', chr(10), ' # c' + chr(10))}{self.blank()}}}"
            )
        if isinstance(value, list):
            members = [self.value(member) for member in value]
            return f"[{self.blank()}{self.joined(members, ',', chr(10), ' // c' + chr(10))}{self.blank()}]"
        if isinstance(value, bool):
            return self.one_of(*(("true", "yes", "ON") if value else ("false", "no", "Off")))
        if isinstance(value, int):
            return self.integer(value)
        if isinstance(value, float):
            return f"{value:.6f}"
        return quoted(value) if "'" in value else self.one_of(quoted(value), f"'{value}'")

    def integer(self, value: int) -> str:
        for suffix, factor in (("kb", 1024), ("m", 10**6), ("GiB", 1 << 30)):
            if value and value % factor == 0:
                return self.one_of(str(value), f"{value // factor}{suffix}")
        return str(value)

    def blank(self) -> str:
        return self.one_of("", " ", "\n", " # c\n")

    def joined(self, members: list[str], *separators: str) -> str:
        return "".join(f"{member}{self.one_of(*separators)}{self.blank()}" for member in members)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples."""
    return tmp_path_factory.mktemp("configuration")


def read(folder: Path, text: str | bytes) -> dict[str, Any]:
    path = folder / "c.conf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return {key: plain(node) for key, node in load(str(path), {}).root.items()}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and [*one] == [*other] and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return isinstance(other, float) and math.isclose(one, other, abs_tol=1e-6)
    return type(one) is type(other) and bool(one == other)


@given(document=DOCUMENTS, data=st.data())
def test_a_document_is_read_as_what_was_written(
    document: dict[str, Any], data: st.DataObject, folder: Path
) -> None:
    text = Writer(data.draw).document(document)

    assert same(document, read(folder, text)), text


JSON_TEXTS = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]))


@given(
    document=st.dictionaries(
        NAMES,
        st.recursive(
            st.booleans() | INTEGERS | JSON_TEXTS,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
        ),
        max_size=4,
    ),
    indent=st.sampled_from([None, 2]),
)
def test_a_json_document_is_read_as_json(document: dict[str, Any], indent: int | None, folder: Path) -> None:
    assert read(folder, json.dumps(document, indent=indent, ensure_ascii=False)) == document


WORDS = st.sampled_from([
    *("{", "}", "[", "]", "(", ")", ",", ";", ":", "=", "#", "//", "/", "'"),
    *('"', "\\", "\n", "\r\n", " ", "\t"),
    *("include", "port", "cluster", "accounts", "users", "tls", "$", "$port", "$2a$"),
    *("1", "-", ".", "1k", "e5"),
    *("9" * 30, "true", "2016-05-04T18:53:41Z", "\x00", "\ufeff", "é", "\u2028", "\\x4", "authorization"),
])  # fmt: skip


@given(text=st.lists(WORDS, max_size=40).map("".join) | st.binary(max_size=60))
@example(text=b"\xff\xfe: \x80")
@example(text="{" * 500)
@example(text="a:" + "[" * 99 + "]" * 99)
def test_any_bytes_are_read_or_refused(text: str | bytes, folder: Path) -> None:
    said = ""
    with contextlib.suppress(ConfigError):
        read(folder, text)
    try:
        load_file(str(folder / "c.conf"), {})
    except StartRefused as error:
        said = str(error)

    assert said.replace("\n", "").isprintable()


@given(
    before=st.lists(
        st.sampled_from(["# c", "", "x_é { y: 1 }", "  // c", "a_b: [1, 2\n]", "(c) 1"]), max_size=5
    ),
    indent=st.text(st.sampled_from(" \t"), max_size=3),
    nested=st.booleans(),
)
def test_an_error_has_the_place_of_its_key(
    before: list[str], indent: str, nested: bool, folder: Path
) -> None:
    lines = [*before, "cluster {", f"{indent}no_such: 1", "}"] if nested else [*before, f"{indent}no_such: 1"]
    path = folder / "c.conf"
    path.write_text("\n".join(lines))

    with pytest.raises(StartRefused) as caught:
        load_file(str(path), {})

    line = "\n".join(lines).split("no_such")[0].count("\n") + 1
    column = len(indent) + (line > 1)
    (said,) = [one for one in str(caught.value).splitlines() if "no_such" in one]
    assert said.startswith(f'{path}:{line}:{column}: unknown field "no_such"')

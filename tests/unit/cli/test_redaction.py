"""Neither secrets nor control characters of peers reach a log."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscore_cli.redaction import escaped, is_secret, redacted_line, redacted_snippet

SECRET_KEYS = ["pass", "auth_token", "jwt", "sig", "nkey"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("x\r\n[1] [INF] forged", r"x\r\n[1] [INF] forged"),
        ("tab\there", r"tab\there"),
        ("\x00\x07\x7f", r"\x00\x07\x7f"),
        ("\x80\x9b31m", r"\x80\x9b31m"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("\u202eevil\u2066\u2069\u200f\u061c", r"\u202eevil\u2066\u2069\u200f\u061c"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("\U000e0001", r"\U000e0001"),
        ("\udcff", r"\udcff"),
        ("no\u00a0break", r"no\xa0break"),
    ],
)
def test_what_does_not_print_is_written_out(text: str, shown: str) -> None:
    assert escaped(text) == shown


@pytest.mark.parametrize("text", ["plain text", "évènement", "日本語", "a\\nb", 'quo"ted', "🙂"])
def test_what_prints_stays(text: str) -> None:
    assert escaped(text) == text


@given(st.text(alphabet=st.characters(), max_size=50))
def test_escaped_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    bad = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

    assert [char for char in escaped(text) if unicodedata.category(char) in bad] == []


@pytest.mark.spec("operations 6.3")
def test_a_connect_line_keeps_its_shape_and_loses_its_secrets() -> None:
    line = b'CONNECT {"verbose":false,"user":"a","pass":"s3cret","protocol":1,"name":null}'

    assert redacted_line(line) == (
        b'CONNECT {"verbose":false,"user":"a","pass":"[REDACTED]","protocol":1,"name":null}'
    )


@pytest.mark.spec("operations 6.3")
@pytest.mark.parametrize(
    "key", [*SECRET_KEYS, "proxy_sig", "password", "PASS", "Auth_Token", "pa\u017f\u017f"]
)
def test_each_secret_key_is_withheld_whatever_its_case(key: str) -> None:
    line = f'CONNECT {{"{key}":"s3cret"}}'.encode()

    assert redacted_line(line) == f'CONNECT {{{json.dumps(key)}:"[REDACTED]"}}'.encode()


@pytest.mark.parametrize(
    "body",
    [
        r'{"pass":"s3c\"ret s3cret"}',
        r'{"\u0070ass":"s3cret"}',
        '{"pass":"s3cret","pass":"s3cret too"}',
        '{"a":{"b":[{"jwt":"s3cret"}]}}',
        '[{"sig":"s3cret"}]',
        '{"nkey":{"deep":["s3cret"]}}',
        '{"auth_token": \t "s3cret" }',
        '{"pass":"s3cret"',
        '{"pass":"s3cret"} trailing',
        '{"pass":"s3cret",}',
        "pass=s3cret",
        '{"pass":"s3cret\xff"}',
        "[" * 100_000 + '"s3cret"',
        '{"n":' + "9" * 10_000 + ',"pass":"s3cret"}',
    ],
    ids=range(14),
)
@pytest.mark.parametrize("operation", ["CONNECT ", "connect\t", "CoNnEcT  ", " CONNECT "])
def test_a_secret_does_not_survive_however_the_document_is_written(operation: str, body: str) -> None:
    shown = redacted_line(operation.encode() + body.encode("latin-1"))

    assert b"s3cret" not in shown
    assert b"[REDACTED]" in shown
    assert shown.startswith(operation.encode())


def test_a_document_without_a_blank_before_it_is_redacted_too() -> None:
    assert redacted_line(b'CONNECT{"pass":"s3cret"}') == b'CONNECT{"pass":"[REDACTED]"}'


@pytest.mark.parametrize(
    "line", [b"SUB foo 1", b"PUB connect 5", b"CONNECTED {}", b"CONNECT", b"CONNECT {}", b""]
)
def test_lines_that_hold_no_secret_stay(line: bytes) -> None:
    assert redacted_line(line) == line


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=6))
def test_documents_without_secrets_mean_the_same_afterwards(document: dict[str, object]) -> None:
    def holds_secret(value: object) -> bool:
        if isinstance(value, dict):
            return any(is_secret(key) or holds_secret(member) for key, member in value.items())
        return isinstance(value, list) and any(map(holds_secret, value))

    if holds_secret(document):
        return
    shown = redacted_line(b"CONNECT " + json.dumps(document).encode())

    assert json.loads(shown.removeprefix(b"CONNECT ")) == document


@pytest.mark.parametrize(
    ("snippet", "shown"),
    [
        (b"GET / HTTP/1.1\r\nHost: a", b"GET / HTTP/1.1\r\nHost: a"),
        (b'CONECT {"pass":"s3cret"', b"CONECT [REDACTED]"),
        (b'ass":"s3cret"', b"ass[REDACTED]"),
        (b'"s3cret", {', b"[REDACTED]"),
        (b"", b""),
    ],
)
def test_a_snippet_ends_where_a_document_begins(snippet: bytes, shown: bytes) -> None:
    assert redacted_snippet(snippet) == shown


def test_nesting_near_the_limit_of_the_interpreter_neither_raises_nor_leaks() -> None:
    for depth in range(sys.getrecursionlimit() // 4, sys.getrecursionlimit() * 2, 50):
        body = b'{"a":' * depth + b'{"pass":"s3cret"}' + b"}" * depth

        assert b"s3cret" not in redacted_line(b"CONNECT " + body)

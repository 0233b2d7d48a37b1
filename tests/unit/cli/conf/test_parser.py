"""The language, construct by construct, and where things stand in it."""

from __future__ import annotations

import contextlib

import pytest

from natscore_cli.conf.parser import Array, Entry, Include, Literal, Table, Variable, parse
from natscore_cli.conf.tree import DEPTH_MAX, LanguageError, Source


def entries(text: str) -> list[Entry | Include]:
    return parse(Source("c.conf", text)).entries


def value(text: str) -> object:
    """The value of the only key, when it is a scalar."""
    (entry,) = entries(f"key: {text}")
    assert isinstance(entry, Entry)
    assert isinstance(entry.value, Literal)
    return entry.value.value


def refusal(text: str) -> str:
    with pytest.raises(LanguageError) as caught:
        entries(text)
    return str(caught.value)


@pytest.mark.spec("configuration 2.2")
@pytest.mark.parametrize(
    "text",
    ["a 5", "a = 5", "a: 5", "a:5", "a\n\n 5", "a : 5 # c", "a: 5 // c",
     "# c\na: 5", "a: 5;", "a: 5,", "'a' 5",
     '"a"5', "{a: 5}", "{\n a: 5\n}\n", "{ {a: 5} }", "a: 5 }", "a: 5 / ", "\ta\t5\t", "a: 5\r\n", "{a: 5}}"],
)  # fmt: skip
def test_a_key_and_its_value_may_be_written_in_many_ways(text: str) -> None:
    (entry,) = entries(text)

    assert isinstance(entry, Entry)
    assert isinstance(entry.value, Literal)
    assert (entry.key, entry.value.value) == ("a", 5)


@pytest.mark.spec("configuration 2.2")
def test_braces_at_file_level_stand_between_other_keys() -> None:
    assert [entry.key for entry in entries("a: 1\n{b: 2, c: 3} d: 4") if isinstance(entry, Entry)] == [
        *"abcd"
    ]


@pytest.mark.spec("configuration 2.2")
@pytest.mark.parametrize("text", ["", " \n", "# only", "// only", "{}", "}"])
def test_a_file_may_be_empty(text: str) -> None:
    assert entries(text) == []


@pytest.mark.spec("configuration 2.4")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"a b"', "a b"),
        ("'a b'", "a b"),
        (r"'a\t'", r"a\t"),
        (r'"\t\n\r\"\\\x41"', '\t\n\r"\\A'),
        (r'"\xc3\xa9"', "é"),
        (r"a\x41b", "aAb"),
        (r'"\\\\n"', r"\\n"),
        ('"a\nb"', "a\nb"),
        ('a"b', 'a"b'),
        ("a#b", "a#b"),
        ("nats://h:1", "nats://h:1"),
        ("a'", "a"),
        ("(\none\n two\n)", "\none\n two\n"),
        ("(\n a)b\n)\n", "\n a)b\n"),
        ("(\r\na\r\n)\r\n", "\r\na\r\n"),
        ("$2a$11$abc", "$2a$11$abc"),
        ('"true"', "true"),
        ("true'", "true"),
        (r"\x74rue", "true"),
    ],
)
def test_a_text_is_quoted_raw_bare_or_a_block(text: str, expected: str) -> None:
    assert value(text) == expected


@pytest.mark.spec("configuration 2.4")
@pytest.mark.parametrize("word", ["true", "yes", "on", "TRUE", "On", "false", "no", "off", "FALSE"])
def test_six_words_are_booleans_in_any_case(word: str) -> None:
    assert value(word) is (word.lower() in ("true", "yes", "on"))


@pytest.mark.spec("configuration 2.5")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("007", 7), ("-5", -5), ("9223372036854775807", 2**63 - 1), ("1k", 1000), ("1kb", 1024),
        ("1Ki", 1024), ("1KiB", 1024), ("3m", 3_000_000), ("2gb", 2 << 30), ("1tb", 1 << 40), ("1p", 10**15),
        ("1e", 10**18), ("-1k", -1000), ("1.5", 1.5), ("-0.25", -0.25),
        ("1abc", "1abc"), ("12:34", "12:34"), ("0x10", "0x10"), ("1_0", "1_0"),
        ("10x", "10x"), ("1k-x", "1k-x"),
        ("10.0.0.1", "10.0.0.1"), ("127.0.0.1:4222", "127.0.0.1:4222"), ("-5kx", "-5kx"),
    ],
)  # fmt: skip
def test_what_begins_with_a_digit_is_a_number_or_a_text(text: str, expected: object) -> None:
    found = value(text)

    assert (type(found), found) == (type(expected), expected)


@pytest.mark.spec("configuration 2.5")
def test_a_date_is_a_date() -> None:
    assert str(value("2016-05-04T18:53:41Z")) == "2016-05-04 18:53:41+00:00"


@pytest.mark.spec("configuration 2.5", "configuration 2.10")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("9223372036854775808", "integer '9223372036854775808' is out of the range"),
        ("10e", "integer '10e' is out of the range"),
        ("-9999999999999999999999", "integer '-9999999999999999999999' is out of the range"),
        ("9" * 100_000, f"integer '{'9' * 40}...' is out of the range"),
        (f"{'9' * 400}.0", f"float '{'9' * 40}...' is out of the range"),
        ("2016-13-04T18:53:41Z", "expected Zulu formatted DateTime, but got '2016-13-04T18:53:41Z'"),
    ],
)
def test_a_number_that_no_machine_holds_is_refused(text: str, said: str) -> None:
    assert refusal(f"key: {text}") == said


@pytest.mark.spec("configuration 2.5")
def test_a_suffix_that_is_none_is_refused() -> None:
    assert refusal("a: 10kbb").startswith("integer '10kbb' has an unknown suffix; ")


@pytest.mark.spec("configuration 2.3")
def test_maps_and_arrays_hold_values_of_all_kinds() -> None:
    (entry,) = entries("a: [1, 'b', {c: $D, e: []}, [2]\n3 # c\n 4,\n]")

    assert isinstance(entry, Entry)
    assert isinstance(entry.value, Array)
    one, b, table, two, three, four = entry.value.members
    assert [one, b, three, four] == [Literal(1, 4), Literal("b", 7), Literal(3, 32), Literal(4, 39)]
    assert isinstance(table, Table)
    assert [type(inside.value) for inside in table.entries if isinstance(inside, Entry)] == [Variable, Array]
    assert two == Array([Literal(2, 29)])


@pytest.mark.spec("configuration 2.7")
@pytest.mark.parametrize(("text", "name"), [("$A", "A"), ("$T-b", "T-b"), ("$2b$11$x", "2b$11$x"), ("$", "")])
def test_a_bare_word_with_a_dollar_is_a_variable(text: str, name: str) -> None:
    (entry,) = entries(f"key: {text}")

    assert isinstance(entry, Entry)
    assert entry.value == Variable(name, 5)


@pytest.mark.spec("configuration 2.8")
@pytest.mark.parametrize(
    ("text", "path"),
    [("include a.conf", "a.conf"), ('INCLUDE "a b"', "a b"), ("include 'a b'", "a b"), ("include a;", "a"),
     ("{include a}", "a"), ("include a' # c", "a"), ("include $A\n", "$A"), (r"include 'a\x'", r"a\x")],
)  # fmt: skip
def test_include_names_a_file(text: str, path: str) -> None:
    (include,) = entries(text)

    assert isinstance(include, Include)
    assert include.path == path


@pytest.mark.spec("configuration 2.8")
@pytest.mark.parametrize("text", ["include: a", '"include" a', "include= a", "included a"])
def test_include_with_a_separator_or_in_quotes_is_a_key(text: str) -> None:
    (entry,) = entries(text)

    assert isinstance(entry, Entry)


@pytest.mark.spec("configuration 2.9")
def test_a_json_document_is_a_configuration() -> None:
    text = '{\n  "a": "b",\n  "c": [1,2],\n  "d": {"e": true, "f": {}}\n}\n'

    assert [entry.key for entry in entries(text) if isinstance(entry, Entry)] == ["a", "c", "d"]


def test_nesting_has_a_bound() -> None:
    deep = "[" * DEPTH_MAX

    assert len(entries(f"a: {deep}{']' * DEPTH_MAX}")) == 1
    assert "deep within one another" in refusal(f"a: {'[' * (DEPTH_MAX + 1)}")
    assert "deep within one another" in refusal(f"a: {'{b:' * (DEPTH_MAX + 1)}")
    assert "deep within one another" in refusal("{" * (DEPTH_MAX + 1))


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{" * 100_000, "a: (" + "\nb)" * 100_000, 'a: "' + "\\" * 99_999,
     "/" * 100_000, "#" * 100_000,
     "a: " + "1" * 100_000 + "-", "a" * 100_000, "}" * 100_000, " " * 100_000,
     "a: 1.2" + ".1" * 100_000 + "x"],
    ids=lambda text: text[:6],
)  # fmt: skip
@pytest.mark.timeout(10)  # what takes more than linear time takes minutes
def test_a_hostile_text_is_read_or_refused_in_no_time(text: str) -> None:
    with contextlib.suppress(LanguageError):
        entries(f"{text}\n{text}")

"""What is not the language is refused in nats-server's words, with its line."""

from __future__ import annotations

import pytest

from natscore_cli.conf.parser import parse
from natscore_cli.conf.tree import LanguageError, Source

MAP_END = 'Expected a map value terminator "," or a map terminator "}", but got'
ARRAY_END = 'Expected an array value terminator "," or an array terminator "]", but got'
TOP_END = "Expected a top-level value to end with a new line, comment or EOF, but got"
BLOCK_END = "Expected a block-level value to end with a new line, comment or EOF, but got"


def refusal(text: str) -> str:
    with pytest.raises(LanguageError) as caught:
        parse(Source("c.conf", text))
    return str(caught.value)


@pytest.mark.spec("configuration 2.10", "configuration 2.2", "configuration 2.3")
@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1 b", 1, f"{TOP_END} 'b' instead."),
        ("\na: 10 MB", 2, f"{TOP_END} 'M' instead."),
        ("a: # c\nfoo", 1, f"{TOP_END} 'c' instead."),
        ("a: 1.2a", 1, f"{TOP_END} 'a' instead."),
        ("{a: 1 b: 2}", 1, f"{BLOCK_END} 'b' instead."),
        ("m {a: 1 b: 2}", 1, f"{MAP_END} 'b' instead."),
        ("m {a: 1", 1, "Unexpected EOF processing map."),
        ("m {", 1, "Unexpected EOF processing map."),
        ("m {a", 1, "Unexpected EOF processing map."),
        ("{a: 1", 1, "Unexpected EOF processing block."),
        ("{", 1, "Unexpected EOF processing block."),
        ("a: [1 2]", 1, f"{ARRAY_END} '2' instead."),
        ("a: [b;c]", 1, f"{ARRAY_END} ';' instead."),
        ("a: [", 1, f"{ARRAY_END} '\x00' instead."),
        ("a: [,", 1, "Unexpected array value terminator ','."),
        ("a: [b,,c]", 1, "Unexpected array value terminator ','."),
        ("a: [b\n,c]", 2, "Unexpected array value terminator ','."),
        ("a: [/ b]", 1, "Unexpected array value terminator ','."),
        ("= 1", 1, "Unexpected key separator '='"),
        ("\n\n: 1", 3, "Unexpected key separator ':'"),
        ("m {: 1}", 1, "Unexpected key separator ':'."),
        ("m {a: ,}", 1, 'Unexpected map value terminator ",".'),
        ("m { ] }", 1, "Unexpected array end ']' processing map."),
        ("m { 'a", 1, "Unexpected EOF processing quoted map key."),
        ('m { "a', 1, "Unexpected EOF processing double quoted map key."),
        ("/ a", 1, "Unexpected EOF."),
        ("a: 'b", 1, "Unexpected EOF."),
        ('a: "b', 1, "Unexpected EOF."),
        ("a: (\nb", 1, "Unexpected EOF."),
        ("a:\n1", 2, "Expected value but found new line"),
        ("a: .5", 1, "Floats must start with a digit"),
        ("a: -.5", 1, "Floats must start with a digit, not '.'."),
        ("a: 1.\nb: 2", 1, "Floats must have a digit after the '.', but got '\\n' instead."),
        ("a: 10kb1", 1, "Expected the end of a number, but got '1' instead."),
        ("a: -x", 1, "Expected a digit but got 'x'."),
        ("a: 1-2", 1, "All ISO8601 dates must be in full Zulu form."),
        ("a: 2016-05-04", 1, "Expected 'T' in ISO8601 datetime, but found '\x00' instead."),
        ("a: 2016-x", 1, "Expected digit in ISO8601 datetime, but found 'x' instead."),
        (r'a: "\z"', 1, "Invalid escape character 'z'. Only the following escape characters are allowed: "
                        r'\xXX, \t, \n, \r, \", \\.'),
        ('a: "b\n\\z"', 2, "Invalid escape character 'z'. Only the following escape characters are allowed: "
                           r'\xXX, \t, \n, \r, \", \\.'),
        (r'a: "\xzz"', 1, r"Expected two hexadecimal digits after '\x', but got 'zz'"),
        ("a: \\x\nb: 1", 1, r"Expected two hexadecimal digits after '\x', but hit end of line"),
        ("include 5", 1, "Expected include value but found start of a number"),
        ("include [a]", 1, "Expected include value but found start of an array"),
        ("include {a", 1, "Expected include value but found a map"),
        ("include (a", 1, "Expected include value but found a block"),
        (r"include \a", 1, "Expected include value but found escape sequence"),
        ("include \nb", 2, "Expected include value but found new line"),
        ("include 'b", 1, "Unexpected EOF in quoted include"),
        ('include "b', 1, "Unexpected EOF in double quoted include"),
        ("a: ;", 1, "Expected a value, but got ';' instead."),
        ("m { a: }", 1, "Expected a value, but got '}' instead."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, said: str) -> None:
    assert refusal(text) == f"Parse error on line {line}: '{said}'"


@pytest.mark.spec("configuration 2.10", "configuration 8")
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("port", "1:0"),
        ("port\n\n", "1:0"),
        ("a: 1\nport", "2:1"),
        ("a: 1;;", "1:5"),
        ("'port' ", "1:1"),
        ("a:", "1:0"),
    ],
)
def test_a_last_key_without_a_value_makes_the_file_invalid(text: str, place: str) -> None:
    assert refusal(text) == f"config is invalid (c.conf:{place})"

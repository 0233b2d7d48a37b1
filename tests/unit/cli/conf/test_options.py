"""A tree is read by rows: by any name in any case, later over earlier, everything wrong at once."""

from __future__ import annotations

import pytest

from natscore_cli.conf.options import Block, Option, array_of, block_of, every_option, read_block
from natscore_cli.conf.parser import parse
from natscore_cli.conf.resolve import _Resolver
from natscore_cli.conf.tree import Place, Source
from natscore_cli.conf.values import INTEGER, TEXT, Findings

INNER = Block("inner", (Option(("size", "length"), INTEGER, "-", "a size"),), unknown='Unknown "{}" inside')
BLOCK = Block(
    "outer",
    (
        Option(("host", "net"), TEXT, "-", "a host"),
        Option(("port",), INTEGER, "-", "a port"),
        Option(("inner",), block_of(INNER), "-", "a block", block=INNER),
        Option(
            ("list",), array_of(INNER, not_array="no array: {value}", not_map="no map: {type}"), "-", "blocks"
        ),
    ),
)


def read(text: str, block: Block = BLOCK) -> tuple[dict[str, object], list[str]]:
    """Values by name, and what is wrong."""
    source = Source("c.conf", text)
    findings = Findings()
    root = _Resolver({})._map(parse(source), source, [])
    settings = read_block(root, Place("c.conf", 1, 0), block, findings)
    return {name: setting.value for name, setting in settings.items()}, findings.lines()


@pytest.mark.spec("configuration 1")
def test_keys_are_matched_in_any_case_and_by_any_name() -> None:
    assert read("HOST: a\nPort: 1")[0] == {"host": "a", "port": 1}
    assert read("Net: a") == ({"host": "a"}, [])


@pytest.mark.spec("configuration 1", "configuration 9")
def test_of_two_names_of_one_option_the_later_wins() -> None:
    found, wrong = read("host: a\nport: 1\nnet: b")

    assert list(found.items()) == [("port", 1), ("host", "b")]
    assert wrong == []


@pytest.mark.spec("configuration 1", "configuration 2.11", "configuration 9")
def test_everything_wrong_is_found_at_once() -> None:
    found, wrong = read("foo: 1\nport: x\nhost: a\ninner {size: y, bar: 2}\nlist: [5, {baz: 1}]")

    assert found["host"] == "a"
    assert [line.split(" (")[0] for line in wrong] == [
        'c.conf:1:0: unknown field "foo"',
        "c.conf:2:1: interface conversion: interface {} is string, not int64",
        "c.conf:4:8: interface conversion: interface {} is string, not int64",
        'c.conf:4:17: Unknown "bar" inside',
        "c.conf:5:8: no map: int64",
        'c.conf:5:12: Unknown "baz" inside',
    ]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("prot", '; did you mean "port"?'),
        ("hosts", '; did you mean "host"?'),
        ("TEN", '; did you mean "net"?'),
        ("xyz", ""),
    ],
)
def test_a_near_name_is_offered_and_a_far_one_is_not(key: str, hint: str) -> None:
    assert read(f"{key}: 1")[1] == [f'c.conf:1:0: unknown field "{key}"{hint}']


@pytest.mark.spec("configuration 2.7")
def test_a_key_that_was_used_as_a_variable_may_have_any_name() -> None:
    assert read("ANY: 5\nport: $ANY") == ({"port": 5}, [])


@pytest.mark.parametrize(("text", "said"), [("list: x", "no array: x"), ("list: {a: 1}", "no array: map")])
def test_what_is_no_array_is_shown_unless_it_could_hold_a_password(text: str, said: str) -> None:
    assert read(text)[1][0].startswith(f"c.conf:1:0: {said}")


def test_names_are_offered_for_the_first_slips_only() -> None:
    wrong = read("\n".join(f"inne{letter}: 1" for letter in "abcdefghijklmnopqstuvwxyz"))[1]

    assert [line.endswith("?") for line in wrong] == [True] * 20 + [False] * 5
    assert read(f"{'host' * 100_000}: 1")[1][0].endswith('"')


def test_rows_within_rows_are_found() -> None:
    assert [path for path, _ in every_option(BLOCK)] == ["host", "port", "inner", "inner.size", "list"]

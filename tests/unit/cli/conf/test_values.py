"""Types of options take what nats-server takes, and say what is wrong in its words."""

from __future__ import annotations

import pytest

from natscore_cli.conf.tree import Node, Place, Scalar
from natscore_cli.conf.values import (
    BOOLEAN,
    DURATION,
    DURATION_TEXT,
    INTEGER,
    LISTEN,
    PORT,
    SECONDS,
    SECONDS_OR_DURATION,
    SUBJECT,
    SUBJECTS,
    TEXT,
    TEXT_ARRAY,
    TEXTS,
    Findings,
    Invalid,
    Listen,
    Type,
    nanoseconds,
    read_urls,
    without_password,
)

HERE = Place("c.conf", 2, 1)
SECOND = 10**9


def node(value: Scalar | list[Scalar]) -> Node:
    if isinstance(value, list):
        return Node([Node(member, HERE) for member in value], HERE)
    return Node(value, HERE)


def read(type_: Type, value: Scalar | list[Scalar]) -> object:
    """What an option of that type holds; nothing is found odd about it."""
    findings = Findings()
    held = type_.read(node(value), "key", findings)
    assert findings == Findings()
    return held


def refusal(type_: Type, value: Scalar | list[Scalar]) -> str:
    """Why it holds nothing, or every error that was found."""
    findings = Findings()
    try:
        type_.read(node(value), "key", findings)
    except Invalid as error:
        return str(error)
    return "\n".join(found.text for found in findings.errors)


@pytest.mark.spec("configuration 2.11", "configuration 3")
@pytest.mark.parametrize(
    ("type_", "value", "got", "wanted"),
    [
        (BOOLEAN, "true", "string", "bool"),
        (BOOLEAN, 1, "int64", "bool"),
        (INTEGER, 1.5, "float64", "int64"),
        (INTEGER, True, "bool", "int64"),
        (TEXT, 5, "int64", "string"),
        (TEXT, ["a"], "[]interface {}", "string"),
        (TEXT_ARRAY, "a", "string", "[]interface {}"),
    ],
)
def test_a_value_of_another_type_is_refused_in_go_s_words_and_ours(
    type_: Type, value: Scalar | list[Scalar], got: str, wanted: str
) -> None:
    said = refusal(type_, value)

    assert said.startswith(f"interface conversion: interface {{}} is {got}, not {wanted} ")
    assert '("key" takes ' in said


@pytest.mark.spec("configuration 3")
@pytest.mark.parametrize(
    ("text", "expected"),
    [("1m30.5s", 90_500_000_000), ("0.3s", 300_000_000), ("1h", 3600 * SECOND), ("2ns", 2), ("3us", 3000),
     ("3µs", 3000), ("1.5ms", 1_500_000), (".5s", SECOND // 2), ("-1s", -SECOND), ("+1s", SECOND), ("0", 0)],
)  # fmt: skip
def test_a_duration_is_written_as_go_writes_it(text: str, expected: int) -> None:
    assert nanoseconds(text) == expected
    assert read(DURATION, text) == expected


@pytest.mark.spec("configuration 3")
@pytest.mark.parametrize(
    ("text", "said"),
    [("5", 'missing unit in duration "5"'), ("x", 'invalid duration "x"'), ("", 'invalid duration ""'),
     ("1d", 'unknown unit "d" in duration "1d"'), ("1s2", 'missing unit in duration "1s2"'),
     ("1 s", 'unknown unit " s" in duration "1 s"'), ("-", 'invalid duration "-"'),
     ("9999999h", 'invalid duration "9999999h"'), ("1" * 90, f'invalid duration "{"1" * 80}"')],
)  # fmt: skip
def test_what_is_no_duration_is_refused(text: str, said: str) -> None:
    assert refusal(DURATION, text) == f"error parsing key: time: {said}"


@pytest.mark.spec("configuration 3")
def test_an_integer_is_seconds_with_a_warning_or_none_at_all() -> None:
    findings = Findings()

    assert DURATION.read(node(10), "ping_interval", findings) == 10 * SECOND
    assert findings.lines() == [
        'c.conf:2:1: invalid use of field "ping_interval": ping_interval should be converted to a duration'
    ]
    assert "is int64, not string" in refusal(DURATION_TEXT, 10)


@pytest.mark.spec("configuration 3")
def test_seconds_are_a_number_or_a_duration() -> None:
    assert [read(SECONDS, value) for value in (2, 0.5, "1m")] == [2 * SECOND, SECOND // 2, 60 * SECOND]
    assert read(SECONDS_OR_DURATION, 3) == 3 * SECOND
    assert refusal(SECONDS_OR_DURATION, 0.5) == "error parsing key: unsupported type float64"
    assert refusal(SECONDS, True) == "error parsing key: unsupported type bool"
    assert "out of the range" in refusal(SECONDS, 1e30)


@pytest.mark.spec("configuration 3")
@pytest.mark.parametrize(
    ("value", "expected"),
    [(4222, Listen(None, 4222)), (-1, Listen(None, -1)), ("h:1", Listen("h", 1)), (":1", Listen("", 1)),
     ("[::1]:1", Listen("::1", 1)), ("127.0.0.1:-1", Listen("127.0.0.1", -1))],
)  # fmt: skip
def test_an_address_is_a_port_or_host_and_port(value: Scalar, expected: Listen) -> None:
    assert read(LISTEN, value) == expected


@pytest.mark.spec("configuration 3")
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("h", 'could not parse address string "h"'),
        ("::1:1", 'could not parse address string "::1:1"'),
        ("[::1:1", 'could not parse address string "[::1:1"'),
        ("h:x", 'could not parse port "x"'),
        ("h:", 'could not parse port ""'),
        (1.5, "expected port or host:port, got float64"),
        (70_000, "port is 70000; a port is -1 (any free one) or 0 to 65535"),
        ("h:70000", "port is 70000; a port is -1 (any free one) or 0 to 65535"),
    ],
)
def test_what_is_no_address_is_refused(value: Scalar, said: str) -> None:
    assert refusal(LISTEN, value) == said


def test_a_text_with_a_null_character_is_refused() -> None:
    assert refusal(TEXT, "a\x00b") == '"key" holds a null character, which no path and no name can'


@pytest.mark.parametrize("port", [-2, 65_536])
def test_a_port_has_16_bits(port: int) -> None:
    assert refusal(PORT, port).startswith(f"port is {port}")
    assert [read(PORT, port) for port in (-1, 0, 65_535)] == [-1, 0, 65_535]


@pytest.mark.spec("configuration 3")
def test_a_list_is_a_text_or_an_array_of_texts() -> None:
    assert read(TEXTS, "a") == ["a"]
    assert read(TEXTS, ["a", "b"]) == ["a", "b"]
    assert read(TEXTS, []) == []
    assert refusal(TEXTS, 5) == "error parsing key: unsupported type int64"
    assert refusal(TEXTS, ["a", 5, True]).splitlines() == [
        "error parsing key: unsupported type int64",
        "error parsing key: unsupported type bool",
    ]


@pytest.mark.spec("configuration 3")
def test_subjects_may_name_a_queue_group() -> None:
    assert read(SUBJECTS, "a.> q.*") == ["a.> q.*"]
    assert refusal(SUBJECTS, ["a", "b..c", "d q e"]).splitlines() == [
        'subject "b..c" is not a valid subject',
        'subject "d q e" is not a valid subject',
    ]
    assert refusal(SUBJECTS, 5).endswith("got int64")
    assert refusal(SUBJECTS, [5]) == "Subject in permissions array cannot be cast to string"
    assert read(SUBJECT, "a.*.>") == "a.*.>"
    assert refusal(SUBJECT, "a b") == 'subject "a b" is not a valid subject'


@pytest.mark.spec("configuration 3")
def test_urls_are_checked_and_doubled_ones_named_without_their_password() -> None:
    findings = Findings()
    urls: list[Scalar] = [
        "nats://a:b@h:1",
        "nats://h:2",
        "nats://a:b@h:1",
        "nats://%zz",
        "nats://",
        "nats://h:x",
    ]

    held = read_urls("route", texts_too=False)(node(urls), "routes", findings)

    assert held == urls[:2]
    assert [found.text for found in findings.errors] == [
        f'error parsing route url ["{url}"]' for url in ("nats://%zz", "nats://", "nats://h:x")
    ]
    assert [found.text for found in findings.warnings] == [
        'invalid use of field "nats://a:[REDACTED]@h:1": Duplicate route entry detected'
    ]


def test_a_url_is_shown_without_its_password() -> None:
    assert without_password("nats://ann:secret@h:1/x") == "nats://ann:[REDACTED]@h:1/x"
    assert without_password("nats://token@h") == "nats://token@h"
    assert without_password("nats://h") == "nats://h"


@pytest.mark.spec("configuration 2.11")
def test_findings_stand_in_the_order_of_the_file_warnings_first() -> None:
    findings = Findings()
    findings.error(Place("c.conf", 10, 1), "third")
    findings.error(Place("c.conf", 9, 5), "second")
    findings.error(None, "first")
    findings.warning(Place("c.conf", 99, 1), "key", "odd")

    assert findings.lines() == [
        'c.conf:99:1: invalid use of field "key": odd',
        "first",
        "c.conf:9:5: second",
        "c.conf:10:1: third",
    ]

"""The command line is read by Go's rules."""

from __future__ import annotations

import pytest

from natscore_cli.arguments import FlagError, forget_credentials, parse


def values(*words: str) -> dict[str, object]:
    return dict(parse(list(words)).values)


def complaint(*words: str) -> str:
    with pytest.raises(FlagError) as caught:
        parse(list(words))
    return str(caught.value)


@pytest.mark.spec("operations 1.1")
@pytest.mark.parametrize(
    "words",
    [("-p", "4333"), ("-p=4333",), ("--p", "4333"), ("--port=4333",), ("-port", "4333"), ("--port", "4333")],
)
def test_one_dash_or_two_and_a_blank_or_an_equals_sign_mean_the_same(words: tuple[str, ...]) -> None:
    assert values(*words) == {"port": 4333}


@pytest.mark.spec("operations 1.1")
def test_short_flags_do_not_combine() -> None:
    assert values("-DV") == {"debug_trace": True}
    assert values("-D", "-V") == {"debug": True, "trace": True}
    assert complaint("-VD") == "flag provided but not defined: -VD"


@pytest.mark.spec("operations 1.1")
@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_each_spelling_of_true_switches_on(text: str) -> None:
    assert values(f"-D={text}") == {"debug": True}


@pytest.mark.spec("operations 1.1")
@pytest.mark.parametrize("text", ["0", "f", "F", "false", "FALSE", "False"])
def test_each_spelling_of_false_switches_off(text: str) -> None:
    assert values("-D", f"--debug={text}") == {"debug": False}


@pytest.mark.spec("operations 1.1")
@pytest.mark.parametrize("text", ["maybe", "", "tRUE", "2", "yes"])
def test_another_text_is_no_boolean(text: str) -> None:
    assert complaint(f"-D={text}") == f'invalid boolean value "{text}" for -D: parse error'


@pytest.mark.spec("operations 1.1")
def test_a_boolean_takes_no_separate_value() -> None:
    given = parse(["-T", "false", "-D"])

    assert given.values == {"log_time": True}
    assert given.command == "false"


@pytest.mark.spec("operations 1.1")
@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["-D", "here", "-p", "1"], "here"),
        (["-D", "--", "-p", "1"], "-p"),
        (["-D", "--"], None),
        (["-D", "-", "-p", "1"], "-"),
        (["-D", "", "-p", "1"], ""),
    ],
)
def test_parsing_stops_at_the_first_word_that_is_no_flag(words: list[str], command: str | None) -> None:
    given = parse(words)

    assert given.values == {"debug": True}
    assert given.command == command


@pytest.mark.spec("operations 1.1")
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("4222", 4222),
        ("+4222", 4222),
        ("-1", -1),
        ("0x10", 16),
        ("0X_1f", 31),
        ("-0x1", -1),
        ("0b101", 5),
        ("0o17", 15),
        ("017", 15),
        ("0_17", 15),
        ("1_000", 1000),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_integers_are_written_as_in_go(text: str, number: int) -> None:
    assert values("--max_payload", text) == {"max_payload": number}


@pytest.mark.spec("operations 1.1")
@pytest.mark.parametrize(
    "text", ["abc", "", " 1", "1 ", "1_", "_1", "1__0", "0x", "0x_", "08", "1.5", "\u0661", "--1", "1e3"]
)
def test_what_go_does_not_read_as_an_integer_is_refused(text: str) -> None:
    assert complaint("-p", text) == f'invalid value "{text}" for flag -p: parse error'


@pytest.mark.spec("operations 1.1")
@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "0x" + "f" * 5000])
def test_an_integer_has_64_bits(text: str) -> None:
    assert complaint("-p", text) == f'invalid value "{text}" for flag -p: value out of range'


def test_a_count_is_not_negative() -> None:
    assert complaint("--ping_max=-1") == 'invalid value "-1" for flag -ping_max: must not be negative'


@pytest.mark.spec("operations 1.1")
def test_a_flag_that_does_not_exist_is_named() -> None:
    assert complaint("-foo") == "flag provided but not defined: -foo"
    assert complaint("--foo=1") == "flag provided but not defined: -foo"


@pytest.mark.spec("operations 1.1")
def test_a_flag_without_its_value_is_named_as_it_was_typed() -> None:
    assert complaint("-D", "-port") == "flag needs an argument: -port"


@pytest.mark.spec("operations 1.1")
def test_a_value_may_look_like_a_flag() -> None:
    assert values("-n", "-D") == {"server_name": "-D"}


@pytest.mark.parametrize(("word", "shown"), [("---x", "---x"), ("-=3", "-="), ("---pass=secret", "---pass=")])
def test_a_word_of_dashes_is_bad_syntax_and_its_value_is_not_shown(word: str, shown: str) -> None:
    assert complaint(word) == f"bad flag syntax: {shown}"


def test_control_characters_of_the_command_line_are_escaped() -> None:
    assert complaint("-\x1b[2J") == r"flag provided but not defined: -\x1b[2J"
    assert complaint("-p", "\x1b[2J\n") == r'invalid value "\x1b[2J\n" for flag -p: parse error'
    assert complaint("-p", "\udcff") == r'invalid value "\xff" for flag -p: parse error'


def test_a_null_character_is_no_part_of_a_path() -> None:
    assert complaint("-l", "a\x00b") == r'invalid value "a\x00b" for flag -l: holds a null character'


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1ns", 1),
        ("2us", 2_000),
        ("2µs", 2_000),
        ("1.5ms", 1_500_000),
        (".5s", 500_000_000),
        ("0.3s", 300_000_000),
        ("2m", 120_000_000_000),
        ("1m30.5s", 90_500_000_000),
        ("1h1m1s", 3_661_000_000_000),
    ],
)
def test_durations_are_written_as_in_go(text: str, nanoseconds: int) -> None:
    assert values("--write_deadline", text) == {"write_deadline_ns": nanoseconds}


@pytest.mark.parametrize("text", ["5", "1d", "s", "1s ", "-1s", ".s", "1s2", "1" * 81 + "s"])
def test_a_duration_that_go_does_not_read_or_that_lies_in_the_past_is_refused(text: str) -> None:
    assert complaint("--ping_interval", text) == (
        f'invalid value "{text}" for flag -ping_interval: not a duration such as 500ms, 10s or 1m30s'
    )


@pytest.mark.parametrize("text", ["", "0s", "0.1ns", "9999999999h"])
def test_a_duration_is_above_zero_and_has_64_bits(text: str) -> None:
    assert complaint("--ping_interval", text) == (
        f'invalid value "{text}" for flag -ping_interval: must be above 0, for example 10s'
    )


def test_a_choice_that_does_not_exist_is_answered_with_those_that_do() -> None:
    assert (
        complaint("--backend", "curio") == 'invalid value "curio" for flag -backend: must be asyncio or trio'
    )
    assert values("--backend=trio", "--log-format", "json") == {"backend": "trio", "log_format": "json"}


def test_the_last_of_a_repeated_flag_counts() -> None:
    assert values("-p", "1", "--port", "2") == {"port": 2}


@pytest.mark.parametrize("flag", ["--user", "--pass", "--auth"])
def test_an_empty_credential_does_not_open_the_server(flag: str) -> None:
    assert complaint(flag, "") == f"flag {flag[1:]} must not be empty; leave it out to let everyone in"


def test_flags_of_what_is_not_built_are_collected_as_they_were_typed() -> None:
    given = parse(["-ms", "1", "-m", "8222", "-js", "--profile", "9"])

    assert given.refused == ["-ms", "-m", "-js", "--profile"]
    assert given.values == {}


def test_what_switches_a_feature_off_needs_no_feature() -> None:
    given = parse(["-js", "--jetstream=false", "--cluster", "", "-m", "0", "-js=false"])

    assert given.refused == []


@pytest.mark.spec("operations 15")
@pytest.mark.parametrize("word", ["-sd", "--sd", "--store_dir"])
def test_the_store_directory_is_accepted_and_ignored(word: str) -> None:
    given = parse([word, "/data", "-p", "1"])

    assert len(given.ignored) == 1
    assert given.refused == []
    assert given.values == {"port": 1}


@pytest.mark.spec("operations 1.3")
def test_secrets_are_overwritten_in_the_argument_vector() -> None:
    words = ["python", "nats-server-py", "-D", "--user", "a", "--pass=s3cret", "-auth", "--=s3cret"]

    forget_credentials(words, parse(words[2:]), first=2)

    assert words == [
        "python",
        "nats-server-py",
        "-D",
        "--user",
        "[REDACTED]",
        "--pass=[REDACTED]",
        "-auth",
        "[REDACTED]",
    ]

"""The table of flags is complete and consistent, and the help shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import pytest

from natscore.options import Options
from natscore_cli.flags import GROUPS, UNLISTED, Flag, Support, find, help_text, spelled

LISTED = [flag for group in GROUPS.values() for flag in group]

# operations.md section 1.2
NATS_SERVER_FLAGS = [
    "a", "addr", "net", "p", "port", "n", "name", "server_name", "P", "pid", "m", "http_port", "ms",
    "https_port", "c", "config", "t", "sl", "signal", "client_advertise", "ports_file_dir", "l",
    "log", "T", "logtime", "logtime_utc", "s", "syslog", "r", "remote_syslog", "D", "debug", "V",
    "trace", "VV", "DV", "DVV", "log_size_limit", "max_traced_msg_len", "user", "pass", "auth",
    "tls", "tlscert", "tlskey", "tlscacert", "tlsverify", "routes", "cluster", "cluster_listen",
    "cluster_name", "cluster_advertise", "no_advertise", "connect_retries", "js", "jetstream", "sd",
    "store_dir", "profile", "h", "help", "v", "version", "help_tls",
]  # fmt: skip

# what the shell, and not the core, makes of a flag
SHELL_DESTINATIONS = {
    *("pid_file", "ports_file_dir", "backend", "uvloop", "journal_file", "journal_size_max"),
    *("no_fast_producer_stall", "no_header_support"),
    *("log_file", "log_time", "log_utc", "log_format", "debug"),
    *("trace_verbose", "debug_trace", "debug_trace_verbose"),
    *("help", "version", "config", "help_tls", "check", "signal", "reload_dry_run"),
    *("syslog", "remote_syslog", "log_size_limit"),
    *("tls_cert_file", "tls_key_file", "tls_verify", "tls_ca_file"),
}


@pytest.mark.spec("operations 1.2")
@pytest.mark.parametrize("name", NATS_SERVER_FLAGS)
def test_every_flag_of_nats_server_is_known_by_name(name: str) -> None:
    flag = find(name)

    assert flag is not None
    assert name in flag.names


def test_no_name_is_used_twice() -> None:
    count = Counter(name for flag in (*LISTED, *UNLISTED) for name in flag.names)

    assert [name for name, times in count.items() if times > 1] == []


def test_every_obeyed_flag_leads_somewhere() -> None:
    known = {field.name for field in fields(Options)} | SHELL_DESTINATIONS

    obeyed = [flag for flag in LISTED if flag.support is Support.OBEYED]
    assert [flag.names for flag in obeyed if flag.destination not in known] == []


def test_every_limit_of_the_options_has_a_flag() -> None:
    reachable = {flag.destination for flag in LISTED}
    not_by_its_own_name = {"headers", "fast_producer_stall"}
    not_for_operators = {  # bounds that tests and embedders move
        *("turn_output_max", "responses_max", "account_responses_max", "export_responses_max"),
        "internal_publishes_max",
    }
    follows_from_others = {"note_level"}  # -D and -V
    only_in_a_file = {"accounts", "users", "lame_duck_duration_ns", "lame_duck_grace_period_ns"}

    assert {field.name for field in fields(Options)} - reachable == (
        not_by_its_own_name | not_for_operators | follows_from_others | only_in_a_file
    )


@pytest.mark.parametrize(
    ("name", "shown"), [("p", "-p"), ("DV", "-DV"), ("js", "-js"), ("tls", "--tls"), ("port", "--port")]
)
def test_a_name_is_shown_with_the_dashes_people_write(name: str, shown: str) -> None:
    assert spelled(name) == shown


@pytest.mark.spec("operations 1.4")
def test_the_help_begins_with_an_empty_line_and_the_usage() -> None:
    assert help_text().splitlines()[:4] == ["", "Usage: nats-server-py [options]", "", "Server Options:"]


@pytest.mark.spec("operations 1.4")
def test_the_help_keeps_the_order_of_the_groups() -> None:
    titles = [line for line in help_text().splitlines() if line.endswith(" Options:")]

    assert titles == [
        "Server Options:",
        "Limit Options:",
        "Logging Options:",
        "JetStream Options:",
        "Authorization Options:",
        "TLS Options:",
        "Common Options:",
    ]


@pytest.mark.spec("operations 1.4")
def test_descriptions_of_the_help_stand_in_one_column() -> None:
    text = help_text()

    for flag in LISTED:
        line = next(line for line in text.splitlines() if line.endswith(flag.help))
        assert line.index(flag.help) == 37


@pytest.mark.parametrize("flag", LISTED, ids=lambda flag: flag.names[-1])
def test_the_help_shows_every_name_of_what_is_obeyed(flag: Flag) -> None:
    words = help_text().replace(",", " ").split()

    assert {spelled(name) for name in flag.names} <= set(words)


@pytest.mark.parametrize("flag", UNLISTED, ids=lambda flag: flag.names[-1])
def test_the_help_promises_nothing_that_is_not_built(flag: Flag) -> None:
    words = help_text().replace(",", " ").split()

    assert {spelled(name) for name in flag.names}.isdisjoint(words)
    assert flag.support is Support.REFUSED

"""The table itself: every row has its test, its own names, and a type that takes what it says."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from natscore_cli.conf.effect import FileRefused, load_file
from natscore_cli.conf.options import Block, Option, every_option
from natscore_cli.conf.table.top import FILE
from natscore_cli.conf.tree import Place

ROOT: Final = Path(__file__).resolve().parents[4]
ROWS: Final = dict(every_option(FILE))


def blocks() -> dict[str, Block]:
    """Every block of the table, by its path."""
    return {"": FILE} | {path: row.block for path, row in ROWS.items() if row.block is not None}


@cache
def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("path", ROWS)
def test_every_option_names_a_test_that_there_is(path: str) -> None:
    file, _, name = ROWS[path].test.partition("::")

    assert file, f"{path} names no test in which it changes behaviour"
    assert name.partition("[")[0] in functions(ROOT / file)


@pytest.mark.parametrize("path", ROWS)
def test_every_option_says_what_it_means(path: str) -> None:
    row = ROWS[path]

    assert row.meaning
    assert row.default
    assert all(name == name.lower() for name in row.names)


@pytest.mark.parametrize("path", blocks())
def test_no_two_options_of_a_block_share_a_name(path: str) -> None:
    names = [name for option in blocks()[path].options for name in option.names]

    assert len(names) == len(set(names))


def placed(path: str, value: str) -> str:
    """A file with the option on its second line, and what must be around it in the others."""
    *around, last = path.split(".")
    before, after = "", ""
    row: Option | None = None
    for depth, name in enumerate(around):
        row = ROWS[".".join(around[: depth + 1])]
        if row.type.name.startswith("array of blocks"):
            opening, closing = "[ {", "} ]"
        elif row.type.name.startswith("map of accounts"):
            opening, closing = "{ A: {", "} }"
        elif row.type.name.startswith("block (subject"):
            opening, closing = "{ a: [ {", "} ] }"
        else:
            opening, closing = "{", "}"
        before, after = f"{before}{name}: {opening} ", f" {closing}{after}"
    return f"{before}\n{last}: {value}\n{after}\n"


def lines_about(text: str, folder: Path) -> list[str]:
    """What is said of the second line of a file."""
    path = folder / "c.conf"
    path.write_text(text)
    try:
        load_file(str(path), {})
    except FileRefused as error:
        return [line for line in str(error).splitlines() if line.startswith(f"{path}:2:")]
    return []


READABLE: Final = ("a.pem", "a.key", "cert.pem")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that samples name."""
    monkeypatch.chdir(tmp_path)
    for name in READABLE:
        (tmp_path / name).touch()
    return tmp_path


REFUSES_EVERYTHING: Final = [path for path, row in ROWS.items() if row.type.name.startswith("refused")]
UNSUPPORTED: Final = ("jetstream", "mqtt")


@pytest.mark.spec("configuration 3")
@pytest.mark.parametrize("path", ROWS)
def test_every_option_takes_its_type_and_nothing_else(path: str, folder: Path) -> None:
    row = ROWS[path]
    if path not in REFUSES_EVERYTHING and path not in UNSUPPORTED:
        sample = row.sample or row.type.sample
        assert lines_about(placed(path, sample), folder) == []
    if row.type.counterexample:
        assert lines_about(placed(path, row.type.counterexample), folder) != []


REFERENCE: Final = """
    listen host net port server_name server_tags server_metadata feature_flags client_advertise
    no_header_support disable_sublist_cache no_sublist_cache proxy_protocol no_fast_producer_stall
    max_connections max_conn max_subscriptions max_subs max_sub_tokens max_subscription_tokens max_payload
    max_pending max_control_line max_traced_msg_len max_closed_clients ping_interval ping_max
    write_deadline write_timeout lame_duck_duration lame_duck_grace_period connect_error_reports
    reconnect_error_reports debug trace trace_verbose trace_headers logtime logtime_utc log_file logfile
    logfile_size_limit log_size_limit logfile_max_num log_max_num syslog remote_syslog pid_file pidfile
    ports_file_dir http https http_port monitor_port https_port http_base_path prof_port prof_block_rate
    authorization accounts mappings maps no_auth_user default_sentinel system_account system
    no_system_account no_system no_sys_acc trusted_keys trusted operator operators root roots root_operator
    root_operators resolver account_resolver accounts_resolver resolver_tls resolver_preload
    resolver_pinned_accounts tls allow_non_tls ocsp ocsp_cache proxies cluster gateway leafnodes leaf
    websocket ws jetstream store_dir storedir default_js_domain mqtt
"""


def test_every_name_that_the_reference_lists_at_file_level_is_known() -> None:

    assert [name for name in REFERENCE.split() if FILE.find(name) is None] == []


def test_places_of_findings_are_those_of_keys(folder: Path) -> None:
    (line,) = lines_about(placed("cluster.port", "x"), folder)

    assert line.startswith(str(Place(str(folder / "c.conf"), 2, 1)))

"""What of other options needs another start, in the words of nats-server."""

from __future__ import annotations

from typing import Any

import pytest

from natscore.account.settings import AccountSettings, AccountsSettings
from natscore.options import Options, TlsOptions
from natscore.reload import go_duration, refused_changes, reload_problems


def accounts(**named: Any) -> AccountsSettings:
    return AccountsSettings(accounts=(AccountSettings(name="S"),), **named)


@pytest.mark.spec("operations 9.2")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({}, {"port": 5}, ["Port: old=4222, new=5"]),
        ({}, {"port": -1}, []),
        ({"port": -1}, {"port": 7777}, []),
        ({"port": -1}, {"port": 5}, ["Port: old=7777, new=5"]),
        ({}, {"headers": False}, ["NoHeaderSupport: old=false, new=true"]),
        ({"tls": TlsOptions()}, {"tls": TlsOptions(required=False)}, ["AllowNonTLS: old=false, new=true"]),
        (
            {"tls": TlsOptions()},
            {"tls": TlsOptions(handshakes_per_second_max=5)},
            ["TLSRateLimit: old=0, new=5"],
        ),
        ({}, {"tls": TlsOptions(required=False, handshakes_per_second_max=5)}, []),
        (
            {"accounts": accounts(system_account="S")},
            {"accounts": accounts()},
            ["SystemAccount: old=S, new="],
        ),
        ({"accounts": accounts(system_account="$SYS")}, {"accounts": accounts()}, []),
        ({"max_payload": 5}, {"max_payload": 6}, []),
    ],
)
def test_what_nats_server_does_not_reload_is_named(
    old: dict[str, Any], new: dict[str, Any], said: list[str]
) -> None:
    found = refused_changes(Options(**old), Options(**new), port=7777 if old.get("port") == -1 else None)

    assert found == [f"config reload not supported for {text}" for text in said]


def test_all_that_is_wrong_is_said_at_once() -> None:
    doubled = AccountsSettings(accounts=(AccountSettings(name="A"), AccountSettings(name="A")))

    assert reload_problems(Options(), Options(port=5, accounts=doubled)) == [
        "config reload not supported for Port: old=4222, new=5",
        "accounts.A: Duplicate Account Entry: A",
    ]


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0s"),
        (15, "15ns"),
        (1_500, "1.5µs"),
        (10_000_000, "10ms"),
        (1_500_000_000, "1.5s"),
        (120_000_000_000, "2m0s"),
        (90_500_000_000, "1m30.5s"),
        (3_600_000_000_000, "1h0m0s"),
    ],
)
def test_durations_are_written_as_go_writes_them(duration_ns: int, text: str) -> None:
    assert go_duration(duration_ns) == text

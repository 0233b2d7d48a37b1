"""What the vectors of accounts say of the start: which configurations load, and why others do not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from natscore.account.accounts import Accounts, resolve
from natscore.errors import ConfigError
from tests.conformance.accounts_at_load import read, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

VECTORS: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).with_name("vectors") / "accounts.json").read_text()
)

LATER: Final[Mapping[str, str]] = {
    "error-no-auth-user-unknown": "users are read with the configuration file",
    "error-unknown-response-type": "the configuration file says types, and is refused with them",
    "error-latency-sampling-range": "the configuration file says types, and is refused with them",
    "error-mapping-unused-wildcard": "nats-server 2.14 accepts it, and so do we",
}
"""Refusals that are not decided by the accounts alone, and why."""


def refused() -> list[dict[str, Any]]:
    return [one for one in VECTORS if "config_error" in one and one["name"] not in LATER]


def loaded() -> list[dict[str, Any]]:
    return [one for one in VECTORS if "config_error" not in one]


def _names(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(one, id=one["name"]) for one in vectors]


def texts(config: str) -> list[str]:
    """What is wrong with the accounts of a configuration."""
    try:
        found = resolve(settings_of(read(config)))
    except ConfigError as problem:
        return [str(problem)]
    return [] if isinstance(found, Accounts) else [problem.text for problem in found]


@pytest.mark.spec("accounts 2.1", "accounts 16")
@pytest.mark.parametrize("vector", _names(refused()))
def test_configuration_is_refused_with_the_text_of_the_vector(vector: dict[str, Any]) -> None:
    found = texts(vector["config"])

    assert len(found) == 1
    assert re.search(vector["config_error"], found[0])


@pytest.mark.spec("accounts 4", "accounts 16")
@pytest.mark.parametrize("vector", _names(loaded()))
def test_accounts_of_a_vector_that_runs_are_accepted(vector: dict[str, Any]) -> None:
    config = read(vector["config"])
    accounts = config.get("accounts", {})

    made = resolve(settings_of(config))

    assert isinstance(made, Accounts), made
    assert {"$G", "$SYS", *accounts} == {account.name for account in made}
    for account in made:
        body = accounts[account.name] if isinstance(accounts, dict) and account.name in accounts else {}
        wanted = len(body.get("imports", []))
        assert len(account.streams) + sum(not one.is_internal for one in account.services) == wanted


@pytest.mark.spec("accounts 2")
def test_configuration_that_mixes_a_mapping_and_its_users_is_read_whole() -> None:
    config = read(
        'accounts { A: { users: [{user: a, password: a}], mappings = {\n "m": [{dest: "w", weight: 5}]\n} } }'
    )

    users = [{"user": "a", "password": "a"}]
    assert config == {"accounts": {"A": {"users": users, "mappings": {"m": [{"dest": "w", "weight": 5}]}}}}


def test_every_vector_is_run_or_waits_for_a_reason() -> None:
    assert len(VECTORS) == 102
    assert len(refused()) == 14
    assert len(loaded()) == 84
    assert LATER.keys() <= {one["name"] for one in VECTORS}

"""Every vector of accounts against every subject that can be given its configuration."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from natscore_cli.main import main
from tests.conformance.account_runner import load, run_account_vector
from tests.conformance.configurations import LATER, LATER_VECTORS, reason_for_later, without_port
from tests.conformance.drivers import SocketDriver, drivers
from tests.support.servers import programs

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.mark import ParameterSet

    from tests.conformance.account_runner import AccountVector
    from tests.conformance.drivers import Driver
    from tests.conformance.sockets import ServerPool
    from tests.support.servers import ServerProgram

DIFFERENT: Final = {
    "service-no-responders-not-signalled-across-import": "2.14 signals it",
    "error-mapping-unused-wildcard": "2.14 accepts it",
}
"""What 2.9.10 alone does."""

HONOURED: Final = {
    "stream-auto-unsubscribe-max-ignored-for-imported-messages": r"^MSG s\.x 1 1\r\n1\r\nPONG\r\n",
}
"""Quirks of the reference that a server may do without, and how the last step ends then."""

STARTS: Final = [vector for vector in load() if vector.error is None]
REFUSED: Final = [vector for vector in load() if vector.error is not None]


def is_asked_of(driver: Driver, vector: AccountVector) -> bool:
    """Whether a subject can be given a vector, and must behave so."""
    if vector.name in DIFFERENT and not driver.name.startswith("go-2.9"):
        return False
    if vector.name in LATER_VECTORS and not driver.name.startswith("go-"):
        return False
    return driver.reason_to_leave_out(vector.config) is None


def cases() -> list[ParameterSet]:
    """Driver by driver, so that the vectors of one server follow one another."""
    return [
        pytest.param(
            driver, vector, id=f"{driver.name}-{vector}",
            marks=[pytest.mark.interop] if isinstance(driver, SocketDriver) else [],
        )
        for driver in drivers()
        for vector in STARTS
        if is_asked_of(driver, vector)
    ]  # fmt: skip


@pytest.mark.spec("accounts 16", "accounts 18:1")
@pytest.mark.parametrize(("driver", "vector"), cases())
def test_subject_answers_as_the_vector_of_accounts_says(
    driver: Driver, vector: AccountVector, pool: ServerPool
) -> None:
    if vector.name in HONOURED and not driver.name.startswith("go-"):
        assert vector.profile == "quirk"
        last = replace(vector.steps[-1], expect=HONOURED[vector.name])
        vector = replace(vector, steps=(*vector.steps[:-1], last))
    with driver.session(pool, config=vector.config, fresh=True) as subject:
        run_account_vector(vector, subject)


@pytest.mark.spec("accounts 2.1", "accounts 16", "accounts 18:2")
@pytest.mark.parametrize("vector", [one for one in REFUSED if one.name not in DIFFERENT], ids=str)
def test_configuration_is_refused_with_the_text_of_the_vector_and_a_place(
    vector: AccountVector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vector.error is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.conf").write_text(without_port(vector.config))

    code = main(["-c", "c.conf"])

    said = capsys.readouterr().err
    assert code == 1
    (line,) = said.splitlines()[:1]
    assert re.search(vector.error, line)
    assert re.match(r"nats-server-py: c\.conf:\d+:\d+: ", line) or "no_auth_user" in line  # at the start


@pytest.mark.interop
@pytest.mark.parametrize("program", [one for one in programs() if one.kind == "go"], ids=str)
@pytest.mark.parametrize("vector", REFUSED, ids=str)
def test_the_reference_refuses_the_same(
    vector: AccountVector, program: ServerProgram, tmp_path: Path
) -> None:
    assert vector.error is not None
    (tmp_path / "c.conf").write_text(without_port(vector.config))
    command = [*program.command, "-c", str(tmp_path / "c.conf"), "-a", "127.0.0.1", "-p", "-1"]
    if vector.name in DIFFERENT and not program.name.startswith("go-2.9"):
        command.append("-t")

    found = subprocess.run(command, capture_output=True, text=True, timeout=20)

    said = found.stdout + found.stderr
    assert bool(re.search(vector.error, said)) == (found.returncode != 0)
    assert (found.returncode == 0) == ("-t" in command)


@pytest.mark.spec("accounts 15")
def test_what_only_2_9_refuses_is_accepted() -> None:
    (vector,) = (one for one in REFUSED if one.name in DIFFERENT)

    assert reason_for_later(vector.config) is None


def test_every_vector_is_run_or_waits_for_an_option_that_is_named() -> None:
    waiting = {reason_for_later(vector.config) for vector in STARTS} - {None}

    assert (len(load()), len(STARTS), len(REFUSED)) == (102, 84, 18)
    assert waiting == set(LATER.values())
    assert LATER_VECTORS.keys() <= {vector.name for vector in STARTS}
    assert DIFFERENT.keys() == {vector.name for vector in load() if vector.profile == "2.9"}

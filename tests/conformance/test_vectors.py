"""Every vector against every subject that can be given its configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from natscore_cli.arguments import parse
from natscore_cli.conf.effect import load_file
from natscore_cli.settings import resolve
from tests.conformance.configurations import LATER, OURS, reason_for_later
from tests.conformance.drivers import SocketDriver, drivers
from tests.conformance.runner import run_vector
from tests.conformance.vectors import load

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest.mark import ParameterSet

    from tests.conformance.drivers import Driver
    from tests.conformance.sockets import ServerPool
    from tests.conformance.vectors import Vector


def cases() -> list[ParameterSet]:
    """Driver by driver, so that the vectors of one server follow one another."""
    return [
        pytest.param(
            driver, vector, id=f"{driver.name}-{vector}",
            marks=[pytest.mark.interop] if isinstance(driver, SocketDriver) else [],
        )
        for driver in drivers()
        for vector in load()
        if driver.reason_to_leave_out(vector.config) is None
    ]  # fmt: skip


@pytest.mark.spec("client-protocol 24")
@pytest.mark.parametrize(("driver", "vector"), cases())
def test_subject_answers_as_the_vector_says(driver: Driver, vector: Vector, pool: ServerPool) -> None:
    with driver.session(pool, config=vector.config, fresh=vector.fresh_server) as subject:
        run_vector(vector, subject)


def test_every_vector_is_there() -> None:
    assert len(load()) == 143


def test_ours_runs_every_vector_without_a_configuration() -> None:
    unconfigured = [vector for vector in load() if vector.config is None]

    assert len(unconfigured) == 105
    assert all(reason_for_later(vector.config) is None for vector in unconfigured)


def test_each_configuration_is_either_given_to_ours_or_waits_for_a_reason() -> None:
    waiting = {vector.config: reason_for_later(vector.config) for vector in load()}

    assert {config for config, reason in waiting.items() if reason is None} <= OURS.keys()
    assert {reason for reason in waiting.values() if reason is not None} == set(LATER.values())


@pytest.mark.parametrize("config", [config for config in OURS if config is not None])
def test_a_simulated_server_has_the_settings_that_the_file_comes_to(config: str, tmp_path: Path) -> None:
    (tmp_path / "server.conf").write_text(config)

    file = load_file(str(tmp_path / "server.conf"), {})

    options = resolve(parse([]), memory_bytes=1 << 30, file=file).options
    assert options == replace(resolve(parse([]), memory_bytes=1 << 30).options, **OURS[config])


def test_configuration_that_nobody_decided_about_is_an_error() -> None:
    with pytest.raises(LookupError, match="nobody decided"):
        reason_for_later("jetstream: true")

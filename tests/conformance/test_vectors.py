"""Every vector against every subject that can be given its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.configurations import LATER, reason_for_later
from tests.conformance.drivers import SocketDriver, drivers
from tests.conformance.runner import run_vector
from tests.conformance.vectors import load

if TYPE_CHECKING:
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


def test_every_configuration_is_given_to_ours_or_waits_for_an_option_that_is_named() -> None:
    waiting = {vector.config: reason_for_later(vector.config) for vector in load()}

    assert {reason for reason in waiting.values() if reason is not None} <= set(LATER.values())


def test_an_option_that_nobody_decided_about_is_an_error() -> None:
    with pytest.raises(LookupError, match="nobody decided what waits for http"):
        reason_for_later("http: 8222")

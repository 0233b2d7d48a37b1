"""Fixtures of the conformance run, and the counts that each driver prints at the end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.conformance.drivers import drivers
from tests.conformance.sockets import ServerPool
from tests.conformance.vectors import load
from tests.support.servers import missing_programs

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTED_TEST: Final = "test_subject_answers_as_the_vector_says"
DRIVER: Final = "conformance driver"


@pytest.fixture(scope="session")
def pool() -> Iterator[ServerPool]:
    """The server processes of the run, each started once and stopped at its end."""
    with ServerPool() as servers:
        yield servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write the driver of a vector's test into its reports, also when its set-up fails."""
    for item in items:
        if isinstance(item, pytest.Function) and item.originalname == COUNTED_TEST:
            driver: Any = item.callspec.params["driver"]
            item.user_properties.append((DRIVER, driver.name))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print, for each driver, how many vectors ran, passed, and are left for later."""
    run: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            if not isinstance(report, pytest.TestReport):
                continue  # an item that was deselected, a warning
            for key, value in report.user_properties:
                # A test has one report that counts: of its call, or of the set-up that failed.
                if key == DRIVER and (report.when == "call" or report.failed):
                    run[str(value)] += 1
                    passed[str(value)] += outcome == "passed"
    vectors = load()
    for driver in drivers():
        if run[driver.name]:
            later = sum(driver.reason_to_leave_out(vector.config) is not None for vector in vectors)
            terminalreporter.write_line(
                f"conformance {driver.name}: {run[driver.name]} run, {passed[driver.name]} passed"
                + (f"; {later} of {len(vectors)} wait for their issue" if later else "")
            )
    if run:
        for name in missing_programs():
            terminalreporter.write_line(f"conformance {name}: not on this machine")

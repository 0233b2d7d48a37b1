"""With `CI=true` a skipped test is a failed one, unless `tests/allowed-skips.toml` gives the reason.

A skip says "this machine lacks something". On a developer's machine that is fair;
where the whole is decided it would hide that a test never runs.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["AllowedSkip", "allowed_skips", "pytest_make_collect_report", "pytest_runtest_makereport"]

FILE: Final = "tests/allowed-skips.toml"


@dataclass(frozen=True, slots=True)
class AllowedSkip:
    """Tests that may be skipped everywhere: `*` in `test` stands for any text of a test's id."""

    test: str
    reason: str

    def covers(self, nodeid: str) -> bool:
        """Whether the test with this id is one of them. Brackets in an id are plain characters."""
        return re.fullmatch(re.escape(self.test).replace(r"\*", ".*"), nodeid) is not None


def allowed_skips(root: Path) -> list[AllowedSkip]:
    """The rows of the file; each says a reason."""
    rows = tomllib.loads((root / FILE).read_text()).get("skip", [])
    skips = [AllowedSkip(row["test"], row["reason"]) for row in rows]
    assert all(skip.reason.strip() for skip in skips), f"{FILE}: a skip without a reason"
    return skips


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped; one that was expected to fail, and did, is no skip."""
    report = yield
    if not hasattr(report, "wasxfail"):
        _forbid(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that was skipped as a whole."""
    report = yield
    _forbid(report, collector.config)
    return report


def _forbid(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    if report.outcome != "skipped" or os.environ.get("CI") != "true":
        return
    if any(skip.covers(report.nodeid) for skip in allowed_skips(config.rootpath)):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{reason}\nWith CI=true this is a failure: {FILE} does not list {report.nodeid}"

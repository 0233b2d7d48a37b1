"""The tool that forbids skips, run on small test suites of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.servers import REPOSITORY
from tests.support.skips import AllowedSkip, allowed_skips

if TYPE_CHECKING:
    from pathlib import Path

SKIPPED_TEST = "import pytest\n\n\ndef test_that_needs_a_peer():\n    pytest.skip('no peer here')\n"
SKIPPED_MODULE = "import pytest\n\npytest.skip('not on this system', allow_module_level=True)\n"
EXPECTED_FAILURE = "import pytest\n\n\n@pytest.mark.xfail\ndef test_that_fails():\n    assert 1 == 2\n"


def run(directory: Path, test: str, allowed: str, *, ci: str) -> tuple[int, str]:
    """Run one test file in a directory of its own: the exit code, and what pytest printed."""
    (directory / "tests").mkdir()
    (directory / "tests" / "allowed-skips.toml").write_text(allowed)
    (directory / "tests" / "test_sample.py").write_text(test)
    (directory / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.support.skips", "-p", "no:cacheprovider", "-q", "-rs"],
        cwd=directory, env={**os.environ, "CI": ci, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_skip_fails_in_ci_and_says_which_test_and_why(tmp_path: Path) -> None:
    code, output = run(tmp_path, SKIPPED_TEST, "", ci="true")

    assert code == pytest.ExitCode.TESTS_FAILED
    assert "no peer here" in output
    assert "does not list tests/test_sample.py::test_that_needs_a_peer" in output


def test_skip_passes_elsewhere(tmp_path: Path) -> None:
    code, output = run(tmp_path, SKIPPED_TEST, "", ci="")

    assert code == pytest.ExitCode.OK
    assert "1 skipped" in output


def test_listed_skip_passes_in_ci(tmp_path: Path) -> None:
    listed = '[[skip]]\ntest = "tests/test_sample.py::*"\nreason = "the peer runs on one system only"\n'

    code, output = run(tmp_path, SKIPPED_TEST, listed, ci="true")

    assert code == pytest.ExitCode.OK
    assert "1 skipped" in output


def test_skipped_module_fails_in_ci(tmp_path: Path) -> None:
    code, output = run(tmp_path, SKIPPED_MODULE, "", ci="true")

    assert code != pytest.ExitCode.OK
    assert "not on this system" in output


def test_expected_failure_is_no_skip(tmp_path: Path) -> None:
    code, output = run(tmp_path, EXPECTED_FAILURE, "", ci="true")

    assert code == pytest.ExitCode.OK
    assert "1 xfailed" in output


def test_pattern_takes_brackets_literally() -> None:
    skip = AllowedSkip("tests/test_a.py::test_b[ours-*]", "reason")

    assert skip.covers("tests/test_a.py::test_b[ours-trio]")
    assert not skip.covers("tests/test_a.py::test_bo")


def test_skip_without_a_reason_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "allowed-skips.toml").write_text('[[skip]]\ntest = "*"\nreason = " "\n')

    with pytest.raises(AssertionError, match="without a reason"):
        allowed_skips(tmp_path)


def test_every_skip_of_this_repository_has_a_reason() -> None:
    assert all(skip.test for skip in allowed_skips(REPOSITORY))

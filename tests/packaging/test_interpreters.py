"""Which Python versions are found, and what becomes of a run where one is missing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.packaging import interpreters

if TYPE_CHECKING:
    from pathlib import Path

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
NEVER = "3.1"  # nobody has it


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with its own list of what may be missing."""
    (tmp_path / "tests").mkdir()
    monkeypatch.setattr(interpreters, "REPOSITORY", tmp_path)
    return tmp_path


def test_version_that_runs_this_is_found() -> None:
    found = interpreters.find(OWN)

    assert str(found) == sys.executable
    assert OWN in interpreters.supported_versions()


def test_interpreter_of_pyenv_is_found_and_one_that_does_not_run_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, text in (
        ("shims", "#!/bin/sh\nexit 127\n"),
        (f"versions/{NEVER}.9/bin", f"#!/bin/sh\necho {NEVER}\n"),
    ):
        program = tmp_path / folder / f"python{NEVER}"
        program.parent.mkdir(parents=True)
        program.write_text(text)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))

    assert interpreters.find(NEVER) == tmp_path / f"versions/{NEVER}.9/bin/python{NEVER}"


@pytest.mark.parametrize(
    ("ci", "row", "code"),
    [
        ("", "", interpreters.EXIT_LEFT_OUT),
        ("true", "", interpreters.EXIT_MISSING),
        ("true", f'[[interpreter]]\nversion = "{NEVER}"\nreason = "too old"\n', interpreters.EXIT_LEFT_OUT),
        ("true", f'[[interpreter]]\nversion = "{NEVER}"\nreason = ""\n', interpreters.EXIT_MISSING),
    ],
)
def test_missing_version_is_a_failure_in_ci_unless_it_is_listed_with_a_reason(
    ci: str, row: str, code: int, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "tests" / "allowed-skips.toml").write_text(row)
    monkeypatch.setenv("CI", ci)

    assert interpreters.main(NEVER) == code

"""The planting of bugs, tried on a project of three lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.mutants.run import REPOSITORY, Mutant, MutantError, load, main

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = "def is_wildcard(token: str) -> bool:\n    return token in ('*', '>')\n"
TESTS = (
    "from sample_subjects import is_wildcard\n\n\n"
    "def test_star_is_a_wildcard():\n    assert is_wildcard('*')\n\n\n"
    "def test_word_is_none():\n    assert not is_wildcard('foo')\n\n\n"
    "def test_that_fails_anyway():\n    assert is_wildcard('foo')\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with one package, its tests, and no mutants yet."""
    package = tmp_path / "packages" / "sample" / "src" / "sample_subjects"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(SOURCE)
    (tmp_path / "tests" / "mutants").mkdir(parents=True)
    (tmp_path / "tests" / "test_sample.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def plant(project: Path, *, old: str = "'*', ", new: str = "", test: str = "test_star_is_a_wildcard") -> None:
    """Write a table with one mutant."""
    (project / "tests" / "mutants" / "mutants.toml").write_text(
        "[[mutant]]\n"
        'name = "star-forgotten"\n'
        'file = "packages/sample/src/sample_subjects/__init__.py"\n'
        f'old = "{old}"\nnew = "{new}"\n'
        f'test = "tests/test_sample.py::{test}"\nreason = "stars would be words"\n'
    )


def test_bug_that_fails_its_test_is_caught_and_leaves_no_trace(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(project)

    code = main([], project)

    assert code == 0
    output = capsys.readouterr().out
    assert "star-forgotten  caught" in output
    assert "1 planted, 1 caught" in output
    assert (project / "packages/sample/src/sample_subjects/__init__.py").read_text() == SOURCE


def test_bug_that_its_test_does_not_notice_fails_the_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(project, test="test_word_is_none")

    code = main([], project)

    assert code == 1
    output = capsys.readouterr().out
    assert "SURVIVED" in output
    assert "stars would be words" in output
    assert "1 planted, 0 caught" in output


def test_test_that_fails_without_the_bug_fails_the_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(project, test="test_that_fails_anyway")

    code = main([], project)

    assert code == 1
    assert "does not pass without any bug" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("new", "test"),
    [("'*' '>' (", "test_star_is_a_wildcard"), ("", "test_that_nobody_wrote")],
    ids=["does-not-compile", "no-such-test"],
)
def test_test_that_cannot_run_catches_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], new: str, test: str
) -> None:
    plant(project, new=new, test=test)

    code = main([], project)

    assert code == 1
    assert "BROKEN" in capsys.readouterr().out


@pytest.mark.parametrize(("old", "count"), [("token", 2), ("topic", 0)])
def test_old_text_that_does_not_stand_there_once_ends_the_run(
    project: Path, capsys: pytest.CaptureFixture[str], old: str, count: int
) -> None:
    plant(project, old=old)

    code = main([], project)

    assert code == 2
    assert f"stands {count} times" in capsys.readouterr().err


def test_named_mutants_are_planted_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(project)

    code = main(["another"], project)

    assert code == 2
    assert "no such mutant: another" in capsys.readouterr().err


def test_table_without_mutants_proves_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "tests" / "mutants" / "mutants.toml").write_text("")

    code = main([], project)

    assert code == 2
    assert "plants nothing" in capsys.readouterr().err


def test_incomplete_row_is_named(project: Path) -> None:
    (project / "tests" / "mutants" / "mutants.toml").write_text('[[mutant]]\nname = "half"\n')

    with pytest.raises(MutantError, match="mutant 1, 'half'"):
        load(project)


def test_name_given_twice_is_refused(project: Path) -> None:
    plant(project)
    table = project / "tests" / "mutants" / "mutants.toml"
    table.write_text(table.read_text() * 2)

    with pytest.raises(MutantError, match="named twice: star-forgotten"):
        load(project)


def test_each_mutant_of_this_repository_can_be_planted() -> None:
    for mutant in load(REPOSITORY):
        assert mutant.changed_text(REPOSITORY)


def test_mutant_that_changes_nothing_is_refused(project: Path) -> None:
    mutant = Mutant("same", "packages/sample/src/sample_subjects/__init__.py", "in (", "in (", "t", "r")

    with pytest.raises(MutantError, match="the new text is the old one"):
        mutant.changed_text(project)

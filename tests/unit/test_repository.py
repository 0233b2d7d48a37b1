"""What the repository as a whole promises: complete packages, short modules, commands that work as shown."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))

START_COMMAND: Final = "python3 -m venv .venv && .venv/bin/pip install -q nox && .venv/bin/nox -s serve"
TEST_COMMAND: Final = "python3 -m venv .venv && .venv/bin/pip install -q nox && .venv/bin/nox -s tests"

MODULE_LINES_MAX: Final = 500
LONGER_MODULES: Final[dict[str, str]] = {}
"""Modules that may be longer, and why their second idea stays where it is."""

# Each pattern is written so that it does not find itself.
FOREIGN: Final = {
    r"(?<![\w.$}])/(?:home|root|Users|work|workspace)/\w": "a path of one machine",
    r"\b[Aa]ssistants?\b|\b[Cc]hat[Bb]ots?\b|\b[Ll]anguage [Mm]odels?\b": "how a text was made",
    r"[C]o-[Aa]uthored-[Bb]y|[G]enerated (?:by|with) ": "how a text was made",
    r"\b(?:[T]ODO|[F]IXME|[X]XX)\b": "an open end without an issue",
}

GENERATED: Final = ("tests/interop/node/package-lock.json", "LICENSE")
"""Ends of the names of files whose text is not ours."""


def tracked_files() -> list[Path]:
    """Every file that is, or is about to be, part of the repository."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        # No history to ask: take what an archive would hold.
        return [path for path in ROOT.rglob("*") if path.is_file() and not ignored(path)]
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def ignored(path: Path) -> bool:
    """Whether a folder on the way to the file holds what tools leave behind."""
    left_behind = {"node_modules", "__pycache__", "build", "dist"}
    return any(part in left_behind or part.startswith(".") for part in path.relative_to(ROOT).parts[:-1])


@pytest.mark.parametrize(("pattern", "what"), FOREIGN.items(), ids=["path", "origin", "trailer", "open-end"])
def test_no_file_says_what_does_not_belong_in_the_project(pattern: str, what: str) -> None:
    found = []
    for path in tracked_files():
        if path.as_posix().endswith(GENERATED):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}: {what}: {match[0]!r}"
            for match in re.finditer(pattern, text)
        ]

    assert found == []


def test_patterns_find_what_they_are_for() -> None:
    texts = ["see /" + "home/ann/x", "an assis" + "tant", "Co-" + "authored-by: x", "# TO" + "DO: later"]

    assert [
        next(what for pattern, what in FOREIGN.items() if re.search(pattern, text)) for text in texts
    ] == [
        "a path of one machine",
        "how a text was made",
        "how a text was made",
        "an open end without an issue",
    ]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_package_is_complete(package: Path) -> None:
    settings = tomllib.loads((package / "pyproject.toml").read_text())
    (module,) = (path for path in (package / "src").iterdir() if (path / "__init__.py").exists())

    assert (module / "py.typed").is_file()
    assert (
        (package / settings["project"]["readme"]).read_text().startswith(f"# {settings['project']['name']}\n")
    )
    assert (package / "newsfragments").is_dir()
    assert (package / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    if settings["build-system"]["build-backend"] == "hatchling.build":
        assert settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{module.name}"]
    else:  # what is compiled needs setuptools
        assert settings["tool"]["setuptools"]["packages"]["find"]["where"] == ["src"]


def test_packages_support_the_versions_that_are_tested() -> None:
    pythons = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["natscore"]["pythons"]

    for package in PACKAGES:
        project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
        classifiers = [
            text.rpartition(" ")[2] for text in project["classifiers"] if ":: Python :: 3." in text
        ]
        assert classifiers == pythons
        assert project["requires-python"] == f">={pythons[0]}"


def test_versions_of_the_packages_are_equal_and_fit_each_other() -> None:
    projects = [tomllib.loads((package / "pyproject.toml").read_text())["project"] for package in PACKAGES]

    assert len({project["version"] for project in projects}) == 1


def test_modules_hold_one_idea_each() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in sorted(ROOT.glob("packages/*/src/**/*.py"))
    }
    too_long = {name: lines for name, lines in lengths.items() if lines > MODULE_LINES_MAX}

    assert too_long.keys() == LONGER_MODULES.keys(), f"what second idea moved in? {too_long}"


@pytest.mark.parametrize("command", [START_COMMAND, TEST_COMMAND])
def test_readme_shows_the_first_commands(command: str) -> None:
    assert f"$ {command}\n" in (ROOT / "README.md").read_text()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"

    assert TEST_COMMAND in script.read_text()
    assert script.stat().st_mode & 0o111, "the script cannot be executed"


def test_every_session_that_pages_name_exists() -> None:
    sessions = set(re.findall(r"^def (\w+)\(session: nox", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), ROOT / ".ci" / "run"]
    named = {name for page in pages for name in re.findall(r"nox -s ([a-z]+)", page.read_text())}

    assert named - {"tests"} <= sessions

"""Says which clauses of the specification no test proves: `nox -s spec`.

A test names the clauses it proves: `@pytest.mark.spec("client-protocol 8.3")`. This
program collects the tests without running them, and compares their marks with
`clauses.toml`. A clause without a test needs a row in `exceptions.toml`. It fails
for a clause that has neither, for a mark that names no clause, and for an exception
that excuses nothing any more.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import re
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.servers import ServerProgram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Exemption", "Findings", "compare", "load_clauses", "load_exemptions", "main", "report"]

FOLDER: Final = Path(__file__).resolve().parent
REPOSITORY: Final = FOLDER.parents[1]


@dataclass(frozen=True, slots=True)
class Exemption:
    """Why the clauses that match a pattern have no test; `*` stands for any text."""

    clause: str
    reason: str
    issue: int | None  # that brings the feature; None for a decision that stays

    def covers(self, clause: str) -> bool:
        """Whether the clause, with its document, is one of them."""
        return re.fullmatch(re.escape(self.clause).replace(r"\*", ".*"), clause) is not None

    def __str__(self) -> str:
        return self.reason if self.issue is None else f"{self.reason} (issue {self.issue})"


@dataclass(slots=True)
class Findings:
    """What a comparison found; clauses are written with their document."""

    proven: list[str] = field(default_factory=list)
    excused: dict[str, Exemption] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unknown: dict[str, list[str]] = field(default_factory=dict)  # a mark, and the tests that carry it
    stale: list[Exemption] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.missing or self.unknown or self.stale)


def load_clauses(path: Path = FOLDER / "clauses.toml") -> dict[str, str]:
    """Every clause, as `document number`, and its title."""
    documents = tomllib.loads(path.read_text())
    return {
        f"{document} {number}": title
        for document, clauses in documents.items()
        for number, title in clauses.items()
    }


def load_exemptions(path: Path = FOLDER / "exceptions.toml") -> list[Exemption]:
    """The rows of the file of exceptions."""
    rows = tomllib.loads(path.read_text()).get("exception", [])
    return [Exemption(row["clause"], row["reason"], row.get("issue")) for row in rows]


def compare(
    clauses: Iterable[str], exemptions: Iterable[Exemption], marks: Mapping[str, list[str]]
) -> Findings:
    """Divide the clauses into proven, excused and missing.

    `marks` maps each clause that a test names to the ids of those tests. A test of a
    row or an item proves the section that holds it, too. The first exemption that
    covers a clause counts; it is stale when each clause it covers has a test, or
    when it covers none.
    """
    findings = Findings()
    known = set(clauses)
    findings.unknown = {mark: tests for mark, tests in marks.items() if mark not in known}
    proven = known & (marks.keys() | {mark.partition(":")[0] for mark in marks})
    exemptions = list(exemptions)
    for clause in clauses:
        exemption = next((one for one in exemptions if one.covers(clause)), None)
        if clause in proven:
            findings.proven.append(clause)
        elif exemption is not None:
            findings.excused[clause] = exemption
        else:
            findings.missing.append(clause)
    used = set(findings.excused.values())
    findings.stale = [exemption for exemption in exemptions if exemption not in used]
    return findings


class MarkCollector:
    """A pytest plugin that takes down which tests carry which mark.

    A test against a Go server is left out: it proves nothing of ours.
    """

    def __init__(self) -> None:
        self.marks: dict[str, list[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Read the marks of everything that was collected."""
        for item in session.items:
            if _is_of_a_peer(item):
                continue
            for mark in item.iter_markers("spec"):
                for clause in mark.args:
                    self.marks.setdefault(clause, []).append(item.nodeid)


def _is_of_a_peer(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)  # there for a parametrized test only
    arguments = () if callspec is None else callspec.params.values()
    programs = (getattr(argument, "program", argument) for argument in arguments)
    return any(isinstance(program, ServerProgram) and program.kind == "go" for program in programs)


def collect_marks(root: Path) -> dict[str, list[str]]:
    """Which tests name which clause; ends the program when the tests cannot be collected."""
    collector = MarkCollector()
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = pytest.main(
            [
                "--collect-only",
                "-q",
                "--import-mode=importlib",
                "-p",
                "no:cacheprovider",
                str(root / "tests"),
            ],
            plugins=[collector],
        )
    if code != pytest.ExitCode.OK:
        raise SystemExit(f"{output.getvalue()}\nthe tests cannot be collected: pytest says {code!r}")
    return collector.marks


def report(findings: Findings, clauses: Mapping[str, str]) -> str:
    """The findings as text: counts for each document, what waits, what is to be done."""
    lines = [f"{'':18}{'clauses':>8}{'tested':>8}{'later':>8}{'missing':>8}"]
    counts = [
        Counter(clause.partition(" ")[0] for clause in group)
        for group in (clauses, findings.proven, findings.excused, findings.missing)
    ]
    lines += [
        f"{document:18}" + "".join(f"{count[document]:8}" for count in counts) for document in counts[0]
    ]
    waiting = Counter(findings.excused.values())
    lines += ["", "later:", *(f"  {number:4}  {one.clause}: {one}" for one, number in waiting.items())]
    if findings.missing:
        lines += ["", "clauses that no test proves:"]
        lines += [f"  {clause}  ({clauses[clause]})" for clause in findings.missing]
    for mark, tests in findings.unknown.items():
        lines += ["", f"no such clause: {mark!r}{_hint(mark, clauses)}", *(f"  {test}" for test in tests)]
    if findings.stale:
        lines += ["", "exceptions that excuse nothing, to be removed:"]
        lines += [f"  {exemption.clause}: {exemption}" for exemption in findings.stale]
    return "\n".join(lines)


def _hint(mark: str, clauses: Iterable[str]) -> str:
    """What a mark that names no clause may have meant."""
    if parts := [clause for clause in clauses if clause.startswith(f"{mark}.")]:
        return f" has subsections only: {', '.join(parts)}"
    near = difflib.get_close_matches(mark, clauses, n=1)
    return f"; perhaps {near[0]!r}" if near else ""


def main() -> int:
    """Compare and print; the exit status."""
    clauses = load_clauses()
    findings = compare(clauses, load_exemptions(), collect_marks(REPOSITORY))
    print(report(findings, clauses))
    return 0 if findings.clean else 1


if __name__ == "__main__":
    sys.exit(main())

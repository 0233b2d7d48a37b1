"""Which clauses count as proven, as excused, and as missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.specification.check import (
    Exemption,
    collect_marks,
    compare,
    load_clauses,
    load_exemptions,
    report,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CLAUSES = {"wire 1": "Lines", "wire 1:PUB": "publish", "wire 2": "TLS", "wire 2.1": "Start"}
TLS_LATER = Exemption("wire 2*", "TLS comes later", 4)


def test_clause_without_test_or_exemption_is_missing() -> None:
    findings = compare(CLAUSES, [TLS_LATER], {"wire 1": ["test_a"]})

    assert findings.proven == ["wire 1"]
    assert list(findings.excused) == ["wire 2", "wire 2.1"]
    assert findings.missing == ["wire 1:PUB"]
    assert not findings.clean


def test_test_of_a_row_proves_its_section_too() -> None:
    findings = compare(CLAUSES, [TLS_LATER], {"wire 1:PUB": ["test_a"]})

    assert findings.proven == ["wire 1", "wire 1:PUB"]
    assert findings.clean


def test_test_of_a_subsection_does_not_prove_the_section_above_it() -> None:
    findings = compare(CLAUSES, [], {"wire 2.1": ["test_a"]})

    assert "wire 2" in findings.missing


def test_mark_that_names_no_clause_is_reported_with_its_tests_and_the_nearest_clause() -> None:
    findings = compare(CLAUSES, [TLS_LATER], {"wire 1:PUB": ["test_a"], "wire 1:PBU": ["test_b"]})

    assert findings.unknown == {"wire 1:PBU": ["test_b"]}
    assert not findings.clean
    assert "no such clause: 'wire 1:PBU'; perhaps 'wire 1:PUB'\n  test_b" in report(findings, CLAUSES)


def test_mark_of_a_section_without_text_is_told_its_subsections() -> None:
    clauses = {"wire 2.1": "Start", "wire 2.2": "End"}

    findings = compare(clauses, [], {"wire 2": ["test_a"]})

    assert "no such clause: 'wire 2' has subsections only: wire 2.1, wire 2.2" in report(findings, clauses)


def test_exemption_is_stale_once_everything_it_covers_has_a_test() -> None:
    marks = {"wire 1:PUB": ["test_a"], "wire 2": ["test_b"]}

    assert compare(CLAUSES, [TLS_LATER], marks).stale == []
    assert compare(CLAUSES, [TLS_LATER], marks | {"wire 2.1": ["test_c"]}).stale == [TLS_LATER]


def test_exemption_that_covers_nothing_is_stale() -> None:
    typing_error = Exemption("wier *", "no such document", None)

    assert compare(CLAUSES, [typing_error], {}).stale == [typing_error]


def test_first_exemption_that_covers_a_clause_gives_its_reason() -> None:
    start = Exemption("wire 2.1", "a decision", None)

    findings = compare(CLAUSES, [start, TLS_LATER], {"wire 1:PUB": ["test_a"]})

    assert findings.excused == {"wire 2": TLS_LATER, "wire 2.1": start}


def test_report_counts_each_document() -> None:
    findings = compare(CLAUSES, [TLS_LATER], {"wire 1": ["test_a"]})

    lines = report(findings, CLAUSES).splitlines()

    assert lines[1].split() == ["wire", "4", "1", "2", "1"]
    assert "  wire 1:PUB  (publish)" in lines
    assert "     2  wire 2*: TLS comes later (issue 4)" in lines


def test_marks_are_read_from_collected_tests_without_running_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = spec: clauses\n")
    (tmp_path / "tests" / "test_marks_sample.py").write_text(
        "import pytest\n\n\n"
        "@pytest.mark.spec('wire 1', 'wire 2')\n"
        "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.spec('wire 3'))])\n"
        "def test_a(x):\n    raise SystemExit\n"
    )
    monkeypatch.chdir(tmp_path)

    marks = collect_marks(tmp_path)

    assert marks.keys() == {"wire 1", "wire 2", "wire 3"}


def test_marks_of_tests_against_a_go_server_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = spec: clauses\n")
    (tmp_path / "tests" / "test_peer_sample.py").write_text(
        "import pytest\nfrom tests.support.servers import ServerProgram\n\n\n"
        "OURS, GO = (ServerProgram(kind, (), kind, None) for kind in ('ours', 'go'))\n\n\n"
        "@pytest.mark.parametrize('program', [\n"
        "    pytest.param(OURS, marks=pytest.mark.spec('wire 1')),\n"
        "    pytest.param(GO, marks=pytest.mark.spec('wire 2')),\n"
        "])\n"
        "def test_a(program):\n    raise SystemExit\n"
    )
    monkeypatch.chdir(tmp_path)

    assert collect_marks(tmp_path).keys() == {"wire 1"}


def test_every_exemption_of_this_repository_gives_a_reason_and_covers_a_clause() -> None:
    clauses = load_clauses()

    for exemption in load_exemptions():
        assert exemption.reason
        assert any(exemption.covers(clause) for clause in clauses), exemption

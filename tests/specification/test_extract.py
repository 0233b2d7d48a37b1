"""The list of clauses that is taken from specification documents."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from tests.specification.extract import clauses_of, documents_of, to_toml

if TYPE_CHECKING:
    from pathlib import Path


def test_section_with_text_is_a_clause_and_one_of_subsections_only_is_not() -> None:
    text = "## 1. Lines\n\n*Source: a.go*\n\n### 1.1 Sizes\n\nDigits only [v].\n\n## 2. End\n\nDone.\n"

    assert clauses_of("sample", text) == {"1.1": "Sizes", "2": "End"}


def test_text_of_a_section_without_a_number_belongs_to_no_clause() -> None:
    text = "## 1. Empty\n\n## Sources\n\nSome file.\n"

    assert clauses_of("sample", text) == {}


def test_title_loses_its_markup_and_its_marks() -> None:
    text = "## 6. `Format` of **lines** [verified 2.9.10]\n\nText.\n"

    assert clauses_of("sample", text) == {"6": "Format of lines"}


def test_second_section_of_a_number_gets_a_letter() -> None:
    text = "## 15. One\n\nText.\n\n## 15. Two\n\nText.\n\n## 15. Three\n\nText.\n"

    assert clauses_of("sample", text) == {"15": "One", "15b": "Two", "15c": "Three"}


def test_row_of_a_table_of_cases_is_a_clause_named_by_its_code() -> None:
    text = (
        "## 12. Errors\n\n| Text | Closes |\n|---|---|\n"
        "| `Invalid Subject` | no [v] |\n"
        "| `port a` / `port b` | yes |\n"
        "| `max_subs` (`subs`), per connection | no |\n"
    )

    assert clauses_of("client-protocol", text) == {
        "12": "Errors",
        "12:Invalid Subject": "no",
        "12:port a": "yes",
        "12:port b": "yes",
        "12:max_subs": "no",
    }


def test_row_in_words_is_divided_at_semicolons() -> None:
    text = "### 2.3 Malformed\n\n| Class | Sent |\n|---|---|\n| bad size; `+OK`, PONG from client | none |\n"

    assert clauses_of("client-protocol", text) == {
        "2.3": "Malformed",
        "2.3:bad size": "none",
        "2.3:+OK, PONG from client": "none",
    }


def test_table_of_any_other_section_holds_no_clauses() -> None:
    text = "## 5. INFO\n\n| JSON | Type |\n|---|---|\n| `port` | int |\n"

    assert clauses_of("client-protocol", text) == {"5": "INFO"}


def test_items_of_scenarios_keep_their_numbers_and_those_of_a_checklist_are_counted() -> None:
    text = (
        "## 1. Scenarios for a test suite\n\nRaw peer:\n1. Handshake.\n2. Close.\n"
        "\n## 2. Implementer checklist\n\n- [ ] Listener.\n- [ ] Timer.\n"
    )

    assert clauses_of("sample", text) == {
        "1": "Scenarios for a test suite",
        "1:1": "Handshake.",
        "1:2": "Close.",
        "2": "Implementer checklist",
        "2:1": "Listener.",
        "2:2": "Timer.",
    }


def test_numbered_list_of_any_other_section_holds_no_clauses() -> None:
    text = "## 10. Order\n\n1. First.\n2. Second.\n"

    assert clauses_of("sample", text) == {"10": "Order"}


def test_file_of_clauses_reads_back_as_what_was_extracted(tmp_path: Path) -> None:
    (tmp_path / "sample.md").write_text('## 1. A "quoted" title\n\nText.\n')
    (tmp_path / "README.md").write_text("# Nothing numbered\n")

    documents = documents_of(tmp_path)

    assert documents == {"sample": {"1": 'A "quoted" title'}}
    assert tomllib.loads(to_toml(documents)) == documents

"""The tables that are shipped are those of the grammar."""

from __future__ import annotations

from natscore_cli.conf.compile_grammar import TABLES, render


def test_the_tables_are_those_of_the_grammar() -> None:
    assert TABLES.read_text() == render()

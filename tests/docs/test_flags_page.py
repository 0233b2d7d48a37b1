"""The page of flags is the table of flags."""

from __future__ import annotations

from tests.docs.flags_page import PAGE, render


def test_the_page_of_flags_is_what_the_table_says() -> None:
    assert PAGE.read_text() == render()

"""The page of the configuration file is the table of its options."""

from __future__ import annotations

from natscore_cli.conf.reference import render
from tests.docs.configuration_page import PAGE


def test_the_page_of_options_is_what_the_table_says() -> None:
    assert PAGE.read_text() == render()

"""Writes `docs/reference/configuration.md` from the table: `python -m tests.docs.configuration_page`."""

from __future__ import annotations

from pathlib import Path

from natscore_cli.conf.reference import render

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/configuration.md"

if __name__ == "__main__":
    PAGE.write_text(render())

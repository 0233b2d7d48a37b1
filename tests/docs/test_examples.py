"""The programs on the pages run, and print what the pages say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

# page: the most lines its programs may have together (None: no bound)
PROGRAMS: dict[str, int | None] = {
    "docs/how-to/embed.md": 40,
    "docs/how-to/operate.md": None,
    "docs/how-to/record-and-replay.md": None,
    "docs/how-to/reload.md": None,
    "docs/how-to/test-with-a-server.md": None,
    "docs/how-to/new-transport.md": 120,  # 100 for the transport, 20 for its use
}


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language on a page."""
    text = (ROOT / page).read_text()
    return [body for name, body in FENCE.findall(text) if name == language]


@pytest.mark.parametrize("page", PROGRAMS)
def test_the_program_on_the_page_prints_what_the_page_says(page: str) -> None:
    program = "\n".join(blocks(page, "python"))
    (expected,) = blocks(page, "text")

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout == expected


@pytest.mark.parametrize("page", PROGRAMS)
def test_the_program_on_the_page_is_as_short_as_promised(page: str) -> None:
    programs = blocks(page, "python")
    lines = sum(len(program.splitlines()) for program in programs)

    assert lines <= (PROGRAMS[page] or lines)
    assert all(len(program.splitlines()) <= 100 for program in programs)

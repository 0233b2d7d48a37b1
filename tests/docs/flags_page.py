"""Renders `docs/reference/flags.md` from the table of flags: `python -m tests.docs.flags_page`."""

from __future__ import annotations

from pathlib import Path

from natscore_cli.flags import GROUPS, UNLISTED, Flag, Support, spelled

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/flags.md"

_HEAD = """# Flags of nats-server-py

One dash or two; `-p 4222` or `-p=4222`; a boolean takes a value only with `=`. The first word that is no
flag ends them. A flag that does not parse is one line on standard error and exit status 2; anything
else that keeps the server from starting is one line and exit status 1.

This page is made from the table that drives the parser (`natscore_cli.flags`).
"""


def render() -> str:
    """The page as it must be."""
    parts = [_HEAD]
    for title, flags in GROUPS.items():
        parts.append(f"\n## {title}\n\n| flag | meaning |\n|---|---|\n")
        parts += [f"| {_names(flag)} | {_cell(flag.help)} |\n" for flag in flags]
    refused = sorted(name for flag in UNLISTED if flag.support is Support.REFUSED for name in flag.names)
    parts.append("\n## Not built yet\n\nThese flags of nats-server refuse to start, by name: ")
    parts.append(", ".join(f"`{spelled(name)}`" for name in refused) + ".\n")
    return "".join(parts)


def _names(flag: Flag) -> str:
    names = ", ".join(f"`{spelled(name)}`" for name in flag.names)
    return f"{names} {_cell(flag.placeholder)}".rstrip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    PAGE.write_text(render())

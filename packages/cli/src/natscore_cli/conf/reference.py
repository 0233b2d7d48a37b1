"""The page of the options, made from their table: `natscore config reference`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from natscore_cli.conf.options import Support
from natscore_cli.conf.table.top import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore_cli.conf.options import Block, Option

__all__ = ["render"]

_HEAD: Final = """# Configuration file

`nats-server-py -c FILE` reads the configuration language of nats-server; `-t` checks a file and prints its
digest. Keys stand in any case. Flags beat the file, and the file beats the defaults.

*Reload* is whether nats-server takes a new value without a restart; this server does not reload yet.
*Here* is what becomes of the option: **obeyed**; **ignored**, which the log says when a server starts;
**not built yet**, which refuses the start by name after the option was checked; **not supported**.

This page is made from the table that drives reading and checking (`natscore_cli.conf.table`).
"""

_HERE: Final = {
    Support.OBEYED: "obeyed",
    Support.IGNORED: "ignored",
    Support.REFUSED: "not built yet",
    Support.UNSUPPORTED: "not supported",
}


def render() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    blocks: dict[str, Block] = {}
    for title, options in GROUPS.items():
        parts.append(f"\n## {title}\n\n")
        parts.append("| option | type | default | reload | here | meaning |\n|---|---|---|---|---|---|\n")
        for option in options:
            here = _here(option)
            cells = (
                _names(option),
                option.type.name,
                option.default,
                option.reload.value,
                here,
                option.meaning,
            )
            parts.append(_row(cells))
            for block in _blocks(option):
                blocks.setdefault(block.title, block)
    for title, block in blocks.items():
        parts.append(f"\n## Block: {title}\n\n| option | type | default | meaning |\n|---|---|---|---|\n")
        parts += [_row((_names(one), one.type.name, one.default, _meaning(one))) for one in block.options]
    return "".join(parts)


def _here(option: Option) -> str:
    """What becomes of an option. One that is refused for a reason is not to come."""
    support = Support.UNSUPPORTED if option.reason and option.support is Support.REFUSED else option.support
    return _HERE[support] + (f": {option.reason}" if option.reason else "")


def _meaning(option: Option) -> str:
    """The meaning of an option in a block, and whether it is refused where the block is obeyed."""
    return option.meaning if option.support is Support.OBEYED else f"{option.meaning} ({_here(option)})"


def _blocks(option: Option) -> Iterator[Block]:
    """The block that a value is, and those in it, outermost first."""
    if option.block is not None:
        yield option.block
        for inside in option.block.options:
            yield from _blocks(inside)


def _names(option: Option) -> str:
    return ", ".join(f"`{name}`" for name in option.names)


def _row(cells: tuple[str, ...]) -> str:
    shown = (cell.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;") for cell in cells)
    return f"| {' | '.join(shown)} |\n"

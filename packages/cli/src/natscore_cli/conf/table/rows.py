"""The words that rows are written with, and the tests that show what rows of a kind do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from natscore_cli.conf.options import Option, Reload, Support

if TYPE_CHECKING:
    from natscore_cli.conf.options import Block
    from natscore_cli.conf.values import Type

__all__ = [
    "DECLINED",
    "REACHES",
    "declined",
    "ignored",
    "inner",
    "inner_declined",
    "inner_later",
    "later",
    "obeyed",
    "unsupported",
]

DECLINED: Final = "[ADR 16](../adr/0016-declined-options.md)"
"""Why some options of nats-server are not built, as the reference page says it."""

_TESTS: Final = "tests/unit/cli/conf/test_effect.py::"
REACHES: Final = f"{_TESTS}test_an_option_of_the_file_reaches_its_place"
_IGNORED: Final = f"{_TESTS}test_an_option_without_effect_is_named_in_the_log"
_REFUSED: Final = f"{_TESTS}test_what_is_not_built_refuses_the_start_by_name"
_UNSUPPORTED: Final = f"{_TESTS}test_what_is_not_supported_is_an_error_where_it_is_asked_for"
_TYPES: Final = "tests/unit/cli/conf/test_table.py::test_every_option_takes_its_type_and_nothing_else"


def obeyed(
    names: str,
    type_: Type,
    default: str,
    reload: Reload,
    to: str,
    meaning: str,
    *,
    block: Block | None = None,
    sample: str = "",
) -> Option:
    """An option that does what it says; `to` is the field that it sets."""
    return Option(
        tuple(names.split()), type_, default, meaning, reload, to=to, test=REACHES, block=block, sample=sample
    )


def ignored(
    names: str, type_: Type, default: str, reload: Reload, meaning: str, reason: str, *, sample: str = ""
) -> Option:
    """An option that harms nobody by having no effect; `reason` is why it has none."""
    return Option(
        tuple(names.split()), type_, default, meaning, reload,
        support=Support.IGNORED, reason=reason, test=_IGNORED, sample=sample,
    )  # fmt: skip


def later(
    names: str,
    type_: Type,
    default: str,
    reload: Reload,
    meaning: str,
    *,
    block: Block | None = None,
    off: tuple[object, ...] | None = None,
    sample: str = "",
) -> Option:
    """An option that would change behaviour and cannot yet: it refuses the start."""
    option = Option(
        tuple(names.split()), type_, default, meaning, reload,
        support=Support.REFUSED, test=_REFUSED, block=block, sample=sample,
    )  # fmt: skip
    return option if off is None else option._replace(off=off)


def declined(
    names: str,
    type_: Type,
    default: str,
    reload: Reload,
    meaning: str,
    reason: str,
    *,
    block: Block | None = None,
    sample: str = "",
) -> Option:
    """An option that would change behaviour and never will: it refuses the start; `reason` says where why."""
    return later(names, type_, default, reload, meaning, block=block, sample=sample)._replace(reason=reason)


def unsupported(names: str, type_: Type, meaning: str, reason: str, *, sample: str) -> Option:
    """An option of what this server does not do."""
    return Option(
        tuple(names.split()), type_, "-", meaning,
        support=Support.UNSUPPORTED, reason=reason, test=_UNSUPPORTED, sample=sample,
    )  # fmt: skip


def inner(
    names: str, type_: Type, default: str, meaning: str, *, block: Block | None = None, sample: str = ""
) -> Option:
    """An option in a block: it is checked with the block, which says what becomes of it."""
    return Option(tuple(names.split()), type_, default, meaning, test=_TYPES, block=block, sample=sample)


def inner_later(
    names: str, type_: Type, default: str, meaning: str, *, block: Block | None = None, sample: str = ""
) -> Option:
    """An option in a block that would change behaviour and cannot yet: it refuses the start."""
    return inner(names, type_, default, meaning, block=block, sample=sample)._replace(support=Support.REFUSED)


def inner_declined(
    names: str, type_: Type, default: str, meaning: str, reason: str, *, block: Block | None = None,
    sample: str = "",
) -> Option:  # fmt: skip
    """An option in a block that would change behaviour and never will: it refuses the start."""
    return inner_later(names, type_, default, meaning, block=block, sample=sample)._replace(reason=reason)

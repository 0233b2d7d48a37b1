"""Options and blocks of options as data, and the one walk that reads a tree by them.

A row says how an option is spelled, what it takes, what it means, whether a reload
can change it, what becomes of it here, and which test shows that. `table/` holds
the rows. This module knows none of them: it is what reading, the reference page,
and `natscore config reference` have in common.
"""

from __future__ import annotations

import difflib
import enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from natscore_cli.conf.values import Findings, Invalid, Listen, Type, read_array, read_map, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscore_cli.conf.tree import Map, Node, Place

__all__ = [
    "Block",
    "Option",
    "Reload",
    "Setting",
    "Settings",
    "Support",
    "array_of",
    "block_of",
    "read_block",
]


OFF: Final[tuple[object, ...]] = (False, 0, "", [], {}, Listen(None, 0))


class Support(enum.Enum):
    """What becomes of an option that is given."""

    OBEYED = "obeyed"
    IGNORED = "accepted; a line of the log says that it has no effect"
    REFUSED = "not built yet: the server does not start"
    UNSUPPORTED = "not supported: an error when it asks for the feature, else a line of the log"


class Reload(enum.Enum):
    """Whether nats-server takes a new value on reload."""

    YES = "yes"
    NO = "no"
    PARTLY = "partly"
    UNKNOWN = "-"  # inner rows follow their block


class Option(NamedTuple):
    """One row."""

    names: tuple[str, ...]  # the first is that of the reference
    type: Type
    default: str
    meaning: str
    reload: Reload = Reload.UNKNOWN
    support: Support = Support.OBEYED
    reason: str = ""  # why it is not obeyed: the feature that is missing
    to: str = ""  # the field of `settings.py` or of natscore.Options that an obeyed one sets
    off: tuple[object, ...] = OFF  # values that ask for nothing
    test: str = ""  # the test in which it changes behaviour, `path::name`
    block: Block | None = None  # of which its value, or each member of it, is one
    sample: str = ""  # of a value, where that of the type will not do

    @property
    def name(self) -> str:
        """As the reference calls it."""
        return self.names[0]


_HINTED_LETTERS_MAX: Final = 40  # finding what is near takes the square of the length
_HINTS_MAX: Final = 20  # and some milliseconds; a file with more errors than that is no slip of the pen


class Block(NamedTuple):
    """The options of one map. `check` sees what was read, and says what does not fit together."""

    title: str
    options: tuple[Option, ...]
    unknown: str = 'unknown field "{}"'
    mistyped: str = ""  # said of what is no map; `{}` is its type
    check: Callable[[Settings, Place, Findings], None] | None = None

    def find(self, key: str) -> Option | None:
        """The option that answers to a key, in any case."""
        folded = key.lower()
        return next((option for option in self.options if folded in option.names), None)

    def nearest(self, key: str) -> str | None:
        """The name that a key may have been meant for."""
        if len(key) > _HINTED_LETTERS_MAX:
            return None
        names = [name for option in self.options for name in option.names]
        for name in names:
            if sorted(name) == sorted(key.lower()):
                return name
        return next(iter(difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.75)), None)


class Setting(NamedTuple):
    """One option as it was given."""

    option: Option
    value: object  # of a block: Settings; of an array of blocks: list[Settings]
    place: Place
    key: str  # as it was written
    sound: bool = True  # nothing is wrong in it


Settings: TypeAlias = "dict[str, Setting]"
"""What a map says, by the names of the reference and in the order in which it was said."""


def read_block(root: Map, place: Place, block: Block, findings: Findings) -> Settings:
    """Read a map by its rows. Everything that is wrong goes to `findings`; the rest is returned."""
    settings: Settings = {}
    for key, node in root.items():
        option = block.find(key)
        if option is None:
            if not node.used:
                near = block.nearest(key) if len(findings.errors) < _HINTS_MAX else None
                hint = f'; did you mean "{near}"?' if near else ""
                findings.error(node.place, f"{block.unknown.format(key)}{hint}")
            continue
        wrong_before = len(findings.errors)
        try:
            value = option.type.read(node, key, findings)
        except Invalid as error:
            findings.error(node.place, str(error))
            continue
        settings.pop(option.name, None)  # `PORT` and `port`: the later one wins
        sound = len(findings.errors) == wrong_before
        settings[option.name] = Setting(option, value, node.place, key, sound)
    if block.check is not None:
        block.check(settings, place, findings)
    return settings


_BLOCK_COUNTEREXAMPLE: Final = "{ no_such_option: 1 }"


def block_of(block: Block) -> Type:
    """The type of an option whose value is a block."""

    def read(node: Node, key: str, findings: Findings) -> Settings:
        if block.mistyped and not isinstance(node.value, dict):
            raise Invalid(block.mistyped.format(type_name(node.value)))
        return read_block(read_map(node, key), node.place, block, findings)

    return Type(f"block ({block.title})", read, "{}", _BLOCK_COUNTEREXAMPLE)


def array_of(block: Block, *, not_array: str = "", not_map: str = "", single: bool = False) -> Type:
    """The type of an option whose value is an array of blocks; `single`: or one of them."""

    def read(node: Node, key: str, findings: Findings) -> list[Settings]:
        if single and isinstance(node.value, dict):
            members = [node]
        elif not_array and not isinstance(node.value, list):
            raise Invalid(not_array.format(type=type_name(node.value), value=_shown(node)))
        else:
            members = read_array(node, key)
        found = []
        for member in members:
            if isinstance(member.value, dict):
                found.append(read_block(member.value, member.place, block, findings))
            elif not_map:
                text = not_map.format(type=type_name(member.value), value=_shown(member))
                findings.error(member.place, text)
            else:
                findings.error(member.place, f"expected a map in {key}, got {type_name(member.value)}")
        return found

    return Type(f"array of blocks ({block.title})", read, "[]", f"[ {_BLOCK_COUNTEREXAMPLE} ]")


def _shown(node: Node) -> object:
    """A scalar itself, and of anything else its type: whole maps may hold passwords."""
    return type_name(node.value) if isinstance(node.value, list | dict) else node.value


def every_option(block: Block, path: str = "") -> Iterator[tuple[str, Option]]:
    """Each row of a block and of the blocks in it, with its path: `cluster.authorization.user`."""
    for option in block.options:
        yield f"{path}{option.name}", option
        if option.block is not None:
            yield from every_option(option.block, f"{path}{option.name}.")

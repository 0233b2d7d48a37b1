"""One configuration file, its includes and its variables, to a tree of values.

    port: $PORT            a key seen so far, in this map or one around it, else the environment
    include users.conf     the keys of that file, as if they stood here

What is read may be hostile, or a mistake of a script: files, their bytes, their
nesting, and the nodes that variables multiply are bounded. The rules are those of
configuration.md sections 2.6 to 2.8, 2.10 and 2.12.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from natscore_cli.conf.parser import Array, Include, Literal, Table, Variable, parse
from natscore_cli.conf.tree import DEPTH_MAX, LanguageError, Node, Place, Source, plain
from natscore_cli.files import os_error_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from natscore_cli.conf.parser import Raw
    from natscore_cli.conf.tree import Map, Plain

__all__ = ["Document", "digest", "load"]

FILE_BYTES_MAX: Final = 16 * 1024 * 1024  # ten thousand accounts with their tokens
FILES_MAX: Final = 1000
INCLUDES_DEEP_MAX: Final = 16
NODES_MAX: Final = 1_000_000  # after variables; ten lines that double one another make a thousand of one


class Document(NamedTuple):
    """What a file came to."""

    path: str  # as it was given
    root: Map
    digest: str


def load(path: str, environment: Mapping[str, str]) -> Document:
    """Read `path` and what it includes. Raises LanguageError, with nats-server's text."""
    resolver = _Resolver(environment)
    root = resolver.file(path)
    return Document(path, root, digest(root))


class _Resolver:
    """One run over a file and everything it names."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._known: dict[str, Node] = {}  # variables of the environment that were parsed
        self._looked_up: list[str] = []  # those being parsed now, outermost first
        self._reading: list[str] = []  # files being read now, outermost first
        self._files = 0
        self._nodes = 0

    def file(self, path: str) -> Map:
        """The keys of one file. It sees nothing of the file that includes it."""
        identity = os.path.realpath(path)
        if identity in self._reading:
            raise LanguageError(f"include cycle: {path} is being read already")
        if len(self._reading) > INCLUDES_DEEP_MAX:
            raise LanguageError(f"includes stand more than {INCLUDES_DEEP_MAX} deep within one another")
        self._files += 1
        if self._files > FILES_MAX:
            raise LanguageError(f"more than {FILES_MAX} files are included")
        source = Source(path, _read(path))
        self._reading.append(identity)
        root = self._map(parse(source), source, [])
        self._reading.pop()
        return root

    def _map(self, table: Table, source: Source, scopes: list[Map]) -> Map:
        found: Map = {}
        scopes.append(found)
        for entry in table.entries:
            if isinstance(entry, Include):
                for key, node in self._included(entry, source).items():
                    _assign(found, key, node)
            else:
                place = source.place(entry.offset)
                _assign(found, entry.key, self._node(entry.value, place, source, scopes))
        scopes.pop()
        return found

    def _included(self, include: Include, source: Source) -> Map:
        folder = os.path.dirname(source.name) or "."
        path = os.path.normpath(f"{folder}/{include.path}")  # an absolute path is joined, too
        try:
            return self.file(path)
        except LanguageError as error:
            raise LanguageError(f"error parsing include file '{include.path}', {error}") from error

    def _node(self, raw: Raw, place: Place, source: Source, scopes: list[Map]) -> Node:
        if isinstance(raw, Variable):
            node = self._variable(raw, source, scopes)
            self._count(node.size)
            return Node(node.value, place, size=node.size, depth=node.depth)
        self._count(1)
        if isinstance(raw, Literal):
            return Node(raw.value, place)
        if isinstance(raw, Array):
            members = [
                self._node(member, _place_of(member, place, source), source, scopes) for member in raw.members
            ]
            return _around(members, members, place)
        found = self._map(raw, source, scopes)
        return _around(found, found.values(), place)

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            raise LanguageError(f"the configuration holds more than {NODES_MAX} values")

    def _variable(self, variable: Variable, source: Source, scopes: list[Map]) -> Node:
        for scope in reversed(scopes):
            node = scope.get(variable.name)
            if node is not None:
                node.used = True
                return node
        if variable.name in self._known:
            return self._known[variable.name]
        if variable.name in self._looked_up:
            raise LanguageError(f"variable reference cycle for '{variable.name}'")
        where = f"variable reference for '{variable.name}' on line {source.line(variable.offset)}"
        text = self._environment.get(variable.name)
        if text is None:
            raise LanguageError(f"{where} can not be found")
        self._looked_up.append(variable.name)
        try:
            node = self._from_environment(text, source.place(variable.offset))
        except LanguageError as error:
            raise LanguageError(f"{where} could not be parsed: {error}") from error
        self._looked_up.pop()
        self._known[variable.name] = node
        return node

    def _from_environment(self, text: str, place: Place) -> Node:
        """The value that stands for a variable: its text is read like that of a file of its own."""
        if len(self._looked_up) > INCLUDES_DEEP_MAX:
            raise LanguageError(f"variables name one another more than {INCLUDES_DEEP_MAX} deep")
        if not text.strip():
            return Node("", place)
        source = Source(place.file, f"pk={text}")
        return self._map(parse(source), source, [])["pk"]


def _around(value: list[Node] | Map, members: Collection[Node], place: Place) -> Node:
    depth = 1 + max((member.depth for member in members), default=0)
    if depth > DEPTH_MAX:  # the parser bounds what stands in one text; variables and includes add to that
        raise LanguageError(f"maps and arrays stand more than {DEPTH_MAX} deep within one another")
    return Node(value, place, size=1 + sum(member.size for member in members), depth=depth)


def _place_of(member: Raw, around: Place, source: Source) -> Place:
    """Scalars have a place of their own in an array; maps have their keys'."""
    return source.place(member.offset) if isinstance(member, Literal | Variable) else around


def _assign(found: Map, key: str, node: Node) -> None:
    """The last of equal keys replaces the earlier one, and takes its turn where it stands."""
    found.pop(key, None)
    found[key] = node


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        action = "read" if isinstance(error, IsADirectoryError) else "open"
        raise LanguageError(os_error_text(action, path, error)) from error
    except ValueError as error:  # a null character in the path
        raise LanguageError(f"open {path}: invalid argument") from error
    if len(data) > FILE_BYTES_MAX:
        raise LanguageError(f"{path} holds more than {FILE_BYTES_MAX} bytes")
    return data.partition(b"\x00")[0].decode("utf-8", "surrogateescape")


_ESCAPED_BY_GO: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def digest(root: Map) -> str:
    """`sha256:...` of what the file says, however it is written (section 2.12)."""
    document = {key: plain(node) for key, node in root.items()}
    text = f"{_encode(document)}\n"
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _encode(value: Plain) -> str:
    """Compact JSON as Go writes it."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-8", "surrogateescape"))
        return "{" + ",".join(f"{_encode(key)}:{_encode(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_encode(member) for member in value) + "]"
    if isinstance(value, datetime):
        return f'"{value:%Y-%m-%dT%H:%M:%SZ}"'
    if isinstance(value, float):
        return _encode_float(value)
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return json.dumps(text, ensure_ascii=False).translate(_ESCAPED_BY_GO)
    return json.dumps(value)


def _encode_float(number: float) -> str:
    """The shortest digits that mean the number, without an exponent between 1e-6 and 1e21."""
    text = repr(number)
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        from decimal import Decimal

        return format(Decimal(text).normalize(), "f")
    digits, _, exponent = text.partition("e")
    return f"{digits.removesuffix('.0')}e{exponent[0]}{exponent[1:].lstrip('0')}" if exponent else text

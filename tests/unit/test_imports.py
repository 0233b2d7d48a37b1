"""Who may import whom, read from the source of every package.

The tables below are the rules; architecture and reasons are in
docs/explanation/architecture.md. An import under `if TYPE_CHECKING` counts like any
other: what it names is what the reader has to know.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]

PACKAGES: Final = {
    "natscore": set[str](),
    "natscore_accel": {"natscore"},
    "natscore_security": {"natscore"},
    "natscore_monitor": {"natscore"},
    "natscore_tcp": {"natscore"},
    "natscore_websocket": {"natscore", "natscore_tcp"},
    "natscore_cli": {
        *("natscore", "natscore_accel", "natscore_security", "natscore_monitor"),
        *("natscore_tcp", "natscore_websocket"),
    },
}
"""Each package, and the other ones it may import. Nobody imports the command."""

SEES_THE_CORE: Final = {
    *("natscore_security.authenticator", "natscore_security.authenticators"),
    *("natscore_security.certificates", "natscore_security.performers"),
}
"""Of the security package, which is useful without a server, what needs one."""

REACHED_FOR: Final = {
    "natscore.testing.fixtures": {"natscore_tcp"},
    "natscore_tcp.executor": {"natscore_accel"},
}
"""Modules that reach by name, and when they are called, for a package that they must run without."""

COMPILED: Final = {"cpython", "cython", "libc"}
"""What compiled sources may import besides: declarations of C."""

LAYERS: Final = (
    ("values",),
    ("deadlines", "entropy", "errors", "identity", "subject", "turn", "version"),
    ("destinations",),
    ("transform",),
    ("account",),
    ("effects", "events", "holdings", "options", "wire"),
    ("facts",),
    # The live objects of the hot path: subscriptions point at plans, plans at cells, cells at subscriptions.
    ("cells", "controlops", "delivery", "message", "plan", "plane", "posting", "responses", "sublist"),
    ("dataplane", "tables"),
    ("state",),
    ("authentication", "explain"),
    ("reload",),
    ("connection",),
    ("topology",),
    ("server",),
    ("",),  # the public names of natscore
    ("documents",),
    ("journal",),
    ("replay",),
    ("testing",),
)
"""The modules and subpackages of the core, low to high: each may import its row and those before it."""

PURE: Final = {
    *(
        "__future__",
        "abc",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "contextlib",
        "dataclasses",
        "enum",
    ),
    *(
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "io",
        "itertools",
        "math",
        "operator",
        "re",
        "string",
        "struct",
    ),
    *("types", "typing", "zlib"),
}
"""The modules of the standard library that compute and do nothing else."""

CORE_LIBRARIES: Final = {"orjson"}
CORE_EXCEPTIONS: Final = {
    "natscore.testing.fixtures": {"pytest"},
    "natscore.testing.paired": {"weakref"},  # finds pairs; nothing is decided by it
}

IN_MEMORY: Final = {"BytesIO", "StringIO", "BufferedIOBase", "RawIOBase"}
"""Of `io`, what touches no file."""

IMPURE_BUILTINS: Final = {
    **dict.fromkeys(("open", "print", "input", "breakpoint"), "is I/O"),
    **dict.fromkeys(("eval", "exec", "compile", "__import__"), "hides what is imported"),
    **dict.fromkeys(("id", "hash"), "differs between two runs, and a journal must replay"),
}

IMPORT_NAMES: Final = {"natscore-transport-tcp": "natscore_tcp", "pynacl": "nacl", "pyjwt": "jwt"}
"""Distributions whose modules have another name than they have."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement: who imports what, and where it stands."""

    importer: str
    imported: str
    place: str

    @property
    def top(self) -> str:
        """The package the imported module belongs to."""
        return self.imported.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.place}: {self.importer} imports {self.imported}"


def modules(package: str | None = None) -> dict[str, Path]:
    """Every module of the packages, or of one, by its name."""
    found = {}
    for source in sorted(ROOT.glob("packages/*/src")):
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if package is None or name.partition(".")[0] == package:
                found[name] = path
    return found


def imports(importer: str, path: Path, known: set[str]) -> Iterator[Import]:
    """What a module imports; `from package import module` is an import of that module."""
    for node in ast.walk(ast.parse(path.read_text())):
        place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (Import(importer, alias.name, place) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield Import(importer, full if full in known else str(node.module), place)


def all_imports(package: str | None = None) -> list[Import]:
    """Every import of the packages, or of one."""
    known = set(modules())
    return [
        found for name, path in modules(package).items() for found in imports(name, path, known)
    ]  # fmt: skip


def layer(module: str) -> int:
    """The row of a module of the core; LookupError when nobody gave it one."""
    inner = module.removeprefix("natscore").removeprefix(".")
    for number, row in enumerate(LAYERS):
        if inner.partition(".")[0] in row:
            return number
    raise LookupError(f"{module} has no place in LAYERS")


def test_packages_import_only_the_packages_below_them() -> None:
    wrong = [
        str(found)
        for found in all_imports()
        if found.top in PACKAGES
        and found.top != (importer := found.importer.partition(".")[0])
        and found.top not in PACKAGES[importer]
    ]

    assert wrong == []


def test_security_stands_without_a_server() -> None:
    importers = {found.importer for found in all_imports("natscore_security") if found.top == "natscore"}
    reached = {
        found.importer for found in all_imports("natscore_security") if found.imported in SEES_THE_CORE
    }

    assert importers <= SEES_THE_CORE
    assert reached <= SEES_THE_CORE


def test_packages_are_reached_for_by_name_only_where_the_table_says() -> None:
    found: dict[str, set[str]] = {}
    for name, path in modules().items():
        package = name.partition(".")[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = node.value.partition(".")[0]
                if named in PACKAGES.keys() - PACKAGES[package] - {package}:
                    found.setdefault(name, set()).add(named)

    assert found == REACHED_FOR


def test_compiled_sources_import_the_core_and_nothing_beside_it() -> None:
    sources = [
        path for path in ROOT.glob("packages/accel/src/**/*") if path.suffix in (".pyx", ".pxd", ".pxi")
    ]
    allowed = PACKAGES["natscore_accel"] | COMPILED | PURE | {"natscore_accel"}
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0].strip()}"
        for path in sources
        for match in re.finditer(r"^[ \t]*(?:from|c?import)[ \t]+([\w]+)", path.read_text(), re.MULTILINE)
        if match[1] not in allowed
    ]

    assert sources != []
    assert wrong == []


def test_nobody_imports_the_command() -> None:
    assert not any("natscore_cli" in below for below in PACKAGES.values())


def test_every_package_has_its_rule() -> None:
    assert {name.partition(".")[0] for name in modules()} <= PACKAGES.keys()


def test_modules_of_the_core_import_only_what_is_below_them() -> None:
    wrong = [
        str(found)
        for found in all_imports("natscore")
        if found.top == "natscore" and layer(found.imported) > layer(found.importer)
    ]

    assert wrong == []


def test_every_module_of_the_core_has_its_place_and_every_place_a_module() -> None:
    placed = {layer(name) for name in modules("natscore")}
    named = {
        name.removeprefix("natscore").removeprefix(".").partition(".")[0] for name in modules("natscore")
    }

    assert placed == set(range(len(LAYERS)))
    assert named == {name for row in LAYERS for name in row}


def test_core_computes_and_does_nothing_else() -> None:
    wrong = [
        str(found)
        for found in all_imports("natscore")
        if found.top not in PURE | CORE_LIBRARIES | {"natscore"} | CORE_EXCEPTIONS.get(found.importer, set())
    ]

    assert wrong == []


def test_core_calls_no_builtin_that_reads_writes_or_differs_between_runs() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.func.id}() {IMPURE_BUILTINS[node.func.id]}"
        for path in modules("natscore").values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_BUILTINS
    ]

    assert wrong == []


def test_core_uses_streams_in_memory_only() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: io.{node.attr}"
        for path in modules("natscore").values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "io"
        and node.attr not in IN_MEMORY
    ]

    assert wrong == []


@pytest.mark.parametrize(
    "project", sorted(ROOT.glob("packages/*/pyproject.toml")), ids=lambda p: p.parent.name
)
def test_package_declares_every_library_it_imports(project: Path) -> None:
    settings = tomllib.loads(project.read_text())["project"]
    requirements = [*settings["dependencies"]]
    for extra in settings.get("optional-dependencies", {}).values():
        requirements += extra
    (package,) = (path.parent.name for path in project.parent.glob("src/*/__init__.py"))
    declared = {package, *sys.stdlib_module_names}
    for requirement in requirements:
        distribution = re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0].lower()
        declared.add(IMPORT_NAMES.get(distribution, distribution.replace("-", "_")))

    undeclared = [str(found) for found in all_imports(package) if found.top not in declared]

    assert undeclared == []


def test_import_of_a_module_through_its_package_counts_as_that_module() -> None:
    found = {one.imported for one in imports("here", Path(__file__), {"collections.abc.Iterator"})}

    assert {"ast", "pathlib", "collections.abc.Iterator"} <= found


@pytest.mark.parametrize(
    ("lower", "higher"), [("natscore.events", "natscore.server"), ("natscore.wire.info", "natscore")]
)
def test_rows_are_ordered_from_data_to_server(lower: str, higher: str) -> None:
    assert layer(lower) < layer(higher)


def test_module_without_a_place_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"natscore\.nowhere has no place"):
        layer("natscore.nowhere")

"""Every configuration vector through `-t`, and what its file comes to where the server obeys all of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from natscore.account.accounts import resolved
from natscore.authentication import authenticator_for
from natscore_cli.arguments import parse
from natscore_cli.conf.effect import load_file
from natscore_cli.conf.resolve import load
from natscore_cli.main import main
from natscore_cli.settings import Settings, resolve
from tests.support.servers import ServerProgram, programs

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore_cli.conf.effect import FileSettings

VECTORS: Final = json.loads((Path(__file__).with_name("vectors") / "config.json").read_text())
CASES: Final[dict[str, dict[str, Any]]] = {case["id"]: case for case in VECTORS["cases"]}
DIGESTS: Final[list[dict[str, str]]] = VECTORS["digests"]["cases"]

WAITING: Final = {
    "monitor-http-and-https": "a server that starts monitoring says it",
}
"""Cases that no part of the server can judge yet, and why."""

REFUSED_HERE: Final = {
    "num-odd-suffix-ignored": "the vector calls it a defect that the assignment is dropped without a word"
}
"""Quirks that the vectors ask not to repeat."""

FIELDS: Final = frozenset({
    "id", "config", "files", "env", "result", "error", "values", "cli", "v214", "quirk", "note",
})  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that relative names are in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lay_out(case: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the files of a case, and set its variables."""
    (folder / "c.conf").write_text(case["config"])
    for name, text in case.get("files", {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name, text in case.get("env", {}).items():
        monkeypatch.setenv(name, text)


def expected(case: dict[str, Any]) -> tuple[str, str]:
    """Result and pattern of the error, as of nats-server 2.14.5."""
    later = case.get("v214", {})
    return later.get("result", case["result"]), later.get("error", case.get("error", ""))


def test_every_case_and_every_field_is_known() -> None:
    assert len(CASES) == len(VECTORS["cases"]) == 184
    assert {field for case in CASES.values() for field in case} <= FIELDS
    assert WAITING.keys() | REFUSED_HERE.keys() <= CASES.keys()


@pytest.mark.spec("configuration 2.10", "configuration 2.11", "configuration 7.1", "configuration 7.2")
@pytest.mark.spec("configuration 8", "operations 2")
@pytest.mark.parametrize("name", [name for name in CASES if name not in WAITING | REFUSED_HERE])
def test_the_check_of_a_file_says_what_the_vector_says(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    lay_out(case, folder, monkeypatch)
    result, pattern = expected(case)

    code = main(["-t", "-c", "c.conf"])

    printed = capsys.readouterr()
    said = printed.err.replace("nats-server-py: ", "nats-server: ")
    assert printed.out == ""
    if result == "ok":
        assert code == 0, said
        assert re.search(
            r"^nats-server: configuration file c\.conf is valid \(sha256:[0-9a-f]{64}\)$", said, re.M
        )
    else:
        assert code == 1
        assert re.search(pattern, said, re.MULTILINE), said
        assert "is valid" not in said


@pytest.mark.parametrize("name", REFUSED_HERE)
def test_a_defect_of_the_reference_is_refused(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(CASES[name], folder, monkeypatch)

    assert main(["-t", "-c", "c.conf"]) == 1
    assert "has an unknown suffix" in capsys.readouterr().err


@pytest.mark.spec("configuration 2.12")
@pytest.mark.parametrize("case", DIGESTS, ids=[case["json"] for case in DIGESTS])
def test_the_digest_is_that_of_the_vector(case: dict[str, str], folder: Path) -> None:
    (folder / "c.conf").write_text(case["config"])

    assert load("c.conf", {}).digest == case["digest"]


def inside(file: FileSettings, *path: str) -> Any:
    """A value of the file at a path of names."""
    found: Any = file.settings
    for name in path:
        found = found[name].value
    return found


class Found(NamedTuple):
    """What a file came to."""

    file: FileSettings
    settings: Settings


VALUES: Final[dict[str, Callable[[Found], Any]]] = {
    "max_payload": lambda found: found.settings.options.max_payload,
    "max_pending": lambda found: found.settings.options.max_pending,
    "max_connections": lambda found: found.settings.options.max_connections,
    "server_name": lambda found: found.settings.options.server_name,
    "ping_interval": lambda found: found.settings.options.ping_interval_ns,
    "auth_timeout": lambda found: found.settings.options.auth_timeout_ns / 10**9,
    "auth_required": lambda found: requires_login(found.settings),
    "host": lambda found: found.settings.options.host,
    "port": lambda found: found.settings.options.port,
    "tags": lambda found: inside(found.file, "server_tags"),
    "system_account": lambda found: resolved(found.settings.options.accounts).system_account,
    "cluster.name": lambda found: inside(found.file, "cluster", "name"),
    "cluster.cluster_port": lambda found: inside(found.file, "cluster", "port"),
    "leaf.port": lambda found: inside(found.file, "leafnodes", "port"),
    "websocket.port": lambda found: inside(found.file, "websocket", "port"),
    "websocket.no_tls": lambda found: inside(found.file, "websocket", "no_tls"),
}  # fmt: skip
"""A field of /varz, from what /varz will be made of."""


def requires_login(settings: Settings) -> bool:
    return (settings.logins.authenticator() or authenticator_for(settings.options)).requires_login


@pytest.mark.spec("configuration 4.1", "configuration 4.2", "configuration 2.5", "configuration 2.7")
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, case in CASES.items()
        if case.get("values") and expected(case)[0] in ("ok", "warn") and name not in REFUSED_HERE
    ],
)
def test_a_file_comes_to_the_values_of_the_vector(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    lay_out(case, folder, monkeypatch)

    file = load_file("c.conf", os.environ)

    found = Found(file, resolve(parse([]), memory_bytes=1 << 30, file=file._replace(not_built=())))
    assert {field: VALUES[field](found) for field in case["values"]} == case["values"]


CURRENT_GO: Final = [program for program in programs() if (program.version or "").startswith("2.14.")]


@pytest.mark.interop
@pytest.mark.parametrize("program", CURRENT_GO, ids=str)
@pytest.mark.parametrize("name", [name for name in CASES if name not in WAITING | REFUSED_HERE])
def test_the_check_agrees_with_the_reference_and_has_its_digest(
    name: str,
    program: ServerProgram,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = CASES[name]
    lay_out(case, folder, monkeypatch)

    check = ["-t", "-c", "c.conf"]
    theirs = subprocess.run([*program.command, *check], capture_output=True, text=True, timeout=20)
    code = main(check)

    ours = capsys.readouterr().err
    at_start_only = expected(case)[0] == "start_error"
    assert (code, theirs.returncode) == ((1, 0) if at_start_only else (theirs.returncode, theirs.returncode))
    if code == 0:
        assert re.findall("sha256:[0-9a-f]{64}", ours) == re.findall("sha256:[0-9a-f]{64}", theirs.stderr)

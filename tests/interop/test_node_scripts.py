"""The tools that drive Node.js: what they say when something is missing or goes wrong."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.interop.node_scripts import LIBRARIES, Node, NodeLibrary, ScriptFailure, installed_node

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.interop

NOBODY = "nats://127.0.0.1:1"  # a port that nothing listens on


@pytest.fixture
def path_without_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("node") is None


@pytest.mark.usefixtures("path_without_node")
def test_machine_without_node_skips_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception, match="need `node` and `npm` on the PATH"):
        installed_node()


@pytest.mark.usefixtures("path_without_node")
def test_machine_without_node_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match="with CI=true nothing is skipped"):
        installed_node()


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_script_that_cannot_connect_fails_with_the_reason(node: Node, library: NodeLibrary) -> None:
    with pytest.raises(ScriptFailure, match=r"exited with 1: .*(ECONNREFUSED|CONNECTION_REFUSED)"):
        node.run(library, "server_info", NOBODY)


def test_unknown_scenario_fails_with_the_known_ones(node: Node) -> None:
    with pytest.raises(ScriptFailure, match="there is no scenario tea; there are publish_subscribe"):
        node.run(LIBRARIES[0], "tea", NOBODY)

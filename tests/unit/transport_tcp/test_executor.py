"""Which data plane is chosen, and what is said of it. Missing packages are made missing in `sys.modules`."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

import pytest

import natscore_accel
from natscore.dataplane import PureDataPlane
from natscore.effects import Level
from natscore_tcp import choose_executor, serve_in_thread
from natscore_tcp.executor import PURE_VARIABLE

if TYPE_CHECKING:
    from natscore.effects import Note

EXTENSION = "natscore_accel._dataplane"


def without_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let natscore-accel be installed as it is where nothing could be compiled."""
    monkeypatch.delitem(sys.modules, "natscore_accel")
    monkeypatch.setitem(sys.modules, EXTENSION, None)


@pytest.mark.skipif(not natscore_accel.available, reason=f"natscore-accel: {natscore_accel.why_not}")
def test_compiled_data_plane_is_taken_where_it_is_installed() -> None:
    chosen = choose_executor({})

    assert chosen.compiled
    assert chosen.make is natscore_accel.CompiledDataPlane
    assert chosen.note.level is Level.INFO
    assert chosen.text == f"compiled (natscore-accel {natscore_accel.VERSION})"


@pytest.mark.parametrize("value", ["1", "yes"])
def test_pure_data_plane_is_taken_when_the_environment_asks_for_it(value: str) -> None:
    chosen = choose_executor({PURE_VARIABLE: value})

    assert (chosen.make, chosen.compiled) == (PureDataPlane, False)
    assert chosen.note.level is Level.INFO
    assert chosen.text == "pure Python (NATSCORE_PURE is set)"


@pytest.mark.parametrize("value", ["", "0"])
def test_empty_variable_and_zero_ask_for_nothing(value: str) -> None:
    assert choose_executor({PURE_VARIABLE: value}) == choose_executor({})


def test_package_that_is_not_installed_is_missed_on_cpython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "natscore_accel", None)

    chosen = choose_executor({})

    assert chosen.make is PureDataPlane
    assert chosen.note.level is Level.WARNING
    assert chosen.text == "pure Python (natscore-accel is not installed)"


def test_package_that_is_not_installed_is_not_missed_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "natscore_accel", None)
    monkeypatch.setattr(platform, "python_implementation", lambda: "PyPy")

    chosen = choose_executor({})

    assert chosen.note.level is Level.INFO
    assert chosen.text == "pure Python (on PyPy)"


def test_package_without_its_extension_is_a_warning_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    without_extension(monkeypatch)

    chosen = choose_executor({})

    assert chosen.make is PureDataPlane
    assert chosen.note.level is Level.WARNING
    assert chosen.text.startswith("pure Python (natscore-accel is installed, but it was not compiled for ")


def test_served_server_runs_on_the_chosen_data_plane_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_extension(monkeypatch)
    monkeypatch.delenv(PURE_VARIABLE, raising=False)
    notes: list[Note] = []

    with serve_in_thread(note=notes.append) as running:
        plane = running.server.state.plane

    assert isinstance(plane, PureDataPlane)
    said = [note for note in notes if note.name == "data_plane"]
    assert [note.level for note in said] == [Level.WARNING]

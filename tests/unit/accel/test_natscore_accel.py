"""The package around the compiled data plane: what it says where there is one, and where there is none."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import sys
import types

import pytest

import natscore_accel
from natscore import Server
from natscore.entropy import Xorshift64

EXTENSION = "natscore_accel._dataplane"


def imported_anew(monkeypatch: pytest.MonkeyPatch, extension: types.ModuleType | None) -> types.ModuleType:
    """The package as it is when importing its extension gives this module, or fails."""
    monkeypatch.delitem(sys.modules, "natscore_accel")
    monkeypatch.setitem(sys.modules, EXTENSION, extension)
    return importlib.import_module("natscore_accel")


def test_the_version_is_that_of_the_distribution() -> None:
    assert importlib.metadata.version("natscore-accel") == natscore_accel.VERSION


@pytest.mark.skipif(not natscore_accel.available, reason=f"natscore-accel: {natscore_accel.why_not}")
def test_compiled_data_plane_is_compiled_and_runs_a_server() -> None:
    module = sys.modules[EXTENSION]

    assert isinstance(module.__spec__.loader, importlib.machinery.ExtensionFileLoader)  # type: ignore[union-attr]
    assert natscore_accel.CompiledDataPlane(Xorshift64(1)).ready == []
    assert Server(data_plane=natscore_accel.CompiledDataPlane).events_handled == 0
    assert natscore_accel.why_not == ""


def test_package_without_its_extension_imports_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = imported_anew(monkeypatch, None)

    assert package.available is False
    python = f"cpython {sys.version_info[0]}.{sys.version_info[1]}"
    assert package.why_not == f"it was not compiled for {python}"
    with pytest.raises(ImportError, match="why_not says why"):
        package.CompiledDataPlane(Xorshift64(1))


def test_extension_that_cannot_be_loaded_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    package = imported_anew(monkeypatch, types.ModuleType(EXTENSION))  # as one of another version

    assert package.available is False
    assert package.why_not.startswith("its extension cannot be loaded: ImportError: cannot import name ")

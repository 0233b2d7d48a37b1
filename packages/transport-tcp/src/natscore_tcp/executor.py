"""Which data plane a server runs on: the compiled one where it is installed, else pure Python.

A transport needs neither, and the compiled one is a package beside it: it is
reached for by name, when a server is about to start, as `uvloop` is. The
command, `serve` and the pytest fixtures all choose here; an embedder passes
`Server` the data plane that it likes.
"""

from __future__ import annotations

import importlib
import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from natscore.dataplane import PureDataPlane
from natscore.effects import Level, Note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from natscore.dataplane import DataPlane
    from natscore.entropy import Xorshift64

__all__ = ["PURE_VARIABLE", "Executor", "choose_executor"]

PURE_VARIABLE: Final = "NATSCORE_PURE"
"""In the environment, and neither empty nor 0: run in pure Python."""

_DISTRIBUTION: Final = "natscore-accel"
_MODULE: Final = "natscore_accel"


@dataclass(frozen=True, slots=True)
class Executor:
    """A way to execute plans: `make` is the argument `data_plane` of `Server`."""

    make: Callable[[Xorshift64], DataPlane]
    text: str  # what it is, and why it is not the compiled one
    compiled: bool
    missed: bool = False  # pure, though nobody asked for that and it need not be

    @property
    def note(self) -> Note:
        """What to say once when a server starts."""
        return Note(Level.WARNING if self.missed else Level.INFO, "data_plane", {"data_plane": self.text})


def choose_executor(environment: Mapping[str, str] = os.environ) -> Executor:
    """The compiled data plane if it is there and `environment` does not rule it out, else the pure one."""
    if environment.get(PURE_VARIABLE, "") not in ("", "0"):
        return _pure(f"{PURE_VARIABLE} is set")
    try:
        accel = importlib.import_module(_MODULE)
    except ModuleNotFoundError as error:
        if error.name != _MODULE:
            raise
        if platform.python_implementation() != "CPython":
            return _pure(f"on {platform.python_implementation()}")
        return _pure(f"{_DISTRIBUTION} is not installed", missed=True)
    if not accel.available:
        return _pure(f"{_DISTRIBUTION} is installed, but {accel.why_not}", missed=True)
    return Executor(accel.CompiledDataPlane, f"compiled ({_DISTRIBUTION} {accel.VERSION})", compiled=True)


def _pure(reason: str, *, missed: bool = False) -> Executor:
    return Executor(PureDataPlane, f"pure Python ({reason})", compiled=False, missed=missed)

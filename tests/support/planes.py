"""On which data plane tests run: `--plane`, or the variable NATSCORE_PLANE.

    pure      the reference
    compiled  natscore_accel by itself
    paired    both in lockstep, every byte and counter compared (the pure one first)
    twins     the pure one beside itself: tests of the comparing
    auto      the default

With `auto`, and natscore_accel built, the tests of the core, simulations and
properties run on `paired`: one run is then a run on both, and more. Tests marked
`slow` are about bounds and take `compiled`, for pairs take three times as long.
Modules marked `every_plane` are about the data plane itself, and are run on each
of the three: what pairs cannot show (where blocks end, what memory is shared)
shows there. Tests marked `pure_plane` look into the pure plane, and have no
other. Without natscore_accel all is pure, and with CI=true that is an error.

The chosen plane becomes the default of `World`, `Server` and `replay`; a test
that names a plane gets it.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import pytest

from natscore.dataplane import PureDataPlane
from natscore.replay import replay
from natscore.server import Server
from natscore.testing import PairedDataPlane, World

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from natscore.entropy import Xorshift64
    from natscore.plane import DataPlane

__all__ = [
    "CHOICES", "add_option", "chosen_plane", "compiled_plane", "is_needed", "parametrize", "planes_of",
    "require_compiled", "use",
]  # fmt: skip

CHOICES: Final = ("auto", "pure", "compiled", "paired", "twins")

_AUTOMATIC: Final = ("unit/core", "simulation", "properties", "conformance", "oracle")  # below tests/
_DEFAULTS: Final = (World.__init__, Server.__init__, replay)

_chosen: list[Callable[[Xorshift64], DataPlane]] = [PureDataPlane]


class _Accel(Protocol):
    available: bool
    CompiledDataPlane: Callable[[Xorshift64], DataPlane]


def compiled_plane() -> Callable[[Xorshift64], DataPlane] | None:
    """The compiled data plane, if it is built here."""
    try:
        accel: _Accel = importlib.import_module("natscore_accel")
    except ImportError:
        return None
    return accel.CompiledDataPlane if accel.available else None


def chosen_plane() -> Callable[[Xorshift64], DataPlane]:
    """What makes the data plane of the test that runs."""
    return _chosen[-1]


def add_option(parser: pytest.Parser) -> None:
    """Add `--plane`."""
    parser.addoption(
        "--plane", choices=CHOICES, default=os.environ.get("NATSCORE_PLANE", "auto"),
        help="the data plane that tests run on (tests/support/planes.py)",
    )  # fmt: skip


def require_compiled(config: pytest.Config) -> None:
    """Refuse a run that would silently leave out the compiled plane."""
    plane: str = config.getoption("--plane")
    if is_needed(plane, os.environ.get("CI") == "true") and compiled_plane() is None:
        raise pytest.UsageError(
            f"natscore_accel is not built, and --plane={plane} needs it (with CI=true, auto does too)"
        )


def is_needed(plane: str, is_ci: bool) -> bool:
    """Whether a run makes no sense without the compiled plane."""
    return plane in ("compiled", "paired") or (plane == "auto" and is_ci)


def planes_of(path: str, marks: Collection[str], chosen: str, has_compiled: bool) -> tuple[str, ...]:
    """The planes that a test runs on, by its path, its marks and what was asked for."""
    if "pure_plane" in marks:
        return ("pure",)
    if chosen != "auto":
        return (chosen,)
    if not has_compiled or not path.removeprefix("tests/").startswith(_AUTOMATIC):
        return ("pure",)
    if "every_plane" in marks:
        return ("pure", "compiled", "paired")
    return ("compiled",) if "slow" in marks else ("paired",)


def _planes_of(item: pytest.Item) -> tuple[str, ...]:
    return planes_of(
        Path(item.location[0]).as_posix(),
        {mark.name for mark in item.iter_markers()},
        item.config.getoption("--plane"),
        compiled_plane() is not None,
    )


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a test on several planes, if it is to."""
    planes = _planes_of(metafunc.definition)
    if len(planes) > 1:
        metafunc.parametrize("data_plane", planes, indirect=True)


def use(request: pytest.FixtureRequest) -> Iterator[Callable[[Xorshift64], DataPlane]]:
    """Make the plane of a test the default while it runs."""
    compiled = compiled_plane()
    node: pytest.Item = request.node
    name: str = getattr(request, "param", None) or _planes_of(node)[0]
    makers: dict[str, Callable[[Xorshift64], DataPlane]] = {
        "pure": PureDataPlane,
        "twins": PairedDataPlane.of(PureDataPlane, PureDataPlane),
    }
    if compiled is not None:
        makers |= {"compiled": compiled, "paired": PairedDataPlane.of(PureDataPlane, compiled)}
    make = makers[name]
    with pytest.MonkeyPatch.context() as patch:
        for function in _DEFAULTS:
            defaults = function.__kwdefaults__
            assert defaults is not None
            patch.setitem(defaults, "data_plane", make)
        _chosen.append(make)
        try:
            yield make
        finally:
            _chosen.pop()

"""Judges permissions for longer: `nox -s oracle -- --cases 1000000 --plane compiled --seed 7`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from natscore.dataplane import PureDataPlane
from natscore.testing import PairedDataPlane
from tests.oracle.judging import Path, judge
from tests.support.planes import compiled_plane

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from natscore.entropy import Xorshift64
    from natscore.plane import DataPlane

__all__ = ["main"]


def planes() -> dict[str, Callable[[Xorshift64], DataPlane]]:
    """The data planes that are built here, by name."""
    compiled = compiled_plane()
    if compiled is None:
        return {"pure": PureDataPlane}
    return {
        "pure": PureDataPlane,
        "compiled": compiled,
        "paired": PairedDataPlane.of(PureDataPlane, compiled),
    }


def main(words: Sequence[str]) -> None:
    """Raise the first disagreement, or say how much was compared."""
    makers = planes()
    parser = argparse.ArgumentParser(prog="nox -s oracle --", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="on each plane and path (default 100000)")
    parser.add_argument("--plane", choices=[*makers], action="append", help="default: each that is built")
    parser.add_argument(
        "--path", choices=[one.value for one in Path], action="append", help="of messages (default: each)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first server (default 0)")
    given = parser.parse_args(words)
    for name in given.plane or makers:
        for path in map(Path, given.path or [one.value for one in Path]):
            start = time.perf_counter()
            judged = judge(given.cases, makers[name], given.seed, path)
            duration = time.perf_counter() - start
            print(f"{name}, {path.value}: {judged}, {judged.cases / duration:,.0f} cases/s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

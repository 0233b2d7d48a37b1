"""What the figures of a table must keep, and by which of them it is judged."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks.scenarios import Better, Row, Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Floors", "Limits", "amount"]

GOAL: Final = "goal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one row, each a least or a most according to the row. None: there is none."""

    ratio: float | None = None  # to the reference
    own: float | None = None  # to our own figure under the other condition
    value: float | None = None  # the figure itself
    goal: float | None = None  # as `ratio`, and not enforced


@dataclass(frozen=True, slots=True)
class Floors:
    """The limits by name of row."""

    reference: str  # how the name of the peer starts
    limits: dict[str, Limits] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, known_rows: Sequence[Row]) -> Floors:
        """Read `floors.toml`. Raises ValueError for a limit that could never be missed."""
        content = tomllib.loads(text)
        known = {row.name: row for row in known_rows}
        limits = {}
        for name, given in content["rows"].items():
            if name not in known:
                raise ValueError(f"floors: there is no row {name}; there are {', '.join(known)}")
            limits[name] = _limits(known[name], given)
        return cls(content["reference"], limits)

    def text(self, row: Row) -> str:
        """What is enforced for a row, for the table."""
        limits = self.limits.get(row.name, Limits())
        return ", ".join(said for said, _ in _enforced(row, limits))

    def goal_text(self, row: Row) -> str:
        """What is wanted of a row, for the table."""
        goal = self.limits.get(row.name, Limits()).goal
        return "" if goal is None else f"{_sign(row)} {goal:.2f}"

    def missed(self, row: Row, *, ratio: float | None, own: float | None, value: float | None) -> list[str]:
        """A sentence for each limit outside of which a figure is; None: it is not known, which misses too."""
        limits = self.limits.get(row.name, Limits())
        figures = {"ratio": ratio, "own": own, "value": value}
        return [
            f"{row.name}: " + _verdict(row, kind, figures[kind], said)
            for said, kind in _enforced(row, limits)
            if not _is_kept(row, figures[kind], getattr(limits, kind))
        ]


def amount(unit: Unit, value: float) -> str:
    """A figure with its unit."""
    match unit:
        case Unit.MESSAGES_PER_SECOND | Unit.REQUESTS_PER_SECOND | Unit.CONNECTIONS_PER_SECOND:
            return f"{value:,.0f} {unit.value}"
        case Unit.SECONDS if value >= 1:
            return f"{value:.2f} s"
        case Unit.SECONDS if value >= 1e-3:
            return f"{value * 1e3:.1f} ms"
        case Unit.SECONDS:
            return f"{value * 1e6:.1f} µs" if value >= 1e-5 else f"{value * 1e6:.3f} µs"
        case Unit.BYTES:
            return f"{value / 1024:.1f} KiB" if value >= 1024 else f"{value:.0f} B"


def _limits(row: Row, given: dict[str, Any]) -> Limits:
    side = "min" if row.better is Better.MORE else "max"
    kinds = {f"ratio_{side}": "ratio", f"value_{side}": "value", GOAL: GOAL}
    if row.of_own:
        kinds[f"own_{side}"] = "own"
    if wrong := set(given) - set(kinds):
        raise ValueError(f"floors: {row.name} has {', '.join(sorted(wrong))}; it can have {', '.join(kinds)}")
    if not set(given) - {GOAL}:
        raise ValueError(f"floors: nothing is enforced for {row.name}")
    return Limits(**{kinds[name]: float(limit) for name, limit in given.items()})


def _enforced(row: Row, limits: Limits) -> list[tuple[str, str]]:
    """What is said of each limit, and the name of its field."""
    said = []
    if limits.ratio is not None:
        said.append((f"{_sign(row)} {limits.ratio:.2f}", "ratio"))
    if limits.own is not None:
        said.append((f"own {_sign(row)} {limits.own:.2f}", "own"))
    if limits.value is not None:
        said.append((f"{_sign(row)} {amount(row.unit, limits.value)}", "value"))
    return said


def _sign(row: Row) -> str:
    return "≥" if row.better is Better.MORE else "≤"


def _is_kept(row: Row, figure: float | None, limit: float) -> bool:
    if figure is None:
        return False
    return figure >= limit if row.better is Better.MORE else figure <= limit


def _verdict(row: Row, kind: str, figure: float | None, said: str) -> str:
    names = {"ratio": "ratio", "own": f"ratio to our own {row.of_own}", "value": "figure"}
    if figure is None:
        return f"no {names[kind]}, {said} is wanted"
    shown = amount(row.unit, figure) if kind == "value" else f"{figure:.3f}"
    return f"the {names[kind]} is {shown}, {said} is wanted"

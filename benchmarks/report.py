"""From runs to a table: medians, ratios of pairs, floors. Pure; `run.py` measures and prints."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks.floors import Floors, amount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measurements import Figure
    from benchmarks.scenarios import Row

__all__ = [
    "Comparison",
    "Series",
    "aligned",
    "disturbances",
    "document",
    "failures",
    "shortfalls",
    "table",
]

NOTHING: Final = "-"

OTHERS_SHARE_MAX: Final = 0.15
"""Processors that other work may keep busy before a run counts as disturbed."""


@dataclass(slots=True)
class Series:
    """The runs of one row on one server, in order of rounds; a run that failed is a text."""

    runs: list[Figure | str] = field(default_factory=list)

    @property
    def figures(self) -> list[Figure]:
        """The runs that count."""
        return [run for run in self.runs if not isinstance(run, str)]

    @property
    def failures(self) -> list[str]:
        """Why the others do not."""
        return [run for run in self.runs if isinstance(run, str)]

    @property
    def median(self) -> float | None:
        """The median value, when every run counts: one failed run fails the row."""
        return None if self.failures or not self.runs else statistics.median(f.value for f in self.figures)

    @property
    def median_per_cpu_second(self) -> float | None:
        """The median of what one second of the server's processor time did."""
        rates = [f.per_cpu_second for f in self.figures if f.per_cpu_second is not None]
        return statistics.median(rates) if rates and not self.failures else None

    @property
    def median_of_own(self) -> float | None:
        """The median ratio to the figure of the same server under the other condition."""
        ratios = [f.of_own for f in self.figures if f.of_own is not None]
        return statistics.median(ratios) if ratios and not self.failures else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row of the table: the measured server first, its peers behind."""

    row: Row
    series: dict[str, Series]

    def ratios(self, measured: str, peer: str) -> list[float]:
        """Measured divided by peer for each round; empty when a run failed."""
        ours, theirs = self.series[measured], self.series[peer]
        if ours.failures or theirs.failures:
            return []
        return [a.value / b.value for a, b in zip(ours.figures, theirs.figures, strict=True) if b.value]


def failures(comparisons: Sequence[Comparison]) -> list[str]:
    """Every failed run, one sentence each."""
    return [
        f"{comparison.row.name}, {name}, run {number}: {run}"
        for comparison in comparisons
        for name, series in comparison.series.items()
        for number, run in enumerate(series.runs, 1)
        if isinstance(run, str)
    ]


def disturbances(comparisons: Sequence[Comparison]) -> list[str]:
    """Every row during which other work kept a good part of a processor busy, one sentence each."""
    found = []
    for comparison in comparisons:
        shares = [
            figure.others_cpu_share for series in comparison.series.values() for figure in series.figures
        ]
        disturbed = [share for share in shares if share > OTHERS_SHARE_MAX]
        if disturbed:
            found.append(
                f"{comparison.row.name}: other work kept up to {max(disturbed):.1f} processors busy "
                f"in {len(disturbed)} of {len(shares)} runs"
            )
    return found


def shortfalls(
    comparisons: Sequence[Comparison], measured: str, reference: str | None, floors: Floors
) -> list[str]:
    """Every limit outside of which a median is or, for a failed run, nothing is known. One sentence each."""
    found = []
    for comparison in comparisons:
        ratios = comparison.ratios(measured, reference) if reference else []
        ours = comparison.series[measured]
        found += floors.missed(
            comparison.row,
            ratio=statistics.median(ratios) if ratios else None,
            own=ours.median_of_own,
            value=ours.median,
        )
    return found


def table(
    comparisons: Sequence[Comparison],
    measured: str,
    peers: Sequence[str],
    floors: Floors,
    *,
    markdown: bool = False,
) -> str:
    """The table, its columns aligned; with the bars of Markdown if `markdown`.

    A server has a column `of own` when a row was measured under two conditions.
    """
    has_own = any(comparison.row.of_own for comparison in comparisons)
    columns = ["per CPU s", "of own"] if has_own else ["per CPU s"]
    header = ["", measured, *columns]
    for peer in peers:
        header += [peer, *columns, "ratio", "min..max"]
        header += ["floor", "goal"] if peer.startswith(floors.reference) else []
    lines = [header]
    for comparison in comparisons:
        row = comparison.row
        line = [row.title, *_values(row, comparison.series[measured], has_own=has_own)]
        for peer in peers:
            ratios = comparison.ratios(measured, peer)
            line += _values(row, comparison.series[peer], has_own=has_own)
            line += [f"{statistics.median(ratios):.2f}", _spread(ratios)] if ratios else [NOTHING, NOTHING]
            line += [floors.text(row), floors.goal_text(row)] if peer.startswith(floors.reference) else []
        lines.append(line)
    return aligned(lines, markdown=markdown)


def aligned(lines: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """Columns of one width: the first to the left, the others to the right; the first line is the header."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    ]
    if markdown:
        return "\n".join("| " + " | ".join(line) + " |" for line in [padded[0], rule, *padded[1:]])
    return "\n".join("  ".join(line).rstrip() for line in padded)


def document(comparisons: Sequence[Comparison], measured: str, peers: Sequence[str]) -> list[dict[str, Any]]:
    """All runs of all rows, for a JSON file."""
    return [
        {
            "name": comparison.row.name,
            "title": comparison.row.title,
            "unit": comparison.row.unit.value,
            "better": comparison.row.better.value,
            "of_own": comparison.row.of_own,
            "servers": {
                name: {
                    "values": [figure.value for figure in series.figures],
                    "per_cpu_second": [figure.per_cpu_second for figure in series.figures],
                    "load_cpu_share": [figure.load_cpu_share for figure in series.figures],
                    "others_cpu_share": [figure.others_cpu_share for figure in series.figures],
                    "of_own": [figure.of_own for figure in series.figures],
                    "notes": [figure.notes for figure in series.figures],
                    "failures": series.failures,
                }
                for name, series in comparison.series.items()
            },
            "ratios": {peer: comparison.ratios(measured, peer) for peer in peers},
        }
        for comparison in comparisons
    ]


def _values(row: Row, series: Series, *, has_own: bool) -> list[str]:
    if series.failures:
        cells = [f"FAILED {len(series.failures)} of {len(series.runs)}", NOTHING, NOTHING]
    else:
        per_cpu_second, of_own = series.median_per_cpu_second, series.median_of_own
        cells = [
            NOTHING if series.median is None else amount(row.unit, series.median),
            "" if per_cpu_second is None else f"{per_cpu_second:,.0f}",
            "" if of_own is None else f"{of_own:.2f}",
        ]
    return cells if has_own else cells[:2]


def _spread(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.2f}..{max(ratios):.2f}"

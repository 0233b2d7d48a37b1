"""Runs become ratios and verdicts rightly."""

from __future__ import annotations

from typing import Final

import pytest
from benchmarks.catalogue import SCENARIOS
from benchmarks.floors import Floors, Limits
from benchmarks.measurements import Figure
from benchmarks.report import Comparison, Series, disturbances, document, failures, shortfalls, table
from benchmarks.run import FLOORS_FILE, order_of_round
from benchmarks.scenarios import Row, Unit

from tests.support.servers import ServerProgram

ROW: Final = Row("one-to-one", "1:1", Unit.MESSAGES_PER_SECOND)
TIME_ROW: Final = Row("request-reply-p50", "p50", Unit.SECONDS)


def compared(row: Row, ours: list[float | str], go: list[float | str]) -> Comparison:
    """Runs of two servers; a text is a failed run."""
    runs = {
        name: Series([run if isinstance(run, str) else Figure(run) for run in values])
        for name, values in (("ours", ours), ("go-2.9.10", go))
    }
    return Comparison(row, runs)


FLOORS: Final = Floors(
    "go-2.9", {"one-to-one": Limits(ratio=0.20, goal=0.5), "request-reply-p50": Limits(ratio=1.3)}
)


def test_ratios_are_those_of_the_pairs_of_each_round() -> None:
    comparison = compared(ROW, [10.0, 30.0], [100.0, 100.0])

    assert comparison.ratios("ours", "go-2.9.10") == [0.1, 0.3]


@pytest.mark.parametrize(
    ("row", "ours", "short"),
    [
        (ROW, [19.0, 19.0, 90.0], True),
        (ROW, [10.0, 20.0, 20.0], False),
        (TIME_ROW, [131.0, 131.0, 100.0], True),
        (TIME_ROW, [130.0, 130.0, 900.0], False),
        (Row("publish", "publish", Unit.MESSAGES_PER_SECOND), [1.0, 1.0, 1.0], False),
    ],
    ids=["rate below", "rate at", "time above", "time at", "no floor"],
)
def test_a_median_ratio_outside_its_floor_is_a_shortfall(
    row: Row, ours: list[float | str], short: bool
) -> None:
    found = shortfalls([compared(row, ours, [100.0] * 3)], "ours", "go-2.9.10", FLOORS)

    assert len(found) == short


def test_a_failed_run_fails_its_row_and_the_table_says_so() -> None:
    comparison = compared(ROW, [90.0, "closed", 90.0], [100.0, 100.0, 100.0])

    assert failures([comparison]) == ["one-to-one, ours, run 2: closed"]
    assert shortfalls([comparison], "ours", "go-2.9.10", FLOORS) == ["one-to-one: no ratio, ≥ 0.20 is wanted"]
    assert "FAILED 1 of 3" in table([comparison], "ours", ["go-2.9.10"], FLOORS)


def test_the_table_states_medians_and_the_spread_of_the_ratio() -> None:
    text = table(
        [compared(ROW, [20.0, 30.0, 25.0], [100.0] * 3)], "ours", ["go-2.9.10"], FLOORS, markdown=True
    )

    cells = [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")]
    assert cells == ["1:1", "25 msg/s", "", "100 msg/s", "", "0.25", "0.20..0.30", "≥ 0.20", "≥ 0.50"]


def test_runs_beside_other_work_are_reported() -> None:
    quiet, busy = Figure(1.0, others_cpu_share=0.02), Figure(1.0, others_cpu_share=0.8)
    comparison = Comparison(ROW, {"ours": Series([quiet, busy]), "go-2.9.10": Series([quiet, "closed"])})

    assert disturbances([comparison]) == [
        "one-to-one: other work kept up to 0.8 processors busy in 1 of 3 runs"
    ]


def test_every_floor_names_a_row_of_a_scenario() -> None:
    rows = [row for scenario in SCENARIOS for row in scenario.rows]

    floors = Floors.parse(FLOORS_FILE.read_text(), rows)

    assert floors.reference == "go-2.9"
    assert floors.limits["one-to-one"] == Limits(ratio=1.8, goal=2.0)
    assert floors.limits["one-to-one-churn"] == Limits(own=0.7)
    assert floors.limits["literals-stall"] == Limits(value=0.050)


@pytest.mark.parametrize(
    "text",
    [
        'reference = "go"\n[rows.nothing]\nratio_min = 1',
        'reference = "go"\n[rows.one-to-one]\nratio_max = 1',
        'reference = "go"\n[rows.one-to-one]\nown_min = 1',
        'reference = "go"\n[rows.one-to-one]\ngoal = 1',
    ],
    ids=["unknown row", "wrong side", "no other condition", "only a goal"],
)
def test_a_floor_that_could_never_fail_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="floors: "):
        Floors.parse(text, [ROW])


def test_every_second_round_runs_backwards() -> None:
    ours, go = (ServerProgram(name, (name,), "go", None) for name in ("ours", "go"))

    rounds = [order_of_round([ours, go], number) for number in range(4)]

    assert rounds == [[ours, go], [go, ours], [ours, go], [go, ours]]


OWN_ROW: Final = Row("churn", "1:1 beside churn", Unit.MESSAGES_PER_SECOND, "without")
OWN_TIME_ROW: Final = Row("match", "match", Unit.SECONDS, "with 1,000")
STALL_ROW: Final = Row("stall", "longest stall", Unit.SECONDS)
OTHER_FLOORS: Final = Floors(
    "go-2.9", {"churn": Limits(own=0.7), "match": Limits(own=1.5), "stall": Limits(value=0.050)}
)


def own(row: Row, ratios: list[float]) -> Comparison:
    """Runs that were divided by another condition of the same server; the peer does badly."""
    ours = Series([Figure(100.0, of_own=ratio) for ratio in ratios])
    return Comparison(row, {"ours": ours, "go-2.9.10": Series([Figure(1.0, of_own=0.1) for _ in ratios])})


@pytest.mark.parametrize(
    ("comparison", "missed"),
    [
        (
            own(OWN_ROW, [0.6, 0.69, 0.9]),
            ["churn: the ratio to our own without is 0.690, own ≥ 0.70 is wanted"],
        ),
        (own(OWN_ROW, [0.6, 0.70, 0.9]), []),
        (
            own(OWN_TIME_ROW, [1.0, 1.6, 1.7]),
            ["match: the ratio to our own with 1,000 is 1.600, own ≤ 1.50 is wanted"],
        ),
        (own(OWN_TIME_ROW, [1.0, 1.5, 1.7]), []),
        (
            compared(STALL_ROW, [0.051, 0.051, 0.001], [1.0] * 3),
            ["stall: the figure is 51.0 ms, ≤ 50.0 ms is wanted"],
        ),
        (compared(STALL_ROW, [0.050, 0.050, 0.9], [0.001] * 3), []),
        (compared(STALL_ROW, [0.01, "closed", 0.01], [1.0] * 3), ["stall: no figure, ≤ 50.0 ms is wanted"]),
    ],
    ids=["own below", "own at", "own above", "own time at", "figure above", "figure at", "failed"],
)
def test_a_figure_is_held_to_our_other_condition_or_to_a_bound_of_its_own(
    comparison: Comparison, missed: list[str]
) -> None:
    assert shortfalls([comparison], "ours", "go-2.9.10", OTHER_FLOORS) == missed


def test_the_ratio_to_our_other_condition_has_a_column_when_there_is_one() -> None:
    text = table([own(OWN_ROW, [0.6, 0.8, 0.9])], "ours", ["go-2.9.10"], OTHER_FLOORS, markdown=True)

    header, _, line = ([cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines())
    assert dict(zip(header[1:4], line[1:4], strict=True)) == {
        "ours": "100 msg/s",
        "per CPU s": "",
        "of own": "0.80",
    }
    assert line[-2:] == ["own ≥ 0.70", ""]


def test_what_else_was_counted_stands_in_the_document() -> None:
    figure = Figure(1.0, of_own=0.8, notes={"sub_and_unsub_per_second": 99_000.0})

    [row] = document([Comparison(OWN_ROW, {"ours": Series([figure])})], "ours", [])

    assert row["servers"]["ours"]["of_own"] == [0.8]
    assert row["servers"]["ours"]["notes"] == [{"sub_and_unsub_per_second": 99_000.0}]


def test_rows_have_names_of_their_own() -> None:
    names = [row.name for scenario in SCENARIOS for row in scenario.rows]

    assert len(set(names)) == len(names)

"""Places count as nats-server counts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from natscore_cli.conf.tree import Node, Place, Source, plain


@pytest.mark.spec("configuration 2.1")
@pytest.mark.parametrize(
    ("text", "offset", "line", "column"),
    [
        ("abc", 0, 1, 0),
        ("abc", 2, 1, 2),
        ("a\nbc", 2, 2, 1),
        ("a\nbc", 3, 2, 2),
        ("\n\n x", 3, 3, 2),
        ("é x", 2, 1, 3),
    ],
)
def test_columns_count_bytes_from_0_in_the_first_line_and_from_1_in_others(
    text: str, offset: int, line: int, column: int
) -> None:
    assert Source("dir/c.conf", text).place(offset) == Place("dir/c.conf", line, column)


def test_a_place_is_written_with_colons() -> None:
    assert str(Place("c.conf", 3, 7)) == "c.conf:3:7"


def test_a_tree_can_be_had_without_places() -> None:
    here = Place("c.conf", 1, 0)
    moment = datetime(2016, 5, 4, tzinfo=UTC)
    tree = Node({"a": Node([Node(1, here), Node(moment, here)], here), "b": Node("c", here)}, here)

    assert plain(tree) == {"a": [1, moment], "b": "c"}

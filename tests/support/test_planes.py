"""Every test runs on the data planes that it is to run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from natscore.dataplane import PureDataPlane
from natscore.replay import replay
from natscore.server import Server
from natscore.testing import PairedDataPlane, World
from tests.support.planes import chosen_plane, is_needed, planes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.entropy import Xorshift64
    from natscore.plane import DataPlane

CORE = "tests/unit/core/test_server.py"


@pytest.mark.parametrize(
    ("path", "marks", "expected"),
    [
        (CORE, {"spec"}, ("paired",)),
        (CORE, {"slow"}, ("compiled",)),
        (CORE, {"every_plane", "slow"}, ("pure", "compiled", "paired")),
        (CORE, {"every_plane", "pure_plane"}, ("pure",)),
        ("tests/simulation/test_turns.py", set(), ("paired",)),
        ("tests/properties/test_links.py", set(), ("paired",)),
        ("tests/unit/transport_tcp/test_runtime.py", set(), ("pure",)),
        ("tests/command/test_running.py", set(), ("pure",)),
    ],
)
def test_by_itself_a_test_runs_on_the_pair_where_that_shows_most(
    path: str, marks: set[str], expected: tuple[str, ...]
) -> None:
    assert planes_of(path, marks, "auto", True) == expected
    assert planes_of(path, marks, "auto", False) == ("pure",)


@pytest.mark.parametrize("chosen", ["pure", "compiled", "paired", "twins"])
def test_a_plane_that_is_asked_for_is_taken_but_for_tests_that_look_into_the_pure_one(chosen: str) -> None:
    assert planes_of(CORE, {"every_plane"}, chosen, True) == (chosen,)
    assert planes_of("tests/command/test_running.py", set(), chosen, True) == (chosen,)
    assert planes_of(CORE, {"pure_plane"}, chosen, True) == ("pure",)


@pytest.mark.parametrize(
    ("chosen", "is_ci", "needed"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("pure", True, False),
        ("paired", False, True),
        ("compiled", False, True),
    ],
)
def test_where_the_whole_is_decided_the_compiled_plane_must_be_there(
    chosen: str, is_ci: bool, needed: bool
) -> None:
    assert is_needed(chosen, is_ci) is needed


def test_the_plane_of_a_test_is_the_default_of_whatever_takes_one(
    data_plane: Callable[[Xorshift64], DataPlane],
) -> None:
    assert chosen_plane() is data_plane
    assert World().data_plane is data_plane
    for function in (Server.__init__, replay):
        assert (function.__kwdefaults__ or {})["data_plane"] is data_plane


@pytest.mark.pure_plane
def test_a_test_that_looks_into_the_pure_plane_has_it(data_plane: Callable[[Xorshift64], DataPlane]) -> None:
    assert data_plane is PureDataPlane


def test_a_plane_that_a_test_names_is_taken() -> None:
    twins = PairedDataPlane.of(PureDataPlane, PureDataPlane)

    server = World(data_plane=twins).server()

    assert isinstance(server.state.plane, PairedDataPlane)

"""What holds for every test: how long properties search, how many seeds, the data plane, no skips in CI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, settings

from tests.support import planes
from tests.support.skips import pytest_make_collect_report, pytest_runtest_makereport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscore.entropy import Xorshift64
    from natscore.plane import DataPlane

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]

SEEDS_DEFAULT: Final = 20

# A loaded machine must not make a property fail, so there is no deadline. A run must not depend on the one
# before it, so `fast` takes the same examples each time; `deep` (nox -s simulate) searches anew.
settings.register_profile(
    "fast", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "deep", deadline=None, max_examples=1000, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fast")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--seeds` and `--plane`."""
    parser.addoption(
        "--seeds", type=int, default=SEEDS_DEFAULT, metavar="N",
        help=f"run each test with an argument `seed` for the seeds 0 to N-1 (default {SEEDS_DEFAULT})",
    )  # fmt: skip
    planes.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run without a data plane that was asked for."""
    planes.require_compiled(config)


@pytest.fixture(autouse=True)
def data_plane(request: pytest.FixtureRequest) -> Iterator[Callable[[Xorshift64], DataPlane]]:
    """What makes the data plane of this test; the default of World, Server and replay."""
    yield from planes.use(request)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the argument `seed` its values, unless the test names them itself, and choose data planes."""
    named = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "seed" in metafunc.fixturenames and not any("seed" in names for names in named):
        metafunc.parametrize("seed", range(metafunc.config.getoption("--seeds")))
    planes.parametrize(metafunc)

"""What holds for every test: how long properties search, how many seeds, and that CI skips nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hypothesis import HealthCheck, settings

from tests.support.skips import pytest_make_collect_report, pytest_runtest_makereport

if TYPE_CHECKING:
    import pytest

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
    """Add `--seeds`."""
    parser.addoption(
        "--seeds", type=int, default=SEEDS_DEFAULT, metavar="N",
        help=f"run each test with an argument `seed` for the seeds 0 to N-1 (default {SEEDS_DEFAULT})",
    )  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the argument `seed` its values, unless the test names them itself."""
    named = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "seed" in metafunc.fixturenames and not any("seed" in names for names in named):
        metafunc.parametrize("seed", range(metafunc.config.getoption("--seeds")))

"""The public names of the package."""

from __future__ import annotations

import importlib
import pkgutil
import re

import natscore
from natscore import events
from natscore.version import PRODUCT, VERSION


def test_every_public_name_is_there_and_in_order() -> None:
    assert sorted(natscore.__all__) == natscore.__all__
    assert all(hasattr(natscore, name) for name in natscore.__all__)


def test_every_event_is_public() -> None:
    assert set(events.__all__) <= set(natscore.__all__)


def test_every_module_names_what_it_exports() -> None:
    for module in pkgutil.walk_packages(natscore.__path__, "natscore."):
        if module.name == "natscore.testing.fixtures" or module.ispkg:
            continue
        loaded = importlib.import_module(module.name)
        assert all(hasattr(loaded, name) for name in loaded.__all__), module.name
        assert loaded.__doc__, module.name


def test_the_product_names_its_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert f"natscore/{VERSION}" == PRODUCT

"""The servers that are attacked."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from tests.attack.watch import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import ServerProgram


@pytest.fixture(params=OURS, ids=str)
def program(request: pytest.FixtureRequest) -> ServerProgram:
    """Our server on each async backend in turn."""
    found: ServerProgram = request.param
    return found


@pytest.fixture(autouse=True)
def _many_descriptors() -> Iterator[None]:
    """Let one process hold thousands of connections, as far as the machine allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)

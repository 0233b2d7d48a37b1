"""The Python client library (nats-py), with every wait bounded.

The library is asyncio; a test is one coroutine under `run`. A server sends a PONG
behind all that it queued to the connection before: after the publisher and then the
subscriber have settled, `arrived` is complete and nothing else will come.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nats.aio.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

__all__ = ["WAIT_SECONDS_MAX", "arrived", "connected", "run", "settle"]

WAIT_SECONDS_MAX: Final = 4
TEST_SECONDS_MAX: Final = 10

T = TypeVar("T")


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run one test, and fail when it does not end."""

    async def bounded() -> T:
        return await asyncio.wait_for(test, TEST_SECONDS_MAX)

    return asyncio.run(bounded())


@contextlib.asynccontextmanager
async def connected(url: str | list[str], **options: Any) -> AsyncIterator[Client]:
    """A connection, closed at the end, also when it could not be made.

    An error that the library reports fails the test; a test that expects errors
    passes its own `error_cb`.
    """
    errors: list[Exception] = []

    async def note(error: Exception) -> None:
        errors.append(error)

    settings: dict[str, Any] = {
        "connect_timeout": WAIT_SECONDS_MAX,
        "allow_reconnect": False,
        "error_cb": note,
    }
    client = Client()
    try:
        await client.connect(url, **(settings | options))
        yield client
    finally:
        await client.close()
    assert errors == []


async def settle(*clients: Client) -> None:
    """Wait until the server has done all that was asked; name publishers before their subscribers."""
    for client in clients:
        # The library writes the PING of a flush at once, before the commands that it still
        # buffers. They leave while the first PONG is under way, so the second PONG follows them.
        await client.flush(WAIT_SECONDS_MAX)
        await client.flush(WAIT_SECONDS_MAX)


async def arrived(subscription: Subscription) -> list[Msg]:
    """What has come so far and was not taken yet; never waits."""
    return [await subscription.next_msg(WAIT_SECONDS_MAX) for _ in range(subscription.pending_msgs)]

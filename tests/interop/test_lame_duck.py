"""Clients of a server that goes away gently, with another one to go to."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio
import nats.errors
import pytest

from natscore.options import MILLISECOND, SECOND, Options
from natscore_tcp import serve
from tests.interop.python_client import WAIT_SECONDS_MAX, connected, run

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

pytestmark = pytest.mark.interop

CLIENTS = 20


class Speaker:
    """Says numbers to itself, each when it has heard the one before."""

    def __init__(self, name: str) -> None:
        self.subject = f"speaker.{name}"
        self.heard: list[int] = []
        self.said_again: list[int] = []  # numbers that were on their way when the connection was cut
        self.warned = asyncio.Event()  # a server said that it goes away
        self.moved = asyncio.Event()
        self._heard_one = asyncio.Event()

    async def warn(self) -> None:
        self.warned.set()

    async def move(self) -> None:
        self.moved.set()

    async def expect(self, error: Exception) -> None:
        """That a connection was cut is no failure here."""
        assert isinstance(error, nats.errors.UnexpectedEOF | ConnectionError), error

    async def hear(self, message: Msg) -> None:
        self.heard.append(int(message.data))
        self._heard_one.set()

    async def speak(self, client: Client, over: asyncio.Event) -> None:
        number = 0
        while not over.is_set():
            self._heard_one.clear()
            await client.publish(self.subject, str(number).encode())
            heard = asyncio.ensure_future(self._heard_one.wait())
            cut = asyncio.ensure_future(self.moved.wait())
            first = {heard} if self.moved.is_set() else {heard, cut}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_SECONDS_MAX)
            if heard.done():
                number += 1
            else:
                self.said_again.append(number)
            heard.cancel()
            cut.cancel()


@pytest.mark.spec("operations 10", "client-protocol 19.3")
def test_twenty_clients_move_to_another_server_and_lose_nothing() -> None:
    options = Options(lame_duck_grace_period_ns=300 * MILLISECOND, lame_duck_duration_ns=2 * SECOND)

    async def scenario() -> list[Speaker]:
        speakers = [Speaker(str(number)) for number in range(CLIENTS)]
        over = asyncio.Event()
        async with AsyncExitStack() as stack:
            leaving = await stack.enter_async_context(serve(options))
            staying = await stack.enter_async_context(serve())
            clients = [
                await stack.enter_async_context(
                    connected(
                        [leaving.url, staying.url],
                        dont_randomize=True,
                        allow_reconnect=True,
                        reconnect_time_wait=0,
                        lame_duck_mode_cb=speaker.warn,
                        reconnected_cb=speaker.move,
                        error_cb=speaker.expect,
                    )
                )
                for speaker in speakers
            ]
            group = await stack.enter_async_context(anyio.create_task_group())
            for speaker, client in zip(speakers, clients, strict=True):
                await client.subscribe(speaker.subject, cb=speaker.hear)
                group.start_soon(speaker.speak, client, over)
            await leaving.runtime.retire()
            for speaker in speakers:
                await asyncio.wait_for(speaker.moved.wait(), WAIT_SECONDS_MAX)
                assert speaker.warned.is_set()
            assert staying.server.state.open_connections == CLIENTS
            over.set()
        return speakers

    for speaker in run(scenario()):
        assert len(speaker.said_again) <= 1
        assert sorted(set(speaker.heard)) == list(range(max(speaker.heard) + 1))

"""nats-py clients of a server that reads its file again and again while they talk."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import pytest

from tests.command.process import Process
from tests.interop.python_client import arrived, connected, run, settle

if TYPE_CHECKING:
    from pathlib import Path

RELOADS: Final = 10
BATCH: Final = 500
SUBSCRIBERS: Final = 4


def text(number: int) -> str:
    """A file that differs from the one before in users, permissions, accounts and limits."""
    guest = f"{{user: guest{number}, password: p}}"
    denied = f'permissions: {{ subscribe: {{ deny: "secret.{number}" }} }}'
    users = f"{{user: a, password: p}}, {guest}, {{user: b, password: p, {denied}}}"
    return (
        "listen: 127.0.0.1:-1\n"
        f"max_payload: {10_000 + number}, max_connections: {100 + number}, ping_max: {number + 3}\n"
        f"authorization {{ users: [ {users} ] }}\n"
        f"accounts {{ A{number}: {{ exports: [ {{stream: s}} ] }} }}\n"
    )


@pytest.mark.spec("operations 9.3")
def test_reloads_under_load_lose_nothing_for_clients_that_keep_their_right(tmp_path: Path) -> None:
    file = tmp_path / "server.conf"
    file.write_text(text(0))

    async def talk(server: Process) -> None:
        url = f"nats://127.0.0.1:{server.port}"
        async with AsyncExitStack() as stack:
            publisher = await stack.enter_async_context(connected(url, user="a", password="p"))
            subscribers = [
                await stack.enter_async_context(connected(url, user="ab"[number % 2], password="p"))
                for number in range(SUBSCRIBERS)
            ]
            subscriptions = [await one.subscribe("numbers.*") for one in subscribers]
            groups = [await one.subscribe("numbers.*", queue="g") for one in subscribers]
            for one in subscribers:
                await settle(one)
            for number in range(1, RELOADS + 1):
                file.write_text(text(number))
                server.send(signal.SIGHUP)
                for position in range(BATCH):
                    count = (number - 1) * BATCH + position
                    await publisher.publish(f"numbers.{count % 7}", b"%d" % count)
                await publisher.flush()
                server.wait_for(f"Reloaded: ping_max = {number + 3}\n")
            await settle(publisher)
            for one in subscribers:
                await settle(one)

            wanted = list(range(RELOADS * BATCH))
            for subscription in subscriptions:
                assert [int(message.data) for message in await arrived(subscription)] == wanted
            shared = [int(message.data) for group in groups for message in await arrived(group)]
            assert sorted(shared) == wanted

    with Process("-c", str(file)) as server:
        server.wait_for("Server is ready")
        run(talk(server))

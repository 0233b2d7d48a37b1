"""The Python and the Node.js libraries together on one server."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.interop.node_scripts import LIBRARIES, Node, NodeLibrary
from tests.interop.python_client import WAIT_SECONDS_MAX, arrived, connected, run, settle

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from tests.support.servers import RunningServer

pytestmark = [pytest.mark.interop, pytest.mark.parametrize("library", LIBRARIES, ids=str)]

MESSAGES: Final = 100
HEADERS: Final = {"X-One": "1", "mixed-Case": "a: b:c", "X-Text": "Grüße"}


def values_of(library: NodeLibrary) -> dict[str, list[str]] | None:
    """HEADERS as a script of this library reports them."""
    return {key: [value] for key, value in HEADERS.items()} if library.has_headers else None


@pytest.mark.spec("client-protocol 10.5")
def test_node_subscriber_receives_what_python_publishes(
    node: Node, server: RunningServer, prefix: str, library: NodeLibrary
) -> None:
    payloads = [b"", b"\r\n", b"\x00\xff", b"x" * 100_000]

    async def scenario() -> Any:
        async with (
            node.running(library, "collect_until_end", server.url, prefix=prefix) as script,
            connected(server.url) as publisher,
        ):
            await script.wait_until_ready()
            for payload in payloads:
                await publisher.publish(f"{prefix}.mixed", payload, headers=HEADERS)
                await publisher.publish(f"{prefix}.mixed", payload)
            await publisher.publish(f"{prefix}.end")
            await settle(publisher)
            return await script.details()

    received = run(scenario())

    # A library without headers receives the same messages with the header block removed.
    assert [bytes.fromhex(message["payload"]) for message in received] == [
        payload for payload in payloads for _ in range(2)
    ]
    assert [message["headers"] for message in received] == [values_of(library), None] * len(payloads)


@pytest.mark.spec("client-protocol 10.5")
def test_python_subscriber_receives_what_node_publishes(
    node: Node, server: RunningServer, prefix: str, library: NodeLibrary
) -> None:
    async def scenario() -> list[Msg]:
        async with connected(server.url) as subscriber:
            subscription = await subscriber.subscribe(f"{prefix}.mixed")
            await settle(subscriber)
            async with node.running(
                library, "publish", server.url, prefix=prefix, count=MESSAGES, headers=HEADERS
            ) as script:
                assert await script.details() == {"published": MESSAGES}
            await settle(subscriber)
            return await arrived(subscription)

    received = run(scenario())

    headers = HEADERS if library.has_headers else None
    assert [(message.data, message.headers) for message in received] == [
        (str(number).encode(), headers) for number in range(MESSAGES)
    ]


@pytest.mark.spec("client-protocol 9")
def test_queue_group_is_shared_by_python_and_node(
    node: Node, server: RunningServer, prefix: str, library: NodeLibrary
) -> None:
    async def scenario() -> tuple[list[bytes], list[bytes]]:
        async with (
            node.running(library, "collect_until_end", server.url, prefix=prefix, queue="q") as script,
            connected(server.url) as member,
            connected(server.url) as publisher,
        ):
            subscription = await member.subscribe(f"{prefix}.mixed", queue="q")
            await settle(member)
            await script.wait_until_ready()
            for number in range(MESSAGES):
                await publisher.publish(f"{prefix}.mixed", str(number).encode())
            await publisher.publish(f"{prefix}.end")
            await settle(publisher, member)
            there = [bytes.fromhex(message["payload"]) for message in await script.details()]
            return [message.data for message in await arrived(subscription)], there

    here, there = run(scenario())

    assert Counter(here + there) == Counter(str(number).encode() for number in range(MESSAGES))
    # 100 fair draws between two: fewer than 15 happen once in 10^12 runs.
    assert min(len(here), len(there)) >= 15


def test_node_answers_a_python_request(
    node: Node, server: RunningServer, prefix: str, library: NodeLibrary
) -> None:
    async def scenario() -> tuple[Msg, Any]:
        async with (
            node.running(library, "respond", server.url, prefix=prefix) as script,
            connected(server.url) as requester,
        ):
            await script.wait_until_ready()
            reply = await requester.request(
                f"{prefix}.upper", b"question", timeout=WAIT_SECONDS_MAX, headers=HEADERS
            )
            await requester.publish(f"{prefix}.end")
            await settle(requester)
            return reply, await script.details()

    reply, details = run(scenario())

    assert reply.data == b"QUESTION"
    assert reply.headers == (HEADERS if library.has_headers else None)
    assert details == {"requests": 1}


def test_python_answers_a_node_request(
    node: Node, server: RunningServer, prefix: str, library: NodeLibrary
) -> None:
    async def scenario() -> Any:
        async with connected(server.url) as responder:

            async def answer(message: Msg) -> None:
                await responder.publish(message.reply, message.data.upper(), headers=message.headers)

            await responder.subscribe(f"{prefix}.upper", cb=answer)
            await settle(responder)
            async with node.running(library, "request", server.url, prefix=prefix, headers=HEADERS) as script:
                return await script.details()

    assert run(scenario()) == {"headers": values_of(library), "text": "QUESTION"}

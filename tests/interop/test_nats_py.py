"""The Python client library against each server."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import pytest

from tests.interop.python_client import WAIT_SECONDS_MAX, arrived, connected, run, settle
from tests.support.servers import RunningServer, ServerProgram, start

if TYPE_CHECKING:
    from pathlib import Path

    from nats.aio.client import Client
    from nats.aio.msg import Msg

pytestmark = pytest.mark.interop

MESSAGES: Final = 200
MAX_PAYLOAD: Final = 1_048_576


@pytest.mark.spec("client-protocol 10.2")
def test_subscriber_receives_all_messages_in_order_with_their_exact_bytes(
    server: RunningServer, prefix: str
) -> None:
    payloads = [str(number).encode() for number in range(MESSAGES)]
    payloads += [b"", b"\r\n", b"PUB a 1\r\nx\r\n", b"+OK\r\n-ERR 'no'\r\n", b"\x00\xff\r\n\x80"]

    async def scenario() -> list[Msg]:
        async with connected(server.url) as publisher, connected(server.url) as subscriber:
            subscription = await subscriber.subscribe(f"{prefix}.all")
            await settle(subscriber)
            for payload in payloads:
                await publisher.publish(f"{prefix}.all", payload)
            await settle(publisher, subscriber)
            return await arrived(subscription)

    messages = run(scenario())

    assert [message.data for message in messages] == payloads
    assert {(message.subject, message.reply, message.headers) for message in messages} == {
        (f"{prefix}.all", "", None)
    }


@pytest.mark.spec("client-protocol 9")
def test_each_queue_group_receives_a_message_once_and_shares_the_work(
    server: RunningServer, prefix: str
) -> None:
    members = [("jobs", "workers"), ("jobs", "workers"), ("*", "workers"), ("jobs", "audit"), ("jobs", "")]

    async def scenario() -> list[list[bytes]]:
        async with AsyncExitStack() as stack:
            publisher = await stack.enter_async_context(connected(server.url))
            clients = [await stack.enter_async_context(connected(server.url)) for _ in members]
            subscriptions = [
                await client.subscribe(f"{prefix}.{subject}", queue=queue)
                for client, (subject, queue) in zip(clients, members, strict=True)
            ]
            await settle(*clients)
            for number in range(MESSAGES):
                await publisher.publish(f"{prefix}.jobs", str(number).encode())
            await settle(publisher, *clients)
            return [
                [message.data for message in await arrived(subscription)] for subscription in subscriptions
            ]

    *workers, audit, plain = run(scenario())

    everything = [str(number).encode() for number in range(MESSAGES)]
    assert Counter(payload for worker in workers for payload in worker) == Counter(everything)
    # 200 fair draws among three: fewer than 20 happen once in 10^13 runs.
    assert min(map(len, workers)) >= 20
    assert audit == everything
    assert plain == everything


@pytest.mark.parametrize("old_style", [False, True], ids=["shared-inbox", "own-inbox"])
def test_requests_are_answered(server: RunningServer, prefix: str, old_style: bool) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(message.data.upper())

    async def scenario() -> list[bytes]:
        async with connected(server.url) as requester, connected(server.url) as responder:
            await responder.subscribe(f"{prefix}.upper", queue="responders", cb=answer)
            await settle(responder)
            replies = await asyncio.gather(
                *(
                    requester.request(
                        f"{prefix}.upper",
                        f"word-{number}".encode(),
                        timeout=WAIT_SECONDS_MAX,
                        old_style=old_style,
                    )
                    for number in range(20)
                )
            )
            return [reply.data for reply in replies]

    assert run(scenario()) == [f"WORD-{number}".encode() for number in range(20)]


@pytest.mark.parametrize("old_style", [False, True], ids=["shared-inbox", "own-inbox"])
@pytest.mark.spec("client-protocol 10.4")
def test_request_without_responders_fails_at_once(
    server: RunningServer, prefix: str, old_style: bool
) -> None:
    async def scenario() -> None:
        async with connected(server.url) as requester:
            with pytest.raises(nats.errors.NoRespondersError):
                await requester.request(f"{prefix}.nobody", timeout=WAIT_SECONDS_MAX, old_style=old_style)

    run(scenario())


@pytest.mark.spec("client-protocol 10.4")
def test_status_of_missing_responders_names_the_subject(
    server: RunningServer, prefix: str, speaks_2_12: bool
) -> None:
    async def scenario() -> list[Msg]:
        async with connected(server.url) as requester:
            inbox = requester.new_inbox()
            subscription = await requester.subscribe(inbox)
            await requester.publish(f"{prefix}.nobody", b"?", reply=inbox)
            await settle(requester)
            return await arrived(subscription)

    [status] = run(scenario())

    assert status.data == b""
    assert status.headers is not None
    assert status.headers["Status"] == "503"
    assert status.headers.get("Nats-Subject") == (f"{prefix}.nobody" if speaks_2_12 else None)


@pytest.mark.spec("client-protocol 10.5")
def test_headers_arrive_unchanged_also_in_replies(server: RunningServer, prefix: str) -> None:
    headers = {"X-One": "1", "mixed-Case": "a: b:c", "X-Text": "Grüße"}

    async def scenario() -> tuple[list[Msg], Msg]:
        async with connected(server.url) as publisher, connected(server.url) as subscriber:

            async def echo(message: Msg) -> None:
                await subscriber.publish(message.reply, message.data, headers=message.headers)

            subscription = await subscriber.subscribe(f"{prefix}.headers")
            await subscriber.subscribe(f"{prefix}.echo", cb=echo)
            await settle(subscriber)
            await publisher.publish(f"{prefix}.headers", b"with payload", headers=headers)
            await publisher.publish(f"{prefix}.headers", b"", headers=headers)
            await publisher.publish(f"{prefix}.headers", b"no headers")
            await settle(publisher, subscriber)
            reply = await publisher.request(
                f"{prefix}.echo", b"echo", timeout=WAIT_SECONDS_MAX, headers=headers
            )
            return await arrived(subscription), reply

    messages, reply = run(scenario())

    assert [(message.headers, message.data) for message in messages] == [
        (headers, b"with payload"),
        (headers, b""),
        (None, b"no headers"),
    ]
    assert (reply.headers, reply.data) == (headers, b"echo")


def test_draining_member_of_a_queue_group_loses_no_message(server: RunningServer, prefix: str) -> None:
    async def scenario() -> tuple[bool, list[bytes], int, int]:
        left: list[bytes] = []

        async def keep(message: Msg) -> None:
            left.append(message.data)

        async with (
            connected(server.url) as publisher,
            connected(server.url) as leaving,
            connected(server.url) as staying,
        ):
            await leaving.subscribe(f"{prefix}.work", queue="q", cb=keep)
            subscription = await staying.subscribe(f"{prefix}.work", queue="q")
            await settle(leaving, staying)

            async def publish(start: int, stop: int) -> None:
                for number in range(start, stop):
                    await publisher.publish(f"{prefix}.work", str(number).encode())
                await settle(publisher)

            # Nothing is published during the drain: the library drops what comes between the PONG
            # that it waits for and its UNSUB, because it sends the PING before the UNSUB.
            await publish(0, MESSAGES)
            await leaving.drain()
            left_while_draining = len(left)
            await publish(MESSAGES, 2 * MESSAGES)
            await settle(staying)
            stayed = [message.data for message in await arrived(subscription)]
            return leaving.is_closed, left + stayed, left_while_draining, len(left)

    is_closed, everything, left_while_draining, left_at_the_end = run(scenario())

    assert is_closed
    assert Counter(everything) == Counter(str(number).encode() for number in range(2 * MESSAGES))
    assert left_at_the_end == left_while_draining > 0


def test_drained_subscription_leaves_the_connection_open(server: RunningServer, prefix: str) -> None:
    async def scenario() -> list[bytes]:
        async with connected(server.url) as client:
            received: list[bytes] = []

            async def keep(message: Msg) -> None:
                received.append(message.data)

            subscription: Any = await client.subscribe(f"{prefix}.work", cb=keep)  # its drain is not typed
            await client.publish(f"{prefix}.work", b"before")
            await settle(client)
            await subscription.drain()
            await client.publish(f"{prefix}.work", b"after")
            with pytest.raises(nats.errors.NoRespondersError):
                await client.request(f"{prefix}.work", timeout=WAIT_SECONDS_MAX)
            return received

    assert run(scenario()) == [b"before"]


@pytest.mark.spec("client-protocol 8.3")
def test_subscription_ends_after_its_maximum(server: RunningServer, prefix: str) -> None:
    async def scenario() -> tuple[list[bytes], list[bytes]]:
        async with connected(server.url) as publisher, connected(server.url) as subscriber:
            at_once = await subscriber.subscribe(f"{prefix}.limited")
            await at_once.unsubscribe(limit=3)
            later = await subscriber.subscribe(f"{prefix}.limited")
            await settle(subscriber)
            for number in range(2):
                await publisher.publish(f"{prefix}.limited", str(number).encode())
            await settle(publisher, subscriber)
            await later.unsubscribe(limit=5)  # counts the two that came before
            await settle(subscriber)
            for number in range(2, 12):
                await publisher.publish(f"{prefix}.limited", str(number).encode())
            await settle(publisher, subscriber)
            with pytest.raises(nats.errors.NoRespondersError):
                await publisher.request(f"{prefix}.limited", timeout=WAIT_SECONDS_MAX)
            return (
                [message.data for message in await arrived(at_once)],
                [message.data for message in await arrived(later)],
            )

    at_once, later = run(scenario())

    assert at_once == [b"0", b"1", b"2"]
    assert later == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.spec("client-protocol 7.1", "client-protocol 8.2")
def test_each_subscription_receives_what_its_wildcards_match(server: RunningServer, prefix: str) -> None:
    patterns = ["orders.created", "orders.*", "*.created", "orders.>", ">", "*.*.*"]
    published = ["orders.created", "orders.deleted", "users.created", "orders", "orders.eu.created"]

    async def scenario() -> dict[str, list[str]]:
        async with connected(server.url) as publisher, connected(server.url) as subscriber:
            subscriptions = {
                pattern: await subscriber.subscribe(f"{prefix}.{pattern}") for pattern in patterns
            }
            await settle(subscriber)
            for subject in published:
                await publisher.publish(f"{prefix}.{subject}")
            await settle(publisher, subscriber)
            tail = slice(len(f"{prefix}."), None)
            return {
                pattern: [message.subject[tail] for message in await arrived(subscription)]
                for pattern, subscription in subscriptions.items()
            }

    assert run(scenario()) == {
        "orders.created": ["orders.created"],
        "orders.*": ["orders.created", "orders.deleted"],
        "*.created": ["orders.created", "users.created"],
        "orders.>": ["orders.created", "orders.deleted", "orders.eu.created"],
        ">": published,
        "*.*.*": ["orders.eu.created"],
    }


def test_payload_of_exactly_the_maximum_arrives_intact(server: RunningServer, prefix: str) -> None:
    payload = random.Random(0).randbytes(MAX_PAYLOAD)

    async def scenario() -> list[bytes]:
        async with connected(server.url) as publisher, connected(server.url) as subscriber:
            subscription = await subscriber.subscribe(f"{prefix}.large")
            await settle(subscriber)
            for size in (MAX_PAYLOAD, 70_000, MAX_PAYLOAD):
                await publisher.publish(f"{prefix}.large", payload[:size])
            with pytest.raises(nats.errors.MaxPayloadError):
                await publisher.publish(f"{prefix}.large", payload + b"!")
            await settle(publisher, subscriber)
            return [message.data for message in await arrived(subscription)]

    received = run(scenario())

    assert [len(data) for data in received] == [MAX_PAYLOAD, 70_000, MAX_PAYLOAD]
    assert [hashlib.sha256(data).digest() for data in received] == [
        hashlib.sha256(payload[: len(data)]).digest() for data in received
    ]


@pytest.mark.spec("client-protocol 6")
def test_connection_without_echo_receives_only_what_others_publish(
    server: RunningServer, prefix: str
) -> None:
    async def scenario() -> list[bytes]:
        async with connected(server.url, no_echo=True) as silent, connected(server.url) as other:
            subscription = await silent.subscribe(f"{prefix}.echo")
            await silent.publish(f"{prefix}.echo", b"from silent")
            await settle(silent)
            await other.publish(f"{prefix}.echo", b"from other")
            await settle(other, silent)
            return [message.data for message in await arrived(subscription)]

    assert run(scenario()) == [b"from other"]


@pytest.mark.spec("client-protocol 6")
def test_verbose_and_pedantic_connection_works(server: RunningServer, prefix: str) -> None:
    async def scenario() -> list[bytes]:
        async with connected(server.url, verbose=True, pedantic=True) as client:
            subscription = await client.subscribe(f"{prefix}.verbose")
            await subscription.unsubscribe(limit=2)
            for payload in (b"one", b"two", b"three"):
                await client.publish(f"{prefix}.verbose", payload)
            await settle(client)
            return [message.data for message in await arrived(subscription)]

    assert run(scenario()) == [b"one", b"two"]


def test_client_reconnects_and_resubscribes_after_a_restart(program: ServerProgram, tmp_path: Path) -> None:
    async def scenario(server: RunningServer) -> tuple[list[str], list[list[bytes]]]:
        told: list[str] = []
        reconnected = asyncio.Event()

        async def on_error(error: Exception) -> None:
            """The lost connection, and attempts while nobody listens."""

        async def on_disconnect() -> None:
            told.append("disconnected")

        async def on_reconnect() -> None:
            told.append("reconnected")
            reconnected.set()

        async with connected(
            server.url,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.02,
            error_cb=on_error,
            disconnected_cb=on_disconnect,
            reconnected_cb=on_reconnect,
        ) as client:
            plain = await client.subscribe("all")
            queued = await client.subscribe("all", queue="q")
            limited = await client.subscribe("all")
            await limited.unsubscribe(limit=3)
            await client.publish("all", b"before")
            await settle(client)

            await asyncio.to_thread(server.restart)
            await asyncio.wait_for(reconnected.wait(), WAIT_SECONDS_MAX)
            for number in (1, 2, 3):
                await client.publish("all", f"after {number}".encode())
            await settle(client)

            received = [
                [message.data for message in await arrived(subscription)]
                for subscription in (plain, queued, limited)
            ]
            return list(told), received

    with start(program, directory=tmp_path) as server:
        told, received = run(scenario(server))

    everything = [b"before", b"after 1", b"after 2", b"after 3"]
    assert told == ["disconnected", "reconnected"]
    assert received == [everything, everything, everything[:3]]


@pytest.mark.spec("client-protocol 5")
def test_client_sees_what_the_server_says_of_itself(server: RunningServer) -> None:
    async def identity(client: Client) -> tuple[int, str | None, int, str]:
        await settle(client)  # an INFO after the first PONG must not disturb
        assert client.client_id is not None
        return client.client_id, client.client_ip, client.max_payload, str(client.connected_server_version)

    async def scenario() -> list[Any]:
        async with connected(server.url) as first, connected(server.url) as second:
            return [await identity(first), await identity(second)]

    first, second = run(scenario())

    assert first[0] < second[0]
    assert first[1:] == second[1:]
    assert first[1:3] == ("127.0.0.1", MAX_PAYLOAD)
    assert server.program.version is None or server.program.version in first[3]


CREDENTIALS: Final[dict[str, tuple[tuple[str, ...], dict[str, str]]]] = {
    "password": (("--user", "ivan", "--pass", "s3cr3t"), {"user": "ivan", "password": "s3cr3t"}),
    "token": (("--auth", "t0k3n"), {"token": "t0k3n"}),
}
WRONG_CREDENTIALS: Final[dict[str, list[dict[str, str]]]] = {
    "password": [
        {"user": "ivan", "password": "guess"},
        {"user": "anna", "password": "s3cr3t"},
        {"token": "s3cr3t"},
        {},
    ],
    "token": [{"token": "guess"}, {"user": "t0k3n", "password": "t0k3n"}, {}],
}


@pytest.mark.parametrize("method", CREDENTIALS)
@pytest.mark.spec("client-protocol 16.1")
def test_right_credentials_are_accepted_and_wrong_ones_refused(
    program: ServerProgram, method: str, tmp_path: Path
) -> None:
    flags, right = CREDENTIALS[method]

    async def works(url: str) -> list[bytes]:
        async with connected(url, **right) as client:
            subscription = await client.subscribe("private")
            await client.publish("private", b"secret")
            await settle(client)
            return [message.data for message in await arrived(subscription)]

    async def refusal(url: str, wrong: dict[str, str]) -> list[str]:
        errors = []

        async def note(error: Exception) -> None:
            errors.append(str(error))

        # Verbose, so that the library waits for the answer to its CONNECT. Otherwise its PING may meet a
        # closed socket, and the reset that follows may hide the text.
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            async with connected(url, error_cb=note, verbose=True, **wrong):
                pytest.fail(f"{wrong} was accepted")
        return errors

    with start(program, *flags, directory=tmp_path) as server:
        received = run(works(server.url))
        refusals = [run(refusal(server.url, wrong)) for wrong in WRONG_CREDENTIALS[method]]

    assert received == [b"secret"]
    assert refusals == [["nats: 'Authorization Violation'"]] * len(refusals)


@pytest.mark.parametrize("method", CREDENTIALS)
def test_credentials_in_the_url_are_accepted(program: ServerProgram, method: str, tmp_path: Path) -> None:
    flags, right = CREDENTIALS[method]

    async def client_id(url: str) -> int | None:
        async with connected(url) as client:
            return client.client_id

    with start(program, *flags, directory=tmp_path) as server:
        found = run(client_id(f"nats://{':'.join(right.values())}@{server.host}:{server.port}"))

    assert found is not None

"""Three generations of the Node.js client against each server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.interop.node_scripts import LIBRARIES, Node, NodeLibrary
from tests.support.servers import RunningServer, ServerProgram, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.interop

WITH_HEADERS: Final = [library for library in LIBRARIES if library.has_headers]
WITHOUT_HEADERS: Final = [library for library in LIBRARIES if not library.has_headers]
MESSAGES: Final = 200  # of node/scenarios.mjs
MAX_PAYLOAD: Final = 1_048_576

each_library = pytest.mark.parametrize("library", LIBRARIES, ids=str)
each_with_headers = pytest.mark.parametrize("library", WITH_HEADERS, ids=str)
each_without_headers = pytest.mark.parametrize("library", WITHOUT_HEADERS, ids=str)


@pytest.fixture
def details(node: Node, server: RunningServer, prefix: str) -> Callable[[NodeLibrary, str], Any]:
    """What a library finds in a scenario with the shared server."""
    return lambda library, scenario: node.run(library, scenario, server.url, prefix=prefix)


@each_library
@pytest.mark.spec("client-protocol 10.2")
def test_subscriber_receives_all_messages_in_order_with_their_exact_bytes(
    details: Callable[[NodeLibrary, str], Any], library: NodeLibrary
) -> None:
    found = details(library, "publish_subscribe")

    assert found["numbered"] == [str(number) for number in range(MESSAGES)]
    assert [bytes.fromhex(payload) for payload in found["awkward"]] == [
        b"",
        b"\r\n",
        b"PUB a 1\r\nx\r\n",
        b"+OK\r\n-ERR 'no'\r\n",
        "Grüße, 世界".encode(),
        b"\x00\xff\r\n\x80",
    ]


@each_library
@pytest.mark.spec("client-protocol 9")
def test_each_queue_group_receives_a_message_once_and_shares_the_work(
    details: Callable[[NodeLibrary, str], Any], library: NodeLibrary
) -> None:
    found = details(library, "queue_groups")

    assert sum(found["workers"]) == MESSAGES
    assert found["workers_distinct"] == MESSAGES
    # 200 fair draws among three: fewer than 20 happen once in 10^13 runs.
    assert min(found["workers"]) >= 20
    assert found["audit"] == MESSAGES
    assert found["plain"] == MESSAGES


@each_library
def test_requests_are_answered_over_a_shared_inbox_and_over_their_own(
    details: Callable[[NodeLibrary, str], Any], library: NodeLibrary
) -> None:
    found = details(library, "request_reply")

    assert found["replies"] == [f"WORD-{number}" for number in range(20)]
    assert found["own_inbox"] == "OWN INBOX"
    assert found["everyone"] == ["first", "second"]


@each_with_headers
@pytest.mark.spec("client-protocol 10.4")
def test_request_without_responders_fails_at_once_with_503(
    node: Node, server: RunningServer, prefix: str, library: NodeLibrary, speaks_2_12: bool
) -> None:
    found = node.run(library, "no_responders", server.url, prefix=prefix, patience_ms=3000)

    headers = {"Nats-Subject": [f"{prefix}.nobody"]} if speaks_2_12 else {}
    assert found["failure"] == "503"
    assert found["failure_own_inbox"] == "503"
    assert found["statuses"] == [{"code": 503, "payload": "", "headers": headers}]


@each_without_headers
@pytest.mark.spec("client-protocol 10.4")
def test_library_without_headers_hears_nothing_of_missing_responders(
    details: Callable[[NodeLibrary, str], Any], library: NodeLibrary
) -> None:
    found = details(library, "no_responders")

    assert found == {"failure": "REQ_TIMEOUT", "failure_own_inbox": "REQ_TIMEOUT", "statuses": []}


@each_with_headers
@pytest.mark.spec("client-protocol 10.5")
def test_headers_arrive_with_their_case_order_and_repetitions(
    details: Callable[[NodeLibrary, str], Any], library: NodeLibrary
) -> None:
    found = details(library, "headers")

    headers = {"X-One": ["1"], "mixed-Case": ["a: b:c"], "X-Text": ["Grüße"], "X-Many": ["first", "second"]}
    assert found["received"] == [
        {"headers": headers, "text": "with payload"},
        {"headers": headers, "text": ""},
        {"headers": None, "text": "no headers"},
    ]
    assert list(found["received"][0]["headers"]) == list(headers)
    assert found["reply"] == {"headers": headers, "text": "echo"}


@each_library
def test_draining_member_of_a_queue_group_loses_no_message(
    details: Callable[[NodeLibrary, str], Any], library: NodeLibrary
) -> None:
    found = details(library, "drain")

    assert found["closed"] is True
    assert found["received"] == found["distinct"] == 3 * MESSAGES
    assert found["left_while_draining"] > 0
    assert found["left_afterwards"] == 0
    assert found["single"] == ["before"]


@each_library
@pytest.mark.spec("client-protocol 8.3")
def test_subscription_ends_after_its_maximum(
    details: Callable[[NodeLibrary, str], Any], library: NodeLibrary
) -> None:
    found = details(library, "auto_unsubscribe")

    assert found["at_once"] == ["0", "1", "0"]
    assert found["later"] == ["0", "1", "0", "1", "2"]
    assert found["gone"] == ["0", "1"]
    assert found["request_afterwards"] == ("503" if library.has_headers else "REQ_TIMEOUT")


@each_library
@pytest.mark.spec("client-protocol 7.1", "client-protocol 8.2")
def test_each_subscription_receives_what_its_wildcards_match(
    details: Callable[[NodeLibrary, str], Any], library: NodeLibrary
) -> None:
    found = details(library, "wildcards")

    assert found == {
        "orders.created": ["orders.created"],
        "orders.*": ["orders.created", "orders.deleted"],
        "*.created": ["orders.created", "users.created"],
        "orders.>": ["orders.created", "orders.deleted", "orders.eu.created"],
        ">": ["orders.created", "orders.deleted", "users.created", "orders", "orders.eu.created"],
        "*.*.*": ["orders.eu.created"],
    }


@each_library
def test_payload_of_exactly_the_maximum_arrives_intact(
    details: Callable[[NodeLibrary, str], Any], library: NodeLibrary
) -> None:
    found = details(library, "large_payload")

    assert found == {"sizes": [MAX_PAYLOAD, 70_000, MAX_PAYLOAD], "intact": True}


@each_library
@pytest.mark.spec("client-protocol 6")
def test_connection_without_echo_receives_only_what_others_publish(
    details: Callable[[NodeLibrary, str], Any], library: NodeLibrary
) -> None:
    found = details(library, "echo")

    assert found == {"silent": ["from other"], "other": ["from other", "from silent"]}


@each_library
@pytest.mark.spec("client-protocol 6")
def test_verbose_and_pedantic_connection_works(
    details: Callable[[NodeLibrary, str], Any], library: NodeLibrary
) -> None:
    found = details(library, "verbose_and_pedantic")

    assert found == {"received": ["one", "two"], "closed": False}


@each_library
def test_client_reconnects_and_resubscribes_after_a_restart(
    node: Node, program: ServerProgram, library: NodeLibrary, tmp_path: Path, prefix: str
) -> None:
    async def restarted(server: RunningServer) -> Any:
        async with node.running(library, "reconnect", server.url, prefix=prefix) as script:
            await script.wait_until_ready()
            server.restart()
            return await script.details()

    with start(program, directory=tmp_path) as server:
        found = asyncio.run(restarted(server))

        everything = ["before", "after 1", "after 2", "after 3"]
        assert found == {
            "all": everything,
            "queued": everything,
            "limited": everything[:3],
            "disconnect": 1,
            "reconnect": 1,
            "ports": [server.port, server.port],
            "same_server": False,
        }


@each_library
@pytest.mark.spec("client-protocol 5", "client-protocol 19.1")
def test_client_sees_what_the_server_says_of_itself(
    node: Node, server: RunningServer, prefix: str, library: NodeLibrary, speaks_2_12: bool
) -> None:
    first, second = (node.run(library, "server_info", server.url, prefix=prefix) for _ in range(2))

    assert first["server_id"].startswith("N")
    assert len(first["server_id"]) == 56
    assert first["server_id"] == second["server_id"]
    assert first["client_id"] < second["client_id"]
    assert (first["host"], first["port"]) == (server.host, server.port)
    assert first["client_ip"] == "127.0.0.1"
    assert (first["proto"], first["headers"], first["max_payload"]) == (1, True, MAX_PAYLOAD)
    # An old library takes a nonce for a demand to sign it, and gives up.
    assert not {"auth_required", "nonce"} & first.keys()
    assert server.program.version in (None, first["version"])
    # From the INFO that follows the first PONG.
    expected = (True, "$G") if speaks_2_12 else (None, None)
    assert (first.get("connect_info"), first.get("remote_account")) == expected


CREDENTIALS: Final = {
    "password": (("--user", "ivan", "--pass", "s3cr3t"), {"user": "ivan", "pass": "s3cr3t"}),
    "token": (("--auth", "t0k3n"), {"token": "t0k3n"}),
}
WRONG_CREDENTIALS: Final = {
    "password": (
        {"user": "ivan", "pass": "guess"},
        {"user": "anna", "pass": "s3cr3t"},
        {"token": "s3cr3t"},
        {},
    ),
    "token": ({"token": "guess"}, {"user": "t0k3n", "pass": "t0k3n"}, {}),
}
REFUSAL: Final = {
    "transport-node": "AuthorizationError: Authorization Violation",
    "nats-2": "AUTHORIZATION_VIOLATION",
    "nats-1": "'Authorization Violation'",
}


@each_library
@pytest.mark.parametrize("method", CREDENTIALS)
@pytest.mark.spec("client-protocol 16.1")
def test_right_credentials_are_accepted_and_wrong_ones_refused(
    node: Node, program: ServerProgram, library: NodeLibrary, method: str, tmp_path: Path
) -> None:
    flags, right = CREDENTIALS[method]

    with start(program, *flags, directory=tmp_path) as server:
        accepted = node.run(library, "authenticated", server.url, prefix="auth", credentials=right)
        refused = [
            node.run(library, "refused", server.url, credentials=wrong) for wrong in WRONG_CREDENTIALS[method]
        ]

    assert accepted == {"received": ["secret"], "auth_required": True}
    assert refused == [{"failure": REFUSAL[library.name]}] * len(refused)


@each_without_headers
@pytest.mark.spec("client-protocol 12")
def test_library_that_checks_nothing_hears_what_was_wrong(
    details: Callable[[NodeLibrary, str], Any], library: NodeLibrary
) -> None:
    found = details(library, "violations")

    assert found["subscription"] == ["'Invalid Subject'"]
    assert found["pedantic"] == ["'Invalid Publish Subject'"]
    assert found["lenient"] == []
    # The server closes while the library is still sending. The reset that follows may overtake the text.
    assert found["payload"] in ([], ["'Maximum Payload Violation'"])
    assert found["payload_delivered"] == 0

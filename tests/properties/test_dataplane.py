"""The data plane and the handlers above it do what the slow broker does, to the byte."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natscore import delivery
from natscore.events import ServerStarted
from natscore.journal import read_journal
from natscore.testing import World
from tests.models.broker import Broker, Client
from tests.properties.programs import HangUp, Step, any_ops, group_programs, pieces, programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.testing import ScriptedClient, SimulatedServer

pytestmark = pytest.mark.every_plane


def seed_of(server: SimulatedServer) -> int:
    """What the choices of a server are drawn from: it is in the first event of its journal."""
    _, events = read_journal(io.BytesIO(server.journal.getvalue()).read)
    started, _ = next(events)
    assert isinstance(started, ServerStarted)
    return started.seed


def second_info(first: bytes) -> bytes:
    """The INFO that follows the first PONG, made of the one that greeted."""
    document = orjson.loads(first.removeprefix(b"INFO "))
    product = document.pop("natscore")
    document.pop("nonce", None)
    document |= {"connect_info": True, "remote_account": "$G", "natscore": product}
    return b"INFO " + orjson.dumps(document) + b" \r\n"


def outcome(server: SimulatedServer, client: ScriptedClient) -> dict[str, object]:
    """What a connection came to: its bytes, its end, and its counters while it is there."""
    connection = server.state.connections.get(client.cid)
    assert connection is None or client.is_open
    reason = client.close_reason
    return {
        "received": bytes(client.received[len(client.info) :]),
        "open": client.is_open,
        "reason": None if reason is None else reason.value,
        "counters": None
        if connection is None
        else (
            connection.source.messages,
            connection.source.volume,
            connection.outbox.messages,
            connection.outbox.volume,
        ),
        "subscriptions": None
        if connection is None
        else [(s.sid, s.subject, s.queue, s.delivered, s.max) for s in connection.subscriptions.values()],
    }


def expected(client: Client) -> dict[str, object]:
    """The same, as the model has it."""
    return {
        "received": bytes(client.sent),
        "open": client.is_open,
        "reason": client.close_reason,
        "counters": (client.messages_in, client.bytes_in, client.messages_out, client.bytes_out)
        if client.is_open
        else None,
        "subscriptions": [
            (one.sid, one.subject, one.queue or None, one.delivered, one.max) for one in client.wants.values()
        ]
        if client.is_open
        else None,
    }


LIMITS: Final = st.fixed_dictionaries(
    {},
    optional={
        "max_payload": st.sampled_from([4, 5000]),
        "max_subscriptions": st.sampled_from([1, 3]),
        "max_subject_tokens": st.sampled_from([1, 2]),
        "max_control_line": st.sampled_from([24, 64]),
        "headers": st.booleans(),
    },
)


def compare(steps: list[Step], connections: int, seed: int, limits: dict[str, Any], **options: Any) -> None:
    """Run a program on a server and on the model, and require the same outcome for every connection."""
    world = World(seed)
    server = world.server(**limits, **options)
    broker = Broker(seed_of(server), **limits)
    clients = [server.connect() for _ in range(connections)]
    models = [Client(second_info(client.info)) for client in clients]

    for step in steps:
        client, model = clients[step.connection], models[step.connection]
        if isinstance(step, HangUp):
            client.close()
            if model.is_open:
                broker.end(model, "Client Closed")
                model.close_reason = None  # a client that hangs up is told nothing
        else:
            for piece in pieces(step.data, step.cuts):
                client.send(piece)
            broker.receive(model, step.data)

    assert [outcome(server, client) for client in clients] == [expected(model) for model in models]
    world.check()


TURNS: Final = st.sampled_from([1, 300, 20_000, 16_777_216])
SEEDS: Final = st.integers(0, 1000)


@given(steps=programs(), limits=st.one_of(st.just({}), LIMITS), turn_output_max=TURNS, seed=SEEDS)
def test_every_connection_is_sent_what_the_model_sends(
    steps: list[Step], limits: dict[str, Any], turn_output_max: int, seed: int
) -> None:
    compare(steps, 3, seed, limits, turn_output_max=turn_output_max)


@given(steps=programs(ops=any_ops), limits=st.one_of(st.just({}), LIMITS), seed=SEEDS)
def test_hostile_operations_end_as_in_the_model(steps: list[Step], limits: dict[str, Any], seed: int) -> None:
    compare(steps, 3, seed, limits)


@given(steps=group_programs(), turn_output_max=TURNS, seed=SEEDS)
def test_members_of_queue_groups_are_chosen_as_the_model_chooses(
    steps: list[Step], turn_output_max: int, seed: int
) -> None:
    compare(steps, 7, seed, {}, turn_output_max=turn_output_max)


@pytest.fixture
def _few_receivers_a_turn() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivery, "RECEIVERS_MAX", 2)
        patch.setattr(delivery, "PART_MAX", 6_000)
        yield


@pytest.mark.usefixtures("_few_receivers_a_turn")
@settings(suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture])
@given(steps=st.one_of(group_programs(), programs(5, ops=any_ops)), turn_output_max=TURNS, seed=SEEDS)
def test_a_fan_out_that_takes_several_turns_is_heard_like_any_other(
    steps: list[Step], turn_output_max: int, seed: int
) -> None:
    compare(steps, 7, seed, {}, turn_output_max=turn_output_max)

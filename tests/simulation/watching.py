"""Lists that grow while a simulated server works: one entry for each event it handles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscore.effects import Continue, Note
from natscore.facts import SubscriptionsChanged

if TYPE_CHECKING:
    from natscore.effects import Effect
    from natscore.events import Event
    from natscore.testing import SimulatedServer

__all__ = ["appended", "event_names", "note_counts", "outputs", "removals", "requests"]


def appended(server: SimulatedServer) -> int:
    """What stands in outboxes right after an event, before any of it is offered."""
    return sum(outbox.size for outbox in server.server.ready)


def outputs(server: SimulatedServer) -> list[int]:
    """How much each event appended."""
    seen: list[int] = []

    def see(event: Event, effects: list[Effect]) -> None:
        seen.append(appended(server))

    server.on_event = see
    return seen


def event_names(server: SimulatedServer) -> list[str]:
    """What each event was."""
    seen: list[str] = []

    def see(event: Event, effects: list[Effect]) -> None:
        seen.append(type(event).__name__)

    server.on_event = see
    return seen


def note_counts(server: SimulatedServer) -> list[int]:
    """How many notes each event led to."""
    seen: list[int] = []

    def see(event: Event, effects: list[Effect]) -> None:
        seen.append(sum(isinstance(effect, Note) for effect in effects))

    server.on_event = see
    return seen


def requests(server: SimulatedServer) -> list[Effect]:
    """What was asked for, but for turns and log lines, in one row."""
    seen: list[Effect] = []

    def see(event: Event, effects: list[Effect]) -> None:
        seen.extend(effect for effect in effects if not isinstance(effect, Continue | Note))

    server.on_event = see
    return seen


def removals(server: SimulatedServer) -> list[int]:
    """How many subscriptions each event removed. The world must be recording."""
    seen: list[int] = []
    facts = len(server.facts)

    def see(event: Event, effects: list[Effect]) -> None:
        nonlocal facts
        fresh, facts = server.facts[facts:], len(server.facts)
        seen.append(sum(len(fact.removed) for fact in fresh if isinstance(fact, SubscriptionsChanged)))

    server.on_event = see
    return seen

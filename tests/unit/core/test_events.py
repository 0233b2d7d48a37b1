"""What events carry."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, get_args

import pytest

from natscore import events
from natscore.events import Address, Event, Instant


@pytest.mark.parametrize(
    ("address", "text"), [(Address("10.0.0.1", 4222), "10.0.0.1:4222"), (Address("::1", 4222), "[::1]:4222")]
)
def test_an_address_is_written_as_people_write_it(address: Address, text: str) -> None:
    assert str(address) == text


def test_every_event_is_exported_and_says_when_it_happened() -> None:
    exported = [getattr(events, name) for name in events.__all__]

    for event in get_args(Event):
        assert event in exported
        assert fields(event)[0].name == "at"


def test_equal_events_are_one_key() -> None:
    event = events.TurnGranted(at=Instant(1, 2))

    assert {event: "granted"}[events.TurnGranted(at=Instant(1, 2))] == "granted"
    assert event != events.TurnGranted(at=Instant(1, 3))


if TYPE_CHECKING:

    def nobody_changes_an_event(event: events.TurnGranted) -> None:
        """The session `types` fails when this is allowed: it then finds an `ignore` that is of no use."""
        event.at = Instant(3, 4)  # type: ignore[misc]
        event.at.wall_ns = 5  # type: ignore[misc]

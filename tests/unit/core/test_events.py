"""What events carry."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import get_args

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


def test_an_event_does_not_change() -> None:
    event = events.TurnGranted(at=Instant(1, 2))

    with pytest.raises(FrozenInstanceError):
        event.at = Instant(3, 4)  # type: ignore[misc]

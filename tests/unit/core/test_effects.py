"""What effects show, and what they must not."""

from __future__ import annotations

from natscore.effects import Level, VerifyPassword
from natscore.events import AttemptId, ConnectionId


def test_a_password_to_verify_is_not_shown() -> None:
    effect = VerifyPassword(AttemptId(1), ConnectionId(5), b"planted", b"$2a$planted")

    assert "planted" not in repr(effect)


def test_levels_are_ordered_as_they_matter() -> None:
    assert sorted(Level) == [
        Level.TRACE, Level.DEBUG, Level.INFO, Level.WARNING, Level.ERROR, Level.FATAL,
    ]  # fmt: skip

"""What a connection handler may use: the state to read, the clocks, and ways to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from natscore.effects import Level, Note
from natscore.errors import CloseReason

if TYPE_CHECKING:
    from natscore.authentication import Authenticator
    from natscore.connection.session import Session, TimerKey
    from natscore.deadlines import Deadlines
    from natscore.effects import Effect
    from natscore.entropy import Entropy
    from natscore.errors import Violation
    from natscore.events import Instant
    from natscore.options import Options
    from natscore.state import State
    from natscore.wire.info import ServerInfo

__all__ = ["Context"]

_SNIPPET_MAX: Final = 32  # bytes of what broke the rules, in a note
_NOTED_ALREADY: Final = (
    CloseReason.AUTHENTICATION_FAILURE,
    CloseReason.AUTHENTICATION_TIMEOUT,
    CloseReason.TLS_HANDSHAKE,
)

_NOTE_COST: Final = 32_768  # what a note weighs in a turn: a shell may render and write it at once


class Context:
    """One server, as its connection handlers see it. `at` and `effects` are those of the event in hand."""

    __slots__ = (
        "at", "attempts", "authenticator", "deadlines", "effects", "entropy", "info", "options", "reloads",
        "state",
    )  # fmt: skip

    def __init__(
        self,
        options: Options,
        state: State,
        authenticator: Authenticator,
        deadlines: Deadlines[TimerKey],
        entropy: Entropy,
        info: ServerInfo,
        at: Instant,
    ) -> None:
        self.options = options
        self.state = state
        self.authenticator = authenticator
        self.deadlines = deadlines
        self.entropy = entropy
        self.info = info
        self.at = at
        self.effects: list[Effect] = []
        self.reloads = 0  # times that the options were replaced
        self.attempts = 0  # effects that wait for an answer get their number here

    def note(self, level: Level, name: str, **fields: object) -> None:
        """Report something worth a log line, if its level is worth it."""
        if level < self.options.note_level:
            return
        self.state.plane.spend(_NOTE_COST)
        self.effects.append(Note(level, name, fields))

    def note_of(self, session: Session, level: Level, name: str, **fields: object) -> None:
        """The same, about one connection."""
        if level < self.options.note_level:
            return
        connection = session.connection
        self.state.plane.spend(_NOTE_COST)
        self.effects.append(
            Note(
                level,
                name,
                {
                    "cid": connection.cid,
                    "kind": connection.kind,
                    "remote": connection.remote,
                    "label": connection.options.label,
                    "login": connection.login,
                    **fields,
                },
            )
        )

    def note_violation(self, session: Session, violation: Violation) -> None:
        """The same, about what ends a connection, unless that was noted where it was found."""
        if violation.reason in _NOTED_ALREADY:
            return
        self.note_of(
            session,
            Level.DEBUG if violation.reason is CloseReason.STALE_CONNECTION else Level.ERROR,
            "client_violation",
            text=violation.wire_text or b"",
            reason=violation.reason,
            snippet=session.connection.source.peek(_SNIPPET_MAX),
        )

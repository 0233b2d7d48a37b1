"""What the data plane leaves behind: subscriptions that ended, refusals, receivers that are far behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscore.connection import client
from natscore.effects import Level
from natscore.turn import OP_COST

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.connection.context import Context
    from natscore.connection.lifecycle import Lifecycle
    from natscore.connection.pressure import Pressure
    from natscore.connection.session import Session
    from natscore.facts import Fact

__all__ = ["Traffic"]


class Traffic:
    """Draws the consequences of what the data plane did."""

    def __init__(
        self, context: Context, lifecycle: Lifecycle, pressure: Pressure, settle: Callable[[Fact], None]
    ) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self._pressure = pressure
        self._settle = settle

    def settle(self, producer: Session | None) -> None:
        """Let facts follow from what was delivered, for a producer that may be held back."""
        plane = self._context.state.plane
        if plane.exhausted:
            for fact in client.end_exhausted(plane.exhausted):
                plane.spend(OP_COST * len(fact.removed))
                self._settle(fact)
        if plane.denied:
            for cid, subject, reply in plane.denied:
                if (denied := self._lifecycle.sessions.get(cid)) is not None:
                    self._context.note_of(
                        denied, Level.ERROR, "publish_violation", subject=subject, reply=reply
                    )
            plane.denied.clear()
        if plane.strained:
            strained = dict.fromkeys(plane.strained)
            plane.strained.clear()
            for outbox in strained:
                if (receiver := self._lifecycle.sessions.get(outbox.cid)) is not None:
                    self._pressure.weigh(receiver, producer=producer)

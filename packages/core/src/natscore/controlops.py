"""The pure data plane's reading of operations that are not publications.

SUB and UNSUB are collected for the control plane, PING is answered, and of a line without its
end no more is kept than may matter. Grammar: client-protocol.md section 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from natscore.errors import Violation, control_line_exceeded, malformed
from natscore.plane import Stop
from natscore.posting import Posting
from natscore.turn import SINGLE_COST
from natscore.wire.lines import BLANKS_AND_CR, SUBSCRIPTION
from natscore.wire.ops import Follows

if TYPE_CHECKING:
    from natscore.cells import Source

__all__ = ["OPS_MAX", "ControlOps", "violate"]

OPS_MAX: Final = 512  # SUB and UNSUB lines handed over at once

_OVERHEAD_PENDING: Final = 64  # how much of an incomplete line that is ignored anyway is kept


class ControlOps(Posting):
    """Reads what is said to the control plane, and answers what it need not see."""

    def _bare_op(self, source: Source, name: bytes) -> Stop | None:
        """PING, PONG and +OK, complete."""
        if name == b"+OK":
            return None
        if name == b"PONG" or source.first_ping_due or source.stepping:
            source.ops.append((name, []))
            return Stop.OPS
        source.pings += 1
        source.outbox.write(b"PONG\r\n")
        self._left -= SINGLE_COST
        return Stop.TURN_OVER if self._left <= 0 else None

    def _incomplete(
        self, source: Source, buffer: bytes, name: bytes, after: int, follows: Follows
    ) -> Stop | None:
        """A line without its end: check what is there, and keep no more of it than may matter."""
        rest = buffer[after:]
        if follows is Follows.IGNORED:
            kept = b""
        else:
            kept = rest.lstrip(b" \t")
            # the CR of a line end may be the last byte so far
            if len(kept) - kept.endswith(b"\r") > source.max_control_line:
                return violate(source, control_line_exceeded())
        if len(rest) - len(kept) > _OVERHEAD_PENDING:
            source.rewrite(name + b" " + kept)
        else:
            source.need = len(buffer) - source.position + 1
        return None

    def _subscription_ops(
        self, source: Source, buffer: bytes, line_start: int, name: bytes, argument: bytes
    ) -> Stop | None:
        """Collect this SUB or UNSUB and those directly behind it, for one fact."""
        while True:
            words = BLANKS_AND_CR.split(argument.strip(b" \t\r"))
            count = len(words) if words[0] else 0
            if not (2 <= count <= 3 if name == b"SUB" else 1 <= count <= 2):
                if source.ops:  # those before it count; this one is met again, alone
                    source.position = line_start
                    return Stop.OPS
                return violate(source, malformed())
            source.ops.append((name, words))
            position = source.position
            if len(source.ops) >= OPS_MAX or source.stepping:
                return Stop.OPS
            match = SUBSCRIPTION(buffer, position)
            if match is None or match.end() - position > source.max_control_line:
                return Stop.OPS
            line_start = position
            name, argument = match.groups()
            source.position = match.end()


def violate(source: Source, violation: Violation) -> Stop:
    source.violation = violation
    return Stop.VIOLATION

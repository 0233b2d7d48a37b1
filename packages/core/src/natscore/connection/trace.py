"""Protocol trace: what a client said and was told, as notes (operations.md section 6.3).

Only connections that step (one op a run) come here; nothing of this is on the
hot path. Lines are notes with raw bytes; whoever renders them escapes control
characters and hides secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscore.effects import Level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from natscore.connection.context import Context
    from natscore.connection.session import Session
    from natscore.events import ConnectionId
    from natscore.facts import SubscriptionsChanged

__all__ = ["trace_ops", "trace_outputs", "trace_publish", "trace_removals"]


def trace_ops(context: Context, session: Session, ops: list[tuple[bytes, list[bytes]]]) -> None:
    """Show operations as they were understood."""
    for name, words in ops:
        context.note_of(session, Level.TRACE, "trace_in", line=b" ".join([name, *words]))


def trace_publish(context: Context, session: Session, op: bytes) -> None:
    """Show a PUB or HPUB and its payload."""
    line, _, rest = op.partition(b"\n")
    context.note_of(session, Level.TRACE, "trace_in", line=line.rstrip(b"\r"))
    _payload(context, session, "trace_payload_in", rest[:-2])


def trace_outputs(context: Context, sessions: Mapping[ConnectionId, Session]) -> None:
    """Show what was appended to outboxes since the last time."""
    for outbox in context.state.plane.ready:
        session = sessions.get(outbox.cid)
        if session is not None and session.connection.source.stepping:
            _trace_output(context, session)


def _trace_output(context: Context, session: Session) -> None:
    outbox = session.connection.outbox
    fresh = outbox.appended - session.traced
    session.traced = outbox.appended
    rest = b"".join(outbox.tail_blocks(min(fresh, outbox.size)))
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        if line.startswith(b"INFO "):
            continue
        context.note_of(session, Level.TRACE, "trace_out", line=line.rstrip(b" "))
        if line.startswith((b"MSG ", b"HMSG ")):
            size = int(line.rpartition(b" ")[2])
            _payload(context, session, "trace_payload_out", rest[:size])
            rest = rest[size + 2 :]


def trace_removals(context: Context, session: Session, fact: SubscriptionsChanged) -> None:
    """Show which subscriptions went, whatever made them go."""
    for gone in fact.removed:
        context.note_of(session, Level.TRACE, "trace_internal", line=b"DELSUB " + gone.sid)


def _payload(context: Context, session: Session, name: str, payload: bytes) -> None:
    if not payload:
        return
    most = context.options.max_traced_msg_len
    cut = bool(most) and len(payload) > most
    context.note_of(session, Level.TRACE, name, payload=payload[:most] if cut else payload, cut=cut)

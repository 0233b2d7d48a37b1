"""Why a message goes where it goes: the plan for a subject, with the reason of each line.

A pure function of the state; it changes nothing, not even a cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from natscore.plan import compile_plan
from natscore.plane import CLIENT_RESERVED

if TYPE_CHECKING:
    from natscore.events import ConnectionId
    from natscore.plane import Subscription
    from natscore.state import State

__all__ = ["Line", "explain"]


@dataclass(frozen=True, slots=True)
class Line:
    """One receiver, or the reason that there is none.

    `delivers` says whether it gets the message; of a queue group one of those
    that could is drawn.
    """

    delivers: bool
    reason: str
    cid: ConnectionId | None = None
    sid: bytes | None = None
    queue: bytes | None = None


def explain(
    state: State, account: str, subject: bytes, publisher: ConnectionId | None = None
) -> tuple[Line, ...]:
    """What would happen to a message that `publisher`, or any client, publishes to `subject`."""
    for prefix in CLIENT_RESERVED:
        if subject.startswith(prefix):
            return (Line(False, f"refused: clients must not publish to {prefix.decode()}>"),)
    known = state.accounts.get(account)
    plan = compile_plan(known.sublist.match(subject) if known is not None else (), subject)
    heard = [(one, subject) for one in plan.local]
    heard += [(one, row.subject) for row in plan.renamed for one in row.receivers]
    for group in plan.groups:
        heard += zip(group.members, group.names or (subject,) * len(group.members), strict=True)
    lines = [_line(state, account, one, "" if name == subject else _text(name), publisher)
             for one, name in heard]  # fmt: skip
    return tuple(lines) or (Line(False, "nobody: no subscription matches"),)


def _text(subject: bytes) -> str:
    return subject.decode("utf-8", "backslashreplace")


def _line(
    state: State, account: str, subscription: Subscription, name: str, publisher: ConnectionId | None
) -> Line:
    outbox = subscription.outbox
    wanted = f"subscribed to {_text(subscription.subject)}"
    receiver = state.connections.get(outbox.cid)
    if receiver is not None and receiver.account.name != account:
        wanted += f" in account {receiver.account.name}, which imports it"
    if name:
        wanted += f" as {name}"
    own = state.connections.get(publisher) if publisher is not None else None
    refused = None
    if not outbox.open:
        refused = "the connection is ending"
    elif not subscription.live:
        refused = "its maximum is reached"
    elif not outbox.accepts:
        refused = "the connection is too far behind"
    elif own is not None and own.outbox is outbox and not own.options.echo:
        refused = "it is the publisher's own, and echo is off"
    reason = wanted if refused is None else f"{wanted}, but {refused}"
    if subscription.queue is not None and refused is None:
        reason += "; one member of the group is drawn"
    return Line(refused is None, reason, outbox.cid, subscription.sid, subscription.queue)

"""Telling other servers what our clients want: told against wanted.

For every audience of links the state holds what it was *told*. What is *wanted*
is a pure function of the interest graph. This reactor compares the two for the
keys that a fact touched and writes the difference, each line encoded once for
the whole audience. A link that joins is told everything first, by the same
comparison over all keys. told == wanted at every quiet step is what convergence
means, and the simulator checks it.

Links themselves (handshake, dialing, the messages they carry) are the business
of their connection kinds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscore.events import ConnectionKind
from natscore.facts import LinkEstablished, RepliesExpected, SubscriptionsChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from natscore.facts import Fact
    from natscore.state import Audience, InterestKey, State

__all__ = ["ENCODERS", "encode_route_interest", "tell_links"]


def encode_route_interest(key: InterestKey, weight: int) -> bytes:
    """`RS+` for a weight above 0, `RS-` for none.

    Source: routes.md; nats-server 2.14.5, server/route.go addRouteSubOrUnsubProtoToBuf.
    """
    account, subject, queue = key
    words = [b"RS+" if weight else b"RS-", account.encode(), subject]
    if queue is not None:
        words.append(queue)
        if weight:
            words.append(b"%d" % weight)
    return b" ".join(words) + b"\r\n"


ENCODERS: dict[ConnectionKind, Callable[[InterestKey, int], bytes]] = {
    ConnectionKind.ROUTE: encode_route_interest,
}


def tell_links(state: State, fact: Fact) -> None:
    """Reactor: let every audience hear what the fact changed for it."""
    if not state.audiences:
        return
    if isinstance(fact, SubscriptionsChanged):
        account = state.connections[fact.cid].account
        keys: list[InterestKey] = []
        for one in (*fact.removed, *fact.added):
            keys.append((account.name, one.subject, one.queue))
            keys += [
                (shadow.stream.exporter, shadow.subject, one.queue)
                for shadow in account.declared.shadows(one.subject)
            ]
        for audience in state.audiences.values():
            _tell(state, audience, dict.fromkeys(keys))
    elif isinstance(fact, RepliesExpected):
        for audience in state.audiences.values():
            _tell(state, audience, ((fact.account, fact.prefix + b">", None),))
    elif isinstance(fact, LinkEstablished):
        audience = state.audiences[state.connections[fact.cid].kind]
        _welcome(state, audience)


def _tell(state: State, audience: Audience, keys: Iterable[InterestKey]) -> None:
    if not audience.members:
        return
    encode = ENCODERS[audience.kind]
    lines: list[bytes] = []
    for key in keys:
        weight = state.weight(key)
        if weight == audience.told.get(key, 0):
            continue
        lines.append(encode(key, weight))
        if weight:
            audience.told[key] = weight
        else:
            del audience.told[key]
    if lines:
        text = b"".join(lines)
        for outbox in audience.members.values():
            outbox.write(text)


def _welcome(state: State, audience: Audience) -> None:
    """Bring links that join to what the others were told; the first ones make it so."""
    if not audience.members:
        audience.told = {key: state.weight(key) for key in state.interest_keys()}
    encode = ENCODERS[audience.kind]
    text = b"".join(encode(key, weight) for key, weight in audience.told.items())
    for cid, outbox in audience.joining.items():
        if text:
            outbox.write(text)
        audience.members[cid] = outbox
    audience.joining.clear()

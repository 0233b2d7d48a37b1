"""The lifetime of a client connection as a table: state and op to handler.

An op that is not in the row of its state is a violation, by construction. PUB
and HPUB are not here: the data plane performs them, and hands over nothing but
ops while a login is awaited.

    accepted ──► AWAITING_CONNECT ──CONNECT──► ESTABLISHED ──► CLOSING
       │            ▲   │                          ▲
       │            │   └──CONNECT──► VERIFYING ───┘   (accepted with a password hash)
       └──TLS───────┘

With TLS (`entrance.py`) a connection passes HANDSHAKING first, and before that may
stand in AWAITING_HELLO or CHOOSING; no op is read there.

Where clients that name nobody become some user, any other op is answered as if
there had been such a CONNECT.

On an open server a connection is ESTABLISHED at once, with the default options
(client-protocol.md section 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from natscore.connection import client
from natscore.connection.session import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscore.connection.context import Context
    from natscore.connection.session import Session
    from natscore.facts import Fact

__all__ = ["CLIENT_LIFETIME", "Handler", "Lifetime"]

Handler: TypeAlias = "Callable[[Context, Session, list[tuple[bytes, list[bytes]]]], Iterator[Fact]]"
"""Takes a row of ops of one kind, yields facts; each is settled before the next is asked for."""

Lifetime: TypeAlias = dict[Phase, dict[bytes, Handler]]

CLIENT_LIFETIME: Final[Lifetime] = {
    Phase.AWAITING_HELLO: {},
    Phase.CHOOSING: {},
    Phase.HANDSHAKING: {},
    Phase.AWAITING_CONNECT: {b"CONNECT": client.connect},
    Phase.VERIFYING: {},
    Phase.ESTABLISHED: {
        b"CONNECT": client.connect,
        b"SUB": client.change_subscriptions,
        b"UNSUB": client.change_subscriptions,
        b"PING": client.answer_ping,
        b"PONG": client.note_pong,
        b"INFO": client.ignore_info,
    },
    Phase.CLOSING: {},
}

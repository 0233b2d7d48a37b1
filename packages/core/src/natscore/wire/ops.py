"""The names of the ops that a client may send, and what stands behind them (client-protocol.md section 2).

A verb is added here and in the row of each state that accepts it
(`connection/states.py`). Source: nats-server 2.14.5, server/parser.go parse.
"""

from __future__ import annotations

import enum
import re
from typing import Final

__all__ = ["CLIENT_OPS", "OP_LENGTH_MAX", "OP_PREFIXES", "Follows", "op_name"]


class Follows(enum.Enum):
    """What must follow the name of an op."""

    BLANK = enum.auto()  # at least one blank
    ANYTHING = enum.auto()  # blanks or the argument
    IGNORED = enum.auto()  # the rest of the line does not matter


CLIENT_OPS: Final = {
    b"PUB": Follows.BLANK,
    b"HPUB": Follows.BLANK,
    b"SUB": Follows.BLANK,
    b"UNSUB": Follows.BLANK,
    b"CONNECT": Follows.ANYTHING,
    b"INFO": Follows.ANYTHING,
    b"PING": Follows.IGNORED,
    b"PONG": Follows.IGNORED,
    b"+OK": Follows.IGNORED,
    b"-ERR": Follows.BLANK,
}
op_name: Final = re.compile(b"|".join(re.escape(name) for name in CLIENT_OPS), re.IGNORECASE).match
OP_PREFIXES: Final = frozenset(name[:n] for name in CLIENT_OPS for n in range(1, len(name) + 1))
OP_LENGTH_MAX: Final = max(len(name) for name in CLIENT_OPS)

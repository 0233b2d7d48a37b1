"""One way to run a vector of `vectors/accounts.json`, by the rules of accounts.md section 16.

A step sends, and waits until what was received matches. The server's own PING lines
are answered and taken out, and so are later INFO lines: when they come is not fixed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.conformance.runner import VectorFailure

if TYPE_CHECKING:
    from tests.conformance.runner import Connection, Subject

__all__ = ["AccountStep", "AccountVector", "load", "run_account_vector"]

VECTORS: Final = Path(__file__).with_name("vectors") / "accounts.json"
TIMEOUT_MS: Final = 3000
_FIELDS: Final = frozenset({"name", "config", "steps", "config_error", "profile", "note"})
_STEP_FIELDS: Final = frozenset({"conn", "send", "expect_regex", "closes", "wait"})
_TIMED: Final = re.compile(rb"(?:(?<=\r\n)|\A)(?:PING|INFO \{[^\r\n]*)\r\n")
_CAPTURED: Final = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class AccountStep:
    """What one connection sends, and what it must have received then."""

    connection: str
    send: str
    expect: str
    closes: bool = False
    wait_ms: int = 0


@dataclass(frozen=True, slots=True)
class AccountVector:
    """One scenario; with `error`, a configuration that must not start."""

    name: str
    config: str
    steps: tuple[AccountStep, ...]
    error: str | None = None
    profile: str = ""  # `2.9`: differs on 2.14; `quirk`: observed, not required

    def __str__(self) -> str:
        return self.name


@cache
def load() -> tuple[AccountVector, ...]:
    """All vectors of the file. Raises ValueError for what the format does not have."""
    return tuple(map(_vector_of, json.loads(VECTORS.read_text())))


def _vector_of(row: dict[str, Any]) -> AccountVector:
    if unknown := row.keys() - _FIELDS:
        raise ValueError(f"vector {row.get('name')}: unknown fields {sorted(unknown)}")
    return AccountVector(
        row["name"],
        row["config"],
        tuple(map(_step_of, row["steps"])),
        row.get("config_error"),
        row.get("profile", ""),
    )


def _step_of(row: dict[str, Any]) -> AccountStep:
    if unknown := row.keys() - _STEP_FIELDS:
        raise ValueError(f"step of connection {row.get('conn')}: unknown fields {sorted(unknown)}")
    return AccountStep(
        row["conn"], row["send"], row["expect_regex"], row["closes"], round(row.get("wait", 0) * 1000)
    )


@dataclass(slots=True)
class _Peer:
    """A connection with what it received and no step has matched yet."""

    connection: Connection
    unmatched: bytes = b""

    def take(self, received: bytes) -> bytes:
        """All that is unmatched, without what may come at any time."""
        return _TIMED.sub(b"", self.unmatched + received)


def run_account_vector(vector: AccountVector, subject: Subject) -> None:
    """Take `subject` through all steps of `vector`; raises VectorFailure at the first that fails."""
    peers: dict[str, _Peer] = {}
    captured: dict[str, str] = {}
    for number, step in enumerate(vector.steps, start=1):
        if step.connection not in peers:
            peers[step.connection] = _Peer(subject.connect())
        if step.wait_ms:
            subject.pause(step.wait_ms)
        _run_step(f"{vector}, step {number} on connection {step.connection}", step, peers[step.connection],
                  captured)  # fmt: skip


def _run_step(what: str, step: AccountStep, peer: _Peer, captured: dict[str, str]) -> None:
    pattern = re.compile(step.expect.encode(), re.DOTALL)
    data = _CAPTURED.sub(lambda found: captured[found[1]], step.send).encode()
    peer.connection.send(data)

    def enough(received: bytes, /, *, closed: bool) -> bool:
        # Before the close nothing is decided: bytes may follow that must not.
        return closed or (not step.closes and pattern.search(peer.take(received)) is not None)

    raw = peer.connection.receive(enough, TIMEOUT_MS)
    if pings := _TIMED.findall(raw).count(b"PING\r\n"):
        peer.connection.send(b"PONG\r\n" * pings)
    received = peer.take(raw)
    match = pattern.search(received)
    complaint = None
    if match is None:
        complaint = "other bytes than expected"
    elif peer.connection.closed != step.closes:
        complaint = "closed" if peer.connection.closed else f"not closed within {TIMEOUT_MS} ms"
    if match is None or complaint is not None:
        raise VectorFailure(
            f"{what}: {complaint}\n  sent      {data!r}\n  expected  {step.expect!r}\n"
            f"  received  {received!r}"
        )
    peer.unmatched = received[match.end() :]
    captured.update({name: text.decode() for name, text in match.groupdict(b"").items()})

"""One way to run a vector, whoever the subject is.

The runner knows the rules of client-protocol.md section 24 and nothing about
sockets or simulations. A *subject* opens connections; a *connection* sends bytes
and hands over what it received. Time belongs to the subject, so the same steps run
on a real clock and on a virtual one.

A step ends as soon as its expectation is met. What arrives later is not lost: it
fails the next step of that connection, or the end of the vector, where each
connection says its last PING and everything up to the close is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from tests.conformance.vectors import Step, Vector

__all__ = ["Connection", "Enough", "Subject", "VectorFailure", "run_vector"]

NOTHING_UNREAD: Final = (b"PONG\r\n", b"PING\r\nPONG\r\n", b"PONG\r\nPING\r\n")
"""What may answer the last PING: its PONG, and a PING of the server's own timer."""

SHOWN_BYTES_MAX: Final = 2000


class VectorFailure(AssertionError):
    """A subject did not do what a vector expects of it."""


class Enough(Protocol):
    """When a read may end."""

    def __call__(self, received: bytes, /, *, closed: bool) -> bool:
        """Whether `received`, all since the previous read, is what was waited for."""
        ...


class Connection(Protocol):
    """One client connection to a subject, whose INFO line has been taken."""

    @property
    def info(self) -> bytes:
        """The INFO line the subject greeted with, its line end included."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the latest read saw that the subject closed the connection."""
        ...

    def send(self, data: bytes) -> None:
        """Send; that the subject has closed meanwhile is no error."""
        ...

    def receive(self, enough: Enough, timeout_ms: int) -> bytes:
        """Take what arrived since the previous read: once it is enough, or when the time is over."""
        ...

    def finish(self) -> bytes:
        """Send a last PING, end the connection, and take everything up to its end."""
        ...

    def close_reason(self) -> str | None:
        """Why the subject closed the connection, as it says itself."""
        ...


class Subject(Protocol):
    """A server under test."""

    @property
    def speaks_214(self) -> bool:
        """Whether the expectations of 2.14 hold for it, where a vector has two."""
        ...

    def connect(self) -> Connection:
        """Open a connection and take its INFO line."""
        ...

    def pause(self, milliseconds: int) -> None:
        """Let time pass."""
        ...


def run_vector(vector: Vector, subject: Subject) -> None:
    """Take `subject` through all steps of `vector`; raises VectorFailure at the first that fails."""
    connections: dict[str, Connection] = {}
    closed: set[str] = set()
    for number, step in enumerate(vector.steps, start=1):
        if step.connection not in connections:
            connections[step.connection] = _open(vector, number, step, subject)
        _run_step(vector, number, step, connections[step.connection], subject)
        if step.closes:
            closed.add(step.connection)
    for label, connection in connections.items():
        if label not in closed:
            _expect_nothing_unread(vector, label, connection)


def _open(vector: Vector, number: int, step: Step, subject: Subject) -> Connection:
    connection = subject.connect()
    if step.expect_info is not None and not step.expect_info.fullmatch(connection.info):
        raise VectorFailure(
            f"{vector}, step {number}: INFO does not match\n"
            f"  expected  {_shown(step.expect_info.pattern)}\n  received  {_shown(connection.info)}"
        )
    return connection


def _run_step(vector: Vector, number: int, step: Step, connection: Connection, subject: Subject) -> None:
    if step.after_ms:
        subject.pause(step.after_ms)
    data = step.bytes_to_send(connection.info)
    connection.send(data)
    expected = step.expected(of_214=subject.speaks_214)
    if not expected.pattern and not step.closes:
        # No wait proves that nothing will come. What does come counts for the next step: in vector 45 a
        # message is complete, and delivered, some bytes before the step that expects it.
        return

    def enough(received: bytes, /, *, closed: bool) -> bool:
        # Before the close nothing is decided: bytes may follow that must not.
        return closed or (not step.closes and expected.fullmatch(received) is not None)

    received = connection.receive(enough, step.timeout_ms)

    complaint = None
    if not expected.fullmatch(received):
        complaint = "other bytes than expected"
    elif step.closes and not connection.closed:
        complaint = f"not closed within {step.timeout_ms} ms"
    elif step.close_reason is not None and (reason := connection.close_reason()) != step.close_reason:
        complaint = f"closed for {reason!r}, not for {step.close_reason!r}"
    if complaint is not None:
        raise VectorFailure(
            f"{vector}, step {number} on connection {step.connection}: {complaint}\n"
            f"  sent      {_shown(data)}\n  expected  {_shown(expected.pattern)}\n"
            f"  received  {_shown(received)}{' and the close' if connection.closed else ''}"
        )


def _expect_nothing_unread(vector: Vector, label: str, connection: Connection) -> None:
    received = connection.finish()
    if received not in NOTHING_UNREAD:
        raise VectorFailure(
            f"{vector}, at its end: connection {label} must be open with nothing unread\n"
            f"  the last PING was answered by  {_shown(received)}"
        )


def _shown(data: bytes) -> str:
    if len(data) <= SHOWN_BYTES_MAX:
        return repr(data)
    return f"{data[:SHOWN_BYTES_MAX]!r}... ({len(data)} bytes)"

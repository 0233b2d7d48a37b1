"""The runner fails whenever a subject misbehaves, and only then.

The subject here is a script: it says what a server would say, right or wrong.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from nacl.signing import VerifyKey

from tests.conformance.runner import VectorFailure, run_vector
from tests.conformance.vectors import NkeyConnect, load, vector_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.runner import Enough
    from tests.conformance.vectors import Vector

INFO: Final = b'INFO {"server_id":"N","client_id":1} \r\n'
MESSAGE: Final = b"MSG foo 1 0\r\n\r\n"
ERROR: Final = b"-ERR 'Unknown Protocol Operation'\r\n"


class ScriptedConnection:
    """Answers each send with the next text of a script, whatever was sent."""

    def __init__(
        self,
        *answers: bytes,
        info: bytes = INFO,
        closes: bool = False,  # after the last answer
        reason: str | None = None,
        last_words: bytes = b"PONG\r\n",
    ) -> None:
        self.info = info
        self.sent: list[bytes] = []
        self.timeouts_ms: list[int] = []
        self._answers = list(answers)
        self._closes = closes
        self._reason = reason
        self._last_words = last_words
        self._unread = b""

    @property
    def closed(self) -> bool:
        return self._closes and not self._answers

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        if self._answers:
            self._unread += self._answers.pop(0)

    def receive(self, enough: Enough, timeout_ms: int) -> bytes:
        self.timeouts_ms.append(timeout_ms)
        enough(self._unread, closed=self.closed)
        received, self._unread = self._unread, b""
        return received

    def finish(self) -> bytes:
        return self._unread + (b"" if self.closed else self._last_words)

    def close_reason(self) -> str | None:
        return self._reason


class ScriptedSubject:
    """Hands out its connections in order."""

    def __init__(self, *connections: ScriptedConnection, speaks_214: bool = True) -> None:
        self.speaks_214 = speaks_214
        self.paused_ms: list[int] = []
        self._connections = list(connections)

    def connect(self) -> ScriptedConnection:
        return self._connections.pop(0)

    def pause(self, milliseconds: int) -> None:
        self.paused_ms.append(milliseconds)


def vector(*steps: dict[str, Any]) -> Vector:
    """A vector of these steps, on connection `a` unless they say otherwise."""
    return vector_of(
        {"id": 1, "group": "g", "name": "n", "connections": [{"conn": "a", **step} for step in steps]}
    )


PING: Final = {"send": "PING\r\n", "expect_regex": r"PONG\r\n"}
PUBLISH: Final = {"send": "PUB foo 0\r\n\r\nPING\r\n", "expect_regex": r"MSG foo 1 0\r\n\r\nPONG\r\n"}
BREAK: Final = {
    "send": "BAD\r\n", "expect_regex": r"-ERR 'Unknown Protocol Operation'\r\n",
    "closes": True, "close_reason": "Protocol Violation",
}  # fmt: skip


def test_subject_that_does_all_of_it_passes() -> None:
    connection = ScriptedConnection(b"PONG\r\n", ERROR, closes=True, reason="Protocol Violation")

    run_vector(vector(PING, BREAK), ScriptedSubject(connection))

    assert connection.sent == [b"PING\r\n", b"BAD\r\n"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"MSG foo 2 0\r\n\r\nPONG\r\n", id="wrong byte"),
        pytest.param(b"MSG foo 1 0\r\n\r\n", id="bytes missing at the end"),
        pytest.param(MESSAGE + MESSAGE + b"PONG\r\n", id="bytes twice"),
        pytest.param(b"+OK\r\n" + MESSAGE + b"PONG\r\n", id="bytes before"),
        pytest.param(MESSAGE + b"PONG\r\n+OK\r\n", id="bytes behind"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_other_bytes_than_expected_fail(answer: bytes) -> None:
    with pytest.raises(VectorFailure, match="step 1 on connection a: other bytes than expected"):
        run_vector(vector(PUBLISH), ScriptedSubject(ScriptedConnection(answer)))


def test_bytes_that_come_after_a_step_fail_the_next_one() -> None:
    late = ScriptedConnection(b"PONG\r\n", b"+OK\r\nPONG\r\n")

    with pytest.raises(VectorFailure, match="step 2 on connection a: other bytes than expected"):
        run_vector(vector(PING, PING), ScriptedSubject(late))


@pytest.mark.parametrize(
    "last_words",
    [
        pytest.param(MESSAGE + b"PONG\r\n", id="a message too many"),
        pytest.param(b"PONG\r\nPONG\r\n", id="a PONG too many"),
        pytest.param(b"PONG\r\n" + ERROR, id="an error behind"),
        pytest.param(b"PING\r\nPING\r\nPONG\r\n", id="two PINGs"),
        pytest.param(b"PING\r\n", id="a PING but no PONG"),
        pytest.param(b"", id="silence"),
    ],
)
def test_bytes_left_unread_at_the_end_fail(last_words: bytes) -> None:
    with pytest.raises(VectorFailure, match="at its end: connection a must be open with nothing unread"):
        run_vector(vector(PING), ScriptedSubject(ScriptedConnection(b"PONG\r\n", last_words=last_words)))


@pytest.mark.parametrize("last_words", [b"PING\r\nPONG\r\n", b"PONG\r\nPING\r\n"])
def test_ping_of_the_servers_own_timer_is_no_unread_byte(last_words: bytes) -> None:
    connection = ScriptedConnection(b"PONG\r\n", last_words=last_words)

    run_vector(vector(PING), ScriptedSubject(connection))

    assert connection.sent == [b"PING\r\n"]


def test_unread_bytes_fail_on_whichever_connection_they_are() -> None:
    chatty = ScriptedConnection(b"PONG\r\n", last_words=MESSAGE + b"PONG\r\n")

    with pytest.raises(VectorFailure, match="connection a must be open"):
        run_vector(
            vector(PING, {**PING, "conn": "b"}), ScriptedSubject(chatty, ScriptedConnection(b"PONG\r\n"))
        )


def test_connection_that_is_not_closed_fails() -> None:
    with pytest.raises(VectorFailure, match="not closed within 3000 ms"):
        run_vector(vector(BREAK), ScriptedSubject(ScriptedConnection(ERROR, reason="Protocol Violation")))


def test_bytes_before_the_close_fail() -> None:
    subject = ScriptedSubject(
        ScriptedConnection(ERROR + b"PONG\r\n", closes=True, reason="Protocol Violation")
    )

    with pytest.raises(VectorFailure, match="other bytes than expected"):
        run_vector(vector(BREAK), subject)


def test_close_that_nobody_expects_fails() -> None:
    with pytest.raises(VectorFailure, match="connection a must be open"):
        run_vector(vector(PING), ScriptedSubject(ScriptedConnection(b"PONG\r\n", closes=True)))


@pytest.mark.parametrize("reason", ["Parse Error", "protocol violation", None])
def test_other_close_reason_fails(reason: str | None) -> None:
    subject = ScriptedSubject(ScriptedConnection(ERROR, closes=True, reason=reason))

    with pytest.raises(VectorFailure, match=f"closed for {reason!r}, not for 'Protocol Violation'"):
        run_vector(vector(BREAK), subject)


def test_info_that_does_not_match_whole_fails() -> None:
    step = {**PING, "expect_info_regex": r'INFO \{"server_id":"N","client_id":1\}'}

    with pytest.raises(VectorFailure, match="INFO does not match"):
        run_vector(vector(step), ScriptedSubject(ScriptedConnection(b"PONG\r\n")))


def test_step_that_expects_nothing_leaves_what_came_to_the_next_step() -> None:
    byte = {"send": "P", "expect_regex": ""}

    run_vector(vector(byte, PUBLISH), ScriptedSubject(ScriptedConnection(MESSAGE, b"PONG\r\n")))

    with pytest.raises(VectorFailure, match="step 2"):
        run_vector(vector(byte, PING), ScriptedSubject(ScriptedConnection(MESSAGE, b"PONG\r\n")))


@pytest.mark.parametrize(
    ("speaks_214", "answer", "passes"),
    [(True, b"NEW", True), (True, b"OLD", False), (False, b"OLD", True), (False, b"NEW", False)],
)
def test_each_line_of_servers_must_meet_its_own_expectation(
    speaks_214: bool, answer: bytes, passes: bool
) -> None:
    either = vector({"expect_regex": "OLD", "expect_regex_214": "NEW"})
    subject = ScriptedSubject(ScriptedConnection(answer), speaks_214=speaks_214)

    if passes:
        run_vector(either, subject)
    else:
        with pytest.raises(VectorFailure, match="other bytes than expected"):
            run_vector(either, subject)


def test_step_waits_before_it_sends_and_reads_within_its_time() -> None:
    connection = ScriptedConnection(b"PONG\r\n", b"PONG\r\n")
    subject = ScriptedSubject(connection)

    run_vector(vector({**PING, "after_ms": 400}, {**PING, "timeout_ms": 4000}), subject)

    assert subject.paused_ms == [400]
    assert connection.timeouts_ms == [3000, 4000]


def test_failure_shows_what_was_sent_expected_and_received() -> None:
    with pytest.raises(VectorFailure) as failure:
        run_vector(vector(PING), ScriptedSubject(ScriptedConnection(b"+OK\r\n", closes=True)))

    assert r"sent      b'PING\r\n'" in str(failure.value)
    assert r"expected  b'PONG\\r\\n'" in str(failure.value)
    assert r"received  b'+OK\r\n' and the close" in str(failure.value)


def test_parts_of_a_send_become_one_text_of_latin_1_bytes() -> None:
    parts = vector({"send": ["SUB ", {"repeat": "ab", "count": 3}, "\xff 1\r\n"], "expect_regex": ""})

    assert parts.steps[0].bytes_to_send(INFO) == b"SUB ababab\xff 1\r\n"


def test_nkey_part_signs_the_nonce_of_the_info_line() -> None:
    [connect] = [
        part for row in load() for step in row.steps for part in step.parts if isinstance(part, NkeyConnect)
    ]

    line = connect.line(b'INFO {"nonce":"AAAAAAAAAAAAAAA"} \r\n')

    document = json.loads(line.removeprefix(b"CONNECT "))
    # The public key that the configuration of that vector lists.
    assert document["nkey"] == "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK"
    assert document["verbose"] is False
    public = base64.b32decode(document["nkey"])[1:33]
    signature = base64.urlsafe_b64decode(document["sig"] + "==")
    assert VerifyKey(public).verify(b"AAAAAAAAAAAAAAA", signature) == b"AAAAAAAAAAAAAAA"


@pytest.mark.parametrize(
    "row",
    [
        {"id": 1, "group": "g", "name": "n", "connections": [], "flags": "-D"},
        {"id": 1, "group": "g", "name": "n", "connections": [{**PING, "conn": "a", "expect": "x"}]},
        {
            "id": 1,
            "group": "g",
            "name": "n",
            "connections": [{**PING, "conn": "a", "send": [{"repeat": "a"}]}],
        },
    ],
    ids=["field of a vector", "field of a step", "part of a send"],
)
def test_what_the_format_does_not_have_is_an_error(row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"unknown fields|cannot send"):
        vector_of(row)


def test_two_vectors_with_one_id_are_an_error(tmp_path: Path) -> None:
    row = {"id": 7, "group": "g", "name": "n", "connections": []}
    twice = tmp_path / "twice.json"
    twice.write_text(json.dumps([row, row]))

    with pytest.raises(ValueError, match="same id"):
        load(twice)

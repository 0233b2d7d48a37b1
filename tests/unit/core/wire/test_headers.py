"""Header blocks that the server writes and takes off."""

from __future__ import annotations

import pytest

from natscore.wire.headers import header_values, no_responders, strip_headers, with_info, without_info


@pytest.mark.spec("client-protocol 10.4")
@pytest.mark.parametrize("subject", [b"foo", b"a.b.c", b"\xff"])
def test_nobody_listens_is_said_with_the_subject_in_32_bytes_more(subject: bytes) -> None:
    block = no_responders(subject)

    assert block == b"NATS/1.0 503\r\nNats-Subject: " + subject + b"\r\n\r\n"
    assert len(block) == 32 + len(subject)


@pytest.mark.spec("client-protocol 4")
@pytest.mark.parametrize(
    ("tail", "stripped"),
    [
        (b"12 16\r\nNATS/1.0\r\n\r\nbody\r\n", b"4\r\nbody\r\n"),
        (b"r 12 16\r\nNATS/1.0\r\n\r\nbody\r\n", b"r 4\r\nbody\r\n"),
        (b"12 12\r\nNATS/1.0\r\n\r\n\r\n", b"0\r\n\r\n"),
        (b"0 2\r\nhi\r\n", b"2\r\nhi\r\n"),
        (b"000000005 007\r\nABCDEhi\r\n", b"2\r\nhi\r\n"),
        (b"2 4\r\n\r\n\r\n\r\n", b"2\r\n\r\n\r\n"),
    ],
)
def test_headers_are_taken_off_and_the_size_is_written_anew(tail: bytes, stripped: bytes) -> None:
    assert strip_headers(tail) == stripped


INFO = b'Nats-Request-Info: {"acc":"B"}\r\n\r\n'


@pytest.mark.spec("accounts 7", "accounts 17:13")
@pytest.mark.parametrize(
    ("block", "result"),
    [
        (b"", b"NATS/1.0\r\n"),
        (b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\n"),
        (b"NATS/1.0\r\nA: b\r\n\r\n", b"NATS/1.0\r\nA: b\r\n"),
        (b"NATS/1.0\r\nNats-Request-Info: x\r\n\r\n", b"NATS/1.0\r\n"),
        (b"NATS/1.0\r\nnats-REQUEST-info: x\r\nA: b\r\n\r\n", b"NATS/1.0\r\nA: b\r\n"),
        (b"NATS/1.0\r\nA: b\nNats-Request-Info: x\r\n\r\n", b"NATS/1.0\r\nA: b\r\n"),
        (b"NATS/1.0\r\nNats-Request-Info: x\r\n\ty\r\nA: b\r\n\r\n", b"NATS/1.0\r\nA: b\r\n"),
        (b"NATS/1.0\r\nX-Nats-Request-Info: x\r\n\r\n", b"NATS/1.0\r\nX-Nats-Request-Info: x\r\n"),
        (b"Nats-Request-Info: x", b"NATS/1.0\r\n"),
        (b"NATS/1.0\r\nA: b", b"NATS/1.0\r\nA: b\r\n"),
    ],
)
def test_who_asks_is_said_once_and_last(block: bytes, result: bytes) -> None:
    assert with_info(block, b'{"acc":"B"}') == result + INFO


@pytest.mark.spec("accounts 6.4")
@pytest.mark.parametrize(
    ("block", "result"),
    [
        (b"", b""),
        (b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\n\r\n"),
        (b"NATS/1.0\r\nNats-Request-Info: x\r\n\r\n", b""),
        (b"NATS/1.0\r\nA: b\r\nNats-Request-Info: x\r\n\r\n", b"NATS/1.0\r\nA: b\r\n\r\n"),
        (b"NATS/1.0 503\r\nNats-Request-Info: x\r\n\r\n", b"NATS/1.0 503\r\n\r\n"),
    ],
)
def test_an_answer_says_nothing_of_who_asks(block: bytes, result: bytes) -> None:
    assert without_info(block) == result


@pytest.mark.parametrize(
    ("block", "values"),
    [
        (b"NATS/1.0\r\nx-b3-traceid: 1\r\nX-B3-TraceId:2 \r\n\r\n", {"X-B3-Traceid": ["1", "2"]}),
        (b"NATS/1.0\r\nA b: 1\r\n\r\n", {}),
        (b"NATS/1.0\r\nA: 1\r\nno colon\r\n\r\n", {}),
        (b"NATS/1.0\r\n\r\n", {}),
    ],
)
def test_headers_are_read_by_their_canonical_names(block: bytes, values: dict[str, list[str]]) -> None:
    assert header_values(block) == values

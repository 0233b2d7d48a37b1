"""Header blocks that the server writes and takes off."""

from __future__ import annotations

import pytest

from natscore.wire.headers import no_responders, strip_headers


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

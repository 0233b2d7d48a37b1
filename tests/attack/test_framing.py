"""Hostile framing through real sockets, on both data planes: what is said, and that it is the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

import natscore_accel
from tests.attack.watch import ASYNCIO, complaints, connected, start
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import RunningServer

HELLO: Final = b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\nSUB foo 1\r\nPING\r\n'
SILENT: Final = b""
UNKNOWN: Final = b"-ERR 'Unknown Protocol Operation'\r\n"
TOO_LARGE: Final = b"-ERR 'Maximum Payload Violation'\r\n"
LONG_LINE: Final = b"-ERR 'maximum control line exceeded'\r\n"
FIRST: Final = b"MSG foo 1 1\r\nx\r\n"

SIZES: Final = {
    b"2147483648": SILENT,
    b"4294967297": SILENT,
    b"9223372036854775808": SILENT,
    b"18446744073709551617": SILENT,
    b"00000000000000000001": SILENT,
    b"99999999999999999999": SILENT,
    b"-1": SILENT,
    b"+1": SILENT,
    b"1_0": SILENT,
    b"0x1": SILENT,
    b"1.": SILENT,
    b"\xd9\xa1": SILENT,
    b"1\x00": SILENT,
    b"999999999": TOO_LARGE,
    b"1048577": TOO_LARGE,
}
LINES: Final = (b"PUB foo %s", b"PUB foo bar %s", b"HPUB foo 0 %s", b"HPUB foo bar 0 %s", b"pub \t foo  %s")

FRAMES: Final = {
    b"PUB foo 2\r\nhiX\r\nPING\r\n": UNKNOWN,
    b"PUB foo 3\r\nhi\r\nPING\r\n": UNKNOWN,
    b"PUB foo 2\r\nhi\nPING\r\n": UNKNOWN,
    b"PUB foo 2\r\nhi\r\rPING\r\n": UNKNOWN,
    b"PUB foo 0\r\nPING\r\n": UNKNOWN,
    b"pub foo 2\nhiXX": UNKNOWN,
    b"HPUB foo 2 3\r\nhiXYZ": UNKNOWN,
    b"PUB foo 1\r\nx\r\nPUB foo 1\r\nxyz\r\n": FIRST + UNKNOWN,
    b"PUB foo 1\r\nx\r\n\x00": FIRST + UNKNOWN,
    b"HPUB foo 3 2\r\nhi\r\n": SILENT,
    b"HPUB foo 9999999999 2\r\nhi\r\n": SILENT,
    b"PUB  \r\n": SILENT,
    b"PUB " + b"f" * 5_000: LONG_LINE,
    b"SUB " + b"f" * 5_000: LONG_LINE,
}

SUBJECTS: Final = (
    b"\x00",
    b"a\x01b",
    b"\x0b",
    b"\x7f",
    b"\xff\xfe",
    b"a.\x1b[31m",
    b"\xe2\x80\xae",
    b"a\x00.b",
)


@pytest.fixture(scope="module", params=["pure", "compiled"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """One server for all, on each data plane."""
    compiled = request.param == "compiled"
    if compiled and not natscore_accel.available:
        pytest.skip(f"natscore-accel: {natscore_accel.why_not}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NATSCORE_PURE", "0" if compiled else "1")
        with start(ASYNCIO) as running:
            assert f"Data plane: {'compiled' if compiled else 'pure'}" in running.log_text()
            yield running


def answer_to(server: RunningServer, data: bytes) -> bytes:
    """What the server says to a client that is logged in, until it closes."""
    with RawClient(server.host, server.port) as client:
        client.send(HELLO)
        client.read_until(rb"PONG\r\n")
        client.send(data)
        said = client.read_all_until_closed()
    # the INFO that follows the first PONG is not an answer to it
    return said.partition(b"\r\n")[2] if said.startswith(b"INFO ") else said


@pytest.mark.parametrize("line", LINES)
def test_a_size_that_is_none_or_too_large_is_the_end(server: RunningServer, line: bytes) -> None:
    said = {size: answer_to(server, line % size + b"\r\nx\r\nPING\r\n") for size in SIZES}

    assert said == SIZES


def test_a_frame_that_does_not_end_where_it_should_is_the_end(server: RunningServer) -> None:
    said = {frame: answer_to(server, frame) for frame in FRAMES}

    assert said == FRAMES


@pytest.mark.parametrize("subject", SUBJECTS)
def test_control_bytes_in_a_subject_are_bytes_like_others(server: RunningServer, subject: bytes) -> None:
    with connected(server, b"SUB %s 1\r\n" % subject) as client:
        client.send(b"PUB %s 1\r\nx\r\nPING\r\n" % subject)

        assert client.read_until(rb"PONG\r\n") == b"MSG %s 1 1\r\nx\r\nPONG\r\n" % subject


def test_after_all_that_others_are_served_and_nothing_went_wrong(server: RunningServer) -> None:
    with connected(server, b"SUB foo 1\r\n") as client:
        for frame in FRAMES:
            answer_to(server, frame)
        client.send(b"PUB foo 1\r\nx\r\nPING\r\n")
        client.read_until(rb"PONG\r\n")

    assert not [line for line in complaints(server) if "Traceback" in line or "[FTL]" in line]

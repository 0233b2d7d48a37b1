"""Reading what clients send: grammar, sizes, limits, and how each violation ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from natscore.controlops import OPS_MAX
from natscore.dataplane import Stop
from natscore.entropy import Xorshift64
from natscore.errors import CloseReason
from natscore.events import ConnectionId
from natscore.plan import compile_plan
from natscore.testing import World
from tests.support.pure import pure_source
from tests.unit.core.dialogue import HEADERS, QUIET, VERBOSE, client_of, open_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.plane import DataPlane, Source

pytestmark = pytest.mark.every_plane

UNKNOWN: Final = b"-ERR 'Unknown Protocol Operation'\r\n"
LINE_TOO_LONG: Final = b"-ERR 'maximum control line exceeded'\r\n"

# -- the form of a line ----------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 2", "client-protocol 3")
@pytest.mark.parametrize("name", [b"PING", b"ping", b"pInG", b"PiNg"])
def test_op_names_are_understood_in_any_case(name: bytes) -> None:
    client = open_client()

    client.send(name + b"\r\n")

    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 2")
def test_every_op_is_understood_in_mixed_case() -> None:
    client = open_client()

    client.send(
        b"SuB foo 1\r\npUb foo 0\r\n\r\nuNsUb 1\r\nPuB foo 0\r\n\r\nPoNg\r\n+oK\r\niNfO {}\r\npInG\r\n"
    )

    assert client.take() == b"MSG foo 1 0\r\n\r\nPONG\r\n"


@pytest.mark.spec("client-protocol 2")
def test_a_line_may_end_with_lf_alone() -> None:
    client = open_client(b"")

    client.send(b'CONNECT {"verbose":false}\nSUB foo 1\nPUB foo 2\nhi\r\nUNSUB 1\nPING\n')

    assert client.take() == b"MSG foo 1 2\r\nhi\r\nPONG\r\n"


@pytest.mark.spec("client-protocol 2")
def test_arguments_are_separated_by_any_run_of_blanks_and_tabs() -> None:
    client = open_client()

    client.send(b"SUB\t foo \t 1 \t\r\nPUB \t foo\t\tbar  2\t \r\nhi\r\nPING\r\n")

    assert client.take() == b"MSG foo 1 bar 2\r\nhi\r\nPONG\r\n"


@pytest.mark.spec("client-protocol 2")
@pytest.mark.parametrize("line", [b'CONNECT{"verbose":false}', b'CONNECT \t{"verbose":false} ', b"INFO{}"])
def test_connect_and_info_need_no_blank(line: bytes) -> None:
    client = open_client()

    client.send(line + b"\r\nPING\r\n")

    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 2")
@pytest.mark.parametrize("line", [b"PINGxyz", b"PING anything here", b"ping\t", b"PING" + b"z" * 10_000])
def test_what_follows_ping_is_ignored_whatever_its_length(line: bytes) -> None:
    client = open_client()

    client.send(line + b"\r\n")

    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 2.3:+OK, PONG from client", "client-protocol 3")
@pytest.mark.parametrize("line", [b"PONG", b"PONG junk", b"+OK", b"+OK junk", b"INFO {}", b"INFO [1]"])
def test_what_only_a_server_says_is_ignored(line: bytes) -> None:
    client = open_client()

    client.send(line + b"\r\nPING\r\n")

    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 2")
@pytest.mark.parametrize(
    "token", [b"\x00", b"\xff\xfe", "ü".encode(), b"a\x0bb", b"a\x0cb", b"a\x85b", b"\x1b[0m", b"'\"\\"]
)
def test_subjects_sids_and_replies_are_opaque_bytes(token: bytes) -> None:
    client = open_client()

    client.send(b"SUB %b %b\r\nPUB %b %b 2\r\nhi\r\nPING\r\n" % (token, token, token, token))

    assert client.take() == b"MSG %b %b %b 2\r\nhi\r\nPONG\r\n" % (token, token, token)


def test_vertical_tabs_and_form_feeds_separate_nothing() -> None:
    client = open_client()

    client.send(b"SUB > 1\r\nPUB foo\x0bbar 3\r\nabc\r\nSUB x\x0cy 2\r\nPUB x\x0cy 0\r\n\r\n")

    assert client.take() == b"MSG foo\x0bbar 1 3\r\nabc\r\nMSG x\x0cy 2 0\r\n\r\nMSG x\x0cy 1 0\r\n\r\n"


@pytest.mark.spec("client-protocol 2")
def test_sub_and_unsub_take_a_cr_within_the_line_for_a_blank() -> None:
    client = open_client()

    client.send(b"SUB foo 1\r\r\nSUB\rbar 2\r\n")

    assert client.take() == UNKNOWN  # the op name itself needs a real blank
    client = open_client()
    client.send(
        b"SUB foo 1\r\r\nSUB bar\r2\r\nPUB foo 0\r\n\r\nPUB bar 0\r\n\r\nUNSUB\t1\r\r\nPUB foo 0\r\n\r\n"
    )
    assert client.take() == b"MSG foo 1 0\r\n\r\nMSG bar 2 0\r\n\r\n"


@pytest.mark.spec("client-protocol 2", "client-protocol 10.2")
def test_ops_may_arrive_a_byte_at_a_time() -> None:
    client = open_client()

    for byte in b"SUB foo 1\r\nPUB foo 5\r\nhe\r\no\r\nPING\r\n":
        client.send(bytes([byte]))

    assert client.take() == b"MSG foo 1 5\r\nhe\r\no\r\nPONG\r\n"


@pytest.mark.spec("client-protocol 3")
def test_a_payload_may_hold_anything_even_ops() -> None:
    client = open_client()

    client.send(b"SUB foo 1\r\nPUB foo 15\r\nPING\r\nPUB x 1\r\n\r\nPING\r\n")

    assert client.take() == b"MSG foo 1 15\r\nPING\r\nPUB x 1\r\n\r\nPONG\r\n"


# -- what is no line -------------------------------------------------------------------------------


@pytest.mark.spec(
    "client-protocol 2",
    "client-protocol 2.3:Unknown op letter sequence",
    "client-protocol 12:Unknown Protocol Operation",
    "client-protocol 13:Protocol Violation",
)
@pytest.mark.parametrize(
    "data",
    [
        b"\r\n", b"\n", b" PING\r\n", b"\tPING\r\n", b"FOO\r\n", b"PUB\r\n", b"PUB\n", b"SUB\r\n",
        b"UNSUB\r\n",
        b"HPUB\r\n", b"-ERR\r\n", b"PUBLISH foo 2\r\n", b"PUBfoo 2\r\nhi\r\n", b"P\r\n", b"PI\r\n", b"+O\r\n",
        b"\x00", b"\xff", b"{", b"GET / HTTP/1.1\r\n", b"PUB\x0bfoo 2\r\nhi\r\n", b"CONN ECT {}\r\n",
        b"\x16\x03\x01\x02\x00", b"PI\xc5\xbfG\r\n",
    ],
)  # fmt: skip
def test_an_unknown_op_is_told_and_closes(data: bytes) -> None:
    client = open_client()

    client.send(data)

    assert client.take() == UNKNOWN
    assert client.close_reason is CloseReason.PROTOCOL_VIOLATION


@pytest.mark.spec("client-protocol 2.3:MSG/HMSG/RS+/LS+/A+/RMSG from a client")
@pytest.mark.parametrize(
    "line",
    [
        b"MSG foo 1 2",
        b"HMSG foo 1 12 14",
        b"RS+ $G foo",
        b"RS- $G foo",
        b"LS+ foo",
        b"A+ foo",
        b"RMSG $G f 2",
    ],
)
def test_ops_of_servers_are_unknown_to_clients(line: bytes) -> None:
    client = open_client()

    client.send(line + b"\r\nhi\r\n")

    assert client.take() == UNKNOWN
    assert client.close_reason is CloseReason.PROTOCOL_VIOLATION


@pytest.mark.spec(
    "client-protocol 2.3:bad payload terminator",
    "client-protocol 2.3:payload longer or shorter than declared",
    "client-protocol 2",
)
@pytest.mark.parametrize(
    "data",
    [
        b"PUB foo 2\r\nhiX\r\nPING\r\n",
        b"PUB foo 3\r\nhi\r\nPING\r\n",
        b"PUB foo 2\r\nhi\nPING\r\n",
        b"PUB foo 2\r\nhi\r\rPING\r\n",
        b"PUB foo 0\r\nPING\r\n",
        b"pub foo 2\nhiXX",
        b"HPUB foo 2 3\r\nhiXYZ",
        b"PUB foo 1\r\nx\r\nPUB foo 1\r\nxy\r\n",
    ],
)
def test_a_payload_that_does_not_end_with_crlf_is_told_and_closes(data: bytes) -> None:
    client = open_client(HEADERS)

    client.send(data)

    assert client.take() == UNKNOWN
    assert client.close_reason is CloseReason.PROTOCOL_VIOLATION


@pytest.mark.spec("client-protocol 2.3:Wrong argument count for SUB, UNSUB, PUB, HPUB")
@pytest.mark.parametrize(
    "line",
    [
        b"SUB ", b"SUB foo", b"SUB foo q 1 2", b"UNSUB ", b"UNSUB \t ", b"UNSUB 1 2 3", b"PUB ", b"PUB foo",
        b"PUB a b c 2", b"HPUB ", b"HPUB foo", b"HPUB foo 12", b"HPUB a b c 12 12", b"SUB \r",
    ],
)  # fmt: skip
def test_a_wrong_number_of_arguments_closes_in_silence(line: bytes) -> None:
    client = open_client(HEADERS)

    client.send(line + b"\r\nPING\r\n")

    assert client.take() == b""
    assert client.close_reason is CloseReason.PROTOCOL_VIOLATION


@pytest.mark.spec("client-protocol 2.1", "client-protocol 2.3:bad size")
@pytest.mark.parametrize(
    "size",
    [
        b"2x", b"x", b"-1", b"-0", b"+5", b"1_0", b"0x2", b"2.0", b"1e1", b"0000000002", b"1000000000",
        b"2147483648", b"4294967296", b"9223372036854775808", b"18446744073709551616",
        b"99999999999999999999",
        b"\xd9\xa2", b"2\x0b", b"\x0b2", b"2\x00", b"\xb2", b"''", b"2,", b"2;",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "op", [b"PUB foo ", b"PUB foo bar ", b"HPUB foo 0 ", b"HPUB foo bar 0 ", b"pub\tfoo "]
)
def test_a_size_that_is_not_one_to_nine_digits_closes_in_silence(op: bytes, size: bytes) -> None:
    client = open_client(HEADERS)

    client.send(op + size + b"\r\nhi\r\nPING\r\n")

    assert client.take() == b""
    assert client.close_reason is CloseReason.PROTOCOL_VIOLATION


@pytest.mark.spec("client-protocol 2.1")
def test_the_largest_size_is_refused_for_its_size_and_not_for_its_form() -> None:
    client = open_client()

    client.send(b"PUB foo 999999999\r\n")

    assert client.take() == b"-ERR 'Maximum Payload Violation'\r\n"


@pytest.mark.spec("client-protocol 2.1")
@pytest.mark.parametrize("size", [b"2", b"02", b"000000002"])
def test_a_size_is_echoed_as_it_was_written(size: bytes) -> None:
    client = open_client()

    client.send(b"SUB foo 1\r\nPUB foo %b\r\nhi\r\npub foo  %b\r\nho\r\n" % (size, size))

    assert client.take() == b"MSG foo 1 %b\r\nhi\r\nMSG foo 1 %b\r\nho\r\n" % (size, size)


@pytest.mark.spec("client-protocol 2.3:header size > total")
@pytest.mark.parametrize(
    "line", [b"HPUB foo 13 12", b"HPUB foo r 13 12", b"hpub foo  13 12", b"HPUB foo 1 0"]
)
def test_a_header_larger_than_the_message_closes_in_silence(line: bytes) -> None:
    client = open_client(HEADERS)

    client.send(line + b"\r\n")

    assert client.take() == b""
    assert client.close_reason is CloseReason.PROTOCOL_VIOLATION


@pytest.mark.spec(
    "client-protocol 2.3:HPUB when headers not negotiated", "client-protocol 3", "client-protocol 10.5"
)
@pytest.mark.parametrize("line", [b"HPUB foo 12 12", b"hpub\tfoo 12 12", b"HPUB foo 13 12"])
@pytest.mark.parametrize(("connect", "headers"), [(QUIET, True), (HEADERS, False)])
def test_hpub_needs_headers_of_both_sides(connect: bytes, headers: bool, line: bytes) -> None:
    client = open_client(connect, headers=headers)

    client.send(line + b"\r\nNATS/1.0\r\n\r\n\r\n")

    assert client.take() == b""
    assert client.close_reason is CloseReason.PROTOCOL_VIOLATION


@pytest.mark.spec("client-protocol 2.3:-ERR ... from client", "client-protocol 13:Parse Error")
@pytest.mark.parametrize("line", [b"-ERR 'x'", b"-err x", b"-ERR  "])
def test_an_error_from_a_client_closes_in_silence(line: bytes) -> None:
    client = open_client()

    client.send(line + b"\r\nPING\r\n")

    assert client.take() == b""
    assert client.close_reason is CloseReason.PARSE_ERROR


@pytest.mark.spec("client-protocol 2.3:INFO from client with invalid JSON")
@pytest.mark.parametrize("line", [b"INFO xx", b"INFO ", b"INFO", b"INFO {"])
def test_info_that_is_no_json_closes_in_silence(line: bytes) -> None:
    client = open_client()

    client.send(line + b"\r\nPING\r\n")

    assert client.take() == b""
    assert client.close_reason is CloseReason.PROTOCOL_VIOLATION


@pytest.mark.spec(
    "client-protocol 2.3:CONNECT JSON invalid, wrong JSON type for a known field, trailing garbage,"
    " not an object (except null, a no-op)"
)
@pytest.mark.parametrize("line", [b"CONNECT", b"CONNECT ", b"CONNECT {bad", b"CONNECT {} x", b"CONNECTX {}"])
def test_a_malformed_connect_closes_in_silence(line: bytes) -> None:
    client = open_client()

    client.send(line + b"\r\nPING\r\n")

    assert client.take() == b""
    assert client.close_reason is CloseReason.PROTOCOL_VIOLATION


@pytest.mark.spec("client-protocol 2.3")
@pytest.mark.parametrize(
    ("end", "error"), [(b"BAD\r\n", UNKNOWN), (b"PUB foo x\r\n", b""), (b"SUB foo\r\n", b"")]
)
def test_answers_to_earlier_ops_come_before_the_end(end: bytes, error: bytes) -> None:
    client = open_client()

    client.send(b"PING\r\nSUB foo 1\r\nPUB foo 1\r\nx\r\nPUB foo 1\r\nx\r\n" + end + b"PING\r\n")

    assert client.take() == b"PONG\r\nMSG foo 1 1\r\nx\r\nMSG foo 1 1\r\nx\r\n" + error
    assert not client.is_open


def test_subscriptions_before_a_malformed_one_count() -> None:
    server = World().server()
    other, client = client_of(server), client_of(server, VERBOSE)

    client.send(b"SUB foo 1\r\nSUB foo 2\r\nSUB foo\r\nSUB foo 3\r\n")

    assert client.take() == b"+OK\r\n+OK\r\n"
    assert not client.is_open
    other.send(b"PUB foo 0\r\n\r\n")
    assert server.state.accounts["$G"].subscriptions == 0


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.spec("client-protocol 2.2", "client-protocol 11:max_control_line")
@pytest.mark.parametrize(
    "line",
    [
        b"SUB " + b"a" * 4094 + b" 1",
        b"PUB " + b"a" * 4094 + b" 0\r\n",
        b"HPUB " + b"a" * 4092 + b" 0 0\r\n",
        b"pub  " + b"a" * 4094 + b" 0\r\n",
        b"UNSUB " + b"a" * 4096,
        b"SUB " + b" " * 8000 + b"foo 1",
        b"PUB " + b" " * 8000 + b"a" * 4094 + b" 0\r\n",
        b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"name":"' + b"a" * 4036 + b'"}',
        b'INFO {"a":"' + b"a" * 4088 + b'"}',
    ],
)
def test_4096_bytes_of_argument_are_accepted(line: bytes) -> None:
    client = open_client(HEADERS)

    client.send(line + b"\r\nPING\r\n")

    assert client.take() == b"PONG\r\n"


@pytest.mark.spec(
    "client-protocol 2.2",
    "client-protocol 11:max_control_line",
    "client-protocol 12:maximum control line exceeded",
    "client-protocol 13:Maximum Control Line Exceeded",
)
@pytest.mark.parametrize(
    "line",
    [
        b"SUB " + b"a" * 4095 + b" 1",
        b"PUB " + b"a" * 4095 + b" 0\r\n",
        b"HPUB " + b"a" * 4093 + b" 0 0\r\n",
        b"pub  " + b"a" * 4095 + b" 0\r\n",
        b"UNSUB " + b"a" * 4097,
        b"SUB " + b" " * 8000 + b"a" * 4095 + b" 1",
        b'CONNECT {"verbose":false,"name":"' + b"a" * 4070 + b'"}',
        b'INFO {"a":"' + b"a" * 4089 + b'"}',
        b"-ERR " + b"a" * 4097,
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_4097_bytes_of_argument_are_too_many(line: bytes, end: bytes) -> None:
    client = open_client(HEADERS)

    client.send(line + end + b"PING\r\n")

    assert client.take() == LINE_TOO_LONG
    assert client.close_reason is CloseReason.MAX_CONTROL_LINE


@pytest.mark.spec("client-protocol 2.2")
@pytest.mark.parametrize("name", [b"SUB ", b"PUB ", b"CONNECT", b"CONNECT ", b"INFO ", b"-ERR ", b"UNSUB "])
def test_a_line_that_never_ends_is_cut_off_when_it_is_too_long(name: bytes) -> None:
    client = open_client()

    client.send(name + b"a" * 4096)
    assert client.is_open
    client.send(b"a")

    assert client.take() == LINE_TOO_LONG
    assert not client.is_open


@pytest.mark.spec("client-protocol 2.2")
def test_the_cr_of_a_line_end_that_is_cut_does_not_count() -> None:
    client = open_client()

    client.send(b"SUB " + b"a" * 4094 + b" 1\r")
    client.send(b"\nPING\r\n")

    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 2.2")
@pytest.mark.parametrize("blanks", [b" ", b"\t", b" \t"])
def test_leading_blanks_are_not_counted_and_not_kept(blanks: bytes) -> None:
    client = open_client()
    source = client.server.state.connections[client.cid].source

    client.send(b"SUB ")
    for _ in range(1000):
        client.send(blanks * 50)
    assert source.have < 200
    client.send(b"foo 1\r\nPUB foo 0\r\n\r\n")

    assert client.take() == b"MSG foo 1 0\r\n\r\n"


def test_a_ping_line_without_an_end_is_not_kept() -> None:
    client = open_client()
    source = client.server.state.connections[client.cid].source

    for _ in range(1000):
        client.send(b"PING" + b"z" * 100 if not source.have else b"z" * 100)

    assert source.have < 200
    client.send(b"\r\n")
    assert client.take() == b"PONG\r\n"


@pytest.mark.spec("client-protocol 2.2", "client-protocol 11:max_control_line")
def test_the_control_line_limit_is_configurable() -> None:
    client = open_client(max_control_line=64)

    client.send(b"SUB " + b"a" * 62 + b" 1\r\nPING\r\n")
    assert client.take() == b"PONG\r\n"
    client.send(b"SUB " + b"a" * 63 + b" 2\r\nPING\r\n")

    assert client.take() == LINE_TOO_LONG


@pytest.mark.spec("client-protocol 2.2")
def test_every_line_of_a_row_of_subscriptions_is_measured() -> None:
    client = open_client(max_control_line=64)

    client.send(b"SUB a 1\r\nSUB " + b"a" * 62 + b" 2\r\nSUB " + b"a" * 63 + b" 3\r\n")

    assert client.take() == LINE_TOO_LONG


@pytest.mark.spec(
    "client-protocol 3",
    "client-protocol 11:max_payload",
    "client-protocol 12:Maximum Payload Violation",
    "client-protocol 13:Maximum Message Payload Exceeded",
)
@pytest.mark.parametrize(
    "line",
    [
        b"PUB foo 11",
        b"PUB foo r 11",
        b"pub  foo 11",
        b"HPUB foo 0 11",
        b"HPUB foo 11 11",
        b"PUB foo 999999999",
    ],
)
def test_a_payload_over_the_limit_is_refused_before_it_is_read(line: bytes) -> None:
    client = open_client(HEADERS, max_payload=10)

    client.send(line + b"\r\n")

    assert client.take() == b"-ERR 'Maximum Payload Violation'\r\n"
    assert client.close_reason is CloseReason.MAX_PAYLOAD


@pytest.mark.spec("client-protocol 3", "client-protocol 11:max_payload")
def test_a_payload_of_exactly_the_limit_is_delivered() -> None:
    client = open_client(HEADERS, max_payload=10)

    client.send(b"SUB foo 1\r\nPUB foo 10\r\n0123456789\r\nHPUB foo 4 10\r\n0123456789\r\n")

    assert client.take() == b"MSG foo 1 10\r\n0123456789\r\nHMSG foo 1 4 10\r\n0123456789\r\n"


@pytest.mark.spec("client-protocol 11:max_payload")
def test_a_payload_may_be_without_limit() -> None:
    client = open_client(max_payload=-1)

    client.send(b"SUB foo 1\r\nPUB foo 2000000\r\n" + b"x" * 2_000_000 + b"\r\n")

    assert client.take() == b"MSG foo 1 2000000\r\n" + b"x" * 2_000_000 + b"\r\n"


@pytest.mark.spec("client-protocol 2.2", "client-protocol 3")
def test_of_two_limits_the_length_of_the_line_comes_first() -> None:
    client = open_client(max_control_line=64)

    client.send(b"PUB " + b"a" * 63 + b" 999999999\r\n")

    assert client.take() == LINE_TOO_LONG


@pytest.mark.parametrize(
    "op", [b"PONG\r\n", b"PING\r\n", b"SUB a 1\r\n", b"PUB a 0\r\n\r\n", b"+OK\r\n", b"INFO {}\r\n"]
)
@pytest.mark.parametrize("turn_output_max", [1, 1 << 30])
@pytest.mark.pure_plane
def test_a_connection_that_is_idle_holds_no_bytes(op: bytes, turn_output_max: int) -> None:
    client = open_client(turn_output_max=turn_output_max)

    client.send(op * 500)

    source = pure_source(client.server.state.connections[client.cid].source)
    assert (source.have, source.buffer, source.pieces) == (0, b"", [])


# -- what the data plane hands over ----------------------------------------------------------------


class Plane:
    """A data plane without a server, and one source with quiet options."""

    def __init__(self, data_plane: Callable[[Xorshift64], DataPlane]) -> None:
        self.plane = data_plane(Xorshift64(1))
        self.sublist = self.plane.sublist()
        self.table = self.plane.table(self.sublist, (b"_GR_.",))
        self.source = self.new_source(5)
        self.plane.begin_turn(1 << 30)

    def new_source(self, cid: int) -> Source:
        outbox = self.plane.outbox(ConnectionId(cid))
        source = self.plane.source(ConnectionId(cid), outbox, self.table, 4096, 1_048_576)
        source.verbose = source.pedantic = False
        return source

    def run(self, data: bytes = b"") -> Stop:
        if data:
            self.source.feed(data)
        return self.plane.run(self.source)

    def written(self) -> bytes:
        return b"".join(self.source.outbox.blocks(1 << 30))


@pytest.fixture
def plane(data_plane: Callable[[Xorshift64], DataPlane]) -> Plane:
    return Plane(data_plane)


def test_run_needs_data_when_everything_is_done(plane: Plane) -> None:
    assert plane.run() is Stop.NEED_DATA
    assert plane.run(b"PING\r\n") is Stop.NEED_DATA
    assert plane.written() == b"PONG\r\n"


@pytest.mark.pure_plane
def test_run_does_not_join_what_cannot_be_a_whole_payload_yet(plane: Plane) -> None:
    plane.plane.install(plane.table, (), compile_plan(()))
    source = pure_source(plane.source)

    assert plane.run(b"PUB foo 1000\r\n") is Stop.NEED_DATA
    assert source.need == len(b"PUB foo 1000\r\n") + 1000 + 1  # its CR is looked at without its LF
    assert plane.run(b"x" * 600) is Stop.NEED_DATA
    assert source.pieces == [b"x" * 600]
    assert plane.run(b"x" * 400 + b"\r\n") is Stop.NEED_DATA
    assert (plane.source.messages, plane.source.have) == (1, 0)


def test_rows_of_subscriptions_are_handed_over_at_once_up_to_a_bound(plane: Plane) -> None:
    rows = b"".join(b"SUB a.%d q %d\r\n" % (n, n) for n in range(OPS_MAX + 1))

    assert plane.run(rows) is Stop.OPS
    assert len(plane.source.ops) == OPS_MAX
    assert plane.source.ops[1] == (b"SUB", [b"a.1", b"q", b"1"])


def test_ops_of_the_control_plane_come_in_order_and_alone(plane: Plane) -> None:
    stops = [plane.run(b'CONNECT {"a":1} \r\nSUB a 1\r\nUNSUB 1\r\nINFO {}\r\nPONG\r\nPING\r\n')]
    ops = [plane.source.ops]
    while stops[-1] is Stop.OPS:
        plane.source.ops = []
        stops.append(plane.run())
        ops.append(plane.source.ops)

    assert ops == [
        [(b"CONNECT", [b'{"a":1}'])],
        [(b"SUB", [b"a", b"1"]), (b"UNSUB", [b"1"])],
        [(b"INFO", [b"{}"])],
        [(b"PONG", [])],
        [],
    ]
    assert plane.source.pings == 1


def test_a_first_ping_that_is_awaited_goes_to_the_control_plane(plane: Plane) -> None:
    plane.source.first_ping_due = True

    assert plane.run(b"PING\r\n") is Stop.OPS
    assert plane.source.ops == [(b"PING", [])]
    assert plane.written() == b""


def test_a_subject_never_seen_is_a_miss_with_the_nodes_it_matches(plane: Plane) -> None:
    subscription = plane.plane.subscription(plane.source.outbox, b"1", b"foo.*", None)
    plane.sublist.insert(subscription)

    assert plane.run(b"PUB foo.bar 2\r\nhi\r\n") is Stop.MISS
    assert [node.subject for node in plane.source.missed] == [b"foo.*"]
    plane.plane.install(plane.table, plane.source.missed, compile_plan(plane.source.missed))

    assert plane.run() is Stop.NEED_DATA
    assert plane.written() == b"MSG foo.bar 1 2\r\nhi\r\n"


def test_a_turn_ends_between_two_messages(plane: Plane) -> None:
    plane.sublist.insert(plane.plane.subscription(plane.source.outbox, b"1", b"foo", None))
    plane.run(b"PUB foo 2\r\nhi\r\n" * 10)
    plane.plane.install(plane.table, plane.source.missed, compile_plan(plane.source.missed))
    plane.plane.begin_turn(1)

    assert plane.run() is Stop.TURN_OVER
    assert plane.written() == b"MSG foo 1 2\r\nhi\r\n"
    plane.plane.begin_turn(1 << 30)
    assert plane.run() is Stop.NEED_DATA
    assert plane.written() == b"MSG foo 1 2\r\nhi\r\n" * 10


def test_pings_count_in_a_turn_too(plane: Plane) -> None:
    plane.plane.begin_turn(1)

    assert plane.run(b"PING\r\nPING\r\n") is Stop.TURN_OVER
    assert plane.written() == b"PONG\r\n"


def test_a_source_that_steps_stops_after_each_message(plane: Plane) -> None:
    plane.plane.install(plane.table, (), compile_plan(()))
    plane.source.stepping = True

    assert plane.run(b"PUB foo 2\r\nhi\r\npub bar 0\n\r\nPING\r\n") is Stop.STEPPED
    assert plane.source.stepped == b"PUB foo 2\r\nhi\r\n"
    assert plane.run() is Stop.STEPPED
    assert plane.source.stepped == b"pub bar 0\n\r\n"
    assert plane.run() is Stop.OPS


@pytest.mark.parametrize("data", [b"PING\r\n", b"SUB a 1\r\n", b"\r\n", b"X", b"\x00"])
def test_nothing_but_connect_is_read_while_a_login_is_awaited(plane: Plane, data: bytes) -> None:
    plane.source.awaiting_connect = True

    assert plane.run(data) is Stop.UNAUTHENTICATED
    assert plane.written() == b""


@pytest.mark.parametrize("data", [b"CONNECT {}\r\n", b"connect {}\r\n", b"cOnNeCt{}\n"])
def test_connect_is_read_while_a_login_is_awaited(plane: Plane, data: bytes) -> None:
    plane.source.awaiting_connect = True

    assert plane.run(data) is Stop.OPS


@pytest.mark.parametrize(
    "tail", [b"PUB other 0\r\n\r\n", b"PING\r\n", b"SUB foo 1\r\n", b"pub foo 0\r\n\r\n"]
)
def test_a_subscription_that_reached_its_max_is_settled_before_the_next_op(plane: Plane, tail: bytes) -> None:
    subscription = plane.plane.subscription(plane.new_source(6).outbox, b"1", b"foo", None)
    subscription.max = 2
    plane.sublist.insert(subscription)
    plane.run(b"PUB foo 0\r\n\r\n" * 3 + tail)
    plane.plane.install(plane.table, plane.source.missed, compile_plan(plane.source.missed))

    assert plane.run() is Stop.EXHAUSTED
    assert list(plane.plane.exhausted) == [subscription]
    assert not subscription.live
    assert plane.source.have == len(tail)


def test_work_of_the_control_plane_is_spent_like_output(plane: Plane) -> None:
    plane.plane.begin_turn(100)

    assert plane.plane.spend(99)
    assert not plane.plane.spend(1)
    assert plane.run(b"PING\r\nPING\r\n") is Stop.TURN_OVER

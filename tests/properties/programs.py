"""What clients may send: valid, odd and hostile operations, and programs made of them.

A program is a row of steps: which connection does what. Subjects, sids and
queue names are few, so that they meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = [
    "Chunk",
    "HangUp",
    "Passes",
    "Reads",
    "Step",
    "any_ops",
    "connect_lines",
    "cuts_of",
    "executor_programs",
    "framed_badly",
    "group_programs",
    "hostile_streams",
    "pieces",
    "programs",
    "published_subjects",
    "response_programs",
    "subscribed_subjects",
    "valid_ops",
]

_TOKENS: Final = st.sampled_from([b"a", b"b", b"c", b"A", b"a*", b">>", b"\xc3\xbc", b"\xff\x0b"])
_PLAIN_TOKENS: Final = st.sampled_from([b"a", b"b", b"c"])
_SIDS: Final = st.sampled_from([b"1", b"2", b"3", b"4", b"abc-#1"])
_QUEUES: Final = st.sampled_from([b"q", b"r", b"a..b"])


@st.composite
def subscribed_subjects(draw: DrawFn, tokens: SearchStrategy[bytes] = _TOKENS) -> bytes:
    """A subject that a subscription may have: up to four tokens, wildcards where they are allowed."""
    row = draw(st.lists(st.one_of(tokens, st.just(b"*")), min_size=1, max_size=4))
    if draw(st.booleans()) and draw(st.booleans()):
        row[-1] = b">"
    return b".".join(row)


@st.composite
def published_subjects(draw: DrawFn) -> bytes:
    """A subject to publish to; now and then with wildcards as plain tokens, or with an empty token."""
    unusual = st.sampled_from([b"*", b">", b""])
    token = st.one_of(_PLAIN_TOKENS, _PLAIN_TOKENS, _PLAIN_TOKENS, _TOKENS, unusual)
    row = draw(st.lists(token, min_size=1, max_size=4))
    return b".".join(row) or b"."


_REPLIES: Final = st.one_of(
    st.just(b""),
    st.sampled_from([b"a", b"r.1", b"a.b", b"foo.*", b"_R_.x", b"_R_.", b"$JS.ACK.", b"$JS.ACK.x", b"_GR_."]),
)
_PAYLOADS: Final = st.one_of(
    st.sampled_from([b"", b"hi", b"\r\n", b"PING\r\n", b"PUB a 1\r\nx\r\n"]),
    st.sampled_from([4093, 4094, 4095, 4096, 5000]).map(lambda size: b"x" * size),
)
_SMALL_PAYLOADS: Final = st.sampled_from([b"", b"hi", b"\r\n", b"PING\r\n"])
_HEADERS: Final = st.sampled_from([b"", b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\nA: 1\r\n\r\n", b"ABCDE", b"\r\n"])
_FORBIDDEN: Final = st.sampled_from([b"_GR_.a.b", b"$NRG.x"])


def _line(draw: DrawFn, name: bytes, words: list[bytes], *, canonical: bool) -> bytes:
    """A control line; unless canonical, with any case, blanks and line end."""
    if canonical:
        return b" ".join([name, *words]) + b"\r\n"
    blank = st.sampled_from([b" ", b"\t", b"  ", b" \t "])
    text = b"".join(bytes([byte]).lower() if draw(st.booleans()) else bytes([byte]) for byte in name)
    for word in words:
        text += draw(blank) + word
    return text + draw(st.sampled_from([b"", b" ", b"\t"])) + draw(st.sampled_from([b"\r\n", b"\n"]))


@st.composite
def publications(draw: DrawFn) -> bytes:
    """PUB or HPUB, once or several times the same, mostly in canonical form."""
    subject = draw(st.one_of(published_subjects(), published_subjects(), _FORBIDDEN))
    reply = draw(_REPLIES)
    payload = draw(st.one_of(_SMALL_PAYLOADS, _SMALL_PAYLOADS, _PAYLOADS))
    canonical = draw(st.integers(0, 3)) > 0
    words = [subject, reply] if reply else [subject]
    zeros = b"0" * draw(st.sampled_from([0, 0, 0, 2]))
    if draw(st.integers(0, 2)) == 0:
        header = draw(_HEADERS)
        words += [zeros + b"%d" % len(header), zeros + b"%d" % (len(header) + len(payload))]
        op = _line(draw, b"HPUB", words, canonical=canonical) + header + payload + b"\r\n"
    else:
        op = _line(draw, b"PUB", [*words, zeros + b"%d" % len(payload)], canonical=canonical)
        op += payload + b"\r\n"
    return op * draw(st.sampled_from([1, 1, 2, 5]))


@st.composite
def _subscriptions(draw: DrawFn) -> bytes:
    queue = draw(st.one_of(st.none(), _QUEUES))
    subject = draw(
        st.one_of(
            subscribed_subjects(_PLAIN_TOKENS), subscribed_subjects(), st.sampled_from([b"a..b", b">.a"])
        )
    )
    words = [subject, draw(_SIDS)] if queue is None else [subject, queue, draw(_SIDS)]
    return _line(draw, b"SUB", words, canonical=draw(st.integers(0, 3)) > 0)


@st.composite
def _unsubscriptions(draw: DrawFn) -> bytes:
    words = [draw(_SIDS)]
    most = draw(st.sampled_from([b"", b"", b"0", b"1", b"2", b"3", b"5", b"x", b"1_0", b"+5", b"0000000001"]))
    return _line(draw, b"UNSUB", [*words, most] if most else words, canonical=draw(st.integers(0, 3)) > 0)


@st.composite
def connect_lines(draw: DrawFn) -> bytes:
    """CONNECT with options that are accepted by a server without logins."""
    options = draw(st.dictionaries(st.sampled_from(["verbose", "Pedantic", "ECHO"]), st.booleans()))
    said = ",".join(f'"{key}":{str(value).lower()}' for key, value in options.items())
    more = draw(
        st.sampled_from(
            [
                "",
                '"headers":true,"protocol":1',
                '"protocol":0',
                '"headers":true,"no_responders":true',
                '"zork":{"a":[1]}',
            ]
        )
    )
    return ("CONNECT {" + ",".join(part for part in (said, more) if part) + "}\r\n").encode()


_OTHERS: Final = st.sampled_from(
    [b"PING\r\n", b"pInG anything\n", b"PONG\r\n", b"+OK\r\n", b"INFO {}\r\n", b"SUB a _sys_ 9\r\n"]
)


def valid_ops() -> SearchStrategy[bytes]:
    """One op, or a few of the same kind, that do not end the connection."""
    return st.one_of(
        publications(), publications(), publications(), _subscriptions(), _subscriptions(),
        _unsubscriptions(), connect_lines(), _OTHERS,
    )  # fmt: skip


_HOSTILE: Final = st.sampled_from(
    [
        b"\r\n", b" PING\r\n", b"FOO\r\n", b"PUB\r\n", b"PUB \r\n", b"PUB a\r\n", b"PUB a b c 2\r\nhi\r\n",
        b"PUB a 2\r\nhiX\r\n", b"PUB a 3\r\nhi\r\n", b"PUB a 2\nhi\n", b"PUB a 1_0\r\n", b"PUB a +5\r\n",
        b"PUB a -1\r\n", b"PUB a 2147483648\r\n", b"PUB a 9223372036854775808\r\n",
        b"PUB a 99999999999999999999\r\n", b"PUB a 999999999\r\n", b"PUB a 0x2\r\nhi\r\n",
        b"PUB a\x0bb 2\r\nhi\r\n", b"PUB a\rb 2\r\nhi\r\n", b"PUB a 2\r\r\nhi\r\n", b"HPUB a 3 2\r\n",
        b"HPUB a 12 12\r\n", b"HPUB a x 12\r\n", b"HPUB a 12\r\n", b"SUB a\r\n", b"SUB a b c d\r\n",
        b"SUB \r\n", b"UNSUB \r\n", b"UNSUB 1 2 3\r\n", b"MSG a 1 2\r\nhi\r\n", b"RS+ $G a\r\n",
        b"-ERR 'x'\r\n", b"-ERR\r\n", b"INFO xx\r\n", b"CONNECT {bad\r\n", b'CONNECT {"verbose":1}\r\n',
        b'CONNECT {"protocol":2}\r\n', b'CONNECT {"no_responders":true,"headers":false}\r\n',
        b'CONNECT {"account":"A"}\r\n', b"CONNECT " + b"[" * 2000 + b"\r\n", b"CONNECT " + b"x" * 4097,
        b"SUB " + b"a" * 4100, b"PUB " + b" " * 5000 + b"a 0\r\n\r\n", b"PING" + b"z" * 300,
        b"SUB " + b"a" * 4094 + b" 1\r\n", b"SUB " + b"a" * 4095 + b" 1\r\n", b"\xff\xfe\x00", b"P", b"PUB a",
        b"PUB a 10\r\nhalf",
    ]
)  # fmt: skip


_SIZES: Final = st.sampled_from(
    [
        b"0", b"00", b"2", b"02", b"000000002", b"0000000002", b"999999999", b"1000000000", b"2147483647",
        b"2147483648", b"4294967296", b"9223372036854775807", b"9223372036854775808", b"18446744073709551618",
        b"99999999999999999999", b"-1", b"-0", b"+2", b"1_0", b"0x2", b"2.0", b"2 ", b"\xd9\xa2", b"2\x0b",
        b"2\x00", b"", b"4097",
    ]
)  # fmt: skip
_ODD_SUBJECTS: Final = st.sampled_from(
    [b"a", b"a", b"a.b", b"a\x00b", b"a\x0bb", b"\x1b[0m", b"a\rb", b"a..b", b".", b"a.", b">", b"*", b"\xff",
     b"a" * 600, b"a." * 300 + b"a", b"_GR_.x", b"$NRG."]
)  # fmt: skip
_TERMINATORS: Final = st.sampled_from(
    [b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"", b"X\r\n", b"\r\r\n", b"\n\r"]
)


@st.composite
def framed_badly(draw: DrawFn) -> bytes:
    """A publish, or a line, of which anything may be wrong: name, subject, sizes, blanks, ends."""
    name = draw(st.sampled_from([b"PUB", b"PUB", b"HPUB", b"hpub", b"pUb", b"SUB", b"UNSUB", b"PING"]))
    words = [draw(_ODD_SUBJECTS)]
    if draw(st.booleans()):
        words.append(draw(_ODD_SUBJECTS))
    words += [draw(_SIZES) for _ in range(2 if name.upper() == b"HPUB" else 1)]
    blank = draw(st.sampled_from([b" ", b" ", b" ", b"\t", b"  ", b" \x0b"]))
    body = draw(st.sampled_from([b"hi", b"hi", b"", b"x" * 4097, b"\r\n"]))
    return name + blank + blank.join(words) + draw(_TERMINATORS) + body + draw(_TERMINATORS)


def any_ops() -> SearchStrategy[bytes]:
    """Valid ops, and now and then one that is not."""
    return st.one_of(valid_ops(), valid_ops(), valid_ops(), _HOSTILE)


@st.composite
def hostile_streams(draw: DrawFn) -> bytes:
    """Ops of any kind in a row: valid, then anything at all."""
    begin = b"".join(draw(st.lists(valid_ops(), max_size=6)))
    end = b"".join(draw(st.lists(st.one_of(_HOSTILE, valid_ops(), st.binary(max_size=20)), max_size=4)))
    return begin + end


@st.composite
def cuts_of(draw: DrawFn, data: bytes) -> list[int]:
    """Places at which `data` may be cut: here and there, or at every byte for a while."""
    if len(data) < 2:
        return []
    anywhere = st.integers(1, len(data) - 1)
    if draw(st.booleans()):
        return draw(st.lists(anywhere, max_size=12))
    begin = draw(anywhere)
    return list(range(begin, min(begin + 50, len(data))))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at these places."""
    places = [0, *sorted(set(cuts)), len(data)]
    return [data[a:b] for a, b in pairwise(places) if b > a]


@dataclass(frozen=True)
class Chunk:
    """A connection sends these bytes, in these pieces."""

    connection: int
    data: bytes
    cuts: list[int]


@dataclass(frozen=True)
class HangUp:
    """A connection goes away."""

    connection: int


@dataclass(frozen=True)
class Reads:
    """A connection that does not take everything at once reads, and so makes room."""

    connection: int
    room: int


@dataclass(frozen=True)
class Passes:
    """Time passes."""

    duration_ns: int


Step = Chunk | HangUp

Happening = Step | Reads | Passes


@st.composite
def executor_programs(draw: DrawFn, connections: int = 4) -> list[Happening]:
    """Programs of anything, also framed badly or dribbled, with slow readers and with time."""
    steps: list[Happening] = []
    steps += draw(st.one_of(programs(connections, any_ops), group_programs(connections)))
    more = st.one_of(any_ops(), any_ops(), valid_ops(), framed_badly())
    for _ in range(draw(st.integers(0, 8))):
        index = draw(st.integers(0, connections - 1))
        match draw(st.integers(0, 5)):
            case 0:
                steps.append(Reads(index, draw(st.sampled_from([1, 100, 5_000, 100_000]))))
            case 1:
                steps.append(Passes(draw(st.sampled_from([1, 20_000_000, 3_000_000_000]))))
            case _:
                data = b"".join(draw(st.lists(more, min_size=1, max_size=4)))
                steps.append(Chunk(index, data, draw(st.one_of(st.just([]), cuts_of(data)))))
    return steps


@st.composite
def group_programs(draw: DrawFn, connections: int = 7) -> list[Step]:
    """One subscription per connection, most in queue groups, some with a maximum; then rows of messages."""
    steps: list[Step] = []
    groups = st.sampled_from([b"", b"q ", b"q ", b"r ", b"r "])
    for index in range(connections):
        echo = draw(st.sampled_from([b"true", b"true", b"false"]))
        wish = b"SUB " + draw(st.sampled_from([b"a", b"a", b"*", b">"])) + b" " + draw(groups) + b"1\r\n"
        most = draw(st.sampled_from([b"", b"", b"UNSUB 1 1\r\n", b"UNSUB 1 3\r\n", b"UNSUB 1 5\r\n"]))
        connect = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"echo":' + echo + b"}\r\n"
        steps.append(Chunk(index, connect + wish + most, []))
    rows = st.sampled_from(
        [
            b"PUB a 1\r\nx\r\n",
            b"PUB a r 1\r\nx\r\n",
            b"PUB b 0\r\n\r\n",
            b"PUB a 4096\r\n" + b"x" * 4096 + b"\r\n",
        ]
    )
    for _ in range(draw(st.integers(1, 4))):
        data = b"".join(row * draw(st.integers(1, 9)) for row in draw(st.lists(rows, min_size=1, max_size=3)))
        steps.append(Chunk(draw(st.integers(0, connections - 1)), data, draw(cuts_of(data))))
    return steps


@st.composite
def response_programs(draw: DrawFn, connections: int = 4) -> list[Happening]:
    """Everybody asks and is asked, and answers now and then, once or too often, in time or too late."""
    steps: list[Happening] = []
    for index in range(connections):
        verbose = draw(st.sampled_from([b"true", b"false", b"false"]))
        echo = draw(st.sampled_from([b"true", b"false"]))
        said = b'"verbose":%s,"pedantic":false,"headers":true,"echo":%s' % (verbose, echo)
        said += draw(st.sampled_from([b"", b',"no_responders":true']))
        wish = draw(st.sampled_from([b"SUB b 1\r\n", b"SUB b q 1\r\n", b"SUB > 1\r\n", b"SUB r.* 1\r\n"]))
        most = draw(st.sampled_from([b"", b"", b"UNSUB 1 2\r\n"]))
        steps.append(Chunk(index, b"CONNECT {" + said + b"}\r\n" + wish + most, []))
    reply = st.sampled_from([b"r.1", b"r.2", b"a.b", b"b"])
    size = st.sampled_from([b"0\r\n\r\n", b"0\r\n\r\n", b"2\r\nhi\r\n", b"4096\r\n" + b"x" * 4096 + b"\r\n"])
    for _ in range(draw(st.integers(1, 8))):
        data = b""
        for _ in range(draw(st.integers(1, 3))):
            request = b"PUB b " + draw(reply) + b" " + draw(size)
            response = b"PUB " + draw(reply) + b" " + draw(size)
            data += draw(st.sampled_from([request, response, response])) * draw(st.sampled_from([1, 1, 2, 3]))
        steps.append(Chunk(draw(st.integers(0, connections - 1)), data, draw(cuts_of(data))))
        if draw(st.integers(0, 4)) == 0:
            steps.append(Passes(draw(st.sampled_from([1, 20_000_000, 20_000_001]))))
    return steps


@st.composite
def programs(
    draw: DrawFn, connections: int = 3, ops: Callable[[], SearchStrategy[bytes]] = valid_ops
) -> list[Step]:
    """Steps of several connections, each beginning with a CONNECT that makes most of them quiet."""
    steps: list[Step] = []
    quiet = b'"verbose":false,"pedantic":false'
    for index in range(connections):
        more = draw(
            st.sampled_from(
                [b"", b',"headers":true', b',"headers":true,"no_responders":true', b',"echo":false', b"none"]
            )
        )
        if more != b"none":
            steps.append(Chunk(index, b"CONNECT {" + quiet + more + b"}\r\n", []))
    for _ in range(draw(st.integers(1, 14))):
        index = draw(st.integers(0, connections - 1))
        if draw(st.integers(0, 30)) == 0:
            steps.append(HangUp(index))
            continue
        data = b"".join(draw(st.lists(ops(), min_size=1, max_size=5)))
        steps.append(Chunk(index, data, draw(st.one_of(st.just([]), cuts_of(data)))))
    return steps

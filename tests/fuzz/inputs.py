"""What a hostile client may send: protocol text that is nearly right, and then is not.

An input is a function of its seed. Most are a few operations in the grammar of the
protocol, some of them with a number, a subject or a line end that does not belong
there; up to one in eight then has bytes changed, doubled, cut out or put in. Each violation
ends its connection, so an author has a malice: with little of it connections live long
and much comes together, with full malice every fourth input is the end of one. Subjects,
sids and queue names are few, so that they meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

__all__ = ["Author"]

_TOKENS: Final = (b"a", b"a", b"b", b"c", b"abcdefghijklmnop")
_ODD_TOKENS: Final = (
    *(
        b"",
        b"*",
        b">",
        b"a*",
        b">>",
        b"*a",
        b"\x00",
        b"\xff",
        b"\xc3\xbc",
        b"\x0b",
        b"\x0c",
        b"\x7f",
        b"\x1b",
    ),
    *(b"$SYS", b"_INBOX", b"_GR_", b"_R_", b"$NRG", b"$JS", b"A" * 300, b"\r", b"\xe2\x80\xa8"),
)
_RESERVED: Final = (
    b"_GR_.a",
    b"_GR_.",
    b"$NRG.a",
    b"$NRG.",
    b"_R_.a",
    b"_R_.",
    b"$JS.ACK.a",
    b"$JS.ACK.",
    b"$SYS.a",
)
_PATTERNS: Final = (
    b"a",
    b"a",
    b"a.b",
    b"*",
    b">",
    b"a.*",
    b"*.b",
    b"a.>",
    b"b.*.c",
    b"a.b.c",
    b"*.*",
    b"c.>",
)
_QUEUES: Final = (b"q", b"q", b"r", b"s", b"a..b", b">")
_SIDS: Final = (b"1", b"2", b"3", b"4", b"5", b"abc-#1", b"s" * 70)
_LARGE: Final = (
    *(b"2147483647", b"2147483648", b"4294967295", b"4294967296", b"4294967297", b"9223372036854775807"),
    *(b"9223372036854775808", b"18446744073709551615", b"18446744073709551616", b"99999999999999999999"),
    *(b"100000000000000000000", b"999999999", b"1000000000", b"0" * 30, b"0" * 30 + b"2"),
)
_NOT_NUMBERS: Final = (
    *(
        b"-1",
        b"+2",
        b"1_0",
        b"0x2",
        b" ",
        b"",
        b"2.0",
        b"2e0",
        b"\xd9\xa2",
        b"2\x00",
        b"\x002",
        b"--",
        b"1/",
        b"1:",
    ),
)
_BODIES: Final = (0, 0, 1, 2, 2, 5, 16, 16, 17, 63, 64, 65, 255, 256, 511, 512, 1_000)
_LARGE_BODIES: Final = (4_094, 4_095, 4_096, 4_097, 5_000, 8_192, 16_384, 65_535, 65_536, 70_000)
_HEADERS: Final = (
    *(
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0\r\nA: b\r\n\r\n",
        b"NATS/1.0 503\r\n\r\n",
        b"",
        b"\r\n",
        b"x",
        b"NATS/1.0",
    ),
    b"NATS/1.0\r\n" + b"K: v\r\n" * 40 + b"\r\n",
)
_PLAIN: Final = (
    *(b"PING\r\n", b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"INFO {}\r\n", b"ping\n", b"pInG x y\r\n"),
    *(b"PING \t\r\n", b"PONG\n", b"+ok\r\n"),
)
_BROKEN: Final = (
    *(
        b"\r\n",
        b"\n",
        b" ",
        b"PUB\r\n",
        b"PUB \r\n",
        b"PUB a\r\n",
        b"PUB a b c 2\r\nhi\r\n",
        b"HPUB a 3 2\r\nhi\r\n",
    ),
    *(b"SUB\r\n", b"SUB a\r\n", b"SUB a b c d\r\n", b"UNSUB\r\n", b"UNSUB 1 2 3\r\n", b"MSG a 1 2\r\nhi\r\n"),
    *(
        b"RS+ $G a\r\n",
        b"LMSG a 1\r\n",
        b"CONNECT\r\n",
        b"CONNECT {\r\n",
        b"CONNECT []\r\n",
        b"CONNECT null\r\n",
    ),
    *(
        b"P",
        b"PU",
        b"PUB",
        b"PUB ",
        b"H",
        b"HPUB",
        b"S",
        b"SUB ",
        b"UNSUB",
        b"CONN",
        b"PUB a 10\r\nhalf",
        b"\x00" * 9,
    ),
    *(b"-ERR 'x'\r\n", b"-ERR\r\n"),
    *(b"PUB" + b" " * 5_000 + b"a 0\r\n\r\n", b"PING" + b"z" * 300, b"SUB " + b"a" * 4_090 + b" 1\r\n"),
    *(
        b"SUB " + b"a" * 4_100 + b" 1\r\n",
        b"SUB " + b"a." * 2_000 + b"a 1\r\n",
        b"PUB " + b"a." * 2_000 + b"a 0\r\n\r\n",
    ),
)
_SPLICED: Final = (
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b"\t",
        b" ",
        b"  ",
        b".",
        b"..",
        b"*",
        b">",
        b"\x00",
        b"\xff",
        b"0",
        b"-",
        b"+",
        b"_",
    ),
    *(
        b"PUB a 2\r\nhi\r\n",
        b"PING\r\n",
        b"SUB > 9\r\n",
        b" 2\r\n",
        b"9" * 20,
        b"2147483648",
        b"_GR_.",
        b"HPUB ",
    ),
)
_CUT_WINDOW: Final = 40  # bytes that come one by one
_ROW_MAX: Final = 9


class Author:
    """Draws inputs for one server with these settings."""

    def __init__(self, draw: random.Random, max_payload: int, *, headers: bool) -> None:
        self.draw: Final = draw
        self._malice: Final = draw.choice((0.03, 0.3, 1.0))
        self._headers: Final = 0.25 if headers else 0.01 * self._malice  # how many publications have some
        self._large: Final = 0.03 if max_payload > max(_LARGE_BODIES) else 0.03 * self._malice
        self._sizes: Final = [size for size in _BODIES if size <= max_payload]
        self._ops: Final[Sequence[Callable[[], bytes]]] = (
            *(self.publish,) * 10,
            *(self.subscribe,) * 6,
            *(self.unsubscribe,) * 3,
            *(self.plain,) * 3,
            self.connect,
            self.broken,
        )

    def input(self) -> bytes:
        """One input: some operations, and sometimes bytes that were changed."""
        draw = self.draw
        count = 1 + int(draw.random() * 5)
        data = b"".join([draw.choice(self._ops)() for _ in range(count)])
        return self.mutated(data) if draw.random() < 0.12 * self._malice else data

    def pieces(self, data: bytes) -> list[bytes]:
        """The input as it arrives: whole, cut anywhere, or for a while byte by byte."""
        draw = self.draw
        kind = draw.random()
        if kind < 0.55 or len(data) < 2:
            return [data]
        if kind < 0.96:
            places = sorted(draw.randrange(1, len(data)) for _ in range(1 + int(draw.random() * 4)))
        else:
            begin = draw.randrange(1, len(data))
            places = list(range(begin, min(begin + _CUT_WINDOW, len(data))))
        return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a < b]

    def hello(self) -> bytes:
        """What most clients send first: a CONNECT that makes the server quiet."""
        kind = self.draw.random()
        if kind < 0.08:
            return b""
        return (
            self.connect() if kind < 0.3 else b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n'
        )

    def connect(self) -> bytes:
        """CONNECT with settings of all kinds."""
        draw = self.draw
        fields = [
            b'"%s":%s' % (name, draw.choice((b"true", b"false", b"false")))
            for name in (b"verbose", b"pedantic", b"echo")
            if draw.random() < 0.6
        ]
        if draw.random() < 1 - self._malice / 10:
            fields += [b'"headers":true', b'"no_responders":' + draw.choice((b"true", b"false"))]
        elif draw.random() < 0.5:
            fields.append(b'"no_responders":true')  # refused without headers
        return b"CONNECT {" + b",".join(fields) + b"}" + draw.choice((b"\r\n", b"\r\n", b" \r\n", b"\n"))

    def subscribe(self) -> bytes:
        """A few SUB lines in a row."""
        draw = self.draw
        lines = []
        for _ in range(1 if draw.random() < 0.8 else 5):
            words = [draw.choice(_PATTERNS) if draw.random() < 0.9 else self.subject(odd=0.5)]
            if draw.random() < 0.35:
                words.append(draw.choice(_QUEUES))
            words.append(draw.choice(_SIDS))
            lines.append(self.line(b"SUB", words))
        return b"".join(lines)

    def unsubscribe(self) -> bytes:
        """UNSUB, often with a maximum."""
        draw = self.draw
        words = [draw.choice(_SIDS)]
        if draw.random() < 0.7:
            words.append(
                draw.choice((b"0", b"1", b"1", b"2", b"3", b"5")) if draw.random() < 0.9 else self.number(1)
            )
        return self.line(b"UNSUB", words)

    def publish(self) -> bytes:
        """PUB or HPUB, once or in a row, mostly with the payload that the line says."""
        draw = self.draw
        words = [self.subject(odd=0.06)]
        if (kind := draw.random()) < 0.25:
            words.append(
                draw.choice((b"r", b"a.b", b"a", b"_R_.x")) if kind < 0.2 else draw.choice(_RESERVED)
            )
        size = draw.choice(self._sizes)
        if draw.random() < self._large:
            size = draw.choice(_LARGE_BODIES)
        body = b"x" * size
        name = b"PUB"
        if draw.random() < self._headers:
            name = b"HPUB"
            header = draw.choice(_HEADERS)
            words.append(self.number(len(header)))
            body = header + body
        words.append(self.number(len(body)))
        op = self.line(name, words) + body
        end = draw.random()
        op += (
            b"\r\n"
            if end < 1 - self._malice / 100
            else draw.choice((b"", b"\n", b"\r", b"\n\r", b"xx", b"\r\r\n"))
        )
        return op if len(op) > 2_000 or draw.random() < 0.6 else op * (2 + int(draw.random() * _ROW_MAX))

    def plain(self) -> bytes:
        """An operation without words."""
        return self.draw.choice(_PLAIN)

    def broken(self) -> bytes:
        """An operation that cannot be right, most of the time."""
        return self.draw.choice(_BROKEN) if self.draw.random() < 0.4 * self._malice else b""

    def subject(self, odd: float) -> bytes:
        """A subject of a few tokens; with this chance for each, one that nobody expects."""
        draw = self.draw
        count = 1 + int(draw.random() * 3)
        row = [
            draw.choice(_ODD_TOKENS) if draw.random() < odd else draw.choice(_TOKENS) for _ in range(count)
        ]
        return draw.choice(_RESERVED) if draw.random() < odd / 4 else b".".join(row) or b"a"

    def number(self, honest: int) -> bytes:
        """This number, or seldom one that is too large, off by one, or none."""
        if self.draw.random() > 0.02 * self._malice:
            return b"%d" % honest
        kind = self.draw.random()
        if kind < 0.2:
            return b"0000%d" % honest
        if kind < 0.4:
            return b"%d" % max(0, honest + self.draw.choice((-2, -1, 1, 2)))
        return self.draw.choice(_LARGE if kind < 0.8 else _NOT_NUMBERS)

    def line(self, name: bytes, words: list[bytes]) -> bytes:
        """A control line; one in ten with unusual case, blanks and line end."""
        draw = self.draw
        if draw.random() < 0.9:
            return b" ".join([name, *words]) + b"\r\n"
        text = draw.choice((name, name.lower(), name.title()))
        for word in words:
            text += draw.choice((b" ", b"\t", b"  ", b" \t ")) + word
        return text + draw.choice((b"\r\n", b"\n", b" \r\n", b"\t\r\n", b"\r\r\n"))

    def mutated(self, data: bytes) -> bytes:
        """The same with some bytes changed, doubled, cut out or put in."""
        draw = self.draw
        changed = bytearray(data)
        for _ in range(1 + int(draw.random() * 3)):
            at = int(draw.random() * (len(changed) + 1))
            kind = draw.random()
            if kind < 0.25 and at < len(changed):
                changed[at] ^= 1 << int(draw.random() * 8)
            elif kind < 0.4 and at < len(changed):
                changed[at] = int(draw.random() * 256)
            elif kind < 0.6:
                changed[at:at] = draw.choice(_SPLICED)
            elif kind < 0.75:
                del changed[at : at + 1 + int(draw.random() * 8)]
            elif kind < 0.9:
                changed[at:at] = changed[at : at + 1 + int(draw.random() * 40)]
            else:
                del changed[at:]
        return bytes(changed)

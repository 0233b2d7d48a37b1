"""Random dialogues: what a few connections send to one server, well-formed and malformed.

A dialogue is a function of its seed. Every operation that is not an error is complete,
so that a server that waits for more is a finding; and each message has a payload
of its own, by which its deliveries are known again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["SETTINGS", "Dialogue", "Op", "Setting", "Step", "generate"]

# -- the settings both servers are given -----------------------------------------------------------


class Setting(NamedTuple):
    """One configuration, for nats-server and for ours, and the CONNECT fields that log in to it."""

    config: str
    flags: tuple[str, ...]
    login: tuple[str, ...] = ()


SETTINGS: Final = {
    "open": Setting("", ()),
    "limits": Setting(
        "max_payload: 64\nmax_control_line: 160\nmax_subscriptions: 4\nmax_sub_tokens: 3\n",
        ("--max_payload=64", "--max_control_line=160", "--max_subscriptions=4", "--max_sub_tokens=3"),
    ),
    "headerless": Setting("no_header_support: true\n", ("--no_header_support",)),
    "user": Setting(
        'authorization: { user: "u", password: "pw" }\n',
        ("--user", "u", "--pass", "pw"),
        ('"user":"u"', '"pass":"pw"'),
    ),
    "token": Setting('authorization: { token: "t0k" }\n', ("--auth", "t0k"), ('"auth_token":"t0k"',)),
}
_WEIGHTS: Final = {"open": 6, "limits": 3, "headerless": 1, "user": 2, "token": 1}


# -- dialogues -------------------------------------------------------------------------------------


class Op(NamedTuple):
    """Bytes of one operation, and how many PONGs they are owed as long as the connection stays open."""

    data: bytes
    pongs: int = 0


class Step(NamedTuple):
    """Operations that one connection sends at once, in one or more writes."""

    connection: int
    ops: tuple[Op, ...]
    writes: int = 1

    def pieces(self) -> Iterator[bytes]:
        """The bytes as they are written."""
        data = b"".join(op.data for op in self.ops) + b"PING\r\n"
        size = -(-len(data) // self.writes)
        for at in range(0, len(data), size):
            yield data[at : at + size]

    @property
    def pongs(self) -> int:
        """PONGs that it is owed, the one for the mark at its end included."""
        return sum(op.pongs for op in self.ops) + 1


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a few connections send to one server."""

    setting: str
    connections: int
    steps: tuple[Step, ...]
    ending: bytes = b""  # of the first connection: an operation that is cut short

    def without(self, unwanted: Callable[[bytes], bool]) -> Dialogue:
        """The same without some operations."""
        steps = (
            step._replace(ops=tuple(op for op in step.ops if not unwanted(op.data))) for step in self.steps
        )
        return replace(self, steps=tuple(steps))

    def smaller(self) -> Iterator[Dialogue]:
        """The same with one thing less: a step, a write, an operation, the ending."""
        steps = self.steps
        if self.ending:
            yield replace(self, ending=b"")
        for at in range(len(steps)):
            yield replace(self, steps=steps[:at] + steps[at + 1 :])
        for at, step in enumerate(steps):
            if step.writes > 1:
                yield replace(self, steps=(*steps[:at], step._replace(writes=1), *steps[at + 1 :]))
            for op in range(len(step.ops) if len(step.ops) > 1 else 0):
                rest = step._replace(ops=step.ops[:op] + step.ops[op + 1 :])
                yield replace(self, steps=(*steps[:at], rest, *steps[at + 1 :]))

    def __str__(self) -> str:
        lines = [f"{self.setting}, {self.connections} connections"]
        lines += [
            f"  {step.connection} ({step.writes} writes): " + " ".join(repr(op.data) for op in step.ops)
            for step in self.steps
        ]
        lines.append(f"  0 ends with {self.ending!r}")
        return "\n".join(lines)


def generate(seed: int) -> Dialogue:
    """The dialogue of this seed."""
    return _Author(random.Random(seed)).dialogue()


_TOKENS: Final = (b"a", b"a", b"a", b"b", b"b", b"c")
_ODD_TOKENS: Final = (
    *(b"", b"a*", b">>", b"*a", b"\x00", b"\xff", b"\xc3\xbc", b'"', b"\\", b"$SYS", b"_INBOX", b"A"),
    *(b"{{x}}", b"\x7f", b"\xe2\x80\xa8", b"\x0b", b"\x0c", b"\xf3\xa0\x80\x81", b"%s"),
)
_RESERVED: Final = (
    *(b"_GR_.a", b"_GR_", b"_GR_.", b"$NRG.a", b"$NRG", b"$NRG.", b"_R_.a", b"_R_.", b"_R_", b"$JS.ACK.a"),
    *(b"$JS.ACK.", b"$JS.ACK", b"_GR_.a.b", b"_R_.*"),
)
_PLAIN_SIDS: Final = (b"1", b"2", b"3", b"4", b"abc-#1")
_NAMES: Final = (b"PUB", b"HPUB", b"SUB", b"UNSUB", b"PING", b"PONG", b"CONNECT", b"INFO", b"+OK", b"-ERR")


class _Author:
    """Draws a dialogue. Each PUB has a payload of its own, by which a message is known again."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._messages = 0

    def dialogue(self) -> Dialogue:
        draw = self._draw
        setting = draw.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
        connections = draw.randint(1, 3)
        malice = draw.choice((0.0, 0.02, 0.1))
        steps = [
            Step(number, (self._connect(setting, malice),), self._writes())
            for number in range(connections)
            if draw.random() < 0.85
        ]
        for _ in range(draw.randint(3, 12)):
            ops = tuple(self._op(setting, malice) for _ in range(draw.randint(1, 6)))
            steps.append(Step(draw.randrange(connections), ops, self._writes()))
        op = self._op(setting, 0).data
        return Dialogue(setting, connections, tuple(steps), op[: draw.randint(0, len(op) - 1)])

    def _writes(self) -> int:
        return self._draw.choice((1, 1, 1, 2, 5))

    def _op(self, setting: str, malice: float) -> Op:
        draw = self._draw
        if draw.random() < malice:
            return self._malformed()
        kind = draw.choices(
            ("sub", "pub", "hpub", "unsub", "ping", "pong", "ok", "connect", "info"),
            (30, 40, 10, 10, 4, 1, 1, 3, 1),
        )[0]
        if kind == "ping":
            return Op(self._case(b"PING") + draw.choice((b"", b"", b" x", b"x", b" ")) + self._line_end(), 1)
        if kind == "pong":
            return Op(self._case(b"PONG") + self._line_end())
        if kind == "ok":
            return Op(b"+OK" + self._line_end())
        if kind == "info":
            return Op(b"INFO {}" + self._line_end())
        if kind == "connect":
            return self._connect(setting, malice)
        if kind == "sub":
            return self._sub()
        if kind == "unsub":
            return self._unsub()
        return self._publish(with_headers=kind == "hpub")

    def _connect(self, setting: str, malice: float) -> Op:
        draw = self._draw
        fields = [
            field
            for name in ("verbose", "pedantic", "echo", "headers", "no_responders")
            if draw.random() < 0.6
            for field in [f'"{name}":{draw.choice(("true", "false", "false"))}']
        ]
        if draw.random() < 0.7:
            # a client that asks for no_responders without headers is refused; most know that
            fields = [f for f in fields if "no_responders" not in f and "headers" not in f]
            fields += ['"headers":true', '"no_responders":true'] if setting != "headerless" else []
        if draw.random() < 0.5:
            fields.append(f'"protocol":{draw.choice(("0", "1", "1"))}')
        if draw.random() < 0.97:
            fields += SETTINGS[setting].login
        if draw.random() < malice * 4:
            fields.insert(draw.randint(0, len(fields)), draw.choice(_ODD_FIELDS))
        draw.shuffle(fields)
        if draw.random() < 0.05:
            fields = [field.upper() if "true" not in field and "false" not in field else field.title()
                      .replace("True", "true").replace("False", "false") for field in fields]  # fmt: skip
        document = "{" + ",".join(fields) + "}"
        if draw.random() < malice / 2:
            document = draw.choice(_ODD_DOCUMENTS)
        blank = draw.choice((b" ", b" ", b" ", b"", b"\t  "))
        return Op(self._case(b"CONNECT") + blank + document.encode("utf-8", "surrogateescape") + b"\r\n")

    def _sub(self) -> Op:
        draw = self._draw
        words = [self._case(b"SUB"), self._subject(patterns=0.4)]
        if draw.random() < 0.25:
            queue = draw.choice((b"x", b"y", b"x..z", b">"))
            # the name of the group stands in the sid, so that its deliveries are known as such
            words += [queue, b"q-" + queue + draw.choice((b"-1", b"-2"))]
        elif draw.random() < 0.03:
            words += [b"_sys_", b"9"]
        else:
            words.append(draw.choice(_PLAIN_SIDS))
        return Op(self._line(words))

    def _unsub(self) -> Op:
        draw = self._draw
        words = [self._case(b"UNSUB")]
        if draw.random() < 0.15:
            # no maximum: who in a group reaches it is a draw
            words += [b"q-" + draw.choice((b"x", b"y")) + draw.choice((b"-1", b"-2"))]
        else:
            words.append(draw.choice((*_PLAIN_SIDS, b"77")))
            if draw.random() < 0.6:
                words.append(
                    draw.choice((b"0", b"1", b"2", b"3", b"2", b"-1", b"x", b"0000000001", b"000000002"))
                )
        return Op(self._line(words))

    def _publish(self, *, with_headers: bool) -> Op:
        draw = self._draw
        self._messages += 1
        body = b"m%d" % self._messages
        body += b"." * draw.choice((0, 0, 0, 5, 30, 61, 62, 63, 200, 5_000))
        if draw.random() < 0.05:
            body = b""
        words = [self._case(b"HPUB" if with_headers else b"PUB"), self._subject(patterns=0.05)]
        if draw.random() < 0.4:
            words.append(draw.choice((b"r", b"a.b", b"a", b"a..b", b"a.*", *_RESERVED[:4])))
        if draw.random() < 0.05:
            words.append(draw.choice(_RESERVED))
            words = words[:2] + words[-1:]
        header = b""
        if with_headers:
            header = draw.choice(
                (b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\nA: b\r\n\r\n", b"", b"junk", b"\r\n\r\n")
            )
            words.append(self._size(len(header)))
        words.append(self._size(len(header) + len(body)))
        return Op(self._line(words) + header + body + b"\r\n")

    def _size(self, size: int) -> bytes:
        digits = b"%d" % size
        return digits.rjust(9, b"0") if self._draw.random() < 0.03 else digits

    def _subject(self, *, patterns: float) -> bytes:
        draw = self._draw
        if draw.random() < 0.02:
            return draw.choice(_RESERVED)
        tokens = [draw.choice(_TOKENS) for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 4)))]
        if draw.random() < patterns:
            tokens[draw.randrange(len(tokens))] = b"*"
        if draw.random() < patterns / 2:
            tokens[draw.choice((-1, -1, -1, 0))] = b">"
        if draw.random() < 0.05:
            tokens[draw.randrange(len(tokens))] = draw.choice(_ODD_TOKENS)
        return b".".join(tokens) or b"."

    def _line(self, words: Sequence[bytes]) -> bytes:
        draw = self._draw
        if draw.random() < 0.9:
            return b" ".join(words) + self._line_end()
        blanks = (b" ", b"  ", b"\t", b" \t ")
        line = words[0] + b"".join(draw.choice(blanks) + word for word in words[1:])
        return line + draw.choice((b"", b" ", b"\t")) + self._line_end()

    def _line_end(self) -> bytes:
        return b"\n" if self._draw.random() < 0.05 else b"\r\n"

    def _case(self, name: bytes) -> bytes:
        draw = self._draw
        if draw.random() < 0.9:
            return name
        return bytes(byte ^ 0x20 if byte >= 0x41 and draw.random() < 0.5 else byte for byte in name)

    def _malformed(self) -> Op:
        """An operation that ends the connection, or is ignored, but never waits for more input."""
        draw = self._draw
        name = draw.choice(_NAMES)
        return draw.choice(
            (
                lambda: Op(draw.choice(_NONSENSE)),
                lambda: Op(name[: draw.randint(1, len(name) - 1)] + b"\r\n"),
                lambda: Op(name + b"\r\n", int(name == b"PING")),
                lambda: Op(b" " + name + b" a 1\r\n"),
                lambda: Op(b"PUB a %s\r\n" % draw.choice(_BAD_SIZES)),
                lambda: Op(b"HPUB a %s 2\r\nab\r\n" % draw.choice(_BAD_SIZES)),
                lambda: Op(b"HPUB a 2 %s\r\nab\r\n" % draw.choice(_BAD_SIZES)),
                lambda: Op(b"HPUB a 3 2\r\nab\r\n"),
                lambda: Op(b"PUB a 2\r\nab" + draw.choice(_BAD_PAYLOAD_ENDS)),
                lambda: Op(b"PUB a r s 2\r\nab\r\n"),
                lambda: Op(b"HPUB a r s 0 2\r\nab\r\n"),
                lambda: Op(b"SUB a\r\n"),
                lambda: Op(b"SUB a b c d\r\n"),
                lambda: Op(b"UNSUB 1 2 3\r\n"),
                lambda: Op(b"SUB " + b"a" * draw.choice(_LENGTHS_NEAR_A_BOUND) + b" 1\r\n"),
                lambda: Op(b"PUB " + b"a" * draw.choice(_LENGTHS_NEAR_A_BOUND) + b" 0\r\n\r\n"),
                lambda: Op(b"SUB " + b" " * 5_000 + b"a 1\r\n"),
                lambda: Op(b"PING" + b"x" * 6_000 + b"\r\n", 1),
                lambda: Op(b"INFO " + draw.choice(_INFO_DOCUMENTS) + b"\r\n"),
                lambda: Op(b"-ERR 'x'\r\n"),
            )
        )()  # fmt: skip


_BAD_PAYLOAD_ENDS: Final = (b"\n", b"\r", b"x\r\n", b" \r\n", b"\n\n", b"\r\r\n")
_LENGTHS_NEAR_A_BOUND: Final = (*range(155, 161), *range(4_090, 4_097), 9_000)
_INFO_DOCUMENTS: Final = (b"{", b"", b"1", b"null", b"[]x", b'"a"', b"{}{}", b'{"proto":1}')
_BAD_SIZES: Final = (
    *(b"-1", b"+2", b"x", b"2x", b"1_0", b"0x2", b"2.0", b"0000000002", b"1234567890", b"99999999", b""),
    *(b"\xd9\xa2", b"2\x0b", b"\x0c2", b"1048577"),
)
_NONSENSE: Final = (
    *(
        b"\r\n",
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\r\n",
        b"\x16\x03\x01\r\n",
        b"MSG a 1 0\r\n\r\n",
        b"RS+ a\r\n",
    ),
    *(
        b"HMSG a 1 0 0\r\n\r\n",
        b"A+ x\r\n",
        b"LS+ a\r\n",
        b"RMSG a b 0\r\n\r\n",
        b"SUBa 1\r\n",
        b"PUB\r\n",
        b"PINK\r\n",
    ),
    *(
        b"+ERR\r\n",
        b"-OK\r\n",
        b"CONN {}\r\n",
        b"\xff\xfe\r\n",
        b"P\r\n",
        b"+\r\n",
        b"PUBx a 0\r\n\r\n",
        b"+OKx\r\n",
    ),
)
_ODD_FIELDS: Final = (
    *('"verbose":1', '"verbose":"true"', '"verbose":null', '"protocol":2', '"protocol":-1', '"protocol":1.0'),
    *(
        '"protocol":1e0',
        '"protocol":"1"',
        '"protocol":9223372036854775808',
        '"protocol":null',
        '"account":"A"',
    ),
    *('"account":""', '"new_account":true', '"new_account":false', '"name":"\\u0000"', '"name":"\\ud800"'),
    *('"name":1', '"name":"\x01"', '"name":"\\x"', '"unknown":{"a":[1,2,{"b":null}]}', '"unknown":1e999'),
    *('"lang":"\udcff"', '"user":"u","user":"v"', '"user":{}', '"pass":1', '"auth_token":null', '"jwt":"x"'),
    *(
        '"nkey":"UABC"',
        '"sig":"x"',
        '"Echo":false',
        '"ECHO":true',
        '"import":{}',
        '"import":1',
        '"tls_required":1',
    ),
    *(
        '"echo":true,"echo":1',
        '"echo":1,"echo":true',
        '"u\u017fer":"u"',
        '"pa\u017f\u017f":"pw"',
        '"unknown":-0',
    ),
    *('"unknown":01', '"unknown":NaN', '"unknown":.5', '"unknown":' + "[" * 1_100 + "]" * 1_100, '"":1'),
    *('"echo":false,"Echo":true,"echo":false', '"proxy_sig":1', '"remote_account":1', '"export":[]'),
)
_ODD_DOCUMENTS: Final = (
    *(
        "",
        "{",
        "}",
        "null",
        "[]",
        "1",
        '""',
        "true",
        "{}{}",
        "{} x",
        "{},",
        '{"a"}',
        "{a:1}",
        "{'a':1}",
        "nul",
    ),
    *(
        '{"verbose":false}\x00',
        '\ufeff{"verbose":false}',
        "{}\x0b",
        ' {"verbose":false} \t',
        '{"verbose":false,}',
    ),
    *('{"name":"' + "n" * 4_000 + '"}', '{"name":"' + "n" * 4_200 + '"}', "Null", '{"verbose":false'),
)

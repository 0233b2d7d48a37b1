"""A client's bytes without payloads and credentials, byte for byte as long as they were.

The stream of one connection is followed as the server's parser follows it, only
as far as needed to tell payloads and documents from the rest:

    CONNECT {"user":"joe","pass":"s3cret"}    CONNECT {"user":"aaa","pass":"aaaaaa"}
    PUB foo 5 / hello                         PUB foo 5 / xxxxx
    SUB foo 1                                 SUB foo 1

Equal lengths keep every cut between two reads, every count and every limit where
it was, so the copy of a journal makes the server go the same way. Equal secrets
get equal stand-ins, so a good password stays good and a bad one bad. Where the
stream is not understood, the server has closed the connection, and the rest is
masked whole.
"""

from __future__ import annotations

import json
import re
from typing import Final

from natscore_cli.redaction import is_secret

__all__ = ["Chunk", "StandIns", "Stream"]

_MASK: Final = b"x"
_HANDSHAKE: Final = b"\x16"  # how a client begins TLS, where the server lets it choose
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_DOCUMENT: Final = re.compile(rb"(CONNECT|INFO)[ \t]*", re.IGNORECASE)
_PUBLISH: Final = re.compile(rb"H?PUB[ \t]", re.IGNORECASE)
_HARMLESS: Final = re.compile(rb"(?:UN)?SUB[ \t]", re.IGNORECASE)
_SPOKEN: Final = re.compile(rb"PING|PONG|\+OK|-ERR[ \t]", re.IGNORECASE)  # anything may follow
_SIZE: Final = re.compile(rb"(?:.*[ \t])([0-9]{1,9})[ \t]*", re.DOTALL)
_LINE_MAX: Final = 1 << 20  # longer than any control line that a server accepts


class StandIns:
    """A harmless text of the same length for each secret, and always the same one."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._count: dict[int, int] = {}  # by length

    def of(self, secret: str) -> str:
        """The stand-in. Two secrets of equal length share one only when the letters are used up."""
        found = self._known.get(secret)
        if found is None:
            length = len(secret)
            number = self._count.get(length, 0)
            self._count[length] = number + 1
            letters = []
            for _ in range(length):
                number, digit = divmod(number, len(_LETTERS))
                letters.append(_LETTERS[digit])
            found = self._known[secret] = "".join(reversed(letters))
        return found


class Chunk:
    """The bytes of one read, rewritten. Not final while `waits`: a line that began in it goes on."""

    __slots__ = ("data", "waits")

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.waits = 0


class Stream:
    """One connection, from its first byte."""

    def __init__(self, stand_ins: StandIns) -> None:
        self._stand_ins = stand_ins
        self._line = bytearray()
        self._homes: list[tuple[Chunk, int, int]] = []  # where the pieces of the line lie: start, end
        self._payload = 0  # bytes of payload still to come
        self._line_end = b""  # what must follow the payload
        self._lost = False
        self._has_begun = False

    def take(self, data: bytes) -> Chunk:
        """The next read, to be rewritten in place; final when it waits for nothing."""
        chunk = Chunk(data)
        if not self._has_begun and data[:1] == _HANDSHAKE:  # what follows it is decrypted
            _mask(chunk, 1, len(data))
            return chunk
        self._has_begun = True
        position = 0
        while position < len(data):
            if self._lost:
                _mask(chunk, position, len(data))
                break
            if self._payload:
                size = min(self._payload, len(data) - position)
                _mask(chunk, position, position + size)
                self._payload -= size
                position += size
            elif self._line_end:
                if data[position : position + 1] == self._line_end[:1]:
                    self._line_end = self._line_end[1:]
                    position += 1
                else:
                    self._lost = True
            else:
                end = data.find(b"\n", position) + 1
                self._hold(chunk, position, end or len(data))
                position = end or len(data)
                if end:
                    self._finish_line()
                elif len(self._line) > _LINE_MAX:
                    self.give_up()
        return chunk

    def give_up(self) -> None:
        """Nothing more comes, or a line has no end: let every chunk be final."""
        self._settle(_rewrite(bytes(self._line), self._stand_ins, complete=False))
        self._lost = True

    def _hold(self, chunk: Chunk, start: int, end: int) -> None:
        self._line += chunk.data[start:end]
        self._homes.append((chunk, start, end))
        chunk.waits += 1

    def _finish_line(self) -> None:
        line = bytes(self._line)
        self._settle(_rewrite(line, self._stand_ins, complete=True))
        if _PUBLISH.match(line):
            size = _SIZE.fullmatch(line.rstrip(b"\n").removesuffix(b"\r"))
            if size is None:
                self._lost = True
            else:
                self._payload = int(size[1])
                self._line_end = b"\r\n"
        elif not (_DOCUMENT.match(line) or _HARMLESS.match(line) or _SPOKEN.match(line)):
            self._lost = True

    def _settle(self, line: bytes) -> None:
        """Put the rewritten line where the line was."""
        assert len(line) == len(self._line)
        position = 0
        for chunk, start, end in self._homes:
            chunk.data[start:end] = line[position : position + end - start]
            position += end - start
            chunk.waits -= 1
        self._homes.clear()
        self._line.clear()


def _mask(chunk: Chunk, start: int, end: int) -> None:
    chunk.data[start:end] = _MASK * (end - start)


def _rewrite(line: bytes, stand_ins: StandIns, *, complete: bool) -> bytes:
    body = line.rstrip(b"\n").removesuffix(b"\r") if complete else line
    line_end = line[len(body) :]
    if head := _DOCUMENT.match(body):
        rest = body[head.end() :]
        written = _document(rest, stand_ins) if complete else None
        if written is None or len(written) > len(rest):
            written = _MASK * len(rest)
        return head[0] + written.ljust(len(rest)) + line_end
    if _PUBLISH.match(body) or _HARMLESS.match(body):
        return line
    if head := _SPOKEN.match(body):
        return head[0] + _MASK * (len(body) - head.end()) + line_end
    return _MASK * len(body) + line_end if complete else line[:1] + _MASK * (len(line) - 1)


class _Raw(str):
    """A number as it was written."""


def _document(body: bytes, stand_ins: StandIns) -> bytes | None:
    """A document with stand-ins for its secrets, or None where it is not one."""
    if not body.strip():
        return body
    try:
        document = json.loads(
            body.decode("utf-8", "surrogateescape"),
            object_pairs_hook=_Pairs,
            parse_int=_Raw,
            parse_float=_Raw,
            parse_constant=_Raw,
        )
        return _encode(document, stand_ins).encode("utf-8", "surrogateescape")
    except (ValueError, RecursionError):
        return None


class _Pairs(list[tuple[str, object]]):
    """A JSON object with its keys as they stood, doubled ones too."""


def _encode(value: object, stand_ins: StandIns, *, secret: bool = False) -> str:
    if isinstance(value, _Raw):
        return "0" if secret else value
    if isinstance(value, _Pairs):
        members = (
            f"{json.dumps(key, ensure_ascii=False)}:"
            f"{_encode(member, stand_ins, secret=secret or is_secret(key) or key.casefold() == 'user')}"
            for key, member in value
        )
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_encode(member, stand_ins, secret=secret) for member in value) + "]"
    if isinstance(value, str):
        return json.dumps(stand_ins.of(value) if secret else value, ensure_ascii=False)
    return json.dumps(value)  # true, false, null

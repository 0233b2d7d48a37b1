r"""What peers send, made fit for a log: without secrets, and without control characters.

Two dangers, two functions. A CONNECT line holds credentials, so it is decoded
and rewritten (`redacted_line`). Any text of a peer may hold an escape sequence
that a terminal obeys, or a line break that forges a log entry, so everything
that is printed passes `escaped`:

    "a\x1b[2Jb"      becomes  a\x1b[2Jb       with the backslash printed
    "x\r\n[1] [INF]" becomes  x\r\n[1] [INF]  on one line
    "évènement"      stays as it is
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["REDACTED", "escaped", "is_secret", "redacted_line", "redacted_snippet"]

REDACTED: Final = "[REDACTED]"

_SECRET_KEYS: Final = frozenset({
    "auth_token",
    "creds",
    "jwt",
    "nkey",
    "proxy_sig",
    "seed",
    "sig",
    "token",
})  # fmt: skip


def is_secret(key: str) -> bool:
    """Whether the value under `key` is withheld: whatever the case, and whatever begins with `pass`.

    Go's decoder folds case by Unicode, so that U+017F is an `s` to it; so do we.
    """
    folded = key.casefold()
    return folded in _SECRET_KEYS or folded.startswith("pass")


_CONNECT: Final = re.compile(rb"[ \t]*CONNECT(?=[ \t{]|$)[ \t]*", re.IGNORECASE)


def redacted_line(line: bytes) -> bytes:
    """A protocol line as it may be shown. Only CONNECT lines change.

    The document is decoded rather than searched: quotes may be escaped in it,
    keys may be escaped, doubled and nested. One that does not decode is withheld
    whole, for nobody can say which part of it is the password.
    """
    head = _CONNECT.match(line)
    if head is None:
        return line
    body = line[head.end() :]
    if not body.strip():
        return line
    return line[: head.end()] + _redacted_document(body).encode("utf-8", "backslashreplace")


def redacted_snippet(snippet: bytes) -> bytes:
    """The beginning of input that was not understood, up to where a document or a string begins in it.

    A misspelled `CONECT {"pass":...` is not a CONNECT, yet holds a password.
    """
    cut = min((at for at in (snippet.find(b"{"), snippet.find(b'"')) if at >= 0), default=None)
    return snippet if cut is None else snippet[:cut] + REDACTED.encode()


def _redacted_document(body: bytes) -> str:
    # orjson keeps only the last of doubled keys; the module of the standard library shows them all
    import json

    try:
        pairs = json.loads(body, object_pairs_hook=_Pairs)
        return _encode(pairs)
    except (ValueError, RecursionError):
        return REDACTED


class _Pairs(list[tuple[str, object]]):
    """A JSON object with its keys as they stood, doubled ones too."""


def _encode(value: object) -> str:
    import json

    if isinstance(value, _Pairs):
        members = (
            f"{json.dumps(key)}:{json.dumps(REDACTED) if is_secret(key) else _encode(member)}"
            for key, member in value
        )
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_encode(member) for member in value) + "]"
    return json.dumps(value, ensure_ascii=False)


_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escaped(text: str) -> str:
    r"""`text` with everything that does not print written as `\n`, `\x1b`, `\u2028` or `\U000e0001`.

    That is controls (C0, DEL, C1), line and paragraph separators, marks that turn
    the direction of text, other invisible format characters, lone surrogates and
    blanks other than the space. Backslashes stay: what is quoted already is not
    quoted twice.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"

"""The types of options: what each takes, what it makes of it, and what is said of anything else.

A reader takes a node of the tree and returns the value, or raises `Invalid` with
the reason, or says several reasons to `Findings` itself. Texts are those of
nats-server (configuration.md sections 2.11, 3 and 7.1), with more behind them
where they say too little.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from natscore.subject import is_valid

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore_cli.conf.tree import Map, Node, Place

__all__ = [
    "ANYTHING",
    "BOOLEAN",
    "DURATION",
    "DURATION_TEXT",
    "INTEGER",
    "LISTEN",
    "PATH",
    "PLAIN_SUBJECTS",
    "PORT",
    "SECONDS",
    "SECONDS_OR_DURATION",
    "SIZE",
    "SUBJECT",
    "SUBJECTS",
    "TEXT",
    "TEXTS",
    "TEXT_ARRAY",
    "Finding",
    "Findings",
    "Invalid",
    "Listen",
    "Reader",
    "Type",
    "checked_port",
    "is_subject",
    "mistyped",
    "nanoseconds",
    "parsed_url",
    "read_any",
    "read_array",
    "read_boolean",
    "read_choice",
    "read_duration",
    "read_duration_or_seconds",
    "read_duration_text",
    "read_integer",
    "read_listen",
    "read_map",
    "read_plain_subjects",
    "read_port",
    "read_seconds",
    "read_subject",
    "read_subjects",
    "read_text",
    "read_text_array",
    "read_texts",
    "read_urls",
    "type_name",
    "without_password",
]


class Invalid(Exception):
    """A value that an option does not take; the text says why."""


class Finding(NamedTuple):
    """One error or warning."""

    place: Place | None
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


@dataclass(slots=True)
class Findings:
    """What is wrong with a file, all of it."""

    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def error(self, place: Place | None, text: str) -> None:
        self.errors.append(Finding(place, text))

    def warning(self, place: Place, key: str, reason: str) -> None:
        """`key` is used in a way that works and should not be kept."""
        self.warnings.append(Finding(place, f'invalid use of field "{key}": {reason}'))

    def lines(self) -> list[str]:
        """Warnings, then errors, each by file and position."""
        return [
            str(found) for group in (self.warnings, self.errors) for found in sorted(group, key=_position)
        ]


def _position(found: Finding) -> tuple[str, int, int]:
    return found.place or ("", 0, 0)


Reader: TypeAlias = "Callable[[Node, str, Findings], object]"
"""(value, key as it was written, where warnings and further errors go) to what the option holds."""


class Type(NamedTuple):
    """A type of options; `sample` and `counterexample` are texts of the language, for tests and pages."""

    name: str
    read: Reader
    sample: str
    counterexample: str = "[ 2016-05-04T18:53:41Z ]"  # which no option takes

    def checked(self, check: Callable[[object], str], **changes: str) -> Type:
        """The same for those values of which `check` says nothing."""

        def read(node: Node, key: str, findings: Findings) -> object:
            value = self.read(node, key, findings)
            if reason := check(value):
                raise Invalid(reason)
            return value

        return self._replace(read=read, **changes)


def type_name(value: object) -> str:
    """The type as nats-server calls it."""
    if isinstance(value, bool):
        return "bool"
    names = {int: "int64", float: "float64", str: "string", datetime: "time.Time"}
    containers = {list: "[]interface {}", dict: "map[string]interface {}"}
    return (names | containers)[type(value)]


def mistyped(node: Node, wanted: str, plainly: str, key: str) -> Invalid:
    """The text of nats-server, and what it means."""
    return Invalid(
        f"interface conversion: interface {{}} is {type_name(node.value)}, not {wanted}"
        f' ("{key}" takes {plainly})'
    )


def read_boolean(node: Node, key: str, findings: Findings) -> bool:
    if not isinstance(node.value, bool):
        raise mistyped(node, "bool", "true or false, without quotes", key)
    return node.value


def read_integer(node: Node, key: str, findings: Findings) -> int:
    if isinstance(node.value, bool) or not isinstance(node.value, int):
        raise mistyped(node, "int64", "an integer", key)
    return node.value


def read_text(node: Node, key: str, findings: Findings) -> str:
    if not isinstance(node.value, str):
        raise mistyped(node, "string", "a text; put numbers and words like true in quotes", key)
    if "\x00" in node.value:
        raise Invalid(f'"{key}" holds a null character, which no path and no name can')
    return node.value


def read_map(node: Node, key: str) -> Map:
    if not isinstance(node.value, dict):
        raise mistyped(node, "map[string]interface {}", "a map: { ... }", key)
    return node.value


def read_array(node: Node, key: str) -> list[Node]:
    if not isinstance(node.value, list):
        raise mistyped(node, "[]interface {}", "an array: [ ... ]", key)
    return node.value


def read_texts(node: Node, key: str, findings: Findings) -> list[str]:
    """A text, or an array of them."""
    if isinstance(node.value, str):
        return [node.value]
    if not isinstance(node.value, list):
        raise Invalid(f"error parsing {key}: unsupported type {type_name(node.value)}")
    texts = []
    for member in node.value:
        if isinstance(member.value, str):
            texts.append(member.value)
        else:
            findings.error(member.place, f"error parsing {key}: unsupported type {type_name(member.value)}")
    return texts


def read_text_array(node: Node, key: str, findings: Findings) -> list[str]:
    return [read_text(member, key, findings) for member in read_array(node, key)]


_UNITS: Final = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6,
    "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_PART: Final = re.compile(r"(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))([^0-9.]*)")
_SECOND: Final = 10**9
_DURATION_MAX: Final = 2**63 - 1
_DURATION_LETTERS_MAX: Final = 80


def nanoseconds(text: str) -> int:
    """A duration as Go writes it, `1m30.5s`, by integers. Raises Invalid."""
    total = 0
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    if unsigned == "0":
        return 0
    if not unsigned or len(text) > _DURATION_LETTERS_MAX:
        raise Invalid(f'time: invalid duration "{text[:_DURATION_LETTERS_MAX]}"')
    at = 0
    while at < len(unsigned):
        part = _PART.match(unsigned, at)
        if part is None:
            raise Invalid(f'time: invalid duration "{text}"')
        whole, decimals, only_decimals, unit = part.groups()
        if not unit:
            raise Invalid(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise Invalid(f'time: unknown unit "{unit}" in duration "{text}"')
        fraction = decimals or only_decimals or ""
        total += int(whole or "0") * _UNITS[unit] + int(fraction or "0") * _UNITS[unit] // 10 ** len(fraction)
        at = part.end()
    if total > _DURATION_MAX:
        raise Invalid(f'time: invalid duration "{text}"')
    return -total if text.startswith("-") else total


def _named(key: str, error: Invalid) -> Invalid:
    return Invalid(f"error parsing {key}: {error}")


def read_duration(node: Node, key: str, findings: Findings) -> int:
    """Nanoseconds. An integer is seconds, and deserves a warning."""
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        findings.warning(node.place, key, f"{key} should be converted to a duration")
        return _bounded_seconds(node.value, key)
    return read_duration_text(node, key, findings)


def read_duration_text(node: Node, key: str, findings: Findings) -> int:
    text = read_text(node, key, findings)
    try:
        return nanoseconds(text)
    except Invalid as error:
        raise _named(key, error) from None


def read_seconds(node: Node, key: str, findings: Findings) -> int:
    """A number of seconds or a duration, as nanoseconds."""
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        if isinstance(node.value, str):
            return read_duration_text(node, key, findings)
        raise Invalid(f"error parsing {key}: unsupported type {type_name(node.value)}")
    return _bounded_seconds(node.value, key)


def read_duration_or_seconds(node: Node, key: str, findings: Findings) -> int:
    """The same without a warning, for options that were integers first."""
    if isinstance(node.value, float):
        raise Invalid(f"error parsing {key}: unsupported type float64")
    return read_seconds(node, key, findings)


def _bounded_seconds(number: float, key: str) -> int:
    result = int(number * _SECOND)
    if not -_DURATION_MAX <= result <= _DURATION_MAX:
        raise Invalid(f"error parsing {key}: {number} seconds are out of the range")
    return result


class Listen(NamedTuple):
    """Where to listen; a host of None is that of another option."""

    host: str | None
    port: int


_PORT: Final = re.compile(r"-?[0-9]{1,5}")


def read_listen(node: Node, key: str, findings: Findings) -> Listen:
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return Listen(None, checked_port(node.value))
    if not isinstance(node.value, str):
        raise Invalid(f"expected port or host:port, got {type_name(node.value)}")
    text = node.value
    host, colon, port = text.rpartition(":")
    inside = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or (":" in host and inside == host) or "[" in inside or "]" in inside or "]" in port:
        raise Invalid(f'could not parse address string "{text}"')
    if not _PORT.fullmatch(port):
        raise Invalid(f'could not parse port "{port}"')
    return Listen(inside, checked_port(int(port)))


def checked_port(port: int) -> int:
    if not -1 <= port <= 65_535:
        raise Invalid(f"port is {port}; a port is -1 (any free one) or 0 to 65535")
    return port


def read_port(node: Node, key: str, findings: Findings) -> int:
    return checked_port(read_integer(node, key, findings))


def read_subjects(node: Node, key: str, findings: Findings) -> list[str]:
    """A subject, or an array of them, each of which may name a queue group behind a blank."""
    return _read_subjects(node, findings, words_max=2)


def read_plain_subjects(node: Node, key: str, findings: Findings) -> list[str]:
    """The same without queue groups."""
    return _read_subjects(node, findings, words_max=1)


def _read_subjects(node: Node, findings: Findings, *, words_max: int) -> list[str]:
    if isinstance(node.value, str):
        members = [node]
    elif isinstance(node.value, list):
        members = node.value
    else:
        raise Invalid(
            f"Expected subject permissions to be a subject, or array of subjects, got {type_name(node.value)}"
        )
    subjects = []
    for member in members:
        if not isinstance(member.value, str):
            findings.error(member.place, "Subject in permissions array cannot be cast to string")
            continue
        words = member.value.split()
        if not 1 <= len(words) <= words_max or not all(is_subject(word) for word in words):
            findings.error(member.place, f'subject "{member.value}" is not a valid subject')
        subjects.append(member.value)
    return subjects


def is_subject(text: str) -> bool:
    """Whether a subscription may name it."""
    return not any(char.isspace() for char in text) and is_valid(text.encode("utf-8", "surrogateescape"))


def read_subject(node: Node, key: str, findings: Findings) -> str:
    text = read_text(node, key, findings)
    if not is_subject(text):
        raise Invalid(f'subject "{text}" is not a valid subject')
    return text


_BAD_ESCAPE: Final = re.compile("%(?![0-9a-fA-F]{2})")


def parsed_url(text: str, what: str) -> str:
    """`text`, if it is a URL with a host. Raises Invalid."""
    try:
        parts = urlsplit(text)
        fits = bool(parts.hostname) and (parts.port is None or parts.port >= 0)
    except ValueError:
        fits = False
    if not fits or _BAD_ESCAPE.search(text) or any(char.isspace() for char in text):
        raise Invalid(f'error parsing {what} url ["{without_password(text)}"]')
    return text


def without_password(url: str) -> str:
    """`url` as it may be shown."""
    head, at, host = url.rpartition("@")
    scheme, slashes, user = head.partition("//")
    name, colon, _ = user.partition(":")
    return f"{scheme}{slashes}{name}{':[REDACTED]' if colon else ''}@{host}" if at else url


def read_urls(what: str, *, texts_too: bool) -> Reader:
    """URLs of routes, gateways or leaf nodes, `what`; a text for a single one where `texts_too`."""

    def read(node: Node, key: str, findings: Findings) -> list[str]:
        members = [node] if isinstance(node.value, str) and texts_too else read_array(node, key)
        urls: list[str] = []
        for member in members:
            text = read_text(member, key, findings)
            try:
                url = parsed_url(text, what)
            except Invalid as error:
                findings.error(member.place, str(error))
                continue
            if url in urls:
                findings.warning(node.place, without_password(url), f"Duplicate {what} entry detected")
            else:
                urls.append(url)
        return urls

    return read


def read_choice(*accepted: str, said: str) -> Reader:
    def read(node: Node, key: str, findings: Findings) -> str:
        text = read_text(node, key, findings).lower()
        if text not in accepted:
            raise Invalid(said)
        return text

    return read


def read_any(node: Node, key: str, findings: Findings) -> object:
    """Anything; what is never obeyed is not checked."""
    from natscore_cli.conf.tree import plain

    return plain(node)


BOOLEAN: Final = Type("boolean", read_boolean, "true", '"true"')
INTEGER: Final = Type("integer", read_integer, "5", "1.5")
SIZE: Final = Type("size", read_integer, "1kb", '"1kb"')
TEXT: Final = Type("text", read_text, "word", "5")
PATH: Final = Type("path", read_text, '"some/file"', "5")
DURATION: Final = Type("duration", read_duration, '"40s"', '"40"')
DURATION_TEXT: Final = Type("duration", read_duration_text, '"40s"', "40")
SECONDS: Final = Type("seconds or duration", read_seconds, "2.5", "true")
SECONDS_OR_DURATION: Final = Type("seconds or duration", read_duration_or_seconds, "2", "2.5")
LISTEN: Final = Type("port or host:port", read_listen, '"127.0.0.1:4333"', "1.2")
PORT: Final = Type("port", read_port, "4333", "70000")
TEXTS: Final = Type("text or array of texts", read_texts, "[one, two]", "5")
TEXT_ARRAY: Final = Type("array of texts", read_text_array, "[one, two]", "one")
SUBJECT: Final = Type("subject", read_subject, '"a.b"', '"a..b"')
SUBJECTS: Final = Type("subject or array of subjects", read_subjects, '["a.>", "b q"]', '"a..b"')
PLAIN_SUBJECTS: Final = Type("subject or array of subjects", read_plain_subjects, '["a.>", b]', '"a q"')
ANYTHING: Final = Type("anything", read_any, "5", "")

"""Which user a certificate is: the names it goes by, in the order in which they are tried.

    e-mail addresses, DNS names, URIs      each as it stands
    the distinguished name                 a user's name that says the same one: parts in any order
    CN=bob,O=Acme,DC=example,DC=com        as Go writes it, with and without domain components

A user's name is taken for a distinguished name if it reads as one (RFC 4514). Source:
client-protocol.md section 17.3; nats-server 2.14.5, server/auth.go checkClientTLSCertSubject.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from natscore.events import Certificate

__all__ = ["CertificateUsers", "Name", "parsed_name"]

_Part: TypeAlias = frozenset[tuple[str, str]]
Name: TypeAlias = tuple[_Part, ...]
"""A distinguished name: its parts in the order of the text, each a set of attribute and value."""

_KNOWN: Final = frozenset({"CN", "SERIALNUMBER", "C", "L", "ST", "STREET", "O", "OU", "POSTALCODE", "DC"})
"""A name with other attributes is compared by its text alone."""

_WRITTEN: Final = ("SERIALNUMBER", "CN", "POSTALCODE", "STREET", "ST", "L", "OU", "O", "C")
"""What Go writes of a subject, in its order. Values of one attribute stand together."""

_SPECIAL: Final = ' "#+,;<=>\\'
_HEX: Final = re.compile("[0-9a-fA-F]{2}")


class CertificateUsers:
    """Finds the user of a certificate among names of users."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._names: Final = names
        self._exact: Final[dict[Name, str]] = {}
        self._unordered: Final[dict[frozenset[tuple[_Part, int]], str]] = {}
        for name in names:
            parsed = parsed_name(name)
            if parsed:
                self._exact.setdefault(parsed, name)
                self._unordered.setdefault(_in_any_order(parsed), name)

    def candidates(self, certificate: Certificate) -> Iterator[str]:
        """The users that a certificate may stand for, the first choice first."""
        for name in (*certificate.emails, *certificate.dns_names, *certificate.uris):
            if name in self._names:
                yield name
        parsed = _name_of(certificate)
        if parsed is not None:
            for found in (self._exact.get(parsed), self._unordered.get(_in_any_order(parsed))):
                if found is not None:
                    yield found
        for name in _written(certificate):
            if name in self._names:
                yield name


def parsed_name(text: str) -> Name | None:
    r"""The distinguished name that a text is: `CN=bob,OU=a+OU=b,O=Acme\, Inc`. None if it is none."""
    parts: list[_Part] = []
    pairs: list[tuple[str, str]] = []
    for words, end in _pairs_of(text):
        if words is None:
            return None
        pairs.append(words)
        if end != "+":
            parts.append(frozenset(pairs))
            pairs = []
    return tuple(parts) if not pairs else None


def _pairs_of(text: str) -> Iterator[tuple[tuple[str, str] | None, str]]:
    """Each attribute with its value, None for what is none, and the mark behind it."""
    for piece, end in _split(text):
        attribute, equals, value = piece.partition("=")
        value = value.lstrip(" ")
        if not equals or not attribute.strip(" ") or value.startswith("#"):
            yield None, end
            return
        plain = _unescaped(value)
        yield (None if plain is None else (attribute.strip(" ").upper(), plain)), end


def _split(text: str) -> Iterator[tuple[str, str]]:
    """The pieces between commas and plus signs that are not escaped, and what ends each."""
    start, at = 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] in ",+":
            yield text[start:at], text[at]
            start = at + 1
        at += 1
    if start < len(text):
        yield text[start:], ""


def _unescaped(text: str) -> str | None:
    """A value without escapes and without the blanks at its end; None if an escape is none."""
    out = bytearray()
    kept = 0  # how much of `out` stays, whatever follows
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char != "\\":
            out += char.encode("utf-8", "surrogateescape")
            kept = len(out) if char != " " else kept
            continue
        if text[at : at + 1] and text[at] in _SPECIAL:
            out += text[at].encode()
            at += 1
        elif _HEX.match(text, at):
            out.append(int(text[at : at + 2], 16))
            at += 2
        else:
            return None
        kept = len(out)
    return out[:kept].decode("utf-8", "surrogateescape")


def _in_any_order(name: Name) -> frozenset[tuple[_Part, int]]:
    return frozenset(Counter(name).items())


def _name_of(certificate: Certificate) -> Name | None:
    """The name of a certificate, the most specific part first; None if it has attributes of other kinds."""
    subject = [part for part in certificate.subject if part]
    if not all(attribute in _KNOWN for part in subject for attribute, _ in part):
        return None
    return tuple(frozenset(part) for part in reversed(subject))


def _written(certificate: Certificate) -> Iterator[str]:
    """The subject as Go writes it: with domain components if it has any, and without."""
    values: dict[str, list[str]] = {}
    for part in certificate.subject:
        for attribute, value in part:
            values.setdefault(attribute, []).append(value)
    text = ",".join(
        "+".join(f"{attribute}={_escaped(value)}" for value in values[attribute])
        for attribute in _WRITTEN
        if attribute in values
    )
    if "DC" in values:
        yield ",".join([text, *(f"DC={value}" for value in values["DC"])])
    yield text


def _escaped(text: str) -> str:
    """A value with the escapes that Go writes."""
    escaped = re.sub(r'[,+"\\<>;]', r"\\\g<0>", text)
    if escaped.startswith(("#", " ")):
        escaped = f"\\{escaped}"
    if len(text) > 1 and text.endswith(" "):
        escaped = f"{escaped[:-1]}\\ "
    return escaped

"""What a certificate says that Python's ssl does not: read from its DER (RFC 5280).

Only certificates that OpenSSL has parsed are read here, so the encoding is trusted.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from typing import TYPE_CHECKING, Final

from natscore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["certificate_in", "is_named", "names_of", "subject_public_key_info"]

_PEM: Final = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

_CONTEXT_0: Final = 0xA0  # the tag of the optional version, which comes first
_CONTEXT_3: Final = 0xA3  # of the extensions, which come last
_OCTET_STRING: Final = 0x04
_DNS_NAME: Final = 0x82
_IP_ADDRESS: Final = 0x87
_ALTERNATIVE_NAMES: Final = b"\x06\x03\x55\x1d\x11"  # the object identifier 2.5.29.17


def certificate_in(cert_file: str) -> bytes:
    """The first certificate of a file in PEM, in DER. Raises ConfigError if there is none."""
    with open(cert_file, encoding="latin-1") as file:
        found = _PEM.search(file.read())
    if found is None:
        raise ConfigError(f"error parsing X509 certificate/key pair: no CERTIFICATE is in {cert_file}")
    return ssl.PEM_cert_to_DER_cert(found[0])


def subject_public_key_info(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate that OpenSSL has parsed, both in DER (RFC 5280, 4.1)."""
    start, _, end = _public_key_place(certificate)
    return certificate[start:end]


def names_of(certificate: bytes) -> frozenset[str]:
    """The DNS names, in lower case, and the addresses that a certificate in DER is for (RFC 5280)."""
    _, inside, _ = _element(certificate, 0)
    _, _, end = _element(certificate, inside)
    _, _, position = _public_key_place(certificate)
    while position < end:
        start, content, after = _element(certificate, position)
        if certificate[start] == _CONTEXT_3:
            for extension in _members(certificate, content):
                if extension.startswith(_ALTERNATIVE_NAMES):
                    return frozenset(_alternative_names(extension))
        position = after
    return frozenset()


def _alternative_names(extension: bytes) -> Iterator[str]:
    position = len(_ALTERNATIVE_NAMES)
    while extension[position] != _OCTET_STRING:  # whether it is critical stands in between
        _, _, position = _element(extension, position)
    _, content, _ = _element(extension, position)
    start, content, end = _element(extension, content)
    while content < end:
        start, inside, content = _element(extension, content)
        value = extension[inside:content]
        if extension[start] == _DNS_NAME:
            yield value.decode("ascii", "backslashreplace").lower()
        elif extension[start] == _IP_ADDRESS and len(value) in (4, 16):
            yield str(ipaddress.ip_address(value))


def _members(certificate: bytes, start: int) -> Iterator[bytes]:
    """The contents of each member of a sequence."""
    _, content, end = _element(certificate, start)
    while content < end:
        _, inside, content = _element(certificate, content)
        yield certificate[inside:content]


def _public_key_place(certificate: bytes) -> tuple[int, int, int]:
    _, inside, _ = _element(certificate, 0)
    _, position, _ = _element(certificate, inside)  # tbsCertificate
    if certificate[position] == _CONTEXT_0:
        _, _, position = _element(certificate, position)
    for _ in range(5):  # serialNumber, signature, issuer, validity, subject
        _, _, position = _element(certificate, position)
    return _element(certificate, position)


def is_named(host: str, names: frozenset[str]) -> bool:
    """Whether one of these names is about a host; `*.a.b` is about all that have one label before `a.b`."""
    host = host.rstrip(".").lower()
    _, dot, parent = host.partition(".")
    return host in names or (bool(dot) and f"*.{parent}" in names)


def _element(encoded: bytes, start: int) -> tuple[int, int, int]:
    """Where an element begins, its content begins, and it ends."""
    length, content = encoded[start + 1], start + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(encoded[content : content + size], "big")
        content += size
    return start, content, content + length

"""TLS for connections that others begin: contexts from settings, and the filter.

`TlsSettings` says the same whoever fills it in, a configuration file or flags, and
`TlsAcceptor` makes the one context of it. Everything that can be wrong with files
and names is a ConfigError there, before anything listens. `TlsFilter` is one
connection (`filters.py`); it makes nothing until the first bytes of the peer are
there, so a flood of silent connections costs what plain ones do. OpenSSL bounds
each message of a handshake (about 128 KiB) and their number.

No session is resumed: each connection shows its certificate, and is judged by the
settings of this moment. Renegotiation is refused, as by nats-server.

Sources: configuration.md section 5.6, client-protocol.md section 17; RFC 8446.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from natscore.errors import ConfigError
from natscore.events import Certificate, TlsEstablished, TlsFailed
from natscore_tcp.certificates import certificate_in, is_named, names_of, subject_public_key_info
from natscore_tcp.contract import READ_MAX
from natscore_tcp.filters import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.events import ConnectionId, Instant
    from natscore_tcp.contract import Block

__all__ = ["CIPHER_NAMES", "CURVE_NAMES", "TlsAcceptor", "TlsFilter", "TlsSettings"]

ANSWERS_MAX: Final = 65_536  # of handshakes and key updates, for a peer that does not read them
_SLICE: Final = 16_384  # of what was read; OpenSSL keeps a buffer as large as the largest one
_HANDSHAKE_RECORD: Final = 0x16


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """A `tls` block of the configuration, as far as a listener needs it. Names are those of Go."""

    cert_file: str
    key_file: str
    more_certs: tuple[tuple[str, str], ...] = ()  # further certificates and keys: see `TlsAcceptor`
    ca_file: str = ""  # who signed the clients' certificates; empty: the authorities of the system
    verify: bool = False  # require a certificate that verifies
    cipher_suites: tuple[str, ...] = ()  # of TLS 1.2, most preferred first; empty: the secure ones
    allow_insecure_cipher_suites: bool = False
    curve_preferences: tuple[str, ...] = ()  # empty: all
    min_version: str = "1.2"
    pinned_certs: frozenset[str] = frozenset()  # SHA-256 of SubjectPublicKeyInfo in hex; empty: any key


class TlsAcceptor:
    """Makes the filter of each connection of a listener.

    Of several certificates a client is shown the first that is for the name it asks for
    (SNI), and the very first if none is, or it asks for none.

    `warnings` is what an operator should know and need not change.

    Raises:
        ConfigError: a file cannot be read, does not fit, or a name is unknown; in the words of nats-server
            where it has them.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self.settings: Final = settings
        self.pins: Final = frozenset(_checked_pin(pin) for pin in settings.pinned_certs)
        if self.pins and not settings.verify:
            raise ConfigError("'pinned_certs' needs 'verify': without it no client shows a certificate")
        self.warnings: Final[list[str]] = []
        pairs = ((settings.cert_file, settings.key_file), *settings.more_certs)
        contexts = [self._context(cert_file, key_file) for cert_file, key_file in pairs]
        self.context: Final = contexts[0]
        if settings.more_certs:
            names = [names_of(certificate_in(cert_file)) for cert_file, _ in pairs]
            self._named: Final = tuple(zip(names, contexts, strict=True))
            self.context.sni_callback = self._choose_certificate
        # One for all connections: what is in it was fed before the next read.
        self.plain: Final = memoryview(bytearray(READ_MAX))

    def filter(self) -> TlsFilter:
        """The filter of one more connection."""
        return TlsFilter(self)

    def _choose_certificate(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext
    ) -> None:
        """Called in a handshake, with the name that the client asks for."""
        found = next((own for names, own in self._named if name and is_named(name, names)), None)
        if found is not None:
            connection.context = found

    def _context(self, cert_file: str, key_file: str) -> ssl.SSLContext:
        settings = self.settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _minimum_version(settings.min_version)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.num_tickets = 0
        self._choose_ciphers(context)
        self._choose_curves(context)
        _load_pair(context, cert_file, key_file)
        if settings.verify:
            context.verify_mode = ssl.CERT_REQUIRED
            _load_authorities(context, settings.ca_file)
        return context

    def _choose_ciphers(self, context: ssl.SSLContext) -> None:
        settings = self.settings
        names = settings.cipher_suites or _DEFAULT_CIPHERS
        chosen = [_openssl_cipher(name) for name in names if name not in _TLS_1_3_CIPHERS]
        insecure = [name for name in names if name in _INSECURE_CIPHERS]
        if insecure and not settings.allow_insecure_cipher_suites:
            raise ConfigError(
                "insecure cipher suites configured without 'allow_insecure_cipher_suites' option set: "
                + ", ".join(insecure)
            )
        if not chosen:  # those of TLS 1.3 alone, which cannot be chosen from
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            return
        try:
            context.set_ciphers(":".join(chosen))
        except ssl.SSLError as error:
            raise ConfigError(f"this OpenSSL supports none of the ciphers {', '.join(names)}") from error
        offered = {cipher["name"] for cipher in context.get_ciphers()}
        missing = [name for name, ours in _CIPHERS.items() if name in names and ours not in offered]
        if missing:
            raise ConfigError(f"this OpenSSL does not support the cipher {missing[0]}")

    def _choose_curves(self, context: ssl.SSLContext) -> None:
        names = self.settings.curve_preferences
        for name in names:
            if name not in _CURVES:
                raise ConfigError(f"unrecognized curve preference {name}")
        if len(names) == 1:
            try:
                context.set_ecdh_curve(_CURVES[names[0]])
            except (ssl.SSLError, ValueError) as error:
                raise ConfigError(f"this OpenSSL does not support the curve {names[0]}") from error
        elif names:
            self.warnings.append(
                "of several curve_preferences none is left out: Python can choose one curve or all of them"
            )


class TlsFilter:
    """The server's side of one TLS connection."""

    __slots__ = ("_acceptor", "_finished", "_incoming", "_object", "_outgoing", "has_ended",
                 "is_open")  # fmt: skip

    def __init__(self, acceptor: TlsAcceptor) -> None:
        self.is_open = False
        self.has_ended = False
        self._acceptor = acceptor
        self._incoming: ssl.MemoryBIO  # these three: from the first byte on
        self._outgoing: ssl.MemoryBIO
        self._object: ssl.SSLObject | None = None
        self._finished = False

    def receive(self, wire: memoryview) -> Iterator[memoryview]:
        """As `Filter.receive`."""
        tls = self._object or self._begin(wire)
        incoming, plain = self._incoming, self._acceptor.plain
        filled = 0
        for start in range(0, len(wire), _SLICE):
            incoming.write(wire[start : start + _SLICE])
            if not self.is_open and not self._shake_hands(tls):
                continue
            # Asking for more than there is costs an exception, so look first.
            while incoming.pending or tls.pending():
                try:
                    count: int = tls.read(  # type: ignore[assignment]  # of bytes, when given a buffer
                        READ_MAX - filled,
                        plain[filled:],
                    )
                except ssl.SSLWantReadError:
                    break
                except ssl.SSLZeroReturnError:
                    count = 0
                except ssl.SSLError as error:
                    if filled:  # it came before what is wrong
                        yield plain[:filled]
                    raise FilterError(_reason(error)) from error
                if not count:
                    self.has_ended = True
                    break
                filled += count
                if filled == READ_MAX:
                    yield plain
                    filled = 0
            if self.has_ended:
                break
        if filled:
            yield plain[:filled]
        if self._outgoing.pending > ANSWERS_MAX:
            raise FilterError(f"{self._outgoing.pending} bytes of answers wait for a peer that does not read")

    def send(self, plain: Block) -> None:
        """As `Filter.send`."""
        if self._object is None or not self.is_open or self._finished:
            raise FilterError("nothing can be sent before the handshake, or after the end")
        try:
            self._object.write(plain)
        except ssl.SSLError as error:
            raise FilterError(_reason(error)) from error

    def take(self) -> bytes:
        """As `Filter.take`."""
        return self._outgoing.read() if self._object is not None else b""

    def finish(self) -> None:
        """As `Filter.finish`: a close_notify, once the handshake is done. An alert of a failed one stands."""
        if self.is_open and not self._finished and self._object is not None:
            self._finished = True
            with contextlib.suppress(ssl.SSLError):  # the peer's close_notify is not here yet, or it broke
                self._object.unwrap()

    def opened(self, at: Instant, cid: ConnectionId) -> TlsEstablished:
        """As `Filter.opened`."""
        assert self._object is not None
        name, _, _ = self._object.cipher() or ("", "", 0)
        version = (self._object.version() or "").removeprefix("TLSv")
        return TlsEstablished(at=at, cid=cid, version=version, cipher=_iana_cipher(name), peer=self._peer())

    def failed(self, at: Instant, cid: ConnectionId, error: str) -> TlsFailed:
        """As `Filter.failed`."""
        return TlsFailed(at=at, cid=cid, error=error)

    def _begin(self, wire: memoryview) -> ssl.SSLObject:
        if wire[0] != _HANDSHAKE_RECORD:  # and nothing is said to who does not speak TLS
            raise FilterError("first record does not look like a TLS handshake")
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = self._acceptor.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        return self._object

    def _shake_hands(self, tls: ssl.SSLObject) -> bool:
        """Go on with the handshake. True: it is done. Raises FilterError."""
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise FilterError(_reason(error)) from error
        if self._acceptor.pins:
            peer = self._peer()
            if peer is None or peer.key_sha256 not in self._acceptor.pins:
                raise FilterError("the key of the certificate is none of 'pinned_certs'")
        self.is_open = True
        return True

    def _peer(self) -> Certificate | None:
        """What the peer's certificate says; None if it was not asked for one."""
        assert self._object is not None
        encoded = self._object.getpeercert(binary_form=True)
        said: dict[str, Any] = self._object.getpeercert() or {}
        if not encoded:
            return None
        alternatives: list[tuple[str, str]] = list(said.get("subjectAltName", ()))
        return Certificate(
            subject=tuple(
                tuple((_ATTRIBUTES.get(attribute, attribute), text) for attribute, text in part)
                for part in said.get("subject", ())
            ),
            emails=tuple(text for kind, text in alternatives if kind == "email"),
            dns_names=tuple(text for kind, text in alternatives if kind == "DNS"),
            uris=tuple(text for kind, text in alternatives if kind == "URI"),
            key_sha256=hashlib.sha256(subject_public_key_info(encoded)).hexdigest(),
            sha256=hashlib.sha256(encoded).hexdigest(),
        )


# -- files -----------------------------------------------------------------------------------------


class _KeyIsEncrypted(Exception):
    """OpenSSL asked for a password."""


def _no_password() -> str:
    raise _KeyIsEncrypted  # without this OpenSSL would ask on the terminal


def _load_pair(context: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    if not key_file:
        raise ConfigError("missing 'key_file' in TLS configuration")
    if not cert_file:
        raise ConfigError("missing 'cert_file' in TLS configuration")
    prefix = "error parsing X509 certificate/key pair: "
    for path in (cert_file, key_file):
        if why := _unreadable(path):
            raise ConfigError(prefix + why)
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except _KeyIsEncrypted as error:
        raise ConfigError(f"{prefix}the key in {key_file} is encrypted; store it in plain") from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            why = f"the key in {key_file} is not that of the certificate in {cert_file}"
        else:
            why = f"no certificate and key in PEM are in {cert_file} and {key_file} ({_reason(error)})"
        raise ConfigError(prefix + why) from error


def _load_authorities(context: ssl.SSLContext, ca_file: str) -> None:
    if not ca_file:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    if why := _unreadable(ca_file):
        raise ConfigError(why)
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise ConfigError(f"failed to parse root ca certificate ({ca_file}: {_reason(error)})") from error


def _unreadable(path: str) -> str | None:
    """Why a file cannot be read, as Go writes it; None if it can be."""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        operation = "read" if isinstance(error, IsADirectoryError) else "open"
        return f"{operation} {path}: {(error.strerror or str(error)).lower()}"
    return None


# -- names -----------------------------------------------------------------------------------------

_TLS_1_3_CIPHERS: Final = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)

_CIPHERS: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA": "DES-CBC3-SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA": "ECDHE-RSA-DES-CBC3-SHA",
    "TLS_RSA_WITH_RC4_128_SHA": "RC4-SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA": "ECDHE-RSA-RC4-SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA": "ECDHE-ECDSA-RC4-SHA",
}
"""Every cipher of TLS 1.2 that nats-server knows, in the order of its preference, and OpenSSL's name."""

_OLD_NAMES: Final = {  # nats-server 2.9
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}

_DEFAULT_CIPHERS: Final = tuple(_CIPHERS)[:6]

_INSECURE_CIPHERS: Final = frozenset(
    name
    for name in _CIPHERS
    if name.startswith("TLS_RSA_") or "_RC4_" in name or "_3DES_" in name or name.endswith("_CBC_SHA256")
)

_IANA_CIPHERS: Final = {ours: name for name, ours in _CIPHERS.items()}

_CURVES: Final = {
    "X25519": "X25519",
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519MLKEM768": "X25519MLKEM768",
}

CIPHER_NAMES: Final = (*_TLS_1_3_CIPHERS, *_CIPHERS)
"""What may stand in `cipher_suites`; OpenSSL may have been built without some of them."""

CURVE_NAMES: Final = tuple(_CURVES)
"""What may stand in `curve_preferences`; likewise."""

_ATTRIBUTES: Final = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "postalCode": "POSTALCODE",
    "serialNumber": "SERIALNUMBER",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
"""OpenSSL's names of attributes, and those of RFC 4514 and Go."""


def _minimum_version(text: str) -> ssl.TLSVersion:
    known = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    version = text.removeprefix("TLS ").removeprefix("v")
    if version in known:
        return known[version]
    if version in ("1.0", "1.1"):
        raise ConfigError(f"unsupported TLS version: TLS {version}")
    raise ConfigError(f"unknown version: {text}")


def _openssl_cipher(name: str) -> str:
    found = _CIPHERS.get(_OLD_NAMES.get(name, name))
    if found is None:
        raise ConfigError(f"unrecognized cipher {name}")
    return found


def _iana_cipher(name: str) -> str:
    return _IANA_CIPHERS.get(name, name)  # those of TLS 1.3 have one name


_PIN: Final = re.compile(r"[0-9a-f]{64}")


def _checked_pin(text: str) -> str:
    pin = text.lower()
    if not _PIN.fullmatch(pin):
        raise ConfigError(
            f"'pinned_certs' key {text} does not look like hex-encoded sha256 of DER encoded"
            " SubjectPublicKeyInfo"
        )
    return pin


def _reason(error: ssl.SSLError) -> str:
    """What went wrong, in OpenSSL's words: `tlsv1 alert unknown ca`. They hold no bytes of the peer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    text = error.reason or _PLACE.sub("", str(error))
    return text.replace("_", " ").lower()


_PLACE: Final = re.compile(r"^\[[^\]]*\] | \(_ssl\.c:\d+\)$")  # of the error in the sources of Python

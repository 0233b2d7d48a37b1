"""The `tls` blocks and OCSP (configuration.md sections 5.6 and 5.7)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from natscore_cli.conf.options import Block, array_of, block_of, read_block
from natscore_cli.conf.table.rows import DECLINED, inner, inner_declined
from natscore_cli.conf.values import (
    BOOLEAN,
    INTEGER,
    PATH,
    SECONDS,
    TEXT,
    TEXTS,
    Invalid,
    Type,
    nanoseconds,
    read_array,
    read_boolean,
    read_text,
    type_name,
)
from natscore_cli.files import os_error_text

if TYPE_CHECKING:
    from natscore_cli.conf.options import Settings
    from natscore_cli.conf.tree import Node, Place
    from natscore_cli.conf.values import Findings

__all__ = ["OCSP", "OCSP_CACHE", "TLS", "TLS_OF_LINKS"]

_SECURE: Final = (
    *("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"),
    *(
        f"TLS_ECDHE_{key}_WITH_{cipher}"
        for key in ("ECDSA", "RSA")
        for cipher in (
            *("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256"),
            *("CHACHA20_POLY1305", "AES_128_CBC_SHA", "AES_256_CBC_SHA"),
        )
    ),
)
_INSECURE: Final = (
    *(
        f"TLS_RSA_WITH_{cipher}"
        for cipher in (
            *("RC4_128_SHA", "3DES_EDE_CBC_SHA", "AES_128_CBC_SHA", "AES_128_CBC_SHA256"),
            *("AES_256_CBC_SHA", "AES_128_GCM_SHA256", "AES_256_GCM_SHA384"),
        )
    ),
    *(
        f"TLS_ECDHE_{key}_WITH_{cipher}"
        for key in ("ECDSA", "RSA")
        for cipher in ("RC4_128_SHA", "AES_128_CBC_SHA256")
    ),
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
)
_CURVES: Final = ("X25519", "CurveP256", "CurveP384", "CurveP521", "X25519MLKEM768")
_FINGERPRINT: Final = re.compile("[0-9a-fA-F]{64}")


def _names(known: tuple[str, ...], what: str) -> Type:
    def read(node: Node, key: str, findings: Findings) -> list[str]:
        members = read_array(node, key)
        if not members:
            raise Invalid(f"error parsing tls config, '{key}' cannot be empty")
        names = [read_text(member, key, findings) for member in members]
        for name in names:
            if name not in known:
                raise Invalid(f"unrecognized {what} {name}")
        return names

    return Type(f"array of names of a {what}", read, f"[{known[0]}]", "[]")


def _read_pinned(node: Node, key: str, findings: Findings) -> list[str]:
    if not isinstance(node.value, list):
        raise Invalid(
            "error parsing tls config, expected 'pinned_certs' to be a list of hex-encoded sha256 "
            "of DER encoded SubjectPublicKeyInfo"
        )
    prints = []
    for member in node.value:
        text = str(member.value) if isinstance(member.value, str | int) else type_name(member.value)
        if _FINGERPRINT.fullmatch(text) is None:
            findings.error(
                member.place,
                f"error parsing tls config, 'pinned_certs' key {text} does not look like hex-encoded sha256 "
                "of DER encoded SubjectPublicKeyInfo",
            )
        prints.append(text.lower())
    return prints


def _read_version(node: Node, key: str, findings: Findings) -> str:
    text = read_text(node, key, findings)
    if text in ("1.0", "1.1"):
        raise Invalid(f"error parsing tls config: unsupported TLS version: TLS {text}")
    if text not in ("1.2", "1.3"):
        raise Invalid(f"error parsing tls config: unknown version: {text}")
    return text


def _read_first(node: Node, key: str, findings: Findings) -> bool | str | int:
    if isinstance(node.value, bool):
        return node.value
    if not isinstance(node.value, str):
        raise Invalid(f"error parsing tls config, '{key}' takes true, false, auto or a duration")
    text = node.value.lower()
    return text if text in ("auto", "auto_fallback") else nanoseconds(text)


def _read_file(node: Node, key: str, findings: Findings) -> str:
    if not isinstance(node.value, str):
        raise Invalid(f"error parsing tls config, expected '{key}' to be filename")
    return node.value


def _read_switch(node: Node, key: str, findings: Findings) -> bool:
    if not isinstance(node.value, bool):
        raise Invalid(f"error parsing tls config, expected '{key}' to be a boolean")
    return node.value


_FILE: Final = Type("path", _read_file, '"cert.pem"', "5")
_SWITCH: Final = Type("boolean", _read_switch, "true", "1")
_PAIR: Final = Block("certificate", (
    inner("cert_file", _FILE, "-", "certificate, PEM"),
    inner("key_file", _FILE, "-", "its key, PEM"),
))  # fmt: skip


def _read_peer(node: Node, key: str, findings: Findings) -> object:
    if isinstance(node.value, bool):
        return node.value
    return block_of(_OCSP_PEER).read(node, key, findings)


_OCSP_PEER: Final = Block("ocsp_peer", (
    inner("verify", BOOLEAN, "false", "ask the issuer whether a certificate is revoked"),
    inner("ca_timeout", SECONDS, "2", "longest wait for the answer"),
    inner("allowed_clockskew", SECONDS, "30", "how far clocks may differ"),
    inner("warn_only", BOOLEAN, "false", "log, and accept"),
    inner("unknown_is_good", BOOLEAN, "false", "accept what the issuer does not know"),
    inner("allow_when_ca_unreachable", BOOLEAN, "false", "accept without an answer"),
    inner("cache_ttl_when_next_update_unset", SECONDS, "3600", "how long such an answer is kept"),
))  # fmt: skip

_WINDOWS_ONLY: Final = (
    "cert_store",
    "cert_match_by",
    "cert_match",
    "cert_match_skip_invalid",
    "ca_certs_match",
)


def _read_windows(node: Node, key: str, findings: Findings) -> object:
    raise Invalid(f"error parsing tls config, '{key}' works with the certificate store of Windows only")


_WINDOWS: Final = Type("refused", _read_windows, "", "any")


def _check(settings: Settings, place: Place, findings: Findings) -> None:
    given = {name: settings[name] for name in ("cert_file", "key_file", "certs") if name in settings}
    if "certs" in given and len(given) > 1:
        findings.error(place, "error parsing tls config, 'certs' and 'cert_file' exclude each other")
    elif "cert_file" in given and "key_file" not in given:
        findings.error(place, "missing 'key_file' in TLS configuration")
    elif "key_file" in given and "cert_file" not in given:
        findings.error(place, "missing 'cert_file' in TLS configuration")
    for name in ("cert_file", "key_file", "ca_file"):
        if name in settings and "certs" not in given and len(given) != 1:
            _check_readable(str(settings[name].value), name, place, findings)
            if findings.errors and findings.errors[-1].place == place:
                break
    suites = settings.get("cipher_suites")
    allowed = "allow_insecure_cipher_suites" in settings and settings["allow_insecure_cipher_suites"].value
    if suites is not None and isinstance(suites.value, list) and not allowed:
        insecure = [name for name in suites.value if name in _INSECURE]
        if insecure:
            findings.error(
                suites.place,
                "insecure cipher suites configured without 'allow_insecure_cipher_suites' option set: "
                + ", ".join(insecure),
            )


def _check_readable(path: str, name: str, place: Place, findings: Findings) -> None:
    """Say it now when a file is not there; what is in it is read when it is used."""
    try:
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:
        said = os_error_text("open", path, error) if isinstance(error, OSError) else str(error)
        kind = "root ca certificate" if name == "ca_file" else "X509 certificate/key pair"
        findings.error(place, f"error parsing {kind}: {said}")


def _read_known_urls(node: Node, key: str, findings: Findings) -> bool:
    if read_boolean(node, key, findings):
        raise Invalid("verify_cert_and_check_known_urls not supported in this context")
    return False


_ROWS: Final = (
    inner("cert_file", _FILE, "-", "certificate, PEM, with `key_file`", sample='"a.pem", key_file: "a.key"'),
    inner("key_file", _FILE, "-", "its key, PEM", sample='"a.key", cert_file: "a.pem"'),
    inner("ca_file", _FILE, "roots of the system", "authorities that may sign the certificates of peers"),
    inner("verify", _SWITCH, "false", "require a certificate of clients, and verify it"),
    inner("verify_and_map", _SWITCH, "false", "verify, and take the user's name from the certificate"),
    inner("insecure", _SWITCH, "false", "do not verify the server when dialling"),
    inner("timeout", SECONDS, "2", "longest handshake"),
    inner("cipher_suites", _names(_SECURE + _INSECURE, "cipher"), "the secure ones", "of TLS 1.2"),
    inner("allow_insecure_cipher_suites", _SWITCH, "false", "accept the insecure ones, too"),
    inner(
        "curve_preferences", _names(_CURVES, "curve preference"), "X25519, P256, P384, P521", "in this order"
    ),
    inner("min_version", Type("version", _read_version, '"1.3"', '"1.1"'), "1.2", "the oldest that is taken"),
    inner(
        "pinned_certs", Type("array of fingerprints", _read_pinned, "[]", "[a]"), "-",
        "SHA-256 of the public keys that are accepted",
    ),
    inner("connection_rate_limit", INTEGER, "no limit", "handshakes in a second"),
    inner(
        "handshake_first first immediate",
        Type("boolean, `auto` or duration", _read_first, "auto", "5"),
        "false",
        "the handshake comes before INFO",
    ),
    inner("certs certificates", array_of(_PAIR), "-", "several certificates", block=_PAIR),
    inner_declined(
        "ocsp_peer", Type("boolean or block (ocsp_peer)", _read_peer, "false", "5"), "off",
        "revocation of the certificates of peers", DECLINED, block=_OCSP_PEER,
    ),
    *(inner(name, _WINDOWS, "-", "certificate store of Windows") for name in _WINDOWS_ONLY),
)  # fmt: skip

_KNOWN_URLS: Final = "verify_cert_and_check_known_urls"
_UNKNOWN: Final = 'error parsing tls config, unknown field "{}"'
TLS: Final = Block(
    "tls",
    (
        *_ROWS,
        inner(_KNOWN_URLS, Type("refused here", _read_known_urls, "false", "true"), "false", "of links only"),
    ),
    unknown=_UNKNOWN,
    check=_check,
)
"""Of clients."""

TLS_OF_LINKS: Final = Block(
    "tls of links",
    (
        *_ROWS,
        inner(_KNOWN_URLS, _SWITCH, "false", "the certificate must name a host that is configured"),
    ),
    unknown=_UNKNOWN,
    check=_check,
)
"""Of clusters and gateways, which verify both sides."""


_MODES: Final = ("auto", "always", "must", "never")


def _read_mode(node: Node, key: str, findings: Findings) -> str:
    text = read_text(node, key, findings).lower()
    if text not in _MODES:
        raise Invalid("error parsing ocsp config: unsupported ocsp mode string")
    return text


_OCSP_BLOCK: Final = Block(
    "ocsp",
    (
        inner("mode", Type(" or ".join(_MODES), _read_mode, "auto", "seldom"), "auto", "when to staple"),
        inner("url", TEXT, "-", "whom to ask"),
        inner("urls", TEXTS, "-", "whom to ask"),
    ),
    unknown='error parsing ocsp config: unsupported field string "{}"',
)
_OCSP_CACHE_BLOCK: Final = Block(
    "ocsp_cache",
    (
        inner("type", TEXT, "local", "`local` or `none`"),
        inner("local_store", PATH, "`_rc_`", "folder of the answers"),
        inner("preserve_revoked", BOOLEAN, "false", "keep answers of revocation"),
        inner("save_interval", SECONDS, "300", "how often it is written"),
    ),
)


def _switch_or(block: Block) -> Type:
    def read(node: Node, key: str, findings: Findings) -> object:
        if isinstance(node.value, bool):
            return node.value
        return read_block(node.value, node.place, block, findings) if isinstance(node.value, dict) else (
            _refuse(node, key)
        )  # fmt: skip

    return Type(f"boolean or block ({block.title})", read, "true", "5")


def _refuse(node: Node, key: str) -> object:
    raise Invalid(f"error parsing {key} config: unsupported type {type_name(node.value)}")


OCSP: Final = (_switch_or(_OCSP_BLOCK), _OCSP_BLOCK)
OCSP_CACHE: Final = (_switch_or(_OCSP_CACHE_BLOCK), _OCSP_CACHE_BLOCK)

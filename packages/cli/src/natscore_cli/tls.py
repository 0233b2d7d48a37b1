"""TLS of clients, from a `tls` block or from flags to what core and shell need.

Both come to the same `TlsSettings`, of which the shell makes its context, and
`TlsOptions`, by which the core lets connections in. A flag replaces certificate,
key, authorities and `verify` of a block together; its other lines stay.
Source: configuration.md 5.6; nats-server 2.14.5, server/opts.go parseTLS, overrideTLS.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from natscore.errors import ConfigError
from natscore.options import MILLISECOND, SECOND, TlsOptions
from natscore_cli.arguments import StartRefused
from natscore_cli.redaction import escaped
from natscore_tcp.tls import TlsAcceptor, TlsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from natscore_cli.arguments import Value
    from natscore_cli.conf.options import Setting, Settings

__all__ = ["LOGIN_AFTER_TLS_NS", "ClientTls", "tls_acceptor", "tls_of", "tls_of_block"]

LOGIN_AFTER_TLS_NS: Final = 1 * SECOND
"""How much longer a login may take than the handshake (configuration.md, section 6)."""

_HELLO_NS: Final = 50 * MILLISECOND  # how long `auto` waits for a client that begins with its handshake


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """TLS of the listener for clients."""

    settings: TlsSettings
    options: TlsOptions
    maps_certificates: bool = False  # `verify_and_map`
    place: str = ""  # of the block, for what is wrong with its files


def tls_of_block(setting: Setting) -> ClientTls:
    """What a `tls` block says. Certificate and key may be missing, for flags to name."""
    assert isinstance(setting.value, dict)
    block: Settings = setting.value
    maps = _flag(block, "verify_and_map")
    verify = maps or _flag(block, "verify")
    pairs = [(_text(block, "cert_file"), _text(block, "key_file"))]
    certs = block["certs"].value if "certs" in block else None
    if isinstance(certs, list) and certs:
        pairs = [(_text(pair, "cert_file"), _text(pair, "key_file")) for pair in certs]
    return ClientTls(
        settings=TlsSettings(
            cert_file=pairs[0][0],
            key_file=pairs[0][1],
            more_certs=tuple(pairs[1:]),
            ca_file=_text(block, "ca_file"),
            verify=verify,
            cipher_suites=_names(block, "cipher_suites"),
            allow_insecure_cipher_suites=_flag(block, "allow_insecure_cipher_suites"),
            curve_preferences=_names(block, "curve_preferences"),
            min_version=_text(block, "min_version") or "1.2",
            pinned_certs=frozenset(_names(block, "pinned_certs")),
        ),
        options=TlsOptions(
            verify=verify,
            timeout_ns=max(_number(block, "timeout"), 0) or TlsOptions().timeout_ns,
            first_ns=_first(block),
            handshakes_per_second_max=max(_number(block, "connection_rate_limit"), 0),
            pinned_keys=tuple(sorted({pin.lower() for pin in _names(block, "pinned_certs")})),
        ),
        maps_certificates=maps,
        place=str(setting.place),
    )


_FLAGS: Final = ("tls", "tls_cert_file", "tls_key_file", "tls_verify", "tls_ca_file")


def tls_of(values: Mapping[str, Value], block: ClientTls | None) -> ClientTls | None:
    """TLS by the flags, and by the block of a file where they say nothing. Raises StartRefused.

    Any of the flags asks for it; `--tls=false` switches off what a file asks for.
    """
    if values.get("tls") is False:
        return None
    found = block
    if any(values.get(name) for name in _FLAGS):
        cert_file, key_file = str(values.get("tls_cert_file", "")), str(values.get("tls_key_file", ""))
        verify = bool(values.get("tls_verify", False))
        settings = TlsSettings(
            cert_file=cert_file, key_file=key_file, ca_file=str(values.get("tls_ca_file", "")), verify=verify
        )
        options = block.options if block is not None else TlsOptions()
        found = ClientTls(settings=settings, options=replace(options, verify=verify, pinned_keys=()))
    if found is None:
        return None
    where = f"{found.place}: " if found.place else ""
    if not found.settings.cert_file:
        raise StartRefused(f"{where}TLS Server certificate must be present and valid")
    if not found.settings.key_file:
        raise StartRefused(f"{where}TLS Server private key must be present and valid")
    return replace(found, options=replace(found.options, required=not values.get("allow_non_tls", False)))


def tls_acceptor(tls: ClientTls | None) -> TlsAcceptor | None:
    """What begins TLS with clients; None: nothing does. Reads the files. Raises StartRefused."""
    if tls is None:
        return None
    try:
        return TlsAcceptor(tls.settings)
    except ConfigError as error:
        where = f"{tls.place}: " if tls.place else ""
        raise StartRefused(escaped(f"{where}{error}")) from error


def _first(block: Settings) -> int | None:
    """How long the server waits for a handshake before it sends INFO; None: not at all, 0: for ever."""
    value = block["handshake_first"].value if "handshake_first" in block else False
    if isinstance(value, bool):
        return 0 if value else None
    return max(value, 0) if isinstance(value, int) else _HELLO_NS


def _flag(block: Settings, name: str) -> bool:
    return bool(block[name].value) if name in block else False


def _number(block: Settings, name: str) -> int:
    value = block[name].value if name in block else 0
    return value if isinstance(value, int) else 0


def _text(block: Settings, name: str) -> str:
    return str(block[name].value) if name in block else ""


def _names(block: Settings, name: str) -> tuple[str, ...]:
    value = block[name].value if name in block else ()
    return tuple(value) if isinstance(value, list) else ()

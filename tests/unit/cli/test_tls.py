"""TLS by a block of a file or by flags, and what both together come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from natscore.options import MILLISECOND, SECOND, TlsOptions
from natscore_cli.arguments import StartRefused
from natscore_cli.conf.effect import load_file
from natscore_cli.tls import ClientTls, tls_of
from natscore_tcp.tls import TlsSettings

if TYPE_CHECKING:
    from pathlib import Path

    from natscore_cli.arguments import Value

PAIR = 'cert_file: "a.pem", key_file: "a.key"'
SETTINGS = TlsSettings(cert_file="a.pem", key_file="a.key")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.pem", "a.key", "b.pem", "b.key", "ca.pem"):
        (tmp_path / name).touch()
    return tmp_path


def block(text: str, folder: Path) -> ClientTls | None:
    (folder / "c.conf").write_text(f"tls {{ {text} }}")
    return load_file("c.conf", {}).tls


def settings_of(text: str, folder: Path) -> TlsSettings:
    found = block(text, folder)
    assert found is not None
    return found.settings


def options_of(text: str, folder: Path) -> TlsOptions:
    found = block(f"{PAIR}, {text}", folder)
    assert found is not None
    return found.options


@pytest.mark.spec("configuration 5.6", "client-protocol 17.2")
def test_every_line_of_a_block_reaches_the_listener(folder: Path) -> None:
    text = (
        f'{PAIR}, ca_file: "ca.pem", verify: true, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,'
        " TLS_RSA_WITH_AES_128_GCM_SHA256], allow_insecure_cipher_suites: true,"
        f' curve_preferences: [CurveP256], min_version: "1.3", pinned_certs: ["{"A" * 64}"]'
    )

    assert settings_of(text, folder) == TlsSettings(
        cert_file="a.pem",
        key_file="a.key",
        ca_file="ca.pem",
        verify=True,
        cipher_suites=("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_GCM_SHA256"),
        allow_insecure_cipher_suites=True,
        curve_preferences=("CurveP256",),
        min_version="1.3",
        pinned_certs=frozenset({"a" * 64}),
    )


@pytest.mark.spec("configuration 5.6")
def test_several_certificates_reach_the_listener(folder: Path) -> None:
    text = 'certs: [ {cert_file: "a.pem", key_file: "a.key"}, {cert_file: "b.pem", key_file: "b.key"} ]'

    assert settings_of(text, folder) == TlsSettings(
        cert_file="a.pem", key_file="a.key", more_certs=(("b.pem", "b.key"),)
    )


@pytest.mark.spec("client-protocol 17.1", "configuration 6")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("timeout: 0.5", TlsOptions(timeout_ns=SECOND // 2)),
        ('timeout: "3s"', TlsOptions(timeout_ns=3 * SECOND)),
        ("timeout: 0", TlsOptions()),
        ("verify: true", TlsOptions(verify=True)),
        ("verify_and_map: true", TlsOptions(verify=True)),
        ("connection_rate_limit: 7", TlsOptions(handshakes_per_second_max=7)),
        ("connection_rate_limit: -1", TlsOptions()),
        ("handshake_first: true", TlsOptions(first_ns=0)),
        ("first: false", TlsOptions()),
        ("immediate: auto", TlsOptions(first_ns=50 * MILLISECOND)),
        ("handshake_first: auto_fallback", TlsOptions(first_ns=50 * MILLISECOND)),
        ('handshake_first: "200ms"', TlsOptions(first_ns=200 * MILLISECOND)),
    ],
)
def test_what_a_block_says_of_handshakes_reaches_the_core(
    text: str, expected: TlsOptions, folder: Path
) -> None:
    assert options_of(text, folder) == expected


@pytest.mark.spec("client-protocol 17.3")
def test_certificates_are_mapped_where_the_block_says_so(folder: Path) -> None:
    mapped, plain = block(f"{PAIR}, verify_and_map: true", folder), block(f"{PAIR}, verify: true", folder)

    assert mapped is not None
    assert plain is not None
    assert (mapped.maps_certificates, plain.maps_certificates) == (True, False)
    assert mapped.settings.verify


@pytest.mark.spec("operations 1.2", "configuration 5.6")
def test_a_file_and_flags_come_to_the_same(folder: Path) -> None:
    flags: dict[str, Value] = {
        "tls_cert_file": "a.pem",
        "tls_key_file": "a.key",
        "tls_ca_file": "ca.pem",
        "tls_verify": True,
    }

    by_flags = tls_of(flags, None)
    by_file = tls_of({}, block(f'{PAIR}, ca_file: "ca.pem", verify: true', folder))

    assert by_flags is not None
    assert by_file is not None
    assert (by_flags.settings, by_flags.options) == (by_file.settings, by_file.options)


@pytest.mark.spec("operations 1.2")
def test_a_flag_replaces_certificates_and_verification_and_nothing_else(folder: Path) -> None:
    inside = block(
        'verify_and_map: true, timeout: 5, certs: [ {cert_file: "b.pem", key_file: "b.key"} ]', folder
    )

    found = tls_of({"tls_cert_file": "a.pem", "tls_key_file": "a.key"}, inside)

    assert found == ClientTls(settings=SETTINGS, options=TlsOptions(timeout_ns=5 * SECOND))


@pytest.mark.spec("operations 1.2")
def test_a_flag_switches_off_what_a_file_asks_for(folder: Path) -> None:
    assert tls_of({"tls": False}, block(PAIR, folder)) is None


@pytest.mark.spec("client-protocol 17.1")
def test_clients_without_tls_may_be_allowed(folder: Path) -> None:
    found = tls_of({"allow_non_tls": True}, block(PAIR, folder))

    assert found is not None
    assert not found.options.required
    assert tls_of({"allow_non_tls": True}, None) is None


@pytest.mark.parametrize(("text", "what"), [("timeout: 3", "certificate"), ("verify: true", "certificate")])
def test_a_block_without_a_certificate_is_refused_with_its_place(text: str, what: str, folder: Path) -> None:
    with pytest.raises(StartRefused, match=f"^c.conf:1:0: TLS Server {what} must be present and valid$"):
        tls_of({}, block(text, folder))

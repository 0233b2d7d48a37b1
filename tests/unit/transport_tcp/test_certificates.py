"""What certificates say of themselves, and which of several a client is shown."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING

import pytest
from anyio.to_thread import run_sync
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from natscore.errors import ConfigError
from natscore.options import Options, TlsOptions
from natscore_tcp import TlsAcceptor, TlsSettings, serve
from natscore_tcp.certificates import certificate_in, is_named, names_of, subject_public_key_info
from tests.support.certificates import Authority
from tests.unit.transport_tcp.machine import TIMEOUT_SECONDS

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from natscore_tcp import Running
    from tests.support.certificates import Pair


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def issued(authority: Authority, name: str, *dns_names: str) -> Pair:
    return authority.issue(name, alternatives=[x509.DNSName(one) for one in dns_names])


def test_names_of_a_certificate_are_its_dns_names_and_addresses(authority: Authority) -> None:
    pair = authority.issue(
        "many",
        alternatives=[
            x509.RFC822Name("a@b"),
            x509.DNSName("A.example"),
            x509.DNSName("*.b.example"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ],
    )

    names = names_of(certificate_in(pair.cert_file))

    assert names == {"a.example", "*.b.example", "127.0.0.1", "::1"}


def test_certificate_without_alternative_names_has_none(authority: Authority) -> None:
    pair = authority.issue("bare", alternatives=())

    assert names_of(certificate_in(pair.cert_file)) == frozenset()


def test_first_certificate_of_a_file_is_read(authority: Authority, tmp_path: Path) -> None:
    first, second = issued(authority, "first", "first"), issued(authority, "second", "second")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(b"".join(one.certificate.public_bytes(Encoding.PEM) for one in (first, second)))

    assert certificate_in(str(chain)) == first.certificate.public_bytes(Encoding.DER)


def test_file_without_a_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.pem").write_text("-----BEGIN TRUSTED CERTIFICATE-----")

    with pytest.raises(ConfigError, match="no CERTIFICATE is in"):
        certificate_in(str(tmp_path / "odd.pem"))


def test_key_of_a_certificate_is_its_subject_public_key_info(authority: Authority) -> None:
    pair = issued(authority, "keyed", "keyed")

    found = subject_public_key_info(pair.certificate.public_bytes(Encoding.DER))

    assert x509.load_der_x509_certificate(pair.certificate.public_bytes(Encoding.DER)).public_key() == (
        pair.key.public_key()
    )
    assert found in pair.certificate.public_bytes(Encoding.DER)
    assert found.startswith(b"\x30\x59\x30\x13")  # of an elliptic curve


@pytest.mark.parametrize(
    ("host", "names", "found"),
    [
        ("a.b", {"a.b"}, True),
        ("A.B.", {"a.b"}, True),
        ("x.b", {"*.b"}, True),
        ("x.y.b", {"*.b"}, False),
        ("b", {"*.b"}, False),
        ("b", {"*."}, False),
        ("a.c", {"a.b", "*.b"}, False),
    ],
)
def test_host_is_named_by_itself_or_by_a_star_for_its_first_label(
    host: str, names: set[str], found: bool
) -> None:
    assert is_named(host, frozenset(names)) is found


def shown(server: Running, context: ssl.SSLContext, name: str | None) -> str:
    """The first DNS name of the certificate that a client is shown who asks for `name`."""
    with contextlib.closing(socket.create_connection((server.host, server.port), TIMEOUT_SECONDS)) as plain:
        while plain.recv(1) != b"\n":
            pass
        with context.wrap_socket(plain, server_hostname=name) as connection:
            encoded = connection.getpeercert(binary_form=True)
            assert encoded is not None
            (first, *_) = (name for name in names_of(encoded))
            return first


@pytest.mark.anyio
@pytest.mark.spec("configuration 5.6")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [("one.test", "one.test"), ("two.test", "two.test"), ("x.three.test", "*.three.test"),
     ("nobody.test", "one.test"), (None, "one.test")],
)  # fmt: skip
async def test_client_is_shown_the_certificate_of_the_name_it_asks_for(
    authority: Authority, asked: str | None, expected: str
) -> None:
    pairs = [issued(authority, name.lstrip("*."), name) for name in ("one.test", "two.test", "*.three.test")]
    settings = TlsSettings(
        cert_file=pairs[0].cert_file,
        key_file=pairs[0].key_file,
        more_certs=tuple((pair.cert_file, pair.key_file) for pair in pairs[1:]),
    )
    context = authority.client_context()
    context.check_hostname = False

    async with serve(Options(tls=TlsOptions()), tls=TlsAcceptor(settings)) as server:
        found = await run_sync(shown, server, context, asked)

    assert found == expected


def test_each_of_several_certificates_must_fit_its_key(authority: Authority) -> None:
    one, two = issued(authority, "fits", "fits"), issued(authority, "other", "other")

    with pytest.raises(ConfigError, match="is not that of the certificate"):
        TlsAcceptor(
            TlsSettings(
                cert_file=one.cert_file, key_file=one.key_file, more_certs=((two.cert_file, one.key_file),)
            )
        )

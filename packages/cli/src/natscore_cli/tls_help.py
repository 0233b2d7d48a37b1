"""`--help_tls`: what a `tls` block looks like, and the names that may stand in it."""

from __future__ import annotations

from typing import Final

from natscore_tcp.tls import CIPHER_NAMES, CURVE_NAMES

__all__ = ["EXAMPLE", "tls_help_text"]

EXAMPLE: Final = """\
    tls {
        cert_file:      "./certs/server-cert.pem"
        key_file:       "./certs/server-key.pem"
        ca_file:        "./certs/ca.pem"
        verify:         true
        verify_and_map: true

        cipher_suites: [
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
        ]
        curve_preferences: [
            "CurveP256"
        ]
    }
"""


def tls_help_text() -> str:
    """In the shape of nats-server's."""
    ciphers = "".join(f"    {name}\n" for name in CIPHER_NAMES)
    curves = "".join(f"    {name}\n" for name in CURVE_NAMES)
    return (
        "\nTLS configuration is specified in the tls section of a configuration file:\n\n"
        f"e.g.\n\n{EXAMPLE}\n"
        f"Available cipher suites include:\n{ciphers}\n"
        f"Available curve preferences include:\n{curves}"
    )

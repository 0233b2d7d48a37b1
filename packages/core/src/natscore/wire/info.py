"""The INFO document that a server sends to its clients.

Keys and their order are those of nats-server 2.14.5 (`server/server.go type
Info`; client-protocol.md section 5): a key whose value is absent is left out,
`<`, `>` and `&` are escaped as Go's encoder escapes them, and a space stands
before the CRLF.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from natscore.version import PRODUCT

if TYPE_CHECKING:
    from natscore.events import ServerStarted
    from natscore.options import Options

__all__ = ["PROTOCOL_RELEASE", "ServerInfo", "advertised_address", "encode_info"]

PROTOCOL_RELEASE: Final = "2.14.5"
"""The NATS release whose protocol is spoken; clients switch features on it (ADR 0003)."""


@dataclass(slots=True)
class ServerInfo:
    """The part of INFO that is the same for every client of a server."""

    server_id: str
    server_name: str
    runtime: str
    host: str
    port: int
    headers: bool
    auth_required: bool
    max_payload: int
    product: str  # our own name and version; clients ignore keys they do not know

    @classmethod
    def of(cls, options: Options, started: ServerStarted, *, auth_required: bool) -> ServerInfo:
        """What a server with these options says of itself before its listener is open."""
        return cls(
            server_id=started.server_id,
            server_name=options.server_name or started.server_id,
            runtime=started.runtime,
            host=options.host,
            port=options.port,
            headers=options.headers,
            auth_required=auth_required,
            max_payload=options.max_payload,
            product=PRODUCT,
        )


def encode_info(
    info: ServerInfo,
    client_id: int,
    client_ip: str,
    *,
    nonce: str = "",
    account: str | None = None,
) -> bytes:
    """The INFO line for one client.

    `account` is given in the INFO that follows the first PONG: it brings
    `connect_info` and `remote_account` with it (section 19.1).
    """
    document: dict[str, object] = {
        "server_id": info.server_id,
        "server_name": info.server_name,
        "version": PROTOCOL_RELEASE,
        "proto": 1,
        "go": info.runtime,
        "host": info.host,
        "port": info.port,
        "headers": info.headers,
    }
    if info.auth_required:
        document["auth_required"] = True
    document["max_payload"] = info.max_payload
    document["client_id"] = client_id
    if client_ip:
        document["client_ip"] = client_ip
    if nonce:
        document["nonce"] = nonce
    if account is not None:
        document["connect_info"] = True
        document["remote_account"] = account
    document["natscore"] = info.product
    body = orjson.dumps(document)
    body = body.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")
    return b"INFO " + body + b" \r\n"


def advertised_address(text: str, port: int) -> tuple[str, int]:
    """Host and port of a `client_advertise`; the listener's port when it names none."""
    host, colon, given = text.rpartition(":")
    if colon and given.isdecimal() and not (":" in host and not host.startswith("[")):
        return host.strip("[]"), int(given)
    return text.strip("[]"), port

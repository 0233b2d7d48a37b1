"""The INFO document that a server sends to its clients.

Keys and their order are those of nats-server 2.14.5 (`server/server.go type
Info`; client-protocol.md section 5): a key whose value is absent is left out,
`<`, `>` and `&` are escaped as Go's encoder escapes them, and a space stands
before the CRLF.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, Final

import orjson

from natscore.values import value
from natscore.version import PRODUCT

if TYPE_CHECKING:
    from natscore.events import Address, ServerStarted
    from natscore.options import Options

__all__ = ["PROTOCOL_RELEASE", "ServerInfo", "advertised_address", "encode_info"]

PROTOCOL_RELEASE: Final = "2.14.5"
"""The NATS release whose protocol is spoken; clients switch features on it (ADR 0003)."""


@value
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
    tls_required: bool = False
    tls_verify: bool = False  # a client will be asked for its certificate
    tls_available: bool = False  # there is TLS, but it is not required
    lame_duck: bool = False  # the server is going away
    head: bytes = field(init=False, repr=False, compare=False)  # INFO up to what differs by client
    tail: bytes = field(init=False, repr=False, compare=False)  # and behind that

    def __post_init__(self) -> None:
        document: dict[str, object] = {
            "server_id": self.server_id,
            "server_name": self.server_name,
            "version": PROTOCOL_RELEASE,
            "proto": 1,
            "go": self.runtime,
            "host": self.host,
            "port": self.port,
            "headers": self.headers,
        }
        if self.auth_required:
            document["auth_required"] = True
        for name in ("tls_required", "tls_verify", "tls_available"):
            if getattr(self, name):
                document[name] = True
        document["max_payload"] = self.max_payload
        object.__setattr__(self, "head", b"INFO " + _encoded(document)[:-1] + b",")
        object.__setattr__(self, "tail", b"," + _encoded({"natscore": self.product})[1:] + b" \r\n")

    @classmethod
    def of(cls, options: Options, started: ServerStarted, *, auth_required: bool) -> ServerInfo:
        """What a server with these options says of itself before its listener is open."""
        tls = options.tls
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
            tls_required=tls is not None and tls.is_required,
            tls_verify=tls is not None and tls.verify,
            tls_available=tls is not None and not tls.is_required,
        )

    def listening(self, address: Address, advertised: str) -> ServerInfo:
        """The same when the listener is bound to `address`, and clients shall be told of `advertised`."""
        host, port = address.host, address.port
        if advertised:
            host, port = advertised_address(advertised, port)
        return replace(self, host=host, port=port)


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
    document: dict[str, object] = {"client_id": client_id}
    if client_ip:
        document["client_ip"] = client_ip
    if nonce:
        document["nonce"] = nonce
    if info.lame_duck:
        document["ldm"] = True
    if account is not None:
        document["connect_info"] = True
        document["remote_account"] = account
    return info.head + _encoded(document)[1:-1] + info.tail


def _encoded(document: dict[str, object]) -> bytes:
    body = orjson.dumps(document)
    return body.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")


def advertised_address(text: str, port: int) -> tuple[str, int]:
    """Host and port of a `client_advertise`; the listener's port when it names none."""
    host, colon, given = text.rpartition(":")
    if colon and given.isdecimal() and not (":" in host and not host.startswith("[")):
        return host.strip("[]"), int(given)
    return text.strip("[]"), port

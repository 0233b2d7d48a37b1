"""The INFO document, key by key."""

from __future__ import annotations

import orjson
import pytest

from natscore.version import PRODUCT, VERSION
from natscore.wire.info import PROTOCOL_RELEASE, ServerInfo, advertised_address, encode_info


def info_of(name: str = "s1", *, auth_required: bool = False) -> ServerInfo:
    return ServerInfo(
        server_id="NABC", server_name=name, runtime="python3.11", host="127.0.0.1", port=4222,
        headers=True, auth_required=auth_required, max_payload=1_048_576, product=PRODUCT,
    )  # fmt: skip


@pytest.mark.spec("client-protocol 5", "client-protocol 4")
def test_the_first_info_of_an_open_server() -> None:
    assert encode_info(info_of(), 5, "10.0.0.1") == (
        b'INFO {"server_id":"NABC","server_name":"s1","version":"' + PROTOCOL_RELEASE.encode() + b'",'
        b'"proto":1,"go":"python3.11","host":"127.0.0.1","port":4222,"headers":true,'
        b'"max_payload":1048576,"client_id":5,"client_ip":"10.0.0.1",'
        b'"natscore":"natscore/' + VERSION.encode() + b'"} \r\n'
    )


@pytest.mark.spec("client-protocol 5", "client-protocol 19.1")
def test_keys_without_a_value_are_left_out_and_the_others_keep_their_order() -> None:
    line = encode_info(info_of(auth_required=True), 5, "", nonce="AAAABBBBCCCCDDD", account="$G")

    assert list(orjson.loads(line[5:])) == [
        "server_id", "server_name", "version", "proto", "go", "host", "port", "headers", "auth_required",
        "max_payload", "client_id", "nonce", "connect_info", "remote_account", "natscore",
    ]  # fmt: skip


@pytest.mark.spec("client-protocol 5")
def test_angle_brackets_and_ampersands_are_escaped_as_go_escapes_them() -> None:
    line = encode_info(info_of('a<b>&"ü'), 5, "::1")

    assert b'"server_name":"a\\u003cb\\u003e\\u0026\\"\xc3\xbc"' in line
    assert orjson.loads(line[5:])["server_name"] == 'a<b>&"ü'


@pytest.mark.spec("client-protocol 5", "client-protocol 22")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nats.example.com", ("nats.example.com", 4222)),
        ("nats.example.com:7422", ("nats.example.com", 7422)),
        ("10.0.0.1:7422", ("10.0.0.1", 7422)),
        ("::1", ("::1", 4222)),
        ("[::1]", ("::1", 4222)),
        ("[::1]:7422", ("::1", 7422)),
    ],
)
def test_an_advertised_address_has_the_listeners_port_unless_it_names_one(
    text: str, expected: tuple[str, int]
) -> None:
    assert advertised_address(text, 4222) == expected

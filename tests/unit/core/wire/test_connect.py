"""CONNECT documents, decoded as Go decodes them."""

from __future__ import annotations

import pytest

from natscore.errors import CloseReason, Violation
from natscore.wire.connect import ConnectOptions, decode_connect, is_json

DEFAULTS = ConnectOptions()


@pytest.mark.spec("client-protocol 6")
def test_what_a_client_does_not_say_has_the_defaults_of_the_protocol() -> None:
    options = decode_connect(b"{}", DEFAULTS)

    assert (options.verbose, options.pedantic, options.echo) == (True, True, True)
    assert (options.headers, options.no_responders, options.protocol) == (False, False, 0)


@pytest.mark.spec("client-protocol 6")
def test_every_key_is_understood() -> None:
    options = decode_connect(
        b'{"verbose":false,"pedantic":false,"tls_required":true,"auth_token":"t","user":"u","pass":"p",'
        b'"nkey":"k","sig":"s","jwt":"j","name":"n","lang":"l","version":"v","protocol":1,"echo":false,'
        b'"headers":true,"no_responders":true,"account":"a","new_account":true,"import":{},"export":{},'
        b'"remote_account":"r","proxy_sig":"x"}',
        DEFAULTS,
    )

    assert options == ConnectOptions(
        verbose=False, pedantic=False, echo=False, headers=True, no_responders=True, protocol=1, name="n",
        lang="l", version="v", user="u", password="p", auth_token="t", nkey="k", signature="s", jwt="j",
        account="a", new_account=True,
    )  # fmt: skip


@pytest.mark.spec("client-protocol 1", "client-protocol 6")
@pytest.mark.parametrize("document", [b"{}", b"null", b'{"echo":null}', b'{"zork":1}', b' {"name":"x"} '])
def test_fields_that_are_absent_keep_their_value(document: bytes) -> None:
    assert decode_connect(document, ConnectOptions(echo=False, protocol=1)).echo is False


@pytest.mark.spec("client-protocol 6")
@pytest.mark.parametrize("document", [b'{"Verbose":false}', b'{"VERBOSE":false}', b'{"vErBoSe":false}'])
def test_keys_match_whatever_their_case(document: bytes) -> None:
    assert decode_connect(document, DEFAULTS).verbose is False


@pytest.mark.spec("client-protocol 6")
@pytest.mark.parametrize(
    "document", [b'{"echo":true,"echo":false}', b'{"echo":true,"ECHO":false}', b'{"ECHO":true,"echo":false}']
)
def test_the_last_duplicate_wins(document: bytes) -> None:
    assert decode_connect(document, DEFAULTS).echo is False


@pytest.mark.spec("client-protocol 6")
def test_unknown_keys_are_ignored_whatever_they_hold() -> None:
    document = b'{"zork":{"a":[1,{"b":null}]},"":5,"verbosity":"x","verbose":false}'

    assert decode_connect(document, DEFAULTS) == ConnectOptions(verbose=False)


@pytest.mark.spec(
    "client-protocol 2.3:CONNECT JSON invalid, wrong JSON type for a known field, trailing garbage,"
    " not an object (except null, a no-op)",
    "client-protocol 6",
)
@pytest.mark.parametrize(
    "document",
    [
        b"", b" ", b"{", b"{bad", b"[]", b"1", b'"x"', b"true", b"{} x", b"{}{}", b"{'verbose':false}",
        b'{"verbose":"no"}', b'{"verbose":0}', b'{"name":5}', b'{"name":true}', b'{"name":[]}',
        b'{"protocol":"1"}', b'{"protocol":true}', b'{"protocol":1.0}', b'{"protocol":1e0}',
        b'{"tls_required":"x"}', b'{"import":5}', b'{"remote_account":1}', b'{"user":{}}', b"{verbose:true}",
        b'{"verbose":true,}', b"\x00", b'{"name":"a\x01b"}', b"\xef\xbb\xbf{}",
    ],
)  # fmt: skip
def test_a_malformed_document_closes_in_silence(document: bytes) -> None:
    with pytest.raises(Violation) as refused:
        decode_connect(document, DEFAULTS)

    assert refused.value.wire_text is None
    assert refused.value.reason is CloseReason.PROTOCOL_VIOLATION


@pytest.mark.parametrize(
    "document",
    [
        b'{"protocol":NaN}', b'{"zork":NaN}', b'{"protocol":Infinity}', b"NaN",
        b'{"protocol":9223372036854775808}', b'{"protocol":18446744073709551616}',
        b'{"protocol":' + b"9" * 4000 + b"}", b'{"protocol":-9223372036854775809}',
        b"[" * 4000, b'{"zork":' + b"[" * 2000 + b"]" * 2000 + b"}", b'{"a":' * 700,
    ],
)  # fmt: skip
def test_documents_made_to_hurt_a_python_decoder_are_merely_malformed(document: bytes) -> None:
    with pytest.raises(Violation) as refused:
        decode_connect(document, DEFAULTS)

    assert refused.value.reason is CloseReason.PROTOCOL_VIOLATION


@pytest.mark.parametrize("number", [-(2**63), -1, 0, 1, 2**31, 2**63 - 1])
def test_protocol_may_be_any_integer_of_64_bits_here(number: int) -> None:
    assert decode_connect(b'{"protocol":%d}' % number, DEFAULTS).protocol == number


@pytest.mark.spec("client-protocol 6")
def test_bytes_that_are_not_utf_8_are_replaced_not_refused() -> None:
    assert decode_connect(b'{"name":"a\xffb"}', DEFAULTS).name == "a\ufffdb"


def test_a_key_with_a_wrong_type_is_refused_whatever_its_case() -> None:
    with pytest.raises(Violation):
        decode_connect(b'{"VERBOSE":1}', DEFAULTS)


def test_secrets_of_a_document_are_not_shown() -> None:
    options = decode_connect(
        b'{"pass":"planted","auth_token":"planted","sig":"planted","jwt":"planted"}', DEFAULTS
    )

    assert "planted" not in repr(options)


@pytest.mark.parametrize(
    ("options", "label"),
    [
        (ConnectOptions(), ""),
        (ConnectOptions(version="1.0", lang="py", name="app"), "v1.0:py:app"),
        (ConnectOptions(name="app"), "app"),
        (ConnectOptions(version="1.0", name="app"), "v1.0:app"),
    ],
)
def test_a_label_leaves_out_what_was_not_said(options: ConnectOptions, label: str) -> None:
    assert options.label == label


@pytest.mark.spec("client-protocol 2.3:INFO from client with invalid JSON")
@pytest.mark.parametrize(
    ("text", "valid"), [(b"{}", True), (b"[1]", True), (b"", False), (b"xx", False), (b"[" * 3000, False)]
)
def test_json_is_one_value_and_nothing_else(text: bytes, valid: bool) -> None:
    assert is_json(text) is valid

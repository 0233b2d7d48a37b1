"""Settings become JSON documents, and are read as they were."""

from __future__ import annotations

import orjson
import pytest

from natscore.account.mappings import Destination, Mapping
from natscore.account.permissions import Permissions, Rules, SubscribeRules
from natscore.account.settings import (
    AccountSettings,
    AccountsSettings,
    Latency,
    Limits,
    ResponseType,
    ServiceExport,
    ServiceImport,
    StreamExport,
    StreamImport,
)
from natscore.documents import document_of, value_of
from natscore.effects import Level
from natscore.errors import ConfigError
from natscore.options import SECOND, TlsOptions

EVERYTHING_AT_ONCE = AccountsSettings(
    accounts=(
        AccountSettings(
            name="A\udcff",  # as a file that is not UTF-8 is read
            exports=(
                StreamExport(subject=b"a.\xff.>", accounts=("B", "Ç")),
                ServiceExport(
                    subject=b"s.*",
                    account_token_position=2,
                    response_type=ResponseType.CHUNKED,
                    latency=Latency(b"lat", 5),
                ),
            ),
            mappings=(Mapping(b"m.*", [Destination(b"n.$1", 30), Destination(b"o.$1", 20, "east")]),),
            default_permissions=Permissions(
                Rules(None, (b"x",)), SubscribeRules(((b"y", None), (b"z", b"q")), ())
            ),
        ),
        AccountSettings(
            name="B",
            nkey="ABC",
            imports=(
                StreamImport(account="A", subject=b"a.>", prefix=b"p"),
                ServiceImport(account="A", subject=b"s.B", to=b"t", share=True),
            ),
            limits=Limits(connections=3, payload=8),
        ),
    ),
    global_mappings=(Mapping(b"g", [Destination(b"h", 100)]),),
    system_account="B",
)


@pytest.mark.parametrize(
    "value",
    [EVERYTHING_AT_ONCE, AccountsSettings(), TlsOptions(first_ns=5 * SECOND), "sübject", b"", None, True, 7],
)
def test_a_value_is_read_as_it_was_written(value: object) -> None:
    assert value_of(orjson.loads(orjson.dumps(document_of(value)))) == value


def test_a_level_is_a_number() -> None:
    assert type(document_of(Level.INFO)) is int


def test_what_is_no_setting_is_not_written() -> None:
    with pytest.raises(TypeError, match="object is no type of settings"):
        document_of(object())


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"": "Nothing"},
        {"": "bytes"},
        {"": "bytes", "text": 5},
        {"": "Limits", "no_such": 1},
        {"": "ResponseType", "name": "NO"},
        {"": "Mapping", "source": {"": "bytes", "text": "a"}},
        {"": ["unhashable"]},
        {"": "Mapping", "source": {"": "bytes", "text": "a..b"}, "destinations": []},
    ],
)
def test_a_document_that_no_value_makes_is_an_error(document: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        value_of(document)

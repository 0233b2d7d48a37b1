"""The accounts of a vector's configuration as settings, for what is decided before anybody connects.

`read` knows as much of the configuration language as the vectors of accounts use.
`settings_of` takes only what it knows: a key that it does not is an error, so that
nothing of a vector is dropped silently.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from natscore.account.mappings import mapping_of
from natscore.account.settings import (
    AccountSettings,
    AccountsSettings,
    Export,
    Import,
    Latency,
    Limits,
    ResponseType,
    ServiceExport,
    ServiceImport,
    StreamExport,
    StreamImport,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["read", "settings_of"]

_TOKEN: Final = re.compile(r'"([^"]*)"|([{}\[\]:=,])|([^\s{}\[\]:=,"]+)')
_RESPONSES: Final = {
    "single": ResponseType.SINGLETON,
    "stream": ResponseType.STREAM,
    "chunked": ResponseType.CHUNKED,
}
_LIMITS: Final = {"max_conn": "connections", "max_subs": "subscriptions", "max_payload": "payload"}
_SAMPLED_BY_HEADERS: Final = 0
_OF_OTHERS: Final = frozenset({"users", "default_permissions"})
"""Keys of an account that say who its users are and what they may do."""


def read(text: str) -> dict[str, Any]:
    """A configuration as plain values. Numbers stay text unless they are whole and bare."""
    return _table(iter([*_tokens(text), ("mark", "}")]))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for found in _TOKEN.finditer(text):
        quoted, mark, word = found.groups()
        yield ("text", quoted) if quoted is not None else ("mark", mark) if mark else ("word", word)


def _table(tokens: Iterator[tuple[str, str]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for token in tokens:
        if token == ("mark", "}"):
            return table
        if token == ("mark", ","):
            continue
        following = next(tokens)
        table[token[1]] = _value(
            next(tokens) if following in (("mark", ":"), ("mark", "=")) else following, tokens
        )
    raise AssertionError("a table does not end")


def _array(tokens: Iterator[tuple[str, str]]) -> list[Any]:
    array: list[Any] = []
    for token in tokens:
        if token == ("mark", "]"):
            return array
        if token != ("mark", ","):
            array.append(_value(token, tokens))
    raise AssertionError("an array does not end")


def _value(token: tuple[str, str], tokens: Iterator[tuple[str, str]]) -> Any:
    kind, text = token
    if token == ("mark", "{"):
        return _table(tokens)
    if token == ("mark", "["):
        return _array(tokens)
    assert kind != "mark", text
    return int(text) if kind == "word" and text.isdigit() else text


def settings_of(config: Mapping[str, Any]) -> AccountsSettings:
    """The accounts of a configuration. Raises ConfigError for a mapping that cannot be."""
    accounts = config.get("accounts", {})
    if isinstance(accounts, list):
        accounts = {name: {} for name in accounts}
    return AccountsSettings(
        accounts=tuple(_account(name, body) for name, body in accounts.items()),
        global_mappings=tuple(
            mapping_of(source, value) for source, value in config.get("mappings", {}).items()
        ),
    )


def _account(name: str, body: dict[str, Any]) -> AccountSettings:
    assert body.keys() <= {"exports", "imports", "mappings", "limits", *_OF_OTHERS}, body.keys()
    return AccountSettings(
        name=name,
        exports=tuple(_export(dict(item)) for item in body.get("exports", [])),
        imports=tuple(_import(dict(item)) for item in body.get("imports", [])),
        mappings=tuple(mapping_of(source, value) for source, value in body.get("mappings", {}).items()),
        limits=Limits(**{_LIMITS[key]: value for key, value in body.get("limits", {}).items()}),
    )


def _export(item: dict[str, Any]) -> Export:
    accounts = tuple(item.pop("accounts", ()))
    position = item.pop("account_token_position", 0)
    if "stream" in item:
        subject = item.pop("stream").encode()
        made: Export = StreamExport(subject=subject, accounts=accounts, account_token_position=position)
    else:
        latency = item.pop("latency", None)
        made = ServiceExport(
            subject=item.pop("service").encode(),
            response_type=_RESPONSES[item.pop("response", item.pop("response_type", "single"))],
            latency=None if latency is None else _latency(latency),
            accounts=accounts,
            account_token_position=position,
        )
    assert not item, item
    return made


def _latency(latency: str | dict[str, Any]) -> Latency:
    if isinstance(latency, str):
        return Latency(latency.encode())
    sampling = latency.get("sampling", 100)
    return Latency(
        latency["subject"].encode(), _SAMPLED_BY_HEADERS if sampling == "headers" else int(sampling)
    )


def _import(item: dict[str, Any]) -> Import:
    source = item.pop("stream", None)
    kind: type[Import] = StreamImport if source is not None else ServiceImport
    source = item.pop("service") if source is None else source
    subjects = {key: item.pop(key).encode() for key in ("to", "prefix") if key in item}
    assert not item, item
    return kind(account=source["account"], subject=source["subject"].encode(), **subjects)

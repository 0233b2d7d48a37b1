"""Settings as JSON documents, and back: what a journal keeps of them.

Numbers, texts and tables of a document stand for themselves. What JSON lacks is a
table with the key `""`, which says what it is:

    b"a.>"                        {"": "bytes", "text": "a.>"}        a byte as the character of its number
    Limits(payload=8, ...)        {"": "Limits", "payload": 8, ...}
    ResponseType.STREAM           {"": "ResponseType", "name": "STREAM"}

An array becomes a tuple. Only the types of settings are written, and only they are
made of what is read, which may be damaged.
"""

from __future__ import annotations

import enum
from dataclasses import fields, is_dataclass
from typing import Any, Final

from natscore.account import mappings, permissions, settings, users
from natscore.errors import ConfigError
from natscore.options import TlsOptions

__all__ = ["document_of", "value_of"]

_TYPES: Final[dict[str, type[Any]]] = {
    one.__name__: one
    for one in (
        *(settings.AccountsSettings, settings.AccountSettings, settings.Limits, settings.Latency),
        *(settings.StreamExport, settings.ServiceExport, settings.StreamImport, settings.ServiceImport),
        *(permissions.Permissions, permissions.Rules, permissions.SubscribeRules),
        permissions.ResponsePermission,
        *(mappings.Destination, TlsOptions, users.UserSettings, users.UsersSettings),
    )
}
_ENUMS: Final[dict[str, type[enum.Enum]]] = {"ResponseType": settings.ResponseType}


def document_of(value: object, /) -> object:
    """A value of settings in words of JSON. Raises TypeError for one of another type."""
    if value is None or isinstance(value, bool | int):
        return int(value) if isinstance(value, enum.IntEnum) else value
    if isinstance(value, str):
        raw = value.encode(errors="surrogateescape")
        if raw.decode(errors="replace") == value:
            return value
        return {"": "str", "text": raw.decode("latin-1")}  # a file may hold what is not UTF-8
    if isinstance(value, bytes):
        return {"": "bytes", "text": value.decode("latin-1")}
    if isinstance(value, tuple):
        return [document_of(one) for one in value]
    name = type(value).__name__
    if isinstance(value, mappings.Mapping):
        document = {"source": value.source, "destinations": value.destinations}
    elif isinstance(value, enum.Enum) and name in _ENUMS:
        document = {"name": value.name}
    elif is_dataclass(value) and name in _TYPES:
        document = {field.name: getattr(value, field.name) for field in fields(value)}
    else:
        raise TypeError(f"{name} is no type of settings")
    return {"": name, **{key: document_of(one) for key, one in document.items()}}


def value_of(document: object, /) -> Any:
    """The value that a document was made of. Raises ConfigError when no value can have been."""
    if isinstance(document, list):
        return tuple(map(value_of, document))
    if not isinstance(document, dict):
        return document
    members = {str(key): value_of(one) for key, one in document.items()}
    name = members.pop("", None)
    try:
        if name == "bytes":
            return members["text"].encode("latin-1")
        if name == "str":
            return members["text"].encode("latin-1").decode(errors="surrogateescape")
        if name == "Mapping":
            return mappings.Mapping(members["source"], members["destinations"])
        if name in _ENUMS:
            return _ENUMS[name][members["name"]]
        return _TYPES[name](**members)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"a document of {name!r} cannot be read: {error!r}") from error

"""Accounts, from the settings of a file to the values that the core resolves (configuration.md 5.4, 5.5).

    accounts_of(settings)       what the file says of accounts
    check(settings, findings)   all that they cannot have of each other, each with its place

What one may import is for another to say, so this is checked when all of them were read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from natscore.account.accounts import Accounts, resolve
from natscore.account.mappings import Mapping
from natscore.account.settings import (
    RESPONSE_THRESHOLD_NS,
    UNLIMITED,
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
from natscore_cli.conf.rules import SYSTEM_ACCOUNT_MISSING
from natscore_cli.conf.users import permissions_of

if TYPE_CHECKING:
    from natscore.account.accounts import Path
    from natscore_cli.conf.options import Setting, Settings
    from natscore_cli.conf.tree import Place
    from natscore_cli.conf.values import Findings

__all__ = ["accounts_of", "check"]

_SAMPLED_BY_HEADERS: Final = 0
_RESPONSES: Final = {
    "singleton": ResponseType.SINGLETON,
    "stream": ResponseType.STREAM,
    "chunked": ResponseType.CHUNKED,
}


def accounts_of(settings: Settings) -> AccountsSettings:
    """All accounts of a file in which nothing is wrong so far."""
    return AccountsSettings(
        accounts=tuple(_account(name, block) for name, block in _declared(settings).items()),
        global_mappings=_mappings(settings),
        system_account=_text(settings, "system_account"),
        no_system_account=bool(_value(settings, "no_system_account")),
    )


def check(settings: Settings, findings: Findings) -> None:
    """Say what accounts cannot have of each other. Not where an operator signs accounts."""
    about = [settings[name] for name in ("accounts", "mappings", "system_account") if name in settings]
    if "operator" in settings or not all(setting.sound for setting in about):
        return
    found = resolve(accounts_of(settings))
    for problem in () if isinstance(found, Accounts) else found:
        if problem.text == SYSTEM_ACCOUNT_MISSING:  # said at the start, without a place, as by nats-server
            continue
        findings.error(_place(settings, problem.path), problem.text)


def _place(settings: Settings, path: Path) -> Place | None:
    """Where a setting stands; of an export or import, its first line."""
    top = settings.get(str(path[0]))
    if len(path) == 4:
        _, account, kind, index = path
        assert isinstance(index, int)
        item = _items(_declared(settings)[str(account)], str(kind))[index]
        return next(iter(item.values())).place
    return None if top is None else top.place


def _declared(settings: Settings) -> dict[str, Settings]:
    value = _value(settings, "accounts")
    return value if isinstance(value, dict) else {}


def _account(name: str, block: Settings) -> AccountSettings:
    default = _value(block, "default_permissions")
    limits = _value(block, "limits")
    return AccountSettings(
        name=name,
        nkey=_text(block, "nkey"),
        exports=tuple(_export(item) for item in _items(block, "exports")),
        imports=tuple(_import(item) for item in _items(block, "imports")),
        mappings=_mappings(block),
        limits=_limits(limits) if isinstance(limits, dict) else Limits(),
        default_permissions=permissions_of(default) if isinstance(default, dict) else None,
    )


def _export(item: Settings) -> Export:
    accounts = _value(item, "accounts")
    names = tuple(accounts) if isinstance(accounts, list) else ()
    position = _number(item, "account_token_position")
    if "stream" in item:
        subject = _subject(item["stream"])
        return StreamExport(subject=subject, accounts=names, account_token_position=position)
    return ServiceExport(
        subject=_subject(item["service"]),
        accounts=names,
        account_token_position=position,
        response_type=_RESPONSES[_text(item, "response_type") or "singleton"],
        threshold_ns=_number(item, "threshold") or RESPONSE_THRESHOLD_NS,
        latency=_latency(item["latency"].value) if "latency" in item else None,
        allow_trace=bool(_value(item, "allow_trace")),
    )


def _latency(value: object) -> Latency:
    if not isinstance(value, dict):
        return Latency(_raw(str(value)))
    sampling = _value(value, "sampling")
    return Latency(
        _subject(value["subject"]),
        sampling if isinstance(sampling, int) else 100 if sampling is None else _SAMPLED_BY_HEADERS,
    )


def _import(item: Settings) -> Import:
    is_stream = "stream" in item
    source = item["stream" if is_stream else "service"].value
    assert isinstance(source, dict)
    account, subject = _text(source, "account"), _subject(source["subject"])
    to = _subject(item["to"]) if "to" in item else None
    if not is_stream:
        return ServiceImport(account=account, subject=subject, to=to, share=bool(_value(item, "share")))
    return StreamImport(
        account=account,
        subject=subject,
        prefix=_raw(_text(item, "prefix")) if "prefix" in item else None,
        to=to,
        allow_trace=bool(_value(item, "allow_trace")),
    )


def _limits(block: Settings) -> Limits:
    connections, subscriptions, payload, leafnodes = (
        _number(block, name) if name in block else UNLIMITED
        for name in ("max_connections", "max_subscriptions", "max_payload", "max_leafnodes")
    )
    return Limits(connections=connections, subscriptions=subscriptions, payload=payload, leafnodes=leafnodes)


def _mappings(block: Settings) -> tuple[Mapping, ...]:
    value = _value(block, "mappings")
    mappings = value.values() if isinstance(value, dict) else ()
    return tuple(one for one in mappings if isinstance(one, Mapping))


def _items(block: Settings, name: str) -> list[Settings]:
    value = _value(block, name)
    return value if isinstance(value, list) else []


def _value(block: Settings, name: str) -> object:
    setting = block.get(name)
    return None if setting is None else setting.value


def _text(block: Settings, name: str) -> str:
    return str(_value(block, name) or "")


def _number(block: Settings, name: str) -> int:
    value = _value(block, name)
    return value if isinstance(value, int) else 0


def _subject(setting: Setting) -> bytes:
    return _raw(str(setting.value))


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

"""WebSocket listeners and account resolvers (configuration.md sections 5.11 and 5.12)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from natscore_cli.conf.options import Block, block_of, read_block
from natscore_cli.conf.table.accounts import check_authorization
from natscore_cli.conf.table.keys import ACCOUNT, OPERATOR, is_public_key, is_token
from natscore_cli.conf.table.links import listener
from natscore_cli.conf.table.rows import inner
from natscore_cli.conf.table.tls import TLS
from natscore_cli.conf.values import (
    BOOLEAN,
    DURATION_TEXT,
    INTEGER,
    PATH,
    SECONDS,
    SECONDS_OR_DURATION,
    TEXT,
    Invalid,
    Type,
    read_text,
    read_texts,
    type_name,
)
from natscore_cli.files import os_error_text

if TYPE_CHECKING:
    from natscore_cli.conf.options import Settings
    from natscore_cli.conf.tree import Node, Place
    from natscore_cli.conf.values import Findings

__all__ = ["OPERATORS", "PINNED", "PRELOAD", "RESOLVER", "RESOLVER_BLOCK", "TEXT_MAP", "TRUSTED", "WEBSOCKET"]

_AUTHORIZATION: Final = Block(
    "websocket authorization",
    (
        inner("user username", TEXT, "-", "name that everybody logs in with"),
        inner("password pass", TEXT, "-", "its password"),
        inner("token", TEXT, "-", "token that everybody logs in with"),
        inner("timeout", SECONDS, "2", "time to log in"),
    ),
    check=check_authorization,
)


def _read_text_map(node: Node, key: str, findings: Findings) -> dict[str, str]:
    if not isinstance(node.value, dict):
        raise Invalid(f"error parsing {key}: unsupported type {type_name(node.value)}")
    return {name: read_text(member, name, findings) for name, member in node.value.items()}


TEXT_MAP: Final = Type("map of texts", _read_text_map, "{ a: b }", "{ a: 1 }")

WEBSOCKET: Final = Block(
    "websocket",
    (
        *listener(),
        inner("advertise", TEXT, "-", "address to tell clients"),
        inner("tls", block_of(TLS), "-", "required, but for `no_tls`", block=TLS),
        inner("no_tls", BOOLEAN, "false", "plain WebSocket"),
        inner("same_origin", BOOLEAN, "false", "the page must come from this host"),
        inner(
            "allowed_origins allowed_origin allow_origins allow_origin origins origin",
            Type("text or array of texts", read_texts, "[one, two]", "5"), "any",
            "where pages may come from",
        ),
        inner("compression compress", BOOLEAN, "false", "permessage-deflate"),
        inner("handshake_timeout", SECONDS_OR_DURATION, "-", "longest upgrade, TLS included"),
        inner(
            "authorization authentication", block_of(_AUTHORIZATION), "that of clients",
            "in its place", block=_AUTHORIZATION,
        ),
        inner("no_auth_user", TEXT, "-", "user of clients without credentials"),
        inner("jwt_cookie", TEXT, "-", "cookie that holds the token"),
        inner("user_cookie", TEXT, "-", "cookie that holds the user"),
        inner("pass_cookie", TEXT, "-", "cookie that holds the password"),
        inner("token_cookie", TEXT, "-", "cookie that holds the authentication token"),
        inner("headers", TEXT_MAP, "-", "of the response, besides"),
        inner("ping_interval", SECONDS_OR_DURATION, "that of the server", "silence before a PING"),
    ),
    mistyped="Expected websocket to be a map, got {}",
)  # fmt: skip


# -- resolvers --------------------------------------------------------------------------------------------

_URL: Final = re.compile(r"""URL\(\s*["']?([^\s"')]+)["']?\s*\)""", re.IGNORECASE)
_SHAPES: Final = (
    'error parsing account resolver, should be MEM or  URL("url") or a map containing dir and type '
    "state=[FULL|CACHE])"
)


def _read_kind(node: Node, key: str, findings: Findings) -> str:
    text = read_text(node, key, findings).lower()
    if text not in ("full", "cache", "mem", "memory"):
        raise Invalid(_SHAPES)
    return text


def _check_resolver(settings: Settings, place: Place, findings: Findings) -> None:
    kind = settings["type"].value if "type" in settings else None
    if kind is None:
        findings.error(place, _SHAPES)
        return
    if kind in ("full", "cache") and not (settings["dir"].value if "dir" in settings else ""):
        findings.error(place, "dir has no value and needs to point to a directory")
    refused = {"full": ("ttl",), "cache": ("interval", "allow_delete", "hard_delete")}
    said = {"interval": "sync"}
    for name in refused.get(str(kind), ()):
        if name in settings and settings[name].value:
            findings.error(
                settings[name].place, f"{str(kind).upper()} does not accept {said.get(name, name)}"
            )
    if kind == "full" and "hard_delete" in settings and settings["hard_delete"].value:
        allowed = settings.get("allow_delete")
        if allowed is None or not allowed.value:
            findings.error(settings["hard_delete"].place, "hard_delete has no effect without delete")


RESOLVER_BLOCK: Final = Block(
    "resolver",
    (
        inner("type", Type("full, cache or mem", _read_kind, 'full, dir: "."', "any"), "required", "kind"),
        inner("dir", PATH, "required", "folder of the tokens", sample='".", type: full'),
        inner("allow_delete", BOOLEAN, "false", "of full", sample='true, dir: ".", type: full'),
        inner(
            "hard_delete", BOOLEAN, "false", "of full: really remove",
            sample='true, allow_delete: true, dir: ".", type: full',
        ),
        inner("limit", INTEGER, "full: none; cache: 1000", "accounts kept", sample='5, dir: ".", type: full'),
        inner("interval", DURATION_TEXT, "1m", "of full", sample='"1m", dir: ".", type: full'),
        inner("ttl", DURATION_TEXT, "as in the token", "of cache", sample='"1m", dir: ".", type: cache'),
        inner("timeout", DURATION_TEXT, "1.9s", "longest look-up", sample='"2s", dir: ".", type: full'),
    ),
    check=_check_resolver,
)  # fmt: skip


def _read_resolver(node: Node, key: str, findings: Findings) -> object:
    if isinstance(node.value, dict):
        return read_block(node.value, node.place, RESOLVER_BLOCK, findings)
    if not isinstance(node.value, str):
        raise Invalid(f"error parsing operator resolver, wrong type {type_name(node.value)}")
    if match := _URL.search(node.value):
        return match[0]
    if "MEM" in node.value.upper():
        return "MEM"
    raise Invalid(_SHAPES)


RESOLVER: Final = Type("MEM, URL(...), or block (resolver)", _read_resolver, "MEM", "any")


def _read_preload(node: Node, key: str, findings: Findings) -> dict[str, str]:
    if not isinstance(node.value, dict):
        raise Invalid("preload should be a map of account_public_key:account_jwt")
    tokens = {}
    for account, member in node.value.items():
        if not isinstance(member.value, str):
            findings.error(member.place, "preload map value should be a string JWT")
        elif not is_token(member.value) or not is_public_key(account, ACCOUNT):
            findings.error(member.place, "invalid account JWT")
        else:
            tokens[account] = member.value
    return tokens


PRELOAD: Final = Type("map of account key: token", _read_preload, "{}", "{ a: b }")


def _read_trusted(node: Node, key: str, findings: Findings) -> list[str]:
    keys = read_texts(node, key, findings)
    for text in keys:
        if not is_public_key(text, OPERATOR):
            findings.error(node.place, f'trust key "{text}" required to be a valid public operator nkey')
    return keys


TRUSTED: Final = Type(
    "operator key or array of them",
    _read_trusted,
    "OAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB7JSU",
    "abc",
)


def _read_operators(node: Node, key: str, findings: Findings) -> list[str]:
    found = []
    for text in read_texts(node, key, findings):
        if is_token(text):
            found.append(text)
            continue
        try:
            with open(text, "rb"):
                found.append(text)
        except (OSError, ValueError) as error:
            said = os_error_text("open", text, error) if isinstance(error, OSError) else str(error)
            findings.error(node.place, f"error parsing operator JWT: {said}")
    return found


OPERATORS: Final = Type("path or token, or array of them", _read_operators, '"eyJ0.e30.c2ln"', '"/none.jwt"')


def _read_pinned(node: Node, key: str, findings: Findings) -> list[str]:
    if not isinstance(node.value, str | list):
        raise Invalid(f"error parsing {key}: unsupported type {type_name(node.value)}")
    return read_texts(node, key, findings)


PINNED: Final = Type("account key or array of them", _read_pinned, "[one]", "5")

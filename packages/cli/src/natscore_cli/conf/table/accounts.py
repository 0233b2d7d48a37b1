"""Who may log in, and into which account (configuration.md sections 5.1, 5.4 and 5.5).

What accounts do with each other is checked where it is known what they are: here
stands what can be said of each line by itself, and which accounts it names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from natscore.account.mappings import Mapping, mapping_of
from natscore.errors import ConfigError
from natscore_cli.conf.options import Block, array_of, block_of, read_block
from natscore_cli.conf.table.keys import ACCOUNT, CURVE, is_public_key
from natscore_cli.conf.table.permissions import (
    PERMISSIONS,
    PERMISSIONS_TYPE,
    USER_BLOCK,
    USERS,
    refuse_doubled,
)
from natscore_cli.conf.table.rows import DECLINED, inner, inner_declined, inner_later
from natscore_cli.conf.values import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    SECONDS,
    SUBJECT,
    TEXT,
    TEXT_ARRAY,
    Invalid,
    Type,
    is_subject,
    nanoseconds,
    read_text,
    type_name,
)

if TYPE_CHECKING:
    from natscore_cli.conf.options import Settings
    from natscore_cli.conf.tree import Node, Place
    from natscore_cli.conf.values import Findings

__all__ = ["ACCOUNTS", "ACCOUNT_BLOCK", "AUTHORIZATION", "MAPPINGS", "MAPPING_BLOCK", "check_authorization"]


def _check_callout(settings: Settings, place: Place, findings: Findings) -> None:
    if "issuer" not in settings:
        findings.error(place, "Authorization callouts require an issuer to be specified")
    elif not is_public_key(text := str(settings["issuer"].value), ACCOUNT):
        findings.error(
            settings["issuer"].place,
            f'Expected callout user to be a valid public account nkey, got "{text}"',
        )
    if "xkey" in settings and not is_public_key(text := str(settings["xkey"].value), CURVE):
        findings.error(
            settings["xkey"].place, f'Expected callout xkey to be a valid public xkey, got "{text}"'
        )
    if "auth_users" not in settings:
        findings.error(place, "Authorization callouts require authorized users to be specified")


_KEY: Final = "AAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB776S"  # of nobody, for samples

_CALLOUT: Final = Block(
    "auth_callout",
    (
        inner("issuer", TEXT, "required", "public account key that signs the answers", sample=_KEY),
        inner("auth_users users", TEXT_ARRAY, "required", "users of the service"),
        inner("account acc", TEXT, "`$G`", "account of the service"),
        inner(
            "xkey key",
            TEXT,
            "-",
            "public curve key, to encrypt requests",
            sample="XAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB7QO7",
        ),
        inner("allowed_accounts", TEXT_ARRAY, "all", "accounts it may put users into"),
    ),
    unknown='Unknown field "{}" parsing authorization callout',
    check=_check_callout,
)


def check_authorization(settings: Settings, place: Place, findings: Findings) -> None:
    """One way to log in: a user, users, or a token."""
    single = "user" in settings or "password" in settings
    if single and "token" in settings:
        findings.error(place, "Cannot have a user/pass and token")
    if "users" in settings:
        if single:
            findings.error(place, "Can not have a single user/pass and a users array")
        if "token" in settings:
            findings.error(place, "Can not have a token and a users array")


AUTHORIZATION: Final = Block(
    "authorization",
    (
        inner("user username", TEXT, "-", "name that everybody logs in with"),
        inner("password pass", TEXT, "-", "its password, plain or bcrypt"),
        inner("token", TEXT, "-", "token that everybody logs in with, plain or bcrypt"),
        inner("timeout", SECONDS, "2; with TLS: `tls.timeout` + 1", "time to log in"),
        inner("users", USERS, "-", "users with passwords or keys", block=USER_BLOCK),
        inner(
            "default_permissions default_permission permissions", PERMISSIONS_TYPE, "everything",
            "of users without permissions of their own", block=PERMISSIONS,
        ),
        inner_later("auth_callout auth_hook", block_of(_CALLOUT), "-", "a service that decides",
                    block=_CALLOUT, sample=f"{{ issuer: {_KEY}, auth_users: [a] }}"),
        inner_declined("proxy_required", BOOLEAN, "false", "only through a trusted proxy", DECLINED),
    ),
    check=check_authorization,
)  # fmt: skip


_PERCENT: Final = re.compile("([0-9]{1,3})%?")


def _read_sampling(node: Node, key: str, findings: Findings) -> int | str:
    value = node.value
    if isinstance(value, str):
        match = _PERCENT.fullmatch(value)
        if value.lower() == "headers":
            return "headers"
        value = int(match[1]) if match else 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100:
        raise Invalid("bad sampling percentage, should be 1-100")
    return value


_SAMPLING: Final = Type("1 to 100, or `n%`", _read_sampling, '"10%"', "101")


def _check_latency(settings: Settings, place: Place, findings: Findings) -> None:
    if "subject" not in settings:
        findings.error(place, "Latency subject required, but missing")


_LATENCY: Final = Block(
    "latency",
    (
        inner("subject", SUBJECT, "required", "where samples are published"),
        inner("sampling", _SAMPLING, "100", "how many of a hundred; or `headers`"),
    ),
    check=_check_latency,
)
_TRACE: Final = Block(
    "msg_trace",
    (
        inner("dest", SUBJECT, "-", "where traces are published"),
        inner("sampling", _SAMPLING, "100", "how many of a hundred"),
    ),
)


def _subject_or(block: Block) -> Type:
    def read(node: Node, key: str, findings: Findings) -> object:
        if isinstance(node.value, dict):
            return read_block(node.value, node.place, block, findings)
        return SUBJECT.read(node, key, findings)

    return Type(f"subject, or block ({block.title})", read, '"a.b"', '"a..b"')


_RESPONSES: Final = {
    "singleton": "singleton", "single": "singleton", "stream": "stream",
    "chunked": "chunked", "chunk": "chunked",
}  # fmt: skip


def _read_response(node: Node, key: str, findings: Findings) -> str:
    text = read_text(node, key, findings)
    if text.lower() not in _RESPONSES:
        raise Invalid(f'Unknown response type: "{text}"')
    return _RESPONSES[text.lower()]


def _read_threshold(node: Node, key: str, findings: Findings) -> int:
    text = read_text(node, key, findings)
    try:
        return nanoseconds(text)
    except Invalid:
        raise Invalid(f'Expected response threshold to be a parseable time duration, got "{text}"') from None


def _check_export(settings: Settings, place: Place, findings: Findings) -> None:
    _check_kinds(
        settings, place, findings, {kind: f' "{setting.value}"' for kind, setting in settings.items()}
    )
    if "stream" not in settings:
        return
    for name, said in (
        ("response_type", "response"), ("threshold", "response"),
        ("latency", "latency"), ("allow_trace", "allow_trace"),
    ):  # fmt: skip
        if name in settings and "service" not in settings:
            findings.error(settings[name].place, f"Detected {said} directive on non-service")


def _check_kinds(settings: Settings, place: Place, findings: Findings, shown: dict[str, str]) -> None:
    """An item is about a stream or about a service."""
    kinds = [kind for kind in settings if kind in ("stream", "service")]
    if len(kinds) == 2:
        first, second = kinds
        findings.error(
            settings[second].place,
            f"Detected {second}{shown.get(second, '')} but already saw a {first}",
        )
    elif not kinds:
        findings.error(place, "expected a stream or a service")


_EXPORT: Final = Block(
    "export",
    (
        inner("stream", SUBJECT, "-", "subject of a stream; this or `service`"),
        inner("service", SUBJECT, "-", "subject of a service; this or `stream`"),
        inner("accounts", TEXT_ARRAY, "all", "accounts that may import it"),
        inner(
            "account_token_position",
            INTEGER.checked(lambda position: "" if int(str(position)) > 0 else "must be 1 or more"),
            "-",
            "the token that must be the importer's name",
        ),
        inner(
            "response_type response",
            Type("singleton, stream or chunked", _read_response, "stream", "several"),
            "singleton",
            "how a service answers",
        ),
        inner(
            "threshold response_threshold response_max_time response_time",
            Type("duration", _read_threshold, '"1m"', '"1"'),
            "2m",
            "longest time for the answer",
        ),
        inner("latency", _subject_or(_LATENCY), "-", "samples of latency", block=_LATENCY),
        inner_declined("allow_trace", BOOLEAN, "false", "traces may go on into this account", DECLINED),
    ),
    check=_check_export,
)


def _check_source(settings: Settings, place: Place, findings: Findings) -> None:
    if "account" not in settings or "subject" not in settings:
        findings.error(place, "Expect an account name and a subject")


_SOURCE: Final = Block(
    "source",
    (
        inner("account", TEXT, "required", "account that exports it", sample="A, subject: a"),
        inner("subject", SUBJECT, "required", "as it is exported", sample="a, account: A"),
    ),
    check=_check_source,
)


def _source(what: str) -> Type:
    return block_of(_SOURCE._replace(mistyped=f"{what} entry should be an account map, got {{}}"))


def _check_import(settings: Settings, place: Place, findings: Findings) -> None:
    _check_kinds(settings, place, findings, {})
    if "stream" in settings and "to" in settings and "prefix" in settings:
        findings.error(place, "Stream import can not have a 'prefix' and a 'to' property")


_IMPORT: Final = Block(
    "import",
    (
        inner(
            "stream",
            _source("Stream"),
            "-",
            "a stream; this or `service`",
            block=_SOURCE,
            sample="{ account: A, subject: a } } ], exports: [ { stream: a",
        ),
        inner(
            "service",
            _source("Service"),
            "-",
            "a service; this or `stream`",
            block=_SOURCE,
            sample="{ account: A, subject: a } } ], exports: [ { service: a",
        ),
        inner("to", SUBJECT, "as it is exported", "subject that it has here"),
        inner("prefix", TEXT, "-", "tokens in front of the subject of a stream"),
        inner("share", BOOLEAN, "false", "tell a service who asks"),
        inner_declined("allow_trace", BOOLEAN, "false", "traces may go on along a stream", DECLINED),
    ),
    check=_check_import,
)

_LIMITS: Final = Block(
    "limits",
    (
        inner("max_connections max_conn", INTEGER, "no limit", "clients"),
        inner("max_subscriptions max_subs", INTEGER, "no limit", "subscriptions"),
        inner("max_payload max_pay", INTEGER, "no limit", "bytes of a message"),
        inner("max_leafnodes max_leafs", INTEGER, "no limit", "leaf nodes"),
    ),
    unknown='Unknown field "{}" parsing account limits',
    mistyped="Expected account limits to be a map/struct, got {}",
)


def _read_weight(node: Node, key: str, findings: Findings) -> int:
    value = node.value
    if isinstance(value, str):
        match = _PERCENT.fullmatch(value)
        if match is None:
            raise Invalid(f'Invalid weight "{value}" for mapping destination')
        value = int(match[1])
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(f"Invalid weight {type_name(value)} for mapping destination")
    if not 0 <= value <= 100:
        raise Invalid(f"Invalid weight {value} for mapping destination")
    return value


def _check_destination(settings: Settings, place: Place, findings: Findings) -> None:
    if "destination" not in settings:
        findings.error(place, "Expected an entry for the mapping destination")
    elif "weight" not in settings:
        shown = settings["destination"].value
        findings.error(settings["destination"].place, f'Missing weight for mapping destination "{shown}"')


MAPPING_BLOCK: Final = Block(
    "mapping",
    (
        inner("destination dest", TEXT, "required", "subject that a message goes to", sample="a, weight: 5"),
        inner("weight", Type("0 to 100, or `n%`", _read_weight, '"5%", dest: a', "101"), "required", "share"),
        inner("cluster", TEXT, "everywhere", "cluster that it holds for", sample="c, dest: a, weight: 5"),
    ),
    unknown='Unknown field "{}" for mapping destination',
    check=_check_destination,
)


def _read_mappings(node: Node, key: str, findings: Findings) -> dict[str, Mapping]:
    if not isinstance(node.value, dict):
        raise Invalid(f"Expected mappings to be a map, got {type_name(node.value)}")
    mappings: dict[str, Mapping] = {}
    for subject, destination in node.value.items():
        if not is_subject(subject):
            findings.error(destination.place, f'Subject "{subject}" is not a valid subject')
        elif not isinstance(destination.value, str | dict | list):
            findings.error(destination.place, "Expected an entry for the mapping destination")
        else:
            wrong_before = len(findings.errors)
            value = destination.value
            to = value if isinstance(value, str) else _destinations(destination, subject, findings)
            if len(findings.errors) > wrong_before:
                continue
            try:
                mappings[subject] = mapping_of(subject, to)
            except ConfigError as error:
                findings.error(destination.place, str(error))
    return mappings


def _destinations(node: Node, subject: str, findings: Findings) -> list[dict[str, object]]:
    """The tables of a mapping, by the names of the reference."""
    tables = _DESTINATIONS.read(node, subject, findings)
    return [
        {name: setting.value for name, setting in table.items()}
        for table in (tables if isinstance(tables, list) else [])
    ]


_DESTINATIONS: Final = array_of(
    MAPPING_BLOCK, not_map="Expected an entry for the mapping destination", single=True
)
MAPPINGS: Final = Type("block (subject: destination)", _read_mappings, "{ a: b }", '{ "a..b": c }')

ACCOUNT_BLOCK: Final = Block(
    "account",
    (
        inner("nkey", TEXT.checked(
            lambda key: "" if is_public_key(str(key), ACCOUNT)
            else f'Not a valid public nkey for an account: "{key}"',
            sample='"AAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB776S"',
        ), "-", "identity of the account"),
        inner("users", USERS, "-", "who is in it", block=USER_BLOCK),
        inner("default_permissions", PERMISSIONS_TYPE, "everything", "of users without their own",
              block=PERMISSIONS),
        inner("exports", array_of(
            _EXPORT, not_array="Exports should be an array, got {type}",
            not_map="Export Items should be a map with type entry, got {type}",
        ), "-", "what other accounts may import", block=_EXPORT),
        inner("imports", array_of(
            _IMPORT, not_array="Imports should be an array, got {type}",
            not_map="Import Items should be a map with type entry, got {type}",
        ), "-", "what it takes from other accounts", block=_IMPORT),
        inner("mappings maps", MAPPINGS, "-", "subjects that become others", block=None),
        inner_later("limits", block_of(_LIMITS), "no limit", "what it may use", block=_LIMITS),
        inner_declined("msg_trace trace_dest", _subject_or(_TRACE), "-", "traces of messages", DECLINED,
                       block=_TRACE),
        inner("jetstream", ANYTHING, "-", "JetStream, which is not supported"),
    ),
)  # fmt: skip

_RESERVED: Final = "$G"


def _read_accounts(node: Node, key: str, findings: Findings) -> dict[str, Settings]:
    accounts: dict[str, Settings] = {}
    if isinstance(node.value, list):
        for member in node.value:
            name = read_text(member, key, findings)
            if name in accounts:
                findings.error(member.place, f"Duplicate Account Entry: {name}")
            elif name == _RESERVED:
                findings.error(member.place, f'"{name}" is a Reserved Account')
            accounts[name] = {}
        return accounts
    if not isinstance(node.value, dict):
        findings.warning(node.place, key, f"expected a map of accounts, got {type_name(node.value)}")
        return accounts
    for name, account in node.value.items():
        if account.used:  # a variable may stand between accounts
            continue
        if name == _RESERVED:
            findings.error(account.place, f'"{name}" is a Reserved Account')
        elif not isinstance(account.value, dict):
            findings.error(account.place, "Expected map entries for accounts")
        else:
            accounts[name] = read_block(account.value, account.place, ACCOUNT_BLOCK, findings)
    seen: set[tuple[str, str]] = set()
    for settings in accounts.values():
        refuse_doubled(settings.get("users"), seen, findings)
    return accounts


ACCOUNTS: Final = Type("map of accounts, or array of names", _read_accounts, "{ A: {} }", '{ "$G": {} }')

"""What stands in the file itself (configuration.md section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from natscore_cli.conf.options import Block, Reload, array_of, block_of
from natscore_cli.conf.table.accounts import ACCOUNT_BLOCK, ACCOUNTS, AUTHORIZATION, MAPPING_BLOCK, MAPPINGS
from natscore_cli.conf.table.clients import (
    OPERATORS,
    PINNED,
    PRELOAD,
    RESOLVER,
    RESOLVER_BLOCK,
    TEXT_MAP,
    TRUSTED,
    WEBSOCKET,
)
from natscore_cli.conf.table.keys import SERVER, is_public_key
from natscore_cli.conf.table.links import CLUSTER, GATEWAY, LEAFNODES, WRITE_TIMEOUT
from natscore_cli.conf.table.permissions import refuse_doubled
from natscore_cli.conf.table.rows import DECLINED, declined, ignored, inner, later, obeyed, unsupported
from natscore_cli.conf.table.tls import OCSP, OCSP_CACHE, TLS
from natscore_cli.conf.values import (
    ANYTHING,
    BOOLEAN,
    DURATION,
    DURATION_TEXT,
    INTEGER,
    LISTEN,
    PATH,
    PORT,
    SIZE,
    TEXT,
    TEXTS,
    Invalid,
    Type,
    read_choice,
    read_text,
    type_name,
)

if TYPE_CHECKING:
    from natscore_cli.conf.options import Option, Settings
    from natscore_cli.conf.tree import Node, Place
    from natscore_cli.conf.values import Findings

__all__ = ["FILE", "GROUPS"]

_YES: Final = Reload.YES
_NO: Final = Reload.NO
_PARTLY: Final = Reload.PARTLY

_INT32_MAX: Final = 2**31 - 1
_TOKENS_MAX: Final = 255
_LAME_DUCK_MIN_NS: Final = 30 * 10**9

_MONITORING: Final = "monitoring is not built yet"
_LINKS: Final = "connections between servers are not built yet"
_JETSTREAM: Final = "JetStream is not supported"


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def _tokens(value: object) -> str:
    if _number(value) > _TOKENS_MAX:
        return "max_sub_tokens value is too big"
    return "max_sub_tokens value can not be negative" if _number(value) <= 0 else ""


def _fits(name: str) -> Type:
    return SIZE.checked(
        lambda value: f"{name} value is too big" if _number(value) > _INT32_MAX else "", counterexample="3gb"
    )


def _read_duck(node: Node, key: str, findings: Findings) -> int:
    duration = _number(DURATION_TEXT.read(node, key, findings))
    if duration < _LAME_DUCK_MIN_NS:
        raise Invalid(f"invalid lame_duck_duration of {node.value}, minimum is 30 seconds")
    return duration


def _grace(value: object) -> str:
    return "invalid lame_duck_grace_period, needs to be positive" if _number(value) < 0 else ""


def _server_name(value: object) -> str:
    return "server name cannot contain spaces" if " " in str(value) else ""


def _read_flags(node: Node, key: str, findings: Findings) -> object:
    if not isinstance(node.value, dict):
        raise Invalid(f"error parsing {key}: unsupported type {type_name(node.value)}")
    return {name: BOOLEAN.read(member, name, findings) for name, member in node.value.items()}


def _read_system_account(node: Node, key: str, findings: Findings) -> str:
    if not isinstance(node.value, str):
        raise Invalid("system account name must be a string")
    return node.value


def _read_remote_syslog(node: Node, key: str, findings: Findings) -> str:
    text = read_text(node, key, findings)
    if text and not text.startswith(("udp://", "tcp://", "unix://")):
        raise Invalid(f'error parsing {key}: "{text}" does not begin with udp://, tcp:// or unix://')
    return text


_FORMAT: Final = Type(
    "text or json", read_choice("text", "json", said="log_format must be text or json"), "json", "xml"
)

_PROXY: Final = Block(
    "proxy",
    (
        inner(
            "key public_key",
            TEXT,
            "required",
            "its public server key",
            sample="NAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB6CRG",
        ),
    ),
)


def _check_proxies(settings: Settings, place: Place, findings: Findings) -> None:
    trusted = settings["trusted"].value if "trusted" in settings else []
    for proxy in trusted if isinstance(trusted, list) else []:
        text = str(proxy["key"].value) if "key" in proxy else ""
        if not is_public_key(text, SERVER):
            findings.error(proxy["key"].place if "key" in proxy else place, f'invalid proxy key "{text}"')


_PROXIES: Final = Block(
    "proxies",
    (inner("trusted", array_of(_PROXY), "-", "proxies that may say whom they speak for", block=_PROXY),),
    check=_check_proxies,
)

_NETWORK: Final = (
    obeyed("listen", LISTEN, "-", _NO, "listen", "host and port together"),
    obeyed("host net", TEXT, "`0.0.0.0`", _NO, "host", "address to listen on for clients"),
    obeyed("port", PORT, "4222", _NO, "port", "port to listen on for clients; -1: any free one"),
    obeyed(
        "server_name", TEXT.checked(_server_name, counterexample='"a b"'), "its id", _NO, "server_name",
        "name of the server; no spaces",
    ),
    ignored("server_tags", TEXTS, "-", _YES, "tags that requests to servers choose by", _MONITORING),
    ignored("server_metadata", TEXT_MAP, "-", _YES, "anything, shown in /varz", _MONITORING),
    ignored(
        "feature_flags", Type("map of booleans", _read_flags, "{ a: true }", "{ a: 1 }"), "-", _NO,
        "features of JetStream", _JETSTREAM,
    ),
    obeyed("client_advertise", TEXT, "-", _YES, "client_advertise", "`host[:port]` to tell clients"),
    obeyed("no_header_support", BOOLEAN, "false", _NO, "no_header_support", "do not offer headers"),
    ignored(
        "disable_sublist_cache no_sublist_cache", BOOLEAN, "false", _NO, "do not keep results of matching",
        "this server has no such cache",
    ),
    declined("proxy_protocol", BOOLEAN, "false", _NO, "clients come through a proxy that says who they are",
             DECLINED),
    obeyed(
        "no_fast_producer_stall", BOOLEAN, "false", _YES, "no_fast_producer_stall",
        "do not slow producers down for slow consumers",
    ),
)  # fmt: skip

_LIMITS: Final = (
    obeyed(
        "max_connections max_conn", INTEGER, "65536", _YES, "max_connections", "clients; 0 and less: none"
    ),
    obeyed(
        "max_subscriptions max_subs", INTEGER, "no limit", _NO, "max_subscriptions",
        "subscriptions of one client",
    ),
    obeyed(
        "max_sub_tokens max_subscription_tokens", INTEGER.checked(_tokens, counterexample="256"), "no limit",
        _NO, "max_subject_tokens", "tokens of a subject that is subscribed to, 1 to 255",
    ),
    obeyed("max_payload", _fits("max_payload"), "1MB", _YES, "max_payload", "bytes of a message; -1: any"),
    obeyed(
        "max_pending", SIZE, "64MB", _NO, "max_pending", "bytes that wait for a client before it is cut"
    ),
    obeyed(
        "max_control_line", _fits("max_control_line"), "4KB", _YES, "max_control_line",
        "bytes of a protocol line",
    ),
    obeyed(
        "max_traced_msg_len", INTEGER, "no limit", _YES, "max_traced_msg_len", "bytes of a payload in the log"
    ),
    ignored(
        "max_closed_clients", INTEGER, "10000", _NO, "closed connections that /connz remembers", _MONITORING
    ),
)  # fmt: skip

_TIMING: Final = (
    obeyed("ping_interval", DURATION, "2m", _YES, "ping_interval_ns",
           "silence after which a client is pinged"),
    obeyed("ping_max", INTEGER, "2", _YES, "ping_max", "unanswered PINGs before a client is cut"),
    obeyed("write_deadline", DURATION, "10s", _YES, "write_deadline_ns",
           "longest wait of output for a client"),
    later(
        "write_timeout", WRITE_TIMEOUT, "default", _NO,
        "what comes after it: `close`, the default for clients, or `retry`",
        off=("default", "close"), sample="retry",
    ),
    obeyed(
        "lame_duck_duration", Type("duration", _read_duck, '"40s"', '"29s"'), "2m", _NO,
        "lame_duck_duration_ns", "time within which clients are closed in lame duck mode",
    ),
    obeyed(
        "lame_duck_grace_period", DURATION_TEXT.checked(_grace, counterexample='"-1s"'), "10s", _NO,
        "lame_duck_grace_period_ns", "time before the first of them",
    ),
    ignored("connect_error_reports", INTEGER, "3600", _YES, "every n-th failure is logged", _LINKS),
    ignored("reconnect_error_reports", INTEGER, "1", _YES, "every n-th failure is logged", _LINKS),
)  # fmt: skip

_LOGGING: Final = (
    obeyed("debug", BOOLEAN, "false", _YES, "debug", "log debug lines"),
    obeyed("trace", BOOLEAN, "false", _YES, "trace", "log the protocol; secrets of CONNECT are left out"),
    obeyed("trace_verbose", BOOLEAN, "false", _YES, "trace_verbose",
           "the system account's, too; sets `trace`"),
    later("trace_headers", BOOLEAN, "false", _YES, "of messages, log headers only; sets `trace`"),
    obeyed("logtime", BOOLEAN, "true", _YES, "log_time", "begin log lines with the time"),
    obeyed("logtime_utc", BOOLEAN, "false", _YES, "log_utc", "... in UTC rather than local time"),
    obeyed("log_file logfile", PATH, "standard error", _YES, "log_file", "append the log to this file"),
    obeyed(
        "log_format", _FORMAT,
        "text", _YES, "log_format", "shape of log lines (ours)",
    ),
    obeyed(
        "logfile_size_limit log_size_limit", SIZE, "never", _NO, "log_size_limit",
        "bytes above which a new log file is begun",
    ),
    obeyed(
        "logfile_max_num log_max_num", INTEGER, "all", _NO, "log_max_num",
        "log files that are kept, the current one included",
    ),
    obeyed("syslog", BOOLEAN, "false", _YES, "syslog", "log to the system's log"),
    obeyed(
        "remote_syslog", Type("URL", _read_remote_syslog, '"udp://127.0.0.1:514"', '"x"'), "-", _YES,
        "remote_syslog", "log to this system's log",
    ),
    obeyed("pid_file pidfile", PATH, "-", _YES, "pid_file", "write the process id to this file"),
    obeyed(
        "ports_file_dir", PATH, "-", _YES, "ports_file_dir", "write the open ports to a file in this folder"
    ),
)  # fmt: skip

_MONITOR: Final = (
    later("http", LISTEN, "off", _NO, "monitoring: host and port"),
    later("https", LISTEN, "off", _NO, "monitoring over TLS: host and port"),
    later("http_port monitor_port", PORT, "off", _NO, "monitoring: port; the host is that of clients"),
    later("https_port", PORT, "off", _NO, "monitoring over TLS: port"),
    ignored("http_base_path", TEXT, "`/`", _NO, "path of monitoring", _MONITORING),
    ignored("prof_port", PORT, "off", _NO, "profiler of Go", "this server is not written in Go"),
    ignored("prof_block_rate", INTEGER, "0", _YES, "profiler of Go", "this server is not written in Go"),
)

_SECURITY: Final = (
    obeyed("authorization", block_of(AUTHORIZATION), "-", _YES, "authorization", "who may log in",
           block=AUTHORIZATION, sample="{ user: a, password: b }"),
    obeyed("accounts", ACCOUNTS, "-", _YES, "accounts", "clients that see nothing of each other",
           block=ACCOUNT_BLOCK),
    obeyed("mappings maps", MAPPINGS, "-", _YES, "mappings", "subjects that become others, in `$G`",
           block=MAPPING_BLOCK),
    obeyed("no_auth_user", TEXT, "-", _PARTLY, "logins", "user of clients without credentials",
           sample="a\nauthorization { users: [ {user: a} ] }"),
    later("default_sentinel", TEXT, "-", _YES, "user token of clients without one"),
    obeyed(
        "system_account system", Type("text", _read_system_account, "SYS", "5"), "`$SYS`", _NO,
        "accounts", "account of the server's own messages", sample="SYS, accounts: { SYS: {} }",
    ),
    obeyed("no_system_account no_system no_sys_acc", BOOLEAN, "false", _NO, "accounts", "be without one"),
    later("trusted_keys trusted", TRUSTED, "-", _NO, "keys that sign accounts"),
    later("operator operators root roots root_operator root_operators", OPERATORS, "-", _NO,
          "who signs accounts", sample='"eyJ0.e30.c2ln"\nresolver: MEM'),
    later(
        "resolver account_resolver accounts_resolver", RESOLVER, "-", _PARTLY,
        "where tokens of accounts come from", block=RESOLVER_BLOCK,
    ),
    later("resolver_tls", block_of(TLS), "-", _YES, "for a URL resolver", block=TLS, sample="{ timeout: 3 }"),
    later("resolver_preload", PRELOAD, "-", _YES, "tokens of accounts", sample=(
        "{ AAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB776S: eyJ0.e30.c2ln }"
    )),
    later("resolver_pinned_accounts", PINNED, "all", _YES, "accounts that may connect"),
    obeyed("tls", block_of(TLS), "-", _YES, "tls", "encrypted connections of clients",
           block=TLS, sample="{ timeout: 3 }"),
    obeyed("allow_non_tls", BOOLEAN, "false", _NO, "allow_non_tls", "clients without TLS, too"),
    declined("ocsp", OCSP[0], "as `auto`", _YES, "staple answers about our certificate", DECLINED,
             block=OCSP[1]),
    declined("ocsp_cache", OCSP_CACHE[0], "none", _YES, "answers about those of peers", DECLINED,
             block=OCSP_CACHE[1]),
    declined("proxies", block_of(_PROXIES), "-", _YES, "trusted proxies", DECLINED, block=_PROXIES,
             sample="{ trusted: [] }"),
)  # fmt: skip

_SERVERS: Final = (
    later("cluster", block_of(CLUSTER), "off", _PARTLY, "servers that are as one", block=CLUSTER,
          sample="{ port: 6222 }"),
    later("gateway", block_of(GATEWAY), "off", _PARTLY, "clusters that are as one", block=GATEWAY,
          sample="{ name: east, port: 7222 }"),
    later("leafnodes leaf", block_of(LEAFNODES), "off", _PARTLY, "servers that hang on others",
          block=LEAFNODES,
          sample="{ port: 7422 }"),
    later("websocket ws", block_of(WEBSOCKET), "off", _PARTLY, "clients in browsers", block=WEBSOCKET,
          sample="{ port: 8080, no_tls: true }"),
)  # fmt: skip

_OURS: Final = (
    obeyed(
        "memory_max", SIZE, "half of the memory", _YES, "memory_max", "bytes held for all clients"
    ),
    obeyed(
        "unauthenticated_per_address_max", INTEGER, "no limit", _YES, "unauthenticated_per_address_max",
        "clients of one address that have not logged in",
    ),
    obeyed("journal", PATH, "-", _NO, "journal_file", "record every event; holds credentials and payloads"),
    obeyed("journal_size_max", SIZE, "1GB", _NO, "journal_size_max", "stop recording at this size"),
)  # fmt: skip

_UNSUPPORTED: Final = (
    unsupported("jetstream", ANYTHING, "JetStream", _JETSTREAM, sample="{ store_dir: a }"),
    unsupported("store_dir storedir", TEXT, "folder of JetStream", _JETSTREAM, sample=""),
    unsupported("default_js_domain", ANYTHING, "domains of JetStream", _JETSTREAM, sample=""),
    unsupported("mqtt", ANYTHING, "MQTT", "MQTT is not supported", sample="{ port: 1883 }"),
)

GROUPS: Final[dict[str, tuple[Option, ...]]] = {
    "Network and identity": _NETWORK,
    "Limits": _LIMITS,
    "Timing": _TIMING,
    "Logging and files": _LOGGING,
    "Monitoring": _MONITOR,
    "Security": _SECURITY,
    "Other servers and browsers": _SERVERS,
    "Not in nats-server": _OURS,
    "Not supported": _UNSUPPORTED,
}
"""The rows as the reference shows them."""


_OFF_WORDS: Final = ("false", "disabled", "disable", "off")


def _check_file(settings: Settings, place: Place, findings: Findings) -> None:
    seen: set[tuple[str, str]] = set()
    authorization = settings.get("authorization")
    inside: Settings = authorization.value if authorization and isinstance(authorization.value, dict) else {}
    refuse_doubled(inside.get("users"), seen, findings)
    accounts = settings.get("accounts")
    named = accounts.value if accounts is not None and isinstance(accounts.value, dict) else {}
    in_accounts = [account["users"] for account in named.values() if "users" in account]
    if inside.get("users") is not None:
        for users in in_accounts:
            refuse_doubled(users, seen, findings)
    if in_accounts and authorization is not None:
        if "user" in inside or "password" in inside:
            findings.error(authorization.place, "Can not have a single user/pass and accounts")
        if "token" in inside:
            findings.error(authorization.place, "Can not have a token and accounts")
    for name in ("jetstream", "mqtt"):
        setting = settings.get(name)
        if setting is not None and _asks_for(setting.value):
            findings.error(setting.place, f"{setting.option.reason}; remove {name}, or set it to false")


def _asks_for(value: object) -> bool:
    """Whether a block of what is not supported wants it."""
    if isinstance(value, dict):
        enabled = [member for key, member in value.items() if key.lower() in ("enabled", "enable")]
        return not any(_is_off(member) for member in enabled)
    return not _is_off(value)


def _is_off(value: object) -> bool:
    return value is False or str(value).lower() in _OFF_WORDS


FILE: Final = Block("file", tuple(option for group in GROUPS.values() for option in group), check=_check_file)

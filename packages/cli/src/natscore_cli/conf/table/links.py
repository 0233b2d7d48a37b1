"""Connections between servers: clusters, gateways, leaf nodes (configuration.md 5.8 to 5.10, 5.13)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from natscore_cli.conf.options import Block, array_of, block_of, read_block
from natscore_cli.conf.table.keys import USER_SEED, is_seed
from natscore_cli.conf.table.permissions import PERMISSIONS, PERMISSIONS_TYPE
from natscore_cli.conf.table.rows import inner
from natscore_cli.conf.table.tls import TLS, TLS_OF_LINKS
from natscore_cli.conf.values import (
    ANYTHING,
    BOOLEAN,
    DURATION,
    INTEGER,
    LISTEN,
    PATH,
    PLAIN_SUBJECTS,
    PORT,
    SECONDS,
    SECONDS_OR_DURATION,
    TEXT,
    TEXTS,
    Invalid,
    Type,
    nanoseconds,
    parsed_url,
    read_array,
    read_choice,
    read_text,
    read_urls,
    type_name,
)

if TYPE_CHECKING:
    from natscore_cli.conf.options import Option, Settings
    from natscore_cli.conf.tree import Node, Place
    from natscore_cli.conf.values import Findings

__all__ = ["CLUSTER", "GATEWAY", "LEAFNODES", "WRITE_TIMEOUT", "listener"]

WRITE_TIMEOUT: Final = Type(
    "default, close or retry",
    read_choice("default", "close", "retry", said="write_timeout must be 'default', 'close' or 'retry'"),
    "retry",
    "never",
)


def listener() -> tuple[Option, ...]:
    """Where a block listens."""
    return (
        inner("listen", LISTEN, "-", "host and port together"),
        inner("host net", TEXT, "`0.0.0.0`", "address to listen on"),
        inner("port", PORT, "off", "port to listen on; -1: any free one"),
    )


def _no_spaces(what: str) -> Type:
    return TEXT.checked(
        lambda name: f"{what} name cannot contain spaces" if " " in str(name) else "", counterexample='"a b"'
    )


def _deadlines() -> tuple[Option, ...]:
    return (
        inner("write_deadline", DURATION, "that of the server", "longest wait of output"),
        inner("write_timeout", WRITE_TIMEOUT, "retry", "what comes then"),
    )


_COMPRESSIONS: Final = (
    *("on", "enabled", "true", "off", "disabled", "false", "accept", "auto", "s2_auto", "fast", "s2_fast"),
    *("better", "s2_better", "best", "s2_best", "not_supported", "not supported"),
)
_THRESHOLDS_MAX: Final = 4


def _read_mode(node: Node, key: str, findings: Findings) -> str:
    text = "on" if node.value is True else "off" if node.value is False else read_text(node, key, findings)
    if text.lower() not in _COMPRESSIONS:
        raise Invalid(f'unsupported compression mode "{text}"')
    return text.lower()


def _read_thresholds(node: Node, key: str, findings: Findings) -> list[int]:
    thresholds = []
    for member in read_array(node, key):
        text = read_text(member, key, findings)
        thresholds.append(nanoseconds(text))
    if sorted(thresholds) != thresholds:
        raise Invalid("RTT threshold values should be in ascending order")
    if len(thresholds) > _THRESHOLDS_MAX:
        raise Invalid(f"compression should have no more than {_THRESHOLDS_MAX} RTT thresholds")
    return thresholds


_COMPRESSION_BLOCK: Final = Block("compression", (
    inner("mode", Type("mode", _read_mode, "s2_fast", "zip"), "-", "how much"),
    inner(
        "rtt_thresholds thresholds rtts rtt",
        Type("array of durations", _read_thresholds, "[10ms, 50ms]", "[50ms, 10ms]"),
        "10ms, 50ms, 100ms", "round trips from which more is compressed",
    ),
))  # fmt: skip


def _read_compression(node: Node, key: str, findings: Findings) -> object:
    if isinstance(node.value, dict):
        return read_block(node.value, node.place, _COMPRESSION_BLOCK, findings)
    return _read_mode(node, key, findings)


_COMPRESSION: Final = Type("boolean, mode, or block (compression)", _read_compression, "s2_fast", "zip")


# -- clusters ---------------------------------------------------------------------------------------------


def _link_authorization(what: str) -> Block:
    """A single user; the rest is named to say that it is not for links."""

    def refused(text: str) -> Type:
        def read(node: Node, key: str, findings: Findings) -> object:
            raise Invalid(f"{what} authorization {text}")

        return Type("refused here", read, "", "any")

    return Block(
        f"{what.lower()} authorization",
        (
            inner("user username", TEXT, "-", "name that servers log in with"),
            inner("password pass", TEXT, "-", "its password"),
            inner("timeout", SECONDS, "2", "time to log in"),
            inner("users", refused("does not allow multiple users"), "-", "refused"),
            inner("token", refused("does not support tokens"), "-", "refused"),
            inner("auth_callout auth_hook", refused("does not support callouts"), "-", "refused"),
            inner(
                "default_permissions default_permission permissions", PERMISSIONS_TYPE, "-",
                "deprecated: stand beside the block", block=PERMISSIONS,
            ),
        ),
    )  # fmt: skip


_CLUSTER_AUTHORIZATION: Final = _link_authorization("Cluster")
_GATEWAY_AUTHORIZATION: Final = _link_authorization("Gateway")
_ROUTE_PING_MAX_NS: Final = 30 * 10**9


def _check_cluster(settings: Settings, place: Place, findings: Findings) -> None:
    authorization = settings.get("authorization")
    if authorization is not None and "default_permissions" in _inside(authorization.value):
        findings.warning(
            authorization.place,
            authorization.key,
            'setting "permissions" within cluster authorization block is deprecated',
        )
    permissions = settings.get("permissions")
    if permissions is not None and "allow_responses" in _inside(permissions.value):
        findings.error(permissions.place, "Cluster permissions do not support dynamic responses")
    ping = settings.get("ping_interval")
    if ping is not None and isinstance(ping.value, int) and ping.value > _ROUTE_PING_MAX_NS:
        findings.warning(
            ping.place, ping.key, "Cluster 'ping_interval' will reset to 30s which is the max for routes"
        )


def _inside(value: object) -> Settings:
    return value if isinstance(value, dict) else {}


CLUSTER: Final = Block(
    "cluster",
    (
        inner("name", _no_spaces("cluster"), "generated", "the same on every server of it"),
        *listener(),
        inner(
            "routes", Type("array of URLs", read_urls("route", texts_too=False), '["nats://h:1"]', '"nats://h:1"'),
            "-", "servers to connect to",
        ),
        inner(
            "authorization", block_of(_CLUSTER_AUTHORIZATION), "-", "who may connect",
            block=_CLUSTER_AUTHORIZATION,
        ),
        inner("permissions", PERMISSIONS_TYPE, "everything", "what goes over routes", block=PERMISSIONS),
        inner("advertise cluster_advertise", TEXT, "-", "address to tell other servers"),
        inner("no_advertise", BOOLEAN, "false", "do not tell clients of other servers"),
        inner("connect_retries", INTEGER, "0", "of routes that were learned; others retry for ever"),
        inner("connect_backoff", BOOLEAN, "false", "double the delay, up to 30s"),
        inner("tls", block_of(TLS_OF_LINKS), "-", "both sides verify", block=TLS_OF_LINKS),
        inner("pool_size", INTEGER, "3", "connections between two servers; -1: one"),
        inner("accounts", TEXTS, "system account", "accounts with a connection of their own"),
        inner("compression", _COMPRESSION, "accept", "of routes", block=_COMPRESSION_BLOCK),
        inner("ping_interval", DURATION, "that of the server, 30s at most", "silence before a PING"),
        inner("ping_max", INTEGER, "that of the server", "unanswered PINGs"),
        *_deadlines(),
    ),
    mistyped="Expected map to define cluster, got {}",
    check=_check_cluster,
)  # fmt: skip


# -- gateways ---------------------------------------------------------------------------------------------


def _read_gateway_url(node: Node, key: str, findings: Findings) -> str:
    return parsed_url(read_text(node, key, findings), "gateway")


_GATEWAY_REMOTE: Final = Block(
    "remote gateway",
    (
        inner("name", TEXT, "required", "the other cluster"),
        inner("url", Type("URL", _read_gateway_url,
                          '"nats://h:1"', '"nats://%zz"'), "-", "one of its servers"),
        inner("urls", Type("array of URLs", read_urls("gateway", texts_too=False), '["nats://h:1"]', '"nats://h:1"'),
              "-", "its servers"),
        inner("tls", block_of(TLS_OF_LINKS), "that of the block", "for this one", block=TLS_OF_LINKS),
    ),
)  # fmt: skip

GATEWAY: Final = Block(
    "gateway",
    (
        inner("name", _no_spaces("gateway"), "required", "this cluster"),
        *listener(),
        inner("advertise", TEXT, "-", "address to tell other clusters"),
        inner(
            "authorization", block_of(_GATEWAY_AUTHORIZATION), "-", "who may connect",
            block=_GATEWAY_AUTHORIZATION,
        ),
        inner("tls", block_of(TLS_OF_LINKS), "-", "both sides verify", block=TLS_OF_LINKS),
        inner("connect_retries", INTEGER, "0", "of gateways that were learned"),
        inner("connect_backoff", BOOLEAN, "false", "double the delay"),
        inner("reject_unknown_cluster reject_unknown", BOOLEAN, "false", "refuse clusters not listed"),
        inner(
            "gateways",
            array_of(
                _GATEWAY_REMOTE,
                not_array="Expected gateways field to be an array, got {type}",
                not_map="Expected gateway entry to be a map/struct, got {value}",
            ),
            "-", "other clusters", block=_GATEWAY_REMOTE,
        ),
        *_deadlines(),
    ),
    mistyped="Expected gateway to be a map, got {}",
)  # fmt: skip


# -- leaf nodes -------------------------------------------------------------------------------------------

_LEAF_USER: Final = Block("user of leaf nodes", (
    inner("user username", TEXT, "-", "name to log in with"),
    inner("password pass", TEXT, "-", "its password"),
    inner("account", TEXT, "`$G`", "account that the leaf node joins"),
    inner("nkey", TEXT, "-", "public user key"),
    inner("proxy_required", BOOLEAN, "false", "only through a trusted proxy"),
))  # fmt: skip


def _check_leaf_authorization(settings: Settings, place: Place, findings: Findings) -> None:
    if "users" not in settings:
        return
    if "user" in settings or "password" in settings:
        findings.error(place, "can not have a single user/pass and a users array")
    if "nkey" in settings:
        findings.error(place, "can not have a single nkey and a users array")
    users = settings["users"].value
    seen = set()
    for user in users if isinstance(users, list) else []:
        name = user["user"].value if "user" in user else None
        if name is not None and name in seen:
            findings.error(user["user"].place, f'duplicate user "{name}" detected in leafnode authorization')
        seen.add(name)


_LEAF_AUTHORIZATION: Final = Block(
    "leafnodes authorization",
    (
        *_LEAF_USER.options,
        inner("timeout", SECONDS, "2", "time to log in"),
        inner("users", array_of(_LEAF_USER), "-", "several users", block=_LEAF_USER),
    ),
    check=_check_leaf_authorization,
)

_VERSION: Final = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})")


def _read_version(node: Node, key: str, findings: Findings) -> str:
    text = read_text(node, key, findings)
    match = _VERSION.fullmatch(text)
    if match is None:
        raise Invalid("invalid leafnode's minimum version: invalid semver")
    if tuple(int(part) for part in match.groups()) < (2, 8, 0):
        raise Invalid("the minimum version should be at least 2.8.0")
    return text


def _read_leaf_urls(node: Node, key: str, findings: Findings) -> list[str]:
    if not isinstance(node.value, str | list):
        raise Invalid(f"Expected remote leafnode url to be an array or string, got {type_name(node.value)}")
    return read_urls("leafnode", texts_too=True)(node, key, findings)  # type: ignore[return-value]


_PROXY: Final = Block("proxy of a leaf node", (
    inner("url", TEXT, "required", "HTTP proxy; for WebSocket only"),
    inner("username", TEXT, "-", "for the proxy"),
    inner("password", TEXT, "-", "for the proxy"),
    inner("timeout", DURATION, "-", "longest wait for the proxy"),
))  # fmt: skip


def _check_remote(settings: Settings, place: Place, findings: Findings) -> None:
    if "credentials" in settings and "nkey" in settings:
        findings.error(place, "Remote leafnode can not have both creds and nkey defined")
    if "nkey" in settings and not is_seed(str(settings["nkey"].value), USER_SEED):
        findings.error(settings["nkey"].place, "Remote leafnode nkey is not a valid user seed")


_REMOTE: Final = Block(
    "remote leaf node",
    (
        inner("url urls", Type("URL or array of URLs", _read_leaf_urls, '"nats://h:1"', '"nats://%zz"'), "-",
              "servers to connect to; the port is 7422 if not given"),
        inner("account local", TEXT, "`$G`", "account here"),
        inner("credentials creds", PATH, "-", "file of token and seed"),
        inner("nkey seed", TEXT, "-", "user seed",
              sample="SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y"),
        inner("tls", block_of(TLS), "-", "of this connection", block=TLS),
        inner("hub", BOOLEAN, "false", "be the hub of this link"),
        inner("deny_imports deny_import", PLAIN_SUBJECTS, "-", "what is not taken"),
        inner("deny_exports deny_export", PLAIN_SUBJECTS, "-", "what is not given"),
        inner("no_randomize dont_randomize", BOOLEAN, "false", "keep the order of URLs"),
        inner("ws_compression ws_compress websocket_compress websocket_compression", BOOLEAN, "false",
              "compress WebSocket frames"),
        inner("ws_no_masking websocket_no_masking", BOOLEAN, "false", "do not mask WebSocket frames"),
        inner("compression", _COMPRESSION, "s2_auto", "of this link", block=_COMPRESSION_BLOCK),
        inner("first_info_timeout", DURATION, "1s", "longest wait for the first INFO"),
        inner("dial_timeout", DURATION, "that of the block", "longest dialling"),
        inner("disabled", BOOLEAN, "false", "do not connect"),
        inner("isolate_leafnode_interest isolate", BOOLEAN, "false", "hide other leaf nodes from it"),
        inner("request_isolation", BOOLEAN, "false", "ask the hub to do that"),
        inner("ignore_discovered_servers", BOOLEAN, "false", "use the given URLs only"),
        inner("proxy", block_of(_PROXY), "-", "HTTP proxy", block=_PROXY),
        inner("jetstream_cluster_migrate js_cluster_migrate", ANYTHING, "-", "JetStream"),
    ),
    check=_check_remote,
)  # fmt: skip

LEAFNODES: Final = Block(
    "leafnodes",
    (
        *listener(),
        inner("advertise leafnode_advertise", TEXT, "-", "address to tell leaf nodes"),
        inner("no_advertise", BOOLEAN, "false", "do not tell leaf nodes of other servers"),
        inner("authorization", block_of(_LEAF_AUTHORIZATION), "that of clients", "who may connect",
              block=_LEAF_AUTHORIZATION),
        inner("tls", block_of(TLS), "-", "of the listener", block=TLS),
        inner(
            "remotes",
            array_of(
                _REMOTE,
                not_array="Expected remotes field to be an array, got {type}",
                not_map="Expected remote leafnode entry to be a map/struct, got {value}",
            ),
            "-", "hubs to connect to", block=_REMOTE,
        ),
        inner("reconnect reconnect_delay reconnect_interval", SECONDS_OR_DURATION, "1s",
              "delay between attempts"),
        inner("min_version minimum_version", Type("version", _read_version, '"2.10.0"', '"2.7.0"'), "-",
              "the oldest server that may connect"),
        inner("compression", _COMPRESSION, "s2_auto", "of leaf nodes", block=_COMPRESSION_BLOCK),
        inner("isolate_leafnode_interest isolate", BOOLEAN, "false", "hide leaf nodes from one another"),
        inner("dial_timeout", DURATION, "1s", "longest dialling"),
        *_deadlines(),
    ),
    mistyped="Expected map to define a leafnode, got {}",
)  # fmt: skip

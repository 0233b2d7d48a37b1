"""What must fit together before a server starts (configuration.md section 7.2).

These rules look over several options, so a file that breaks one is well formed and
still cannot be used. nats-server checks them at start and not with `-t`; here both
do. They are tried in its order, and the first that is broken is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore_cli.conf.options import Settings

__all__ = ["SYSTEM_ACCOUNT_MISSING", "first_contradiction"]

SYSTEM_ACCOUNT_MISSING: Final = "error resolving system account: account missing"

_LAME_DUCK_NS: Final = 120 * 10**9
_GRACE_NS: Final = 10 * 10**9


def first_contradiction(settings: Settings) -> str | None:
    """The first rule that the options of a file break, in the words of nats-server."""
    return next((said for rule in _RULES if (said := rule(settings))), None)


def _value(settings: Settings, *path: str) -> object:
    """The value at a path of names, or None."""
    found: object = settings
    for name in path:
        setting = found.get(name) if isinstance(found, dict) else None
        found = None if setting is None else setting.value
    return found


def _blocks(value: object) -> list[Settings]:
    return value if isinstance(value, list) else []


def _lame_duck(settings: Settings) -> str | None:
    duration = _value(settings, "lame_duck_duration") or _LAME_DUCK_NS
    grace = _value(settings, "lame_duck_grace_period")
    grace = _GRACE_NS if grace is None else grace
    if isinstance(duration, int) and isinstance(grace, int) and grace >= duration:
        return (
            f"lame duck grace period ({seconds(grace)}) should be strictly lower than "
            f"lame duck duration ({seconds(duration)})"
        )
    return None


def seconds(nanoseconds: int) -> str:
    """A duration as Go prints it, for whole seconds: `30s`, `2m0s`."""
    whole, rest = divmod(nanoseconds, 10**9)
    shown = f"{whole % 60}{f'{rest / 10**9:.9f}'[1:].rstrip('0') if rest else ''}s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}h{minutes}m{shown}" if hours else f"{minutes}m{shown}" if minutes else shown


def _operators(settings: Settings) -> str | None:
    if "operator" not in settings:
        return None
    if "resolver" not in settings:
        return "operators require an account resolver to be configured"
    if "accounts" in settings:
        return "operators do not allow Accounts to be configured directly"
    if _value(settings, "authorization", "users"):
        return "operators do not allow users to be configured directly"
    if "trusted_keys" in settings:
        return "conflicting options for 'TrustedKeys' and 'TrustedOperators'"
    if _value(settings, "authorization", "auth_callout"):
        return "operators do not allow authorization callouts to be configured directly"
    return None


def _leaf_accounts(settings: Settings) -> str | None:
    if "operator" in settings:
        return None
    accounts = _value(settings, "accounts")
    known = {"$G", "$SYS", *(accounts if isinstance(accounts, dict) else ())}
    authorization = _value(settings, "leafnodes", "authorization")
    users = authorization.get("users") if isinstance(authorization, dict) else None
    inside = [authorization] if isinstance(authorization, dict) else []
    named = [_value(block, "account") for block in (*inside, *_blocks(users.value if users else None))]
    for name in named:
        if name is not None and name not in known:
            return f'cannot find local account "{name}" specified in leafnode authorization'
    for remote in _blocks(_value(settings, "leafnodes", "remotes")):
        name = _value(remote, "account")
        if name is not None and name not in known:
            return f'cannot find local account "{name}" specified in leafnode remote'
    return None


def _leaf_urls(settings: Settings) -> str | None:
    for remote in _blocks(_value(settings, "leafnodes", "remotes")):
        urls = _value(remote, "url")
        urls = urls if isinstance(urls, list) else []
        if 0 < sum(str(url).startswith(("ws://", "wss://")) for url in urls) < len(urls):
            return "remote leaf node configuration cannot have a mix of websocket and non-websocket urls"
    return None


def _gateway_with_leafnodes(settings: Settings) -> str | None:
    if _listens(settings, "leafnodes") and _listens(settings, "gateway") and "system_account" not in settings:
        return "leaf nodes and gateways (both being defined) require a system account to also be configured"
    return None


def _listens(settings: Settings, block: str) -> bool:
    listen = _value(settings, block, "listen")
    return bool(_value(settings, block, "port") or (listen is not None and getattr(listen, "port", 0)))


def _no_auth_user(settings: Settings) -> str | None:
    name = _value(settings, "no_auth_user")
    if not name:
        return None
    if "operator" in settings:
        return "no_auth_user not compatible with Trusted Operator"
    accounts = _value(settings, "accounts")
    blocks = [_value(settings, "authorization"), *(accounts.values() if isinstance(accounts, dict) else ())]
    users = [
        user
        for block in blocks
        if isinstance(block, dict) and "users" in block
        for user in _blocks(block["users"].value)
    ]
    if not users:
        return f'no_auth_user: "{name}" present, but users/nkeys are not defined'
    if name not in [_value(user, kind) for user in users for kind in ("user", "nkey")]:
        place = "authorization block or account configuration"
        return f'no_auth_user: "{name}" not present as user or nkey in {place}'
    return None


def _gateway(settings: Settings) -> str | None:
    if "gateway" not in settings:
        return None
    name = _value(settings, "gateway", "name")
    remotes = _blocks(_value(settings, "gateway", "gateways"))
    if not name and not _listens(settings, "gateway") and not remotes:
        return None  # an empty block asks for nothing
    if not name:
        return "gateway has no name"
    if not _listens(settings, "gateway"):
        return f'gateway "{name}" has no port specified (select -1 for random port)'
    for number, remote in enumerate(remotes):
        other = _value(remote, "name")
        if not other:
            return f"gateway in the list {number} has no name"
        if not _value(remote, "url") and not _value(remote, "urls"):
            return f'gateway "{other}" has no URL'
    return None


def _cluster_name(settings: Settings) -> str | None:
    cluster, gateway = _value(settings, "cluster", "name"), _value(settings, "gateway", "name")
    if cluster and gateway and cluster != gateway:
        return "cluster name conflicts between cluster and gateway definitions"
    return None


def _pool(settings: Settings) -> str | None:
    pinned = _value(settings, "cluster", "accounts")
    names = pinned if isinstance(pinned, list) else []
    size = _value(settings, "cluster", "pool_size")
    if names and isinstance(size, int) and size < 0:
        return "pool_size cannot be negative if pinned accounts are specified"
    for number, name in enumerate(names):
        if name in names[:number]:
            return f'found duplicate account name "{name}" in pinned accounts list {names}'
    return None


def _websocket(settings: Settings) -> str | None:
    if not _listens(settings, "websocket"):
        return None
    if "tls" not in _block(settings, "websocket") and not _value(settings, "websocket", "no_tls"):
        return "websocket requires TLS configuration"
    users = _value(settings, "authorization", "users") or _value(settings, "accounts")
    for name, said in (("user", "username"), ("token", "token")):
        if users and _value(settings, "websocket", "authorization", name):
            return f"websocket authentication {said} not compatible with presence of users/nkeys"
    cookie = _value(settings, "websocket", "jwt_cookie")
    if cookie and "operator" not in settings and "trusted_keys" not in settings:
        return (
            "trusted operators or trusted keys configuration is required for JWT authentication "
            f'via cookie "{cookie}"'
        )
    return None


def _block(settings: Settings, name: str) -> Settings:
    value = _value(settings, name)
    return value if isinstance(value, dict) else {}


def _system_account(settings: Settings) -> str | None:
    name = _value(settings, "system_account")
    if name and "operator" not in settings and name not in _block(settings, "accounts"):
        return SYSTEM_ACCOUNT_MISSING
    return None


_NOT_NEGATIVE: Final = (
    *("ping_interval", "ping_max", "write_deadline", "max_pending", "max_control_line"),
    *("memory_max", "journal_size_max", "unauthenticated_per_address_max"),
)


def _negative(settings: Settings) -> str | None:
    for name in _NOT_NEGATIVE:
        value = _value(settings, name)
        if isinstance(value, int) and value < 0:
            return f"{name} must not be negative"
    timeout = _value(settings, "authorization", "timeout")
    return "authorization.timeout must not be negative" if isinstance(timeout, int) and timeout < 0 else None


_RULES: Final[tuple[Callable[[Settings], str | None], ...]] = (
    _lame_duck,
    _operators,
    _leaf_accounts,
    _leaf_urls,
    _gateway_with_leafnodes,
    _no_auth_user,
    _gateway,
    _cluster_name,
    _pool,
    _websocket,
    _system_account,
    _negative,
)
"""In the order in which nats-server checks; the last is ours."""

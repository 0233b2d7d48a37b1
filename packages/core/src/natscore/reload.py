"""Which settings can change while a server runs, and which need another start.

Pure functions of two `Options`: a shell asks before it feeds `OptionsReloaded`, and
so can whoever wants to know what a change would mean. Names and texts are those of
nats-server, for they stand in its log; where it prints a structure, secrets
included, only the name is said.

Source: operations.md section 9; nats-server 2.14.5, server/reload.go diffOptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from natscore.account.accounts import resolved
from natscore.account.settings import DEFAULT_SYSTEM_ACCOUNT
from natscore.errors import ConfigError
from natscore.options import MILLISECOND, SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.account.settings import AccountsSettings
    from natscore.authentication import Authenticator
    from natscore.options import Options

__all__ = ["go_duration", "refused_changes", "reload_problems"]

_FIELDS: Final = {
    "host": "Host",
    "server_name": "ServerName",
    "max_pending": "MaxPending",
    "max_subscriptions": "MaxSubs",
    "max_subject_tokens": "MaxSubTokens",
}
"""Names of the reference for fields of ours that it does not reload."""

_DURATIONS: Final = {
    "lame_duck_duration_ns": "LameDuckDuration",
    "lame_duck_grace_period_ns": "LameDuckGracePeriod",
}


def refused_changes(old: Options, new: Options, *, port: int | None = None) -> list[str]:
    """What of `new` needs another start, each in the words of nats-server; empty: a reload can do all.

    `port` is the one that the listener has, where the old options ask for any free one.
    """
    found = [
        _refusal(name, getattr(old, field), getattr(new, field))
        for field, name in _FIELDS.items()
        if getattr(old, field) != getattr(new, field)
    ]
    found += [
        _refusal(name, go_duration(getattr(old, field)), go_duration(getattr(new, field)))
        for field, name in _DURATIONS.items()
        if getattr(old, field) != getattr(new, field)
    ]
    at = port if port is not None and old.port == -1 else old.port
    if new.port not in (-1, at):  # any free port is satisfied by the one that is there
        found.append(_refusal("Port", at, new.port))
    if old.headers != new.headers:
        found.append(_refusal("NoHeaderSupport", not old.headers, not new.headers))
    if old.tls is not None and new.tls is not None:
        if old.tls.required != new.tls.required:
            found.append(_refusal("AllowNonTLS", not old.tls.required, not new.tls.required))
        rates = (old.tls.handshakes_per_second_max, new.tls.handshakes_per_second_max)
        if rates[0] != rates[1]:
            found.append(_refusal("TLSRateLimit", *rates))
    return found + _system_account(old, new)


def reload_problems(
    old: Options,
    new: Options,
    *,
    port: int | None = None,
    authenticators: Callable[[Options], Authenticator] | None = None,
    accounts: Callable[[AccountsSettings], object] = resolved,
) -> list[str]:
    """Everything that keeps a server with `old` options from taking `new` ones. Changes nothing.

    With `authenticators`, also why none can be made of them. `accounts` makes accounts, or raises
    ConfigError.
    """
    found = refused_changes(old, new, port=port)
    try:
        accounts(new.accounts)
    except ConfigError as error:
        found.append(str(error))
    if authenticators is not None:
        try:
            authenticators(new)
        except ConfigError as error:
            found.append(str(error))
    return found


def _system_account(old: Options, new: Options) -> list[str]:
    found = []
    names = (old.accounts.system_account or "", new.accounts.system_account or "")
    if names[0] != names[1] and names != (DEFAULT_SYSTEM_ACCOUNT, ""):
        found.append(_refusal("SystemAccount", *names))
    without = (old.accounts.no_system_account, new.accounts.no_system_account)
    if without[0] != without[1]:
        found.append(_refusal("NoSystemAccount", *without))
    return found


def _refusal(name: str, old: object, new: object) -> str:
    return f"config reload not supported for {name}: old={_go(old)}, new={_go(new)}"


def go_duration(duration_ns: int) -> str:
    """A duration as Go prints it: `2m0s`, `1.5s`, `10ms`."""
    if duration_ns < SECOND:
        for unit, size in (("ms", MILLISECOND), ("µs", 1_000)):
            if duration_ns >= size:
                return f"{_decimal(duration_ns, size)}{unit}"
        return f"{duration_ns}ns" if duration_ns else "0s"
    minutes, rest = divmod(duration_ns, 60 * SECOND)
    seconds = f"{_decimal(rest, SECOND)}s"
    if not minutes:
        return seconds
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def _go(value: object) -> str:
    """A value as Go prints it with `%v`."""
    return str(value).lower() if isinstance(value, bool) else str(value)

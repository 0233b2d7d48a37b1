"""What a server says of a client to others: in `Nats-Request-Info`, and in latency samples.

Keys and their order are those of nats-server 2.14.5 (`server/events.go type
ClientInfo`; accounts.md section 7); what is empty is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

if TYPE_CHECKING:
    from natscore.wire.connect import ConnectOptions

__all__ = ["ClientInfo", "detailed_info", "encoded", "plain_info", "text_of", "time_of"]

ClientInfo: TypeAlias = dict[str, object]
"""The document, still to be encoded."""

_ORDER: Final = (
    *("start", "host", "id", "acc", "svc", "user", "name", "lang", "ver", "rtt", "server", "cluster", "alts"),
    *("jwt", "issuer_key", "name_tag", "tags", "kind", "client_type"),
)
_SECOND: Final = 1_000_000_000


def text_of(name: str) -> str:
    """A name as JSON can say it: what is no UTF-8 becomes U+FFFD, as Go's encoder has it."""
    if name.isascii():
        return name
    return name.encode(errors="surrogateescape").decode(errors="replace")


def time_of(wall_ns: int) -> str:
    """An instant as Go writes it: RFC 3339 in UTC, with as many digits of a second as are not zero."""
    seconds, rest = divmod(wall_ns, _SECOND)
    days, second = divmod(seconds, 86_400)
    # Years begin in March here, so that a leap day ends its year, and eras of 400 of them are alike.
    era, day_of_era = divmod(days + 719_468, 146_097)
    year = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day = day_of_era - (365 * year + year // 4 - year // 100)
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month = month + 3 if month < 10 else month - 9
    date = f"{era * 400 + year + (month <= 2):04d}-{month:02d}-{day + 1:02d}"
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{date}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{fraction}Z"


def plain_info(account: str, rtt_ns: int | None) -> ClientInfo:
    """What is said of every client: its account, and how far away it is."""
    info: ClientInfo = {"acc": text_of(account)}
    if rtt_ns:
        info["rtt"] = rtt_ns
    return info


def detailed_info(
    account: str,
    rtt_ns: int | None,
    options: ConnectOptions,
    *,
    cid: int,
    host: str,
    opened_wall_ns: int,
    server: str,
) -> ClientInfo:
    """What is said of a client whose account shares it."""
    user = options.nkey or options.user or ("[REDACTED]" if options.auth_token else "")
    info: ClientInfo = {
        "start": time_of(opened_wall_ns),
        "host": text_of(host),
        "id": cid,
        "acc": text_of(account),
        "user": text_of(user),
        "name": text_of(options.name),
        "lang": text_of(options.lang),
        "ver": text_of(options.version),
        "rtt": rtt_ns or 0,
        "server": text_of(server),
        "kind": "Client",
        "client_type": "nats",
    }
    return {key: said for key, said in info.items() if said}


def encoded(info: ClientInfo) -> bytes:
    """One line of JSON, with the keys in their order."""
    return orjson.dumps({key: info[key] for key in _ORDER if key in info})

"""Frozen, fully resolved settings of a server, with the reason of each default.

Defaults are those of nats-server 2.14.5 (`server/const.go`,
`server/opts.go setBaselineOptions`) unless the comment says *ours*. Durations
are nanoseconds and end in `_ns`, sizes are bytes. A configuration language and
flags live elsewhere; they end up here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from natscore.account.permissions import RESPONSES_MAX
from natscore.account.settings import AccountsSettings
from natscore.account.users import UsersSettings
from natscore.effects import Level
from natscore.errors import ConfigError

__all__ = ["MILLISECOND", "SECOND", "Options", "TlsOptions"]

MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """What the core knows of TLS (configuration.md 5.6). Certificates and ciphers are the shell's."""

    required: bool = True  # `allow_non_tls` is its opposite: a client may also stay plain
    verify: bool = False  # clients are asked for a certificate; INFO says so
    timeout_ns: int = 2 * SECOND  # from the start of a handshake to its end
    # `handshake_first`. None: INFO comes first, in plain. 0: the handshake comes first, and is required.
    # Above: the server waits so long for a client that begins with a handshake, and then sends INFO.
    first_ns: int | None = None
    handshakes_per_second_max: int = 0  # `connection_rate_limit`; 0: no limit
    # `pinned_certs`, in lower-case hex. The shell judges new connections by them, a reload those there are.
    pinned_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.timeout_ns <= 0:
            raise ConfigError(f"the timeout of TLS is {self.timeout_ns} ns; it must be above 0")
        if self.first_ns is not None and self.first_ns < 0:
            raise ConfigError(f"handshake_first is {self.first_ns} ns; it must not be negative")
        if self.handshakes_per_second_max < 0:
            raise ConfigError(
                f"connection_rate_limit is {self.handshakes_per_second_max}; it is a number a second, or 0"
            )

    @property
    def is_required(self) -> bool:
        """Whether no client may stay plain."""
        return self.required or self.first_ns == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The settings of one server. Raises ConfigError when they contradict each other."""

    # who and where
    server_name: str = ""  # empty: the server id
    host: str = "0.0.0.0"
    port: int = 4222  # -1: any free port
    client_advertise: str = ""  # host or host:port shown in INFO instead of the listener's

    # limits
    max_connections: int = 65_536
    max_subscriptions: int = 0  # per connection; 0: no limit
    max_subject_tokens: int = 0  # of a subscription; `max_sub_tokens`; 0: no limit
    max_payload: int = 1_048_576  # header and body; -1: no limit
    max_control_line: int = 4096  # the argument part of a protocol line
    max_pending: int = 67_108_864  # bytes the kernel refused, per connection
    write_deadline_ns: int = 10 * SECOND  # how long refused bytes may wait
    ping_interval_ns: int = 120 * SECOND
    ping_max: int = 2  # unanswered PINGs before a connection is stale
    headers: bool = True  # `no_header_support` is its opposite
    fast_producer_stall: bool = True  # `no_fast_producer_stall` is its opposite

    # how it goes away
    lame_duck_duration_ns: int = 120 * SECOND  # within which clients are closed
    lame_duck_grace_period_ns: int = 10 * SECOND  # of it, before the first of them

    # ours: limits that the reference lacks
    memory_max: int = 2_147_483_648  # pending output and half-received payloads of all connections
    unauthenticated_per_address_max: int = 0  # connections of one address that did not log in; 0: off
    responses_max: int = RESPONSES_MAX  # replies that a client with `allow_responses` may still answer
    turn_output_max: int = 16_777_216  # a turn ends between two messages once it wrote this much
    account_responses_max: int = 131_072  # replies of services that are awaited in one account
    export_responses_max: int = 65_536  # ... and of one export
    internal_publishes_max: int = 256  # messages in other accounts that one message may lead to

    # authentication: a single user, or a token
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    auth_timeout_ns: int = 2 * SECOND
    users: UsersSettings = field(default_factory=UsersSettings)  # lists of users; see natscore_security

    accounts: AccountsSettings = field(
        default_factory=AccountsSettings
    )  # checked when a server is made of the options

    tls: TlsOptions | None = None  # of client connections; None: they are plain

    # what is noted and traced; the log itself is the shell's
    note_level: int = Level.TRACE  # notes of a lower level are not made
    trace: bool = False
    max_traced_msg_len: int = 0  # 0: whole payloads

    def __post_init__(self) -> None:
        if self.token and (self.user or self.password):
            raise ConfigError("Cannot have a user/pass and token")
        if self.password and not self.user:
            raise ConfigError("expected a user name beside the password")
        if not -1 <= self.port <= 65_535:
            raise ConfigError(f"port is {self.port}; a port is -1 (any free one) or 0 to 65535")
        if " " in self.server_name:
            raise ConfigError("server name cannot contain spaces")
        if self.max_payload > self.max_pending:
            raise ConfigError(
                f"max_payload ({self.max_payload}) cannot be higher than max_pending ({self.max_pending})"
            )
        if not 0 <= self.max_subject_tokens <= 255:
            raise ConfigError(
                f"max_sub_tokens is {self.max_subject_tokens}; it must be 1 to 255, or 0 for no limit"
            )
        if not 0 <= self.lame_duck_grace_period_ns < self.lame_duck_duration_ns:
            raise ConfigError(
                f"lame duck grace period ({self.lame_duck_grace_period_ns} ns) should be strictly lower than"
                f" lame duck duration ({self.lame_duck_duration_ns} ns)"
            )
        for name in ("max_control_line", "max_pending", "write_deadline_ns", "ping_interval_ns",
                     "memory_max", "responses_max", "turn_output_max", "auth_timeout_ns",
                     "account_responses_max", "export_responses_max", "internal_publishes_max"):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0")

    @property
    def requires_authentication(self) -> bool:
        """Whether a client must log in."""
        return bool(self.user or self.token or self.users.users)

    @property
    def payload_bound(self) -> int:
        """`max_payload` as a number that is never below 0."""
        return self.max_payload if self.max_payload >= 0 else 1 << 62

    def redacted(self) -> dict[str, object]:
        """All settings but the secrets, which appear as whether they are set."""
        return {
            f.name: getattr(self, f.name) if f.repr else bool(getattr(self, f.name)) for f in fields(self)
        }

"""What another configuration would mean for a running server: a pure comparison of two `Profile`s.

    Profile.of(settings) ── compared(old, new) ──► Changes: what changes, what is closed, what is refused

A reload writes `changes` to its log, in the words of nats-server; `--reload-dry-run`
prints all three. A profile holds what can be compared and kept as JSON: options, log,
paths, and of TLS a digest of its files. It holds passwords.

Source: operations.md section 9.2; nats-server 2.14.5, server/reload.go.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from natscore.documents import document_of, value_of
from natscore.options import SECOND, Options
from natscore.reload import go_duration
from natscore_cli.redaction import escaped
from natscore_cli.settings import JOURNAL_SIZE_MAX, LogSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.account.users import UserSettings
    from natscore_cli.settings import Settings
    from natscore_tcp.tls import TlsSettings

__all__ = ["Changes", "Profile", "compared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The configuration of a server, as far as a reload compares it."""

    options: Options
    log: LogSettings = field(default_factory=LogSettings)
    pid_file: str | None = None
    ports_file_dir: str | None = None
    journal_file: str | None = None
    journal_size_max: int = JOURNAL_SIZE_MAX
    tls_digest: str = ""  # of everything that a new TLS context would be made of

    @classmethod
    def of(cls, settings: Settings) -> Profile:
        """That of some settings. Reads the files of TLS; one that cannot be read counts as empty."""
        return cls(
            options=settings.options,
            log=settings.log,
            pid_file=settings.pid_file,
            ports_file_dir=settings.ports_file_dir,
            journal_file=settings.journal_file,
            journal_size_max=settings.journal_size_max,
            tls_digest="" if settings.tls is None else _digest(settings.tls.settings),
        )

    def document(self) -> dict[str, object]:
        """The same in words of JSON."""
        return {
            "options": _document(self.options),
            "log": _document(self.log),
            "pid_file": document_of(self.pid_file),
            "ports_file_dir": document_of(self.ports_file_dir),
            "journal_file": document_of(self.journal_file),
            "journal_size_max": self.journal_size_max,
            "tls_digest": self.tls_digest,
        }

    @classmethod
    def read(cls, document: dict[str, Any]) -> Profile:
        """A profile of its document. Raises ConfigError, KeyError or TypeError for what is none."""
        return cls(
            options=Options(**_values(document["options"])),
            log=LogSettings(**_values(document["log"])),
            pid_file=value_of(document["pid_file"]),
            ports_file_dir=value_of(document["ports_file_dir"]),
            journal_file=value_of(document["journal_file"]),
            journal_size_max=document["journal_size_max"],
            tls_digest=document["tls_digest"],
        )


def _document(settings: Options | LogSettings) -> dict[str, object]:
    return {one.name: document_of(getattr(settings, one.name)) for one in fields(settings)}


def _values(document: dict[str, object]) -> dict[str, Any]:
    return {name: value_of(one) for name, one in document.items()}


def _digest(tls: TlsSettings) -> str:
    named = hashlib.sha256(repr((*_plain_fields(tls), sorted(tls.pinned_certs))).encode())
    pairs = ((tls.cert_file, tls.key_file), *tls.more_certs, (tls.ca_file,))
    for path in (path for pair in pairs for path in pair):
        content = b""
        if path:
            try:
                with open(path, "rb") as file:
                    content = file.read()
            except OSError:
                pass  # whoever needs the file says what is wrong with it
        named.update(hashlib.sha256(content).digest())
    return named.hexdigest()


def _plain_fields(tls: TlsSettings) -> Iterator[object]:
    yield from (getattr(tls, one.name) for one in fields(tls) if one.name != "pinned_certs")


class Changes(NamedTuple):
    """What there is between two profiles, each line for people. Secrets are not in it."""

    changes: list[str]  # `max_payload = 5`, in the order in which a reload says it
    closes: list[str]  # which connections would be closed
    refused: list[str]  # what of the shell a reload cannot change; that of the core: `natscore.reload`


_LOG: Final = {
    "debug": "debug",
    "trace": "trace",
    "time": "logtime",
    "utc": "logtime_utc",
    "file": "log_file",
    "syslog": "syslog",
    "remote_syslog": "remote_syslog",
    "format": "log_format",
}
_NUMBERS: Final = {
    "max_connections": "max_connections",
    "max_control_line": "max_control_line",
    "max_payload": "max_payload",
    "max_traced_msg_len": "max_traced_msg_len",
    "ping_max": "ping_max",
    "client_advertise": "client_advertise",
    "memory_max": "memory_max",
    "unauthenticated_per_address_max": "unauthenticated_per_address_max",
}
_DURATIONS: Final = {"ping_interval_ns": "ping_interval", "write_deadline_ns": "write_deadline"}
_SECRETS: Final = {
    "user": "authorization username",
    "password": "authorization password",
    "token": "authorization token",
}
_LOG_REFUSED: Final = {"size_limit": "LogSizeLimit", "files_max": "LogMaxFiles"}
_REFUSED: Final = {"journal_file": "Journal", "journal_size_max": "JournalSizeMax"}  # ours


def compared(old: Profile, new: Profile) -> Changes:
    """What a server with the old profile would do about the new one."""
    refused = [
        f"config reload not supported for {name}: old={_shown(was)}, new={_shown(now)}"
        for name, was, now in (
            *_differences(old.log, new.log, _LOG_REFUSED),
            *_differences(old, new, _REFUSED),
        )
    ]
    return Changes(
        [escaped(line) for line in _changes(old, new)],
        [escaped(line) for line in _closes(old.options, new.options)],
        refused,
    )


def _differences(old: object, new: object, names: dict[str, str]) -> Iterator[tuple[str, object, object]]:
    for attribute, name in names.items():
        was, now = getattr(old, attribute), getattr(new, attribute)
        if was != now:
            yield name, was, now


def _changes(old: Profile, new: Profile) -> Iterator[str]:
    before, after = old.options, new.options
    for name, _, now in _differences(old.log, new.log, _LOG):
        yield f"{name} = {_shown(now)}"
    if old.tls_digest != new.tls_digest:
        yield f"tls = {'enabled' if new.tls_digest else 'disabled'}"
    yield from _tls_changes(before, after)
    for name, _, _ in _differences(before, after, _SECRETS):
        yield name
    if before.auth_timeout_ns != after.auth_timeout_ns:
        yield f"authorization timeout = {_seconds(after.auth_timeout_ns)}"
    yield from _user_changes(before, after)
    for name, _, now in _differences(before, after, _NUMBERS):
        yield f"{name} = {_shown(now)}"
    for name, _, now in _differences(before, after, _DURATIONS):
        assert isinstance(now, int)
        yield f"{name} = {go_duration(now)}"
    if before.fast_producer_stall != after.fast_producer_stall:
        yield f"no_fast_producer_stall = {_shown(not after.fast_producer_stall)}"
    if old.pid_file != new.pid_file:
        yield f"pid_file = {_shown(new.pid_file)}"
    if old.ports_file_dir != new.ports_file_dir:
        yield f"ports_file_dir = {_shown(new.ports_file_dir)}"
    if before.accounts != after.accounts:
        yield "accounts"


def _tls_changes(old: Options, new: Options) -> Iterator[str]:
    before, after = old.tls, new.tls
    if before is None or after is None:
        return
    if before.timeout_ns != after.timeout_ns:
        yield f"tls timeout = {_seconds(after.timeout_ns)}"
    if before.pinned_keys != after.pinned_keys:
        yield f"{len(after.pinned_keys)} pinned_certs"
    if before.first_ns != after.first_ns:
        yield f"Client TLS handshake first: {_shown(after.first_ns is not None)}"
        if after.first_ns:
            yield f"Client TLS handshake first fallback delay: {go_duration(after.first_ns)}"


def _user_changes(old: Options, new: Options) -> Iterator[str]:
    before, after = old.users, new.users
    sides = [
        ([one for one in side.users if not one.nkey], [one for one in side.users if one.nkey])
        for side in (before, after)
    ]
    if sides[0][0] != sides[1][0]:
        yield "authorization users"
    if sides[0][1] != sides[1][1]:
        yield "authorization nkey users"
    if before.no_auth_user != after.no_auth_user:
        yield "no_auth_user"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / SECOND:g}"


# -- who would be closed ---------------------------------------------------------------------------


def _closes(old: Options, new: Options) -> Iterator[str]:
    yield from _closed_users(old, new)
    yield from _closed_single(old, new)
    if not _requires_login(old) and _requires_login(new) and not _admits_anonymous(new):
        yield "connections that did not log in"
    if old.token != new.token and old.token and _requires_login(new):
        yield "connections that logged in with the old token"
    if new.max_connections < old.max_connections:
        yield f"the newest connections above {new.max_connections}, if there are more"
    pins = new.tls.pinned_keys if new.tls is not None else ()
    if pins and pins != (old.tls.pinned_keys if old.tls is not None else ()):
        yield "connections with TLS whose key is none of the pinned ones"


def _closed_users(old: Options, new: Options) -> Iterator[str]:
    after = {_identity(one): one for one in new.users.users}
    for one in old.users.users:
        then = after.get(_identity(one))
        who = f'connections of user "{one.nkey or one.name}"'
        if then is None:
            if _requires_login(new) and not (new.user and new.user == one.name):
                yield f"{who}: it is gone"
            elif one.account != _GLOBAL:
                yield f'{who}: it leaves account "{one.account}"'
        elif then.account != one.account:
            yield f'{who}: it moves from account "{one.account}" to "{then.account}"'
        elif then.password != one.password:
            yield f"{who} that do not know its new password"
        elif then.connection_types is not None and then.connection_types != one.connection_types:
            yield f"{who} of a type other than {', '.join(then.connection_types)}"


def _closed_single(old: Options, new: Options) -> Iterator[str]:
    if not old.user or not _requires_login(new):
        return
    if new.user != old.user:
        if not any(one.name == old.user for one in new.users.users):
            yield f'connections of user "{old.user}": it is gone'
    elif new.password != old.password:
        yield f'connections of user "{old.user}" that do not know its new password'


_GLOBAL: Final = "$G"


def _identity(user: UserSettings) -> tuple[str, str]:
    return user.name, user.nkey


def _requires_login(options: Options) -> bool:
    return options.requires_authentication


def _admits_anonymous(options: Options) -> bool:
    return bool(options.users.no_auth_user) or options.users.invents_user

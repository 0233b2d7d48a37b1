"""From what was given on the command line to what a start needs.

`arguments.py` knows the spelling of flags; this module knows their meaning: it
fills in defaults, refuses what cannot be obeyed, and ends with an `Options` for
the core and a few settings for the shell. What a configuration file says comes in
here, between defaults and flags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from natscore.effects import Level
from natscore.errors import ConfigError
from natscore.options import Options
from natscore_cli.arguments import StartRefused
from natscore_cli.logins import Logins
from natscore_cli.redaction import escaped
from natscore_cli.tls import LOGIN_AFTER_TLS_NS, tls_of

if TYPE_CHECKING:
    from natscore_cli.arguments import Given, Value
    from natscore_cli.conf.effect import FileSettings
    from natscore_cli.conf.warnings import Warned
    from natscore_cli.tls import ClientTls

__all__ = ["LogSettings", "Settings", "resolve"]

JOURNAL_SIZE_MAX: Final = 1_073_741_824


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Where the log goes and what it looks like."""

    file: str | None = None
    size_limit: int = 0  # bytes of the file above which another is begun; 0: never
    files_max: int = 0  # files that are kept; 0: all
    remote_syslog: str | None = None  # its URL; asked for only without a file
    syslog: bool = False  # asked for only without either
    format: Literal["text", "json"] = "text"
    time: bool = True
    utc: bool = False
    debug: bool = False
    trace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The file that a server was started with, as its log names it."""

    path: str
    digest: str
    ignored: tuple[tuple[str, str], ...] = ()  # options without effect, and why


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything one start of the command needs."""

    options: Options
    log: LogSettings = field(default_factory=LogSettings)
    backend: Literal["asyncio", "trio"] = "asyncio"
    uvloop: bool | None = None  # None: where it is installed
    pid_file: str | None = None
    ports_file_dir: str | None = None
    journal_file: str | None = None
    journal_size_max: int = JOURNAL_SIZE_MAX
    ignored_flags: tuple[str, ...] = ()
    configuration: Configuration | None = None
    tls: ClientTls | None = None  # of which `options.tls` is a part
    logins: Logins = field(default_factory=Logins)
    warnings: tuple[Warned, ...] = ()  # what the log of a start says of the configuration


def resolve(given: Given, *, memory_bytes: int, file: FileSettings | None = None) -> Settings:
    """Settings for a machine with `memory_bytes` of memory. Raises StartRefused with the reason.

    A flag that was given beats the file, which beats the default (operations.md section 1.3).
    """
    if given.refused:
        verb = "is" if len(given.refused) == 1 else "are"
        raise StartRefused(f"{', '.join(given.refused)} {verb} not supported yet")
    values = {name: value for name, value in given.values.items() if value != ""}
    if file is not None:
        if file.contradiction is not None:
            raise StartRefused(file.contradiction)
        if file.not_built:
            raise StartRefused("\n".join(file.not_built))
        values = _merged(values, file.values)
    _check_advertised(str(values.get("client_advertise", "")), given)
    _check_shown(values)

    def chosen(name: str, default: _V) -> _V:
        value = values.get(name)
        return default if value is None else value  # type: ignore[return-value]  # kinds of flags.py

    trace = any(chosen(name, False) for name in _TRACE)
    debug = any(chosen(name, False) for name in _DEBUG)
    backend: Literal["asyncio", "trio"] = chosen("backend", "asyncio")
    if backend == "trio" and chosen("uvloop", False):
        raise StartRefused("--uvloop and --backend trio exclude each other")
    tls = tls_of(values, None if file is None else file.tls)
    logins = _logins(values, file, tls)
    options = _options(values, file, tls, memory_bytes=memory_bytes, debug=debug, trace=trace)
    return Settings(
        options=replace(options, users=logins.configured),
        log=LogSettings(
            file=chosen("log_file", None),
            size_limit=max(chosen("log_size_limit", 0), 0),
            files_max=max(chosen("log_max_num", 0), 0),
            remote_syslog=chosen("remote_syslog", None),
            syslog=chosen("syslog", False),
            format=chosen("log_format", "text"),
            time=chosen("log_time", True),
            utc=chosen("log_utc", False),
            debug=debug,
            trace=trace,
        ),
        backend=backend,
        uvloop=chosen("uvloop", None),
        pid_file=chosen("pid_file", None),
        ports_file_dir=chosen("ports_file_dir", None),
        journal_file=chosen("journal_file", None),
        journal_size_max=chosen("journal_size_max", JOURNAL_SIZE_MAX),
        ignored_flags=tuple(given.ignored),
        configuration=(
            None if file is None else Configuration(path=file.path, digest=file.digest, ignored=file.ignored)
        ),
        tls=tls,
        logins=logins,
        warnings=() if file is None else file.start_warnings,
    )


def _logins(values: dict[str, Value], file: FileSettings | None, tls: ClientTls | None) -> Logins:
    """Who may log in. Raises StartRefused for a flag that contradicts the users of the file."""
    logins = Logins() if file is None else file.logins
    user, password, token = (str(values.get(name, "")) for name in _CREDENTIALS)
    if logins.users and (user or token):
        raise StartRefused(
            f"Can not have a {'single user/pass' if user else 'token'} and a users array: "
            "the file has users, and a flag names another"
        )
    settings = logins.settings
    if user or token:
        settings = replace(settings, authorization=True)
    return replace(
        logins, user=user, password=password, token=token, settings=settings,
        maps_certificates=tls is not None and tls.maps_certificates,
    )  # fmt: skip


_DEBUG: Final = ("debug", "debug_trace", "debug_trace_verbose")
_TRACE: Final = ("trace", "trace_verbose", "debug_trace", "debug_trace_verbose")
_CREDENTIALS: Final = ("user", "password", "token")


def _merged(flags: dict[str, Value], file: dict[str, Value]) -> dict[str, Value]:
    """What the file says where no flag says otherwise.

    Names that mean one thing together go together: `-V=false` beats `trace_verbose` of
    the file, and `--auth` its user and password.
    """
    kept = {name: value for name, value in file.items() if value != ""}
    for names in (_DEBUG, _TRACE, _CREDENTIALS):
        if any(name in flags for name in names):
            kept = {name: value for name, value in kept.items() if name not in names}
    return kept | flags


_V = TypeVar("_V")

_ZERO_IS_DEFAULT: Final = (
    *("port", "max_payload", "max_pending", "max_control_line", "ping_max"),
    *("ping_interval_ns", "write_deadline_ns", "auth_timeout_ns"),
    "lame_duck_grace_period_ns",
)
"""As in nats-server, where 0 is indistinguishable from not given."""

_UNLIMITED: Final = {
    "max_payload": -1,
    "max_subscriptions": 0,
    "max_subject_tokens": 0,
    "max_traced_msg_len": 0,
}
"""Where nats-server takes any negative number for "no limit", and how the options say it."""

_FIELDS: Final = frozenset(field.name for field in fields(Options))


def _options(
    values: dict[str, Value], file: FileSettings | None, tls: ClientTls | None, *, memory_bytes: int,
    debug: bool, trace: bool,
) -> Options:  # fmt: skip
    settings: dict[str, object] = {
        "memory_max": max(memory_bytes // 2, 1),
        "fast_producer_stall": not values.get("no_fast_producer_stall", False),
        "headers": not values.get("no_header_support", False),
    }
    for name, value in values.items():
        if name not in _FIELDS or name == "tls" or (name in _ZERO_IS_DEFAULT and value == 0):
            continue
        unlimited = _UNLIMITED.get(name)
        settings[name] = value if unlimited is None or int(value) >= 0 else unlimited
    if file is not None:
        settings["accounts"] = file.accounts
    if tls is not None:
        settings["tls"] = tls.options
        settings.setdefault("auth_timeout_ns", tls.options.timeout_ns + LOGIN_AFTER_TLS_NS)
    settings["trace"] = trace
    settings["note_level"] = Level.TRACE if trace else Level.DEBUG if debug else Level.INFO
    try:
        return Options(**settings)  # type: ignore[arg-type]  # fields by name; flags.py gives their kinds
    except ConfigError as error:
        raise StartRefused(str(error)) from error


_ADVERTISED: Final = re.compile(r"(?:\[[^\[\]\s]+\]|[^:\[\]\s]+)(?::([0-9]{1,5}))?")


def _check_shown(values: dict[str, Value]) -> None:
    """What clients are told is JSON, and that is Unicode."""
    for name in ("server_name", "client_advertise"):
        try:
            str(values.get(name, "")).encode()
        except UnicodeEncodeError:
            raise StartRefused(f"{name} is not valid UTF-8") from None


def _check_advertised(text: str, given: Given) -> None:
    """Clients would be sent to an address that nobody can connect to, and only after they lost this one."""
    match = _ADVERTISED.fullmatch(text)
    if text and (match is None or not 0 < int(match[1] or 1) <= 65_535):
        name = "--client_advertise" if given.values.get("client_advertise") else "client_advertise"
        raise StartRefused(f'{name} "{escaped(text)}" is not host or host:port; IPv6 stands in brackets')

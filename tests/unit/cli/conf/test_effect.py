"""What a file makes the server do: what is obeyed, what refuses the start, what is only named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from natscore.account.anonymous import Anonymous
from natscore.account.mappings import Destination
from natscore.effects import Level
from natscore.options import TlsOptions
from natscore_cli.arguments import StartRefused, parse
from natscore_cli.conf.effect import FileRefused, load_file
from natscore_cli.conf.options import Option, Support
from natscore_cli.conf.table.top import FILE
from natscore_cli.settings import Configuration, Settings, resolve
from natscore_tcp.tls import TlsSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GIBIBYTE: Final = 1 << 30


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """What a start comes to with the text of a file, and flags."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.pem", "a.key"):
        (tmp_path / name).touch()

    def start(text: str, *flags: str) -> Settings:
        (tmp_path / "c.conf").write_text(text)
        return resolve(parse([*flags]), memory_bytes=8 * GIBIBYTE, file=load_file("c.conf", {}))

    return start


def rows(support: Support) -> list[Option]:
    return [option for option in FILE.options if option.support is support]


DEFAULTS: Final = resolve(parse([]), memory_bytes=8 * GIBIBYTE)

REACHED: Final[dict[str, tuple[str, Callable[[Settings], object], object]]] = {
    "listen": ('"h:1"', lambda s: (s.options.host, s.options.port), ("h", 1)),
    "host": ("h", lambda s: s.options.host, "h"),
    "port": ("-1", lambda s: s.options.port, -1),
    "server_name": ("east", lambda s: s.options.server_name, "east"),
    "client_advertise": ('"h:1"', lambda s: s.options.client_advertise, "h:1"),
    "no_header_support": ("true", lambda s: s.options.headers, False),
    "no_fast_producer_stall": ("true", lambda s: s.options.fast_producer_stall, False),
    "max_connections": ("7", lambda s: s.options.max_connections, 7),
    "max_subscriptions": ("7", lambda s: s.options.max_subscriptions, 7),
    "max_sub_tokens": ("7", lambda s: s.options.max_subject_tokens, 7),
    "max_payload": ("2kb", lambda s: s.options.max_payload, 2048),
    "max_pending": ("2mb", lambda s: s.options.max_pending, 2 << 20),
    "max_control_line": ("1kb", lambda s: s.options.max_control_line, 1024),
    "max_traced_msg_len": ("7", lambda s: s.options.max_traced_msg_len, 7),
    "ping_interval": ('"1m"', lambda s: s.options.ping_interval_ns, 60 * 10**9),
    "ping_max": ("7", lambda s: s.options.ping_max, 7),
    "write_deadline": ('"3s"', lambda s: s.options.write_deadline_ns, 3 * 10**9),
    "lame_duck_duration": ('"40s"', lambda s: s.options.lame_duck_duration_ns, 40 * 10**9),
    "lame_duck_grace_period": ('"3s"', lambda s: s.options.lame_duck_grace_period_ns, 3 * 10**9),
    "debug": ("true", lambda s: (s.log.debug, s.options.note_level), (True, Level.DEBUG)),
    "trace": ("true", lambda s: (s.log.trace, s.options.trace), (True, True)),
    "trace_verbose": ("true", lambda s: (s.log.trace, s.options.trace), (True, True)),
    "logtime": ("false", lambda s: s.log.time, False),
    "logtime_utc": ("true", lambda s: s.log.utc, True),
    "log_file": ('"a/log"', lambda s: s.log.file, "a/log"),
    "log_format": ("json", lambda s: s.log.format, "json"),
    "logfile_size_limit": ("1mb", lambda s: s.log.size_limit, 1 << 20),
    "logfile_max_num": ("7", lambda s: s.log.files_max, 7),
    "syslog": ("true", lambda s: s.log.syslog, True),
    "remote_syslog": ('"udp://h:514"', lambda s: s.log.remote_syslog, "udp://h:514"),
    "pid_file": ('"a/pid"', lambda s: s.pid_file, "a/pid"),
    "ports_file_dir": ('"a"', lambda s: s.ports_file_dir, "a"),
    "authorization": (
        "{ user: a, password: b, timeout: 0.5 }",
        lambda s: (s.options.user, s.options.password, s.options.auth_timeout_ns),
        ("a", "b", 500_000_000),
    ),
    "accounts": (
        "{ A: { users: [ {user: a} ] } }",
        lambda s: (
            [one.name for one in s.options.accounts.accounts],
            [one.account for one in s.logins.users],
        ),
        (["A"], ["A"]),
    ),
    "mappings": (
        "{ a: b }",
        lambda s: [(one.source, one.destinations) for one in s.options.accounts.global_mappings],
        [(b"a", (Destination(b"b", 100),))],
    ),
    "no_auth_user": (
        "a\nauthorization { users: [ {user: a} ] }",
        lambda s: (s.logins.no_auth_user, s.logins.anonymous),
        ("a", Anonymous.AS_NO_AUTH_USER),
    ),
    "system_account": (
        "SYS\naccounts { SYS {} }",
        lambda s: s.options.accounts.system_account,
        "SYS",
    ),
    "no_system_account": ("true", lambda s: s.options.accounts.no_system_account, True),
    "tls": (
        "{ cert_file: a.pem, key_file: a.key, verify: true, timeout: 5 }",
        lambda s: (s.tls and s.tls.settings, s.options.tls, s.options.auth_timeout_ns),
        (
            TlsSettings(cert_file="a.pem", key_file="a.key", verify=True),
            TlsOptions(verify=True, timeout_ns=5 * 10**9),
            6 * 10**9,
        ),
    ),
    "allow_non_tls": (
        "true\ntls { cert_file: a.pem, key_file: a.key }",
        lambda s: s.options.tls and s.options.tls.required,
        False,
    ),
    "memory_max": ("1gb", lambda s: s.options.memory_max, GIBIBYTE),
    "unauthenticated_per_address_max": ("7", lambda s: s.options.unauthenticated_per_address_max, 7),
    "journal": ('"a/journal"', lambda s: s.journal_file, "a/journal"),
    "journal_size_max": ("1mb", lambda s: s.journal_size_max, 1 << 20),
}
"""For each option that is obeyed: a value, where it arrives, and what is there then."""


@pytest.mark.spec("configuration 4.1", "configuration 4.2", "configuration 4.3", "configuration 4.4")
@pytest.mark.spec("configuration 4.5")
@pytest.mark.parametrize("option", rows(Support.OBEYED), ids=lambda option: option.name)
def test_an_option_of_the_file_reaches_its_place(option: Option, started: Callable[..., Settings]) -> None:
    value, look, expected = REACHED[option.name]

    assert look(DEFAULTS) != expected
    for name in option.names:
        assert look(started(f"{name}: {value}")) == expected


@pytest.mark.parametrize("option", rows(Support.REFUSED), ids=lambda option: option.name)
def test_what_is_not_built_refuses_the_start_by_name(
    option: Option, started: Callable[..., Settings]
) -> None:
    with pytest.raises(StartRefused) as caught:
        started(f"{option.name}: {option.sample or option.type.sample}")

    (line,) = [line for line in str(caught.value).splitlines() if f" {option.name} is" in line]
    verdict = "not supported" if option.reason else "not built yet"
    assert line == f"c.conf:1:0: {option.name} is {verdict}, and the server would not obey it"


@pytest.mark.parametrize(
    "text",
    ["http_port: 0", "http: 0", "cluster {}", "accounts {}",
     "accounts []",
     "write_timeout: close", "proxy_protocol: no", "mappings {}"],
)  # fmt: skip
def test_what_is_not_built_and_is_switched_off_does_not_matter(
    text: str, started: Callable[..., Settings]
) -> None:
    assert started(text).options == DEFAULTS.options


INSIDE: Final = [
    "authorization { auth_callout { issuer: AAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB776S,"
    " auth_users: [a] } }",
    "authorization { proxy_required: true }",
    "accounts { A { users: [ {user: a, proxy_required: true} ] } }",
    "accounts { A { msg_trace: t } }",
    "accounts { A { exports: [ {service: s, allow_trace: true} ] } }",
    "tls { cert_file: a.pem, key_file: a.key, ocsp_peer: true }",
]


@pytest.mark.parametrize("text", INSIDE)
def test_what_is_refused_inside_a_block_is_named_with_its_path(
    text: str, started: Callable[..., Settings]
) -> None:
    with pytest.raises(
        StartRefused, match=r"^c\.conf:1:\d+: [a-z_.]+ is not (built yet|supported), "
    ) as caught:
        started(text)

    assert str(caught.value).split(": ")[1].split(" is ")[0].split(".")[-1] in text


@pytest.mark.parametrize(
    "text",
    [
        "authorization { proxy_required: false }",
        "accounts { A { exports: [ {service: s, allow_trace: no} ] } }",
    ],
)
def test_what_is_refused_inside_a_block_may_be_switched_off(
    text: str, started: Callable[..., Settings]
) -> None:
    assert started(text).logins.users == ()


@pytest.mark.parametrize("text", ["tls {}", "tls { timeout: 3 }"])
def test_a_tls_block_without_a_certificate_refuses_the_start(
    text: str, started: Callable[..., Settings]
) -> None:
    with pytest.raises(
        StartRefused, match=r"^c\.conf:1:0: TLS Server certificate must be present and valid$"
    ):
        started(text)


def test_all_that_is_not_built_is_named_at_once(started: Callable[..., Settings]) -> None:
    with pytest.raises(StartRefused) as caught:
        started(
            "http: 8222\nauthorization { users: [ {user: a, proxy_required: true} ] }\ncluster { port: 6222 }"
        )

    assert [line.split(" is ")[0] for line in str(caught.value).splitlines()] == [
        "c.conf:1:0: http",
        "c.conf:2:36: authorization.users.proxy_required",
        "c.conf:3:1: cluster",
    ]


@pytest.mark.parametrize("option", rows(Support.IGNORED), ids=lambda option: option.name)
def test_an_option_without_effect_is_named_in_the_log(
    option: Option, started: Callable[..., Settings]
) -> None:
    settings = started(f"{option.name}: {option.sample or option.type.sample}")

    assert settings.configuration is not None
    assert settings.configuration.ignored == ((option.name, option.reason),)
    assert settings.options == DEFAULTS.options


@pytest.mark.spec("configuration 5.14")
@pytest.mark.parametrize("option", rows(Support.UNSUPPORTED), ids=lambda option: option.name)
def test_what_is_not_supported_is_an_error_where_it_is_asked_for(
    option: Option, started: Callable[..., Settings]
) -> None:
    if option.sample:
        with pytest.raises(FileRefused, match=rf"^c\.conf:1:0: {option.reason}; remove {option.name}"):
            started(f"{option.name}: {option.sample}")
    settings = started(f"{option.name}: disabled")
    assert settings.configuration is not None
    assert settings.configuration.ignored == ((option.name, option.reason),)


@pytest.mark.spec("configuration 5.14")
@pytest.mark.parametrize("value", ["true", "enabled", "{}", "{ enabled: true }", "{ max_mem: 1gb }"])
def test_jetstream_that_is_enabled_is_refused(value: str, started: Callable[..., Settings]) -> None:
    with pytest.raises(FileRefused, match="JetStream is not supported"):
        started(f"jetstream: {value}")


@pytest.mark.spec("configuration 5.14")
@pytest.mark.parametrize("value", ["false", "disabled", "{ enabled: false, store_dir: a }"])
def test_jetstream_that_is_disabled_is_accepted(value: str, started: Callable[..., Settings]) -> None:
    assert started(f"jetstream: {value}").options == DEFAULTS.options


@pytest.mark.spec("configuration 4.2")
@pytest.mark.parametrize("number", [0, -1])
def test_a_connection_limit_of_nothing_lets_nobody_in(number: int, started: Callable[..., Settings]) -> None:
    assert started(f"max_connections: {number}").options.max_connections == 0


@pytest.mark.spec("configuration 6")
@pytest.mark.parametrize(
    "line",
    ["port: 0", "max_payload: 0", "max_pending: 0", "max_control_line: 0", "ping_max: 0",
     'ping_interval: "0s"',
     'write_deadline: "0s"', 'lame_duck_grace_period: "0s"', "logfile_size_limit: 0",
     "logfile_size_limit: -1", "logfile_max_num: -1", "syslog: false", 'remote_syslog: ""',
     "authorization { timeout: 0 }", 'log_file: ""', 'server_name: ""'],
)  # fmt: skip
def test_zero_and_nothing_are_the_default(line: str, started: Callable[..., Settings]) -> None:
    settings = started(line)

    assert (settings.options, settings.log) == (DEFAULTS.options, DEFAULTS.log)


@pytest.mark.spec("operations 1.3")
def test_a_flag_beats_the_file_and_the_file_beats_the_default(started: Callable[..., Settings]) -> None:
    text = "max_payload: 100\nport: 1\ndebug: true\nlogtime: false\ntrace_verbose: true\nserver_name: file"

    settings = started(text, "-p", "2", "-D=false", "-T", "-V=false")

    assert (settings.options.max_payload, settings.options.port, settings.options.server_name) == (
        100,
        2,
        "file",
    )
    assert (settings.log.debug, settings.log.trace, settings.log.time) == (False, False, True)


@pytest.mark.spec("operations 1.3")
def test_debug_and_trace_of_file_and_flags_go_together(started: Callable[..., Settings]) -> None:
    assert started("trace: true", "-D").log.trace
    assert started("trace: true", "-D").log.debug
    assert not started("debug: true\ntrace: true", "-DV=false").log.trace


@pytest.mark.spec("operations 1.3")
def test_credentials_of_a_flag_replace_those_of_the_file(started: Callable[..., Settings]) -> None:
    options = started("authorization { user: a, password: b, timeout: 1 }", "--auth", "t").options

    assert (options.user, options.password, options.token, options.auth_timeout_ns) == ("", "", "t", 10**9)


@pytest.mark.spec("client-protocol 16.3", "configuration 7.1")
@pytest.mark.parametrize(("flags", "what"), [(("--user", "a", "--pass", "b"), "single user/pass"),
                                             (("--auth", "t"), "token")])  # fmt: skip
def test_a_flag_that_names_a_user_refuses_the_start_where_the_file_has_users(
    flags: tuple[str, ...], what: str, started: Callable[..., Settings]
) -> None:
    with pytest.raises(StartRefused, match=f"^Can not have a {what} and a users array"):
        started("authorization { users: [ {user: a} ] }", *flags)


@pytest.mark.spec("configuration 2.11")
def test_warnings_do_not_keep_a_server_from_starting(tmp_path: Path) -> None:
    (tmp_path / "c.conf").write_text("ping_interval: 10")

    file = load_file(str(tmp_path / "c.conf"), {})

    (warning,) = file.warnings
    assert warning.endswith("ping_interval should be converted to a duration")
    assert file.values == {"ping_interval_ns": 10 * 10**9}


def test_an_address_that_nobody_can_use_is_not_advertised(started: Callable[..., Settings]) -> None:
    with pytest.raises(StartRefused, match=r'^client_advertise "a b" is not host or host:port'):
        started('client_advertise: "a b"')


def test_the_settings_name_the_file(started: Callable[..., Settings]) -> None:
    configuration = started("port: 4222").configuration

    assert configuration == Configuration(
        path="c.conf", digest="sha256:797533ebd0dfba7d34a0f9337ecf147e442871f48ddfd07ed751575a5737267e"
    )
    assert DEFAULTS.configuration is None


def test_what_comes_from_a_file_does_not_reach_a_terminal_unescaped(tmp_path: Path) -> None:
    (tmp_path / "c.conf").write_text('"\x1b[2J": 1\nport: "\x1b[2J"')

    with pytest.raises(FileRefused) as caught:
        load_file(str(tmp_path / "c.conf"), {})

    assert "\x1b" not in str(caught.value)


def test_passwords_are_not_shown_by_what_a_file_came_to(started: Callable[..., Settings]) -> None:
    assert "s3cret" not in repr(started("authorization { user: a, password: s3cret }"))

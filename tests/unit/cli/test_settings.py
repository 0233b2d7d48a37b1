"""What flags mean: defaults, refusals, and the options of the core."""

from __future__ import annotations

import pytest

from natscore.effects import Level
from natscore.options import SECOND, Options, TlsOptions
from natscore_cli.arguments import StartRefused, parse
from natscore_cli.settings import LogSettings, Settings, resolve
from natscore_tcp import TlsSettings

GIBIBYTE = 1 << 30


def settings(*words: str) -> Settings:
    return resolve(parse(list(words)), memory_bytes=8 * GIBIBYTE)


def refusal(*words: str) -> str:
    with pytest.raises(StartRefused) as caught:
        settings(*words)
    return str(caught.value)


def test_without_flags_the_defaults_of_the_options_hold_but_for_memory() -> None:
    assert settings() == Settings(
        options=Options(memory_max=4 * GIBIBYTE, note_level=Level.INFO), log=LogSettings()
    )


def test_memory_max_is_half_of_the_memory_unless_given() -> None:
    assert settings().options.memory_max == 4 * GIBIBYTE
    assert settings("--memory_max", "1000000000").options.memory_max == 1_000_000_000


def test_flags_reach_the_options() -> None:
    options = settings(
        *("-a", "::1", "-p", "-1", "-n", "east", "--client_advertise", "example.org:4222"),
        *("--max_payload", "100", "--max_pending", "1000", "--max_connections", "7"),
        *("--max_subscriptions", "8", "--max_sub_tokens", "9", "--max_control_line", "512"),
        *("--ping_interval", "1s", "--ping_max", "5", "--write_deadline", "2s", "--auth_timeout", "3s"),
        *("--memory_max", "10000", "--unauthenticated_per_address_max", "11"),
        *("--no_fast_producer_stall", "--no_header_support", "--max_traced_msg_len", "12", "-V"),
        *("--user", "a", "--pass", "b"),
    ).options

    assert options == Options(
        host="::1",
        port=-1,
        server_name="east",
        client_advertise="example.org:4222",
        max_payload=100,
        max_pending=1000,
        max_connections=7,
        max_subscriptions=8,
        max_subject_tokens=9,
        max_control_line=512,
        ping_interval_ns=1_000_000_000,
        ping_max=5,
        write_deadline_ns=2_000_000_000,
        auth_timeout_ns=3_000_000_000,
        memory_max=10_000,
        unauthenticated_per_address_max=11,
        fast_producer_stall=False,
        headers=False,
        max_traced_msg_len=12,
        trace=True,
        user="a",
        password="b",
    )


def test_flags_reach_the_shell() -> None:
    found = settings(
        *("-P", "server.pid", "--ports_file_dir", "ports", "--journal", "events", "--journal_size_max", "10"),
        *("--backend", "trio", "--uvloop=false", "-sd", "/data"),
        *("-l", "server.log", "-T=false", "--logtime_utc", "--log-format", "json", "-D"),
    )

    assert found == Settings(
        options=Options(memory_max=4 * GIBIBYTE, note_level=Level.DEBUG),
        log=LogSettings(file="server.log", format="json", time=False, utc=True, debug=True, trace=False),
        backend="trio",
        uvloop=False,
        pid_file="server.pid",
        ports_file_dir="ports",
        journal_file="events",
        journal_size_max=10,
        ignored_flags=("-sd",),
    )


@pytest.mark.parametrize(
    ("flag", "debug", "trace"),
    [
        ("-D", True, False),
        ("-V", False, True),
        ("-DV", True, True),
        ("-VV", False, True),
        ("-DVV", True, True),
        ("-DV=false", False, False),
    ],
)
@pytest.mark.spec("operations 1.2")
def test_debug_and_trace_are_switched_apart_and_together(flag: str, debug: bool, trace: bool) -> None:
    found = settings(flag)

    assert (found.log.debug, found.log.trace, found.options.trace) == (debug, trace, trace)
    assert found.options.note_level == (Level.TRACE if trace else Level.DEBUG if debug else Level.INFO)


@pytest.mark.parametrize(
    "words",
    [("-a", ""), ("-p", "0"), ("-n", ""), ("--max_payload", "0"), ("--max_pending", "0"), ("-l", ""),
     ("--max_control_line", "0"), ("--ping_max", "0"), ("-P", ""), ("--ports_file_dir", "")],
)  # fmt: skip
def test_empty_and_zero_are_the_default_where_nats_server_says_so(words: tuple[str, str]) -> None:
    assert settings(*words) == settings()


@pytest.mark.parametrize("flag", ["--max_subscriptions", "--max_sub_tokens", "--max_traced_msg_len"])
def test_minus_one_is_unlimited_where_nats_server_says_so(flag: str) -> None:
    assert settings(flag, "-1") == settings()


def test_any_negative_payload_limit_is_none() -> None:
    assert settings("--max_payload", "-7").options.max_payload == -1


@pytest.mark.parametrize("text", ["example.org", "example.org:4222", "10.0.0.1:1", "[::1]", "[::1]:65535"])
def test_an_address_that_clients_can_use_is_advertised(text: str) -> None:
    assert settings("--client_advertise", text).options.client_advertise == text


@pytest.mark.parametrize("text", ["a:b:c", "::1", "host:", "host:0", "host:65536", "[::1", "a b", ":4222"])
def test_an_address_that_nobody_can_connect_to_is_not_advertised(text: str) -> None:
    assert refusal("--client_advertise", text) == (
        f'--client_advertise "{text}" is not host or host:port; IPv6 stands in brackets'
    )


@pytest.mark.parametrize(
    ("flag", "name"), [("-n", "server_name"), ("--client_advertise", "client_advertise")]
)
def test_what_clients_are_told_is_unicode(flag: str, name: str) -> None:
    assert refusal(flag, "a\udcff") == f"{name} is not valid UTF-8"


def test_what_is_not_built_is_refused_by_name() -> None:
    assert refusal("-m", "8222", "--profile", "9") == "-m, --profile are not supported yet"
    assert refusal("-js") == "-js is not supported yet"


@pytest.mark.spec("operations 1.2")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--tls",), "TLS Server certificate must be present and valid"),
        (("--tlsverify",), "TLS Server certificate must be present and valid"),
        (("--tlskey", "key.pem"), "TLS Server certificate must be present and valid"),
        (("--tlscert", "cert.pem"), "TLS Server private key must be present and valid"),
    ],
)
def test_tls_needs_a_certificate_and_its_key(words: tuple[str, ...], text: str) -> None:
    assert refusal(*words) == text


@pytest.mark.spec("operations 1.2", "client-protocol 11:authorization.timeout")
def test_a_certificate_and_its_key_are_enough_for_tls() -> None:
    chosen = settings("--tlscert", "cert.pem", "--tlskey", "key.pem", "--tlsverify", "--tlscacert", "ca.pem")

    assert chosen.tls is not None
    assert chosen.tls.settings == TlsSettings(
        cert_file="cert.pem", key_file="key.pem", ca_file="ca.pem", verify=True
    )
    assert chosen.options.tls == TlsOptions(verify=True)
    assert chosen.options.auth_timeout_ns == 3 * SECOND
    assert settings("--tlscert", "c", "--tlskey", "k", "--auth_timeout", "9s").options.auth_timeout_ns == (
        9 * SECOND
    )


def test_tls_can_be_switched_off() -> None:
    chosen = settings("--tlscert", "cert.pem", "--tls=false")

    assert (chosen.tls, chosen.options.tls) == (None, None)
    assert chosen.options.auth_timeout_ns == 2 * SECOND


@pytest.mark.spec("client-protocol 16.2")
@pytest.mark.parametrize("variant", "abxy")
@pytest.mark.parametrize(
    ("flag", "more", "what"),
    [("--pass", ("--user", "a"), "a hashed password"), ("--auth", (), "a hashed token")],
)
def test_a_bcrypt_hash_is_compared_as_one_and_not_shown(
    flag: str, more: tuple[str, ...], what: str, variant: str
) -> None:
    hashed = f"$2{variant}$11$" + "x" * 53

    logins = settings(flag, hashed, *more).logins

    assert logins.needs_security == what
    assert not logins.plain_passwords
    assert "xxx" not in repr(logins)


def test_a_password_that_only_begins_like_a_hash_is_a_password() -> None:
    assert settings("--user", "a", "--pass", "$2a$1").options.password == "$2a$1"


def test_a_password_alone_does_not_open_the_server() -> None:
    assert refusal("--pass", "b") == "expected a user name beside the password"


def test_contradictions_of_the_options_refuse_the_start_in_their_words() -> None:
    assert refusal("--user", "a", "--auth", "t") == "Cannot have a user/pass and token"
    assert refusal("-n", "a b") == "server name cannot contain spaces"
    assert refusal("--max_payload", "100000000") == (
        "max_payload (100000000) cannot be higher than max_pending (67108864)"
    )
    assert "port is 65536" in refusal("-p", "65536")


def test_uvloop_is_a_loop_of_asyncio() -> None:
    assert refusal("--uvloop", "--backend", "trio") == "--uvloop and --backend trio exclude each other"
    assert settings("--uvloop").uvloop is True
    assert settings().uvloop is None


def test_settings_do_not_show_secrets() -> None:
    assert "s3cret" not in repr(settings("--user", "a", "--pass", "s3cret"))
    assert "s3cret" not in repr(settings("--auth", "s3cret"))


@pytest.mark.spec("operations 1.2", "operations 6.4", "operations 6.5")
def test_the_flags_of_the_log_reach_their_places() -> None:
    log = settings("-s", "-r", "udp://h:514", "--log_size_limit", "1000", "-l", "a.log").log

    assert (log.syslog, log.remote_syslog, log.size_limit, log.file) == (True, "udp://h:514", 1000, "a.log")
    assert settings("--log_size_limit", "-1").log == settings().log

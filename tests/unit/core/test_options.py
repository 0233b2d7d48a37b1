"""Settings: the defaults of the reference, and contradictions refused."""

from __future__ import annotations

from typing import Any

import pytest

from natscore.errors import ConfigError
from natscore.options import MILLISECOND, SECOND, Options


@pytest.mark.spec("client-protocol 11", "client-protocol 22")
def test_defaults_are_those_of_the_reference() -> None:
    options = Options()

    assert (options.host, options.port) == ("0.0.0.0", 4222)
    assert options.max_connections == 65_536
    assert options.max_subscriptions == 0
    assert options.max_subject_tokens == 0
    assert options.max_payload == 1_048_576
    assert options.max_control_line == 4096
    assert options.max_pending == 67_108_864
    assert options.write_deadline_ns == 10 * SECOND
    assert options.ping_interval_ns == 120 * SECOND
    assert options.ping_max == 2
    assert options.auth_timeout_ns == 2 * SECOND
    assert options.headers
    assert options.fast_producer_stall
    assert SECOND == 1000 * MILLISECOND == 10**9


@pytest.mark.spec("client-protocol 11:max_payload")
@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"token": "t", "user": "u"}, "Cannot have a user/pass and token"),
        ({"token": "t", "password": "p", "user": "u"}, "Cannot have a user/pass and token"),
        ({"password": "p"}, "expected a user name beside the password"),
        ({"port": 65_536}, "port is 65536; a port is -1 (any free one) or 0 to 65535"),
        ({"port": -2}, "port is -2; a port is -1 (any free one) or 0 to 65535"),
        ({"server_name": "two words"}, "server name cannot contain spaces"),
        ({"max_pending": 1000}, "max_payload (1048576) cannot be higher than max_pending (1000)"),
        ({"max_subject_tokens": 256}, "max_sub_tokens is 256; it must be 1 to 255, or 0 for no limit"),
        ({"max_subject_tokens": -1}, "max_sub_tokens is -1; it must be 1 to 255, or 0 for no limit"),
        ({"max_control_line": 0}, "max_control_line is 0; it must be above 0"),
        ({"write_deadline_ns": -1}, "write_deadline_ns is -1; it must be above 0"),
        ({"ping_interval_ns": 0}, "ping_interval_ns is 0; it must be above 0"),
        ({"memory_max": 0}, "memory_max is 0; it must be above 0"),
        ({"turn_output_max": 0}, "turn_output_max is 0; it must be above 0"),
        ({"auth_timeout_ns": 0}, "auth_timeout_ns is 0; it must be above 0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Options(**settings)

    assert str(refused.value) == complaint


@pytest.mark.parametrize(
    "settings", [{"port": -1}, {"port": 0}, {"max_payload": -1}, {"user": "u"}, {"max_subject_tokens": 255}]
)
def test_a_setting_at_its_edge_is_accepted(settings: dict[str, Any]) -> None:
    options = Options(**settings)

    assert {name: getattr(options, name) for name in settings} == settings


@pytest.mark.spec("client-protocol 16")
@pytest.mark.parametrize(
    ("settings", "required"),
    [({}, False), ({"user": "u"}, True), ({"user": "u", "password": "p"}, True), ({"token": "t"}, True)],
)
def test_a_login_is_required_where_a_user_or_a_token_is_set(settings: dict[str, Any], required: bool) -> None:
    assert Options(**settings).requires_authentication is required


@pytest.mark.parametrize("secrets", [{"user": "planted", "password": "planted"}, {"token": "planted"}])
def test_secrets_are_shown_neither_by_repr_nor_redacted(secrets: dict[str, str]) -> None:
    options = Options(**secrets)  # type: ignore[arg-type]

    assert "planted" not in repr(options)
    shown = options.redacted()
    assert "planted" not in repr(shown)
    assert {name: shown[name] for name in secrets} == dict.fromkeys(secrets, True)
    assert shown["port"] == 4222

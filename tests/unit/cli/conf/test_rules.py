"""What must fit together before a server starts, in the words and the order of nats-server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from natscore_cli.conf.effect import load_file
from natscore_cli.conf.rules import seconds

if TYPE_CHECKING:
    from pathlib import Path

GATEWAY = "name: a, port: 1"
OPERATOR = "OAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB7JSU"  # of nobody
TOKEN = '"eyJ0.e30.c2ln"'


@pytest.mark.spec("configuration 7.2")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'lame_duck_duration: "30s"\nlame_duck_grace_period: "30s"',
            "lame duck grace period (30s) should be strictly lower than lame duck duration (30s)",
        ),
        (
            'lame_duck_grace_period: "3m"',
            "lame duck grace period (3m0s) should be strictly lower than lame duck duration (2m0s)",
        ),
        (f"operator: {TOKEN}", "operators require an account resolver to be configured"),
        (
            f"operator: {TOKEN}\nresolver: MEM\naccounts {{ A {{}} }}",
            "operators do not allow Accounts to be configured directly",
        ),
        (
            f"operator: {TOKEN}\nresolver: MEM\nauthorization {{ users: [ {{user: a}} ] }}",
            "operators do not allow users to be configured directly",
        ),
        (
            f"operator: {TOKEN}\nresolver: MEM\ntrusted: {OPERATOR}",
            "conflicting options for 'TrustedKeys' and 'TrustedOperators'",
        ),
        (
            'leafnodes { remotes: [ {url: "nats://h:1", account: Z} ] }',
            'cannot find local account "Z" specified in leafnode remote',
        ),
        (
            "leafnodes { authorization { users: [ {user: a, account: Z} ] } }",
            'cannot find local account "Z" specified in leafnode authorization',
        ),
        (
            'leafnodes { remotes: [ {urls: ["nats://h:1", "ws://h:1"]} ] }',
            "remote leaf node configuration cannot have a mix of websocket and non-websocket urls",
        ),
        (
            f"leafnodes {{ port: 2 }}\ngateway {{ {GATEWAY} }}",
            "leaf nodes and gateways (both being defined) require a system account to also be configured",
        ),
        ("no_auth_user: a", 'no_auth_user: "a" present, but users/nkeys are not defined'),
        (
            "no_auth_user: a\nauthorization { users: [ {user: b} ] }",
            'no_auth_user: "a" not present as user or nkey in authorization block or account configuration',
        ),
        (
            f"no_auth_user: a\noperator: {TOKEN}\nresolver: MEM",
            "no_auth_user not compatible with Trusted Operator",
        ),
        ("gateway { port: 1 }", "gateway has no name"),
        ("gateway { name: a }", 'gateway "a" has no port specified (select -1 for random port)'),
        (f"gateway {{ {GATEWAY}, gateways: [ {{}} ] }}", "gateway in the list 0 has no name"),
        (f"gateway {{ {GATEWAY}, gateways: [ {{name: b}} ] }}", 'gateway "b" has no URL'),
        (
            f"gateway {{ {GATEWAY} }}\ncluster {{ name: b }}",
            "cluster name conflicts between cluster and gateway definitions",
        ),
        (
            "cluster { pool_size: -1, accounts: [A] }",
            "pool_size cannot be negative if pinned accounts are specified",
        ),
        (
            "cluster { accounts: [A, A] }",
            "found duplicate account name \"A\" in pinned accounts list ['A', 'A']",
        ),
        ("websocket { port: 1 }", "websocket requires TLS configuration"),
        (
            "websocket { port: 1, no_tls: true, authorization { user: a } }\n"
            "authorization { users: [ {user: b} ] }",
            "websocket authentication username not compatible with presence of users/nkeys",
        ),
        (
            "websocket { port: 1, no_tls: true, authorization { token: a } }\n"
            "authorization { users: [ {user: b} ] }",
            "websocket authentication token not compatible with presence of users/nkeys",
        ),
        (
            "websocket { port: 1, no_tls: true, jwt_cookie: c }",
            "trusted operators or trusted keys configuration is required for JWT authentication "
            'via cookie "c"',
        ),
        ("ping_max: -1", "ping_max must not be negative"),
        ('write_deadline: "-1s"', "write_deadline must not be negative"),
        ("authorization { timeout: -1 }", "authorization.timeout must not be negative"),
        ("system_account: X", "error resolving system account: account missing"),
    ],
)
def test_what_does_not_fit_together_is_said(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "c.conf").write_text(text)

    assert load_file(str(tmp_path / "c.conf"), {}).contradiction == said


@pytest.mark.spec("configuration 7.2")
@pytest.mark.parametrize(
    "text",
    [
        "",
        'lame_duck_duration: "40s"\nlame_duck_grace_period: "30s"',
        'leafnodes { remotes: [ {urls: ["nats://h:1", "nats://h:2"], account: A} ] }\naccounts { A {} }',
        "no_auth_user: a\naccounts { A { users: [ {user: a} ] } }",
        f'gateway {{ {GATEWAY}, gateways: [ {{name: b, url: "nats://h:1"}} ] }}\ncluster {{ name: a }}',
        "websocket { port: 1, no_tls: true }",
        "system_account: SYS\naccounts { SYS {} }",
        f"operator: {TOKEN}\nresolver: MEM\nsystem_account: X",
    ],
)
def test_what_fits_together_is_left_alone(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.conf").write_text(text)

    assert load_file(str(tmp_path / "c.conf"), {}).contradiction is None


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [(30 * 10**9, "30s"), (120 * 10**9, "2m0s"), (3_605 * 10**9, "1h0m5s"), (1_500_000_000, "1.5s")],
)
def test_durations_are_shown_as_go_shows_them(nanoseconds: int, shown: str) -> None:
    assert seconds(nanoseconds) == shown

"""What works and should be thought about is said when a server starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from natscore.effects import Level, Note
from natscore_cli.conf.effect import load_file
from natscore_cli.texts import message

if TYPE_CHECKING:
    from pathlib import Path


def warnings(text: str, folder: Path) -> list[str]:
    """The lines of the log."""
    (folder / "c.conf").write_text(text)
    found = load_file(str(folder / "c.conf"), {}).start_warnings
    return [message(Note(Level.WARNING, name, dict(fields))) for name, fields in found]


WIDE = (
    "",
    ", permissions: {}",
    ", permissions: {publish: a}",
    ", permissions: {subscribe: a}",
    ", permissions: {publish: a, subscribe: {deny: b}}",
    ", permissions: {publish: [a, '>'], subscribe: a}",
    ", permissions: {publish: a, subscribe: [a, '>']}",
)


@pytest.mark.parametrize("rights", WIDE)
def test_a_no_auth_user_with_wide_rights_is_named(rights: str, tmp_path: Path) -> None:
    text = f"no_auth_user: a\naccounts {{ A {{ users: [ {{user: a{rights}}}, {{user: b}} ] }} }}"

    assert warnings(text, tmp_path) == [
        'Clients that do not log in are user "a" of account "A", who may use every subject'
    ]


@pytest.mark.parametrize(
    "text",
    [
        "no_auth_user: a\nauthorization { users: [ {user: a, permissions: {pub: a, sub: [b, '> q']}} ] }",
        "authorization { users: [ {user: a} ] }",
    ],
)
def test_a_no_auth_user_with_few_rights_is_not(text: str, tmp_path: Path) -> None:
    assert warnings(text, tmp_path) == []


@pytest.mark.parametrize(
    "listen", ["port: 6222", "listen: 6222", 'listen: "10.0.0.1:6222"', 'host: "::", port: 1']
)
def test_a_cluster_that_anybody_may_join_is_named(listen: str, tmp_path: Path) -> None:
    (line,) = warnings(f"cluster {{ {listen} }}", tmp_path)

    assert line.startswith("Cluster port listens on ")
    assert line.endswith(" without a login: anybody may join the cluster")


@pytest.mark.parametrize(
    "block",
    ["", "name: a", 'listen: "127.0.0.1:6222"', 'host: "::1", port: 1', "host: localhost, port: 1",
     "port: 1, authorization { user: a, password: b }", "port: 1, tls { verify: true }"],
)  # fmt: skip
def test_a_cluster_on_loopback_or_with_a_login_is_not(block: str, tmp_path: Path) -> None:
    assert warnings(f"cluster {{ {block} }}", tmp_path) == []


def test_each_insecure_block_of_tls_is_named(tmp_path: Path) -> None:
    text = (
        "cluster { tls { insecure: true } }\n"
        'leafnodes { remotes: [ {url: "nats://h:1", tls { insecure: true }},'
        ' {url: "nats://h:2", tls { insecure: false }} ] }'
    )

    assert warnings(text, tmp_path) == [
        "cluster.tls does not verify certificates (insecure): anybody may pose as the peer",
        "leafnodes.remotes.tls does not verify certificates (insecure): anybody may pose as the peer",
    ]

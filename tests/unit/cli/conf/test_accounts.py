"""Accounts of a file become values, and what is wrong with them has its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from natscore.account.mappings import mapping_of
from natscore.account.permissions import Permissions, Rules
from natscore.account.settings import (
    AccountSettings,
    AccountsSettings,
    Latency,
    Limits,
    ResponseType,
    ServiceExport,
    ServiceImport,
    StreamExport,
    StreamImport,
)
from natscore_cli.conf.effect import FileRefused, load_file

if TYPE_CHECKING:
    from pathlib import Path


def accounts(text: str, folder: Path) -> AccountsSettings:
    (folder / "c.conf").write_text(text)
    return load_file(str(folder / "c.conf"), {}).accounts


def wrong(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that are said of a file."""
    monkeypatch.chdir(folder)
    (folder / "c.conf").write_text(text)
    with pytest.raises(FileRefused) as caught:
        load_file("c.conf", {})
    return str(caught.value).splitlines()


EVERYTHING = """
accounts {
  A {
    nkey: AAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB776S
    default_permissions: { publish: "a.>" }
    exports: [
      { stream: "s.*.x", accounts: [B], account_token_position: 2 }
      { service: one, response: stream, threshold: "5s" }
      { service: two, latency: l }
      { service: three, latency: { subject: l3, sampling: "40%" } }
      { service: four, latency: { subject: l4, sampling: headers } }
    ]
    mappings: { m: n, w: [ {dest: x, weight: 30}, {dest: y, weight: "20%", cluster: c} ] }
    limits: { max_conn: 1, max_subs: 2, max_pay: 3, max_leafs: 4 }
  }
  B {
    imports: [
      { stream: {account: A, subject: "s.B.x"}, prefix: p }
      { stream: {account: A, subject: "s.B.x"}, to: q }
      { service: {account: A, subject: one}, to: uno, share: true }
    ]
  }
  SYS {}
}
mappings: { g: h }
system_account: SYS
no_system_account: true
"""


@pytest.mark.spec("accounts 2", "configuration 5.4", "configuration 5.5")
def test_everything_that_a_file_says_of_accounts_is_there(tmp_path: Path) -> None:
    found = accounts(EVERYTHING.replace('{ stream: {account: A, subject: "s.B.x"}, to: q }', ""), tmp_path)

    assert found == AccountsSettings(
        accounts=(
            AccountSettings(
                name="A",
                nkey="AAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB776S",
                default_permissions=Permissions(Rules(allow=(b"a.>",))),
                exports=(
                    StreamExport(subject=b"s.*.x", accounts=("B",), account_token_position=2),
                    ServiceExport(subject=b"one", response_type=ResponseType.STREAM, threshold_ns=5 * 10**9),
                    ServiceExport(subject=b"two", latency=Latency(b"l")),
                    ServiceExport(subject=b"three", latency=Latency(b"l3", 40)),
                    ServiceExport(subject=b"four", latency=Latency(b"l4", 0)),
                ),
                mappings=(
                    mapping_of("m", "n"),
                    mapping_of(
                        "w", [{"dest": "x", "weight": 30}, {"dest": "y", "weight": 20, "cluster": "c"}]
                    ),
                ),
                limits=Limits(connections=1, subscriptions=2, payload=3, leafnodes=4),
            ),
            AccountSettings(
                name="B",
                imports=(
                    StreamImport(account="A", subject=b"s.B.x", prefix=b"p"),
                    ServiceImport(account="A", subject=b"one", to=b"uno", share=True),
                ),
            ),
            AccountSettings(name="SYS"),
        ),
        global_mappings=(mapping_of("g", "h"),),
        system_account="SYS",
        no_system_account=True,
    )


@pytest.mark.spec("accounts 2")
def test_accounts_may_be_a_list_of_names(tmp_path: Path) -> None:
    assert accounts("accounts: [A, B]", tmp_path).accounts == (
        AccountSettings(name="A"),
        AccountSettings(name="B"),
    )


@pytest.mark.spec("accounts 2.1", "configuration 2.1", "configuration 7.1")
def test_each_problem_of_accounts_has_the_place_of_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = wrong(
        "accounts {\n"
        "  A { imports: [ {stream: {account: B, subject: x}},\n"
        "    {service: {account: Z, subject: y}} ] }\n"
        "  B { exports: [ {stream: y, accounts: [Q]} ]\n"
        "    mappings: { m: [ {dest: a, weight: 60}, {dest: b, weight: 50} ] } }\n"
        "}\n"
        "port: x\n",
        tmp_path,
        monkeypatch,
    )

    assert [line.split(" (")[0] for line in said] == [
        'c.conf:5:17: Error adding mapping for "m" : total weight needs to be <= 100',
        "c.conf:7:1: interface conversion: interface {} is string, not int64",
    ]
    said = wrong(
        "accounts {\n"
        "  A { imports: [ {stream: {account: B, subject: x}},\n"
        "    {service: {account: Z, subject: y}} ] }\n"
        "  B { exports: [ {stream: y, accounts: [Q]} ] }\n"
        "}\n"
        "port: x\n",
        tmp_path,
        monkeypatch,
    )
    assert [line.split(" (")[0] for line in said] == [
        'c.conf:2:19: Error adding stream import "x": stream import not authorized',
        'c.conf:3:6: "Z" account not defined for service import',
        'c.conf:4:19: "Q" account not defined for stream export',
        "c.conf:6:1: interface conversion: interface {} is string, not int64",
    ]


@pytest.mark.spec("accounts 1")
def test_the_global_account_is_no_system_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong('\nsystem_account: "$G"', tmp_path, monkeypatch) == [
        'c.conf:2:1: "$G" is a Reserved Account'
    ]


def test_accounts_of_an_operator_are_not_resolved(tmp_path: Path) -> None:
    text = "operator: eyJ0.e30.c2ln\nresolver: MEM\nsystem_account: X"

    assert accounts(text, tmp_path).system_account == "X"

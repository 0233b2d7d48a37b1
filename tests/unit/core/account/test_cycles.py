"""Imports that close a cycle, and rows of imports that do not."""

from __future__ import annotations

import pytest

from natscore.account.accounts import Accounts, resolve
from natscore.account.cycles import mapped
from natscore.account.mappings import Destination, Mapping, Mappings, mapping_of
from natscore.account.settings import (
    AccountSettings,
    AccountsSettings,
    Import,
    ServiceExport,
    ServiceImport,
    StreamExport,
    StreamImport,
)

CYCLE = "import forms a cycle"


def service(account: str, subject: bytes, to: bytes | None = None) -> ServiceImport:
    return ServiceImport(account=account, subject=subject, to=to)


def stream(account: str, subject: bytes, to: bytes | None = None) -> StreamImport:
    return StreamImport(account=account, subject=subject, to=to)


def refused(accounts: dict[str, list[Import]], mappings: dict[str, list[Mapping]] | None = None) -> list[str]:
    """The accounts of which an import closes a cycle; each exports everything."""
    given = AccountsSettings(
        accounts=tuple(
            AccountSettings(
                name=name,
                exports=(StreamExport(subject=b">"), ServiceExport(subject=b">")),
                imports=tuple(imports),
                mappings=tuple((mappings or {}).get(name, ())),
            )
            for name, imports in accounts.items()
        )
    )
    resolved = resolve(given)
    if isinstance(resolved, Accounts):
        return []
    assert all(problem.text.endswith(CYCLE) for problem in resolved)
    return [str(problem.path[1]) for problem in resolved]


@pytest.mark.spec("accounts 13")
@pytest.mark.parametrize(
    "accounts",
    [
        {"A": [service("B", b"x")], "B": [service("A", b"x")]},
        {"A": [service("B", b"b", b"a")], "B": [service("A", b"a", b"b")]},
        {"A": [service("C", b"x")], "C": [service("B", b"x")], "B": [service("A", b"x")]},
        {"A": [service("C", b"c", b"a")], "C": [service("B", b"b", b"c")], "B": [service("A", b"a", b"b")]},
        {"A": [service("B", b"b.*", b"a.*")], "B": [service("A", b"a.x", b"b.y")]},
        {"A": [service("B", b">", b"b.>")], "B": [service("A", b">", b"a.>")]},
    ],
)
def test_import_that_leads_requests_back_is_refused(accounts: dict[str, list[Import]]) -> None:
    assert refused(accounts) == ["B"]


@pytest.mark.spec("accounts 13")
@pytest.mark.parametrize(
    "accounts",
    [
        {"A": [service("B", b"b")], "B": [service("A", b"a")]},
        {"A": [service("B", b"x", b"y")], "B": [service("A", b"y", b"z")]},
        {"A": [service("B", b"t.*", b"s.*")], "B": [service("A", b"u.*", b"t.*")]},
        {"A": [service("B", b"t.a", b"s.a")], "B": [service("A", b"s.b", b"t.b")]},
        {
            "I": [service("E", b"x")],
            "E": [service("P", b"x"), service("Q", b"x")],
            "P": [service("R", b"x")],
            "Q": [service("R", b"x")],
            "R": [service("T", b"x")],
            "T": [],
        },
    ],
)
def test_imports_that_lead_nowhere_twice_are_accepted(accounts: dict[str, list[Import]]) -> None:
    assert refused(accounts) == []


@pytest.mark.spec("accounts 13")
def test_order_of_accounts_decides_only_which_import_of_a_cycle_is_refused() -> None:
    a: list[Import] = [service("B", b"b.*", b"a.*")]
    b: list[Import] = [service("A", b"a.x", b"b.y")]

    assert refused({"A": a, "B": b}) == ["B"]
    assert refused({"B": b, "A": a}) == ["A"]


@pytest.mark.spec("accounts 2.1", "accounts 13")
@pytest.mark.parametrize(
    "imports",
    [
        [service("A", b"x")],
        [service("A", b"x", b"y"), service("A", b"y", b"x")],
        [service("A", b"x.x.>", b"x.>")],
        [stream("A", b"x")],
        [stream("A", b"x.>", b"x.x.>")],
    ],
)
def test_account_may_import_from_itself(imports: list[Import]) -> None:
    assert refused({"A": imports}) == []


@pytest.mark.spec("accounts 13")
def test_cycle_that_passes_through_an_import_of_an_account_from_itself_is_refused() -> None:
    accounts: dict[str, list[Import]] = {
        "A": [service("A", b"y", b"x"), service("B", b"z", b"y")],
        "B": [service("A", b"x", b"z")],
    }

    assert refused(accounts) == ["B"]


@pytest.mark.spec("accounts 13")
@pytest.mark.parametrize(
    "accounts",
    [
        {"A": [stream("B", b"x")], "B": [stream("A", b"x")]},
        {"A": [stream("B", b"x", b"y")], "B": [stream("A", b"y", b"x")]},
        {"A": [stream("B", b">", b"b.>")], "B": [stream("A", b">", b"a.>")]},
        {"C": [stream("B", b"x")], "A": [stream("C", b"x")], "B": [stream("A", b"x")]},
    ],
)
def test_streams_that_could_come_back_are_refused(accounts: dict[str, list[Import]]) -> None:
    assert refused(accounts) == ["B"]


@pytest.mark.spec("accounts 13")
def test_streams_both_ways_under_other_names_are_accepted() -> None:
    assert refused({"A": [stream("B", b"x", b"y")], "B": [stream("A", b"y", b"z")]}) == []


@pytest.mark.spec("accounts 13")
def test_streams_and_services_do_not_make_a_cycle_together() -> None:
    assert refused({"A": [stream("B", b"x")], "B": [service("A", b"x")]}) == []


@pytest.mark.spec("accounts 6.2", "accounts 13")
def test_mapping_of_an_exporter_can_close_a_cycle() -> None:
    accounts: dict[str, list[Import]] = {"A": [service("B", b"b", b"a")], "B": [service("A", b"a", b"w")]}

    assert refused(accounts) == []
    assert refused(accounts, {"B": [mapping_of("b", "w")]}) == ["B"]


@pytest.mark.spec("accounts 6.2", "accounts 13")
def test_mapping_of_an_exporter_can_open_a_cycle() -> None:
    accounts: dict[str, list[Import]] = {"A": [service("B", b"b", b"a")], "B": [service("A", b"a", b"b")]}

    assert refused(accounts, {"B": [mapping_of("b", "w")]}) == []


@pytest.mark.spec("accounts 6.2", "accounts 13")
@pytest.mark.parametrize(
    ("mapping", "subjects", "patterns"),
    [
        (mapping_of("m", "w"), b"m", [b"w"]),
        (mapping_of("m", "w"), b"n", [b"n"]),
        (mapping_of("m", [{"dest": "w", "weight": 40}]), b"m", [b"w", b"m"]),
        (mapping_of("m.*", "w.$1"), b"m.a", [b"w.*"]),
        (mapping_of("m.*", "w.$1"), b"m.*", [b"w.*"]),
        (mapping_of("m.a", "w"), b"m.*", [b"m.*", b"w"]),
        (mapping_of("m.*.*", "w.{{partition(3,1)}}.$2"), b"m.>", [b"m.>", b"w.*.*"]),
        (mapping_of("m.*", "w.{{SplitFromLeft(1,2)}}.x"), b"m.*", [b"w.>"]),
        (mapping_of("m.>", "w.>"), b"n", [b"n"]),
        (Mapping(b"m", [Destination(b"w", 100), Destination(b"v", 50, "east")]), b"m", [b"w", b"v", b"m"]),
    ],
)
def test_mapped_patterns_hold_whatever_a_pattern_is_renamed_to(
    mapping: Mapping, subjects: bytes, patterns: list[bytes]
) -> None:
    assert mapped(Mappings([mapping]), subjects) == patterns

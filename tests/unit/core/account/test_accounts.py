"""All accounts at once: the order of problems, their texts and paths, and what belongs to every account."""

from __future__ import annotations

import dataclasses

import pytest

from natscore.account.accounts import Accounts, Path, Problem, resolve
from natscore.account.mappings import mapping_of
from natscore.account.settings import (
    AccountSettings,
    AccountsSettings,
    Export,
    Import,
    Latency,
    ResponseType,
    ServiceExport,
    ServiceImport,
    StreamExport,
    StreamImport,
)


def account(
    name: str, *, exports: tuple[Export, ...] = (), imports: tuple[Import, ...] = ()
) -> AccountSettings:
    return AccountSettings(name=name, exports=exports, imports=imports)


def problems(*accounts: AccountSettings, no_system_account: bool = False) -> list[Problem]:
    resolved = resolve(AccountsSettings(accounts=accounts, no_system_account=no_system_account))
    assert isinstance(resolved, list)
    return resolved


def resolved(*accounts: AccountSettings) -> Accounts:
    made = resolve(AccountsSettings(accounts=accounts))
    assert isinstance(made, Accounts), made
    return made


PUBLIC: tuple[Export, ...] = (StreamExport(subject=b"x"), ServiceExport(subject=b"x"))
EXPORT = ("accounts", "A", "exports", 0)
IMPORT = ("accounts", "B", "imports", 0)
SAMPLING = "Error adding service latency sampling for"


@pytest.mark.spec("accounts 2.1", "accounts 17:2", "accounts 18:2")
@pytest.mark.parametrize(
    ("exports", "imports", "path", "text"),
    [
        ((), (StreamImport(account="Z", subject=b"x"),), IMPORT, '"Z" account not defined for stream import'),
        (
            (),
            (ServiceImport(account="Z", subject=b"x"),),
            IMPORT,
            '"Z" account not defined for service import',
        ),
        (
            (),
            (ServiceImport(account="$G", subject=b"x"),),
            IMPORT,
            '"$G" account not defined for service import',
        ),
        (
            (StreamExport(subject=b"x", accounts=("Z",)),),
            (),
            EXPORT,
            '"Z" account not defined for stream export',
        ),
        (
            (ServiceExport(subject=b"x", accounts=("B", "Z")),),
            (),
            EXPORT,
            '"Z" account not defined for service export',
        ),
        (
            (),
            (StreamImport(account="A", subject=b"x"),),
            IMPORT,
            'Error adding stream import "x": stream import not authorized',
        ),
        (
            (ServiceExport(subject=b"x"),),
            (StreamImport(account="A", subject=b"x"),),
            IMPORT,
            'Error adding stream import "x": stream import not authorized',
        ),
        (
            (StreamExport(subject=b"x"),),
            (ServiceImport(account="A", subject=b"x"),),
            IMPORT,
            'Error adding service import "x": service import not authorized',
        ),
        (
            (ServiceExport(subject=b"x", accounts=("A",)),),
            (ServiceImport(account="A", subject=b"x"),),
            IMPORT,
            'Error adding service import "x": service import not authorized',
        ),
        (
            (StreamExport(subject=b"s.x"),),
            (StreamImport(account="A", subject=b"s.>"),),
            IMPORT,
            'Error adding stream import "s.>": stream import not authorized',
        ),
        (
            (StreamExport(subject=b"x.>"),),
            (StreamImport(account="A", subject=b"x.>", prefix=b"p.*"),),
            IMPORT,
            'Error adding stream import "x.>": stream import prefix can not contain wildcard tokens',
        ),
        (
            PUBLIC,
            (StreamImport(account="A", subject=b"x", prefix=b"p", to=b"q"),),
            IMPORT,
            "Stream import can not have a 'prefix' and a 'to' property",
        ),
        (
            (StreamExport(subject=b"x.>"),),
            (StreamImport(account="A", subject=b"x.>", to=b"b"),),
            IMPORT,
            'Error adding stream import "x.>": failed to create mapping transform for stream import subject'
            ' from "x.>" to "b": invalid subject',
        ),
        (
            PUBLIC,
            (StreamImport(account="A", subject=b"x"), StreamImport(account="A", subject=b"x", to=b"y")),
            ("accounts", "B", "imports", 1),
            'Error adding stream import "x": stream import already exists',
        ),
        (
            (*PUBLIC, ServiceExport(subject=b"y")),
            (
                ServiceImport(account="A", subject=b"x", to=b"q"),
                ServiceImport(account="A", subject=b"y", to=b"q"),
            ),
            ("accounts", "B", "imports", 1),
            'Duplicate service import subject "q", previously used in import for account "A", subject "x"',
        ),
        (
            (StreamExport(subject=b"x.y", account_token_position=1),),
            (),
            EXPORT,
            'Error adding stream export "x.y": sublist: invalid subject',
        ),
        (
            (ServiceExport(subject=b"x.*", account_token_position=5),),
            (),
            EXPORT,
            'Error adding service export "x.*": sublist: invalid subject',
        ),
        (
            (ServiceExport(subject=b"x", latency=Latency(b"l.*")),),
            (),
            EXPORT,
            f'{SAMPLING} "x" on subject "l.*": invalid publish subject',
        ),
        (
            (ServiceExport(subject=b"x.>", latency=Latency(b"x.l")),),
            (),
            EXPORT,
            f'{SAMPLING} "x.>" on subject "x.l": invalid publish subject',
        ),
        (
            (ServiceExport(subject=b"x", latency=Latency(b"l"), response_type=ResponseType.CHUNKED),),
            (),
            EXPORT,
            f'{SAMPLING} "x" on subject "l": bad service response type',
        ),
    ],
)
def test_setting_that_cannot_be_is_named_with_its_path(
    exports: tuple[Export, ...], imports: tuple[Import, ...], path: Path, text: str
) -> None:
    found = problems(account("A", exports=exports), account("B", imports=imports))

    assert found == [Problem(path, text)]


@pytest.mark.spec("accounts 2")
def test_service_may_publish_its_latency_beside_its_subject() -> None:
    made = resolved(account("A", exports=(ServiceExport(subject=b"x.*", latency=Latency(b"x.l.m", 0)),)))

    assert [export.latency for export in made["A"].service_exports] == [Latency(b"x.l.m", 0)]


@pytest.mark.spec("accounts 2.1")
def test_latency_needs_a_system_account() -> None:
    sampled = account("A", exports=(ServiceExport(subject=b"x", latency=Latency(b"l")),))

    assert problems(sampled, no_system_account=True) == [
        Problem(EXPORT, f'{SAMPLING} "x": system account not setup')
    ]


@pytest.mark.spec("accounts 2.1")
def test_export_with_two_faults_is_told_both() -> None:
    export = StreamExport(subject=b"x", accounts=("Z",), account_token_position=1)

    assert [problem.text for problem in problems(account("A", exports=(export,)))] == [
        '"Z" account not defined for stream export',
        'Error adding stream export "x": sublist: invalid subject',
    ]


@pytest.mark.spec("accounts 2.1")
def test_subject_of_latency_counts_before_the_response_type() -> None:
    export = ServiceExport(subject=b"x", latency=Latency(b"x"), response_type=ResponseType.STREAM)

    found = problems(account("A", exports=(export,)))

    assert found == [Problem(EXPORT, f'{SAMPLING} "x" on subject "x": invalid publish subject')]


@pytest.mark.spec("accounts 1", "accounts 2.1")
def test_global_account_cannot_be_declared() -> None:
    assert problems(account("$G")) == [Problem(("accounts", "$G"), '"$G" is a Reserved Account')]


@pytest.mark.spec("accounts 2")
def test_account_is_declared_once() -> None:
    assert problems(account("A"), account("A")) == [Problem(("accounts", "A"), "Duplicate Account Entry: A")]


@pytest.mark.spec("accounts 2.1", "accounts 17:2")
def test_problems_come_in_the_order_of_loading() -> None:
    imports = (
        ServiceImport(account="Z", subject=b"1"),
        StreamImport(account="Z", subject=b"2"),
        StreamImport(account="Z", subject=b"3", prefix=b"p", to=b"t"),
    )
    exports = (ServiceExport(subject=b"4", accounts=("Z",)), StreamExport(subject=b"5", accounts=("Z",)))

    found = problems(account("B", imports=imports), account("A", exports=exports))

    assert [problem.path for problem in found] == [
        ("accounts", "B", "imports", 2),
        ("accounts", "A", "exports", 1),
        ("accounts", "A", "exports", 0),
        ("accounts", "B", "imports", 1),
        ("accounts", "B", "imports", 2),
        ("accounts", "B", "imports", 0),
    ]


@pytest.mark.spec("accounts 2.1", "accounts 17:2")
def test_exporter_may_be_declared_after_its_importer() -> None:
    importer = account("B", imports=(ServiceImport(account="A", subject=b"x"),))

    made = resolved(importer, account("A", exports=PUBLIC))

    assert [service.subject for service in made["B"].services if not service.is_internal] == [b"x"]


@pytest.mark.spec("accounts 15")
def test_several_services_can_be_imported_under_one_subject() -> None:
    imports = (
        ServiceImport(account="A", subject=b"x", to=b"q"),
        ServiceImport(account="C", subject=b"x", to=b"q"),
    )

    made = resolved(account("A", exports=PUBLIC), account("B", imports=imports), account("C", exports=PUBLIC))

    assert [one.exporter for one in made["B"].services if not one.is_internal] == ["A", "C"]


@pytest.mark.spec("accounts 4")
def test_same_subject_can_be_a_stream_and_a_service() -> None:
    imports = (StreamImport(account="A", subject=b"x"), ServiceImport(account="A", subject=b"x"))

    made = resolved(account("A", exports=PUBLIC), account("B", imports=imports))

    assert [one.subject for one in made["B"].streams] == [b"x"]
    assert made["B"].services[0].subject == b"x"


@pytest.mark.spec("accounts 5.1")
def test_subscription_has_a_shadow_for_each_import_that_it_reaches() -> None:
    imports = (
        StreamImport(account="A", subject=b"a.>", prefix=b"p"),
        StreamImport(account="A", subject=b"b.>", prefix=b"p"),
        StreamImport(account="A", subject=b"c", to=b"other"),
    )
    exporter = account("A", exports=(StreamExport(subject=b">"),))

    made = resolved(exporter, account("B", imports=imports))

    assert [shadow.subject for shadow in made["B"].shadows(b"p.>")] == [b"a.>", b"b.>"]
    assert [shadow.subject for shadow in made["B"].shadows(b"p.b.x")] == [b"b.x"]
    assert made["B"].shadows(b"q") == []
    assert made["A"].shadows(b">") == []


@pytest.mark.spec("accounts 1", "accounts 17:1")
def test_global_and_system_accounts_are_there_without_being_declared() -> None:
    made = resolved(account("A"))

    assert [one.name for one in made] == ["$G", "A", "$SYS"]
    assert made.system_account == "$SYS"
    assert "A" in made
    assert "B" not in made
    assert len(made) == 3


@pytest.mark.spec("accounts 1")
def test_global_account_has_the_mappings_of_the_top_level() -> None:
    made = resolve(AccountsSettings(global_mappings=(mapping_of("m", "w"),)))

    assert isinstance(made, Accounts)
    assert [mapping.source for mapping in made["$G"].mappings] == [b"m"]


@pytest.mark.spec("accounts 1", "accounts 17:1")
@pytest.mark.parametrize(
    ("declared", "named", "refused", "system"),
    [
        ((), "", False, "$SYS"),
        ((), "", True, None),
        (("A",), "A", False, "A"),
        (("A",), "A", True, "A"),
        (("$SYS",), "", False, "$SYS"),
        (("$SYS",), "", True, "$SYS"),
        (("$SYS", "A"), "A", False, "A"),
    ],
)
def test_system_account_is_the_one_named_or_the_one_of_the_reserved_name(
    declared: tuple[str, ...], named: str, refused: bool, system: str | None
) -> None:
    settings = AccountsSettings(
        accounts=tuple(account(name) for name in declared), system_account=named, no_system_account=refused
    )

    made = resolve(settings)

    assert isinstance(made, Accounts)
    assert made.system_account == system
    assert system is None or system in made


@pytest.mark.spec("accounts 2.1")
@pytest.mark.parametrize(
    ("named", "text"),
    [
        ("Q", "error resolving system account: account missing"),
        ("$SYS", "error resolving system account: account missing"),
        ("$G", '"$G" is a Reserved Account'),
    ],
)
def test_named_system_account_must_be_declared(named: str, text: str) -> None:
    settings = AccountsSettings(accounts=(account("A"),), system_account=named)

    assert resolve(settings) == [Problem(("system_account",), text)]


@pytest.mark.spec("accounts 11", "accounts 17:17")
def test_every_account_imports_the_services_of_the_system_account() -> None:
    made = resolved(account("A"))

    for name in ("$G", "A"):
        shown = [(one.local.decode(), one.subject.decode(), one.share) for one in made[name].services]
        assert shown == [
            ("$SYS.REQ.ACCOUNT.PING.CONNZ", f"$SYS.REQ.ACCOUNT.{name}.CONNZ", False),
            ("$SYS.REQ.SERVER.PING.CONNZ", f"$SYS.REQ.ACCOUNT.{name}.CONNZ", False),
            ("$SYS.REQ.ACCOUNT.PING.STATZ", f"$SYS.REQ.ACCOUNT.{name}.STATZ", False),
            ("$SYS.REQ.USER.INFO", f"$SYS.REQ.USER.{name}.INFO", True),
        ]
        assert all(one.is_internal and one.exporter == "$SYS" for one in made[name].services)
    assert made["$SYS"].services == []


@pytest.mark.spec("accounts 11")
def test_system_account_lets_nobody_ask_about_another_account() -> None:
    exports = resolved(account("A"))["$SYS"].service_exports

    assert exports.authorize(b"$SYS.REQ.ACCOUNT.A.CONNZ", "A") is not None
    assert exports.authorize(b"$SYS.REQ.ACCOUNT.A.CONNZ", "B") is None
    assert [export.response_type for export in exports][:2] == [ResponseType.STREAM] * 2


@pytest.mark.spec("accounts 11")
@pytest.mark.parametrize("name", ["*", ">", "a..b", ""])
def test_account_whose_name_is_no_part_of_a_subject_cannot_ask_the_system_account(name: str) -> None:
    assert resolved(account(name))[name].services == []


def test_no_system_account_means_no_services_of_it() -> None:
    made = resolve(AccountsSettings(accounts=(account("A"),), no_system_account=True))

    assert isinstance(made, Accounts)
    assert [one.name for one in made] == ["$G", "A"]
    assert made["A"].services == []


def test_equal_settings_are_equal_values() -> None:
    settings = account("A", exports=PUBLIC, imports=(StreamImport(account="B", subject=b"x"),))

    assert dataclasses.replace(settings) == settings

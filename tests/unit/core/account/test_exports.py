"""Exports: which one an import is about, and whom it lets in."""

from __future__ import annotations

import pytest

from natscore.account.exports import Exports
from natscore.account.settings import ResponseType, ServiceExport, StreamExport
from natscore.errors import ConfigError


def streams(*exports: StreamExport) -> Exports[StreamExport]:
    made = Exports[StreamExport]()
    for export in exports:
        made.add(export)
    return made


def allows(export: StreamExport, subject: bytes, importer: str = "B") -> bool:
    return streams(export).authorize(subject, importer) is not None


@pytest.mark.spec("accounts 4", "accounts 17:3")
@pytest.mark.parametrize(
    ("exported", "imported", "allowed"),
    [
        (b"s.x", b"s.x", True),
        (b"s.>", b"s.only", True),
        (b"s.>", b"s.>", True),
        (b"s.>", b"s.*", True),
        (b"s.>", b"s.a.>", True),
        (b"s.*", b"s.*", True),
        (b"s.*.b", b"s.a.b", True),
        (b"s.x", b"s.>", False),
        (b"s.x", b"s.*", False),
        (b"s.*", b"s.>", False),
        (b"s.*", b"s", False),
        (b"s.>", b"s", False),
        (b"s.*", b"s.a.b", False),
        (b"s.*.b", b"s.a.*", False),
        (b"s.x", b"t.x", False),
    ],
)
def test_import_is_allowed_where_the_export_covers_all_of_it(
    exported: bytes, imported: bytes, allowed: bool
) -> None:
    assert allows(StreamExport(subject=exported), imported) is allowed


@pytest.mark.spec("accounts 4")
def test_export_of_exactly_the_subject_counts_before_one_that_covers_it() -> None:
    wide, exact = StreamExport(subject=b"s.>"), StreamExport(subject=b"s.x", accounts=("C",))
    exports = streams(wide, exact)

    assert exports.authorize(b"s.x", "B") is None
    assert exports.authorize(b"s.x", "C") == exact
    assert exports.authorize(b"s.y", "B") == wide


@pytest.mark.spec("accounts 4")
def test_of_several_exports_that_cover_an_import_the_first_counts() -> None:
    first, second = StreamExport(subject=b"s.*", accounts=("C",)), StreamExport(subject=b"s.>")

    assert streams(first, second).authorize(b"s.x", "B") is None
    assert streams(second, first).authorize(b"s.x", "B") == second


@pytest.mark.spec("accounts 4")
def test_private_export_is_for_those_on_its_list() -> None:
    export = StreamExport(subject=b"s", accounts=("B", "C"))

    assert [allows(export, b"s", name) for name in ("A", "B", "C")] == [False, True, True]


@pytest.mark.spec("accounts 4")
@pytest.mark.parametrize(
    ("imported", "allowed"),
    [(b"svc.B.x", True), (b"svc.C.x", False), (b"svc.b.x", False), (b"svc.*.x", False), (b"svc.B.y", False)],
)
def test_importer_writes_its_name_where_the_export_wants_it(imported: bytes, allowed: bool) -> None:
    assert allows(StreamExport(subject=b"svc.*.x", account_token_position=2), imported) is allowed


@pytest.mark.spec("accounts 4")
def test_account_named_like_a_wildcard_cannot_import_the_wildcard() -> None:
    assert not allows(StreamExport(subject=b"svc.*", account_token_position=2), b"svc.*", "*")


@pytest.mark.spec("accounts 4")
def test_name_in_the_token_counts_before_the_list() -> None:
    export = StreamExport(subject=b"s.*", accounts=("C",), account_token_position=2)

    assert allows(export, b"s.B", "B")
    assert not allows(export, b"s.B", "C")


@pytest.mark.spec("accounts 2.1")
@pytest.mark.parametrize(
    ("subject", "position"), [(b"x.y", 1), (b"x.*", 1), (b"x.*", 3), (b"x.>", 2), (b"*", -1)]
)
def test_token_position_must_point_at_a_star(subject: bytes, position: int) -> None:
    with pytest.raises(ConfigError, match=r"\Asublist: invalid subject\Z"):
        streams(StreamExport(subject=subject, account_token_position=position))


def test_exported_subject_must_be_valid() -> None:
    with pytest.raises(ConfigError, match=r"\Asublist: invalid subject\Z"):
        streams(StreamExport(subject=b"x..y"))


def test_subject_exported_twice_stays_private() -> None:
    private, public = StreamExport(subject=b"x", accounts=("A",)), StreamExport(subject=b"x")

    assert streams(private, public).authorize(b"x", "B") is None
    assert streams(public, private).authorize(b"x", "B") is None
    assert streams(private, public).authorize(b"x", "A") is not None


def test_subject_exported_twice_keeps_its_token_position() -> None:
    exports = streams(StreamExport(subject=b"x.*", account_token_position=2), StreamExport(subject=b"x.*"))

    assert exports.authorize(b"x.B", "C") is None
    assert len(exports) == 1


def test_later_export_of_a_service_says_how_it_responds() -> None:
    exports = Exports[ServiceExport]()
    exports.add(ServiceExport(subject=b"x"))
    exports.add(ServiceExport(subject=b"x", response_type=ResponseType.STREAM))

    assert [export.response_type for export in exports] == [ResponseType.STREAM]

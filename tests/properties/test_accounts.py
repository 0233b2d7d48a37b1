"""Exports and imports do what lists of all literal subjects say, and hostile accounts cost little."""

from __future__ import annotations

import random
import time
from typing import Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from natscore.account.accounts import Accounts, resolve
from natscore.account.exports import Exports
from natscore.account.imports import ImportedStream, imported_stream
from natscore.account.settings import (
    AccountSettings,
    AccountsSettings,
    Import,
    ServiceExport,
    ServiceImport,
    StreamExport,
    StreamImport,
)
from tests.models.accounts import LITERALS, loops, renamed, selects, subjects_of

NAMES: Final = ("a", "b", "c")


@st.composite
def patterns(draw: st.DrawFn, stars: bool = True, length_max: int = 3) -> bytes:
    """A subject with or without wildcards, of at most `length_max` tokens."""
    token = st.sampled_from([b"a", b"b", b"c", b"*"] if stars else [b"a", b"b", b"c"])
    tokens = draw(st.lists(token, min_size=1, max_size=length_max))
    if stars and draw(st.booleans()):
        tokens[-1] = b">"
    return b".".join(tokens)


@st.composite
def renamings(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A pattern, and a local subject that uses each of its wildcards."""
    subject = draw(patterns())
    stars = [b"$%d" % (index + 1) for index in range(subject.split(b".").count(b"*"))]
    tokens = draw(st.permutations(stars + draw(st.lists(st.sampled_from([b"a", b"b"]), max_size=1))))
    ends = subject.split(b".")[-1] == b">"
    tokens = [*tokens, b">"] if ends else tokens
    assume(tokens)
    return subject, b".".join(tokens)


@st.composite
def exports(draw: st.DrawFn) -> StreamExport:
    subject = draw(patterns())
    stars = [index + 1 for index, token in enumerate(subject.split(b".")) if token == b"*"]
    return StreamExport(
        subject=subject,
        accounts=tuple(draw(st.lists(st.sampled_from(NAMES), max_size=2, unique=True))),
        account_token_position=draw(st.sampled_from([0, *stars])),
    )


def may_import(exported: list[StreamExport], subject: bytes, importer: str) -> bool:
    """The twin: section 4 of the specification, on the lists of literal subjects."""
    wanted = subjects_of(subject)
    exact = [one for one in exported if one.subject == subject]
    covering = [one for one in exported if wanted <= subjects_of(one.subject)]
    for export in (exact or covering)[:1]:
        if export.account_token_position:
            tokens = subject.split(b".")
            return not exact and tokens[export.account_token_position - 1] == importer.encode()
        return not export.accounts or importer in export.accounts
    return False


@pytest.mark.spec("accounts 4", "accounts 17:3")
@given(
    exported=st.lists(exports(), max_size=4, unique_by=lambda one: one.subject),
    subject=patterns(),
    importer=st.sampled_from(NAMES),
)
@settings(max_examples=400)
def test_who_may_import_is_what_the_literal_subjects_say(
    exported: list[StreamExport], subject: bytes, importer: str
) -> None:
    account = Exports[StreamExport]()
    for export in exported:
        account.add(export)

    allowed = account.authorize(subject, importer) is not None

    assert allowed == may_import(exported, subject, importer)


def stream(subject: bytes, local: bytes) -> ImportedStream:
    return imported_stream("B", StreamImport(account="A", subject=subject, to=local))


@pytest.mark.spec("accounts 5.1", "accounts 5.2", "accounts 18:4")
@given(renaming=renamings(), subscription=patterns(length_max=4))
@settings(max_examples=400)
def test_subscriber_gets_each_message_of_an_import_whose_local_subject_it_subscribes_to(
    renaming: tuple[bytes, bytes], subscription: bytes
) -> None:
    subject, local = renaming
    imported = stream(subject, local)

    shadow = imported.shadow_subject(subscription)

    got = {published for published in LITERALS if shadow is not None and selects(shadow, published)}
    wanted = {
        published
        for published in subjects_of(subject)
        if selects(subscription, renamed(published, subject, local))
    }
    assert got == wanted


@pytest.mark.spec("accounts 5.2", "accounts 18:5")
@given(renaming=renamings())
def test_renaming_and_its_inverse_are_the_identity(renaming: tuple[bytes, bytes]) -> None:
    subject, local = renaming
    imported = stream(subject, local)

    for published in subjects_of(subject):
        there = imported.local_subject(published)
        assert there == renamed(published, subject, local)
        assert imported.transform.to_exporter(there) == published


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[tuple[str, bytes, bytes]]]:
    """For each account its imports: exporter, subject, local subject."""
    names = NAMES[: draw(st.integers(2, 3))]
    return {
        name: [
            (draw(st.sampled_from(names)), subject, local)
            for subject, local in draw(st.lists(renamings(), max_size=3))
        ]
        for name in names
    }


def settings_of(graph: dict[str, list[tuple[str, bytes, bytes]]], kind: type[Import]) -> AccountsSettings:
    return AccountsSettings(
        accounts=tuple(
            AccountSettings(
                name=name,
                exports=(StreamExport(subject=b">"), ServiceExport(subject=b">")),
                imports=tuple(
                    kind(account=account, subject=subject, to=local) for account, subject, local in row
                ),
            )
            for name, row in graph.items()
        )
    )


def accepted(made: AccountsSettings) -> AccountsSettings:
    """The same without the imports that are refused."""
    refused = resolve(made)
    paths = set() if isinstance(refused, Accounts) else {one.path for one in refused}
    return AccountsSettings(
        accounts=tuple(
            AccountSettings(
                name=one.name,
                exports=one.exports,
                imports=tuple(
                    wanted
                    for index, wanted in enumerate(one.imports)
                    if ("accounts", one.name, "imports", index) not in paths
                ),
            )
            for one in made.accounts
        )
    )


@pytest.mark.spec("accounts 13")
@given(graph=graphs())
@settings(max_examples=300, deadline=None)
def test_no_message_of_accepted_streams_could_come_back_to_an_import(
    graph: dict[str, list[tuple[str, bytes, bytes]]],
) -> None:
    kept = accepted(settings_of(graph, StreamImport))
    hops: dict[str, list[tuple[str, bytes, bytes, bytes]]] = {one.name: [] for one in kept.accounts}
    for one in kept.accounts:
        for wanted in one.imports:
            assert wanted.to is not None
            hops[wanted.account].append((one.name, wanted.subject, wanted.subject, wanted.to))

    assert not loops(hops)


def inverse(subject: bytes, local: bytes) -> tuple[bytes, bytes]:
    """The pattern of a local subject, and the exporter's subject in terms of its wildcards."""
    tokens = local.split(b".")
    order = [int(token[1:]) for token in tokens if token.startswith(b"$")]
    pattern = b".".join(b"*" if token.startswith(b"$") else token for token in tokens)
    numbers = iter(range(1, len(order) + 1))
    back = [
        b"$%d" % (order.index(next(numbers)) + 1) if token == b"*" else token for token in subject.split(b".")
    ]
    return pattern, b".".join(back)


@pytest.mark.spec("accounts 13")
@given(graph=graphs())
@settings(max_examples=300, deadline=None)
def test_no_request_to_accepted_services_can_come_back_to_an_import(
    graph: dict[str, list[tuple[str, bytes, bytes]]],
) -> None:
    kept = accepted(settings_of(graph, ServiceImport))
    hops: dict[str, list[tuple[str, bytes, bytes, bytes]]] = {one.name: [] for one in kept.accounts}
    for one in kept.accounts:
        for wanted in one.imports:
            assert wanted.to is not None
            pattern, back = inverse(wanted.subject, wanted.to)
            hops[one.name].append((wanted.account, pattern, pattern, back))

    assert not loops(hops)


@pytest.mark.spec("accounts 13")
@given(graph=graphs(), kind=st.sampled_from([StreamImport, ServiceImport]), data=st.data())
@settings(max_examples=200, deadline=None)
def test_whether_imports_form_a_cycle_does_not_depend_on_the_order_of_accounts(
    graph: dict[str, list[tuple[str, bytes, bytes]]], kind: type[Import], data: st.DataObject
) -> None:
    other = dict(data.draw(st.permutations(list(graph.items()))))

    assert _has_cycle(settings_of(graph, kind)) == _has_cycle(settings_of(other, kind))


def _has_cycle(made: AccountsSettings) -> bool:
    found = resolve(made)
    return not isinstance(found, Accounts) and any("cycle" in one.text for one in found)


def hostile(seed: int, accounts: int, imports: int) -> AccountsSettings:
    """Accounts that import at random from one another, some with wildcards, all of everything."""
    draw = random.Random(seed)
    names = [f"account-{index}" for index in range(accounts)]

    def imported(index: int) -> Import:
        account = names[draw.randrange(index + 1) if draw.random() < 0.9 else draw.randrange(accounts)]
        words = [draw.choice([b"a", b"b", b"*"]) for _ in range(draw.randint(1, 3))]
        subject = b".".join([*words, draw.choice([b"a", b"b"])])
        local = b".".join([draw.choice([b"a", b"b"]), *words])
        if draw.random() < 0.5:
            return StreamImport(account=account, subject=subject, to=local)
        return ServiceImport(account=account, subject=subject, to=local)

    return AccountsSettings(
        accounts=tuple(
            AccountSettings(
                name=name,
                exports=(StreamExport(subject=b">"), ServiceExport(subject=b">")),
                imports=tuple(imported(index) for _ in range(imports)),
            )
            for index, name in enumerate(names)
        )
    )


@pytest.mark.spec("accounts 13")
@given(seed=st.integers(0, 2**32 - 1), accounts=st.integers(2, 50), imports=st.integers(1, 20))
@settings(max_examples=12, deadline=None)
def test_hostile_graph_of_accounts_is_resolved_in_bounded_time(
    seed: int, accounts: int, imports: int
) -> None:
    made = hostile(seed, accounts, imports)
    before = time.process_time()

    resolve(made)

    assert time.process_time() - before < 5


@pytest.mark.spec("accounts 13")
def test_accounts_that_all_pass_on_everything_are_resolved_in_bounded_time() -> None:
    rows = {
        f"account-{index}": [
            (f"account-{index + 1}", b"a.%d.>" % number, b"a.>") for number in range(20) if index < 49
        ]
        for index in range(50)
    }
    before = time.process_time()

    made = resolve(settings_of(rows, StreamImport))

    assert isinstance(made, Accounts)
    assert time.process_time() - before < 10


@pytest.mark.spec("accounts 13")
def test_diamonds_one_behind_the_other_do_not_multiply_the_work() -> None:
    """Two ways from each account to the next make 2^40 ways in all; a search by way would not end."""
    last = 40
    rows: dict[str, list[tuple[str, bytes, bytes]]] = {}
    for index in range(last):
        rows[f"left-{index}"] = rows[f"right-{index}"] = [
            (f"left-{index + 1}", b"a.>", b"a.>"),
            (f"right-{index + 1}", b"a.b.>", b"a.b.>"),
        ]
    rows |= {f"left-{last}": [], f"right-{last}": []}
    before = time.process_time()

    made = resolve(settings_of(rows, ServiceImport))

    assert isinstance(made, Accounts)
    assert time.process_time() - before < 5

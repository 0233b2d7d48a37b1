"""Imports: what they lead to, and what cannot be."""

from __future__ import annotations

import pytest

from natscore.account.imports import ImportedService, ImportedStream, imported_service, imported_stream
from natscore.account.settings import ServiceExport, ServiceImport, StreamImport
from natscore.errors import ConfigError


def stream(subject: bytes, *, to: bytes | None = None, prefix: bytes | None = None) -> ImportedStream:
    return imported_stream("B", StreamImport(account="A", subject=subject, to=to, prefix=prefix))


def service(subject: bytes, *, to: bytes | None = None) -> ImportedService:
    return imported_service(
        "B", ServiceImport(account="A", subject=subject, to=to), ServiceExport(subject=subject)
    )


@pytest.mark.spec("accounts 5.1", "accounts 17:4")
@pytest.mark.parametrize(
    ("subscription", "shadow"),
    [
        (b"from.a.s.x", b"s.x"),
        (b"from.>", b"s.>"),
        (b">", b"s.>"),
        (b"from.*.s.*.z", b"s.*.z"),
        (b"s.x", None),
        (b"from.a.s.>", b"s.>"),
        (b"from.a.s", None),
        (b"from.*", None),
        (b"*.a.s.x.*", b"s.x.*"),
    ],
)
def test_prefixed_import_of_a_stream_shadows(subscription: bytes, shadow: bytes | None) -> None:
    assert stream(b"s.>", prefix=b"from.a").shadow_subject(subscription) == shadow


@pytest.mark.spec("accounts 5.1", "accounts 17:4")
@pytest.mark.parametrize(
    ("subscription", "shadow"),
    [
        (b"loc.two.one", b"s.one.two"),
        (b"loc.*.*", b"s.*.*"),
        (b"loc.two.*", b"s.*.two"),
        (b"*.two.one", b"s.one.two"),
        (b"loc.>", b"s.*.*"),
        (b"*.two.>", b"s.*.two"),
        (b">", b"s.*.*"),
        (b"loc.two", None),
        (b"loc.a.b.c", None),
    ],
)
def test_reordering_import_of_a_stream_shadows(subscription: bytes, shadow: bytes | None) -> None:
    assert stream(b"s.*.*", to=b"loc.$2.$1").shadow_subject(subscription) == shadow


@pytest.mark.spec("accounts 5.1")
@pytest.mark.parametrize(
    ("subscription", "shadow"),
    [(b"s.x", b"s.x"), (b"s.>", b"s.>"), (b"s.*", b"s.*"), (b"*.x", b"s.x"), (b">", b"s.>"), (b"t", None)],
)
def test_unchanged_import_of_a_stream_shadows(subscription: bytes, shadow: bytes | None) -> None:
    assert stream(b"s.>").shadow_subject(subscription) == shadow


@pytest.mark.spec("accounts 5.1")
@pytest.mark.parametrize(
    ("subscription", "shadow"), [(b"q.y", b"x"), (b"q.*", b"x"), (b">", b"x"), (b"x", None), (b"q.y.z", None)]
)
def test_literal_import_of_a_stream_shadows(subscription: bytes, shadow: bytes | None) -> None:
    assert stream(b"x", to=b"q.y").shadow_subject(subscription) == shadow


@pytest.mark.spec("accounts 5.2")
@pytest.mark.parametrize(
    ("imported", "published", "delivered"),
    [
        (stream(b"s.>", prefix=b"p"), b"s.a.b", b"p.s.a.b"),
        (stream(b"s.>", prefix=b"p."), b"s.a", b"p.s.a"),
        (stream(b"s.>", prefix=b""), b"s.a", b"s.a"),
        (stream(b"s.*.*", to=b"l.*.*"), b"s.a.b", b"l.a.b"),
        (stream(b"s.*.*", to=b"l.{{wildcard(2)}}.$1"), b"s.a.b", b"l.b.a"),
        (stream(b"s.x", to=b"q"), b"s.x", b"q"),
        (stream(b"s.>"), b"s.a", b"s.a"),
    ],
)
def test_message_of_a_stream_is_delivered_under_its_local_subject(
    imported: ImportedStream, published: bytes, delivered: bytes
) -> None:
    assert imported.local_subject(published) == delivered


def test_import_knows_whether_it_keeps_subjects() -> None:
    assert stream(b"s.*.>").keeps_subjects
    assert stream(b"s").keeps_subjects
    assert not stream(b"s", to=b"t").keeps_subjects
    assert not stream(b"s.*.*", to=b"s.$2.$1").keeps_subjects


@pytest.mark.spec("accounts 6.1")
@pytest.mark.parametrize(
    ("imported", "requested", "arrives"),
    [
        (service(b"svc"), b"svc", b"svc"),
        (service(b"svc", to=b"loc.svc"), b"loc.svc", b"svc"),
        (service(b"w.lit", to=b"any.*"), b"any.thing", b"w.lit"),
        (service(b"svc.*.*", to=b"l.$2.$1"), b"l.a.b", b"svc.b.a"),
        (service(b"svc.>", to=b"l.>"), b"l.a.b", b"svc.a.b"),
        (service(b"svc.*", to=b"l.$1.$1"), b"l.a.b", None),
    ],
)
def test_request_arrives_under_the_subject_of_the_exporter(
    imported: ImportedService, requested: bytes, arrives: bytes | None
) -> None:
    assert imported.exporter_subject(requested) == arrives


@pytest.mark.spec("accounts 2.1")
@pytest.mark.parametrize("prefix", [b"p.*", b">", b"*.p", b"p.>."])
def test_prefix_has_no_wildcards(prefix: bytes) -> None:
    with pytest.raises(ConfigError, match=r"\Astream import prefix can not contain wildcard tokens\Z"):
        stream(b"s.>", prefix=prefix)


PRE_STREAM = "failed to create mapping transform for stream import subject from "
PRE_SERVICE = "failed to create mapping transform for service import subject from "
ONLY_WILDCARD = "the only mapping function allowed for import transforms is {{Wildcard()}}"


@pytest.mark.spec("accounts 2.1", "accounts 15")
@pytest.mark.parametrize(
    ("subject", "to", "text"),
    [
        (b"x.>", b"b", f'{PRE_STREAM}"x.>" to "b": invalid subject'),
        (
            b"x.*",
            b"b.{{partition(3,1)}}",
            f'{PRE_STREAM}"x.*" to "b.{{{{partition(3,1)}}}}": invalid mapping destination:'
            f" {ONLY_WILDCARD} in {{{{partition(3,1)}}}}",
        ),
        (
            b"x.*.*",
            b"b.$1",
            f'{PRE_STREAM}"x.*.*" to "b.$1": invalid mapping destination:'
            " not using all of the token wildcard(s) in b.$1",
        ),
        (b"x", b"b.*", f'{PRE_STREAM}"x" to "b.*": invalid subject'),
    ],
)
def test_local_subject_of_a_stream_fits_the_stream(subject: bytes, to: bytes, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        stream(subject, to=to)

    assert str(caught.value) == text


@pytest.mark.spec("accounts 2.1", "accounts 15")
@pytest.mark.parametrize(
    ("subject", "to", "text"),
    [
        (b"x.>", b"b", f'{PRE_SERVICE}"b" to "x.>": invalid subject'),
        (
            b"x.*",
            b"b.$2",
            f'{PRE_SERVICE}"b.$2" to "x.*": invalid mapping destination:'
            " wildcard index out of range in $2: [2]",
        ),
        (b"x", b"b..c", "sublist: invalid subject"),
        (b"x..y", None, "sublist: invalid subject"),
    ],
)
def test_local_subject_of_a_service_fits_the_service(subject: bytes, to: bytes | None, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        service(subject, to=to)

    assert str(caught.value) == text

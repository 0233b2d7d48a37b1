"""What an account imports, ready for a data plane (accounts.md sections 5.1 and 6.1).

A stream import leads subscriptions to the exporter, and its messages back:

    import of s.> as from.a.s.>     the importer subscribes to    shadow in the exporter
                                    from.a.s.x                    s.x
                                    from.*.s.*.z                  s.*.z
                                    >                             s.>
                                    s.x                           none

A service import leads requests to the exporter. What a reply goes through is the data plane's.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, TypeAlias

from natscore.errors import ConfigError, quoted
from natscore.subject import has_wildcard, is_valid, overlap
from natscore.transform import ImportTransform, TransformError, intersection
from natscore.values import keyword_value, value

if TYPE_CHECKING:
    from natscore.account.permissions import DeliveryFilter
    from natscore.account.settings import ServiceExport, ServiceImport, StreamImport

__all__ = [
    "Imported",
    "ImportedService",
    "ImportedStream",
    "Renaming",
    "imported_service",
    "imported_stream",
]


@value
class Renaming:
    """How the messages of a stream import reach a subscription: under which name, and which do not."""

    transform: ImportTransform
    keeps_subjects: bool
    filter: DeliveryFilter | None = None  # on local subjects, for that is what they are subscribed as

    @property
    def depends_on_subject(self) -> bool:
        """Whether two messages may fare differently, or have names that are not those of the exporter."""
        return not self.keeps_subjects or self.filter is not None

    @property
    def rules(self) -> int:
        """What is looked at for each subject: the names, and every denial."""
        return 1 + (0 if self.filter is None else self.filter.rules)

    def name(self, subject: bytes) -> bytes | None:
        """The local subject of a message that was published at the exporter; None: it is not delivered."""
        local = subject if self.keeps_subjects else self.transform.to_local(subject)
        return local if self.filter is None else self.filter.name(local)


@keyword_value
class ImportedStream:
    """Messages of `exporter` that `importer` can subscribe to, each under its local name."""

    importer: str
    exporter: str
    transform: ImportTransform
    allow_trace: bool = False
    unfiltered: Renaming = field(init=False, compare=False, repr=False)  # shared by most subscriptions

    def __post_init__(self) -> None:
        same = self.subject == self.local and self.transform == ImportTransform.stream(
            self.subject, self.subject
        )
        self.unfiltered = Renaming(self.transform, same)  # type: ignore[misc]  # set once, here

    @property
    def subject(self) -> bytes:
        """The subject, or pattern, at the exporter: `from`."""
        return self.transform.exporter

    @property
    def local(self) -> bytes:
        """The same at the importer, wildcards as `*` and `>`: `to`."""
        return self.transform.local

    @property
    def keeps_subjects(self) -> bool:
        """Whether each message has the same subject in both accounts."""
        return self.unfiltered.keeps_subjects

    def renaming(self, deny: DeliveryFilter | None = None) -> Renaming:
        """How its messages reach a subscription to which `deny` does."""
        if deny is None:
            return self.unfiltered
        return Renaming(self.transform, self.unfiltered.keeps_subjects, deny)

    def shadow_subject(self, subscription: bytes) -> bytes | None:
        """What a subscription of the importer subscribes to at the exporter; None: nothing (section 5.1)."""
        return self.transform.shadow(subscription)

    def local_subject(self, published: bytes) -> bytes:
        """The subject under which a message is delivered that `subject` covers (section 5.2)."""
        return self.transform.to_local(published)

    # How a message travels, for the search for cycles.

    @property
    def start(self) -> tuple[str, bytes]:
        """Where messages enter: account and pattern."""
        return self.exporter, self.subject

    @property
    def end(self) -> str:
        """The account that messages reach."""
        return self.importer

    def carry(self, subjects: bytes) -> bytes | None:
        """The pattern that those of `subjects` have which take this import; None: no subject does."""
        common = intersection(subjects, self.subject)
        return None if common is None else self.transform.to_local(common)


@keyword_value
class ImportedService:
    """A service of `exporter` that `importer` can send requests to, under `local`."""

    importer: str
    exporter: str
    transform: ImportTransform
    export: ServiceExport
    share: bool = False
    is_internal: bool = False  # of the system account, imported by every account (section 11)

    @property
    def subject(self) -> bytes:
        """The subject, or pattern, of the service at the exporter."""
        return self.transform.exporter

    @property
    def local(self) -> bytes:
        """The subject, or pattern, on which the importer sends requests."""
        return self.transform.local

    def exporter_subject(self, requested: bytes) -> bytes | None:
        """The subject at the exporter of a request on `requested`, which `local` covers.

        None when there is none: two tokens that hold the same wildcard differ.
        """
        return self.transform.to_exporter(requested)

    @property
    def start(self) -> tuple[str, bytes]:
        """Where requests enter: account and pattern."""
        return self.importer, self.local

    @property
    def end(self) -> str:
        """The account that requests reach."""
        return self.exporter

    def carry(self, subjects: bytes) -> bytes | None:
        """The pattern that those of `subjects` have which take this import; None: no subject does."""
        return self.transform.shadow(subjects) if overlap(subjects, self.local) else None


Imported: TypeAlias = ImportedStream | ImportedService


def imported_stream(importer: str, wanted: StreamImport) -> ImportedStream:
    """The import of a stream that `importer` is allowed. Raises ConfigError with the text of section 2.1."""
    if wanted.prefix:
        prefix = wanted.prefix.removesuffix(b".")
        if has_wildcard(prefix):
            raise ConfigError("stream import prefix can not contain wildcard tokens")
        local = prefix + b"." + wanted.subject
    else:
        local = wanted.to or wanted.subject
    try:
        transform = ImportTransform.stream(wanted.subject, local)
    except TransformError as reason:
        raise _incompatible("stream", wanted.subject, local, reason) from reason
    return ImportedStream(
        importer=importer, exporter=wanted.account, transform=transform, allow_trace=wanted.allow_trace
    )


def imported_service(importer: str, wanted: ServiceImport, export: ServiceExport) -> ImportedService:
    """The import of a service that `export` allows. Raises ConfigError with the text of section 2.1."""
    if not is_valid(wanted.subject) or not is_valid(wanted.local):
        raise ConfigError("sublist: invalid subject")
    try:
        transform = ImportTransform.service(wanted.subject, wanted.local)
    except TransformError as reason:
        raise _incompatible("service", wanted.local, wanted.subject, reason) from reason
    return ImportedService(
        importer=importer, exporter=wanted.account, transform=transform, export=export, share=wanted.share
    )


def _incompatible(kind: str, source: bytes, destination: bytes, reason: TransformError) -> ConfigError:
    shown = f"{quoted(source).decode()} to {quoted(destination).decode()}"
    return ConfigError(f"failed to create mapping transform for {kind} import subject from {shown}: {reason}")

"""What an account exports, and who may import it (accounts.md section 4).

    export         import of `s.a`   `s.*`   `s.>`
    s.a            yes               no      no
    s.*            yes               yes     no
    s.>            yes               yes     yes

Streams and services are separate: each account has one `Exports` for either.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from natscore.account.settings import ServiceExport, StreamExport
from natscore.errors import ConfigError
from natscore.subject import STAR, covers, is_valid

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Exports"]

E = TypeVar("E", StreamExport, ServiceExport)


class Exports(Generic[E]):
    """The exports of one kind of one account. Filled by `resolve`, then left alone."""

    __slots__ = ("_by_subject",)

    def __init__(self) -> None:
        self._by_subject: Final[dict[bytes, E]] = {}

    def __iter__(self) -> Iterator[E]:
        return iter(self._by_subject.values())

    def __len__(self) -> int:
        return len(self._by_subject)

    def add(self, export: E) -> None:
        """Export a subject. Raises ConfigError when the token position names no `*` of it.

        The same subject may be exported again: what the later export says of
        responses counts, who may import is what both say together. One with a
        list stays private though the other has none (as nats-server 2.14.5 does).
        """
        if not is_valid(export.subject):
            raise ConfigError("sublist: invalid subject")
        tokens = export.subject.split(b".")
        position = export.account_token_position
        if position and not (1 <= position <= len(tokens) and tokens[position - 1] == STAR):
            raise ConfigError("sublist: invalid subject")
        known = self._by_subject.get(export.subject)
        if known is not None:
            accounts = tuple(dict.fromkeys(known.accounts + export.accounts))
            position = position or known.account_token_position
            export = dataclasses.replace(export, accounts=accounts, account_token_position=position)
        self._by_subject[export.subject] = export

    def find(self, subject: bytes) -> E | None:
        """The export that an import of `subject` is about: of the same subject, else the first to cover it.

        Cost: one comparison for each export, unless one has exactly this subject.
        """
        exact = self._by_subject.get(subject)
        if exact is not None:
            return exact
        return next((export for export in self if covers(export.subject, subject)), None)

    def authorize(self, subject: bytes, importer: str) -> E | None:
        """The export by which the account `importer` may import `subject`; None when it may not."""
        export = self.find(subject)
        if export is None:
            return None
        if export.account_token_position:
            # An import that repeats the wildcard itself names nobody, and so is refused.
            if export.subject == subject:
                return None
            named = subject.split(b".")[export.account_token_position - 1]
            return export if named == importer.encode(errors="surrogateescape") else None
        return export if not export.accounts or importer in export.accounts else None

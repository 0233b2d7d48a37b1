"""All accounts of a server, made of their settings at once, or the list of what is wrong with them.

    resolve(settings) -> Accounts | list[Problem]

Exports come before imports, streams before services, accounts in the order of the
configuration (accounts.md section 2.1). A problem has the text of the reference and the path
of the setting that it is about; whoever read a file knows the place of each path.
All problems are found, not the first alone; an import that is refused leaves the
others as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from natscore.account.cycles import Cycles, mapped
from natscore.account.exports import Exports
from natscore.account.imports import ImportedService, ImportedStream, imported_service, imported_stream
from natscore.account.mappings import Mappings
from natscore.account.settings import (
    DEFAULT_SYSTEM_ACCOUNT,
    GLOBAL_ACCOUNT,
    AccountSettings,
    ResponseType,
    ServiceExport,
    ServiceImport,
    StreamExport,
    StreamImport,
)
from natscore.errors import ConfigError, quoted
from natscore.subject import is_valid_literal, matches
from natscore.transform import ImportTransform
from natscore.values import value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from natscore.account.settings import AccountsSettings, Export, Latency

__all__ = [
    "Account",
    "Accounts",
    "Path",
    "Problem",
    "Shadow",
    "resolve",
    "resolved",
]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead to a setting: `("accounts", "B", "imports", 0)`."""


@value
class Problem:
    """One setting that cannot be."""

    path: Path
    text: str


@value
class Shadow:
    """A subscription at an exporter, made for one at an importer (section 5.1)."""

    stream: ImportedStream
    subject: bytes


class Account:
    """One account: what others may have of it, and what it has of others. Only `resolve` fills it."""

    __slots__ = ("mappings", "name", "service_exports", "services", "settings", "stream_exports", "streams")

    def __init__(self, settings: AccountSettings) -> None:
        self.name: Final = settings.name
        self.settings: Final = settings
        self.mappings: Final = Mappings(settings.mappings)
        self.stream_exports: Final = Exports[StreamExport]()
        self.service_exports: Final = Exports[ServiceExport]()
        self.streams: Final[list[ImportedStream]] = []
        self.services: Final[list[ImportedService]] = []

    def shadows(self, subscription: bytes) -> list[Shadow]:
        """What a subscription of this account subscribes to in others, in the order of the imports.

        Cost: one step for each imported stream and token.
        """
        found: dict[tuple[str, bytes, ImportTransform | None], Shadow] = {}
        for stream in self.streams:
            subject = stream.shadow_subject(subscription)
            if subject is not None:
                # Two imports that overlap, and name a message alike, bring it once.
                renames = None if stream.keeps_subjects else stream.transform
                found.setdefault((stream.exporter, subject, renames), Shadow(stream, subject))
        return list(found.values())


class Accounts:
    """Every account by its name, in order: the global one, those configured, the system account."""

    __slots__ = ("_by_name", "system_account")

    def __init__(self, by_name: Mapping[str, Account], system_account: str | None) -> None:
        self._by_name: Final = dict(by_name)
        self.system_account: Final = system_account

    def __getitem__(self, name: str) -> Account:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)


def resolve(settings: AccountsSettings) -> Accounts | list[Problem]:
    """Check all accounts and make them, or say all that is wrong.

    Work is bounded: one step for each pair of an import and an export of the
    account that it is about, and what `natscore.account.cycles` says.
    """
    return _Resolution(settings).run()


def resolved(settings: AccountsSettings) -> Accounts:
    """The accounts of these settings. Raises ConfigError, which names every problem and its setting."""
    answer = resolve(settings)
    if isinstance(answer, Accounts):
        return answer
    raise ConfigError("; ".join(f"{'.'.join(map(str, one.path))}: {one.text}" for one in answer))


class _Resolution:
    """The accounts so far, and the problems."""

    def __init__(self, settings: AccountsSettings) -> None:
        self.settings = settings
        self.problems: list[Problem] = []
        self.imported: set[tuple[str, str, bytes]] = set()  # streams: importer, exporter, subject
        self.declared: dict[str, Account] = {}  # which alone can be named by exports and imports
        self.global_account = Account(AccountSettings(name=GLOBAL_ACCOUNT, mappings=settings.global_mappings))
        # Mappings rename what is published in an account, not what comes into it through a stream.
        self.streams = Cycles(lambda _account, subjects: (subjects,))
        self.services = Cycles(lambda account, subjects: mapped(self.declared[account].mappings, subjects))

    def run(self) -> Accounts | list[Problem]:
        self._declare()
        system_account = self._system_account()
        for kind in (StreamExport, ServiceExport):
            for account, path, export in self._exports():
                if isinstance(export, kind):
                    self._export(account, path, export, system_account)
        for account, path, wanted in self._imports():
            if isinstance(wanted, StreamImport):
                self._import_stream(account, path, wanted)
        for account, path, wanted in self._imports():
            if isinstance(wanted, ServiceImport):
                self._import_service(account, path, wanted)
        if self.problems:
            return self.problems
        everyone = {GLOBAL_ACCOUNT: self.global_account} | self.declared
        if system_account is not None:
            if system_account not in everyone:
                everyone[system_account] = Account(AccountSettings(name=system_account))
            _share_system_services(everyone[system_account], list(everyone.values()))
        return Accounts(everyone, system_account)

    def _problem(self, path: Path, text: str) -> None:
        self.problems.append(Problem(path, text))

    def _declare(self) -> None:
        """What can be said of each account alone, while it is read."""
        for one in self.settings.accounts:
            path: Path = ("accounts", one.name)
            if one.name == GLOBAL_ACCOUNT:
                self._problem(path, f"{_quoted(one.name)} is a Reserved Account")
            elif one.name in self.declared:
                self._problem(path, f"Duplicate Account Entry: {one.name}")
            else:
                self.declared[one.name] = Account(one)
                self._check_imports(one)

    def _check_imports(self, account: AccountSettings) -> None:
        seen: dict[tuple[bytes, str], ServiceImport] = {}
        for index, wanted in enumerate(account.imports):
            path = ("accounts", account.name, "imports", index)
            if isinstance(wanted, StreamImport):
                if wanted.prefix and wanted.to:
                    self._problem(path, "Stream import can not have a 'prefix' and a 'to' property")
                continue
            first = seen.setdefault((wanted.local, wanted.account), wanted)
            if first is not wanted:
                self._problem(
                    path,
                    f"Duplicate service import subject {_quoted(wanted.local)}, previously used in import"
                    f" for account {_quoted(first.account)}, subject {_quoted(first.subject)}",
                )

    def _system_account(self) -> str | None:
        """Its name (section 1). One that is named outright must be declared."""
        name = self.settings.system_account
        if name:
            # Anybody may be in the global account, so it cannot be the one that only operators enter.
            if name == GLOBAL_ACCOUNT:
                self._problem(("system_account",), f"{_quoted(name)} is a Reserved Account")
            elif name not in self.declared:
                self._problem(("system_account",), "error resolving system account: account missing")
            return name
        # One that is declared is there, whatever no_system_account says (as with nats-server 2.14.5).
        wanted = DEFAULT_SYSTEM_ACCOUNT in self.declared or not self.settings.no_system_account
        return DEFAULT_SYSTEM_ACCOUNT if wanted else None

    def _exports(self) -> Iterator[tuple[Account, Path, Export]]:
        for account in self.declared.values():
            for index, export in enumerate(account.settings.exports):
                yield account, ("accounts", account.name, "exports", index), export

    def _imports(self) -> Iterator[tuple[Account, Path, StreamImport | ServiceImport]]:
        for account in self.declared.values():
            for index, wanted in enumerate(account.settings.imports):
                yield account, ("accounts", account.name, "imports", index), wanted

    def _export(self, account: Account, path: Path, export: Export, system_account: str | None) -> None:
        kind = "stream" if isinstance(export, StreamExport) else "service"
        for name in export.accounts:
            if name not in self.declared:
                self._problem(path, f"{_quoted(name)} account not defined for {kind} export")
        try:
            if isinstance(export, StreamExport):
                account.stream_exports.add(export)
            else:
                account.service_exports.add(export)
        except ConfigError as reason:
            self._problem(path, f"Error adding {kind} export {_quoted(export.subject)}: {reason}")
            return
        if isinstance(export, ServiceExport) and export.latency is not None:
            wrong = _wrong_with_latency(export, export.latency, system_account)
            if wrong:
                shown = _quoted(export.subject)
                self._problem(path, f"Error adding service latency sampling for {shown}{wrong}")

    def _import_stream(self, account: Account, path: Path, wanted: StreamImport) -> None:
        exporter = self.declared.get(wanted.account)
        if exporter is None:
            self._problem(path, f"{_quoted(wanted.account)} account not defined for stream import")
            return
        if wanted.prefix and wanted.to:
            return  # said already
        try:
            if exporter.stream_exports.authorize(wanted.subject, account.name) is None:
                raise ConfigError("stream import not authorized")
            stream = imported_stream(account.name, wanted)
            key = (account.name, stream.exporter, stream.subject)
            if key in self.imported:
                raise ConfigError("stream import already exists")
            if not self.streams.add(stream):
                raise ConfigError("import forms a cycle")
        except ConfigError as reason:
            self._problem(path, f"Error adding stream import {_quoted(wanted.subject)}: {reason}")
            return
        self.imported.add(key)
        account.streams.append(stream)

    def _import_service(self, account: Account, path: Path, wanted: ServiceImport) -> None:
        exporter = self.declared.get(wanted.account)
        if exporter is None:
            self._problem(path, f"{_quoted(wanted.account)} account not defined for service import")
            return
        try:
            export = exporter.service_exports.authorize(wanted.subject, account.name)
            if export is None:
                raise ConfigError("service import not authorized")
            service = imported_service(account.name, wanted, export)
            if not self.services.add(service):
                raise ConfigError("import forms a cycle")
        except ConfigError as reason:
            self._problem(path, f"Error adding service import {_quoted(wanted.subject)}: {reason}")
            return
        account.services.append(service)


def _wrong_with_latency(export: ServiceExport, latency: Latency, system_account: str | None) -> str | None:
    """The rest of the error about the latency of a service, None when there is none (section 2.1)."""
    if system_account is None:
        return ": system account not setup"
    shown = f" on subject {_quoted(latency.subject)}"
    # A metric that is published on the service itself would be a request, and make another.
    if not is_valid_literal(latency.subject) or matches(export.subject, latency.subject):
        return f"{shown}: invalid publish subject"
    if export.response_type is not ResponseType.SINGLETON:
        return f"{shown}: bad service response type"
    return None


def _share_system_services(system: Account, accounts: Sequence[Account]) -> None:
    """Give every account the services of the system account (section 11).

    Each is imported under a literal subject that holds the importer's name, so
    that nobody can ask about another account. An account whose name cannot be
    part of a subject goes without.
    """
    exports = {
        what: ServiceExport(
            subject=b"$SYS.REQ.%s" % what.replace(b"?", b"*"),
            account_token_position=4,
            response_type=ResponseType.STREAM if what.startswith(b"ACCOUNT") else ResponseType.SINGLETON,
        )
        for what in dict.fromkeys(what for _, what in _SYSTEM_SERVICES)
    }
    for export in exports.values():
        system.service_exports.add(export)
    for account in accounts:
        if account is system:
            continue
        name = account.name.encode(errors="surrogateescape")
        for local, what in _SYSTEM_SERVICES:
            subject = b"$SYS.REQ." + what.replace(b"?", name)
            if not is_valid_literal(subject):
                continue
            account.services.append(
                ImportedService(
                    importer=account.name,
                    exporter=system.name,
                    transform=ImportTransform.service(subject, local),
                    export=exports[what],
                    share=what.startswith(b"USER"),
                    is_internal=True,
                )
            )


_SYSTEM_SERVICES: Final = (
    (b"$SYS.REQ.ACCOUNT.PING.CONNZ", b"ACCOUNT.?.CONNZ"),
    (b"$SYS.REQ.SERVER.PING.CONNZ", b"ACCOUNT.?.CONNZ"),
    (b"$SYS.REQ.ACCOUNT.PING.STATZ", b"ACCOUNT.?.STATZ"),
    (b"$SYS.REQ.USER.INFO", b"USER.?.INFO"),
)
"""Local subject, and what it asks the system account; `?` stands for the name of the account."""


def _quoted(raw: bytes | str) -> str:
    return quoted(raw if isinstance(raw, bytes) else raw.encode(errors="surrogateescape")).decode()

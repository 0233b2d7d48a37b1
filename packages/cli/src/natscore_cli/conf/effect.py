"""What a file makes the server do: values for `settings.py`, refusals, and what has no effect.

    load_file("server.conf", os.environ)

raises `FileRefused` with everything that is wrong, or returns what the file asks
for. Of features that are not built yet every option is read and checked like the
others, and then refuses the start by its name: a server that leaves out what its
file says is worse than one that does not start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from natscore.account.anonymous import LoginSettings
from natscore.account.settings import DEFAULT_SYSTEM_ACCOUNT
from natscore_cli.arguments import StartRefused, Value
from natscore_cli.conf import accounts
from natscore_cli.conf.options import Setting, Support, read_block
from natscore_cli.conf.resolve import load
from natscore_cli.conf.rules import first_contradiction
from natscore_cli.conf.table.top import FILE
from natscore_cli.conf.tree import LanguageError, Place
from natscore_cli.conf.users import file_users
from natscore_cli.conf.values import Finding, Findings, Listen
from natscore_cli.conf.warnings import start_warnings
from natscore_cli.logins import Logins
from natscore_cli.redaction import escaped
from natscore_cli.tls import tls_of_block

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from natscore.account.settings import AccountsSettings
    from natscore_cli.conf.options import Settings
    from natscore_cli.conf.warnings import Warned
    from natscore_cli.tls import ClientTls

__all__ = ["FileRefused", "FileSettings", "load_file"]


class FileRefused(StartRefused):
    """The file cannot be used; one line for each reason, ready to be printed."""


class FileSettings(NamedTuple):
    """What a file asks for."""

    path: str  # as it was given
    digest: str
    settings: Settings  # everything, for features to come
    values: dict[str, Value]  # what is obeyed, by the fields of `settings.py` and Options
    ignored: tuple[tuple[str, str], ...]  # options without effect, and why
    not_built: tuple[str, ...]  # what keeps a server from starting, by position and name
    warnings: tuple[str, ...]
    contradiction: str | None  # the first rule of a start that the file breaks
    accounts: AccountsSettings
    logins: Logins
    tls: ClientTls | None
    start_warnings: tuple[Warned, ...]


def load_file(path: str, environment: Mapping[str, str]) -> FileSettings:
    """Read a file, its includes and variables. Raises FileRefused when it is not valid."""
    try:
        document = load(path, environment)
    except LanguageError as error:
        raise FileRefused(escaped(str(error))) from error
    findings = Findings()
    settings = read_block(document.root, Place(path, 1, 0), FILE, findings)
    if not document.root:
        findings.warnings.append(Finding(None, f"{path}: config has no values or is empty"))
    accounts.check(settings, findings)
    lines = [escaped(line) for line in findings.lines()]
    if findings.errors:
        raise FileRefused("\n".join(lines) + "\n")
    effects = _Effects()
    for setting in settings.values():
        effects.add(setting)
    contradiction = first_contradiction(settings)
    declared = accounts.accounts_of(settings)
    logins = _logins(settings, declared)
    return FileSettings(
        path=path,
        digest=document.digest,
        settings=settings,
        values=effects.values,
        ignored=tuple(effects.ignored),
        not_built=tuple(effects.not_built),
        warnings=tuple(lines),
        contradiction=None if contradiction is None else escaped(contradiction),
        accounts=declared,
        logins=logins,
        tls=tls_of_block(settings["tls"]) if "tls" in settings else None,
        start_warnings=start_warnings(settings, logins.users),
    )


def _logins(settings: Settings, declared: AccountsSettings) -> Logins:
    """Who may log in, by the file alone."""
    users = file_users(settings)
    names = tuple(one.name for one in declared.accounts)
    no_auth_user = str(settings["no_auth_user"].value) if "no_auth_user" in settings else ""
    return Logins(
        users=users,
        no_auth_user=no_auth_user,
        settings=LoginSettings(
            authorization="authorization" in settings,
            accounts=names,
            accounts_with_users=tuple(dict.fromkeys(user.account for user in users)),
            system_account=(
                declared.system_account
                or (
                    DEFAULT_SYSTEM_ACCOUNT
                    if DEFAULT_SYSTEM_ACCOUNT in names or not declared.no_system_account
                    else None
                )
            ),
            no_auth_user=bool(no_auth_user),
            operators="operator" in settings,
        ),
    )


class _Effects:
    """Sorts settings by what becomes of them. A later one replaces an earlier one of the same field."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.ignored: list[tuple[str, str]] = []
        self.not_built: list[str] = []

    def add(self, setting: Setting) -> None:
        """Take one setting of the file."""
        option, value = setting.option, setting.value
        if option.support is Support.OBEYED:
            self._refuse_inside(value, option.name)
            _OBEY.get(option.name, _Effects._take)(self, setting)
        elif option.support is Support.REFUSED:
            self._refuse(setting, option.name)
        elif value is not False:
            self.ignored.append((setting.key, option.reason))

    def _refuse_inside(self, value: object, path: str) -> None:
        """Refuse what in the block of an option, or in one of its blocks, cannot be obeyed."""
        if isinstance(value, list):
            for member in value:
                self._refuse_inside(member, path)
        for name, inside in value.items() if isinstance(value, dict) else ():
            if not isinstance(inside, Setting):  # a block of a name that the file chose
                self._refuse_inside(inside, path)
            elif inside.option.support is Support.REFUSED:
                self._refuse(inside, f"{path}.{name}")
            else:
                self._refuse_inside(inside.value, f"{path}.{name}")

    def _refuse(self, setting: Setting, what: str) -> None:
        if setting.value in setting.option.off:
            return
        reason = setting.option.reason
        verdict = "not supported" if reason else "not built yet"
        self.not_built.append(
            escaped(f"{setting.place}: {what} is {verdict}, and the server would not obey it")
        )

    def _take(self, setting: Setting) -> None:
        assert isinstance(setting.value, bool | int | str)
        self.values[setting.option.to] = setting.value

    def _listen(self, setting: Setting) -> None:
        assert isinstance(setting.value, Listen)
        self.values["port"] = setting.value.port
        if setting.value.host is not None:
            self.values["host"] = setting.value.host

    def _max_connections(self, setting: Setting) -> None:
        assert isinstance(setting.value, int)
        self.values["max_connections"] = max(setting.value, 0)  # less than none is none (2.12.5)

    def _authorization(self, setting: Setting) -> None:
        assert isinstance(setting.value, dict)
        for name, inside in setting.value.items():
            if name in _CREDENTIALS:
                self.values[_CREDENTIALS[name]] = inside.value

    def _elsewhere(self, setting: Setting) -> None:
        """What comes to more than a value of one field: see `FileSettings`."""


_CREDENTIALS: Final = {"user": "user", "password": "password", "token": "token", "timeout": "auth_timeout_ns"}

_OBEY: Final[dict[str, Callable[[_Effects, Setting], None]]] = {
    "listen": _Effects._listen,
    "max_connections": _Effects._max_connections,
    "authorization": _Effects._authorization,
    **dict.fromkeys(
        ("accounts", "mappings", "no_auth_user", "system_account", "no_system_account", "tls"),
        _Effects._elsewhere,
    ),
}
"""Options whose value is not simply that of one field."""

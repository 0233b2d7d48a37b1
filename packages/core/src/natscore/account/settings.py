"""Accounts as an operator configures them: exports, imports, limits, as values.

Nothing here is checked: `natscore.account.accounts.resolve` does that for all accounts at
once, because what one may import is for another to say. Users are not part of
an account's settings; they name their account.

Subjects are bytes as everywhere. Names of accounts are text. Source: accounts.md
sections 1, 2 and 10.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, TypeAlias

from natscore.values import keyword_value, value

if TYPE_CHECKING:
    from natscore.account.mappings import Mapping
    from natscore.account.permissions import Permissions

__all__ = [
    "DEFAULT_SYSTEM_ACCOUNT",
    "GLOBAL_ACCOUNT",
    "RESPONSE_THRESHOLD_NS",
    "UNLIMITED",
    "AccountSettings",
    "AccountsSettings",
    "Export",
    "Import",
    "Latency",
    "Limits",
    "ResponseType",
    "ServiceExport",
    "ServiceImport",
    "StreamExport",
    "StreamImport",
]

GLOBAL_ACCOUNT: Final = "$G"
DEFAULT_SYSTEM_ACCOUNT: Final = "$SYS"
UNLIMITED: Final = -1
RESPONSE_THRESHOLD_NS: Final = 120 * 1_000_000_000  # how long a service may be silent


class ResponseType(enum.Enum):
    """How many replies a service gives to a request. The value is what monitoring shows."""

    SINGLETON = "Singleton"
    STREAM = "Streamed"
    CHUNKED = "Chunked"


@value
class Latency:
    """Where the latency of a service is published, and for how many of 100 requests.

    `sampling` 0: for the requests whose headers ask for it.
    """

    subject: bytes
    sampling: int = 100


@keyword_value
class StreamExport:
    """A stream of messages that others may import.

    `accounts`: only these may, all if it is empty. `account_token_position`: the
    token, counted from 1, in which an importer must write its own name; 0: none.
    """

    subject: bytes
    accounts: tuple[str, ...] = ()
    account_token_position: int = 0


@keyword_value
class ServiceExport:
    """A service that others may send requests to. Who may is said as for a stream."""

    subject: bytes
    accounts: tuple[str, ...] = ()
    account_token_position: int = 0
    response_type: ResponseType = ResponseType.SINGLETON
    threshold_ns: int = RESPONSE_THRESHOLD_NS
    latency: Latency | None = None
    allow_trace: bool = False


@keyword_value
class StreamImport:
    """A stream of another account. Its local subject is `to`, or `prefix.subject`, or the same."""

    account: str
    subject: bytes
    prefix: bytes | None = None
    to: bytes | None = None
    allow_trace: bool = False


@keyword_value
class ServiceImport:
    """A service of another account, requested on `to`, or on the same subject."""

    account: str
    subject: bytes
    to: bytes | None = None
    share: bool = False

    @property
    def local(self) -> bytes:
        """The subject of requests as it was written."""
        return self.to or self.subject


Export: TypeAlias = StreamExport | ServiceExport
Import: TypeAlias = StreamImport | ServiceImport


@keyword_value
class Limits:
    """What an account may use; -1 is no limit (section 10).

    The last four come with claims only, and are checked when those are read.
    """

    connections: int = UNLIMITED
    subscriptions: int = UNLIMITED  # of each connection
    payload: int = UNLIMITED
    leafnodes: int = UNLIMITED
    imports: int = UNLIMITED
    exports: int = UNLIMITED
    wildcard_exports: bool = True
    data: int = UNLIMITED  # carried, not enforced


@keyword_value
class AccountSettings:
    """One account. Exports and imports are in the order of the configuration, both kinds in one list."""

    name: str
    nkey: str = ""
    exports: tuple[Export, ...] = ()
    imports: tuple[Import, ...] = ()
    mappings: tuple[Mapping, ...] = ()
    limits: Limits = Limits()
    default_permissions: Permissions | None = None  # of users who have none of their own


@keyword_value
class AccountsSettings:
    """All accounts, without the global one, which has `global_mappings` and nothing else."""

    accounts: tuple[AccountSettings, ...] = ()
    global_mappings: tuple[Mapping, ...] = ()
    system_account: str = ""  # empty: `$SYS`, declared or not
    no_system_account: bool = False

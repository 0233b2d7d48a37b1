"""Services imported at random, with cycles by way of replies: isolation, bounded work, one answer for one."""

from __future__ import annotations

import io
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscore.account.accounts import Accounts, resolve
from natscore.account.settings import AccountSettings, AccountsSettings, ServiceExport, ServiceImport
from natscore.replay import replay
from natscore.testing import World
from tests.support.accounts import ByAccount, client_of

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient, SimulatedServer

pytestmark = pytest.mark.every_plane

NAMES: Final = ("A", "B", "C", "D")
SUBJECTS: Final = (b"s.1", b"s.2", b"s.3")
EXPORTS: Final = tuple(ServiceExport(subject=one) for one in SUBJECTS)
PUBLISHES_MAX: Final = 40
DELIVERED: Final = re.compile(rb"(?:\A|\r\n)H?MSG (\S+) 1 (?:(\S+\.\S+) )?")


@st.composite
def graphs(draw: st.DrawFn) -> tuple[AccountSettings, ...]:
    """Accounts that export each subject, and import as they like; what may not be is left out."""
    importing: dict[str, list[ServiceImport]] = {name: [] for name in NAMES}
    some = st.tuples(
        *(
            st.sampled_from(NAMES),
            st.sampled_from(NAMES),
            st.sampled_from(SUBJECTS),
            st.sampled_from(SUBJECTS),
        )
    )
    for importer, exporter, subject, local in draw(st.lists(some, max_size=10)):
        if importer == exporter:
            continue
        wanted = ServiceImport(account=exporter, subject=subject, to=local)
        importing[importer].append(wanted)
        if not isinstance(resolve(AccountsSettings(accounts=accounts_of(importing))), Accounts):
            importing[importer].pop()
    return accounts_of(importing)


def accounts_of(importing: dict[str, list[ServiceImport]]) -> tuple[AccountSettings, ...]:
    return tuple(
        AccountSettings(name=name, exports=EXPORTS, imports=tuple(of)) for name, of in importing.items()
    )


def server_with(accounts: tuple[AccountSettings, ...]) -> tuple[SimulatedServer, dict[str, ScriptedClient]]:
    """A server, and in each account a client that hears everything."""
    server = World().server(
        authenticator=ByAccount(),
        accounts=AccountsSettings(accounts=accounts),
        internal_publishes_max=PUBLISHES_MAX,
    )
    clients = {name: client_of(server, name, headers=True) for name in NAMES}
    for one in clients.values():
        one.send(b"SUB > 1\r\n")
    return server, clients


def reached(
    accounts: dict[str, AccountSettings], name: str, subject: bytes, passed: frozenset[tuple[str, bytes]]
) -> Counter[tuple[str, bytes]]:
    """The twin: which account gets a request under which subject, how often, going along every import."""
    found = Counter({(name, subject): 1})
    for wanted in accounts[name].imports:
        assert isinstance(wanted, ServiceImport)
        key = (wanted.account, wanted.subject)
        if wanted.local == subject and key not in passed:
            found += reached(accounts, wanted.account, wanted.subject, passed | {key})
    return found


@pytest.mark.spec("accounts 6.2", "accounts 6.7", "accounts 17:7", "accounts 18:3")
@given(accounts=graphs(), name=st.sampled_from(NAMES), subject=st.sampled_from(SUBJECTS))
def test_a_request_reaches_what_imports_lead_to_and_nothing_else(
    accounts: tuple[AccountSettings, ...], name: str, subject: bytes
) -> None:
    server, clients = server_with(accounts)
    expected = reached({one.name: one for one in accounts}, name, subject, frozenset())

    clients[name].send(b"PUB " + subject + b" 0\r\n\r\n")

    heard = Counter(
        (who, found[0]) for who, one in clients.items() for found in DELIVERED.findall(one.take())
    )
    if expected.total() <= PUBLISHES_MAX:
        assert heard == expected
    assert heard.keys() <= expected.keys()
    server.check()


requests = st.tuples(
    st.sampled_from(NAMES), st.sampled_from(SUBJECTS), st.sampled_from((b"in.1", b"in.2", *SUBJECTS))
)


@pytest.mark.spec("accounts 6.4", "accounts 17:8", "accounts 17:10")
@given(accounts=graphs(), asked=st.lists(requests, max_size=3))
def test_work_is_bounded_nothing_is_answered_twice_and_all_of_it_replays(
    accounts: tuple[AccountSettings, ...], asked: list[tuple[str, bytes, bytes]]
) -> None:
    server, clients = server_with(accounts)

    for name, subject, reply in asked:
        clients[name].send(b"PUB %b %b 0\r\n\r\n" % (subject, reply))
        answer_everything_twice(clients)

    for one in clients.values():
        inbox = re.findall(rb"MSG in\.\d 1 (?:\S+ )?\d+(?: \d+)?\r\n([^\r]+)", bytes(one.received))
        assert len(inbox) == len(set(inbox))
    assert len(server.server._services.responses) <= PUBLISHES_MAX * (len(asked) + 1)
    server.check()
    replayed = replay(
        io.BytesIO(server.journal.getvalue()).read,
        authenticator=ByAccount(),
        data_plane=server.world.data_plane,
    )
    assert replayed.events == server.events


def answer_everything_twice(clients: dict[str, ScriptedClient]) -> None:
    """Each account answers what it was asked, naming the reply subject in the answer."""
    for name, one in clients.items():
        taken = one.take()
        for reply in dict.fromkeys(found[1] for found in DELIVERED.findall(taken)):
            if reply.startswith(b"_R_."):
                answer = b"PUB %b %d\r\n%b\r\n" % (reply, len(reply) + 1, reply + name.encode())
                one.send(2 * answer)

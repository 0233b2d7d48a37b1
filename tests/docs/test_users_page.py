"""The configuration file of the page about users does what its table says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from natscore.options import Options
from natscore.testing import World
from natscore_cli.arguments import parse
from natscore_cli.conf.effect import load_file
from natscore_cli.settings import resolve
from natscore_security import passwords
from tests.docs.test_examples import blocks

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient, SimulatedServer

PAGE: Final = "docs/how-to/users-and-permissions.md"
PASSWORDS: Final = {"ann": "secret", "audit": "audit", "prices": "prices"}
ROWS: Final = [
    [re.findall(r"`([^`]+)`|(\w+)", cell) for cell in line.strip("|\n ").split(" | ")]
    for line in (Path(__file__).resolve().parents[2] / PAGE).read_text().splitlines()
    if re.match(r"\| [a-z]+ \| [`-]", line)
]


@pytest.fixture
def server(tmp_path: Path) -> SimulatedServer:
    """A server with the file of the page."""
    (text,) = blocks(PAGE, "conf")
    (tmp_path / "server.conf").write_text(text)
    settings = resolve(parse([]), memory_bytes=1 << 30, file=load_file(str(tmp_path / "server.conf"), {}))
    server = World().server(authenticator=settings.logins.authenticator(), accounts=settings.options.accounts)
    server.verify = passwords.matches
    assert settings.options.accounts != Options().accounts
    return server


def logged_in(server: SimulatedServer, user: str) -> ScriptedClient:
    client = server.connect()
    secret = f',"user":"{user}","pass":"{PASSWORDS[user]}"' if user in PASSWORDS else ""
    client.send(f'CONNECT {{"verbose":false{secret}}}\r\n'.encode())
    assert client.is_open
    return client


def words(cell: list[tuple[str, str]]) -> list[bytes]:
    return [subject.encode() for subject, _ in cell if subject]


def test_the_table_of_the_page_has_a_row_for_each_user_with_a_name() -> None:
    assert [row[0][0][1] for row in ROWS] == [*PASSWORDS, "guest"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][0][1])
def test_a_user_of_the_page_may_what_the_table_says(
    row: list[list[tuple[str, str]]], server: SimulatedServer
) -> None:
    client = logged_in(server, row[0][0][1])
    publishes, not_to, subscribes, nor = (words(cell) for cell in row[1:])

    for subject in (*publishes, *not_to):
        client.send(b"PUB %b 0\r\n\r\n" % subject)
    for subject in (*subscribes, *nor):
        client.send(b"SUB %b %b\r\n" % (subject, subject))

    assert client.take().splitlines() == [
        *(b"-ERR 'Permissions Violation for Publish to \"%b\"'" % subject for subject in not_to),
        *(b"-ERR 'Permissions Violation for Subscription to \"%b\"'" % subject for subject in nor),
    ]


def test_a_service_of_the_page_answers_and_the_accounts_share_nothing(server: SimulatedServer) -> None:
    prices, ann, guest = (logged_in(server, user) for user in ("prices", "ann", "guest"))
    prices.send(b"SUB orders.price 1\r\n")
    ann.send(b"SUB _INBOX.> 1\r\n")
    guest.send(b"SUB news 1\r\n")

    ann.send(b"PUB orders.price _INBOX.1 0\r\n\r\n")
    prices.send(b"PUB _INBOX.1 2\r\n42\r\n")

    assert ann.take() == b"MSG _INBOX.1 1 2\r\n42\r\n"
    assert guest.take() == b""

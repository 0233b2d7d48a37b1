"""The configuration file of the page about accounts does what its table says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from natscore.testing import World
from natscore_cli.arguments import parse
from natscore_cli.conf.effect import load_file
from natscore_cli.settings import resolve
from tests.docs.test_examples import blocks

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient, SimulatedServer

PAGE: Final = "docs/accounts.md"
PASSWORDS: Final = {"orders": "o", "shop": "s", "press": "p"}
ROWS: Final = [
    (who, subject, heard)
    for who, subject, heard in re.findall(
        r"^\| (\w+) \| `PUB ([^`]+)` \| (.+) \|$",
        (Path(__file__).resolve().parents[2] / PAGE).read_text(),
        re.MULTILINE,
    )
]


@pytest.fixture
def server(tmp_path: Path) -> SimulatedServer:
    """A server with the file of the page."""
    (text,) = blocks(PAGE, "conf")
    (tmp_path / "server.conf").write_text(text)
    settings = resolve(parse([]), memory_bytes=1 << 30, file=load_file(str(tmp_path / "server.conf"), {}))
    return World().server(authenticator=settings.logins.authenticator(), accounts=settings.options.accounts)


def listener(server: SimulatedServer, user: str) -> ScriptedClient:
    """A client that hears everything of its account, but not itself."""
    client = server.connect()
    said = f'"verbose":false,"echo":false,"headers":true,"user":"{user}","pass":"{PASSWORDS[user]}"'
    client.send(f"CONNECT {{{said}}}\r\nSUB > 1\r\nPING\r\n".encode())
    assert client.take().endswith(b"PONG\r\n")
    return client


def test_the_table_of_the_page_is_read() -> None:
    assert len(ROWS) == 5


@pytest.mark.parametrize(("who", "subject", "heard"), ROWS, ids=lambda one: one.replace(" ", "-"))
def test_a_row_of_the_page_is_what_happens(
    who: str, subject: str, heard: str, server: SimulatedServer
) -> None:
    clients = {user: listener(server, user) for user in PASSWORDS}

    clients[who].send(f"PUB {subject} 2\r\nhi\r\n".encode())

    said = {user: client.take().split() for user, client in clients.items()}
    expected = re.fullmatch(r"(\w+) as `([^`]+)`|nobody else", heard)
    assert expected is not None
    assert {user: words[1].decode() for user, words in said.items() if words} == (
        {expected[1]: expected[2]} if expected[1] else {}
    )

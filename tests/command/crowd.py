"""Twenty live clients of one `nats-server-py` whose file is rewritten and read again."""

from __future__ import annotations

import json
import re
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

from tests.command.process import Process
from tests.support.wire import RawClient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = ["CLIENTS", "Crowd"]

CLIENTS: Final = 20
_BATCH: Final = 50


class Crowd:
    """A server and its clients, the first of which publishes numbers to all. A context manager.

    Args:
        folder: where the file is.
        text: what the file says at the start.
        logins: fields of CONNECT, which clients take in turn.
        flags: more of the command line.
    """

    def __init__(
        self,
        folder: Path,
        text: str,
        *,
        logins: Sequence[dict[str, object]] = ({},),
        flags: Sequence[str] = (),
    ) -> None:
        self.file = folder / "server.conf"
        self.file.write_text(text)
        self.flags = flags
        self.logins = logins
        self.published = 0
        self._stack = ExitStack()
        self.clients: list[RawClient] = []
        self.server: Process

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(Process("-c", str(self.file), *self.flags))
        self.server.wait_for("Server is ready")
        for number in range(CLIENTS):
            login = self.logins[number % len(self.logins)]
            client = self.connect(**login)
            client.send(b"SUB numbers %d\r\nPING\r\n" % number)
            client.read_until(b"PONG\r\n")
            self.clients.append(client)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def connect(self, **login: object) -> RawClient:
        """One more client, which has said CONNECT and taken INFO."""
        client = self._stack.enter_context(RawClient("127.0.0.1", self.server.port))
        client.read_info()
        document = {"verbose": False, "pedantic": False, **login}
        client.send(b"CONNECT " + json.dumps(document).encode() + b"\r\n")
        return client

    def info(self) -> dict[str, object]:
        """What a new client is told."""
        client, document = RawClient.connect("127.0.0.1", self.server.port)
        client.close()
        return document

    def publish(self) -> None:
        """Let the first client publish the next numbers."""
        first, self.published = self.published, self.published + _BATCH
        self.clients[0].send(
            b"".join(b"PUB numbers 4\r\n%04d\r\n" % number for number in range(first, self.published))
        )

    def reload(self, text: str, answer: str = "Reloaded server configuration") -> list[str]:
        """Rewrite the file and have it read, while numbers are published before, during and after.

        Returns what the log says of it.
        """
        seen, before = len(self.server.messages), len(self.server.text)
        self.publish()
        self.file.write_text(text)
        self.server.send(signal.SIGHUP)
        self.publish()
        self.server.wait_for(rf"(?s)\A.{{{before}}}.*?{re.escape(answer)}[^\n]*\n")
        self.publish()
        return self.server.messages[seen:]

    def assert_undisturbed(self, *numbers: int) -> None:
        """These clients got every number once and in order, and nothing else; without any: all."""
        last = b"%04d\r\n" % (self.published - 1)
        for number in numbers or range(CLIENTS):
            client = self.clients[number]
            text = client.read_until(last)
            client.send(b"PING\r\n")
            text += client.read_until(b"PONG\r\n")
            wanted = b"".join(b"MSG numbers %d 4\r\n%04d\r\n" % (number, n) for n in range(self.published))
            assert text == wanted + b"PONG\r\n"

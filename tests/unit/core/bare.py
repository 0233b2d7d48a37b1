"""A server without a shell: the test feeds each event itself and sees its effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar

from natscore.events import (
    Address,
    BytesReceived,
    ConnectionClosed,
    ConnectionId,
    ConnectionKind,
    ConnectionOpened,
    DeadlineReached,
    Instant,
    PeerClosing,
    ServerStarted,
    TurnGranted,
)
from natscore.options import Options
from natscore.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.authentication import Authenticator
    from natscore.effects import Effect
    from natscore.entropy import Xorshift64
    from natscore.facts import Fact
    from natscore.plane import DataPlane

__all__ = ["BareServer", "of_type"]


class _Chosen(TypedDict, total=False):
    data_plane: Callable[[Xorshift64], DataPlane]


T = TypeVar("T")

SERVER_ID: Final = "N" + "A" * 55


class BareServer:
    """Feeds one server. The kernel takes nothing until `written` does."""

    def __init__(
        self,
        authenticator: Authenticator | None = None,
        *,
        start: bool = True,
        data_plane: Callable[[Xorshift64], DataPlane] | None = None,
        **options: Any,
    ) -> None:
        self.facts: list[Fact] = []
        chosen: _Chosen = {} if data_plane is None else {"data_plane": data_plane}
        self.server = Server(
            Options(**options), authenticator=authenticator, facts=self.facts.append, **chosen
        )
        self.now_ns = 0
        if start:
            self.start()

    @property
    def at(self) -> Instant:
        return Instant(self.now_ns, 1_700_000_000_000_000_000 + self.now_ns)

    def start(self) -> list[Effect]:
        return self.server.handle(ServerStarted(at=self.at, server_id=SERVER_ID, seed=1, runtime="test"))

    def open(
        self, cid: int, kind: ConnectionKind = ConnectionKind.CLIENT, host: str = "10.0.0.1"
    ) -> list[Effect]:
        return self.server.handle(
            ConnectionOpened(at=self.at, cid=ConnectionId(cid), kind=kind, remote=Address(host, 40_000 + cid))
        )

    def receive(self, cid: int, data: bytes | memoryview) -> list[Effect]:
        return self.server.handle(BytesReceived(at=self.at, cid=ConnectionId(cid), data=data))

    def close(self, cid: int, why: PeerClosing = PeerClosing.END_OF_STREAM) -> list[Effect]:
        return self.server.handle(ConnectionClosed(at=self.at, cid=ConnectionId(cid), why=why))

    def grant(self) -> list[Effect]:
        return self.server.handle(TurnGranted(at=self.at))

    def rest(self) -> list[Effect]:
        """Grant turns until no work is left over, which may not take long."""
        effects: list[Effect] = []
        for _ in range(1_000):
            if self.server.is_quiet:
                return effects
            effects += self.grant()
        raise AssertionError("the server does not come to rest")

    def advance(self, duration_ns: int) -> list[Effect]:
        """Let time pass and tell the server once, at the end."""
        self.now_ns += duration_ns
        return self.server.handle(DeadlineReached(at=self.at))

    def written(self, cid: int) -> bytes:
        """Take everything from the outbox of a connection."""
        outbox = self.server.state.connections[ConnectionId(cid)].outbox
        data = b"".join(outbox.blocks(1 << 40))
        outbox.advance(len(data))
        return data


def of_type(effects: list[Effect], kind: type[T]) -> list[T]:
    """Those effects that are of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]

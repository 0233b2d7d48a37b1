"""A scripted client: literal bytes in, literal bytes out, over a simulated connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from natscore.errors import CloseReason
    from natscore.events import Certificate, ConnectionId
    from natscore.testing.world import SimulatedServer

__all__ = ["ScriptedClient"]


class ScriptedClient:
    """One end of a simulated connection; the other end is a server.

    `received` holds all bytes that came, INFO included; `take` and `lines` hand
    out what is new. With `window` set, that many bytes fit into the kernel
    before it refuses more; `read` makes room.
    """

    def __init__(self, server: SimulatedServer, cid: ConnectionId, window: int | None) -> None:
        self.server = server
        self.cid = cid
        self.window = window
        self.received = bytearray()
        self.is_open = True
        self.close_reason: CloseReason | None = None
        self.info = b""  # the first INFO line
        # While the server waits for a TLS handshake: what it had received of it before.
        self.handshake: bytes | None = None
        self._taken = 0

    def send(self, data: bytes) -> None:
        """Send bytes, and let the world come to rest."""
        self.server.send(self, data)

    def take(self) -> bytes:
        """The bytes received since the last take."""
        fresh = bytes(self.received[self._taken :])
        self._taken = len(self.received)
        return fresh

    def lines(self) -> list[bytes]:
        """The same, as lines without their ends."""
        return self.take().split(b"\r\n")[:-1]

    def read(self, room: int) -> None:
        """Make room for `room` more bytes in the kernel, and let the world come to rest."""
        assert self.window is not None, "this client takes everything at once"
        self.window += room
        self.server.made_room(self)

    def finish_tls(self, peer: Certificate | None = None) -> None:
        """Succeed with the handshake that the server waits for; bytes stay plain in this world."""
        assert self.handshake is not None, "the server waits for no handshake"
        self.server.finish_tls(self, peer, "")

    def fail_tls(self, error: str) -> None:
        """Fail with it."""
        assert self.handshake is not None, "the server waits for no handshake"
        self.server.finish_tls(self, None, error)

    def close(self) -> None:
        """End the stream."""
        self.server.hang_up(self, reset=False)

    def reset(self) -> None:
        """Break the connection."""
        self.server.hang_up(self, reset=True)

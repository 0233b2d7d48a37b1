"""One connection: a socket, what the kernel refused of its output, and how it ends.

    OPEN ──── Close(flush=True) ────► FLUSHING ──all written──► LINGERING ──► CLOSED
      ├────── Close(flush=False), an error, the peer's end ─────────────────► CLOSED
      └────── the peer's end while bytes are refused ──► PEER_DONE ─────────► CLOSED

From FLUSHING on nothing is fed but the one ConnectionClosed. FLUSHING, LINGERING
and PEER_DONE each have a deadline, so a peer cannot keep a connection alive that
is over.

Writing is direct: `offer` gives an outbox to the kernel, and only what the kernel
refuses makes the stream wait for writability. A connection with a filter (TLS) is
read by `_readable_filtered` and written by its `FilteredSocket`; a plain one pays
for that one look whether it has one.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
from typing import TYPE_CHECKING, Final

from natscore.effects import Level, Note
from natscore.events import BytesReceived, ConnectionClosed, PeerClosing, WriteProgressed
from natscore.options import MILLISECOND
from natscore_tcp.backend import Served
from natscore_tcp.contract import READ_MAX
from natscore_tcp.filters import FilteredSocket, FilterError

if TYPE_CHECKING:
    from natscore.events import ConnectionId, ConnectionKind
    from natscore_tcp.contract import Block, OutboxLike, Shell
    from natscore_tcp.filters import Filter

__all__ = ["LARGE_BLOCK", "URGENT_MAX", "WRITE_MAX", "Stream", "gathered"]

LARGE_BLOCK: Final = 4096
"""Blocks from this size on go to the kernel as they are; smaller ones are joined, which is cheaper than
a place in a vector (measured: 200 blocks of 1000 bytes 10 us joined, 22 us as a vector)."""

WRITE_MAX: Final = 262_144
"""Bytes offered to the kernel at once. With every block below LARGE_BLOCK joined to its neighbours, a
vector has at most 2 * WRITE_MAX / LARGE_BLOCK + 1 = 129 places; IOV_MAX is 1024 where it is known."""

URGENT_MAX: Final = 8_192
"""Bytes of a read that may be a request or a reply for which somebody waits."""

HURRIED_NS: Final = 100 * MILLISECOND
"""How long a peer that seems to have nothing on its way is read at a shutdown. One that floods us may have
been read to its last byte just now; closed at once, it would be reset."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds


class State(enum.Enum):
    """Where a connection is in its life."""

    OPEN = enum.auto()
    PEER_DONE = enum.auto()  # the peer sends no more, but may still read what was refused
    FLUSHING = enum.auto()  # we end it; the kernel has not taken everything
    LINGERING = enum.auto()  # our side is shut; the peer's is read and dropped
    CLOSED = enum.auto()


class Stream:
    """A connection of one server. Created for a connected, non-blocking socket."""

    __slots__ = (
        "_filtered",
        "_had_plenty",
        "_hurried",
        "_outbox",
        "_reading",
        "_shell",
        "_socket",
        "blocked",
        "cid",
        "kind",
        "state",
    )

    def __init__(
        self, shell: Shell, connected: socket.socket, cid: ConnectionId, kind: ConnectionKind
    ) -> None:
        self.cid: Final = cid
        self.kind: Final = kind
        self.state = State.OPEN
        self.blocked = False  # the kernel refused bytes; writability is awaited
        self._shell = shell
        self._socket = connected
        self._outbox: OutboxLike | None = None  # while blocked
        self._reading = False
        self._had_plenty = False  # the last read took more than a request has
        self._hurried = False  # linger but a moment for a peer that has nothing on its way
        self._filtered: FilteredSocket | None = None  # None: plain

    def __repr__(self) -> str:
        return f"<Stream {self.cid} {self.state.name}{' blocked' if self.blocked else ''}>"

    # -- reading -----------------------------------------------------------------------------------

    def resume(self) -> None:
        """Read, from now on. Reading twice is reading."""
        if self.state is State.OPEN and not self._reading:
            self._reading = True
            ready = self._readable if self._filtered is None else self._readable_filtered
            self._shell.backend.start_reading(self._socket, ready)

    def pause(self) -> None:
        """Do not read until `resume`; the kernel then slows the peer down."""
        if self._reading:
            self._reading = False
            self._shell.backend.stop_reading(self._socket)

    def _readable(self) -> Served | None:
        # One read per readiness, so that a busy connection does not keep others from their turn.
        shell = self._shell
        try:
            count = self._read(shell.read_buffer)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            self._lose(PeerClosing.READ_ERROR)
            return None
        if count:
            shell.feed(BytesReceived(at=shell.now(), cid=self.cid, data=shell.read_buffer[:count]))
            return self._judge(count)
        self._end_input()
        return None

    def _judge(self, count: int) -> Served | None:
        """What a read of `count` bytes, which were handled, says about the next."""
        had_plenty, self._had_plenty = self._had_plenty, count > URGENT_MAX
        if count == READ_MAX:
            return Served.BULK
        # what is left of a row of full reads is little too, and no request
        is_urgent = not had_plenty and count <= URGENT_MAX and self._shell.passed_on(self.cid)
        return Served.URGENT if is_urgent else None

    def _end_input(self) -> None:
        """The peer sends no more."""
        self._shell.offer_held()
        if self.blocked:
            self.pause()
            self.state = State.PEER_DONE
            self._end_within(self._shell.settings.flush_deadline_ns)
        else:
            self._lose(PeerClosing.END_OF_STREAM)

    def _read(self, into: memoryview) -> int:
        """How many bytes have come; none: the peer sends no more. Raises OSError."""
        return self._socket.recv_into(into)

    # -- the filter --------------------------------------------------------------------------------

    def start_filter(self, first: Filter, received: bytes) -> None:
        """Let a filter stand between the outbox and the socket; `received` are wire bytes read before.

        Called after the outboxes of this turn were written: what was in this one
        went in plain.
        """
        if self.state is not State.OPEN:
            return
        self._filtered = FilteredSocket(first)
        if self._reading:
            self._shell.backend.start_reading(self._socket, self._readable_filtered)
        if self.blocked:  # a few hundred bytes of INFO, by a kernel that has room for thousands
            self._fail_filter("the peer does not read")
        elif received:
            self._take_wire(memoryview(received))

    def _readable_filtered(self) -> Served | None:
        shell = self._shell
        try:
            count = self._read(shell.read_buffer)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            self._lose(PeerClosing.READ_ERROR)
            return None
        if not count:
            if self._filtered is not None and self._filtered.filter.is_open:
                self._note("end_without_notice")
            self._end_input()
            return None
        self._take_wire(shell.read_buffer[:count])
        return self._judge(count)

    def _take_wire(self, wire: memoryview) -> None:
        """Feed what a filter makes of wire bytes, and write what it answers by itself."""
        shell, filtered = self._shell, self._filtered
        assert filtered is not None
        was_open = filtered.filter.is_open
        try:
            for plain in filtered.filter.receive(wire):
                if not was_open:
                    was_open = self._tell_open(filtered.filter)
                shell.feed(BytesReceived(at=shell.now(), cid=self.cid, data=plain))
                if self.state is not State.OPEN:
                    return
            if filtered.filter.is_open and not was_open:
                self._tell_open(filtered.filter)
            if self.state is State.OPEN and not self.blocked and not filtered.write(self._socket):
                shell.backend.start_writing(self._socket, self._write_answers)
        except OSError:
            self._lose(PeerClosing.WRITE_ERROR)
        except FilterError as error:
            self._fail_filter(str(error))
        else:
            if filtered.filter.has_ended and self.state is State.OPEN:
                self._end_input()

    def _tell_open(self, opened: Filter) -> bool:
        self._shell.feed(opened.opened(self._shell.now(), self.cid))
        return True

    def _write_answers(self) -> None:
        """The kernel has room for what the filter answered by itself: a handshake, not an outbox."""
        assert self._filtered is not None
        try:
            if self._filtered.write(self._socket):
                self._shell.backend.stop_writing(self._socket)
        except OSError:
            self._lose(PeerClosing.WRITE_ERROR)

    def _fail_filter(self, error: str) -> None:
        """The peer broke the protocol of the filter. After a failed handshake the server ends it all."""
        assert self._filtered is not None
        shell = self._shell
        failed = self._filtered.filter
        if failed.is_open:
            self._note("broken", error=error)
            self._lose(PeerClosing.READ_ERROR)
            return
        self.pause()
        shell.feed(failed.failed(shell.now(), self.cid, error))

    def _note(self, what: str, **fields: object) -> None:
        fields = {"cid": self.cid, "kind": self.kind, **fields}
        self._shell.note(Note(Level.DEBUG, f"filter_{what}", fields))

    # -- writing -----------------------------------------------------------------------------------

    def offer(self, outbox: OutboxLike) -> bool:
        """Give everything in an outbox to the kernel. False: some of it was refused, and is waited for.

        Not to be called while `blocked`.
        """
        try:
            if self._write(outbox):
                return True
        except (OSError, FilterError):
            self._lose(PeerClosing.WRITE_ERROR)
            return True  # nothing is waited for
        self.blocked = True
        self._outbox = outbox
        self._shell.backend.start_writing(self._socket, self._writable)
        return False

    def _writable(self) -> None:
        outbox = self._outbox
        assert outbox is not None
        before = outbox.size
        try:
            written = self._write(outbox)
        except (OSError, FilterError):
            self._lose(PeerClosing.WRITE_ERROR)
            return
        if written:
            self._shell.backend.stop_writing(self._socket)
            self.blocked = False
            self._outbox = None
        if self.state is State.FLUSHING:
            if written:
                self._end_output()
            return
        if outbox.size != before:
            shell = self._shell
            shell.feed(WriteProgressed(at=shell.now(), cid=self.cid, refused=outbox.size))
        if self.state is State.PEER_DONE and not self.blocked:
            self._lose(PeerClosing.END_OF_STREAM)

    def _write(self, outbox: OutboxLike) -> bool:
        """Write until the outbox is empty (True) or the kernel refuses. Raises OSError, FilterError."""
        sock = self._socket
        if self._filtered is not None:
            return self._filtered.write(sock, outbox)
        try:
            left = outbox.size
            while left:
                blocks = outbox.blocks(WRITE_MAX)
                if len(blocks) == 1:
                    taken = sock.send(blocks[0])
                elif left < LARGE_BLOCK:
                    taken = sock.send(b"".join(blocks))
                else:
                    taken = sock.sendmsg(gathered(blocks))
                outbox.advance(taken)
                left -= taken
        except (BlockingIOError, InterruptedError):
            return False
        return True

    # -- ending ------------------------------------------------------------------------------------

    def begin_flush(self, *, hurried: bool) -> None:
        """The server ends this connection, and what its outbox holds goes first.

        Called before the outboxes of this turn are written; `finish_flush` is
        called after it. With `hurried` a peer that has nothing on its way is waited for
        a moment only.
        """
        self.pause()
        self.state = State.FLUSHING
        self._hurried = hurried

    def finish_flush(self) -> None:
        """Everything that this connection will ever be sent has been offered once."""
        if self.state is not State.FLUSHING:  # the peer was quicker
            return
        if not self.blocked:
            self._end_output()
        if self.state is State.FLUSHING:
            self._end_within(self._shell.settings.flush_deadline_ns)

    def abort(self) -> None:
        """The server ends this connection now. The kernel drops what it holds for it: the peer is reset."""
        self._reset_on_close()
        self._finish(PeerClosing.FINISHED)

    def drop(self) -> None:
        """Close the socket and feed nothing: the server itself is over."""
        self._close()

    def _end_output(self) -> None:
        """Everything is with the kernel, or with the filter, which says that it was all."""
        self.blocked = False
        if self._filtered is not None:
            try:
                if not self._filtered.finish(self._socket):
                    self.blocked = True
                    self._shell.backend.start_writing(self._socket, self._end_output)
                    return
            except (OSError, FilterError):
                self._finish(PeerClosing.FINISHED)
                return
            self._shell.backend.stop_writing(self._socket)
        self._half_close()

    def _half_close(self) -> None:
        """Tell the peer that this was all, and read on for a while.

        Closing a socket that has unread input resets the connection, and the reset
        may reach the peer before, or instead of, the last bytes.
        """
        self.state = State.LINGERING
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._finish(PeerClosing.FINISHED)
            return
        linger_ns = self._shell.settings.linger_ns
        self._end_within(min(linger_ns, HURRIED_NS) if self._hurried else linger_ns)
        self._shell.backend.start_reading(self._socket, self._drain)

    def _drain(self) -> None:
        try:
            if self._socket.recv(READ_MAX):
                if self._hurried:  # it has something on its way after all
                    self._hurried = False
                    self._end_within(self._shell.settings.linger_ns)
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._finish(PeerClosing.FINISHED)

    def _end_within(self, duration_ns: int) -> None:
        shell = self._shell
        shell.call_at(shell.now().monotonic_ns + duration_ns, self._give_up)

    def _give_up(self) -> None:
        """The deadline of a connection that is over, but for its last bytes."""
        if self.blocked:
            self._reset_on_close()  # or the kernel would hold on to them for minutes
        self._lose(PeerClosing.END_OF_STREAM)

    def _lose(self, why: PeerClosing) -> None:
        """The connection is at its end; `why` holds unless somebody had decided on the end before."""
        if self.state is State.PEER_DONE:
            why = PeerClosing.END_OF_STREAM
        elif self.state in (State.FLUSHING, State.LINGERING):
            why = PeerClosing.FINISHED
        if self._filtered is not None and self.state is not State.LINGERING:
            with contextlib.suppress(OSError, FilterError):
                self._filtered.finish(self._socket)
        self._finish(why)

    def _finish(self, why: PeerClosing) -> None:
        shell = self._shell
        if self.state is not State.OPEN:
            shell.cancel_call(self._give_up)
        self._close()
        shell.forget(self.cid)
        shell.feed(ConnectionClosed(at=shell.now(), cid=self.cid, why=why))

    def _close(self) -> None:
        self.state = State.CLOSED
        self._reading = self.blocked = False
        self._outbox = None
        self._shell.backend.release(self._socket)
        self._socket.close()

    def _reset_on_close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def gathered(blocks: list[Block]) -> list[Block]:
    """The same bytes in order, with neighbours below LARGE_BLOCK joined and the others untouched."""
    result: list[Block] = []
    small: list[Block] = []
    for block in blocks:
        if len(block) < LARGE_BLOCK:
            small.append(block)
        else:
            if small:
                result.append(b"".join(small))
                small = []
            result.append(block)
    if small:
        result.append(b"".join(small))
    return result

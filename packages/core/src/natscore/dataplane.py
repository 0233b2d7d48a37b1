"""The pure data plane: parses what connections send and executes delivery plans.

`PureDataPlane` is the reference implementation of `natscore.plane.DataPlane`,
and every other one must agree with it byte for byte.

`run` works through the bytes of one source and *returns* whenever something
needs thinking: it calls nothing of the control plane, so nothing is re-entered
and order is kept. The caller acts, settles, and runs the source again.

Hot path: `PureDataPlane.run`, `_fan_out` and `_publish` (guarded by `nox -s
bench`; their slow twin is `tests/models/broker.py`). The fence is bent here:
one long function, local aliases, regular expressions for the canonical form of
a line. Two observations carry the speed of the pure plane:

- In the canonical form of PUB everything after the subject, up to the end of
  the payload, stands in MSG as it stands in PUB. This *tail* is one slice.
- Messages of one subject in a row go to the same receivers, so a receiver gets
  a whole run with one `join`. Where that could reorder what one connection
  sees (two of its subscriptions match, verbose, a 503 may be due) messages go
  one by one.

Grammar and order of checks: client-protocol.md sections 2, 3, 7.3 and 10;
nats-server 2.14.5, server/parser.go parse, server/client.go
processInboundClientMsg, deliverMsg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from natscore.account.mappings import Choice
from natscore.account.permissions import RESPONSES_MAX
from natscore.cells import LARGE_PAYLOAD, Outbox, Shadow, Source, Subscription
from natscore.controlops import ControlOps, violate
from natscore.errors import (
    control_line_exceeded,
    error_from_client,
    malformed,
    payload_exceeded,
    unknown_operation,
)
from natscore.plan import Plan, refusal
from natscore.plane import CLIENT_RESERVED, DataPlane, Stop
from natscore.sublist import SubjectTable, Sublist, are_own
from natscore.turn import STEP_COST
from natscore.wire.lines import BLANKS, DIGITS, HPUB, PUB
from natscore.wire.ops import CLIENT_OPS, OP_LENGTH_MAX, OP_PREFIXES, Follows, op_name

if TYPE_CHECKING:
    from natscore import plane
    from natscore.account.mappings import Mapper
    from natscore.account.permissions import ResponsePermission
    from natscore.entropy import Xorshift64
    from natscore.events import ConnectionId

__all__ = ["CLIENT_RESERVED", "DataPlane", "PureDataPlane", "Stop"]


class PureDataPlane(ControlOps):
    """The reference implementation of DataPlane, in pure Python."""

    def __init__(self, choices: Xorshift64) -> None:
        super().__init__(choices)
        self._refusal = refusal()

    def outbox(self, cid: ConnectionId) -> Outbox:
        """The writing side of a new connection."""
        return Outbox(cid, self.ready)

    def source(
        self,
        cid: ConnectionId,
        outbox: plane.Outbox,
        table: plane.SubjectTable,
        max_control_line: int,
        max_payload: int,
    ) -> Source:
        """The reading side of a new connection."""
        assert isinstance(outbox, Outbox)
        assert isinstance(table, SubjectTable)
        return Source(cid, outbox, table, max_control_line, max_payload)

    def bind(
        self,
        source: plane.Source,
        table: plane.SubjectTable,
        responses: ResponsePermission | None = None,
        responses_max: int = RESPONSES_MAX,
    ) -> None:
        """From now on, look the subjects of `source` up in `table`."""
        assert isinstance(source, Source)
        assert isinstance(table, SubjectTable)
        source.table = table
        source.outbox.responses = table.responses(responses, responses_max) if responses is not None else None

    def sublist(self) -> Sublist:
        """The subscriptions of a new account."""
        return Sublist()

    def table(
        self,
        sublist: plane.Sublist,
        reserved: tuple[bytes, ...],
        allow: plane.Sublist | None = None,
        deny: plane.Sublist | None = None,
        mapper: Mapper | None = None,
    ) -> SubjectTable:
        """A look-up table over `sublist` for connections with equal rights."""
        assert isinstance(sublist, Sublist)
        assert allow is None or isinstance(allow, Sublist)
        assert deny is None or isinstance(deny, Sublist)
        return SubjectTable(sublist, reserved, self._refusal, allow, deny, mapper)

    def retire(self, table: plane.SubjectTable) -> None:
        """A table that nobody will look anything up in again."""
        assert isinstance(table, SubjectTable)
        for one in dict.fromkeys((table, table.mapped)):
            table.sublist.tables.remove(one)

    def subscription(
        self, outbox: plane.Outbox, sid: bytes, subject: bytes, queue: bytes | None
    ) -> Subscription:
        """A new subscription, not yet in any sublist."""
        assert isinstance(outbox, Outbox)
        return Subscription(outbox, sid, subject, queue)

    def shadow(self, receiver: plane.Subscription, subject: bytes, renaming: plane.Filter) -> Shadow:
        """A subscription in another account, not yet in any sublist, for one in the importer's."""
        assert type(receiver) is Subscription
        return Shadow(receiver, subject, renaming)

    def install(
        self,
        table: plane.SubjectTable,
        nodes: tuple[plane.Node[plane.Subscription], ...],
        plan: Plan[plane.Subscription],
        subject: bytes = b"",
    ) -> None:
        """Answer a MISS: from now on messages to `subject` that match `nodes` are delivered by `plan`."""
        assert isinstance(table, SubjectTable)
        assert are_own(nodes)
        assert _is_own(plan)
        table.sublist.install(nodes, plan, subject)

    def run(self, source: plane.Source) -> Stop:
        """Parse and deliver until something needs the control plane. Never raises for what a peer sent."""
        assert isinstance(source, Source)
        if source.unfinished is not None and not self.go_on(source):
            return Stop.TURN_OVER
        asked = source.asked
        if asked is not None:
            return Stop.ASK
        if source.have < source.need:
            if not source.have:
                source.forget()  # the last chunk is done: an idle connection holds no buffer
            return Stop.NEED_DATA
        buffer, position = source.load()
        size = len(buffer)
        if source.awaiting_connect and buffer[position] not in b"Cc":
            return Stop.UNAUTHENTICATED

        look_up = source.table.look_up
        sublist = source.table.sublist
        steps = sublist.steps
        max_payload = source.max_payload
        line_max = source.max_control_line + len(b"PUB \r\n")
        one_by_one = alone = source.verbose or source.pedantic or source.stepping
        left = self._left
        need = 1
        stop: Stop | None = None
        # The run in hand: messages of one subject and form that were parsed and not yet delivered.
        tails: list[bytes] = []
        volume = 0
        subject = b""  # as it is delivered
        published = b""  # as it was published, to know the next such message by
        with_headers = False
        plan: Plan[Subscription] | None = None
        line = b""  # the control line of the message before, if the next may well be the same
        tail_at = stride = payload = weight = 0

        while position < size:
            # -- the same control line again: nothing to look up ------------------------------------
            if line and buffer.startswith(line, position):
                end = position + stride
                if end > size:
                    need = _needed(size, position, end)
                    if size == end - 1 and buffer[-1] != 0x0D:
                        stop = violate(source, unknown_operation())
                    break
                if not buffer.startswith(b"\r\n", end - 2):
                    stop = violate(source, unknown_operation())
                    break
                tails.append(buffer[position + tail_at : end])
                volume += payload
                left -= weight
                position = end
                if left <= 0:
                    stop = Stop.TURN_OVER
                    break
                continue

            # -- any other line ---------------------------------------------------------------------
            if self.exhausted:
                stop = Stop.EXHAUSTED
                break
            line = b""
            match = PUB(buffer, position)
            headers_here = False
            header_size = 0
            if match is not None:
                given, _, reply, digits = match.groups()
            else:
                match = HPUB(buffer, position)
                if match is None:
                    if tails:  # delivered before anything else is said on any connection
                        left -= self.fan_out(source, plan, subject, tails, volume, with_headers)
                        tails, volume = [], 0
                        if self.exhausted or source.unfinished is not None:
                            stop = Stop.EXHAUSTED
                            break
                    source.position = position
                    self._left = left
                    stop = self._other_op(source, buffer)
                    left = self._left
                    buffer, position, need = source.buffer, source.position, source.need
                    if stop is not None or need > 1:
                        break
                    continue
                given, _, reply, header_digits, digits = match.groups()
                header_size = int(header_digits)
                headers_here = True
            payload = int(digits)
            body = match.end()
            if body - position > line_max + headers_here:
                stop = violate(source, control_line_exceeded())
                break
            if headers_here and (not source.headers or header_size > payload):
                stop = violate(source, malformed())
                break
            if payload > max_payload:
                stop = violate(source, payload_exceeded())
                break
            end = body + payload + 2
            if end > size:
                need = _needed(size, position, end)
                if size == end - 1 and buffer[-1] != 0x0D:
                    stop = violate(source, unknown_operation())
                break
            if not buffer.startswith(b"\r\n", end - 2):
                stop = violate(source, unknown_operation())
                break
            if plan is None or given != published or headers_here != with_headers:
                if tails:
                    left -= self.fan_out(source, plan, subject, tails, volume, with_headers)
                    tails, volume = [], 0
                    if self.exhausted or source.unfinished is not None:
                        stop = Stop.EXHAUSTED
                        break
                found = look_up(given)
                name = published = given
                alone = one_by_one
                if type(found) is not Plan:
                    if type(found) is Choice:
                        if not found.is_fixed:  # each message has a draw of its own, in the order of arrival
                            published, alone = b"", True
                        found, name = self.choose(source, source.table, found)
                    if type(found) is tuple:
                        source.missed, source.missed_subject = found, name
                        stop = Stop.MISS
                        break
                assert isinstance(found, Plan)
                plan, subject, with_headers = found, name, headers_here

            if (
                alone
                or payload >= LARGE_PAYLOAD
                or not plan.distinct
                or plan.refuses
                or plan.asks
                or (headers_here and header_size == 0)
                or (reply is not None and (source.no_responders or plan.tracks))
            ):
                if tails:
                    left -= self.fan_out(source, plan, subject, tails, volume, with_headers)
                    tails, volume = [], 0
                    if self.exhausted or source.unfinished is not None:
                        stop = Stop.EXHAUSTED
                        break
                found = self.response_plan(source, subject, plan) if plan.refuses else plan
                if isinstance(found, tuple):
                    if not published:
                        source.drawn = (subject, source.table.mapper)
                    source.missed, source.missed_subject = found, subject
                    stop = Stop.MISS
                    break
                if source.pedantic:
                    self._complain(source, given)
                left -= self.publish(
                    source,
                    found,
                    subject,
                    reply[:-1] if reply else b"",
                    buffer[match.start(2) : body],
                    buffer[body:end],
                    header_size if headers_here else -1,
                )
                if source.stepping:
                    source.stepped = buffer[position:end]
                    stop = Stop.STEPPED
                elif source.asked is not None:
                    stop = Stop.ASK
                position = end
                if stop is not None:
                    break
            else:
                tail_at = match.start(2) - position
                stride = end - position
                if reply is None:
                    line = buffer[position:body]
                tails.append(buffer[match.start(2) : end])
                volume += payload
                weight = stride * plan.width + plan.overhead
                left -= weight
                position = end
            if sublist.steps != steps:
                left -= (sublist.steps - steps) * STEP_COST
                steps = sublist.steps
            if left <= 0 or source.unfinished is not None:
                stop = Stop.TURN_OVER
                break

        if tails:
            left -= self.fan_out(source, plan, subject, tails, volume, with_headers)
        if source.unfinished is not None and stop is not Stop.STEPPED:
            stop = Stop.TURN_OVER  # whatever it was is found again when these messages are delivered
        self._left = left - (sublist.steps - steps) * STEP_COST
        source.position = position
        source.have = len(buffer) - position
        if stop is None:
            source.wait(need)
            return Stop.NEED_DATA
        source.need = 1
        return stop

    def _other_op(self, source: Source, buffer: bytes) -> Stop | None:
        """Do one op that is not a canonical PUB or HPUB, at `source.position`.

        None: done, `source.position` is behind it (or, with `source.need`
        above 1, it is incomplete).
        """
        position = source.position
        source.need = 1
        named = op_name(buffer, position)
        if named is None:
            rest = buffer[position : position + OP_LENGTH_MAX].upper()
            if position + len(rest) == len(buffer) and rest in OP_PREFIXES:
                source.need = len(rest) + 1
                return None
            return violate(source, unknown_operation())
        name = named.group().upper()
        after = named.end()
        follows = CLIENT_OPS[name]
        if follows is Follows.BLANK:
            if after == len(buffer):
                source.need = after - position + 1
                return None
            if buffer[after] not in b" \t":
                return violate(source, unknown_operation())
        newline = buffer.find(b"\n", after)
        if newline < 0:
            return self._incomplete(source, buffer, name, after, follows)
        line_end = newline - 1 if newline > after and buffer[newline - 1] == 0x0D else newline
        source.position = newline + 1
        if follows is Follows.IGNORED:
            return self._bare_op(source, name)
        argument = buffer[after:line_end].lstrip(b" \t")
        if len(argument) > source.max_control_line:
            return violate(source, control_line_exceeded())
        if name in (b"SUB", b"UNSUB"):
            return self._subscription_ops(source, buffer, position, name, argument)
        if name in (b"CONNECT", b"INFO"):
            source.ops.append((name, [argument.rstrip(b" \t")]))
            return Stop.OPS
        if name == b"-ERR":
            return violate(source, error_from_client())
        return self._loose_publish(source, buffer, position, name, argument)

    def _loose_publish(
        self, source: Source, buffer: bytes, position: int, name: bytes, argument: bytes
    ) -> Stop | None:
        """A PUB or HPUB that is not in canonical form, or whose reply is reserved."""
        words = BLANKS.split(argument.strip(b" \t"))
        sizes = 2 if name == b"HPUB" else 1
        if not sizes + 1 <= len(words) <= sizes + 2 or b"\r" in argument:
            return violate(source, malformed())
        if name == b"HPUB" and not source.headers:
            return violate(source, malformed())
        digits = words[-sizes:]
        if not all(DIGITS(word) for word in digits):
            return violate(source, malformed())
        payload = int(digits[-1])
        header_size = int(digits[0]) if name == b"HPUB" else -1
        if header_size > payload:
            return violate(source, malformed())
        if payload > source.max_payload:
            return violate(source, payload_exceeded())
        body = source.position
        end = body + payload + 2
        if end > len(buffer):
            source.position = position
            source.need = _needed(len(buffer), position, end)
            if len(buffer) == end - 1 and buffer[-1] != 0x0D:
                return violate(source, unknown_operation())
            return None
        if not buffer.startswith(b"\r\n", end - 2):
            return violate(source, unknown_operation())
        subject = words[0]
        reply = words[1] if len(words) == sizes + 2 else b""
        found = source.table.look_up(subject)
        name, choice = subject, None
        if isinstance(found, Choice):
            choice = found
            found, name = self.choose(source, source.table, choice)
        if isinstance(found, Plan) and found.refuses:
            found = self.response_plan(source, name, found)
            if isinstance(found, tuple) and choice is not None and not choice.is_fixed:
                source.drawn = (name, source.table.mapper)
        if isinstance(found, tuple):
            source.position = position
            source.missed, source.missed_subject = found, name
            return Stop.MISS
        if source.pedantic:
            self._complain(source, subject)
        line = b" ".join([reply, *digits] if reply else digits) + b"\r\n"
        source.position = end
        self._left -= self.publish(source, found, name, reply, line, buffer[body:end], header_size)
        if source.stepping:
            source.stepped = buffer[position:end]
            return Stop.STEPPED
        if source.asked is not None:
            return Stop.ASK
        return Stop.TURN_OVER if self._left <= 0 or source.unfinished is not None else None


def _needed(size: int, position: int, end: int) -> int:
    """Without how many bytes nothing more can be said of a message: its CR is looked at without its LF."""
    return end - position if size == end - 1 else end - 1 - position


def _is_own(plan: Plan[plane.Subscription]) -> TypeGuard[Plan[Subscription]]:
    """Whether all receivers are of this plane."""
    kinds = {*map(type, plan.local)}
    for row in plan.renamed:
        kinds.update(map(type, row.receivers))
    for group in plan.groups:
        kinds.update(map(type, group.members))
    return kinds <= {Subscription}

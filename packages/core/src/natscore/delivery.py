"""Executing delivery plans, in pure Python.

Two ways lead a message to its receivers. `fan_out` hands a run of messages of
one subject to each receiver in one piece; `publish` takes one message through
every check of client-protocol.md section 10, in that order. The data plane
chooses; both count alike.

Hot path: `fan_out` (guarded by `nox -s bench`, rows 1:1 and 1:10; the slow twin
is `tests/models/broker.py`). Appending to an outbox is written out there
instead of calling `Outbox.write`.

Source: nats-server 2.14.5, server/client.go processInboundClientMsg,
processMsgResults, deliverMsg.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

from natscore.cells import LARGE_PAYLOAD, Source
from natscore.errors import invalid_publish_subject, publish_denied, reply_denied
from natscore.message import Division, Message
from natscore.plane import Asked
from natscore.subject import is_valid_literal
from natscore.turn import (
    DELIVERY_COST,
    PART_MAX,
    READY_COST,
    RECEIVERS_MAX,
    RULE_COST,
    SINGLE_COST,
)
from natscore.wire.headers import no_responders, strip_headers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from natscore import plane
    from natscore.cells import Outbox, Subscription
    from natscore.entropy import Xorshift64
    from natscore.errors import Violation
    from natscore.events import ConnectionId
    from natscore.plan import Group, Plan

__all__ = ["DENIED_MAX", "Delivery"]

DENIED_MAX: Final = 32  # refused publishes that are reported between two settles


class Delivery:
    """Executes plans: appends to outboxes, counts, chooses members of queue groups."""

    def __init__(self, choices: Xorshift64) -> None:
        self.ready: list[Outbox] = []
        self.exhausted: list[Subscription] = []
        self.strained: list[Outbox] = []
        self.denied: list[tuple[ConnectionId, bytes, bytes]] = []
        self._choices = choices
        self._left = 0  # output that this turn may still write
        self._now_ns = 0  # of this turn

    @property
    def left(self) -> int:
        """Output that this turn may still write; less than nothing when it wrote more."""
        return self._left

    def begin_turn(self, output_max: int, now_ns: int = 0) -> None:
        """Allow `output_max` bytes of output until `run` answers TURN_OVER."""
        self._left, self._now_ns = output_max, now_ns

    def spend(self, cost: int) -> bool:
        """Count work of the control plane as if it were `cost` bytes of output. Is anything left?"""
        self._left -= cost
        return self._left > 0

    def fan_out(
        self,
        source: Source,
        plan: Plan[Subscription] | None,
        subject: bytes,
        tails: list[bytes],
        volume: int,
        with_headers: bool,
    ) -> int:
        """Hand a run of messages to every receiver of a plan in which no two share an outbox.

        None of them asks for an answer, if that is to be noted.

        Answers what it cost the turn beside what each message weighs: who had nothing to write before.
        """
        assert plan is not None
        assert plan.distinct
        ready = len(self.ready)
        count = len(tails)
        source.messages += count
        source.volume += volume
        own = None if source.echo else source.outbox
        made: dict[bytes, bytes] = {}  # receivers with equal sids get the same bytes
        bare: list[bytes] = []  # the same run for receivers that do not take headers, once it is needed
        if plan.fanout > RECEIVERS_MAX:
            parts = self._fan_out_parts(plan, own, subject, tails, volume, with_headers)
            self._begin(source, parts)
        else:
            self._hand_run(plan.local, own, subject, tails, volume, with_headers, made, bare)
            for row in plan.renamed:
                self._hand_run(row.receivers, own, row.subject, tails, volume, with_headers, {}, bare)
            if plan.groups:
                for member, name, share in self._divide(plan, tails, own, subject):
                    self._hand(member, name, share, with_headers)
        return READY_COST * (len(self.ready) - ready)

    def _fan_out_parts(
        self,
        plan: Plan[Subscription],
        own: Outbox | None,
        subject: bytes,
        tails: list[bytes],
        volume: int,
        with_headers: bool,
    ) -> Iterator[None]:
        """The same to many receivers, with a stop after each part of them."""
        bare: list[bytes] = []
        for name, receivers in _plain_rows(plan, subject):
            made: dict[bytes, bytes] = {}
            for start in range(0, len(receivers), RECEIVERS_MAX):
                part = receivers[start : start + RECEIVERS_MAX]
                self._hand_run(part, own, name, tails, volume, with_headers, made, bare)
                yield
        shares = list(self._divide(plan, tails, own, subject))
        for number, (member, name, share) in enumerate(shares, 1):
            self._hand(member, name, share, with_headers)
            if number % RECEIVERS_MAX == 0:
                yield

    def _begin(self, source: Source, parts: Iterator[None]) -> None:
        """Perform the first part of a fan-out; the source goes on with the others, a turn each."""
        source.unfinished = parts
        self.go_on(source)

    def go_on(self, source: plane.Source) -> bool:
        """Perform the next part of a fan-out. Is it done?"""
        assert isinstance(source, Source)
        assert source.unfinished is not None
        for _ in source.unfinished:
            return False
        source.unfinished = None
        return True

    def _hand_run(
        self,
        subscriptions: Sequence[Subscription],
        own: Outbox | None,
        subject: bytes,
        tails: list[bytes],
        volume: int,
        with_headers: bool,
        made: dict[bytes, bytes],
        bare: list[bytes],
    ) -> None:
        """Hand a run of messages to plain subscriptions. `made` and `bare` are shared by those of one run."""
        count = len(tails)
        for subscription in subscriptions:
            outbox = subscription.outbox
            if not outbox.accepts or not subscription.live or outbox is own:
                continue
            if subscription.max or (with_headers and not outbox.headers):
                left = subscription.max - subscription.delivered if subscription.max else count
                if with_headers and not outbox.headers:
                    if not bare:
                        bare += [strip_headers(tail) for tail in tails]
                    self._hand(subscription, subject, bare[:left], False)
                else:
                    self._hand(subscription, subject, tails[:left], with_headers)
                continue
            subscription.delivered += count
            head = subscription.head
            data = made.get(head)
            if data is None:
                start = (b"HMSG " if with_headers else b"MSG ") + subject + head
                made[head] = data = start + start.join(tails)
            outbox.messages += count
            outbox.volume += volume
            outbox.chunks.append(data)
            length = len(data)
            outbox.size += length
            outbox.appended += length
            if not outbox.ready:
                outbox.ready = True
                self.ready.append(outbox)
            if outbox.blocked:
                self.strained.append(outbox)

    def _divide(
        self, plan: Plan[Subscription], tails: list[bytes], own: Outbox | None, subject: bytes
    ) -> Iterator[tuple[Subscription, bytes, list[bytes]]]:
        """Which member of each group gets which messages of a run, and under which subject.

        A draw must mean the same wherever a run is cut. So every group draws for
        a message before any draws for the next, and a member that has reached its
        max is no candidate for the next, as in the plan that follows the settle.
        """
        pick = self._choices.pick
        rows = [Division(group.members) for group in plan.groups]
        for tail, row in product(tails, rows):
            members = row.members
            n = row.n
            start_at = pick(n) if n > 1 else 0
            for step in range(row.tries):
                at = (start_at + step) % n
                member = members[at]
                if not member.outbox.accepts or not member.live or member.outbox is own:
                    continue
                share = row.shares.setdefault(member, [])
                share.append(tail)
                if member.max and member.delivered + len(share) == member.max:
                    row.leave(at)
                break
            else:
                row.tries = 0  # nobody takes any, and nobody will before the next settle
        for group, row in zip(plan.groups, rows, strict=True):
            names = {} if group.names is None else dict(zip(group.members, group.names, strict=True))
            for member, share in row.shares.items():
                yield member, names.get(member, subject), share

    def _hand(
        self, subscription: Subscription, subject: bytes, tails: list[bytes], with_headers: bool
    ) -> None:
        """Give messages to one subscription, which is live and has room for all of them."""
        outbox = subscription.outbox
        if with_headers and not outbox.headers:
            tails = [strip_headers(tail) for tail in tails]
            with_headers = False
        start = (b"HMSG " if with_headers else b"MSG ") + subject + subscription.head
        outbox.volume += sum(len(tail) - tail.index(b"\r\n") - 4 for tail in tails)
        outbox.messages += len(tails)
        outbox.write(start + start.join(tails))
        if outbox.blocked:
            self.strained.append(outbox)
        subscription.delivered += len(tails)
        if subscription.delivered == subscription.max:
            subscription.live = False
            self.exhausted.append(subscription)

    def _complain(self, source: Source, published: bytes) -> None:
        """Tell a pedantic client that a subject is not one to publish to; the message goes on."""
        if not is_valid_literal(published):
            _say(source.outbox, invalid_publish_subject())

    def publish(
        self,
        source: Source,
        plan: Plan[Subscription],
        subject: bytes,
        reply: bytes,
        line: bytes,
        body: bytes,
        header_size: int,
    ) -> int:
        """Deliver one message, and answer what it cost the turn.

        `line` is `[reply ]sizes CRLF`, `body` header, payload and CRLF;
        `header_size` is -1 for PUB. The order of checks is section 10's.
        """
        own = source.outbox
        source.messages += 1
        source.volume += len(body) - 2
        if plan.refuses:
            _say(own, publish_denied(subject))
            self._deny(source, subject, b"")
            return SINGLE_COST
        if _is_reserved_reply(reply):
            _say(own, reply_denied(reply))
            self._deny(source, subject, reply)
            return SINGLE_COST
        if source.verbose:
            own.write(b"+OK\r\n")

        if header_size == 0:  # no header after all: MSG for everybody
            line, _, _ = strip_headers(line + body).partition(b"\r\n")
            line += b"\r\n"
        message = Message(line, body, header_size, None if source.echo else own)
        return self._send(source, plan, subject, reply, message)

    def _send(
        self, source: Source, plan: Plan[Subscription], subject: bytes, reply: bytes, message: Message
    ) -> int:
        """Give one message to those whom a plan names, and answer what it cost the turn."""
        ready = len(self.ready)
        body = message.body
        message.reply = reply if plan.tracks else b""
        if plan.fanout > RECEIVERS_MAX or plan.fanout * len(body) > PART_MAX:
            self._begin(source, self._send_parts(source, plan, subject, reply, message))
            return SINGLE_COST + plan.overhead + READY_COST * (len(self.ready) - ready)
        cost = SINGLE_COST + plan.overhead
        delivered = 0
        for subscription in plan.local:
            if self._deliver(source, subscription, subject, message):
                delivered += 1
        for row in plan.renamed:
            for subscription in row.receivers:
                if self._deliver(source, subscription, row.subject, message):
                    delivered += 1
        for group in plan.groups:
            taken, asked = self._deliver_to_one(source, group, subject, message)
            delivered += taken
            cost += DELIVERY_COST * asked
        cost += delivered * (SINGLE_COST + len(body))
        if message.reply:
            cost += delivered * RULE_COST
        cost += self._conclude(source, plan, subject, reply, message, delivered)
        return cost + READY_COST * (len(self.ready) - ready)

    def _conclude(
        self,
        source: Source,
        plan: Plan[Subscription],
        subject: bytes,
        reply: bytes,
        message: Message,
        delivered: int,
    ) -> int:
        """Everybody has it who gets it: ask the server itself, or tell that there is nobody."""
        source.delivered = delivered > 0
        if plan.asks:
            start = max(message.header_size, 0)
            headers, payload = message.body[:start], message.body[start:-2]
            source.asked = Asked(plan.asks, subject, reply, headers, payload, delivered > 0)
        elif not delivered and reply and source.no_responders and not message.is_posted:
            return self._tell_no_responders(source, subject, reply)
        return 0

    def _send_parts(
        self, source: Source, plan: Plan[Subscription], subject: bytes, reply: bytes, message: Message
    ) -> Iterator[None]:
        """Deliver one message to many receivers, with a stop after each part of them."""
        part = max(1, min(RECEIVERS_MAX, PART_MAX // len(message.body)))
        delivered = 0
        number = 0
        for name, receivers in _plain_rows(plan, subject):
            for subscription in receivers:
                number += 1
                if self._deliver(source, subscription, name, message):
                    delivered += 1
                if number % part == 0:
                    yield
        for group in plan.groups:
            number += 1
            delivered += self._deliver_to_one(source, group, subject, message)[0]
            if number % part == 0:
                yield
        self._conclude(source, plan, subject, reply, message, delivered)

    def _deliver_to_one(
        self, source: Source, group: Group[Subscription], subject: bytes, message: Message
    ) -> tuple[bool, int]:
        """Deliver to one member of a group: whether one took it, and how many were asked."""
        members = group.members
        names = group.names
        n = len(members)
        start_at = self._choices.pick(n) if n > 1 else 0
        for step in range(n):
            at = (start_at + step) % n
            if self._deliver(source, members[at], subject if names is None else names[at], message):
                return True, step + 1
        return False, n

    def _deliver(self, source: Source, subscription: Subscription, subject: bytes, message: Message) -> bool:
        """Append one message for one subscription, if it accepts it."""
        outbox = subscription.outbox
        if not outbox.accepts or not subscription.live or outbox is message.own:
            return False
        line, body, with_headers = message.line, message.body, message.with_headers
        if with_headers and not outbox.headers:
            line, body = message.bare()
            with_headers = False
        head = (b"HMSG " if with_headers else b"MSG ") + subject + subscription.head + line
        if len(body) >= LARGE_PAYLOAD:
            outbox.write(head)
            outbox.write(body)
        else:
            outbox.write(head + body)
        outbox.messages += 1
        outbox.volume += len(body) - 2
        if outbox.blocked:
            self.strained.append(outbox)
        if message.reply and outbox.responses is not None:
            outbox.responses.note(message.reply, self._now_ns)
        subscription.delivered += 1
        if subscription.delivered == subscription.max:
            subscription.live = False
            self.exhausted.append(subscription)
        return True

    def _tell_no_responders(self, source: Source, subject: bytes, reply: bytes) -> int:
        """Send the 503 to the requester's own plain subscription that covers the reply (section 10.4).

        Answers what looking for it cost the turn, the match aside.
        """
        cost = 0
        for node in source.table.sublist.match(reply):
            for subscription in node.plain:
                cost += DELIVERY_COST
                if (
                    subscription.outbox is source.outbox
                    and subscription.live
                    and subscription.receiver is subscription
                ):
                    block = no_responders(subject)
                    size = b"%d" % len(block)
                    source.outbox.write(
                        b"HMSG " + reply + subscription.head + size + b" " + size + b"\r\n" + block + b"\r\n"
                    )
                    return cost
        return cost

    def _deny(self, source: Source, subject: bytes, reply: bytes) -> None:
        if len(self.denied) < DENIED_MAX:
            self.denied.append((source.cid, subject, reply))


def _plain_rows(plan: Plan[Subscription], subject: bytes) -> Iterator[tuple[bytes, tuple[Subscription, ...]]]:
    """The plain receivers of a plan, in order, with the subject under which they know the message."""
    yield subject, plan.local
    for row in plan.renamed:
        yield row.subject, row.receivers


def _say(outbox: Outbox, violation: Violation) -> None:
    assert violation.wire_text is not None
    outbox.write(b"-ERR '" + violation.wire_text + b"'\r\n")


def _is_reserved_reply(reply: bytes) -> bool:
    """Whether clients must not ask for answers there (section 10 step 9; client.go isReservedReply)."""
    return reply.startswith(b"_R_.") or (
        reply.startswith((b"$JS.ACK.", b"_GR_.")) and reply not in (b"$JS.ACK.", b"_GR_.")
    )

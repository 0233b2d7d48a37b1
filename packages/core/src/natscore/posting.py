"""Which way a message goes when its subject alone does not say it, in the pure data plane.

A mapping of the account may give it another subject; a refusal may not hold for a response; and what
the server itself posts in an account goes the way of what its clients publish there.
Sources: accounts.md sections 6 and 9; nats-server 2.14.5, server/client.go selectMappedSubject,
pubAllowedFullCheck, processServiceImport.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscore.account.mappings import Choice
from natscore.cells import Source
from natscore.delivery import Delivery
from natscore.message import Message
from natscore.plan import Plan
from natscore.plane import Stop
from natscore.sublist import SubjectTable
from natscore.turn import CHOICE_STEPS, READY_COST, STEP_COST

if TYPE_CHECKING:
    from natscore import plane
    from natscore.cells import Subscription
    from natscore.entropy import Xorshift64
    from natscore.sublist import Node

__all__ = ["Posting"]


class Posting(Delivery):
    """Leads messages to plans by way of mappings, of leave to respond, and of the server itself."""

    def __init__(self, choices: Xorshift64) -> None:
        super().__init__(choices)
        self._nobody: Plan[Subscription] = Plan((), ())  # of messages that a mapping loses

    def choose(
        self, source: Source, table: SubjectTable, choice: Choice
    ) -> tuple[Plan[Subscription] | tuple[Node, ...], bytes]:
        """What a message that is mapped meets, and under which subject it is delivered.

        If a plan has to be made first, what was drawn for the message is kept until it is met again.
        """
        if choice.is_fixed:
            target = choice.target
        elif source.drawn is not None and source.drawn[1] is table.mapper:
            target = source.drawn[0]
        else:
            target = choice.draw(self._choices.pick)
            table.sublist.steps += CHOICE_STEPS
        source.drawn = None
        if target is None:
            return self._nobody, choice.subject
        found = table.mapped.look_up(target)
        assert not isinstance(found, Choice)
        if isinstance(found, tuple) and not choice.is_fixed:
            source.drawn = (target, table.mapper)
        return found, target

    def response_plan(
        self, source: Source, subject: bytes, refusal: Plan[Subscription]
    ) -> Plan[Subscription] | tuple[Node, ...]:
        """What becomes of a publish that is refused, for it may be a response.

        It counts as one once its plan is there: it is published then, or denied for another reason.
        """
        responses = source.outbox.responses
        if responses is None or not responses.permit(subject, self._now_ns):
            return refusal
        found = source.table.look_up_response(subject)
        if not isinstance(found, tuple) and not found.refuses:
            responses.use(subject)
        return found

    def post(
        self,
        source: plane.Source,
        table: plane.SubjectTable,
        subject: bytes,
        reply: bytes,
        headers: bytes,
        payload: bytes,
    ) -> Stop:
        """Publish in the account of `table` what a message of `source` led to: DONE, or MISS."""
        assert isinstance(source, Source)
        assert isinstance(table, SubjectTable)
        steps = table.sublist.steps
        plan = table.look_up(subject)
        if isinstance(plan, Choice):
            plan, subject = self.choose(source, table, plan)
        self._left -= (table.sublist.steps - steps) * STEP_COST
        if isinstance(plan, tuple):
            source.missed, source.missed_subject = plan, subject
            return Stop.MISS
        size = len(headers) + len(payload)
        line = b"%d %d\r\n" % (len(headers), size) if headers else b"%d\r\n" % size
        if reply:
            line = reply + b" " + line
        message = Message(line, headers + payload + b"\r\n", len(headers), None, is_posted=True)
        source.delivered = False
        if not plan.refuses:
            self._left -= self._send(source, plan.inland or plan, subject, reply, message)
        return Stop.DONE

    def tell_no_responders(self, source: plane.Source, subject: bytes, reply: bytes) -> None:
        """Answer a request of `source` that nobody got, where it waits for the answer."""
        assert isinstance(source, Source)
        ready = len(self.ready)
        steps = source.table.sublist.steps
        cost = self._tell_no_responders(source, subject, reply)
        cost += (source.table.sublist.steps - steps) * STEP_COST
        self._left -= cost + READY_COST * (len(self.ready) - ready)

"""Two data planes in lockstep: alike they are one, and any difference between them is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from natscore.dataplane import PureDataPlane
from natscore.entropy import Xorshift64
from natscore.errors import malformed
from natscore.events import ConnectionId
from natscore.plane import Stop
from natscore.testing import InvariantBroken, PairedDataPlane, PlanesDisagree, World
from natscore.testing.pairs import PairedSubscription
from tests.support.pure import pure_source, pure_subscription
from tests.unit.core.bare import BareServer
from tests.unit.core.dialogue import QUIET, REQUESTER, client_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscore import plane
    from natscore.cells import Outbox, Subscription
    from natscore.plan import Plan

ALIKE: Final = PairedDataPlane.of(PureDataPlane, PureDataPlane)
MESSAGE: Final = b"PUB foo 2\r\nhi\r\n"


def paired_with(broken: Callable[[Xorshift64], plane.DataPlane]) -> World:
    return World(data_plane=PairedDataPlane.of(PureDataPlane, broken))


# -- alike -----------------------------------------------------------------------------------------


def test_two_planes_that_are_alike_are_heard_as_one() -> None:
    def heard(world: World) -> list[bytes]:
        server = world.server(turn_output_max=300, max_pending=5_000, max_payload=5_000)
        slow = client_of(server, window=100)
        clients = [client_of(server), client_of(server, REQUESTER), slow]
        for client in clients:
            client.send(b"SUB foo 1\r\nSUB * q 2\r\nUNSUB 2 3\r\n")
        for client in clients:
            client.send(MESSAGE * 5 + b"PUB no r 0\r\n\r\nPUB _GR_.x 0\r\n\r\nPUB foo 4096\r\n")
            client.send(b"x" * 4096 + b"\r\nhpub foo 2 2\r\nhi\r\nPING\r\n")
        clients[0].send(b"BAD\r\n")
        clients[1].close()
        world.check()
        return [server.journal.getvalue(), *(bytes(client.received) for client in clients)]

    assert heard(World(data_plane=ALIKE)) == heard(World())


def test_each_plane_draws_from_a_generator_of_its_own() -> None:
    choices = Xorshift64(7)
    pair = ALIKE(choices)
    given: list[Xorshift64] = []

    def second(own: Xorshift64) -> PureDataPlane:
        given.append(own)
        return PureDataPlane(own)

    PairedDataPlane.of(PureDataPlane, second)(choices)

    assert given[0] is not choices
    assert given[0].state == choices.state
    assert pair.left == 0


def test_an_exception_of_both_planes_is_what_the_server_sees() -> None:
    class Fails(PureDataPlane):
        def run(self, source: plane.Source) -> Stop:
            raise RuntimeError("planted")

    bare = BareServer(data_plane=PairedDataPlane.of(Fails, Fails))
    bare.open(5)

    bare.receive(5, b"PING\r\n")

    assert bare.server.state.connections[ConnectionId(5)].ended is not None


# -- not alike -------------------------------------------------------------------------------------


class CountsOneMore(PureDataPlane):
    def run(self, source: plane.Source) -> Stop:
        before = source.messages
        stop = super().run(source)
        if source.messages > before:
            pure_source(source).volume += 1
        return stop


class CountsOneDeliveryLess(PureDataPlane):
    def _hand(
        self, subscription: Subscription, subject: bytes, tails: list[bytes], with_headers: bool
    ) -> None:
        super()._hand(subscription, subject, tails, with_headers)
        subscription.delivered -= 1


class CountsOneDeliveredByteMore(PureDataPlane):
    def _hand(
        self, subscription: Subscription, subject: bytes, tails: list[bytes], with_headers: bool
    ) -> None:
        super()._hand(subscription, subject, tails, with_headers)
        subscription.outbox.volume += 1


class WritesOneByteDifferently(PureDataPlane):
    def _hand(
        self, subscription: Subscription, subject: bytes, tails: list[bytes], with_headers: bool
    ) -> None:
        super()._hand(subscription, subject, [tail.replace(b"hi", b"ho") for tail in tails], with_headers)


class ChoosesTheOther(PureDataPlane):
    """The draws are the same; the member after the drawn one gets the messages."""

    def _divide(
        self, plan: Plan[Subscription], tails: list[bytes], own: Outbox | None, subject: bytes
    ) -> Iterator[tuple[Subscription, bytes, list[bytes]]]:
        members = plan.groups[0].members
        for one, name, share in super()._divide(plan, tails, own, subject):
            yield members[(members.index(one) + 1) % 2], name, share


class DrawsOnceMore(PureDataPlane):
    def run(self, source: plane.Source) -> Stop:
        if source.have > 10:
            self._choices.draw()
        return super().run(source)


class StopsForAnotherReason(PureDataPlane):
    def run(self, source: plane.Source) -> Stop:
        stop = super().run(source)
        return Stop.TURN_OVER if stop is Stop.NEED_DATA else stop


class SpendsMore(PureDataPlane):
    def spend(self, cost: int) -> bool:
        return super().spend(cost + 1)


class LeavesAByteUnparsed(PureDataPlane):
    def run(self, source: plane.Source) -> Stop:
        stop = super().run(source)
        if stop is Stop.NEED_DATA and not source.have:
            source.feed(b"P")
        return stop


class HandsOverAnotherOp(PureDataPlane):
    def run(self, source: plane.Source) -> Stop:
        stop = super().run(source)
        source.ops = [(name, [*words, b"more"]) for name, words in source.ops]
        return stop


class SaysItIsReadyTooLate(PureDataPlane):
    def run(self, source: plane.Source) -> Stop:
        stop = super().run(source)
        self.ready.reverse()
        return stop


class MissesAMember(PureDataPlane):
    def run(self, source: plane.Source) -> Stop:
        stop = super().run(source)
        if stop is Stop.MISS:
            pure_source(source).missed = pure_source(source).missed[:-1]
        return stop


class Fails(PureDataPlane):
    def run(self, source: plane.Source) -> Stop:
        if source.have > 10:
            raise RuntimeError("planted")
        return super().run(source)


class StrainsTwice(PureDataPlane):
    def run(self, source: plane.Source) -> Stop:
        stop = super().run(source)
        self.strained += self.strained[:1]
        return stop


class DeniesNobody(PureDataPlane):
    def run(self, source: plane.Source) -> Stop:
        stop = super().run(source)
        self.denied.clear()
        return stop


class ExhaustsNobody(PureDataPlane):
    def run(self, source: plane.Source) -> Stop:
        stop = super().run(source)
        self.exhausted.clear()
        return stop


class SaysAnotherViolation(PureDataPlane):
    def run(self, source: plane.Source) -> Stop:
        stop = super().run(source)
        if stop is Stop.VIOLATION:
            pure_source(source).violation = malformed()
        return stop


BROKEN: Final = [
    (CountsOneMore, "volume"),
    (CountsOneDeliveryLess, "delivered, max, live"),
    (CountsOneDeliveredByteMore, "appended, size, messages, volume, ready"),
    (WritesOneByteDifferently, "bytes appended, "),
    (ChoosesTheOther, "ready: in order"),
    (DrawsOnceMore, "choices"),
    (StopsForAnotherReason, "Stop.TURN_OVER"),
    (SpendsMore, "left in the turn"),
    (LeavesAByteUnparsed, "have"),
    (HandsOverAnotherOp, "ops"),
    (SaysItIsReadyTooLate, "ready: in order"),
    (MissesAMember, "nodes"),
    (Fails, "RuntimeError"),
    (StrainsTwice, "strained: in order"),
    (DeniesNobody, "denied: in order"),
    (ExhaustsNobody, "exhausted: in order"),
    (SaysAnotherViolation, "violation"),
]


def everyday(world: World) -> None:
    """A little of everything that a data plane does."""
    server = world.server(fast_producer_stall=False)
    first, second, slow = client_of(server), client_of(server), client_of(server, window=10)
    for member in (first, second):
        member.send(b"SUB foo q 1\r\n")
    slow.send(b"SUB bar 1\r\n")
    second.send(b"SUB bar 2\r\nSUB once 3\r\nUNSUB 3 1\r\n")
    publisher = client_of(server)
    publisher.send(MESSAGE + MESSAGE * 2)
    publisher.send(b"PUB bar 2\r\nhi\r\n")
    publisher.send(b"PUB bar 2\r\nhi\r\n")
    publisher.send(b"PUB once 2\r\nhi\r\nPUB $NRG.x 2\r\nhi\r\nPING\r\nPING\r\n")
    publisher.send(b"BAD\r\n")
    world.check()


def test_what_the_broken_planes_are_given_is_no_difference_by_itself() -> None:
    everyday(World(data_plane=ALIKE))


@pytest.mark.parametrize(("broken", "told"), BROKEN, ids=lambda one: getattr(one, "__name__", ""))
def test_a_plane_that_differs_from_the_other_is_found_out(broken: type[PureDataPlane], told: str) -> None:
    with pytest.raises(InvariantBroken) as found:
        everyday(paired_with(broken))

    assert told in str(found.value)
    assert "two data planes disagree" in str(found.value)


def test_a_counter_of_one_of_many_subscriptions_is_found_at_rest() -> None:
    world = World(data_plane=ALIKE)
    client = client_of(world.server())
    client.send(b"".join(b"SUB s.%d %d\r\n" % (n, n) for n in range(1_000)))
    world.check()
    subscription = client.server.state.connections[client.cid].subscriptions[b"500"]
    assert isinstance(subscription, PairedSubscription)
    pure_subscription(subscription.second).delivered += 1

    with pytest.raises(InvariantBroken, match=r"subscription b'500' of connection \d+: delivered"):
        world.check()


def test_no_handler_takes_a_difference_for_the_failure_of_one_connection() -> None:
    bare = BareServer(data_plane=PairedDataPlane.of(PureDataPlane, CountsOneMore))
    bare.open(5)

    with pytest.raises(PlanesDisagree, match=r"source of connection 5: volume:\n  first:  2\n  second: 3"):
        bare.receive(5, QUIET + MESSAGE)

    assert not issubclass(PlanesDisagree, Exception)


def test_bytes_that_differ_are_shown_where_they_differ() -> None:
    text = str(PlanesDisagree("bytes", b"x" * 1_000 + b"a", b"x" * 1_000 + b"b"))

    assert "1001 and 1001 bytes that differ from byte 1000 on" in text
    assert len(text) < 400
    assert text.rstrip("'").endswith("xb")

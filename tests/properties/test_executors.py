"""Whatever clients send, in whatever pieces and memory, a server does the same on every data plane.

The two servers of a comparison are apart: what the one holds on to cannot help
the other. Without the compiled plane the pure one is compared with itself, which
shows that the comparison is fair: memory that is lent against bytes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from natscore.account.mappings import Destination, Mapping
from natscore.account.permissions import EVERYTHING, Permissions, ResponsePermission, Rules
from natscore.account.settings import AccountSettings, AccountsSettings
from natscore.authentication import Accept
from natscore.dataplane import PureDataPlane
from natscore.replay import replay
from natscore.testing import World
from natscore.turn import RECEIVERS_MAX
from tests.properties.executors import first_difference, perform, watched
from tests.properties.programs import Chunk, executor_programs, hostile_streams, response_programs
from tests.support.planes import compiled_plane

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from natscore.authentication import Login, Verdict
    from natscore.cells import Subscription
    from natscore.entropy import Xorshift64
    from natscore.plan import Group, Plan
    from natscore.plane import DataPlane
    from tests.properties.programs import Happening

OTHER: Final = compiled_plane() or PureDataPlane

QUIET: Final = b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n'

OPTIONS: Final = st.fixed_dictionaries(
    {},
    optional={
        "max_payload": st.sampled_from([4, 5_000, -1]),
        "max_control_line": st.sampled_from([24, 64]),
        "max_subscriptions": st.sampled_from([1, 3]),
        "max_subject_tokens": st.sampled_from([1, 2]),
        "turn_output_max": st.sampled_from([1, 300, 20_000]),
        "memory_max": st.sampled_from([3_000, 20_000]),
        "fast_producer_stall": st.booleans(),
        "headers": st.booleans(),
        "trace": st.booleans(),
    },
)
WINDOWS: Final = st.lists(st.sampled_from([None, None, 0, 600, 6_000]), min_size=4, max_size=4)
SEEDS: Final = st.integers(0, 1_000)


def require_same(
    program: Sequence[Happening],
    other: Callable[[Xorshift64], DataPlane] = OTHER,
    *,
    lending: bool = True,
    **options: Any,
) -> None:
    """Fail at the first event that differs."""
    expected = perform(program, PureDataPlane, **options)
    actual = perform(program, other, lending=lending, **options)

    difference = first_difference(
        (expected.events, expected.facts, expected.received, expected.journal),
        (actual.events, actual.facts, actual.received, actual.journal),
    )
    if difference is not None:
        raise AssertionError(f"events, facts, received, journal: {difference}")


# -- everything ------------------------------------------------------------------------------------


@given(program=executor_programs(), windows=WINDOWS, options=OPTIONS, seed=SEEDS, lending=st.booleans())
def test_programs_of_anything_come_to_the_same(
    program: list[Happening], windows: list[int | None], options: dict[str, Any], seed: int, lending: bool
) -> None:
    pending = {"max_pending": 10_000, "write_deadline_ns": 2_000_000_000}
    limits = {"max_payload": 5_000, **pending, **options}
    if limits["max_payload"] < 0:
        limits.pop("max_pending")

    require_same(program, windows=windows, seed=seed, lending=lending, **limits)


@given(stream=hostile_streams(), step=st.sampled_from([1, 2, 7, 64]), options=OPTIONS, lending=st.booleans())
def test_a_stream_that_is_dribbled_comes_to_the_same(
    stream: bytes, step: int, options: dict[str, Any], lending: bool
) -> None:
    stream = stream[:3_000]
    cuts = list(range(step, len(stream), step))

    require_same([Chunk(0, QUIET + b"SUB > 1\r\n", []), Chunk(0, stream, cuts)], lending=lending, **options)


# -- users who may answer ----------------------------------------------------------------------------


class Responders:
    """Lets everybody in. Who is not verbose may answer what it gets, and publish to little besides."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = True
    announces_login = False

    def __init__(self, responses: ResponsePermission) -> None:
        self._quiet = Permissions(Rules((b"a.>", b"b"), (b"a.b",)), responses=responses)

    def authenticate(self, login: Login) -> Verdict:
        return Accept("A", EVERYTHING if login.said.verbose else self._quiet)


RESPONDERS: Final = st.builds(
    ResponsePermission, st.sampled_from([1, 2, 3, -1]), st.sampled_from([1, 20_000_000, -1])
).map(Responders)


@given(
    program=st.one_of(response_programs(), executor_programs()), windows=WINDOWS, options=OPTIONS, seed=SEEDS,
    authenticator=RESPONDERS,
    responses_max=st.sampled_from([1, 2, 1_000]),
)  # fmt: skip
def test_programs_of_users_who_may_answer_come_to_the_same(
    program: list[Happening],
    windows: list[int | None],
    options: dict[str, Any],
    seed: int,
    authenticator: Responders,
    responses_max: int,
) -> None:
    options = {"max_payload": 5_000, **options, "responses_max": responses_max}

    require_same(program, windows=windows, seed=seed, authenticator=authenticator, **options)


@given(program=response_programs(), windows=WINDOWS, seed=SEEDS, authenticator=RESPONDERS)
def test_a_journal_of_users_who_may_answer_replays_on_either_plane(
    program: list[Happening], windows: list[int | None], seed: int, authenticator: Responders
) -> None:
    recorded = perform(program, PureDataPlane, windows=windows, seed=seed, authenticator=authenticator)

    records = [
        [
            repr(connection.outbox.responses)
            for connection in replay(
                io.BytesIO(recorded.journal).read, data_plane=data_plane, authenticator=authenticator
            ).server.state.connections.values()
        ]
        for data_plane in (PureDataPlane, OTHER)
    ]
    assert records[0] == records[1]


# -- subjects that become others -------------------------------------------------------------------


MAPPINGS: Final = (
    Mapping(b"a.b", (Destination(b"b", 60), Destination(b"a", 15))),
    Mapping(b"a.*", (Destination(b"a.{{random(3)}}", 40), Destination(b"a.b.$1", 30))),
    Mapping(b"b", (Destination(b"b", 50),)),
    Mapping(b"a.b.>", (Destination(b"a.>", 100),)),
)


@given(
    program=st.one_of(executor_programs(), response_programs()), windows=WINDOWS, options=OPTIONS, seed=SEEDS,
    mappings=st.lists(st.sampled_from(MAPPINGS), min_size=1, unique=True).map(tuple),
    authenticator=st.one_of(st.none(), RESPONDERS),
)  # fmt: skip
def test_programs_of_mapped_subjects_come_to_the_same(
    program: list[Happening],
    windows: list[int | None],
    options: dict[str, Any],
    seed: int,
    mappings: tuple[Mapping, ...],
    authenticator: Responders | None,
) -> None:
    accounts = AccountsSettings(
        accounts=(AccountSettings(name="A", mappings=mappings),), global_mappings=mappings
    )
    options = {"max_payload": 5_000, **options, "accounts": accounts}
    if authenticator is not None:
        options["authenticator"] = authenticator

    require_same(program, windows=windows, seed=seed, **options)


# -- what programs rarely are: long, wide, full ------------------------------------------------------


@pytest.mark.parametrize("size", [4_095, 4_096, 65_536, 700_000])
@pytest.mark.parametrize("op", [b"PUB a %d\r\n%s\r\n", b"PUB a r %d\r\n%s\r\n", b"pub  a %d\r\n%s\r\n"])
def test_large_payloads_come_to_the_same_for_quick_and_slow_readers(op: bytes, size: int) -> None:
    message = op % (size, bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    program: list[Happening] = [Chunk(n, QUIET + b"SUB a 1\r\nSUB > q 2\r\n", []) for n in range(4)]
    program += [Chunk(0, message * 3 + b"PING\r\n", [size // 3, size]) for _ in range(2)]

    require_same(program, windows=(None, None, 1_000, 100_000))


@pytest.mark.parametrize(
    "count", [RECEIVERS_MAX - 1, RECEIVERS_MAX, RECEIVERS_MAX + 1, 2 * RECEIVERS_MAX + 1]
)
@pytest.mark.parametrize("queue", [b"", b"q%d "])
def test_more_receivers_than_a_turn_serves_come_to_the_same(count: int, queue: bytes) -> None:
    rows = b"".join(b"SUB a " + (queue % (n // 2) if queue else b"") + b"%d\r\n" % n for n in range(count))
    limits = b"".join(b"UNSUB %d %d\r\n" % (n, 1 + n % 3) for n in range(0, count, 5))
    messages = b"PUB a 2\r\nhi\r\n" * 2 + b"HPUB a 2 4\r\nhhhi\r\nPUB b r 0\r\n\r\nPING\r\n"

    require_same(
        [
            Chunk(0, QUIET + rows + limits, []),
            Chunk(1, QUIET + b"SUB a q1 1\r\n", []),
            Chunk(2, b"CONNECT {}\r\nSUB > 1\r\n", []),
            Chunk(1, messages, [20, 30]),
            Chunk(2, messages, []),
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [b"SUB a 1\r\n", b"SUB a q 1\r\n"])
def test_a_crowd_of_connections_hears_the_same(subjects: bytes) -> None:
    """More connections than a turn serves, so that runs of messages go out in parts."""

    def heard(data_plane: Callable[[Xorshift64], DataPlane], lending: bool) -> object:
        world = World(5, data_plane=data_plane, lending=lending)
        server = world.server()
        crowd = [server.connect() for _ in range(RECEIVERS_MAX + 100)]
        for client in crowd:
            client.send(QUIET + subjects)
        seen = watched(server)
        crowd[0].send(b"PUB a 2\r\nhi\r\n" * 30 + b"PUB a 5000\r\n" + b"x" * 5_000 + b"\r\n")
        crowd[1].send(b"PUB a 2\r\nho\r\n" * 30)
        crowd[1].close()
        world.check()
        return seen.events, server.journal.getvalue(), [bytes(client.received) for client in crowd]

    assert heard(OTHER, True) == heard(PureDataPlane, False)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [b"", b"SUB s.* 1\r\n", b"SUB s.* 1\r\nSUB *.* q 2\r\nSUB *.7.> 3\r\n"])
def test_tables_that_are_full_and_turn_over_come_to_the_same(wanted: bytes) -> None:
    """Twice as many subjects as two generations hold, some long, some again, while patterns come and go."""
    program: list[Happening] = [Chunk(0, QUIET + wanted, [])]
    for start in range(0, 140_000, 10_000):
        some = [b"PUB s.%d 0\r\n\r\nPUB often 0\r\n\r\n" % n for n in range(start, start + 10_000)]
        program.append(Chunk(1, (QUIET if start == 0 else b"") + b"".join(some), []))
        program.append(Chunk(1, b"PUB s.1 0\r\n\r\nPUB s." + b"x" * 600 + b" 0\r\n\r\n", []))
        program.append(Chunk(0, b"SUB s.> %d\r\nUNSUB %d\r\n" % (start + 10, start), []))

    require_same(program, turn_output_max=1 << 30)


@pytest.mark.slow
def test_more_plans_than_are_remembered_come_to_the_same() -> None:
    program: list[Happening] = [Chunk(0, QUIET + b"SUB a.* all\r\nSUB a.> q every\r\n", [])]
    for start in range(0, 10_000, 1_000):
        numbers = range(start, start + 1_000)
        program.append(Chunk(0, b"".join(b"SUB *.%d %d\r\n" % (n, n) for n in numbers), []))
    for start in [*range(0, 10_000, 2_000), *range(0, 10_000, 2_000)]:
        numbers = range(start, start + 2_000)
        program.append(Chunk(1, b"".join(b"PUB a.%d 0\r\n\r\n" % n for n in numbers), []))
    program.append(Chunk(0, b"UNSUB all\r\n", []))
    program.append(Chunk(1, b"PUB a.1 0\r\n\r\nPUB a.9999 0\r\n\r\n", []))

    require_same(program)


# -- journals --------------------------------------------------------------------------------------


@given(program=executor_programs(), windows=WINDOWS, seed=SEEDS)
def test_a_journal_replays_on_either_plane_to_the_same_bytes(
    program: list[Happening], windows: list[int | None], seed: int
) -> None:
    recorded = perform(program, PureDataPlane, windows=windows, seed=seed, max_payload=5_000)
    by_the_other = perform(program, OTHER, windows=windows, seed=seed, lending=True, max_payload=5_000)

    assert by_the_other.journal == recorded.journal
    summaries = [
        replay(io.BytesIO(recorded.journal).read, data_plane=data_plane).server.state.summary()
        for data_plane in (PureDataPlane, OTHER)
    ]
    assert summaries[0] == summaries[1]


# -- the comparison itself -------------------------------------------------------------------------


class DeliversToTheNextMember(PureDataPlane):
    def _deliver_to_one(
        self, source: Any, group: Group[Subscription], subject: bytes, message: Any
    ) -> tuple[bool, int]:
        taken, asked = super()._deliver_to_one(source, group, subject, message)
        return taken, asked + 1


class CountsAnEmptyHeader(PureDataPlane):
    def publish(
        self,
        source: Any,
        plan: Plan[Subscription],
        subject: bytes,
        reply: bytes,
        line: bytes,
        body: bytes,
        header_size: int,
    ) -> int:
        source.volume += header_size == 0
        return super().publish(source, plan, subject, reply, line, body, header_size)


class NotesWhatIsNotDelivered(PureDataPlane):
    def _deliver(self, source: Any, subscription: Subscription, subject: bytes, message: Any) -> bool:
        if message.reply and subscription.outbox.responses is not None:
            subscription.outbox.responses.note(message.reply, self._now_ns)
        return super()._deliver(source, subscription, subject, message)


class ForgetsTheSecondLine(PureDataPlane):
    def _subscription_ops(self, source: Any, buffer: bytes, start: int, name: bytes, argument: bytes) -> Any:
        stop = super()._subscription_ops(source, buffer, start, name, argument)
        if len(source.ops) >= 2:
            del source.ops[1]
        return stop


class KeepsABlankTooMany(PureDataPlane):
    def _incomplete(self, source: Any, buffer: bytes, name: bytes, after: int, follows: Any) -> Any:
        stop = super()._incomplete(source, buffer, name, after, follows)
        source.need += stop is None and len(buffer) > 60
        return stop


PLANTED: Final = [DeliversToTheNextMember, CountsAnEmptyHeader, ForgetsTheSecondLine, KeepsABlankTooMany]


# What is found is not made small, which would take minutes, and Hypothesis thinks it large to print.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.__name__)
def test_programs_find_a_difference_that_is_planted(planted: type[PureDataPlane]) -> None:
    @settings(max_examples=1_000, database=None, derandomize=True, phases=[Phase.generate])
    @given(program=executor_programs())
    def search(program: list[Happening]) -> None:
        require_same(program, planted, lending=False)

    with pytest.raises(AssertionError, match="events, facts, received, journal: "):
        search()


class ForgetsThatAResponseWasUsed(PureDataPlane):
    def response_plan(self, source: Any, subject: bytes, refusal: Plan[Subscription]) -> Any:
        found = super().response_plan(source, subject, refusal)
        if isinstance(found, type(refusal)) and not found.refuses:
            source.outbox.responses.note(subject, self._now_ns)
        return found


@pytest.mark.parametrize("planted", [NotesWhatIsNotDelivered, ForgetsThatAResponseWasUsed])
def test_programs_of_users_who_may_answer_find_a_difference_that_is_planted(
    planted: type[PureDataPlane],
) -> None:
    @settings(max_examples=1_000, database=None, derandomize=True, phases=[Phase.generate])
    @given(program=response_programs(), authenticator=RESPONDERS)
    def search(program: list[Happening], authenticator: Responders) -> None:
        require_same(program, planted, lending=False, authenticator=authenticator)

    with pytest.raises(AssertionError, match="events, facts, received, journal: "):
        search()


def test_a_difference_is_shown_where_it_is() -> None:
    one = ([(1, b"x" * 900 + b"a"), 2], "facts")
    two = ([(1, b"x" * 900 + b"b"), 2], "facts")

    shown = [b"x" * 40 + b"a", b"x" * 40 + b"b"]
    assert first_difference(one, one) is None
    assert first_difference(one, two) == f"at [0][0][1] from byte 900 on: {shown[0]!r} and {shown[1]!r}"
    assert first_difference([1, 2], [1]) == "at [1]: only the first has 2"
    assert first_difference(one, (one[0], "fact")) == "at [1]: 'facts' and 'fact'"

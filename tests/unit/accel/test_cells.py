"""Outboxes, subscriptions and sources of the compiled plane: where blocks end, and whose memory is whose."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import natscore_accel
from natscore.account.imports import Renaming
from natscore.cells import LARGE_PAYLOAD
from natscore.dataplane import PureDataPlane
from natscore.entropy import Xorshift64
from natscore.events import ConnectionId
from natscore.plan import Plan, compile_plan
from natscore.plane import Stop
from natscore.transform import ImportTransform
from tests.unit.accel.planes import COMPILED, Account, content

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore_accel._dataplane import Outbox

pytestmark = COMPILED

REPOSITORY = Path(__file__).resolve().parents[3]

Blocks = list[bytes | memoryview]


def outbox_of(*pieces: bytes) -> Outbox:
    """An outbox in which each of these is a block: while blocks are lent, nothing is added to them."""
    outbox = Account().outbox()
    lent: list[Blocks] = []
    for piece in pieces:
        outbox.write(piece)
        lent.append(outbox.blocks(1 << 30))
    return outbox


def run_apart(program: str) -> str:
    """What a program prints that runs in a process of its own, whose memory is measured."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    ).stdout


# -- outboxes --------------------------------------------------------------------------------------


def test_small_writes_share_a_block_and_what_is_lent_is_not_added_to() -> None:
    outbox = outbox_of()
    outbox.write(b"aa")
    outbox.write(b"bb")
    (lent,) = outbox.blocks(1)
    outbox.write(b"cc")

    assert bytes(lent) == b"aabb"
    assert [bytes(block) for block in outbox.blocks(1 << 30)] == [b"aabb", b"cc"]


def test_blocks_come_as_far_as_they_fit_and_the_first_in_any_case() -> None:
    outbox = outbox_of(b"aaaa", b"bb", b"cccc")

    assert [len(outbox.blocks(limit)) for limit in (0, 1, 5, 6, 9, 10)] == [1, 1, 1, 2, 2, 3]
    assert outbox_of().blocks(10) == []


@pytest.mark.parametrize("taken", range(11))
def test_what_the_kernel_took_is_gone_wherever_it_ends(taken: int) -> None:
    outbox = outbox_of(b"aaaa", b"bb", b"cccc")

    outbox.advance(taken)
    outbox.write(b"!")

    assert content(outbox) == b"aaaabbcccc!"[taken:]
    assert (outbox.size, outbox.appended) == (11 - taken, 11)


@pytest.mark.parametrize("count", range(11))
def test_what_is_retracted_was_never_appended_wherever_it_begins(count: int) -> None:
    outbox = outbox_of(b"aaaa", b"bb", b"cccc")

    outbox.retract(count)
    outbox.write(b"!")

    assert content(outbox) == b"aaaabbcccc"[: 10 - count] + b"!"
    assert (outbox.size, outbox.appended) == (11 - count, 11 - count)


@pytest.mark.parametrize("count", range(12))
def test_the_tail_is_the_last_bytes_over_the_ends_of_blocks(count: int) -> None:
    outbox = outbox_of(b"aaaa", b"bb", b"cccc")

    assert b"".join(outbox.tail_blocks(count)) == b"aaaabbcccc"[max(0, 10 - count) :]


@pytest.mark.parametrize("count", [-1, 5, 1 << 62])
def test_more_than_there_is_can_neither_leave_nor_be_taken_back(count: int) -> None:
    outbox = outbox_of(b"aaaa")

    with pytest.raises(ValueError, match="bytes taken of 4"):
        outbox.advance(count)
    with pytest.raises(ValueError, match="bytes taken back of 4"):
        outbox.retract(count)
    assert content(outbox) == b"aaaa"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from([0, 1, 7, 300, 511, 512, 513, 5_000, 70_000, 300_000])),
        st.tuples(st.just("message"), st.sampled_from([0, LARGE_PAYLOAD - 1, LARGE_PAYLOAD, 9_000])),
        st.tuples(
            st.sampled_from(["advance", "retract", "discard", "lend", "give back"]), st.integers(0, 100)
        ),
    ),
    max_size=30,
)


@given(steps=STEPS)
def test_an_outbox_is_a_queue_of_bytes_whatever_is_lent_meanwhile(steps: list[tuple[str, int]]) -> None:
    account = Account()
    source = account.source()
    outbox, other = account.outbox(), account.outbox()
    account.subscribe(outbox, b"a")
    account.subscribe(other, b"a")
    held, offered, appended = bytearray(), 0, 0
    lent: list[tuple[Blocks, bytes]] = []

    for number, (step, size) in enumerate(steps):
        if step in ("write", "message"):
            data = bytes([33 + number]) * size
            if step == "write":
                outbox.write(data)
            else:
                account.run(source, b"PUB a %d\r\n%s\r\n" % (size, data))
                data = b"MSG a 1 %d\r\n%s\r\n" % (size, data)
            held += data
            appended += len(data)
        elif step == "advance":
            count = len(held) * size // 100
            outbox.advance(count)
            del held[:count]
            offered = max(0, offered - count)
        elif step == "retract":
            count = (len(held) - offered) * size // 100
            outbox.retract(count)
            del held[len(held) - count :]
            appended -= count
        elif step == "discard" and size < 20:
            outbox.discard()
            held.clear()
            offered = 0
        elif step == "lend":
            lent.append((outbox.blocks(1 << 40), bytes(held)))
            offered = len(held)
        elif step == "give back" and lent:
            del lent[size % len(lent)]
        assert content(outbox) == held
        assert (outbox.size, outbox.appended) == (len(held), appended)
        for blocks, expected in lent:
            assert b"".join(blocks) == expected


def test_receivers_of_a_large_payload_share_it_and_neither_writes_into_it() -> None:
    account = Account()
    source = account.source()
    outboxes = [account.outbox() for _ in range(3)]
    for outbox in outboxes:
        account.subscribe(outbox, b"a")
    payload = bytes(range(256)) * 32

    account.run(source, b"PUB a 8192\r\n" + payload + b"\r\n")
    bodies = [outbox.blocks(1 << 30)[-1] for outbox in outboxes]
    source.forget()
    for number, outbox in enumerate(outboxes):
        outbox.write(b"%d" % number * 100)

    assert len({body.obj.block for body in bodies if isinstance(body, memoryview)}) == 1  # type: ignore[attr-defined]
    for number, outbox in enumerate(outboxes):
        assert content(outbox) == b"MSG a 1 8192\r\n" + payload + b"\r\n" + b"%d" % number * 100


@pytest.mark.parametrize("size", [10, LARGE_PAYLOAD, 300_000])
def test_what_is_lent_outlives_its_outbox_and_its_plane(size: int) -> None:
    account = Account()
    source, outbox = account.source(), account.outbox()
    subscription = account.subscribe(outbox, b"a")
    account.run(source, b"PUB a %d\r\n%s\r\n" % (size, b"x" * size))
    lent = outbox.blocks(1 << 30)

    account.sublist.remove(subscription)
    del account, source, outbox, subscription
    gc.collect()
    others = outbox_of(*(b"y" * count for count in (100, size, size + 100, size * 2)))

    assert b"".join(lent) == b"MSG a 1 %d\r\n%s\r\n" % (size, b"x" * size)
    assert others.size == 200 + 4 * size


def test_a_block_that_is_lent_cannot_be_written_to() -> None:
    (lent,) = outbox_of(b"aaaa").blocks(4)

    assert isinstance(lent, memoryview)
    with pytest.raises(TypeError, match="read-only"):
        lent[0] = 0


HELD_AFTERWARDS = """
from tests.unit.accel.planes import Account, memory
outbox = Account().outbox()
before = memory()
for _ in range(256):
    outbox.write(b"x" * 200_000)
full = memory()
outbox.discard()
print(full - before, memory() - before)
"""


@pytest.mark.slow  # it measures, and sanitizers keep memory back
def test_memory_that_was_needed_once_is_given_back_but_for_a_bound() -> None:
    full, afterwards = map(int, run_apart(HELD_AFTERWARDS).split())

    assert full > 48_000_000
    assert afterwards < 8_388_608 + 4_000_000


# -- subscriptions ---------------------------------------------------------------------------------


def test_a_subscription_is_inserted_once_and_removed_once() -> None:
    account = Account()
    subscription = account.subscribe(account.outbox(), b"a.*", b"7", b"q")

    assert (subscription.sid, subscription.subject, subscription.queue) == (b"7", b"a.*", b"q")
    assert subscription.node is not None
    with pytest.raises(ValueError, match="inserted once"):
        account.sublist.insert(subscription)
    account.sublist.remove(subscription)
    with pytest.raises(ValueError, match="not there"):
        account.sublist.remove(subscription)
    with pytest.raises(ValueError, match="inserted once"):
        account.sublist.insert(subscription)
    assert account.sublist.count == 0


def test_a_subscription_has_a_subject_until_it_is_removed() -> None:
    account = Account()
    subscription = account.plane.subscription(account.outbox(), b"1", b"a", None)
    before = (subscription.subject, subscription.node, subscription.live)

    account.sublist.insert(subscription)
    there = (subscription.subject, subscription.live)
    account.sublist.remove(subscription)

    assert before == (b"a", None, True)
    assert there == (b"a", True)
    assert (subscription.subject, subscription.node, subscription.live) == (b"", None, False)


def test_a_subscription_whose_sublist_is_gone_is_nowhere() -> None:
    account = Account()
    kept = [account.subscribe(account.outbox(), subject) for subject in (b"a", b"a", b"a.*", b">")]
    kept += [account.subscribe(account.outbox(), b"a", b"2", b"q") for _ in range(2)]

    del account
    gc.collect()

    assert [(one.subject, one.node) for one in kept] == [(b"", None)] * 6


def test_a_subscription_that_was_never_inserted_goes_with_its_subject() -> None:
    account = Account()
    outbox = account.outbox()
    subject = b"a subject that nobody else refers to"
    before = sys.getrefcount(subject)

    for _ in range(100):
        account.plane.subscription(outbox, b"1", subject, None)

    assert sys.getrefcount(subject) == before


# -- sources ---------------------------------------------------------------------------------------


@given(
    cuts=st.lists(st.integers(0, 2_000), max_size=30),
    sizes=st.lists(st.sampled_from([0, 1, 20, 600]), min_size=1, max_size=5),
)
def test_two_clients_that_dribble_into_one_buffer_never_hear_each_other(
    cuts: list[int], sizes: list[int]
) -> None:
    """One read buffer for all: each read of one overwrites what the other was fed before."""
    account = Account()
    sources = [account.source(), account.source()]
    outboxes = [account.outbox(), account.outbox()]
    streams = []
    for letter, outbox in zip((b"a", b"b"), outboxes, strict=True):
        account.subscribe(outbox, letter)
        streams.append(b"".join(b"PUB %s %d\r\n%s\r\n" % (letter, size, letter * size) for size in sizes))
    buffer = bytearray(65_536)
    ends = sorted({min(cut, len(streams[0])) for cut in cuts} | {len(streams[0])})

    begin = 0
    for end in ends:
        for source, stream in zip(sources, streams, strict=True):
            piece = stream[begin:end]
            buffer[: len(piece)] = piece
            account.run(source, memoryview(buffer)[: len(piece)])
            buffer[: len(piece)] = b"\n" * len(piece)
        begin = end

    for letter, outbox in zip((b"a", b"b"), outboxes, strict=True):
        expected = b"".join(b"MSG %s 1 %d\r\n%s\r\n" % (letter, size, letter * size) for size in sizes)
        assert content(outbox) == expected


def test_a_source_that_kept_what_is_unparsed_has_given_the_chunk_back() -> None:
    account = Account()
    source = account.source()
    chunk = bytearray(b"PUB a 10\r\n01234")

    assert account.run(source, memoryview(chunk)) is Stop.NEED_DATA
    chunk.clear()  # a bytearray that is lent refuses this

    assert source.peek(100) == b"PUB a 10\r\n01234"
    source.forget()
    assert (source.have, source.peek(100), source.has_work) == (0, b"", False)


# -- cells of another plane ------------------------------------------------------------------------


def foreign() -> list[Callable[[], object]]:
    """What must be refused, each with a cell of the pure plane, or none, in place of a compiled one."""
    account, pure = Account(), PureDataPlane(Xorshift64(1))
    compiled = account.plane
    outbox, sublist = compiled.outbox(ConnectionId(5)), account.sublist
    their_outbox, their_sublist = pure.outbox(ConnectionId(5)), pure.sublist()
    their_table = pure.table(their_sublist, ())
    their_source = pure.source(ConnectionId(5), their_outbox, their_table, 64, 64)
    their_subscription = pure.subscription(their_outbox, b"1", b"a", None)
    their_sublist.insert(their_subscription)
    account.subscribe(outbox, b"a")
    nodes = tuple(sublist.match(b"a"))
    their_nodes = tuple(their_sublist.match(b"a"))
    nothing: object = None
    own = compiled.subscription(outbox, b"1", b"a", None)
    return [
        lambda: compiled.source(ConnectionId(5), their_outbox, account.table, 64, 64),
        lambda: compiled.source(ConnectionId(5), outbox, their_table, 64, 64),
        lambda: compiled.source(ConnectionId(5), nothing, account.table, 64, 64),  # type: ignore[arg-type]
        lambda: compiled.table(their_sublist, ()),
        lambda: compiled.table(nothing, ()),  # type: ignore[arg-type]
        lambda: compiled.bind(their_source, account.table),
        lambda: compiled.bind(account.source(), their_table),
        lambda: compiled.subscription(their_outbox, b"1", b"a", None),
        lambda: compiled.subscription(nothing, b"1", b"a", None),  # type: ignore[arg-type]
        lambda: compiled.shadow(their_subscription, b"a", KEEPING),
        lambda: compiled.shadow(nothing, b"a", KEEPING),  # type: ignore[arg-type]
        lambda: compiled.shadow(compiled.shadow(own, b"a", KEEPING), b"a", KEEPING),
        lambda: sublist.insert(their_subscription),
        lambda: sublist.insert(nothing),  # type: ignore[arg-type]
        lambda: sublist.remove(their_subscription),
        lambda: compiled.run(their_source),
        lambda: compiled.run(nothing),  # type: ignore[arg-type]
        lambda: compiled.go_on(their_source),
        lambda: compiled.install(their_table, nodes, compile_plan(nodes)),
        lambda: compiled.install(account.table, their_nodes, compile_plan(nodes)),
        lambda: compiled.install(account.table, (nothing,), compile_plan(nodes)),  # type: ignore[arg-type]
        lambda: compiled.install(account.table, nodes, compile_plan(their_nodes)),
        lambda: compiled.install(account.table, nodes, WITH_A_HOLE),
    ]


class _Hole:
    """A plan of no plane."""

    local = (None,)
    renamed = ()
    groups = ()
    asks = ()
    inland = None
    fanout = width = overhead = 0
    distinct = True
    refuses = tracks = False


WITH_A_HOLE: Plan = _Hole()  # type: ignore[type-arg, assignment]


KEEPING: Final = Renaming(ImportTransform.stream(b"a", b"a"), True)


@pytest.mark.parametrize("number", range(23))
def test_cells_of_another_plane_are_refused(number: int) -> None:
    calls = foreign()

    assert len(calls) == 23
    with pytest.raises(TypeError):
        calls[number]()


# -- the end ---------------------------------------------------------------------------------------

SERVERS = """
server = BareServer(data_plane=compiled_plane())
for cid in range(5, 30):
    server.open(cid)
    server.receive(cid, b"SUB a 1\\r\\nSUB *.b 2\\r\\nSUB a q 3\\r\\n")
    server.receive(cid, b"PUB a 5000\\r\\n" + b"x" * 5_000 + b"\\r\\n")
    server.receive(cid, b"PUB x.b 2\\r\\nhi\\r\\nPUB a 90000\\r\\n" + b"y" * 10_000)
assert server.server.ready
"""
WITH_OUTPUT_IN_HAND = """
account = Account()
for _ in range(25):
    account.subscribe(account.outbox(), b"a")
account.run(account.source(), b"PUB a 4000\\r\\n" + b"x" * 4_000 + b"\\r\\n")
assert len(account.plane.ready) == 25
"""
COME_AND_GO = """
import gc
from tests.support.planes import compiled_plane
from tests.unit.accel.planes import Account, memory
from tests.unit.core.bare import BareServer

def use():
    {use}

for _ in range(300):
    if _ == 100:  # the pool, and what Python keeps, are as large as they get
        before = memory()
    use()
    gc.collect()
print(memory() - before)
"""


@pytest.mark.slow  # it measures, and sanitizers keep memory back
@pytest.mark.parametrize("use", [SERVERS, WITH_OUTPUT_IN_HAND], ids=["servers", "with-output-in-hand"])
def test_two_hundred_planes_that_came_and_went_leave_no_memory_behind(use: str) -> None:
    program = COME_AND_GO.replace("{use}", use.strip().replace("\n", "\n    "))

    assert int(run_apart(program)) < 2_000_000


def test_this_is_the_compiled_plane() -> None:
    assert type(Account().plane) is natscore_accel.CompiledDataPlane

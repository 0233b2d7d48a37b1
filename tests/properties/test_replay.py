"""A journal replays to what was recorded: here, and in a process with other hashes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscore.errors import ReplayDivergence
from natscore.journal import BANNER, JournalError, read_journal
from natscore.replay import replay
from natscore.testing import World
from tests.properties.programs import HangUp, any_ops, pieces, programs
from tests.properties.rehearsal import Day

if TYPE_CHECKING:
    from tests.properties.programs import Step

REPOSITORY: Final = Path(__file__).resolve().parents[2]


@given(steps=programs(ops=any_ops), cuts=st.booleans())
def test_a_recorded_program_replays(steps: list[Step], cuts: bool) -> None:
    world = World(3, cuts=cuts)
    server = world.server()
    clients = [server.connect() for _ in range(3)]
    for step in steps:
        if isinstance(step, HangUp):
            clients[step.connection].close()
        else:
            for piece in pieces(step.data, step.cuts):
                clients[step.connection].send(piece)

    replayed = replay(io.BytesIO(server.journal.getvalue()).read)

    assert replayed.events == server.events
    assert replayed.server.state.summary() == server.state.summary()


@pytest.mark.parametrize("day", range(12))
def test_a_day_with_slow_clients_and_time_replays(day: int) -> None:
    server = Day(day).server

    replayed = replay(io.BytesIO(server.journal.getvalue()).read)

    assert replayed.events == server.events
    assert replayed.server.state.summary() == server.state.summary()


def in_a_process(seed: int, hash_seed: int) -> str:
    """What a rehearsal prints in a process whose sets and dictionaries have other hashes."""
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.properties.rehearsal", str(seed)],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    return finished.stdout


@pytest.mark.slow
@pytest.mark.parametrize("day", [1, 5])
def test_hashes_of_a_process_reach_neither_the_wire_nor_the_journal(day: int) -> None:
    assert in_a_process(day, 0) == in_a_process(day, 4_242)


@given(data=st.data(), day=st.sampled_from([1, 2]))
def test_a_journal_that_ends_anywhere_is_read_up_to_its_last_whole_record(
    data: st.DataObject, day: int
) -> None:
    whole = recorded(day)
    begin = whole.index(b"\n", len(BANNER)) + 1
    end = data.draw(st.integers(begin, len(whole)))

    events = events_of(whole[:end])

    assert events == events_of(whole)[: len(events)]
    assert (end == len(whole)) == (len(events) == len(events_of(whole)))


@given(data=st.data(), day=st.sampled_from([1, 2]))
def test_a_journal_with_a_changed_byte_is_damaged_or_diverges_or_replays(
    data: st.DataObject, day: int
) -> None:
    whole = bytearray(recorded(day))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))

    with suppress(JournalError, ReplayDivergence):
        assert replay(io.BytesIO(bytes(whole)).read).events > 0


_RECORDED: Final[dict[int, bytes]] = {}


def recorded(day: int) -> bytes:
    """The journal of a day, made once."""
    if day not in _RECORDED:
        _RECORDED[day] = Day(day).server.journal.getvalue()
    return _RECORDED[day]


def events_of(journal: bytes) -> list[object]:
    return list(read_journal(io.BytesIO(journal).read)[1])

"""Ours and nats-server say the same in random dialogues, and the tool that says so finds differences."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from natscore.replay import replay
from tests.attack import dialogues
from tests.attack.dialogues import Dialogue, Op, Setting, Step, generate
from tests.attack.differential import Arena, compare, explanation, frames_of, shrunk
from tests.attack.watch import ASYNCIO, OURS
from tests.support.servers import programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import ServerProgram

GO = [program for program in programs() if program.name.startswith("go-2.14.")]


@pytest.fixture(scope="module")
def peer() -> Iterator[Arena]:
    """nats-server 2.14, started once."""
    with Arena(GO[0]) as arena:
        yield arena


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.skipif(not GO, reason="no nats-server 2.14 on this machine")
@pytest.mark.parametrize(("program", "seeds"), [(OURS[0], 300), (OURS[1], 100)], ids=["asyncio", "trio"])
def test_ours_says_what_nats_server_says(program: ServerProgram, seeds: int, peer: Arena) -> None:
    with Arena(program) as ours:
        for seed in range(seeds):
            difference = compare(ours, peer, generate(seed))
            if difference is not None and explanation(ours, peer, difference) is None:
                raise AssertionError(f"seed {seed}: {shrunk(ours, peer, difference)}")
        assert "nternal error" not in ours.log_text()


def test_a_hostile_session_replays(program: ServerProgram) -> None:
    with Arena(program, "--journal", "journal", "-DV") as arena:
        for dialogue in map(generate, range(100)):
            if dialogue.setting in ("limits", "user"):
                arena.play(dialogue)
        for server in arena.servers:
            assert server.stop() == 0
            journal = (server.directory / "journal").read_bytes()

            assert replay(io.BytesIO(journal).read).events > 10


# -- the tool --------------------------------------------------------------------------------------


def test_a_dialogue_is_a_function_of_its_seed() -> None:
    assert generate(7) == generate(7)
    assert len({generate(seed) for seed in range(50)}) == 50


def test_a_difference_is_found_and_cut_down_to_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    first_sub, second_sub = Op(b"SUB foo 1\r\n"), Op(b"SUB bar 2\r\n")
    dialogue = Dialogue(
        "open", 2,
        (
            Step(0, (Op(b'CONNECT {"verbose":false}\r\n'), Op(b"SUB foo 1\r\n")), writes=2),
            Step(1, (Op(b"PING\r\n", 1), first_sub, Op(b"PUB foo 2\r\nhi\r\n"), second_sub), writes=5),
            Step(0, (Op(b"UNSUB 1\r\n"),)),
        ),
        b"PUB foo 2\r\nh",
    )  # fmt: skip
    with Arena(ASYNCIO) as first, Arena(ASYNCIO) as second:
        assert compare(first, second, dialogue) is None
        assert first.play(dialogue).closed == [True, True]  # by the end of each stream

        monkeypatch.setitem(dialogues.SETTINGS, "open", Setting("", ("--max_subscriptions", "1")))
        with Arena(ASYNCIO) as strict:
            difference = compare(first, strict, dialogue)
            assert difference is not None
            assert explanation(first, strict, difference) is None

            smallest = shrunk(first, strict, difference)

    assert smallest.dialogue.steps == (Step(1, (first_sub, second_sub)),)
    assert smallest.dialogue.ending == b""
    assert "maximum subscriptions exceeded" in str(smallest)


def test_what_a_server_says_is_cut_into_frames() -> None:
    said = (
        b'INFO {"max_payload":5,"server_id":"N1"} \r\n+OK\r\nMSG a 1 2\r\n\r\n\r\nPING\r\n'
        b"HMSG a 1 r 2 4\r\nhhbb\r\nPO"
    )

    assert frames_of(said) == [
        (b"INFO", b'{"max_payload": 5}'),
        (b"+OK",),
        (b"MSG", b"a", b"1", b"2", b"\r\n"),
        (b"HMSG", b"a", b"1", b"r", b"2", b"4", b"hhbb"),
        (b"(unfinished)", b"PO"),
    ]

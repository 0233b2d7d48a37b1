"""Signals before the event loop takes over, and while a server is shutting down."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from natscore_cli.signals import NAMES, STOPPING, SUPPORTED_LATER

if TYPE_CHECKING:
    import signal


def outcome(program: str) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_every_signal_that_is_caught_has_a_name_and_a_meaning() -> None:
    assert set(NAMES) == set(STOPPING) | set(SUPPORTED_LATER)


@pytest.mark.parametrize("number", STOPPING, ids=str)
def test_before_the_start_a_stopping_signal_ends_the_process_with_0(number: signal.Signals) -> None:
    assert outcome(
        "import os; from natscore_cli.signals import SignalsBeforeStart\n"
        f"SignalsBeforeStart().install(); os.kill(os.getpid(), {int(number)}); print('alive')"
    ) == (0, [])


def test_before_the_start_other_signals_are_remembered_in_order() -> None:
    assert outcome(
        "import os; from natscore_cli.signals import *\n"
        "signals = SignalsBeforeStart(); signals.install()\n"
        "for number in SUPPORTED_LATER: os.kill(os.getpid(), number)\n"
        "print(*(found.name for found in signals.remembered))"
    ) == (0, ["SIGHUP SIGUSR1 SIGUSR2"])


@pytest.mark.parametrize("number", STOPPING, ids=str)
@pytest.mark.parametrize(
    "clean_up", ["print('cleaned', flush=True)", "print('cleaned', flush=True) or 1 / 0"]
)
def test_while_shutting_down_another_signal_cleans_up_and_ends_the_process_with_1(
    number: signal.Signals, clean_up: str
) -> None:
    assert outcome(
        "import os; from natscore_cli.signals import *\n"
        f"end_at_once_on_another(lambda: {clean_up})\n"
        f"os.kill(os.getpid(), {int(number)}); print('alive')"
    ) == (1, ["cleaned"])

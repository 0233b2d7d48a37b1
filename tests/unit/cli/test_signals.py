"""Signals before the event loop takes over, and while a server is shutting down."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from natscore_cli.signals import STOPPING

if TYPE_CHECKING:
    import signal


def outcome(program: str) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("number", STOPPING, ids=str)
def test_before_the_start_a_stopping_signal_ends_the_process_with_0(number: signal.Signals) -> None:
    assert outcome(
        "import os; from natscore_cli.signals import SignalsBeforeStart\n"
        f"SignalsBeforeStart().install(); os.kill(os.getpid(), {int(number)}); print('alive')"
    ) == (0, [])


def test_before_the_start_other_signals_are_remembered_in_order() -> None:
    assert outcome(
        "import os, signal; from natscore_cli.signals import *\n"
        "signals = SignalsBeforeStart(); signals.install()\n"
        "for name in ('SIGHUP', 'SIGUSR1', 'SIGUSR2'): os.kill(os.getpid(), getattr(signal, name))\n"
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


@pytest.mark.spec("operations 4", "operations 1.5")
def test_sigquit_says_what_every_thread_does_and_ends_the_process_with_2() -> None:
    program = (
        "import os, signal; from natscore_cli.signals import *\n"
        "SignalsBeforeStart().install()\n"
        "def where_it_is(): os.kill(os.getpid(), signal.SIGQUIT); print('alive')\n"
        "where_it_is()"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)

    assert (done.returncode, done.stdout) == (2, "")
    assert "in where_it_is" in done.stderr

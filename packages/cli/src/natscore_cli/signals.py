"""Signals, from the first instant of the process to its last (operations.md section 4).

A process meets signals in three ages, and must not die by one in any of them,
nor show a traceback:

    starting        SIGINT and SIGTERM end the process with code 0, there is nothing to
                    close; the others are remembered
    running         the event loop receives them (`runtime` of anyio)
    shutting down   a second SIGINT or SIGTERM ends the process at once, even when the
                    loop no longer turns

SIGQUIT ends a process in any age, at once: it prints what every thread was doing and
exits with code 2, as programs in Go do. SIGPIPE is ignored by Python itself.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["NAMES", "STOPPING", "SignalsBeforeStart", "end_at_once_on_another"]

STOPPING: Final = (signal.SIGINT, signal.SIGTERM)

NAMES: Final = {
    signal.SIGINT: "interrupt",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hangup",
    signal.SIGUSR1: "user defined signal 1",
    signal.SIGUSR2: "user defined signal 2",
}
"""As the log names them."""


class SignalsBeforeStart:
    """Handlers for the time until the event loop takes over. `remembered` is what came meanwhile."""

    def __init__(self) -> None:
        self.remembered: list[signal.Signals] = []

    def install(self) -> None:
        """Take over from the defaults of the interpreter."""
        for number in STOPPING:
            signal.signal(number, self._leave)
        for number in NAMES:
            if number not in STOPPING:
                signal.signal(number, self._remember)
        _end_with_a_dump_on_quit()

    @staticmethod
    def _leave(_number: int, _frame: FrameType | None) -> None:
        os._exit(0)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.remembered.append(signal.Signals(number))


def _end_with_a_dump_on_quit() -> None:
    signal.signal(signal.SIGQUIT, lambda _number, _frame: os._exit(2))
    if sys.stderr is None:
        return
    # Written at once, even when the interpreter is stuck; then comes the handler above. Whoever runs the
    # command in a program of theirs may have replaced stderr by something that is no file.
    with contextlib.suppress(io.UnsupportedOperation):
        faulthandler.register(signal.SIGQUIT, file=sys.stderr, all_threads=True, chain=True)


def end_at_once_on_another(clean_up: Callable[[], None]) -> None:
    """From now on SIGINT and SIGTERM call `clean_up` and end the process with code 1.

    Code 1, because what clients were still to receive may be lost.
    """

    def leave(_number: int, _frame: FrameType | None) -> None:
        try:
            clean_up()
        finally:
            os._exit(1)

    for number in STOPPING:
        signal.signal(number, leave)

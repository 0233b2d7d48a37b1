"""What the kernel knows about processes and the machine: processor time and memory, from /proc."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["cpu_seconds", "is_working", "machine_cpu_seconds", "resident_bytes"]

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

# Fields of /proc/<pid>/stat behind the name, which is in parentheses and may hold anything.
UTIME: Final = 11
STIME: Final = 12
RSS_PAGES: Final = 21


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads, user and system; counted in ticks of 10 ms."""
    fields = _fields(pid)
    return (int(fields[UTIME]) + int(fields[STIME])) / TICKS_PER_SECOND


def machine_cpu_seconds() -> float:
    """Processor time of all processes, and what a host has taken from this machine.

    Interrupts are left out: on loopback they are the work of the processes measured.
    """
    name, user, nice, system, _idle, _iowait, _irq, _softirq, stolen, *_ = (
        Path("/proc/stat").read_text().split("\n", 1)[0].split()
    )
    assert name == "cpu"
    return sum(map(int, (user, nice, system, stolen))) / TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """Memory of the process that is in RAM."""
    return int(_fields(pid)[RSS_PAGES]) * PAGE_BYTES


def is_working(pid: int) -> bool:
    """Whether any thread of the process runs or waits for a processor."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            if stat.read_text().rpartition(")")[2].split(maxsplit=1)[0] == "R":
                return True
    return False


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()

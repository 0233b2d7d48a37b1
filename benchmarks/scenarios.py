"""The scenarios, as data: what is measured, under which name, and which figures it gives.

How each kind is measured is in `measurements.py`. A scenario takes one to three
seconds for one server and one run; everything it does is bounded in count and time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from benchmarks.streams import Traffic

__all__ = [
    "SCENARIOS",
    "Better",
    "IdleConnections",
    "RequestReply",
    "Row",
    "Scenario",
    "StartUp",
    "TrafficScenario",
    "Unit",
    "quick",
]


class Better(enum.Enum):
    """Which way a figure improves."""

    MORE = "more"
    LESS = "less"


class Unit(enum.Enum):
    """What a figure counts. Figures are kept in base units: messages, seconds, bytes."""

    MESSAGES_PER_SECOND = "msg/s"
    SECONDS = "s"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    title: str
    unit: Unit

    @property
    def better(self) -> Better:
        """Which way this figure improves."""
        return Better.MORE if self.unit is Unit.MESSAGES_PER_SECOND else Better.LESS


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficScenario:
    """Publish as fast as the server takes it. The rate counts deliveries, or what was published to nobody."""

    name: str
    title: str
    traffic: Traffic
    warm_up_seconds: float = 0.3
    seconds: float = 1.2
    journal: bool = False
    """Whether our server records; others run as always."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rate."""
        return (Row(self.name, self.title, Unit.MESSAGES_PER_SECOND),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReply:
    """One requester, one responder, one request at a time, each with a new reply subject."""

    name: str
    title: str
    payload_bytes: int = 16
    warm_up_seconds: float = 0.3
    seconds: float = 1.2

    @property
    def rows(self) -> tuple[Row, ...]:
        """Two quantiles of the time from request to reply."""
        return (
            Row(f"{self.name}-p50", f"{self.title} p50", Unit.SECONDS),
            Row(f"{self.name}-p99", f"{self.title} p99", Unit.SECONDS),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleConnections:
    """What the resident memory of the server grows by for a connection that says nothing more."""

    name: str
    title: str
    warm_up_connections: int = 20  # first use of code and buffers is not their share
    connections: int = 500

    @property
    def rows(self) -> tuple[Row, ...]:
        """Memory for one connection."""
        return (Row(self.name, self.title, Unit.BYTES),)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUp:
    """How long a process needs, for the first INFO of the server and for its version."""

    name: str
    title: str
    repetitions: int = 3  # the figure of a run is their median

    @property
    def rows(self) -> tuple[Row, ...]:
        """Both times."""
        return (
            Row(self.name, f"{self.title}, process start to first INFO", Unit.SECONDS),
            Row(f"{self.name}-version", f"{self.title}, --version", Unit.SECONDS),
        )


Scenario: TypeAlias = TrafficScenario | RequestReply | IdleConnections | StartUp

SCENARIOS: Final[tuple[Scenario, ...]] = (
    TrafficScenario(name="publish", title="publish only, 16 B", traffic=Traffic(subscribers=0)),
    TrafficScenario(name="one-to-one", title="1:1, 16 B", traffic=Traffic()),
    TrafficScenario(
        name="one-to-one-journal", title="1:1, 16 B, ours with --journal", traffic=Traffic(), journal=True
    ),
    TrafficScenario(
        name="one-to-one-rotation",
        title="1:1, 128 B, 100 subjects in rotation",
        traffic=Traffic(payload_bytes=128, subjects=100),
    ),
    TrafficScenario(name="one-to-one-1k", title="1:1, 1 KiB", traffic=Traffic(payload_bytes=1024)),
    TrafficScenario(name="one-to-one-64k", title="1:1, 64 KiB", traffic=Traffic(payload_bytes=65_536)),
    TrafficScenario(name="one-to-ten", title="1:10, 16 B", traffic=Traffic(subscribers=10)),
    TrafficScenario(
        name="one-to-ten-sids",
        title="1:10, 16 B, sids differ",
        traffic=Traffic(subscribers=10, sids_differ=True),
    ),
    TrafficScenario(
        name="four-to-four",
        title="4:4, 16 B",
        traffic=Traffic(publishers=4, subscribers=4, messages_max=300_000),
        warm_up_seconds=0.1,
        seconds=0.6,
    ),
    TrafficScenario(
        name="queue-group",
        title="queue group 1:4, 16 B",
        traffic=Traffic(subscribers=4, queue_group=True, messages_max=2_500_000),
        warm_up_seconds=0.1,
        seconds=0.6,
    ),
    RequestReply(name="request-reply", title="request/reply, 16 B,"),
    IdleConnections(name="idle-connection", title="memory of an idle connection"),
    StartUp(name="start-up", title="start-up"),
)


def quick(scenario: Scenario) -> Scenario:
    """The same scenario cut short: it shows that everything works, not how fast it is."""
    match scenario:
        case TrafficScenario() | RequestReply():
            return replace(scenario, warm_up_seconds=0.05, seconds=0.2)
        case IdleConnections():
            return replace(scenario, connections=100)
        case StartUp():
            return replace(scenario, repetitions=1)

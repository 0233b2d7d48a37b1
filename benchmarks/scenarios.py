"""What can be measured, as data: kinds of scenarios, their rows, and how one is cut short.

How each kind is measured is in `measurements.py`; which ones there are, in `catalogue.py`.
Everything a scenario does is bounded in count and time. Most take one to three
seconds for one server and one run; a longer one has a `runs_max`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from benchmarks.client import SILENCE_SECONDS

if TYPE_CHECKING:
    from benchmarks.beside import Beside
    from benchmarks.streams import Traffic
    from benchmarks.subscriptions import Subjects

__all__ = [
    "RATES",
    "Better",
    "ConnectionRate",
    "IdleConnections",
    "LibraryLoad",
    "Logins",
    "MatchCost",
    "Reconnection",
    "RequestReply",
    "RequestsInFlight",
    "Row",
    "Scenario",
    "StandingSubscriptions",
    "StartUp",
    "TrafficScenario",
    "Unit",
    "quick",
]

RUNS_MAX: Final = 100


class Better(enum.Enum):
    """Which way a figure improves."""

    MORE = "more"
    LESS = "less"


class Unit(enum.Enum):
    """What a figure counts. Figures are kept in base units: messages, seconds, bytes."""

    MESSAGES_PER_SECOND = "msg/s"
    REQUESTS_PER_SECOND = "req/s"
    CONNECTIONS_PER_SECOND = "conn/s"
    SECONDS = "s"
    BYTES = "bytes"


RATES: Final = (Unit.MESSAGES_PER_SECOND, Unit.REQUESTS_PER_SECOND, Unit.CONNECTIONS_PER_SECOND)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    title: str
    unit: Unit
    of_own: str = ""
    """The condition whose figure of the same server and run this one is also divided by; empty: none."""

    @property
    def better(self) -> Better:
        """Which way this figure improves."""
        return Better.MORE if self.unit in RATES else Better.LESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """Who publishes and who subscribes, by a configuration in which names are the passwords."""

    config: str
    publisher: str
    subscriber: str
    unrestricted: str = ""
    """Who publishes under the other condition of the row; empty: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficScenario:
    """Publish as fast as the server takes it. The rate counts deliveries, or what was published to nobody.

    With `beside`, the traffic passes without it, with it, and without it again, over the same
    connections. The figure is the one with it; that without is the mean of the two.
    """

    name: str
    title: str
    traffic: Traffic
    warm_up_seconds: float = 0.3
    warm_up_messages: int | None = None  # where the warm-up stops before
    seconds: float = 1.2
    journal: bool = False
    """Whether our server records; others run as always."""
    tls: bool = False
    """Whether the server requires TLS, and the load speaks it."""
    logins: Logins | None = None
    beside: Beside | None = None
    silence_seconds: float = SILENCE_SECONDS
    """How long a connection may hear nothing: longer where a server is busy with others for so long."""
    runs_max: int = RUNS_MAX

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rate."""
        of_own = "without" if self.beside or (self.logins and self.logins.unrestricted) else ""
        return (Row(self.name, self.title, Unit.MESSAGES_PER_SECOND, of_own),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReply:
    """One requester, one responder, one request at a time, each with a new reply subject."""

    name: str
    title: str
    payload_bytes: int = 16
    warm_up_seconds: float = 0.3
    seconds: float = 1.2
    imported: bool = False
    """Whether the requester is in another account, which imports the service."""
    beside: Beside | None = None
    runs_max: int = RUNS_MAX

    @property
    def rows(self) -> tuple[Row, ...]:
        """Two quantiles of the time from request to reply."""
        return (
            Row(f"{self.name}-p50", f"{self.title} p50", Unit.SECONDS),
            Row(f"{self.name}-p99", f"{self.title} p99", Unit.SECONDS),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestsInFlight:
    """Many requesters, each with one request in flight, and one responder."""

    name: str
    title: str
    clients: int
    payload_bytes: int = 16
    warm_up_seconds: float = 0.3
    seconds: float = 1.2
    runs_max: int = RUNS_MAX

    @property
    def rows(self) -> tuple[Row, ...]:
        """Replies a second."""
        return (Row(self.name, self.title, Unit.REQUESTS_PER_SECOND),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRate:
    """Clients that connect, log in and go, some of them at the same time."""

    name: str
    title: str
    in_flight: int = 16
    warm_up_connections: int = 1_000
    connections: int = 6_000
    runs_max: int = RUNS_MAX

    @property
    def rows(self) -> tuple[Row, ...]:
        """Connections a second."""
        return (Row(self.name, self.title, Unit.CONNECTIONS_PER_SECOND),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnection:
    """The server is restarted, and all its clients connect again at once."""

    name: str
    title: str
    connections: int = 5_000
    runs_max: int = RUNS_MAX

    @property
    def rows(self) -> tuple[Row, ...]:
        """Connections divided by the time until the last one has its PONG."""
        return (Row(self.name, self.title, Unit.CONNECTIONS_PER_SECOND),)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingSubscriptions:
    """Subscriptions to different subjects are loaded and stand, while nothing else or 1:1 traffic goes on."""

    name: str
    title: str
    subjects: Subjects
    subscriptions: int = 1_000_000
    connections: int = 100
    idle_seconds: float = 3.0  # after loading, before memory is read
    stalls: bool = False
    """Whether stalls are looked for: idle, beside traffic, and while connections close."""
    traffic_seconds: float = 2.0
    closing: int = 5  # connections, one after the other
    runs_max: int = RUNS_MAX

    @property
    def rows(self) -> tuple[Row, ...]:
        """Memory for one subscription; with stalls also the time to load and the longest stalls."""
        memory = Row(self.name, f"memory of a subscription, {self.title}", Unit.BYTES)
        if not self.stalls:
            return (memory,)
        return (
            memory,
            Row(f"{self.name}-load", f"loading, {self.title}", Unit.SECONDS),
            Row(f"{self.name}-stall", f"longest stall, {self.title}, idle and beside 1:1", Unit.SECONDS),
            Row(
                f"{self.name}-close",
                f"longest stall, a connection with {self.subscriptions // self.connections:,} of them closes",
                Unit.SECONDS,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchCost:
    """Each message has a subject that was never published to, and matches one of many patterns.

    The same messages are measured with few patterns, all of which they match, and with many,
    most of which they do not. In a third part they match each of the many in turn, so that
    each subscription is also met for the first time. Each part has a server of its own.
    """

    name: str
    title: str
    many: int = 1_000_000
    few: int = 1_000
    seconds: float = 1.2
    messages_max: int = 1_000_000
    runs_max: int = RUNS_MAX

    @property
    def rows(self) -> tuple[Row, ...]:
        """Processor time of the server for one message."""
        with_few = f"with {self.few:,}"
        return (
            Row(self.name, f"{self.title}, {self.few:,} of {self.many:,} patterns", Unit.SECONDS, with_few),
            Row(f"{self.name}-each", f"{self.title}, each of {self.many:,}", Unit.SECONDS, with_few),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryLoad:
    """1:1 traffic and requests one at a time, from programs with nats-py."""

    name: str
    title: str
    payload_bytes: int = 16
    warm_up_messages: int = 2_000
    messages: int = 40_000
    warm_up_requests: int = 200
    requests: int = 2_000
    runs_max: int = RUNS_MAX

    @property
    def rows(self) -> tuple[Row, ...]:
        """A rate and two quantiles."""
        return (
            Row(self.name, f"1:1, {self.title}", Unit.MESSAGES_PER_SECOND),
            Row(f"{self.name}-p50", f"request/reply, {self.title}, p50", Unit.SECONDS),
            Row(f"{self.name}-p99", f"request/reply, {self.title}, p99", Unit.SECONDS),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleConnections:
    """What the resident memory of the server grows by for a connection that says nothing more."""

    name: str
    title: str
    warm_up_connections: int = 20  # first use of code and buffers is not their share
    connections: int = 500
    runs_max: int = RUNS_MAX

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
    runs_max: int = RUNS_MAX

    @property
    def rows(self) -> tuple[Row, ...]:
        """Both times."""
        return (
            Row(self.name, f"{self.title}, process start to first INFO", Unit.SECONDS),
            Row(f"{self.name}-version", f"{self.title}, --version", Unit.SECONDS),
        )


Scenario: TypeAlias = (
    TrafficScenario
    | RequestReply
    | RequestsInFlight
    | ConnectionRate
    | Reconnection
    | StandingSubscriptions
    | MatchCost
    | LibraryLoad
    | IdleConnections
    | StartUp
)


def quick(scenario: Scenario) -> Scenario:
    """The same scenario cut short: it shows that everything works, not how fast it is."""
    match scenario:
        case TrafficScenario() | RequestReply() | RequestsInFlight():
            return replace(scenario, warm_up_seconds=0.05, seconds=0.2)
        case ConnectionRate():
            return replace(scenario, warm_up_connections=50, connections=500)
        case Reconnection():
            return replace(scenario, connections=500)
        case StandingSubscriptions():
            return replace(scenario, subscriptions=50_000, idle_seconds=0.3, traffic_seconds=0.3, closing=2)
        case MatchCost():
            return replace(scenario, many=50_000, seconds=0.3, messages_max=200_000)
        case LibraryLoad():
            return replace(scenario, messages=3_000, requests=100, warm_up_messages=500, warm_up_requests=20)
        case IdleConnections():
            return replace(scenario, connections=100)
        case StartUp():
            return replace(scenario, repetitions=1)

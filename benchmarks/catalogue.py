"""The scenarios of the table, in its order."""

from __future__ import annotations

from typing import Final

from benchmarks.beside import Flood, PatternChurn, SubscriptionChurn
from benchmarks.scenarios import (
    ConnectionRate,
    IdleConnections,
    LibraryLoad,
    Logins,
    MatchCost,
    Reconnection,
    RequestReply,
    RequestsInFlight,
    Scenario,
    StandingSubscriptions,
    StartUp,
    TrafficScenario,
)
from benchmarks.streams import Traffic
from benchmarks.subscriptions import Subjects

__all__ = ["SCENARIOS"]

PERMISSIONS: Final = """
authorization {
  users: [
    { user: free, password: free }
    { user: limited, password: limited,
      permissions: { publish: { allow: ["bench.>", "other.*"], deny: ["bench.secret.>"] } } }
  ]
}
"""

STREAMS: Final = """
accounts {
  A { users: [ {user: a, password: a} ], exports: [ {stream: "bench.>"} ] }
  B { users: [ {user: b, password: b} ], imports: [ {stream: {account: A, subject: "bench.>"}} ] }
}
"""

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
    TrafficScenario(
        name="one-to-one-distinct",
        title="1:1, 16 B, 1,000,000 subjects at random to `>`",
        traffic=Traffic(subjects=1_000_000, shuffled=True, under_wildcard=True),
    ),
    TrafficScenario(
        name="one-to-one-headers",
        title="1:1, HPUB, 64 B header, 64 B body",
        traffic=Traffic(payload_bytes=64, header_bytes=64),
    ),
    TrafficScenario(name="one-to-one-1k", title="1:1, 1 KiB", traffic=Traffic(payload_bytes=1024)),
    TrafficScenario(name="one-to-one-64k", title="1:1, 64 KiB", traffic=Traffic(payload_bytes=65_536)),
    TrafficScenario(name="one-to-one-tls", title="1:1, 16 B, TLS", traffic=Traffic(), tls=True),
    TrafficScenario(
        name="one-to-one-1k-tls", title="1:1, 1 KiB, TLS", traffic=Traffic(payload_bytes=1024), tls=True
    ),
    TrafficScenario(
        name="publish-permissions",
        title="1:1, 16 B, from a user with permissions",
        traffic=Traffic(),
        logins=Logins(config=PERMISSIONS, publisher="limited", subscriber="free", unrestricted="free"),
    ),
    TrafficScenario(
        name="stream-import",
        title="1:1, 16 B, through a stream import",
        traffic=Traffic(),
        logins=Logins(config=STREAMS, publisher="a", subscriber="b"),
    ),
    TrafficScenario(name="one-to-ten", title="1:10, 16 B", traffic=Traffic(subscribers=10)),
    TrafficScenario(
        name="one-to-ten-sids",
        title="1:10, 16 B, sids differ",
        traffic=Traffic(subscribers=10, sids_differ=True),
    ),
    TrafficScenario(
        name="one-to-thousand",
        title="1:1000, 16 B",
        traffic=Traffic(subscribers=1_000, messages_max=10_000),
        warm_up_messages=500,
        silence_seconds=30.0,
        runs_max=3,
    ),
    TrafficScenario(
        name="one-to-five-thousand",
        title="1:5000, 16 B",
        traffic=Traffic(subscribers=5_000, messages_max=1_000),
        warm_up_messages=100,
        silence_seconds=60.0,
        runs_max=3,
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
    TrafficScenario(
        name="one-to-one-churn",
        title="1:1, 16 B, beside 100,000 SUB and UNSUB a second",
        traffic=Traffic(),
        beside=SubscriptionChurn(),
        seconds=1.0,
    ),
    TrafficScenario(
        name="one-to-one-patterns",
        title="1:1, 16 B, beside 1,000 `>` and inboxes a second",
        traffic=Traffic(),
        beside=PatternChurn(),
        seconds=1.0,
    ),
    RequestReply(name="request-reply", title="request/reply, 16 B,"),
    RequestReply(
        name="service-import", title="request/reply, 16 B, to a service of another account,", imported=True
    ),
    RequestsInFlight(name="requests-in-flight", title="request/reply, 16 B, 32 clients", clients=32),
    RequestReply(
        name="request-reply-flood",
        title="request/reply, 16 B, beside a saturating publisher,",
        beside=Flood(),
    ),
    ConnectionRate(name="connections", title="new connections"),
    Reconnection(name="reconnection", title="5,000 clients after a restart", runs_max=3),
    StandingSubscriptions(
        name="literals",
        title="1,000,000 literals",
        subjects=Subjects.LITERALS,
        idle_seconds=35.0,  # ours collects garbage 30 s after its start, when it is idle
        stalls=True,
        runs_max=2,
    ),
    StandingSubscriptions(
        name="inboxes",
        title="1,000,000 inboxes",
        subjects=Subjects.INBOXES,
        idle_seconds=1.0,
        runs_max=2,
    ),
    MatchCost(name="match", title="processor time of an uncached message", runs_max=2),
    LibraryLoad(name="nats-py", title="16 B, load by nats-py", runs_max=3),
    IdleConnections(name="idle-connection", title="memory of an idle connection"),
    StartUp(name="start-up", title="start-up"),
)

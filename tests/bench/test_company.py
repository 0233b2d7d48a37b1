"""What goes on beside the traffic, connections and standing subscriptions are verified too.

Most peers are scripted: they know lines and nothing of a server.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Final

import pytest
from benchmarks.beside import Flood, PatternChurn, Probe, SubscriptionChurn
from benchmarks.client import RunFailure
from benchmarks.connections import run_connections
from benchmarks.measurements import measure
from benchmarks.relay import INFO, ConcurrentRequestRelay, Relay
from benchmarks.requests import run_requests_in_flight
from benchmarks.scenarios import (
    ConnectionRate,
    LibraryLoad,
    MatchCost,
    Reconnection,
    RequestsInFlight,
    Scenario,
    StandingSubscriptions,
    TrafficScenario,
)
from benchmarks.streams import Traffic
from benchmarks.subscriptions import Subjects, holding, watch_idle

from tests.support.servers import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.beside import Beside

SILENCE_SECONDS: Final = 1.0
SMALL_CHURN: Final = SubscriptionChurn(lines_per_second=20_000, block_lines=20, blocks=10)


class Peer:
    """Says INFO to each connection, and to each line of it what `answer` returns; None closes it."""

    def __init__(self, answer: Callable[[bytes], bytes | None], info: bytes = INFO) -> None:
        """Listen."""
        self._answer = answer
        self._info = info
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopped, self._stop = socket.socketpair()
        self.address: tuple[str, int] = self._listener.getsockname()
        self._unread: dict[socket.socket, bytes] = {}

    def serve(self) -> None:
        """Answer until `stop`."""
        with selectors.DefaultSelector() as selector, self._listener, self._stopped:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._stopped:
                        for connection in self._unread:
                            connection.close()
                        return
                    if key.fileobj is self._listener:
                        connection, _ = self._listener.accept()
                        connection.sendall(self._info)
                        self._unread[connection] = b""
                        selector.register(connection, selectors.EVENT_READ, connection)
                    elif not self._serve_one(key.data):
                        selector.unregister(key.data)
                        del self._unread[key.data]
                        key.data.close()

    def stop(self) -> None:
        """End `serve`; called from another thread."""
        self._stop.close()

    def _serve_one(self, connection: socket.socket) -> bool:
        try:
            data = connection.recv(65_536)
            if not data:
                return False
            *lines, self._unread[connection] = (self._unread[connection] + data).split(b"\r\n")
            for line in lines:
                said = self._answer(line)
                if said is None:
                    return False
                connection.sendall(said)
        except OSError:
            return False
        return True


@contextlib.contextmanager
def serving(peer: Peer | Relay) -> Iterator[tuple[str, int]]:
    """The peer in a thread, which has ended when the block ends."""
    thread = threading.Thread(target=peer.serve, name="peer")
    thread.start()
    try:
        yield peer.address
    finally:
        peer.stop()
        thread.join()


def polite(line: bytes) -> bytes:
    """PONG to a PING."""
    return b"PONG\r\n" if line == b"PING" else b""


def hearing(every: int = 1) -> Callable[[bytes], bytes]:
    """Of so many subscriptions to `>`, the last receives a message."""
    asked = 0

    def answer(line: bytes) -> bytes:
        nonlocal asked
        if line.startswith(b"SUB > "):
            asked += 1
            return b"MSG bench.one %s 2\r\nok\r\n" % line.split(b" ")[2] if asked % every == 0 else b""
        return polite(line)

    return answer


def hearing_on(line: bytes) -> bytes:
    """The first subscription to `>` receives a message with each PONG."""
    return b"MSG bench.one 1 2\r\nok\r\nPONG\r\n" if line == b"PING" else b""


def after(count: int, then: bytes | None) -> Callable[[bytes], bytes | None]:
    """Polite up to so many PINGs, and then saying something else, or closing."""
    pings = 0

    def answer(line: bytes) -> bytes | None:
        nonlocal pings
        pings += line == b"PING"
        return polite(line) if pings <= count else then

    return answer


def company(beside: Beside, address: tuple[str, int], steps: int = 30) -> dict[str, float]:
    """Two passes of some steps; the report of the second."""
    worker = beside.start(address, SILENCE_SECONDS)
    report: dict[str, float] = {}
    with contextlib.closing(worker):
        for _ in range(2):
            worker.begin()
            for _ in range(steps):
                worker.step()
            report = worker.end()
    return report


def test_churn_keeps_its_pace_and_reports_it() -> None:
    with serving(Peer(polite)) as address:
        report = company(SMALL_CHURN, address)

    assert 0 < report["sub_and_unsub_per_second"] <= SMALL_CHURN.lines_per_second * 1.1


def test_churn_subscribes_to_each_subject_once_and_gives_each_up() -> None:
    lines: list[bytes] = []

    def answer(line: bytes) -> bytes:
        lines.append(line)
        return polite(line)

    with serving(Peer(answer)) as address:
        company(SMALL_CHURN, address)

    standing: set[bytes] = set()
    for line in lines:
        verb, *arguments = line.split(b" ")
        if verb == b"SUB":
            assert arguments[-1] not in standing
            standing.add(arguments[-1])
        elif verb == b"UNSUB":
            standing.discard(arguments[0])
    assert sum(line.startswith(b"SUB ") for line in lines) == 2 * 30 * SMALL_CHURN.block_lines // 2
    assert standing == set()


def test_churn_that_the_server_does_not_keep_up_with_fails_the_run() -> None:
    beyond = SubscriptionChurn(lines_per_second=10**9, block_lines=20, blocks=10, unanswered_max=0)

    with serving(Peer(polite)) as address, pytest.raises(RunFailure, match="1,000,000,000 are wanted"):
        company(beyond, address)


def test_each_subscription_to_everything_has_heard_a_message() -> None:
    with serving(Peer(hearing())) as address:
        report = company(PatternChurn(), address, steps=200)

    assert report["everything_subscribed"] == report["messages_heard"] == 100
    assert report["subscriptions_per_second"] > 900


def test_a_subscription_to_everything_that_hears_nothing_fails_the_run() -> None:
    with serving(Peer(hearing(every=2))) as address, pytest.raises(RunFailure, match="has received none"):
        company(PatternChurn(), address)


def test_a_subscription_to_everything_that_goes_on_hearing_fails_the_run() -> None:
    with serving(Peer(hearing_on)) as address, pytest.raises(RunFailure, match="more than one"):
        company(PatternChurn(ping_every=2), address)


@pytest.mark.parametrize(
    "beside", [SMALL_CHURN, PatternChurn(ping_every=2), Probe()], ids=lambda b: type(b).__name__
)
@pytest.mark.parametrize(
    ("then", "said"),
    [
        (b"", "in time"),
        (None, "closed"),
        (b"-ERR 'Stale Connection'\r\n", "Stale"),
        (b"MSG a 1 0\r\n", "received"),
    ],
    ids=["silence", "close", "error", "stray message"],
)
def test_what_must_not_happen_beside_the_traffic_fails_the_run(
    beside: Beside, then: bytes | None, said: str
) -> None:
    with serving(Peer(after(5, then))) as address, pytest.raises(RunFailure, match=said):
        company(beside, address)


def test_a_flood_is_counted_to_its_pong() -> None:
    with serving(Peer(polite)) as address:
        report = company(Flood(), address, steps=2)

    assert report["flood_messages_per_second"] > 0


def test_a_probe_keeps_its_longest_round_trip() -> None:
    with serving(Peer(polite)) as address:
        report = company(Probe(), address)

    assert report["round_trips"] == 30
    assert 0 < report["median_seconds"] <= report["longest_seconds"]


# Connections


@pytest.mark.parametrize("behind", [b"", INFO], ids=["PONG", "PONG and INFO"])
def test_connections_are_counted_whether_info_comes_once_more_or_not(behind: bytes) -> None:
    def answer(line: bytes) -> bytes:
        return polite(line) + behind if line == b"PING" else b""

    with serving(Peer(answer)) as address:
        [times] = run_connections(address, [50], 8, silence_seconds=SILENCE_SECONDS)

    assert times.connections == 50
    assert times.seconds > 0


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        (lambda: Peer(after(20, None)), "closed before its PONG"),
        (lambda: Peer(after(20, b"-ERR 'no'\r\n")), "-ERR 'no'"),
        (lambda: Peer(after(20, b"")), "got nothing for"),
        (lambda: Peer(polite, info=b"HELLO\r\n"), "INFO expected"),
    ],
    ids=["close", "error", "silence", "no INFO"],
)
def test_a_connection_that_is_not_served_fails_the_run(peer: Callable[[], Peer], said: str) -> None:
    with serving(peer()) as address, pytest.raises(RunFailure, match=said):
        run_connections(address, [50], 8, silence_seconds=SILENCE_SECONDS)


# Requests of many clients


class WrongReplyRelay(ConcurrentRequestRelay):
    """A relay that sends the body of another request."""

    def reply(self, subject: bytes, size: bytes, body: bytes) -> bytes:
        return super().reply(subject, size, body.replace(b".", b"!", 1))


class LostReplyRelay(ConcurrentRequestRelay):
    """A relay that loses replies."""

    def reply(self, subject: bytes, size: bytes, body: bytes) -> bytes:
        return b""


def test_requests_of_many_clients_are_counted() -> None:
    with serving(ConcurrentRequestRelay()) as address:
        passes = run_requests_in_flight(16, 8, address, [0.05, 0.05], silence_seconds=SILENCE_SECONDS)

    assert all(times.requests >= 8 for times in passes)


@pytest.mark.parametrize(
    ("relay", "said"),
    [(WrongReplyRelay, "expected, .* received"), (LostReplyRelay, "no reply to 8 requests")],
    ids=["wrong", "lost"],
)
def test_a_reply_that_is_wrong_or_lost_fails_the_run(relay: Callable[[], Relay], said: str) -> None:
    with serving(relay()) as address, pytest.raises(RunFailure, match=said):
        run_requests_in_flight(16, 8, address, [0.05], silence_seconds=SILENCE_SECONDS)


# Standing subscriptions


def test_subscriptions_that_receive_nothing_fail_the_run() -> None:
    """A server could answer every PING and keep nothing."""
    with (
        serving(Peer(polite)) as address,
        holding(Subjects.LITERALS, 4_000, 2, address) as held,
        pytest.raises(RunFailure, match="expected of a loaded connection"),
    ):
        held.load()


def test_a_server_that_works_by_itself_is_asked_how_long_a_client_waits() -> None:
    with serving(Peer(polite)) as address:  # in this process, which works while it looks
        seen = watch_idle(os.getpid(), address, 0.1)

    assert seen["pings"] > 0
    assert seen["longest_seconds"] > 0


# Our server


SMALL: Final[list[Scenario]] = [
    RequestsInFlight(name="requests", title="", clients=4, warm_up_seconds=0.05, seconds=0.1),
    ConnectionRate(name="connections", title="", warm_up_connections=10, connections=100),
    Reconnection(name="reconnection", title="", connections=100),
    StandingSubscriptions(
        name="literals",
        title="",
        subjects=Subjects.LITERALS,
        subscriptions=5_000,
        connections=5,
        idle_seconds=0.1,
        stalls=True,
        traffic_seconds=0.1,
        closing=2,
    ),
    StandingSubscriptions(
        name="inboxes",
        title="",
        subjects=Subjects.INBOXES,
        subscriptions=5_000,
        connections=5,
        idle_seconds=0.1,
    ),
    MatchCost(name="match", title="", many=2_000, few=100, messages_max=50_000),
    LibraryLoad(name="library", title="", messages=200, requests=20, warm_up_messages=20, warm_up_requests=5),
    TrafficScenario(
        name="beside",
        title="",
        traffic=Traffic(messages_max=100_000),
        beside=PatternChurn(),
        warm_up_seconds=0.05,
        seconds=0.2,
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name)
def test_a_small_scenario_gives_a_figure_for_each_of_its_rows(scenario: Scenario) -> None:
    ours = programs()[0]

    figures = measure(scenario, ours)

    assert set(figures) == {row.name for row in scenario.rows}
    for row in scenario.rows:
        figure = figures[row.name]
        assert figure.value > 0 or row.name == "inboxes"  # so few may fit into memory that was free
        assert (figure.of_own is not None) == bool(row.of_own)

"""No event may take 50 ms, whatever clients do: nobody else is served meanwhile.

What is measured is processor time of `Server.handle`. Even that grows when the
machine is shared, so a scenario counts as too slow only when it is so three
times in a row. The bound is the project's promise; on an idle machine what is
measured stands at half of it or far below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from natscore.account.permissions import Permissions, SubscribeRules
from natscore.authentication import Accept
from tests.robustness.shells import QUIET, MeasuringShell, without_collector

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.authentication import Login, Verdict
    from natscore.events import ConnectionId

SECONDS_MAX: Final = 0.050
ATTEMPTS: Final = 3
TURN_OUTPUT: Final = 16_777_216
READ_MAX: Final = 65_536

WITH_HEADERS: Final = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'
WITHOUT_ECHO: Final = b'CONNECT {"verbose":false,"pedantic":false,"echo":false}\r\n'


def stalls_nobody(scenario: Callable[[], MeasuringShell]) -> bool:
    """Whether no event of a scenario takes too long, in one of three attempts."""
    for _ in range(ATTEMPTS):
        slowest = scenario().longest
        if slowest.seconds < SECONDS_MAX:
            return True
    raise AssertionError(f"{slowest} in the last of {ATTEMPTS} attempts")


def filled(op: bytes) -> bytes:
    """One read full of `op`."""
    return op * (READ_MAX // len(op))


def subscribers(shell: MeasuringShell, count: int, op: bytes = b"SUB a %d\r\n") -> None:
    """Connect `count` clients that each send `op` with a number of their own."""
    for number in range(count):
        shell.receive(shell.connect(), op.replace(b"%d", b"%d" % number))


def subscriptions(count: int) -> bytes:
    """As many SUB lines, literals and patterns by turns."""
    return b"".join(
        b"SUB orders.%d.new %d\r\n" % (n, n) if n % 2 else b"SUB orders.%d.* %d\r\n" % (n, n)
        for n in range(count)
    )


# -- the two scenarios that the project promises ---------------------------------------------------


@pytest.mark.slow
def test_worst_chunk_to_five_thousand_subscribers_stalls_nobody_for_50_ms() -> None:
    shell = MeasuringShell()
    subscribers(shell, 5_000)
    publisher = shell.connect()

    def publish() -> MeasuringShell:
        shell.forget()
        with without_collector():
            shell.receive(publisher, filled(b"PUB a 16\r\n0123456789abcdef\r\n"))
        return shell

    assert stalls_nobody(publish)
    assert shell.turns > 20
    assert shell.output_max <= TURN_OUTPUT + 5_000 * len(b"MSG a 4999 16\r\n0123456789abcdef\r\n")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_client_that_comes_and_leaves_with_500000_subscriptions_stalls_nobody_for_50_ms() -> None:
    lines = subscriptions(500_000)

    def come_and_leave() -> MeasuringShell:
        shell = MeasuringShell()
        client = shell.connect()
        account = shell.server.state.accounts["$G"]
        with without_collector():
            shell.receive(client, lines)
            assert account.subscriptions == 500_000
            turns = shell.turns
            shell.hang_up(client)
        assert shell.turns - turns >= 500_000 // 2_048
        assert shell.server.session(client) is None
        assert account.subscriptions == 0
        return shell

    assert stalls_nobody(come_and_leave)


# -- what else a client may try --------------------------------------------------------------------


@pytest.mark.parametrize(
    "op",
    [
        b"PING\r\n",
        b"PONG\r\n",
        b"+OK\r\n",
        b"INFO {}\r\n",
        b"CONNECT {}\r\n",
        b"SUB a 1\r\n",
        b"UNSUB 1\r\n",
        b"SUB a 1\r\nUNSUB 1\r\n",
        b"SUB * 1\r\nUNSUB 1\r\n",
        b"SUB a. 1\r\n",
        b"sub\ta 1\n",
        b"pub\ta 0\n\r\n",
        b"PUB a 0\r\n\r\n",
        b"PUB $NRG.a 0\r\n\r\n",
        b"SUB *.* 1\r\nPUB a.b 0\r\n\r\nUNSUB 1\r\n",
    ],
)
def test_read_full_of_one_op_takes_less_than_50_ms_a_turn(op: bytes) -> None:
    shell = MeasuringShell()
    client = shell.connect()

    def flood() -> MeasuringShell:
        shell.forget()
        with without_collector():
            shell.receive(client, filled(op))
        return shell

    assert stalls_nobody(flood)
    assert shell.server.session(client) is not None


def scenario_queue_group_that_changes(shell: MeasuringShell) -> tuple[ConnectionId, bytes]:
    """Each message needs a plan over 10,000 members, and only one of them gets it."""
    crowd = shell.connect()
    shell.receive(crowd, b"".join(b"SUB a q %d\r\n" % n for n in range(10_000)))
    return shell.connect(), b"SUB a q 7\r\nPUB a 0\r\n\r\nUNSUB 7\r\n" * 200


def scenario_own_subscriptions_without_echo(shell: MeasuringShell) -> tuple[ConnectionId, bytes]:
    """Each message looks at 20,000 subscriptions, and none of them gets it."""
    client = shell.connect(WITHOUT_ECHO)
    shell.receive(client, b"".join(b"SUB a %d\r\n" % n for n in range(20_000)))
    return client, b"PUB a 0\r\n\r\n" * 50


def scenario_own_queue_group_without_echo(shell: MeasuringShell) -> tuple[ConnectionId, bytes]:
    """Each message looks at 20,000 members, and none of them gets it."""
    client = shell.connect(WITHOUT_ECHO)
    shell.receive(client, b"".join(b"SUB a q %d\r\n" % n for n in range(20_000)))
    return client, b"PUB a 0\r\n\r\n" * 50


def scenario_reply_that_others_listen_on(shell: MeasuringShell) -> tuple[ConnectionId, bytes]:
    """Each message without responders looks for the requester's own subscription among 50,000."""
    crowd = shell.connect()
    shell.receive(crowd, b"".join(b"SUB r %d\r\n" % n for n in range(50_000)))
    return shell.connect(WITH_HEADERS), b"PUB a r 0\r\n\r\n" * 100


def scenario_patterns_that_double(shell: MeasuringShell) -> tuple[ConnectionId, bytes]:
    """All of {a,*}^12 before a token that never comes: a match follows 4,096 ways, for nothing."""
    patterns = [
        b".".join(b"*" if number >> bit & 1 else b"a" for bit in range(12)) + b".never"
        for number in range(4_096)
    ]
    crowd = shell.connect()
    shell.receive(crowd, b"".join(b"SUB %s %d\r\n" % (p, n) for n, p in enumerate(patterns)))
    return shell.connect(), b"".join(b"PUB " + b"a." * 12 + b"%d 0\r\n\r\n" % n for n in range(200))


def scenario_long_sids(shell: MeasuringShell) -> tuple[ConnectionId, bytes]:
    """Each message of 11 bytes becomes 100 of 4,000."""
    subscribers(shell, 100, b"SUB a %d" + b"s" * 4_000 + b"\r\n")
    return shell.connect(), b"PUB a 0\r\n\r\n" * 2_000


def scenario_headers_that_nobody_takes(shell: MeasuringShell) -> tuple[ConnectionId, bytes]:
    """Each receiver needs the messages without their headers."""
    subscribers(shell, 2_000)
    return shell.connect(WITH_HEADERS), b"HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n" * 500


def scenario_group_that_fills_up(shell: MeasuringShell) -> tuple[ConnectionId, bytes]:
    """1,000 members take one message each; nobody is left for the rest of the read."""
    subscribers(shell, 1_000, b"SUB a q %d\r\nUNSUB %d 1\r\n")
    return shell.connect(), filled(b"PUB a 0\r\n\r\n")


def scenario_thousands_of_groups(shell: MeasuringShell) -> tuple[ConnectionId, bytes]:
    """A run of messages is divided among 5,000 queue groups before any part of it is handed out."""
    subscribers(shell, 5_000, b"SUB a q%d 1\r\n")
    return shell.connect(), b"PUB a 0\r\n\r\n" * 300


def scenario_plans_never_seen(shell: MeasuringShell) -> tuple[ConnectionId, bytes]:
    """Each message matches a set of subscriptions of its own."""
    crowd = shell.connect()
    shell.receive(crowd, b"".join(b"SUB *.%d %d\r\n" % (n, n) for n in range(4_500)) + b"SUB a.* x\r\n")
    return shell.connect(), b"".join(b"PUB a.%d 0\r\n\r\n" % n for n in range(4_500))


def scenario_connect_again(shell: MeasuringShell) -> tuple[ConnectionId, bytes]:
    """A second CONNECT takes 50,000 subscriptions away."""
    client = shell.connect()
    shell.receive(client, subscriptions(50_000))
    return client, QUIET + b"PING\r\n"


@pytest.mark.parametrize(
    "scenario",
    [
        scenario_queue_group_that_changes,
        scenario_own_subscriptions_without_echo,
        scenario_own_queue_group_without_echo,
        scenario_reply_that_others_listen_on,
        scenario_patterns_that_double,
        scenario_long_sids,
        scenario_headers_that_nobody_takes,
        scenario_group_that_fills_up,
        scenario_thousands_of_groups,
        scenario_plans_never_seen,
        scenario_connect_again,
    ],
)
def test_work_that_leads_to_little_output_is_cut_into_turns_below_50_ms(
    scenario: Callable[[MeasuringShell], tuple[ConnectionId, bytes]],
) -> None:
    def act() -> MeasuringShell:
        shell = MeasuringShell()
        client, data = scenario(shell)
        shell.forget()
        with without_collector():
            shell.receive(client, data)
        assert shell.server.is_quiet
        assert shell.server.session(client) is not None
        return shell

    assert stalls_nobody(act)


def test_hundred_connections_that_end_in_one_event_stall_nobody_for_50_ms() -> None:
    def end() -> MeasuringShell:
        shell = MeasuringShell()
        clients = [shell.connect() for _ in range(100)]
        for client in clients:
            shell.receive(client, b"".join(b"SUB c%d.%d %d\r\n" % (client, n, n) for n in range(500)))
        shell.forget()
        with without_collector():
            shell.shut_down()
        assert all(shell.server.session(client) is None for client in clients)
        assert shell.server.state.accounts["$G"].subscriptions == 0
        return shell

    assert stalls_nobody(end)


class Denied:
    """Who names itself may not have all; equal names have equal permissions."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def authenticate(self, login: Login) -> Verdict:
        if not login.said.user:
            return Accept()
        own = login.said.user.encode()
        deny = ((b"secret.>", None), (b"of." + own, None), (b"*.admin", None))
        return Accept(permissions=Permissions(subscribe=SubscribeRules(deny=deny)))


@pytest.mark.slow
@pytest.mark.parametrize("names", [1, 2_000])
def test_new_subjects_that_thousands_must_not_have_stall_nobody_for_50_ms(names: int) -> None:
    shell = MeasuringShell(Denied())
    for number in range(2_000):
        hello = b'CONNECT {"verbose":false,"user":"u%d","pass":"any"}\r\n' % (number % names)
        shell.receive(shell.connect(hello), b"SUB > 1\r\n")
    publisher = shell.connect()
    rounds = iter(range(ATTEMPTS))

    def publish() -> MeasuringShell:
        first = 1_000 * next(rounds)
        shell.forget()
        with without_collector():
            shell.receive(
                publisher, b"".join(b"PUB secret.%d 0\r\n\r\n" % n for n in range(first, first + 1_000))
            )
        return shell

    assert stalls_nobody(publish)
    assert shell.turns > 10

"""Passwords are compared in threads, within bounds, and every question is answered once."""

from __future__ import annotations

import threading

import anyio
import pytest

from natscore.effects import Level, Note, VerifyPassword
from natscore.errors import ConfigError
from natscore.events import AttemptId, ConnectionId, Event, Instant, PasswordVerified
from natscore_security.authenticator import ConfiguredUsers
from natscore_security.performers import PasswordPerformer
from natscore_tcp import serve

pytestmark = pytest.mark.anyio

HASHED = b"$2a$04$abcdefghijklmnopqrstuuyvPXIbu7xe6/CED2DzX8z6Si09MlzlW"
MILLISECOND = 1_000_000


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loops, for the anyio plugin."""
    backend: str = request.param
    return backend


class Runtime:
    """What a performer needs of one; it keeps the answers."""

    def __init__(self) -> None:
        self.answers: dict[int, bool] = {}
        self.notes: list[Note] = []
        self._changed = anyio.Event()

    def now(self) -> Instant:
        return Instant(1, 2)

    def feed(self, event: Event, /) -> None:
        assert isinstance(event, PasswordVerified)
        assert event.attempt not in self.answers, "answered twice"
        assert (event.at, event.cid) == (Instant(1, 2), event.attempt + 100)
        self.answers[event.attempt] = event.matches
        self._changed.set()

    def note(self, note: Note, /) -> None:
        self.notes.append(note)

    async def answered(self, count: int) -> dict[int, bool]:
        """The answers, when there are so many."""
        with anyio.fail_after(10):
            while len(self.answers) < count:
                self._changed = anyio.Event()
                await self._changed.wait()
        return self.answers


class Gate:
    """A comparison that lasts until the gate opens. Counts how many are under way."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def matches(self, password: bytes, hashed: bytes) -> bool:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self.entered.release()
        try:
            assert self.opened.wait(10)
        finally:
            with self._lock:
                self._now -= 1
        return password == hashed

    async def has_entered(self) -> None:
        assert await anyio.to_thread.run_sync(lambda: self.entered.acquire(timeout=10))


def ask(attempt: int, password: bytes = b"x", hashed: bytes = b"x") -> VerifyPassword:
    return VerifyPassword(AttemptId(attempt), ConnectionId(attempt + 100), password, hashed)


@pytest.mark.parametrize(("password", "matches"), [(b"pw", True), (b"x", False), (b"x" * 100, False)])
async def test_password_is_compared_with_its_hash(password: bytes, matches: bool) -> None:
    runtime = Runtime()

    await PasswordPerformer()(ask(1, password, HASHED), runtime)

    assert runtime.answers == {1: matches}


async def test_loop_goes_on_while_a_password_is_compared() -> None:
    runtime = Runtime()
    gate = Gate()
    async with anyio.create_task_group() as group:
        group.start_soon(PasswordPerformer(matches=gate.matches), ask(1), runtime)
        await gate.has_entered()

        assert runtime.answers == {}
        gate.opened.set()

        assert await runtime.answered(1) == {1: True}


async def test_no_more_than_the_bound_are_compared_at_once_and_all_are_answered() -> None:
    runtime = Runtime()
    gate = Gate()
    perform = PasswordPerformer(at_once=2, matches=gate.matches)
    async with anyio.create_task_group() as group:
        for attempt in range(10):
            group.start_soon(perform, ask(attempt), runtime)
        await gate.has_entered()
        await gate.has_entered()

        gate.opened.set()

        assert await runtime.answered(10) == dict.fromkeys(range(10), True)
    assert gate.most == 2
    assert perform.turned_away == 0


async def test_whoever_finds_the_queue_full_is_refused_at_once_and_it_is_noted_once() -> None:
    runtime = Runtime()
    gate = Gate()
    perform = PasswordPerformer(at_once=1, waiting_max=1, matches=gate.matches)
    async with anyio.create_task_group() as group:
        group.start_soon(perform, ask(1), runtime)
        await gate.has_entered()
        group.start_soon(perform, ask(2), runtime)
        await anyio.wait_all_tasks_blocked()

        await perform(ask(3), runtime)
        await perform(ask(4), runtime)

        assert runtime.answers == {3: False, 4: False}
        assert perform.turned_away == 2
        assert runtime.notes == [Note(Level.WARNING, "password_checks_overloaded", {"waiting": 1})]
        gate.opened.set()
        assert await runtime.answered(4) == {1: True, 2: True, 3: False, 4: False}


async def test_overload_is_noted_again_when_it_had_ended() -> None:
    runtime = Runtime()
    gate = Gate()
    perform = PasswordPerformer(at_once=1, waiting_max=0, matches=gate.matches)

    for first in (1, 11):
        gate.opened.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(perform, ask(first), runtime)
            await gate.has_entered()
            await perform(ask(first + 1), runtime)
            gate.opened.set()

    assert [note.name for note in runtime.notes] == ["password_checks_overloaded"] * 2


async def test_whoever_waited_as_long_as_a_login_may_take_is_refused_without_a_comparison() -> None:
    runtime = Runtime()
    gate = Gate()
    perform = PasswordPerformer(at_once=1, patience_ns=MILLISECOND, matches=gate.matches)
    async with anyio.create_task_group() as group:
        group.start_soon(perform, ask(1), runtime)
        await gate.has_entered()

        await perform(ask(2), runtime)

        assert runtime.answers == {2: False}
        assert perform.turned_away == 1
        gate.opened.set()
        await runtime.answered(2)
        await perform(ask(3), runtime)
        assert runtime.answers == {1: True, 2: False, 3: True}


async def test_server_that_ends_waits_for_no_comparison_and_each_is_answered() -> None:
    runtime = Runtime()
    gate = Gate()
    perform = PasswordPerformer(at_once=1, matches=gate.matches)
    async with anyio.create_task_group() as group:
        group.start_soon(perform, ask(1), runtime)
        await gate.has_entered()
        group.start_soon(perform, ask(2), runtime)
        await anyio.wait_all_tasks_blocked()

        group.cancel_scope.cancel()

    assert runtime.answers == {1: False, 2: False}
    gate.opened.set()  # only now does the thread end


async def test_server_stops_while_a_password_is_compared() -> None:
    gate = Gate()
    served = serve(
        authenticator=ConfiguredUsers(token=HASHED.decode()),
        performers={VerifyPassword: PasswordPerformer(matches=gate.matches)},
    )
    with anyio.fail_after(10):
        async with (
            served as running,
            await anyio.connect_tcp(running.host, running.port) as client,
        ):
            await client.send(b'CONNECT {"auth_token":"pw"}\r\n')
            await gate.has_entered()
            await running.runtime.stop()

            assert running.server.state.connections == {}
    gate.opened.set()


async def test_comparison_that_fails_is_answered_before_the_failure_is_reported() -> None:
    def fail(password: bytes, hashed: bytes) -> bool:
        raise RuntimeError("a bug")

    runtime = Runtime()
    perform = PasswordPerformer(at_once=1, waiting_max=0, matches=fail)

    for attempt in (1, 2):
        with pytest.raises(RuntimeError, match="a bug"):
            await perform(ask(attempt), runtime)

    assert runtime.answers == {1: False, 2: False}


@pytest.mark.parametrize("bound", [{"at_once": 0}, {"waiting_max": -1}, {"patience_ns": 0}], ids=str)
def test_bound_that_cannot_be_is_refused(bound: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        PasswordPerformer(**bound)  # type: ignore[arg-type]  # mypy cannot tell which keyword it is

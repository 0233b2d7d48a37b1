"""The Python client library logs in as each kind of configured user, on both event loops."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import bcrypt
import nats.errors
import pytest

from natscore.effects import VerifyPassword
from natscore_security.authenticator import ConfiguredUsers
from natscore_security.nkeys import KeyPair
from natscore_security.performers import PasswordPerformer
from natscore_security.strkey import Kind
from natscore_security.users import NkeyUser, User
from natscore_tcp import serve_in_thread
from tests.interop.python_client import arrived, connected, run, settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nats.aio.msg import Msg

    from natscore_tcp import BackendName, Running

pytestmark = pytest.mark.interop

PAIR: Final = KeyPair(Kind.USER, bytes(32))
STRANGER: Final = KeyPair(Kind.USER, b"\1" * 32)
HASHED: Final = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
USERS: Final = (
    User("plain", "p"),
    User("hashed", HASHED),
    NkeyUser(PAIR.public_key),
    User("elsewhere", "p", account="ELSEWHERE"),
)


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> BackendName:
    """The event loop of the server."""
    found: BackendName = request.param
    return found


@contextmanager
def server_of(authenticator: ConfiguredUsers, backend: BackendName) -> Iterator[Running]:
    """A server in a thread, which compares password hashes."""
    performers = {VerifyPassword: PasswordPerformer()}
    with serve_in_thread(backend=backend, authenticator=authenticator, performers=performers) as running:
        yield running


async def refusal(url: str, **options: Any) -> str:
    """What the library reports of a login that fails."""
    reported: list[Exception] = []

    async def note(error: Exception) -> None:
        reported.append(error)

    with pytest.raises(nats.errors.Error) as refused:
        async with connected(url, error_cb=note, **options):
            pass
    return str(refused.value)


@pytest.mark.spec("client-protocol 16.1", "client-protocol 16.2", "client-protocol 16.4")
def test_users_of_every_kind_reach_each_other(backend: BackendName, tmp_path: Path) -> None:
    seed = tmp_path / "user.nk"
    seed.write_text(PAIR.seed)
    logins: list[dict[str, Any]] = [
        {"user": "plain", "password": "p"},
        {"user": "hashed", "password": "pw"},
        {"nkeys_seed": str(seed)},
        {"nkeys_seed_str": PAIR.seed},
    ]

    async def scenario(url: str) -> list[Msg]:
        async with connected(url, user="plain", password="p") as listener:
            subscription = await listener.subscribe("hello.*")
            await settle(listener)
            for number, login in enumerate(logins):
                async with connected(url, **login) as client:
                    await client.publish(f"hello.{number}")
                    await settle(client)
            async with connected(url, user="elsewhere", password="p") as client:
                await client.publish("hello.elsewhere")
                await settle(client)
            await settle(listener)
            return await arrived(subscription)

    with server_of(ConfiguredUsers(USERS), backend) as running:
        messages = run(scenario(running.url))

    assert [message.subject for message in messages] == [f"hello.{number}" for number in range(len(logins))]


@pytest.mark.spec("client-protocol 12:Authorization Violation", "client-protocol 16.4")
@pytest.mark.parametrize(
    "login",
    [
        {"user": "plain", "password": "x"},
        {"user": "hashed", "password": "x"},
        {"user": "nobody", "password": "pw"},
        {"token": "pw"},
        {},
        {"nkeys_seed_str": STRANGER.seed},
    ],
    ids=["plain", "hashed", "nobody", "token", "nothing", "stranger"],
)
def test_client_that_is_nobody_is_told_that_it_is_not_authorised(
    backend: BackendName, login: dict[str, Any]
) -> None:
    with server_of(ConfiguredUsers(USERS), backend) as running:
        told = run(refusal(running.url, **login))

    assert "Authorization Violation" in told


@pytest.mark.parametrize(("token", "right"), [("s3cret", "s3cret"), (HASHED, "pw")], ids=["plain", "hashed"])
def test_token_opens(backend: BackendName, token: str, right: str) -> None:
    async def scenario(url: str) -> None:
        async with connected(url, token=right) as client:
            await settle(client)

    with server_of(ConfiguredUsers(token=token), backend) as running:
        run(scenario(running.url))
        assert "Authorization Violation" in run(refusal(running.url, token="x"))


@pytest.mark.spec("client-protocol 16.1")
def test_client_that_names_nobody_becomes_the_no_auth_user(backend: BackendName) -> None:
    async def scenario(url: str) -> list[Msg]:
        async with connected(url, user="plain", password="p") as listener, connected(url) as anonymous:
            subscription = await listener.subscribe("hello")
            await settle(listener)
            await anonymous.publish("hello")
            await settle(anonymous, listener)
            return await arrived(subscription)

    with server_of(ConfiguredUsers(USERS, no_auth_user="hashed"), backend) as running:
        assert len(run(scenario(running.url))) == 1

"""One configuration file, and every server, ours and Go's, does the same for the Python client library."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import bcrypt
import nats.errors
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from natscore_security.nkeys import KeyPair
from natscore_security.strkey import Kind
from tests.interop.python_client import arrived, connected, run, settle
from tests.support.certificates import Authority
from tests.support.servers import start
from tests.support.wire import RawClient

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from nats.aio.msg import Msg

    from tests.support.certificates import Pair
    from tests.support.servers import RunningServer, ServerProgram

pytestmark = pytest.mark.interop

PAIR: Final = KeyPair(Kind.USER, bytes(32))
STRANGER: Final = KeyPair(Kind.USER, b"\1" * 32)
HASHED: Final = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()

USERS: Final = f"""
accounts {{
  A {{
    users: [
      {{ user: plain, password: p }}
      {{ user: hashed, password: "{HASHED}" }}
      {{ nkey: {PAIR.public_key} }}
    ]
  }}
  B {{
    default_permissions: {{ publish: {{ deny: "secret.>" }}, subscribe: ["hello.*", "_INBOX.>"] }}
    users: [ {{ user: other, password: p }}, {{ user: service, password: p, permissions: {{
      subscribe: requests, allow_responses: true
    }} }} ]
  }}
}}
"""


@pytest.fixture(scope="module")
def configured(program: ServerProgram) -> Iterator[RunningServer]:
    """A server with users of every kind, in two accounts."""
    with start(program, "-D", config=USERS) as running:
        yield running


LOGINS: Final[dict[str, dict[str, Any]]] = {
    "plain": {"user": "plain", "password": "p"},
    "hashed": {"user": "hashed", "password": "pw"},
    "nkey": {"nkeys_seed_str": PAIR.seed},
}


@pytest.mark.spec("client-protocol 16.1", "client-protocol 16.2", "client-protocol 16.4", "accounts 3")
def test_users_of_every_kind_of_an_account_reach_each_other_and_nobody_else(
    configured: RunningServer,
) -> None:
    async def scenario(url: str) -> tuple[list[Msg], list[Msg]]:
        async with (
            connected(url, user="plain", password="p") as listener,
            connected(url, user="other", password="p") as other,
        ):
            heard = await listener.subscribe("hello.*")
            elsewhere = await other.subscribe("hello.*")
            await settle(listener, other)
            for name, login in LOGINS.items():
                async with connected(url, **login) as client:
                    await client.publish(f"hello.{name}")
                    await settle(client)
            await settle(listener, other)
            return await arrived(heard), await arrived(elsewhere)

    heard, elsewhere = run(scenario(configured.url))

    assert [message.subject for message in heard] == [f"hello.{name}" for name in LOGINS]
    assert elsewhere == []


async def refusal(url: str, **options: Any) -> str:
    """What the library reports of a login that fails."""

    async def ignore(error: Exception) -> None:
        pass

    with pytest.raises(nats.errors.Error) as refused:
        async with connected(url, error_cb=ignore, **options):
            pass
    return str(refused.value)


@pytest.mark.spec("client-protocol 12:Authorization Violation")
@pytest.mark.parametrize(
    "login",
    [
        {"user": "plain", "password": "x"},
        {"user": "hashed", "password": HASHED},
        {"user": "nobody", "password": "p"},
        {"nkeys_seed_str": STRANGER.seed},
        {},
    ],
    ids=["plain", "hash", "nobody", "stranger", "nothing"],
)
def test_a_login_that_fails_is_told_so(configured: RunningServer, login: dict[str, Any]) -> None:
    assert "Authorization Violation" in run(refusal(configured.url, **login))


@pytest.mark.spec("client-protocol 18.5", "accounts 2")
def test_default_permissions_hold_and_the_client_stays(configured: RunningServer) -> None:
    reported: list[str] = []

    async def note(error: Exception) -> None:
        reported.append(str(error))

    async def scenario(url: str) -> None:
        async with connected(url, user="other", password="p", error_cb=note) as client:
            await client.publish("secret.plans")
            await client.subscribe("other.things")
            await settle(client)
            assert client.is_connected

    run(scenario(configured.url))

    assert [text.removeprefix("nats: ").strip("'").lower() for text in reported] == [
        'permissions violation for publish to "secret.plans"',
        'permissions violation for subscription to "other.things"',
    ]


@pytest.mark.spec("client-protocol 18.4")
def test_a_service_answers_what_it_was_asked_and_publishes_nothing_else(configured: RunningServer) -> None:
    reported: list[str] = []

    async def note(error: Exception) -> None:
        reported.append(str(error))

    async def scenario(url: str) -> bytes:
        async with (
            connected(url, user="service", password="p", error_cb=note) as service,
            connected(url, user="other", password="p") as client,
        ):

            async def answer(message: Msg) -> None:
                await message.respond(b"yes")

            await service.subscribe("requests", cb=answer)
            await settle(service)
            reply = await client.request("requests", b"may I?", timeout=2)
            await service.publish("hello.all")
            await settle(service)
            return reply.data

    assert run(scenario(configured.url)) == b"yes"
    assert len(reported) == 1
    assert 'Publish to "hello.all"' in reported[0].replace("publish", "Publish")


SIGNATURES: Final = {
    "missing": "",
    "no base64": "!!!",
    "short": "AAAA",
    "of something else": "A" * 86,
}


@pytest.mark.spec("client-protocol 16.4", "client-protocol 13:Authentication Failure")
@pytest.mark.parametrize("signature", SIGNATURES.values(), ids=SIGNATURES)
def test_a_malformed_signature_is_refused_closed_and_logged_without_secrets(
    configured: RunningServer, signature: str
) -> None:
    with RawClient(configured.host, configured.port) as client:
        client.read_info()
        client.send(b'CONNECT {"nkey":"%s","sig":"%s"}\r\n' % (PAIR.public_key.encode(), signature.encode()))

        assert client.read_all_until_closed() == b"-ERR 'Authorization Violation'\r\n"
    if signature:
        assert signature not in configured.log_text()


# -- TLS --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A server that maps certificates to users, and who signed them."""

    server: RunningServer
    authority: Authority

    @property
    def url(self) -> str:
        return self.server.url.replace("nats://", "tls://").replace("127.0.0.1", "localhost")

    def context(
        self, name: str, *alternatives: x509.GeneralName, subject: x509.Name | None = None
    ) -> ssl.SSLContext:
        pair = self.authority.issue(name, subject=subject, alternatives=alternatives)
        return self.authority.client_context(pair)


MAPPED: Final = """
tls {{
  cert_file: "{pair.cert_file}"
  key_file: "{pair.key_file}"
  ca_file: "{authority.ca_file}"
  verify_and_map: true
  timeout: 5
}}
authorization {{ users: [
  {{ user: "mail@acme.test", permissions: {{ publish: "by.mail" }} }}
  {{ user: "dns.acme.test", permissions: {{ publish: "by.dns" }} }}
  {{ user: "spiffe://acme/bob", permissions: {{ publish: "by.uri" }} }}
  {{ user: "O=Acme,CN=bob,C=US", permissions: {{ publish: "by.name" }} }}
] }}
"""


@pytest.fixture(scope="module")
def encrypted(program: ServerProgram, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    config = MAPPED.format(pair=authority.issue(), authority=authority)
    with start(program, "-D", config=config) as running:
        yield Encrypted(running, authority)


BOB: Final = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"),
        x509.NameAttribute(NameOID.COMMON_NAME, "bob"),
    ]
)
IDENTITIES: Final[dict[str, tuple[tuple[x509.GeneralName, ...], x509.Name | None]]] = {
    "mail": ((x509.DNSName("dns.acme.test"), x509.RFC822Name("mail@acme.test")), None),
    "dns": ((x509.RFC822Name("x@acme.test"), x509.DNSName("dns.acme.test")), None),
    "uri": ((x509.UniformResourceIdentifier("spiffe://acme/bob"),), None),
    "name": ((), BOB),
}


@pytest.mark.spec("client-protocol 17.3", "client-protocol 17.2", "configuration 5.6")
@pytest.mark.parametrize("identity", IDENTITIES)
def test_a_certificate_says_which_user_a_client_is(encrypted: Encrypted, identity: str) -> None:
    reported: list[str] = []

    async def note(error: Exception) -> None:
        reported.append(str(error))

    alternatives, subject = IDENTITIES[identity]
    context = encrypted.context(identity, *alternatives, subject=subject)

    async def scenario() -> None:
        async with connected(encrypted.url, tls=context, error_cb=note) as client:
            for other in IDENTITIES:
                await client.publish(f"by.{other}")
            await settle(client)

    run(scenario())

    denied = [other for other in IDENTITIES if other != identity]
    assert [re.findall(r'"by\.(\w+)"', text) for text in reported] == [[other] for other in denied]


@pytest.mark.spec("client-protocol 17.3", "client-protocol 12:Authorization Violation")
def test_a_certificate_that_is_no_user_is_refused(encrypted: Encrypted) -> None:
    context = encrypted.context("nobody", x509.RFC822Name("nobody@acme.test"))

    assert "Authorization Violation" in run(refusal(encrypted.url, tls=context))


def check(program: ServerProgram, config: str, folder: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder}/check.conf"
    with open(path, "w") as file:
        file.write(config)
    return subprocess.run([*program.command, "-t", "-c", path], capture_output=True, text=True, timeout=20)


def test_every_server_finds_the_files_of_the_tests_valid(
    program: ServerProgram, encrypted: Encrypted, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pair: Pair = encrypted.authority.issue("checked")
    folder = str(tmp_path_factory.mktemp("checked"))

    for config in (USERS, MAPPED.format(pair=pair, authority=encrypted.authority)):
        found = check(program, config, folder)
        assert "is valid" in found.stdout + found.stderr

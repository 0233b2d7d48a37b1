"""Services that accounts import, seen from outside: who is asked, what it is told, and who is answered."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from natscore.account.permissions import Permissions, ResponsePermission, Rules
from natscore.account.settings import (
    AccountSettings,
    AccountsSettings,
    Latency,
    ResponseType,
    ServiceExport,
    ServiceImport,
    StreamExport,
    StreamImport,
)
from natscore.events import OptionsReloaded
from natscore.options import SECOND
from natscore.testing import World
from tests.support.accounts import client_of, server_of

if TYPE_CHECKING:
    from natscore.testing import ScriptedClient, SimulatedServer

pytestmark = pytest.mark.every_plane

MANY: Final = 2_500  # more receivers than one turn serves
REQUESTS: Final = 1_000
_REQUEST: Final = re.compile(rb"(H?)MSG (\S+) (\S+) (_R_\.\S+) (?:(\d+) )?(\d+)\r\n")


def serving(name: str, *exports: ServiceExport, imports: tuple[ServiceImport, ...] = ()) -> AccountSettings:
    """An account that exports these services, `svc` if none is named."""
    return AccountSettings(name=name, exports=exports or (ServiceExport(subject=b"svc"),), imports=imports)


def asking(
    name: str, exporter: str = "A", subject: bytes = b"svc", *, to: bytes | None = b"loc", share: bool = False
) -> AccountSettings:
    """An account that imports a service."""
    return AccountSettings(
        name=name, imports=(ServiceImport(account=exporter, subject=subject, to=to, share=share),)
    )


def client(server: SimulatedServer, account: str, *, bare: bool = False) -> ScriptedClient:
    """A client in an account, which takes headers unless it is bare."""
    return client_of(server, account, headers=not bare, no_responders=not bare)


def replies(received: bytes) -> list[bytes]:
    """The reply subjects of the requests that a service received."""
    return [found[3] for found in _REQUEST.findall(received)]


def info_in(received: bytes) -> dict[str, object]:
    """What the last request says of its requester."""
    found = re.findall(rb"Nats-Request-Info: (\{.*?\})\r\n", received)
    document: dict[str, object] = json.loads(found[-1])
    return document


def awaited(server: SimulatedServer) -> int:
    """How many answers the server waits for."""
    return len(server.server._services.responses)


def reload(server: SimulatedServer, *accounts: AccountSettings) -> None:
    """Let these be the accounts from now on."""
    options = replace(server.server.options, accounts=AccountsSettings(accounts=accounts))
    server.feed(OptionsReloaded(at=server.world.at, options=options))


def samples(received: bytes) -> list[dict[str, object]]:
    """The latency samples among what was received."""
    return [json.loads(line) for line in received.split(b"\r\n") if line.startswith(b'{"type":')]


@pytest.mark.spec(
    "accounts 6.2", "accounts 6.3", "accounts 6.4", "accounts 17:6", "accounts 17:7", "accounts 17:8"
)
def test_a_request_reaches_the_service_and_its_answer_the_requester_alone() -> None:
    server = server_of(serving("A"), asking("B"), AccountSettings(name="C"))
    service, requester, stranger = (client(server, name) for name in ("A", "B", "C"))
    service.send(b"SUB svc 1\r\n")
    stranger.send(b"SUB > 1\r\n")
    requester.send(b"SUB in.* 2\r\nPUB loc in.7 2\r\nhi\r\n")

    received = service.take()
    (reply,) = replies(received)
    service.send(b"PUB " + reply + b" 3\r\nyes\r\n")

    head = b'NATS/1.0\r\nNats-Request-Info: {"acc":"B"}\r\n\r\n'
    assert received == b"HMSG svc 1 %b %d %d\r\n%bhi\r\n" % (reply, len(head), len(head) + 2, head)
    assert re.fullmatch(rb"_R_\.[0-9A-Za-z]{6}\.[0-9A-Za-z]{6}", reply)
    assert requester.take() == b"MSG in.7 2 3\r\nyes\r\n"
    assert stranger.take() == b""
    assert awaited(server) == 0
    server.check()


@pytest.mark.spec("accounts 6.4")
def test_a_second_answer_of_a_singleton_reaches_nobody_and_is_not_refused() -> None:
    server = server_of(serving("A"), asking("B"))
    service, requester = client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    requester.send(b"SUB in.* 2\r\nPUB loc in.7 0\r\n\r\n")
    (reply,) = replies(service.take())

    service.send(b"PUB " + reply + b" 1\r\na\r\nPUB " + reply + b" other 1\r\nb\r\nPING\r\n")

    assert requester.take() == b"MSG in.7 2 1\r\na\r\n"
    assert service.take() == b"PONG\r\n"


@pytest.mark.spec("accounts 6.4", "accounts 17:9")
@pytest.mark.parametrize("kind", [ResponseType.STREAM, ResponseType.CHUNKED])
def test_a_stream_of_answers_ends_with_an_empty_one_without_headers(kind: ResponseType) -> None:
    server = server_of(serving("A", ServiceExport(subject=b"svc", response_type=kind)), asking("B"))
    service, requester = client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    requester.send(b"SUB in.* 2\r\nPUB loc in.7 0\r\n\r\n")
    (reply,) = replies(service.take())

    service.send(b"PUB %b 1\r\na\r\nHPUB %b 12 12\r\nNATS/1.0\r\n\r\n\r\n" % (reply, reply))
    waiting = awaited(server)
    service.send(b"PUB %b 0\r\n\r\nPUB %b 1\r\nz\r\n" % (reply, reply))

    assert waiting == 1
    assert requester.take() == (
        b"MSG in.7 2 1\r\na\r\nHMSG in.7 2 12 12\r\nNATS/1.0\r\n\r\n\r\nMSG in.7 2 0\r\n\r\n"
    )
    assert awaited(server) == 0


@pytest.mark.spec("accounts 6.2", "accounts 17:7")
def test_a_subscriber_of_the_importer_gets_the_request_as_it_was_published() -> None:
    server = server_of(serving("A"), asking("B"))
    service, requester, neighbour = client(server, "A"), client(server, "B"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    neighbour.send(b"SUB loc 3\r\nSUB loc q 4\r\n")

    requester.send(b"PUB loc in.7 2\r\nhi\r\n")

    assert neighbour.take() == b"MSG loc 3 in.7 2\r\nhi\r\nMSG loc 4 in.7 2\r\nhi\r\n"
    assert len(replies(service.take())) == 1


@pytest.mark.spec("accounts 6.1", "accounts 6.2")
@pytest.mark.parametrize(
    ("subject", "to", "published", "arrives"),
    [
        (b"svc.*.*", b"loc.$2.$1", b"loc.one.two", b"svc.two.one"),
        (b"svc.>", b"svc.>", b"svc.a.b", b"svc.a.b"),
        (b"svc", b"any.*", b"any.x", b"svc"),
    ],
)
def test_the_subject_of_a_request_becomes_that_of_the_exporter(
    subject: bytes, to: bytes, published: bytes, arrives: bytes
) -> None:
    server = server_of(serving("A", ServiceExport(subject=subject)), asking("B", subject=subject, to=to))
    service, requester = client(server, "A", bare=True), client(server, "B")
    service.send(b"SUB > 1\r\n")

    requester.send(b"PUB " + published + b" 2\r\nhi\r\n")

    assert service.take() == b"MSG " + arrives + b" 1 2\r\nhi\r\n"


@pytest.mark.spec("accounts 6.7", "accounts 7", "accounts 17:10")
def test_a_request_passes_through_a_chain_and_the_answer_comes_back_through_it() -> None:
    base = ServiceImport(account="A", subject=b"base", to=b"mid")
    server = server_of(
        serving("A", ServiceExport(subject=b"base")),
        serving("B", ServiceExport(subject=b"mid"), imports=(base,)),
        asking("C", "B", b"mid", to=b"top"),
    )
    first, middle, last = (client(server, name) for name in ("A", "B", "C"))
    first.send(b"SUB base 1\r\n")
    middle.send(b"SUB mid 2\r\nSUB _R_.> 3\r\n")
    last.send(b"SUB in.* 4\r\nPUB top in.7 2\r\nhi\r\n")

    asked, passed = first.take(), middle.take()
    (outer,) = replies(asked)
    (inner,) = replies(passed)
    first.send(b"PUB " + outer + b" 3\r\nyes\r\n")

    assert outer.split(b".")[1] != inner.split(b".")[1]
    assert info_in(asked) == {"acc": "C", "svc": "B"}
    assert info_in(passed) == {"acc": "C"}
    assert last.take() == b"MSG in.7 4 3\r\nyes\r\n"
    assert middle.take() == b"MSG " + inner + b" 3 3\r\nyes\r\n"
    assert awaited(server) == 0


@pytest.mark.spec("accounts 6.4", "accounts 17:10")
def test_an_answer_may_ask_back_and_the_requester_answers_it() -> None:
    server = server_of(serving("A"), asking("B"))
    service, requester = client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\nSUB more 2\r\n")
    requester.send(b"SUB in.* 3\r\nPUB loc in.7 0\r\n\r\n")
    (reply,) = replies(service.take())

    service.send(b"PUB " + reply + b" more 3\r\nand\r\n")
    (back,) = replies(requester.take())
    requester.send(b"PUB " + back + b" 3\r\nyes\r\n")

    assert service.take() == b"MSG more 2 3\r\nyes\r\n"
    assert awaited(server) == 0


@pytest.mark.spec("accounts 6.9")
def test_one_member_of_a_queue_group_of_the_exporter_is_asked() -> None:
    server = server_of(serving("A"), asking("B"))
    members = [client(server, "A") for _ in range(3)]
    requester = client(server, "B")
    for member in members:
        member.send(b"SUB svc q 1\r\n")

    requester.send(b"PUB loc in.7 0\r\n\r\n" * 60)

    counts = [len(replies(member.take())) for member in members]
    assert sum(counts) == 60
    assert all(counts)


@pytest.mark.spec("accounts 6.2", "accounts 17:12")
def test_a_requester_learns_that_no_service_is_there() -> None:
    base = ServiceImport(account="A", subject=b"svc", to=b"mid")
    server = server_of(
        serving("A"), serving("B", ServiceExport(subject=b"mid"), imports=(base,)), asking("C", "B", b"mid")
    )
    requester = client(server, "C")

    requester.send(b"SUB in.* 2\r\nPUB loc in.7 0\r\n\r\n")

    block = b"NATS/1.0 503\r\nNats-Subject: loc\r\n\r\n"
    assert requester.take() == b"HMSG in.7 2 %d %d\r\n%b\r\n" % (len(block), len(block), block)
    assert awaited(server) == 0


@pytest.mark.spec("accounts 6.2")
def test_a_subscriber_of_the_importer_counts_as_a_responder() -> None:
    server = server_of(serving("A"), asking("B"))
    requester = client(server, "B")
    requester.send(b"SUB in.* 2\r\nSUB loc 3\r\n")

    requester.send(b"PUB loc in.7 0\r\n\r\n")

    assert requester.take() == b"MSG loc 3 in.7 0\r\n\r\n"


@pytest.mark.spec("accounts 6.5", "accounts 17:9")
@pytest.mark.parametrize("how", ["unsubscribe", "leave", "wildcard", "limit"])
def test_who_no_longer_wants_an_answer_gets_none_even_if_it_asks_again_for_the_subject(how: str) -> None:
    server = server_of(serving("A"), asking("B"))
    service, requester = client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    requester.send(b"SUB in.%b 2\r\n" % (b"*" if how == "wildcard" else b"7"))
    requester.send(b"PUB loc in.7 0\r\n\r\n")
    (reply,) = replies(service.take())

    if how == "leave":
        requester.close()
        requester = client(server, "B")
    elif how == "limit":
        requester.send(b"UNSUB 2 1\r\nPUB in.7 1\r\nx\r\n")
    else:
        requester.send(b"UNSUB 2\r\n")
    requester.send(b"SUB in.7 3\r\n")
    requester.take()
    service.send(b"PUB " + reply + b" 3\r\nyes\r\n")

    assert requester.take() == b""
    assert awaited(server) == 0


@pytest.mark.spec("accounts 6.5")
@pytest.mark.parametrize("other", [b"in.*", b"in.>", b"*.7", b"in.7"])
def test_an_answer_comes_while_anybody_in_the_account_wants_it(other: bytes) -> None:
    server = server_of(serving("A"), asking("B"))
    service, requester, neighbour = client(server, "A"), client(server, "B"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    neighbour.send(b"SUB " + other + b" 9\r\n")
    requester.send(b"SUB in.7 2\r\nPUB loc in.7 0\r\n\r\nUNSUB 2\r\n")

    service.send(b"PUB " + replies(service.take())[0] + b" 3\r\nyes\r\n")

    assert neighbour.take() == b"MSG in.7 9 3\r\nyes\r\n"


@pytest.mark.spec("accounts 6.5", "accounts 18:8")
def test_a_requester_that_leaves_a_thousand_requests_behind_leaves_nothing() -> None:
    sampled = ServiceExport(subject=b"svc", latency=Latency(b"lat"))
    server = server_of(serving("A", sampled), asking("B"))
    service, watcher, requester = client(server, "A"), client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    watcher.send(b"SUB lat 1\r\n")
    requester.send(b"SUB in.* 2\r\n")
    for number in range(REQUESTS):
        requester.send(b"PUB loc in.%d 0\r\n\r\n" % number)

    requester.close()

    assert awaited(server) == 0
    assert [sample["status"] for sample in samples(watcher.take())] == [408] * REQUESTS
    server.check()


@pytest.mark.spec("accounts 18:7")
def test_of_a_thousand_requests_each_gets_its_own_answer() -> None:
    server = server_of(serving("A"), asking("B"))
    service, requester = client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    requester.send(b"SUB in.* 2\r\n")
    requester.send(b"".join(b"PUB loc in.%d %d\r\n%d\r\n" % (n, len(b"%d" % n), n) for n in range(REQUESTS)))
    asked = re.findall(rb" (_R_\.\S+) \d+ \d+\r\n(?:[^\r]+\r\n)+\r\n(\d+)\r\n", service.take())
    order = sorted(asked)  # by reply subjects, which are random

    service.send(b"".join(b"PUB %b %d\r\n%b\r\n" % (reply, len(body), body) for reply, body in order))

    answered = re.findall(rb"MSG in\.(\d+) 2 \d+\r\n(\d+)\r\n", requester.take())
    assert order != asked
    assert len(answered) == REQUESTS
    assert all(number == body for number, body in answered)
    assert awaited(server) == 0


@pytest.mark.spec("accounts 6.6", "accounts 18:9")
def test_a_silent_service_is_not_waited_for_longer_than_its_threshold() -> None:
    world = World()
    export = ServiceExport(subject=b"svc", threshold_ns=SECOND, latency=Latency(b"lat"))
    server = server_of(serving("A", export), asking("B"), world=world)
    service, requester = client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\nSUB lat 2\r\n")
    requester.send(b"SUB in.* 2\r\nPUB loc in.7 0\r\n\r\n")
    (reply,) = replies(service.take())

    world.advance(SECOND - 1)
    before = awaited(server)
    world.advance(1)
    (sample,) = samples(service.take())
    service.send(b"PUB " + reply + b" 3\r\nyes\r\n")

    assert (before, awaited(server)) == (1, 0)
    assert (sample["status"], sample["description"]) == (504, "Service Timeout")
    assert requester.take() == b""


@pytest.mark.spec("accounts 6.6", "accounts 18:9")
def test_a_stream_that_goes_on_outlives_its_threshold_and_ends_by_it() -> None:
    world = World()
    export = ServiceExport(subject=b"svc", threshold_ns=SECOND, response_type=ResponseType.STREAM)
    server = server_of(serving("A", export), asking("B"), world=world)
    service, requester = client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    requester.send(b"SUB in.* 2\r\nPUB loc in.7 0\r\n\r\n")
    (reply,) = replies(service.take())

    for _ in range(5):
        world.advance(SECOND * 3 // 4)
        service.send(b"PUB " + reply + b" 1\r\na\r\n")
    requester.take()
    world.advance(2 * SECOND)
    service.send(b"PUB " + reply + b" 1\r\nz\r\n")

    assert requester.take() == b""
    assert awaited(server) == 0


@pytest.mark.spec("accounts 6.4")
def test_the_importer_cannot_speak_as_the_service() -> None:
    server = server_of(serving("A"), asking("B"))
    service, requester, neighbour = client(server, "A"), client(server, "B"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    requester.send(b"SUB in.* 2\r\nPUB loc in.7 0\r\n\r\n")
    (reply,) = replies(service.take())

    neighbour.send(b"PUB " + reply + b" 4\r\nlies\r\n")

    assert requester.take() == b""
    assert awaited(server) == 1


@pytest.mark.spec("accounts 6.3", "accounts 17:11")
def test_nobody_may_ask_for_answers_on_a_reply_subject_of_the_server() -> None:
    server = server_of(serving("A"), asking("B"))
    service, requester = client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\n")

    requester.send(b"PUB loc _R_.x 0\r\n\r\n")

    assert requester.take() == b"-ERR 'Permissions Violation for Publish with Reply of \"_R_.x\"'\r\n"
    assert service.take() == b""


@pytest.mark.spec("accounts 6.8")
def test_permissions_judge_the_subject_that_the_requester_publishes_to() -> None:
    only = {
        "no": Permissions(publish=Rules(deny=(b"loc",))),
        "yes": Permissions(publish=Rules(allow=(b"loc",))),
    }
    server = server_of(serving("A"), asking("B"), permissions=only)
    service = client(server, "A")
    service.send(b"SUB svc 1\r\n")

    denied, allowed = client(server, "no@B"), client(server, "yes@B")
    denied.send(b"PUB loc 0\r\n\r\n")
    allowed.send(b"PUB loc 0\r\n\r\n")

    assert denied.take() == b"-ERR 'Permissions Violation for Publish to \"loc\"'\r\n"
    assert allowed.take() == b""
    assert service.take().count(b"HMSG svc 1 ") == 1


@pytest.mark.spec("accounts 6.8", "accounts 17:11", "accounts 18:17")
def test_leave_to_answer_covers_the_reply_subject_that_was_delivered() -> None:
    rules = Rules(deny=(b">",))
    leave = Permissions(publish=rules, responses=ResponsePermission(max=1))
    server = server_of(
        serving("A"), asking("B"), permissions={"may": leave, "not": Permissions(publish=rules)}
    )
    service, silent, requester = client(server, "may@A"), client(server, "not@A"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    silent.send(b"SUB svc 1\r\n")
    requester.send(b"SUB in.* 2\r\nPUB loc in.7 0\r\n\r\n")
    (reply,) = replies(service.take())
    silent.take()

    silent.send(b"PUB " + reply + b" 2\r\nno\r\n")
    service.send(b"PUB " + reply + b" 3\r\nyes\r\n")

    assert silent.take() == b"-ERR 'Permissions Violation for Publish to \"" + reply + b"\"'\r\n"
    assert requester.take() == b"MSG in.7 2 3\r\nyes\r\n"


@pytest.mark.spec("accounts 7", "accounts 17:13")
@pytest.mark.parametrize(
    "forged",
    [
        b"Nats-Request-Info: forged",
        b"nats-request-info: forged",
        b"Nats-Request-Info : forged",
        b"A: b\nNats-Request-Info: forged",
        b"A: b\rNats-Request-Info: forged",
        b"Nats-Request-Info: a\r\n forged",
        b"Nats-Request-Info: forged\r\nNats-Request-Info: forged",
    ],
)
def test_no_header_that_pretends_to_say_who_asks_reaches_another_account(forged: bytes) -> None:
    server = server_of(serving("A"), asking("B"))
    service, requester = client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    requester.send(b"SUB in.* 2\r\n")
    block = b"NATS/1.0\r\nX: y\r\n" + forged + b"\r\n\r\n"

    requester.send(b"HPUB loc in.7 %d %d\r\n%bhi\r\n" % (len(block), len(block) + 2, block))
    asked = service.take()
    service.send(b"HPUB %b %d %d\r\n%bhi\r\n" % (replies(asked)[0], len(block), len(block) + 2, block))
    answered = requester.take()

    for received in (asked, answered):
        assert b"forged" not in received
        assert b"X: y\r\n" in received
        assert received.endswith(b"\r\n\r\nhi\r\n")
    assert asked.count(b"Nats-Request-Info") == 1
    assert b'Nats-Request-Info: {"acc":"B"}\r\n\r\nhi' in asked
    assert b"Request-Info" not in answered


@pytest.mark.spec("accounts 7", "accounts 17:13")
def test_an_account_that_shares_tells_the_service_who_asks() -> None:
    server = server_of(serving("A"), asking("B", share=True), server_name="here")
    service, requester = client(server, "A"), client_of(server, "B", name="me", lang="x", version="1")
    service.send(b"SUB svc 1\r\n")

    requester.send(b"PUB loc 0\r\n\r\n")

    info = info_in(service.take())
    start = info.pop("start")
    assert isinstance(start, str)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", start)
    assert info == {
        "host": "127.0.0.1", "id": requester.cid, "acc": "B", "user": "B", "name": "me", "lang": "x",
        "ver": "1", "server": "here", "kind": "Client", "client_type": "nats",
    }  # fmt: skip


@pytest.mark.spec("accounts 5.2", "accounts 6.2", "accounts 17:7")
def test_a_request_is_not_passed_on_as_a_stream() -> None:
    exporter = AccountSettings(
        name="A", exports=(ServiceExport(subject=b"svc"), StreamExport(subject=b"svc"))
    )
    listener = AccountSettings(name="C", imports=(StreamImport(account="A", subject=b"svc"),))
    server = server_of(exporter, asking("B"), listener)
    service, requester, hearing = (client(server, name) for name in ("A", "B", "C"))
    service.send(b"SUB svc 1\r\n")
    hearing.send(b"SUB svc 1\r\n")

    requester.send(b"PUB loc 2\r\nhi\r\n")
    service.send(b"PUB svc 3\r\nown\r\n")

    assert hearing.take() == b"MSG svc 1 3\r\nown\r\n"
    assert service.take().count(b"MSG svc 1 ") == 2


@pytest.mark.spec("accounts 8", "accounts 17:14")
def test_a_sample_says_how_long_an_answer_took() -> None:
    world = World()
    server = server_of(
        serving("A", ServiceExport(subject=b"svc", latency=Latency(b"lat"))), asking("B"), world=world
    )
    service, watcher, requester = client(server, "A"), client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    watcher.send(b"SUB lat 1\r\n")
    requester.send(b"SUB in.* 2\r\nPUB loc in.7 0\r\n\r\n")
    (reply,) = replies(service.take())

    world.advance(SECOND)
    service.send(b"PUB %b 1\r\na\r\n" % reply)

    received = watcher.take()
    (sample,) = samples(received)
    assert reply.endswith(b".T")
    assert received.startswith(b"MSG lat 1 ")
    assert sample["type"] == "io.nats.server.metric.v1.service_latency"
    assert isinstance(sample["id"], str)
    assert len(sample["id"]) == 22
    assert (sample["status"], sample["service"], sample["system"], sample["total"]) == (
        200,
        SECOND,
        0,
        SECOND,
    )
    assert sample["requestor"] == {"acc": "B"}
    assert isinstance(sample["responder"], dict)
    assert (sample["responder"]["acc"], sample["responder"]["id"]) == ("A", service.cid)
    assert "description" not in sample


@pytest.mark.spec("accounts 8", "accounts 17:14")
def test_samples_say_that_there_was_no_reply_or_no_service() -> None:
    server = server_of(serving("A", ServiceExport(subject=b"svc", latency=Latency(b"lat"))), asking("B"))
    watcher, requester = client(server, "A"), client(server, "B")
    watcher.send(b"SUB lat 1\r\n")

    requester.send(b"PUB loc 0\r\n\r\nPUB loc in.7 0\r\n\r\n")

    assert [(one["status"], one["description"]) for one in samples(watcher.take())] == [
        (400, "Bad Request"), (503, "Service Unavailable"),
    ]  # fmt: skip


@pytest.mark.spec("accounts 8", "accounts 17:14")
@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (b"Traceparent: 00-1-2-01", True), (b"traceparent: 00-1-2-03", True),
        (b"Traceparent: 00-1-2-02", False),
        (b"Uber-Trace-Id: 1:2:3:1", True), (b"Uber-Trace-Id: 1:2:3:2", False),
        (b"X-B3-Sampled: 1", True), (b"X-B3-Sampled: 0", False), (b"X-B3-TraceId: 9", True),
        (b"B3: 0", False), (b"B3: a-b-0", False), (b"B3: a-b-1", True), (b"Other: 1", False),
    ],
)  # fmt: skip
def test_headers_may_ask_for_a_sample(header: bytes, is_sampled: bool) -> None:
    server = server_of(serving("A", ServiceExport(subject=b"svc", latency=Latency(b"lat", 0))), asking("B"))
    watcher, requester = client(server, "A"), client(server, "B")
    watcher.send(b"SUB lat 1\r\n")
    block = b"NATS/1.0\r\n" + header + b"\r\n\r\n"

    requester.send(b"HPUB loc %d %d\r\n%b\r\n" % (len(block), len(block), block))

    found = samples(watcher.take())
    assert len(found) == is_sampled
    assert all("header" in one for one in found)


@pytest.mark.spec("accounts 13")
def test_no_request_passes_an_export_twice() -> None:
    def partner(name: str, other: str) -> AccountSettings:
        return serving(
            name,
            ServiceExport(subject=b"s.>"),
            imports=(ServiceImport(account=other, subject=b"s.a", to=b"s." + name.encode()),),
        )

    # A mapping would close the circle at load; a reply that is a request closes it while it runs.
    server = server_of(partner("A", "B"), AccountSettings(name="B", exports=(ServiceExport(subject=b"s.a"),)))
    first, second = client(server, "A"), client(server, "B")
    second.send(b"SUB s.a 1\r\n")
    first.send(b"PUB s.A s.A 0\r\n\r\n")
    (reply,) = replies(second.take())

    second.send(b"PUB " + reply + b" 1\r\na\r\n")

    assert second.take() == b""
    assert awaited(server) == 0


def test_one_message_leads_to_a_bounded_number_of_others() -> None:
    layers, width = 6, 3
    accounts = [serving("L0-0", ServiceExport(subject=b"s"))]
    for layer in range(1, layers):
        for number in range(width):
            below = range(width) if layer > 1 else range(1)
            imports = tuple(ServiceImport(account=f"L{layer - 1}-{one}", subject=b"s") for one in below)
            accounts.append(serving(f"L{layer}-{number}", ServiceExport(subject=b"s"), imports=imports))
    server = server_of(*accounts, internal_publishes_max=50)
    service, requester = client(server, "L0-0", bare=True), client(server, f"L{layers - 1}-0")
    service.send(b"SUB s 1\r\n")

    requester.send(b"PUB s 0\r\n\r\n")

    assert 0 < service.take().count(b"MSG s 1 0\r\n") <= 50
    assert server.server._services.dropped > 0
    assert any(note.name == "service_publishes_exceeded" for note in server.notes)


@pytest.mark.parametrize("bound", ["account_responses_max", "export_responses_max"])
def test_the_oldest_answer_is_given_up_when_too_many_are_awaited(bound: str) -> None:
    bounds: dict[str, Any] = {bound: 3}
    server = server_of(serving("A"), asking("B"), **bounds)
    service, requester = client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    requester.send(b"SUB in.* 2\r\n" + b"PUB loc in.7 0\r\n\r\n" * 4)
    asked = replies(service.take())

    service.send(b"".join(b"PUB %b 1\r\n%d\r\n" % (reply, number) for number, reply in enumerate(asked)))

    assert requester.take() == b"".join(b"MSG in.7 2 1\r\n%d\r\n" % number for number in (1, 2, 3))
    assert server.server._services.responses.displaced == 1


def test_a_request_to_very_many_subscribers_is_carried_on_in_later_turns() -> None:
    server = server_of(serving("A"), asking("B"))
    services = [client(server, "A", bare=True) for _ in range(MANY)]
    requester = client(server, "B")
    for one in services:
        one.send(b"SUB svc 1\r\n")
    before = server.events

    requester.send(b"PUB loc 2\r\nhi\r\nPING\r\n")

    assert all(one.take() == b"MSG svc 1 2\r\nhi\r\n" for one in services)
    assert requester.take() == b"PONG\r\n"
    assert server.events - before > 1


def test_a_request_is_carried_on_although_its_requester_has_left() -> None:
    server = server_of(serving("A"), asking("B"))
    service, requester = client(server, "A", bare=True), client(server, "B")
    listeners = [client(server, "B", bare=True) for _ in range(MANY)]
    service.send(b"SUB svc 1\r\n")
    for one in listeners:
        one.send(b"SUB loc 1\r\n")

    requester.send(b"PUB loc 2\r\nhi\r\n")
    requester.close()

    assert service.take() == b"MSG svc 1 2\r\nhi\r\n"
    assert all(one.take() == b"MSG loc 1 2\r\nhi\r\n" for one in listeners)


@pytest.mark.spec("accounts 18:20")
def test_ten_thousand_imports_cost_a_publish_nothing() -> None:
    many = tuple(
        ServiceImport(account="A", subject=b"s.%d.>" % number, to=b"l.%d.>" % number)
        for number in range(10_000)
    )
    server = server_of(serving("A", ServiceExport(subject=b"s.>")), AccountSettings(name="B", imports=many))
    requester = client(server, "B")
    sublist = server.state.accounts["B"].sublist
    before = sublist.steps

    requester.send(b"PUB l.5000.x 0\r\n\r\nPUB other 0\r\n\r\n")

    assert sublist.steps - before <= 16


@pytest.mark.spec("accounts 13", "accounts 17:18", "accounts 18:18")
def test_a_request_that_awaits_its_answer_survives_a_reload() -> None:
    server = server_of(serving("A"), asking("B"))
    service, requester = client(server, "A"), client(server, "B")
    service.send(b"SUB svc 1\r\n")
    requester.send(b"SUB in.* 2\r\nPUB loc in.7 0\r\n\r\n")
    (reply,) = replies(service.take())

    reload(server, serving("A"), asking("B", to=b"new"))
    requester.send(b"PUB loc in.8 0\r\n\r\nPUB new in.9 0\r\n\r\n")
    service.send(b"PUB " + reply + b" 1\r\na\r\n")

    assert requester.take().endswith(b"MSG in.7 2 1\r\na\r\n")
    assert len(replies(service.take())) == 1
    server.check()


@pytest.mark.spec("accounts 13", "accounts 17:18")
def test_a_service_moves_to_another_account_and_no_request_is_lost_or_answered_twice() -> None:
    server = server_of(serving("A"), serving("B"), asking("C"))
    before, after, requester = (client(server, name) for name in ("A", "B", "C"))
    before.send(b"SUB svc 1\r\n")
    after.send(b"SUB svc 1\r\n")
    requester.send(b"SUB in.* 2\r\nPUB loc in.1 0\r\n\r\n")

    reload(server, serving("A"), serving("B"), asking("C", "B"))
    requester.send(b"PUB loc in.2 0\r\n\r\n")
    for one in (before, after):
        asked = replies(one.take())
        assert len(asked) == 1
        one.send(b"PUB " + asked[0] + b" 1\r\na\r\n")

    assert requester.take() == b"MSG in.1 2 1\r\na\r\nMSG in.2 2 1\r\na\r\n"
    assert awaited(server) == 0
    server.check()


@pytest.mark.spec("accounts 11", "accounts 17:17")
def test_nobody_answers_for_the_system_account_yet_and_requesters_are_told() -> None:
    server = server_of(AccountSettings(name="A"))
    requester, system = client(server, "A"), client(server, "$SYS")
    requester.send(b"SUB in.* 2\r\n")

    requester.send(b"PUB $SYS.REQ.USER.INFO in.1 0\r\n\r\n")
    told = requester.take()
    system.send(b"SUB $SYS.REQ.> 1\r\n")
    requester.send(b"PUB $SYS.REQ.ACCOUNT.PING.STATZ in.2 0\r\n\r\n")

    assert b"NATS/1.0 503\r\n" in told
    assert b"HMSG $SYS.REQ.ACCOUNT.A.STATZ 1 _R_." in system.take()

"""The account vectors that renaming decides alone: mappings, and the subjects of stream imports.

The data is `vectors/accounts.json`, in the format of accounts.md section 16. Each vector is run here on
accounts that hold nothing but connections, mappings and stream imports, or stands in `WAITING` with what it
waits for.
`vectors/partitions.json` holds what nats-server 2.14.5 answered to a thousand subjects.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from natscore.account.mappings import Mappings, mapping_of
from natscore.errors import ConfigError
from natscore.subject import matches
from natscore.transform import ImportTransform, Transform

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(__file__).with_name("vectors")
VECTORS: Final = {one["name"]: one for one in json.loads((FOLDER / "accounts.json").read_text())}
PARTITIONS: Final = json.loads((FOLDER / "partitions.json").read_text())

RUN: Final = (
    "mapping-literal",
    "mapping-mustache-wildcard",
    "mapping-full-wildcard",
    "mapping-partition-one-token",
    "mapping-split-from-left-right",
    "mapping-split-delimiter",
    "mapping-weight-100-percent-string",
    "mapping-all-loss",
    "mapping-other-cluster-destination-not-used",
    "mapping-top-level-applies-to-global-account",
    "mapping-top-level-does-not-apply-to-other-accounts",
    "stream-prefix",
    "stream-prefix-unprefixed-not-delivered",
    "stream-prefix-full-wildcard",
    "stream-prefix-inner-wildcard",
    "stream-to-literal",
    "stream-to-token-reorder",
    "stream-to-token-reorder-literal-subscriber",
    "stream-to-star-form-keeps-order",
    "stream-to-full-wildcard",
)
REFUSED: Final = (
    "error-mapping-unknown-function",
    "error-mapping-full-wildcard-mismatch",
    "error-mapping-weight-missing",
    "error-stream-to-drops-token",
)
ACCEPTED: Final = ("error-mapping-unused-wildcard",)
"""Refused by 2.9.10 alone."""

WAITING: Final = {
    "isolation-*": "accounts",
    "same-account-*": "accounts",
    "no-accounts-*": "accounts",
    "no-auth-user-*": "accounts and their users",
    "authorization-*": "accounts and their users",
    "bad-password-closes": "accounts and their users",
    "connect-*": "accounts and their users",
    "accounts-array-form": "accounts and their users",
    "system-account-*": "the system account",
    "auto-imported-*": "the system account",
    "stream-*": "stream imports in the data plane",
    "service-*": "service imports",
    "no-responders-*": "accounts",
    "latency-*": "latency samples",
    "limit-*": "limits of accounts",
    "default-permissions-*": "permissions of accounts",
    "mapping-publish-permission-*": "permissions of accounts",
    "mapping-in-exporter-*": "service imports",
    "mapping-not-applied-to-delivered-*": "stream imports in the data plane",
    "error-import-*": "accounts",
    "error-export-*": "accounts",
    "error-stream-import-superset": "authorization of imports",
    "error-prefix-wildcard": "stream imports of a configuration",
    "error-duplicate-stream-import": "stream imports of a configuration",
    "error-reserved-global-name": "accounts",
    "error-no-auth-user-unknown": "accounts and their users",
    "error-unknown-response-type": "service exports",
    "error-latency-*": "latency samples",
}


def words_of(text: str) -> Iterator[str]:
    """The words of a configuration as simple as those of the vectors."""
    for word in re.finditer(r'"[^"]*"|[{}\[\]]|[^\s{}\[\],:="]+', text):
        yield word.group()


def value_of(word: str, words: Iterator[str]) -> Any:
    if word == "{":
        return table_of(words)
    if word == "[":
        return [value_of(one, words) for one in iter(words.__next__, "]")]
    return int(word) if word.isdigit() else word.strip('"')


def table_of(words: Iterator[str]) -> dict[str, Any]:
    return {key.strip('"'): value_of(next(words), words) for key in iter(lambda: next(words, "}"), "}")}


@dataclass(slots=True)
class Subscriber:
    account: str
    pattern: bytes
    sid: bytes
    output: bytearray


@dataclass(slots=True)
class Accounts:
    """The mappings and stream imports of each account, and who subscribed to what."""

    mappings: dict[str, Mappings]
    imports: dict[str, list[tuple[str, ImportTransform]]]  # by importer: the exporter, and how it is renamed
    users: dict[str, str]
    subscribers: list[Subscriber] = field(default_factory=list)

    def publish(self, account: str, published: bytes, payload: bytes) -> None:
        subject = self.mappings[account].apply(published, "", lambda n: n - 1)
        if subject is None:
            return
        for one in self.subscribers:
            names = [subject] if one.account == account and matches(one.pattern, subject) else []
            for exporter, transform in self.imports[one.account]:
                shadow = transform.shadow(one.pattern)
                if exporter == account and shadow is not None and matches(shadow, subject):
                    names.append(transform.to_local(subject))
            for name in names:
                one.output += b"MSG %b %b %d\r\n%b\r\n" % (name, one.sid, len(payload), payload)


def configured(text: str) -> Accounts:
    """The accounts of a configuration. Raises ConfigError."""
    table = table_of(words_of(text))
    accounts = {"$G": {"mappings": table.get("mappings", {})}, **table.get("accounts", {})}
    return Accounts(
        {name: mappings_of(of.get("mappings", {})) for name, of in accounts.items()},
        {name: [stream_import_of(one) for one in of.get("imports", [])] for name, of in accounts.items()},
        {user["user"]: name for name, of in accounts.items() for user in of.get("users", [])},
    )


def mappings_of(table: dict[str, Any]) -> Mappings:
    return Mappings(mapping_of(source, value) for source, value in table.items())


def stream_import_of(item: dict[str, Any]) -> tuple[str, ImportTransform]:
    exporter: str = item["stream"]["subject"]
    local: str = item.get("to") or ".".join([item["prefix"], exporter])
    return item["stream"]["account"], ImportTransform.stream(exporter.encode(), local.encode())


class Connection:
    """One connection, with just the operations that these vectors send."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._account = "$G"
        self.output = bytearray()

    def send(self, sent: bytes) -> None:
        lines = iter(sent.split(b"\r\n"))
        for line in lines:
            match line.split():
                case [b"CONNECT", *_]:
                    user = json.loads(line.removeprefix(b"CONNECT ")).get("user")
                    self._account = "$G" if user is None else self._accounts.users[user]
                case [b"SUB", pattern, sid]:
                    self._accounts.subscribers.append(Subscriber(self._account, pattern, sid, self.output))
                case [b"PUB", subject, _]:
                    self._accounts.publish(self._account, subject, next(lines))
                case [b"PING"]:
                    self.output += b"PONG\r\n"
                case rest:
                    assert not rest, f"an operation that these vectors do not need: {rest}"


@pytest.mark.spec("accounts 5.1", "accounts 5.2", "accounts 9", "accounts 9.1")
@pytest.mark.parametrize("name", RUN)
def test_a_vector_sees_the_subjects_that_it_expects(name: str) -> None:
    accounts = configured(VECTORS[name]["config"])
    connections: dict[str, Connection] = {}

    for step in VECTORS[name]["steps"]:
        connection = connections.setdefault(step["conn"], Connection(accounts))
        connection.send(step["send"].encode())
        answer = re.search(step["expect_regex"].encode(), bytes(connection.output), re.DOTALL)
        assert answer, f"{bytes(connection.output)!r} does not match {step['expect_regex']}"
        del connection.output[: answer.end()]


@pytest.mark.spec("accounts 2.1", "accounts 9")
@pytest.mark.parametrize("name", REFUSED)
def test_a_vector_is_refused_with_its_text(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configured(VECTORS[name]["config"])

    assert re.search(VECTORS[name]["config_error"], str(refused.value))


@pytest.mark.spec("accounts 15")
@pytest.mark.parametrize("name", ACCEPTED)
def test_what_only_the_2_9_line_refuses_is_accepted(name: str) -> None:
    assert VECTORS[name]["profile"] == "2.9"

    assert len(configured(VECTORS[name]["config"]).mappings["A"]) == 1


def test_every_vector_runs_or_waits_for_something_named() -> None:
    done = {*RUN, *REFUSED, *ACCEPTED}
    waits = Counter(
        pattern for name in VECTORS.keys() - done for pattern in WAITING if fnmatchcase(name, pattern)
    )
    unexplained = [
        name for name in VECTORS.keys() - done if not any(fnmatchcase(name, pattern) for pattern in WAITING)
    ]

    assert not unexplained
    assert waits.keys() == WAITING.keys()
    assert done <= VECTORS.keys()


@pytest.mark.spec("accounts 9.1", "accounts 18:15")
def test_a_thousand_subjects_are_in_the_partitions_of_the_reference() -> None:
    assert len(PARTITIONS) == 1000

    for row in PARTITIONS:
        stars = row["tokens"]
        numbers = ",".join(str(number) for number in range(1, len(stars) + 1))
        source = b".".join([b"*"] * len(stars))
        transform = Transform.parse(source, f"{{{{partition({row['buckets']},{numbers})}}}}".encode())

        assert transform.apply(".".join(stars).encode(), lambda n: n) == str(row["partition"]).encode(), stars

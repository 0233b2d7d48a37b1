"""Users and permissions of a file become values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from natscore.account.permissions import EVERYTHING, Permissions, ResponsePermission, Rules, SubscribeRules
from natscore_cli.conf.effect import load_file
from natscore_cli.conf.users import FileUser

if TYPE_CHECKING:
    from pathlib import Path

KEY: Final = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK"


def users(text: str, folder: Path) -> tuple[FileUser, ...]:
    (folder / "c.conf").write_text(text)
    return load_file(str(folder / "c.conf"), {}).logins.users


def permissions(text: str, folder: Path) -> Permissions | None:
    (user,) = users(f"authorization {{ users: [ {{user: a, permissions: {text}}} ] }}", folder)
    return user.permissions


@pytest.mark.spec("client-protocol 16.5", "accounts 3", "configuration 5.1", "configuration 5.2")
def test_users_of_every_block_are_there_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = users(
        "accounts { A { users: [ {user: a, password: p} ] }, B {} }\n"
        f"authorization {{ users: [ {{username: b, pass: q, clients: [websocket]}}, {{nkey: {KEY}}} ] }}",
        tmp_path,
    )

    assert found == (
        FileUser(name="a", password="p", account="A"),
        FileUser(name="b", password="q", account="$G", connection_types=frozenset({"WEBSOCKET"})),
        FileUser(nkey=KEY, account="$G"),
    )
    assert [user.identity for user in found] == ["a", "b", KEY]


@pytest.mark.spec("client-protocol 18.1", "configuration 5.3")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", EVERYTHING),
        ("{ publish: {} }", EVERYTHING),
        ("{ publish: a }", Permissions(Rules(allow=(b"a",)))),
        ("{ pub: [a, b] }", Permissions(Rules(allow=(b"a", b"b")))),
        ("{ import: {allow: a, deny: [b]} }", Permissions(Rules((b"a",), (b"b",)))),
        ("{ publish: {deny: b} }", Permissions(Rules(None, (b"b",)))),
        ('{ subscribe: ["a q", b] }', Permissions(subscribe=SubscribeRules(((b"a", b"q"), (b"b", None))))),
        ('{ sub: {deny: "a  q"} }', Permissions(subscribe=SubscribeRules(deny=((b"a", b"q"),)))),
        ("{ export: {allow: a} }", Permissions(subscribe=SubscribeRules(((b"a", None),)))),
        ("{ allow_responses: false }", EVERYTHING),
        ("{ allow_responses: true }", Permissions(Rules(()), responses=ResponsePermission())),
        ("{ publish_allow_responses: {} }", Permissions(Rules(()), responses=ResponsePermission())),
        (
            '{ publish: a, allow_responses: {max: 3, expires: "1s"} }',
            Permissions(Rules((b"a",)), responses=ResponsePermission(3, 10**9)),
        ),
        (
            '{ publish: {deny: b}, allow_responses: {max_msgs: -1, ttl: "-1s"} }',
            Permissions(Rules((), (b"b",)), responses=ResponsePermission(-1, -1)),
        ),
        ("{ publish: [] }", EVERYTHING),
        ("{ publish: {allow: []} }", EVERYTHING),
    ],
)
def test_permissions_are_those_of_the_block(text: str, expected: Permissions, tmp_path: Path) -> None:
    assert permissions(text, tmp_path) == expected


@pytest.mark.spec("accounts 2", "client-protocol 16.3")
@pytest.mark.parametrize("block", ["authorization", "accounts { A"])
def test_default_permissions_are_for_users_without_their_own(block: str, tmp_path: Path) -> None:
    text = "default_permissions: {publish: d}, users: [ {user: a}, {user: b, permissions: {}} ]"

    found = users(f"{block} {{ {text} }}" + " }" * block.count("{"), tmp_path)

    assert [user.permissions for user in found] == [Permissions(Rules(allow=(b"d",))), EVERYTHING]


def test_what_is_shown_of_a_user_holds_no_secret() -> None:
    assert "planted" not in repr(FileUser(name="a", password="planted"))

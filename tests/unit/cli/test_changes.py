"""Two profiles are compared: what changes, and who would be closed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest

from natscore.account.permissions import Permissions, Rules
from natscore.account.settings import AccountSettings, AccountsSettings
from natscore.account.users import UserSettings, UsersSettings
from natscore.options import SECOND, Options, TlsOptions
from natscore.reload import reload_problems
from natscore_cli.arguments import parse
from natscore_cli.changes import Profile, compared
from natscore_cli.conf.effect import load_file
from natscore_cli.conf.options import Option, Reload, Support
from natscore_cli.conf.table.top import FILE
from natscore_cli.settings import LogSettings, resolve

if TYPE_CHECKING:
    from pathlib import Path


def profile(**options: Any) -> Profile:
    return Profile(options=Options(**options))


def users(*found: UserSettings, **others: Any) -> UsersSettings:
    return UsersSettings(users=found, **others)


A, B = UserSettings(name="a", password="p"), UserSettings(name="b", password="p")


def test_a_profile_is_read_as_it_was_written() -> None:
    everything = Profile(
        options=Options(
            users=users(
                UserSettings(permissions=Permissions(Rules((b"x.\xff",))), connection_types=("STANDARD",))
            ),
            accounts=AccountsSettings(accounts=(AccountSettings(name="A"),)),
            tls=TlsOptions(first_ns=5, pinned_keys=("a" * 64,)),
            user="u\udcff",
        ),
        log=LogSettings(file="f", debug=True),
        pid_file="p",
        ports_file_dir="d",
        journal_file="j",
        journal_size_max=5,
        tls_digest="t",
    )  # fmt: skip

    assert Profile.read(orjson.loads(orjson.dumps(everything.document()))) == everything


@pytest.mark.spec("operations 9.2")
def test_equal_profiles_have_no_changes() -> None:
    assert compared(profile(user="a", password="p"), profile(user="a", password="p")) == ([], [], [])


@pytest.mark.spec("operations 9.2")
@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({}, {"auth_timeout_ns": 3 * SECOND // 2}, ["authorization timeout = 1.5"]),
        ({}, {"write_deadline_ns": SECOND // 2}, ["write_deadline = 500ms"]),
        ({"client_advertise": "a"}, {}, ["client_advertise = "]),
        ({"fast_producer_stall": False}, {}, ["no_fast_producer_stall = false"]),
        ({"user": "a", "password": "p"}, {"user": "b", "password": "p"}, ["authorization username"]),
        ({"user": "a", "password": "p"}, {"user": "a", "password": "q"}, ["authorization password"]),
        ({"token": "a"}, {"token": "b"}, ["authorization token"]),
        ({"users": users(A)}, {"users": users(A, no_auth_user="a")}, ["no_auth_user"]),
    ],
)
def test_changes_are_named_as_in_the_log_of_nats_server(
    old: dict[str, Any], new: dict[str, Any], lines: list[str]
) -> None:
    assert compared(profile(**old), profile(**new)).changes == lines


@pytest.mark.spec("operations 9.3")
@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({"users": users(A, B)}, {"users": users(A)}, ['connections of user "b": it is gone']),
        ({"users": users(A)}, {}, []),
        (
            {"users": users(replace(A, account="X"))},
            {},
            ['connections of user "a": it leaves account "X"'],
        ),
        (
            {"users": users(A)},
            {"users": users(replace(A, account="X"))},
            ['connections of user "a": it moves from account "$G" to "X"'],
        ),
        (
            {"users": users(A)},
            {"users": users(replace(A, connection_types=("WEBSOCKET",)))},
            ['connections of user "a" of a type other than WEBSOCKET'],
        ),
        ({}, {"token": "t"}, ["connections that did not log in"]),
        ({}, {"users": users(A, no_auth_user="a")}, []),
        ({"token": "t"}, {"token": "u"}, ["connections that logged in with the old token"]),
        ({"token": "t"}, {}, []),
        ({"user": "a", "password": "p"}, {"users": users(A)}, []),
        ({"user": "a", "password": "p"}, {"users": users(B)}, ['connections of user "a": it is gone']),
        (
            {"user": "a", "password": "p"},
            {"user": "a", "password": "q"},
            ['connections of user "a" that do not know its new password'],
        ),
        (
            {"tls": TlsOptions()},
            {"tls": TlsOptions(pinned_keys=("a",))},
            ["connections with TLS whose key is none of the pinned ones"],
        ),
    ],
)
def test_who_would_be_closed_is_said(old: dict[str, Any], new: dict[str, Any], lines: list[str]) -> None:
    assert compared(profile(**old), profile(**new)).closes == lines


def test_no_secret_is_in_what_is_said() -> None:
    old = profile(user="a", password="planted1", users=UsersSettings())
    new = profile(users=users(UserSettings(name="a", password="planted2")), token="")

    assert "planted" not in repr(compared(old, new))


SAMPLES: Final = {"port": "5", "host": "localhost", "listen": "localhost:5", "max_pending": "5mb"}
WITH_TLS: Final = ("tls", "allow_non_tls")  # need certificates: see tests/command and tests/unit/core
OBEYED: Final = [
    option for option in FILE.options if option.support is Support.OBEYED and option.name not in WITH_TLS
]


@pytest.mark.spec("operations 9.2")
@pytest.mark.parametrize("option", OBEYED, ids=lambda option: option.name)
def test_the_table_says_of_each_option_whether_a_reload_takes_it(option: Option, tmp_path: Path) -> None:
    path = tmp_path / "c.conf"
    path.write_text(f"{option.name}: {SAMPLES.get(option.name, option.sample or option.type.sample)}\n")
    plain = resolve(parse([]), memory_bytes=1 << 30)

    changed = Profile.of(resolve(parse([]), memory_bytes=1 << 30, file=load_file(str(path), {})))

    old = Profile.of(plain)
    refused = compared(old, changed).refused + reload_problems(old.options, changed.options)
    assert bool(refused) == (option.reload is Reload.NO)

"""The names of ops, and what stands behind them."""

from __future__ import annotations

import pytest

from natscore.wire.ops import CLIENT_OPS, OP_LENGTH_MAX, OP_PREFIXES, Follows, op_name


@pytest.mark.spec("client-protocol 2", "client-protocol 3")
@pytest.mark.parametrize("name", sorted(CLIENT_OPS))
def test_a_name_is_found_in_any_case_and_whatever_follows(name: bytes) -> None:
    for said in (name, name.lower(), name.capitalize(), name + b"X", name + b" foo"):
        found = op_name(said, 0)

        assert found is not None
        assert found.group().upper() == name


def test_no_name_begins_with_another() -> None:
    assert not [(a, b) for a in CLIENT_OPS for b in CLIENT_OPS if a != b and a.startswith(b)]


@pytest.mark.parametrize("said", [b"", b"P", b"PU", b" PUB", b"MSG", b"ZZZ"])
def test_what_is_no_name_is_not_found(said: bytes) -> None:
    assert op_name(said, 0) is None


def test_every_beginning_of_a_name_may_still_become_one() -> None:
    assert {b"P", b"PU", b"PUB", b"PI", b"H", b"-", b"+O", b"CONNEC"} <= OP_PREFIXES
    assert {b"", b"X", b"PX", b"CONNECTX"}.isdisjoint(OP_PREFIXES)
    assert max(map(len, OP_PREFIXES)) == OP_LENGTH_MAX == len(b"CONNECT")


@pytest.mark.spec("client-protocol 2")
def test_which_ops_need_a_blank() -> None:
    assert {name for name, follows in CLIENT_OPS.items() if follows is Follows.BLANK} == {
        b"PUB", b"HPUB", b"SUB", b"UNSUB", b"-ERR",
    }  # fmt: skip
    assert {name for name, follows in CLIENT_OPS.items() if follows is Follows.IGNORED} == {
        b"PING", b"PONG", b"+OK",
    }  # fmt: skip

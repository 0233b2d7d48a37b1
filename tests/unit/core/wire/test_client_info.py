"""What a server says of a client to others."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscore.wire.client_info import detailed_info, encoded, plain_info, text_of, time_of
from natscore.wire.connect import ConnectOptions


@pytest.mark.spec("accounts 7")
def test_an_account_that_shares_nothing_is_named_with_its_distance() -> None:
    assert encoded(plain_info("B", 490_268)) == b'{"acc":"B","rtt":490268}'
    assert encoded(plain_info("B", None)) == b'{"acc":"B"}'


@pytest.mark.spec("accounts 7", "accounts 8")
def test_details_stand_in_the_order_of_the_reference_and_nothing_empty_among_them() -> None:
    said = ConnectOptions(user="u", name="n", lang="x", version="1")

    info = detailed_info("B", 7, said, cid=5, host="::1", opened_wall_ns=0, server="s")

    assert encoded({**info, "svc": "C"}) == (
        b'{"start":"1970-01-01T00:00:00Z","host":"::1","id":5,"acc":"B","svc":"C","user":"u","name":"n",'
        b'"lang":"x","ver":"1","rtt":7,"server":"s","kind":"Client","client_type":"nats"}'
    )


@pytest.mark.parametrize(
    ("said", "user"),
    [
        (ConnectOptions(nkey="U1", user="u"), "U1"),
        (ConnectOptions(auth_token="secret"), "[REDACTED]"),
        (ConnectOptions(), None),
    ],
)
def test_no_secret_is_told(said: ConnectOptions, user: str | None) -> None:
    info = detailed_info("B", None, said, cid=5, host="h", opened_wall_ns=0, server="s")

    assert info.get("user") == user
    assert b"secret" not in encoded(info)


@pytest.mark.parametrize(("name", "text"), [("a", "a"), ("é", "é"), ("a\udcff", "a\ufffd")])
def test_a_name_that_is_no_text_is_said_as_go_does(name: str, text: str) -> None:
    assert text_of(name) == text
    assert json.loads(encoded(plain_info(name, None))) == {"acc": text}


@given(st.integers(0, 253_402_300_799), st.integers(0, 999_999_999))
def test_times_are_those_of_the_calendar(seconds: int, rest: int) -> None:
    day = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")

    text = time_of(seconds * 1_000_000_000 + rest)

    date, _, fraction = text.removesuffix("Z").partition(".")
    assert date[-19:] == day[-19:]
    assert int(fraction.ljust(9, "0")) == rest
    assert not fraction.endswith("0")

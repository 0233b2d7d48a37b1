"""A client's stream is followed byte by byte, and loses payloads and secrets but no length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscore_cli.tools.sanitized import StandIns, Stream


def sanitized(*reads: bytes) -> list[bytes]:
    stream = Stream(StandIns())
    chunks = [stream.take(read) for read in reads]
    stream.give_up()
    assert [chunk.waits for chunk in chunks] == [0] * len(chunks)
    return [bytes(chunk.data) for chunk in chunks]


@pytest.mark.parametrize(
    ("read", "written"),
    [
        (
            b"SUB foo 1\r\nUNSUB 1\r\nPING\r\nPONG\r\n+OK\r\n",
            b"SUB foo 1\r\nUNSUB 1\r\nPING\r\nPONG\r\n+OK\r\n",
        ),
        (b"PUB foo 5\r\nhello\r\nSUB a 1\n", b"PUB foo 5\r\nxxxxx\r\nSUB a 1\n"),
        (b"pub\tfoo re.ply  05 \r\nhello\r\n", b"pub\tfoo re.ply  05 \r\nxxxxx\r\n"),
        (b"PUB foo 0\r\n\r\nPING\r\n", b"PUB foo 0\r\n\r\nPING\r\n"),
        (b"HPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", b"HPUB foo 12 14\r\nxxxxxxxxxxxxxx\r\n"),
        (
            b'CONNECT {"user":"joe","pass":"s3cret","name":"n"}\r\n',
            b'CONNECT {"user":"aaa","pass":"aaaaaa","name":"n"}\r\n',
        ),
        (b'connect{"a": [1.50, {"JWT" : 12}]}\n', b'connect{"a":[1.50,{"JWT":0}]}     \n'),
        (b'CONNECT {"sig":"\\u0041\\/"}\r\n', b'CONNECT {"sig":"aa"}      \r\n'),
        ('CONNECT {"pass":"é日"}\r\n'.encode(), b'CONNECT {"pass":"aa"}   \r\n'),
        (b"CONNECT \r\nCONNECT null\r\n", b"CONNECT \r\nCONNECT null\r\n"),
        (b'CONNECT {"pass":"s3cret"\r\n', b"CONNECT xxxxxxxxxxxxxxxx\r\n"),
        (b"PING private\r\n-ERR private\r\n", b"PINGxxxxxxxx\r\n-ERR xxxxxxx\r\n"),
        (b"private nonsense\r\nPUB foo 1\r\n", b"xxxxxxxxxxxxxxxx\r\nxxxxxxxxxxx"),
        (b"PUB foo bad\r\nprivate", b"PUB foo bad\r\nxxxxxxx"),
        (b"PUB foo 2\r\nprivate\r\nSUB a 1\r\n", b"PUB foo 2\r\nxxxxxxxxxxxxxxxxxx"),
        (b"PUB foo 2\r\nhi\nSUB a 1\r\n", b"PUB foo 2\r\nxxxxxxxxxxxx"),
        (b'SUB a 1\r\nCONNECT {"pass":"s3', b"SUB a 1\r\nCONNECT xxxxxxxxxxx"),
        (b"SUB a", b"SUB a"),
        (b"private", b"pxxxxxx"),
    ],
)
def test_what_a_client_said_loses_its_payloads_and_secrets(read: bytes, written: bytes) -> None:
    assert sanitized(read) == [written]


def test_a_read_waits_until_the_line_that_it_begins_is_whole() -> None:
    stream = Stream(StandIns())

    first = stream.take(b'PING\r\nCONNECT {"pa')
    second = stream.take(b'ss":"s3c')
    assert (first.waits, second.waits) == (1, 1)
    third = stream.take(b'ret"}\r\n')

    assert [bytes(chunk.data) for chunk in (first, second, third)] == [
        b'PING\r\nCONNECT {"pa',
        b'ss":"aaa',
        b'aaa"}\r\n',
    ]
    assert (first.waits, second.waits, third.waits) == (0, 0, 0)


def test_what_follows_the_beginning_of_a_tls_handshake_is_read_as_what_was_decrypted() -> None:
    written = sanitized(b"\x16\x03\x01hello", b"PUB foo 5\r\nhello\r\n", b"\x16 is no handshake here\r\n")

    assert written == [b"\x16xxxxxxx", b"PUB foo 5\r\nxxxxx\r\n", b"x" * 22 + b"\r\n"]


def test_a_line_without_an_end_is_not_waited_for_for_ever() -> None:
    stream = Stream(StandIns())

    chunks = [stream.take(b"CONNECT " + b"y" * 65_528) for _ in range(17)]

    assert chunks[0].waits == 0
    assert bytes(chunks[0].data) == b"CONNECT " + b"x" * 65_528
    assert bytes(chunks[16].data) == b"x" * 65_536


def test_equal_secrets_have_equal_stand_ins_and_others_have_others() -> None:
    stand_ins = StandIns()
    secrets = [f"{number:02}" for number in range(100)]

    found = [stand_ins.of(secret) for secret in secrets]

    assert len(set(found)) == 100
    assert {len(text) for text in found} == {2}
    assert [stand_ins.of(secret) for secret in secrets] == found
    assert stand_ins.of("") == ""


script = st.lists(
    st.sampled_from([
        b'CONNECT {"user":"joe","pass":"s3cret","x":[true,1e5]}\r\n',
        b"PUB foo 6\r\nsecret\r\n",
        b"HPUB foo 12 18\r\nNATS/1.0\r\n\r\nsecret\r\n",
        b"SUB foo 1\r\n",
        b"PING secret\r\n",
        b"PUB foo 0\r\n\r\n",
        b"PUB foo 3\r\nsecret\r\n",
        b"secret\r\n",
        b"\r\n",
        b'CONNECT {"pass":"s3cret"\r\n',
    ]),
    max_size=8,
)  # fmt: skip


@given(script, st.data())
def test_the_result_is_the_same_wherever_the_stream_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reads = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    written = sanitized(*reads)

    assert [len(chunk) for chunk in written] == [len(read) for read in reads]
    assert b"".join(written) == b"".join(sanitized(stream))
    assert b"ecret" not in b"".join(written)
    assert b"s3" not in b"".join(written)

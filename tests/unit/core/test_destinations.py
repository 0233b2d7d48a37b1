"""The language of destinations: what each token means, and what is said about a wrong one."""

from __future__ import annotations

import pytest

from natscore.destinations import Call, TransformError, integer, parsed

CALLS = {
    b"$1": Call("wildcard", (1,)),
    b"$12": Call("wildcard", (12,)),
    b"$+1": Call("wildcard", (1,)),
    b"$0": Call("wildcard", (0,)),
    b"{{wildcard(2)}}": Call("wildcard", (2,)),
    b"{{ Wildcard( 1 ) }}": Call("wildcard", (1,)),
    b"{{\twildcard \n(1)\r}}": Call("wildcard", (1,)),
    b"{{partition(10)}}": Call("partition", (), 10),
    b"{{Partition(7, 1,\t2)}}": Call("partition", (1, 2), 7),
    b"{{partition(-1,1)}}": Call("partition", (1,), 2**32 - 1),
    b"{{random(5)}}": Call("random", (), 5),
    b"{{random(-5)}}": Call("random", (), 5),
    b"{{split(1,-)}}": Call("split", (1,), 0, b"-"),
    b"{{split(1, ab)}}": Call("split", (1,), 0, b"ab"),
    b"{{split(1,)}}": Call("split", (1,), 0, b""),
    b"{{splitfromleft(1,3)}}": Call("splitfromleft", (1,), 3),
    b"{{SplitFromLeft(1,3)}}": Call("splitfromleft", (1,), 3),
    b"{{splitFromleft(1,-3)}}": Call("splitfromleft", (1,), -3),
    b"{{splitFromRight(2,3)}}": Call("splitfromright", (2,), 3),
    b"{{sliceFromLeft(1,3)}}": Call("slicefromleft", (1,), 3),
    b"{{slicefromRight(1,3)}}": Call("slicefromright", (1,), 3),
    b"{{Left(1,2)}}": Call("left", (1,), 2),
    b"{{right(1,2)}}": Call("right", (1,), 2),
}

LITERALS = [
    b"foo", b"", b"$", b"$x", b"$1x", b"$ 1", b"$1_0", b"$99999999999999999999", b"{{}}", b"x{{wildcard(1)}}",
    b"{{wildcard(1)}", b"{wildcard(1)}", b"*", b"\xff", b"$\xd9\xa1",
]  # fmt: skip

WRONG = {
    b"{{}}}": "unknown function",
    b"{{nope(1)}}": "unknown function",
    b"{{SPLIT(1,-)}}": "unknown function",
    b"{{splitFROMleft(1,3)}}": "unknown function",
    b"{{wildcard}}": "unknown function",
    b"{{wildcard(1}}": "unknown function",
    b"{{x{{wildcard(1)}}": "unknown function",
    b"{{wildcard(1)x}}": "unknown function",
    b"{{wildcard\x0b(1)}}": "unknown function",
    b"{{wildcard()}}": "not enough arguments passed to the function",
    b"{{split(1)}}": "not enough arguments passed to the function",
    b"{{sliceFromLeft(1)}}": "not enough arguments passed to the function",
    b"{{random(5,1)}}": "not enough arguments passed to the function",
    b"{{wildcard(1,2)}}": "too many arguments passed to the function",
    b"{{split(1,-,2)}}": "too many arguments passed to the function",
    b"{{left(1,2,3)}}": "too many arguments passed to the function",
    b"{{wildcard( )}}": "function argument is invalid or in the wrong format",
    b"{{wildcard(x)}}": "function argument is invalid or in the wrong format",
    b"{{partition()}}": "function argument is invalid or in the wrong format",
    b"{{partition(1,x)}}": "function argument is invalid or in the wrong format",
    b"{{partition(2147483648,1)}}": "function argument is invalid or in the wrong format",
    b"{{random()}}": "function argument is invalid or in the wrong format",
    b"{{split(x,-)}}": "function argument is invalid or in the wrong format",
    b"{{split(1,- )}}": "function argument is invalid or in the wrong format",
    b"{{right(1,2147483648)}}": "function argument is invalid or in the wrong format",
    b"{{right(1,-2147483649)}}": "function argument is invalid or in the wrong format",
}


@pytest.mark.spec("accounts 9.1")
@pytest.mark.parametrize(("token", "call"), CALLS.items(), ids=repr)
def test_a_token_stands_for_a_function(token: bytes, call: Call) -> None:
    assert parsed(token) == call


@pytest.mark.spec("accounts 9.1")
@pytest.mark.parametrize("token", LITERALS)
def test_a_token_stands_for_itself(token: bytes) -> None:
    assert parsed(token) is None


@pytest.mark.spec("accounts 9", "accounts 9.1")
@pytest.mark.parametrize(("token", "reason"), WRONG.items(), ids=repr)
def test_a_wrong_function_is_named_with_the_reason(token: bytes, reason: str) -> None:
    with pytest.raises(TransformError) as refused:
        parsed(token)

    assert str(refused.value) == f"invalid mapping destination: {reason} in {token.decode()}"


def test_bytes_that_are_no_text_are_shown_escaped() -> None:
    with pytest.raises(TransformError, match=r"unknown function in \{\{\\xff\(1\)\}\}"):
        parsed(b"{{\xff(1)}}")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"0", 0),
        (b"007", 7),
        (b"+5", 5),
        (b"-5", -5),
        (b"0" * 10_000 + b"1", 1),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"9223372036854775808", None),
        (b"1" * 10_000, None),
        (b"", None),
        (b"-", None),
        (b" 1", None),
        (b"1_0", None),
        (b"1.0", None),
    ],
)
def test_a_number_is_read_as_the_reference_reads_it(text: bytes, number: int | None) -> None:
    assert integer(text) == number

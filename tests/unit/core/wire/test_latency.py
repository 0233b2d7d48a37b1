"""Latency samples as documents, and the headers that ask for them."""

from __future__ import annotations

import json

import pytest

from natscore.wire.latency import Status, encode_sample, triggering_headers


@pytest.mark.spec("accounts 8", "accounts 17:14")
@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("Uber-Trace-Id: a:b:c:1\r\nUberctx-X: 1\r\nOther: 2",
         {"Uber-Trace-Id": ["a:b:c:1"], "Uberctx-X": ["1"]}),
        ("Uber-Trace-Id: a:b:c:0\r\nX-B3-Sampled: 1", None),
        ("Uber-Trace-Id: a:b:c:g1", None),
        ("Uber-Trace-Id: a:b:1", None),
        ("X-B3-Sampled: 1\r\nX-B3-SpanId: 2", {"X-B3-Sampled": ["1"], "X-B3-Spanid": ["2"]}),
        ("X-B3-Sampled: 0\r\nX-B3-TraceId: 2", None),
        ("X-B3-TraceId: 2\r\nX-B3-ParentSpanId: 3", {"X-B3-Traceid": ["2"], "X-B3-Parentspanid": ["3"]}),
        ("B3: a-b-1-c", {"B3": ["a-b-1-c"]}),
        ("B3: a-b-0", None),
        ("B3: 0", None),
        ("B3: 1", {"B3": ["1"]}),
        ("Traceparent: v-t-p-01\r\nTracestate: s", {"Traceparent": ["v-t-p-01"], "Tracestate": ["s"]}),
        ("Traceparent: v-t-p-03", {"Traceparent": ["v-t-p-03"]}),
        ("Traceparent: v-t-p-1", None),
        ("A: b", None),
    ],
)  # fmt: skip
def test_the_first_kind_of_header_that_is_there_decides(lines: str, found: object) -> None:
    assert triggering_headers(f"NATS/1.0\r\n{lines}\r\n\r\n".encode()) == found


@pytest.mark.spec("accounts 8")
def test_a_sample_has_the_fields_of_the_reference_in_their_order() -> None:
    document = encode_sample(
        Status.ANSWERED,
        sample_id="x" * 22,
        now_wall_ns=2_500_000_000,
        start_wall_ns=1_000_000_000,
        requestor={"acc": "B"},
        responder={"acc": "A"},
        headers={"B3": ["1"]},
        service_ns=-5,
        system_ns=3,
        total_ns=9,
    )

    assert list(json.loads(document).items()) == [
        ("type", "io.nats.server.metric.v1.service_latency"),
        ("id", "x" * 22),
        ("timestamp", "1970-01-01T00:00:02.5Z"),
        ("status", 200),
        ("requestor", {"acc": "B"}),
        ("responder", {"acc": "A"}),
        ("header", {"B3": ["1"]}),
        ("start", "1970-01-01T00:00:01Z"),
        ("service", 0),
        ("system", 3),
        ("total", 9),
    ]


@pytest.mark.spec("accounts 8")
@pytest.mark.parametrize(
    ("status", "number", "text"),
    [
        (Status.NO_REPLY, 400, "Bad Request"),
        (Status.INTEREST_LOST, 408, "Request Timeout"),
        (Status.NO_DELIVERY, 503, "Service Unavailable"),
        (Status.TIMED_OUT, 504, "Service Timeout"),
    ],
)
def test_a_request_without_an_answer_says_why_and_measures_nothing(
    status: Status, number: int, text: str
) -> None:
    sample = json.loads(encode_sample(status, sample_id="i", now_wall_ns=0, start_wall_ns=0, requestor=None))

    assert (sample["status"], sample["description"]) == (number, text)
    assert [sample[key] for key in ("service", "system", "total")] == [0, 0, 0]

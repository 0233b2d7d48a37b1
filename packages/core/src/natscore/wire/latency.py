"""Latency samples of services: which requests are measured, and what is published of them.

Source: accounts.md section 8; nats-server 2.14.5, `server/accounts.go shouldSample`,
`type ServiceLatency`.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

from natscore.wire.client_info import time_of
from natscore.wire.headers import header_values

if TYPE_CHECKING:
    from natscore.wire.client_info import ClientInfo

__all__ = ["SAMPLE_TYPE", "Headers", "Status", "encode_sample", "triggering_headers"]

SAMPLE_TYPE: Final = "io.nats.server.metric.v1.service_latency"

Headers: TypeAlias = dict[str, list[str]]
"""Canonical name to values."""

_JAEGER: Final = "Uber-Trace-Id"
_JAEGER_CONTEXT: Final = "Uberctx-"
_B3: Final = "B3"
_B3_SAMPLED: Final = "X-B3-Sampled"
_B3_TRACE: Final = "X-B3-Traceid"
_B3_OTHERS: Final = ("X-B3-Parentspanid", "X-B3-Spanid")
_TRACE_PARENT: Final = "Traceparent"
_TRACE_STATE: Final = "Tracestate"
_hex_digits: Final = re.compile("[0-9a-fA-F]{1,2}").fullmatch


class Status(enum.Enum):
    """How a request ended: a number, and what is said of it."""

    ANSWERED = (200, "")
    NO_REPLY = (400, "Bad Request")  # nowhere to answer to
    INTEREST_LOST = (408, "Request Timeout")  # the requester does not want it any more
    NO_DELIVERY = (503, "Service Unavailable")
    TIMED_OUT = (504, "Service Timeout")


def triggering_headers(block: bytes) -> Headers | None:
    """The headers by which a request asks to be measured, None when it does not.

    The first kind that is there decides, though it may decide against it.
    """
    given = header_values(block)
    if _JAEGER in given:
        parts = given[_JAEGER][0].split(":")
        if len(parts) != 4 or not _is_odd(parts[3]):
            return None
        context = {name: values for name, values in given.items() if name.startswith(_JAEGER_CONTEXT)}
        return {_JAEGER: given[_JAEGER], **context}
    sampled = given.get(_B3_SAMPLED, [""])[0]
    if sampled == "0":
        return None
    if sampled == "1" or _B3_TRACE in given:
        names = (_B3_SAMPLED, _B3_TRACE, *_B3_OTHERS)
        return {name: given[name] for name in names if name in given}
    if _B3 in given:
        parts = given[_B3][0].split("-")
        denied = parts[2] == "0" if len(parts) > 2 else parts == ["0"]
        return None if denied else {_B3: given[_B3]}
    if _TRACE_PARENT in given:
        parts = given[_TRACE_PARENT][0].split("-")
        if len(parts) != 4 or len(parts[3]) != 2 or not _is_odd(parts[3]):
            return None
        return {name: given[name] for name in (_TRACE_PARENT, _TRACE_STATE) if name in given}
    return None


def _is_odd(flags: str) -> bool:
    """Whether the lowest bit of one or two hex digits is set."""
    return bool(_hex_digits(flags)) and bool(int(flags, 16) & 1)


def encode_sample(
    status: Status,
    *,
    sample_id: str,
    now_wall_ns: int,
    start_wall_ns: int,
    requestor: ClientInfo | None,
    responder: ClientInfo | None = None,
    headers: Headers | None = None,
    service_ns: int = 0,
    system_ns: int = 0,
    total_ns: int = 0,
) -> bytes:
    """The document of one sample."""
    number, description = status.value
    document: dict[str, object] = {
        "type": SAMPLE_TYPE,
        "id": sample_id,
        "timestamp": time_of(now_wall_ns),
        "status": number,
        "description": description,
        "requestor": requestor,
        "responder": responder,
        "header": headers,
    }
    document = {key: said for key, said in document.items() if said}
    document["start"] = time_of(start_wall_ns)
    document |= {"service": max(service_ns, 0), "system": max(system_ns, 0), "total": total_ns}
    return orjson.dumps(document)

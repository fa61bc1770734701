"""OTLP requests: nobody but the verified sender is named in what goes on, and everything else stays."""

import contextlib
import gzip
import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as some
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from extproc.config.schema_telemetry import Signal
from extproc.web import otlp
from extproc.web.otlp import JSON, MAX_BYTES, MAX_JSON, PROTOBUF, Unreadable, stamped

ALICE = {"user.id": "alice", "user.groups": ["a", "b"]}
CLAIMED = [
    {"key": key, "value": {"stringValue": "mallory"}}
    for key in ("user.id", "user.email", "enduser.id", "identity.source", "user.account_uuid")
]
KEPT = [{"key": "session.id", "value": {"stringValue": "s"}}, {"key": "model", "value": {"intValue": "7"}}]
ATTRIBUTES = [*CLAIMED[:3], *KEPT, *CLAIMED[3:]]
RESOURCE = {"attributes": ATTRIBUTES}
SCOPE = {"name": "x", "attributes": ATTRIBUTES}
POINT = {"attributes": ATTRIBUTES, "asInt": "3"}
EXEMPLAR = {"filteredAttributes": ATTRIBUTES, "asDouble": 1.5}
IDS = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}

METRICS = {
    "resourceMetrics": [{
        "resource": RESOURCE,
        "scopeMetrics": [{
            "scope": SCOPE,
            "metrics": [
                {"name": "a", "sum": {"dataPoints": [POINT | {"exemplars": [EXEMPLAR]}], "isMonotonic": True}},
                {"name": "b", "gauge": {"dataPoints": [POINT]}, "metadata": ATTRIBUTES},
                {"name": "c", "histogram": {"dataPoints": [{"attributes": ATTRIBUTES, "exemplars": [EXEMPLAR]}]}},
                {"name": "d", "exponentialHistogram": {"dataPoints": [{"attributes": ATTRIBUTES}]}},
                {"name": "e", "summary": {"dataPoints": [{"attributes": ATTRIBUTES}]}},
                {"name": "empty"},
            ],
        }],
    }]
}  # fmt: skip
LOGS = {
    "resourceLogs": [{
        "resource": RESOURCE,
        "scopeLogs": [{"scope": SCOPE, "logRecords": [{"attributes": ATTRIBUTES, "body": {"intValue": "1"}, **IDS}]}],
    }]
}  # fmt: skip
LINK = {"attributes": ATTRIBUTES, **IDS}
SPAN = {
    "name": "s", "attributes": ATTRIBUTES, "events": [{"attributes": ATTRIBUTES}], "links": [LINK],
    "parentSpanId": "b7ad6b7169203331", "startTimeUnixNano": "5", **IDS,
}  # fmt: skip
TRACES = {"resourceSpans": [{"resource": RESOURCE, "scopeSpans": [{"scope": SCOPE, "spans": [SPAN]}]}]}
CASES: list[tuple[Signal, Any, Any]] = [
    ("metrics", METRICS, ExportMetricsServiceRequest),
    ("logs", LOGS, ExportLogsServiceRequest),
    ("traces", TRACES, ExportTraceServiceRequest),
]


def attribute_lists(value: Any) -> list[list[Any]]:
    """Every list of attributes in a request."""
    found: list[list[Any]] = []
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("attributes", "filteredAttributes", "metadata"):
                found.append(inner)
            found += attribute_lists(inner)
    elif isinstance(value, list):
        found += [one for item in value for one in attribute_lists(item)]
    return found


@pytest.mark.parametrize(("signal", "request_", "kind"), CASES, ids=[case[0] for case in CASES])
def test_the_sender_is_the_verified_one_everywhere(signal: Signal, request_: Any, kind: Any) -> None:
    out = kind.FromString(stamped(signal, json.dumps(request_).encode(), JSON, "", ALICE))
    assert b"mallory" not in out.SerializeToString()
    written = MessageToDict(out)
    lists = attribute_lists(written)
    of_resource = written[next(iter(written))][0]["resource"]["attributes"]
    assert of_resource == [
        *KEPT,
        {"key": "identity.source", "value": {"stringValue": "gateway"}},
        {"key": "user.id", "value": {"stringValue": "alice"}},
        {"key": "user.groups", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}},
    ]
    others = [one for one in lists if one is not of_resource]
    assert len(others) == len(attribute_lists(request_)) - 1 and all(one == KEPT for one in others)


@pytest.mark.parametrize(("signal", "request_", "kind"), CASES, ids=[case[0] for case in CASES])
def test_both_forms_mean_the_same(signal: Signal, request_: Any, kind: Any) -> None:
    once = stamped(signal, json.dumps(request_).encode(), JSON, "", ALICE)
    assert stamped(signal, once, PROTOBUF, "", ALICE) == once
    assert stamped(signal, gzip.compress(once), PROTOBUF, "gzip", ALICE) == once


def test_ids_in_json_are_hexadecimal() -> None:
    out = ExportTraceServiceRequest.FromString(stamped("traces", json.dumps(TRACES).encode(), JSON, "", {}))
    [span] = out.resource_spans[0].scope_spans[0].spans
    assert (span.trace_id.hex(), span.span_id.hex()) == (IDS["traceId"], IDS["spanId"])
    assert (span.parent_span_id.hex(), span.links[0].span_id.hex()) == (IDS["spanId"], IDS["spanId"])


def test_a_resource_that_says_nothing_is_marked_too() -> None:
    request = ExportLogsServiceRequest()
    request.resource_logs.add()
    out = ExportLogsServiceRequest.FromString(stamped("logs", request.SerializeToString(), PROTOBUF, "", ALICE))
    assert [one.key for one in out.resource_logs[0].resource.attributes] == [
        "identity.source",
        "user.id",
        "user.groups",
    ]


@pytest.mark.parametrize("signal", ["metrics", "logs", "traces"])
def test_an_empty_request_stays_empty(signal: Signal) -> None:
    assert stamped(signal, b"", PROTOBUF, "", ALICE) == stamped(signal, b"{}", JSON, "", ALICE) == b""


@pytest.mark.parametrize(
    ("body", "media", "encoding", "problem"),
    [
        (b"\xff\xff", PROTOBUF, "", "the body is no OTLP request for logs"),
        (b"{", JSON, "", "the body is no OTLP request for logs"),
        (b"[]", JSON, "", "the body is no OTLP request for logs"),
        (b'{"resourceLogs": 1}', JSON, "", "the body is no OTLP request for logs"),
        (b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": "x"}]}]}]}', JSON, "", "the body is no OTLP"),
        (b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": 5}]}]}]}', JSON, "", "the body is no OTLP"),
        (b"[" * 5000, JSON, "", "the body is no OTLP request for logs"),
        (b"[" * (MAX_JSON + 1), JSON, "", "bytes of JSON; send application/x-protobuf"),
        (b"", "text/plain", "", "expected content-type"),
        (b"no gzip at all", PROTOBUF, "gzip", "not valid gzip"),
        (gzip.compress(b"x", mtime=0)[:-4], PROTOBUF, "gzip", "not one gzip stream"),
        (gzip.compress(bytes(MAX_BYTES + 1), mtime=0), PROTOBUF, "gzip", "not one gzip stream"),
        (b"", PROTOBUF, "br", "content-encoding: br cannot be read here"),
    ],
    ids=range(13),
)
def test_what_cannot_be_read(body: bytes, media: str, encoding: str, problem: str) -> None:
    with pytest.raises(Unreadable, match=problem):
        stamped("logs", body, media, encoding, ALICE)


@given(some.binary(max_size=100), some.sampled_from([PROTOBUF, JSON]), some.sampled_from(["", "gzip"]))
def test_no_body_whatsoever_is_more_than_unreadable(body: bytes, media: str, encoding: str) -> None:
    with contextlib.suppress(Unreadable):
        stamped("traces", body, media, encoding, ALICE)


def member(number: int, content: bytes) -> bytes:
    """A field of protobuf with a length."""
    size, digits = len(content), b""
    while size > 127:
        digits += bytes([size & 127 | 128])
        size >>= 7
    tag = number << 3 | 2
    head = bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])
    return head + digits + bytes([size]) + content


def test_nobody_is_named_in_fields_that_another_version_reads() -> None:
    attribute = member(1, b"user.email") + member(2, member(1, b"mallory"))
    # Older collectors read `instrumentation_library_logs`, which had this number.
    older = member(1000, member(1, b"lib") + member(2, member(6, attribute)))
    out = stamped("logs", member(1, older), PROTOBUF, "", ALICE)
    assert b"mallory" not in out and b"alice" in out


@pytest.mark.parametrize(
    "body",
    [
        member(1, member(1, member(1, b"") * 50)),  # attributes of one resource
        member(1, b"") * 51,  # resources, of which each would be marked
        member(1, member(2, member(2, b"") * 50)),  # records
    ],
)
def test_a_body_of_countless_parts_is_refused(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MAX_PARTS", 50)
    with pytest.raises(Unreadable, match="records and attributes"):
        stamped("logs", body, PROTOBUF, "", ALICE)

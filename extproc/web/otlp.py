"""OTLP requests of clients: read, and marked with who has really sent them. Pure.

A client says in attributes who it is (`user.id`, `user.email`, ...). Those are removed wherever they stand, and what
the token proves is written into each resource. https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import base64
import binascii
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from extproc.config.schema_telemetry import Signal
from extproc.wire import untrusted

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MAX_BYTES = 8 * 1024 * 1024
"""The largest body, measured after decompression."""
MAX_JSON = 1024 * 1024
"""The largest body in JSON, which takes thirty times as long to read as protobuf."""
MAX_PARTS = 200_000
"""The most records, spans, points and attributes in one request. Two bytes can be one of them, and each is read."""
SOURCE = "identity.source"
GATEWAY = "gateway"
# zlib's sign for a gzip header and trailer: https://docs.python.org/3/library/zlib.html#zlib.decompressobj.
_GZIP = 31
# Attributes by which a sender says who somebody is. Session, terminal and version stay.
_IDENTITY = ("user.", "enduser.", "identity.")
_IDS = frozenset({"traceId", "spanId", "parentSpanId"})
_REQUESTS: Mapping[Signal, type[Any]] = {
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
    "traces": ExportTraceServiceRequest,
}


class Unreadable(Exception):
    """`str()` says why, for the client."""


def stamped(signal: Signal, body: bytes, media: str, encoding: str, identity: Mapping[str, Any]) -> bytes:
    """The request as protobuf, with `identity` in each resource and nobody else's in it. Raises Unreadable."""
    request = _read(signal, _decompressed(body, encoding), media)
    # What this version of OTLP does not know may name somebody to a collector with another version.
    request.DiscardUnknownFields()
    names, parts = frozenset(identity), 0
    for group in _groups(request):
        for attributes in _attributes(group):
            parts += 1 + len(attributes)
            if parts > MAX_PARTS:
                raise Unreadable(f"more than {MAX_PARTS} records and attributes in one request")
            _remove(attributes, names)
        group.resource.attributes.extend(_pair(name, value) for name, value in {SOURCE: GATEWAY, **identity}.items())
    found: bytes = request.SerializeToString()
    return found


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise Unreadable(f"content-encoding: {encoding[:20]} cannot be read here, send gzip or none")
    reader = zlib.decompressobj(_GZIP)
    try:
        found = reader.decompress(body, MAX_BYTES)
    except zlib.error:
        raise Unreadable("the body is not valid gzip") from None
    if not reader.eof or reader.unused_data:
        raise Unreadable(f"the body is not one gzip stream of at most {MAX_BYTES} bytes")
    return found


def _read(signal: Signal, body: bytes, media: str) -> Any:
    if media == JSON and len(body) > MAX_JSON:
        raise Unreadable(f"more than {MAX_JSON} bytes of JSON; send {PROTOBUF}")
    try:
        if media == PROTOBUF:
            return _REQUESTS[signal].FromString(body)
        if media == JSON:
            value = untrusted.decode(body)
            if not isinstance(value, dict):
                raise ValueError(type(value).__name__)
            return json_format.ParseDict(_with_ids(value), _REQUESTS[signal](), ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, ValueError, RecursionError, TypeError, AttributeError):
        raise Unreadable(f"the body is no OTLP request for {signal}") from None
    raise Unreadable(f"expected content-type {PROTOBUF} or {JSON}")


def _with_ids(value: Any) -> Any:
    """OTLP writes ids in hexadecimal digits, where protobuf's JSON has base64."""
    if isinstance(value, list):
        return [_with_ids(item) for item in value]
    if isinstance(value, dict):
        return {name: _id(inner) if name in _IDS else _with_ids(inner) for name, inner in value.items()}
    return value


def _id(value: Any) -> Any:
    try:
        return base64.b64encode(binascii.unhexlify(value)).decode()
    except (ValueError, TypeError):
        raise ValueError("an id is no hexadecimal number") from None


def _groups(request: Any) -> Any:
    """What belongs to one resource."""
    [(_, groups)] = request.ListFields() or [(None, ())]
    return groups


def _attributes(group: Any) -> Iterator[Any]:
    """Every list of attributes in what belongs to one resource, its own included."""
    yield group.resource.attributes
    match type(group).__name__:
        case "ResourceMetrics":
            for scope in group.scope_metrics:
                yield scope.scope.attributes
                yield from _of_metrics(scope.metrics)
        case "ResourceLogs":
            for scope in group.scope_logs:
                yield scope.scope.attributes
                yield from (record.attributes for record in scope.log_records)
        case _:
            for scope in group.scope_spans:
                yield scope.scope.attributes
                for span in scope.spans:
                    yield span.attributes
                    yield from (part.attributes for part in (*span.events, *span.links))


def _of_metrics(metrics: Any) -> Iterator[Any]:
    for metric in metrics:
        yield metric.metadata
        data = metric.WhichOneof("data")
        for point in getattr(metric, data).data_points if data else ():
            yield point.attributes
            # The points of a summary have none.
            yield from (exemplar.filtered_attributes for exemplar in getattr(point, "exemplars", ()))


def _remove(attributes: Any, names: frozenset[str]) -> None:
    kept = [one for one in attributes if one.key not in names and not one.key.startswith(_IDENTITY)]
    if len(kept) < len(attributes):
        kept = [_copy(one) for one in kept]
        del attributes[:]
        attributes.extend(kept)


def _copy(pair: Any) -> KeyValue:
    found = KeyValue()
    found.CopyFrom(pair)
    return found


def _pair(name: str, value: Any) -> KeyValue:
    return KeyValue(key=name, value=_value(value))


def _value(value: Any) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int() if abs(value) < 1 << 63:
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
        case _:
            return AnyValue(string_value=str(value))

"""Envoy's own words in the caller's dialect, and in AWS's to clients of Bedrock's API, who know no others."""

import re
from collections.abc import Iterable
from typing import Any

from extproc.errors import Kind, Reason, Rejection
from extproc.gateway import record
from extproc.web import topics
from extproc.wire import dialects, untrusted
from extproc.wire.bedrock_api import BEDROCK
from extproc.wire.cloud_api import DialectError
from extproc.wire.dialects import DialectRow, Envelope

Json = dict[str, Any]

NAMESPACE = "extproc"
_FILTERS = "type.googleapis.com/envoy.extensions.access_loggers.filters"
_DETAILS = "response.code_details"

# CEL over Envoy's code details, which tell apart what a status does not.
OVERLOADED = f"{_DETAILS} == 'overload'"
TIMED_OUT = (
    f"({_DETAILS}.contains('_idle_timeout') || {_DETAILS}.endsWith('response_timeout')"
    f" || {_DETAILS} == 'upstream_per_try_timeout')"
)
UNREACHABLE = (
    f"({_DETAILS}.startsWith('upstream_reset_before') && xds.cluster_name != '{topics.CLUSTER}'"
    f" || {_DETAILS} == 'no_healthy_upstream' && xds.cluster_name.startsWith('provider:'))"
)
# What HTTP allows and this gateway does not serve, or what is no HTTP.
# `low_version` is HTTP/1.0 (426), `upgrade_failed` a WebSocket (403):
# https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details
CLIENTS_FAULT = (
    "(response.code >= 500 || response.code in [403, 426])"
    f" && ({_DETAILS} in ['low_version', 'upgrade_failed'] || {_DETAILS}.startsWith('http1.')"
    f" || {_DETAILS}.startsWith('http2.') || {_DETAILS}.contains('missing_required_header'))"
)
SAID = f"metadata.filter_metadata['{NAMESPACE}']"
# As the log has it: the processor's, where it has seen the call.
_REQUEST_ID = (
    f"%CEL('{NAMESPACE}' in metadata.filter_metadata && 'request_id' in {SAID}"
    f" ? {SAID}['request_id'] : request.headers['x-request-id'])%"
)


def _told(kind: Kind, message: str, status: int = 0, headers: tuple[tuple[str, str], ...] = ()) -> Rejection:
    # The reason on record is found where the log is written.
    return Rejection(kind=kind, message=message, reason=Reason.INTERNAL, status=status, headers=headers)


_AFTER = (("retry-after", "1"),)
_BY_DETAILS: dict[str, Rejection] = {
    CLIENTS_FAULT: _told(Kind.INVALID_REQUEST, "the HTTP request is malformed", 400),
    OVERLOADED: _told(Kind.OVERLOADED, "the gateway has too much to do at the moment", 503, _AFTER),
    f"response.code == 504 && {TIMED_OUT}": _told(Kind.TIMEOUT, "the model did not answer in time"),
    f"response.code == 503 && {UNREACHABLE}": _told(Kind.OVERLOADED, "the model cannot be reached at the moment"),
}
# A 403 is the guard's: no verdict was given.
_UNABLE = _told(Kind.API, "the gateway cannot process requests at the moment", 503)
_BY_STATUS: dict[int, Rejection] = {
    400: _told(Kind.INVALID_REQUEST, "the HTTP request is malformed"),
    403: _UNABLE,
    404: _told(Kind.NOT_FOUND, "there is no such endpoint"),
    408: _told(Kind.INVALID_REQUEST, "the request did not arrive in time", 408),
    413: _told(Kind.TOO_LARGE, "the request is too large"),
    431: _told(Kind.INVALID_REQUEST, "the request's headers are too large", 431),
    503: _UNABLE,
    504: _told(Kind.TIMEOUT, "the gateway did not answer in time"),
}
_OTHERWISE = _told(Kind.API, "the model's answer broke off", 502)


def local_replies() -> Json:
    """First match wins. The processor's own answers pass as they are: they bear its mark."""
    ours = metadata_filter(flag_is(record.ANSWERED, True), if_missing=False)
    verbatim = {"content_type": "application/json", "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}}
    told = [
        *((_expression(cel), rejection) for cel, rejection in _BY_DETAILS.items()),
        *((_status(status), rejection) for status, rejection in _BY_STATUS.items()),
        (_status(400, "GE"), _OTHERWISE),
    ]
    mappers: list[Json] = [{"filter": ours, "body_format_override": verbatim}]
    mappers += [_mapper_of_bedrock(condition, rejection) for condition, rejection in told]
    for envelope, rows in _by_envelope():
        mappers += [_mapper(_all_of(condition, rows), rejection, envelope) for condition, rejection in told]
    return {"mappers": mappers}


def _by_envelope() -> list[tuple[Envelope, list[DialectRow]]]:
    """Dialects by the form of their errors; last, with no dialects named, the form for any other call."""
    default = dialects.row(dialects.DEFAULT).envelope
    found: dict[Envelope, list[DialectRow]] = {}
    for row in dialects.rows():
        found.setdefault(row.envelope, []).append(row)
    found.pop(default)
    return [*found.items(), (default, [])]


def request_id(name: str, action: str) -> Json:
    return {"header": {"key": name, "value": _REQUEST_ID}, "append_action": action}


def metadata_is(key: str, value: str) -> Json:
    return {"filter": NAMESPACE, "path": [{"key": key}], "value": {"string_match": {"exact": value}}}


def _mapper(condition: Json, rejection: Rejection, envelope: Envelope) -> Json:
    body = envelope.body(rejection, _REQUEST_ID)
    return _reply(condition, envelope.status(rejection), body, rejection.headers)


def _mapper_of_bedrock(condition: Json, rejection: Rejection) -> Json:
    error = BEDROCK.error(rejection.http_status, DialectError(rejection.kind, rejection.message), b"")
    known = metadata_filter(metadata_is("endpoint", BEDROCK.name), if_missing=False)
    path = {"name": ":path", "string_match": {"prefix": f"{BEDROCK.base}/"}}
    bedrocks = {"or_filter": {"filters": [known, {"header_filter": {"header": path}}]}}
    headers = (*rejection.headers, *error.headers.items())
    return _reply({"and_filter": {"filters": [condition, bedrocks]}}, error.status, error.body, headers)


def _reply(condition: Json, status: int, body: bytes, headers: Iterable[tuple[str, str]]) -> Json:
    more = [{"header": {"key": name, "value": value}} for name, value in headers]
    return {
        "filter": condition,
        "status_code": status,
        "headers_to_add": [request_id("request-id", "OVERWRITE_IF_EXISTS_OR_ADD"), *more],
        "body_format_override": {"json_format": untrusted.decode(body)},
    }


def flag_is(key: str, value: bool) -> Json:
    return {"filter": NAMESPACE, "path": [{"key": key}], "value": {"bool_match": value}}


def metadata_filter(matcher: Json, *, if_missing: bool) -> Json:
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": if_missing}}


def _status(status: int, comparison: str = "EQ") -> Json:
    # Envoy demands a key by which its runtime could replace the number. Nothing sets this one.
    value = {"default_value": status, "runtime_key": "extproc.never_set"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": value}}}


def _expression(cel: str) -> Json:
    typed = {"@type": f"{_FILTERS}.cel.v3.ExpressionFilter", "expression": cel}
    return {"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": typed}}


def _all_of(condition: Json, rows: list[DialectRow]) -> Json:
    """`condition`, and that the client speaks one of these dialects; if any are named."""
    if not rows:
        return condition
    # The processor knows the client's dialect; where it was not reached, the path is still the client's own.
    unknown = metadata_filter(metadata_is(record.DIALECT, rows[0].name), if_missing=True)
    known = [metadata_filter(metadata_is(record.DIALECT, row.name), if_missing=False) for row in rows]
    beginnings = (beginning for row in rows for beginning in (row.path, *row.prefixes))
    regex = f"({'|'.join(map(re.escape, dict.fromkeys(beginnings)))}).*"
    path = {"name": ":path", "string_match": {"safe_regex": {"regex": regex}}}
    guessed = {"and_filter": {"filters": [unknown, {"header_filter": {"header": path}}]}}
    return {"and_filter": {"filters": [condition, {"or_filter": {"filters": [*known, guessed]}}]}}

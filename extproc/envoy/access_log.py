"""The log of calls: one line of JSON for each, of what the processor and Envoy know of it."""

from typing import Any

from extproc.config.loading import Source
from extproc.config.schema_usage import logged_claims
from extproc.envoy.replies import NAMESPACE, OVERLOADED, SAID, TIMED_OUT, UNREACHABLE, flag_is, metadata_filter
from extproc.errors import Reason
from extproc.gateway import record
from extproc.policy.budgets.used import BUDGETS
from extproc.web import topics

Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy.extensions"
SAMPLE, SAMPLE_FILE = "unseen", "sample.json"
"""The name and the file of the rate limit for lines about calls that Envoy refuses by itself."""

# Fields of the record that the processor knows; Envoy adds its own.
_RECORDED = (
    "route", "endpoint", "http.path", "protocol", "request_id", record.UPSTREAM_REQUEST,
    "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.upstream.model",
    "gen_ai.response.model", "gen_ai.request.max_tokens", "gen_ai.request.stream",
    "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
    record.COST, record.CURRENCY, record.ESTIMATED,
    "gen_ai.response.finish_reasons", record.TIME_TO_FIRST_TOKEN, record.TIME_PER_OUTPUT_TOKEN,
    "jwt.sub", "jwt.iss", "warnings",
    record.ATTEMPTS, record.GIVEN_UP_INPUT, record.GIVEN_UP_OUTPUT, record.GIVEN_UP_COST,
    record.AUTO_MODE_OUTCOME, record.AUTO_MODE_RULE, record.MOVED_BY, record.MOVED_TO, BUDGETS,
)  # fmt: skip
# The processor was to read this answer, and left before its end.
_UNREAD = f"'{record.READ}' in {SAID}"
# Where the processor had not the last word: what Envoy saw of the end. Naming a key that is not there fails, and a
# failed expression is null in the log: that is how a call that went well is written.
_ERROR = (
    "response.code_details == 'via_upstream' && response.code < 400"
    f" ? ({_UNREAD} ? 'unread_answer' : {SAID}['error']) : response.code_details"
)
_REASON = (
    "response.code_details == 'via_upstream' && response.code < 400"
    f" ? ({_UNREAD} ? '{Reason.INTERNAL}' : {SAID}['reason'])"
    f" : response.code_details == 'via_upstream' && xds.cluster_name == '{topics.CLUSTER}'"
    f" ? (response.code < 500 ? '{Reason.INVALID_REQUEST}' : '{Reason.INTERNAL}')"
    f" : response.code_details == 'via_upstream' ? '{Reason.UPSTREAM}'"
    f" : response.code_details.startsWith('downstream_local') ? '{Reason.INTERNAL}'"  # Envoy was told to leave
    # HTTP/2 clients leave with `http2.remote_reset` or `http2.remote_refuse`.
    " : response.code_details.startsWith('downstream') || response.code_details.contains('remote_re')"
    f" ? '{Reason.CLIENT_CLOSED}'"
    f" : response.code == 413 ? '{Reason.REQUEST_TOO_LARGE}'"
    # A 403 is the guard's, for a call on which the processor gave no verdict.
    f" : response.code >= 400 && response.code < 500 && response.code != 403 ? '{Reason.INVALID_REQUEST}'"
    f" : {OVERLOADED} ? '{Reason.OVERLOADED}'"
    f" : {TIMED_OUT} ? '{Reason.UPSTREAM_TIMEOUT}'"
    f" : {UNREACHABLE} ? '{Reason.UPSTREAM_UNAVAILABLE}'"
    f" : response.code_details.startsWith('upstream') ? '{Reason.TRUNCATED}'"
    f" : '{Reason.INTERNAL}'"
)
_OWN = {
    "time": "%START_TIME%",
    "x-request-id": "%REQ(X-REQUEST-ID):64%",
    "http.method": "%REQ(:METHOD):16%",
    "http.status": "%RESPONSE_CODE%",
    "duration": "%DURATION%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
}
# As the processor has recorded it, else as the client sent it, without its query.
_PATH = (
    f"'{NAMESPACE}' in metadata.filter_metadata && 'http.path' in {SAID} ? {SAID}['http.path']"
    " : request.url_path.matches('^[ -~]*$') ? request.url_path : '(unprintable)'"
)
_SEEN = {
    "reason": f"%CEL({_REASON})%",
    "error": f"%CEL({_ERROR}):{record.MAX_NAME}%",
    "http.path": f"%CEL({_PATH}):{record.MAX_PATH}%",
}


def access_logs(source: Source, bucket: Json | None) -> list[Json]:
    """One JSON line a call, without members that have no value. CEL costs Envoy more than all other fields together, so
    it is evaluated only where the processor has not said how the call ended. `bucket`: where Envoy finds the rate at
    which it logs what it refuses by itself; an Envoy with one static configuration does without."""
    claims = logged_claims(source.config.records.claims, source.config.usage)
    names = [*_RECORDED, *(record.CALLER + claim for claim in claims)]
    fields = _OWN | _told(*names)
    ended = metadata_filter(flag_is(record.ENDED, True), if_missing=False)
    chosen = metadata_filter(flag_is(record.LEFT_OUT, False), if_missing=True)
    not_ended = metadata_filter(flag_is(record.ENDED, False), if_missing=True)
    return [
        _access_log(fields | _told("reason", "error"), ended, chosen),
        _access_log(fields | _SEEN, not_ended, *([_seen_or_sampled(bucket)] if bucket is not None else [])),
    ]


def _seen_or_sampled(bucket: Json) -> Json:
    """What Envoy refuses by itself is logged at a bounded rate."""
    seen = {"filter": NAMESPACE, "path": [{"key": record.DIALECT}], "value": {"present_match": True}}
    sampled = {
        "name": "envoy.access_loggers.extension_filters.process_ratelimit",
        "typed_config": {
            "@type": f"{_TYPE}.access_loggers.filters.process_ratelimit.v3.ProcessRateLimitFilter",
            "dynamic_config": {"resource_name": SAMPLE, "config_source": bucket},
        },
    }
    return {"or_filter": {"filters": [metadata_filter(seen, if_missing=False), {"extension_filter": sampled}]}}


def _told(*names: str) -> dict[str, str]:
    return {name: f"%DYNAMIC_METADATA({NAMESPACE}:{record.metadata_key(name)})%" for name in names}


def _access_log(fields: dict[str, str], *filters: Json) -> Json:
    return {
        "name": "envoy.access_loggers.stdout",
        "filter": {"and_filter": {"filters": list(filters)}} if len(filters) > 1 else filters[0],
        "typed_config": {
            "@type": f"{_TYPE}.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": fields, "omit_empty_values": True},
        },
    }

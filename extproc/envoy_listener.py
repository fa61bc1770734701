"""The one listener: TLS, limits, filters, routes by verdict, and Envoy's own words in the caller's dialect."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from extproc import providers, record, schema
from extproc.config import Source
from extproc.errors import Kind, Reason

Json = dict[str, Any]

NAMESPACE = "extproc"
_TYPE = "type.googleapis.com/envoy.extensions"
_FILTERS = f"{_TYPE}.filters.http"


CERTIFICATE = "listener"


def _watched(name: str) -> Json:
    """A file that `extproc` renders and Envoy reads again whenever something is renamed into its folder."""
    return {"resource_api_version": "V3", "path_config_source": {"path": name, "watched_directory": {"path": "."}}}


def watched_secret(name: str) -> Json:
    return {"name": name, "sds_config": _watched(secret_file(name))}


def secret_file(name: str) -> str:
    return f"secret.{name}.json"


def listener(source: Source, *, live: bool = False) -> Json:
    """`live`: routes and certificate come from files that Envoy watches. A change of the listener itself would let
    every connection end soon; a change of theirs does not."""
    settings = source.config.listen
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": _manager(source, live)}
    chain: Json = {"filters": [manager]}
    if settings.tls is not None:
        chain["transport_socket"] = _tls(source, live)
    return {
        "name": "gateway",
        # Envoy can be told to drain what is inbound while it still answers on its loopback.
        "traffic_direction": "INBOUND",
        "address": {"socket_address": {"address": settings.address, "port_value": settings.port}},
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "filter_chains": [chain],
    }


def _manager(source: Source, live: bool) -> Json:
    found = {"rds": {"route_config_name": "gateway", "config_source": _watched("routes.json")}}
    return {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "use_remote_address": True,
        "skip_xff_append": True,
        "server_name": "extproc",
        # Policy must see the path that is routed, in one spelling.
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "request_headers_timeout": "30s",
        "stream_idle_timeout": "900s",
        "local_reply_config": _local_replies(),
        "access_log": [_access_log(source)],
        "http_filters": [
            {"name": "envoy.filters.http.ext_proc", "typed_config": _processor()},
            {"name": "envoy.filters.http.rbac", "typed_config": _guard()},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_FILTERS}.router.v3.Router", "suppress_envoy_headers": True},
            },
        ],
        **(found if live else {"route_config": routes(source)}),
    }


def _processor() -> Json:
    return {
        "@type": f"{_FILTERS}.ext_proc.v3.ExternalProcessor",
        "grpc_service": {
            "envoy_grpc": {"cluster_name": "extproc"},
            "retry_policy": {"num_retries": 2, "retry_on": "unavailable,connect-failure,reset-before-request"},
        },
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "request_trailer_mode": "SKIP",
            "response_header_mode": "SKIP",
            "response_trailer_mode": "SKIP",
        },
        "allow_mode_override": True,
        "request_attributes": ["source.address"],
        "response_attributes": ["response.code_details"],
        "message_timeout": "5s",
        "status_on_error": {"code": "ServiceUnavailable"},
        "mutation_rules": {"allow_all_routing": True, "allow_envoy": True},
        "metadata_options": {"receiving_namespaces": {"untyped": [NAMESPACE]}},
    }


def _guard() -> Json:
    """A processor that closes its stream cleanly lets a request pass; only the final verdict gets past this."""
    return {
        "@type": f"{_FILTERS}.rbac.v3.RBAC",
        "rules": {
            "action": "ALLOW",
            "policies": {
                "verdict": {
                    "permissions": [{"any": True}],
                    "principals": [{"sourced_metadata": {"metadata_matcher": _is(record.VERDICT, record.ALLOWED)}}],
                }
            },
        },
    }


def routes(source: Source, older: Sequence[Source] = ()) -> Json:
    """`older`: what some running exchange may still have its verdict from."""
    found = [
        {
            # A header could be sent by a client; this metadata only the processor can set.
            "match": {"prefix": "/", "dynamic_metadata": [_is(record.CLUSTER, cluster)]},
            "route": {
                "cluster": cluster,
                "host_rewrite_literal": urlsplit(to.settings.base_url).netloc,
                "timeout": f"{to.settings.timeouts.total or 0:g}s",
                "idle_timeout": f"{to.settings.timeouts.idle:g}s",
            },
        }
        for cluster, to in providers.destinations([*older, source]).items()
    ]
    # The body limit applies only while the first route leads to a cluster.
    undecided = {"match": {"prefix": "/"}, "route": {"cluster": "nowhere", "timeout": "0s", "idle_timeout": "900s"}}
    return {
        "name": "gateway",
        "virtual_hosts": [
            {
                "name": "gateway",
                "domains": ["*"],
                "request_headers_to_remove": ["x-forwarded-proto", "x-forwarded-for", "x-envoy-external-address"],
                "response_headers_to_add": [
                    _request_id(name, "ADD_IF_ABSENT") for name in ("request-id", "x-request-id")
                ],
                "request_body_buffer_limit": source.config.max_body_bytes,
                "routes": [*found, undecided],
            }
        ],
    }


def _request_id(name: str, action: str) -> Json:
    return {"header": {"key": name, "value": "%REQ(X-REQUEST-ID)%"}, "append_action": action}


def _is(key: str, value: str) -> Json:
    return {"filter": NAMESPACE, "path": [{"key": key}], "value": {"string_match": {"exact": value}}}


def certificate(source: Source, tls: schema.Tls) -> Json:
    return {
        "certificate_chain": {"filename": str(source.resolve(tls.certificate))},
        "private_key": {"filename": str(source.resolve(tls.key))},
    }


def _tls(source: Source, live: bool) -> Json:
    assert source.config.listen.tls is not None
    context: Json = {"alpn_protocols": ["h2", "http/1.1"]}
    if live:
        context["tls_certificate_sds_secret_configs"] = [watched_secret(CERTIFICATE)]
    else:
        context["tls_certificates"] = [certificate(source, source.config.listen.tls)]
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": context,
        },
    }


# Fields of the record (DESIGN 7) that the processor knows; Envoy adds its own.
_RECORDED = (
    "route", "endpoint", "http.path", "protocol", "request_id",
    "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.upstream.model",
    "gen_ai.response.model", "gen_ai.request.max_tokens", "gen_ai.request.stream",
    "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.response.finish_reasons", record.FIRST, record.PACE,
    "jwt.sub", "jwt.iss", "warnings",
)  # fmt: skip
# The processor's word, if it had the last one; else what Envoy saw of the end. Naming a key that is not there
# fails, and a failed expression is null in the log: that is how a call that went well is written.
_SAID = f"metadata.filter_metadata['{NAMESPACE}']"
_ENDED = f"'{NAMESPACE}' in metadata.filter_metadata && '{record.ENDED}' in {_SAID}"
_ERROR = (
    f"{_ENDED} || (response.code_details == 'via_upstream' && response.code < 400)"
    f" ? {_SAID}['error'] : response.code_details"
)
_REASON = (
    f"{_ENDED} ? {_SAID}['reason']"
    f" : response.code_details == 'via_upstream' ? (response.code < 400 ? {_SAID}['reason'] : '{Reason.UPSTREAM}')"
    " : response.code_details.startsWith('downstream') || response.code_details.contains('remote_re')"
    f" ? '{Reason.CLIENT_CLOSED}'"
    f" : response.code == 413 ? '{Reason.REQUEST_TOO_LARGE}'"
    f" : response.code >= 400 && response.code < 500 && response.code != 403 ? '{Reason.INVALID_REQUEST}'"
    f" : response.code_details.startsWith('upstream') ? '{Reason.TRUNCATED}'"
    f" : '{Reason.INTERNAL}'"
)
_OWN = {
    "time": "%START_TIME%",
    "x-request-id": "%REQ(X-REQUEST-ID)%",
    "http.method": "%REQ(:METHOD)%",
    "http.status": "%RESPONSE_CODE%",
    "duration": "%DURATION%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "reason": f"%CEL({_REASON})%",
    "error": f"%CEL({_ERROR})%",
}


def _access_log(source: Source) -> Json:
    """One JSON line a call; `null` where there is nothing to say."""
    names = [*_RECORDED, *(f"caller.{claim}" for claim in source.config.records.claims)]
    fields = _OWN | {name: f"%DYNAMIC_METADATA({NAMESPACE}:{name})%" for name in names}
    return {
        "name": "envoy.access_loggers.stdout",
        "typed_config": {
            "@type": f"{_TYPE}.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": fields},
        },
    }


# Envoy's own refusals: status -> status sent, kind, message. A 403 is the guard's: no verdict was given.
_UNABLE = (503, Kind.API, "the gateway cannot process requests at the moment")
_REFUSALS: dict[int, tuple[int, Kind, str]] = {
    400: (400, Kind.INVALID_REQUEST, "the HTTP request is malformed"),
    403: _UNABLE,
    404: (404, Kind.NOT_FOUND, "there is no such endpoint"),
    408: (408, Kind.INVALID_REQUEST, "the request did not arrive in time"),
    413: (413, Kind.TOO_LARGE, "the request is too large"),
    431: (431, Kind.INVALID_REQUEST, "the request's headers are too large"),
    503: _UNABLE,
    504: (504, Kind.TIMEOUT, "the gateway did not answer in time"),
}
_ANY_REFUSAL = (502, Kind.API, "the model's answer broke off")


def _local_replies() -> Json:
    """First match wins. The processor's own answers pass as they are: they bear its mark."""
    ours = _metadata(_marked(), if_missing=False)
    verbatim = {"content_type": "application/json", "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}}
    mappers: list[Json] = [{"filter": ours, "body_format_override": verbatim}]
    for chat in (True, False):
        mappers += [_mapper(_all_of(_status(status), chat), refusal, chat) for status, refusal in _REFUSALS.items()]
        mappers.append(_mapper(_all_of(_status(400, "GE"), chat), _ANY_REFUSAL, chat))
    return {"mappers": mappers}


def _mapper(condition: Json, refusal: tuple[int, Kind, str], chat: bool) -> Json:
    status, kind, message = refusal
    return {
        "filter": condition,
        "status_code": status,
        "headers_to_add": [_request_id("request-id", "OVERWRITE_IF_EXISTS_OR_ADD")],
        "body_format_override": {"json_format": _envelope(kind, message, chat)},
    }


def _envelope(kind: Kind, message: str, chat: bool) -> Json:
    if chat:
        own = "server_error" if kind in (Kind.API, Kind.TIMEOUT) else "invalid_request_error"
        return {"error": {"message": message, "type": own, "param": None, "code": None}}
    return {"type": "error", "error": {"type": str(kind), "message": message}, "request_id": "%REQ(X-REQUEST-ID)%"}


def _metadata(matcher: Json, if_missing: bool) -> Json:
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": if_missing}}


def _marked() -> Json:
    return {"filter": NAMESPACE, "path": [{"key": record.ANSWERED}], "value": {"bool_match": True}}


def _status(status: int, comparison: str = "EQ") -> Json:
    value = {"default_value": status, "runtime_key": "extproc.never_set"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": value}}}


def _all_of(condition: Json, chat: bool) -> Json:
    if not chat:
        return condition
    # The processor knows the client's dialect; where it was not reached, the path is still the client's own.
    unknown = _metadata(_is(record.DIALECT, "chat"), if_missing=True)
    known = [_metadata(_is(record.DIALECT, dialect), if_missing=False) for dialect in ("chat", "responses")]
    path = {"name": ":path", "string_match": {"safe_regex": {"regex": "/v1/(chat|responses).*"}}}
    guessed = {"and_filter": {"filters": [unknown, {"header_filter": {"header": path}}]}}
    return {"and_filter": {"filters": [condition, {"or_filter": {"filters": [*known, guessed]}}]}}

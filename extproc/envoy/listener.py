"""The one listener: TLS, limits, filters, routes by verdict, and the log of calls."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from extproc.config.loading import Source
from extproc.config.schema_tls import ListenTls, Tls
from extproc.config.schema_usage import logged_claims
from extproc.envoy import attempts, limits
from extproc.envoy.attributes import ATTEMPTS_MADE, CLIENT_CERTIFICATE, DETAILS, SOURCE, VERIFIED_CLIENTS
from extproc.envoy.replies import (
    NAMESPACE,
    OVERLOADED,
    SAID,
    TIMED_OUT,
    UNREACHABLE,
    flag_is,
    local_replies,
    metadata_filter,
    metadata_is,
    request_id,
)
from extproc.errors import Reason
from extproc.gateway import handover, record
from extproc.providers import providers
from extproc.web import topics

Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy.extensions"
_FILTERS = f"{_TYPE}.filters.http"


CERTIFICATE = "listener"
CLIENT_AUTHORITY = "clients"
SECRETS = "secret."
OWN_SOCKET = "gateway.sock"
"""Where Envoy accepts the gateway's own calls, in the folder that it is started in."""
_GET: Json = {"name": ":method", "string_match": {"exact": "GET"}}
SAMPLE, SAMPLE_FILE = "unseen", "sample.json"


def _watched(name: str) -> Json:
    """A file that `extproc` renders and Envoy reads again whenever something is renamed into its folder."""
    return {"resource_api_version": "V3", "path_config_source": {"path": name, "watched_directory": {"path": "."}}}


def watched_secret(name: str) -> Json:
    return {"name": name, "sds_config": _watched(secret_file(name))}


def secret_file(name: str) -> str:
    return f"{SECRETS}{name}.json"


def listeners(source: Source, *, live: bool = False) -> list[Json]:
    """The one for callers, and, where the gateway itself has something to ask, one of its own."""
    return [listener(source, live=live), *_own_listener(source, live)]


def _own_listener(source: Source, live: bool) -> list[Json]:
    """A Unix socket that leads to the same filters and routes: the gateway's own calls are calls like any other."""
    auto_mode = source.config.auto_mode
    if auto_mode is None or auto_mode.judge is None:
        return []
    path = auto_mode.judge.socket or OWN_SOCKET
    return [
        {
            "name": "own",
            "address": {"pipe": {"path": str(path), "mode": 0o600}},
            "filter_chains": [{"filters": [_http(source, live)]}],
        }
    ]


def listener(source: Source, *, live: bool = False) -> Json:
    """`live`: routes and certificate come from files that Envoy watches. A change of the listener itself would let
    every connection end soon; a change of theirs does not."""
    settings = source.config.listen
    chain: Json = {"filters": [_http(source, live)]}
    if (tls := settings.tls) is not None:
        # The timeouts of HTTP begin after the handshake.
        chain |= {"transport_socket": _tls(source, tls, live), "transport_socket_connect_timeout": "10s"}
        chain |= {"name": VERIFIED_CLIENTS} if tls.client_ca is not None else {}
    return {
        "name": "gateway",
        # Envoy can be told to drain what is inbound while it still answers on its loopback.
        "traffic_direction": "INBOUND",
        "address": {"socket_address": {"address": settings.address, "port_value": settings.port}},
        # As much as this Envoy reads ahead of each client, those included that it has refused and is about to close.
        "per_connection_buffer_limit_bytes": 64 * 1024,
        "filter_chains": [chain],
    }


def _http(source: Source, live: bool) -> Json:
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": _manager(source, live)}


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
        # A connection with half a request's headers is in the way like an idle one, and no other timeout ends it.
        "request_headers_timeout": "10s",
        **limits.streams(source.config.limits, _longest_connection(source)),
        "stream_idle_timeout": "900s",
        "http_filters": [
            {"name": "envoy.filters.http.ext_proc", "typed_config": _processor(source)},
            {"name": "envoy.filters.http.rbac", "typed_config": _guard()},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_FILTERS}.router.v3.Router", "suppress_envoy_headers": True},
            },
        ],
        **(found if live else {"route_config": routes(source)}),
        "local_reply_config": local_replies(),
        "access_log": _access_logs(source, live),
    }


def _longest_connection(source: Source) -> float | None:
    """A client's certificate is not verified again while its connection lasts."""
    tls = source.config.listen.tls
    return tls.connection_seconds if tls is not None and tls.client_ca is not None else None


def _processor(source: Source) -> Json:
    certificate = CLIENT_CERTIFICATE if source.config.authentication.certificates is not None else ()
    return {
        "@type": f"{_FILTERS}.ext_proc.v3.ExternalProcessor",
        "grpc_service": {
            "envoy_grpc": {"cluster_name": "extproc"},
            "retry_policy": limits.of_workers(),
        },
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "request_trailer_mode": "SKIP",
            "response_header_mode": "SKIP",
            "response_trailer_mode": "SKIP",
        },
        "allow_mode_override": True,
        "request_attributes": [SOURCE, *certificate],
        "response_attributes": [DETAILS, ATTEMPTS_MADE],
        "message_timeout": "5s",
        "status_on_error": {"code": "ServiceUnavailable"},
        "mutation_rules": {"allow_all_routing": True, "allow_envoy": True},
        # The last two are empty where a model has one provider.
        "metadata_options": {
            "receiving_namespaces": {"untyped": [NAMESPACE, handover.ORDER]},
            "forwarding_namespaces": {"untyped": [handover.NAMESPACE]},
        },
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
                    "principals": [
                        {"sourced_metadata": {"metadata_matcher": metadata_is(record.VERDICT, record.ALLOWED)}}
                    ],
                }
            },
        },
    }


def routes(source: Source, older: Sequence[Source] = ()) -> Json:
    """`older`: what some running exchange may still have its verdict from."""
    found = [
        {
            # A header could be sent by a client; this metadata only the processor can set.
            "match": {"prefix": "/", "dynamic_metadata": [metadata_is(record.CLUSTER, cluster)]},
            "route": {
                "cluster": cluster,
                "host_rewrite_literal": urlsplit(to.settings.base_url).netloc,
                **limits.route(to.settings.timeouts, to.settings.retries),
            },
        }
        for cluster, to in providers.destinations([*older, source]).items()
    ]
    candidates = [to for to in providers.destinations([*older, source]).values() if to.is_candidate]
    if candidates:
        verdict = metadata_is(record.CLUSTER, handover.POOL)
        # Each provider's own time is kept by the attempt, which can say so in the client's dialect.
        longest = max(to.settings.timeouts.idle for to in candidates) + 2
        to_candidates = attempts.route("nowhere", longest)
        found.append({"match": {"prefix": "/", "dynamic_metadata": [verdict]}, "route": to_candidates})
    # The body limit applies only while the first route leads to a cluster.
    idle = f"{source.config.limits.body_idle_seconds:g}s"
    undecided = {"match": {"prefix": "/"}, "route": {"cluster": "nowhere", "timeout": "0s", "idle_timeout": idle}}
    return {
        "name": "gateway",
        "virtual_hosts": [
            {
                "name": "gateway",
                "domains": ["*"],
                "request_headers_to_remove": ["x-forwarded-proto", "x-forwarded-for", "x-envoy-external-address"],
                "response_headers_to_add": [
                    request_id(name, "ADD_IF_ABSENT") for name in ("request-id", "x-request-id")
                ],
                "response_headers_to_remove": [limits.RETRY_HEADER],
                "request_body_buffer_limit": source.config.max_body_bytes,
                # A verdict comes first: what ext_proc has let through goes to its provider, whatever its path is now.
                "routes": [*found, *_pages(source), undecided],
            }
        ],
    }


def _pages(source: Source) -> list[Json]:
    """Exact paths of the web process, which checks its callers itself; everything else stays behind the verdict."""
    passed = {
        "envoy.filters.http.ext_proc": {"@type": f"{_FILTERS}.ext_proc.v3.ExtProcPerRoute", "disabled": True},
        "envoy.filters.http.rbac": {"@type": f"{_FILTERS}.rbac.v3.RBACPerRoute"},
    }
    address = {"key": topics.ADDRESS_HEADER, "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
    return [
        {
            "match": {"path": path, **({"headers": [_GET]} if topic.yields else {})},
            "route": {"cluster": topics.CLUSTER, **limits.of_web()},
            "typed_per_filter_config": passed,
            "request_headers_to_add": [{"header": address, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        }
        for path, topic in topics.paths(source.config).items()
    ]


def certificate(source: Source, tls: Tls) -> Json:
    return {
        "certificate_chain": {"filename": str(source.resolve(tls.certificate))},
        "private_key": {"filename": str(source.resolve(tls.key))},
    }


def client_authority(source: Source, client_ca: Path) -> Json:
    return {"trusted_ca": {"filename": str(source.resolve(client_ca))}}


def _tls(source: Source, tls: ListenTls, live: bool) -> Json:
    context: Json = {"alpn_protocols": ["h2", "http/1.1"]}
    if live:
        context["tls_certificate_sds_secret_configs"] = [watched_secret(CERTIFICATE)]
    else:
        context["tls_certificates"] = [certificate(source, tls)]
    clients: Json = {}
    if tls.client_ca is not None:
        if live:
            context["validation_context_sds_secret_config"] = watched_secret(CLIENT_AUTHORITY)
        else:
            context["validation_context"] = client_authority(source, tls.client_ca)
        clients["require_client_certificate"] = tls.client_certificate == "required"
        # Certificates are not verified again when a session is resumed, which may be days later.
        clients |= {"disable_stateless_session_resumption": True, "disable_stateful_session_resumption": True}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": context,
            **clients,
        },
    }


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
    record.AUTO_MODE_OUTCOME, record.AUTO_MODE_RULE,
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
    " : response.code_details.startsWith('downstream') || response.code_details.contains('remote_re')"
    f" ? '{Reason.CLIENT_CLOSED}'"
    f" : response.code == 413 ? '{Reason.REQUEST_TOO_LARGE}'"
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


def _access_logs(source: Source, live: bool) -> list[Json]:
    """One JSON line a call, without members that have no value. CEL costs Envoy more than all other fields together, so
    it is evaluated only where the processor has not said how the call ended."""
    names = [*_RECORDED, *(record.CALLER + claim for claim in _claims(source))]
    fields = _OWN | _told(*names)
    ended = metadata_filter(flag_is(record.ENDED, True), if_missing=False)
    chosen = metadata_filter(flag_is(record.LEFT_OUT, False), if_missing=True)
    not_ended = metadata_filter(flag_is(record.ENDED, False), if_missing=True)
    return [
        _access_log(fields | _told("reason", "error"), ended, chosen),
        _access_log(fields | _SEEN, not_ended, *([_seen_or_sampled()] if live else [])),
    ]


def _claims(source: Source) -> list[str]:
    return logged_claims(source.config.records.claims, source.config.usage)


def _seen_or_sampled() -> Json:
    """What Envoy refuses by itself is logged at a bounded rate. The bucket comes by a file, so an Envoy with one static
    configuration does without."""
    seen = {"filter": NAMESPACE, "path": [{"key": record.DIALECT}], "value": {"present_match": True}}
    bucket = {"resource_name": SAMPLE, "config_source": _watched(SAMPLE_FILE)}
    sampled = {
        "name": "envoy.access_loggers.extension_filters.process_ratelimit",
        "typed_config": {
            "@type": f"{_TYPE}.access_loggers.filters.process_ratelimit.v3.ProcessRateLimitFilter",
            "dynamic_config": bucket,
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

"""The one listener: TLS, limits, filters, and routes by verdict."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from extproc.config.loading import Source
from extproc.config.schema_tls import ListenTls, Tls
from extproc.envoy import attempts, limits
from extproc.envoy.access_log import SAMPLE_FILE, access_logs
from extproc.envoy.attributes import ATTEMPTS_MADE, CLIENT_CERTIFICATE, DETAILS, SOURCE, VERIFIED_CLIENTS
from extproc.envoy.replies import (
    NAMESPACE,
    local_replies,
    metadata_is,
    request_id,
)
from extproc.gateway import handover, record
from extproc.providers.loading import destinations
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
            # Anyone who can write to the socket's file can connect: https://man7.org/linux/man-pages/man7/unix.7.html.
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
        # The peer of the connection is the client. Without this Envoy would believe its `x-forwarded-for`:
        # https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-for.
        "use_remote_address": True,
        "skip_xff_append": True,
        # Envoy writes this over a provider's `server`, and calls itself `envoy` by default.
        "server_name": "extproc",
        # Policy must see the path that is routed, in one spelling.
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
        # A connection with half a request's headers is in the way like an idle one, and no other timeout ends it.
        "request_headers_timeout": "10s",
        **limits.streams(source.config.limits, _longest_connection(source)),
        # By default Envoy ends a stream after five minutes without a byte, which a model may well think for:
        # https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts.
        "stream_idle_timeout": "900s",
        "http_filters": [
            {"name": "envoy.filters.http.ext_proc", "typed_config": _processor(source)},
            {"name": "envoy.filters.http.rbac", "typed_config": _guard()},
            {
                "name": "envoy.filters.http.router",
                # Otherwise providers get `x-envoy-expected-rq-timeout-ms` and the like:
                # https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter.
                "typed_config": {"@type": f"{_FILTERS}.router.v3.Router", "suppress_envoy_headers": True},
            },
        ],
        **(found if live else {"route_config": routes(source)}),
        "local_reply_config": local_replies(),
        "access_log": access_logs(source, _watched(SAMPLE_FILE) if live else None),
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
        # BUFFERED holds the request's headers until the verdict on its body; a streamed mode sends them to the provider
        # first. See
        # https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/http/ext_proc/v3/processing_mode.proto.
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "request_trailer_mode": "SKIP",
            "response_header_mode": "SKIP",
            "response_trailer_mode": "SKIP",
        },
        # Envoy 1.40 ignores every override where the base mode of a body is FULL_DUPLEX_STREAMED.
        "allow_mode_override": True,
        "request_attributes": [SOURCE, *certificate],
        "response_attributes": [DETAILS, ATTEMPTS_MADE],
        # The default of 200 ms is too short for a worker that waits for an issuer's keys.
        "message_timeout": "5s",
        "status_on_error": {"code": "ServiceUnavailable"},
        # Otherwise Envoy silently leaves out `:method`, `:authority` and `x-envoy-*` of a reply.
        "mutation_rules": {"allow_all_routing": True, "allow_envoy": True},
        # The last two are empty where a model has one provider.
        "metadata_options": {
            # Envoy silently drops metadata of any other namespace.
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
                        # `metadata`, the older form of it, is deprecated in Envoy 1.40.
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
                # Envoy would forward the client's `host`, by which a provider's front chooses the site.
                "host_rewrite_literal": urlsplit(to.settings.base_url).netloc,
                **limits.route(to.settings.timeouts, to.settings.retries),
            },
        }
        for cluster, to in destinations([*older, source]).items()
    ]
    candidates = [to for to in destinations([*older, source]).values() if to.is_candidate]
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
                # Envoy adds the first and the last, and a client may have sent the second. They tell a provider where
                # callers are.
                "request_headers_to_remove": ["x-forwarded-proto", "x-forwarded-for", "x-envoy-external-address"],
                "response_headers_to_add": [
                    # Anthropic's SDKs read the first, OpenAI's the second.
                    request_id(name, "ADD_IF_ABSENT")
                    for name in ("request-id", "x-request-id")
                ],
                "response_headers_to_remove": [limits.RETRY_HEADER],
                "request_body_buffer_limit": source.config.max_body_bytes,
                # A verdict comes first: what ext_proc has let through goes to its provider, whatever its path is now.
                "routes": [*found, *_pages(source), undecided],
            }
        ],
    }


def _pages(source: Source) -> list[Json]:
    """Paths of the web process, which checks its callers itself; everything else stays behind the verdict."""
    passed = {
        "envoy.filters.http.ext_proc": {"@type": f"{_FILTERS}.ext_proc.v3.ExtProcPerRoute", "disabled": True},
        # Without `rbac` in it the filter is off for the route:
        # https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/http/rbac/v3/rbac.proto
        "envoy.filters.http.rbac": {"@type": f"{_FILTERS}.rbac.v3.RBACPerRoute"},
    }
    address = {"key": topics.ADDRESS_HEADER, "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
    return [
        {
            "match": {**_path(path), **({"headers": [_GET]} if topic.yields else {})},
            "route": {"cluster": topics.CLUSTER, **limits.of_web()},
            "typed_per_filter_config": passed,
            # By default Envoy appends, and a header that the client has made up would come first.
            "request_headers_to_add": [{"header": address, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        }
        for path, topic in topics.paths(source.config).items()
    ]


def _path(path: str) -> Json:
    pattern = topics.pattern(path)
    return {"path": path} if pattern is None else {"safe_regex": {"regex": pattern}}


def certificate(source: Source, tls: Tls) -> Json:
    return {
        "certificate_chain": {"filename": str(source.resolve(tls.certificate))},
        "private_key": {"filename": str(source.resolve(tls.key))},
    }


def client_authority(source: Source, client_ca: Path) -> Json:
    return {"trusted_ca": {"filename": str(source.resolve(client_ca))}}


def _tls(source: Source, tls: ListenTls, live: bool) -> Json:
    # Over TLS, clients speak HTTP/2 only where ALPN has settled on it (RFC 9113, section 3.2).
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

"""How often, how long and how much: retries, breakers and outliers of a provider, and Envoy's own bounds."""

from collections.abc import Sequence
from typing import Any

from extproc.config import schema_providers
from extproc.config.schema_limits import Limits

Json = dict[str, Any]

# Made of three headers of an answer, because Envoy decides about another try by one header alone.
RETRY_HEADER = "x-extproc-retry"
_ASKED_FOR = "%RESP(:STATUS)% after %RESP(RETRY-AFTER)% %RESP(X-SHOULD-RETRY)%"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_FILTERS = "envoy.extensions.filters.http"
# The processor, which can say so in the client's dialect, gives up before Envoy does.
_AFTER_THE_PROCESSOR = 1.0
_DRAIN_SECONDS = 5.0


def route(timeouts: schema_providers.Timeouts, retries: schema_providers.Retries) -> Json:
    """What a route to a provider adds to its cluster. Envoy counts `first_byte` for each attempt, and forgets it when
    the answer's headers are here."""
    limits: Json = {
        "timeout": _seconds(timeouts.total + _AFTER_THE_PROCESSOR if timeouts.total else 0),
        # In the place of the listener's `stream_idle_timeout`.
        "idle_timeout": _seconds(timeouts.idle + _AFTER_THE_PROCESSOR),
    }
    attempt = {"per_try_timeout": _seconds(timeouts.first_byte)} if timeouts.first_byte else {}
    return limits | {"retry_policy": {**attempt, **_retries(retries)}}


def _retries(retries: schema_providers.Retries) -> Json:
    """A provider's 429 without `retry-after`, or with a longer one than is waited for, goes to the client at once."""
    if retries.attempts == 1:
        return {"num_retries": 0}
    seconds = "|".join(map(str, range(1, retries.longest_wait + 1)))
    policy: Json = {
        "retry_on": "connect-failure,refused-stream,reset",
        "num_retries": retries.attempts - 1,
        "retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"},
    }
    if seconds:
        asked_for = {"name": RETRY_HEADER, "string_match": {"safe_regex": {"regex": _regex(seconds)}}}
        after = {"name": "retry-after", "format": "SECONDS"}
        wait = {"reset_headers": [after], "max_interval": _seconds(retries.longest_wait)}
        policy["retry_on"] += ",retriable-headers"
        policy |= {"retriable_headers": [asked_for], "rate_limited_retry_back_off": wait}
    return policy


def _regex(seconds: str) -> str:
    # Where headers are formatted, an absent one is empty; only in logs it is `-`.
    return rf"(429|503|529) after ({seconds}) (true)?"


def upstream_options(retries: schema_providers.Retries) -> Json:
    """Returns options of a provider's cluster; they write RETRY_HEADER into answers that may be asked again."""
    if retries.attempts == 1:
        return {}
    header = {"key": RETRY_HEADER, "value": _ASKED_FOR}
    mutation = {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    return upstream([_filter("header_mutation", "HeaderMutation", mutations={"response_mutations": [mutation]})])


def upstream(filters: Sequence[Json]) -> Json:
    """Returns options of a cluster with filters that run once for each attempt."""
    options = {
        "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
        "explicit_http_config": {"http_protocol_options": {}},
        # A cluster with filters of its own must name the codec, too, as the last.
        "http_filters": [*filters, _filter("upstream_codec", "UpstreamCodec")],
    }
    return {"typed_extension_protocol_options": {_HTTP_OPTIONS: options}}


def _filter(name: str, kind: str, **settings: Any) -> Json:
    typed = {"@type": f"type.googleapis.com/{_FILTERS}.{name}.v3.{kind}", **settings}
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed}


def of_workers() -> Json:
    """Another worker is asked where one went before its first word; what it had begun only it knew."""
    previous = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    predicate = {
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": {"@type": f"type.googleapis.com/{previous}"},
    }
    return {
        "retry_on": "unavailable,connect-failure,reset",
        # By default such retries are not to exceed three at a time; the cluster's breaker raises that
        # (configuration.py).
        "num_retries": 3,
        "retry_host_predicate": [predicate],
        "host_selection_retry_max_attempts": 30,  # the idlest of them is tried again and again, and a dead one is idle
    }


def breakers(limits: schema_providers.ProviderLimits, retries: schema_providers.Retries) -> Json:
    budget = {"budget_percent": {"value": retries.budget}, "min_retry_concurrency": 3}
    threshold = {
        "max_connections": limits.connections,
        "max_pending_requests": limits.pending,
        "max_requests": limits.requests,
        # It takes the place of `max_retries`, whose default of three at a time would be the limit:
        # https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/circuit_breaker.proto
        "retry_budget": budget,
    }
    return {"thresholds": [threshold]}


def outliers(outliers: schema_providers.Outliers) -> Json:
    """Only what fails between Envoy and an address counts: a provider's 503 is said of a model, not of an address.
    Where more than half of the addresses are out, Envoy asks all again; so a single one is never given up."""
    return {
        # Tells failed connections apart from a provider's 5xx:
        # https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier.
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": outliers.failures,
        "enforcing_consecutive_local_origin_failure": 100,
        # Success rates and 5xx eject by default, and a provider's 5xx would count against its address.
        "enforcing_local_origin_success_rate": 0,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": _seconds(outliers.pause),
        "max_ejection_percent": outliers.share,
    }


def of_web() -> Json:
    """Limits of a route to the web process. A call waits while the process starts again: Claude Code takes a token
    endpoint that fails for a second for the end of its session."""
    return {
        "timeout": "35s",
        "idle_timeout": "35s",
        "retry_policy": {
            # Not once the headers have gone out: authorization codes and refresh tokens work only once.
            "retry_on": "connect-failure,reset-before-request",
            # With the jitter of the back-off some fifteen seconds, which a busy machine may need.
            "num_retries": 60,
            "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"},
        },
    }


def streams(limits: Limits, longest: float | None = None) -> Json:
    """Returns the listener's limits on what one connection may ask for at once and may send ahead.

    `longest`: seconds after which a connection is drained. Calls on it come to their end, and a few seconds later it
    takes no new one."""
    lifetime = {} if longest is None else {"max_connection_duration": _seconds(longest)}
    drain = {} if longest is None else {"drain_timeout": _seconds(min(_DRAIN_SECONDS, longest))}
    megabyte = 1024 * 1024
    return {
        **drain,
        "common_http_protocol_options": {
            # To some servers `x_api_key` and `x-api-key` are the same header, so that one of them gets past a check of
            # the other: https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge.
            "headers_with_underscores_action": "REJECT_REQUEST",
            "idle_timeout": _seconds(limits.idle_connection_seconds),
            **lifetime,
        },
        "http2_protocol_options": {
            "max_concurrent_streams": limits.streams_per_connection,
            # What one client can make Envoy hold; by default it is many times as much.
            "initial_stream_window_size": megabyte,
            "initial_connection_window_size": 4 * megabyte,
        },
        "request_timeout": _seconds(limits.request_seconds),
    }


def runtime(limits: Limits) -> Json:
    """Against HTTP/2 rapid reset (CVE-2023-44487)."""
    return {
        # One request of a connection in each turn of the event loop: of those that are opened and reset in one breath
        # most are dropped before any filter sees them, and other connections get their turn.
        "http.max_requests_per_io_cycle": 1,
        # Closed when as many streams as this were begun, or will have been, and half of them were reset too soon.
        "overload.premature_reset_total_stream_count": 2 * limits.early_resets,
        # Whole seconds, rounded down: 0 means in their first second.
        "overload.premature_reset_min_stream_lifetime_seconds": 0,
    }


def overload_manager(limits: Limits) -> Json:
    """What is under way when a threshold is reached comes on top, and memory that is free but not given back: so the
    thresholds lie below the bound, far enough to hold it when 500 clients send as fast as they can."""
    monitors = "envoy.extensions.resource_monitors"
    heap = "envoy.resource_monitors.fixed_heap"
    connections = "envoy.resource_monitors.global_downstream_max_connections"
    return {
        # By default pressure is measured once a second.
        "refresh_interval": "0.05s",
        # Else `reset_high_memory_stream` resets nothing. It knows streams of 2^20 bytes and more:
        # https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/overload_manager/overload_manager#reset-streams
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
        "resource_monitors": [
            _monitor(heap, f"{monitors}.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=limits.memory_bytes),
            _monitor(
                connections,
                f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=limits.connections,
            ),
        ],
        "actions": [
            _reduced_timeouts(connections),
            _trigger("overload_actions.shrink_heap", heap, threshold={"value": 0.25}),
            _trigger("overload_actions.stop_accepting_requests", heap, threshold={"value": 0.3}),
            _trigger(
                "overload_actions.reset_high_memory_stream",
                heap,
                scaled={"scaling_threshold": 0.35, "saturation_threshold": 0.45},
            ),
        ],
        # `reset_high_memory_stream` knows HTTP/2 alone; this ends connections of HTTP/1.1.
        "loadshed_points": [
            _trigger(
                "load_shed_points.http1_server_abort_dispatch",
                heap,
                scaled={"scaling_threshold": 0.35, "saturation_threshold": 0.5},
            ),
        ],
    }


def _reduced_timeouts(connections: str) -> Json:
    """From 90 % of the connections on, idle ones are closed sooner, at 100 % after a second: whoever holds them must
    open them again, in competition with everybody else."""
    timers = ("HTTP_DOWNSTREAM_CONNECTION_IDLE", "TRANSPORT_SOCKET_CONNECT")
    return {
        **_trigger(
            "overload_actions.reduce_timeouts",
            connections,
            scaled={"scaling_threshold": 0.9, "saturation_threshold": 1.0},
        ),
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
            "timer_scale_factors": [{"timer": timer, "min_timeout": "1s"} for timer in timers],
        },
    }


def _monitor(name: str, kind: str, **settings: Any) -> Json:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{kind}", **settings}}


def _trigger(name: str, monitor: str, **trigger: Any) -> Json:
    return {"name": f"envoy.{name}", "triggers": [{"name": monitor, **trigger}]}


def _seconds(number: float) -> str:
    return f"{number:g}s"

"""What Envoy needs so that a call can move from one provider of its model to the next.

Each attempt is another cluster, and each such cluster has filters of its own, which run once for each attempt: one that
removes what an earlier attempt has set, the processor, a guard behind it, and one that removes what no provider is to
see. docs/failover.md draws it; what is surprising here was tried on Envoy 1.40.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from extproc.envoy import limits
from extproc.envoy.attributes import CLUSTER
from extproc.gateway import attempts
from extproc.gateway.handover import HANDOVER, MIRROR, MIRRORED, MOVE_ON, NAMESPACE, NUMBER, ORDER
from extproc.wire import dialects

Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy"
_FILTERS = f"{_TYPE}.extensions.filters.http"
_SPECIFIER = "router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier"
# A clean end of the processor's stream lets a request pass. RBAC is no help here: an upstream RBAC filter has its say
# before the processor has answered.
_GUARD = """\
function envoy_on_request(handle)
  local said = handle:streamInfo():dynamicMetadata():get("extproc")
  local count = handle:headers():get("%(number)s") or "?"
  if said == nil or said["%(verdict)s"] ~= "%(cluster)s#" .. count then
    handle:respond({[":status"] = "503"}, "no verdict on this attempt")
  end
end
"""
_ANY_ADDRESS_WILL_DO = 1_000_000
# Percent. A provider with a single address has two here, with the one that refuses connections, and both must stay.
_LESS_THAN_HALF = 49


def route(pool: str, idle: float) -> Json:
    """Returns what a call is sent to that may be tried at several providers. How often and for how long each is tried
    is said by the processor, in headers that Envoy removes. `pool`: what stands in the place of a cluster where no
    order was given. `idle`: seconds without a byte after which the call ends."""
    nowhere = {"name": "none", "clusters": [{"cluster_name": pool, "weight": 1}]}
    specifier = {
        "@type": f"{_TYPE}.extensions.{_SPECIFIER}",
        # The order of the providers, which admission has set for this call. One that is missing or malformed leaves the
        # groups below: no provider at all.
        "override_metadata_namespace": ORDER,
        "priority_groups": [nowhere],
    }
    return {
        "inline_cluster_specifier_plugin": {
            "extension": {
                "name": "envoy.router.cluster_specifier_plugin.priority_group",
                "typed_config": specifier,
            }
        },
        # The default of 15 s would end long answers:
        # https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts
        "timeout": "0s",
        # Only where the processor has named a cluster. A copy has no part in Envoy's log.
        # Envoy would append `-shadow` to the host of a copy.
        "request_mirror_policies": [{"cluster_header": MIRROR, "disable_shadow_host_suffix_append": True}],
        "idle_timeout": f"{idle:g}s",
        "retry_policy": {
            # The processor judges an answer and marks it with a header, so that no list of status codes decides: a 400
            # may move on where a 500 does not. Which other faults lead to another attempt is in the headers of each
            # call (gateway/handover.py).
            "retry_on": "retriable-headers",
            "retriable_headers": [{"name": MOVE_ON, "string_match": {"exact": "yes"}}],
            "num_retries": 1,
            # Else each attempt goes to the cluster of the first.
            "refresh_cluster_on_retry": True,
            # The next provider is another one, so there is little to wait for. A `rate_limited_retry_back_off` would
            # obey the `retry-after` of the one that has failed.
            "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.05s"},
        },
    }


def cluster(name: str, ordinary: Json) -> Json:
    """Returns the cluster of a provider for attempts, made from the one for calls that go nowhere else."""
    endpoints, outliers = ordinary["load_assignment"]["endpoints"], ordinary["outlier_detection"]
    # Where a provider has no address, Envoy would end the call at once. At this one a connection is refused, which
    # moves it on.
    tombstone = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}}}
    # The tombstone counts as a second address. Were the only real one left out here, the provider would still be so
    # when its pause among the model's providers is over, and each call to it would count as another failure.
    share = min(outliers["max_ejection_percent"], _LESS_THAN_HALF)
    return ordinary | {
        "name": name,
        "alt_stat_name": f"attempt:{ordinary['alt_stat_name'].removeprefix('provider:')}",
        # Where most addresses are left out Envoy would ask them all again, instead of moving on:
        # https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [*endpoints, {"priority": 1, "lb_endpoints": [tombstone]}],
            # Else it gets a share of the calls when more than a fourth of the addresses are left out:
            # https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority
            "policy": {"overprovisioning_factor": {"value": _ANY_ADDRESS_WILL_DO}},
        },
        "outlier_detection": outliers | {"max_ejection_percent": share},
        "circuit_breakers": {"thresholds": [_breaker(ordinary["circuit_breakers"]["thresholds"][0])]},
        **limits.upstream(_filters(name)),
    }


def _breaker(ordinary: Json) -> Json:
    """Envoy counts the next attempt as a retry of the cluster that failed. A budget, which is a share of the calls in
    progress there, would be used up by an outage, and end most calls with the first provider's error."""
    known = {name: limit for name, limit in ordinary.items() if name != "retry_budget"}
    return known | {"max_retries": known["max_requests"]}


def mirror(name: str, ordinary: Json) -> Json:
    """Returns the cluster of a provider for copies of calls, made as in `cluster`."""
    return ordinary | {
        "name": name,
        "alt_stat_name": f"mirror:{ordinary['alt_stat_name'].removeprefix('provider:')}",
        "load_assignment": ordinary["load_assignment"] | {"cluster_name": name},
        **limits.upstream(_filters(name, mirrors=True)),
    }


def _filters(name: str, *, mirrors: bool = False) -> Sequence[Json]:
    keys = sorted({dialects.AUTHORIZATION, *(row.key_header for row in dialects.rows())})
    guard = _GUARD % {"number": NUMBER, "verdict": attempts.VERDICT, "cluster": name}
    # What is set or removed in one attempt would still be so in the next.
    facts = {NUMBER: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"}
    if not mirrors:
        facts[HANDOVER] = f"%DYNAMIC_METADATA({ORDER}:handover)%"
    return [
        # The headers of one attempt are there in the next, the first provider's key and `content-length` among them;
        # only the body is the client's own again (Envoy 1.40).
        _mutation("extproc.clean", *_removing(*keys, "content-length"), *_setting(facts)),
        {"name": "envoy.filters.http.ext_proc", "typed_config": _processor()},
        {
            "name": "envoy.filters.http.lua",
            "typed_config": {
                "@type": f"{_FILTERS}.lua.v3.Lua",
                "default_source_code": {"inline_string": guard},
            },
        },
        _mutation("extproc.strip", *_removing(NUMBER, HANDOVER, MIRROR, MIRRORED)),
    ]


def _processor() -> Json:
    return {
        "@type": f"{_FILTERS}.ext_proc.v3.ExternalProcessor",
        "grpc_service": {"envoy_grpc": {"cluster_name": "extproc"}, "retry_policy": limits.of_workers()},
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "request_trailer_mode": "SKIP",
            "response_header_mode": "SEND",
            # In STREAMED no piece of a body comes before the reply to the headers, so no answer could be judged by its
            # body.
            "response_body_mode": "FULL_DUPLEX_STREAMED",
            # FULL_DUPLEX_STREAMED is refused without it.
            "response_trailer_mode": "SEND",
        },
        # Not `xds.node`: Envoy 1.40 crashes where a filter of a cluster asks for it.
        "request_attributes": [CLUSTER],
        "message_timeout": "5s",
        "status_on_error": {"code": "ServiceUnavailable"},
        "mutation_rules": {"allow_all_routing": True, "allow_envoy": True},
        "metadata_options": {
            "receiving_namespaces": {"untyped": ["extproc", NAMESPACE]},
            "forwarding_namespaces": {"untyped": [NAMESPACE]},
        },
    }


def _removing(*headers: str) -> list[Json]:
    return [{"remove": header} for header in headers]


def _setting(headers: Mapping[str, str]) -> list[Json]:
    action = {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return [{"append": {"header": {"key": name, "value": value}} | action} for name, value in headers.items()]


def _mutation(name: str, *mutations: Json) -> Json:
    return {
        "name": name,
        "typed_config": {
            "@type": f"{_FILTERS}.header_mutation.v3.HeaderMutation",
            "mutations": {"request_mutations": [*mutations]},
        },
    }

"""`gateway.yaml` as Envoy's listeners and clusters; each choice was tried on Envoy 1.40."""

import hashlib
import json
import ssl
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from extproc.config.loading import Source
from extproc.config.processor_tls import host_of, is_ip, is_tcp
from extproc.config.schema_limits import REFUSALS_BURST, Limits
from extproc.config.schema_tls import ProcessorClient
from extproc.envoy import attempts, limits
from extproc.envoy.access_log import SAMPLE, SAMPLE_FILE
from extproc.envoy.listener import (
    CERTIFICATE,
    CLIENT_AUTHORITY,
    certificate,
    client_authority,
    listeners,
    routes,
    secret_file,
    watched_secret,
)
from extproc.providers import providers
from extproc.providers.loading import Destination, destinations
from extproc.web import topics

Json = dict[str, Any]

PROCESSOR = "extproc"
CLIENT_CERTIFICATE, PROCESSOR_AUTHORITY = "processor-client", "processor-ca"
NOWHERE = "nowhere"
_TYPE = "type.googleapis.com/envoy"
_TLS = "extensions.transport_sockets.tls.v3"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ROOTS = ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt")


def clusters(
    source: Source,
    processors: Sequence[str],
    older: Sequence[Source] = (),
    *,
    live: bool = False,
    roots: Path | None = None,
) -> list[Json]:
    """Returns Envoy's clusters: the processor, the web process where something needs it, and one for each provider.

    `processors`: addresses of the workers, `unix:PATH` or `HOST:PORT`. `older`: whose providers are still needed.
    `live`: roots of a provider's certificate come from a file that Envoy watches. `roots`: the file of public
    authorities on Envoy's machine; default: this machine's."""
    public = roots or system_roots()
    found = []
    for name, to in destinations([*older, source]).items():
        ordinary = _provider(name, to, live, public)
        found.append(ordinary)
        if to.is_candidate:
            found.append(attempts.cluster(providers.attempt_cluster(to.name, to.settings.base_url), ordinary))
        if to.is_mirror:
            found.append(attempts.mirror(providers.mirror_cluster(to.name, to.settings.base_url), ordinary))
    found += [_web(source, address, live) for address in _web_addresses(source, processors)]
    return [_processor(source, processors, live), {"name": NOWHERE, "type": "STATIC"}, *found]


def static(source: Source, processors: Sequence[str], roots: Path | None = None) -> Json:
    """Returns Envoy's whole configuration as one file, for an Envoy that is started and changed by somebody else.
    `roots`: as for `clusters`."""
    boot = bootstrap(source)
    resources = {"listeners": listeners(source), "clusters": clusters(source, processors, roots=roots)}
    return {
        "node": boot["node"],
        "admin": boot["admin"],
        "static_resources": resources,
        "layered_runtime": boot["layered_runtime"],
        "overload_manager": boot["overload_manager"],
    }


def processor_addresses(first: str, count: int) -> list[str]:
    """One for each worker: worker n of `HOST:PORT` has port + n, of `unix:PATH` the path with `.n` behind it."""
    if not is_tcp(first):
        return [first, *(f"{first}.{n}" for n in range(1, count))]
    name, _, port = first.rpartition(":")
    return [f"{name}:{int(port) + n}" for n in range(count)]


class _Dumper(yaml.SafeDumper):
    """Writes what is short on one line, and a value each time it occurs, not as an alias of its first place."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = len(str(mapping)) < 80 and not any("%CEL" in str(value) for value in mapping.values())
        return node


def as_yaml(made: Json) -> str:
    """Returns the configuration as YAML, for people to read."""
    return yaml.dump(made, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=118)


def bootstrap(source: Source) -> Json:
    loaded: Json = yaml.safe_load((files("extproc.envoy") / "bootstrap.yaml").read_text("utf-8"))
    loaded["layered_runtime"]["layers"][0]["static_layer"] |= limits.runtime(source.config.limits)
    return loaded | {"overload_manager": limits.overload_manager(source.config.limits)}


def live(source: Source, processors: Sequence[str], older: Sequence[Source] = ()) -> dict[str, Json]:
    """By name, the files that Envoy watches, in the order in which they are to be written."""
    return {
        **_secrets([*older, source], processors),
        SAMPLE_FILE: _sample(source.config.limits),
        "clusters.json": _discovery("config.cluster.v3.Cluster", clusters(source, processors, older, live=True)),
        "routes.json": _discovery("config.route.v3.RouteConfiguration", [routes(source, older)]),
        "listeners.json": _discovery("config.listener.v3.Listener", listeners(source, live=True)),
    }


def _sample(limits: Limits) -> Json:
    """The bucket for the log of what Envoy refuses by itself, filled each second."""
    most = max(1, round(limits.refusals_logged))
    bucket = {
        "@type": f"{_TYPE}.type.v3.TokenBucket",
        "max_tokens": most * REFUSALS_BURST,
        "tokens_per_fill": most,
        "fill_interval": "1s",
    }
    # A bucket has no name of its own by which Envoy could ask for it.
    wrapped = {"@type": f"{_TYPE}.service.discovery.v3.Resource", "name": SAMPLE, "resource": bucket}
    return {"resources": [wrapped]}


def write(source: Source, processors: Sequence[str], folder: Path, *, listening: bool = True) -> None:
    """All that an Envoy needs that is started in this folder. `listening`: with its listener."""
    found = {"bootstrap.json": bootstrap(source), **live(source, processors)}
    if not listening:
        found["listeners.json"] = {"resources": []}
    for name, content in found.items():
        replace(folder / name, content)


def _secrets(sources: Sequence[Source], processors: Sequence[str]) -> dict[str, Json]:
    """Envoy wants a file for each."""
    newest = sources[-1]
    tls = newest.config.listen.tls
    found = {} if tls is None else {CERTIFICATE: {"tls_certificate": certificate(newest, tls) | _READ_AGAIN}}
    if tls is not None and tls.client_ca is not None:
        found[CLIENT_AUTHORITY] = {"validation_context": client_authority(newest, tls.client_ca) | _READ_AGAIN}
    if (client := _client(newest, [*processors, *_web_addresses(newest, processors)])) is not None:
        found[CLIENT_CERTIFICATE] = {"tls_certificate": certificate(newest, client) | _READ_AGAIN}
        authority = _roots(newest.resolve(client.ca_file)) | _READ_AGAIN
        found[PROCESSOR_AUTHORITY] = {"validation_context": authority}
    for to in destinations(sources).values():
        if (path := _ca_file(to)) is not None:
            found[_secret_name(path)] = {"validation_context": _roots(path) | _READ_AGAIN}
    return {
        secret_file(name): _discovery(f"{_TLS}.Secret", [{"name": name, **secret}]) for name, secret in found.items()
    }


# When anything is renamed into Envoy's folder. Then both halves of a pair have been changed.
_READ_AGAIN = {"watched_directory": {"path": "."}}


def _secret_name(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:8]


def _discovery(kind: str, resources: Sequence[Json]) -> Json:
    return {"resources": [{"@type": f"{_TYPE}.{kind}", **resource} for resource in resources]}


def replace(path: Path, content: Json) -> None:
    """Whole, renamed into place."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1), "utf-8")
    # Envoy watches for renames alone, because only they are atomic:
    # https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/config_source.proto
    partial.replace(path)


def _processor(source: Source, addresses: Sequence[str], live: bool) -> Json:
    client = _client(source, addresses)
    secured = {} if client is None else {"transport_socket": _mutual_tls(source, client, host_of(addresses[0]), live)}
    return {
        **secured,
        "name": PROCESSOR,
        # Envoy refuses a STATIC cluster with a host name in it.
        "type": "STRICT_DNS" if _needs_dns(addresses) else "STATIC",
        "connect_timeout": "1s",
        # Every exchange is one stream for its whole life; the default of 1024 would be a ceiling for the gateway.
        "circuit_breakers": {
            "thresholds": [
                {"max_retries": 1000}
                | dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 1_000_000)
            ]
        },
        # A stream lasts as long as its answer, from milliseconds to minutes, so that taking turns would not share the
        # load.
        "lb_policy": "LEAST_REQUEST",
        # Where most workers leave at once, as in a restart, Envoy would send calls to those again:
        # https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [_health_check()],
        "load_assignment": _endpoints(PROCESSOR, [_address(address) for address in addresses]),
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                # gRPC needs HTTP/2, and Envoy speaks HTTP/1.1 to a cluster unless told otherwise.
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }


def _web_addresses(source: Source, processors: Sequence[str]) -> list[str]:
    """Where the web process is, if there is one."""
    return [topics.address(source, processors)] if topics.in_use(source.config) else []


def _web(source: Source, address: str, live: bool) -> Json:
    client = _client(source, [address])
    secured = {} if client is None else {"transport_socket": _mutual_tls(source, client, host_of(address), live)}
    return {
        **secured,
        "name": topics.CLUSTER,
        "type": "STRICT_DNS" if _needs_dns([address]) else "STATIC",
        "connect_timeout": "1s",
        # All calls may wait for a process that starts again.
        "circuit_breakers": {"thresholds": [{"max_retries": 1000, "max_pending_requests": 1000}]},
        "load_assignment": _endpoints(topics.CLUSTER, [_address(address)]),
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                # The process closes idle connections later, so none closes under a request.
                "common_http_protocol_options": {"idle_timeout": "60s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def _client(source: Source, addresses: Sequence[str]) -> ProcessorClient | None:
    """What Envoy presents to the processor, where it reaches it over TCP."""
    return source.config.processor.client if any(map(is_tcp, addresses)) else None


def _mutual_tls(source: Source, client: ProcessorClient, name: str, live: bool) -> Json:
    """`name`: the host of all workers, which their certificate must be for."""
    kind = "IP_ADDRESS" if is_ip(name) else "DNS"
    # Without a name to match, Envoy takes any certificate of the authority.
    expected: Json = {"match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": name}}]}
    context: Json = {
        # gRPC's servers refuse a TLS connection without ALPN: https://github.com/envoyproxy/envoy/issues/26172.
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
    }
    if live:
        context["tls_certificate_sds_secret_configs"] = [watched_secret(CLIENT_CERTIFICATE)]
        context["combined_validation_context"] = {
            "default_validation_context": expected,
            "validation_context_sds_secret_config": watched_secret(PROCESSOR_AUTHORITY),
        }
    else:
        context["tls_certificates"] = [certificate(source, client)]
        context["validation_context"] = expected | _roots(source.resolve(client.ca_file))
    # Names only: RFC 6066, section 3, permits no IP address in SNI.
    sni = {} if kind == "IP_ADDRESS" else {"sni": name}
    return _transport_socket({**sni, "common_tls_context": context})


def _provider(cluster: str, to: Destination, live: bool, public: Path) -> Json:
    settings = to.settings
    url = urlsplit(settings.base_url)
    host = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    found: Json = {
        "name": cluster,
        "alt_stat_name": f"provider:{to.name}",
        # All of the name's addresses are endpoints, each with its own outlier detection:
        # https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/service_discovery#strict-dns.
        "type": "STRICT_DNS",
        # Envoy's default, AUTO, uses no IPv4 address where a name has one of IPv6, which many networks have no route
        # to.
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": f"{settings.timeouts.connect:g}s",
        "circuit_breakers": limits.breakers(settings.limits, settings.retries),
        "outlier_detection": limits.outliers(settings.outliers),
        **limits.upstream_options(settings.retries),
        "load_assignment": _endpoints(cluster, [{"hostname": host, "address": _socket(host, port)}]),
    }
    if url.scheme == "https":
        found["transport_socket"] = _tls(_ca_file(to), live, public)
    return found


def _ca_file(to: Destination) -> Path | None:
    return to.source.resolve(to.settings.ca_file) if to.settings.ca_file else None


def _tls(ca_file: Path | None, live: bool, public: Path) -> Json:
    # Envoy verifies nothing unless it is given authorities, and knows no default ones:
    # https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/security/ssl#enabling-certificate-verification
    trusted: Json = {"validation_context": _roots(ca_file or public)}
    if live and ca_file:
        trusted = {"validation_context_sds_secret_config": watched_secret(_secret_name(ca_file))}
    return _transport_socket(
        {
            # SNI and the name in the certificate are the endpoint's host name, whatever `host` the client sent.
            "auto_host_sni": True,
            "auto_sni_san_validation": True,
            "common_tls_context": trusted,
        }
    )


def _transport_socket(context: Json) -> Json:
    kind = f"{_TYPE}.{_TLS}.UpstreamTlsContext"
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": kind, **context}}


def _roots(path: Path) -> Json:
    return {"trusted_ca": {"filename": str(path)}}


def system_roots() -> Path:
    """The certificates that this machine trusts, where Python looks for them or where systems keep them."""
    known = ssl.get_default_verify_paths().cafile
    candidates = [Path(path) for path in (known, *_ROOTS) if path]
    return next((path for path in candidates if path.is_file()), candidates[-1])


def _health_check() -> Json:
    return {
        "timeout": "1s",
        "interval": "1s",
        # Until a cluster has had its first call Envoy checks it only this often; the default is a minute.
        "no_traffic_interval": "1s",
        # A worker that comes back is used again at once.
        "unhealthy_interval": "0.2s",
        # One that is merely busy is kept: calls can wait longer than that for it. A worker that leaves says so and is
        # out at once, whatever the threshold, and calls that reach a dead one are tried again at another.
        "unhealthy_threshold": 3,
        "healthy_threshold": 1,
        "grpc_health_check": {},
    }


def _needs_dns(addresses: Sequence[str]) -> bool:
    return any(is_tcp(address) and not is_ip(host_of(address)) for address in addresses)


def _address(address: str) -> Json:
    if not is_tcp(address):
        return {"address": {"pipe": {"path": address.removeprefix("unix:")}}}
    return {"address": _socket(host_of(address), int(address.rpartition(":")[2]))}


def _socket(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _endpoints(name: str, endpoints: Sequence[Mapping[str, Any]]) -> Json:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint} for endpoint in endpoints]}]}

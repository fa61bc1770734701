"""deploy/kubernetes/envoy-gateway.yaml as Envoy Gateway would render it, through the real Envoy.

Envoy Gateway itself is a Go program that no package ships. What is made of the manifest here is what its translator
makes of it as far as a call meets it: names, order of filters, a filter that its route turns on, small buffers.
https://github.com/envoyproxy/gateway/blob/main/internal/xds/translator/testdata/out/xds-ir/ext-proc.listeners.yaml
"""

import contextlib
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.config import loading
from extproc.config.schema_tls import Processor
from extproc.envoy import configuration, listener
from extproc.gateway.record import ALLOWED, CLUSTER, VERDICT
from extproc.providers import providers
from extproc.supervisor import up
from tests.certificates import Authority
from tests.e2e.bare import Setup, configured, processor, started, wait_for_processors
from tests.e2e.fake_processor import closes, fake_processor, lets_through
from tests.e2e.stack import Json, Model, Stack, free_port, prompt, text_of
from tests.manifests import documents, only

FILE = "envoy-gateway.yaml"
NAME = "default/llm/http"
ROUTE = "httproute/default/llm/rule/0"
FILTER = "envoy.filters.http.ext_proc/envoyextensionpolicy/default/llm/extproc/0"
TYPES = "type.googleapis.com/envoy"
FILTERS = f"{TYPES}.extensions.filters.http"
PLAINTEXT: Json = {
    "name": "envoy.transport_sockets.raw_buffer",
    "typed_config": {"@type": f"{TYPES}.extensions.transport_sockets.raw_buffer.v3.RawBuffer"},
}
LISTENER, ROUTES = f"{TYPES}.config.listener.v3.Listener", f"{TYPES}.config.route.v3.RouteConfiguration"


def bare_listener(port: int) -> Json:
    manager = {
        "@type": f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http-10080",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "http_filters": [
            {"name": FILTER, "disabled": True, "typed_config": ext_proc()},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{FILTERS}.router.v3.Router", "suppress_envoy_headers": True},
            },
        ],
        "merge_slashes": True,
        "normalize_path": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "use_remote_address": True,
        "rds": {"route_config_name": NAME, "config_source": {"path_config_source": {"path": "./routes.json"}}},
    }
    return {
        "name": NAME,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "default_filter_chain": {
            "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
        },
        "per_connection_buffer_limit_bytes": 32768,
    }


def ext_proc() -> Json:
    [policy] = only(FILE, "EnvoyExtensionPolicy")["spec"]["extProc"]
    mode = policy["processingMode"]
    assert mode["request"]["body"] == "Buffered" and "response" not in mode
    return {
        "@type": f"{FILTERS}.ext_proc.v3.ExternalProcessor",
        "grpc_service": {"envoy_grpc": {"cluster_name": "extproc"}, "timeout": "10s"},
        "failure_mode_allow": policy["failOpen"],
        "message_timeout": policy["messageTimeout"],
        "status_on_error": {"code": {503: "ServiceUnavailable"}[policy["statusOnError"]]},
        "allow_mode_override": mode["allowModeOverride"],
        "request_attributes": mode["request"]["attributes"],
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "request_trailer_mode": "SKIP",
            "response_header_mode": "SKIP",
            "response_trailer_mode": "SKIP",
        },
        "metadata_options": {"receiving_namespaces": {"untyped": policy["metadata"]["writableNamespaces"]}},
    }


def routes() -> Json:
    [rule] = only(FILE, "HTTPRoute")["spec"]["rules"]
    host = rule["filters"][0]["urlRewrite"]["hostname"]
    assert rule["timeouts"] == {"request": "0s"}
    route = {
        "name": f"{ROUTE}/match/0/*",
        "match": {"prefix": "/"},
        "route": {"cluster": ROUTE, "host_rewrite_literal": host, "timeout": "0s"},
        "typed_per_filter_config": {FILTER: {"@type": f"{TYPES}.config.route.v3.FilterConfig", "config": {}}},
    }
    host_ = {"name": f"{NAME}/*", "domains": ["*"], "routes": [route]}
    return {"name": NAME, "ignore_port_in_host_matching": True, "virtual_hosts": [host_]}


def patches() -> list[Json]:
    found: list[Json] = only(FILE, "EnvoyPatchPolicy")["spec"]["jsonPatches"]
    return found


def patched(kind: str, resource: Json, wanted: list[Json]) -> Json:
    """As Envoy Gateway does it: `jsonPath` finds places, `path` is put behind each, and a place in a list is made room
    for."""
    changed = copy.deepcopy(resource)
    for patch in wanted:
        if (patch["type"], patch["name"]) == (kind, resource["name"]):
            apply(changed, patch["operation"])
    return changed


def apply(resource: Json, operation: Json) -> None:
    assert operation["op"] == "add"
    path = operation.get("path", "").strip("/").split("/") if operation.get("path") else []
    places = [place + path for place in found(resource, operation["jsonPath"])] if "jsonPath" in operation else [path]
    assert places, f"{operation['jsonPath']} finds nothing"
    for *above, last in places:
        parent: Any = resource
        for step in above:
            parent = parent[int(step)] if isinstance(parent, list) else parent[step]
        if isinstance(parent, list):
            parent.insert(int(last), operation["value"])
        else:
            parent[last] = operation["value"]


def found(resource: Json, path: str) -> list[list[str]]:
    """Of the one form that the manifest has: `..LIST[?(@.name=='NAME')]`, and a member of it."""
    parts = re.fullmatch(r"\.\.(\w+)\[\?\(@\.name=='([^']+)'\)\](?:\.(\w+))?", path)
    assert parts, path
    list_, name, member = parts.groups()
    return [
        [*above, str(number), *([member] if member else [])]
        for above, value in walk(resource, [])
        if above[-1:] == [list_]
        for number, item in enumerate(value)
        if item["name"] == name
    ]


def walk(value: Any, above: list[str]) -> Iterator[tuple[list[str], list[Json]]]:
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        yield above, value
    for key, item in items:
        yield from walk(item, [*above, str(key)])


def tls(folder: Path, *, client: bool = True) -> Json:
    """As BackendTLSPolicy has Envoy verify the processor, and EnvoyProxy has it present itself."""
    validation = only(FILE, "BackendTLSPolicy", "extproc")["spec"]["validation"]
    assert len(validation["caCertificateRefs"]) == 1 and only(FILE, "EnvoyProxy")["spec"]["backendTLS"]
    names = [{"san_type": "DNS", "matcher": {"exact": validation["hostname"]}}]
    trusted = {"trusted_ca": {"filename": str(folder / "ca.pem")}, "match_typed_subject_alt_names": names}
    pair = {"certificate_chain": "envoy.pem", "private_key": "envoy.key"}
    presented = {kind: {"filename": str(folder / name)} for kind, name in pair.items()}
    context = {"tls_certificates": [presented] if client else [], "validation_context": trusted}
    kind = f"{TYPES}.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    typed = {"@type": kind, "sni": validation["hostname"], "common_tls_context": context}
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}


@contextlib.contextmanager
def gateway(setup: Setup, address: str, wanted: list[Json], transport: Json | None = None) -> Iterator[Stack]:
    """Envoy Gateway's Envoy with its processor on `address`; `transport`: to the processor, if not plaintext."""
    source = loading.load(setup.path, setup.environ)
    plain = source.replaced(source.config.model_copy(update={"processor": Processor()}))
    known = {cluster["name"]: cluster for cluster in configuration.clusters(plain, [address])}
    if transport is not None:
        known["extproc"]["transport_socket"] = transport
        del known["extproc"]["health_checks"]  # it has none of its own
    provider = known[providers.cluster("openai", source.config.providers["openai"].base_url)]
    boot = configuration.bootstrap(source)
    del boot["dynamic_resources"]
    boot["static_resources"] = {
        "listeners": [patched(LISTENER, bare_listener(setup.port), wanted)],
        "clusters": [known["extproc"], {**provider, "name": ROUTE}],
    }
    made = {"@type": ROUTES, **patched(ROUTES, routes(), wanted)}
    (setup.folder / "routes.json").write_text(json.dumps({"resources": [made]}))
    (setup.folder / "envoy.json").write_text(json.dumps(boot))
    argv = [up.binary_path(), "-c", "envoy.json", "--disable-hot-restart", "--log-level", "warn", "--concurrency", "1"]
    with started(argv, setup.folder, {}) as (process, out, err):
        wait_for_processors(setup, 1)
        yield Stack(f"http://127.0.0.1:{setup.port}", setup.folder, process, out, err)


@pytest.fixture
def setup(model: Model) -> Iterator[Setup]:
    with configured(model.url) as made:
        yield made


@pytest.fixture
def certificates(setup: Setup) -> Path:
    """As certificates.yaml has them made, where the manifest's configuration looks for them."""
    settings = yaml.safe_load(only(FILE, "ConfigMap")["data"]["gateway.yaml"])["processor"]
    folder = setup.folder / "tls"
    authority = Authority(folder)
    [server] = [one for one in documents("certificates.yaml") if one["metadata"]["name"] == "extproc-processor"]
    authority.issue("processor", *server["spec"]["dnsNames"])
    authority.issue("envoy")
    for mounted, made in {"tls.crt": "processor.pem", "tls.key": "processor.key", "ca.crt": "ca.pem"}.items():
        (folder / mounted).write_bytes((folder / made).read_bytes())
    text = json.dumps({"processor": settings}).replace("/run/tls", str(folder))[1:-1]
    setup.path.write_text(f"{setup.path.read_text()}{text}\n")
    return folder


@pytest.fixture
def stack(setup: Setup, certificates: Path) -> Iterator[Stack]:
    """With the real processor."""
    address = f"127.0.0.1:{free_port()}"
    with processor(setup, address), gateway(setup, address, patches(), tls(certificates)) as running:
        yield running


def asked(made: Json) -> Json:
    """What a listener says of when and how the processor is asked."""
    chain = made["default_filter_chain"] if "default_filter_chain" in made else made["filter_chains"][0]
    [found] = [one for one in chain["filters"][0]["typed_config"]["http_filters"] if "ext_proc" in one["name"]]
    settings = {"failure_mode_allow": False, **found["typed_config"]}
    return {**settings, "grpc_service": settings["grpc_service"]["retry_policy"]}


def test_the_processor_is_asked_as_everywhere_else(setup: Setup) -> None:
    """But for what a model with several providers needs, which `extproc check --target envoy-gateway` refuses."""
    everywhere = asked(listener.listener(loading.load(setup.path, setup.environ)))
    here = asked(patched(LISTENER, bare_listener(1), patches()))
    several = "response_attributes", "metadata_options"
    assert {name: value for name, value in here.items() if name not in several} == {
        name: value for name, value in everywhere.items() if name not in several
    }
    assert here["response_attributes"] == ["response.code_details"]
    assert here["metadata_options"] == {"receiving_namespaces": {"untyped": ["extproc"]}}


def test_who_may_call_and_what_comes_back(stack: Stack) -> None:
    assert stack.call(prompt("hello"), token=None).status_code == 401
    assert stack.call(prompt("hello"), token=stack.token(team="marketing")).status_code == 403
    answer = stack.call(prompt("demo: say bonjour"))
    assert (answer.status_code, text_of(answer.json())) == (200, "bonjour")
    streamed = stack.call(prompt("demo: say bonjour", stream=True))
    assert "event: message_stop" in streamed.text and "bonjour" in streamed.text


@pytest.mark.parametrize("missing", ["EnvoyProxy", "BackendTLSPolicy"])
def test_why_both_sides_need_a_certificate(setup: Setup, certificates: Path, model: Model, missing: str) -> None:
    transport = tls(certificates, client=False) if missing == "EnvoyProxy" else None
    address = f"127.0.0.1:{free_port()}"
    asked = model.asked()
    with processor(setup, address):
        with gateway(setup, address, patches(), transport or PLAINTEXT) as stack:
            # 504 where Envoy waits for its `message_timeout`: in TLS 1.3 a client learns late that it was turned away.
            assert stack.call(prompt("hello")).status_code in (503, 504)
        with gateway(setup, address, patches(), tls(certificates)) as stack:
            assert model.since(asked) == []
            assert stack.call(prompt("demo: say hello")).status_code == 200


def test_a_body_of_a_megabyte_passes(stack: Stack) -> None:
    answer = stack.call(prompt("x" * 1_000_000 + "\ndemo: say bonjour"))
    assert (answer.status_code, text_of(answer.json())) == (200, "bonjour")


GUARD = "envoy.filters.http.rbac/extproc"


@pytest.mark.parametrize("guarded", [True, False])
def test_why_the_guard_matters(setup: Setup, model: Model, guarded: bool) -> None:
    """A processor that closes its stream cleanly is taken for one that agrees."""
    wanted = [patch for patch in patches() if guarded or GUARD not in str(patch)]
    address = f"127.0.0.1:{free_port()}"
    asked = model.asked()
    with fake_processor(address) as fake, gateway(setup, address, wanted) as stack:
        fake.behaviour = closes
        assert (stack.call(prompt("hello"), token=None).status_code == 403) is guarded
    assert (model.since(asked) == []) is guarded


@pytest.mark.parametrize("cluster", ["provider:other:00000000", "provider:openai2:00000000"])
def test_nothing_passes_that_is_for_another_provider(setup: Setup, model: Model, cluster: str) -> None:
    """There is one route, and its provider must not see another's key."""
    address = f"127.0.0.1:{free_port()}"
    asked = model.asked()
    with fake_processor(address) as fake, gateway(setup, address, patches()) as stack:
        fake.behaviour = lets_through({VERDICT: ALLOWED, CLUSTER: cluster})
        assert stack.call(prompt("hello")).status_code == 403
    assert model.since(asked) == []

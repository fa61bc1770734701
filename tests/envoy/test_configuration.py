"""What Envoy is told: nothing passes without the verdict, nothing secret is written."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from extproc.config.loading import Source
from extproc.envoy import attributes, configuration
from extproc.envoy.listener import listener, routes
from extproc.web import topics
from tests.issuing import jwk
from tests.settings import AUTHENTICATION, GATEWAY, KEY, source

Json = dict[str, Any]
TEXT = f"""
{AUTHENTICATION}
providers:
  openai: {{dialects: [chat], base_url: "https://api.openai.example/v1", api_key: {{env: OPENAI_API_KEY}}}}
  private: {{dialects: [chat], base_url: "https://10.0.0.1:8443", ca_file: ca.pem, timeouts: {{connect: 1.5, idle: 7}}}}
  local: {{dialects: [chat], base_url: "http://127.0.0.1:11434/v1", profile: ollama}}
models: [{{name: "*", provider: openai}}]
max_body_bytes: 5000
records: {{claims: [team]}}
"""
UDS = ["unix:/run/a.sock", "unix:/run/a.sock.1"]


@pytest.fixture
def made(tmp_path: Path) -> Source:
    return source(tmp_path, TEXT)


def clusters(made: Source, processors: list[str] | None = None) -> dict[str, Json]:
    """By the name that does not change when a provider moves."""
    found = configuration.clusters(made, processors or UDS)
    return {str(cluster.get("alt_stat_name", cluster["name"])): cluster for cluster in found}


def names(made: Source) -> dict[str, str]:
    return {name: cluster["name"] for name, cluster in clusters(made).items()}


def endpoints(cluster: Json) -> list[Json]:
    [locality] = cluster["load_assignment"]["endpoints"]
    return [entry["endpoint"] for entry in locality["lb_endpoints"]]


def manager(made: Source) -> Json:
    [chain] = listener(made)["filter_chains"]
    [filter_] = chain["filters"]
    found: Json = filter_["typed_config"]
    return found


def filters(made: Source) -> dict[str, Json]:
    return {one["name"].rpartition(".")[2]: one["typed_config"] for one in manager(made)["http_filters"]}


def host(made: Source) -> Json:
    [found] = manager(made)["route_config"]["virtual_hosts"]
    assert isinstance(found, dict)
    return found


def test_one_cluster_for_each_provider(made: Source) -> None:
    assert list(clusters(made)) == ["extproc", "nowhere", "provider:openai", "provider:private", "provider:local"]
    assert "load_assignment" not in clusters(made)["nowhere"]


@pytest.mark.parametrize(
    ("name", "address", "port", "hostname"),
    [
        ("openai", "api.openai.example", 443, "api.openai.example"),
        ("private", "10.0.0.1", 8443, "10.0.0.1"),
        ("local", "127.0.0.1", 11434, "127.0.0.1"),
    ],
)
def test_where_providers_are(made: Source, name: str, address: str, port: int, hostname: str) -> None:
    [endpoint] = endpoints(clusters(made)[f"provider:{name}"])
    assert endpoint["address"]["socket_address"] == {"address": address, "port_value": port}
    assert endpoint["hostname"] == hostname


def test_https_checks_the_name_and_the_roots(made: Source) -> None:
    for name, roots in (("openai", str(configuration.system_roots())), ("private", str(made.path.parent / "ca.pem"))):
        tls = clusters(made)[f"provider:{name}"]["transport_socket"]["typed_config"]
        assert tls["auto_host_sni"] is True
        assert tls["auto_sni_san_validation"] is True
        assert tls["common_tls_context"]["validation_context"]["trusted_ca"]["filename"] == roots
    assert "transport_socket" not in clusters(made)["provider:local"]


def test_timeouts(made: Source) -> None:
    assert clusters(made)["provider:private"]["connect_timeout"] == "1.5s"
    routes = {route["route"]["cluster"]: route["route"] for route in host(made)["routes"]}
    private, openai = (routes[names(made)[f"provider:{name}"]] for name in ("private", "openai"))
    # A second after the processor, which can say so.
    assert (private["timeout"], private["idle_timeout"]) == ("0s", "8s")
    assert openai["idle_timeout"] == "901s"


@pytest.mark.parametrize(
    ("addresses", "kind", "expected"),
    [
        (["unix:/a"], "STATIC", [{"pipe": {"path": "/a"}}]),
        (["127.0.0.1:9000", "[::1]:9001"], "STATIC", [
            {"socket_address": {"address": "127.0.0.1", "port_value": 9000}},
            {"socket_address": {"address": "::1", "port_value": 9001}},
        ]),
        (["processor:9000"], "STRICT_DNS", [{"socket_address": {"address": "processor", "port_value": 9000}}]),
    ],
)  # fmt: skip
def test_processors(made: Source, addresses: list[str], kind: str, expected: list[Json]) -> None:
    processor = clusters(made, addresses)["extproc"]
    assert processor["type"] == kind
    assert [endpoint["address"] for endpoint in endpoints(processor)] == expected
    assert processor["circuit_breakers"]["thresholds"][0]["max_requests"] == 1_000_000
    assert processor["common_lb_config"]["healthy_panic_threshold"] == {"value": 0}


@pytest.mark.parametrize(
    ("first", "count", "expected"),
    [
        ("unix:/a", 1, ["unix:/a"]),
        ("unix:/a", 3, ["unix:/a", "unix:/a.1", "unix:/a.2"]),
        ("h:90", 2, ["h:90", "h:91"]),
        ("[::1]:90", 2, ["[::1]:90", "[::1]:91"]),
    ],
)
def test_addresses_of_workers(first: str, count: int, expected: list[str]) -> None:
    assert configuration.processor_addresses(first, count) == expected


CLIENT = "processor: {client: {certificate: envoy.pem, key: envoy.key, ca_file: their.pem}}\n"


@pytest.mark.parametrize(
    ("address", "expected", "sni"),
    [
        ("processor:9000", {"san_type": "DNS", "matcher": {"exact": "processor"}}, "processor"),
        ("[::1]:9000", {"san_type": "IP_ADDRESS", "matcher": {"exact": "::1"}}, None),
    ],
)
def test_mutual_tls_to_a_processor(tmp_path: Path, address: str, expected: Json, sni: str | None) -> None:
    made = source(tmp_path, TEXT + CLIENT)
    context = clusters(made, [address])["extproc"]["transport_socket"]["typed_config"]
    assert context.get("sni") == sni
    common = context["common_tls_context"]
    assert common["tls_certificates"] == [
        {
            "certificate_chain": {"filename": str(tmp_path / "envoy.pem")},
            "private_key": {"filename": str(tmp_path / "envoy.key")},
        }
    ]
    assert common["validation_context"]["match_typed_subject_alt_names"] == [expected]
    assert common["validation_context"]["trusted_ca"] == {"filename": str(tmp_path / "their.pem")}
    assert common["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_3"
    assert {tmp_path / name for name in ("envoy.pem", "envoy.key", "their.pem")} <= made.files.digests.keys()


def test_a_socket_needs_no_tls(tmp_path: Path) -> None:
    made = source(tmp_path, TEXT + CLIENT)
    assert "transport_socket" not in clusters(made)["extproc"]
    assert not {name for name in configuration.live(made, UDS) if "processor" in name}


def test_the_guard_stands_between_the_processor_and_the_router(made: Source) -> None:
    assert [name for name in filters(made) if name in {"ext_proc", "rbac", "router"}] == ["ext_proc", "rbac", "router"]
    [[policy, rule]] = filters(made)["rbac"]["rules"]["policies"].items()
    [principal] = rule["principals"]
    matcher = principal["sourced_metadata"]["metadata_matcher"]
    verdict = {"filter": "extproc", "path": [{"key": "verdict"}], "value": {"string_match": {"exact": "allow"}}}
    assert (policy, filters(made)["rbac"]["rules"]["action"], matcher) == ("verdict", "ALLOW", verdict)


SIGN_IN = {"public_url": "https://llm.corp.example", "issuer": "https://idp.corp.example", "client_id": "x"}


def test_pages_pass_the_guard_by_exact_paths_only(tmp_path: Path) -> None:
    """And after the routes of verdicts: a call that was admitted goes to its provider, whatever its path is by then."""
    with_pages = source(tmp_path, f"{TEXT}\nsign_in: {json.dumps(SIGN_IN)}\n")
    rows = routes(with_pages)["virtual_hosts"][0]["routes"]
    kinds = [
        "verdict" if "dynamic_metadata" in row["match"] else "page" if "path" in row["match"] else "rest"
        for row in rows
    ]
    assert kinds == ["verdict"] * 3 + ["page"] * len(topics.paths(with_pages.config)) + ["rest"]
    for row, kind in zip(rows, kinds, strict=True):
        assert (row["route"]["cluster"] == "web") is (kind == "page")
        assert ("typed_per_filter_config" in row) is (kind == "page")
        if kind == "page":
            # HEAD of `/` is Claude Code's probe, which the processor answers.
            only_get = {"headers"} if row["match"]["path"] in {"/", "/protocol"} else set()
            assert row["match"].keys() == {"path", *only_get}
            assert not only_get or row["match"]["headers"] == [{"name": ":method", "string_match": {"exact": "GET"}}]
            [added] = row["request_headers_to_add"]
            assert added["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"


@pytest.mark.parametrize(
    ("path", "serve", "left"),
    [
        ("/", "passthrough", ["/protocol"]),
        ("/protocol", "messages", ["/"]),
        ("*", "passthrough", []),
        ("/x*", "passthrough", ["/", "/protocol"]),
    ],
)
def test_a_configured_route_wins_over_what_the_gateway_says_of_itself(
    tmp_path: Path, path: str, serve: str, left: list[str]
) -> None:
    route = {"path": path, "serve": serve, **({"provider": "openai"} if serve == "passthrough" else {})}
    made = source(tmp_path, f"{TEXT}\nsign_in: {json.dumps(SIGN_IN)}\nroutes: {json.dumps([route])}\n")
    assert [path for path, topic in topics.paths(made.config).items() if topic.name == "about"] == left


def test_a_path_with_an_id_is_a_regular_expression_of_one_segment(tmp_path: Path) -> None:
    made = source(tmp_path, f"{TEXT}\nadmin: {{}}\n")
    matches = [row["match"] for row in routes(made)["virtual_hosts"][0]["routes"]]
    assert {"path": "/v1/organizations/spend_limits"} in matches
    assert {"safe_regex": {"regex": "/v1/organizations/spend_limits/[A-Za-z0-9_-]+"}} in matches


def test_without_pages_there_is_no_way_past_the_guard(made: Source) -> None:
    assert "typed_per_filter_config" not in json.dumps(configuration.live(made, UDS))


def test_no_header_says_where_a_call_comes_from(made: Source) -> None:
    """Of the trusted hops in front there are none, so Envoy takes the peer for the source."""
    assert filters(made)["ext_proc"]["request_attributes"] == ["source.address"]
    assert manager(made)["use_remote_address"] is True and "xff_num_trusted_hops" not in manager(made)


def test_the_processor_fails_closed(made: Source) -> None:
    processor = filters(made)["ext_proc"]
    assert not processor.get("failure_mode_allow")
    assert processor["allow_mode_override"] is True
    mode = processor["processing_mode"]
    assert (mode["request_header_mode"], mode["request_body_mode"]) == ("SEND", "BUFFERED")
    assert mode["response_header_mode"] == "SKIP"
    assert processor["metadata_options"]["receiving_namespaces"]["untyped"] == ["extproc", "extproc.order"]


def test_routes_follow_metadata_and_nothing_a_client_sends(made: Source) -> None:
    *providers, last = host(made)["routes"]
    matched = [route["match"]["dynamic_metadata"][0]["value"]["string_match"]["exact"] for route in providers]
    assert matched == [names(made)[f"provider:{name}"] for name in ("openai", "private", "local")]
    assert matched == [route["route"]["cluster"] for route in providers]
    assert all(set(route["match"]) == {"prefix", "dynamic_metadata"} for route in providers)
    assert (last["match"], last["route"]["cluster"]) == ({"prefix": "/"}, "nowhere")


def test_policy_sees_the_path_that_is_routed(made: Source) -> None:
    settings = manager(made)
    assert settings["normalize_path"] is True
    assert settings["merge_slashes"] is True
    assert settings["common_http_protocol_options"]["headers_with_underscores_action"] == "REJECT_REQUEST"
    assert {"x-forwarded-for", "x-forwarded-proto"} <= set(host(made)["request_headers_to_remove"])


def test_the_limit_of_bodies(made: Source) -> None:
    assert host(made)["request_body_buffer_limit"] == 5000


def test_claims_are_logged(made: Source) -> None:
    for log in manager(made)["access_log"]:
        fields = log["typed_config"]["log_format"]["json_format"]
        assert fields["caller.team"] == "%DYNAMIC_METADATA(extproc:caller.team)%"
        assert not [name for name, value in fields.items() if "authorization" in str(value).lower()]


def test_claims_of_the_ledger_are_logged(tmp_path: Path) -> None:
    made = source(tmp_path, f"{GATEWAY}\nrecords: {{claims: [team]}}\nusage: {{claims: [unit, team]}}\n")
    for log in manager(made)["access_log"]:
        fields = log["typed_config"]["log_format"]["json_format"]
        assert [name for name in fields if name.startswith("caller.")] == ["caller.team", "caller.unit"]


def test_a_line_has_the_same_fields_whoever_ended_the_call(made: Source) -> None:
    ours, others = (log["typed_config"]["log_format"]["json_format"] for log in manager(made)["access_log"])
    assert {name for name in ours | others if ours[name] != others[name]} == {"reason", "error", "http.path"}
    assert "CEL" not in str(ours)


def test_tls_of_the_listener(tmp_path: Path) -> None:
    made = source(tmp_path, TEXT + "listen: {port: 8443, tls: {certificate: c.pem, key: k.pem}}\n")
    assert listener(made)["address"]["socket_address"]["port_value"] == 8443
    context = listener(made)["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]
    [certificate] = context["tls_certificates"]
    assert certificate["private_key"]["filename"] == str(tmp_path / "k.pem")
    assert "validation_context" not in context


@pytest.mark.parametrize(("kind", "required"), [("required", True), ("optional", False)])
def test_clients_are_asked_for_certificates(tmp_path: Path, kind: str, required: bool) -> None:
    tls = f"{{certificate: c.pem, key: k.pem, client_ca: ca.pem, client_certificate: {kind}}}"
    text = TEXT.replace("authentication: {", "authentication: {certificates: {}, ") + f"listen: {{tls: {tls}}}\n"
    made = source(tmp_path, text.replace("certificates: {}, ", ""))
    [chain] = listener(made)["filter_chains"]
    tls = chain["transport_socket"]["typed_config"]
    trusted = {"trusted_ca": {"filename": str(tmp_path / "ca.pem")}}
    assert tls["common_tls_context"]["validation_context"] == trusted
    assert tls["require_client_certificate"] is required
    assert tls["disable_stateless_session_resumption"] and tls["disable_stateful_session_resumption"]
    assert chain["name"] == attributes.VERIFIED_CLIENTS
    assert manager(made)["common_http_protocol_options"]["max_connection_duration"] == "3600s"
    secret = configuration.live(made, UDS)["secret.clients.json"]["resources"][0]
    assert secret["validation_context"] == trusted | {"watched_directory": {"path": "."}}
    # The processor is told of certificates only where they say who calls.
    assert filters(made)["ext_proc"]["request_attributes"] == ["source.address"]
    found = filters(source(tmp_path, text))["ext_proc"]["request_attributes"]
    assert found == ["source.address", *attributes.CLIENT_CERTIFICATE]


def test_local_replies_leave_ours_alone(made: Source) -> None:
    first, *others = manager(made)["local_reply_config"]["mappers"]
    assert first["filter"]["metadata_filter"]["matcher"]["path"] == [{"key": "answered"}]
    assert first["body_format_override"]["text_format_source"]["inline_string"] == "%LOCAL_REPLY_BODY%"
    awss = [mapper for mapper in others if "x-amzn-errortype" in str(mapper["headers_to_add"])]
    assert all("message" in mapper["body_format_override"]["json_format"] for mapper in awss)
    assert all("error" in mapper["body_format_override"]["json_format"] for mapper in others if mapper not in awss)
    assert len(others) == 3 * len(awss)
    # The guard's 403 is no verdict on the caller.
    assert all(mapper["status_code"] != 403 for mapper in others)


def test_no_file_holds_a_key(made: Source, tmp_path: Path) -> None:
    folder = tmp_path / "envoy"
    folder.mkdir()
    configuration.write(made, UDS, folder)
    assert {path.name for path in folder.iterdir()} == {
        "bootstrap.json", "clusters.json", "routes.json", "listeners.json", "sample.json",
        f"secret.{hashlib.sha256(str(tmp_path / 'ca.pem').encode()).hexdigest()[:8]}.json",
    }  # fmt: skip
    written = "".join(path.read_text() for path in folder.iterdir()) + json.dumps(configuration.static(made, UDS))
    assert KEY not in written
    assert jwk()["x"] not in written


def test_files_are_replaced_whole(made: Source, tmp_path: Path) -> None:
    folder = tmp_path / "envoy"
    folder.mkdir()
    configuration.write(made, UDS, folder)
    old = {path: (path.stat().st_ino, path.open()) for path in folder.iterdir()}
    configuration.write(made, UDS[:1], folder)
    for path, (inode, file) in old.items():
        with file:
            assert path.stat().st_ino != inode
            json.load(file)
        [*resources] = json.loads(path.read_text()).get("resources", [])
        assert all(resource["@type"].startswith("type.googleapis.com/envoy.") for resource in resources)


def test_a_failed_write_leaves_the_old_file(made: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "envoy"
    folder.mkdir()
    configuration.write(made, UDS, folder)
    before = (folder / "clusters.json").read_text()
    monkeypatch.setattr(Path, "replace", None)
    with pytest.raises(TypeError):
        configuration.write(made, UDS[:1], folder)
    assert (folder / "clusters.json").read_text() == before


def test_one_static_file(made: Source) -> None:
    found = configuration.static(made, UDS)
    assert found["admin"]["address"] == {"pipe": {"path": "admin.sock", "mode": 0o600}}
    assert [one["name"] for one in found["static_resources"]["listeners"]] == ["gateway"]
    assert len(found["static_resources"]["clusters"]) == 5
    assert "dynamic_resources" not in found


JUDGE = "auto_mode: {{judge: {{model: any{}}}}}\n"


@pytest.mark.parametrize(("more", "path"), [("", "gateway.sock"), (", socket: /run/own.sock", "/run/own.sock")])
def test_the_gateways_own_calls_go_through_the_same_filters(tmp_path: Path, more: str, path: str) -> None:
    made = source(tmp_path, TEXT + JUDGE.format(more))
    [callers, own] = configuration.live(made, UDS)["listeners.json"]["resources"]
    assert own["address"] == {"pipe": {"path": path, "mode": 0o600}}
    assert own["filter_chains"][0]["filters"] == callers["filter_chains"][0]["filters"]


def test_without_a_judge_there_is_one_listener(made: Source) -> None:
    assert len(configuration.live(made, UDS)["listeners.json"]["resources"]) == 1

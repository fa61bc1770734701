"""What Envoy is told about attempts: the order of their filters, what these remove, and what never holds one up."""

from pathlib import Path
from typing import Any

import pytest

from extproc.envoy import attempts, configuration
from extproc.gateway.handover import HANDOVER, MOVE_ON, NUMBER
from extproc.wire import dialects
from tests.settings import AUTHENTICATION, source

Json = dict[str, Any]
TEXT = f"""
{AUTHENTICATION}
providers:
  a: {{dialects: [messages], base_url: "https://a.example", limits: {{requests: 70}}, retries: {{budget: 1}}}}
  b: {{dialects: [chat], base_url: "https://b.example/v1", outliers: {{share: 10}}}}
  alone: {{dialects: [chat], base_url: "https://alone.example/v1"}}
models:
  - name: several
    providers: [{{provider: a}}, {{provider: b}}]
  - {{name: one, provider: alone}}
"""


@pytest.fixture
def clusters(tmp_path: Path) -> dict[str, Json]:
    """Those of attempts, by the provider's name."""
    found = configuration.clusters(source(tmp_path, TEXT), ["unix:/run/a.sock"])
    ours = [cluster for cluster in found if cluster["name"].startswith("attempt:")]
    return {cluster["name"].split(":")[1]: cluster for cluster in ours}


def filters(cluster: Json) -> list[Json]:
    [options] = cluster["typed_extension_protocol_options"].values()
    found: list[Json] = options["http_filters"]
    return found


def removed(mutation: Json) -> set[str]:
    return {one["remove"] for one in mutation["typed_config"]["mutations"]["request_mutations"] if "remove" in one}


def test_only_candidates_have_one(clusters: dict[str, Json]) -> None:
    assert set(clusters) == {"a", "b"}


def test_the_processor_stands_between_what_cleans_and_the_guard(clusters: dict[str, Json]) -> None:
    for cluster in clusters.values():
        names = [one["name"].rpartition(".")[2] for one in filters(cluster)]
        assert names == ["clean", "ext_proc", "lua", "strip", "upstream_codec"]


def test_no_credential_of_an_earlier_attempt_stays(clusters: dict[str, Json]) -> None:
    clean, *_ = filters(clusters["a"])
    assert removed(clean) == {"authorization", "content-length", *(row.key_header for row in dialects.rows())}


def test_no_provider_sees_what_attempts_are_told(clusters: dict[str, Json]) -> None:
    *_, strip, _ = filters(clusters["a"])
    assert removed(strip) >= {NUMBER, HANDOVER}


def test_each_guard_wants_its_own_clusters_verdict(clusters: dict[str, Json]) -> None:
    for cluster in clusters.values():
        guard = filters(cluster)[2]["typed_config"]["default_source_code"]["inline_string"]
        assert f'~= "{cluster["name"]}#"' in guard


def test_an_outage_uses_up_no_budget(clusters: dict[str, Json]) -> None:
    """Envoy counts the next attempt as a retry of the cluster that failed, where hardly a call is in progress then."""
    [threshold] = clusters["a"]["circuit_breakers"]["thresholds"]
    assert threshold["max_retries"] == threshold["max_requests"] == 70
    assert "retry_budget" not in threshold


def test_where_no_address_is_left_a_connection_is_refused(clusters: dict[str, Json]) -> None:
    for cluster in clusters.values():
        first, last = cluster["load_assignment"]["endpoints"]
        assert "priority" not in first and last["priority"] == 1
        [tombstone] = last["lb_endpoints"]
        assert tombstone["endpoint"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 1}
        assert cluster["load_assignment"]["policy"]["overprovisioning_factor"]["value"] >= 100 * 100
        assert cluster["common_lb_config"] == {"healthy_panic_threshold": {"value": 0}}


def test_an_only_address_always_stays(tmp_path: Path, clusters: dict[str, Json]) -> None:
    """Its provider's pause is what leaves it out. Envoy's own would go on when that is over, and double it."""
    assert clusters["b"]["outlier_detection"]["max_ejection_percent"] == 10
    found = configuration.clusters(source(tmp_path, TEXT.replace("share: 10", "share: 100")), ["unix:/run/a.sock"])
    assert {
        one["outlier_detection"]["max_ejection_percent"] for one in found if one["name"].startswith("attempt:")
    } == {49}


def test_a_call_without_an_order_goes_nowhere() -> None:
    [plugin] = [
        value["extension"]["typed_config"] for value in attempts.route("nowhere", 902).values() if "extension" in value
    ]
    assert plugin["priority_groups"] == [{"name": "none", "clusters": [{"cluster_name": "nowhere", "weight": 1}]}]


def test_only_the_processor_moves_an_answer_on() -> None:
    policy = attempts.route("nowhere", 902)["retry_policy"]
    assert policy["retry_on"] == "retriable-headers"
    assert policy["retriable_headers"] == [{"name": MOVE_ON, "string_match": {"exact": "yes"}}]
    assert policy["refresh_cluster_on_retry"] is True

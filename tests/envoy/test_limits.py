"""Retries, breakers, outliers and Envoy's own bounds as they are written for it."""

import re
from pathlib import Path

import pytest

from extproc.config.schema_limits import Limits
from extproc.config.schema_providers import Outliers, ProviderLimits, Retries, Timeouts
from extproc.envoy import configuration, limits
from tests import settings

RETRIES = Retries()
OFF = Retries(attempts=1)


def policy(retries: Retries, **timeouts: float) -> dict[str, object]:
    found: dict[str, object] = limits.route(Timeouts(**timeouts), retries)["retry_policy"]
    return found


def test_off_is_off() -> None:
    assert policy(OFF) == {"num_retries": 0}
    assert limits.upstream_options(OFF) == {}


def test_attempts_include_the_first() -> None:
    assert policy(Retries(attempts=4))["num_retries"] == 3


def test_no_retry_after_is_waited_for() -> None:
    found = policy(Retries(longest_wait=0))
    assert "retriable_headers" not in found and found["retry_on"] == "connect-failure,refused-stream,reset"


@pytest.mark.parametrize(
    ("header", "again"),
    [
        ("429 after 1 ", True),
        ("503 after 2 ", True),
        ("529 after 2 true", True),
        ("429 after 3 ", False),
        ("429 after 10 ", False),
        ("429 after 0 ", False),
        ("429 after  ", False),
        ("429 after 1 false", False),
        ("500 after 1 ", False),
        ("200 after 1 ", False),
    ],
)
def test_what_a_provider_must_say_to_be_asked_again(header: str, again: bool) -> None:
    [matcher] = limits.route(Timeouts(), RETRIES)["retry_policy"]["retriable_headers"]
    assert matcher["name"] == limits.RETRY_HEADER
    assert bool(re.fullmatch(matcher["string_match"]["safe_regex"]["regex"], header)) == again


def test_first_byte_is_each_attempts_own() -> None:
    assert "per_try_timeout" not in policy(RETRIES)
    assert policy(RETRIES, first_byte=1.5)["per_try_timeout"] == "1.5s"
    assert policy(OFF, first_byte=2)["per_try_timeout"] == "2s"


def test_envoys_own_limits_come_after_the_processors() -> None:
    found = limits.route(Timeouts(idle=7, total=9), RETRIES)
    assert (found["idle_timeout"], found["timeout"]) == ("8s", "10s")


def test_breakers() -> None:
    [threshold] = limits.breakers(ProviderLimits(requests=5), Retries(budget=33))["thresholds"]
    assert (threshold["max_requests"], threshold["max_connections"]) == (5, 10_000)
    assert threshold["retry_budget"]["budget_percent"] == {"value": 33}


def test_a_providers_503_ejects_nobody() -> None:
    found = limits.outliers(Outliers(failures=3, pause=9, share=20))
    assert (found["consecutive_local_origin_failure"], found["base_ejection_time"]) == (3, "9s")
    assert found["max_ejection_percent"] == 20
    assert not [name for name, value in found.items() if name.startswith("enforcing") and "local" not in name and value]


def test_what_an_envoy_of_ones_own_is_told_of_resets(tmp_path: Path) -> None:
    made = settings.source(tmp_path, f"{settings.GATEWAY}\nlimits: {{early_resets: 7, idle_connection_seconds: 2}}")
    printed = configuration.static(made, ["unix:/run/a.sock"])
    [layer] = printed["layered_runtime"]["layers"]
    assert layer["static_layer"]["http.max_requests_per_io_cycle"] == 1
    assert layer["static_layer"]["overload.premature_reset_total_stream_count"] == 14
    assert layer["static_layer"]["envoy.reloadable_features.ext_proc_graceful_grpc_close"] is True
    [chain] = printed["static_resources"]["listeners"][0]["filter_chains"]
    [manager] = chain["filters"]
    assert manager["typed_config"]["common_http_protocol_options"]["idle_timeout"] == "2s"


def test_each_trigger_has_its_monitor() -> None:
    found = limits.overload_manager(Limits(connections=5, memory_bytes=1 << 28))
    heap, connections = (monitor["typed_config"] for monitor in found["resource_monitors"])
    assert (heap["max_heap_size_bytes"], connections["max_active_downstream_connections"]) == (1 << 28, 5)
    names = {monitor["name"] for monitor in found["resource_monitors"]}
    triggers = [trigger for action in found["actions"] + found["loadshed_points"] for trigger in action["triggers"]]
    assert triggers and {trigger["name"] for trigger in triggers} <= names

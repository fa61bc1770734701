"""One call's record in, samples out."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from extproc.transport import metrics
from extproc.transport.metrics import Metrics
from tests.settings import GATEWAY, source

CALL: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "claude-x",
    "gen_ai.response.model": "gpt-4o",
    "gen_ai.request.stream": True,
    "gen_ai.usage.input_tokens": 10,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.usage.cache_read.input_tokens": 5,
    "gen_ai.usage.cache_creation.input_tokens": 0,
    "gen_ai.server.time_to_first_token": 0.5,
    "gen_ai.server.time_per_output_token": 0.02,
    "caller.team": "data",
    "ended": True,
}


class Counted:
    def __init__(self, folder: Path, claims: str = "[team]") -> None:
        self.registry = CollectorRegistry()
        settings = source(folder, f"{GATEWAY}\nmetrics: {{port: 9464, claims: {claims}}}\n").config
        self.metrics = Metrics(settings, self.registry)

    def call(self, **changes: Any) -> None:
        """`changes`: names with `_` for `.`, prefixed as the record's; None removes."""
        self.metrics.begin()
        record = {name: value for name, value in (CALL | changes).items() if value is not None}
        self.metrics.end(record, 1.5)

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """By the values of all labels, in the order of their names; empty ones and `le` left out."""
        families = text_string_to_metric_families(generate_latest(self.registry).decode())
        found = [sample for family in families for sample in family.samples if sample.name == name]
        return {tuple(v for k, v in sorted(s.labels.items()) if v and k != "le"): s.value for s in found}


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path)


SERIES = ("data", "chat", "openai", "claude-x", "gpt-4o")


def test_refusals_for_want_of_keys_are_counted_apart(counted: Counted) -> None:
    counted.call(reason="JwtAuth", error="token_expired")
    assert counted.samples("extproc_keys_unavailable_total") == {(): 0}
    counted.call(reason="JwtAuth", error="keys_unavailable")
    assert counted.samples("extproc_keys_unavailable_total") == {(): 1}


def test_a_call_that_went_well(counted: Counted) -> None:
    counted.call()
    assert counted.samples("extproc_requests_total") == {SERIES: 1}
    assert counted.samples("gen_ai_client_token_usage_sum") == {
        (*SERIES, "cache_read"): 5,
        (*SERIES, "input"): 10,
        (*SERIES, "output"): 20,
    }
    assert counted.samples("gen_ai_server_request_duration_seconds_sum") == {SERIES: 1.5}
    assert counted.samples("gen_ai_server_time_to_first_token_seconds_sum") == {SERIES: 0.5}
    assert counted.samples("gen_ai_server_time_per_output_token_seconds_sum") == {SERIES: 0.02}


@pytest.mark.parametrize(
    ("changes", "requests", "durations", "used", "paced"),
    [
        pytest.param({"reason": "Upstream"}, {(*SERIES, "Upstream"): 1}, 1, 3, 0, id="one that failed has no pace"),
        pytest.param({"ended": None}, {(*SERIES, "Aborted"): 1}, 1, 3, 0, id="cut off by Envoy"),
        pytest.param({"gen_ai.request.stream": False}, {SERIES: 1}, 1, 3, 0, id="a plain answer has no pace"),
        pytest.param(
            {"gen_ai.operation.name": "count_tokens"},
            {("data", "count_tokens", *SERIES[2:]): 1}, 1, 0, 1, id="counting uses nothing up",
        ),
        pytest.param(
            {"gen_ai.operation.name": "passthrough", "ended": None},
            {("data", "passthrough", *SERIES[2:]): 1}, 0, 0, 1, id="nobody knows when what passes through ends",
        ),
    ],
)  # fmt: skip
def test_what_is_observed_of_which_call(
    counted: Counted,
    changes: dict[str, Any],
    requests: dict[tuple[str, ...], int],
    durations: int,
    used: int,
    paced: int,
) -> None:
    counted.call(**changes)
    assert counted.samples("extproc_requests_total") == requests
    assert sum(counted.samples("gen_ai_server_request_duration_seconds_count").values()) == durations
    assert sum(counted.samples("gen_ai_client_token_usage_count").values()) == used
    assert sum(counted.samples("gen_ai_server_time_to_first_token_seconds_count").values()) == paced


def test_a_model_is_a_label_when_it_has_answered(counted: Counted) -> None:
    for _ in range(2):
        counted.call(**{"gen_ai.request.model": "of-a-stranger", "gen_ai.response.model": None, "reason": "Upstream"})
    counted.call(**{"gen_ai.request.model": "claude-y"})
    assert counted.samples("extproc_requests_total") == {
        ("data", "chat", "openai", "other", "Upstream"): 2,
        ("data", "chat", "openai", "claude-y", "gpt-4o"): 1,
    }


@pytest.mark.parametrize("name", ["caller.team", "gen_ai.request.model", "gen_ai.response.model"])
def test_no_label_has_values_without_end(counted: Counted, name: str) -> None:
    for number in range(metrics.MAX_VALUES + 50):
        counted.call(**{name: f"v{number}"})
    found = counted.samples("extproc_requests_total")
    assert len(found) == metrics.MAX_VALUES + 1 and sum(found.values()) == metrics.MAX_VALUES + 50
    assert next(count for labels, count in found.items() if "other" in labels) == 50


def test_neither_have_all_labels_together(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_SETS", 30)
    for number in range(metrics.MAX_SETS + 50):
        counted.call(**{"caller.team": f"t{number % 10}", "gen_ai.request.model": f"m{number // 10}"})
    found = counted.samples("extproc_requests_total")
    assert found["other", "chat", "openai", "other", "other"] == 50
    assert len(found) == metrics.MAX_SETS + 1


def test_a_claim_becomes_a_label(tmp_path: Path) -> None:
    counted = Counted(tmp_path, '[team, "https://acme.example/tier", vip]')
    counted.call(**{"caller.https://acme.example/tier": 3, "caller.vip": True})
    assert counted.samples("extproc_requests_total") == {("3", "data", "True", *SERIES[1:]): 1}


def test_warnings_by_action_and_field(counted: Counted) -> None:
    counted.call(warnings="dropped:tools.3,dropped:tools.14,approx:a.1.b,invalid_tool_arguments:call_7,usage_missing")
    assert counted.samples("translation_warnings_total") == {
        ("dropped", "tools"): 2,
        ("approx", "a.b"): 1,
        ("invalid_tool_arguments",): 1,
        ("usage_missing",): 1,
    }


def test_in_flight(counted: Counted) -> None:
    counted.metrics.begin()
    assert counted.samples("extproc_streams_in_flight") == {(): 1}
    counted.metrics.end({}, 0.1)
    assert counted.samples("extproc_streams_in_flight") == {(): 0}
    assert not counted.samples("extproc_requests_total")


def test_costs_are_added_up(counted: Counted) -> None:
    for cost in (0.25, 0.5, 0.0, None):
        counted.call(**{"gen_ai.usage.cost": cost})
    [(labels, spent)] = counted.samples("extproc_cost_usd_total").items()
    assert (labels, spent) == (("data", "chat", "openai", "claude-x", "gpt-4o"), 0.75)


def test_attempts_that_were_given_up_cost_something(counted: Counted) -> None:
    counted.call(**{"gen_ai.usage.cost": 0.25, "attempts.cost": 0.5})
    assert list(counted.samples("extproc_cost_usd_total").values()) == [0.75]


def test_a_model_without_a_price_is_counted(counted: Counted) -> None:
    counted.call(**{"gen_ai.usage.cost": 0.25})
    counted.call(**{"gen_ai.usage.input_tokens": None})
    assert not counted.samples("extproc_unpriced_calls_total")
    counted.call()
    assert list(counted.samples("extproc_unpriced_calls_total").values()) == [1]


def test_refusals_and_moves_are_counted_by_budget(counted: Counted) -> None:
    for reason, error in (
        ("BudgetExceeded", "budget:day"),
        ("BudgetExceeded", "budget:day"),
        ("Authorization", "budget_undecided:day"),
        ("Overloaded", "budgets_down"),
        ("Upstream", "budget:a provider's own word"),
    ):
        counted.call(reason=reason, error=error)
    counted.call(**{"budget.moved_by": "day, month", "budget.moved_to": "small"})
    refused = {("day", "exceeded"): 2, ("day", "undecided"): 1, ("store_down",): 1}
    assert counted.samples("extproc_budget_refusals_total") == refused
    assert counted.samples("extproc_budget_moved_calls_total") == {("day", "small"): 1, ("month", "small"): 1}

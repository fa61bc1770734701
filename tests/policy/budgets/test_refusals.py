"""What clients are told of their limits, in the words that they know."""

import pytest

from extproc.config.schema_budgets import Budget
from extproc.policy.budgets.limits import NANO
from extproc.policy.budgets.refusals import State, exceeded, headers, spend

NOW = 1_700_000_000.0
RESETS = 1_701_388_800
UNIFIED = "anthropic-ratelimit-unified-"


def state(measure: str, limit: int, used: int, **changes: object) -> State:
    settings = {"name": "b", "key": "jwt.sub", "limit": {measure: 1}, "per": "month", **changes}
    return State(Budget.model_validate(settings), measure, limit, used, RESETS)


@pytest.mark.parametrize(
    ("share", "status", "utilization", "surpassed"),
    [
        (0.541, "allowed", "0.54", None),
        (0.75, "allowed_warning", "0.75", "0.75"),
        (0.9999, "allowed_warning", "0.99", "0.95"),
    ],
)
def test_claude_code_is_told_of_its_spend(share: float, status: str, utilization: str, surpassed: str | None) -> None:
    found = headers([state("usd", 500 * NANO, round(500 * NANO * share))], "messages", NOW)
    assert (found[f"{UNIFIED}status"], found[f"{UNIFIED}overage-utilization"]) == (status, utilization)
    assert found.get(f"{UNIFIED}overage-surpassed-threshold") == surpassed
    assert found[f"{UNIFIED}reset"] == str(RESETS)


def test_a_limit_of_tokens_says_nothing_of_spend() -> None:
    assert headers([state("tokens", 100, 99)], "messages", NOW) == {}
    assert UNIFIED not in str(exceeded(state("tokens", 100, 100), "messages", NOW).headers)


def test_openais_clients_are_told_of_the_nearest_limit() -> None:
    found = headers([state("requests", 100, 10), state("requests", 10, 9), state("tokens", 5, 9)], "chat", NOW)
    assert found == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "1388800s",
        "x-ratelimit-limit-tokens": "5",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1388800s",
    }


def test_claude_codes_bar_has_cents_and_nothing_without_a_limit() -> None:
    found = spend([state("usd", 500 * NANO, round(271.4 * NANO)), state("requests", 10, 9)])
    assert found["extra_usage"] == {
        "is_enabled": True,
        "monthly_limit": 50000,
        "used_credits": 27140,
        "utilization": 54,
        "currency": "USD",
    }
    limit = found["limits"][0]
    assert (limit["kind"], limit["group"], limit["percent"]) == ("spend", "monthly", 54)
    assert limit["resets_at"] == "2023-12-01T00:00:00.000Z"
    assert spend([state("requests", 10, 9)])["limits"] == []

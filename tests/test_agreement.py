"""`make soak` finds what budgets, the log and the ledger do not agree on."""

from collections import Counter
from typing import Any

import pytest

from bench.agreement import Comparison
from tests.usage_lines import LINE

TOKENS, COST = 1100, 2_680_001
LEDGER = {"calls": 1, "input_tokens": 1000, "output_tokens": 100, "cost": COST}
SENT = {**LINE, "http.status": 200, "gen_ai.request.stream": True, "x-request-id": "x"}
CHARGED = Counter(requests=1, tokens=TOKENS, usd=COST)


def comparison(charged: Counter[str], *, ledger: dict[str, int] = LEDGER) -> Comparison:
    by_account = {("month", "ann"): charged, ("call", "x"): charged} if charged else {}
    return Comparison([SENT], by_account, ledger)


def test_they_agree() -> None:
    found = comparison(CHARGED)
    assert found.agree and not any(found.differences.values())
    assert "budgets, log and ledger agree" in str(found)


@pytest.mark.parametrize("changed", [{"requests": 0}, {"requests": 2}, {"tokens": TOKENS - 1}, {"usd": COST + 1}])
def test_a_call_that_was_charged_otherwise(changed: dict[str, int]) -> None:
    found = comparison(Counter({**CHARGED, **changed}))
    assert not found.agree and len(found.different) == 1 and "DIFFER" in str(found)


def test_a_call_that_nobody_was_charged() -> None:
    found = comparison(Counter())
    assert not found.agree and found.differences["tokens"] == TOKENS


@pytest.mark.parametrize("member", LEDGER)
def test_a_ledger_that_says_otherwise(member: str) -> None:
    changed: dict[str, Any] = {**LEDGER, member: LEDGER[member] + 1}
    assert not comparison(CHARGED, ledger=changed).agree


def test_a_call_that_was_charged_to_its_caller_and_not_by_itself() -> None:
    assert not Comparison([SENT], {("month", "ann"): CHARGED}, LEDGER).agree

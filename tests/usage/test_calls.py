from typing import Any

import pytest

from extproc.usage.calls import NANO, call_of, ids, is_kept
from tests.usage_lines import LINE


def test_a_line_of_the_log_becomes_a_call() -> None:
    call = call_of(LINE, "id")
    assert (call.id, call.time, call.request_id) == ("id", 1_796_033_472_345, "req_1")
    assert (call.operation, call.endpoint, call.subject, call.issuer) == ("chat", "messages", "ann", "lab")
    assert call.claims == {"team": "data", "level": 3}
    names = (call.model, call.upstream_model, call.response_model, call.provider)
    assert names == ("best", "claude-sonnet-5", "claude-sonnet-5-20261001", "claude")
    tokens = (call.input_tokens, call.output_tokens, call.cache_read_tokens, call.cache_write_tokens)
    assert tokens == (1000, 100, 400, 0)
    assert (call.cost, call.estimated, call.reason, call.error) == (2_680_001, False, "", "")
    assert (call.warnings, call.duration, call.first_token) == ("dropped:a,dropped:b", 1234, 250)
    assert call.moved_by == "" and call_of({**LINE, "budget.moved_by": "day"}, "id").moved_by == "day"


GIVEN_UP = {"attempts.input_tokens": 7, "attempts.output_tokens": 2, "attempts.cost": 0.000009}


def test_a_call_has_what_attempts_used_that_were_given_up() -> None:
    call = call_of({**LINE, **GIVEN_UP}, "id")
    assert (call.input_tokens, call.output_tokens, call.cost) == (1007, 102, 2_680_001 + 9_000)
    call = call_of({"gen_ai.operation.name": "chat", "jwt.sub": "ann", "reason": "Upstream", **GIVEN_UP}, "id")
    assert (call.input_tokens, call.output_tokens, call.cost) == (7, 2, 9_000)


def test_an_answer_without_a_price_stays_unpriced_whatever_attempts_cost() -> None:
    line = {name: value for name, value in LINE.items() if name != "gen_ai.usage.cost"}
    assert call_of({**line, **GIVEN_UP}, "id").cost is None


def test_what_is_not_known_is_not_zero() -> None:
    call = call_of({"gen_ai.operation.name": "chat", "jwt.sub": "ann", "reason": "Authorization"}, "id")
    assert (call.input_tokens, call.cost, call.duration, call.time) == (None, None, None, 0)
    assert (call.model, call.reason) == ("", "Authorization")


def test_a_count_of_tokens_used_none() -> None:
    call = call_of({**LINE, "gen_ai.operation.name": "count_tokens"}, "id")
    assert (call.input_tokens, call.output_tokens, call.cost) == (None, None, None)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1e300, "12", True, None, [], {}])
def test_what_is_no_count_is_not_known(value: object) -> None:
    names = ("gen_ai.usage.input_tokens", "gen_ai.usage.cost", "duration")
    call = call_of({**LINE, **dict.fromkeys(names, value), "time": value, "jwt.sub": value}, "id")
    assert (call.input_tokens, call.cost, call.duration) == (None, None, None)
    assert call.time == 0


def test_costs_are_whole_numbers() -> None:
    for cost in (0.0, 1e-9, 0.1, 12.345678901, 999_999.999999999):
        assert call_of({**LINE, "gen_ai.usage.cost": cost}, "id").cost == round(cost * NANO)


def test_texts_have_no_character_that_a_database_refuses() -> None:
    call = call_of({**LINE, "gen_ai.request.model": "a\0b", "caller.team": "\0"}, "id")
    assert (call.model, call.claims["team"]) == ("ab", "")


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"jwt.sub": None}, True),
        ({"gen_ai.provider.name": None}, True),
        ({"jwt.sub": None, "gen_ai.provider.name": None}, False),
        ({"gen_ai.operation.name": "passthrough"}, True),
        ({"gen_ai.operation.name": "count_tokens"}, True),
        ({"gen_ai.operation.name": "list_models"}, False),
        ({"gen_ai.operation.name": "probe"}, False),
        ({"gen_ai.operation.name": None}, False),
    ],
)
def test_what_is_kept(changes: dict[str, Any], kept: bool) -> None:
    assert is_kept({**LINE, **changes}) is kept


def test_ids_are_unique_in_all_processes() -> None:
    one, other = ids(), ids()
    assert len({next(source) for source in (one, other) for _ in range(100)}) == 200

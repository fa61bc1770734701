"""reasoning_effort (mapping 4.5)."""

from typing import Any

import pytest

from tests.translate.chat_asking import ask, body, function, sent, target

FORCED = {"tools": [function()], "tool_choice": "required"}


def thinking(
    effort: str, named: str = "claude-adaptive", request: Any = None, **overrides: Any
) -> tuple[Any, Any, Any]:
    asked = body(reasoning_effort=effort, **(request or {}))
    found = sent(asked, target(named, **overrides))
    return found.get("thinking"), found.get("output_config"), ask(asked, target(named, **overrides)).warnings


@pytest.mark.parametrize(
    ("effort", "limit", "budget", "warned"),
    [
        ("minimal", 50000, 1024, ()),
        ("low", 50000, 2048, ()),
        ("medium", 50000, 8192, ()),
        ("high", 50000, 16384, ()),
        ("max", 50000, 32768, ()),
        ("medium", 4096, 3072, ("clamped:reasoning_effort",)),
        ("low", 2000, None, ("dropped:reasoning_effort",)),
        ("none", 2000, None, ()),
    ],
)
def test_budgets(effort: str, limit: int, budget: Any, warned: Any) -> None:
    expected = {"type": "enabled", "budget_tokens": budget} if budget else None
    assert thinking(effort, "claude-extended", {"max_tokens": limit}) == (expected, None, warned)


def test_a_budget_and_a_forced_tool_exclude_each_other() -> None:
    assert thinking("low", "claude-extended", FORCED) == (None, None, ("dropped:reasoning_effort",))


def test_levels() -> None:
    shown = {"type": "adaptive", "display": "summarized"}
    assert thinking("max") == (shown, {"effort": "max"}, ())
    assert thinking("max", efforts=["low", "high"]) == (shown, {"effort": "high"}, ("clamped:reasoning_effort",))
    assert thinking("low", expose_reasoning=False) == ({"type": "adaptive"}, {"effort": "low"}, ())
    assert thinking("low", efforts=[]) == (shown, None, ("dropped:reasoning_effort",))


def test_models_that_always_think() -> None:
    assert thinking("none", "claude-always-thinking") == (None, None, ("dropped:reasoning_effort",))


def test_clouds_that_want_thinking_off_beside_a_forced_tool() -> None:
    off = {"type": "disabled"}
    assert thinking("low", request=FORCED, forced_choice_with_thinking=False) == (
        off,
        None,
        ("dropped:reasoning_effort",),
    )
    assert sent(body(**FORCED), target(forced_choice_with_thinking=False))["thinking"] == off
    assert thinking("low", request=FORCED)[1] == {"effort": "low"}

from typing import Any

import pytest

from tests.translate.asking import ask, body, refusal, sent, target

HIGH = {"output_config": {"effort": "high"}}


def enabled(budget: int) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


@pytest.mark.parametrize(
    ("budget", "level"),
    [(4000, "low"), (4096, "medium"), (10000, "medium"), (16384, "high"), (31999, "high"), (32768, "xhigh")],
)
def test_bands(budget: int, level: str) -> None:
    assert sent(body(**enabled(budget)), target("openai-reasoning"))["reasoning_effort"] == level


@pytest.mark.parametrize(
    ("members", "effort", "warnings"),
    [
        ({}, None, []),
        ({**enabled(1000), **HIGH}, "high", []),
        ({"thinking": {"type": "disabled"}, **HIGH}, "low", ["dropped:output_config.effort", "clamped:thinking"]),
        ({"thinking": {"type": "between_tools"}}, "low", ["clamped:thinking"]),
        ({"output_config": {"effort": "max"}}, "high", ["clamped:output_config.effort"]),
        (enabled(20000), "high", []),
        (enabled(40000), "high", ["clamped:thinking.budget_tokens"]),
    ],
)
def test_precedence_and_clamping(members: dict[str, Any], effort: str | None, warnings: list[str]) -> None:
    to = target("openai-reasoning", efforts=["low", "high"])
    assert sent(body(**members), to).get("reasoning_effort") == effort
    assert list(ask(body(**members), to).warnings) == warnings


def test_the_last_effort_of_a_message_wins() -> None:
    messages = [
        {"role": "user", "content": "q"},
        {"role": "system", "output_config": {"effort": "low"}},
        {"role": "system", "content": "Now.", "output_config": {"effort": "medium"}},
    ]
    found = sent(body(messages=messages, **HIGH), target("openai-reasoning"))
    assert found["reasoning_effort"] == "medium"
    assert [message["role"] for message in found["messages"]] == ["user", "developer"]


def test_bare_thinking_says_nothing_to_a_plain_model() -> None:
    assert ask(body(thinking={"type": "adaptive"})).warnings == ()


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"thinking": {}}, "thinking.type: Field required"),
        ({"thinking": {"type": "deep"}}, "thinking.type: Input"),
        ({"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Field required"),
        ({"thinking": {"type": "adaptive", "display": "x"}}, "thinking.display: Input"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort: Input"),
        ({"output_config": 7}, "output_config: Input"),
    ],
)
def test_refused(members: dict[str, Any], path: str) -> None:
    assert refusal(body(**members)).startswith(path)


def test_forced_none_also_without_a_wish() -> None:
    to = target("openai-reasoning", chat_tools_force_effort_none=True)
    tools = [{"name": "t", "input_schema": {}}]
    assert sent(body(tools=tools), to)["reasoning_effort"] == "none"
    assert "reasoning_effort" not in sent(body(), to)
    assert ask(body(tools=tools, thinking={"type": "disabled"}), to).warnings == ()


@pytest.mark.parametrize(
    ("members", "reasoning"),
    [
        (HIGH, {"effort": "high"}),
        (enabled(5000), {"max_tokens": 5000}),
        ({"thinking": {"type": "disabled"}}, {"enabled": False}),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, {"effort": "medium"}),
    ],
)
def test_openrouter(members: dict[str, Any], reasoning: dict[str, Any]) -> None:
    assert sent(body(**members), target("openrouter"))["reasoning"] == reasoning


def test_openrouter_may_leave_reasoning_out_when_nobody_needs_it() -> None:
    to = target("openrouter", reasoning_history="none", adaptive_effort=None)
    asked = body(thinking={"type": "adaptive", "display": "omitted"})
    assert sent(asked, to)["reasoning"] == {"enabled": True, "exclude": True}
    assert "reasoning" not in sent(asked, target("openrouter", efforts=[]))


@pytest.mark.parametrize(
    ("members", "thinking", "effort"),
    [
        ({"thinking": {"type": "adaptive"}}, "enabled", None),
        ({"thinking": {"type": "disabled"}}, "disabled", None),
        ({"output_config": {"effort": "medium"}}, "enabled", "low"),
        (HIGH, "enabled", "high"),
    ],
)
def test_deepseek(members: dict[str, Any], thinking: str, effort: str | None) -> None:
    found = sent(body(**members), target("deepseek"))
    assert found["thinking"] == {"type": thinking}
    assert found.get("reasoning_effort") == effort


def test_template_switch() -> None:
    to = target("vllm", reasoning_style="template", template_switch="thinking")
    assert sent(body(thinking={"type": "adaptive"}), to)["chat_template_kwargs"] == {"thinking": True}
    assert sent(body(thinking={"type": "disabled"}), to)["chat_template_kwargs"] == {"thinking": False}
    assert "chat_template_kwargs" not in sent(body(), to)
    assert ask(body(**HIGH), to).warnings == ("approx:output_config.effort",)


@pytest.mark.parametrize(
    ("thinking", "emit", "shown"),
    [
        (None, "auto", "no"),
        ({"type": "disabled"}, "auto", "no"),
        ({"type": "adaptive"}, "auto", "yes"),
        ({"type": "adaptive", "display": "updates"}, "auto", "yes"),
        ({"type": "enabled", "budget_tokens": 1, "display": "omitted"}, "auto", "hidden"),
        (None, "always", "yes"),
        ({"type": "adaptive"}, "never", "no"),
    ],
)
def test_show_thinking(thinking: Any, emit: str, shown: str) -> None:
    assert ask(body(thinking=thinking), target(emit_thinking=emit)).shown == shown

"""Top-level members of a request for a Responses upstream."""

from typing import Any

import pytest

from tests.translate.asking import assistant, body, call, result, text, tool, user
from tests.translate.responses_upstream import ask, refusal, sent, target

NEVER = {
    "background",
    "conversation",
    "previous_response_id",
    "prompt",
    "truncation",
    "max_tool_calls",
    "metadata",
    "user",
}


@pytest.mark.parametrize("missing", ["model", "messages", "max_tokens"])
def test_missing_members(missing: str) -> None:
    request = body()
    del request[missing]
    assert refusal(request) == f"{missing}: Field required"


def test_the_least_request() -> None:
    assert sent() == {
        "model": "gpt-x",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "q"}]}],
        "max_output_tokens": 100,
        "store": False,
    }
    assert ask().path == "/responses"


def test_members_that_are_never_sent() -> None:
    asked = sent(metadata={"user_id": "u"}, service_tier="standard_only", stream=True, system="s", tools=[tool()])
    assert not NEVER & asked.keys()
    assert (asked["safety_identifier"], asked["service_tier"]) == ("u", "default")
    assert (asked["stream"], asked["stream_options"]) == (True, {"include_obfuscation": False})


def test_encrypted_reasoning_is_asked_for_where_the_profile_says_so() -> None:
    assert sent(to=target(include_encrypted=True))["include"] == ["reasoning.encrypted_content"]


@pytest.mark.parametrize(
    ("max_tokens", "profile", "expected", "warnings"),
    [
        (5, {}, 16, ("clamped:max_tokens",)),
        (16, {}, 16, ()),
        (100, {"max_output_tokens": 50}, 50, ("clamped:max_tokens",)),
    ],
)
def test_limits(max_tokens: int, profile: Any, expected: int, warnings: tuple[str, ...]) -> None:
    asked = ask(max_tokens=max_tokens, to=target(**profile))
    assert (sent(max_tokens=max_tokens, to=target(**profile))["max_output_tokens"], asked.warnings) == (
        expected,
        warnings,
    )
    assert asked.max_tokens == expected


def test_a_limit_that_would_be_raised_is_refused_by_the_strict() -> None:
    assert refusal(max_tokens=5, to=target(strictness="strict")).startswith("max_tokens: ")


def test_instructions_join() -> None:
    system = [text("a", cache_control={"type": "ephemeral"}), text("x-anthropic-billing-header: 1"), text("b")]
    for marked in (False, True):
        assert sent(system=system, to=target(map_cache_control=marked))["instructions"] == "a\n\nb"
    assert "instructions" not in sent(system=" ")


@pytest.mark.parametrize(
    ("members", "profile", "reasoning", "warnings"),
    [
        ({}, {}, None, ()),
        ({"thinking": {"type": "adaptive"}}, {}, {"effort": "medium", "summary": "auto"}, ()),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, {}, {"effort": "medium"}, ()),
        ({"thinking": {"type": "adaptive"}}, {"adaptive_effort": None}, {"summary": "auto"}, ()),
        ({"thinking": {"type": "enabled", "budget_tokens": 4000}}, {}, {"effort": "low", "summary": "auto"}, ()),
        ({"thinking": {"type": "disabled"}}, {}, {"effort": "none"}, ()),
        ({"output_config": {"effort": "high"}}, {}, {"effort": "high"}, ()),
        ({"output_config": {"effort": "max"}}, {}, {"effort": "xhigh"}, ("clamped:output_config.effort",)),
        ({"thinking": {"type": "adaptive"}}, {"efforts": []}, None, ()),
        ({"output_config": {"effort": "low"}}, {"efforts": []}, None, ("dropped:output_config.effort",)),
        ({}, {"chat_tools_force_effort_none": True}, None, ()),
        ({}, {"emit_thinking": "always"}, {"summary": "auto"}, ()),
        ({"thinking": {"type": "disabled"}}, {"emit_thinking": "always"}, {"effort": "none"}, ()),
        ({"thinking": {"type": "adaptive"}}, {"emit_thinking": "never"}, {"effort": "medium"}, ()),
    ],
)
def test_effort(members: Any, profile: Any, reasoning: Any, warnings: tuple[str, ...]) -> None:
    asked = {**members, "tools": [tool()]}
    assert sent(**asked, to=target(**profile)).get("reasoning") == reasoning
    assert ask(**asked, to=target(**profile)).warnings == warnings


@pytest.mark.parametrize(
    ("members", "profile", "kept"),
    [
        ({"temperature": 1}, {}, False),
        ({"temperature": 1, "thinking": {"type": "disabled"}}, {}, True),
        ({"temperature": 1}, {"profile": "openai-responses-plain"}, True),
    ],
)
def test_sampling_passes_where_the_model_does_not_reason(members: Any, profile: Any, kept: bool) -> None:
    assert ("temperature" in sent(**members, to=target(**profile))) is kept
    assert ("dropped:temperature" in ask(**members, to=target(**profile)).warnings) is not kept


def test_what_the_dialect_has_no_member_for() -> None:
    for profile in ("openai-responses", "openai-responses-plain", "vllm"):
        asked = ask(top_k=3, stop_sequences=["a"], to=target(profile))
        assert asked.warnings == ("dropped:top_k", "dropped:stop_sequences")
        assert not {"top_k", "stop"} & sent(top_k=3, stop_sequences=["a"], to=target(profile)).keys()
    assert ask(stop_sequences=["a"], to=target(local_stop=True)).warnings == ()


STRICT = {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("asked", "schema", "strict"), [(True, STRICT, True), (True, {}, False), (None, STRICT, False)]
)
def test_functions_always_say_whether_they_are_strict(asked: bool | None, schema: Any, strict: bool) -> None:
    [made] = sent(tools=[{"name": "n" * 128, "input_schema": schema, "strict": asked}])["tools"]
    assert (made["type"], made["name"], made["strict"]) == ("function", "n" * 128, strict)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "t"}, {"type": "function", "name": "t"}),
    ],
)
def test_choice(choice: Any, expected: Any) -> None:
    body = sent(tools=[tool()], tool_choice={**choice, "disable_parallel_tool_use": True})
    assert (body["tool_choice"], body["parallel_tool_calls"]) == (expected, False)


@pytest.mark.parametrize(
    "kind", ["code_execution_20260521", "web_fetch_20260318", "web_search_20260318", "advisor_20260301"]
)
def test_server_tools_that_cannot_run(kind: str) -> None:
    tools = [tool(), {"type": kind, "name": "n"}]
    assert ask(tools=tools).warnings == ("dropped:tools.1",)
    forced = {"type": "tool", "name": "n"}
    assert refusal(tools=tools, tool_choice=forced).startswith("tool_choice.name: server tool 'n'")


def test_structured_output() -> None:
    config = {"format": {"type": "json_schema", "schema": STRICT}}
    expected = {"type": "json_schema", "name": "output", "schema": STRICT, "strict": True}
    assert sent(output_config=config)["text"] == {"format": expected}
    loose = ask(
        output_config={"format": {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {}}}}}
    )
    assert loose.warnings == ("approx:output_config.format",)
    other = sent(output_config=config, to=target(structured_output="json_object"))
    assert other["text"] == {"format": {"type": "json_object"}} and "JSON schema" in other["instructions"]


def test_compaction_is_the_clients() -> None:
    edits = [{"type": "compact_20260112"}]
    assert ask(context_management={"edits": edits}).warnings == ("dropped:context_management",)


def test_an_upstreams_own_members_come_last() -> None:
    assert sent(to=target(extra={"store": True, "x": 1}))["store"] is True


def test_a_toolset_of_the_history() -> None:
    history = [user(text("q")), assistant(call(name="left_click", toolset_name="computer")), user(result())]
    asked = ask(messages=history)
    assert asked.shape.namespaces == {"computer__left_click": ("computer", "left_click")}

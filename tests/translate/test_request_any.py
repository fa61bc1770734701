"""Any JSON object whatsoever gives a request or a refusal."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.errors import Rejection
from extproc.providers.profiles import Profile, shipped, with_overrides
from extproc.translate.count import COUNTERS, estimate
from extproc.translate.dialects.messages.client_tools import FIXED, TOOLSETS
from extproc.translate.pair import Pair, Target, Translated
from extproc.translate.signature import seal
from tests.openai_types import check_responses_request
from tests.translate.answers import messages_on_chat, messages_on_responses

USER = [
    {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
    {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "d"},
        "title": "t",
        "context": "c",
    },
    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "d"}]}},
    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}},
    {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]},
]
RESULT = {
    "type": "tool_result",
    "tool_use_id": "toolu_1",
    "is_error": True,
    "content": [
        *USER,
        {"type": "tool_reference", "tool_name": "t"},
        {
            "type": "browser_state",
            "tabs": [{"tab_id": "1", "title": "t", "url": "u", "active": True}],
            "state_changes": [{"type": "tab_opened", "tab_id": "2"}],
        },
    ],
}
ASSISTANT = [
    {"type": "thinking", "thinking": "t", "signature": seal("reasoning_details", [{"type": "reasoning.text"}])},
    {
        "type": "thinking",
        "thinking": "t",
        "signature": seal("openai_responses", {"id": "rs", "encrypted_content": "E"}),
    },
    {"type": "redacted_thinking", "data": seal("gemini_thought_signature", {"toolu_1": "s"}, "t")},
    {"type": "text", "text": "b", "citations": []},
    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"title": "t", "url": "u"}]},
    {
        "type": "web_fetch_tool_result",
        "tool_use_id": "s",
        "content": {"url": "u", "content": {"source": {"data": "x"}}},
    },
    {"type": "bash_code_execution_tool_result", "content": {"return_code": 0, "stdout": "o", "stderr": ""}},
    {"type": "text_editor_code_execution_tool_result", "content": {"lines": ["l"]}},
    {"type": "tool_search_tool_result", "content": {"tool_references": [{"tool_name": "t"}]}},
    {"type": "advisor_tool_result", "content": {"text": "x"}},
    {"type": "mcp_tool_use", "id": "m", "name": "n", "server_name": "s", "input": {}},
    {"type": "mcp_tool_result", "tool_use_id": "m", "content": [{"type": "text", "text": "x"}]},
    {"type": "tool_use", "id": "toolu_1", "name": "click", "toolset_name": "computer", "input": {"x": 1}},
]
SYSTEM = [
    {"type": "text", "text": "s"},
    {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "bash"}},
    {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": "n", "input_schema": {}}}},
]
SCHEMA = {
    "$schema": "x",
    "anyOf": [{"properties": {"a": {"type": "array"}}, "required": ["a"]}, {"required": ["a"]}],
    "properties": {"b": {"type": ["array", "null"], "prefixItems": [{"$ref": "#/$defs/c"}]}},
    "$defs": {"c": {"type": "object", "additionalProperties": False}},
}
RICH: dict[str, Any] = {
    "model": "m",
    "max_tokens": 5,
    "system": [{"type": "text", "text": "s"}],
    "messages": [
        {"role": "system", "content": "first"},
        {"role": "user", "content": [{"type": "compaction", "content": "c", "tool_changes": []}, *USER]},
        {"role": "system", "content": SYSTEM, "clear_at": "never", "output_config": {"effort": "low"}},
        {"role": "assistant", "content": ASSISTANT},
        {"role": "user", "content": [RESULT, *USER]},
    ],
    "tools": [
        {"name": "t", "description": "d", "input_schema": SCHEMA, "strict": True, "input_examples": [{"a": 1}]},
        *({"type": kind, "name": name} for kind, (name, _, _) in list(FIXED.items())[1:3]),
        {"type": "computer_20251124", "display_width_px": 1, "display_height_px": 1, "enable_zoom": True},
        {"type": "browser_toolset_20260801", "configs": {"zoom": {"enabled": False}}},
        {"type": "web_search_20250305", "name": "web_search"},
    ],
    "tool_choice": {"type": "tool", "name": "t", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 5000, "display": "omitted"},
    "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": SCHEMA}, "task_budget": {}},
    "stop_sequences": ["a"],
    "temperature": 1,
    "top_p": 0.5,
    "top_k": 3,
    "stream": True,
    "metadata": {"user_id": "u" * 70},
    "service_tier": "auto",
    "speed": "fast",
    "inference_geo": "global",
    "container": {"id": "c"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
    "billing_policy": {"type": "billing_policy", "bill_to": "self"},
    "unheard": [],
}
WORDS = ["text", "image", "tool_use", "tool_result", "thinking", "user", "assistant", "system", "auto", "any", "none",
         "array", "object", "url", "file", "custom", "tlx_YQ", "tlx_!", "atr1.e30", *TOOLSETS]  # fmt: skip
scalars = st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats(allow_nan=False) | st.sampled_from(WORDS)
values = st.recursive(
    scalars | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*RICH, "type", "content"]), inner),
    max_leaves=8,
)
PROFILES = [
    *shipped().values(),
    with_overrides(shipped()["openai-chat"], {"map_cache_control": True, "tool_result_images": "inline"}),
    with_overrides(shipped()["openrouter"], {"foreign_thinking": "text", "strictness": "strict"}),
    with_overrides(shipped()["openai-responses"], {"mcp": True, "web_search": True, "phase": True, "local_stop": True}),
    with_overrides(shipped()["openai-responses"], {"map_cache_control": True, "prefill": "append_user"}),
    with_overrides(shipped()["vllm"], {"reasoning_style": "template", "prefill": "pass", "mid_system": "hoist"}),
]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every holder and key at which something may be exchanged."""
    if isinstance(value, dict):
        return [(value, key) for key in value] + [place for item in value.values() for place in places(item)]
    if isinstance(value, list):
        return [(value, n) for n in range(len(value))] + [place for item in value for place in places(item)]
    return []


def check(body: dict[str, Any], profile: Profile) -> Translated | Rejection:
    to = Target(profile=profile, model="m", nonce="n")
    asked, by_responses = twice(messages_on_chat, body, to), twice(messages_on_responses, body, to)
    counted = estimate(body, to)
    assert isinstance(counted, int if isinstance(asked, Translated) else int | Rejection)
    by_items = estimate(body, to, "responses")
    assert isinstance(by_items, int if isinstance(by_responses, Translated) else int | Rejection)
    for strategy, counter in COUNTERS.items():
        answered = twice(counter, body, to)
        assert isinstance(answered, Translated) or isinstance(
            {"vllm": asked, "responses": by_responses}[strategy], Rejection
        )
    if isinstance(by_responses, Translated) and profile.dialect == "responses":
        check_responses_request(json.loads(by_responses.body))
    return asked


def twice(pair: Pair, body: dict[str, Any], to: Target) -> Translated | Rejection:
    asked = pair.request(body, to)
    assert pair.request(body, to) == asked
    if isinstance(asked, Rejection):
        assert asked.http_status == 400
        assert asked.message
    assert isinstance(asked, Translated | Rejection)
    return asked


@pytest.mark.parametrize("pair", [messages_on_chat, messages_on_responses])
def test_the_rich_body_is_accepted(pair: Pair) -> None:
    assert isinstance(
        twice(pair, RICH, Target(profile=shipped()["openai-responses"], model="m", nonce="n")), Translated
    )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_few_faults(data: st.DataObject) -> None:
    body = copy.deepcopy(RICH)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places(body) or [(body, "x")]))
        holder[key] = data.draw(values)
    check(body, data.draw(st.sampled_from(PROFILES)))


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from(list(RICH)) | st.text(max_size=3), values, max_size=6), st.sampled_from(PROFILES)
)
def test_any_object(body: dict[str, Any], profile: Profile) -> None:
    check(body, profile)


def test_every_place_once() -> None:
    """Each member of the rich body, exchanged for a number, a list and null."""
    others: list[Any] = [7, [[]], None]
    for n in range(len(places(RICH))):
        for value in others:
            body = copy.deepcopy(RICH)
            holder, key = places(body)[n]
            holder[key] = value
            check(body, PROFILES[n % len(PROFILES)])


@pytest.mark.parametrize("depth", [101, 900])
def test_deep_schema(depth: int) -> None:
    schema: Any = {}
    for _ in range(depth):
        schema = {"anyOf": [schema]}
    tools = [{"name": "t", "input_schema": {"properties": {"a": schema}}}]
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}], "tools": tools}
    asked = check(body, shipped()["openai-chat"])
    assert isinstance(asked, Rejection)
    assert "deep" in asked.message


def test_text_that_is_not_unicode() -> None:
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "\ud800"}]}
    assert isinstance(check(body, shipped()["openai-chat"]), Rejection)

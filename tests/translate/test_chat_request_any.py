"""Any JSON object whatsoever gives a request that Anthropic's types accept, or a refusal."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.errors import Rejection
from extproc.translate.pair import Target
from extproc.translate.translated import TranslatedRequest
from tests.anthropic_types import check_messages_request
from tests.translate.chat_asking import target, translate
from tests.translate.test_request_any import places

FUNCTION = {"name": "f", "description": "d", "strict": True, "parameters": {"properties": {"a": {"minimum": 1}}}}
SCHEMA = {
    "type": "object",
    "properties": {"k": {"$ref": "#/$defs/K"}, "n": {"type": ["array", "null"], "minItems": 2, "items": {}}},
    "$defs": {"K": {"oneOf": [{"type": "string", "format": "zip"}, {"enum": [1]}]}},
}
PARTS = [
    {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
    {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,iVBORw0KGgo="}},
    {"type": "image_url", "image_url": {"url": "https://e.com/a.png", "detail": "low"}},
    {"type": "file", "file": {"filename": "a.csv", "file_data": "data:text/csv;base64,YSxi"}},
    {"type": "file", "file": {"file_data": "JVBERi0="}},
]
DETAILS = [
    {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1", "index": 1},
    {"type": "reasoning.encrypted", "data": "z", "format": "anthropic-claude-v1", "index": 0},
]
RICH: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "developer", "content": "first"},
        {"role": "user", "content": PARTS, "name": "n"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "b"}, {"type": "refusal", "refusal": "no"}],
            "reasoning_details": DETAILS,
            "tool_calls": [
                {"id": "a.b:0", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
                {"id": "c", "type": "custom", "custom": {"name": "g", "input": "x"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "r"},
        {"role": "system", "content": [{"type": "text", "text": "late"}]},
        {"role": "tool", "tool_call_id": "a.b:0", "content": [{"type": "text", "text": "r"}]},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{"}},
        {"role": "function", "name": "f", "content": ""},
        {"role": "system", "content": "here"},
        {
            "role": "assistant",
            "content": "so ",
            "thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}],
        },
    ],
    "tools": [
        {"type": "function", "function": FUNCTION, "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "custom", "custom": {"name": "g", "format": {"type": "grammar", "grammar": {"definition": "x"}}}},
        {"type": "odd"},
    ],
    "functions": [{"name": "h"}],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "odd", "name": "f"}]},
    },
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    "reasoning_effort": "high",
    "max_completion_tokens": 9000,
    "max_tokens": 5,
    "stop": ["a", " "],
    "n": 1,
    "user": "u" * 300,
    "service_tier": "flex",
    "stream": True,
    "stream_options": {"include_usage": True},
    "logit_bias": {"1": 2},
    "moderation": {"model": "m", "policy": {"input": {"mode": "score"}}},
    "modalities": ["text"],
    "betas": ["x-1"],
    "unheard": [],
}  # fmt: skip
WORDS = ["text", "image_url", "user", "assistant", "system", "tool", "function", "custom", "auto", "required", "none",
         "array", "object", "c", "a.b:0", "f", "data:image/png;base64,", "data:,", "max", "json_object"]  # fmt: skip
scalars = st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats(allow_nan=False) | st.sampled_from(WORDS)
KEYS = [*RICH, "type", "content", "role", "name", "schema", "$ref", "thinking", "output_config", "cache_control"]
values = st.recursive(
    scalars | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=8,
)
TARGETS = [
    target(),
    target("claude-adaptive", mid_system="native", auto_cache=True, web_search=True, forced_choice_with_thinking=False),
    target("claude-always-thinking", efforts=["low"], prefill="pass", expose_reasoning=False),
    target("claude-extended"),
    target("claude-extended-unstructured", prefill="reject", url_sources=False, tools_for_history=False),
    target("claude-adaptive", strictness="strict"),
]
# What passes is the client's own business, and the newest types know no sampling.
_OWN = frozenset(("cache_control", "output_config", "temperature", "thinking", "top_k", "top_p"))


def check(body: dict[str, Any], to: Target) -> TranslatedRequest | Rejection:
    asked = translate(body, to)
    assert isinstance(asked, TranslatedRequest | Rejection)
    assert translate(body, to) == asked
    if isinstance(asked, Rejection):
        assert asked.http_status == 400 and asked.message
    elif not _OWN & body.keys() and "cache_control" not in json.dumps(body):
        check_messages_request({k: v for k, v in json.loads(asked.body).items() if k not in _OWN - {"thinking"}})
    return asked


@pytest.mark.parametrize("to", TARGETS[:4], ids=lambda to: str(to.profile.name))
def test_the_rich_body_is_accepted(to: Target) -> None:
    assert isinstance(check(RICH, to), TranslatedRequest)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_few_faults(data: st.DataObject) -> None:
    body = copy.deepcopy(RICH)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places(body) or [(body, "x")]))
        holder[key] = data.draw(values)
    check(body, data.draw(st.sampled_from(TARGETS)))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), values, max_size=6), st.sampled_from(TARGETS))
def test_any_object(body: dict[str, Any], to: Target) -> None:
    check(body, to)


def test_every_place_once() -> None:
    """Each member of the rich body, exchanged for a number, a list and null."""
    others: list[Any] = [7, [[]], None]
    for n in range(len(places(RICH))):
        for value in others:
            body = copy.deepcopy(RICH)
            holder, key = places(body)[n]
            holder[key] = value
            check(body, TARGETS[n % len(TARGETS)])


@pytest.mark.parametrize("depth", [101, 900])
@pytest.mark.parametrize("strict", [True, False])
def test_deep_schema(depth: int, strict: bool) -> None:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = {"anyOf": [schema]}
    function = {"name": "t", "strict": strict, "parameters": {"type": "object", "properties": {"a": schema}}}
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    check({**body, "tools": [{"type": "function", "function": function}]}, target())
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    asked = check({**body, "response_format": wanted}, target())
    assert isinstance(asked, Rejection) and "deep" in asked.message


def test_text_that_is_not_unicode() -> None:
    assert isinstance(check({"model": "m", "messages": [{"role": "user", "content": "\ud800"}]}, target()), Rejection)

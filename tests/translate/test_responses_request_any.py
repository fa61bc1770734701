"""Any JSON object whatsoever gives a request that Anthropic's types accept, or a refusal."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.errors import Rejection
from extproc.translate.pair import Target
from extproc.translate.signature import seal
from extproc.translate.translated import TranslatedRequest
from tests.anthropic_types import check_messages_request
from tests.translate.chat_asking import target
from tests.translate.responses_client import translate
from tests.translate.test_chat_request_any import SCHEMA
from tests.translate.test_request_any import places

FUNCTION = {"type": "function", "name": "f", "strict": True, "parameters": {"properties": {"a": {"minimum": 1}}}}
PARTS = [
    {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
    {"type": "input_image", "image_url": "data:image/jpg;base64,iVBORw0KGgo=", "detail": "auto"},
    {"type": "input_image", "image_url": "https://e.com/a.png"},
    {"type": "input_file", "filename": "a.csv", "file_data": "data:text/csv;base64,YSxi"},
    {"type": "input_file", "file_url": "https://e.com/a.pdf"},
]
THOUGHT, HIDDEN = seal("anthropic", {"signature": "s"}, "t"), seal("anthropic", {"data": "z"})
RICH: dict[str, Any] = {
    "model": "m",
    "instructions": "S",
    "input": [
        {"role": "developer", "content": "first"},
        {"type": "message", "role": "user", "content": PARTS},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": THOUGHT},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": HIDDEN},
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": "b", "annotations": []}, {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "a.b:0", "name": "f", "arguments": '{"a": 1}'},
        {"type": "custom_tool_call", "call_id": "c", "name": "g", "input": "x", "namespace": "ns"},
        {"type": "local_shell_call", "id": "l", "call_id": "s", "action": {"type": "exec", "command": ["ls"]}},
        {"type": "function_call_output", "call_id": "c", "output": PARTS},
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "late"}]},
        {"type": "function_call_output", "call_id": "a.b:0", "output": ""},
        {"type": "local_shell_call_output", "id": "l", "output": "o"},
        {"type": "web_search_call", "id": "w", "status": "completed"},
        {"type": "mcp_call", "server_label": "m", "name": "n", "arguments": "{}", "output": "o"},
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "h"}]},
        {"type": "configuration_update", "reasoning": {"effort": "low"}},
        {"type": "message", "role": "assistant", "content": "so "},
    ],
    "tools": [
        FUNCTION,
        {"type": "namespace", "name": "ns", "description": "d", "tools": [{"type": "custom", "name": "g"}]},
        {"type": "local_shell"},
        {"type": "web_search"},
        {"type": "mcp", "server_label": "m", "server_url": "https://e.com", "require_approval": "never"},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "parallel_tool_calls": False,
    "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}, "verbosity": "low"},
    "reasoning": {"effort": "high", "summary": "auto", "mode": "standard"},
    "max_output_tokens": 9000,
    "context_management": [{"type": "compaction", "compact_threshold": 9}],
    "moderation": {"model": "m", "policy": {"input": {"mode": "score"}}},
    "truncation": "auto",
    "include": ["x"],
    "user": "u" * 300,
    "service_tier": "flex",
    "stream": True,
    "top_logprobs": 3,
    "unheard": [],
}  # fmt: skip
WORDS = ["input_text", "message", "user", "assistant", "system", "function", "custom", "auto", "required", "none",
         "reasoning", "function_call", "function_call_output", "compaction", "namespace", "local_shell", "array",
         "object", "c", "a.b:0", "f", "data:image/png;base64,", "data:,", "max", "json_object"]  # fmt: skip
scalars = st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats(allow_nan=False) | st.sampled_from(WORDS)
KEYS = [*RICH, "type", "content", "role", "name", "schema", "$ref", "call_id", "output", "thinking", "cache_control"]
values = st.recursive(
    scalars | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=8,
)
TARGETS = [
    target(),
    target("claude-adaptive", mid_system="native", auto_cache=True, forced_choice_with_thinking=False),
    target(
        "claude-always-thinking", efforts=["low"], prefill="pass", expose_reasoning=False, web_search=True, mcp=True
    ),
    target("claude-extended", repair_interrupted=True),
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
    else:
        sent = json.loads(asked.body)
        beta = sent.keys() & {"mcp_servers", "context_management"}
        if not (_OWN & body.keys() or beta or "cache_control" in json.dumps(body)):
            check_messages_request({k: v for k, v in sent.items() if k not in _OWN - {"thinking"}})
    return asked


@pytest.mark.parametrize("to", TARGETS[:4], ids=lambda to: str(to.profile.name))
def test_the_rich_body_is_accepted(to: Target) -> None:
    assert isinstance(check(RICH, to), TranslatedRequest)
    assert isinstance(check({**RICH, "context_management": None}, to), TranslatedRequest)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_few_faults(data: st.DataObject) -> None:
    body = copy.deepcopy({**RICH, "context_management": None})
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
def test_deep_schema(depth: int) -> None:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = {"anyOf": [schema]}
    asked = check({"model": "m", "input": "x", "text": {"format": {"type": "json_schema", "schema": schema}}}, target())
    assert isinstance(asked, Rejection) and "deep" in asked.message


def test_text_that_is_not_unicode() -> None:
    assert isinstance(check({"model": "m", "input": "\ud800"}, target()), Rejection)

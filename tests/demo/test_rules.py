from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.demo.forms import Answer, frames, whole
from extproc.demo.plan import plan
from extproc.demo.rules import Problem, decode
from extproc.demo.script import step

HI = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "ok"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def body(*messages: object, **more: object) -> dict[str, object]:
    return {"model": "m", "messages": list(messages) or [HI], **more}


@pytest.mark.parametrize(
    "good",
    [
        body(),
        body(HI, CALLED, RESULT, HI),
        body(tools=[TOOL], tool_choice="auto", max_completion_tokens=5, top_k=4, reasoning_effort="low"),
        body({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]}),
        body(stream=True, stream_options={"include_usage": True}),
        body(thinking={"type": "enabled"}),
    ],
)
def test_good(good: object) -> None:
    assert decode(msgspec.json.encode(good)) == good


@pytest.mark.parametrize(
    ("bad", "param"),
    [
        ([], None),
        ({"messages": [HI]}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        (body("hi"), "messages[0]"),
        (body({"role": "human", "content": "x"}), "messages[0].role"),
        (body({"role": "user", "content": None}), "messages[0].content"),
        (body({"role": "user", "content": [{"type": "tool_use"}]}), "messages[0].content[0]"),
        (
            body({"role": "user", "content": [{"type": "text", "text": "", "cache_control": {}}]}),
            "messages[0].content[0].cache_control",
        ),
        (body(HI, CALLED), "messages"),
        (body(HI, CALLED, HI), "messages[2]"),
        (body(HI, RESULT), "messages[1].role"),
        (body(HI, {"role": "assistant", "content": "", "tool_calls": [{}]}), "messages[1].tool_calls"),
        (body(thinking={"type": "adaptive"}), "thinking"),
        (body(thinking={"type": "enabled", "budget_tokens": 1024}), "thinking"),
        (body(tools=[]), "tools"),
        (body(tools=[{"name": "f", "input_schema": {}}]), "tools[0].function"),
        (body(tools=[{"type": "function", "function": {"name": "a.b"}}]), "tools[0].function.name"),
        (body(tool_choice="auto"), "tool_choice"),
        (body(max_tokens=0), "max_tokens"),
        (body(stream_options={}), "stream_options"),
        (body(response_format="json"), "response_format"),
    ],
)
def test_bad(bad: object, param: str | None) -> None:
    problem = decode(msgspec.json.encode(bad))
    assert isinstance(problem, Problem)
    assert problem.param == param


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000])
def test_not_json(raw: bytes) -> None:
    assert isinstance(decode(raw), Problem)


NAMES = ("role", "content", "type", "text", "tool_calls", "id", "function", "name", "parameters", "json_schema")
SCHEMAS = ("type", "properties", "required", "enum", "anyOf", "items", "minItems")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES + SCHEMAS), inner, max_size=4),
    max_leaves=12,
)
FORCED = st.sampled_from(["required", {"type": "function", "function": {"name": "f"}}]) | JSON
FUNCTIONS = st.fixed_dictionaries({"name": st.just("f"), "parameters": st.dictionaries(st.sampled_from(SCHEMAS), JSON)})
TOOLS = st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": FUNCTIONS}) | JSON, max_size=2)
MESSAGES = st.just([HI]) | st.lists(JSON | st.just(HI), min_size=1, max_size=4)
OTHERS = st.sampled_from(["response_format", "stream_options", "max_tokens"])
BODIES = st.builds(
    lambda messages, tools, more: {"model": "m", "messages": messages, **tools, **more},
    MESSAGES,
    st.just({}) | st.fixed_dictionaries({"tools": TOOLS, "tool_choice": FORCED}),
    st.dictionaries(OTHERS, JSON, max_size=1),
)


@given(BODIES)
def test_what_passes_can_be_answered(body: dict[str, Any]) -> None:
    checked = decode(msgspec.json.encode(body))
    if isinstance(checked, dict):
        said = plan(checked, step(checked["messages"]))
        answer = Answer(plan=said, model="m", nonce="n", created=0, request_bytes=1)
        assert whole(answer)
        assert frames(answer, include_usage=True)

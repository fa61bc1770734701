import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.demo.claude_forms import sign
from extproc.demo.claude_reply import Claude
from extproc.demo.claude_rules import decode
from extproc.demo.http1 import Request

CORPUS = Path(__file__).parents[1] / "corpus"
HELLO = {"role": "user", "content": "q"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "t", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "r"}
TOOL = {"name": "t", "input_schema": {"type": "object"}}
THOUGHT = {"type": "thinking", "thinking": "t", "signature": sign("t")}
BUDGET = {"type": "enabled", "budget_tokens": 1024}


def body(*turns: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": list(turns) or [HELLO], **more}


def said(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def asked(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def problem(found: dict[str, Any], **more: Any) -> Any:
    decoded = decode(json.dumps(found).encode(), **more)
    return decoded if isinstance(decoded, str) else ""


@pytest.mark.parametrize(
    "found",
    [
        body(),
        body(HELLO, said(THOUGHT, CALL), asked(RESULT), tools=[TOOL], thinking=BUDGET, max_tokens=2000),
        body(HELLO, said({**THOUGHT, "thinking": ""}), HELLO),
        body(HELLO, said({"type": "redacted_thinking", "data": sign("x")}), HELLO),
        body(HELLO, said(CALL), asked(RESULT), tools=[TOOL], tool_choice={"type": "tool", "name": "t"}),
        body(HELLO, {"role": "assistant", "content": "prefill"}),
        body(
            HELLO, {"role": "system", "content": "s"}, HELLO, temperature=1.0, tools=[{"type": "web_search_20250305"}]
        ),
    ],
)
def test_what_is_right(found: dict[str, Any]) -> None:
    assert problem(found) == ""


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"model": "m", "messages": [HELLO]}, "max_tokens: Field required"),
        (body(max_tokens=0), "max_tokens: Input should be greater than or equal to 1"),
        (body(model=""), "model: String should have at least 1 character"),
        (body(messages=[]), "messages: at least one message is required"),
        (body(n=1), "n: Extra inputs are not permitted"),
        (body(temperature=1.5), "temperature: Input should be less than or equal to 1"),
        (body({"role": "tool", "content": "q"}), "messages.0.role: Input should be 'user' or 'assistant'"),
        (body(said({"type": "text", "text": "x"})), 'messages: first message must use the "user" role'),
        (body({"role": "user", "content": ""}), "messages.0: all messages must have non-empty content except"),
        (body(asked({"type": "text", "text": ""})), "messages: text content blocks must be non-empty"),
        (body(asked({"type": "image_url"})), "messages.0.content.0: Input tag 'image_url' found using 'type'"),
        (body(HELLO, {"role": "assistant", "content": "x "}), "messages: final assistant content cannot end with"),
        (body(HELLO, said(CALL), HELLO), "messages.1: `tool_use` ids were found without `tool_result` blocks"),
        (body(HELLO, said(CALL)), "messages.1: `tool_use` ids were found without `tool_result` blocks"),
        (body(asked(RESULT)), "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"),
        (
            body(HELLO, said({**CALL, "input": "x"})),
            "messages.1.content.0.tool_use.input: Input should be a valid dict",
        ),
        (
            body(HELLO, said({**THOUGHT, "signature": "EqQB"}), HELLO),
            "messages.1.content.0: Invalid `signature` in `thinking` block",
        ),
        (
            body(HELLO, said({**THOUGHT, "thinking": "other"}), HELLO),
            "messages.1.content.0: Invalid `signature` in `thinking` block",
        ),
        (
            body(HELLO, said({"type": "redacted_thinking", "data": "x"}), HELLO),
            "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
        ),
        (body(thinking={**BUDGET, "budget_tokens": 9}), "thinking.enabled.budget_tokens: Input should be greater"),
        (body(thinking=BUDGET), "`max_tokens` must be greater than `thinking.budget_tokens`"),
        (body(thinking=BUDGET, max_tokens=2000, temperature=0), "`temperature` may only be set to 1 when thinking"),
        (
            body(HELLO, said(CALL), asked(RESULT), thinking=BUDGET, max_tokens=2000),
            "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`",
        ),
        (body(tools=[{**TOOL, "name": "a.b"}]), "tools.0.custom.name: String should match pattern"),
        (body(tools=[{"name": "t", "input_schema": {}}]), "tools.0.custom.input_schema.type: Field required"),
        (body(tools=[TOOL, TOOL]), "tools: Tool names must be unique."),
        (body(tool_choice={"type": "any"}), "tool_choice may only be specified while providing tools."),
        (body(tools=[TOOL], tool_choice={"type": "tool", "name": "u"}), "Tool 'u' not found in provided tools"),
        (
            body(asked(*[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5)),
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
    ],
)
def test_what_is_wrong(found: dict[str, Any], words: str) -> None:
    assert problem(found).startswith(words)


def test_counting_needs_no_limit() -> None:
    assert problem({"model": "m", "messages": [HELLO]}, counting=True) == ""
    assert problem(body(), counting=True) == "max_tokens: Extra inputs are not permitted"


def test_real_clients_are_understood() -> None:
    """But for signatures that the recording model made up."""
    calls = {path.name: json.loads(path.read_text()) for path in sorted(CORPUS.rglob("*.json"))}
    bodies = {
        name: call["body"]
        for name, call in calls.items()
        if call["method"] == "POST" and call["path"].partition("?")[0] == "/v1/messages"
        if "thread" not in call["body"]
    }
    assert len(bodies) > 50
    for name, found in bodies.items():
        assert problem(found) == "" or "Invalid `" in problem(found), name


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "id", "input", "text", "name"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["messages", "tools", "tool_choice", "thinking", "system", "max_tokens"]), VALUES)
)
def test_any_json(members: dict[str, Any]) -> None:
    raw = json.dumps({**body(), **members}).encode()
    headers = [("x-api-key", "k"), ("anthropic-version", "2023-06-01")]
    assert Claude().reply(Request("POST", "/v1/messages", "HTTP/1.1", headers, raw), "n", 1).status in {200, 400}
    assert isinstance(decode(raw), str | dict)

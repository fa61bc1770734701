"""Signed thinking that a client sends back."""

from typing import Any

import pytest

from extproc.translate.signature import seal
from tests.translate.chat_asking import ask, assistant, body, call, function, result, sent, target, user

FORMAT = "anthropic-claude-v1"
SIGNED = {"type": "reasoning.text", "text": "hm", "signature": "s", "format": FORMAT, "index": 1}
HIDDEN = {"type": "reasoning.encrypted", "data": "z", "format": FORMAT, "index": 0}
BLOCKS = [{"type": "redacted_thinking", "data": "z"}, {"type": "thinking", "thinking": "hm", "signature": "s"}]


def request(**more: Any) -> dict[str, Any]:
    said = assistant(None, tool_calls=[call()], **more)
    return body(user("q"), said, result(), tools=[function()], max_tokens=20000)


def kinds(asked: dict[str, Any], **overrides: Any) -> list[str]:
    return [block["type"] for block in sent(asked, target(**overrides))["messages"][1]["content"]]


def test_in_the_order_of_their_index() -> None:
    content = sent(request(reasoning_details=[SIGNED, HIDDEN]))["messages"][1]["content"]
    assert content[:2] == BLOCKS and content[2]["type"] == "tool_use"


def test_as_others_hand_them_on() -> None:
    assert kinds(request(thinking_blocks=[*BLOCKS, {"type": "odd"}])) == ["redacted_thinking", "thinking", "tool_use"]


@pytest.mark.parametrize(
    "details",
    [
        [{**SIGNED, "format": "openai-responses-v1"}],
        [{**SIGNED, "signature": None}],
        [{**SIGNED, "signature": seal("reasoning_content")}],
        [{**HIDDEN, "data": seal("reasoning_content")}],
        [{**SIGNED, "type": "reasoning.summary"}, 3],
        "odd",
    ],
)
def test_what_claude_did_not_sign_is_dropped(details: Any) -> None:
    assert kinds(request(reasoning_details=details, reasoning_content="hm")) == ["tool_use"]


def test_only_when_the_model_thinks() -> None:
    with_details = request(reasoning_details=[SIGNED])
    assert kinds({**with_details, "reasoning_effort": "none"}) == ["tool_use"]
    assert kinds(with_details, named="claude-extended") == ["tool_use"]
    assert kinds({**with_details, "reasoning_effort": "low"}, named="claude-extended") == ["thinking", "tool_use"]


def test_a_budget_needs_the_thinking_of_the_last_calls() -> None:
    asked = {**request(), "reasoning_effort": "low"}
    assert "thinking" not in sent(asked, target("claude-extended"))
    assert ask(asked, target("claude-extended")).warnings == ("dropped:reasoning_effort",)
    assert sent(asked)["thinking"]["type"] == "adaptive"


def test_thinking_alone_is_no_turn() -> None:
    asked = body(user("q"), assistant(None, reasoning_details=[SIGNED]), user("r"))
    assert len(sent(asked)["messages"]) == 1


def test_the_beta_that_binding_needs_goes_along_only_where_thinking_is_handed_back() -> None:
    to = target("claude-always-thinking", block_binding="drop_block", betas=("b",))
    detail = {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
    history = body(user("q"), assistant("a", reasoning_details=[detail]), user("r"))
    assert ask(history, to).headers["anthropic-beta"] == "b,thinking-binding-controls-2026-08-01"
    assert ask(body(user("q")), to).headers["anthropic-beta"] == "b"
    own = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "reject"}}
    assert sent({**history, "thinking": own}, to)["thinking"] == own

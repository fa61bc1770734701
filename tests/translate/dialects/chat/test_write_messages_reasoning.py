from typing import Any

import pytest

from extproc.translate.signature import seal
from tests.translate.asking import assistant, body, call, refusal, result, sent, target, text, user


def thinking(words: str, signature: str = "EqQB") -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": signature}


def said(*blocks: Any, to: str = "deepseek", **profile: Any) -> dict[str, Any]:
    answers = [result(block["id"]) for block in blocks if block["type"] == "tool_use"]
    messages = [user(text("q")), assistant(*blocks), user(*answers, text("q"))]
    found = sent(body(messages=messages), target(to, **profile))["messages"][1]
    assert isinstance(found, dict)
    return found


OURS = thinking("why", seal("reasoning_content"))


def test_deepseek_gets_its_reasoning_back() -> None:
    assert said(OURS, text("a"))["reasoning_content"] == "why"
    hidden = thinking("", seal("reasoning_content", text="secret"))
    assert said(hidden, call())["reasoning_content"] == "secret"
    redacted = {"type": "redacted_thinking", "data": seal("reasoning_content", text="sealed")}
    assert said(redacted, text("a"))["reasoning_content"] == "sealed"


def test_deepseek_wants_the_member_on_every_turn_with_calls() -> None:
    assert said(call())["reasoning_content"] == ""
    assert "reasoning_content" not in said(text("a"))


def test_other_members() -> None:
    assert said(OURS, text("a"), reasoning_history="reasoning")["reasoning"] == "why"
    assert said(OURS, text("a"), to="mistral", reasoning_history="mistral_thinking")["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "why"}]},
        text("a"),
    ]
    assert said(OURS, text("a"), to="openai-chat") == {"role": "assistant", "content": "a"}


def test_openrouter_gets_its_details_verbatim() -> None:
    details = [{"type": "reasoning.encrypted", "data": "x", "z": 1}]
    found = said(thinking("why", seal("reasoning_details", details)), text("a"), to="openrouter")
    assert found["reasoning_details"] == details
    assert said(OURS, text("a"), to="openrouter")["reasoning"] == "why"


def test_gemini_gets_each_signature_on_its_call() -> None:
    sealed = seal("gemini_thought_signature", {"call.1": "s1", "toolu_2": "s2"})
    calls = [call("tlx_Y2FsbC4x"), call("toolu_2"), call("toolu_3")]
    found = said(thinking("", sealed), *calls, to="gemini")["tool_calls"]
    signatures = [one.get("extra_content", {}).get("google", {}).get("thought_signature") for one in found]
    assert signatures == ["s1", "s2", None]


@pytest.mark.parametrize("signature", ["EqQB", "", "atr1.!"])
def test_foreign_thinking_is_dropped(signature: str) -> None:
    assert "reasoning_content" not in said(thinking("why", signature), text("a"))


def test_foreign_thinking_as_text() -> None:
    found = said(thinking("why"), text("a"), foreign_thinking="text")
    assert found["reasoning_content"] == "why"


def test_pieces_join() -> None:
    messages = [user(text("q")), assistant(OURS, OURS, text("a")), assistant(OURS, text("b")), user(text("q"))]
    found = sent(body(messages=messages), target("deepseek"))["messages"][1]
    assert found == {"role": "assistant", "content": "a\n\nb", "reasoning_content": "whywhy\n\nwhy"}


def test_refused() -> None:
    assert refusal(body(messages=[user(OURS)])).startswith("messages.0.content.0: `thinking` blocks may only")
    assert refusal(body(messages=[user(text("q")), assistant({"type": "redacted_thinking"})])).startswith(
        "messages.1.content.0.data"
    )

from typing import Any

import pytest

from tests.translate.asking import ask, assistant, body, call, refusal, result, sent, target, text, user

U = user(text("q"))
PREFILL = [U, assistant(text("{"))]


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([U, assistant(call("a"), call("b")), user(result("a"))], "messages.1: `tool_use` ids were found without"),
        ([U, assistant(call("a"))], "messages.1: `tool_use` ids were found without"),
        (
            [U, assistant(call("a")), {"role": "system", "content": "s"}],
            "messages.1: `tool_use` ids were found without",
        ),
        ([user(result("a"))], "messages.0.content.0: unexpected `tool_use_id`"),
        (
            [U, assistant(call("a")), user(result("a")), assistant(text("x")), user(result("a"))],
            "messages.4.content.0: ",
        ),
        ([U, assistant(call("a")), user(result("a"), result("a"))], "messages.2.content.1: each tool_use must have"),
        ([U, assistant(call("a"), call("a")), user(result("a"))], "messages: `tool_use` ids must be unique"),
    ],
)
def test_pairing(messages: list[Any], problem: str) -> None:
    assert refusal(body(messages=messages)).startswith(problem)


def test_the_missing_ids_are_named() -> None:
    asked = body(messages=[U, assistant(call("a"), call("b"), call("c")), user(result("b"))])
    assert "immediately after: a, c." in refusal(asked)


def test_prefill() -> None:
    found = sent(body(messages=PREFILL), target("vllm", prefill="continue_final"))
    assert found["continue_final_message"] is True
    assert found["add_generation_prompt"] is False
    found = sent(body(messages=PREFILL), target("mistral", prefill="prefix"))
    assert found["messages"][-1] == {"role": "assistant", "content": "{", "prefix": True}
    found = sent(body(messages=PREFILL), target(prefill="append_user"))
    assert found["messages"][-1] == {"role": "user", "content": "Continue."}
    assert ask(body(messages=PREFILL), target(prefill="append_user")).warnings == ("emulated:prefill",)
    assert ask(body(messages=PREFILL), target(prefill="pass")).prefill == "{"
    assert ask(body(messages=[U]), target(prefill="pass")).prefill == ""
    assert refusal(body(messages=PREFILL)).startswith("This model does not support assistant message prefill")

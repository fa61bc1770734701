from typing import Any

import pytest

from tests.translate.asking import ask, assistant, body, call, refusal, result, sent, target, text, user


def test_texts_of_a_user_turn_join_with_a_blank_line() -> None:
    messages = [user(text("a"), text(" "), text("")), {"role": "user", "content": "b"}, {"role": "user", "content": ""}]
    assert sent(body(messages=messages))["messages"] == [{"role": "user", "content": "a\n\n \n\nb"}]


def test_texts_of_an_assistant_message_join_with_nothing_and_at_a_seam_with_a_blank_line() -> None:
    messages = [user(text("q")), assistant(text("a"), text("b")), assistant(text("c")), user(text("q"))]
    assert sent(body(messages=messages))["messages"][1] == {"role": "assistant", "content": "ab\n\nc"}


def test_results_of_several_user_messages_are_one_turn() -> None:
    messages = [
        user(text("q")),
        assistant(call("a")),
        assistant(call("b")),
        user(result("b")),
        user(result("a"), text("c")),
    ]
    roles = [(m["role"], m.get("tool_call_id")) for m in sent(body(messages=messages))["messages"]]
    assert roles == [("user", None), ("assistant", None), ("tool", "a"), ("tool", "b"), ("user", None)]


def test_arguments_are_compact_and_not_escaped() -> None:
    spoken = call(input={"b": "ü", "a": [1, 2.0, None]}, caller={"type": "direct"}, cache_control=None)
    messages = [user(text("q")), assistant(spoken), user(result())]
    function = sent(body(messages=messages))["messages"][1]["tool_calls"][0]["function"]
    assert function == {"name": "t", "arguments": '{"b":"ü","a":[1,2.0,null]}'}


def test_mistral_ids_are_equal_on_both_sides() -> None:
    messages = [user(text("q")), assistant(call()), user(result())]
    _, asked, told = sent(body(messages=messages), target("mistral"))["messages"]
    assert asked["tool_calls"][0]["id"] == told["tool_call_id"]
    assert len(told["tool_call_id"]) == 9


def test_cache_hints_keep_lists() -> None:
    hinted = text("a", cache_control={"type": "ephemeral", "ttl": "5m"})
    marked = text("a", prompt_cache_breakpoint={"mode": "explicit"})
    messages = [user(hinted), assistant(hinted), {"role": "user", "content": "plain"}]
    found = sent(body(messages=messages), target(map_cache_control=True))["messages"]
    assert [message["content"] for message in found] == [[marked], [marked], "plain"]
    assert sent(body(messages=messages))["messages"][0]["content"] == "a"


def test_server_blocks_join_to_lines() -> None:
    blocks = [{"type": "server_tool_use", "name": "f", "input": {}}, text("x")]
    asked = body(messages=[user(text("q")), assistant(*blocks), user(text("q"))])
    assert sent(asked)["messages"][1]["content"] == "[f called with {}]\nx"
    assert ask(asked).warnings == ("approx:messages.1.content.0",)


@pytest.mark.parametrize("kind", ["mcp_tool_listing", "fallback"])
def test_silent_blocks(kind: str) -> None:
    asked = body(messages=[user(text("q")), assistant({"type": kind}), user(text("r"))])
    assert sent(asked)["messages"] == [{"role": "user", "content": "q\n\nr"}]
    assert ask(asked).warnings == ()


@pytest.mark.parametrize(
    ("role", "block", "problem"),
    [
        ("user", 7, ": Input should be a valid dictionary"),
        ("user", {}, ".type: Field required"),
        ("user", {"type": "text", "text": 1}, ".text: Input should be a valid string"),
        ("user", call(), ": `tool_use` blocks may only be in `assistant` messages"),
        ("user", {"type": "container_upload", "file_id": "f"}, ": files in a container"),
        ("assistant", result(), ": `tool_result` blocks may only be in `user` messages"),
        ("assistant", {"type": "image", "source": {}}, ": an image in an assistant turn"),
        ("assistant", call(name=""), ".name: String should have at least 1 character"),
        ("assistant", call(input="{}"), ".input: Input should be a valid dictionary"),
        ("assistant", {"type": "tool_use", "name": "t", "input": {}}, ".id: Field required"),
        (
            "assistant",
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}},
            ": an assistant turn can only hold documents that are text",
        ),
    ],
)
def test_refused(role: str, block: Any, problem: str) -> None:
    asked = body(messages=[user(text("q")), {"role": role, "content": [block]}, user(text("q"))])
    assert refusal(asked).startswith(f"messages.1.content.0{problem}")

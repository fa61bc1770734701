from typing import Any

import pytest

from tests.translate.asking import ask, assistant, body, call, refusal, result, sent, target, text, tool, user


def system(words: Any, **more: Any) -> dict[str, Any]:
    return {"role": "system", "content": words, **more}


def said(*messages: Any, to: str = "openai-chat", **profile: Any) -> list[tuple[str, Any]]:
    found = sent(body(messages=list(messages)), target(to, **profile))["messages"]
    return [(message["role"], message["content"]) for message in found]


U, A = user(text("q")), assistant(text("a"))


def test_leading_system_turns_are_hoisted() -> None:
    messages = [system("a"), system([text("b")]), U]
    found = sent(body(system="s", messages=messages))["messages"]
    assert found == [{"role": "system", "content": "s\n\na\n\nb"}, {"role": "user", "content": "q"}]


def test_system_turns_in_a_row_are_one() -> None:
    assert said(U, system("a"), system([text("b"), text("c")])) == [("user", "q"), ("system", "a\n\nb\n\nc")]


def test_hoist() -> None:
    assert said(U, A, U, system("s"), mid_system="hoist") == [
        ("system", "s"),
        ("user", "q"),
        ("assistant", "a"),
        ("user", "q"),
    ]


def test_as_user_after_the_assistant_and_before_the_user() -> None:
    assert said(U, A, system("s"), U, to="generic")[2] == ("user", "<system-reminder>\ns\n</system-reminder>\n\nq")


def test_instructions_between_calls_and_results_move_behind() -> None:
    messages = [U, assistant(call()), system("s"), user(result(), text("t"))]
    assert [role for role, _ in said(*messages)] == ["user", "assistant", "tool", "user", "system"]
    assert ask(body(messages=messages)).warnings == ("reordered:messages.3",)
    assert [role for role, _ in said(*messages, to="vllm")] == ["user", "assistant", "tool", "user"]


def test_what_was_meant_for_one_turn_stays_for_the_last() -> None:
    assert said(U, system("s", clear_at="next_user_message")) == [("user", "q"), ("system", "s")]
    assert said(U, system("s", clear_at="next_user_message"), A, U)[1] == ("assistant", "a")
    assert said(U, system("s", clear_at="never"), A, U)[1] == ("system", "s")


def test_a_turn_of_thinking_only_disappears_and_its_neighbours_meet() -> None:
    hollow = assistant({"type": "thinking", "thinking": "x", "signature": ""})
    assert said(U, hollow, U) == [("user", "q\n\nq")]
    assert said(U, hollow) == [("user", "q")]
    assert said(U, hollow, system("s")) == [("user", "q"), ("system", "s")]


def test_the_last_compaction_that_speaks() -> None:
    old = {"type": "compaction", "content": "old"}
    new = {"type": "compaction", "content": "new", "encrypted_content": "x"}
    mute = {"type": "compaction", "content": None}
    found = said(user(old), assistant(text("gone"), new, text("b")), user(text("c")), assistant(mute, text("d")), U)
    summary = "[Summary of the earlier conversation]\nnew"
    assert found == [("user", summary), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "q")]


def test_changes_of_tools_survive_a_compaction() -> None:
    removal = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "t"}}
    block = {"type": "compaction", "content": "new", "tool_changes": [removal]}
    assert "tools" not in sent(body(messages=[user(block, text("q"))], tools=[tool()]))


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (7, ": Input should be a valid dictionary"),
        ({"content": "x"}, ".role: Field required"),
        ({"role": "tool", "content": "x"}, ".role: Input should be 'user', 'assistant' or 'system'"),
        ({"role": "user"}, ".content: Field required"),
        ({"role": "user", "content": 7}, ".content: Input should be a valid list"),
        ({"role": "system"}, ".content: Field required"),
        (system("s", clear_at="later"), ".clear_at: Input should be 'next_user_message' or 'never'"),
        (system([{"type": "image"}]), ".content.0.type: Input should be 'text'"),
        ({"role": "user", "content": [{"type": "compaction", "content": 7}]}, ".content.0.content: Input"),
    ],
)
def test_refused(message: Any, problem: str) -> None:
    assert refusal(body(messages=[U, message])).startswith(f"messages.1{problem}")


@pytest.mark.parametrize("messages", [[], [user()], [system("s")], [assistant()]])
def test_somebody_must_say_something(messages: list[Any]) -> None:
    assert refusal(body(messages=messages)) == "messages: at least one message is required"


def test_unknown_members() -> None:
    asked = ask(body(messages=[{**U, "foo": 1}, system("s", bar=1)]))
    assert asked.warnings == ("dropped:messages.0.foo", "dropped:messages.1.bar")


def test_instructions_outlive_a_compaction() -> None:
    """But not those that stood among the turns which it replaced."""
    summary = {"type": "compaction", "content": "so far"}
    messages = [system("RULES"), U, A, U, system("of then"), assistant(summary), U]
    assert said(*messages) == [
        ("system", "RULES"),
        ("user", "[Summary of the earlier conversation]\nso far\n\nq"),
    ]

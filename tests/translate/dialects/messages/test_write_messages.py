"""Messages as turns: instructions, tool loops, both ends (mapping 4.2)."""

from typing import Any

import pytest

from tests.translate.chat_asking import ask, assistant, body, call, function, refusal, result, sent, target, user

LATE = {"role": "system", "content": "B"}
FUNCTIONS = [function("f"), function("g")]


def turns(*messages: Any, **overrides: Any) -> Any:
    return sent(body(*messages, tools=FUNCTIONS), target(**overrides))["messages"]


def used(id: str = "c1", name: str = "f", input: Any = None) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": input or {}}


def answered(id: str = "c1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, **more}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_system_parts_join_with_a_line_feed() -> None:
    system = {"role": "system", "content": [text("A"), text(""), text("B")]}
    assert sent(body(system, {"role": "developer", "content": "C"}, user("q")))["system"] == "A\nB\nC"


@pytest.mark.parametrize("after", [[], [assistant("a"), user("r")]])
def test_a_later_system_message_stays_where_it_may(after: list[Any]) -> None:
    request = body(user("q"), LATE, *after)
    found = ask(request, target(mid_system="native"))
    assert sent(request, target(mid_system="native"))["messages"][1] == {"role": "system", "content": "B"}
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("messages", "at"),
    [
        ([user("q"), assistant("a"), LATE, user("r")], 2),
        ([user("q"), LATE, user("r")], 1),
        ([user("q"), assistant(tool_calls=[call()]), LATE, result()], 2),
        ([user("q"), assistant(tool_calls=[call(), call("c2")]), result(), LATE, result("c2")], 3),
    ],
)
def test_elsewhere_it_is_hoisted(messages: list[Any], at: int) -> None:
    request = body(*messages, tools=FUNCTIONS)
    found = sent(request, target(mid_system="native"))
    assert found["system"] == "B" and all(m["role"] != "system" for m in found["messages"])
    assert ask(request, target(mid_system="native")).warnings == (f"reordered:messages.{at}",)


def test_several_late_ones_are_one_section() -> None:
    found = turns(
        user("q"), LATE, {"role": "developer", "content": "C"}, assistant("a"), user("r"), mid_system="native"
    )
    assert found[1] == {"role": "system", "content": [text("B"), text("C")]}


def test_results_stand_first_in_the_order_of_the_calls() -> None:
    calls = assistant("ok", tool_calls=[call("c1", arguments='{"a": 1}'), call("c2", "g")])
    found = turns(user("q"), calls, result("c2", "2"), result("c1", ""), user("go on"))
    assert found[1]["content"] == [text("ok"), used(input={"a": 1}), used("c2", "g")]
    assert found[2]["content"] == [answered("c1"), answered("c2", content="2"), text("go on")]
    assert len(found) == 3


def test_results_in_parts() -> None:
    parts = [text("r"), text(" "), {"type": "image_url", "image_url": {"url": "https://e.com/a"}}]
    found = turns(user("q"), assistant(tool_calls=[call()]), result(content=parts))
    image = {"type": "image", "source": {"type": "url", "url": "https://e.com/a"}}
    assert found[2]["content"] == [answered(content=[text("r"), image])]


def test_repeated_ids_become_unique() -> None:
    loop = [assistant(tool_calls=[call()]), result()]
    found = turns(user("q"), *loop, *loop, *loop)
    assert [turn["content"][0]["id"] for turn in found[1::2]] == ["c1", "c1_2", "c1_3"]
    assert [turn["content"][0]["tool_use_id"] for turn in found[2::2]] == ["c1", "c1_2", "c1_3"]


def test_broken_arguments() -> None:
    request = body(user("q"), assistant(tool_calls=[call(arguments="{bad")]), result(), tools=FUNCTIONS)
    assert sent(request)["messages"][1]["content"] == [used(input={"_raw_arguments": "{bad"})]
    assert ask(request).warnings == ("invalid_tool_arguments:c1",)
    strict = refusal(request, target(strictness="strict"))
    assert strict.path == "messages.1.tool_calls.0.function.arguments"


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([user("q"), assistant(tool_calls=[call()]), assistant("b"), result()], "messages.1.tool_calls"),
        ([user("q"), assistant(tool_calls=[call()])], "messages.1.tool_calls"),
        ([user("q"), assistant(tool_calls=[call(), call("c2")]), result(), user("r")], "messages.1.tool_calls"),
        ([user("q"), result()], "messages.1.tool_call_id"),
        ([user("q"), assistant(tool_calls=[call()]), result(), result()], "messages.3.tool_call_id"),
        ([user("q"), assistant(tool_calls=[call(), call()])], "messages.1.tool_calls.1.function.arguments"),
        ([user("q"), {"role": "function", "name": "f", "content": "1"}], "messages.1"),
        ([user("q"), {"role": "pirate", "content": "1"}], "messages.1.role"),
        ([user(None)], "messages.0.content"),
        ([user(" ")], "messages"),
    ],
)
def test_refused(messages: list[Any], path: str) -> None:
    found = refusal(body(*messages, tools=FUNCTIONS))
    assert found.path == path and found.code


def test_empty_and_repeated_turns_are_merged() -> None:
    found = turns(user("a"), user(""), assistant(""), user("b"), assistant("c"), user([text("d")]))
    expected = [{"role": "user", "content": [text("a"), text("b")]}, {"role": "assistant", "content": "c"}]
    assert found == [*expected, {"role": "user", "content": "d"}]


def test_an_assistant_may_not_begin() -> None:
    request = body(assistant("a"), user("q"))
    assert sent(request)["messages"][0] == {"role": "user", "content": "(conversation start)"}
    assert ask(request).warnings == ("emulated:messages.0",)


def test_prefill() -> None:
    request = body(user("q"), assistant("so: \n"))
    assert sent(request)["messages"][1:] == [
        {"role": "assistant", "content": "so:"},
        {"role": "user", "content": "Continue."},
    ]
    assert ask(request).warnings == ("emulated:prefill",)
    assert sent(request, target(prefill="pass"))["messages"][-1] == {"role": "assistant", "content": "so:"}
    assert refusal(request, target(prefill="reject")).path == "messages.1"


def test_the_last_of_several_instructions_is_the_question() -> None:
    found = sent(body({"role": "system", "content": "A"}, {"role": "developer", "content": "B"}))
    assert (found["system"], found["messages"]) == ("A", [{"role": "user", "content": "B"}])


def test_what_an_answer_came_with() -> None:
    said = assistant("a", refusal="no", reasoning_content="hm", annotations=[], audio=None, name="n")
    request = body(user("q"), said, user("r"))
    assert sent(request)["messages"][1]["content"] == [text("a"), text("no")]
    assert ask(request).warnings == ()
    assert ask(body(user("q"), assistant("a", audio={"id": "x"}, odd=1), user("r"))).warnings == (
        "dropped:messages.1.odd",
        "dropped:messages.1.audio",
    )

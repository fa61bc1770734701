"""Input items as turns (mapping 6.5)."""

import json
from typing import Any

import pytest

from extproc.translate.signature import seal
from tests.translate.chat_asking import target
from tests.translate.responses_client import ask, assistant, body, call, output, refusal, sent, user

Json = dict[str, Any]
TOOLS = [{"type": "function", "name": "f"}, {"type": "local_shell"}]


def turns(*items: Json, named: str = "claude-adaptive", **members: Any) -> list[Json]:
    found = sent(body(*items, tools=TOOLS, **members), target(named))["messages"]
    assert isinstance(found, list)
    return found


def reasoning(**sealed: Any) -> Json:
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal("anthropic", **sealed)}


def use(id: str = "c1", name: str = "f", **told: Any) -> Json:
    return {"type": "tool_use", "id": id, "name": name, "input": told}


def result(id: str = "c1", said: Any = "r") -> Json:
    return {"type": "tool_result", "tool_use_id": id, "content": said}


def test_a_text_is_one_turn() -> None:
    assert sent(body())["messages"] == [{"role": "user", "content": "q"}]


def test_instructions_come_first_then_leading_messages() -> None:
    system = sent(body({"role": "developer", "content": "b"}, {"role": "system", "content": "c"}, user(),
                       instructions="a"))["system"]  # fmt: skip
    assert system == "a\nb\nc"


@pytest.mark.parametrize("blank", ["", " \n"])
def test_blank_instructions_are_none(blank: str) -> None:
    assert "system" not in sent(body(instructions=blank))


def test_later_instructions_are_hoisted() -> None:
    asked = ask(body(user(), {"role": "developer", "content": "late"}))
    assert (json.loads(asked.body)["system"], asked.warnings) == ("late", ("reordered:input.1",))


def test_thinking_is_restored_byte_for_byte() -> None:
    thought, hidden = reasoning(data={"signature": "Eq=="}, text="hm\n"), reasoning(data={"data": "zz"})
    said = turns(user(), thought, hidden, assistant("so"), call(), output())[1]
    assert said["content"] == [
        {"type": "thinking", "thinking": "hm\n", "signature": "Eq=="},
        {"type": "redacted_thinking", "data": "zz"},
        {"type": "text", "text": "so"},
        use(),
    ]


@pytest.mark.parametrize(
    ("item", "warnings"),
    [
        ({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}, ("dropped:input.1",)),
        ({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}, ()),
        (
            {"type": "reasoning", "encrypted_content": seal("openai_responses", {"signature": "s"})},
            ("dropped:input.1",),
        ),
        ({"type": "reasoning", "encrypted_content": seal("anthropic", {"signature": "atr1.x"})}, ()),
        ({"type": "reasoning", "encrypted_content": seal("anthropic", {"signature": ""})}, ()),
        ({"type": "reasoning", "encrypted_content": seal("anthropic", "s")}, ()),
    ],
)
def test_other_reasoning_is_dropped(item: Json, warnings: tuple[str, ...]) -> None:
    asked = ask(body(user(), item, call(), output(), tools=TOOLS))
    assert json.loads(asked.body)["messages"][1]["content"] == [use()]
    assert asked.warnings == warnings


def test_thinking_that_nothing_follows_is_left_out() -> None:
    """Anthropic refuses a turn that ends with it."""
    thought = reasoning(data={"signature": "s"}, text="t")
    assert turns(user("a"), thought, user("b")) == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    ]


def test_calls_and_results() -> None:
    found = turns(user(), call("a"), call("b", arguments='{"x": 1}'), output("b"), output("a", ""), user("and"))
    assert found[1:] == [
        {"role": "assistant", "content": [use("a"), use("b", x=1)]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a"}, result("b"), {"type": "text", "text": "and"}
        ]},
    ]  # fmt: skip


def test_a_call_made_while_another_waits_is_of_the_same_turn() -> None:
    found = turns(user(), call("a"), call("b"), output("a"), call("c"), output("c"), output("b"))
    assert [block["id"] for block in found[1]["content"]] == ["a", "b", "c"]
    assert [block["tool_use_id"] for block in found[2]["content"]] == ["a", "b", "c"]


def test_results_of_an_id_that_is_used_again_while_others_wait() -> None:
    found = turns(user(), call("a"), call("b"), output("a", "1"), call("a"), output("b", "2"), output("a", "3"))
    assert [block["id"] for block in found[1]["content"]] == ["a", "b", "a_2"]
    given = {block["tool_use_id"]: block["content"] for block in found[2]["content"]}
    assert given == {"a": "1", "b": "2", "a_2": "3"}


def test_a_call_after_all_results_is_of_the_next_turn() -> None:
    found = turns(user(), call("a"), output("a"), assistant("so"), call("b"), output("b"))
    assert [turn["role"] for turn in found] == ["user", "assistant", "user", "assistant", "user"]


def test_custom_and_shell_calls() -> None:
    shell = {"type": "local_shell_call", "id": "lsh_1", "call_id": "s", "status": "completed", "action": {
        "type": "exec", "command": ["ls"], "env": {}, "working_directory": "/w", "timeout_ms": 5}}  # fmt: skip
    custom = {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "free"}
    said = {"type": "local_shell_call_output", "id": "lsh_1", "output": "out"}
    found = turns(user(), custom, shell, output("c", kind="custom_tool_call_output"), said)
    assert found[1]["content"] == [
        use("c", input="free"),
        use("s", "local_shell", command=["ls"], workdir="/w", timeout_ms=5),
    ]
    assert found[2]["content"] == [result("c"), result("s", "out")]


def test_a_result_of_parts() -> None:
    parts = [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="},
        {"type": "input_file", "file_url": "https://e.com/a.pdf", "filename": "a"},
    ]
    image = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    assert turns(user(), call(), output(said=parts))[2]["content"][0]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image", "source": image},
        {"type": "document", "source": {"type": "url", "url": "https://e.com/a.pdf"}, "title": "a"},
    ]


def test_an_interrupted_call_counts_as_aborted_where_that_is_wished() -> None:
    request = body(user(), call(), user("stop"), tools=TOOLS)
    assert refusal(request).path == "input.1"
    found = sent(request, target(repair_interrupted=True))["messages"]
    assert found[2]["content"] == [result(said="aborted"), {"type": "text", "text": "stop"}]


@pytest.mark.parametrize(
    ("items", "path"),
    [
        ([{"type": "item_reference", "id": "x"}], "input.0"),
        ([{"id": "x"}], "input.0"),
        ([user(), {"type": "compaction_trigger"}], "input.1"),
        ([user(), output()], "input.1.call_id"),
        ([user(), call(), output("other")], "input.2.call_id"),
        ([user(), call()], "input.1"),
        ([user(), call(name="")], "input.1.name"),
        ([user(), call(), call()], "input.2.arguments"),
        ([{"role": "tool", "content": "x"}], "input.0.role"),
        ([user([{"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}])], "input.0.content.0"),
        ([user([{"type": "input_image", "file_id": "f"}])], "input.0.content.0.file_id"),
        ([user([{"type": "input_file", "file_id": "f"}])], "input.0.content.0.file_id"),
        ([user([{"type": "text", "text": "t"}])], "input.0.content.0.type"),
        ([user(None)], "input.0.content"),
        (["x"], "input.0"),
        ([{"type": "local_shell_call", "call_id": "c", "action": {}}], "input.0.action.command"),
        ([{"type": "additional_tools", "tools": [1]}], "input.0.tools.0"),
    ],
)
def test_refused(items: list[Any], path: str) -> None:
    assert refusal(body(*items)).path == path


def test_no_input_at_all() -> None:
    assert refusal({"model": "m"}).code == "missing_required_parameter"


@pytest.mark.parametrize(
    ("item", "warning"),
    [
        ({"type": "web_search_call", "id": "w", "status": "completed"}, "dropped:input.1"),
        ({"type": "image_generation_call", "id": "i", "result": "aGk="}, "dropped:input.1"),
        ({"type": "shell_call", "call_id": "s", "action": {"commands": ["ls"]}}, "dropped:input.1"),
        ({"type": "never_heard_of"}, "dropped:input.1"),
        ({"type": "compaction", "encrypted_content": "gAAA"}, "dropped:input.1"),
    ],
)
def test_what_means_nothing_here_is_dropped(item: Json, warning: str) -> None:
    asked = ask(body(user("a"), item, user("b")))
    assert asked.warnings == (warning,)
    assert len(json.loads(asked.body)["messages"]) == 1


def test_what_other_tools_gave_stays_as_text() -> None:
    asked = ask(body(
        user("a"),
        {"type": "shell_call", "call_id": "s", "action": {"commands": ["ls"]}},
        {"type": "shell_call_output", "call_id": "s", "output": [{"stdout": "x"}]},
        {"type": "mcp_call", "server_label": "m", "name": "n", "arguments": "{}", "output": "o"},
        {"type": "mcp_call", "server_label": "m", "name": "n", "arguments": "{}", "error": "e"},
        user("b"),
    ))  # fmt: skip
    assert asked.warnings == ("approx:input.1", "approx:input.2", "approx:input.3", "approx:input.4")
    assert [block["text"] for block in json.loads(asked.body)["messages"][1]["content"]] == [
        '[shell called with {"commands":["ls"]}]\n',
        '[shell result]\n[{"stdout":"x"}]\n',
        "[m.n called with {}]\n[result]\no\n",
        "[m.n called with {}]\n[error]\ne\n",
    ]


def test_the_last_configuration_wins() -> None:
    changes = [
        {"type": "configuration_update", "reasoning": {"effort": "low"}},
        {"type": "configuration_update", "reasoning": {"effort": "max"}, "text": {"format": {"type": "json_object"}}},
    ]
    asked = ask(body(user(), *changes, reasoning={"effort": "high"}))
    found = json.loads(asked.body)
    assert found["output_config"] == {"effort": "max"}
    assert asked.warnings == ("emulated:input.2.text.format",)


@pytest.mark.parametrize("update", [{"reasoning": {"effort": None}}, {"reasoning": None}, {"text": None}])
def test_an_update_that_says_nothing_of_effort_leaves_it(update: Json) -> None:
    found = sent(body(user(), {"type": "configuration_update", **update}, reasoning={"effort": "high"}))
    assert found["output_config"] == {"effort": "high"}


def test_a_compacted_conversation_of_ours() -> None:
    kept = {"type": "compaction", "encrypted_content": seal("anthropic", text="so far")}
    assert turns(user(), kept, user("b"))[1] == {
        "role": "assistant", "content": [{"type": "compaction", "content": "so far"}]
    }  # fmt: skip


def test_what_claude_keeps_of_a_conversation_goes_back_as_it_came() -> None:
    kept = {"encrypted_content": "e", "signature": "s", "tool_changes": [{"type": "tool_removal"}]}
    item = {"type": "compaction", "encrypted_content": seal("anthropic", {**kept, "type": "text"}, "so far")}
    [block] = turns(user(), item, user("b"))[1]["content"]
    assert block == {"type": "compaction", "content": "so far", **kept}


def test_later_instructions_leave_what_thinking_is_bound_to_as_it_was() -> None:
    """The second turn of a Codex session on Fable 5.2, with a developer message and a tool that came later."""
    to = target("claude-always-thinking", mid_system="native", block_binding="drop_block", forced_tool_choice=False)
    thought = reasoning(data={"signature": "s"}, text="hm")
    late = {"role": "developer", "content": "late"}
    asked = body(
        user(), thought, assistant("a"), user("r"), late, instructions="i", tools=TOOLS, tool_choice="required"
    )
    found = sent(asked, to)
    assert found["system"] == "i\nCall at least one of the tools in your next message."
    assert found["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "s"}
    assert found["messages"][-1] == {"role": "system", "content": "late"}
    assert found["thinking"] == {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    assert found["tool_choice"] == {"type": "auto"}

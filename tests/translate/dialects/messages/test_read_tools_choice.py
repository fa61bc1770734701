from typing import Any

import pytest

from tests.translate.asking import ask, assistant, body, call, refusal, result, sent, target, text, tool, user

SEARCH = {"type": "web_search_20250305", "name": "web_search"}
ANY, AUTO, NONE = {"type": "any"}, {"type": "auto"}, {"type": "none"}
NAMED = {"type": "tool", "name": "t"}


def chosen(choice: Any, **profile: Any) -> Any:
    return sent(body(tools=[tool()], tool_choice=choice), target(**profile)).get("tool_choice")


def test_words() -> None:
    assert chosen(None) is None
    assert chosen(AUTO) == "auto"
    assert chosen(ANY) == "required"
    assert chosen(ANY, tool_choice_any="any") == "any"
    assert chosen(NONE) == "none"
    assert chosen(NAMED) == {"type": "function", "function": {"name": "t"}}


def test_parallel() -> None:
    asked = body(tools=[tool()], tool_choice={**ANY, "disable_parallel_tool_use": True})
    assert sent(asked)["parallel_tool_calls"] is False
    assert ask(asked, target(parallel_tool_calls=False)).warnings == ("dropped:tool_choice.disable_parallel_tool_use",)
    assert "parallel_tool_calls" not in sent(
        body(tools=[tool()], tool_choice={**ANY, "disable_parallel_tool_use": False})
    )


@pytest.mark.parametrize("tools", [None, [], [SEARCH]])
def test_nothing_to_choose_from(tools: Any) -> None:
    found = sent(body(tools=tools, tool_choice={**AUTO, "disable_parallel_tool_use": True}))
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & found.keys()


@pytest.mark.parametrize(
    ("tools", "choice", "problem"),
    [
        ([SEARCH], ANY, "tool_choice: none of the tools can run with this model: web_search"),
        ([{"type": "mcp_toolset", "mcp_server_name": "s"}], ANY, "tool_choice: none of the tools"),
        ([SEARCH, tool()], {"type": "tool", "name": "web_search"}, "tool_choice.name: server tool 'web_search'"),
        ([tool()], {"type": "tool", "name": "z"}, "tool_choice.name: Tool 'z' not found"),
        ([SEARCH], {"type": "tool", "name": "z"}, "tool_choice.name: Tool 'z' not found"),
        ([tool()], {"type": "tool"}, "tool_choice.name: Field required"),
        ([tool()], {"type": "x"}, "tool_choice.type: Input"),
        ([tool()], {}, "tool_choice.type: Field required"),
        ([tool()], 7, "tool_choice: Input"),
    ],
)
def test_refused(tools: Any, choice: Any, problem: str) -> None:
    assert refusal(body(tools=tools, tool_choice=choice)).startswith(problem)


@pytest.mark.parametrize(
    ("choice", "declared", "warnings"),
    [
        (AUTO, True, ()),
        (ANY, True, ("dropped:tool_choice",)),
        (NAMED, True, ("dropped:tool_choice",)),
        (NONE, False, ()),
    ],
)
def test_servers_without_tool_choice(choice: Any, declared: bool, warnings: tuple[str, ...]) -> None:
    asked = ask(body(tools=[tool()], tool_choice=choice), target("ollama"))
    assert (b'"tools"' in asked.body) is declared
    assert asked.warnings == warnings


def test_tools_of_a_history_stay() -> None:
    messages = [user(text("q")), assistant(call()), user(result())]
    asked = ask(body(messages=messages, tools=[tool()], tool_choice=NONE), target("ollama"))
    assert b'"tools"' in asked.body
    assert asked.warnings == ("dropped:tool_choice",)


def test_tools_that_come_in_the_conversation_can_be_chosen() -> None:
    definition = {"type": "tool_definition", "definition": {"name": "x", "input_schema": {}}}
    added = {"role": "system", "content": [{"type": "tool_addition", "tool": definition}]}
    messages = [user(text("q")), added]
    found = sent(body(messages=messages, tool_choice={"type": "tool", "name": "x"}))
    assert found["tool_choice"] == {"type": "function", "function": {"name": "x"}}
    told = refusal(body(messages=messages, tool_choice={"type": "tool", "name": "y"}))
    assert told == "tool_choice.name: Tool 'y' not found in provided tools"

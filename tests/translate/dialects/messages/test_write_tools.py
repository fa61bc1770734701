"""Tools and the choice among them (mapping 4.4)."""

from typing import Any

import pytest

from extproc.translate.names import tool_name
from tests.translate.chat_asking import ask, assistant, body, call, function, refusal, result, sent, target, user

EMPTY = {"type": "object", "properties": {}}
CUSTOM = {"type": "custom", "custom": {"name": "patch", "description": "d"}}
LEGACY = [{"name": "f", "parameters": EMPTY}]


def schema(parameters: Any, **more: Any) -> Any:
    return sent(body(tools=[function(parameters=parameters, **more)]))["tools"][0]["input_schema"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (None, EMPTY),
        ({}, EMPTY),
        ({"properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        ({"type": ["object", "null"]}, {"type": "object"}),
        ({"type": "object", "minProperties": 1}, {"type": "object", "minProperties": 1}),
    ],
)
def test_the_root_is_an_object(parameters: Any, expected: Any) -> None:
    assert schema(parameters) == expected
    assert ask(body(tools=[function(parameters=parameters)])).warnings == ()


@pytest.mark.parametrize("parameters", [{"type": "string"}, {"anyOf": [{"properties": {"a": {}}}]}])
def test_a_root_that_changes_is_reported(parameters: Any) -> None:
    assert schema(parameters)["type"] == "object"
    assert ask(body(tools=[function(parameters=parameters)])).warnings == ("approx:tools.0.function.parameters",)


def test_strict() -> None:
    limited = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
    request = body(tools=[function(strict=True, parameters=limited)])
    tool = sent(request)["tools"][0]
    assert tool["strict"] is True and tool["input_schema"]["properties"]["a"]["description"] == "{minimum: 1}"
    tool = sent(request, target(strict_tools=False))["tools"][0]
    assert "strict" not in tool and tool["input_schema"] == limited
    circle = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    assert ask(body(tools=[function(strict=True, parameters=circle)])).warnings == ("dropped:tools.0.function.strict",)


def test_custom_tools() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: X"}}
    tool = {"type": "custom", "custom": {**CUSTOM["custom"], "format": grammar}}  # type: ignore[dict-item]
    calls = [{"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "x"}}]
    request = body(user("q"), assistant(tool_calls=calls), result(), tools=[tool])
    found = sent(request)
    assert found["messages"][1]["content"][0]["input"] == {"input": "x"}
    assert found["tools"][0]["input_schema"]["required"] == ["input"]
    assert found["tools"][0]["description"] == "d\n\nThe input must follow this grammar (lark):\nstart: X"
    assert ask(request).warnings == ("emulated:tools.0",) and ask(request).kinds == {"patch": "custom"}


def test_rebuilt_from_the_history() -> None:
    calls = assistant(tool_calls=[call("c1", "f.x"), call("c2", "g")])
    request = body(user("q"), calls, result("c1"), result("c2"), user("r"), tool_choice="required")
    found = sent(request)
    assert [tool["name"] for tool in found["tools"]] == [tool_name("f.x"), "g"]
    assert found["tool_choice"] == {"type": "none"} and found["tools"][1]["input_schema"] == EMPTY
    assert ask(request).warnings == ("emulated:tools",)
    assert "tools" not in sent(request, target(tools_for_history=False))


def test_names_with_other_characters_come_back() -> None:
    asked = ask(body(tools=[function("a.b")]))
    (short,) = asked.names
    assert asked.names[short] == "a.b" and "." not in short


@pytest.mark.parametrize("more", [{"tools": [function(), function()]}, {"tools": [function()], "functions": LEGACY}])
def test_names_are_unique(more: Any) -> None:
    assert refusal(body(**more)).message == "tools: Tool names must be unique."


def test_other_types() -> None:
    assert ask(body(tools=[{"type": "odd"}, function()])).warnings == ("dropped:tools.0",)
    assert refusal(body(tools=[{"type": "odd"}], tool_choice="required")).path == "tool_choice"


@pytest.mark.parametrize(
    ("more", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"tool_choice": {"type": "custom", "custom": {"name": "patch"}}}, {"type": "tool", "name": "patch"}),
        ({"tool_choice": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_choice(more: Any, choice: Any) -> None:
    assert sent(body(tools=[function(), CUSTOM], **more)).get("tool_choice") == choice


def test_legacy_functions_are_called_one_at_a_time() -> None:
    assert sent(body(functions=LEGACY))["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert sent(body(functions=LEGACY, function_call="none"))["tool_choice"] == {"type": "none"}
    assert ask(body(functions=LEGACY)).shape.legacy
    assert not ask(body(functions=LEGACY, tools=[function("g")])).shape.legacy


@pytest.mark.parametrize("choice", [{"type": "function", "function": {"name": "x"}}, "always", {"type": "odd"}])
def test_choices_refused(choice: Any) -> None:
    assert refusal(body(tools=[function()], tool_choice=choice)).path.startswith("tool_choice")


def test_a_choice_without_tools_is_dropped() -> None:
    assert "tool_choice" not in sent(body(tool_choice="required", parallel_tool_calls=False))


def test_allowed_tools() -> None:
    allowed = {"mode": "auto", "tools": [{"type": "function", "name": "g"}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    found = sent(body(tools=[function(), function("g")], tool_choice=choice))
    assert [tool["name"] for tool in found["tools"]] == ["g"] and found["tool_choice"] == {"type": "auto"}
    unknown = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "name": "x"}]}}
    assert refusal(body(tools=[function()], tool_choice=unknown)).path == "tool_choice.allowed_tools.tools.0.name"


def test_a_tool_without_a_type_is_what_it_holds() -> None:
    parameters = {"type": "object", "properties": {}}
    for tool in ({"function": {"name": "f", "parameters": parameters}}, {"type": None, "custom": {"name": "f"}}):
        assert sent(body(tools=[tool]))["tools"][0]["name"] == "f"
    assert refusal(body(tools=[{"name": "f"}])).path == "tools.0.type"

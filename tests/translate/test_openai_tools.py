from typing import Any

import pytest

from tests.translate.asking import ask, body, refusal, sent, target, tool

CLOSED = {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}


def function(definition: dict[str, Any], **profile: Any) -> Any:
    return sent(body(tools=[definition]), target(**profile))["tools"][0]["function"]


def test_what_travels() -> None:
    hints: dict[str, Any] = {
        "cache_control": {"type": "ephemeral"},
        "defer_loading": True,
        "eager_input_streaming": True,
    }
    given = tool(schema=CLOSED, description="d", type="custom", allowed_callers=["direct"], strict=False, **hints)
    assert function(given) == {"name": "t", "description": "d", "parameters": CLOSED}
    assert ask(body(tools=[given])).warnings == ()


def test_examples_go_with_the_description() -> None:
    assert function(tool(description="d", input_examples=[{"a": 1}]))["description"] == 'd\n\nExamples: [{"a":1}]'
    assert function(tool(input_examples=[{"a": 1}]))["description"] == 'Examples: [{"a":1}]'


@pytest.mark.parametrize(
    ("description", "kept"),
    [("d" * 2000, "d" * 20), ("One. Two. " + "d" * 20, "One. Two."), ("Is it? " + "d" * 20, "Is it?"),
     ("d" * 19 + ". More", "d" * 19 + "."), ("d" * 20, "d" * 20)],
)  # fmt: skip
def test_of_a_long_description_the_sentences_that_fit_are_kept(description: str, kept: str) -> None:
    given = tool(description=description)
    assert function(given, tool_description_max=20)["description"] == kept
    assert function(given)["description"] == description


def test_a_long_description_moves_to_the_system_prompt() -> None:
    given, to = tool(description="d" * 30), target("generic", tool_description_max=20)
    asked = ask(body(tools=[given]), to)
    assert asked.warnings == ("approx:tools.0.description",)
    assert f"# Tool {given['name']}\n{'d' * 30}" in sent(body(tools=[given]), to)["messages"][0]["content"]
    assert ask(body(tools=[given]), target("azure")).warnings == ()


def test_strict() -> None:
    assert function(tool(schema=CLOSED, strict=True))["strict"] is True
    assert "strict" not in function(tool(strict=True))
    assert ask(body(tools=[tool(strict=True)])).warnings == ("dropped:tools.0.strict",)


def test_a_changed_schema_is_reported() -> None:
    assert ask(body(tools=[tool(schema={"anyOf": []})])).warnings == ("approx:tools.0.input_schema",)


def test_warnings_are_remembered_with_the_function() -> None:
    given = body(tools=[tool(strict=True, foo=1)])
    assert ask(given).warnings == ask(given).warnings == ("dropped:tools.0.foo", "dropped:tools.0.strict")
    assert refusal(given, target(strictness="strict")) == "tools.0.foo: Extra inputs are not permitted"
    assert refusal(given, target(strictness="strict")) == "tools.0.foo: Extra inputs are not permitted"


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        ({"input_schema": {}}, ".name: Field required"),
        (tool(""), ".name: String should have at least 1 character"),
        ({"name": "t"}, ".input_schema: Field required"),
        ({"name": "t", "input_schema": []}, ".input_schema: Input should be a valid dictionary"),
        (tool(description=1), ".description: Input should be a valid string"),
        (tool(input_examples={}), ".input_examples: Input should be a valid list"),
    ],
)
def test_refused(definition: Any, problem: str) -> None:
    assert refusal(body(tools=[tool("first"), definition])).startswith(f"tools.1{problem}")

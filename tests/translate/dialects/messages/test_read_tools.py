from typing import Any

import pytest

from tests.translate.asking import ask, body, refusal, sent, target, text, tool, user


def names(request: dict[str, Any], **profile: Any) -> list[str]:
    return [one["function"]["name"] for one in sent(request, target(**profile)).get("tools", [])]


def changed(*changes: Any, tools: list[Any]) -> dict[str, Any]:
    return body(messages=[user(text("q")), {"role": "system", "content": list(changes)}], tools=tools)


def change(kind: str, **reference: Any) -> dict[str, Any]:
    return {"type": f"tool_{kind}", "tool": {"type": "tool_reference", **reference}}


@pytest.mark.parametrize(
    "tools",
    [
        [tool("a"), tool("a")],
        [tool("x" * 70), tool("x" * 70)],
        [tool("bash"), {"type": "bash_20250124", "name": "bash"}],
        [tool("web_search"), {"type": "web_search_20250305", "name": "web_search"}],
        [tool("computer__wait"), {"type": "computer_toolset_20260801"}],
    ],
)
def test_names_are_unique(tools: list[Any]) -> None:
    assert refusal(body(tools=tools)) == "tools: Tool names must be unique."


def test_names_that_meet_once_shortened() -> None:
    assert refusal(body(tools=[tool("a.b"), tool("a_b_2e7336dc")])) == "tools: Tool names must be unique."


def test_toolset() -> None:
    configs = {"zoom": {"enabled": False}, "wait": {"enabled": True}, "key": None, "hover": {}}
    asked = ask(body(tools=[{"type": "computer_toolset_20260801", "configs": configs}]))
    assert "computer__zoom" not in asked.shape.namespaces
    assert asked.shape.namespaces["computer__wait"] == ("computer", "wait")
    assert len(asked.shape.namespaces) == 16
    assert asked.warnings == ("dropped:tools.0.configs.hover",)


def test_members_that_only_an_mcp_toolset_has() -> None:
    toolset = {"type": "computer_toolset_20260801", "default_config": {}, "mcp_server_name": "s"}
    assert ask(body(tools=[toolset])).warnings == ("dropped:tools.0.default_config", "dropped:tools.0.mcp_server_name")


def test_canned_tools() -> None:
    fixed = [
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 9},
        {"type": "memory_20250818", "name": "memory", "input_examples": [{}], "cache_control": None},
        {"type": "computer_20251124", "name": "computer", "display_width_px": 800, "display_height_px": 600},
    ]
    asked = body(tools=fixed)
    assert names(asked) == ["str_replace_based_edit_tool", "memory", "computer"]
    assert ask(asked).warnings == ("approx:tools.2",)
    assert "800 x 600" in sent(asked)["tools"][2]["function"]["description"]
    assert refusal(body(tools=[{"type": "computer_20251124", "name": "computer"}])).startswith(
        "tools.0.display_width_px"
    )


def test_server_tools_and_unheard_ones() -> None:
    tools = [
        {"type": "mcp_toolset", "mcp_server_name": "s"},
        {"type": "oracle_2030", "name": "o"},
        {"type": "x", **tool()},
    ]
    asked = ask(body(tools=tools))
    assert sorted(asked.warnings) == ["approx:tools.2", "dropped:tools.0", "dropped:tools.1"]
    assert names(body(tools=tools)) == ["t"]


def test_removed_and_added_again() -> None:
    two = [tool("a"), tool("b")]
    assert names(changed(change("removal", name="a"), tools=two)) == ["b"]
    assert names(changed(change("removal", name="a"), change("addition", name="a"), tools=two)) == ["a", "b"]
    assert names(changed(change("removal", name="computer"), tools=[{"type": "computer_toolset_20260801"}])) == []


def test_defined_on_the_way() -> None:
    new = change("addition", type="tool_definition", definition=tool("b", description="new"))
    assert names(changed(new, tools=[tool("a"), tool("b")])) == ["a", "b"]
    assert sent(changed(new, tools=[tool("b")]))["tools"][0]["function"]["description"] == "new"
    broken = change("addition", type="tool_definition", definition={"name": "x"})
    assert refusal(changed(broken, tools=[])).startswith("messages.1.content.0.tool.definition.input_schema")


def test_references_to_a_server() -> None:
    tools = [tool("a"), {"type": "mcp_toolset", "mcp_server_name": "s"}]
    known = change("removal", type="mcp_toolset_reference", server_name="s")
    assert names(changed(known, tools=tools)) == ["a"]
    unknown = change("addition", type="mcp_tool_reference", server_name="z", name="x")
    assert refusal(changed(unknown, tools=tools)).startswith("messages.1.content.0.tool.server_name: unknown")


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (change("removal", name="z"), "messages.1.content.0.tool.name: unknown tool 'z'"),
        (change("removal", type="x"), "messages.1.content.0.tool.type: Input"),
        ({"type": "tool_removal"}, "messages.1.content.0.tool: Field required"),
    ],
)
def test_refused_changes(found: Any, problem: str) -> None:
    assert refusal(changed(found, tools=[tool()])).startswith(problem)


@pytest.mark.parametrize(
    ("tools", "problem"),
    [({}, "tools: Input"), ([7], "tools.0: Input"), ([{"type": 7}], "tools.0.type: Input")],
)
def test_refused(tools: Any, problem: str) -> None:
    assert refusal(body(tools=tools)).startswith(problem)


def test_the_place_that_claude_code_keeps_for_later_tools_reaches_no_model() -> None:
    place = tool("DeferredToolPlaceholder", description="Reserved; never call this tool.", defer_loading=True)
    assert [made["function"]["name"] for made in sent(body(tools=[tool("f"), place]))["tools"]] == ["f"]
    assert "tools" not in sent(body(tools=[place])) and ask(body(tools=[place])).warnings == ()

"""Tools of a Responses request, and the choice among them (mapping 6.5)."""

import json
from typing import Any

import pytest

from tests.translate.chat_asking import target
from tests.translate.responses_client import ask, body, call, function, output, refusal, sent, user

Json = dict[str, Any]
EMPTY = {"type": "object", "properties": {}}
SPACE = {"type": "namespace", "name": "ns", "description": "About all.", "tools": [
    function("a", description="About a.", strict=False), {"type": "custom", "name": "b"}]}  # fmt: skip


def test_functions_are_flat() -> None:
    tools = [function(description="d", parameters={"properties": {"x": {}}}, strict=None, defer_loading=True)]
    assert sent(body(tools=tools))["tools"] == [
        {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"x": {}}}}
    ]


def test_strict_goes_through_the_transform() -> None:
    tools = [
        function(parameters={"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}, strict=True)
    ]
    [tool] = sent(body(tools=tools))["tools"]
    assert tool["strict"] is True
    assert tool["input_schema"]["properties"] == {"n": {"type": "integer", "description": "{minimum: 1}"}}


def test_members_of_a_namespace() -> None:
    asked = ask(body(tools=[SPACE]))
    assert [(tool["name"], tool["description"]) for tool in json.loads(asked.body)["tools"]] == [
        ("ns__a", "About all.\n\nAbout a."),
        ("ns__b", "About all."),
    ]
    assert asked.shape.namespaces == {"ns__a": ("ns", "a"), "ns__b": ("ns", "b")}
    assert (asked.kinds, asked.warnings) == ({"ns__b": "custom"}, ("emulated:tools.0.tools.1",))


def test_a_call_of_a_namespace_in_the_history() -> None:
    found = sent(body(user(), call(name="a", namespace="ns"), output(), tools=[SPACE]))
    assert found["messages"][1]["content"][0]["name"] == "ns__a"


def test_custom_tools_with_a_grammar() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: x"}
    asked = ask(body(tools=[{"type": "custom", "name": "c", "description": "d", "format": grammar}]))
    [tool] = json.loads(asked.body)["tools"]
    assert tool["description"] == "d\n\nThe input must follow this grammar (lark):\nstart: x"
    assert tool["input_schema"]["required"] == ["input"]
    assert asked.warnings == ("emulated:tools.0",)


def test_the_shell_of_the_client() -> None:
    asked = ask(body(tools=[{"type": "local_shell"}]))
    [tool] = json.loads(asked.body)["tools"]
    assert (tool["name"], list(tool["input_schema"]["properties"])) == (
        "local_shell", ["command", "workdir", "timeout_ms"]
    )  # fmt: skip
    assert (asked.kinds, asked.warnings) == ({"local_shell": "shell"}, ())


def test_tools_declared_amid_the_input_join() -> None:
    more = {"type": "additional_tools", "role": "developer", "tools": [function("g"), {"type": "mcp"}]}
    asked = ask(body(user(), more, tools=[function()]))
    assert [tool["name"] for tool in json.loads(asked.body)["tools"]] == ["f", "g"]
    assert asked.warnings == ("dropped:input.1.tools.1",)


def test_web_search_where_the_provider_has_it() -> None:
    tool = {
        "type": "web_search_preview_2025_03_11",
        "filters": {"allowed_domains": ["e.com"]},
        "user_location": {"type": "approximate", "city": "Bern"},
        "search_context_size": "low",
    }
    found = sent(body(tools=[tool], tool_choice={"type": "web_search_preview"}), target(web_search=True))
    assert found["tools"] == [{
        "type": "web_search_20250305", "name": "web_search", "max_uses": 5,
        "user_location": {"type": "approximate", "city": "Bern"}, "allowed_domains": ["e.com"],
    }]  # fmt: skip
    assert found["tool_choice"] == {"type": "tool", "name": "web_search"}


@pytest.mark.parametrize(
    ("more", "warnings"),
    [
        ({"external_web_access": True, "search_content_types": ["text"], "filters": None}, ()),
        ({"external_web_access": False}, ("dropped:tools.0.external_web_access",)),
        ({"unheard_of": 1}, ("dropped:tools.0.unheard_of",)),
    ],
)
def test_what_web_search_cannot_be_told(more: Json, warnings: tuple[str, ...]) -> None:
    assert ask(body(tools=[{"type": "web_search", **more}]), target(web_search=True)).warnings == warnings


@pytest.mark.parametrize(("waits", "warnings"), [(False, ()), (True, ("dropped:tools.0.async",))])
def test_every_call_is_waited_for(waits: bool, warnings: tuple[str, ...]) -> None:
    assert ask(body(tools=[{**function(), "async": waits}])).warnings == warnings


@pytest.mark.parametrize(
    "kind", ["web_search", "shell", "apply_patch", "file_search", "mcp", "image_generation", "odd"]
)
def test_what_cannot_run_here(kind: str) -> None:
    asked = ask(body(tools=[function(), {"type": kind}]))
    assert [tool["name"] for tool in json.loads(asked.body)["tools"]] == ["f"]
    assert asked.warnings == ("dropped:tools.1",)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "name": "f"}, {"type": "tool", "name": "f"}),
        ({"type": "custom", "name": "c"}, {"type": "tool", "name": "c"}),
        ({"type": "function", "name": "a", "namespace": "ns"}, {"type": "tool", "name": "ns__a"}),
        ({"type": "local_shell"}, {"type": "tool", "name": "local_shell"}),
    ],
)
def test_choices(choice: Any, expected: Json) -> None:
    tools = [function(), {"type": "custom", "name": "c"}, SPACE, {"type": "local_shell"}]
    assert sent(body(tools=tools, tool_choice=choice))["tool_choice"] == expected


def test_allowed_tools_are_the_only_ones() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [
        {"type": "function", "name": "g"}, {"type": "image_generation"}]}  # fmt: skip
    found = sent(body(tools=[function(), function("g")], tool_choice=allowed))
    assert ([tool["name"] for tool in found["tools"]], found["tool_choice"]) == (["g"], {"type": "any"})


def test_one_call_at_a_time() -> None:
    found = sent(body(tools=[function()], parallel_tool_calls=False))
    assert found["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("members", "path", "code"),
    [
        ({"tool_choice": {"type": "web_search"}}, "tool_choice", "unsupported_value"),
        ({"tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice", "unsupported_value"),
        ({"tools": [{"type": "shell"}], "tool_choice": "required"}, "tool_choice", "unsupported_value"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name", "invalid_value"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name", "missing_required_parameter"),
        ({"tool_choice": {"type": "x"}}, "tool_choice.type", "invalid_value"),
        ({"tools": [function(), function()]}, "tools", "invalid_value"),
        ({"tools": [{"type": "namespace", "name": "n"}]}, "tools.0.tools", "missing_required_parameter"),
        ({"tools": [function(parameters=1)]}, "tools.0.parameters", "invalid_value"),
        ({"tools": [{"name": "f"}]}, "tools.0.type", "missing_required_parameter"),
    ],
)
def test_refused(members: Json, path: str, code: str) -> None:
    found = refusal(body(**{"tools": [function()], **members}))
    assert (found.path, found.code) == (path, code)


MCP: Json = {"type": "mcp", "server_label": "m", "server_url": "https://e.com/mcp", "require_approval": "never"}


@pytest.mark.parametrize(
    ("more", "server", "toolset"),
    [
        ({}, {}, {}),
        (
            {"authorization": "t", "allowed_tools": ["a"]},
            {"authorization_token": "t"},
            {"default_config": {"enabled": False}, "configs": {"a": {"enabled": True}}},
        ),
        (
            {"allowed_tools": {"tool_names": ["a"]}},
            {},
            {"default_config": {"enabled": False}, "configs": {"a": {"enabled": True}}},
        ),
    ],
)
def test_mcp_servers_where_the_provider_reaches_them(more: Json, server: Json, toolset: Json) -> None:
    found = sent(body(tools=[{**MCP, **more}]), target(mcp=True))
    assert found["mcp_servers"] == [{"type": "url", "url": "https://e.com/mcp", "name": "m", **server}]
    assert found["tools"] == [{"type": "mcp_toolset", "mcp_server_name": "m", **toolset}]


@pytest.mark.parametrize(
    "changes",
    [
        {"require_approval": "always"},
        {"require_approval": None},
        {"server_url": None},
        {"allowed_tools": {"read_only": True}},
    ],
)
def test_a_server_that_wants_to_be_asked_for_is_not_called_freely(changes: Json) -> None:
    asked = ask(body(tools=[function(), {**MCP, **changes}]), target(mcp=True))
    assert asked.warnings == ("dropped:tools.1",) and b"mcp" not in asked.body


def test_what_a_server_cannot_be_told_is_said() -> None:
    asked = ask(body(tools=[{**MCP, "headers": {"x-key": "k"}, "connector_id": None}]), target(mcp=True))
    assert asked.warnings == ("dropped:tools.0.headers",)


def test_allowed_tools_beside_a_server() -> None:
    def choose(*tools: Json) -> Json:
        allowed = {"type": "allowed_tools", "mode": "auto", "tools": list(tools)}
        return body(tools=[function(), MCP], tool_choice=allowed)

    only = {"type": "function", "name": "f"}
    found = sent(choose(only), target(mcp=True))
    assert [tool["name"] for tool in found["tools"]] == ["f"] and "mcp_servers" not in found
    assert refusal(choose(only, {"type": "mcp", "server_label": "m"}), target(mcp=True)).path == "tool_choice.tools.1"
    assert sent(choose(only, {"type": "mcp", "server_label": "m"}))["tools"] == found["tools"]


def test_names_of_mcp_tools_are_texts() -> None:
    assert refusal(body(tools=[{**MCP, "allowed_tools": [1]}]), target(mcp=True)).path == "tools.0.allowed_tools.0"

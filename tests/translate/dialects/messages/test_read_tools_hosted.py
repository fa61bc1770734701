"""Tools that run at the upstream."""

from typing import Any

import pytest

from tests.openai_types import check_responses_request
from tests.translate.asking import tool
from tests.translate.responses_upstream import ask, refusal, sent, target

HOSTS = target(web_search=True, mcp=True)
SERVER = {"type": "url", "name": "s", "url": "https://mcp.example/x", "authorization_token": "k"}
MCP = {"type": "mcp", "server_label": "s", "server_url": "https://mcp.example/x", "authorization": "k",
       "require_approval": "never"}  # fmt: skip


def tools(**members: Any) -> list[dict[str, Any]]:
    body = sent(to=HOSTS, **members)
    check_responses_request(body)
    found: list[dict[str, Any]] = body["tools"]
    return found


def test_web_search() -> None:
    search = {
        "type": "web_search_20260318",
        "name": "web_search",
        "allowed_domains": ["x.org"],
        "blocked_domains": None,
        "user_location": {"type": "approximate", "city": "Bern", "country": None},
    }
    expected = {
        "type": "web_search",
        "filters": {"allowed_domains": ["x.org"]},
        "user_location": {"type": "approximate", "city": "Bern"},
    }
    assert tools(tools=[search]) == [expected]
    assert ask(tools=[search | {"max_uses": 3, "blocked_domains": ["y.org"]}], to=HOSTS).warnings == (
        "dropped:tools.0.blocked_domains",
        "dropped:tools.0.max_uses",
    )


def test_web_search_can_be_forced() -> None:
    body = sent(
        tools=[{"type": "web_search_20250305", "name": "web_search"}, tool()],
        tool_choice={"type": "tool", "name": "web_search"},
        to=HOSTS,
    )
    check_responses_request(body)
    only = [{"type": "web_search"}]
    assert body["tool_choice"] == {"type": "allowed_tools", "mode": "required", "tools": only}


def test_names_are_unique_also_of_hosted_tools() -> None:
    twice = [{"type": "web_search_20250305", "name": "t"}, tool("t")]
    assert refusal(tools=twice, to=HOSTS) == "tools: Tool names must be unique."


@pytest.mark.parametrize(
    ("toolset", "allowed"),
    [
        ({}, None),
        ({"configs": {"a": {"enabled": True}}}, None),
        ({"default_config": {"enabled": False}, "configs": {"a": {"enabled": True}, "b": {}}}, ["a"]),
        ({"tools": [{"name": "a", "input_schema": {}}, {"name": "b", "input_schema": {}}],
          "configs": {"b": {"enabled": False}}}, ["a"]),
    ],
)  # fmt: skip
def test_mcp(toolset: Any, allowed: Any) -> None:
    named = {"type": "mcp_toolset", "mcp_server_name": "s", **toolset}
    [found] = tools(mcp_servers=[SERVER], tools=[named])
    assert found == MCP | ({} if allowed is None else {"allowed_tools": allowed})


def test_a_server_without_a_toolset() -> None:
    configured = SERVER | {"tool_configuration": {"enabled": True, "allowed_tools": ["a"]}}
    assert tools(mcp_servers=[configured]) == [MCP | {"allowed_tools": ["a"]}]
    assert "tools" not in sent(mcp_servers=[SERVER | {"tool_configuration": {"enabled": False}}], to=HOSTS)


def test_a_toolset_of_which_nothing_is_enabled() -> None:
    nothing = {"type": "mcp_toolset", "mcp_server_name": "s", "default_config": {"enabled": False}}
    asked = ask(mcp_servers=[SERVER], tools=[nothing], to=HOSTS)
    assert asked.warnings == ("dropped:tools.0",) and b'"tools"' not in asked.body


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"mcp_servers": [SERVER], "tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]},
         "tools.0.mcp_server_name: unknown MCP server 'x'"),
        ({"mcp_servers": [SERVER], "tools": [
            {"type": "mcp_toolset", "mcp_server_name": "s", "configs": {"a": {"enabled": False}}}]},
         "tools.0.configs.a: a tool can only be left out"),
        ({"mcp_servers": [{"name": "s"}]}, "mcp_servers.0.url: Field required"),
        ({"tools": [{"type": "web_search_20250305", "name": "n", "allowed_domains": [1]}]},
         "tools.0.allowed_domains.0: Input should be a valid string"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent(members: Any, expected: str) -> None:
    assert refusal(to=HOSTS, **members).startswith(expected)


def test_mcp_servers_only_where_the_profile_says_so() -> None:
    assert refusal(mcp_servers=[SERVER]).startswith("mcp_servers: ")

"""What Claude Code and Codex say of a call, in headers as they were recorded and in bodies."""

import json
from typing import Any

import pytest

from extproc.events import Headers
from extproc.policy.authorization import agents
from tests.manifests import ROOT

Json = dict[str, Any]
CLAUDE_CODE = {"user-agent": "claude-cli/2.1.332 (external, cli)", "x-claude-code-session-id": "s"}
CODEX = {"user-agent": "codex_exec/0.169.0 (Debian 12.0.0; x86_64)", "session-id": "s", "thread-id": "t"}
RECORDED = "00000000-0000-4000-8000-000000000001"


def recorded(path: str) -> tuple[Headers, Json]:
    request = json.loads((ROOT / "tests" / "corpus" / path).read_text())
    return Headers((name.lower(), value) for name, value in request["headers"].items()), request["body"]


@pytest.mark.parametrize(
    ("path", "agent", "background"),
    [
        ("claude-code-2.1.330/008-tool-search-mcp.json", "", False),
        ("claude-code-2.1.330/009-subagent-async.json", "subagent", False),
        ("claude-code-2.1.197/025-subagent-explore-haiku.json", "subagent", True),
        ("claude-code-2.1.330/006-p-model-3-5-haiku.json", "", True),
        ("openai-sdk/016-codex-exec-tool-output.json", "", False),
    ],
)
def test_recorded_calls(path: str, agent: str, background: bool) -> None:
    headers, body = recorded(path)
    assert agents.session(headers) == agents.session_in(body) == RECORDED
    assert agents.agent(headers) == agent
    assert agents.is_background(headers, body["model"]) is background


@pytest.mark.parametrize("path", ["anthropic-sdk/001-py2-create.json", "openai-sdk/001-py3-chat.json"])
def test_calls_of_an_sdk(path: str) -> None:
    headers, body = recorded(path)
    assert (agents.session(headers), agents.session_in(body), agents.agent(headers)) == ("", "", "")
    assert agents.is_background(headers, "claude-haiku-4-5") is False


@pytest.mark.parametrize(
    ("headers", "session"),
    [
        ({}, ""),
        ({"x-claude-code-session-id": "a", "session-id": "b"}, "a"),
        ({"session-id": "b", "thread-id": "t"}, "b"),
        ({"session_id": "c"}, "c"),
        ({"conversation_id": "d"}, "d"),
        ({"x-claude-code-session-id": "", "session-id": "b"}, "b"),
    ],
)
def test_the_session_in_headers(headers: dict[str, str], session: str) -> None:
    assert agents.session(Headers(headers.items())) == session


@pytest.mark.parametrize(
    ("body", "session"),
    [
        ({}, ""),
        ({"metadata": {"user_id": '{"device_id": "d", "account_uuid": "", "session_id": "s-1"}'}}, "s-1"),
        ({"metadata": {"user_id": "user_0a_account_1b-2c_session_3d-4e"}}, "3d-4e"),
        ({"metadata": {"user_id": "ann"}}, ""),
        ({"metadata": {"user_id": '{"device_id": "d"}'}}, ""),
        ({"metadata": {"user_id": "{no JSON"}}, ""),
        ({"metadata": {"user_id": "{" * 5000}}, ""),
        ({"metadata": {}}, ""),
        ({"client_metadata": {"session_id": "s-2"}, "prompt_cache_key": "k"}, "s-2"),
        ({"prompt_cache_key": "k"}, "k"),
        ({"Prompt_Cache_Key": "k", "metadata": None}, "k"),
        ({"metadata": {"user_id": '{"session_id": 7}'}}, None),
        ({"metadata": {"user_id": 7}}, None),
        ({"metadata": "s"}, None),
        ({"client_metadata": ["s"]}, None),
        ({"prompt_cache_key": {}}, None),
    ],
)
def test_the_session_in_a_body(body: Json, session: str | None) -> None:
    assert agents.session_in(body) == session


@pytest.mark.parametrize(
    ("headers", "agent"),
    [
        (CLAUDE_CODE, ""),
        (CLAUDE_CODE | {"x-claude-code-agent-id": "a1"}, "subagent"),
        (CLAUDE_CODE | {"x-claude-code-agent-id": "a1", "x-claude-code-agent-type": "Explore"}, "Explore"),
        (CODEX, ""),
        (CODEX | {"x-openai-subagent": "review"}, "review"),
        (CODEX | {"x-openai-subagent": "collab_spawn", "x-codex-parent-thread-id": "p"}, "collab_spawn"),
        (CODEX | {"x-codex-parent-thread-id": "p"}, "subagent"),
    ],
)
def test_the_agent(headers: dict[str, str], agent: str) -> None:
    assert agents.agent(Headers(headers.items())) == agent


@pytest.mark.parametrize(
    ("headers", "model", "expected"),
    [
        (CLAUDE_CODE, "claude-sonnet-5", False),
        (CLAUDE_CODE, "claude-3-5-Haiku", True),
        (CLAUDE_CODE | {"x-claude-code-request-class": "auxiliary"}, "claude-sonnet-5", True),
        (CLAUDE_CODE | {"x-claude-code-request-class": "main"}, "claude-haiku-4-5", False),
        (CLAUDE_CODE | {"x-claude-code-request-class": "subagent"}, "claude-haiku-4-5", False),
        (CLAUDE_CODE | {"x-claude-code-request-class": "compaction"}, "claude-sonnet-5", False),
        (CODEX, "gpt-5.4", False),
        (CODEX | {"x-openai-subagent": "review"}, "gpt-5.4", False),
        (CODEX | {"x-openai-subagent": "memory_consolidation"}, "gpt-5.4", True),
        (CODEX | {"x-openai-memgen-request": "true"}, "gpt-5.4", True),
        (CODEX | {"x-codex-guardian": "reviewer"}, "gpt-5.4", True),
        ({"user-agent": "OpenAI/Python 3.54.0"}, "claude-haiku-4-5", False),
        ({}, "claude-haiku-4-5", False),
    ],
)
def test_the_background(headers: dict[str, str], model: str, expected: bool) -> None:
    assert agents.is_background(Headers(headers.items()), model) is expected

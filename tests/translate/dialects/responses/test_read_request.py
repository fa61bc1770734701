"""Top-level members of a Responses request (mapping 6.5)."""

import json
from typing import Any

import pytest

from tests.translate.chat_asking import target
from tests.translate.responses_client import ask, body, refusal, sent

Json = dict[str, Any]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FORMAT = {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}


@pytest.mark.parametrize(
    "member",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "p"}},
        {"background": True},
    ],
)
def test_there_is_no_state_here(member: Json) -> None:
    found = refusal(body(**member))
    assert (found.path, found.code) == (next(iter(member)), "unsupported_value")


@pytest.mark.parametrize(
    ("members", "warnings"),
    [
        (
            {"store": True, "metadata": {"a": "b"}, "prompt_cache_key": "k", "stream_options": {}, "background": False},
            [],
        ),
        ({"include": ["reasoning.encrypted_content"], "truncation": "disabled", "client_metadata": {"a": "b"}}, []),
        ({"include": ["message.output_text.logprobs"]}, ["dropped:include"]),
        ({"truncation": "auto"}, ["dropped:truncation"]),
        ({"max_tool_calls": 0}, ["dropped:max_tool_calls"]),
        ({"top_logprobs": 0}, []),
        ({"top_logprobs": 2}, ["dropped:top_logprobs"]),
        ({"text": {"verbosity": "low", "format": {"type": "text"}}}, ["dropped:text.verbosity"]),
        (
            {"reasoning": {"context": "auto", "mode": "standard"}},
            ["dropped:reasoning.context", "dropped:reasoning.mode"],
        ),
        ({"service_tier": "flex"}, ["dropped:service_tier"]),
        ({"moderation": {"model": "m"}}, ["dropped:moderation"]),
        ({"context_management": [{"type": "compaction", "compact_threshold": 9}]}, ["dropped:context_management"]),
        ({"temperature": 0.5}, ["dropped:temperature"]),
        ({"unheard_of": 1}, ["dropped:unheard_of"]),
        ({"thinking": {"type": "disabled"}}, []),
    ],
)
def test_what_is_lost(members: Json, warnings: list[str]) -> None:
    assert list(ask(body(**members)).warnings) == warnings


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "x"}}}, "text.format.type"),
        ({"moderation": {"model": "m", "policy": {"output": {"mode": "block"}}}}, "moderation.policy.output.mode"),
        ({"context_management": [{"type": "x"}]}, "context_management.0.type"),
        ({"instructions": 1}, "instructions"),
        ({"input": 1}, "input"),
    ],
)
def test_refused(members: Json, path: str) -> None:
    assert refusal(body(**members)).path == path


@pytest.mark.parametrize(
    ("reasoning", "thinking", "effort"),
    [
        ({"effort": "high", "summary": "auto"}, {"type": "adaptive", "display": "summarized"}, "high"),
        ({"effort": "high", "generate_summary": "concise"}, {"type": "adaptive", "display": "summarized"}, "high"),
        ({"effort": "high"}, {"type": "adaptive"}, "high"),
        ({"effort": "none"}, {"type": "disabled"}, None),
        ({"summary": "auto"}, None, None),
        (None, None, None),
    ],
)
def test_thinking(reasoning: Json | None, thinking: Json | None, effort: str | None) -> None:
    found = sent(body(reasoning=reasoning))
    assert (found.get("thinking"), found.get("output_config", {}).get("effort")) == (thinking, effort)


def test_a_budget_for_older_models() -> None:
    found = sent(body(reasoning={"effort": "medium"}, max_output_tokens=20000), target("claude-extended"))
    assert (found["thinking"], found["max_tokens"]) == ({"type": "enabled", "budget_tokens": 8192}, 20000)


def test_structured_output() -> None:
    asked = ask(body(text={"format": FORMAT}))
    assert json.loads(asked.body)["output_config"]["format"] == {
        "type": "json_schema", "schema": {**SCHEMA, "additionalProperties": False}
    }  # fmt: skip
    assert asked.warnings == ()


def test_structured_output_by_words() -> None:
    asked = ask(body(text={"format": FORMAT}), target("claude-extended-unstructured"))
    assert asked.warnings == ("emulated:text.format",)
    assert '"properties"' in json.loads(asked.body)["system"]


def test_limits_users_and_tiers() -> None:
    found = sent(body(max_output_tokens=9, user="u", safety_identifier="s", service_tier="default", stream=True),
                 target(max_output_tokens=8))  # fmt: skip
    assert (found["max_tokens"], found["metadata"], found["service_tier"], found["stream"]) == (
        8, {"user_id": "s"}, "standard_only", True
    )  # fmt: skip


def test_compaction_where_the_provider_has_it() -> None:
    members = [{"type": "compaction", "compact_threshold": 90000}, {"type": "compaction"}]
    found = sent(body(context_management=members), target(compaction=True))
    assert found["context_management"]["edits"] == [
        {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 90000}},
        {"type": "compact_20260112"},
    ]


def test_strict_refuses_the_first_loss() -> None:
    assert refusal(body(truncation="auto"), target(strictness="strict")).path == "truncation"


def test_what_the_answer_repeats() -> None:
    echo = ask(
        body(instructions="S", metadata=None, tools=[{"type": "web_search"}], text={"verbosity": "low"})
    ).shape.echo
    assert {name: json.loads(value) for name, value in echo.items()} == {
        "instructions": "S",
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": None,
        "top_p": None,
        "tool_choice": "auto",
        "tools": [{"type": "web_search"}],
        "text": {"verbosity": "low"},
    }

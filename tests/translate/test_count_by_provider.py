"""Tokens counted by the upstream."""

import json
from typing import Any

import pytest

from extproc.errors import Kind, Rejection
from extproc.providers.profiles import shipped
from extproc.translate.count import COUNTERS
from extproc.translate.pair import Target, Translated
from tests.translate.answers import JSON, MINIMAL, SSE, play
from tests.translate.asking import assistant, call, result, tool, user

TO = Target(profile=shipped()["vllm"], model="qwen", nonce="n")
RESPONSES, VLLM = COUNTERS["responses"], COUNTERS["vllm"]


def asked(strategy: str, **members: Any) -> Translated:
    found = COUNTERS[strategy].request({**MINIMAL, **members}, TO)
    assert isinstance(found, Translated), found
    return found


def counted(strategy: str, value: Any, media: str = JSON, **members: Any) -> tuple[Any, Any]:
    request = asked(strategy, **members)
    reply = COUNTERS[strategy].reply(request, media)
    out = play(reply, value if isinstance(value, bytes) else json.dumps(value).encode())
    return json.loads(out) if out else None, reply.outcome


def test_vllm_is_told_the_chat_request() -> None:
    found = asked("vllm", system="s", tools=[tool()], stream=True, temperature=1)
    assert (found.path, found.root, found.stream) == ("/tokenize", True, False)
    body = json.loads(found.body)
    assert body.pop("tools")[0]["function"]["name"] == "t"
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert body == {"model": "qwen", "messages": messages, "add_generation_prompt": True}


def test_openai_is_told_what_it_can_count() -> None:
    members: dict[str, Any] = {
        "tools": [tool()],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "u"},
        "service_tier": "auto",
        "stream": True,
    }
    kept = {"model", "input", "tools", "tool_choice", "parallel_tool_calls", "text"}
    assert json.loads(asked("responses", **members).body).keys() == kept


@pytest.mark.parametrize("strategy", COUNTERS)
def test_what_matters_only_for_generating_is_not_asked(strategy: str) -> None:
    prefilled = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    body = {"model": "claude-x", "messages": prefilled}
    assert isinstance(COUNTERS[strategy].request(body, TO), Translated)


@pytest.mark.parametrize("strategy", COUNTERS)
def test_what_would_be_refused_is_refused(strategy: str) -> None:
    body = {"model": "claude-x", "messages": [user(), assistant(call()), user(result("other"))]}
    found = COUNTERS[strategy].request(body, TO)
    assert isinstance(found, Rejection) and found.http_status == 400


@pytest.mark.parametrize(
    ("strategy", "value"),
    [("responses", {"input_tokens": 7}), ("vllm", {"count": 7, "tokens": [1], "max_model_len": 9})],
)
def test_the_count(strategy: str, value: Any) -> None:
    for media in (JSON, SSE, ""):
        found, outcome = counted(strategy, value, media)
        assert (found, outcome.complete, outcome.usage.input_tokens) == ({"input_tokens": 7}, True, 7)
    edits = {"edits": [{"type": "clear_thinking_20251015"}]}
    found, _ = counted(strategy, value, context_management=edits)
    assert found == {"input_tokens": 7, "context_management": {"original_input_tokens": 7}}


@pytest.mark.parametrize("strategy", COUNTERS)
@pytest.mark.parametrize("value", [{}, [], 7, {"input_tokens": "x", "count": None}, b"<html>", b"", b"data: {}\n\n"])
def test_what_is_no_count(strategy: str, value: Any) -> None:
    found, outcome = counted(strategy, value)
    assert found is None and (outcome.failure.http_status, outcome.failure.kind) == (502, Kind.API)


def test_an_error_is_the_clients_to_read() -> None:
    body = json.dumps({"error": {"message": "no such path", "code": "model_not_found"}}).encode()
    refusal = RESPONSES.error(asked("responses"), 404, {}, body, 0.0)
    assert (refusal.rejection.kind, refusal.rejection.message) == (Kind.NOT_FOUND, "no such path")

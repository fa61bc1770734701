"""The cost of an answer is on its record, whoever reads it: in the provider's own dialect and translated."""

import json
from typing import Any

import pytest

from extproc.gateway.gateway import Gateway
from tests.issuing import token
from tests.playbook import (
    ABSENT,
    Json,
    Playbook,
    awaits,
    begins,
    forwards,
    request_body,
    request_headers,
    response_body,
    response_headers,
    says,
)
from tests.settings import AUTHENTICATION, gateway

TEXT = f"""{AUTHENTICATION}
providers:
  anthropic: {{dialects: [messages], base_url: "https://api.anthropic.com"}}
  chat: {{dialects: [chat], base_url: "https://api.openai.com/v1"}}
  responses: {{dialects: [responses], base_url: "https://api.openai.com/v1"}}
  own: {{dialects: [chat], base_url: "http://vllm.internal/v1"}}
models:
  - {{name: claude, provider: anthropic, model: claude-opus-5}}
  - {{name: chat, provider: chat, model: gpt-5.2}}
  - {{name: responses, provider: responses, model: gpt-5.2}}
  - {{name: qwen3-8b, provider: own}}
  - {{name: unknown, provider: own}}
prices: {{overrides: [{{model: "qwen*", input: 2, output: 6}}]}}
"""
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}
MESSAGES: Json = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 1000,
        "output_tokens": 100,
        "cache_read_input_tokens": 10_000,
        "cache_creation_input_tokens": 3000,
        "cache_creation": {"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 1000},
        "server_tool_use": {"web_search_requests": 2},
        "service_tier": "standard",
        "speed": "fast",
    },
}
CHAT: Json = {
    "id": "c",
    "object": "chat.completion",
    "model": "gpt-5.2",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}},
}
RESPONSES: Json = {
    "id": "r",
    "object": "response",
    "status": "completed",
    "model": "gpt-5.2",
    "output": [
        {"type": "message", "id": "m", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "hi", "annotations": []}]}
    ],
    "usage": {"input_tokens": 1000, "output_tokens": 100, "input_tokens_details": {"cached_tokens": 400}},
}  # fmt: skip
# claude-opus-5 in fast mode, and gpt-5.2, in USD per million tokens; the playbook is of 1970, before any other price.
CLAUDE_COST = round((1000 * 10 + 100 * 50 + 10_000 * 1 + 2000 * 12.5 + 1000 * 20) / 1e6 + 2 * 10 / 1000, 9)
GPT_COST = round((600 * 1.75 + 400 * 0.175 + 100 * 14) / 1e6, 9)
OF_ANSWERS = {"claude": (MESSAGES, CLAUDE_COST), "chat": (CHAT, GPT_COST), "responses": (RESPONSES, GPT_COST)}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return gateway(tmp_path_factory.mktemp("gateway"), TEXT)


def sent(gate: Gateway, model: str, dialect: str = "chat", **more: Any) -> Playbook:
    asked = [{"role": "user", "content": "q"}]
    body = {"model": model, **({"input": "q"} if dialect == "responses" else {"messages": asked}), **more}
    body |= {"max_tokens": 9} if dialect == "messages" else {}
    play = Playbook(gate) >> request_headers(PATHS[dialect], token=token()) << awaits()
    return play >> request_body(body) << forwards({})


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("model", OF_ANSWERS)
def test_a_whole_answer_has_its_cost(gate: Gateway, model: str, dialect: str) -> None:
    answer, cost = OF_ANSWERS[model]
    play = sent(gate, model, dialect) >> response_headers() >> response_body(answer, end=True) << begins()
    known = {"gen_ai.usage.cost": cost, "gen_ai.usage.cost.currency": "USD", "gen_ai.usage.estimated": ABSENT}
    assert play << says(end=True, record=known)


def test_an_override_has_its_cost_and_an_unknown_model_none(gate: Gateway) -> None:
    used = {"prompt_tokens": 100, "completion_tokens": 50}
    for model, cost in (("qwen3-8b", 500 / 1e6), ("unknown", ABSENT)):
        play = sent(gate, model) >> response_headers() >> response_body({**CHAT, "usage": used}, end=True) << begins()
        known = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.cost": cost}
        assert play << says(end=True, record=known)


def test_counting_tokens_costs_nothing(gate: Gateway) -> None:
    body = {"model": "claude", "messages": [{"role": "user", "content": "q"}]}
    play = Playbook(gate) >> request_headers("/v1/messages/count_tokens", token=token()) << awaits()
    play = play >> request_body(body) << forwards({}) >> response_headers()
    play = play >> response_body({"input_tokens": 1000}, end=True) << begins()
    assert play << says(end=True, record={"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.cost": ABSENT})


def event(**members: Any) -> bytes:
    return f"event: {members['type']}\ndata: {json.dumps(members)}\n\n".encode()


START = event(type="message_start", message={"model": "claude-opus-5", "usage": {"input_tokens": 1_000_000}})
DELTA = event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": "hi"})
END = event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1_000_000})
END += event(type="message_stop")


def streamed(gate: Gateway) -> Playbook:
    play = sent(gate, "claude", "messages", stream=True) >> response_headers(200, "text/event-stream")
    play = play >> response_body(START) << begins()
    estimate = {"gen_ai.usage.cost": pytest.approx(5.0, abs=1e-3), "gen_ai.usage.estimated": True}
    return play << says(end=False, record=estimate)


def test_a_stream_has_an_estimate_until_the_provider_has_counted(gate: Gateway) -> None:
    play = streamed(gate).after(2) >> response_body(DELTA)
    play << says(end=False, record={"gen_ai.usage.estimated": True})
    play = play.after(2) >> response_body(END)
    play << says(end=False, record={"gen_ai.usage.cost": 30.0, "gen_ai.usage.estimated": False})


def test_the_cost_of_a_stream_that_breaks_off_is_marked_as_an_estimate(gate: Gateway) -> None:
    play = streamed(gate) >> response_body(DELTA) << says(end=False)
    play = play >> response_body(b"event: content_block_delta\nda", end=True)
    estimate = {"gen_ai.usage.cost": pytest.approx(5.0, abs=1e-3), "gen_ai.usage.estimated": True}
    assert play << says(end=True, record={"reason": "Truncated", **estimate})

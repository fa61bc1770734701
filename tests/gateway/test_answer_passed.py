"""Clients and providers of one dialect: what came is what the client gets, and it is on record."""

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
  anthropic: {{dialects: [messages], base_url: "https://api.anthropic.example", profile: {{base: generic}}}}
  openai: {{dialects: [chat], base_url: "https://api.openai.example/v1"}}
models:
  - {{name: "claude-*", provider: anthropic}}
  - {{name: "gpt-*", provider: openai}}
"""
PATHS = {"claude-x": "/v1/messages", "gpt-x": "/v1/chat/completions"}
ANSWER: Json = {
    "type": "message",
    "model": "claude-x-1",
    "content": [],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 2},
}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return gateway(tmp_path_factory.mktemp("gateway"), TEXT)


def sent(gate: Gateway, model: str = "claude-x", **more: Any) -> Playbook:
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "q"}], **more}
    play = Playbook(gate) >> request_headers(PATHS[model], token=token(), anthropic_version="2024-01-01") << awaits()
    return play >> request_body(body) << forwards(body)


def test_json(gate: Gateway) -> None:
    play = sent(gate) >> response_headers(request_id="req_up", openai_version="1") >> response_body(ANSWER, end=True)
    play << begins(headers={"request-id": "req_up", "x-request-id": "req_up", "openai-version": ABSENT})
    known = {"gen_ai.usage.input_tokens": 5, "gen_ai.response.model": "claude-x-1", "reason": ABSENT}
    assert play << says(end=True, body=ANSWER, record=known)


def test_the_media_type_is_the_answers_own(gate: Gateway) -> None:
    play = sent(gate, stream=True) >> response_headers() >> response_body(ANSWER, end=True)
    play << begins(headers={"content-type": "application/json", "cache-control": ABSENT})
    assert play << says(end=True, body=ANSWER)


@pytest.mark.parametrize(
    ("model", "status", "error"),
    [
        ("claude-x", 402, {"type": "error", "error": {"type": "billing_error", "message": "m"}, "request_id": "r"}),
        ("gpt-x", 402, {"error": {"message": "m", "type": "t", "param": None, "code": None}}),
        ("gpt-x", 529, {"error": {"message": "m", "type": "t", "param": None, "code": "overloaded", "more": 1}}),
    ],
)
def test_errors_keep_status_and_words(gate: Gateway, model: str, status: int, error: Json) -> None:
    raw = json.dumps(error, indent=3).encode()
    play = sent(gate, model) >> response_headers(status, retry_after="3") >> response_body(raw, end=True)
    play << begins(status, {"retry-after": "3", "content-type": "application/json"}, reason="Upstream")
    assert play << says(end=True, body=error)


def test_a_stream_that_breaks_off(gate: Gateway) -> None:
    start = b'event: message_start\ndata: {"type":"message_start","message":{"model":"claude-x-1"}}\n\n'
    play = sent(gate, stream=True) >> response_headers(200, "text/event-stream") >> response_body(start)
    play << begins() << says(end=False, events=["message_start"])
    play >> response_body(b"event: content_block_delta\nda", end=True)
    assert play << says(end=True, events=["error"], record={"reason": "Truncated"})

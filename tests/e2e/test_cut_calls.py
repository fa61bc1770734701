"""Tool calls that were cut short, as the vendors' SDKs see them: none of them is whole, no answer asks to run tools."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.canned import Canned, Upstream, upstream
from tests.e2e.stack import ONE_WORKER, SECONDS, Stack, up
from tests.translate.answers import DONE, chunk
from tests.translate.chat_answers import block, ended, message, started

CUT = '{"command":"rm -rf /srv/da'
BASH: Any = {"name": "Bash", "input_schema": {"type": "object"}}
FUNCTION: Any = {"type": "function", "function": {"name": "Bash", "parameters": {"type": "object"}}}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "Bash", "arguments": CUT}}
USED = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
CUT_USE = block(0, USED, {"type": "input_json_delta", "partial_json": CUT})
SSE = "text/event-stream"
CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  chat: {dialects: [chat], base_url: "${CHAT_URL}", profile: generic}
  claude: {dialects: [messages], base_url: "${CLAUDE_URL}"}
models:
  - {name: "chat-*", provider: chat}
  - {name: "claude-*", provider: claude}
"""
COMPLETION = {
    "id": "chatcmpl-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": [CALL]}, "finish_reason": "tool_calls"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
ANSWERS = {
    "chat-stream": Canned(chunk({"tool_calls": [CALL]}) + chunk({}, "tool_calls") + DONE, media=SSE),
    "chat-done": Canned(chunk({"tool_calls": [CALL]}) + DONE, media=SSE),
    "chat-json": Canned(json.dumps(COMPLETION).encode()),
    "claude-stream": Canned(started() + CUT_USE + ended("tool_use"), media=SSE),
    "claude-json": Canned(json.dumps(message({**USED, "input": {"command": "rm"}}, stop="max_tokens")).encode()),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with upstream() as provider:
        provider.answers |= ANSWERS
        with up(
            tmp_path_factory.mktemp("cut"), environ=_urls(provider), config=CONFIG, arguments=ONE_WORKER
        ) as running:
            yield running


def _urls(provider: Upstream) -> dict[str, str]:
    return {"CHAT_URL": provider.url, "CLAUDE_URL": provider.url}


@pytest.fixture(scope="module")
def claude(stack: Stack) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(auth_token=stack.good_token, base_url=stack.url, timeout=SECONDS, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=stack.good_token, base_url=f"{stack.url}/v1", timeout=SECONDS, max_retries=0) as client:
        yield client


def asked(model: str) -> dict[str, Any]:
    return {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "q"}], "tools": [BASH]}


def test_anthropics_sdk_streams_it(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(**asked("chat-stream")) as stream:
        pieces = [event.delta.partial_json for event in stream if event.type == "content_block_delta"]  # type: ignore[union-attr]
        final = stream.get_final_message()
    assert "".join(pieces) == CUT and final.stop_reason == "max_tokens"


def test_anthropics_sdk_raises_without_a_finish(claude: anthropic.Anthropic) -> None:
    with (
        pytest.raises(anthropic.APIStatusError, match="before completion"),
        claude.messages.stream(**asked("chat-done")) as stream,
    ):
        stream.until_done()


def test_anthropics_sdk_reads_an_answer_without_it(claude: anthropic.Anthropic) -> None:
    raw = claude.messages.with_raw_response.create(**asked("chat-json"))
    found = raw.parse()
    assert (found.content, found.stop_reason) == ([], "max_tokens")
    assert raw.headers["x-translation-warnings"] == "incomplete_tool_call:call_1"


def test_openais_sdk_streams_it_for_chat(client: openai.OpenAI) -> None:
    request: Any = {**asked("claude-stream"), "tools": [FUNCTION]}
    chunks = list(client.chat.completions.create(**request, stream=True))
    deltas = [call for found in chunks for call in found.choices[0].delta.tool_calls or ()]
    assert "".join(call.function.arguments for call in deltas) == CUT
    assert chunks[-1].choices[0].finish_reason == "length"


def test_openais_sdk_reads_a_completion_without_it(client: openai.OpenAI) -> None:
    request: Any = {**asked("claude-json"), "tools": [FUNCTION]}
    [choice] = client.chat.completions.create(**request).choices
    assert (choice.message.tool_calls, choice.finish_reason) == (None, "length")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_openais_sdk_reads_an_incomplete_item_of_a_response(client: openai.OpenAI, stream: bool) -> None:
    tool: Any = {"type": "function", "name": "Bash", "parameters": {"type": "object"}, "strict": False}
    request: Any = {"input": "q", "tools": [tool]}
    if stream:
        last: Any = list(client.responses.create(model="claude-stream", stream=True, **request))[-1]
        assert last.type == "response.incomplete"
        found = last.response
    else:
        found = client.responses.create(model="claude-json", **request)
    [item] = found.output
    assert (item.type, item.status, found.status) == ("function_call", "incomplete", "incomplete")
    assert found.incomplete_details.reason == "max_output_tokens"

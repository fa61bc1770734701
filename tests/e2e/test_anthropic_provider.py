"""Anthropic's own SDK for Python on a Claude: what it sends arrives, what comes back is on record."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, MessageParam, TextBlock, ThinkingBlock, ToolUseBlock

from extproc.translate.signature import seal
from tests.e2e.providers import Providers
from tests.e2e.stack import SECONDS, Json, Stack, ids

CLAUDE = "claude-opus-5"
TEXT = "one two three four five six seven"
TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("weather", "time")]
BUDGET = {"type": "enabled", "budget_tokens": 1024}
THOUGHT_THEN_CALLS = """demo: think Two cities.
demo: call weather {"city": "Zurich"}
demo: call time {"city": "Bern"}
demo: then
demo: think Both are in.
demo: say both are known"""


@pytest.fixture(scope="module")
def client(three: Stack) -> Iterator[anthropic.Anthropic]:
    with sdk(three, three.good_token) as made:
        yield made


def sdk(stack: Stack, token: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=stack.url, max_retries=0, timeout=SECONDS, auth_token=token)


def asking(text: str, **more: Any) -> dict[str, Any]:
    return {"model": CLAUDE, "max_tokens": 2000, "messages": [{"role": "user", "content": text}], **more}


def record(stack: Stack, request_id: str | None) -> Json:
    assert request_id is not None and request_id.startswith("req_")
    return stack.record_where(lambda line: request_id in ids(line))


def check_record(line: Json, message: Message, reason: str = "end_turn") -> None:
    assert (line["reason"], line["http.status"], line["endpoint"]) == (None, 200, "messages")
    assert (line["gen_ai.request.model"], line["gen_ai.response.model"]) == (CLAUDE, CLAUDE)
    assert line["gen_ai.response.finish_reasons"] == message.stop_reason == reason
    assert line["gen_ai.usage.input_tokens"] == message.usage.input_tokens > 0
    assert line["gen_ai.usage.output_tokens"] == message.usage.output_tokens > 0
    assert 0 < line["gen_ai.server.time_to_first_token"] * 1000 <= line["duration"] + 1


def test_create(client: anthropic.Anthropic, three: Stack) -> None:
    message = client.messages.create(**asking("demo: say bonjour"))
    assert message.content == [TextBlock(type="text", text="bonjour")]
    assert message.model == CLAUDE
    check_record(record(three, message._request_id), message)


def test_stream(client: anthropic.Anthropic, three: Stack) -> None:
    with client.messages.stream(**asking(f"demo: say {TEXT}")) as stream:
        assert "".join(stream.text_stream) == TEXT
        message = stream.get_final_message()
    check_record(record(three, stream.response.headers["request-id"]), message)


def test_headers_are_anthropics(client: anthropic.Anthropic) -> None:
    """Of the provider's own only what a client can use."""
    headers = client.messages.with_raw_response.create(**asking("demo: say hm")).headers
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "1999000"
    assert headers["anthropic-ratelimit-requests-reset"] == "2030-01-01T00:00:00Z"
    assert headers["x-request-id"] == headers["request-id"]
    foreign = ("anthropic-organization", "cf-ray", "set-cookie", "x-envoy-")
    assert [name for name in headers if name.startswith(foreign)] == []


def results(message: Message) -> MessageParam:
    calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
    assert [(call.name, call.input) for call in calls] == [("weather", {"city": "Zurich"}), ("time", {"city": "Bern"})]
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": c.id, "content": "ok"} for c in calls]}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_thinking_comes_with_its_signature_and_goes_back(
    client: anthropic.Anthropic, three: Stack, providers: Providers, streamed: bool
) -> None:
    """The model refuses a thought whose signature does not fit, and calls without the thought before them."""

    def ask(*messages: Any) -> Message:
        asked: dict[str, Any] = asking("", messages=messages, tools=TOOLS, thinking=BUDGET)
        if not streamed:
            done: Message = client.messages.create(**asked)
            return done
        with client.messages.stream(**asked) as stream:
            return stream.get_final_message()

    begin = {"role": "user", "content": THOUGHT_THEN_CALLS}
    with providers.asking("anthropic", "anthropic") as asked:
        first = ask(begin)
        second = ask(begin, {"role": "assistant", "content": first.content}, results(first))
    assert isinstance(first.content[0], ThinkingBlock) and first.content[0].thinking == "Two cities."
    assert first.content[0].signature in asked[1]["body"]
    assert [block.type for block in second.content] == ["thinking", "text"]
    assert (first.stop_reason, second.stop_reason) == ("tool_use", "end_turn")


def test_thoughts_of_another_model_do_not_go_back(client: anthropic.Anthropic, providers: Providers) -> None:
    ours = {"type": "thinking", "thinking": "hm", "signature": seal("reasoning_content")}
    said = {"role": "assistant", "content": [ours, {"type": "text", "text": "Well."}]}
    turns = [{"role": "user", "content": "q"}, said, {"role": "user", "content": "demo: say on"}]
    with providers.asking("anthropic") as asked:
        message = client.messages.create(**asking("", messages=turns))
    assert message.content == [TextBlock(type="text", text="on")]
    expected = [turns[0], {"role": "assistant", "content": [{"type": "text", "text": "Well."}]}, turns[2]]
    assert json.loads(asked[0]["body"])["messages"] == expected


def test_a_conversation_moves_from_a_chat_model_to_claude(client: anthropic.Anthropic) -> None:
    begin = {"role": "user", "content": "demo: think Let me see.\ndemo: say hm\ndemo: then\ndemo: say on"}
    first = client.messages.create(**asking("", messages=[begin], model="qwen3", thinking=BUDGET))
    assert isinstance(first.content[0], ThinkingBlock) and first.content[0].signature.startswith("atr1.")
    turns = [begin, {"role": "assistant", "content": first.content}, {"role": "user", "content": "and?"}]
    second = client.messages.create(**asking("", messages=turns, thinking=BUDGET))
    assert second.content == [TextBlock(type="text", text="on")]


def test_citations_pass(client: anthropic.Anthropic) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Grass is green."}
    document = {"type": "document", "source": source, "citations": {"enabled": True}}
    content = [document, {"type": "text", "text": "demo: say green"}]
    with client.messages.stream(**asking("", messages=[{"role": "user", "content": content}])) as stream:
        block = stream.get_final_message().content[0]
    assert isinstance(block, TextBlock) and block.citations is not None
    assert block.citations[0].cited_text == "Grass is green."


def test_count_tokens(client: anthropic.Anthropic, providers: Providers) -> None:
    with providers.asking("anthropic") as asked:
        counted = client.messages.count_tokens(model=CLAUDE, messages=[{"role": "user", "content": "word " * 100}])
    assert asked[0]["path"] == "/v1/messages/count_tokens"
    assert counted.input_tokens == len(asked[0]["body"]) // 4


ERRORS: dict[str, tuple[type[anthropic.APIStatusError], str]] = {
    "400": (anthropic.BadRequestError, "invalid_request_error"),
    "401": (anthropic.AuthenticationError, "authentication_error"),
    "403": (anthropic.PermissionDeniedError, "permission_error"),
    "404": (anthropic.NotFoundError, "not_found_error"),
    "413": (anthropic.RequestTooLargeError, "request_too_large"),
    "429 retry-after=7": (anthropic.RateLimitError, "rate_limit_error"),
    "500": (anthropic.InternalServerError, "api_error"),
    "504": (anthropic.DeadlineExceededError, "timeout_error"),
    "529 retry-after=7": (anthropic.OverloadedError, "overloaded_error"),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("failure", ERRORS)
def test_its_errors_are_the_clients(client: anthropic.Anthropic, three: Stack, failure: str, streamed: bool) -> None:
    expected, kind = ERRORS[failure]
    with pytest.raises(expected) as raised:
        client.messages.create(**asking(f"demo: fail {failure}", stream=streamed))
    error = raised.value
    assert (type(error), error.type, error.status_code) == (expected, kind, int(failure[:3]))
    assert isinstance(error.body, dict) and error.body["request_id"] == error.request_id
    retry = "7" if "retry" in failure else None
    assert error.response.headers.get("retry-after") == retry
    assert error.response.headers.get("x-should-retry") == (retry and "true")
    line = record(three, error.request_id)
    assert line["http.status"] == error.status_code
    assert line["reason"] == ("UpstreamTimeout" if failure == "504" else "Upstream")


@pytest.mark.parametrize("how", ["break 529", "truncate"])
def test_a_stream_that_breaks_never_ends_normally(client: anthropic.Anthropic, three: Stack, how: str) -> None:
    script = f"demo: say {TEXT}\ndemo: {how}\ndemo: slow 40"
    with client.messages.stream(**asking(script)) as stream, pytest.raises(anthropic.APIStatusError) as raised:
        stream.until_done()
    assert isinstance(raised.value.body, dict)
    kind = raised.value.body["error"]["type"]
    assert kind == ("overloaded_error" if "529" in how else "api_error")
    line = record(three, stream.response.headers["request-id"])
    assert (line["http.status"], line["reason"]) == (200, "Upstream" if "529" in how else "Truncated")

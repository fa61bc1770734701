"""Anthropic's own SDK for Python on a provider that speaks the Responses API, in bytes as OpenAI sends them."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
import yaml
from anthropic.types import ThinkingBlock, ToolUseBlock

from tests.e2e.canned import Canned, Upstream, upstream
from tests.e2e.stack import GATEWAY, ONE_WORKER, SECONDS, Json, Stack, ids, up
from tests.openai_types import check_responses_request
from tests.translate.responses_upstream import COMPLETED, CREATED, call, event, response, text, thought

THINKS: Json = {"thinking": {"type": "adaptive", "display": "summarized"}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: list[Json] = [{"name": "weather", "input_schema": SCHEMA}]
PARIS = '{"city":"Paris"}'
ITEM_THOUGHT = {
    "type": "reasoning",
    "id": "rs_0",
    "summary": [{"type": "summary_text", "text": "need tool"}],
    "encrypted_content": "ENC",
}
ITEM_TEXT = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]}
ITEM_CALL = {"type": "function_call", "id": "fc", "call_id": "call_1", "name": "weather", "arguments": PARIS}
FAILED = response(status="failed", error={"code": "rate_limit_exceeded", "message": "Rate limit reached"})


def streamed(*pieces: bytes) -> Canned:
    cuts = tuple(itertools.accumulate(len(piece) for piece in pieces[:-1]))
    return Canned(b"".join(pieces), media="text/event-stream", cuts=cuts)


ANSWERS = {
    "whole": Canned(json.dumps(response(ITEM_THOUGHT, ITEM_CALL)).encode()),
    "answered": Canned(json.dumps(response(ITEM_TEXT)).encode()),
    "text": streamed(CREATED, *text("one ", "two ", "three"), COMPLETED),
    "tool": streamed(CREATED, *thought("need tool"), *call(PARIS, name="weather", index=1), COMPLETED),
    "done": streamed(CREATED, *text("Done."), COMPLETED),
    "breaks": streamed(CREATED, *text("one"), event("error", code="server_error", message="it broke", param=None)),
    "failed": streamed(CREATED, *text("one"), event("response.failed", response=FAILED)),
    "failed-at-once": streamed(event("response.failed", response=FAILED)),
    "cut": streamed(CREATED, *text("one")[:2]),
    "refused": Canned(b'{"error":{"message":"slow down"}}', 429, headers={"retry-after": "7"}),
    "counted": Canned(b'{"object":"response.input_tokens","input_tokens":11}'),
    "tokenized": Canned(b'{"count":12,"max_model_len":4096,"tokens":[1,2]}'),
}  # fmt: skip


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    with upstream() as running:
        running.answers.update(ANSWERS)
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, provider: Upstream) -> Iterator[Stack]:
    config = yaml.safe_load(GATEWAY.replace("${MODEL_URL}", "http://unused"))
    shared = {"base_url": provider.url, "api_key": {"env": "MODEL_KEY"}}
    config["providers"] = {
        "openai": {"dialects": ["responses"], **shared, "profile": {"count_tokens": "responses"}},
        "both": {"dialects": ["chat", "responses"], **shared, "profile": {"count_tokens": "vllm"}},
    }
    config["models"] = [
        {"name": "tokenized", "provider": "both"},
        {"name": "by-profile", "provider": "both", "model": "whole", "profile": "openai-responses"},
        {"name": "*", "provider": "openai"},
    ]
    with up(tmp_path_factory.mktemp("responses"), config=yaml.safe_dump(config), arguments=ONE_WORKER) as running:
        yield running


@pytest.fixture(scope="module")
def client(gateway: Stack) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=gateway.url, max_retries=0, timeout=SECONDS, auth_token=gateway.good_token
    ) as made:
        yield made


def asking(model: str, *more: Json, **members: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "w?"}, *more], **members}


def test_text(client: anthropic.Anthropic, gateway: Stack, provider: Upstream) -> None:
    with client.messages.stream(**asking("text")) as stream:
        assert list(stream.text_stream) == ["one ", "two ", "three"]
        message = stream.get_final_message()
    assert (message.id, message.model, message.stop_reason) == ("msg_1", "text", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 2)
    assert provider.paths["text"] == "/v1/responses"
    line = gateway.record_where(lambda line: stream.response.headers["request-id"] in ids(line))
    assert (line["gen_ai.response.model"], line["gen_ai.usage.output_tokens"], line["reason"]) == ("gpt-x", 2, None)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_tool_loop_keeps_the_thought(client: anthropic.Anthropic, provider: Upstream, stream: bool) -> None:
    """What the model thought goes back to it, encrypted as it came, with the result of its call."""
    names = ("tool", "done") if stream else ("whole", "answered")

    def ask(name: str, *history: Json) -> anthropic.types.Message:
        asked = asking(name, *history, tools=TOOLS, **THINKS)
        if not stream:
            found: anthropic.types.Message = client.messages.create(**asked)
            return found
        with client.messages.stream(**asked) as running:
            return running.get_final_message()

    first = ask(names[0])
    thinking, made = first.content
    assert isinstance(thinking, ThinkingBlock) and thinking.thinking == "need tool"
    assert isinstance(made, ToolUseBlock) and (made.name, made.input) == ("weather", {"city": "Paris"})
    assert first.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": made.id, "content": "fine"}
    turn = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]}
    second = ask(names[1], turn, {"role": "user", "content": [result]})
    assert [block.model_dump()["text"] for block in second.content] == ["Done."]
    body = provider.received[names[1]]
    check_responses_request(body)
    assert body["reasoning"] == {"effort": "medium", "summary": "auto"}
    assert body["input"][1:] == [
        ITEM_THOUGHT,
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": PARIS},
        {"type": "function_call_output", "call_id": "call_1", "output": "fine"},
    ]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("breaks", "api_error", "it broke"),
        ("failed", "rate_limit_error", "Rate limit reached"),
        ("cut", "api_error", "upstream stream ended before completion"),
    ],
)
def test_what_goes_wrong_in_mid_stream(
    client: anthropic.Anthropic, gateway: Stack, name: str, kind: str, message: str
) -> None:
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.stream(**asking(name)) as stream,
    ):
        stream.until_done()
    body: Any = caught.value.body
    assert body["error"] == {"type": kind, "message": message}
    line = gateway.record_where(lambda line: line["gen_ai.request.model"] == name)
    assert line["reason"] == ("Truncated" if name == "cut" else "Upstream")


def test_a_stream_that_fails_at_once_has_a_status(client: anthropic.Anthropic) -> None:
    with (
        pytest.raises(anthropic.RateLimitError, match="Rate limit reached"),
        client.messages.stream(**asking("failed-at-once")) as stream,
    ):
        stream.until_done()


def test_an_error(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.RateLimitError, match="slow down") as caught:
        client.messages.create(**asking("refused"))
    assert caught.value.response.headers["retry-after"] == "7"


def test_a_warning_says_what_was_not_carried_over(gateway: Stack) -> None:
    answer = gateway.call({**asking("answered"), "max_tokens": 5, "top_k": 3})
    assert answer.headers["x-translation-warnings"] == "clamped:max_tokens,dropped:top_k"


def test_a_profile_may_prefer_it(client: anthropic.Anthropic, provider: Upstream) -> None:
    assert client.messages.create(**asking("by-profile")).stop_reason == "tool_use"
    assert provider.paths["whole"] == "/v1/responses"


@pytest.mark.parametrize(
    ("name", "path", "tokens"), [("counted", "/v1/responses/input_tokens", 11), ("tokenized", "/tokenize", 12)]
)
def test_the_provider_counts(
    client: anthropic.Anthropic, gateway: Stack, provider: Upstream, name: str, path: str, tokens: int
) -> None:
    found = client.messages.count_tokens(model=name, messages=[{"role": "user", "content": "w?"}])
    assert (found.input_tokens, provider.paths[name]) == (tokens, path)
    line = gateway.record_where(lambda line: line["gen_ai.request.model"] == name)
    assert line["gen_ai.usage.input_tokens"] == tokens

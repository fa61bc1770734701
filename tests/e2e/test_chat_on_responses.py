"""`client.chat.completions` of OpenAI's own SDK on a provider that speaks the Responses API alone."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest
import yaml
from openai.types.chat import ChatCompletion

from tests.e2e.canned import Canned, Upstream, upstream
from tests.e2e.stack import GATEWAY, ONE_WORKER, Json, Stack, up
from tests.e2e.test_openai_sdk import asking, sdk
from tests.e2e.test_responses_provider import ANSWERS, PARIS, streamed
from tests.openai_types import check_responses_request
from tests.translate.responses_upstream import COMPLETED, CREATED, call, event, response, text

WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
PARSED = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": '{"name": "Ada"}'}]}
CUT = event(
    "response.incomplete",
    response=response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
)
MORE = {
    "parsed": Canned(json.dumps(response(PARSED)).encode()),
    "cut-call": streamed(CREATED, *call('{"city": "Pa', name="weather")[:2], CUT),
    "too-long": Canned(
        b'{"error":{"message":"Your input exceeds the context window","code":"context_length_exceeded",'
        b'"type":"invalid_request_error","param":"input"}}',
        400,
    ),
    "two": streamed(CREATED, *call(PARIS, name="weather"), *call(PARIS, name="weather", index=1), COMPLETED),
    "plain": streamed(CREATED, *text("one ", "two"), COMPLETED),
}


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    with upstream() as running:
        running.answers.update(ANSWERS | MORE)
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, provider: Upstream) -> Iterator[Stack]:
    config = yaml.safe_load(GATEWAY.replace("${MODEL_URL}", "http://unused"))
    openai_only = {"dialects": ["responses"], "base_url": provider.url, "api_key": {"env": "MODEL_KEY"}}
    config["providers"] = {"openai": openai_only, "both": {**openai_only, "dialects": ["chat", "responses"]}}
    config["models"] = [{"name": "gpt-6-*", "provider": "both"}, {"name": "*", "provider": "openai"}]
    with up(
        tmp_path_factory.mktemp("chat-on-responses"), config=yaml.safe_dump(config), arguments=ONE_WORKER
    ) as running:
        yield running


@pytest.fixture(scope="module")
def client(gateway: Stack) -> Iterator[openai.OpenAI]:
    with sdk(gateway, gateway.good_token) as made:
        yield made


def sent(provider: Upstream, name: str) -> Json:
    body: Json = provider.received[name]
    check_responses_request(body)
    return body


def test_create(client: openai.OpenAI, gateway: Stack, provider: Upstream) -> None:
    done = client.chat.completions.create(**asking("answered", "w?"))
    assert (done.object, done.model, done.choices[0].message.content) == ("chat.completion", "answered", "Done.")
    assert done.choices[0].finish_reason == "stop" and done.usage is not None
    assert provider.paths["answered"] == "/v1/responses" and sent(provider, "answered")["store"] is False
    line = gateway.record_where(lambda line: line["request_id"] == done._request_id)
    assert (line["endpoint"], line["reason"]) == ("chat", None)
    assert line["gen_ai.usage.output_tokens"] == done.usage.completion_tokens


def test_stream(client: openai.OpenAI) -> None:
    usage = {"include_usage": True}
    with client.chat.completions.create(**asking("plain", "w?", stream=True, stream_options=usage)) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two"
    assert chunks[-1].choices == [] and chunks[-1].usage is not None and chunks[-2].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_tool_loop_carries_the_reasoning_back(client: openai.OpenAI, provider: Upstream, stream: bool) -> None:
    """Clients send messages back as they came: the encrypted reasoning stands before the call that it led to."""
    names = ("tool", "done") if stream else ("whole", "answered")

    def ask(name: str, *history: Any) -> ChatCompletion:
        body: Any = asking(name, "w?", tools=[WEATHER], reasoning_effort="low")
        body["messages"] += history
        if not stream:
            done: ChatCompletion = client.chat.completions.create(**body)
            return done
        with client.chat.completions.stream(**body) as running:
            return running.get_final_completion()

    message = ask(names[0]).choices[0].message
    assert message.tool_calls is not None and message.tool_calls[0].type == "function"
    assert (message.tool_calls[0].function.name, message.tool_calls[0].function.arguments) == ("weather", PARIS)
    assert message.model_extra is not None and message.model_extra["reasoning_content"] == "need tool"
    turn = message.model_dump(exclude_none=True)
    turn["tool_calls"] = [{**made, "function": {**made["function"]}} for made in turn["tool_calls"]]
    for made in turn["tool_calls"]:
        made["function"].pop("parsed_arguments", None)
    ask(names[1], turn, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "fine"})
    kinds = [item["type"] for item in sent(provider, names[1])["input"]]
    assert kinds == ["message", "reasoning", "function_call", "function_call_output"]
    assert sent(provider, names[1])["input"][1]["encrypted_content"] == "ENC"


def test_what_takes_no_tools_on_chat_is_asked_by_the_other_api(client: openai.OpenAI, provider: Upstream) -> None:
    """Though the provider speaks the client's own."""
    provider.answers["gpt-6-astra"] = provider.answers["whole"]
    done = client.chat.completions.create(**asking("gpt-6-astra", "w?", tools=[WEATHER], reasoning_effort="max"))
    assert done.choices[0].finish_reason == "tool_calls"
    assert provider.paths["gpt-6-astra"] == "/v1/responses"
    assert sent(provider, "gpt-6-astra")["reasoning"]["effort"] == "max"


def test_what_has_no_tools_passes_on_chat(client: openai.OpenAI, provider: Upstream) -> None:
    message = {"role": "assistant", "content": "Done."}
    completion = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    completion["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    provider.answers["gpt-6-plain"] = Canned(json.dumps(completion).encode())
    done = client.chat.completions.create(**asking("gpt-6-plain", "w?", seed=3))
    assert done.choices[0].message.content == "Done."
    assert provider.paths["gpt-6-plain"] == "/v1/chat/completions" and provider.received["gpt-6-plain"]["seed"] == 3


def test_parallel_calls(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**asking("two", "w?", tools=[WEATHER])) as running:
        message = running.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    assert [made.function.arguments for made in message.tool_calls] == [PARIS, PARIS]


class Name(pydantic.BaseModel):
    name: str


def test_the_parsing_helper(client: openai.OpenAI, provider: Upstream) -> None:
    done = client.chat.completions.parse(**asking("parsed", "w?"), response_format=Name)
    assert done.choices[0].message.parsed == Name(name="Ada")
    wanted = sent(provider, "parsed")["text"]["format"]
    assert (wanted["type"], wanted["name"], wanted["strict"]) == ("json_schema", "Name", True)


def test_a_cut_call_is_never_completed(client: openai.OpenAI) -> None:
    with client.chat.completions.create(**asking("cut-call", "w?", tools=[WEATHER], stream=True)) as stream:
        chunks = list(stream)
    calls = [made for chunk in chunks for choice in chunk.choices for made in choice.delta.tool_calls or ()]
    arguments = "".join((made.function and made.function.arguments) or "" for made in calls)
    assert '{"city": "Paris"}'.startswith(arguments) and not arguments.endswith("}")
    assert chunks[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("too-long", openai.BadRequestError, "context_length_exceeded"),
        ("refused", openai.RateLimitError, None),
        ("failed-at-once", openai.RateLimitError, "rate_limit_exceeded"),
    ],
)
def test_errors(client: openai.OpenAI, name: str, kind: type[openai.APIStatusError], code: str | None) -> None:
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**asking(name, "w?", stream=True))
    assert code is None or caught.value.code == code


@pytest.mark.parametrize("name", ["breaks", "failed", "cut"])
def test_a_stream_that_fails_ends_without_done(client: openai.OpenAI, name: str) -> None:
    with (
        client.chat.completions.create(**asking(name, "w?", stream=True)) as stream,
        pytest.raises(openai.APIError),
    ):
        list(stream)

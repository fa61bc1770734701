"""OpenAI's own SDK for Python, as it comes: a Claude and a GPT answer it alike."""

from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam

from tests.e2e.providers import Providers
from tests.e2e.stack import SECONDS, Stack, ids

TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    for name in ("weather", "time")
]
TWO_CALLS = """demo: call weather {"city": "Zurich"}
demo: call time {"city": "Bern"}
demo: then
demo: say both are known"""
TEXT = "one two three four five six seven"


@pytest.fixture(scope="module")
def client(three: Stack) -> Iterator[openai.OpenAI]:
    with sdk(three, three.good_token) as made:
        yield made


@pytest.fixture(params=["claude-opus-5", "gpt-4o-mini"])
def named(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def sdk(stack: Stack, token: str, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{stack.url}/v1", api_key=token, timeout=SECONDS, **{"max_retries": 0, **more})


def asking(model: str, text: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def test_create(client: openai.OpenAI, three: Stack, named: str) -> None:
    done = client.chat.completions.create(**asking(named, "demo: say bonjour"))
    assert (done.object, done.model) == ("chat.completion", named)
    assert (done.choices[0].message.role, done.choices[0].message.content) == ("assistant", "bonjour")
    assert done.choices[0].finish_reason == "stop" and done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 1
    assert done._request_id is not None and done._request_id.startswith("req_")
    line = three.record_where(lambda line: done._request_id in ids(line))
    assert line["gen_ai.usage.output_tokens"] == done.usage.completion_tokens
    assert line["gen_ai.response.finish_reasons"] == "stop"


@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"include_usage": True}], ids=str)
def test_stream(client: openai.OpenAI, three: Stack, named: str, options: dict[str, bool] | None) -> None:
    more = {} if options is None else {"stream_options": options}
    with client.chat.completions.create(**asking(named, f"demo: say {TEXT}", stream=True, **more)) as stream:
        chunks: list[ChatCompletionChunk] = list(stream)
    usages = [chunk.usage for chunk in chunks]
    if options == {"include_usage": True}:
        assert chunks.pop().choices == [] and usages[-1] is not None and usages[-1].total_tokens > 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1 and {chunk.model for chunk in chunks} == {named}
    assert usages[: len(chunks)] == [None] * len(chunks)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert len(choices) == len(chunks) > 3 and choices[0].delta.role == "assistant"
    assert "".join(choice.delta.content or "" for choice in choices) == TEXT
    assert [choice.finish_reason for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    line = three.record_where(lambda line: stream.response.headers["x-request-id"] in ids(line))
    assert line["gen_ai.usage.input_tokens"] > 0 and line["gen_ai.usage.output_tokens"] > 0
    assert (line["reason"], line["gen_ai.request.stream"]) == (None, True)


def test_the_streaming_helper(client: openai.OpenAI, named: str) -> None:
    with client.chat.completions.stream(**asking(named, f"demo: say {TEXT}")) as stream:
        kinds = [event.type for event in stream]
        done = stream.get_final_completion()
    assert kinds.count("content.delta") > 2 and kinds[-1] == "content.done"
    assert (done.choices[0].message.content, done.choices[0].finish_reason) == (TEXT, "stop")


def accumulated(client: openai.OpenAI, asked: dict[str, Any]) -> ChatCompletion:
    with client.chat.completions.stream(**asked) as stream:
        return stream.until_done().get_final_completion()


def results(done: ChatCompletion) -> list[ChatCompletionMessageParam]:
    """What the model said, and what its tools gave."""
    message = done.choices[0].message
    assert done.choices[0].finish_reason == "tool_calls" and message.tool_calls is not None
    calls = [call for call in message.tool_calls if call.type == "function"]
    found = [(call.function.name, pydantic.TypeAdapter(dict).validate_json(call.function.arguments)) for call in calls]
    assert found == [("weather", {"city": "Zurich"}), ("time", {"city": "Bern"})]
    assert len({call.id for call in calls}) == 2
    said: Any = message.model_dump(
        exclude_none=True, exclude={"parsed": True, "tool_calls": {"__all__": {"function": {"parsed_arguments"}}}}
    )
    return [said, *({"role": "tool", "tool_call_id": c.id, "content": f"{c.function.name}: fine"} for c in calls)]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_two_tools_at_once(client: openai.OpenAI, providers: Providers, named: str, streamed: bool) -> None:
    def ask(messages: list[Any]) -> ChatCompletion:
        asked: dict[str, Any] = {"model": named, "messages": messages, "tools": TOOLS}
        if streamed:
            return accumulated(client, asked)
        done: ChatCompletion = client.chat.completions.create(**asked)
        return done

    provider = "anthropic" if named.startswith("claude") else "openai"
    messages: list[Any] = [{"role": "user", "content": TWO_CALLS}]
    with providers.asking(provider, provider) as asked:
        second = ask([*messages, *results(ask(messages))])
    assert (second.choices[0].message.content, second.choices[0].finish_reason) == ("both are known", "stop")
    assert "weather: fine" in asked[1]["body"] and "time: fine" in asked[1]["body"]


class Person(pydantic.BaseModel):
    name: str
    age: int
    tags: list[str]


def test_structured_output(client: openai.OpenAI, named: str) -> None:
    schema = {"name": "person", "strict": True, "schema": {**Person.model_json_schema(), "additionalProperties": False}}
    form = {"type": "json_schema", "json_schema": schema}
    done = client.chat.completions.create(**asking(named, "Who is it?", response_format=form))
    content = done.choices[0].message.content
    assert content is not None and Person.model_validate_json(content).name == "demo"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_the_parsing_helper(client: openai.OpenAI, named: str, streamed: bool) -> None:
    asked = asking(named, 'demo: say {"name": "Ada", "age": 36, "tags": ["x"]}', response_format=Person)
    done = accumulated(client, asked) if streamed else client.chat.completions.parse(**asked)
    message: Any = done.choices[0].message
    assert message.parsed == Person(name="Ada", age=36, tags=["x"])


def test_headers_are_openais(client: openai.OpenAI, named: str) -> None:
    """Of the provider's own only what a client can use."""
    headers = client.chat.completions.with_raw_response.create(**asking(named, "demo: say hm")).headers
    limits = {name for name in headers if name.startswith("x-ratelimit-")}
    families = {f"x-ratelimit-{word}-{of}" for word in ("limit", "remaining", "reset") for of in ("requests", "tokens")}
    assert limits == families and int(headers["x-ratelimit-remaining-requests"]) > 0
    assert headers["x-request-id"] == headers["request-id"]
    foreign = ("anthropic-", "openai-", "cf-ray", "set-cookie", "x-envoy-")
    assert [name for name in headers if name.startswith(foreign)] == []


def test_a_limit_is_told(client: openai.OpenAI, named: str) -> None:
    done = client.chat.completions.create(**asking(named, "demo: say hm\ndemo: length", max_completion_tokens=10))
    assert done.choices[0].finish_reason == "length"


def test_the_sdk_tries_again_when_told_to(three: Stack, named: str) -> None:
    script = f"demo: fail 429 times=1 retry-after=0 message=once for {named}\ndemo: say at last"
    with sdk(three, three.good_token, max_retries=2) as client:
        assert client.chat.completions.create(**asking(named, script)).choices[0].message.content == "at last"

"""`client.responses` of OpenAI's own SDK on a provider that speaks Chat Completions alone."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from tests.e2e.providers import Providers
from tests.e2e.stack import Stack
from tests.e2e.test_openai_sdk import TEXT, TWO_CALLS, Person, sdk
from tests.e2e.test_responses_sdk import TOOLS, streamed

GPT = "gpt-4o-mini"


@pytest.fixture(scope="module")
def client(three: Stack) -> Iterator[openai.OpenAI]:
    with sdk(three, three.good_token) as made:
        yield made


def test_create(client: openai.OpenAI, three: Stack, providers: Providers) -> None:
    with providers.asking("openai") as asked:
        done = client.responses.create(model=GPT, input="demo: say bonjour", instructions="Be brief.", store=False)
    assert asked[0]["path"] == "/v1/chat/completions" and '"role":"system","content":"Be brief."' in asked[0]["body"]
    assert (done.object, done.status, done.model, done.output_text) == ("response", "completed", GPT, "bonjour")
    assert done.instructions == "Be brief." and done.usage is not None
    line = three.record_where(lambda line: line["request_id"] == done._request_id)
    assert (line["endpoint"], line["gen_ai.provider.name"], line["reason"]) == ("responses", "openai", None)
    assert line["gen_ai.usage.output_tokens"] == done.usage.output_tokens > 0


def test_stream(client: openai.OpenAI) -> None:
    with client.responses.create(model=GPT, input=f"demo: say {TEXT}", stream=True) as stream:
        found = list(stream)
    assert [event.sequence_number for event in found] == list(range(len(found)))
    assert found[-1].type == "response.completed" and found[-1].response.output_text == TEXT
    deltas = [event.delta for event in found if event.type == "response.output_text.delta"]
    assert len(deltas) > 1 and "".join(deltas) == TEXT


@pytest.mark.parametrize("form", [lambda c, **a: c.responses.create(**a), streamed], ids=["whole", "streamed"])
def test_tools_in_a_loop(client: openai.OpenAI, providers: Providers, form: Any) -> None:
    items: list[Any] = [{"role": "user", "content": TWO_CALLS}]
    with providers.asking("openai", "openai") as asked:
        first: Response = form(client, model=GPT, input=items, tools=TOOLS, store=False)
        assert [item.type for item in first.output] == ["function_call", "function_call"]
        items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
        for call in first.output:
            assert call.type == "function_call"
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": f"{call.name}: fine"})
        second = form(client, model=GPT, input=items, tools=TOOLS, store=False)
    assert second.output_text == "both are known"
    assert "weather: fine" in asked[1]["body"] and asked[1]["body"].count('"role":"assistant"') == 1


def test_custom_tools(client: openai.OpenAI, providers: Providers) -> None:
    """The provider gets a function; the client its own kind of call."""
    script = 'demo: call patch {"input": "*** Begin"}'
    with providers.asking("openai") as asked:
        done = client.responses.create(model=GPT, input=script, tools=[{"type": "custom", "name": "patch"}])
    [call] = done.output
    assert call.type == "custom_tool_call" and (call.name, call.input) == ("patch", "*** Begin")
    assert '"type":"function","function":{"name":"patch"' in asked[0]["body"]


def test_the_parsing_helper(client: openai.OpenAI) -> None:
    text = 'demo: say {"name": "Ada", "age": 36, "tags": ["x"]}'
    done = client.responses.parse(model=GPT, input=text, text_format=Person)
    assert done.output_parsed == Person(name="Ada", age=36, tags=["x"])


def test_a_limit(client: openai.OpenAI) -> None:
    done = client.responses.create(model=GPT, input="demo: say hm\ndemo: length", max_output_tokens=10)
    assert done.status == "incomplete" and done.incomplete_details is not None
    assert done.incomplete_details.reason == "max_output_tokens"


ERRORS: list[tuple[dict[str, Any], type[openai.APIStatusError], str | None]] = [
    ({"previous_response_id": "resp_1"}, openai.BadRequestError, "unsupported_value"),
    ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, openai.BadRequestError, None),
    ({"input": "demo: fail 503"}, openai.InternalServerError, None),
    ({"input": "demo: fail 429 code=rate_limit_exceeded"}, openai.RateLimitError, "rate_limit_exceeded"),
    ({"input": "demo: fail 400 code=context_length_exceeded"}, openai.BadRequestError, "context_length_exceeded"),
]


@pytest.mark.parametrize(("changes", "kind", "code"), ERRORS, ids=[str(error[0]) for error in ERRORS])
@pytest.mark.parametrize("stream", [False, True])
def test_errors(
    client: openai.OpenAI,
    changes: dict[str, Any],
    kind: type[openai.APIStatusError],
    code: str | None,
    stream: bool,
) -> None:
    with pytest.raises(kind) as caught:
        client.responses.create(**{"model": GPT, "input": "hello", "stream": stream, **changes})
    assert code is None or caught.value.code == code


@pytest.mark.parametrize("fault", ["break 529", "truncate"])
def test_a_stream_that_fails_is_never_completed(client: openai.OpenAI, fault: str) -> None:
    with client.responses.create(model=GPT, input=f"demo: say {TEXT}\ndemo: {fault}", stream=True) as stream:
        found = list(stream)
    assert found[-1].type == "response.failed" and found[-1].response.status == "failed"
    assert "response.completed" not in [event.type for event in found]

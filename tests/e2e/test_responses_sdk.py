"""`client.responses` of OpenAI's own SDK for Python, as it comes, answered by Claude."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from tests.e2e.providers import Providers
from tests.e2e.stack import Stack, ids
from tests.e2e.test_openai_sdk import TEXT, TWO_CALLS, Person, sdk

CLAUDE = "claude-opus-5"
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": name,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": False,
    }
    for name in ("weather", "time")
]


@pytest.fixture(scope="module")
def client(three: Stack) -> Iterator[openai.OpenAI]:
    with sdk(three, three.good_token) as made:
        yield made


def test_create(client: openai.OpenAI, three: Stack) -> None:
    done = client.responses.create(model=CLAUDE, input="demo: say bonjour", instructions="Be brief.", truncation="auto")
    assert (done.object, done.status, done.model, done.output_text) == ("response", "completed", CLAUDE, "bonjour")
    assert (done.instructions, done.usage is not None) == ("Be brief.", True)
    assert done._request_id is not None and done._request_id.startswith("req_")
    line = three.record_where(lambda line: done._request_id in ids(line))
    assert (line["endpoint"], line["gen_ai.operation.name"], line["reason"]) == ("responses", "chat", None)
    assert (line["gen_ai.response.finish_reasons"], line["warnings"]) == ("completed", "dropped:truncation")
    assert done.usage and line["gen_ai.usage.output_tokens"] == done.usage.output_tokens > 0


def test_stream(client: openai.OpenAI, three: Stack) -> None:
    with client.responses.create(model=CLAUDE, input=f"demo: say {TEXT}", stream=True) as stream:
        found = list(stream)
    kinds = [event.type for event in found]
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed"
    assert [event.sequence_number for event in found] == list(range(len(found)))
    assert "".join(event.delta for event in found if event.type == "response.output_text.delta") == TEXT
    line = three.record_where(lambda line: stream.response.headers["x-request-id"] in ids(line))
    assert (line["reason"], line["gen_ai.request.stream"]) == (None, True)
    assert line["gen_ai.usage.input_tokens"] > 0 and line["gen_ai.usage.output_tokens"] > 0


def streamed(client: openai.OpenAI, **asked: Any) -> Any:
    """By way of the SDK's accumulator."""
    with client.responses.stream(**asked) as stream:
        stream.until_done()
        return stream.get_final_response()


@pytest.mark.parametrize("form", [lambda c, **a: c.responses.create(**a), streamed], ids=["whole", "streamed"])
def test_tools_in_a_loop_with_thinking(client: openai.OpenAI, providers: Providers, form: Any) -> None:
    """The demo Claude refuses thinking whose signature does not fit its text: what comes back is what went out."""
    items: list[Any] = [{"role": "user", "content": f"demo: think so and so\n{TWO_CALLS}"}]
    more: dict[str, Any] = {"tools": TOOLS, "reasoning": {"effort": "high", "summary": "auto"}, "store": False}
    with providers.asking("anthropic", "anthropic") as asked:
        first: Response = form(client, model=CLAUDE, input=items, **more)
        assert [item.type for item in first.output] == ["reasoning", "function_call", "function_call"]
        thought, *calls = first.output
        assert thought.type == "reasoning" and thought.summary[0].text == "so and so"
        items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
        for call in calls:
            assert call.type == "function_call"
            said = f"{call.name}: fine"
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": said})
        second = form(client, model=CLAUDE, input=items, **more)
    assert second.output_text == "both are known"
    assert '"type":"thinking","thinking":"so and so"' in asked[1]["body"]
    assert "weather: fine" in asked[1]["body"] and "time: fine" in asked[1]["body"]


def test_the_parsing_helper(client: openai.OpenAI) -> None:
    says = 'demo: say {"name": "Ada", "age": 36, "tags": ["x"]}'
    done = client.responses.parse(model=CLAUDE, input=says, text_format=Person)
    assert done.output_parsed == Person(name="Ada", age=36, tags=["x"])


def test_custom_tools(client: openai.OpenAI) -> None:
    script = 'demo: call patch {"input": "*** Begin"}'
    done = client.responses.create(model=CLAUDE, input=script, tools=[{"type": "custom", "name": "patch"}])
    [call] = done.output
    assert call.type == "custom_tool_call" and (call.name, call.input) == ("patch", "*** Begin")


def test_a_limit_is_told(client: openai.OpenAI) -> None:
    done = client.responses.create(model=CLAUDE, input="demo: say hm\ndemo: length", max_output_tokens=10)
    assert done.status == "incomplete" and done.incomplete_details is not None
    assert done.incomplete_details.reason == "max_output_tokens"


def test_tokens_are_counted(client: openai.OpenAI, providers: Providers) -> None:
    with providers.asking("anthropic") as asked:
        counted = client.responses.input_tokens.count(model=CLAUDE, input="word " * 50, instructions="S")
    assert asked[0]["path"] == "/v1/messages/count_tokens"
    assert (counted.object, counted.input_tokens) == ("response.input_tokens", len(asked[0]["body"]) // 4)


ERRORS: list[tuple[dict[str, Any], type[openai.APIStatusError], str | None, str | None]] = [
    ({"previous_response_id": "resp_1"}, openai.BadRequestError, "unsupported_value", "previous_response_id"),
    ({"model": "nobody"}, openai.NotFoundError, "model_not_found", "model"),
    ({"input": "demo: fail 529"}, openai.InternalServerError, "server_is_overloaded", None),
    ({"input": "demo: fail 429"}, openai.RateLimitError, "rate_limit_exceeded", None),
]


@pytest.mark.parametrize(("changes", "kind", "code", "param"), ERRORS, ids=[str(error[0]) for error in ERRORS])
@pytest.mark.parametrize("stream", [False, True])
def test_errors(
    client: openai.OpenAI,
    changes: dict[str, Any],
    kind: type[openai.APIStatusError],
    code: str | None,
    param: str | None,
    stream: bool,
) -> None:
    asked: dict[str, Any] = {"model": CLAUDE, "input": "hello", "stream": stream, **changes}
    with pytest.raises(kind) as caught:
        client.responses.create(**asked)
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize("fault", ["break 529", "truncate"])
def test_a_stream_that_fails_is_never_completed(client: openai.OpenAI, fault: str) -> None:
    with client.responses.create(model=CLAUDE, input=f"demo: say {TEXT}\ndemo: {fault}", stream=True) as stream:
        found = list(stream)
    assert found[-1].type == "response.failed" and found[-1].response.error is not None
    assert found[-1].response.status == "failed" and "response.completed" not in [event.type for event in found]


def test_what_would_need_a_store_is_not_there(client: openai.OpenAI) -> None:
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError) as caught:
            call("resp_1")
        assert caught.value.code == "unknown_url"

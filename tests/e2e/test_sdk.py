"""Anthropic's own SDK for Python, as it comes, against the gateway."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, TextBlock, ToolParam, ToolUseBlock

from tests.e2e.refusals import never_asked
from tests.e2e.stack import ONE_WORKER, SECONDS, Model, Stack, ids, up

LISTED = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  openai: {dialects: [chat], base_url: "${MODEL_URL}", api_key: {env: MODEL_KEY}}
models:
  - {name: claude-x, provider: openai, model: gpt-4o-mini}
  - {name: claude-other, provider: openai, model: gpt-4o-mini, allow: 'jwt.team == "marketing"'}
"""
TOOLS: list[ToolParam] = [
    {"name": name, "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
    for name in ("weather", "time")
]
TWO_CALLS = """demo: call weather {"city": "Zurich"}
demo: call time {"city": "Bern"}
demo: then
demo: say both are known"""


@pytest.fixture(scope="module", params=["auth_token", "api_key"])
def client(stack: Stack, request: pytest.FixtureRequest) -> Iterator[anthropic.Anthropic]:
    """Claude Code's two ways, ANTHROPIC_AUTH_TOKEN and ANTHROPIC_API_KEY."""
    with sdk(stack, **{request.param: stack.good_token}) as made:
        yield made


def sdk(stack: Stack, auth_token: str | None = None, api_key: str | None = None) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=stack.url, max_retries=0, timeout=SECONDS, auth_token=auth_token, api_key=api_key
    )


def asking(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "claude-x", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


def test_create(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**asking("demo: say bonjour"))
    assert message.content == [TextBlock(type="text", text="bonjour", citations=None)]
    assert (message.role, message.model, message.stop_reason) == ("assistant", "claude-x", "end_turn")
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert message._request_id is not None and message._request_id.startswith("req_")


def test_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**asking("demo: say one two three four five six")) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(pieces) > 1 and "".join(pieces) == "one two three four five six"
    assert message.stop_reason == "end_turn" and message.usage.output_tokens > 0


def results(message: anthropic.types.Message) -> MessageParam:
    calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
    assert [(call.name, call.input) for call in calls] == [("weather", {"city": "Zurich"}), ("time", {"city": "Bern"})]
    assert len({call.id for call in calls}) == 2
    return {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": c.id, "content": f"{c.name}: fine"} for c in reversed(calls)
        ],
    }


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_two_tools_at_once(client: anthropic.Anthropic, model: Model, streamed: bool) -> None:
    def ask(messages: list[MessageParam]) -> anthropic.types.Message:
        asked: dict[str, Any] = {"model": "claude-x", "max_tokens": 100, "messages": messages, "tools": TOOLS}
        if not streamed:
            message: anthropic.types.Message = client.messages.create(**asked)
            return message
        with client.messages.stream(**asked) as stream:
            return stream.get_final_message()

    messages: list[MessageParam] = [{"role": "user", "content": TWO_CALLS}]
    first = ask(messages)
    assert first.stop_reason == "tool_use"
    second = ask([*messages, {"role": "assistant", "content": first.content}, results(first)])
    assert second.stop_reason == "end_turn"
    assert [block.text for block in second.content if isinstance(block, TextBlock)] == ["both are known"]
    sent = model.last()["body"]
    assert sent.index("weather: fine") > 0 and sent.index("time: fine") > 0


def test_count_tokens(client: anthropic.Anthropic, model: Model) -> None:
    with never_asked(model):
        counted = client.messages.count_tokens(model="claude-x", messages=[{"role": "user", "content": "word " * 100}])
    assert 50 < counted.input_tokens < 300


def test_list_of_models(tmp_path_factory: pytest.TempPathFactory, model: Model) -> None:
    folder = tmp_path_factory.mktemp("listed")
    with up(folder, environ={"MODEL_URL": model.url}, config=LISTED, arguments=ONE_WORKER) as stack, never_asked(model):
        for team, names in {"data-platform": ["claude-x"], "marketing": ["claude-x", "claude-other"]}.items():
            with sdk(stack, api_key=stack.token(team=team)) as client:
                assert [listed.id for listed in client.models.list()] == names
                assert client.models.retrieve("claude-x").id == "claude-x"
        with sdk(stack, api_key=stack.good_token) as client, pytest.raises(anthropic.NotFoundError):
            client.models.retrieve("claude-other")


ERRORS: dict[str, tuple[type[anthropic.APIStatusError], str]] = {
    "400": (anthropic.BadRequestError, "invalid_request_error"),
    "403": (anthropic.PermissionDeniedError, "permission_error"),
    "404": (anthropic.NotFoundError, "not_found_error"),
    "409": (anthropic.ConflictError, "conflict_error"),
    "413": (anthropic.RequestTooLargeError, "request_too_large"),
    "429 retry-after=7": (anthropic.RateLimitError, "rate_limit_error"),
    "500": (anthropic.InternalServerError, "api_error"),
    "503": (anthropic.OverloadedError, "overloaded_error"),
    "504": (anthropic.DeadlineExceededError, "timeout_error"),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("failure", ERRORS)
def test_the_models_errors_raise_what_anthropics_would(
    client: anthropic.Anthropic, stack: Stack, failure: str, streamed: bool
) -> None:
    expected, kind = ERRORS[failure]
    with pytest.raises(expected) as raised:
        client.messages.create(**asking(f"demo: fail {failure}", stream=streamed))
    error = raised.value
    assert type(error) is expected and error.type == kind
    assert error.response.headers.get("retry-after") == ("7" if "retry" in failure else None)
    assert error.request_id is not None
    record = stack.record_where(lambda line: error.request_id in ids(line))
    assert record["http.status"] == error.status_code and record["reason"]


REFUSED: list[tuple[str, dict[str, Any], type[anthropic.APIStatusError]]] = [
    ("a bad token", {"auth_token": "nonsense"}, anthropic.AuthenticationError),
    ("a bad key", {"api_key": "nonsense"}, anthropic.AuthenticationError),
    ("another team's", {"team": "marketing"}, anthropic.PermissionDeniedError),
]


@pytest.mark.parametrize(("name", "credential", "expected"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_the_gateways_own_refusals(
    stack: Stack, model: Model, name: str, credential: dict[str, str], expected: type[anthropic.APIStatusError]
) -> None:
    if "team" in credential:
        credential = {"auth_token": stack.token(team=credential["team"])}
    with never_asked(model), sdk(stack, **credential) as client, pytest.raises(expected) as raised:
        client.messages.create(**asking("hello"))
    assert type(raised.value) is expected
    record = stack.record_where(lambda line: raised.value.request_id in ids(line))
    assert record["http.status"] == raised.value.status_code and record["reason"]


def test_the_sdk_tries_again_when_told_to(stack: Stack) -> None:
    with anthropic.Anthropic(base_url=stack.url, auth_token=stack.good_token, max_retries=2) as client:
        message = client.messages.create(**asking("demo: fail 429 times=1 retry-after=0\ndemo: say at last"))
    assert [block.text for block in message.content if isinstance(block, TextBlock)] == ["at last"]

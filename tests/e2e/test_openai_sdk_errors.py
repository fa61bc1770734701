"""What fails, whoever fails, raises in OpenAI's SDK what OpenAI itself would make it raise."""

from collections.abc import Iterator

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.e2e.providers import Providers
from tests.e2e.stack import Stack, ids
from tests.e2e.test_openai_sdk import TEXT, asking, sdk

Failure = tuple[type[openai.APIStatusError], int, str]
# Provider's status -> what is raised, its status, its type.
OF_CLAUDE: dict[str, Failure] = {
    "400": (openai.BadRequestError, 400, "invalid_request_error"),
    "401": (openai.AuthenticationError, 401, "invalid_request_error"),
    "402": (openai.RateLimitError, 429, "insufficient_quota"),
    "403": (openai.PermissionDeniedError, 403, "invalid_request_error"),
    "404": (openai.NotFoundError, 404, "invalid_request_error"),
    "409": (openai.ConflictError, 409, "invalid_request_error"),
    "413": (openai.APIStatusError, 413, "invalid_request_error"),
    "429 retry-after=7": (openai.RateLimitError, 429, "rate_limit_error"),
    "500": (openai.InternalServerError, 500, "server_error"),
    "503": (openai.InternalServerError, 503, "server_error"),
    "504": (openai.InternalServerError, 504, "server_error"),
    "529 retry-after=7": (openai.InternalServerError, 503, "service_unavailable_error"),
}
OF_GPT: dict[str, Failure] = {
    "400": (openai.BadRequestError, 400, "invalid_request_error"),
    "401": (openai.AuthenticationError, 401, "invalid_request_error"),
    "403": (openai.PermissionDeniedError, 403, "invalid_request_error"),
    "404": (openai.NotFoundError, 404, "invalid_request_error"),
    "409": (openai.ConflictError, 409, "invalid_request_error"),
    "422": (openai.UnprocessableEntityError, 422, "invalid_request_error"),
    "429 retry-after=7": (openai.RateLimitError, 429, "requests"),
    "500": (openai.InternalServerError, 500, "server_error"),
    "503": (openai.InternalServerError, 503, "server_error"),
}
CLAUDE, GPT = "claude-opus-5", "gpt-4o-mini"
FAILURES = [(CLAUDE, *failure) for failure in OF_CLAUDE.items()] + [(GPT, *failure) for failure in OF_GPT.items()]
LOST = (openai.APIError, httpx.TransportError)


@pytest.fixture(scope="module")
def client(three: Stack) -> Iterator[openai.OpenAI]:
    with sdk(three, three.good_token) as made:
        yield made


def check(stack: Stack, error: openai.APIStatusError, expected: Failure) -> None:
    assert (type(error), error.status_code, error.type) == expected
    assert isinstance(error.body, dict) and error.body.keys() == {"message", "type", "param", "code"}
    assert error.request_id is not None
    line = stack.record_where(lambda line: error.request_id in ids(line))
    assert line["http.status"] == error.status_code and line["reason"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", FAILURES, ids=lambda case: f"{case[0]} {case[1]}")
def test_a_providers_errors(
    client: openai.OpenAI, three: Stack, case: tuple[str, str, Failure], streamed: bool
) -> None:
    model, failure, expected = case
    with pytest.raises(expected[0]) as raised:
        client.chat.completions.create(**asking(model, f"demo: fail {failure}", stream=streamed))
    check(three, raised.value, expected)
    assert f"The demo model fails with {failure[:3]}" in raised.value.message
    assert raised.value.response.headers.get("retry-after") == ("7" if "retry" in failure else None)


REFUSED: dict[str, tuple[str, str, Failure]] = {
    "a bad token": ("nonsense", CLAUDE, (openai.AuthenticationError, 401, "invalid_request_error")),
    "another team's": ("marketing", GPT, (openai.PermissionDeniedError, 403, "invalid_request_error")),
    "an unknown model": ("", "llama", (openai.NotFoundError, 404, "invalid_request_error")),
    "no model": ("", "", (openai.BadRequestError, 400, "invalid_request_error")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_gateways_own(three: Stack, providers: Providers, name: str) -> None:
    token, model, expected = REFUSED[name]
    credential = token and (three.token(team=token) if token == "marketing" else token)
    with (
        providers.asking(),
        sdk(three, credential or three.good_token) as client,
        pytest.raises(expected[0]) as raised,
    ):
        client.chat.completions.create(**asking(model, "hello"))
    check(three, raised.value, expected)


def test_a_path_that_is_not_served(three: Stack, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.embeddings.create(model="gpt-4o-mini", input="x", encoding_format="float")
    check(three, raised.value, (openai.NotFoundError, 404, "invalid_request_error"))


@pytest.mark.parametrize("model", [CLAUDE, GPT])
@pytest.mark.parametrize("how", ["break 529", "break 500", "truncate", "reset"])
def test_a_stream_that_breaks_never_ends_normally(client: openai.OpenAI, three: Stack, model: str, how: str) -> None:
    chunks: list[ChatCompletionChunk] = []
    asked = asking(model, f"demo: say {TEXT}\ndemo: {how}\ndemo: slow 40", stream=True)
    expected = LOST if how == "reset" else openai.APIError
    with client.chat.completions.create(**asked) as stream, pytest.raises(expected) as raised:
        chunks.extend(stream)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    said = "".join(choice.delta.content or "" for choice in choices)
    assert TEXT.startswith(said) and said != TEXT and {choice.finish_reason for choice in choices} <= {None}
    assert not isinstance(raised.value, openai.APIStatusError)
    line = three.record_where(lambda line: stream.response.headers["x-request-id"] in ids(line))
    assert line["http.status"] == 200
    assert line["reason"] == ("Upstream" if "break" in how else "Truncated")


@pytest.mark.parametrize("model", [CLAUDE, GPT])
@pytest.mark.parametrize("how", ["truncate", "html", "reset"])
def test_a_whole_answer_that_breaks(client: openai.OpenAI, three: Stack, model: str, how: str) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(**asking(model, f"demo: say {TEXT}\ndemo: {how}"))
    check(three, raised.value, (openai.InternalServerError, 502, "server_error"))

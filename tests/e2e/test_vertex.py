"""Claude and Gemini on Vertex AI through Envoy, by a service account."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import openai
import pytest

from tests.e2e import clouds
from tests.e2e.clouds import EVENTS, MESSAGE, Cloud, answered, sse
from tests.e2e.stack import ONE_WORKER, Stack, prompt, up
from tests.e2e.token_server import TokenServer

PLACE = "/v1/projects/my-project/locations/europe-west1"
CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  vertex:
    cloud: google-vertex
    project: my-project
    location: europe-west1
    dialects: [messages]
    base_url: "${CLOUD_URL}/v1"
    auth: {google: {service_account: {file: key.json}}}
  gemini:
    cloud: google-vertex
    project: my-project
    location: europe-west1
    dialects: [chat]
    base_url: "${CLOUD_URL}"
    auth: {google: {service_account: {file: key.json}}}
models:
  - {name: claude-x, provider: vertex, model: claude-sonnet-4-5@20250929}
  - {name: gemini, provider: gemini, model: google/gemini-2.5-flash}
"""


@dataclass(frozen=True)
class Vertex:
    stack: Stack
    cloud: Cloud
    tokens: TokenServer


@pytest.fixture(scope="module")
def vertex(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vertex]:
    folder = tmp_path_factory.mktemp("vertex")
    with TokenServer().serving() as tokens:
        (folder / "key.json").write_text(json.dumps(tokens.service_account()))
        (folder / "key.json").chmod(0o600)
        issued = {f"Bearer token-number-{number}" for number in (1, 2)}
        with (
            Cloud(
                lambda seen, _: None if seen.headers.get("authorization") in issued else "no token"
            ).serving() as cloud,
            up(folder, environ={"CLOUD_URL": cloud.url}, config=CONFIG, arguments=ONE_WORKER) as stack,
        ):
            yield Vertex(stack, cloud, tokens)


def test_a_call_has_its_model_in_the_path_and_the_version_in_the_body(vertex: Vertex) -> None:
    vertex.cloud.answer(answered(MESSAGE))
    betas = {"anthropic-beta": "context-management-2025-06-27,oauth-2025-04-20"}
    answer = vertex.stack.call(prompt("hi"), headers=betas)
    assert answer.json() == MESSAGE
    seen = vertex.cloud.last
    assert seen.target == f"{PLACE}/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"
    sent = {name: value for name, value in prompt("hi").items() if name != "model"}
    assert seen.body == {**sent, "anthropic_version": "vertex-2023-10-16"}
    assert seen.headers["anthropic-beta"] == "context-management-2025-06-27"
    assert "anthropic-version" not in seen.headers


def test_a_stream(vertex: Vertex) -> None:
    vertex.cloud.answer(sse(EVENTS))
    answer = vertex.stack.call(prompt("hi", stream=True))
    assert answer.text.count("event: ") == len(EVENTS) and "message_stop" in answer.text
    assert vertex.cloud.last.target.endswith(":streamRawPredict") and vertex.cloud.last.body["stream"] is True


def test_tokens_are_counted_there(vertex: Vertex) -> None:
    vertex.cloud.answer(answered({"input_tokens": 7}))
    body = {"model": "claude-x", "messages": [{"role": "user", "content": "hi"}]}
    assert vertex.stack.call(body, path="/v1/messages/count_tokens").json() == {"input_tokens": 7}
    assert vertex.cloud.last.target == f"{PLACE}/publishers/anthropic/models/count-tokens:rawPredict"
    assert vertex.cloud.last.body["model"] == "claude-sonnet-4-5@20250929"


def test_gemini_answers_at_the_openai_endpoint(vertex: Vertex) -> None:
    client = openai.OpenAI(base_url=f"{vertex.stack.url}/v1", api_key=vertex.stack.good_token, max_retries=0)
    vertex.cloud.answer(answered(clouds.COMPLETION))
    answer = client.chat.completions.create(model="gemini", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "hi"
    assert vertex.cloud.last.target == f"{PLACE}/endpoints/openapi/chat/completions"
    assert vertex.cloud.last.body["model"] == "google/gemini-2.5-flash"


def test_googles_errors(vertex: Vertex) -> None:
    told = {"error": {"code": 429, "message": "Quota exceeded for model", "status": "RESOURCE_EXHAUSTED"}}
    vertex.cloud.answer(answered(told, 429))
    answer = vertex.stack.call(prompt("hi"))
    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate_limit_error")
    assert "Quota exceeded" in answer.json()["error"]["message"]


def test_one_token_is_fetched_for_all_workers(vertex: Vertex) -> None:
    """One for each provider."""
    assert vertex.tokens.asked == ["POST /google/token"] * 2

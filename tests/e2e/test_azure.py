"""Azure OpenAI and Claude in Foundry through Envoy, by key and by tokens of Entra ID."""

from collections.abc import Iterator
from dataclasses import dataclass

import openai
import pytest

from tests.e2e import clouds
from tests.e2e.clouds import EVENTS, MESSAGE, Cloud, answered, sse
from tests.e2e.stack import ONE_WORKER, Stack, prompt, up
from tests.e2e.token_server import TokenServer

KEY = "azure-key-0123456789abcdef"
CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  azure:
    cloud: azure-openai
    base_url: "${CLOUD_URL}/openai/v1"
    dialects: [chat, responses]
    auth: {azure: {key: {env: AZURE_KEY}}}
  older:
    cloud: azure-openai
    base_url: "${CLOUD_URL}"
    api_version: "2024-10-21"
    dialects: [chat]
    auth: {azure: {client: {tenant: tenant-1, client_id: app, secret: {env: CLIENT_SECRET}}}, endpoint: "${TOKEN_URL}"}
  foundry:
    cloud: azure-foundry
    base_url: "${CLOUD_URL}/anthropic/"
    dialects: [messages]
    auth:
      azure: {workload_identity: {tenant: tenant-1, client_id: app, token: {file: token}}}
      endpoint: "${TOKEN_URL}"
  machine:
    cloud: azure-foundry
    base_url: "${CLOUD_URL}"
    dialects: [messages]
    auth: {azure: {managed_identity: {}}, endpoint: "${TOKEN_URL}"}
  by_key:
    cloud: azure-foundry
    base_url: "${CLOUD_URL}"
    dialects: [messages]
    auth: {azure: {key: {env: AZURE_KEY}}}
models:
  - {name: gpt-x, provider: azure, model: my-gpt}
  - {name: gpt-older, provider: older, model: my-older-gpt}
  - {name: claude-x, provider: foundry, model: my-claude}
  - {name: claude-machine, provider: machine, model: my-claude}
  - {name: claude-key, provider: by_key, model: my-claude}
"""


@dataclass(frozen=True)
class Azure:
    stack: Stack
    cloud: Cloud
    tokens: TokenServer

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.stack.url}/v1", api_key=self.stack.good_token, max_retries=0)


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    folder = tmp_path_factory.mktemp("azure")
    (folder / "token").write_text("the proof\n")
    with TokenServer().serving() as tokens, Cloud(_verify).serving() as cloud:
        environ = {"AZURE_KEY": KEY, "CLIENT_SECRET": "the proof", "CLOUD_URL": cloud.url, "TOKEN_URL": tokens.url}
        with up(folder, environ=environ, config=CONFIG, arguments=ONE_WORKER) as stack:
            yield Azure(stack, cloud, tokens)


def _verify(seen: clouds.Received, _method: str) -> str | None:
    by_key = seen.headers.get("api-key" if seen.target.startswith("/openai") else "x-api-key") == KEY
    by_token = seen.headers.get("authorization", "").startswith("Bearer token-number-")
    return None if by_key != by_token else "no key and no token"


def test_the_v1_api(azure: Azure) -> None:
    azure.cloud.answer(answered(clouds.COMPLETION))
    answer = azure.client.chat.completions.create(model="gpt-x", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "hi"
    seen = azure.cloud.last
    assert (seen.target, seen.body["model"], seen.headers["api-key"]) == ("/openai/v1/chat/completions", "my-gpt", KEY)
    assert "authorization" not in seen.headers


def test_the_responses_api(azure: Azure) -> None:
    done = {"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": []}
    azure.cloud.answer(answered(done))
    azure.client.responses.create(model="gpt-x", input="hi")
    assert azure.cloud.last.target == "/openai/v1/responses"


def test_a_deployment_of_an_older_version(azure: Azure) -> None:
    azure.cloud.answer(answered(clouds.COMPLETION))
    azure.client.chat.completions.create(model="gpt-older", messages=[{"role": "user", "content": "hi"}])
    expected = "/openai/deployments/my-older-gpt/chat/completions?api-version=2024-10-21"
    assert azure.cloud.last.target == expected
    assert azure.cloud.last.headers["authorization"].startswith("Bearer token-number-")


@pytest.mark.parametrize("model", ["claude-x", "claude-machine", "claude-key"])
def test_claude_in_foundry(azure: Azure, model: str) -> None:
    azure.cloud.answer(answered(MESSAGE))
    assert (
        azure.stack.call(prompt("hi", model=model), headers={"anthropic-beta": "effort-2025-11-24"}).json() == MESSAGE
    )
    seen = azure.cloud.last
    assert (seen.target, seen.body) == ("/anthropic/v1/messages", prompt("hi", model="my-claude"))
    assert (seen.headers["anthropic-version"], seen.headers["anthropic-beta"]) == ("2023-06-01", "effort-2025-11-24")
    assert ("x-api-key" in seen.headers) == (model == "claude-key")


def test_a_stream_of_foundry(azure: Azure) -> None:
    azure.cloud.answer(sse(EVENTS))
    answer = azure.stack.call(prompt("hi", stream=True))
    assert answer.text.count("event: ") == len(EVENTS)


def test_a_prompt_that_azure_filters_is_a_400(azure: Azure) -> None:
    inner = {"code": "ResponsibleAIPolicyViolation"}
    told = {"error": {"message": "The response was filtered", "code": "content_filter", "innererror": inner}}
    azure.cloud.answer(answered(told, 400))
    with pytest.raises(openai.BadRequestError) as caught:
        azure.client.chat.completions.create(model="gpt-x", messages=[{"role": "user", "content": "hi"}])
    assert caught.value.code == "content_filter"


def test_nothing_shows_key_or_token(azure: Azure) -> None:
    azure.cloud.answer(answered({"error": {"message": f"bad key {KEY}", "code": "401"}}, 401))
    with pytest.raises(openai.APIStatusError) as caught:
        azure.client.chat.completions.create(model="gpt-x", messages=[{"role": "user", "content": "hi"}])
    assert KEY not in caught.value.response.text and KEY not in azure.stack.printed
    assert "token-number" not in azure.stack.printed and "the proof" not in azure.stack.printed

"""The form of a provider's credential follows the dialect of the call where a provider speaks several."""

from collections.abc import Iterator

import pytest

from tests.e2e.recording_provider import RecordingProvider
from tests.e2e.stack import ONE_WORKER, PROVIDER_KEY, Json, Stack, up

CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  both: {dialects: [messages, chat], base_url: "${PROVIDER}", api_key: {env: MODEL_KEY}}
  turned: {dialects: [chat, messages], base_url: "${PROVIDER}/v1", api_key: {env: MODEL_KEY}}
models:
  - {name: both, provider: both}
  - {name: turned, provider: turned}
routes:
  - {path: "/v1/*", serve: passthrough, provider: both}
"""
API_KEY, BEARER = {"x-api-key": PROVIDER_KEY}, {"authorization": f"Bearer {PROVIDER_KEY}"}
TURNS = [{"role": "user", "content": "q"}]
ANTHROPIC, OPENAI = {"anthropic-version": "2023-06-01"}, {"user-agent": "OpenAI/Python 1.0"}


@pytest.fixture(scope="module")
def recording() -> Iterator[RecordingProvider]:
    with RecordingProvider().serving() as running:
        yield running


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, recording: RecordingProvider) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("credential-form")
    with up(folder, environ={"PROVIDER": recording.url}, config=CONFIG, arguments=ONE_WORKER) as running:
        yield running


@pytest.mark.parametrize("model", ["both", "turned"])
@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/messages", {"max_tokens": 9, "messages": TURNS}, API_KEY),
        ("/v1/messages/count_tokens", {"messages": TURNS}, API_KEY),
        ("/v1/chat/completions", {"messages": TURNS}, BEARER),
    ],
)
def test_served(gate: Stack, recording: RecordingProvider, model: str, path: str, body: Json, expected: Json) -> None:
    recording.answer()
    gate.call({"model": model, **body}, path=path)
    assert credentials(recording) == expected


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/v1/messages/batches", OPENAI, API_KEY),
        ("/v1/embeddings", ANTHROPIC, BEARER),
        ("/v1/responses/resp_1", {}, BEARER),
        ("/v1/files", ANTHROPIC, API_KEY),
        ("/v1/files", OPENAI | {"anthropic-version": ""}, BEARER),
    ],
)
def test_passed(gate: Stack, recording: RecordingProvider, path: str, headers: Json, expected: Json) -> None:
    recording.answer()
    gate.call(path=path, method="GET", headers=headers)
    assert credentials(recording) == expected


def credentials(recording: RecordingProvider) -> dict[str, str]:
    [seen] = recording.seen
    return {name: value for name, value in seen.headers.items() if name in API_KEY | BEARER}

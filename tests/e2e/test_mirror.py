"""Copies of calls go to another provider, translated for it and with its own key; the client never waits for them."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.e2e.prometheus import scraped
from tests.e2e.recording_provider import RecordingProvider
from tests.e2e.stack import GATEWAY, PROVIDER_KEY, SECONDS, Model, Stack, free_port, prompt, up

COPY_KEY = "sk-key-of-the-copy-0123456789abcdef"
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "copied",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 11, "output_tokens": 7},
}
METRICS = free_port()
CONFIG = (
    GATEWAY.partition("models:")[0]
    + f"""
  copy: {{dialects: [messages], base_url: "${{COPY_URL}}", api_key: {{env: COPY_KEY}}, timeouts: {{idle: 1}}}}
  nobody: {{dialects: [chat], base_url: "http://127.0.0.1:1/v1"}}
models:
  - {{name: "gpt-*", provider: openai, model: gpt-4o-mini, mirror: {{provider: copy, model: claude-x, share: 1}}}}
  - {{name: "dead-*", provider: openai, model: gpt-4o-mini, mirror: {{provider: nobody, share: 1}}}}
  - {{name: "rare-*", provider: openai, model: gpt-4o-mini, mirror: {{provider: copy, share: 0.000001}}}}
metrics: {{port: {METRICS}}}
"""
)
CHAT = {"max_completion_tokens": 50, "messages": [{"role": "user", "content": "demo: say hi"}]}


@pytest.fixture(scope="module")
def copy() -> Iterator[RecordingProvider]:
    with RecordingProvider().serving() as found:
        yield found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, model: Model, copy: RecordingProvider) -> Iterator[Stack]:
    environ = {"MODEL_URL": model.url, "COPY_URL": copy.url, "COPY_KEY": COPY_KEY}
    with up(tmp_path_factory.mktemp("mirror"), environ=environ, config=CONFIG) as running:
        yield running


def until_copied(copy: RecordingProvider) -> None:
    deadline = time.monotonic() + SECONDS
    while not copy.seen:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def copies(outcome: str) -> float:
    """How many copies have ended so."""
    name = "extproc_requests_total"
    found = scraped(f"http://127.0.0.1:{METRICS}/metrics", lambda seen: bool(seen.samples))
    return found.total(name, gen_ai_operation_name="mirror", gen_ai_provider_name="copy", reason=outcome)


@pytest.mark.parametrize("stream", [False, True])
def test_a_copy_is_translated_and_has_its_own_key(
    stack: Stack, model: Model, copy: RecordingProvider, stream: bool
) -> None:
    copy.answer(body=json.dumps(ANSWER).encode())
    before = copies("")
    answer = stack.call(CHAT | {"model": "gpt-x", "stream": stream}, path="/v1/chat/completions")
    assert answer.status_code == 200 and "hi" in answer.text
    until_copied(copy)
    [seen] = copy.seen
    assert seen.target == "/v1/messages" and seen.headers["x-api-key"] == COPY_KEY
    assert seen.headers["host"] == copy.url.removeprefix("http://")
    assert PROVIDER_KEY not in str(seen) and stack.good_token not in str(seen)
    assert not [name for name in seen.headers if name.startswith(("x-extproc", "x-envoy"))]
    assert json.loads(seen.body)["model"] == "claude-x"
    own = model.last()
    assert COPY_KEY not in json.dumps(own) and "x-extproc" not in json.dumps(own)
    # Both are on record: the call in the log, its copy in the metrics.
    assert stack.record(answer)["gen_ai.provider.name"] == "openai"
    deadline = time.monotonic() + SECONDS
    while copies("") == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    found = scraped(f"http://127.0.0.1:{METRICS}/metrics", lambda seen: bool(seen.samples))
    tokens = {"gen_ai_operation_name": "mirror", "gen_ai_token_type": "input"}
    assert found.total("gen_ai_client_token_usage_sum", **tokens) == 11 * copies("")
    assert found.total("gen_ai_server_request_duration_seconds_count", gen_ai_operation_name="mirror") >= copies("")


def test_a_copy_that_fails_is_counted_and_no_client_hears_of_it(stack: Stack, copy: RecordingProvider) -> None:
    copy.answer(500, b"{}")
    before = copies("Upstream")
    answer = stack.call(prompt("demo: say hi") | {"model": "gpt-x"})
    assert answer.status_code == 200
    deadline = time.monotonic() + SECONDS
    while copies("Upstream") == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_nobody_waits_for_a_copy(stack: Stack) -> None:
    for name in ("dead-x", "rare-x"):
        answer = stack.call(prompt("demo: say hi") | {"model": name})
        assert answer.status_code == 200
        assert stack.record(answer)["gen_ai.provider.name"] == "openai"


def test_only_the_share_is_copied(stack: Stack, copy: RecordingProvider) -> None:
    copy.answer(body=json.dumps(ANSWER).encode())
    for _ in range(5):
        assert stack.call(prompt("demo: say hi") | {"model": "rare-x"}).status_code == 200
    assert stack.call(prompt("demo: say hi") | {"model": "gpt-x"}).status_code == 200
    until_copied(copy)
    assert [json.loads(seen.body)["model"] for seen in copy.seen] == ["claude-x"]

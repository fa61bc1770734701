"""Behind a passthrough route what reaches a model, by whatever spelling, is served under the rules or refused."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e import wire
from tests.e2e.recording_provider import RecordingProvider
from tests.e2e.stack import ONE_WORKER, Stack, up

CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
authorization:
  deny:
    - 'request.path.startsWith("/v1/models/m:secret")'
    - 'request.path.contains("@private")'
    - 'request.operation in ["completions", "batches"]'
providers:
  versioned: {dialects: [chat], base_url: "${PROVIDER}/v1", api_key: {env: MODEL_KEY}}
  plain: {dialects: [messages], base_url: "${PROVIDER}", api_key: {env: MODEL_KEY}}
  deep: {dialects: [chat], base_url: "${PROVIDER}/api/v1", api_key: {env: MODEL_KEY}}
models:
  - {name: gpt-open, provider: versioned, model: gpt-pinned}
  - {name: gpt-secret, provider: versioned, allow: 'jwt.team == "research"'}
routes:
  - {path: "*", serve: passthrough, provider: versioned}
  - {path: "/plain/*", serve: passthrough, provider: plain}
  - {path: "/deep/*", serve: passthrough, provider: deep}
"""
SECRET = {"model": "gpt-secret", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}], "input": "q"}
OPEN = SECRET | {"model": "gpt-open"}


@pytest.fixture(scope="module")
def recording() -> Iterator[RecordingProvider]:
    with RecordingProvider().serving() as running:
        yield running


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, recording: RecordingProvider) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("passed-paths")
    with up(folder, environ={"PROVIDER": recording.url}, config=CONFIG, arguments=ONE_WORKER) as running:
        yield running


def ask(gate: Stack, target: str, body: object = SECRET) -> httpx.Response:
    authorization = f"authorization: Bearer {gate.good_token}"
    return wire.send(gate.url, authorization, target=target, body=json.dumps(body).encode())


SPELLINGS = [
    "/chat/completions",
    "/chat/completions/",
    "/CHAT/completions",
    "/messages",
    "/messages/count_tokens",
    "/responses",
    "/responses/input_tokens",
    "/;x/chat/completions",
    "/;x/v1/messages",
    "/v1;x=1/messages",
    "/v1/messages;x=1",
    "/v1/x/..;/messages",
    "/v1/messages%3Bx=1",
    "/v1/Messages",
    "/v1/%4Dessages",
    "/v1/messages%20",
    "/v1/messages.",
    "/v1/%256Dessages",
    "/v1/messages%253Fx=1",
    "/v1/messages%23x",
    "/v1/v1/chat/completions",
    "/openai/deployments/d/chat/completions",
    "/plain/v1/messages",
    "/plain/chat/completions",
    "/plain/;a=b/v1/responses",
    "/deep/v1/chat/completions",
    "/deep/x/..;/chat/completions",
    "/v1/files/..;/batches",
    "/v1/files/%252e%252e/admin",
]


@pytest.mark.parametrize("target", SPELLINGS)
def test_no_spelling_leads_past_the_rules_of_a_model(gate: Stack, recording: RecordingProvider, target: str) -> None:
    recording.answer()
    answer = ask(gate, target)
    assert not recording.seen
    assert answer.status_code in (400, 403, 404), answer.text
    assert gate.record(answer)["http.status"] == answer.status_code


def test_a_path_that_is_a_served_one_upstream_is_served(gate: Stack, recording: RecordingProvider) -> None:
    recording.answer()
    answer = ask(gate, "/chat/completions", OPEN)
    assert answer.status_code == 200, answer.text
    [seen] = recording.seen
    assert (seen.target, json.loads(seen.body)["model"]) == ("/v1/chat/completions", "gpt-pinned")
    line = gate.record(answer)
    assert (line["endpoint"], line["gen_ai.request.model"], line["gen_ai.usage.input_tokens"]) == (
        "chat",
        "gpt-open",
        5,
    )


PASSED = {
    "/files": "/v1/files",
    "/v1/threads/t_1/messages": "/v1/threads/t_1/messages",
    "/v1/responses/resp_1": "/v1/responses/resp_1",
    "/v1/models/x%3Agenerate": "/v1/models/x:generate",
    "/v1/models/x:generate": "/v1/models/x:generate",
    "/v1/files/a%2Db%40c%2b%20d%c3%a9": "/v1/files/a-b@c+%20d%C3%A9",
    "/v1/files/100%": "/v1/files/100%25",
    "/v1/files/%2566": "/v1/files/%2566",
}


@pytest.mark.parametrize("target", PASSED)
def test_other_paths_pass_in_one_spelling(gate: Stack, recording: RecordingProvider, target: str) -> None:
    recording.answer()
    assert ask(gate, f"{target}?a=%3A").status_code == 200
    assert [seen.target for seen in recording.seen] == [f"{PASSED[target]}?a=%3A"]


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models/m:secret",
        "/v1/models/m%3Asecret",
        "/v1/models/m%3asecret",
        "/v1/%6Dodels/%6D%3Asecret",
        "/v1/files/@private",
        "/v1/files/%40private",
    ],
)
def test_an_escaped_character_leads_past_no_rule(gate: Stack, recording: RecordingProvider, target: str) -> None:
    recording.answer()
    answer = ask(gate, target)
    assert (answer.status_code, recording.seen) == (403, [])


@pytest.mark.parametrize(
    "target",
    ["/v1/completions", "/completions", "/v1/Completions", "/v1/messages/batches", "/v1/batches;x", "/batches"],
)
def test_a_rule_on_the_operation_refuses_what_reaches_a_model(
    gate: Stack, recording: RecordingProvider, target: str
) -> None:
    recording.answer()
    answer = ask(gate, target)
    assert (answer.status_code, recording.seen) == (403, [])
    assert gate.record(answer)["error"] == "not_allowed:authorization.deny.2"


def test_check_says_where_rules_of_models_do_not_apply(gate: Stack) -> None:
    path = gate.folder / "plain.yaml"
    path.write_text(CONFIG.replace('    - \'request.operation in ["completions", "batches"]\'\n', ""))
    environ = {"PATH": os.environ["PATH"], "MODEL_KEY": "k", "PROVIDER": "http://127.0.0.1:1"}
    for name, expected in (("plain.yaml", True), ("gateway.yaml", False)):
        argv = [sys.executable, "-m", "extproc", "check", "--config", name]
        done = subprocess.run(argv, cwd=gate.folder, env=environ, capture_output=True, text=True, check=True)
        assert ("rules of models do not apply" in done.stdout) is expected
        assert ("/v1/messages/batches" in done.stdout) is expected

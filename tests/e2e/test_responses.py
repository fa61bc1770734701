"""Responses clients through the real Envoy: a provider of their own dialect, and who may ask."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.canned import Canned, Upstream, upstream
from tests.e2e.stack import GATEWAY, ONE_WORKER, Json, Stack, up

SSE = "text/event-stream"
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 130,
}
HEAD: Json = {"id": "resp_1", "object": "response", "created_at": 7, "model": "gpt-x", "status": "in_progress"}
DONE = {**HEAD, "status": "completed", "output": [], "usage": USAGE, "unheard": [1.0]}
PATH = "/v1/responses"


def event(kind: str, n: int, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': n, **members})}\n\n".encode()


CREATED = event("response.created", 0, response=HEAD)
DELTA = event("response.output_text.delta", 1, delta="hi", item_id="m", output_index=0, content_index=0)
COMPLETED = event("response.completed", 2, response=DONE)
FAILED = event(
    "response.failed", 2, response={**HEAD, "status": "failed", "error": {"code": "server_error", "message": "no"}}
)
ANSWERS = {
    "whole": Canned(json.dumps(DONE, indent=1).encode()),
    "stream": Canned(CREATED + DELTA + COMPLETED, media=SSE, cuts=(5, 60, 300)),
    "cut": Canned(CREATED + DELTA, media=SSE),
    "failed": Canned(CREATED + DELTA + FAILED, media=SSE),
    "refused": Canned(b'{"error": {"message": "no", "type": "t", "param": "input", "code": "c"}}', 400),
    "counted": Canned(b'{"object": "response.input_tokens", "input_tokens": 9}'),
    "limited": Canned(json.dumps(DONE).encode()),
    "filled": Canned(json.dumps(DONE).encode()),
    "set": Canned(json.dumps(DONE).encode()),
    "secret": Canned(json.dumps(DONE).encode()),
}


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    with upstream() as found:
        found.answers |= ANSWERS
        yield found


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, provider: Upstream) -> Iterator[Stack]:
    config = yaml.safe_load(GATEWAY.replace("${MODEL_URL}", "http://unused"))
    key = {"env": "MODEL_KEY"}
    config["providers"] = {"own": {"dialects": ["responses"], "base_url": provider.url, "api_key": key}}
    config["models"] = [
        {"name": "limited", "provider": "own", "max_output_tokens": 10},
        {"name": "filled", "provider": "own", "defaults": {"max_tokens": 7}, "allow": "llm.max_tokens == 7"},
        {"name": "set", "provider": "own", "overrides": {"max_tokens": 7}, "allow": "llm.max_tokens == 7"},
        {"name": "secret", "provider": "own", "allow": 'jwt.team == "research"'},
        {"name": "*", "provider": "own"},
    ]
    config["routes"] = [{"path": "/own", "serve": "responses"}]
    with up(tmp_path_factory.mktemp("responses"), config=yaml.safe_dump(config), arguments=ONE_WORKER) as running:
        yield running


def ask(gateway: Stack, model: str, *, path: str = PATH, **more: Any) -> httpx.Response:
    return gateway.call({"model": model, "input": "q", **more}, path=path)


@pytest.mark.parametrize("path", [PATH, f"{PATH}/", "/own", "/anthropic/v1/responses"])
def test_an_answer_passes_as_it_is(gateway: Stack, path: str) -> None:
    answer = ask(gateway, "whole", path=path)
    assert (answer.status_code, answer.content) == (200, ANSWERS["whole"].body)
    line = gateway.record(answer)
    assert (line["endpoint"], line["reason"], line["gen_ai.response.model"]) == ("responses", None, "gpt-x")
    assert {name.removeprefix("gen_ai.usage."): line[name] for name in line if name.startswith("gen_ai.usage.")} == {
        "input_tokens": 100, "output_tokens": 30, "cache_read.input_tokens": 40, "cache_creation.input_tokens": 10
    }  # fmt: skip


def test_a_stream_passes_as_it_is(gateway: Stack) -> None:
    answer = ask(gateway, "stream", stream=True)
    assert (answer.status_code, answer.content) == (200, ANSWERS["stream"].body)
    line = gateway.record(answer)
    assert (line["gen_ai.usage.output_tokens"], line["gen_ai.response.finish_reasons"]) == (30, "completed")


def test_what_is_sent_is_the_clients_but_for_the_limit(gateway: Stack, provider: Upstream) -> None:
    body: Json = {
        "input": [{"anything": [1.50, None]}],
        "store": True,
        "previous_response_id": "r",
        "max_output_tokens": 99,
    }
    answer = ask(gateway, "limited", **body)
    assert provider.received["limited"] == {"model": "limited", **body, "max_output_tokens": 10}
    assert answer.headers["x-translation-warnings"] == "clamped:max_output_tokens"


@pytest.mark.parametrize(("name", "asked"), [("filled", {}), ("set", {"max_output_tokens": 99}), ("set", {})])
def test_a_limit_of_the_configuration_has_the_name_it_has_here(
    gateway: Stack, provider: Upstream, name: str, asked: Json
) -> None:
    assert ask(gateway, name, **asked).status_code == 200
    assert provider.received[name] == {"model": name, "input": "q", "max_output_tokens": 7}


def test_a_stream_cut_short_is_a_failure(gateway: Stack) -> None:
    answer = ask(gateway, "cut", stream=True)
    assert answer.content.startswith(ANSWERS["cut"].body)
    last = json.loads(answer.text.strip().rpartition("data: ")[2])
    assert (last["type"], last["sequence_number"], last["response"]["id"]) == ("response.failed", 2, "resp_1")
    assert last["response"]["error"]["code"] == "server_error"
    assert gateway.record(answer)["reason"] == "Truncated"


def test_a_failure_of_the_providers_passes(gateway: Stack) -> None:
    answer = ask(gateway, "failed", stream=True)
    assert answer.content == ANSWERS["failed"].body
    assert gateway.record(answer)["reason"] == "Upstream"


def test_an_error_of_the_providers_passes(gateway: Stack) -> None:
    answer = ask(gateway, "refused")
    assert (answer.status_code, answer.content) == (400, ANSWERS["refused"].body)


def test_tokens_are_counted_by_the_provider(gateway: Stack) -> None:
    answer = ask(gateway, "counted", path=f"{PATH}/input_tokens")
    assert (answer.status_code, answer.content) == (200, ANSWERS["counted"].body)
    line = gateway.record(answer)
    assert (line["endpoint"], line["gen_ai.usage.input_tokens"]) == ("input_tokens", 9)


@pytest.mark.parametrize("path", [PATH, f"{PATH}/input_tokens"])
def test_the_rules_of_a_model_hold(gateway: Stack, provider: Upstream, path: str) -> None:
    answer = ask(gateway, "secret", path=path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_permissions")
    assert gateway.record(answer)["reason"] == "ModelNotAllowed" and "secret" not in provider.received


@pytest.mark.parametrize(
    ("method", "path", "token", "status", "code"),
    [
        ("POST", PATH, None, 401, "invalid_api_key"),
        ("GET", PATH, "", 405, "method_not_allowed"),
        ("GET", f"{PATH}/resp_1", "", 404, "unknown_url"),
        ("POST", f"{PATH}/resp_1/cancel", "", 404, "unknown_url"),
        ("DELETE", f"/anthropic{PATH}/resp_1", "", 404, "unknown_url"),
    ],
)
def test_refusals_are_worded_as_openai_words_them(
    gateway: Stack, method: str, path: str, token: str | None, status: int, code: str
) -> None:
    answer = gateway.call(b"{}" if method == "POST" else None, method=method, path=path, token=token)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (status, code, "invalid_request_error")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": 1}'])
def test_bad_bodies(gateway: Stack, body: bytes) -> None:
    answer = gateway.call(body, path=PATH)
    assert answer.status_code == 400 and set(answer.json()["error"]) == {"message", "type", "param", "code"}

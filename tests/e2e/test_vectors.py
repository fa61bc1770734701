"""The vectors once more, each through the real Envoy with an entry of `models` that names its profile."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.canned import Canned, Upstream, upstream
from tests.e2e.stack import GATEWAY, ONE_WORKER, Stack, up
from tests.matching import same
from tests.translate.answers import merged

Json = dict[str, Any]
SSE = "text/event-stream"
FILES = (
    "req_m2c",
    "resp_c2m",
    "stream_c2m",
    "req_c2m",
    "resp_m2c",
    "stream_m2c",
    "errors",
    "misc",
    "responses_api",
    "derived_m2c",
    "derived_c2m",
    "derived_r2m",
    "derived_m2r",
    "cut_calls",
    "recorded",
)
# Direction -> the client's dialect, the provider's, and what the vector is about.
DIRECTIONS = {
    "messages_request->chat_request": ("messages", "chat", "request"),
    "chat_response->messages_response": ("messages", "chat", "answer"),
    "chat_stream->messages_stream": ("messages", "chat", "stream"),
    "chat_stream->messages_response": ("messages", "chat", "accumulated"),
    "openai_error->anthropic_error": ("messages", "chat", "error"),
    "chat_request->messages_request": ("chat", "messages", "request"),
    "messages_response->chat_response": ("chat", "messages", "answer"),
    "messages_stream->chat_stream": ("chat", "messages", "stream"),
    "anthropic_error->openai_error": ("chat", "messages", "error"),
    "messages_request->responses_request": ("messages", "responses", "request"),
    "responses_response->messages_response": ("messages", "responses", "answer"),
    "responses_stream->messages_stream": ("messages", "responses", "stream"),
    "count_tokens_request->responses_input_tokens_request": ("messages", "responses", "count"),
    "responses_input_tokens_response->count_tokens_response": ("messages", "responses", "counted"),
    "responses_request->messages_request": ("responses", "messages", "request"),
    "messages_response->responses_response": ("responses", "messages", "answer"),
    "messages_stream->responses_stream": ("responses", "messages", "stream"),
}
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}
COUNTS = ("count", "counted")
ASKED = {"model": "", "max_tokens": 100, "messages": [{"role": "user", "content": "q"}]}
MINIMAL: dict[str, Json] = {"messages": ASKED, "chat": ASKED, "responses": {"model": "", "input": "q"}}
FINE: dict[str, Json] = {
    "chat": {
        "id": "chatcmpl-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    },
    "messages": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "ok"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "responses": {"id": "resp_1", "status": "completed", "output": [], "usage": {"input_tokens": 1}},
}


def _vectors() -> list[Json]:
    folder = Path(__file__).parents[1] / "vectors"
    found = [v for name in FILES for v in json.loads((folder / f"{name}.json").read_text())["vectors"]]
    return [vector for vector in found if vector["direction"] in DIRECTIONS and not vector.get("partial")]


VECTORS = _vectors()


def named(vector: Json) -> str:
    return f"{vector['case']}-{vector['name']}"


def canned(vector: Json) -> Canned:
    """What the provider says."""
    _, provider, about = DIRECTIONS[vector["direction"]]
    given = vector["input"]
    if about == "request":
        return Canned(json.dumps(FINE[provider]).encode())
    if about == "count":
        return Canned(b'{"object":"response.input_tokens","input_tokens":1}')
    if about in ("answer", "counted"):
        return Canned(json.dumps(given).encode())
    if about == "error":
        body = given["raw_body"].encode() if "raw_body" in given else json.dumps(given["body"]).encode()
        return Canned(body, given["status"], given["headers"].get("content-type", "application/json"), given["headers"])
    return Canned(given["sse"].encode(), media=SSE, cuts=tuple(given.get("split_at_bytes", ())))


@pytest.fixture(scope="module")
def providers() -> Iterator[dict[str, Upstream]]:
    with upstream() as chat, upstream() as messages, upstream() as responses:
        sides = {"chat": chat, "messages": messages, "responses": responses}
        for vector in VECTORS:
            sides[DIRECTIONS[vector["direction"]][1]].answers[named(vector)] = canned(vector)
        yield sides


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, providers: dict[str, Upstream]) -> Iterator[Stack]:
    config = yaml.safe_load(GATEWAY.replace("${MODEL_URL}", "http://unused"))
    key = {"env": "MODEL_KEY"}
    config["providers"] = {
        name: {"dialects": [name], "base_url": side.url, "api_key": key} for name, side in providers.items()
    }
    config["models"] = [
        {"name": named(v), "provider": DIRECTIONS[v["direction"]][1], "profile": _profile(v)} for v in VECTORS
    ]
    with up(tmp_path_factory.mktemp("vectors"), config=yaml.safe_dump(config), arguments=ONE_WORKER) as running:
        yield running


def _profile(vector: Json) -> str | Json:
    counts = DIRECTIONS[vector["direction"]][2] in COUNTS
    profile: str | Json = vector["profile"]
    return {"name": profile, "count_tokens": "responses"} if counts else profile


def ask(gateway: Stack, vector: Json) -> httpx.Response:
    client, _, about = DIRECTIONS[vector["direction"]]
    body = vector["input"] if about in ("request", "count") else {**MINIMAL[client], **vector.get("request", {})}
    stream = {"stream": True} if about == "stream" else {}
    below = "/count_tokens" if about in COUNTS else ""
    return gateway.call({**body, **stream, "model": named(vector)}, path=PATHS[client] + below)


def of_kind(kind: str) -> list[Json]:
    return [vector for vector in VECTORS if DIRECTIONS[vector["direction"]][2] == kind]


def warnings(answer: httpx.Response) -> list[str]:
    value = answer.headers.get("x-translation-warnings", "")
    return sorted(value.split(",")) if value else []


@pytest.mark.parametrize("vector", [*of_kind("request"), *of_kind("count")], ids=named)
def test_request(gateway: Stack, providers: dict[str, Upstream], vector: Json) -> None:
    answer = ask(gateway, vector)
    received = providers[DIRECTIONS[vector["direction"]][1]].received.get(named(vector))
    expected = vector["expected"]
    if isinstance(expected.get("status"), int):
        assert (answer.status_code, same(answer.json(), expected["body"]), received) == (expected["status"], [], None)
        return
    assert answer.status_code == 200, answer.text
    assert same(received, {**expected, "model": named(vector)}) == []
    assert warnings(answer) == sorted(vector["warnings"])


@pytest.mark.parametrize("vector", [*of_kind("answer"), *of_kind("accumulated"), *of_kind("counted")], ids=named)
def test_answer(gateway: Stack, vector: Json) -> None:
    answer = ask(gateway, vector)
    expected = vector["expected"]
    if isinstance(expected.get("status"), int):
        assert (answer.status_code, same(answer.json(), expected["body"])) == (expected["status"], [])
        return
    assert answer.status_code == 200, answer.text
    named_model = {"model": named(vector)} if "model" in expected else {}
    assert same(answer.json(), expected | named_model) == []
    # The header also says what was found in the request.
    assert set(warnings(answer)) >= set(vector["warnings"])


@pytest.mark.parametrize("vector", of_kind("error"), ids=named)
def test_error(gateway: Stack, vector: Json) -> None:
    answer = ask(gateway, vector)
    expected = vector["expected"]
    assert (answer.status_code, same(answer.json(), expected["body"])) == (expected["status"], [])
    for name, value in expected.get("headers", {}).items():
        assert name in answer.headers
        # A time of reset depends on when it is asked; tests of the translator fix the clock.
        assert name.endswith("-reset") or "-reset-" in name or answer.headers[name] == value


@pytest.mark.parametrize("vector", of_kind("stream"), ids=named)
def test_stream(gateway: Stack, vector: Json) -> None:
    answer = ask(gateway, vector)
    client, expected = DIRECTIONS[vector["direction"]][0], vector["expected"]
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    first = expected["events"][0]
    if "error" in first and len(expected["events"]) == 1:
        # Before the first event the status can still say it.
        assert answer.status_code >= 400 and answer.json()["error"]["type"] == first["error"]["type"]
        return
    assert (answer.status_code, "[DONE]" in lines) == (200, bool(expected.get("done")))
    found = [json.loads(line) for line in lines if line != "[DONE]"]
    assert compared(client, found, vector) == []


def compared(client: str, found: list[Json], vector: Json) -> list[str]:
    wanted: list[Json] = json.loads(json.dumps(vector["expected"]["events"]))
    if client == "messages":
        found, wanted = merged(found), merged(wanted)
        wanted[0]["message"] |= {"model": named(vector), "usage": found[0]["message"]["usage"]}
    elif client == "responses":
        for event in wanted:
            if "response" in event:
                event["response"]["model"] = named(vector)
    else:
        wanted = [{**chunk, "model": named(vector)} if "model" in chunk else chunk for chunk in wanted]
    return same(found, wanted)

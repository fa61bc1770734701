"""`GET /v1/models` that passes through to a provider of the other dialect (C222, C223)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.e2e.canned import Canned, upstream
from tests.e2e.providers import Providers, headers_of, line_of
from tests.e2e.stack import GATEWAY, ONE_WORKER, SECONDS, Model, Stack, up
from tests.e2e.test_openai_sdk import sdk
from tests.matching import same
from tests.translate.answers import vectors

CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  openai: {dialects: [chat], base_url: "${OPENAI_UPSTREAM_URL}", api_key: {env: OPENAI_API_KEY}}
routes:
  - {path: "*", serve: passthrough, provider: openai}
"""


@pytest.fixture(scope="module")
def on_openai(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[Stack]:
    with up(
        tmp_path_factory.mktemp("lists"), environ=providers.environ, config=CONFIG, arguments=ONE_WORKER
    ) as running:
        yield running


def get(stack: Stack, target: str, **headers: str) -> httpx.Response:
    sent = {"authorization": f"Bearer {stack.good_token}", "cookie": "a=b", **headers}
    return httpx.get(stack.url + target, headers=sent, timeout=SECONDS, verify=False)


def test_claudes_for_an_openai_client(passing: Stack, providers: Providers) -> None:
    with providers.asking("anthropic") as asked:
        answer = get(passing, "/v1/models")
    received = headers_of(asked[0])
    assert (asked[0]["path"], received["anthropic-version"]) == ("/v1/models?limit=1000", "2023-06-01")
    assert "x-api-key" in received and not {"authorization", "cookie"} & received.keys()
    found = answer.json()
    assert (answer.status_code, found["object"], answer.headers["content-type"]) == (200, "list", "application/json")
    assert {tuple(entry) for entry in found["data"]} == {("id", "object", "created", "owned_by")}
    assert found["data"][0]["id"] == "claude-opus-5" and found["data"][0]["created"] > 0
    line = line_of(passing, answer)
    assert (line["endpoint"], line["reason"], line["http.status"]) == ("passthrough", None, 200)


@pytest.mark.parametrize("vector", vectors("misc", "anthropic_models->openai_models"), ids=lambda v: v["case"])
def test_vector(tmp_path: Path, vector: dict[str, Any]) -> None:
    with upstream() as provider:
        provider.answers["/v1/models"] = Canned(json.dumps(vector["input"]).encode())
        config = CONFIG.replace("dialects: [chat]", "dialects: [messages]").replace(
            "${OPENAI_UPSTREAM_URL}", provider.url
        )
        with up(tmp_path, environ={"OPENAI_API_KEY": "sk-x"}, config=config, arguments=ONE_WORKER) as running:
            answer = get(running, "/v1/models")
    assert (answer.status_code, same(answer.json(), vector["expected"])) == (200, [])


def test_the_sdk_reads_them(passing: Stack) -> None:
    with sdk(passing, passing.good_token) as client:
        assert "claude-opus-5" in [model.id for model in client.models.list()]
        assert client.models.retrieve("claude-opus-5").owned_by == "anthropic"
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("claude-nope")
    assert caught.value.code == "model_not_found"


def test_an_anthropic_client_still_gets_the_bytes(passing: Stack) -> None:
    found = get(passing, "/v1/models?limit=1", **{"anthropic-version": "2023-06-01"}).json()
    assert (len(found["data"]), found["data"][0]["type"], found["has_more"]) == (1, "model", True)


def test_gpts_for_an_anthropic_client(on_openai: Stack, providers: Providers) -> None:
    with providers.asking("openai") as asked:
        answer = get(on_openai, "/v1/models?limit=1", **{"anthropic-version": "2023-06-01", "x-app": "cli"})
    assert asked[0]["path"] == "/v1/models" or asked[0]["path"].endswith("/models")
    assert not {"anthropic-version", "x-app"} & headers_of(asked[0]).keys()
    found = answer.json()
    assert (len(found["data"]), found["has_more"], found["data"][0]["type"]) == (1, True, "model")
    assert found["first_id"] == found["last_id"] == found["data"][0]["display_name"]
    wrong = get(on_openai, "/v1/models?limit=0", **{"anthropic-version": "2023-06-01"})
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (400, "invalid_request_error")
    missing: Any = get(on_openai, "/v1/models/nope", **{"anthropic-version": "2023-06-01"})
    assert (missing.status_code, json.loads(missing.content)["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize("token", ["", "x.y.z"])
def test_nobody_reads_it_without_a_token(passing: Stack, providers: Providers, token: str) -> None:
    with providers.asking():
        answer = get(passing, "/v1/models", authorization=f"Bearer {token}" if token else "")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_both_sdks_read_a_merged_list(tmp_path: Path, model: Model) -> None:
    config = GATEWAY.replace('"gpt-*"', "gpt-4o") + "models_shape: merged\n"
    with up(tmp_path, environ={"MODEL_URL": model.url}, config=config, arguments=ONE_WORKER) as stack:
        with sdk(stack, stack.good_token) as client:
            assert [one.id for one in client.models.list()] == ["gpt-4o"]
        with anthropic.Anthropic(auth_token=stack.good_token, base_url=stack.url) as client_of_claude:
            [one] = client_of_claude.models.list()
            assert (one.id, one.type, one.display_name) == ("gpt-4o", "model", "gpt-4o")


def test_names_behind_a_wildcard_are_listed_and_found(tmp_path: Path, model: Model) -> None:
    aliases = '{name: "claude-*", aliases: [claude-sonnet-5, claude-haiku-5-5], '
    config = GATEWAY.replace('{name: "claude-*", ', aliases)
    with up(tmp_path, environ={"MODEL_URL": model.url}, config=config, arguments=ONE_WORKER) as stack:
        with sdk(stack, stack.good_token) as client:
            assert [one.id for one in client.models.list()] == ["claude-sonnet-5", "claude-haiku-5-5"]
            assert client.models.retrieve("gpt-5-of-a-pattern").id == "gpt-5-of-a-pattern"
        with anthropic.Anthropic(auth_token=stack.good_token, base_url=stack.url) as client_of_claude:
            assert [one.id for one in client_of_claude.models.list()] == ["claude-sonnet-5", "claude-haiku-5-5"]
            assert client_of_claude.models.retrieve("claude-opus-9").id == "claude-opus-9"
        # As Codex asks, at each start.
        found = get(stack, "/v1/models?client_version=0.171.0", originator="codex_exec").json()
        assert (found["object"], found["models"], len(found["data"])) == ("list", [], 2)

"""`extproc check --probe`, before servers that answer what the test says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.cli import main
from tests.certificates import certificate
from tests.e2e.stack import free_port
from tests.e2e.token_server import TokenServer
from tests.issuing import jwk
from tests.key_server import Answer, KeyServer, key_server
from tests.redis_server import redis_server
from tests.settings import AUTHENTICATION, ENVIRON, GATEWAY, KEY, PRICED

URL = "https://api.openai.example/v1"


@pytest.fixture
def provider() -> Iterator[KeyServer]:
    with key_server() as running:
        yield running


@pytest.fixture(autouse=True)
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


def probe(capsys: pytest.CaptureFixture[str], base_url: str, config: str = GATEWAY) -> tuple[int, list[str]]:
    Path("gateway.yaml").write_text(f"{config.replace(URL, base_url)}\n{PRICED}\n")
    status = main.main(["check", "--probe"])
    out, err = capsys.readouterr()
    assert err == "" and KEY not in out
    first, *rest = out.splitlines()
    assert first == "gateway.yaml: no mistakes found"
    return status, rest


def listed(*names: str) -> Answer:
    return Answer(json.dumps({"data": [{"id": name} for name in names]}).encode())


def test_a_provider_that_answers(capsys: pytest.CaptureFixture[str], provider: KeyServer) -> None:
    provider.answers["/v1/models"] = listed("gpt-4o", "gpt-4o-mini")
    assert probe(capsys, f"{provider.url}/v1") == (0, ["openai: answers, 2 models"])


def test_a_model_that_it_does_not_have(capsys: pytest.CaptureFixture[str], provider: KeyServer) -> None:
    provider.answers["/v1/models"] = listed(*"abcdef")
    status, said = probe(capsys, f"{provider.url}/v1")
    assert (status, said[1]) == (0, "openai: 'gpt-4o-mini' is not among them: a, b, c, d, e, ...")


def test_a_claude_provider_is_asked_in_its_own_way(capsys: pytest.CaptureFixture[str], provider: KeyServer) -> None:
    provider.answers["/v1/models"] = listed("gpt-4o-mini")
    config = GATEWAY.replace("[chat]", "[messages]")
    assert probe(capsys, provider.url, config) == (0, ["openai: answers, 1 models"])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(status=401), "refuses the key (401)"),
        (Answer(status=404), "answers 404; is base_url right?"),
        (Answer(b"<html>"), "answers, but not with a list of models; is base_url right?"),
        (Answer(b"[]"), "answers, but not with a list of models; is base_url right?"),
    ],
)
def test_a_provider_that_answers_badly(
    capsys: pytest.CaptureFixture[str], provider: KeyServer, answer: Answer, said: str
) -> None:
    provider.answers["/v1/models"] = answer
    assert probe(capsys, f"{provider.url}/v1") == (1, [f"openai: {provider.url}/v1/models {said}"])


def test_a_provider_that_cannot_be_reached(capsys: pytest.CaptureFixture[str]) -> None:
    status, [said] = probe(capsys, f"http://127.0.0.1:{free_port()}/v1")
    assert status == 1 and said.startswith("openai: cannot be reached at http://127.0.0.1:")


def test_a_database_that_cannot_be_reached(capsys: pytest.CaptureFixture[str], provider: KeyServer) -> None:
    provider.answers["/v1/models"] = listed("gpt-4o-mini")
    ledger = f"usage: {{postgresql: {{url: 'postgresql://u@127.0.0.1:{free_port()}/d'}}}}\n"
    status, [_, said] = probe(capsys, f"{provider.url}/v1", f"{GATEWAY}\n{ledger}")
    assert status == 1
    assert said.startswith("usage: the database cannot be used: ")


def test_redis(capsys: pytest.CaptureFixture[str], provider: KeyServer, tmp_path: Path) -> None:
    provider.answers["/v1/models"] = listed("gpt-4o-mini")
    with redis_server(tmp_path) as server:
        config = f"{GATEWAY}\nstore: {{redis: {{url: 'redis://localhost:{server.port}'}}}}\n"
        status, [_, said] = probe(capsys, f"{provider.url}/v1", config)
        assert (status, said) == (0, "store: Redis answers")
        server.stop()
        status, [_, said] = probe(capsys, f"{provider.url}/v1", config)
        assert (status, said) == (1, "store: Redis cannot be reached (ConnectionError)")


def test_a_private_authority(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with key_server(certificate(tmp_path, "localhost")) as provider:
        provider.answers["/v1/models"] = listed("gpt-4o-mini")
        status, [said] = probe(capsys, f"{provider.url}/v1")
        assert status == 1 and "certificate" in said.lower()
        trusting = GATEWAY.replace('/v1"', '/v1", ca_file: ca.pem')
        assert probe(capsys, f"{provider.url}/v1", trusting) == (0, ["openai: answers, 1 models"])


def test_the_identity_provider_of_the_sign_in(capsys: pytest.CaptureFixture[str], provider: KeyServer) -> None:
    provider.answers["/v1/models"] = listed("gpt-4o-mini")
    url = provider.url
    section = {"public_url": "https://llm.corp.example", "issuer": url, "client_id": "gateway"}
    config = f"{GATEWAY}\nsign_in: {json.dumps(section | {'allow': 'true'})}\n"
    endpoints = {"authorization_endpoint": f"{url}/a", "token_endpoint": f"{url}/t", "jwks_uri": f"{url}/jwks"}
    provider.serve_json("/.well-known/openid-configuration", {"issuer": url, **endpoints})
    status, said = probe(capsys, f"{url}/v1", config)
    assert (status, said[1]) == (1, f"sign_in: {url}: issuer's keys: status 404")
    provider.serve(jwk())
    status, said = probe(capsys, f"{url}/v1", config)
    registered = "'gateway' must be registered there with https://llm.corp.example/oauth/callback"
    assert (status, said[1]) == (0, f"sign_in: {url} answers; {registered}")
    provider.serve_json("/.well-known/openid-configuration", {"issuer": f"{url}/", **endpoints})
    status, said = probe(capsys, f"{url}/v1", config)
    assert status == 1 and f"its issuer is '{url}/', expected '{url}'" in said[1]


def test_a_clouds_credential(capsys: pytest.CaptureFixture[str]) -> None:
    keys = "{access_key_id: {env: OPENAI_API_KEY}, secret_access_key: {env: OPENAI_API_KEY}}"
    with TokenServer().serving() as tokens:
        bedrock = "cloud: aws-bedrock, region: eu-central-1, dialects: [messages]"
        clouds = f"""
providers:
  machine: {{{bedrock}, auth: {{aws: {{instance: true}}, endpoint: "{tokens.url}"}}}}
  given: {{{bedrock}, auth: {{aws: {{keys: {keys}}}}}}}
models: [{{name: "*", provider: machine}}]
"""
        config = f"{AUTHENTICATION}\n{clouds}"
        assert probe(capsys, URL, config) == (
            0,
            ["machine: its credential can be fetched, and is good for 60 minutes; no model was asked"],
        )
        tokens.is_down = True
        assert probe(capsys, URL, config) == (
            1,
            ["machine: its credential cannot be fetched: status 503, temporarily_unavailable"],
        )


def test_each_candidate_of_a_model_is_looked_for(capsys: pytest.CaptureFixture[str], provider: KeyServer) -> None:
    provider.answers["/v1/models"] = listed("gpt-4o-mini", "gpt-4o")
    lists = "providers: [{provider: openai, model: gpt-4o-mini}, [{provider: second, model: gone}, {provider: openai}]]"
    more = f'  second: {{dialects: [chat], base_url: "{provider.url}/v1"}}\nmodels:\n'
    chosen = '[{when: "true", providers: [{provider: openai, model: also-gone}]}]'
    config = GATEWAY.replace("models:\n", more).replace(
        "provider: openai, model: gpt-4o-mini", f"{lists}, choose: {chosen}"
    )
    assert probe(capsys, f"{provider.url}/v1", config) == (
        0,
        [
            "openai: answers, 2 models",
            "openai: 'also-gone' is not among them: gpt-4o-mini, gpt-4o",
            "second: answers, 2 models",
            "second: 'gone' is not among them: gpt-4o-mini, gpt-4o",
        ],
    )

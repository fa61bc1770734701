"""However a path is spelled, authorization decides about the one that is routed: nothing forbidden is reached by
another spelling, and what is reached is what was decided about."""

import json
from collections.abc import Iterator

import pytest

from extproc.cli.main import main
from tests.e2e import http2, wire
from tests.e2e.providers import Providers, line_of
from tests.e2e.stack import ONE_WORKER, Stack, prompt, up

CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
authorization:
  deny: ['request.path.startsWith("/v1/files")', 'request.method == "DELETE"']
providers:
  anthropic:
    dialects: [messages]
    base_url: "${ANTHROPIC_UPSTREAM_URL}"
    api_key: {env: ANTHROPIC_API_KEY}
models:
  - {name: "claude-*", provider: anthropic}
routes:
  - {path: "*", serve: passthrough, provider: anthropic}
"""
DENIED = "not_allowed:authorization.deny.0"
BODY = json.dumps(prompt("hello", model="claude-opus-5")).encode()

FORBIDDEN = [
    "/v1/files",
    "//v1/files",
    "/v1//files",
    "/v1/./files",
    "/./v1/files/",
    "/v1/messages/../files",
    "/v1/messages/%2e%2e/files",
    "/v1/messages/..%2ffiles",
    "/v1/messages%2f..%2ffiles",
    "/v1/messages%5C..%5Cfiles",
    "/v1/%66iles",
    "/%76%31/files",
    "/v1%2Ffiles",
    "/v1/files/x%2f..",
    "/v1/files?x=/v1/messages",
    "/v1/files%3fx",
    "http://elsewhere.example/v1/files",
    "http://elsewhere.example//v1/./%66iles",
    "/v1/files/../../v1/files",
]
# Where the call goes, for spellings that only look forbidden or only look served.
REACHED = {
    "/v1/files/../messages": "/v1/messages",
    "/v1/files/..%2fmessages": "/v1/messages",
    "/v1/messages?x=/v1/files": "/v1/messages",
    "/v1/messages/..": "/v1/",
    "/v1/messages%2f..": "/v1/",
    "/V1/files": "/V1/files",
    "/v1/fil%65x": "/v1/filex",
    "/v1/%2566iles": "/v1/%2566iles",
    "/x/v1/files": "/x/v1/files",
}


@pytest.fixture(scope="module")
def forbidding(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[Stack]:
    with up(
        tmp_path_factory.mktemp("forbidding"), environ=providers.environ, config=CONFIG, arguments=ONE_WORKER
    ) as running:
        yield running


@pytest.mark.parametrize("target", FORBIDDEN)
def test_no_spelling_reaches_what_is_forbidden(forbidding: Stack, providers: Providers, target: str) -> None:
    with providers.asking():
        answer = wire.send(forbidding.url, f"authorization: Bearer {forbidding.good_token}", target=target, body=BODY)
    record = forbidding.record(answer)
    assert (answer.status_code, record["reason"], record["error"]) == (403, "Authorization", DENIED)
    assert record["http.path"].startswith("/v1/files")


@pytest.mark.parametrize("target", REACHED)
def test_what_is_reached_is_what_was_decided_about(forbidding: Stack, providers: Providers, target: str) -> None:
    with providers.asking("anthropic") as asked:
        answer = wire.send(forbidding.url, f"authorization: Bearer {forbidding.good_token}", target=target, body=BODY)
    assert asked[0]["path"].partition("?")[0] == REACHED[target]
    assert line_of(forbidding, answer)["http.path"] == REACHED[target]


@pytest.mark.parametrize("target", [target for target in FORBIDDEN if target.startswith("/")])
def test_over_http2_as_well(forbidding: Stack, providers: Providers, target: str) -> None:
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "gateway"), (":path", target)]
    fields += [("authorization", f"Bearer {forbidding.good_token}"), ("content-type", "application/json")]
    with providers.asking():
        answer = http2.send(forbidding.url, fields, BODY)
    assert answer is not None and answer.status_code == 403
    assert forbidding.record(answer)["error"] == DENIED


def test_a_method_in_a_header_is_none(forbidding: Stack, providers: Providers) -> None:
    with providers.asking("anthropic") as asked:
        forbidding.call(path="/v1/other", headers={"x-http-method-override": "DELETE"})
    assert asked[0]["method"] == "POST"
    with providers.asking():
        answer = forbidding.call(path="/v1/other", method="DELETE", headers={"x-http-method-override": "POST"})
    assert answer.status_code == 403


@pytest.mark.parametrize("target", [*FORBIDDEN[:10], "/v1/mess%61ges"])
def test_check_sees_the_path_that_is_routed(
    forbidding: Stack, target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`extproc check` says of it what the gateway does."""
    answer = wire.send(forbidding.url, f"authorization: Bearer {forbidding.good_token}", target=target, body=BODY)
    monkeypatch.chdir(forbidding.folder)
    environ = {"EXTPROC_TOKEN": forbidding.good_token, "ANTHROPIC_API_KEY": "k"}
    for name, value in (environ | {"ANTHROPIC_UPSTREAM_URL": "http://127.0.0.1:1"}).items():
        monkeypatch.setenv(name, value)
    status = main(["check", "--model", "claude-opus-5", "--path", f"POST {target}"])
    said = capsys.readouterr()
    assert said.err == "" and status == (0 if answer.status_code == 200 else 1)
    assert (f"refused  {answer.status_code}: " in said.out) == (answer.status_code != 200)

"""The web process behind Envoy: its paths pass the verdict, and nothing else does."""

from collections.abc import Iterator

import pytest

from tests.e2e.stack import GATEWAY, Stack, demo_model, up

SIGN_IN = """
sign_in: {public_url: "http://localhost:18099", issuer: "http://127.0.0.1:9", client_id: gateway}
"""
DISCOVERY = "/.well-known/oauth-authorization-server"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("web")
    with demo_model(folder) as model, up(folder, environ={"MODEL_URL": model.url}, config=GATEWAY + SIGN_IN) as running:
        yield running


def test_discovery_needs_no_credential(stack: Stack) -> None:
    answer = stack.call(path=DISCOVERY, method="GET", token=None)
    assert answer.status_code == 200, answer.text
    assert answer.json()["issuer"] == "http://localhost:18099"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [f"{DISCOVERY}/", DISCOVERY.upper(), f"{DISCOVERY}/x", "/oauth", "/oauth/tokens", "/device/../v1/messages"],
)
def test_other_paths_stay_behind_the_verdict(stack: Stack, path: str) -> None:
    answer = stack.call(path=path, method="GET", token=None)
    assert answer.status_code == 401


def test_a_page_is_on_record(stack: Stack) -> None:
    answer = stack.call({"grant_type": "password"}, path="/oauth/token", token=None)
    line = stack.record_where(lambda line: line["http.path"] == "/oauth/token")
    assert (answer.status_code, line["http.status"], line["reason"]) == (400, 400, "InvalidRequest")
    assert line["x-request-id"] == answer.headers["x-request-id"]


def test_a_call_to_a_model_is_as_ever(stack: Stack) -> None:
    body = {"model": "claude-x", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
    assert stack.call(body).status_code == 200
    assert stack.call(body, token=None).status_code == 401

"""Company sign-in through the real Envoy, with a real OpenID provider."""

from collections.abc import Iterator

import pytest

from tests.e2e import signing_in
from tests.e2e.signing_in import Browser, Idp, begin, poll, words
from tests.e2e.stack import Model, Stack, free_port, prompt, up

CONFIG = """
sign_in:
  public_url: "http://localhost:PORT"
  issuer: "ISSUER"
  client_id: llm-gateway
  client_secret: {env: OIDC_SECRET}
  allow: ['"developers" in jwt.groups']
  notice: "Calls are recorded."
authentication: {}
authorization: {}
providers:
  openai: {dialects: [chat], base_url: "${MODEL_URL}", api_key: {env: MODEL_KEY}}
models:
  - {name: "claude-*", provider: openai, model: gpt-4o-mini}
records: {claims: [email]}
"""


@pytest.fixture(scope="module")
def idp() -> Iterator[Idp]:
    with signing_in.idp() as running:
        running.user("alice")
        running.user("mallory", groups=["visitors"])
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, idp: Idp, model: Model) -> Iterator[Stack]:
    port = free_port()
    config = CONFIG.replace("PORT", str(port)).replace("ISSUER", idp.url)
    environ = {"MODEL_URL": model.url, "OIDC_SECRET": "s3cr3t-of-oidc"}
    with up(tmp_path_factory.mktemp("sign-in"), environ=environ, config=config, port=port) as running:
        yield running


@pytest.fixture
def browser(stack: Stack) -> Iterator[Browser]:
    opened = Browser(stack.url.replace("127.0.0.1", "localhost"))
    yield opened
    opened.close()


def test_first_sign_in_to_first_answer(stack: Stack, browser: Browser) -> None:
    codes = begin(stack)
    assert poll(stack, codes["device_code"]).json() == {"error": "authorization_pending"}
    page = browser.open(codes["verification_uri_complete"])
    assert codes["user_code"] in words(page) and "Claude Code asked for it just now" in words(page)
    done = browser.sign_in(codes["user_code"])
    assert "You're signed in." in words(done)
    tokens = poll(stack, codes["device_code"]).json()
    assert tokens["token_type"] == "Bearer" and tokens["expires_in"] == 3600
    answer = stack.call(prompt("hello"), token=tokens["access_token"])
    assert answer.status_code == 200, answer.text
    record = stack.record(answer)
    assert record["jwt.sub"] == "alice" and record["caller.email"] == "alice@corp.example"

"""What goes to Anthropic above the body: its credential, the version, betas; and who may know which models."""

from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.providers import ANTHROPIC_KEY, LISTED, OAUTH_TOKEN, VERSION, Providers, Special, chat, headers_of
from tests.e2e.stack import SECONDS, Json, Model, Stack, prompt

OPUS = "claude-opus-5"
SENT = {
    "anthropic-beta": "interleaved-thinking-2025-05-14,context-1m-2025-08-07",
    "cookie": "a=b",
    "x-app": "cli",
    "x-envoy-max-retries": "9",
    "x-envoy-peer-metadata": "a",
}
ALLOWED = {
    "host", "content-type", "content-length", "accept", "accept-encoding", "user-agent", "x-request-id",
    "anthropic-version", "anthropic-beta",
}  # fmt: skip


def received(model: Model, stack: Stack, body: Json, **headers: str) -> dict[str, str]:
    before = model.asked()
    answer = stack.call(body, headers=headers)
    assert answer.status_code == 200, answer.text
    [request] = model.since(before)
    return headers_of(request)


def test_a_key_goes_as_api_key(three: Stack, providers: Providers) -> None:
    headers = received(providers.anthropic, three, prompt("hello", model=OPUS), **SENT)
    assert headers["x-api-key"] == ANTHROPIC_KEY
    assert set(headers) == ALLOWED | {"x-api-key"}
    assert headers["anthropic-beta"] == SENT["anthropic-beta"]


def test_an_oauth_token_goes_as_bearer(special: Special) -> None:
    headers = received(special.subscription, special.stack, prompt("hello", model="claude-by-oauth"))
    assert headers["authorization"] == f"Bearer {OAUTH_TOKEN}" and "x-api-key" not in headers
    assert OAUTH_TOKEN not in special.stack.printed


@pytest.mark.parametrize("sent", ["2026-10-21", VERSION])
def test_the_version_is_the_gateways_by_default(three: Stack, providers: Providers, sent: str) -> None:
    headers = received(providers.anthropic, three, prompt("hello", model=OPUS), **{"anthropic-version": sent})
    assert headers["anthropic-version"] == VERSION


@pytest.mark.parametrize("sent", ["2026-10-21", VERSION])
def test_the_version_is_the_clients_where_it_says_so(special: Special, providers: Providers, sent: str) -> None:
    body = prompt("hello", model=OPUS)
    headers = received(providers.anthropic, special.stack, body, **{"anthropic-version": sent})
    assert headers["anthropic-version"] == sent


def test_a_chat_client_knows_no_version(special: Special, three: Stack, providers: Providers) -> None:
    for stack in (three, special.stack):
        with providers.asking("anthropic") as asked:
            assert chat(stack, prompt("hello", model=OPUS)).status_code == 200
        assert headers_of(asked[0])["anthropic-version"] == VERSION
        assert headers_of(asked[0])["x-api-key"] == ANTHROPIC_KEY


def test_a_version_can_be_given(special: Special, providers: Providers) -> None:
    """This provider was given no key, so it refuses; what it was sent is seen all the same."""
    with providers.asking("anthropic") as asked:
        answer = special.stack.call(prompt("hello", model="claude-dated"), headers={"anthropic-version": "2026-10-21"})
    assert answer.status_code == 401
    assert headers_of(asked[0])["anthropic-version"] == "2024-10-22"
    assert set(headers_of(asked[0])) == ALLOWED - {"anthropic-beta"}


def test_anthropics_sdk_lists_what_the_caller_may_use(special: Special, providers: Providers) -> None:
    stack = special.stack
    with providers.asking(), anthropic.Anthropic(base_url=stack.url, api_key="x", timeout=SECONDS) as client:
        mine: Any = client.with_options(auth_token=stack.good_token, api_key=None)
        assert [model.id for model in mine.models.list()] == LISTED
        theirs: Any = client.with_options(auth_token=stack.token(team="marketing"), api_key=None)
        assert "claude-of-marketing" in [model.id for model in theirs.models.list()]


def test_openais_sdk_lists_what_the_caller_may_use(special: Special, providers: Providers) -> None:
    url = f"{special.stack.url}/v1"
    with providers.asking(), openai.OpenAI(base_url=url, api_key=special.stack.good_token) as client:
        assert [model.id for model in client.models.list()] == LISTED
        found = client.models.retrieve("gpt-4o-mini")
        assert (found.id, found.object) == ("gpt-4o-mini", "model")
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("claude-of-marketing")

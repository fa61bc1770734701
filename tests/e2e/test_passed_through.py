"""Claude Code on Anthropic: messages are served, all else reaches the provider as it is, with another credential."""

import base64
import json
from typing import Any, NamedTuple

import httpx
import pytest

from tests.e2e.providers import ANTHROPIC_KEY, Providers, headers_of, line_of
from tests.e2e.stack import SECONDS, Json, Stack, prompt, text_of

BYTES = bytes(range(256)) * 40


class Call(NamedTuple):
    method: str
    target: str
    body: bytes = b""
    media: str = ""


CALLS = [
    Call("GET", "/v1/models?limit=2&after_id=claude-opus-5"),
    Call("GET", "/v1/models/claude-opus-5"),
    Call("GET", "/v1/models/claude-nope"),
    Call("GET", "/v1/models?limit=0"),
    Call("POST", "/v1/messages/batches?beta=true", b'{"requests" : [ ]}', "application/json"),
    Call("POST", "/v1/files", BYTES, "multipart/form-data; boundary=x"),
    Call("PUT", "/v1/nobody/knows%20this?a=1&a=2&b=%20", b"{not json", "application/json"),
    Call("PATCH", "/v1/skills/s_1", b'{"a":1}', "application/merge-patch+json"),
    Call("DELETE", "/v1/files/file_1"),
    Call("OPTIONS", "/v1/files"),
    Call("GET", "/api/oauth/profile"),
]
every = pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.target}")
SENT = {
    "anthropic-beta": "files-api-2025-04-14,other",
    "anthropic-version": "2026-10-21",
    "user-agent": "claude-cli/2.1.330 (external, cli)",
    "x-claude-code-session-id": "s-1",
    "x-app": "cli",
}
WITHHELD = {"cookie": "session=secret", "x-forwarded-user": "root", "proxy-authorization": "Basic c2VjcmV0"}
BINDING = {"set-cookie", "strict-transport-security", "alt-svc"}
"""Headers that act on the client beyond this answer; they stay at the gateway."""
OF_THIS_ANSWER = {"date", "request-id", "x-request-id", "x-envoy-upstream-service-time", "server", "content-length"}


def made(stack: Stack, call: Call, **more: Any) -> httpx.Response:
    return stack.call(call.body or None, path=call.target, method=call.method, **more)


def directly(providers: Providers, call: Call, headers: dict[str, str]) -> httpx.Response:
    """What the provider itself answers."""
    url, own = providers.anthropic.url + call.target, {**headers, "x-api-key": ANTHROPIC_KEY}
    return httpx.request(call.method, url, content=call.body, headers=own, verify=False, timeout=SECONDS)


def without_id(answer: httpx.Response) -> Json:
    body: Json = answer.json()
    return {name: value for name, value in body.items() if name != "request_id"}


@every
def test_all_else_passes(passing: Stack, providers: Providers, call: Call) -> None:
    headers = {**SENT, **({"content-type": call.media} if call.media else {})}
    with providers.asking("anthropic") as asked:
        answer = made(passing, call, headers={**headers, **WITHHELD})
    request, received = asked[0], headers_of(asked[0])
    assert (request["method"], request["path"]) == (call.method, call.target)
    assert body_of(request) == call.body
    assert {name: received.get(name) for name in headers} == headers
    assert received["x-api-key"] == ANTHROPIC_KEY and "authorization" not in received
    assert not WITHHELD.keys() & received.keys() and passing.good_token not in json.dumps(request)
    check_answer(answer, directly(providers, call, headers))
    line = line_of(passing, answer)
    assert (line["endpoint"], line["gen_ai.operation.name"]) == ("passthrough", "passthrough")
    assert (line["http.method"], line["http.path"]) == (call.method, call.target.partition("?")[0])
    assert (line["http.status"], line["gen_ai.provider.name"]) == (answer.status_code, "anthropic")
    assert (line["jwt.sub"], line["jwt.iss"]) == ("developer@acme.example", "claude-code-lab")
    assert line["reason"] == (None if answer.status_code < 400 else "Upstream")


def body_of(request: Json) -> bytes:
    if "body" in request:
        return str(request["body"]).encode()
    return base64.b64decode(request["body_base64"])


def check_answer(answer: httpx.Response, own: httpx.Response) -> None:
    """As the provider gave it, but for what no two of its answers share."""
    assert (answer.status_code, without_id(answer)) == (own.status_code, without_id(own))
    if "request_id" in answer.json():
        assert answer.json()["request_id"] == answer.headers["request-id"]
    else:
        assert answer.content == own.content
    kept = {name: value for name, value in own.headers.items() if name not in OF_THIS_ANSWER | BINDING}
    assert not BINDING & answer.headers.keys() and BINDING & own.headers.keys()
    assert {name: answer.headers.get(name) for name in kept} == kept
    assert answer.headers["request-id"].startswith("req_") and answer.headers["x-request-id"]


@every
def test_nobody_passes_unchecked(passing: Stack, providers: Providers, call: Call) -> None:
    with providers.asking():
        for token, status, reason in ((None, 401, "JwtAuth"), (passing.token(team="marketing"), 403, "Authorization")):
            answer = made(passing, call, token=token)
            line = line_of(passing, answer)
            assert answer.status_code == line["http.status"] == status
            assert (line["reason"], line["endpoint"]) == (reason, "passthrough")


def test_the_key_of_a_client_is_no_ticket(passing: Stack, providers: Providers) -> None:
    with providers.asking():
        answer = passing.call(path="/v1/files", method="GET", token=None, headers={"x-api-key": ANTHROPIC_KEY})
    assert answer.status_code == 401 and ANTHROPIC_KEY not in passing.printed


@pytest.mark.parametrize("model", ["claude-opus-5", "claude-haiku-4-5", "whatever"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_messages_are_served_with_any_model(passing: Stack, providers: Providers, model: str, stream: bool) -> None:
    body = prompt("demo: say bonjour", model=model, stream=stream)
    with providers.asking("anthropic") as asked:
        answer = passing.call(body)
    assert body_of(asked[0]) == json.dumps(body).encode()
    assert answer.status_code == 200 and (stream or text_of(answer.json()) == "bonjour")
    assert b"event: message_stop" in answer.content or not stream
    line = passing.record(answer)
    assert (line["endpoint"], line["reason"], line["gen_ai.response.model"]) == ("messages", None, model)
    assert line["gen_ai.usage.input_tokens"] > 0 and line["gen_ai.usage.output_tokens"] > 0


def test_tokens_are_counted_by_the_provider(passing: Stack, providers: Providers) -> None:
    body = {"model": "claude-opus-5", "messages": [{"role": "user", "content": "word " * 50}]}
    with providers.asking("anthropic") as asked:
        answer = passing.call(body, path="/v1/messages/count_tokens")
    assert asked[0]["path"] == "/v1/messages/count_tokens"
    assert answer.json() == {"input_tokens": len(asked[0]["body"]) // 4}
    line = passing.record(answer)
    assert (line["endpoint"], line["reason"]) == ("count_tokens", None)
    assert line["gen_ai.usage.input_tokens"] == answer.json()["input_tokens"]


def test_the_model_of_a_message_must_be_named(passing: Stack, providers: Providers) -> None:
    with providers.asking():
        answer = passing.call(prompt("hello", model=""))
    assert answer.status_code == 400 and answer.json()["error"]["message"] == "model: Field required"

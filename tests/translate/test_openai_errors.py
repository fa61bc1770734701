"""Upstream errors in every shape and wording."""

import json
from pathlib import Path
from typing import Any

import pytest

from extproc.errors import Kind, Reason
from extproc.translate.pair import Refusal
from extproc.translate.provider_error import scrubbed
from tests.translate.answers import asked, events, messages_on_chat

# Wordings of vendors, as their threads and sources show them.
TOKEN = " (capability_rejected: prompt_too_long)"
OVERFLOWS = json.loads((Path(__file__).parent / "overflows.json").read_text())


def refusal(status: int, body: Any, headers: dict[str, str] | None = None, **profile: Any) -> Refusal:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return messages_on_chat.error(asked({"name": "generic", **profile}), status, headers or {}, raw, 1_000_000_000.0)


def error(message: str = "no", **members: Any) -> dict[str, Any]:
    return {"error": {"message": message, **members}}


@pytest.mark.parametrize(
    ("status", "body", "expected", "kind"),
    [
        (402, error(), 402, Kind.BILLING),
        (429, error(code="billing_not_active"), 402, Kind.BILLING),
        (403, error(), 403, Kind.PERMISSION),
        (400, error(code="DeploymentNotFound"), 404, Kind.NOT_FOUND),
        (403, error(code="model_not_found"), 403, Kind.PERMISSION),
        (402, error(code="content_filter"), 402, Kind.BILLING),
        (429, error(code="slow_down", type="insufficient_quota"), 402, Kind.BILLING),
        (429, error(code="slow_down"), 429, Kind.RATE_LIMIT),
        (404, error(), 404, Kind.NOT_FOUND),
        (408, error(), 504, Kind.TIMEOUT),
        (409, error(), 409, Kind.CONFLICT),
        (413, error(code="rate_limit_exceeded"), 413, Kind.TOO_LARGE),
        (422, error(), 400, Kind.INVALID_REQUEST),
        (405, error(), 405, Kind.INVALID_REQUEST),
        (418, error(), 418, Kind.INVALID_REQUEST),
        (425, error(), 429, Kind.RATE_LIMIT),
        (429, error(type="tokens"), 429, Kind.RATE_LIMIT),
        (500, error(), 500, Kind.API),
        (500, error(code="engine_overloaded"), 529, Kind.OVERLOADED),
        (502, error(), 502, Kind.API),
        (503, error(), 529, Kind.OVERLOADED),
        (521, error(), 502, Kind.API),
        (524, error(), 504, Kind.TIMEOUT),
        (599, error(), 502, Kind.API),
        (302, b"", 502, Kind.API),
    ],
)
def test_status_and_kind_agree(status: int, body: Any, expected: int, kind: Kind) -> None:
    found = refusal(status, body).rejection
    assert (found.http_status, found.kind) == (expected, kind)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (error("a"), "a"),
        ({"error": "a"}, "a"),
        ({"object": "error", "message": "a", "code": 400}, "a"),
        ({"message": "a"}, "a"),
        ([error("a")], "a"),
        ({"detail": "a"}, "a"),
        ({"detail": [{"loc": ["body", "n"], "msg": "a"}, {"loc": "x", "msg": "b"}]}, "body.n: a; b"),
        (error("Provider returned error", metadata={"raw": json.dumps(error("a"))}), "Provider returned error: a"),
        (error("Provider returned error", metadata={"raw": "<html>"}), "Provider returned error"),
        (error("a", param="messages[2].content"), "messages.2.content: a"),
        (error("a", param="max_completion_tokens"), "max_tokens: a"),
        (error("a", param="input data: x"), "a"),
        (b"<html>secret</html>", "upstream answered 400 Bad Request"),
        (b"plain", "upstream answered 400 Bad Request"),
        ({"other": 1}, "upstream answered 400 Bad Request"),
        (b"", "upstream answered 400 Bad Request"),
    ],
)
def test_every_shape_is_read(body: Any, message: str) -> None:
    assert refusal(400, body).rejection.message == message


@pytest.mark.parametrize("said", OVERFLOWS, ids=lambda said: said["message"][:30])
def test_overflow_is_worded_so_that_clients_compact(said: dict[str, Any]) -> None:
    found = refusal(400, error(said["message"])).rejection
    counts = f"{said['used']} tokens > {said['limit']} maximum"
    assert found.message == f"prompt is too long: {counts} ({said['message']}){TOKEN}"
    assert (found.http_status, found.kind) == (400, Kind.INVALID_REQUEST)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, error("reduce the length", code="context_length_exceeded"), "prompt is too long: reduce the length"),
        (400, error("no", code="context_length_exceeded", param="messages"), "prompt is too long: no"),
        (500, error("prompt too long; exceeded max context length by 5 tokens"),
         "prompt is too long: prompt too long; exceeded max context length by 5 tokens"),
        (400, error("context window exceeds limit (2013)"), "prompt is too long: context window exceeds limit (2013)"),
        (400, error("x", type="exceed_context_size_error", n_prompt_tokens=5000, n_ctx=4096),
         "prompt is too long: 5000 tokens > 4096 maximum (x)"),
        (400, error("prompt is too long: 5 tokens > 4 maximum"), "prompt is too long: 5 tokens > 4 maximum"),
        (413, error("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, lower it"),
         "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, lower it"),
    ],
)  # fmt: skip
def test_overflow_without_both_numbers(status: int, body: Any, message: str) -> None:
    found = refusal(status, body).rejection
    # What a smaller answer would cure is no reason to compact.
    token = TOKEN if message.startswith("prompt is too long") else ""
    assert found.message == message + token
    assert found.http_status == 400


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error("exceeded max context length by 1119046 tokens (ref: 96164522-5d1b-4e7e-9d2b-1f0b7d7a5e2c)")),
        (400, error("context length exceeded by 500; request 123456789 was 20260101 for 4096")),
        (400, error("Too many tokens: the prompt must be shorter", code="too_many_prompt_tokens")),
        (413, error("Request body too large for gpt-4o model. Max size: 8000 tokens.", code="tokens_limit_reached")),
    ],
    ids=["ollama", "excess", "perplexity", "github-models"],
)
def test_a_number_is_only_given_as_what_it_is(status: int, body: Any) -> None:
    found = refusal(status, body).rejection
    assert found.message == f"prompt is too long: {body['error']['message']}{TOKEN}"
    assert (found.http_status, found.kind) == (400, Kind.INVALID_REQUEST)


def test_other_statuses_do_not_speak_of_overflow() -> None:
    assert refusal(429, error("too many tokens per minute")).rejection.kind is Kind.RATE_LIMIT


def test_a_refused_credential_is_the_gateways_fault() -> None:
    hidden = refusal(401, error("Incorrect API key provided: sk-abc"), hide_upstream_auth=True)
    assert hidden.rejection.http_status == 500 and hidden.rejection.kind is Kind.API
    assert "sk-" not in hidden.rejection.message and hidden.rejection.detail == "upstream_credential_rejected"
    assert hidden.headers["x-should-retry"] == "false"
    shown = refusal(401, error("bad key")).rejection
    assert (shown.http_status, shown.kind, shown.message) == (401, Kind.AUTHENTICATION, "bad key")


@pytest.mark.parametrize("stream", [True, False])
def test_a_filtered_prompt_can_be_a_refusal(stream: bool) -> None:
    request = asked({"name": "azure", "filter_as_refusal": True}, stream=stream)
    body = json.dumps(error("filtered", innererror={"code": "ResponsibleAIPolicyViolation"})).encode()
    answer = messages_on_chat.error(request, 400, {}, body, 0.0).answer
    last = events(answer)[-2]["delta"] if stream else json.loads(answer)
    assert last["stop_reason"] == "refusal" and last["stop_details"]["explanation"] == "filtered"
    assert not refusal(400, error("filtered", code="content_filter")).answer


def test_reasons() -> None:
    assert refusal(504, error()).rejection.reason is Reason.UPSTREAM_TIMEOUT
    assert refusal(500, error()).rejection.reason is Reason.UPSTREAM
    assert refusal(400, error(code="some_code")).rejection.detail == "upstream_400:some_code"


def test_headers() -> None:
    found = refusal(429, error(), {"x-request-id": "r", "retry-after": "3", "server": "x", "x-ratelimit-reset": "60"})
    assert found.headers == {
        "request-id": "r",
        "x-request-id": "r",
        "retry-after": "3",
        "anthropic-ratelimit-requests-reset": "2001-09-09T01:47:40Z",
    }


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("key sk-proj-abc_DEF123 is wrong", "key [key] is wrong"),
        ("Incorrect API key provided: sk-abc***xyz. See https://platform.openai.com/account/api-keys.",
         "Incorrect API key provided: [key] See [address]"),
        ("gsk_12345678 AIzaSyA12345 Bearer abc.def", "[key] [key] [key]"),
        ("connect to llm.internal:8080 or 10.0.0.1:80 failed", "connect to [address] or [address] failed"),
        ("gpt-4.1-mini, messages.0.content, e.g. 1.5", "gpt-4.1-mini, messages.0.content, e.g. 1.5"),
        ("task-force risk-based", "task-force risk-based"),
        ("Invalid token f3a9c1d2e4b5a6978877665544332211", "Invalid token [key]"),
        ("wrong api-key: Zq7LkPw0mBn3vXy9Zq7L", "wrong api-key: [key]"),
        ("at llm.example.de:8443", "at [address]"),
        ("at gpu-node-7:8000", "at [address]"),
        ("at [fd00::12]:8000", "at [address]"),
        ("at llm.intern.firma.at/v1/chat", "at [address]"),
        ("messages.0.content.1: 4096 is above max_tokens:4096", "messages.0.content.1: 4096 is above max_tokens:4096"),
        ("see gpt-4.1: the context:32768", "see gpt-4.1: the context:32768"),
        ("x" * 9000, "x" * 4096),
    ],
)  # fmt: skip
def test_nothing_secret_is_forwarded(message: str, expected: str) -> None:
    assert scrubbed(message) == expected

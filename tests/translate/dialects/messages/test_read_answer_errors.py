"""Errors and headers for Chat clients (mapping 5.3, 5.5)."""

import json
from typing import Any

import pytest

from extproc.translate.pair import Refusal
from extproc.translate.response_headers import duration
from extproc.wire.rejections import rejection_body, rejection_status
from tests.translate.chat_answers import asked
from tests.translate.chat_asking import CHAT_ON_MESSAGES

NOW = 1_800_000_000.0


def refused(status: int, type: str = "", message: str = "m", body: Any = None, **overrides: Any) -> tuple[Refusal, Any]:
    given = body if body is not None else {"type": "error", "error": {"type": type, "message": message}}
    request = asked({"name": "claude-adaptive", **overrides})
    refusal = CHAT_ON_MESSAGES.error(request, status, {}, json.dumps(given).encode(), NOW)
    return refusal, json.loads(rejection_body("chat", refusal.rejection, ""))["error"]


@pytest.mark.parametrize(
    ("status", "type", "expected"),
    [
        (400, "invalid_request_error", (400, "invalid_request_error", None)),
        (401, "authentication_error", (401, "invalid_request_error", "invalid_api_key")),
        (402, "billing_error", (429, "insufficient_quota", "insufficient_quota")),
        (403, "billing_error", (429, "insufficient_quota", "insufficient_quota")),
        (403, "permission_error", (403, "invalid_request_error", "insufficient_permissions")),
        (404, "not_found_error", (404, "invalid_request_error", None)),
        (408, "", (408, "server_error", "timeout")),
        (409, "conflict_error", (409, "invalid_request_error", "conflict")),
        (413, "invalid_request_error", (413, "invalid_request_error", "request_too_large")),
        (415, "", (415, "invalid_request_error", None)),
        (422, "invalid_request_error", (400, "invalid_request_error", None)),
        (429, "rate_limit_error", (429, "rate_limit_error", "rate_limit_exceeded")),
        (500, "api_error", (500, "server_error", None)),
        (503, "api_error", (503, "server_error", None)),
        (504, "timeout_error", (504, "server_error", "timeout")),
        (529, "overloaded_error", (503, "service_unavailable_error", "server_is_overloaded")),
        (418, "teapot_error", (418, "teapot_error", None)),
        (302, "", (502, "server_error", None)),
    ],
)
def test_statuses(status: int, type: str, expected: Any) -> None:
    refusal, error = refused(status, type)
    assert (rejection_status("chat", refusal.rejection), error["type"], error["code"]) == expected
    assert refusal.headers.get("x-should-retry") == ("false" if error["type"] == "insufficient_quota" else None)


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        ("messages.0.content: bad", "messages.0.content", None),
        ("stop_sequences.0: bad", "stop", None),
        ("thinking.enabled.budget_tokens: bad", "reasoning_effort", None),
        ("No: path", None, None),
        ("input length and `max_tokens` exceed context limit: 1 + 2 > 2", "messages", "context_length_exceeded"),
    ],
)
def test_params(message: str, param: str | None, code: str | None) -> None:
    _, error = refused(400, "invalid_request_error", message)
    assert (error["param"], error["code"], error["message"]) == (param, code, message)


def test_unknown_models() -> None:
    _, error = refused(404, "not_found_error", "model: claude-y")
    assert (error["param"], error["code"]) == ("model", "model_not_found")


def test_secrets_and_pages_stay_here() -> None:
    _, error = refused(400, "invalid_request_error", "key sk-ant-abc at https://api.anthropic.com/v1")
    assert error["message"] == "key [key] at [address]"
    refusal = CHAT_ON_MESSAGES.error(asked(), 502, {}, b"<html>nginx</html>", NOW)
    assert refusal.rejection.message == "upstream answered 502 Bad Gateway"
    refusal, error = refused(401, "authentication_error", hide_upstream_auth=True)
    assert refusal.rejection.http_status == 500 and error["message"] == "gateway credential rejected"


def test_headers() -> None:
    limits = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2027-01-15T08:01:11.5Z",
        "anthropic-ratelimit-input-tokens-limit": "1000",
        "anthropic-ratelimit-input-tokens-remaining": "900",
        "anthropic-ratelimit-output-tokens-limit": "100",
        "anthropic-ratelimit-output-tokens-remaining": "10",
        "anthropic-ratelimit-output-tokens-reset": "2026-01-01T00:00:00Z",
        "anthropic-organization-id": "o",
        "request-id": "req_1",
        "retry-after": "3",
        "server": "x",
    }
    assert CHAT_ON_MESSAGES.headers(limits, NOW) == {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "49",
        "x-ratelimit-reset-requests": "1m12s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "10",
        "x-ratelimit-reset-tokens": "0s",
        "request-id": "req_1",
        "x-request-id": "req_1",
        "retry-after": "3",
    }
    both = {**limits, "anthropic-ratelimit-tokens-limit": "7", "anthropic-ratelimit-tokens-reset": "soon"}
    found = CHAT_ON_MESSAGES.headers(both, NOW)
    assert found["x-ratelimit-limit-tokens"] == "7" and "x-ratelimit-reset-tokens" not in found


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2027-01-15T08:00:00Z", "0s"),
        ("2027-01-15T08:00:06Z", "6s"),
        ("2027-01-15T08:06:00+00:00", "6m0s"),
        ("2027-01-15T09:00:03Z", "1h0m3s"),
        ("2027-01-17T09:00:00", "49h0m0s"),
        ("odd", None),
    ],
)
def test_durations(moment: str, expected: str | None) -> None:
    assert duration(moment, NOW) == expected

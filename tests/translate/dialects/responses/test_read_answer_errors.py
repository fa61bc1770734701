"""Answers that failed."""

import json
from typing import Any

import pytest

from extproc.errors import Kind, Reason
from tests.translate.answers import messages_on_responses
from tests.translate.responses_upstream import COMPLETED, CREATED, ask, event, response, run, target, text, whole

INVALID, API, LIMIT = Kind.INVALID_REQUEST, Kind.API, Kind.RATE_LIMIT
FAILURES = [
    ("server_error", 500, API),
    ("rate_limit_exceeded", 429, LIMIT),
    ("vector_store_timeout", 504, Kind.TIMEOUT),
    ("invalid_prompt", 400, INVALID),
    ("invalid_image_format", 400, INVALID),
    ("unsupported_image_media_type", 400, INVALID),
    ("data_residency_mismatch", 400, INVALID),
    ("something_new", 400, INVALID),
    ("insufficient_quota", 402, Kind.BILLING),
]


def failed(code: str | None, message: str = "why") -> dict[str, Any]:
    return response(status="failed", error={"code": code, "message": message})


@pytest.mark.parametrize(("code", "status", "kind"), FAILURES)
def test_a_failed_response(code: str, status: int, kind: Kind) -> None:
    found, outcome = whole(failed(code))
    failure = outcome.failure
    assert found is None and failure is not None
    assert (failure.http_status, failure.kind, failure.message) == (status, kind, "why")
    reply, found = run(CREATED, *text("a"), event("response.failed", response=failed(code)), COMPLETED)
    assert found[-1] == {"type": "error", "error": {"type": kind, "message": "why"}}
    assert reply.outcome.failure == failure


def test_a_failure_that_is_the_first_event_has_a_status() -> None:
    reply, found = run(event("response.failed", response=failed("rate_limit_exceeded")))
    assert [event["type"] for event in found] == ["error"] and not reply.outcome.begun
    assert reply.outcome.failure is not None and reply.outcome.failure.http_status == 429


@pytest.mark.parametrize("error", [None, {}, {"message": "why"}, "why"])
def test_a_failure_without_a_code(error: Any) -> None:
    _, outcome = whole(response(status="failed", error=error))
    assert outcome.failure is not None and (outcome.failure.http_status, outcome.failure.kind) == (502, API)


@pytest.mark.parametrize(("code", "category"), [("bio_policy", "bio"), ("misalignment_policy_violation", None)])
def test_a_policy_of_the_upstreams_is_a_refusal(code: str, category: str | None) -> None:
    details = {"type": "refusal", "category": category, "explanation": "why"}
    found, outcome = whole(failed(code))
    assert (found["content"], found["stop_reason"], found["stop_details"]) == ([], "refusal", details)
    assert outcome.complete and outcome.failure is None
    _, events = run(CREATED, *text("a"), event("response.failed", response=failed(code)))
    assert [event["type"] for event in events][-2:] == ["message_delta", "message_stop"]
    assert events[-2]["delta"] == {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}


def test_what_was_said_before_a_refusal_stays() -> None:
    said = {"type": "message", "content": [{"type": "output_text", "text": "a"}]}
    found, _ = whole({**failed("bio_policy"), "output": [said]})
    assert (found["content"], found["stop_reason"]) == ([{"type": "text", "text": "a"}], "refusal")


@pytest.mark.parametrize(
    ("members", "status", "kind"),
    [
        ({"code": "rate_limit_exceeded"}, 429, LIMIT),
        ({"code": "server_error"}, 500, API),
        ({"code": "invalid_prompt"}, 400, INVALID),
        ({"code": "ERR_SOMETHING"}, 502, API),
        ({"code": None}, 502, API),
        ({"code": "503"}, 529, Kind.OVERLOADED),
        ({"error": {"type": "requests", "code": "rate_limit_exceeded", "message": "why"}, "message": None}, 429, LIMIT),
    ],
)
def test_an_error_event(members: Any, status: int, kind: Kind) -> None:
    error = event("error", **{"message": "why", "param": None, **members})
    for before in ([], [CREATED, *text("a")]):
        reply, found = run(*before, error, COMPLETED)
        assert found[-1] == {"type": "error", "error": {"type": kind, "message": "why"}}
        assert reply.outcome.failure is not None and reply.outcome.failure.http_status == status


def test_a_prompt_that_does_not_fit() -> None:
    for code in ("context_length_exceeded", "invalid_prompt"):
        _, outcome = whole(failed(code, "Your input exceeds the context window of this model."))
        assert outcome.failure is not None and outcome.failure.message.startswith("prompt is too long: ")


def test_the_member_at_fault_is_named() -> None:
    body = {"error": {"code": "invalid_value", "message": "Bad value", "param": "max_output_tokens", "type": "x"}}
    refusal = messages_on_responses.error(ask(), 400, {"x-request-id": "r"}, json.dumps(body).encode(), 0.0)
    assert (refusal.rejection.message, refusal.headers["request-id"]) == ("max_tokens: Bad value", "r")


@pytest.mark.parametrize("status", ["cancelled", "queued", "in_progress", "odd"])
def test_an_answer_that_is_none_yet(status: str) -> None:
    _, outcome = whole(response(status=status))
    assert outcome.failure is not None and (outcome.failure.http_status, outcome.failure.kind) == (502, API)


@pytest.mark.parametrize(
    ("value", "status"),
    [({}, 502), ([], 502), (None, 502), ({"error": {"code": "rate_limit_exceeded", "message": "m"}}, 429)],
)
def test_what_is_no_response(value: Any, status: int) -> None:
    found, outcome = whole(value)
    assert found is None and outcome.failure is not None and outcome.failure.http_status == status


@pytest.mark.parametrize("pieces", [[], [b": hi\n\n"], [b"data: [DONE]\n\n"], [event("response.queued")]])
def test_nothing_is_a_failure_with_a_status(pieces: list[bytes]) -> None:
    reply, found = run(*pieces)
    assert [event["type"] for event in found] == ["error"] and not reply.outcome.begun
    failure = reply.outcome.failure
    assert failure is not None and (failure.http_status, failure.reason) == (502, Reason.TRUNCATED)


def test_truncation() -> None:
    reply, found = run(CREATED, *text("a")[:3])
    assert found[-1]["error"]["type"] == "api_error" and not reply.outcome.complete
    lenient = ask(stream=True, to=target(on_truncated="end_turn"))
    reply, found = run(CREATED, *text("a")[:3], asked=lenient)
    assert found[-2]["delta"]["stop_reason"] == "end_turn" and reply.outcome.complete
    reply, found = run(b": hi\n\n", asked=lenient)
    assert [event["type"] for event in found] == ["error"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_filtered_prompt_as_a_refusal(stream: bool) -> None:
    body = json.dumps({"error": {"code": "content_filter", "message": "filtered"}}).encode()
    asked = ask(stream=stream, to=target(filter_as_refusal=True))
    refusal = messages_on_responses.error(asked, 400, {}, body, 0.0)
    assert b'"stop_reason":"refusal"' in refusal.answer and b"filtered" in refusal.answer

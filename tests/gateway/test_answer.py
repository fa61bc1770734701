"""The provider's answer: held until its status is known, then passed on; Envoy's where there was none."""

from typing import Any

import pytest

from extproc.gateway import record
from extproc.gateway.answer import DRAIN_SECONDS, MAX_ERROR_BYTES
from extproc.gateway.gateway import Gateway
from tests.issuing import token
from tests.playbook import (
    ABSENT,
    DEADLINE_REACHED,
    OUR_ID,
    Json,
    Playbook,
    answers,
    awaits,
    begins,
    forwards,
    rejects,
    request_body,
    request_headers,
    response_body,
    response_headers,
    says,
)
from tests.settings import GATEWAY, gateway

STREAMING = "\nstreaming: {first_event_hold: 10, ping_interval: 15}\ntranslation: {hide_upstream_auth: true}\n"
ASK: Json = {"model": "claude-x", "max_tokens": 10, "messages": [{"role": "user", "content": "q"}]}
SSE = "text/event-stream"
ANSWER: Json = {
    "id": "c1",
    "model": "gpt-4o-mini-2024",
    "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}
CHUNK = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
FINISH = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
COMMENT = b": still here\n\n"
FIRST = ["message_start", "content_block_start", "content_block_delta"]
LAST = ["content_block_stop", "message_delta", "message_stop"]
TTFT = "gen_ai.server.time_to_first_token"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return gateway(tmp_path_factory.mktemp("gateway"), GATEWAY + STREAMING)


def sent(gate: Gateway, *, stream: bool = False) -> Playbook:
    play = Playbook(gate) >> request_headers(token=token()) << awaits()
    return play >> request_body(ASK | {"stream": stream}) << forwards({})


def patience(play: Playbook) -> float | None:
    """What is left of it."""
    deadline = play.exchange.deadline
    return None if deadline is None else deadline - play.now


def error(kind: str, **members: Any) -> Json:
    return {"type": "error", "error": {"type": kind, **members}}


def test_json_is_held_until_it_is_whole(gate: Gateway) -> None:
    upstream: Json = {"content_length": "9", "x_secret": "x", "set_cookie": "a", "connection": "close", "date": "now"}
    play = sent(gate) >> response_headers(**upstream) >> response_body(b'{"id":"c1",')
    play.after(2.5) >> response_body(str(ANSWER).replace("'", '"').encode()[len('{"id": "c1",') :], end=True)
    gone = ["content-length", "date", "set-cookie", "x-secret"]
    headers = {
        "content-type": "application/json",
        "request-id": OUR_ID,
        "cache-control": ABSENT,
    }
    play << {**begins(headers=headers), "remove_headers": gone}
    known = {
        TTFT: 2.5,
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.response.model": "gpt-4o-mini-2024",
        "gen_ai.response.finish_reasons": "end_turn",
        record.ENDED: True,
        "reason": ABSENT,
    }
    body = {"type": "message", "model": "claude-x", "stop_reason": "end_turn"}
    assert play << says(end=True, body=body, record=known)


def test_the_first_event_releases_the_headers(gate: Gateway) -> None:
    play = (
        sent(gate, stream=True) >> response_headers(content_type=SSE, content_length="9") >> response_body(CHUNK[:20])
    )
    headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    play >> response_body(CHUNK[20:]) << begins(headers=headers) << says(end=False, events=FIRST, text="hi")
    play >> response_body(CHUNK) << says(end=False, events=["content_block_delta"], record={TTFT: ABSENT})
    play >> response_body(FINISH + DONE) << says(end=False, events=LAST, record={record.ENDED: True})
    assert play >> response_body(b"", end=True) << says(end=True, body="", record={"reason": ABSENT})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"<html>down</html>", b'{"error":{"message":"x"}}', b"data: {}\n\n"])
def test_a_false_200_becomes_a_true_error(gate: Gateway, content: bytes, stream: bool) -> None:
    play = sent(gate, stream=stream) >> response_headers(content_type=SSE if content[:1] == b"d" else "text/html")
    play >> response_body(content) >> response_body(b"", end=True)
    assert play << begins(502, reason=play.pending[0].record["reason"]) << says(end=True, body=error("api_error"))


def test_a_dead_stream_becomes_an_error_event(gate: Gateway) -> None:
    play = sent(gate, stream=True) >> response_headers(content_type=SSE) >> response_body(CHUNK) << begins()
    play << says(end=False) >> response_body(b"", end=True)
    known = {"reason": "Truncated", "error": "truncated", record.ENDED: True}
    assert play << says(end=True, events=["error"], record=known)
    assert play >> response_body(CHUNK, end=True)  # nothing follows


def test_an_error_inside_a_stream_ends_it_at_once(gate: Gateway) -> None:
    play = sent(gate, stream=True) >> response_headers(content_type=SSE) >> response_body(CHUNK) << begins()
    play << says(end=False) >> response_body(b'data: {"error":{"message":"overloaded","code":503}}\n\n' + CHUNK)
    assert play << says(end=True, events=["error"], record={"reason": "Upstream"})


@pytest.mark.parametrize(
    ("status", "body", "expected", "kind"),
    [
        (400, b'{"error":{"message":"bad","type":"invalid_request_error"}}', 400, "invalid_request_error"),
        (401, b'{"error":{"message":"Incorrect API key sk-x"}}', 500, "api_error"),
        (429, b'{"error":{"message":"slow down"}}', 429, "rate_limit_error"),
        (302, b"", 502, "api_error"),
        (500, b"<html>", 500, "api_error"),
    ],
)
def test_errors_of_the_provider(gate: Gateway, status: int, body: bytes, expected: int, kind: str) -> None:
    play = sent(gate, stream=True) >> response_headers(status, details="via_upstream", retry_after="7", x_secret="x")
    play >> response_body(body[:9]) >> response_body(body[9:], end=True)
    headers = {"content-type": "application/json", "retry-after": "7", "x-secret": ABSENT}
    play << begins(expected, headers, ended=True)
    assert play << says(end=True, body=error(kind))


def test_a_flood_of_an_error_is_cut(gate: Gateway) -> None:
    play = sent(gate) >> response_headers(500) >> response_body(b"x" * (MAX_ERROR_BYTES - 1))
    play >> response_body(b"xx") << begins(500) << says(end=True)
    assert play >> response_body(b"x")


@pytest.mark.parametrize(
    ("status", "kind", "expected", "reason"),
    [
        (413, "request_too_large", 413, "RequestTooLarge"),
        (408, "invalid_request_error", 408, "InvalidRequest"),
        (503, "overloaded_error", 529, "UpstreamUnavailable"),
        (504, "timeout_error", 504, "UpstreamTimeout"),
        (500, "api_error", 502, "Upstream"),
    ],
)
def test_refusals_of_envoys_own(gate: Gateway, status: int, kind: str, expected: int, reason: str) -> None:
    play = sent(gate) >> response_headers(status, "text/plain", details="upstream_reset")
    play >> response_body(b"upstream connect error or 10.0.0.1:443", end=True)
    assert play << begins(expected, reason=reason, error=f"envoy_{status}") << says(end=True, body=error(kind))


def test_envoy_refuses_a_body_that_was_never_seen(gate: Gateway) -> None:
    play = Playbook(gate) >> request_headers(token=token()) << awaits() >> response_headers(413, "text/plain")
    play >> response_body(b"Payload Too Large", end=True) << begins(413, reason="RequestTooLarge")
    assert play << says(end=True, body=error("request_too_large", message="the request is too large"))


GUARD = "rbac_access_denied_matched_policy[none]"


def test_the_guard_refuses_a_request_whose_body_never_came(gate: Gateway) -> None:
    """Headers and trailers only (HTTP/2): the caller's mistake."""
    play = Playbook(gate) >> request_headers(token=token()) << awaits()
    play >> response_headers(503, "text/plain", details=GUARD) >> response_body(b"denied", end=True)
    play << begins(400, reason="InvalidRequest", error="invalid:body")
    assert play << says(end=True, body=error("invalid_request_error", message="a JSON body is required"))


def test_the_guard_refuses_what_had_a_verdict(gate: Gateway) -> None:
    """Which cannot be; it is not put down to the caller."""
    play = sent(gate) >> response_headers(503, "text/plain", details=GUARD) >> response_body(b"denied", end=True)
    assert play << begins(529, reason="UpstreamUnavailable") << says(end=True)


@pytest.mark.parametrize(("status", "expected"), [(200, 502), (204, 502), (429, 429), (503, 529)])
def test_an_answer_of_headers_only_is_replaced(gate: Gateway, status: int, expected: int) -> None:
    play = sent(gate) >> response_headers(status, end=True)
    [action] = play.pending
    kind = {502: "api_error", 429: "rate_limit_error", 529: "overloaded_error"}[expected]
    assert play << answers(error(kind), expected, answered=True, ended=True)
    assert action.record["reason"]


def test_trailers_end_a_stream(gate: Gateway) -> None:
    play = sent(gate, stream=True) >> response_headers(content_type=SSE) >> response_body(CHUNK + FINISH + DONE)
    play << begins() << says(end=False, events=FIRST + LAST)
    assert play >> response_body(b"", end=True) << says(end=True)


def test_the_hold_ends_in_time_whatever_the_provider_mutters(gate: Gateway) -> None:
    play = sent(gate, stream=True) >> response_headers(content_type=SSE)
    assert patience(play) == 10
    play.after(6) >> response_body(COMMENT)
    assert patience(play) == pytest.approx(4)
    play.after(4) >> DEADLINE_REACHED << begins() << says(end=False, events=["comment"], record={TTFT: ABSENT})
    assert patience(play) == 15
    play.after(10) >> response_body(CHUNK) << says(end=False, events=FIRST, record={TTFT: 20.0})
    assert play


def test_pings_keep_the_client_although_the_provider_sends_comments(gate: Gateway) -> None:
    play = sent(gate, stream=True) >> response_headers(content_type=SSE) >> response_body(CHUNK) << begins()
    play << says(end=False)
    play.after(14) >> response_body(COMMENT) << says(end=False, events=["ping"])
    assert patience(play) == pytest.approx(15)
    play.after(15) >> DEADLINE_REACHED << says(end=False, events=["ping"])
    assert patience(play) == 15


def test_a_provider_that_does_not_hang_up_is_left(gate: Gateway) -> None:
    play = sent(gate, stream=True) >> response_headers(content_type=SSE) >> response_body(CHUNK + FINISH + DONE)
    play << begins() << says(end=False)
    assert patience(play) == DRAIN_SECONDS
    play.after(1) >> DEADLINE_REACHED << says(end=True, body="")
    assert patience(play) is None
    assert play >> DEADLINE_REACHED


def usage(tokens: int) -> bytes:
    return b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":%d}}\n\n' % tokens


@pytest.mark.parametrize(
    ("first", "rest", "pace"),
    [
        (CHUNK, FINISH + usage(5) + DONE, 0.5),
        (CHUNK, FINISH + usage(1) + DONE, ABSENT),
        (CHUNK, FINISH + DONE, ABSENT),
        (CHUNK, b"", ABSENT),
        (CHUNK + FINISH + usage(5) + DONE, b"", ABSENT),
    ],
    ids=["five tokens", "a single token", "estimated", "broken off", "in one piece"],
)
def test_the_pace_of_a_stream(gate: Gateway, first: bytes, rest: bytes, pace: object) -> None:
    """Told once for all: that a provider hangs up late does not slow it down."""
    play = sent(gate, stream=True) >> response_headers(content_type=SSE)
    found: Json = {}
    for seconds, event in ((1, response_body(first)), (2, response_body(rest)), (7, response_body(b"", end=True))):
        play = play.after(seconds) >> event
        for action in play.pending:
            found |= action.record
        play.pending.clear()
    assert found[TTFT] == 1 and found.get("gen_ai.server.time_per_output_token", ABSENT) == pace


def test_json_for_a_stream_has_its_status_held(gate: Gateway) -> None:
    play = sent(gate, stream=True) >> response_headers() >> response_body(b'{"error":')
    assert patience(play) == 900  # the provider's own
    play >> response_body(b'{"message":"overloaded","code":503}}', end=True)
    assert play << begins(play.pending[0].status) << says(end=True)  # type: ignore[union-attr]


def test_what_flowed_before_an_abort_is_on_record(gate: Gateway) -> None:
    usage = CHUNK.replace(b'"choices"', b'"usage":{"prompt_tokens":3,"completion_tokens":1},"choices"')
    play = sent(gate, stream=True) >> response_headers(content_type=SSE) >> response_body(usage) << begins()
    play << says(end=False, record={"gen_ai.usage.input_tokens": 3, record.ENDED: ABSENT})
    play.after(0.5) >> response_body(CHUNK) << says(end=False, record={"gen_ai.usage.input_tokens": ABSENT})
    assert play.after(1) >> response_body(CHUNK) << says(end=False, record={"gen_ai.usage.input_tokens": 3})


def test_the_providers_request_id_is_the_clients_and_ours_is_the_records(gate: Gateway) -> None:
    play = sent(gate) >> response_headers(x_request_id="req_upstream") >> response_body(ANSWER, end=True)
    headers = {"request-id": "req_upstream", "x-request-id": "req_upstream"}
    known: Json = {"upstream_request_id": "req_upstream", "request_id": ABSENT}
    assert play << begins(headers=headers, **known) << says(end=True)


def test_a_providers_request_id_does_not_fill_the_log(gate: Gateway) -> None:
    play = sent(gate) >> response_headers(x_request_id="r" * 5000) >> response_body(ANSWER, end=True)
    assert play << begins(upstream_request_id="r" * 200) << says(end=True)


def test_an_early_rejection_has_no_answer(gate: Gateway) -> None:
    assert Playbook(gate) >> request_headers() << rejects(401, "authentication_error")

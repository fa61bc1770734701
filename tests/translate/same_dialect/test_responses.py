"""A Responses client on a Responses provider: the same bytes, and what is known of them afterwards."""

import json
from typing import Any

import pytest

from extproc.errors import Reason
from extproc.translate.dialects.registry import PAIRS
from extproc.translate.pair import Usage
from extproc.translate.signature import seal
from tests.translate.answers import vectors
from tests.translate.passing import JSON, SSE, ask, asked, captured, played

PAIR = PAIRS["responses", "responses"]
STREAMS = vectors("responses_api", "responses_stream->messages_stream")
[WHOLE] = vectors("responses_api", "responses_response->messages_response")
RAW: bytes = next(v["input"]["sse"].encode() for v in STREAMS if "response.completed" in v["input"]["sse"])
BROKEN: bytes = next(v["input"]["sse"].encode() for v in STREAMS if "response.failed" in v["input"]["sse"])
USED = Usage(
    input_tokens=50, output_tokens=30, cache_read_input_tokens=40, cache_creation_input_tokens=10, thinking_tokens=20
)


def last(out: bytes) -> dict[str, Any]:
    found = json.loads(out.decode().strip().rpartition("data: ")[2])
    assert isinstance(found, dict)
    return found


def cut(until: str) -> bytes:
    """The stream before the event of that type."""
    return RAW[: RAW.index(f"event: {until}".encode())]


def test_a_stream_passes_and_is_metered() -> None:
    out, outcome = played(PAIR, RAW)
    assert out == RAW and outcome.complete and outcome.failure is None
    assert (outcome.model, outcome.finish_reason, outcome.usage) == ("gpt-x", "completed", USED)


def test_cuts_change_nothing() -> None:
    at_once = played(PAIR, RAW)
    for at in range(1, len(RAW), 7):
        assert played(PAIR, RAW[:at], RAW[at:]) == at_once
    assert played(PAIR, *(RAW[n : n + 1] for n in range(len(RAW)))) == at_once


@pytest.mark.parametrize("until", ["response.output_item.added", "response.output_text.done", "response.completed"])
def test_a_stream_cut_short_ends_with_a_failure(until: str) -> None:
    out, outcome = played(PAIR, cut(until))
    assert out.startswith(cut(until)) and not outcome.complete
    assert outcome.failure is not None and outcome.failure.reason is Reason.TRUNCATED
    end, before = last(out), last(cut(until))
    assert (end["type"], end["sequence_number"]) == ("response.failed", before["sequence_number"] + 1)
    assert (end["response"]["id"], end["response"]["status"]) == ("resp_1", "failed")


def test_it_may_end_so_where_that_is_tolerated() -> None:
    lenient = asked(PAIR, {"input": "q"}, on_truncated="end_turn")
    out, outcome = played(PAIR, cut("response.completed"), of=lenient)
    assert out == cut("response.completed") and outcome.complete


def test_an_empty_stream_has_an_error_status() -> None:
    for raw in (b"", b": hello\n\n"):
        _, outcome = played(PAIR, raw)
        assert outcome.failure is not None and outcome.failure.http_status == 502 and not outcome.begun


def test_the_providers_failure_passes() -> None:
    out, outcome = played(PAIR, BROKEN)
    assert out == BROKEN and outcome.failure is not None and outcome.failure.http_status == 429


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": None, "sequence_number": 0},
        {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "slow"}},
    ],
)
def test_an_error_instead_of_a_beginning_decides_the_status(error: dict[str, Any]) -> None:
    _, outcome = played(PAIR, b"event: error\ndata: " + json.dumps(error).encode() + b"\n\n")
    assert outcome.failure is not None and not outcome.begun
    assert (outcome.failure.http_status, outcome.failure.message) == (429, "slow")


def test_a_secret_in_an_error_does_not_pass() -> None:
    response = {"id": "resp_1", "error": {"code": "server_error", "message": "key sk-0123456789abcdef0123456789abcdef"}}
    event = json.dumps({"type": "response.failed", "sequence_number": 9, "response": response}).encode()
    out, _ = played(PAIR, cut("response.output_item.added") + b"event: response.failed\ndata: " + event + b"\n\n")
    assert b"sk-0123" not in out and last(out)["type"] == "response.failed"
    assert last(out)["sequence_number"] == 9


@pytest.mark.parametrize("status", ["completed", "incomplete", "queued", "failed"])
def test_an_answer_passes(status: str) -> None:
    raw = json.dumps({**WHOLE["input"], "status": status, "incomplete_details": None}, indent=2).encode()
    out, outcome = played(PAIR, raw, media=JSON, of=asked(PAIR, {"stream": False}))
    assert out == raw and outcome.complete
    assert (outcome.model, outcome.finish_reason, outcome.usage) == ("gpt-x", status, USED)


def test_what_is_incomplete_is_known() -> None:
    _, outcome = played(PAIR, json.dumps(WHOLE["input"]).encode(), media=JSON)
    assert outcome.finish_reason == "max_output_tokens"


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b"{}", b'{"error": {"message": "no", "code": 503}}'])
def test_what_is_no_response_is_a_failure(raw: bytes) -> None:
    out, outcome = played(PAIR, raw, media=JSON)
    assert out == b"" and outcome.failure is not None


def test_a_count_passes() -> None:
    raw = b'{"object": "response.input_tokens", "input_tokens": 9}'
    out, outcome = played(PAIR, raw, media=JSON)
    assert (out, outcome.complete, outcome.usage) == (raw, True, Usage(input_tokens=9))


@pytest.mark.parametrize(("name", "body", "headers"), captured("/v1/responses"))
def test_requests_pass_byte_for_byte(name: str, body: dict[str, Any], headers: dict[str, str]) -> None:
    raw = json.dumps(body, indent=1).encode()
    found = ask(PAIR, raw, headers=headers, model=body["model"])
    assert (found.body, found.path, found.warnings) == (raw, "/responses", ())
    assert found.stream is body.get("stream", False)


def test_model_and_limit_are_set() -> None:
    found = ask(PAIR, b'{"model": "x", "max_output_tokens": 99, "temperature": 1.50}', model="y", max_output_tokens=10)
    assert found.body == b'{"model":"y","max_output_tokens":10,"temperature":1.50}'
    assert (found.max_tokens, found.warnings) == (10, ("clamped:max_output_tokens",))


def test_pings_are_comments() -> None:
    reply = PAIR.reply(asked(PAIR), SSE)
    reply.feed(RAW[:400])
    assert reply.ping().startswith(b":")


def test_reasoning_of_another_model_is_taken_out() -> None:
    """OpenAI refuses encrypted content that is not its own."""
    mine = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA", "x": 1.50}
    ours = {"type": "reasoning", "summary": [], "encrypted_content": seal("anthropic", {"signature": "s"})}
    text = {"role": "user", "content": "atr1. is a prefix"}
    raw = json.dumps({"model": "m", "input": [text, ours, mine, ours, text]}).encode()
    passed = ask(PAIR, raw, strictness="strict")
    assert json.loads(passed.body)["input"] == [text, mine, text]
    assert json.dumps(mine).encode() in passed.body
    assert passed.warnings == ("dropped:input.1", "dropped:input.3")


@pytest.mark.parametrize("given", ["atr1.", [1, "atr1."], [{"type": "reasoning", "encrypted_content": {"atr1.": 1}}]])
def test_other_input_passes_as_it_is(given: Any) -> None:
    raw = json.dumps({"model": "m", "input": given}).encode()
    assert ask(PAIR, raw).body == raw

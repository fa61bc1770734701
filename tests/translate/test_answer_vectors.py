"""Answers, streams and errors of Chat upstreams against the hand-derived vectors."""

import json
from datetime import datetime
from typing import Any

import pytest

from extproc.translate.translated import TranslatedRequest
from extproc.wire.rejections import rejection_body
from tests.matching import same
from tests.translate.answers import (
    JSON,
    MINIMAL,
    SSE,
    asked,
    check_grammar,
    check_with_sdk,
    events,
    merged,
    messages_on_chat,
    play,
    vectors,
)

ANSWERS = vectors("resp_c2m", "chat_response->messages_response")
STREAMS = vectors("stream_c2m", "chat_stream->messages_stream")
ACCUMULATED = vectors("misc", "chat_stream->messages_response")
ERRORS = vectors("errors", "openai_error->anthropic_error")


def named(vector: dict[str, Any]) -> str:
    return f"{vector['case']}-{vector['name']}"


def request_of(vector: dict[str, Any], *, stream: bool) -> TranslatedRequest:
    return asked(vector["profile"], {**vector.get("request", MINIMAL), "stream": stream})


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


@pytest.mark.parametrize("vector", ANSWERS, ids=named)
def test_answer(vector: dict[str, Any]) -> None:
    reply = messages_on_chat.reply(request_of(vector, stream=False), JSON)
    out = play(reply, json.dumps(vector["input"]).encode())
    expected = vector["expected"]
    if "status" in expected:
        failure = reply.outcome.failure
        assert failure is not None and failure.http_status == expected["status"] and not out
        assert same(json.loads(rejection_body("messages", failure, "req_1")), expected["body"]) == []
        return
    assert same(json.loads(out), expected) == []
    assert sorted(reply.outcome.warnings) == sorted(vector["warnings"])
    assert reply.outcome.complete and reply.outcome.finish_reason == expected["stop_reason"]


@pytest.mark.parametrize("vector", [v for v in ANSWERS if "status" not in v["expected"]], ids=named)
def test_answer_as_events_says_the_same(vector: dict[str, Any]) -> None:
    reply = messages_on_chat.reply(request_of(vector, stream=True), JSON)
    found = events(play(reply, json.dumps(vector["input"]).encode()))
    check_grammar(found)
    expected = vector["expected"]
    whole = check_with_sdk(found).model_dump(exclude_none=True)
    assert [{k: v for k, v in block.items() if k != "caller"} for block in whole["content"]] == expected["content"]
    assert whole["stop_reason"] == expected["stop_reason"]
    assert same(found[-2]["usage"], expected["usage"]) == []


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_stream(vector: dict[str, Any]) -> None:
    raw = vector["input"]["sse"].encode()
    reply = messages_on_chat.reply(request_of(vector, stream=True), SSE)
    found = events(play(reply, *pieces(raw, vector["input"].get("split_at_bytes", []))))
    check_grammar(found)
    check_with_sdk(found)
    expected = merged(vector["expected"]["events"])
    if found[0]["type"] == "message_start" == expected[0]["type"]:
        found[0]["message"]["usage"] = expected[0]["message"]["usage"]
    assert same(merged(found), expected) == []
    assert sorted(reply.outcome.warnings) == sorted(vector["warnings"])


@pytest.mark.parametrize("vector", ACCUMULATED, ids=named)
def test_stream_for_a_plain_request(vector: dict[str, Any]) -> None:
    reply = messages_on_chat.reply(request_of(vector, stream=False), SSE)
    out = play(reply, vector["input"]["sse"].encode())
    assert same(json.loads(out), vector["expected"]) == []


@pytest.mark.parametrize("vector", ERRORS, ids=named)
def test_error(vector: dict[str, Any]) -> None:
    given, expected = vector["input"], vector["expected"]
    now = datetime.fromisoformat(vector["now"]).timestamp()
    body = json.dumps(given["body"]).encode() if "body" in given else given["raw_body"].encode()
    refusal = messages_on_chat.error(asked(vector["profile"]), given["status"], given["headers"], body, now)
    assert refusal.rejection.http_status == expected["status"]
    assert same(json.loads(rejection_body("messages", refusal.rejection, "req_1")), expected["body"]) == []
    assert same({name: refusal.headers.get(name) for name in expected["headers"]}, expected["headers"]) == []


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_any_cut_gives_the_same_events(vector: dict[str, Any]) -> None:
    raw = vector["input"]["sse"].encode()
    request = request_of(vector, stream=True)
    whole = play(messages_on_chat.reply(request, SSE), raw)
    for at in range(1, len(raw)):
        assert play(messages_on_chat.reply(request, SSE), raw[:at], raw[at:]) == whole
    assert play(messages_on_chat.reply(request, ""), *(raw[n : n + 1] for n in range(len(raw)))) == whole

"""Answers, streams and errors of Messages upstreams against the hand-derived vectors."""

import json
from datetime import datetime
from typing import Any

import pytest

from extproc.translate.translated import TranslatedRequest
from extproc.wire.rejections import rejection_body, rejection_status
from tests.matching import same
from tests.translate.answers import JSON, SSE, play, vectors
from tests.translate.chat_answers import asked, check_grammar, check_with_sdk, chunks, merged, whole
from tests.translate.chat_asking import CHAT_ON_MESSAGES, MINIMAL

ANSWERS = vectors("resp_m2c", "messages_response->chat_response")
STREAMS = vectors("stream_m2c", "messages_stream->chat_stream")
ERRORS = vectors("errors", "anthropic_error->openai_error")


def named(vector: dict[str, Any]) -> str:
    return f"{vector['case']}-{vector['name']}"


def request_of(vector: dict[str, Any], **more: Any) -> TranslatedRequest:
    return asked(vector["profile"], vector.get("request", MINIMAL), **more)


@pytest.mark.parametrize("vector", ANSWERS, ids=named)
def test_answer(vector: dict[str, Any]) -> None:
    reply, found = whole(vector["input"], request_of(vector))
    assert same(found, vector["expected"]) == []
    assert sorted(reply.outcome.warnings) == sorted(vector["warnings"])
    assert reply.outcome.complete
    assert reply.outcome.finish_reason == vector["expected"]["choices"][0]["finish_reason"]


@pytest.mark.parametrize("vector", ANSWERS, ids=named)
def test_answer_as_chunks_says_the_same(vector: dict[str, Any]) -> None:
    request = request_of(vector, stream=True, stream_options={"include_usage": True})
    found, done = chunks(play(CHAT_ON_MESSAGES.reply(request, JSON), json.dumps(vector["input"]).encode()))
    check_grammar(found, done=done, include_usage=True)
    choice = check_with_sdk(found).model_dump(exclude_none=True)["choices"][0]
    expected = vector["expected"]["choices"][0]
    assert choice["finish_reason"] == expected["finish_reason"]
    assert choice["message"].get("content", "") == (expected["message"]["content"] or "")
    assert same(found[-1]["usage"], vector["expected"]["usage"]) == []


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_stream(vector: dict[str, Any]) -> None:
    request = request_of(vector)
    reply = CHAT_ON_MESSAGES.reply(request, SSE)
    found, done = chunks(play(reply, vector["input"]["sse"].encode()))
    expected = vector["expected"]
    assert same(merged(found), merged(expected["events"])) == []
    assert done is expected["done"]
    assert sorted(reply.outcome.warnings) == sorted(vector["warnings"])
    check_grammar(found, done=done, include_usage=request.shape.include_usage)
    check_with_sdk(found)
    check_with_sdk(expected["events"] if done else expected["events"][:-1])


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_any_cut_gives_the_same_chunks(vector: dict[str, Any]) -> None:
    raw = vector["input"]["sse"].encode()
    request = request_of(vector)
    at_once = play(CHAT_ON_MESSAGES.reply(request, SSE), raw)
    for at in range(1, len(raw)):
        assert play(CHAT_ON_MESSAGES.reply(request, SSE), raw[:at], raw[at:]) == at_once
    assert play(CHAT_ON_MESSAGES.reply(request, ""), *(raw[n : n + 1] for n in range(len(raw)))) == at_once


@pytest.mark.parametrize("vector", [v for v in STREAMS if v["expected"]["done"]], ids=named)
def test_stream_for_a_plain_request(vector: dict[str, Any]) -> None:
    reply = CHAT_ON_MESSAGES.reply(request_of(vector, stream=False, stream_options=None), SSE)
    found = json.loads(play(reply, vector["input"]["sse"].encode()))
    said = check_with_sdk(vector["expected"]["events"]).choices[0]
    assert found["object"] == "chat.completion"
    assert found["choices"][0]["finish_reason"] == said.finish_reason
    assert (found["choices"][0]["message"]["content"] or "") == (said.message.content or "")


@pytest.mark.parametrize("vector", ERRORS, ids=named)
def test_error(vector: dict[str, Any]) -> None:
    given, expected = vector["input"], vector["expected"]
    now = datetime.fromisoformat(vector["now"]).timestamp()
    body = json.dumps(given["body"]).encode()
    refusal = CHAT_ON_MESSAGES.error(asked(vector["profile"]), given["status"], given["headers"], body, now)
    assert rejection_status("chat", refusal.rejection) == expected["status"]
    assert same(json.loads(rejection_body("chat", refusal.rejection, "")), expected["body"]) == []
    assert same({name: refusal.headers.get(name) for name in expected["headers"]}, expected["headers"]) == []

"""Answers and streams of Messages upstreams for Responses clients against the hand-derived vectors."""

import json
from typing import Any

import pytest

from extproc.translate.translated import TranslatedRequest
from tests.matching import same
from tests.translate.answers import JSON, SSE, play, vectors
from tests.translate.responses_answers import asked, check_grammar, check_response, check_types, events, run, whole
from tests.translate.responses_client import RESPONSES_ON_MESSAGES

FILES = ("responses_api", "derived_r2m")
ANSWERS = [v for name in FILES for v in vectors(name, "messages_response->responses_response")]
STREAMS = [v for name in FILES for v in vectors(name, "messages_stream->responses_stream")]


def named(vector: dict[str, Any]) -> str:
    return f"{vector['case']}-{vector['name']}"


def request_of(vector: dict[str, Any], **more: Any) -> TranslatedRequest:
    return asked(vector["profile"], vector["request"], **more)


@pytest.mark.parametrize("vector", ANSWERS, ids=named)
def test_answer(vector: dict[str, Any]) -> None:
    reply, found = whole(vector["input"], request_of(vector))
    assert same(found, vector["expected"]) == []
    check_response(found)
    assert sorted(reply.outcome.warnings) == sorted(vector["warnings"])
    assert reply.outcome.complete


@pytest.mark.parametrize("vector", ANSWERS, ids=named)
def test_answer_as_events_says_the_same(vector: dict[str, Any]) -> None:
    raw = play(RESPONSES_ON_MESSAGES.reply(request_of(vector, stream=True), JSON), json.dumps(vector["input"]).encode())
    found = events(raw)
    check_grammar(found)
    assert same(found[-1]["response"], vector["expected"]) == []


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_stream(vector: dict[str, Any]) -> None:
    reply, found = run(vector["input"]["sse"].encode(), request=request_of(vector, stream=True))
    assert same(found, vector["expected"]["events"]) == []
    check_grammar(found)
    check_types(found)
    assert sorted(reply.outcome.warnings) == sorted(vector["warnings"])
    assert reply.outcome.complete is (found[-1]["type"] != "response.failed")


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_any_cut_gives_the_same_events(vector: dict[str, Any]) -> None:
    raw = vector["input"]["sse"].encode()
    request = request_of(vector, stream=True)
    at_once = play(RESPONSES_ON_MESSAGES.reply(request, SSE), raw)
    for at in range(1, len(raw)):
        assert play(RESPONSES_ON_MESSAGES.reply(request, SSE), raw[:at], raw[at:]) == at_once
    assert play(RESPONSES_ON_MESSAGES.reply(request, ""), *(raw[n : n + 1] for n in range(len(raw)))) == at_once


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_stream_for_a_plain_request(vector: dict[str, Any]) -> None:
    reply = RESPONSES_ON_MESSAGES.reply(request_of(vector, stream=False), SSE)
    out = play(reply, vector["input"]["sse"].encode())
    if vector["expected"]["events"][-1]["type"] == "response.failed":
        assert out == b"" and reply.outcome.failure is not None
        return
    found = json.loads(out)
    check_response(found)
    assert same(found, vector["expected"]["events"][-1]["response"]) == []


def test_the_vectors_are_there() -> None:
    assert (len(ANSWERS), len(STREAMS)) == (4, 4)

"""Vectors derived from the mapping for its cases that have none: Chat clients and Messages upstreams."""

import json
from datetime import datetime
from typing import Any

import pytest

from extproc.errors import Rejection
from extproc.translate.translated import TranslatedRequest
from extproc.wire.rejections import rejection_body, rejection_status
from tests.matching import same
from tests.translate.answers import SSE, play, vectors
from tests.translate.chat_answers import asked, check_grammar, check_with_sdk, chunks, merged, whole
from tests.translate.chat_asking import CHAT_ON_MESSAGES, target, translate

REQUESTS = [v for name in ("derived_c2m", "recorded") for v in vectors(name, "chat_request->messages_request")]
ANSWERS = vectors("derived_c2m", "messages_response->chat_response")
STREAMS = vectors("derived_c2m", "messages_stream->chat_stream")
ERRORS = vectors("derived_c2m", "anthropic_error->openai_error")


def named(vector: dict[str, Any]) -> str:
    return f"{vector['case']}-{vector['name']}"


def own_warnings(request: TranslatedRequest, found: list[str]) -> list[str]:
    """Those of the answer: a custom tool is reported with the request already."""
    return sorted(word for word in found if word not in request.warnings)


@pytest.mark.parametrize("vector", REQUESTS, ids=named)
def test_request(vector: dict[str, Any]) -> None:
    found = translate(vector["input"], target(vector["profile"]))
    expected = vector["expected"]
    if "status" in expected:
        assert isinstance(found, Rejection)
        assert rejection_status("chat", found) == expected["status"]
        assert same(json.loads(rejection_body("chat", found, "")), expected["body"]) == []
        return
    assert isinstance(found, TranslatedRequest), found
    assert same(json.loads(found.body), expected) == []
    assert sorted(found.warnings) == sorted(vector["warnings"])


@pytest.mark.parametrize("vector", ANSWERS, ids=named)
def test_answer(vector: dict[str, Any]) -> None:
    request = asked(vector["profile"], vector["request"])
    reply, found = whole(vector["input"], request)
    assert same(found, vector["expected"]) == []
    assert own_warnings(request, reply.outcome.warnings) == sorted(vector["warnings"])


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_stream(vector: dict[str, Any]) -> None:
    request = asked(vector["profile"], vector["request"])
    reply = CHAT_ON_MESSAGES.reply(request, SSE)
    found, done = chunks(play(reply, vector["input"]["sse"].encode()))
    assert same(merged(found), merged(vector["expected"]["events"])) == []
    assert done is vector["expected"]["done"]
    assert own_warnings(request, reply.outcome.warnings) == sorted(vector["warnings"])
    check_grammar(found, done=done, include_usage=request.shape.include_usage, legacy=request.shape.legacy)
    check_with_sdk(found)


@pytest.mark.parametrize("vector", ERRORS, ids=named)
def test_error(vector: dict[str, Any]) -> None:
    given, expected = vector["input"], vector["expected"]
    now = datetime.fromisoformat(vector["now"]).timestamp()
    refusal = CHAT_ON_MESSAGES.error(
        asked(vector["profile"]), given["status"], given["headers"], json.dumps(given["body"]).encode(), now
    )
    assert rejection_status("chat", refusal.rejection) == expected["status"]
    assert same(json.loads(rejection_body("chat", refusal.rejection, "")), expected["body"]) == []
    assert same({name: refusal.headers.get(name) for name in expected["headers"]}, expected["headers"]) == []

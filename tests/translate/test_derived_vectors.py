"""Vectors derived from the mapping, and from what was seen on the wire: Messages clients and Chat upstreams."""

import json
from datetime import datetime
from typing import Any

import pytest

from extproc.errors import Rejection
from extproc.translate.pair import Reply, Target
from extproc.translate.translated import TranslatedRequest
from extproc.wire.rejections import rejection_body
from tests.matching import same
from tests.openai_types import check_chat_request
from tests.translate.answers import (
    JSON,
    SSE,
    asked,
    check_grammar,
    check_with_sdk,
    events,
    merged,
    messages_on_chat,
    play,
    profile,
    vectors,
)

FILES = ("derived_m2c", "recorded")


def of(*directions: str) -> list[dict[str, Any]]:
    return [vector for name in FILES for vector in vectors(name, *directions)]


REQUESTS = of("messages_request->chat_request")
ANSWERS = of("chat_response->messages_response")
STREAMS = of("chat_stream->messages_stream", "chat_response->messages_stream")
ERRORS = of("openai_error->anthropic_error")


def named(vector: dict[str, Any]) -> str:
    return f"{vector['case']}-{vector['name']}"


def said(rejection: Rejection) -> Any:
    return json.loads(rejection_body("messages", rejection, "req_1"))


def reply_to(vector: dict[str, Any], media: str) -> Reply:
    return messages_on_chat.reply(asked(vector["profile"], vector["request"]), media)


@pytest.mark.parametrize("vector", REQUESTS, ids=named)
def test_request(vector: dict[str, Any]) -> None:
    body, expected = vector["input"], vector["expected"]
    found = messages_on_chat.request(body, Target(profile=profile(vector["profile"]), model=body["model"], nonce="n"))
    if "status" in expected:
        assert isinstance(found, Rejection)
        assert found.http_status == expected["status"]
        assert same(said(found), expected["body"]) == []
        return
    assert isinstance(found, TranslatedRequest), found
    assert same(json.loads(found.body), expected) == []
    assert sorted(found.warnings) == sorted(vector["warnings"])
    if found.profile.name.startswith("openai"):
        check_chat_request(json.loads(found.body))


@pytest.mark.parametrize("vector", ANSWERS, ids=named)
def test_answer(vector: dict[str, Any]) -> None:
    reply, expected = reply_to(vector, JSON), vector["expected"]
    out = play(reply, json.dumps(vector["input"]).encode())
    if "status" in expected:
        failure = reply.outcome.failure
        assert failure is not None and failure.http_status == expected["status"] and not out
        assert same(said(failure), expected["body"]) == []
        return
    assert same(json.loads(out), expected) == []
    assert sorted(reply.outcome.warnings) == sorted(vector["warnings"])


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_stream(vector: dict[str, Any]) -> None:
    given = vector["input"]
    media, body = (SSE, given["sse"]) if "sse" in given else (JSON, json.dumps(given))
    reply = reply_to(vector, media)
    found = events(play(reply, body.encode()))
    check_grammar(found)
    check_with_sdk(found)
    assert same(merged(found), merged(vector["expected"]["events"])) == []
    assert sorted(reply.outcome.warnings) == sorted(vector["warnings"])


@pytest.mark.parametrize("vector", ERRORS, ids=named)
def test_error(vector: dict[str, Any]) -> None:
    given, expected = vector["input"], vector["expected"]
    now = datetime.fromisoformat(vector["now"]).timestamp()
    body = json.dumps(given["body"]) if "body" in given else given["raw_body"]
    refusal = messages_on_chat.error(asked(vector["profile"]), given["status"], given["headers"], body.encode(), now)
    assert refusal.rejection.http_status == expected["status"]
    assert same(said(refusal.rejection), expected["body"]) == []
    assert same({name: refusal.headers.get(name) for name in expected["headers"]}, expected["headers"]) == []

"""A Messages client at a Responses upstream, against the hand-derived vectors."""

import json
from typing import Any

import pytest

from extproc.translate.count import COUNTERS
from extproc.translate.pair import Target, Translated
from extproc.wire.rejections import rejection_status
from tests.matching import same
from tests.openai_types import check_input_tokens_request, check_responses_request
from tests.translate.answers import (
    JSON,
    MINIMAL,
    SSE,
    check_grammar,
    check_with_sdk,
    events,
    merged,
    messages_on_responses,
    play,
    profile,
    vectors,
)

Vector = dict[str, Any]
FILES = ("responses_api", "derived_m2r", "recorded")


def of(direction: str) -> list[Vector]:
    return [vector for name in FILES for vector in vectors(name, direction)]


REQUESTS = of("messages_request->responses_request")
ANSWERED = of("responses_response->messages_response")
ANSWERS = [vector for vector in ANSWERED if "status" not in vector["expected"]]
FAILED = [vector for vector in ANSWERED if "status" in vector["expected"]]
STREAMS = of("responses_stream->messages_stream")
COMPLETE = [vector for vector in STREAMS if vector["expected"]["events"][-1]["type"] != "error"]
COUNTS = vectors("misc", "count_tokens_request->responses_input_tokens_request")
COUNTED = vectors("misc", "responses_input_tokens_response->count_tokens_response")


def named(vector: Vector) -> str:
    return f"{vector['case']}-{vector['name']}"


def target(vector: Vector, model: str) -> Target:
    return Target(profile=profile(vector["profile"]), model=model, nonce="n")


def asked(vector: Vector, **members: Any) -> Translated:
    body = {**MINIMAL, **vector.get("request", {}), **members}
    found = messages_on_responses.request(body, target(vector, "gpt-x"))
    assert isinstance(found, Translated), found
    return found


def pieces(vector: Vector) -> list[bytes]:
    raw, cuts = vector["input"]["sse"].encode(), vector["input"].get("split_at_bytes", [])
    return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


@pytest.mark.parametrize("vector", REQUESTS, ids=named)
def test_request(vector: Vector) -> None:
    found = messages_on_responses.request(vector["input"], target(vector, vector["input"]["model"]))
    assert isinstance(found, Translated), found
    body = json.loads(found.body)
    assert same(body, vector["expected"]) == []
    check_responses_request(body)
    assert sorted(found.warnings) == sorted(vector["warnings"])


@pytest.mark.parametrize("vector", ANSWERS, ids=named)
def test_answer(vector: Vector) -> None:
    reply = messages_on_responses.reply(asked(vector), JSON)
    found = json.loads(play(reply, json.dumps(vector["input"]).encode()))
    assert same(found, vector["expected"]) == []
    assert sorted(reply.outcome.warnings) == sorted(vector["warnings"])


@pytest.mark.parametrize("vector", FAILED, ids=named)
def test_failure(vector: Vector) -> None:
    reply = messages_on_responses.reply(asked(vector), JSON)
    assert play(reply, json.dumps(vector["input"]).encode()) == b""
    failure, expected = reply.outcome.failure, vector["expected"]
    assert failure is not None and rejection_status("messages", failure) == expected["status"]
    error = expected["body"]["error"]
    assert (failure.kind, failure.message) == (error["type"], error["message"])


@pytest.mark.parametrize("vector", ANSWERS, ids=named)
def test_answer_as_events_says_the_same(vector: Vector) -> None:
    found = events(
        play(messages_on_responses.reply(asked(vector, stream=True), JSON), json.dumps(vector["input"]).encode())
    )
    check_grammar(found)
    whole = check_with_sdk(found).model_dump(exclude_none=True)
    assert (whole["content"], whole["stop_reason"]) == (
        vector["expected"]["content"],
        vector["expected"]["stop_reason"],
    )


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_stream(vector: Vector) -> None:
    reply = messages_on_responses.reply(asked(vector, stream=True), SSE)
    found = events(play(reply, *pieces(vector)))
    check_grammar(found)
    check_with_sdk(found)
    expected = merged(vector["expected"]["events"])
    found[0]["message"]["usage"] = expected[0]["message"]["usage"]
    assert same(merged(found), expected) == []
    assert sorted(reply.outcome.warnings) == sorted(vector["warnings"])


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_any_cut_gives_the_same_events(vector: Vector) -> None:
    raw, request = vector["input"]["sse"].encode(), asked(vector, stream=True)
    whole = play(messages_on_responses.reply(request, SSE), raw)
    for at in range(1, len(raw)):
        assert play(messages_on_responses.reply(request, SSE), raw[:at], raw[at:]) == whole
    assert play(messages_on_responses.reply(request, ""), *(raw[n : n + 1] for n in range(len(raw)))) == whole


@pytest.mark.parametrize("vector", COMPLETE, ids=named)
def test_stream_for_a_plain_request_is_the_answer_it_ends_with(vector: Vector) -> None:
    raw = vector["input"]["sse"].encode()
    last = json.loads(raw.split(b"data: ")[-1])["response"]
    by_events = play(messages_on_responses.reply(asked(vector, stream=False), SSE), raw)
    whole = play(messages_on_responses.reply(asked(vector, stream=False), JSON), json.dumps(last).encode())
    assert json.loads(by_events) == json.loads(whole)


@pytest.mark.parametrize("vector", COUNTS, ids=named)
def test_count(vector: Vector) -> None:
    found = COUNTERS["responses"].request(vector["input"], target(vector, vector["input"]["model"]))
    assert isinstance(found, Translated), found
    assert (found.path, found.root) == ("/responses/input_tokens", False)
    assert same(json.loads(found.body), vector["expected"]) == []
    check_input_tokens_request(json.loads(found.body))
    assert sorted(found.warnings) == sorted(vector["warnings"])


@pytest.mark.parametrize("vector", COUNTED, ids=named)
def test_counted(vector: Vector) -> None:
    found = COUNTERS["responses"].request(MINIMAL, target(vector, "gpt-x"))
    assert isinstance(found, Translated), found
    reply = COUNTERS["responses"].reply(found, JSON)
    assert same(json.loads(play(reply, json.dumps(vector["input"]).encode())), vector["expected"]) == []


def test_the_vectors_are_there() -> None:
    assert (len(REQUESTS), len(ANSWERS), len(FAILED), len(STREAMS)) == (14, 11, 4, 11)

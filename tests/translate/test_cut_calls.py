"""Tool calls that were cut short are never completed, in any pair that writes answers (mapping 2.3)."""

import json
from pathlib import Path
from typing import Any

import pytest

from extproc.translate.pair import Pair, Reply, Target, Translated
from extproc.wire.rejections import rejection_body
from tests.matching import same
from tests.translate import answers, chat_answers, responses_answers
from tests.translate.answers import JSON, SSE, messages_on_chat, messages_on_responses, play, vectors
from tests.translate.chat_asking import CHAT_ON_MESSAGES
from tests.translate.responses_client import RESPONSES_ON_MESSAGES

Vector = dict[str, Any]
FROM_OPENAI: dict[str, Pair] = {"chat": messages_on_chat, "responses": messages_on_responses}
UPSTREAMS = tuple(FROM_OPENAI)
STREAMS = vectors("cut_calls", *(f"{upstream}_stream->messages_stream" for upstream in UPSTREAMS))
ANSWERS = vectors("cut_calls", *(f"{upstream}_response->messages_response" for upstream in UPSTREAMS))
CHAT_STREAMS = vectors("cut_calls", "messages_stream->chat_stream")
CHAT_ANSWERS = vectors("cut_calls", "messages_response->chat_response")
RESPONSES_STREAMS = vectors("cut_calls", "messages_stream->responses_stream")
RESPONSES_ANSWERS = vectors("cut_calls", "messages_response->responses_response")


def named(vector: Vector) -> str:
    return f"{vector['direction']}-{vector['name']}"


def reply_to(vector: Vector, media: str, **members: Any) -> Reply:
    """Of a Messages client's request."""
    pair = FROM_OPENAI[vector["direction"].partition("_")[0]]
    to = Target(profile=answers.profile(vector["profile"]), model="gpt-x", nonce="n")
    asked = pair.request({**vector["request"], **members}, to)
    assert isinstance(asked, Translated), asked
    return pair.reply(asked, media)


def check_warnings(vector: Vector, reply: Reply) -> None:
    assert sorted(reply.outcome.warnings) == sorted(vector["warnings"])


def test_every_vector_is_used() -> None:
    used = (STREAMS, ANSWERS, CHAT_STREAMS, CHAT_ANSWERS, RESPONSES_STREAMS, RESPONSES_ANSWERS)
    path = Path(__file__).parents[1] / "vectors" / "cut_calls.json"
    assert sum(map(len, used)) == len(json.loads(path.read_text())["vectors"])


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_a_stream_for_a_messages_client(vector: Vector) -> None:
    reply = reply_to(vector, SSE)
    found = answers.events(play(reply, vector["input"]["sse"].encode()))
    answers.check_grammar(found)
    found[0]["message"]["usage"] = vector["expected"]["events"][0]["message"]["usage"]
    assert same(answers.merged(found), answers.merged(vector["expected"]["events"])) == []
    check_warnings(vector, reply)


@pytest.mark.parametrize("vector", STREAMS, ids=named)
def test_any_cut_of_the_bytes_gives_the_same_events(vector: Vector) -> None:
    raw = vector["input"]["sse"].encode()
    whole = play(reply_to(vector, SSE), raw)
    assert play(reply_to(vector, ""), *(raw[n : n + 1] for n in range(len(raw)))) == whole


@pytest.mark.parametrize("vector", [v for v in STREAMS if "broken" not in v["name"]], ids=named)
def test_a_stream_for_a_plain_request_leaves_the_call_out(vector: Vector) -> None:
    expected = vector["expected"]["events"]
    reply = reply_to(vector, SSE, stream=False)
    out = play(reply, vector["input"]["sse"].encode())
    if expected[-1]["type"] == "error":
        assert out == b"" and reply.outcome.failure is not None and reply.outcome.failure.http_status == 502
        return
    found = json.loads(out)
    assert found["stop_reason"] == expected[-2]["delta"]["stop_reason"]
    assert cut_ids(vector).isdisjoint(ids_of(found["content"]))
    check_warnings(vector, reply)


@pytest.mark.parametrize("vector", ANSWERS, ids=named)
def test_an_answer_for_a_messages_client(vector: Vector) -> None:
    reply, expected = reply_to(vector, JSON), vector["expected"]
    out = play(reply, json.dumps(vector["input"]).encode())
    if "status" in expected:
        failure = reply.outcome.failure
        assert failure is not None and failure.http_status == expected["status"] and not out
        assert same(json.loads(rejection_body("messages", failure, "req_1")), expected["body"]) == []
        return
    assert same(json.loads(out), expected) == []
    check_warnings(vector, reply)


@pytest.mark.parametrize("vector", [v for v in ANSWERS if "status" not in v["expected"]], ids=named)
def test_an_answer_as_events_leaves_the_call_out(vector: Vector) -> None:
    found = answers.events(play(reply_to(vector, JSON, stream=True), json.dumps(vector["input"]).encode()))
    answers.check_grammar(found)
    blocks = [event["content_block"] for event in found if event["type"] == "content_block_start"]
    assert ids_of(blocks) == ids_of(vector["expected"]["content"])
    assert found[-2]["delta"]["stop_reason"] == vector["expected"]["stop_reason"]


def ids_of(content: list[dict[str, Any]]) -> list[str]:
    return [block["id"] for block in content if block["type"] == "tool_use"]


def cut_ids(vector: Vector) -> set[str]:
    words = (word.partition(":") for word in vector["warnings"])
    return {call_id for word, _, call_id in words if word == "incomplete_tool_call"}


@pytest.mark.parametrize("vector", CHAT_STREAMS, ids=named)
def test_a_stream_for_a_chat_client(vector: Vector) -> None:
    request = chat_answers.asked(vector["profile"], vector["request"])
    reply, found, done = chat_answers.run(vector["input"]["sse"].encode(), request=request)
    assert same(chat_answers.merged(found), chat_answers.merged(vector["expected"]["events"])) == []
    assert done is vector["expected"]["done"]
    chat_answers.check_with_sdk(found)
    check_warnings(vector, reply)


@pytest.mark.parametrize("vector", CHAT_STREAMS, ids=named)
def test_a_stream_for_a_plain_chat_request_leaves_the_call_out(vector: Vector) -> None:
    request = chat_answers.asked(vector["profile"], {**vector["request"], "stream": False})
    reply = CHAT_ON_MESSAGES.reply(request, SSE)
    out = play(reply, vector["input"]["sse"].encode())
    if not vector["expected"]["done"]:
        assert out == b"" and reply.outcome.failure is not None
        return
    choice = json.loads(out)["choices"][0]
    assert choice["finish_reason"] == vector["expected"]["events"][-1]["choices"][0]["finish_reason"]
    assert ("tool_calls" in choice["message"]) is not bool(cut_ids(vector))


@pytest.mark.parametrize("vector", CHAT_ANSWERS, ids=named)
def test_an_answer_for_a_chat_client(vector: Vector) -> None:
    reply, found = chat_answers.whole(vector["input"], chat_answers.asked(vector["profile"], vector["request"]))
    assert same(found, vector["expected"]) == []
    check_warnings(vector, reply)


@pytest.mark.parametrize("vector", CHAT_ANSWERS, ids=named)
def test_an_answer_as_chunks_gives_the_call_no_arguments(vector: Vector) -> None:
    request = chat_answers.asked(vector["profile"], {**vector["request"], "stream": True})
    reply = CHAT_ON_MESSAGES.reply(request, JSON)
    found, done = chat_answers.chunks(play(reply, json.dumps(vector["input"]).encode()))
    calls = chat_answers.check_with_sdk(found).choices[0].message.tool_calls
    assert done and [call.function.arguments for call in calls if call.id in cut_ids(vector)] == [""]
    assert found[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("vector", RESPONSES_STREAMS, ids=named)
def test_a_stream_for_a_responses_client(vector: Vector) -> None:
    request = responses_answers.asked(vector["profile"], vector["request"])
    reply, found = responses_answers.run(vector["input"]["sse"].encode(), request=request)
    responses_answers.check_types(found)
    expected, last = vector["expected"], found[-1]["response"]
    assert [event["type"] for event in found] == expected["types"]
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert done == ([expected["item"]] if "item" in expected else [])
    assert last["output"] == expected.get("output", [])
    assert last["incomplete_details"] == expected.get("incomplete_details")
    check_warnings(vector, reply)


@pytest.mark.parametrize("vector", RESPONSES_ANSWERS, ids=named)
def test_an_answer_for_a_responses_client(vector: Vector) -> None:
    request = responses_answers.asked(vector["profile"], vector["request"])
    reply, found = responses_answers.whole(vector["input"], request)
    assert {name: found[name] for name in vector["expected"]} == vector["expected"]
    responses_answers.check_response(found)
    check_warnings(vector, reply)


@pytest.mark.parametrize("vector", RESPONSES_ANSWERS, ids=named)
def test_an_answer_as_events_never_ends_the_item(vector: Vector) -> None:
    request = responses_answers.asked(vector["profile"], {**vector["request"], "stream": True})
    reply = RESPONSES_ON_MESSAGES.reply(request, JSON)
    found = responses_answers.events(play(reply, json.dumps(vector["input"]).encode()))
    assert "response.output_item.done" not in [event["type"] for event in found]
    assert found[-1]["type"] == "response.incomplete"

"""The pairs that are translated through a conversation: cases derived by hand from docs/mapping.md, each with its
rule's number."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from extproc.errors import Rejection
from extproc.providers.profiles import Profile
from extproc.translate.dialects.registry import PAIRS
from extproc.translate.pair import Pair, Reply, Target, Translated
from extproc.wire.rejections import rejection_body, rejection_status
from tests.matching import same
from tests.openai_types import check_chat_request, check_responses_request
from tests.translate.answers import JSON, SSE, play, profile, vectors
from tests.translate.chat_answers import check_grammar, check_with_sdk, chunks, merged
from tests.translate.responses_answers import check_grammar as check_response_grammar
from tests.translate.responses_answers import check_response, check_types, events

Json = dict[str, Any]
CHAT_ON_RESPONSES, RESPONSES_ON_CHAT = PAIRS["chat", "responses"], PAIRS["responses", "chat"]
BY_DIRECTION: dict[str, tuple[Pair, Callable[[Json], None]]] = {
    "chat_request->responses_request": (CHAT_ON_RESPONSES, check_responses_request),
    "responses_request->chat_request": (RESPONSES_ON_CHAT, check_chat_request),
}
REQUESTS = [*vectors("c2r", *BY_DIRECTION), *vectors("r2c", *BY_DIRECTION)]
COMPLETIONS = vectors("c2r", "responses_response->chat_response")
CHUNKS = vectors("c2r", "responses_stream->chat_stream")
RESPONSES = vectors("r2c", "chat_response->responses_response")
EVENTS = vectors("r2c", "chat_stream->responses_stream")
SMALLEST: dict[str, Json] = {"chat": {"messages": [{"role": "user", "content": "q"}]}, "responses": {"input": "q"}}


def named(vector: Json) -> str:
    return f"{vector['case']}-{vector['name']}"


def target(of: Profile) -> Target:
    return Target(profile=of, model="gpt-x", nonce="n", now=1.5)


def asked(pair: Pair, client: str, vector: Json) -> Translated:
    body = vector.get("request") or {"model": "gpt-x", **SMALLEST[client]}
    translated = pair.request(body, target(profile(vector["profile"])))
    assert isinstance(translated, Translated), translated
    return translated.without_body()


def own_warnings(request: Translated, reply: Reply) -> list[str]:
    return sorted(word for word in reply.outcome.warnings if word not in request.warnings)


def check_refusal(client: str, found: Rejection, expected: Json) -> None:
    assert rejection_status(client, found) == expected["status"]
    assert same(json.loads(rejection_body(client, found, "")), expected["body"]) == []


@pytest.mark.parametrize("vector", REQUESTS, ids=named)
def test_request(vector: Json) -> None:
    pair, check = BY_DIRECTION[vector["direction"]]
    found = pair.request(vector["input"], target(profile(vector["profile"])))
    if isinstance(vector["expected"].get("status"), int):
        assert isinstance(found, Rejection)
        check_refusal(vector["direction"].partition("_")[0], found, vector["expected"])
        return
    assert isinstance(found, Translated), found
    sent = json.loads(found.body)
    assert same(sent, vector["expected"]) == []
    assert sorted(found.warnings) == sorted(vector["warnings"])
    check(_without_vendors_members(sent))
    strict = pair.request(vector["input"], target(profile({**_profile(vector), "strictness": "strict"})))
    assert isinstance(strict, Rejection) == (bool(vector["warnings"]) and not vector.get("passes_strict", False))


def _without_vendors_members(sent: Json) -> Json:
    """OpenAI's types know no reasoning in messages."""
    messages = [{k: v for k, v in m.items() if k != "reasoning_content"} for m in sent.get("messages", ())]
    return {**sent, "messages": messages} if messages else sent


def _profile(vector: Json) -> Json:
    found: str | Json = vector["profile"]
    return {"name": found} if isinstance(found, str) else found


@pytest.mark.parametrize("vector", COMPLETIONS, ids=named)
def test_completion(vector: Json) -> None:
    request = asked(CHAT_ON_RESPONSES, "chat", vector)
    reply = CHAT_ON_RESPONSES.reply(request, JSON)
    out = play(reply, json.dumps(vector["input"]).encode())
    check_answer("chat", vector, request, reply, out)


@pytest.mark.parametrize("vector", RESPONSES, ids=named)
def test_response(vector: Json) -> None:
    request = asked(RESPONSES_ON_CHAT, "responses", vector)
    reply = RESPONSES_ON_CHAT.reply(request, JSON)
    out = play(reply, json.dumps(vector["input"]).encode())
    check_answer("responses", vector, request, reply, out)
    if out:
        check_response(json.loads(out))


def check_answer(client: str, vector: Json, request: Translated, reply: Reply, out: bytes) -> None:
    if isinstance(vector["expected"].get("status"), int):
        assert out == b"" and reply.outcome.failure is not None
        check_refusal(client, reply.outcome.failure, vector["expected"])
        return
    assert reply.outcome.failure is None and reply.outcome.complete
    assert same(json.loads(out), vector["expected"]) == []
    assert own_warnings(request, reply) == sorted(vector["warnings"])


@pytest.mark.parametrize("vector", CHUNKS, ids=named)
def test_chunks(vector: Json) -> None:
    request = asked(CHAT_ON_RESPONSES, "chat", vector)
    reply = CHAT_ON_RESPONSES.reply(request, SSE)
    found, done = chunks(play(reply, vector["input"]["sse"].encode()))
    assert same(merged(found), merged(vector["expected"]["events"])) == []
    assert done is vector["expected"]["done"] is reply.outcome.complete
    assert own_warnings(request, reply) == sorted(vector["warnings"])
    options = vector["request"].get("stream_options", {})
    check_grammar(found, done=done, include_usage=options.get("include_usage", False))
    check_with_sdk(found)


@pytest.mark.parametrize("vector", EVENTS, ids=named)
def test_events(vector: Json) -> None:
    request = asked(RESPONSES_ON_CHAT, "responses", vector)
    reply = RESPONSES_ON_CHAT.reply(request, SSE)
    found = events(play(reply, vector["input"]["sse"].encode()))
    kinds = [event["type"] for event in found]
    assert [kind for n, kind in enumerate(kinds) if n == 0 or kind != kinds[n - 1]] == vector["expected"]["kinds"]
    assert same(found[-1]["response"], vector["expected"]["last"]) == []
    assert own_warnings(request, reply) == sorted(vector["warnings"])
    check_response_grammar(found)
    check_types(found)


STREAMS = [(CHAT_ON_RESPONSES, "chat", vector) for vector in CHUNKS]
STREAMS += [(RESPONSES_ON_CHAT, "responses", vector) for vector in EVENTS]


@pytest.mark.parametrize(("pair", "client", "vector"), STREAMS, ids=[named(vector) for _, _, vector in STREAMS])
def test_any_cut_gives_the_same(pair: Pair, client: str, vector: Json) -> None:
    request = asked(pair, client, vector)
    raw = vector["input"]["sse"].encode()
    at_once = play(pair.reply(request, SSE), raw)
    for at in range(1, len(raw), 7):
        assert play(pair.reply(request, SSE), raw[:at], raw[at:]) == at_once


@pytest.mark.parametrize("vector", REQUESTS, ids=named)
def test_twice_gives_the_same(vector: Json) -> None:
    pair, _ = BY_DIRECTION[vector["direction"]]
    to = target(profile(vector["profile"]))
    assert pair.request(vector["input"], to) == pair.request(vector["input"], to)

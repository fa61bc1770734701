"""Chat with Responses, both ways: any JSON gives a request that OpenAI's types accept or a refusal; whatever a provider
sends gives an answer or a failure, in the client's grammar."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.errors import Rejection
from extproc.translate.dialects.registry import PAIRS
from extproc.translate.pair import Pair, Target, Translated
from tests.openai_types import check_chat_request, check_responses_request
from tests.translate import responses_answers, test_chat_request_any, test_responses_request_any
from tests.translate.answers import JSON, SSE, play, profile
from tests.translate.chat_answers import check_grammar, check_with_sdk, chunks
from tests.translate.test_request_any import places

Json = dict[str, Any]
ON_RESPONSES, ON_CHAT = PAIRS["chat", "responses"], PAIRS["responses", "chat"]


def to(named: str, **changes: Any) -> Target:
    return Target(profile=profile({"name": named, **changes}), model="m", nonce="n", now=1.5)


RICH_CHAT = {**test_chat_request_any.RICH, "web_search_options": {}, "verbosity": "low", "logprobs": True}
RICH_RESPONSES = {**test_responses_request_any.RICH, "max_tool_calls": 3}
CASES: list[tuple[Pair, Json, list[Target]]] = [
    (
        ON_RESPONSES,
        RICH_CHAT,
        [
            to("openai-responses"),
            to("openai-responses", web_search=True, phase=True, include_encrypted=True, map_cache_control=True),
            to("openai-responses-plain", local_stop=True, structured_output="json_object", max_output_tokens=100),
            to("openai-responses", strictness="strict"),
        ],
    ),
    (
        ON_CHAT,
        RICH_RESPONSES,
        [
            to("vllm"),
            to("openai-chat", map_cache_control=True, mid_system="native"),
            to("ollama", repair_interrupted=True, image_url=True, prefill="append_user", structured_output="prompt"),
            to("mistral", tool_description_max=5, mid_system="hoist", tool_result_images="inline"),
            to("vllm", strictness="strict"),
        ],
    ),
]
CHECKED = [(pair, rich, target) for pair, rich, targets in CASES for target in targets]
IDS = [f"{target.profile.name}-{n}" for n, (_, _, target) in enumerate(CHECKED)]
VENDORS = frozenset(("reasoning_content", "prefix", "extra_content"))


def check(pair: Pair, body: Json, target: Target) -> Translated | Rejection:
    asked = pair.request(body, target)
    assert asked == pair.request(body, target)
    if isinstance(asked, Rejection):
        assert asked.http_status == 400 and asked.message
        return asked
    sent = json.loads(asked.body)
    if pair is ON_RESPONSES:
        check_responses_request({k: v for k, v in sent.items() if k not in ("moderation", "metadata")})
    else:
        messages = [{k: v for k, v in message.items() if k not in VENDORS} for message in sent["messages"]]
        known = ("model", "messages", "tools", "tool_choice", "response_format", "stop", "stream", "max_tokens")
        sent = {k: v for k, v in sent.items() if k in known}
        if target.profile.tool_choice_any == "required" and target.profile.tool_result_images != "inline":
            check_chat_request({**sent, "messages": messages})
    return asked


@pytest.mark.parametrize(("pair", "rich", "target"), CHECKED, ids=IDS)
def test_the_rich_body(pair: Pair, rich: Json, target: Target) -> None:
    asked = check(pair, rich, target)
    assert isinstance(asked, Rejection) == (target.profile.strictness == "strict")


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_a_few_faults(data: st.DataObject) -> None:
    pair, rich, target = data.draw(st.sampled_from(CHECKED))
    body = copy.deepcopy(rich)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places(body) or [(body, "x")]))
        holder[key] = data.draw(test_chat_request_any.values)
    check(pair, body, target)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_object(data: st.DataObject) -> None:
    pair, rich, target = data.draw(st.sampled_from(CHECKED))
    keys = st.sampled_from(list(rich)) | st.text(max_size=3)
    check(pair, data.draw(st.dictionaries(keys, test_chat_request_any.values, max_size=6)), target)


@pytest.mark.parametrize(("pair", "rich", "target"), [CHECKED[0], CHECKED[4]], ids=["chat", "responses"])
def test_every_place_once(pair: Pair, rich: Json, target: Target) -> None:
    """Each member of the rich body, exchanged for a number, a list and null."""
    for n in range(len(places(rich))):
        others: list[Any] = [7, [[]], None]
        for value in others:
            body = copy.deepcopy(rich)
            holder, key = places(body)[n]
            holder[key] = value
            check(pair, body, target)


# Answers

WORDS = st.sampled_from(["", " ", "a", "{", '{"a":', "1}", '{"a":1}', '"', "null", "\n", "é"])
TEXT = st.none() | WORDS
INDEX = st.none() | st.integers(0, 3)
ITEM = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "reasoning", "function_call", "custom_tool_call", "web_search_call", "odd"])},
    optional={
        "id": st.sampled_from(["x", "y", ""]),
        "call_id": st.sampled_from(["c", "c.d", ""]),
        "name": st.sampled_from(["f", "g", ""]),
        "arguments": TEXT | st.just({"a": 1}),
        "input": TEXT,
        "encrypted_content": TEXT,
        "summary": st.lists(st.fixed_dictionaries({"type": st.just("summary_text"), "text": WORDS}), max_size=2),
        "content": st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["output_text", "refusal"])}, optional={"text": WORDS, "refusal": WORDS}
            ),
            max_size=2,
        ),
    },
)
RESPONSE_EVENT = st.fixed_dictionaries(
    {
        "type": st.sampled_from([
            "response.created", "response.output_item.added", "response.output_item.done", "response.output_text.delta",
            "response.output_text.done", "response.refusal.delta", "response.reasoning_summary_text.delta",
            "response.reasoning_text.delta", "response.function_call_arguments.delta", "response.odd",
            "response.function_call_arguments.done", "response.custom_tool_call_input.delta",
        ]),
    },
    optional={
        "output_index": INDEX, "content_index": INDEX, "summary_index": INDEX,
        "item_id": st.sampled_from(["x", "y", "z"]),
        "item": ITEM, "delta": TEXT, "text": TEXT, "arguments": TEXT, "response": st.just({"id": "resp_1"}),
    },
)  # fmt: skip
LAST = st.sampled_from([
    {"type": "response.completed", "response": {"status": "completed", "usage": {"input_tokens": 1}}},
    {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}}},
    {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "content_filter"}}},
    {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "m"}}},
    {"type": "response.failed", "response": {"error": {"code": "bio_policy", "message": "m"}}},
    {"type": "error", "code": "x", "message": "m"},
    {"type": "response.odd"},
])  # fmt: skip
FUNCTION = st.fixed_dictionaries({}, optional={"name": st.sampled_from(["f", "patch", ""]), "arguments": TEXT})
CALL = st.fixed_dictionaries(
    {}, optional={"index": INDEX, "id": st.sampled_from(["c", "d", ""]), "function": FUNCTION, "custom": st.just({})}
)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "content": TEXT, "reasoning": TEXT, "reasoning_content": TEXT, "refusal": TEXT,
        "tool_calls": st.lists(CALL, max_size=2), "function_call": FUNCTION,
    },
)  # fmt: skip
FINISH = st.sampled_from([None, None, "stop", "length", "tool_calls", "content_filter", "odd", ""])
CHUNK = st.fixed_dictionaries(
    {"id": st.just("chatcmpl-1"), "choices": st.lists(
        st.fixed_dictionaries({"index": st.just(0), "delta": DELTA, "finish_reason": FINISH}), max_size=1)},
    optional={"usage": st.just({"prompt_tokens": 1, "completion_tokens": 2})},
)  # fmt: skip
FEW = settings(max_examples=250, deadline=None)
CHAT_BODY = {"model": "m", "messages": [{"role": "user", "content": "q"}], "reasoning_effort": "low"}
RESPONSES_BODY = {
    "model": "m", "input": "q", "reasoning": {"summary": "auto"},
    "tools": [
        {"type": "custom", "name": "patch"}, {"type": "function", "name": "f", "parameters": {}, "strict": False},
    ],
}  # fmt: skip


def asked(pair: Pair, body: Json, **changes: Any) -> Translated:
    name = "openai-responses" if pair is ON_RESPONSES else "vllm"
    found = pair.request(body, to(name, **changes))
    assert isinstance(found, Translated)
    return found.without_body()


CHAT_REQUESTS = [
    asked(ON_RESPONSES, {**CHAT_BODY, "stream": True, **more}, **changes)
    for more in ({}, {"functions": [{"name": "f"}]}, {"stop": ["a"], "tools": [{"function": {"name": "f"}}]})
    for changes in ({}, {"local_stop": True, "on_truncated": "end_turn"})
]
RESPONSES_REQUESTS = [
    asked(ON_CHAT, {**RESPONSES_BODY, "stream": True}, **changes)
    for changes in ({}, {"parse_think_tags": True, "on_truncated": "end_turn"}, {"missing_usage": "zero"})
]


def sse(found: list[Json], *tail: str) -> list[bytes]:
    return [f"data: {json.dumps(event)}\n\n".encode() for event in found] + [data.encode() for data in tail]


def check_chunks(request: Any, *pieces: bytes) -> None:
    reply = ON_RESPONSES.reply(request, SSE)
    found, done = chunks(play(reply, *pieces))
    assert done is reply.outcome.complete is (reply.outcome.failure is None)
    check_grammar(found, done=done, legacy=request.shape.legacy)
    check_with_sdk(found)


def check_events(request: Translated, *pieces: bytes) -> None:
    reply = ON_CHAT.reply(request, SSE)
    found = responses_answers.events(play(reply, *pieces))
    responses_answers.check_grammar(found)
    responses_answers.check_types(found)
    done = found[-1]["type"] in ("response.completed", "response.incomplete")
    assert done is reply.outcome.complete is (reply.outcome.failure is None)


@FEW
@given(st.sampled_from(CHAT_REQUESTS), st.lists(RESPONSE_EVENT, max_size=10), LAST)
def test_responses_events_keep_the_grammar_of_chunks(request: Translated, found: list[Json], last: Json) -> None:
    check_chunks(request, *sse([*found, last]))


@FEW
@given(st.sampled_from(RESPONSES_REQUESTS), st.lists(CHUNK, max_size=8), st.booleans())
def test_chunks_keep_the_grammar_of_responses_events(request: Translated, found: list[Json], done: bool) -> None:
    check_events(request, *sse(found, *(["data: [DONE]\n\n"] if done else [])))


@FEW
@given(st.lists(RESPONSE_EVENT, max_size=8), LAST, st.lists(CHUNK, max_size=6), st.integers(1, 300))
def test_any_cut_gives_the_same(found: list[Json], last: Json, given: list[Json], at: int) -> None:
    streams = [(ON_RESPONSES, CHAT_REQUESTS[0], sse([*found, last])), (ON_CHAT, RESPONSES_REQUESTS[0], sse(given))]
    for pair, request, pieces in streams:
        raw = b"".join(pieces)
        assert play(pair.reply(request, SSE), raw[:at], raw[at:]) == play(pair.reply(request, SSE), raw)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["output", "choices", "message", "delta", "content", "status", "error", "usage", "id", "type"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)
WHOLE_RESPONSE = st.fixed_dictionaries(
    {"status": st.sampled_from(["completed", "incomplete", "failed", "queued"]), "output": st.lists(ITEM, max_size=4)},
    optional={"usage": st.just({"input_tokens": 1, "output_tokens": 1}), "error": st.just({"code": "x"})},
)
WHOLE_COMPLETION = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"message": DELTA, "finish_reason": FINISH}), max_size=2)}
)


@FEW
@given(st.sampled_from([ON_RESPONSES, ON_CHAT]), WHOLE_RESPONSE | WHOLE_COMPLETION | ANY_JSON, st.booleans())
def test_any_json_is_an_answer_or_a_failure(pair: Pair, value: Any, stream: bool) -> None:
    body = CHAT_BODY if pair is ON_RESPONSES else RESPONSES_BODY
    reply = pair.reply(asked(pair, {**body, "stream": stream}), JSON)
    out = play(reply, json.dumps(value).encode())
    assert reply.outcome.complete is (reply.outcome.failure is None)
    if reply.outcome.complete and not stream and pair is ON_CHAT:
        responses_answers.check_response(json.loads(out))
    assert bool(out) is (reply.outcome.complete or stream)


@FEW
@given(
    st.sampled_from([ON_RESPONSES, ON_CHAT]),
    st.sampled_from([JSON, SSE, "text/html", ""]),
    st.lists(st.binary(max_size=20), max_size=4),
)
def test_bytes_never_raise(pair: Pair, content_type: str, pieces: list[bytes]) -> None:
    reply = pair.reply(CHAT_REQUESTS[0] if pair is ON_RESPONSES else RESPONSES_REQUESTS[0], content_type)
    play(reply, *pieces)
    assert reply.outcome.failure is not None


def test_a_rejection_names_the_path_in_the_clients_own_words() -> None:
    body = {"error": {"message": "too big", "type": "invalid_request_error", "param": "max_output_tokens", "code": "x"}}
    refusal = ON_RESPONSES.error(CHAT_REQUESTS[0], 400, {}, json.dumps(body).encode(), 0.0)
    assert (refusal.rejection.path, refusal.rejection.code) == ("max_completion_tokens", "x")
    body["error"]["param"] = "messages[2].content"
    refusal = ON_CHAT.error(RESPONSES_REQUESTS[0], 400, {}, json.dumps(body).encode(), 0.0)
    assert refusal.rejection.path == "input"


def test_an_overflow_has_openais_code() -> None:
    body = json.dumps({"object": "error", "message": "This model's maximum context length is 9 tokens."}).encode()
    refusal = ON_CHAT.error(RESPONSES_REQUESTS[0], 400, {"x-request-id": "r"}, body, 0.0)
    assert (refusal.rejection.code, refusal.rejection.http_status) == ("context_length_exceeded", 400)
    assert refusal.headers["x-request-id"] == "r"

"""Whatever an upstream sends: events keep their grammar, JSON gives a message or a failure, bytes never raise."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.translate.answers import (
    DONE,
    JSON,
    MINIMAL,
    SSE,
    asked,
    check_grammar,
    check_with_sdk,
    events,
    messages_on_chat,
    play,
)

FEW = settings(max_examples=150, deadline=None)
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=3), st.just([]),
    st.just({}), st.just([{}]), st.just([1]), st.just({"a": [None]}),
)  # fmt: skip
ARGUMENTS = st.one_of(
    st.sampled_from(
        ["", " ", "{", "}", "{}", '{"a"', ":1", ',"b":', '"x', 'y"', "}", "null", "[1]", "```", "{\n", "\\", "\\u12"]
    ),
    st.just({"a": 1}),
    ODD,
)
FUNCTION = st.fixed_dictionaries({}, optional={"name": st.sampled_from(["f", "g", "fo", ""]), "arguments": ARGUMENTS})
CALL = st.fixed_dictionaries(
    {},
    optional={
        "index": st.sampled_from([0, 1, "0", None]),
        "id": st.sampled_from(["a", "b", "", "x.y:0", None, 7]),
        "function": FUNCTION,
        "custom": FUNCTION,
        "extra_content": st.one_of(ODD, st.just({"google": {"thought_signature": "s"}})),
    },
)
TEXT = st.one_of(st.sampled_from(["", " ", "\n", "a", "é😀", "<think>", "b</think>", "STOP"]), st.none(), ODD)
SAID = st.fixed_dictionaries(
    {},
    optional={
        "role": TEXT,
        "content": st.one_of(TEXT, st.lists(st.fixed_dictionaries({"type": TEXT, "text": TEXT}), max_size=2)),
        "reasoning": TEXT,
        "reasoning_content": TEXT,
        "reasoning_details": st.one_of(ODD, st.just([{"type": "reasoning.text", "text": "t", "index": 0}])),
        "refusal": TEXT,
        "tool_calls": st.one_of(st.lists(CALL, max_size=3), ODD),
        "function_call": st.one_of(FUNCTION, ODD),
        "annotations": ODD,
        "audio": ODD,
    },
)
CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "index": st.sampled_from([0, 0, 0, 1, None, "x"]),
        "delta": SAID,
        "message": SAID,
        "finish_reason": st.sampled_from([None, None, "", "stop", "tool_calls", "length", "error", "odd", 3]),
        "stop_reason": ODD,
    },
)
COUNTS = st.fixed_dictionaries(
    {}, optional={"prompt_tokens": ODD, "completion_tokens": ODD, "prompt_tokens_details": ODD}
)
COMPLETION = st.fixed_dictionaries(
    {},
    optional={
        "id": TEXT,
        "model": TEXT,
        "choices": st.one_of(st.lists(CHOICE, max_size=2), ODD),
        "usage": st.one_of(st.none(), COUNTS, ODD),
        "error": st.one_of(st.none(), st.none(), ODD),
        "object": TEXT,
    },
)
ANY_JSON = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
PROFILES: list[str | dict[str, Any]] = [
    "generic",
    "gemini",
    "openrouter",
    {"name": "deepseek", "parse_think_tags": True, "local_stop": True},
    {"name": "mistral", "on_truncated": "end_turn", "missing_usage": "zero"},
]
ASKS: list[dict[str, Any]] = [
    {"stop_sequences": ["STOP", "a"]},
    {"thinking": {"type": "adaptive"}},
    {"thinking": {"type": "adaptive", "display": "omitted"}},
]
REQUESTS = [asked(named, {**MINIMAL, **more, "stream": True}) for named in PROFILES for more in ASKS]


def sse(chunks: list[Any], *, done: bool) -> list[bytes]:
    return [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks] + [DONE] * done


def check_failure(reply: Any, found: list[dict[str, Any]]) -> None:
    assert (reply.outcome.failure is not None) == (found[-1]["type"] == "error")
    assert reply.outcome.complete != (reply.outcome.failure is not None)


@FEW
@given(st.sampled_from(REQUESTS), st.lists(COMPLETION, max_size=8), st.booleans())
def test_chunks_keep_the_grammar(request: Any, chunks: list[Any], done: bool) -> None:
    reply = messages_on_chat.reply(request, SSE)
    found = events(play(reply, *sse(chunks, done=done)))
    check_grammar(found)
    check_with_sdk(found)
    check_failure(reply, found)


@FEW
@given(st.sampled_from(REQUESTS), st.lists(st.lists(CALL, min_size=1, max_size=3), min_size=1, max_size=8))
def test_fragments_of_calls_keep_the_grammar(request: Any, fragments: list[Any]) -> None:
    chunks = [{"id": "1", "choices": [{"delta": {"tool_calls": calls}}]} for calls in fragments]
    found = events(play(messages_on_chat.reply(request, SSE), *sse(chunks, done=True)))
    check_grammar(found)
    check_with_sdk(found)


@FEW
@given(st.sampled_from(REQUESTS), COMPLETION)
def test_a_whole_answer_is_events_too(request: Any, completion: Any) -> None:
    reply = messages_on_chat.reply(request, JSON)
    found = events(play(reply, json.dumps(completion).encode()))
    check_grammar(found)
    check_with_sdk(found)
    check_failure(reply, found)


@FEW
@given(st.one_of(COMPLETION, ANY_JSON))
def test_any_json_is_a_message_or_a_failure(value: Any) -> None:
    reply = messages_on_chat.reply(asked("gemini"), JSON)
    out = play(reply, json.dumps(value).encode())
    assert bool(out) == reply.outcome.complete != (reply.outcome.failure is not None)
    assert not out or json.loads(out)["role"] == "assistant"


@FEW
@given(st.sampled_from([JSON, SSE, "text/html", ""]), st.booleans(), st.lists(st.binary(max_size=20), max_size=4))
def test_bytes_never_raise(content_type: str, stream: bool, pieces: list[bytes]) -> None:
    reply = messages_on_chat.reply(asked(stream=stream), content_type)
    play(reply, *pieces)
    assert reply.outcome.failure is not None


@FEW
@given(st.integers(100, 599), st.one_of(st.binary(max_size=30), ANY_JSON.map(lambda value: json.dumps(value).encode())))
def test_any_error_is_a_refusal(status: int, body: bytes) -> None:
    refusal = messages_on_chat.error(asked(), status, {"retry-after-ms": "x"}, body, 0.0)
    assert 400 <= refusal.rejection.http_status <= 599 and refusal.rejection.message


@pytest.mark.parametrize("depth", [50, 300, 990, 5000])
def test_deep_nesting(depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    call = '{"id":"c","function":{"name":"f","arguments":%s}}'
    for arguments in (deep, json.dumps(deep)):
        body = '{"choices":[{"message":{"tool_calls":[%s]}}]}' % (call % arguments)
        reply = messages_on_chat.reply(asked(), JSON)
        assert bool(play(reply, body.encode())) == reply.outcome.complete
        stream = 'data: {"id":"1","choices":[{"delta":{"tool_calls":[%s]}}]}\n\ndata: [DONE]\n\n' % (call % arguments)
        check_grammar(events(play(messages_on_chat.reply(asked(stream=True), SSE), stream.encode())))

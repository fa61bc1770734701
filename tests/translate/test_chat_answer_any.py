"""Whatever a Messages upstream sends: chunks keep their grammar, JSON gives a completion or a failure."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.translate.translated import TranslatedRequest
from tests.translate.answers import JSON, SSE, play
from tests.translate.chat_answers import asked, check_grammar, check_with_sdk, chunks
from tests.translate.chat_asking import CHAT_ON_MESSAGES, MINIMAL

FEW = settings(max_examples=150, deadline=None)
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=3), st.just([]),
    st.just({}), st.just([{}]), st.just([1]), st.just({"a": [None]}),
)  # fmt: skip
TEXT = st.one_of(st.sampled_from(["", " ", "a", "é😀", "{", '{"a":', "1}"]), ODD)
CITATION = st.one_of(ODD, st.just({"type": "web_search_result_location", "url": "u", "title": None}))
KINDS = ["text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "web_search_tool_result", "new", None]
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional={
        "text": TEXT, "thinking": TEXT, "signature": TEXT, "data": TEXT, "id": TEXT,
        "name": st.sampled_from(["f", "patch", "", None, 3]), "input": st.one_of(ODD, st.just({"input": "x"})),
        "citations": st.one_of(ODD, st.lists(CITATION, max_size=2)),
    },
)  # fmt: skip
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["text_delta", "thinking_delta", "input_json_delta", "signature_delta", "odd"]),
        "text": TEXT, "thinking": TEXT, "signature": TEXT, "partial_json": TEXT, "citation": CITATION,
        "stop_reason": st.sampled_from([None, "end_turn", "tool_use", "refusal", "pause_turn", "odd", 3]),
        "stop_details": ODD,
    },
)  # fmt: skip
COUNTS = st.one_of(ODD, st.fixed_dictionaries({}, optional={"input_tokens": ODD, "output_tokens": ODD}))
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "id": TEXT, "type": st.sampled_from(["message", "error", None]), "model": TEXT, "usage": COUNTS,
        "content": st.one_of(ODD, st.lists(BLOCK, max_size=4)), "stop_reason": TEXT, "stop_details": ODD,
        "error": st.one_of(st.none(), st.none(), ODD),
    },
)  # fmt: skip
EVENTS = [
    "message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
    "message_delta", "message_stop", "ping", "error", "new",
]  # fmt: skip
EVENT = st.fixed_dictionaries(
    {"type": st.sampled_from(EVENTS)},
    optional={
        "index": st.sampled_from([0, 1, 2, None, "x"]), "message": MESSAGE, "content_block": BLOCK, "delta": DELTA,
        "usage": COUNTS, "error": st.one_of(st.none(), st.none(), ODD),
    },
)  # fmt: skip
ANY_JSON = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
CUSTOM = {"tools": [{"type": "custom", "custom": {"name": "patch"}}]}
REQUESTS = [
    asked(named, {**MINIMAL, **more, "stream": True})
    for named in ("claude-adaptive", {"name": "claude-extended", "on_truncated": "end_turn", "missing_usage": "zero"})
    for more in ({}, {"stream_options": {"include_usage": True}}, {"functions": [{"name": "f"}]}, CUSTOM)
]


def check(request: TranslatedRequest, content_type: str, *pieces: bytes) -> None:
    reply = CHAT_ON_MESSAGES.reply(request, content_type)
    found, done = chunks(play(reply, *pieces))
    check_grammar(found, done=done, include_usage=request.shape.include_usage, legacy=request.shape.legacy)
    check_with_sdk(found)
    assert reply.outcome.complete is done
    assert (reply.outcome.failure is None) is done


def sse(found: list[Any]) -> list[bytes]:
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in found]


@FEW
@given(st.sampled_from(REQUESTS), st.lists(EVENT, max_size=12))
def test_events_keep_the_grammar(request: TranslatedRequest, found: list[Any]) -> None:
    check(request, SSE, *sse(found))


@FEW
@given(st.sampled_from(REQUESTS), st.lists(EVENT, max_size=8))
def test_a_begun_and_ended_stream_keeps_the_grammar(request: TranslatedRequest, found: list[Any]) -> None:
    inner = [event for event in found if event["type"] != "error"]
    check(request, SSE, *sse([{"type": "message_start", "message": {}}, *inner, {"type": "message_stop"}]))


@FEW
@given(st.sampled_from(REQUESTS), MESSAGE)
def test_a_whole_answer_is_chunks_too(request: TranslatedRequest, message: Any) -> None:
    check(request, JSON, json.dumps(message).encode())


@FEW
@given(st.one_of(MESSAGE, ANY_JSON), st.sampled_from([{}, {"functions": [{"name": "f"}]}, CUSTOM]))
def test_any_json_is_a_completion_or_a_failure(value: Any, more: dict[str, Any]) -> None:
    reply = CHAT_ON_MESSAGES.reply(asked(**more), JSON)
    out = play(reply, json.dumps(value).encode())
    assert bool(out) == reply.outcome.complete != (reply.outcome.failure is not None)
    assert not out or json.loads(out)["choices"][0]["message"]["role"] == "assistant"


@FEW
@given(st.sampled_from([JSON, SSE, "text/html", ""]), st.booleans(), st.lists(st.binary(max_size=20), max_size=4))
def test_bytes_never_raise(content_type: str, stream: bool, pieces: list[bytes]) -> None:
    reply = CHAT_ON_MESSAGES.reply(asked(stream=stream), content_type)
    play(reply, *pieces)
    assert reply.outcome.failure is not None


@FEW
@given(st.integers(100, 599), st.one_of(st.binary(max_size=30), ANY_JSON.map(lambda value: json.dumps(value).encode())))
def test_any_error_is_a_refusal(status: int, body: bytes) -> None:
    headers = {"anthropic-ratelimit-tokens-reset": "x", "anthropic-ratelimit-input-tokens-limit": "y"}
    refusal = CHAT_ON_MESSAGES.error(asked(), status, headers, body, 0.0)
    assert 400 <= refusal.rejection.http_status <= 599 and refusal.rejection.message


@pytest.mark.parametrize("depth", [50, 300, 990, 5000])
def test_deep_nesting(depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    block = '{"type":"tool_use","id":"t","name":"f","input":' + deep + "}"
    reply = CHAT_ON_MESSAGES.reply(asked(), JSON)
    out = play(reply, ('{"type":"message","content":[' + block + "]}").encode())
    assert bool(out) == reply.outcome.complete
    start = 'data: {"type":"content_block_start","index":0,"content_block":' + block + "}\n\n"
    check(REQUESTS[0], SSE, b'data: {"type":"message_start","message":{}}\n\n', start.encode())

"""Whatever a Messages upstream sends: events keep their grammar, JSON gives a response or a failure."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.translate.translated import TranslatedRequest
from tests.translate.answers import JSON, SSE, play
from tests.translate.responses_answers import asked, check_grammar, check_response, check_types, events
from tests.translate.responses_client import MINIMAL, RESPONSES_ON_MESSAGES
from tests.translate.test_chat_answer_any import ANY_JSON, EVENT, FEW, MESSAGE, sse

NAMESPACE = {"type": "namespace", "name": "n", "description": "", "tools": [{"type": "function", "name": "f"}]}
REQUESTS = [
    asked(named, {**MINIMAL, **more, "stream": True})
    for named in (
        "claude-adaptive",
        {"name": "claude-extended", "on_truncated": "end_turn", "missing_usage": "zero", "expose_reasoning": False},
    )
    for more in (
        {},
        {"tools": [{"type": "custom", "name": "patch"}, NAMESPACE]},
        {"tools": [{"type": "local_shell"}], "instructions": "S", "text": {"format": {"type": "text"}}},
    )
]


def check(request: TranslatedRequest, content_type: str, *pieces: bytes) -> None:
    reply = RESPONSES_ON_MESSAGES.reply(request, content_type)
    found = events(play(reply, *pieces))
    check_grammar(found)
    check_types(found)
    done = found[-1]["type"] in ("response.completed", "response.incomplete")
    assert reply.outcome.complete is done
    assert (reply.outcome.failure is None) is done


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
@given(st.sampled_from(REQUESTS), st.lists(EVENT, max_size=8), st.integers(1, 400))
def test_any_cut_gives_the_same(request: TranslatedRequest, found: list[Any], at: int) -> None:
    raw = b"".join(sse([{"type": "message_start", "message": {}}, *found]))
    at_once = play(RESPONSES_ON_MESSAGES.reply(request, SSE), raw)
    assert play(RESPONSES_ON_MESSAGES.reply(request, SSE), raw[:at], raw[at:]) == at_once


@FEW
@given(st.sampled_from(REQUESTS), MESSAGE)
def test_a_whole_answer_is_events_too(request: TranslatedRequest, message: Any) -> None:
    check(request, JSON, json.dumps(message).encode())


@FEW
@given(st.one_of(MESSAGE, ANY_JSON))
def test_any_json_is_a_response_or_a_failure(value: Any) -> None:
    reply = RESPONSES_ON_MESSAGES.reply(asked(), JSON)
    out = play(reply, json.dumps(value).encode())
    assert bool(out) == reply.outcome.complete != (reply.outcome.failure is not None)
    if out:
        check_response(json.loads(out))


@FEW
@given(st.sampled_from([JSON, SSE, "text/html", ""]), st.booleans(), st.lists(st.binary(max_size=20), max_size=4))
def test_bytes_never_raise(content_type: str, stream: bool, pieces: list[bytes]) -> None:
    reply = RESPONSES_ON_MESSAGES.reply(asked(stream=stream), content_type)
    play(reply, *pieces)
    assert reply.outcome.failure is not None


@pytest.mark.parametrize("depth", [50, 300, 990, 5000])
def test_deep_nesting(depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    block = '{"type":"tool_use","id":"t","name":"f","input":' + deep + "}"
    reply = RESPONSES_ON_MESSAGES.reply(asked(), JSON)
    out = play(reply, ('{"type":"message","content":[' + block + "]}").encode())
    assert bool(out) == reply.outcome.complete
    start = 'data: {"type":"content_block_start","index":0,"content_block":' + block + "}\n\n"
    check(REQUESTS[0], SSE, b'data: {"type":"message_start","message":{}}\n\n', start.encode())

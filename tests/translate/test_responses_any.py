"""Whatever a Responses upstream sends: events keep their grammar, JSON is a message or a failure, bytes never raise."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.translate.dialects.responses.read_items import DROPPED, KINDS
from tests.translate.answers import JSON, SSE, check_grammar, check_with_sdk, events, messages_on_responses, play
from tests.translate.responses_upstream import THINKS, ask, target
from tests.translate.test_answer_any import ANY_JSON, ARGUMENTS, ODD, TEXT, check_failure

FEW = settings(max_examples=200, deadline=None)
PART = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["output_text", "refusal", "summary_text", "odd", None]),
        "text": TEXT,
        "refusal": TEXT,
        "annotations": ODD,
    },
)
PARTS = st.one_of(st.lists(PART, max_size=2), ODD)
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from([*KINDS, *KINDS, *sorted(DROPPED)[:3], "odd", None]),
        "id": st.sampled_from(["a", "b", "", None, 7]),
        "content": PARTS,
        "summary": PARTS,
        "encrypted_content": TEXT,
        "call_id": st.sampled_from(["a", "b", "x.y", "", None, 7]),
        "name": st.sampled_from(["f", "g", "", None]),
        "namespace": st.sampled_from(["n", "", None]),
        "arguments": ARGUMENTS,
        "input": TEXT,
    },
)
RESPONSE = st.fixed_dictionaries(
    {},
    optional={
        "id": TEXT,
        "model": TEXT,
        "status": st.sampled_from(["completed", "completed", "incomplete", "failed", "queued", "odd", None, 3]),
        "error": st.one_of(ODD, st.sampled_from([{"code": "bio_policy"}, {"code": "invalid_prompt", "message": "m"}])),
        "incomplete_details": st.one_of(ODD, st.just({"reason": "max_output_tokens"})),
        "output": st.one_of(st.lists(ITEM, max_size=3), ODD),
        "usage": st.one_of(ODD, st.just({"input_tokens": 3, "output_tokens": "x"})),
    },
)
TYPES = [
    *(f"response.{kind}.{end}" for kind in ("output_text", "refusal", "reasoning_summary_text", "reasoning_text",
      "function_call_arguments", "custom_tool_call_input") for end in ("delta", "delta", "done")),
    *("response.output_item.added", "response.output_item.done") * 4,
    "response.created", "response.in_progress", "odd", None,
]  # fmt: skip
LAST = ["response.completed", "response.incomplete", "response.failed", "error", "response.in_progress"]
INDEX = st.sampled_from([0, 0, 1, 2, None, "0"])
MEMBERS = {
    "response": st.one_of(RESPONSE, ODD),
    "output_index": INDEX,
    "item_id": st.sampled_from(["a", "b", None]),
    "content_index": INDEX,
    "summary_index": INDEX,
    "item": st.one_of(ITEM, ITEM, ITEM, ODD),
    "delta": st.one_of(TEXT, ARGUMENTS),
    "text": TEXT,
    "refusal": TEXT,
    "arguments": ARGUMENTS,
    "input": TEXT,
    "code": ODD,
    "message": TEXT,
}
EVENT = st.fixed_dictionaries({"type": st.sampled_from(TYPES)}, optional=MEMBERS)
END = st.fixed_dictionaries({"type": st.sampled_from(LAST)}, optional=MEMBERS)
PROFILES: list[dict[str, Any]] = [
    {},
    {"local_stop": True, "missing_usage": "zero"},
    {"on_truncated": "end_turn", "emit_thinking": "never"},
]
ASKS: list[dict[str, Any]] = [
    {"stop_sequences": ["STOP", "a"]},
    THINKS,
    {"thinking": {"type": "adaptive", "display": "omitted"}},
]
REQUESTS = [ask(stream=True, to=target(**profile), **more) for profile in PROFILES for more in ASKS]


def sse(found: list[Any]) -> list[bytes]:
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in found]


@FEW
@given(st.sampled_from(REQUESTS), st.lists(EVENT, max_size=10), st.lists(END, max_size=2))
def test_events_keep_the_grammar(request: Any, middle: list[Any], last: list[Any]) -> None:
    reply = messages_on_responses.reply(request, SSE)
    found = events(play(reply, *sse([*middle, *last])))
    check_grammar(found)
    check_with_sdk(found)
    check_failure(reply, found)


@FEW
@given(st.sampled_from(REQUESTS), st.lists(EVENT, max_size=8), st.integers(1, 40))
def test_however_the_bytes_are_cut(request: Any, middle: list[Any], step: int) -> None:
    raw = b"".join(sse([*middle, {"type": "response.completed"}]))
    whole = play(messages_on_responses.reply(request, SSE), raw)
    cut = [raw[at : at + step] for at in range(0, len(raw), step)]
    assert play(messages_on_responses.reply(request, SSE), *cut) == whole


@FEW
@given(st.sampled_from(REQUESTS), RESPONSE)
def test_a_whole_answer_is_events_too(request: Any, value: Any) -> None:
    reply = messages_on_responses.reply(request, JSON)
    found = events(play(reply, json.dumps(value).encode()))
    check_grammar(found)
    check_with_sdk(found)
    check_failure(reply, found)


@FEW
@given(st.one_of(RESPONSE, ANY_JSON))
def test_any_json_is_a_message_or_a_failure(value: Any) -> None:
    reply = messages_on_responses.reply(ask(), JSON)
    out = play(reply, json.dumps(value).encode())
    assert bool(out) == reply.outcome.complete != (reply.outcome.failure is not None)
    assert not out or json.loads(out)["role"] == "assistant"


@FEW
@given(st.sampled_from([JSON, SSE, "text/html", ""]), st.booleans(), st.lists(st.binary(max_size=20), max_size=4))
def test_bytes_never_raise(content_type: str, stream: bool, pieces: list[bytes]) -> None:
    reply = messages_on_responses.reply(ask(stream=stream), content_type)
    play(reply, *pieces)
    assert reply.outcome.failure is not None


@pytest.mark.parametrize("depth", [50, 300, 990, 5000])
def test_deep_nesting(depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    item = '{"type":"function_call","call_id":"c","name":"f","arguments":%s}'
    for arguments in (deep, json.dumps(deep)):
        body = '{"status":"completed","output":[%s]}' % (item % arguments)
        reply = messages_on_responses.reply(ask(), JSON)
        assert bool(play(reply, body.encode())) == reply.outcome.complete
        done = 'data: {"type":"response.output_item.done","item":%s}\n\n' % (item % arguments)
        check_grammar(events(play(messages_on_responses.reply(ask(stream=True), SSE), done.encode())))

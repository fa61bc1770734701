"""Streams (mapping 4.7)."""

import json
from typing import Any

import pytest

from extproc.errors import Kind, Reason
from extproc.translate.pair import Usage
from tests.translate.answers import JSON, SSE, play
from tests.translate.chat_answers import (
    asked,
    block,
    check_grammar,
    check_with_sdk,
    chunks,
    deltas,
    ended,
    event,
    message,
    run,
    started,
    text,
)
from tests.translate.chat_asking import CHAT_ON_MESSAGES

INVALID = "invalid_request_error"
PATCH: dict[str, Any] = {"tools": [{"type": "custom", "custom": {"name": "patch"}}]}
CITATION = {"type": "citations_delta", "citation": {"type": "web_search_result_location", "url": "u", "title": "t"}}


def tool(index: int, *pieces: str, name: str = "f", **more: Any) -> bytes:
    opened = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}, **more}
    return block(index, opened, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


def test_without_include_usage() -> None:
    reply, found, done = run(started(), text(0, "a"), ended())
    check_grammar(found, done=done)
    assert done and reply.outcome.complete and reply.outcome.usage == Usage(input_tokens=10, output_tokens=7)


def test_a_refusal() -> None:
    _, found, done = run(started(), ended("refusal", stop_details={"type": "refusal", "explanation": "No."}))
    assert deltas(found) == [{"role": "assistant", "content": ""}, {"refusal": "No."}, {}]
    assert found[-1]["choices"][0]["finish_reason"] == "content_filter" and done


def test_unknown_events_and_blocks() -> None:
    odd = block(0, {"type": "server_tool_use", "id": "s"}, {"type": "input_json_delta", "partial_json": "{}"})
    odd += block(1, {"type": "new"}, {"type": "new_delta", "text": "x"}) + event("new", x=1)
    _, found, done = run(started(), odd, text(2, "a"), event("content_block_stop", index=9), ended())
    assert deltas(found)[1:] == [{"content": "a"}, {}] and done


@pytest.mark.parametrize("tail", [b"", text(0, "a"), tool(0, '{"a":')[:-40]])
def test_a_body_that_ends_early(tail: bytes) -> None:
    reply, found, done = run(started(), tail)
    check_grammar(found, done=done)
    error = {"message": "upstream stream ended before completion", "type": "server_error", "param": None, "code": None}
    assert found[-1] == {"error": error} and not done and not reply.outcome.complete
    assert reply.outcome.failure is not None and reply.outcome.failure.reason is Reason.TRUNCATED


def test_a_known_finish_is_enough() -> None:
    _, found, done = run(started(), text(0, "a"), ended().partition(b"event: message_stop")[0])
    check_grammar(found, done=done)
    assert done


def test_truncation_may_be_tolerated_but_not_in_a_call() -> None:
    lenient = asked({"name": "claude-adaptive", "on_truncated": "end_turn"}, stream=True)
    reply, _, done = run(started(), text(0, "a"), request=lenient)
    assert done and reply.outcome.warnings == ["finish_reason_missing"]
    assert not run(started(), tool(0, "{").rpartition(b"event:")[0], request=lenient)[2]


def test_pings_are_comments() -> None:
    reply = CHAT_ON_MESSAGES.reply(asked(stream=True), SSE)
    assert reply.feed(event("ping")) == b"" and reply.ping() == b": ping\n\n"
    assert reply.feed(started()).startswith(b"data: ")
    assert reply.feed(event("ping")) == b": ping\n\n"
    play(reply, ended())
    assert reply.ping() == b""


def test_an_error_first_has_its_status() -> None:
    reply, found, done = run(
        event("error", error={"type": "overloaded_error", "message": "Overloaded"}), text(0, "late")
    )
    assert reply.outcome.failure is not None and reply.outcome.failure.kind is Kind.OVERLOADED
    assert len(found) == 1 and not done


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ({"type": INVALID, "message": "prompt is too long: 3"}, INVALID, "context_length_exceeded"),
        ({"type": INVALID, "message": "messages.0: bad"}, INVALID, None),
        ({"type": "api_error", "message": "m"}, "server_error", None),
        ({"type": "new_error", "message": "m"}, "new_error", None),
        ("odd", "server_error", None),
    ],
)  # fmt: skip
def test_errors_on_the_way(error: Any, kind: str, code: str | None) -> None:
    reply, found, done = run(started(), event("error", error=error), text(0, "late"), ended())
    told = found[-1]["error"]
    assert (told["type"], told["code"], told["param"]) == (kind, code, None) and not done
    assert reply.outcome.failure is not None and len(found) == 2


def test_custom_calls_come_in_one_piece() -> None:
    _, found, _ = run(
        started(), tool(0, '{"inp', 'ut":"x"}', name="patch"), ended("tool_use"), request=asked(stream=True, **PATCH)
    )
    calls = [delta["tool_calls"][0] for delta in deltas(found) if "tool_calls" in delta]
    assert calls[1:] == [{"index": 0, "function": {"arguments": '{"input":"x"}'}}] and calls[0]["type"] == "function"


def test_legacy_calls() -> None:
    request = asked(stream=True, functions=[{"name": "f"}])
    reply, found, done = run(started(), tool(0, '{"a":1}'), tool(1), ended("tool_use"), request=request)
    check_grammar(found, done=done, legacy=True)
    assert check_with_sdk(found).choices[0].message.function_call.arguments == '{"a":1}'
    assert found[-1]["choices"][0]["finish_reason"] == "function_call"
    assert reply.outcome.warnings == ["dropped:tool_calls"]


def test_input_that_comes_with_the_start() -> None:
    _, found, _ = run(started(), tool(0, input={"a": 1}), ended("tool_use"))
    assert check_with_sdk(found).choices[0].message.tool_calls[0].function.arguments == '{"a":1}'


def test_annotations_at_the_end_of_their_block() -> None:
    cited = [block(n, {"type": "text", "text": ""}, {"type": "text_delta", "text": "ab"}, CITATION) for n in (0, 1)]
    _, found, _ = run(started(), *cited, ended())
    spans = [a["url_citation"]["start_index"] for delta in deltas(found) for a in delta.get("annotations", ())]
    assert spans == [0, 2]
    assert len(check_with_sdk(found).choices[0].message.annotations) == 2


def test_thinking_reads_as_in_a_whole_answer() -> None:
    def thought(index: int, word: str) -> bytes:
        deltas = [{"type": "thinking_delta", "thinking": word}, {"type": "signature_delta", "signature": "s"}]
        return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas)

    redacted = block(1, {"type": "redacted_thinking", "data": "z"})
    events = (started(), thought(0, "a"), redacted, thought(2, "b"), text(3, "x"), ended())
    _, found, _ = run(*events)
    assert "".join(delta.get("reasoning_content", "") for delta in deltas(found)) == "a\n\nb"
    details = [detail for delta in deltas(found) for detail in delta.get("reasoning_details", ())]
    assert [(detail["type"], detail["index"]) for detail in details] == [
        ("reasoning.text", 0),
        ("reasoning.encrypted", 1),
        ("reasoning.text", 2),
    ]
    plain = json.loads(play(CHAT_ON_MESSAGES.reply(asked(), SSE), *events))["choices"][0]["message"]
    assert plain["reasoning_content"] == "a\n\nb" and plain["reasoning_details"] == details


def test_the_outcome_of_a_stream_that_is_left() -> None:
    reply = CHAT_ON_MESSAGES.reply(asked(stream=True), SSE)
    reply.feed(started(model="claude-x-2026") + text(0, "x" * 40))
    assert reply.outcome.usage == Usage(input_tokens=10, output_tokens=10, estimated=True)
    assert reply.outcome.model == "claude-x-2026" and not reply.outcome.complete


def test_late_counts_win() -> None:
    usage = {"input_tokens": 12, "output_tokens": 3, "output_tokens_details": {"thinking_tokens": 2}}
    delta = event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
    request = asked(stream=True, stream_options={"include_usage": True})
    _, found, done = run(started(), text(0, "a"), delta, event("message_stop"), request=request)
    check_grammar(found, done=done, include_usage=True)
    assert found[-1]["usage"]["prompt_tokens"] == 12
    assert found[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_input_is_estimated_where_only_output_is_counted() -> None:
    request = asked(stream=True, stream_options={"include_usage": True})
    _, found, _ = run(started(usage=None), text(0, "a"), ended(tokens=7), request=request)
    usage = found[-1]["usage"]
    assert usage["prompt_tokens"] == -(-request.size // 4) > 0 and usage["completion_tokens"] == 7


def test_blocks_that_overlap_come_one_after_the_other() -> None:
    """Anthropic never sends such a stream, other servers may."""
    both = [event("content_block_start", index=n, content_block={"type": "text", "text": ""}) for n in (0, 1)]
    words = [
        event("content_block_delta", index=n, delta={"type": "text_delta", "text": word})
        for n, word in ((1, "c"), (0, "a"), (1, "d"), (0, "b"))
    ]
    _, found, done = run(started(), *both, *words, ended())
    assert done and "".join(delta.get("content", "") for delta in deltas(found)) == "abcd"


def test_a_stream_without_its_beginning() -> None:
    _, found, done = run(text(0, "a"), ended())
    check_grammar(found, done=done)
    assert found[0]["id"].startswith("chatcmpl-")
    late = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})
    assert deltas(run(started(), late, ended())[1])[1] == {"content": "a"}


@pytest.mark.parametrize("pieces", [[b""], [event("message_stop")], [b"data: {\n\ndata: {\n\n"]])
def test_no_answer(pieces: list[bytes]) -> None:
    reply, found, done = run(*pieces)
    assert len(found) == 1 and not done and reply.outcome.failure is not None


def test_one_unreadable_event_is_skipped() -> None:
    reply, _, done = run(started(), b"data: {\n\n", text(0, "a"), ended())
    assert done and reply.outcome.warnings == ["unreadable_chunk"]


def test_json_for_a_client_that_streams() -> None:
    request = asked(stream=True, stream_options={"include_usage": True})
    answer = message({"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}})
    found, done = chunks(play(CHAT_ON_MESSAGES.reply(request, JSON), json.dumps(answer).encode()))
    check_grammar(found, done=done, include_usage=True)
    assert check_with_sdk(found).choices[0].message.tool_calls[0].function.arguments == "{}"
    found, done = chunks(play(CHAT_ON_MESSAGES.reply(request, JSON), b'{"type":"error","error":{"type":"api_error"}}'))
    assert "error" in found[0] and not done

"""Cases of the stream machine that have no vector."""

from typing import Any

import pytest

from extproc.translate import part_queue
from extproc.translate.signature import unseal
from tests.translate.answers import SSE, events, messages_on_responses, play
from tests.translate.responses_upstream import (
    COMPLETED,
    CREATED,
    THINKS,
    added,
    ask,
    call,
    delta,
    done,
    event,
    response,
    run,
    target,
    text,
    thought,
)  # fmt: skip

STREAM, THINKING = ask(stream=True), ask(stream=True, **THINKS)


def blocks(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Type and text of each block."""
    out: list[tuple[str, str]] = []
    for each in found:
        if each["type"] == "content_block_start":
            out.append((each["content_block"]["type"], ""))
        elif each["type"] == "content_block_delta":
            said = each["delta"]
            told = said.get("text") or said.get("thinking") or said.get("partial_json") or ""
            out[-1] = (out[-1][0], out[-1][1] + told)
    return out


def sealed(found: list[dict[str, Any]]) -> list[Any]:
    return [unseal(e["delta"]["signature"]) for e in found if e.get("delta", {}).get("type") == "signature_delta"]


def said(*pieces: bytes, asked: Any = STREAM) -> list[tuple[str, str]]:
    return blocks(run(CREATED, *pieces, COMPLETED, asked=asked)[1])


def test_a_call_and_its_reasoning() -> None:
    found = run(CREATED, *thought("t"), *call('{"a":1}', index=1), COMPLETED, asked=THINKING)[1]
    assert blocks(found) == [("thinking", "t"), ("tool_use", '{"a":1}')]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_text_flows_as_it_comes() -> None:
    reply = messages_on_responses.reply(STREAM, SSE)
    begin, first, second, *_ = text("a", "b")
    reply.feed(begin + first)
    assert b'"text":"b"' in reply.feed(second)


def test_a_call_opens_with_its_arguments() -> None:
    """One that opened before them would be a call without any, should the answer end there."""
    reply = messages_on_responses.reply(STREAM, SSE)
    assert b"content_block_start" not in reply.feed(CREATED + call()[0])
    assert b"content_block_start" in reply.feed(call('{"a":1}')[1])


@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_reasoning_is_sealed_when_it_is_whole(display: str) -> None:
    asked = ask(stream=True, thinking={"type": "adaptive", "display": display})
    _, found = run(CREATED, *thought("t"), *text("a", index=1), COMPLETED, asked=asked)
    shown = display == "summarized"
    assert blocks(found) == [("thinking", "t" if shown else ""), ("text", "a")]
    [envelope] = sealed(found)
    assert envelope.d == {"id": "rs_0", "encrypted_content": "ENC"} and envelope.t == (None if shown else "t")


def test_reasoning_without_text_is_a_block_if_it_is_encrypted() -> None:
    assert said(*thought(""), *text("a", index=1), asked=THINKING) == [("thinking", ""), ("text", "a")]
    assert said(*thought("", encrypted=None), *text("a", index=1), asked=THINKING) == [("text", "a")]


def test_reasoning_nobody_asked_for_comes_with_the_first_call() -> None:
    assert said(*thought("t"), *text("a", index=1)) == [("text", "a")]
    _, found = run(CREATED, *thought("t"), *text("a", index=1), *call(index=2), *thought("u", index=3), COMPLETED)
    assert blocks(found) == [("text", "a"), ("thinking", ""), ("tool_use", "{}"), ("thinking", "")]
    assert [envelope.t for envelope in sealed(found)] == ["t", "u"]
    never = ask(stream=True, to=target(emit_thinking="never"))
    assert said(*thought("t"), *call(index=1), asked=never) == [("tool_use", "{}")]


def test_parts_of_a_summary_are_paragraphs() -> None:
    pieces = [delta(0, "reasoning_summary_text", text, summary_index=n) for n, text in ((0, "a"), (0, "b"), (1, "c"))]
    item = {"id": "rs", "summary": [{"text": "ab"}, {"text": "c"}], "encrypted_content": "E"}
    found = said(added(0, "reasoning"), *pieces, done(0, "reasoning", **item), asked=THINKING)
    assert found == [("thinking", "ab\n\nc")]


def test_text_of_open_models_reasoning() -> None:
    pieces = [delta(0, "reasoning_text", "a", content_index=0), delta(0, "reasoning_summary_text", "no")]
    assert said(added(0, "reasoning"), *pieces, done(0, "reasoning"), asked=THINKING) == [("thinking", "a")]


def test_reasoning_that_is_told_only_whole() -> None:
    item = {"id": "rs", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "E"}
    assert said(done(0, "reasoning", **item), asked=THINKING) == [("thinking", "t")]


def test_items_that_come_in_turns() -> None:
    """Each is whole, in the order they began."""
    pieces = [
        added(0, "message"),
        delta(0, "output_text", "a"),
        *call('{"x":1}', id="c1", index=1)[:2],
        delta(0, "output_text", "b"),
        *call('{"y":2}', id="c2", index=2),
        done(0, "message", content=[{"type": "output_text", "text": "ab"}]),
        done(1, "function_call", call_id="c1", name="f", arguments='{"x":1}'),
    ]
    assert said(*pieces) == [("text", "ab"), ("tool_use", '{"x":1}'), ("tool_use", '{"y":2}')]


def test_reasoning_keeps_its_place_before_what_follows_it() -> None:
    begin, *rest = thought("")
    assert said(begin, *text("a", index=1), *rest, asked=THINKING) == [("thinking", ""), ("text", "a")]


def test_parts_of_a_message_are_blocks() -> None:
    parts = [delta(0, "output_text", "a", content_index=0), delta(0, "refusal", "no", content_index=1)]
    _, found = run(CREATED, added(0, "message"), *parts, done(0, "message"), COMPLETED)
    assert blocks(found) == [("text", "a"), ("text", "no")]
    assert found[-2]["delta"]["stop_details"] == {"type": "refusal", "category": None, "explanation": "no"}


@pytest.mark.parametrize("kind", ["text", "refusal"])
def test_parts_that_are_told_only_whole(kind: str) -> None:
    name = "output_text" if kind == "text" else "refusal"
    whole = event(f"response.{name}.done", output_index=0, content_index=0, **{kind: "a"})
    assert said(added(0, "message"), whole) == [("text", "a")]
    assert said(done(0, "message", content=[{"type": name, kind: "a"}])) == [("text", "a")]


def test_blank_text_is_no_block() -> None:
    assert said(*text(" ", "\n")) == []
    assert said(*text(" ", "a")) == [("text", " a")]


@pytest.mark.parametrize("heard", ["", '{"a"', '{"a":1}'])
def test_arguments_whose_rest_comes_with_their_end(heard: str) -> None:
    begin, _, whole, end = call('{"a":1}')
    pieces = [delta(0, "function_call_arguments", heard)]
    for rest in ([whole, end], [whole], [end]):
        assert said(begin, *pieces, *rest) == [("tool_use", '{"a":1}')]


def test_a_call_whose_name_comes_late() -> None:
    _, pieces, _, end = call('{"a":1}')
    assert said(pieces, end) == [("tool_use", '{"a":1}')]


def test_a_custom_call() -> None:
    pieces = [delta(0, "custom_tool_call_input", text) for text in ('say "', 'hi"')]
    item = {"call_id": "c", "name": "f"}
    end = done(0, "custom_tool_call", **item, input='say "hi"')
    assert said(added(0, "custom_tool_call", **item), *pieces, end) == [("tool_use", '{"input":"say \\"hi\\""}')]


def test_the_input_of_a_custom_call_flows_as_it_comes() -> None:
    reply = messages_on_responses.reply(STREAM, SSE)
    reply.feed(CREATED + added(0, "custom_tool_call", call_id="c", name="f"))
    pieces = [reply.feed(delta(0, "custom_tool_call_input", text)) for text in ('a"', "\nb")]
    told = [events(piece)[-1]["delta"]["partial_json"] for piece in pieces]
    assert told == ['{"input":"a\\"', "\\nb"]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], ""),
        ([delta(0, "custom_tool_call_input", "ab")], "ab"),
        ([event("response.custom_tool_call_input.done", output_index=0, input="ab")], "ab"),
    ],
)
def test_a_custom_call_whose_end_is_not_told(pieces: list[bytes], expected: str) -> None:
    begun = added(0, "custom_tool_call", call_id="c", name="f")
    assert said(begun, *pieces) == [("tool_use", f'{{"input":"{expected}"}}')]


def test_items_without_an_index_are_told_apart_by_id() -> None:
    pieces = [
        event("response.output_text.delta", item_id="m1", delta="a"),
        event("response.output_item.done", item={"type": "message", "id": "m1"}),
        event("response.output_text.delta", item_id="m2", delta="b"),
    ]
    assert said(*pieces) == [("text", "a"), ("text", "b")]


def test_text_after_its_end_is_a_block_of_its_own() -> None:
    assert said(*text("a"), delta(0, "output_text", "b")) == [("text", "a"), ("text", "b")]


def test_an_answer_that_only_the_last_event_tells() -> None:
    output = {"type": "message", "content": [{"type": "output_text", "text": "a"}]}
    _, found = run(event("response.completed", response=response(output)))
    assert blocks(found) == [("text", "a")] and found[0]["message"]["id"] == "msg_1"


def test_what_says_nothing_to_the_client() -> None:
    silent = ["response.queued", "response.in_progress", "response.web_search_call.searching", "response.audio.delta",
              "response.content_part.added", "response.output_text.annotation.added", "odd"]  # fmt: skip
    assert said(*(event(kind, output_index=0) for kind in silent), b"data: [DONE]\n\n", *text("a")) == [("text", "a")]


def test_nothing_follows_the_end() -> None:
    _, found = run(CREATED, COMPLETED, *text("a"), event("error", message="late"))
    assert [each["type"] for each in found] == ["message_start", "message_delta", "message_stop"]


def test_an_incomplete_answer() -> None:
    last = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    _, found = run(CREATED, *call('{"a":"b')[:2], event("response.incomplete", response=last))
    assert blocks(found) == [("tool_use", '{"a":"b')] and found[-2]["delta"]["stop_reason"] == "max_tokens"


def test_one_unreadable_line_is_skipped_two_are_an_error() -> None:
    reply, found = run(CREATED, b"data: {x\n\n", *text("a"), COMPLETED)
    assert blocks(found) == [("text", "a")] and reply.outcome.warnings == ["unreadable_chunk"]
    reply, found = run(CREATED, b"data: {x\n\n", b"data: 5\n\n", *text("a"))
    assert found[-1]["type"] == "error"


def test_too_much_behind_an_open_block_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_queue, "MAX_WAITING", 50)
    reply, found = run(CREATED, text("a")[0], text("a")[1], *(text("b" * 30, index=n)[1] for n in (1, 2, 3)))
    assert found[-1]["type"] == "error"
    assert reply.outcome.failure is not None and reply.outcome.failure.detail == "queue_limit"


def test_a_stop_sequence_is_looked_for_here() -> None:
    asked = ask(stream=True, stop_sequences=["END"], to=target(local_stop=True))
    _, found = run(CREATED, *text("ab E", "N", "D c"), *call(index=1), COMPLETED, asked=asked)
    assert blocks(found) == [("text", "ab ")]
    assert found[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    _, found = run(CREATED, *text("ab EN"), COMPLETED, asked=asked)
    assert blocks(found) == [("text", "ab EN")]
    _, found = run(CREATED, *text("ab EN")[:2], COMPLETED, asked=asked)
    assert blocks(found) == [("text", "ab EN")]


def test_an_interrupted_stream_was_measured() -> None:
    reply = messages_on_responses.reply(STREAM, SSE)
    play(reply, CREATED, *text("x" * 40)[:2])
    assert reply.outcome.usage is not None and reply.outcome.usage.output_tokens == 10


def test_signs_of_life_before_the_answer_has_begun() -> None:
    reply = messages_on_responses.reply(STREAM, SSE)
    assert reply.ping().startswith(b":")
    reply.feed(CREATED)
    assert reply.ping().startswith(b"event: ping")

"""The request's `safeguards` and the answer's `safeguard_results`: nothing else of an answer changes."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from extproc.events import Verdict, VerdictOutcome
from extproc.wire.safeguards import (
    MAX_CALLS,
    MAX_TURN,
    PROVIDER,
    TURNS,
    HeldAnswer,
    Question,
    ToolCall,
    provided_verdict,
    read_question,
)

Json = dict[str, Any]
ALLOW, DENY = Verdict(VerdictOutcome.ALLOW, "", "auto_mode.rules.0"), Verdict(VerdictOutcome.DENY, "no", "judge")
NOBODY = Verdict(VerdictOutcome.UNAVAILABLE, "timeout", "judge")
NOT_FLAGGED: Json = {"type": "evaluated", "outcome": "not_flagged"}
FLAGGED: Json = {"type": "evaluated", "outcome": "flagged", "explanation": "theirs", "cited_rule": {"type": "x"}}


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def call_events(index: int, identifier: str, *arguments: str) -> bytes:
    block = {"type": "tool_use", "id": identifier, "name": "Bash", "input": {}}
    pieces = [
        event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece})
        for piece in arguments
    ]
    return b"".join(
        [
            event("content_block_start", index=index, content_block=block),
            *pieces,
            event("content_block_stop", index=index),
        ]
    )


START = event("message_start", message={"id": "m", "content": []})
TEXT = event("content_block_start", index=0, content_block={"type": "text", "text": ""}) + event(
    "content_block_delta", index=0, delta={"type": "text_delta", "text": 'a "tool_use" in a text, "message_delta", too'}
)
DELTA: Json = {"stop_reason": "tool_use", "stop_sequence": None}
STOP = event("message_stop")


def stream(*calls: bytes, delta: Json = DELTA) -> bytes:
    return START + TEXT + b"".join(calls) + event("message_delta", delta=delta, usage={"output_tokens": 5}) + STOP


CALLS = (call_events(1, "a", '{"comm', 'and": "ls"}'), call_events(2, "b"))


def deltas(answer: bytes) -> list[Json]:
    lines = [json.loads(line[6:]) for line in answer.splitlines() if line.startswith(b"data: ")]
    return [one["delta"] for one in lines if one["type"] == "message_delta"]


def uses(holder: Json) -> Json:
    [result] = holder["safeguard_results"]
    assert (result["type"], result["status"]["type"]) == ("dangerous_tool_use", "available")
    found: Json = result["status"]["tool_uses"]
    return found


def judged(answer: bytes, verdicts: Mapping[str, Verdict], size: int = 1 << 20) -> bytes:
    """The answer as a client gets it, fed in pieces of a size."""
    held = HeldAnswer()
    out = b"".join(held.feed(answer[at : at + size]) for at in range(0, len(answer), size))
    assert held.held
    return out + held.release(verdicts)


def body(**members: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "hi"}], **members}).encode()


CONTEXT = {"v": 1, "live_cwd": "/work", "rules": []}


def test_what_a_client_asks() -> None:
    asked = read_question(
        body(safeguards=[{"type": "other"}, {"type": "dangerous_tool_use", "classifier_context": CONTEXT}])
    )
    assert asked == Question("/work", (b'{"role": "user", "content": "hi"}',))


@pytest.mark.parametrize(
    "raw",
    [
        body(),
        body(safeguards=None),
        body(safeguards="dangerous_tool_use"),
        body(safeguards=[{"type": "other"}]),
        body(safeguards=[1]),
        b'{"safeguards": [',
        b'["safeguards"]',
        b'{"safeguards": [{"type": "dangerous_tool_use"}], "messages": 1}',
    ],
)
def test_who_does_not_ask_for_it(raw: bytes) -> None:
    assert read_question(raw) is None


@pytest.mark.parametrize("context", [None, 1, {}, {"live_cwd": 1}])
def test_a_client_may_say_nothing_of_its_folder(context: object) -> None:
    asked = read_question(body(safeguards=[{"type": "dangerous_tool_use", "classifier_context": context}]))
    assert asked is not None and asked.cwd == ""


def test_only_the_end_of_the_conversation_is_kept_and_no_huge_message() -> None:
    turns = [{"role": "user", "content": str(n)} for n in range(20)] + [{"role": "user", "content": "x" * MAX_TURN}]
    asked = read_question(body(safeguards=[{"type": "dangerous_tool_use"}], messages=turns))
    assert asked is not None and len(asked.turns) == TURNS
    assert asked.turns[-1] == b"" and json.loads(asked.turns[0]) == turns[-TURNS]


def test_the_end_of_a_stream_is_held_until_the_verdicts_are_there() -> None:
    held = HeldAnswer()
    before, end = stream(*CALLS).split(b"event: message_delta")
    assert (held.feed(before), held.held) == (before, False)
    assert held.feed(b"event: message_delta" + end) == b""
    assert held.calls == [ToolCall("a", "Bash", {"command": "ls"}), ToolCall("b", "Bash", {})]
    assert held.feed(b": comment\n\n") == b""
    out = held.release({"a": ALLOW, "b": DENY})
    assert out.endswith(STOP + b": comment\n\n")
    [delta] = deltas(out)
    assert uses(delta) == {"a": NOT_FLAGGED, "b": {"type": "evaluated", "outcome": "flagged", "explanation": "no"}}
    assert {name: delta[name] for name in DELTA} == DELTA and b'"output_tokens": 5' in out
    assert held.feed(b": rest\n\n") == b": rest\n\n"


@given(size=some.integers(1, 400))
def test_however_an_answer_is_cut_the_client_gets_the_same(size: int) -> None:
    verdicts = {"a": ALLOW, "b": NOBODY}
    assert judged(stream(*CALLS), verdicts, size) == judged(stream(*CALLS), verdicts)


@given(size=some.integers(1, 400))
def test_an_answer_without_calls_passes_unchanged(size: int) -> None:
    held, answer = HeldAnswer(), stream(delta={"stop_reason": "end_turn"})
    out = b"".join(held.feed(answer[at : at + size]) for at in range(0, len(answer), size))
    assert out + held.rest() == answer and not held.held


def test_crlf_and_data_in_two_lines_are_read() -> None:
    end = b'event: message_delta\r\ndata: {"type": "message_delta",\r\ndata: "delta": {"stop_reason": "x"}}\r\n\r\n'
    [delta] = deltas(judged((START + CALLS[0]).replace(b"\n", b"\r\n") + end, {"a": ALLOW}))
    assert uses(delta) == {"a": NOT_FLAGGED}


def test_json_keeps_every_other_byte() -> None:
    call = {"type": "tool_use", "id": "a", "name": "Bash", "input": {"command": "ls"}}
    whole = (
        b'{"id":"m",  "content": %s, "odd": [1.50,\t"\\u00e9"]}'
        % json.dumps([{"type": "text", "text": "x"}, call]).encode()
    )
    out = judged(whole, {"a": DENY})
    assert b'"odd":[1.50,\t"\\u00e9"]' in out and uses(json.loads(out))["a"]["outcome"] == "flagged"
    assert {**json.loads(out), "safeguard_results": 0} == {**json.loads(whole), "safeguard_results": 0}


@pytest.mark.parametrize(
    "whole", [b'{"content": [{"type": "text", "text": "x"}]}', b'{"content": 1}', b"{", b"[]", b"{}"]
)
def test_json_without_calls_passes_unchanged(whole: bytes) -> None:
    held = HeldAnswer()
    assert held.feed(whole) + held.rest() == whole and not held.held


@pytest.mark.parametrize("arguments", ['{"a"', "[1]", "1", "null"])
def test_arguments_that_are_no_object_are_known_to_nobody(arguments: str) -> None:
    held = HeldAnswer()
    held.feed(stream(call_events(1, "a", arguments)))
    assert held.calls == [ToolCall("a", "Bash", None)]


def results(*found: Json) -> Json:
    return {**DELTA, "safeguard_results": list(found)}


def test_a_providers_own_verdict_passes_unless_a_denial_is_put_over_it() -> None:
    provided = {
        "type": "dangerous_tool_use",
        "status": {"type": "available", "tool_uses": {"a": FLAGGED, "b": NOT_FLAGGED}},
    }
    other = {"type": "other", "status": {}}
    held = HeldAnswer()
    held.feed(stream(*CALLS, delta=results(provided, other)))
    assert held.provided == {"a": FLAGGED, "b": NOT_FLAGGED}
    theirs = Verdict(VerdictOutcome.DENY, "", PROVIDER)
    [delta] = deltas(held.release({"a": theirs, "b": DENY}))
    kept, ours = delta["safeguard_results"]
    assert kept == other and ours["status"]["tool_uses"]["a"] == FLAGGED
    assert ours["status"]["tool_uses"]["b"] == {"type": "evaluated", "outcome": "flagged", "explanation": "no"}


@pytest.mark.parametrize(
    "status",
    [
        {"type": "unsupported"},
        {"type": "unavailable", "reason": "disabled"},
        {"type": "available", "tool_uses": {"a": {"type": "skipped"}, "b": {"type": "evaluated", "outcome": "new"}}},
        {"type": "available", "tool_uses": [1]},
        7,
    ],
)
def test_a_provider_that_has_not_judged_has_no_verdict(status: object) -> None:
    held = HeldAnswer()
    held.feed(stream(*CALLS, delta=results({"type": "dangerous_tool_use", "status": status})))
    assert all(provided_verdict(found) is None for found in held.provided.values())
    [delta] = deltas(held.release({"a": ALLOW, "b": NOBODY}))
    assert uses(delta) == {"a": NOT_FLAGGED, "b": {"type": "unavailable", "reason": "timeout"}}


def test_what_is_given_up_goes_out_as_it_came() -> None:
    held, answer = HeldAnswer(), stream(*CALLS)
    assert held.feed(answer) + held.give_up() == answer


@given(some.binary(max_size=200))
def test_no_answer_whatsoever_raises(noise: bytes) -> None:
    held = HeldAnswer()
    out = held.feed(noise)
    assert out + (held.release({}) if held.held else held.rest()) is not None


def test_of_a_member_that_stands_twice_the_last_counts_as_it_does_for_the_client() -> None:
    held = HeldAnswer()
    held.feed(stream(call_events(1, "a", '{"command": "ls", "command": "rm"}')))
    assert held.calls == [ToolCall("a", "Bash", {"command": "rm"})]


PROVIDED: Json = {
    "type": "dangerous_tool_use",
    "status": {"type": "available", "tool_uses": {"a": NOT_FLAGGED}},
}


def escaped(answer: bytes) -> bytes:
    """The same to whoever reads JSON."""
    return answer.replace(b"tool_use", b"tool\\u005fuse").replace(b'"message_delta"', b'"message\\u005Fdelta"')


def test_names_that_are_escaped_are_the_same_names() -> None:
    answer = escaped(START + CALLS[0] + event("message_delta", delta=results(PROVIDED)) + STOP)
    [delta] = deltas(judged(answer, {"a": DENY}))
    assert uses(delta)["a"]["outcome"] == "flagged"


def test_a_verdict_that_comes_before_its_call_is_nobodys() -> None:
    early = event("message_delta", delta=results(PROVIDED))
    out = judged(START + early + CALLS[0] + STOP, {})
    [delta] = deltas(out)
    assert uses(delta) == {} and b"Bash" not in out and out.endswith(STOP)


@pytest.mark.parametrize("size", [7, 1 << 20])
def test_nothing_after_the_end_takes_a_denial_back(size: int) -> None:
    more = event("message_delta", delta=results(PROVIDED), usage={}) + call_events(5, "a", "{}")
    answer = stream(CALLS[0]) + more + escaped(more) + STOP
    held, out = HeldAnswer(), b""
    for at in range(0, len(answer), size):
        out += held.feed(answer[at : at + size])
        if held.held:
            out += held.release({"a": DENY})
    out += held.rest()
    [delta] = deltas(out)
    assert uses(delta)["a"]["outcome"] == "flagged"
    assert out.count(b'"type": "content_block_start"') == 2 and out.endswith(STOP)


def test_a_verdict_is_not_given_up_with_an_answer_that_fails() -> None:
    held = HeldAnswer()
    out = held.feed(stream(CALLS[0], delta=results(PROVIDED))) + held.give_up()
    assert out == START + TEXT + CALLS[0] + STOP


def odd(position: object, identifier: str) -> bytes:
    return call_events(9, identifier, '{"command": "rm"}').replace(b'"index": 9', f'"index": {position}'.encode())


@pytest.mark.parametrize("second", [odd(1, "a"), odd('"1"', "a"), odd(1.5, "a"), odd("null", "a")])
def test_calls_that_a_client_may_put_together_otherwise_are_known_to_nobody(second: bytes) -> None:
    held = HeldAnswer()
    held.feed(stream(call_events(1, "a", '{"command": "ls"}'), second))
    assert held.calls == [ToolCall("a", "Bash", None)]


def test_more_calls_than_anybody_looks_at_are_known_to_nobody() -> None:
    held = HeldAnswer()
    held.feed(stream(*(call_events(n, "a", "{}") for n in range(MAX_CALLS + 1))))
    assert len(held.calls) == MAX_CALLS and {call.input is None for call in held.calls} == {True}
    block = {"type": "tool_use", "id": "a", "name": "Bash", "input": {}}
    held = HeldAnswer()
    held.feed(json.dumps({"content": [block] * (MAX_CALLS + 1)}).encode())
    assert {call.input is None for call in held.calls} == {True}


def test_json_whose_calls_cannot_be_read_has_no_verdict() -> None:
    whole = {"content": [None, {"type": "tool_use", "id": "a"}], "safeguard_results": [PROVIDED]}
    assert uses(json.loads(judged(json.dumps(whole).encode(), {}))) == {}


@pytest.mark.parametrize(
    "start", [b"\n{no JSON}\n\n", b"{}\n\n", json.dumps({"content": [{"type": "tool_use"}]}).encode() + b"\n\n"]
)
@pytest.mark.parametrize("apart", [True, False])
def test_a_stream_that_begins_like_json_is_no_way_past_the_verdicts(start: bytes, apart: bool) -> None:
    """A reader of events skips such a line."""
    held, out = HeldAnswer(), b""
    whole = stream(CALLS[0], delta=results(PROVIDED))
    for data in (start, whole) if apart else (start + whole,):
        out += held.feed(data)
        if held.held:
            out += held.release({call.id: DENY for call in held.calls})
    assert b"not_flagged" not in out + held.rest()

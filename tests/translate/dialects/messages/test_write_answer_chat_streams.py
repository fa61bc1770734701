"""Cases of the stream machine that have no vector."""

import json
from typing import Any

import pytest

from extproc.errors import Kind, Reason
from extproc.translate import part_queue, translated
from extproc.translate.pair import Reply, Usage
from extproc.translate.signature import unseal
from extproc.translate.translated import TranslatedRequest
from extproc.wire.messages import KEEP_ALIVE, PING
from tests.translate.answers import (
    DONE,
    MINIMAL,
    SSE,
    USAGE,
    asked,
    check_grammar,
    chunk,
    events,
    merged,
    messages_on_chat,
    play,
)

STREAM = asked(stream=True)
THINKS = {"thinking": {"type": "adaptive"}}


def run(*pieces: bytes, request: TranslatedRequest = STREAM) -> tuple[Reply, list[dict[str, Any]]]:
    reply = messages_on_chat.reply(request, SSE)
    found = events(play(reply, *pieces))
    check_grammar(found)
    return reply, merged(found)


def blocks(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Type and text of each block; signatures by what they hold."""
    out = []
    for event in found:
        if event["type"] == "content_block_start":
            out.append((event["content_block"]["type"], ""))
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            text = delta.get("text") or delta.get("thinking") or delta.get("partial_json") or ""
            out[-1] = (out[-1][0], out[-1][1] + text)
    return out


def signatures(found: list[dict[str, Any]]) -> list[Any]:
    return [unseal(e["delta"]["signature"]) for e in found if e.get("delta", {}).get("type") == "signature_delta"]


def call(
    index: int | None = 0, id: str | None = None, name: str | None = None, arguments: Any = None, **more: Any
) -> bytes:
    function = {"name": name, "arguments": arguments}
    return chunk({"tool_calls": [{"index": index, "id": id, "function": function, **more}]})


def stop_reason(found: list[dict[str, Any]]) -> str:
    return str(found[-2]["delta"]["stop_reason"])


def test_one_unreadable_line_is_skipped_two_are_an_error() -> None:
    reply, found = run(chunk({"content": "a"}), b"data: {x\n\n", chunk({"content": "b"}, "stop"), DONE)
    assert blocks(found) == [("text", "ab")]
    assert "unreadable_chunk" in reply.outcome.warnings
    reply, found = run(chunk({"content": "a"}), b"data: {x\n\n", b"data: 5\n\n", chunk({"content": "b"}))
    assert found[-1]["type"] == "error" and reply.outcome.failure is not None


def test_an_event_over_the_limit_is_an_error() -> None:
    reply, found = run(
        chunk({"content": "x" * 99}), request=asked({"name": "generic", "max_event_bytes": 64}, stream=True)
    )
    assert [event["type"] for event in found] == ["error"]
    assert reply.outcome.failure is not None and reply.outcome.failure.http_status == 502


def test_the_second_choice_is_ignored() -> None:
    other = b'data: {"id":"1","choices":[{"index":1,"delta":{"content":"no"},"finish_reason":"error"}]}\n\n'
    _, found = run(chunk({"content": "a"}), other, chunk({}, "stop"), DONE)
    assert blocks(found) == [("text", "a")]


def test_deltas_after_the_finish_are_accepted() -> None:
    _, found = run(chunk({"content": "a"}), chunk({}, "stop"), chunk({"content": "b"}), chunk(usage=USAGE))
    assert "".join(text for _, text in blocks(found)) == "ab"


def test_arguments_after_the_finish_are_accepted() -> None:
    late = [call(0, "c", "f", '{"a"'), chunk({}, "tool_calls"), call(0, None, None, ":1}"), DONE]
    _, found = run(*late)
    assert blocks(found) == [("tool_use", '{"a":1}')] and stop_reason(found) == "tool_use"


@pytest.mark.parametrize("pieces", [[], [b""], [b": hi\n\n"], [DONE], [b'data: {"choices":[],"id":""}\n\n', DONE]])
def test_nothing_is_a_failure_with_a_status(pieces: list[bytes]) -> None:
    reply, found = run(*pieces)
    assert [event["type"] for event in found] == ["error"]
    failure = reply.outcome.failure
    assert failure is not None and (failure.http_status, failure.reason) == (502, Reason.TRUNCATED)


def test_truncation() -> None:
    reply, found = run(chunk({"content": "a"}))
    assert found[-1]["error"]["type"] == "api_error" and not reply.outcome.complete
    reply, found = run(
        chunk({"content": "a"}), request=asked({"name": "generic", "on_truncated": "end_turn"}, stream=True)
    )
    assert stop_reason(found) == "end_turn" and reply.outcome.complete


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"error": {"code": 429, "message": "slow"}}, Kind.RATE_LIMIT, 429),
        ({"error": {"code": "429", "message": "slow"}}, Kind.RATE_LIMIT, 429),
        ({"error": "slow"}, Kind.API, 502),
        ({"error": {"type": "insufficient_quota"}}, Kind.BILLING, 402),
        ({"object": "error", "message": "slow", "code": 400}, Kind.INVALID_REQUEST, 400),
        ([{"error": {"code": 503, "message": "slow"}}], Kind.OVERLOADED, 529),
        ({"choices": [{"finish_reason": "error", "error": {"code": 401, "message": "no"}}]}, Kind.AUTHENTICATION, 401),
        ({"choices": [{"finish_reason": "insufficient_system_resource"}]}, Kind.OVERLOADED, 529),
    ],
)
def test_an_error_first_has_its_status(error: Any, kind: Kind, status: int) -> None:
    reply, found = run(b"data: " + json.dumps(error).encode() + b"\n\n", chunk({"content": "late"}), DONE)
    assert [event["type"] for event in found] == ["error"]
    failure = reply.outcome.failure
    assert failure is not None and (failure.kind, failure.http_status) == (kind, status)


def test_an_error_by_the_events_name() -> None:
    reply, _ = run(b'event: error\ndata: {"message":"no","code":"slow_down"}\n\n')
    assert reply.outcome.failure is not None and reply.outcome.failure.kind is Kind.OVERLOADED


def test_pings() -> None:
    reply = messages_on_chat.reply(STREAM, SSE)
    assert reply.feed(b": wait\n\n") == b"" and reply.ping() == KEEP_ALIVE
    reply.feed(chunk({"content": "a"}))
    assert reply.ping() == PING
    reply.feed(chunk({}, "stop", usage=USAGE))
    assert reply.outcome.complete and reply.ping() == b""
    assert messages_on_chat.reply(asked(), SSE).ping() == b""


def test_pings_by_delta() -> None:
    reply = messages_on_chat.reply(asked({"name": "generic", "ping": "delta"}, stream=True), SSE)
    reply.feed(chunk({"role": "assistant"}))
    assert reply.ping() == PING
    reply.feed(chunk({"content": "a"}))
    (event,) = events(reply.ping())
    assert event["delta"] == {"type": "text_delta", "text": ""}
    reply.feed(call(0, "c", "f", '{"a'))
    (event,) = events(reply.ping())
    assert event["index"] == 1 and event["delta"] == {"type": "input_json_delta", "partial_json": ""}


def test_what_is_known_is_on_record_at_any_moment() -> None:
    reply = messages_on_chat.reply(STREAM, SSE)
    reply.feed(chunk({"content": "x" * 8}))
    assert reply.outcome.model == "gpt-x" and reply.outcome.usage is not None
    assert reply.outcome.usage.output_tokens == 2
    assert reply.outcome.usage.input_tokens == -(-len(STREAM.body) // 4)
    reply.feed(chunk({"content": "y"}, usage=USAGE))
    assert reply.outcome.usage == Usage(input_tokens=3, output_tokens=2)


def test_the_start_can_carry_an_estimate() -> None:
    _, found = run(
        chunk({"content": "a"}, "stop"),
        DONE,
        request=asked({"name": "generic", "start_usage": "estimate"}, stream=True),
    )
    assert found[0]["message"]["usage"]["input_tokens"] > 0


def test_the_last_usage_wins_also_when_it_comes_after_the_finish() -> None:
    early = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    _, found = run(chunk({"content": "a"}, usage=early), chunk({}, "stop"), chunk(usage=USAGE), DONE)
    assert found[-2]["usage"]["output_tokens"] == 2 and found[0]["message"]["usage"]["input_tokens"] == 9


def test_the_upstreams_model_name_if_wanted() -> None:
    _, found = run(
        chunk({"content": "a"}, "stop"), request=asked({"name": "generic", "response_model": "upstream"}, stream=True)
    )
    assert found[0]["message"]["model"] == "gpt-x"


def test_wrong_arguments_still_parse_and_are_told() -> None:
    reply, found = run(
        call(0, "c", "f", '{"a": 1, "city": Par'), call(0, None, None, "is}"), chunk({}, "tool_calls"), DONE
    )
    ((_, text),) = blocks(found)
    assert json.loads(text) == {"a": 1, "_raw_arguments": '{"a": 1, "city": Paris}'}
    assert "invalid_tool_arguments:c" in reply.outcome.warnings


def test_arguments_cut_at_the_limit_stay_cut() -> None:
    reply, found = run(call(0, "c", "f", '{"a":"b","c":["d'), chunk({}, "length"), DONE)
    assert blocks(found) == [("tool_use", '{"a":"b","c":["d')] and stop_reason(found) == "max_tokens"
    assert reply.outcome.warnings == ["incomplete_tool_call:c", "usage_missing"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(['"{\\"a\\"', ':1}"'], '{"a":1}'), (["```json\n", '{"a":1}\n```'], '{"a":1}'), (["nu", "ll"], ""),
     ([" ", "[1]"], '{"value":[1]}')],
)  # fmt: skip
def test_other_arguments_are_normalised_at_the_end(arguments: list[str], text: str) -> None:
    _, found = run(call(0, "c", "f", arguments[0]), call(0, None, None, arguments[1]), chunk({}, "stop"), DONE)
    assert blocks(found) == [("tool_use", text)]


def test_repeated_whole_arguments_are_ignored() -> None:
    reply, found = run(call(0, "c", "f", '{"a":1}'), call(0, "c", "f", '{"a":1}'), chunk({}, "stop", usage=USAGE))
    assert blocks(found) == [("tool_use", '{"a":1}')] and not reply.outcome.warnings


def test_whole_calls_on_one_index_without_ids() -> None:
    _, found = run(call(0, None, "f", '{"a":1}'), call(0, None, "g", '{"b":2}'), chunk({}, "stop"), DONE)
    starts = [e["content_block"] for e in found if e["type"] == "content_block_start"]
    assert [start["name"] for start in starts] == ["f", "g"] and starts[0]["id"] != starts[1]["id"]


def test_ids_are_unique() -> None:
    _, found = run(call(0, "c", "f", "{}"), call(1, "c", "f", '{"a":1}'), chunk({}, "stop"), DONE)
    starts = [e["content_block"]["id"] for e in found if e["type"] == "content_block_start"]
    assert starts == ["c", "c_2"]


def test_a_nameless_call_is_dropped() -> None:
    reply, found = run(chunk({"content": "a"}), call(0, "c", None, "{}"), chunk({}, "tool_calls"), DONE)
    assert blocks(found) == [("text", "a")] and stop_reason(found) == "end_turn"
    assert "dropped:tool_calls" in reply.outcome.warnings


def test_a_custom_call() -> None:
    custom = chunk({"tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": {"name": "f", "input": " x"}}]})
    _, found = run(custom, chunk({}, "tool_calls"), DONE)
    assert blocks(found) == [("tool_use", '{"input":" x"}')]


def test_a_legacy_call() -> None:
    pieces = [
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"a":1}'}}),
    ]
    _, found = run(*pieces, chunk({}, "function_call"), DONE)
    assert blocks(found) == [("tool_use", '{"a":1}')] and stop_reason(found) == "tool_use"


def test_too_much_behind_an_open_call_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_queue, "MAX_WAITING", 50)
    reply, found = run(call(0, "c", "f", '{"a'), *(chunk({"content": "x" * 20}) for _ in range(4)), DONE)
    assert found[-1]["type"] == "error" and reply.outcome.failure is not None


def test_reasoning_between_texts_makes_blocks_of_its_own() -> None:
    pieces = [chunk({"content": "a"}), chunk({"reasoning": "b"}), chunk({"content": "c"}, "stop"), DONE]
    _, found = run(*pieces, request=asked("vllm", stream=True, **THINKS))
    assert blocks(found) == [("text", "a"), ("thinking", "b"), ("text", "c")]
    _, found = run(*pieces, request=asked("vllm", stream=True))
    assert blocks(found) == [("text", "a"), ("text", "c")]


def test_one_of_two_equal_reasoning_members_is_used() -> None:
    _, found = run(
        chunk({"reasoning": "b", "reasoning_content": "b"}),
        chunk({}, "stop"),
        DONE,
        request=asked("vllm", stream=True, **THINKS),
    )
    assert blocks(found) == [("thinking", "b")]


def test_hidden_reasoning_travels_with_the_calls_that_need_it() -> None:
    pieces = [chunk({"reasoning_content": "why"}), call(0, "c", "f", "{}"), chunk({}, "tool_calls"), DONE]
    _, found = run(*pieces, request=asked("deepseek", stream=True))
    assert blocks(found) == [("thinking", ""), ("tool_use", "{}")]
    assert signatures(found)[0].t == "why"
    _, found = run(*pieces, request=asked({"name": "deepseek", "emit_thinking": "never"}, stream=True))
    assert blocks(found) == [("tool_use", "{}")]


def test_geminis_signature_travels_before_its_call() -> None:
    signed = {"extra_content": {"google": {"thought_signature": "s1"}}}
    _, found = run(call(None, "x", "f", "{}", **signed), chunk({}, "stop"), DONE, request=asked("gemini", stream=True))
    assert blocks(found) == [("thinking", ""), ("tool_use", "{}")]
    assert signatures(found)[0].d == {"x": "s1"} and signatures(found)[0].f == "gemini_thought_signature"


def test_pieces_of_reasoning_details_are_joined() -> None:
    def detail(**members: Any) -> bytes:
        return chunk(
            {"reasoning": members.get("text"), "reasoning_details": [{"type": "reasoning.text", "index": 0, **members}]}
        )

    pieces = [
        detail(text="a"),
        detail(text="b"),
        detail(text=None, signature="s"),
        chunk({"content": "c"}, "stop"),
        DONE,
    ]
    _, found = run(*pieces, request=asked("openrouter", stream=True, **THINKS))
    assert blocks(found) == [("thinking", "ab"), ("text", "c")]
    assert signatures(found)[0].d == [{"type": "reasoning.text", "index": 0, "text": "ab", "signature": "s"}]


@pytest.mark.parametrize("texts", [["<think>a</think>\n\nb"], ["\n<th", "ink>", "a</thi", "nk>", "b"]])
def test_think_tags(texts: list[str]) -> None:
    request = asked({"name": "vllm", "parse_think_tags": True}, stream=True, **THINKS)
    _, found = run(*(chunk({"content": text}) for text in texts), chunk({}, "stop"), DONE, request=request)
    assert blocks(found) == [("thinking", "a"), ("text", "b")]


@pytest.mark.parametrize("text", ["<thin", "a<think>b</think>"])
def test_only_leading_think_tags_are_parsed(text: str) -> None:
    request = asked({"name": "vllm", "parse_think_tags": True}, stream=True, **THINKS)
    _, found = run(chunk({"content": text}), chunk({}, "stop"), DONE, request=request)
    assert blocks(found) == [("text", text)]


@pytest.mark.parametrize("texts", [["a END b"], ["a E", "N", "D", " b"]])
def test_stop_sequences_of_our_own(texts: list[str]) -> None:
    request = asked({"name": "generic", "local_stop": True}, {**MINIMAL, "stop_sequences": ["XX", "END"]}, stream=True)
    reply, found = run(
        *(chunk({"content": text}) for text in texts), chunk({}, "stop"), chunk(usage=USAGE), request=request
    )
    assert blocks(found) == [("text", "a ")]
    assert found[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert reply.outcome.usage == Usage(input_tokens=3, output_tokens=2)


def test_what_only_looked_like_a_stop_sequence_is_text() -> None:
    request = asked({"name": "generic", "local_stop": True}, {**MINIMAL, "stop_sequences": ["END"]}, stream=True)
    _, found = run(chunk({"content": "a EN"}), chunk({}, "stop"), DONE, request=request)
    assert blocks(found) == [("text", "a EN")]


@pytest.mark.parametrize("texts", [["Hello wo", "rld"], ["Hel", "lo world"], ["rld"]])
def test_a_repeated_prefill_is_cut(texts: list[str]) -> None:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "Hello wo"}]
    request = asked({"name": "generic", "prefill": "pass"}, {**MINIMAL, "messages": messages}, stream=True)
    _, found = run(*(chunk({"content": text}) for text in texts), chunk({}, "stop"), DONE, request=request)
    assert blocks(found) == [("text", "rld")]


def test_an_answer_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translated, "MAX_ANSWER", 10)
    reply, found = run(chunk({"content": "x" * 11}), chunk({}, "stop"), DONE)
    assert found[-1]["type"] == "error" and reply.outcome.failure is not None


def test_interleaved_text_call_text() -> None:
    _, found = run(
        chunk({"content": "a"}),
        call(0, "c", "f", "{}"),
        chunk({"content": "\n"}),
        chunk({"content": "b"}, "stop"),
        DONE,
    )
    assert blocks(found) == [("text", "a"), ("tool_use", "{}"), ("text", "\nb")]


def test_refusal_deltas() -> None:
    _, found = run(chunk({"refusal": "I "}), chunk({"refusal": "won't"}), chunk({}, "stop"), DONE)
    assert blocks(found) == [("text", "I won't")]
    assert found[-2]["delta"]["stop_details"] == {"type": "refusal", "category": None, "explanation": "I won't"}


def test_half_a_surrogate_pair_does_not_end_the_stream() -> None:
    halves = [
        b'data: {"id":"1","choices":[{"delta":{"content":"\\u%b"}}]}\n\n' % half for half in (b"d83d", b"de00", b"d83d")
    ]
    _, found = run(*halves, chunk({}, "stop"), DONE)
    assert stop_reason(found) == "end_turn"

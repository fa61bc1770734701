"""Whole answers, and answers in another form than announced."""

import json
from typing import Any

import pytest

from extproc.errors import Reason
from extproc.translate import answer_body
from extproc.translate.dialects.chat.read_answer import read_usage
from extproc.translate.pair import Outcome, Usage
from extproc.translate.signature import unseal
from tests.translate.answers import (
    DONE,
    JSON,
    MINIMAL,
    SSE,
    USAGE,
    asked,
    check_grammar,
    chunk,
    events,
    messages_on_chat,
    play,
)


def completion(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "model": "gpt-x",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": USAGE,
        **more,
    }


def read(value: Any, named: Any = "generic", content_type: str = JSON, **request: Any) -> tuple[Any, Outcome]:
    reply = messages_on_chat.reply(asked(named, {**MINIMAL, **request}), content_type)
    out = play(reply, value if isinstance(value, bytes) else json.dumps(value).encode())
    return json.loads(out) if out else None, reply.outcome


def call(name: str = "f", id: str = "c", arguments: Any = "{}", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


@pytest.mark.parametrize("content_type", ["", JSON, SSE, "text/plain; charset=utf-8"])
@pytest.mark.parametrize("stream", [True, False])
def test_the_body_decides_what_it_is(content_type: str, stream: bool) -> None:
    for raw in (
        b"\n \n" + json.dumps(completion({"content": "a"})).encode(),
        b"\xef\xbb\xbf\n: hi\n\n" + chunk({"content": "a"}, "stop") + DONE,
    ):
        for pieces in ([raw], [raw[n : n + 1] for n in range(len(raw))]):
            reply = messages_on_chat.reply(asked(stream=stream), content_type)
            out = play(reply, *pieces)
            assert reply.outcome.complete
            if stream:
                check_grammar(events(out))
            else:
                assert json.loads(out)["content"] == [{"type": "text", "text": "a"}]


@pytest.mark.parametrize(
    "raw", [b"", b" \n", b"<html>502</html>", b"upstream error", b"{", b"[]", b"5", b"null", b"{}", b"\xef\xbb"]
)
@pytest.mark.parametrize("content_type", ["", JSON, SSE, "text/html"])
@pytest.mark.parametrize("stream", [True, False])
def test_no_answer_is_a_failure(raw: bytes, content_type: str, stream: bool) -> None:
    reply = messages_on_chat.reply(asked(stream=stream), content_type)
    out = play(reply, raw)
    failure = reply.outcome.failure
    assert failure is not None and failure.http_status == 502 and "html" not in failure.message
    assert [event["type"] for event in events(out)] == ["error"] * stream


def test_a_body_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_body, "MAX_ANSWER", 100)
    reply = messages_on_chat.reply(asked(), JSON)
    assert play(reply, b"{" + b" " * 60, b" " * 60, b"}") == b""
    assert reply.outcome.failure is not None and reply.outcome.failure.detail == "answer_limit"


def test_truncated_stream_for_a_plain_request() -> None:
    _, outcome = read(chunk({"content": "a"}), content_type=SSE)
    assert outcome.failure is not None and outcome.failure.reason is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("finish", "message", "expected", "warnings"),
    [
        ("EOS", {"content": "a"}, "end_turn", []),
        ("tool_calls", {"content": "a"}, "end_turn", []),
        ("weird", {"content": "a"}, "end_turn", ["unknown_finish_reason"]),
        ("weird", {"tool_calls": [call()]}, "tool_use", ["unknown_finish_reason"]),
        ("", {"tool_calls": [call()]}, "tool_use", ["finish_reason_missing"]),
        (None, {"content": "a"}, "end_turn", ["finish_reason_missing"]),
        ("length", {"tool_calls": [call()]}, "max_tokens", []),
        ("SAFETY", {"tool_calls": [call()]}, "refusal", []),
        ("stop", {"refusal": "no"}, "refusal", []),
        ("stop_sequence", {"content": "a"}, "stop_sequence", []),
    ],
)
def test_endings(finish: str | None, message: Any, expected: str, warnings: list[str]) -> None:
    found, outcome = read(completion(message, finish))
    assert found["stop_reason"] == expected == outcome.finish_reason
    assert outcome.warnings == warnings
    assert ("stop_details" in found) == (expected == "refusal")


def test_a_refusal_is_text_and_explanation() -> None:
    found, _ = read(completion({"content": None, "refusal": "no"}))
    assert found["content"] == [{"type": "text", "text": "no"}] and found["stop_details"]["explanation"] == "no"


def test_the_matched_stop_string_counts_if_the_client_named_it() -> None:
    for member in ("stop_reason", "matched_stop"):
        value = completion({"content": "a"})
        value["choices"][0][member] = "END"
        found, _ = read(value, stop_sequences=["END"])
        assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", "END")
        assert read(value)[0]["stop_reason"] == "end_turn"
        value["choices"][0][member] = 128009
        assert read(value, stop_sequences=["END"])[0]["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 10, "total_tokens": 15}, Usage(input_tokens=10, output_tokens=5)),
        ({"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 12,
          "completion_tokens_details": {"reasoning_tokens": 3}},
         Usage(input_tokens=5, output_tokens=7, thinking_tokens=3)),
        ({"prompt_tokens": 5, "cached_tokens": 9}, Usage(cache_read_input_tokens=5)),
        ({"prompt_tokens": "7", "completion_tokens": 2.0}, Usage(input_tokens=7, output_tokens=2)),
        ({"prompt_tokens": [], "completion_tokens": None, "prompt_tokens_details": 3}, Usage()),
        ({"prompt_tokens": -4, "completion_tokens": True}, Usage()),
    ],
)  # fmt: skip
def test_usage(usage: Any, expected: Usage) -> None:
    assert read_usage(usage) == expected


def test_the_service_tier() -> None:
    assert read(completion({"content": "a"}, service_tier="flex"))[0]["usage"]["service_tier"] == "standard"
    assert "service_tier" not in read(completion({"content": "a"}, service_tier="auto"))[0]["usage"]


def test_missing_usage() -> None:
    value = completion({"content": "a" * 9})
    del value["usage"]
    found, outcome = read(value)
    assert found["usage"]["output_tokens"] == 3 and found["usage"]["input_tokens"] > 0
    assert outcome.warnings == ["usage_missing"]
    assert read(value, {"name": "generic", "missing_usage": "zero"})[0]["usage"]["input_tokens"] == 0


def test_order_and_names() -> None:
    message = {"tool_calls": [call("computer__left_click"), call("f", "c")], "content": "t", "reasoning_content": "r"}
    toolset = {"type": "computer_toolset_20260801", "name": "computer", "display_width_px": 1, "display_height_px": 1}
    found, _ = read(completion(message, "tool_calls"), "generic", tools=[toolset], thinking={"type": "adaptive"})
    kinds = [block["type"] for block in found["content"]]
    assert kinds == ["thinking", "text", "tool_use", "tool_use"]
    clicked = found["content"][2]
    assert (clicked["name"], clicked["toolset_name"], clicked["caller"]) == (
        "left_click",
        "computer",
        {"type": "direct"},
    )
    assert [found["content"][n]["id"] for n in (2, 3)] == ["c", "c_2"]


def test_geminis_signatures_stand_first() -> None:
    signed = call("f", "x", extra_content={"google": {"thought_signature": "s"}})
    found, _ = read(completion({"content": "t", "tool_calls": [signed, call("g", "y")]}), "gemini")
    assert [block["type"] for block in found["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    sealed = unseal(found["content"][0]["signature"])
    assert sealed is not None and (sealed.f, sealed.d) == ("gemini_thought_signature", {"x": "s"})


def test_an_answer_split_over_choices_without_index() -> None:
    choices = [{"message": {"content": "t"}, "finish_reason": "tool_calls"}, {"message": {"tool_calls": [call()]}}]
    found, _ = read({"id": "1", "choices": choices, "usage": USAGE})
    assert [block["type"] for block in found["content"]] == ["text", "tool_use"]


def test_calls_cut_at_the_limit() -> None:
    calls = [call("f", "a", '{"x":1'), call("f", "b", '{"x":"y')]
    found, outcome = read(completion({"tool_calls": calls}, "length"))
    assert found["content"] == []
    assert outcome.warnings == ["incomplete_tool_call:a", "incomplete_tool_call:b"]


def test_audio_is_told_and_its_words_kept() -> None:
    found, outcome = read(completion({"content": None, "audio": {"transcript": "hi"}}))
    assert found["content"] == [{"type": "text", "text": "hi"}] and outcome.warnings == ["dropped:audio"]


def test_a_legacy_call() -> None:
    found, _ = read(completion({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "function_call"))
    (block,) = found["content"]
    assert block["name"] == "f" and block["id"].startswith("toolu_") and found["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ({"error": {"code": 429, "message": "m"}}, 429),
        ({"error": "m", "choices": [{"message": {"content": "a"}}]}, 502),
        ({"choices": []}, 502),
        ({"object": "error", "message": "m", "code": 400}, 400),
        ({"detail": "m"}, 502),
        (completion({"content": "a"}, "insufficient_system_resource"), 529),
    ],
)
def test_errors_in_a_200(value: Any, status: int) -> None:
    found, outcome = read(value)
    assert found is None and outcome.failure is not None and outcome.failure.http_status == status

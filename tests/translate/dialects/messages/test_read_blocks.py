"""Whole answers (mapping 4.6)."""

from typing import Any

import pytest

from extproc.errors import Kind
from extproc.translate import answer_body
from extproc.translate.pair import Usage
from extproc.wire.rejections import rejection_status
from tests.translate.answers import JSON
from tests.translate.chat_answers import asked, message, whole
from tests.translate.chat_asking import CHAT_ON_MESSAGES

TEXT = {"type": "text", "text": "x"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
LEGACY = {"functions": [{"name": "f"}]}


def said(*content: Any, stop: str | None = "end_turn", **more: Any) -> tuple[Any, str, list[str]]:
    reply, found = whole(message(*content, stop=stop), asked(**more))
    choice = found["choices"][0]
    assert reply.outcome.finish_reason == choice["finish_reason"]
    return choice["message"], choice["finish_reason"], reply.outcome.warnings


def test_calls() -> None:
    found, finish, _ = said(CALL, {**CALL, "id": "toolu_2", "input": {}}, stop="tool_use")
    functions = [call["function"] for call in found["tool_calls"]]
    assert functions == [{"name": "f", "arguments": '{"a":1}'}, {"name": "f", "arguments": "{}"}]
    assert found["content"] is None and finish == "tool_calls"


def test_names_come_back() -> None:
    tool = {"type": "function", "function": {"name": "a.b"}}
    (short,) = asked(tools=[tool]).names
    found, _, _ = said({**CALL, "name": short}, tools=[tool])
    assert found["tool_calls"][0]["function"]["name"] == "a.b"


def test_legacy_functions_get_the_first_call() -> None:
    found, finish, warnings = said(TEXT, CALL, {**CALL, "id": "toolu_2"}, stop="tool_use", **LEGACY)
    assert found["function_call"] == {"name": "f", "arguments": '{"a":1}'} and "tool_calls" not in found
    assert finish == "function_call" and warnings == ["dropped:tool_calls"]


@pytest.mark.parametrize(
    ("stop", "finish", "warnings"),
    [
        ("pause_turn", "stop", ["approx:stop_reason"]),
        ("compaction", "stop", ["approx:stop_reason"]),
        ("model_context_window_exceeded", "length", []),
        ("new", "stop", ["unknown_finish_reason"]),
        (None, "stop", ["finish_reason_missing"]),
    ],
)
def test_ends(stop: str | None, finish: str, warnings: list[str]) -> None:
    assert said(TEXT, stop=stop)[1:] == (finish, warnings)
    assert said(CALL, stop="new")[1] == "tool_calls"


def test_nothing_at_all() -> None:
    assert said()[0] == {"role": "assistant", "content": "", "refusal": None}


def test_a_refusal_without_an_explanation() -> None:
    found, finish, _ = said(TEXT, stop="refusal")
    assert found["content"] == "x" and found["refusal"] and finish == "content_filter"


def test_what_the_server_did_is_left_out() -> None:
    server = [{"type": kind, "id": "s"} for kind in ("server_tool_use", "web_search_tool_result", "compaction", "new")]
    assert said(*server, TEXT)[0] == {"role": "assistant", "content": "x", "refusal": None}


def test_thinking() -> None:
    thoughts = [{"type": "thinking", "thinking": word, "signature": f"s{word}"} for word in ("a", "", "b")]
    found, _, _ = said(*thoughts, TEXT)
    assert found["reasoning_content"] == "a\n\nb"
    assert [(d["text"], d["signature"], d["index"]) for d in found["reasoning_details"]] == [
        ("a", "sa", 0),
        ("", "s", 1),
        ("b", "sb", 2),
    ]
    reply, answer = whole(message(*thoughts), asked({"name": "claude-adaptive", "expose_reasoning": False}))
    found = answer["choices"][0]["message"]
    assert "reasoning_content" not in found and len(found["reasoning_details"]) == 3 and reply.outcome.complete


def test_offsets_of_citations_are_code_points() -> None:
    place = {"type": "web_search_result_location", "url": "u", "title": None}
    cited = {"type": "text", "text": "sky", "citations": [place, {"type": "char_location"}, place]}
    found, _, _ = said({"type": "text", "text": "é😀"}, cited)
    assert [a["url_citation"] for a in found["annotations"]] == 2 * [
        {"start_index": 2, "end_index": 5, "title": "", "url": "u"}
    ]


def test_usage_and_model() -> None:
    usage = {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": None, "service_tier": "batch"}
    reply, found = whole(message(TEXT, usage=usage, model="claude-x-2026"))
    assert reply.outcome.usage == Usage(input_tokens=5, output_tokens=7, service_tier="batch")
    assert reply.outcome.model == "claude-x-2026"
    assert found["model"] == "claude-x" and found["service_tier"] == "default" and found["created"] == 1
    _, found = whole(message(TEXT, model="up"), asked({"name": "claude-adaptive", "response_model": "upstream"}))
    assert found["model"] == "up"


def test_missing_usage_is_estimated() -> None:
    reply, found = whole(message({"type": "text", "text": "x" * 9}, usage=None))
    assert found["usage"]["completion_tokens"] == 3 and reply.outcome.warnings == ["usage_missing"]
    _, found = whole(message(TEXT, usage=None), asked({"name": "claude-adaptive", "missing_usage": "zero"}))
    assert found["usage"]["total_tokens"] == 0


def test_made_ids() -> None:
    _, found = whole(message({**CALL, "id": None}, id=None))
    assert found["id"].startswith("chatcmpl-") and len(found["id"]) > 20
    assert found["choices"][0]["message"]["tool_calls"][0]["id"].startswith("call_")


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, Kind.OVERLOADED, 503),
        ({"error": {"type": "rate_limit_error"}}, Kind.RATE_LIMIT, 429),
        ({"type": "message"}, Kind.API, 502),
        ([], Kind.API, 502),
    ],
)
def test_no_answer(answer: Any, kind: Kind, status: int) -> None:
    reply, found = whole(answer)
    failure = reply.outcome.failure
    assert not found and failure is not None and failure.kind is kind and rejection_status("chat", failure) == status


def test_a_body_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_body, "MAX_ANSWER", 10)
    reply = CHAT_ON_MESSAGES.reply(asked(), JSON)
    assert reply.feed(b"{" + b" " * 20) == b"" and reply.outcome.failure is not None
    assert reply.feed(b"}") == reply.close() == b"" and reply.ping() == b""

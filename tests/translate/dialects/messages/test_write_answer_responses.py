"""Whole responses as messages."""

from typing import Any

import pytest

from extproc.translate.signature import unseal
from tests.translate.responses_upstream import THINKS, USAGE, ask, response, target, whole

OMITTED: dict[str, Any] = {"thinking": {"type": "adaptive", "display": "omitted"}}
DATA = {"id": "rs_1", "encrypted_content": "E"}


def message(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": "msg_a", "role": "assistant", "content": list(content)}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], **more}


def reasoning(*summary: str, encrypted: str | None = "E", **more: Any) -> dict[str, Any]:
    texts = [{"type": "summary_text", "text": text} for text in summary]
    return {"type": "reasoning", "id": "rs_1", "summary": texts, "encrypted_content": encrypted, **more}


def call(name: str = "f", arguments: Any = '{"a":1}', id: str = "call_1", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_1", "call_id": id, "name": name, "arguments": arguments, **more}


def blocks(found: Any) -> list[Any]:
    """Content, with what signatures hold."""
    return [
        {**block, "signature": unseal(block["signature"])} if block["type"] == "thinking" else block
        for block in found["content"]
    ]


def thinking(found: Any) -> list[tuple[str, Any, Any]]:
    return [
        (block["thinking"], block["signature"].d, block["signature"].t)
        for block in blocks(found)
        if block["type"] == "thinking"
    ]


def test_items_become_blocks_in_their_order() -> None:
    output = [reasoning("a", "b"), message(said("c"), said("d")), call()]
    found, outcome = whole(response(*output), ask(**THINKS))
    assert [block["type"] for block in found["content"]] == ["thinking", "text", "text", "tool_use"]
    assert thinking(found) == [("a\n\nb", DATA, None)]
    assert found["content"][-1] == {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}}
    assert (found["id"], found["model"], found["stop_reason"]) == ("msg_1", "claude-x", "tool_use")
    assert (outcome.model, outcome.finish_reason, outcome.warnings, outcome.complete) == ("gpt-x", "tool_use", [], True)


@pytest.mark.parametrize(
    ("item", "shown", "omitted"),
    [
        (reasoning("a"), [("a", DATA, None)], [("", DATA, "a")]),
        (reasoning(), [("", DATA, None)], [("", DATA, None)]),
        (reasoning("a", encrypted=None), [("a", None, None)], [("", None, "a")]),
        (reasoning(content=[{"type": "reasoning_text", "text": "x"}]), [("x", DATA, None)], [("", DATA, "x")]),
        (reasoning(encrypted=None), [], []),
    ],
)
def test_reasoning(item: Any, shown: Any, omitted: Any) -> None:
    text = message(said("c"))
    assert thinking(whole(response(item, text), ask(**THINKS))[0]) == shown
    assert thinking(whole(response(item, text), ask(**OMITTED))[0]) == omitted
    assert thinking(whole(response(item, text))[0]) == []
    # A turn with calls needs its reasoning back, asked for or not.
    found, _ = whole(response(item, text, call()))
    assert thinking(found) == omitted and found["content"][-2:] == [{"type": "text", "text": "c"}, call_block()]
    assert thinking(whole(response(item, call()), ask(to=target(emit_thinking="never"), **THINKS))[0]) == []


def call_block() -> dict[str, Any]:
    return {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}}


def test_several_thoughts_stay_apart() -> None:
    found, _ = whole(response(reasoning("a"), call(), reasoning("b"), call(id="call_2")), ask(**THINKS))
    assert [block["type"] for block in found["content"]] == ["thinking", "tool_use"] * 2


@pytest.mark.parametrize(
    ("item", "name", "expected"),
    [
        (call(namespace="crm"), "crm__f", {"a": 1}),
        (call(arguments=""), "f", {}),
        (call(arguments={"b": 2}), "f", {"b": 2}),
        ({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": '"x'}, "f", {"input": '"x'}),
    ],
)
def test_calls(item: Any, name: str, expected: Any) -> None:
    found, _ = whole(response(item))
    assert [(block["name"], block["input"]) for block in found["content"]] == [(name, expected)]


def test_ids_of_calls() -> None:
    found, _ = whole(response(call(id="a.b"), call(id=""), call(id="fc_1")))
    assert [block["id"] for block in found["content"]] == ["tlx_YS5i", "fc_1", "fc_1_2"]


@pytest.mark.parametrize("kind", ["mcp_call", "code_interpreter_call", "image_generation_call", "shell_call_output"])
def test_items_that_have_no_block(kind: str) -> None:
    found, outcome = whole(response({"type": kind, "id": "x"}, {"type": "unheard"}, message(said("a"))))
    assert [block["type"] for block in found["content"]] == ["text"]
    assert outcome.warnings == [f"dropped:{kind}", "dropped:output"]


def test_web_searches_are_counted() -> None:
    search = {"type": "web_search_call", "id": "ws", "status": "completed"}
    text = message(said("a", annotations=[{"type": "url_citation", "url": "u"}]))
    found, outcome = whole(response(search, search, text))
    assert found["usage"]["server_tool_use"] == {"web_search_requests": 2, "web_fetch_requests": 0}
    assert outcome.warnings == ["dropped:annotations"]


REFUSAL = message({"type": "refusal", "refusal": "no"})
REFUSED = {"type": "refusal", "category": None, "explanation": "no"}


@pytest.mark.parametrize(
    ("value", "reason", "details", "warnings"),
    [
        (response(message(said("a"))), "end_turn", None, []),
        (response(message(said("  "))), "end_turn", None, []),
        (response(), "end_turn", None, []),
        (response(REFUSAL), "refusal", REFUSED, []),
        (response(REFUSAL, call()), "tool_use", None, []),
        ({"output": [], "usage": USAGE}, "end_turn", None, []),
        (response(usage=None), "end_turn", None, ["usage_missing"]),
    ],
)
def test_completed(value: Any, reason: str, details: Any, warnings: list[str]) -> None:
    found, outcome = whole(value)
    assert (found["stop_reason"], found.get("stop_details"), outcome.warnings) == (reason, details, warnings)


@pytest.mark.parametrize(
    ("why", "output", "reason", "details", "warnings"),
    [
        ("max_output_tokens", [], "max_tokens", None, []),
        ("max_output_tokens", [call()], "max_tokens", None, []),
        ("content_filter", [], "refusal", REFUSED | {"explanation": None}, []),
        ("content_filter", [REFUSAL], "refusal", REFUSED, []),
        ("steered", [], "end_turn", None, ["unknown_finish_reason"]),
        ("max_messages", [call()], "tool_use", None, ["unknown_finish_reason"]),
        (None, [], "end_turn", None, ["finish_reason_missing"]),
    ],
)
def test_incomplete(why: str | None, output: Any, reason: str, details: Any, warnings: list[str]) -> None:
    found, outcome = whole(response(*output, status="incomplete", incomplete_details=why and {"reason": why}))
    assert (found["stop_reason"], found.get("stop_details"), outcome.warnings) == (reason, details, warnings)


def test_a_call_that_the_limit_cut() -> None:
    limit: dict[str, Any] = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    found, outcome = whole(response(call(arguments='{"a":"b'), **limit))
    assert found["content"] == [] and outcome.warnings == ["incomplete_tool_call:call_1"]
    found, outcome = whole(response(call(arguments='{"a":"b')))
    assert found["content"] == [] and outcome.warnings == ["incomplete_tool_call:call_1"]
    assert found["stop_reason"] == "max_tokens"


@pytest.mark.parametrize(("status", "kept"), [("completed", 1), (None, 0), ("incomplete", 0)])
def test_a_custom_call_at_the_limit_is_whole_if_its_item_says_so(status: str | None, kept: int) -> None:
    item = {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "a", "status": status}
    found, _ = whole(response(item, status="incomplete", incomplete_details={"reason": "max_output_tokens"}))
    assert len(found["content"]) == kept and found["stop_reason"] == "max_tokens"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
             "output_tokens": 30, "output_tokens_details": {"reasoning_tokens": 20}},
            [50, 30, 10, 40, {"thinking_tokens": 20}],
        ),
        ({"input_tokens": 5, "input_tokens_details": {"cached_tokens": 9}, "output_tokens": 1}, [0, 1, 0, 5, None]),
        ({"input_tokens": "7", "input_tokens_details": [], "output_tokens": None}, [7, 0, 0, 0, None]),
    ],
)  # fmt: skip
def test_usage(usage: Any, expected: Any) -> None:
    found = whole(response(usage=usage))[0]["usage"]
    assert [
        found["input_tokens"],
        found["output_tokens"],
        found["cache_creation_input_tokens"],
        found["cache_read_input_tokens"],
        found.get("output_tokens_details"),
    ] == expected


def test_a_stop_sequence_is_looked_for_here() -> None:
    asked = ask(stop_sequences=["END"], to=target(local_stop=True))
    found, _ = whole(response(message(said("abEN"), said("a ENDc")), call()), asked)
    assert [block["text"] for block in found["content"]] == ["abEN", "a "]
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", "END")


def test_a_prefill_that_is_echoed() -> None:
    asked = ask(
        messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": "Once"}],
        to=target(prefill="pass"),
    )
    assert whole(response(message(said("Once upon"))), asked)[0]["content"][0]["text"] == " upon"

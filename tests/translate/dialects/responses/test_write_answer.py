"""Messages as responses: items, statuses, usage (mapping 6.5)."""

from typing import Any

import pytest

from extproc.translate.signature import unseal
from tests.translate.answers import SSE
from tests.translate.chat_answers import USAGE, block, ended, event, message, started, text
from tests.translate.responses_answers import asked, check_grammar, check_response, check_types, run, whole
from tests.translate.responses_client import MINIMAL, RESPONSES_ON_MESSAGES

Json = dict[str, Any]
TOOLS = [
    {"type": "custom", "name": "patch"},
    {"type": "local_shell"},
    {"type": "namespace", "name": "ns", "description": "d", "tools": [{"type": "function", "name": "f"}]},
]


def request(**more: Any) -> Any:
    return asked(request={**MINIMAL, "tools": TOOLS}, **more)


def use(name: str, **told: Any) -> Json:
    return {"type": "tool_use", "id": "toolu_1", "name": name, "input": told}


def items(*content: Json, **more: Any) -> list[Json]:
    _, found = whole(message(*content, **more), request())
    check_response(found)
    output = found["output"]
    assert isinstance(output, list)
    return output


@pytest.mark.parametrize(
    ("content", "item"),
    [
        (use("g", a=1), {"type": "function_call", "id": "fc_1_0", "call_id": "toolu_1", "name": "g",
                         "arguments": '{"a":1}', "status": "completed"}),
        (use("ns__f"), {"type": "function_call", "id": "fc_1_0", "call_id": "toolu_1", "name": "f",
                        "namespace": "ns", "arguments": "{}", "status": "completed"}),
        (use("patch", input="free"), {"type": "custom_tool_call", "id": "ctc_1_0", "call_id": "toolu_1",
                                      "name": "patch", "input": "free"}),
        (use("local_shell", command=["ls", "-l"], workdir="/w", timeout_ms=5),
         {"type": "local_shell_call", "id": "lsh_1_0", "call_id": "toolu_1", "status": "completed", "action": {
             "type": "exec", "command": ["ls", "-l"], "env": {}, "working_directory": "/w", "timeout_ms": 5}}),
        (use("local_shell", command="ls"), {"type": "local_shell_call", "id": "lsh_1_0", "call_id": "toolu_1",
                                            "status": "completed",
                                            "action": {"type": "exec", "command": ["ls"], "env": {}}}),
    ],
)  # fmt: skip
def test_calls(content: Json, item: Json) -> None:
    assert items(content, stop="tool_use") == [item]


@pytest.mark.parametrize("name", ["g", "ns__f", "patch", "local_shell"])
def test_calls_in_a_stream(name: str) -> None:
    pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ('{"input":', '"x"}')]
    calls = block(0, {**use(name), "input": {}}, *pieces)
    _, found = run(started(), calls, ended("tool_use"), request=request(stream=True))
    check_grammar(found)
    check_types(found)
    _, told = whole(message(use(name, input="x"), stop="tool_use"), request())
    assert found[-1]["response"]["output"] == told["output"]


def test_hidden_thinking_comes_in_its_envelope_alone() -> None:
    [item] = items({"type": "redacted_thinking", "data": "zz"})
    sealed = unseal(item.pop("encrypted_content"))
    assert (item, sealed and sealed.d) == ({"type": "reasoning", "id": "rs_1_0", "summary": []}, {"data": "zz"})


def test_thinking_without_text_keeps_its_signature() -> None:
    [item] = items({"type": "thinking", "thinking": "", "signature": "s"})
    sealed = unseal(item["encrypted_content"])
    assert sealed and (item["summary"], sealed.d, sealed.t) == ([], {"signature": "s"}, None)


def test_thinking_that_is_not_shown_can_still_be_restored() -> None:
    silent = asked({"name": "claude-adaptive", "expose_reasoning": False})
    _, found = whole(message({"type": "thinking", "thinking": "hm", "signature": "s"}), silent)
    sealed = unseal(found["output"][0]["encrypted_content"])
    assert (found["output"][0]["summary"], sealed and sealed.t) == ([], "hm")


def test_thinking_without_a_signature_cannot() -> None:
    assert items({"type": "thinking", "thinking": "hm"}) == [
        {"type": "reasoning", "id": "rs_1_0", "summary": [{"type": "summary_text", "text": "hm"}]}
    ]


def test_text_stays_open_over_blocks_and_what_servers_did() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    [item] = items({"type": "text", "text": "a"}, search, {"type": "text", "text": ""}, {"type": "text", "text": "b"})
    assert item["content"] == [{"type": "output_text", "text": "ab", "annotations": []}]


def test_citations_of_the_web() -> None:
    cited = {"type": "web_search_result_location", "url": "https://e.com", "title": "E"}
    delta = {"type": "citations_delta", "citation": cited}
    said = block(1, {"type": "text", "text": "", "citations": []}, {"type": "text_delta", "text": "bc"}, delta)
    _, found = run(started(), text(0, "a"), said, ended())
    check_grammar(found)
    check_types(found)
    annotation = {"type": "url_citation", "start_index": 1, "end_index": 3, "title": "E", "url": "https://e.com"}
    assert [e["annotation"] for e in found if e["type"] == "response.output_text.annotation.added"] == [annotation]
    assert found[-1]["response"]["output"][0]["content"][0]["annotations"] == [annotation]


@pytest.mark.parametrize(
    ("stop", "status", "incomplete", "warnings"),
    [
        ("end_turn", "completed", None, []),
        ("stop_sequence", "completed", None, []),
        ("max_tokens", "incomplete", "max_output_tokens", []),
        ("model_context_window_exceeded", "incomplete", "max_output_tokens", []),
        ("refusal", "incomplete", "content_filter", []),
        ("pause_turn", "completed", None, ["approx:stop_reason"]),
        ("brand_new", "completed", None, ["unknown_finish_reason"]),
        (None, "completed", None, ["finish_reason_missing"]),
    ],
)
def test_statuses(stop: str | None, status: str, incomplete: str | None, warnings: list[str]) -> None:
    reply, found = whole(message({"type": "text", "text": "a"}, stop=stop))
    told = found["incomplete_details"] and found["incomplete_details"]["reason"]
    assert (found["status"], told, reply.outcome.warnings) == (status, incomplete, warnings)
    assert reply.outcome.finish_reason == (incomplete or "completed")
    assert [part["type"] for part in found["output"][0]["content"]] == ["output_text"]


def test_a_refusal_without_a_word() -> None:
    refused = event("message_delta", delta={"stop_reason": "refusal", "stop_details": {"explanation": "no"}})
    _, found = run(started(), refused, event("message_stop"))
    check_grammar(found)
    check_types(found)
    assert found[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "no"}]
    _, plain = whole(message(stop="refusal"))
    assert plain["output"][0]["content"][0]["refusal"] == "The model declined to answer."


def test_a_compaction_is_opaque() -> None:
    [item] = items({"type": "compaction", "content": "so far"})
    sealed = unseal(item["encrypted_content"])
    assert sealed and (item["type"], sealed.t) == ("compaction", "so far")


def test_all_of_a_compaction_is_kept_for_the_way_back() -> None:
    """Anthropic's SDK says of these members that they are to be sent back as they came."""
    kept: Json = {"encrypted_content": "ee", "signature": "s", "tool_changes": [{"type": "tool_removal"}]}
    [item] = items({"type": "compaction", "content": "so far", **kept})
    sealed = unseal(item["encrypted_content"])
    assert sealed and sealed.d == kept
    begun = {"type": "compaction", "content": None, "tool_changes": kept["tool_changes"]}
    pieces = [
        {"type": "compaction_delta", "content": "so far", "encrypted_content": "ee"},
        {"type": "signature_delta", "signature": "s"},
    ]
    _, found = run(started(), block(0, begun, *pieces), ended(), request=request(stream=True))
    assert [one["encrypted_content"] for one in found[-1]["response"]["output"]] == [item["encrypted_content"]]


def test_an_answer_of_nothing() -> None:
    _, found = whole(message())
    assert (found["output"], found["usage"]["input_tokens"]) == ([], USAGE["input_tokens"])


def failure(*pieces: bytes) -> tuple[Any, list[Json]]:
    reply, found = run(*pieces)
    check_grammar(found)
    check_types(found)
    return reply.outcome.failure, found


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("overloaded_error", "server_error"),
        ("api_error", "server_error"),
        ("rate_limit_error", "rate_limit_exceeded"),
        ("invalid_request_error", "invalid_prompt"),
    ],
)
def test_an_error_ends_the_stream(kind: str, code: str) -> None:
    error = event("error", error={"type": kind, "message": "no"})
    _, found = failure(started(), text(0, "a"), error, ended())
    last = found[-1]
    assert (last["type"], last["response"]["error"]) == ("response.failed", {"code": code, "message": "no"})
    assert last["response"]["output"] == []


@pytest.mark.parametrize("pieces", [[], [text(0, "a")], [block(0, use("f"))]])
def test_a_stream_that_breaks_off_is_never_complete(pieces: list[bytes]) -> None:
    told, found = failure(started(), *pieces)
    assert told.detail == "truncated"
    assert (found[-1]["type"], found[-1]["response"]["status"]) == ("response.failed", "failed")


def test_a_failure_before_the_beginning_still_has_a_response() -> None:
    _, found = failure(event("error", error={"type": "api_error", "message": "no"}))
    assert [e["type"] for e in found] == ["response.created", "response.in_progress", "response.failed"]


def test_pings_are_comments() -> None:
    reply, _ = run(started())
    assert reply.ping() == b""
    again, _ = run(request=request(stream=True))
    assert again.ping() == b""
    open_reply = RESPONSES_ON_MESSAGES.reply(request(stream=True), SSE)
    open_reply.feed(started())
    assert open_reply.feed(event("ping")) == b": ping\n\n"
    assert open_reply.ping() == b": ping\n\n"
